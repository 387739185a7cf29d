//! Configuration: what file, environment and flags say, checked, in units.
//!
//! Owns:  nothing that lasts; one [`Config`] is made at start and handed down in parts.
//! In:    a file in stock's form ([`raw`], [`schema`]), `INFLUXDB_*` variables, flags of the command line.
//! Out:   [`Config`], or the first thing that is wrong, before anything has been started.
//!
//! Later beats earlier: built-in, file, environment, flags. One directory holds everything Millrace stores:
//!
//! | said | directory |
//! |---|---|
//! | `--data DIR` | `DIR` |
//! | `[millrace] dir` | that |
//! | `[data] dir` | `millrace` inside it: files of stock beside it are never touched |
//! | nothing | `./data` |

pub mod diagnostics;
pub mod duration;
pub mod locate;
pub mod options;
pub mod raw;
pub mod schema;
pub mod tls;
pub mod value;

use self::options::ContinuousOptions;
use self::options::CoordinatorOptions;
use self::options::DataOptions;
use self::options::Durability;
use self::options::HttpOptions;
use self::options::LogFormat;
use self::options::LogLevel;
use self::options::LoggingOptions;
use self::options::MetaOptions;
use self::options::MonitorOptions;
use self::options::PrecreationOptions;
use self::options::QueryOptions;
use self::options::RetentionOptions;
use self::options::StatusFilter;
use self::options::SubscriberOptions;
use self::options::UdpOptions;
use self::options::UnixSocketOptions;
use self::raw::Entry;
use self::raw::Raw;
use self::raw::RawError;
use self::value::Value;
use std::path::Path;
use std::path::PathBuf;

/// Most cores that make sense: the mesh has a queue for each pair.
const CORE_COUNT_MAX: u64 = 1024;
/// Most shards of a directory; each has files and tables of its own.
const SHARD_COUNT_MAX: u64 = 4096;

/// What stops a start before anything has been started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("parse config: open {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be understood.
    #[error("parse config: {}: {source}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<RawError>,
    },
    /// A variable cannot be understood.
    #[error("apply env config: {0}")]
    Environment(Box<RawError>),
    /// Understood, but not sensible.
    #[error("{0}. To generate a valid configuration file run `millrace config > millrace.generated.conf`")]
    Invalid(String),
}

/// What the command line says about settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--data`
    pub data_dir: Option<PathBuf>,
    /// `--bind`
    pub bind_address: Option<String>,
    /// `--cores`
    pub core_count: Option<u64>,
}

/// Everything a server needs to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Executors; `None`: as many as the process may run on.
    pub core_count: Option<u32>,
    /// `[http]`
    pub http: HttpOptions,
    /// `[coordinator]`
    pub coordinator: CoordinatorOptions,
    /// Memory of statements.
    pub query: QueryOptions,
    /// `[data]`
    pub data: DataOptions,
    /// `[meta]`
    pub meta: MetaOptions,
    /// `[retention]`
    pub retention: RetentionOptions,
    /// `[shard-precreation]`
    pub precreation: PrecreationOptions,
    /// `[monitor]`
    pub monitor: MonitorOptions,
    /// `[subscriber]`
    pub subscriber: SubscriberOptions,
    /// `[continuous_queries]`
    pub continuous: ContinuousOptions,
    /// The enabled ones of `[[udp]]`.
    pub udp: Vec<UdpOptions>,
    /// `[logging]`
    pub logging: LoggingOptions,
    /// The settings as SHOW DIAGNOSTICS prints them.
    pub diagnostics: Vec<diagnostics::Section>,
    /// Lines for the log: what the file says that means nothing here.
    pub notices: Vec<String>,
}

impl Config {
    /// Reads the file at `path` (built-in settings when `None`), then the environment, then `flags`, and checks all.
    pub fn load(
        path: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
    ) -> Result<Config, ConfigError> {
        Config::check(&load_raw(path, environment, flags)?)
    }

    /// Turns settings into units, or says which one makes no sense.
    pub fn check(raw: &Raw) -> Result<Config, ConfigError> {
        let mut notices = raw.notices.clone();
        let config = checked(raw, &mut notices).map_err(ConfigError::Invalid)?;
        Ok(Config { notices, ..config })
    }
}

/// File, environment and flags joined, not yet checked: what `config` prints.
pub fn load_raw(
    path: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<String>,
    flags: &Flags,
) -> Result<Raw, ConfigError> {
    let mut raw = match path {
        None => Raw::builtin(),
        Some(path) => {
            #[allow(clippy::disallowed_methods, reason = "at boot, before any executor runs")]
            let bytes = std::fs::read(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
            Raw::read(&bytes)
                .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?
        }
    };
    raw.apply_environment(environment).map_err(|error| ConfigError::Environment(Box::new(error)))?;
    if let Some(dir) = &flags.data_dir {
        raw.set("millrace", "dir", Value::Text(dir.display().to_string()));
    }
    if let Some(address) = &flags.bind_address {
        raw.set("http", "bind-address", Value::Text(address.clone()));
    }
    if let Some(count) = flags.core_count {
        raw.set("millrace", "cores", Value::Count(count));
    }
    Ok(raw)
}

/// The same settings with the data directory written out where it wins over everything: printed and read again, they
/// mean the same directory.
pub fn settled(mut raw: Raw) -> Raw {
    let dir = data_dir(&raw).display().to_string();
    raw.set("millrace", "dir", Value::Text(dir));
    raw
}

fn checked(raw: &Raw, notices: &mut Vec<String>) -> Result<Config, String> {
    // In stock's order, so that a file with several faults names the same one.
    let meta = raw.section("meta");
    if meta.value("dir").text().is_empty() {
        return Err("Meta.Dir must be specified".to_owned());
    }
    let data = data_options(raw)?;
    let monitor = monitor_options(raw.section("monitor"))?;
    let continuous = continuous_options(raw.section("continuous_queries"))?;
    let retention = retention_options(raw.section("retention"))?;
    let precreation = precreation_options(raw.section("shard-precreation"))?;
    let subscriber = subscriber_options(raw.section("subscriber"))?;
    let own = raw.section("millrace");
    Ok(Config {
        core_count: bounded(own, "cores", CORE_COUNT_MAX)?,
        http: http_options(raw, notices)?,
        coordinator: coordinator_options(raw.section("coordinator"))?,
        query: QueryOptions {
            bytes_max: unless_zero(own, "query-size"),
            total_bytes_max: unless_zero(own, "query-total-size"),
        },
        data,
        meta: MetaOptions { retention_autocreate: meta.value("retention-autocreate").bool() },
        retention,
        precreation,
        monitor,
        subscriber,
        continuous,
        udp: raw.all("udp").filter(|entry| entry.value("enabled").bool()).map(udp_options).collect::<Result<_, _>>()?,
        logging: logging_options(raw.section("logging"), notices)?,
        diagnostics: diagnostics::sections(&settled(raw.clone())),
        notices: Vec::new(),
    })
}

fn data_options(raw: &Raw) -> Result<DataOptions, String> {
    let data = raw.section("data");
    let own = raw.section("millrace");
    if data.value("dir").text().is_empty() {
        return Err("Data.Dir must be specified".to_owned());
    }
    if data.value("wal-dir").text().is_empty() {
        return Err("Data.WALDir must be specified".to_owned());
    }
    let index = data.value("index-version").text();
    if index != "inmem" && index != "tsi1" {
        return Err(format!("unrecognized index {index}"));
    }
    let durability = match own.value("durability").text() {
        "always" => Durability::Always,
        "interval" => Durability::Interval { ns: positive(own, "sync-interval")? },
        other => return Err(format!("durability must be always or interval, got {other:?}")),
    };
    Ok(DataOptions {
        dir: data_dir(raw),
        shard_count: bounded(own, "shards", SHARD_COUNT_MAX)?.map(|count| count as u16),
        durability,
        commit_wait_ns: nanoseconds(data, "wal-fsync-delay")?,
        cold_flush_ns: nanoseconds(data, "cache-snapshot-write-cold-duration")?,
        memtable_bytes_max: unless_zero(own, "memtable-size"),
        log_bytes: unless_zero(own, "log-size"),
        compact_bytes_per_second: data.value("compact-throughput").count(),
        compact_burst_bytes: data.value("compact-throughput-burst").count(),
        compact_cold_ns: nanoseconds(data, "compact-full-write-cold-duration")?,
        query_log_enabled: data.value("query-log-enabled").bool(),
        validate_keys: data.value("validate-keys").bool(),
        max_series_per_database: data.value("max-series-per-database").count(),
        max_values_per_tag: data.value("max-values-per-tag").count(),
    })
}

fn data_dir(raw: &Raw) -> PathBuf {
    let data = raw.section("data");
    match raw.section("millrace").value("dir").path() {
        Some(dir) => dir,
        None if data.is_given("dir") => Path::new(data.value("dir").text()).join("millrace"),
        None => PathBuf::from(data.value("dir").text()),
    }
}

fn monitor_options(monitor: &Entry) -> Result<MonitorOptions, String> {
    let store_interval = monitor.value("store-interval").nanoseconds();
    if store_interval <= 0 {
        return Err("monitor store interval must be positive".to_owned());
    }
    let store_database = monitor.value("store-database").text().to_owned();
    if store_database.is_empty() {
        return Err("monitor store database name must not be empty".to_owned());
    }
    Ok(MonitorOptions {
        store_enabled: monitor.value("store-enabled").bool(),
        store_database,
        store_interval_ns: store_interval.unsigned_abs(),
    })
}

fn continuous_options(queries: &Entry) -> Result<ContinuousOptions, String> {
    let enabled = queries.value("enabled").bool();
    Ok(ContinuousOptions {
        enabled,
        log_enabled: queries.value("log-enabled").bool(),
        query_stats_enabled: queries.value("query-stats-enabled").bool(),
        run_interval_ns: if enabled { positive(queries, "run-interval")? } else { 0 },
    })
}

fn retention_options(retention: &Entry) -> Result<RetentionOptions, String> {
    let enabled = retention.value("enabled").bool();
    Ok(RetentionOptions {
        enabled,
        check_interval_ns: if enabled { positive(retention, "check-interval")? } else { 0 },
    })
}

fn precreation_options(precreation: &Entry) -> Result<PrecreationOptions, String> {
    let enabled = precreation.value("enabled").bool();
    let interval = |key: &str| if enabled { positive(precreation, key) } else { Ok(0) };
    Ok(PrecreationOptions {
        enabled,
        check_interval_ns: interval("check-interval")?,
        advance_ns: interval("advance-period")?,
    })
}

fn subscriber_options(subscriber: &Entry) -> Result<SubscriberOptions, String> {
    let above_zero = |key: &str| match subscriber.value(key).count() {
        0 => Err(format!("{key} must be greater than 0")),
        count => Ok(count),
    };
    let timeout = subscriber.value("http-timeout").nanoseconds();
    if timeout <= 0 {
        return Err("http-timeout must be greater than 0".to_owned());
    }
    let ca_certs = subscriber.value("ca-certs").path();
    if let Some(path) = ca_certs.as_ref().filter(|path| !path.exists()) {
        return Err(format!("ca-certs file {} does not exist", path.display()));
    }
    Ok(SubscriberOptions {
        enabled: subscriber.value("enabled").bool(),
        http_timeout_ns: timeout.unsigned_abs(),
        insecure_skip_verify: subscriber.value("insecure-skip-verify").bool(),
        ca_certs,
        write_buffer_size: above_zero("write-buffer-size")?,
        write_concurrency: above_zero("write-concurrency")?,
    })
}

fn coordinator_options(coordinator: &Entry) -> Result<CoordinatorOptions, String> {
    let count = |key: &str| coordinator.value(key).count();
    Ok(CoordinatorOptions {
        write_timeout_ns: nanoseconds(coordinator, "write-timeout")?,
        max_concurrent_queries: count("max-concurrent-queries"),
        query_timeout_ns: nanoseconds(coordinator, "query-timeout")?,
        log_queries_after_ns: nanoseconds(coordinator, "log-queries-after")?,
        max_select_point: count("max-select-point"),
        max_select_series: count("max-select-series"),
        max_select_buckets: count("max-select-buckets"),
    })
}

fn http_options(raw: &Raw, notices: &mut Vec<String>) -> Result<HttpOptions, String> {
    let http = raw.section("http");
    let own = raw.section("millrace");
    let flag = |key: &str| http.value(key).bool();
    let count = |key: &str| http.value(key).count();
    if flag("flux-enabled") {
        notices.push("[http] flux-enabled: Flux is not served".to_owned());
    }
    if flag("debug-pprof-enabled") {
        notices.push("[http] debug-pprof-enabled: profiles are served at bind-address only, not at :6060".to_owned());
    }
    if own.value("head-size").count() < 1024 {
        return Err("head-size must be at least 1024".to_owned());
    }
    let unix_socket = flag("unix-socket-enabled").then(|| UnixSocketOptions {
        path: PathBuf::from(http.value("bind-socket").text()),
        mode: if let Value::Mode(mode) = http.value("unix-socket-permissions") { *mode } else { 0o777 },
        group: Some(http.value("unix-socket-group").text().to_owned()).filter(|group| !group.is_empty()),
    });
    Ok(HttpOptions {
        enabled: flag("enabled"),
        bind_address: address(http, "[http]")?,
        auth_enabled: flag("auth-enabled"),
        realm: http.value("realm").text().to_owned(),
        shared_secret: http.value("shared-secret").text().to_owned(),
        log_enabled: flag("log-enabled"),
        suppress_write_log: flag("suppress-write-log"),
        access_log_path: http.value("access-log-path").path(),
        access_log_status_filters: status_filters(http.value("access-log-status-filters"))?,
        write_tracing: flag("write-tracing"),
        pprof_enabled: flag("pprof-enabled"),
        pprof_auth_enabled: flag("pprof-auth-enabled"),
        ping_auth_enabled: flag("ping-auth-enabled"),
        prom_read_auth_enabled: flag("prom-read-auth-enabled"),
        max_row_limit: count("max-row-limit"),
        max_connection_limit: count("max-connection-limit"),
        body_bytes_max: count("max-body-size"),
        max_concurrent_write_limit: count("max-concurrent-write-limit"),
        max_enqueued_write_limit: count("max-enqueued-write-limit"),
        enqueued_write_timeout_ns: nanoseconds(http, "enqueued-write-timeout")?,
        https: tls::https_options(http, raw.section("tls"), notices)?,
        unix_socket,
        headers: if let Value::Pairs(pairs) = http.value("headers") { pairs.clone() } else { Vec::new() },
        head_bytes_max: own.value("head-size").count(),
        head_timeout_ns: positive(own, "head-timeout")?,
        body_timeout_ns: positive(own, "body-timeout")?,
        idle_timeout_ns: positive(own, "idle-timeout")?,
        answer_timeout_ns: positive(own, "answer-timeout")?,
    })
}

fn udp_options(udp: &Entry) -> Result<UdpOptions, String> {
    let precision = match udp.value("precision").text() {
        "" | "n" | "ns" => "n",
        "u" | "us" => "u",
        "ms" => "ms",
        "s" => "s",
        "m" => "m",
        "h" => "h",
        other => return Err(format!("[[udp]] precision must be n, u, ms, s, m or h, got {other:?}")),
    };
    // Stock fills in what a section sets to nothing.
    let unless_zero = |key: &str, default: u64| match udp.value(key).count() {
        0 => default,
        count => count,
    };
    Ok(UdpOptions {
        bind_address: address(udp, "[[udp]]")?,
        database: Some(udp.value("database").text()).filter(|name| !name.is_empty()).unwrap_or("udp").to_owned(),
        retention_policy: udp.value("retention-policy").text().to_owned(),
        batch_size: unless_zero("batch-size", 5000),
        batch_pending: unless_zero("batch-pending", 10),
        batch_timeout_ns: match nanoseconds(udp, "batch-timeout")? {
            0 => 1_000_000_000,
            ns => ns,
        },
        read_buffer_bytes: udp.value("read-buffer").count(),
        precision,
    })
}

fn logging_options(logging: &Entry, notices: &mut Vec<String>) -> Result<LoggingOptions, String> {
    let format = match logging.value("format").text() {
        "auto" => LogFormat::Auto,
        "console" => LogFormat::Console,
        "logfmt" => LogFormat::Logfmt,
        "json" => LogFormat::Json,
        other => {
            // Stock goes on with its default format too.
            notices.push(format!("[logging] format: unknown logging format: {other}; auto is used"));
            LogFormat::Auto
        }
    };
    let level = match logging.value("level").text() {
        "debug" | "DEBUG" => LogLevel::Debug,
        "info" | "INFO" | "" => LogLevel::Info,
        "warn" | "WARN" => LogLevel::Warn,
        "error" | "ERROR" | "dpanic" | "DPANIC" | "panic" | "PANIC" | "fatal" | "FATAL" => LogLevel::Error,
        other => return Err(format!("unrecognized level: {other:?}")),
    };
    Ok(LoggingOptions { format, level, suppress_logo: logging.value("suppress-logo").bool() })
}

/// `host:port`, `:port` or `[v6]:port`; names are looked up when the server starts.
fn address(entry: &Entry, place: &str) -> Result<String, String> {
    let text = entry.value("bind-address").text();
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("{place} bind-address: {text:?} is not host:port")),
    }
}

fn status_filters(value: &Value) -> Result<Vec<StatusFilter>, String> {
    let Value::Texts(items) = value else { return Ok(Vec::new()) };
    items.iter().map(|item| status_filter(item)).collect()
}

fn status_filter(text: &str) -> Result<StatusFilter, String> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches('X');
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || !digits.starts_with(['1', '2', '3', '4', '5']) {
        return Err("status filter must be a digit that starts with 1-5 optionally followed by X characters".to_owned());
    }
    if upper.len() != 3 {
        return Err("status filter must be exactly 3 characters long".to_owned());
    }
    let bound = |filler: &str| upper.replace('X', filler).parse::<u16>().map_err(|error| error.to_string());
    Ok(StatusFilter { first: bound("0")?, last: bound("9")? })
}

fn nanoseconds(entry: &Entry, key: &str) -> Result<u64, String> {
    u64::try_from(entry.value(key).nanoseconds()).map_err(|_| format!("{key} must not be negative"))
}

fn positive(entry: &Entry, key: &str) -> Result<u64, String> {
    match nanoseconds(entry, key) {
        Ok(ns) if ns > 0 => Ok(ns),
        _ => Err(format!("{key} must be positive")),
    }
}

fn unless_zero(entry: &Entry, key: &str) -> Option<u64> {
    Some(entry.value(key).count()).filter(|&count| count > 0)
}

fn bounded(entry: &Entry, key: &str, count_max: u64) -> Result<Option<u32>, String> {
    match unless_zero(entry, key) {
        None => Ok(None),
        Some(count) if count > count_max => Err(format!("{key} must be at most {count_max}, got {count}")),
        Some(count) => u32::try_from(count).map(Some).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests;
