//! Whole configurations: what stock's files come out as, and what stops a start.

use super::*;

fn load(text: &str) -> Result<Config, String> {
    let raw = Raw::read(text.as_bytes()).map_err(|error| error.to_string())?;
    Config::check(&raw).map_err(|error| error.to_string())
}

fn loaded(text: &str) -> Config {
    load(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check_refused(text: &str, expected: &str) {
    let error = load(text).expect_err(text);
    assert_eq!(error.split(". To generate").next(), Some(expected), "{text}");
}

#[test]
fn nothing_said_means_loopback_and_a_data_directory_here() {
    let config = Config::load(None, &|_| None, &Flags::default()).unwrap();
    assert_eq!(config.http.bind_address, "127.0.0.1:8086");
    assert_eq!(config.data.dir, PathBuf::from("./data"));
    assert_eq!(config.http.body_bytes_max, 25_000_000);
    assert_eq!(config.http.enqueued_write_timeout_ns, 30_000_000_000);
    assert_eq!(config.data.durability, Durability::Always);
    assert_eq!((config.core_count, config.data.shard_count), (None, None));
    assert_eq!(config.udp, []);
    assert_eq!(config.notices, [] as [&str; 0]);
}

#[test]
fn a_typical_stock_file_comes_out_whole() {
    let text = r#"
        reporting-enabled = false
        bind-address = "127.0.0.1:9088"
        [meta]
          dir = "/var/lib/influxdb/meta"
          retention-autocreate = false
        [data]
          dir = "/var/lib/influxdb/data"
          wal-dir = "/var/lib/influxdb/wal"
          query-log-enabled = false
          max-values-per-tag = 5
          max-series-per-database = 12
          cache-max-memory-size = "1g"
        [coordinator]
          max-select-point = 50
          query-timeout = "1m30s"
        [monitor]
          store-enabled = false
        [http]
          bind-address = ":9086"
          auth-enabled = true
          shared-secret = "secret"
          max-row-limit = 10
          max-body-size = 200
          access-log-status-filters = ["4xx", "500"]
          [http.headers]
            X-A = "b"
        [[udp]]
          enabled = true
          bind-address = ":8089"
          precision = "s"
        [[udp]]
        [logging]
          level = "error"
          format = "json"
        [continuous_queries]
          log-enabled = false
    "#;
    let config = loaded(text);
    assert_eq!(config.data.dir, PathBuf::from("/var/lib/influxdb/data/millrace"));
    assert!(!config.meta.retention_autocreate);
    assert_eq!((config.data.max_values_per_tag, config.data.max_series_per_database), (5, 12));
    assert_eq!(config.coordinator.max_select_point, 50);
    assert_eq!(config.coordinator.query_timeout_ns, 90_000_000_000);
    assert_eq!(config.http.bind_address, ":9086");
    assert_eq!((config.http.max_row_limit, config.http.body_bytes_max), (10, 200));
    assert_eq!(config.http.headers, [("X-A".to_owned(), "b".to_owned())]);
    assert_eq!(
        config.http.access_log_status_filters,
        [StatusFilter { first: 400, last: 499 }, StatusFilter { first: 500, last: 500 }]
    );
    assert_eq!(config.udp.len(), 1);
    assert_eq!(config.udp[0].precision, "s");
    assert_eq!((config.logging.level, config.logging.format), (LogLevel::Error, LogFormat::Json));
    assert_eq!(
        config.notices,
        ["[data] without effect here: cache-max-memory-size, wal-dir", "[meta] without effect here: dir"]
    );
}

#[test]
fn flags_beat_environment_and_file() {
    let environment = |name: &str| match name {
        "INFLUXDB_HTTP_BIND_ADDRESS" => Some(":1".to_owned()),
        "INFLUXDB_DATA_DIR" => Some("/e".to_owned()),
        _ => None,
    };
    let config = Config::load(None, &environment, &Flags::default()).unwrap();
    assert_eq!((config.http.bind_address.as_str(), config.data.dir.to_str()), (":1", Some("/e/millrace")));
    let flags =
        Flags { data_dir: Some("/f".into()), bind_address: Some("127.0.0.1:2".to_owned()), core_count: Some(3) };
    let config = Config::load(None, &environment, &flags).unwrap();
    assert_eq!((config.http.bind_address.as_str(), config.data.dir.to_str()), ("127.0.0.1:2", Some("/f")));
    assert_eq!(config.core_count, Some(3));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/no/such.conf")), &|_| None, &Flags::default()).unwrap_err();
    assert!(error.to_string().starts_with("parse config: open /no/such.conf: "), "{error}");
}

#[test]
fn own_keys_are_obeyed() {
    let config = loaded(
        "[millrace]\ndir='d'\ncores=2\nshards=8\ndurability='interval'\nsync-interval='50ms'\nmemtable-size='64m'\n\
         log-size='1g'\n",
    );
    assert_eq!(config.data.dir, PathBuf::from("d"));
    assert_eq!((config.core_count, config.data.shard_count), (Some(2), Some(8)));
    assert_eq!(config.data.durability, Durability::Interval { ns: 50_000_000 });
    assert_eq!(config.data.memtable_bytes_max, Some(64 << 20));
    assert_eq!(config.data.log_bytes, Some(1 << 30));
}

#[test]
fn what_makes_no_sense_is_refused_with_stocks_words() {
    check_refused("[meta]\ndir = ''\n", "Meta.Dir must be specified");
    check_refused("[data]\ndir = ''\n", "Data.Dir must be specified");
    check_refused("[data]\nwal-dir = ''\n", "Data.WALDir must be specified");
    check_refused("[data]\nindex-version = 'x'\n", "unrecognized index x");
    check_refused("[monitor]\nstore-interval = '0s'\n", "monitor store interval must be positive");
    check_refused("[monitor]\nstore-database = ''\n", "monitor store database name must not be empty");
    check_refused("[continuous_queries]\nrun-interval = '0s'\n", "run-interval must be positive");
    check_refused("[retention]\ncheck-interval = '-1s'\n", "check-interval must be positive");
    check_refused("[subscriber]\nhttp-timeout = '0s'\n", "http-timeout must be greater than 0");
    check_refused("[subscriber]\nwrite-concurrency = 0\n", "write-concurrency must be greater than 0");
    check_refused("[subscriber]\nca-certs = '/no/such'\n", "ca-certs file /no/such does not exist");
    check_refused("[logging]\nlevel = 'loud'\n", "unrecognized level: \"loud\"");
}

#[test]
fn own_checks_name_the_key() {
    check_refused("[http]\nbind-address = '8086'\n", "[http] bind-address: \"8086\" is not host:port");
    check_refused("[millrace]\ncores = 99999\n", "cores must be at most 1024, got 99999");
    check_refused("[millrace]\ndurability = 'never'\n", "durability must be always or interval, got \"never\"");
    check_refused(
        "[[udp]]\nenabled = true\nprecision = 'd'\n",
        "[[udp]] precision must be n, u, ms, s, m or h, got \"d\"",
    );
    check_refused("[coordinator]\nquery-timeout = '-1s'\n", "query-timeout must not be negative");
    check_refused("[http]\naccess-log-status-filters = ['4x']\n", "status filter must be exactly 3 characters long");
    assert!(load("[retention]\nenabled = false\ncheck-interval = '0s'\n").is_ok());
}

#[test]
fn printed_settings_mean_the_same_when_read_again() {
    for text in ["", "[data]\ndir = '/a'\n", "[millrace]\ndir = '/b'\n[http]\nbind-address = ':1'\n"] {
        let before = loaded(text);
        let printed = settled(Raw::read(text.as_bytes()).unwrap()).print();
        let after = loaded(&printed);
        assert_eq!(Config { notices: Vec::new(), ..before }, Config { notices: Vec::new(), ..after }, "{printed}");
    }
}

#[test]
fn the_files_that_recordings_were_made_with_are_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/configs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let config = loaded(&text);
        assert!(!config.monitor.store_enabled);
        assert!(config.notices.iter().all(|line| !line.contains("unknown")), "{:?}", config.notices);
    }
}
