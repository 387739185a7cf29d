//! Every section and key that a configuration file of stock 1.3 to 1.12 may hold, and our own, with kinds and defaults.
//!
//! One table: reading, environment overrides, printing and the warning about unknown keys all follow from it.

use super::value::Kind;

/// Whether a key does anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Millrace obeys it.
    Obeyed,
    /// Read and checked; the thing it tunes does not exist here.
    Accepted,
    /// As accepted, and stock 1.8.10 itself does not print it.
    AcceptedSilently,
}

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Its value when nobody sets it, in the environment's notation.
    pub default: &'static str,
    /// Whether it does anything.
    pub effect: Effect,
}

/// One section; the keys above all sections have the name "".
#[derive(Debug)]
pub struct Section {
    /// As written in the file.
    pub name: &'static str,
    /// `[[name]]`, any number of times.
    pub repeated: bool,
    /// Its keys, in the order they are printed.
    pub keys: &'static [Key],
}

impl Section {
    /// Position of a key; letter case does not count, as in stock.
    pub fn key_index(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.name.eq_ignore_ascii_case(name))
    }

    /// Whether anything in it does anything.
    pub fn is_obeyed(&self) -> bool {
        self.keys.iter().any(|key| key.effect == Effect::Obeyed)
    }
}

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default, effect: Effect::Obeyed }
}

const fn accepted(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default, effect: Effect::Accepted }
}

const fn hidden(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default, effect: Effect::AcceptedSilently }
}

const fn section(name: &'static str, keys: &'static [Key]) -> Section {
    Section { name, repeated: false, keys }
}

const fn repeated(name: &'static str, keys: &'static [Key]) -> Section {
    Section { name, repeated: true, keys }
}

use Kind::Bool;
use Kind::Count;
use Kind::Duration;
use Kind::Group;
use Kind::Mode;
use Kind::Nanoseconds;
use Kind::Pairs;
use Kind::Size;
use Kind::Text;
use Kind::Texts;

/// All sections, in the order they are printed.
pub static SECTIONS: &[Section] = &[
    section(
        "",
        &[
            accepted("reporting-disabled", Bool, "false"),
            hidden("reporting-enabled", Bool, "false"),
            accepted("bind-address", Text, "127.0.0.1:8088"),
            hidden("hostname", Text, ""),
            hidden("join", Text, ""),
        ],
    ),
    section(
        "millrace",
        &[
            key("dir", Text, ""),
            key("cores", Count, "0"),
            key("shards", Count, "0"),
            key("durability", Text, "always"),
            key("sync-interval", Duration, "100ms"),
            key("memtable-size", Size, "0"),
            key("log-size", Size, "0"),
            key("query-size", Size, "0"),
            key("query-total-size", Size, "0"),
            key("head-size", Size, "1m"),
            key("head-timeout", Duration, "10s"),
            key("body-timeout", Duration, "1m"),
            key("idle-timeout", Duration, "5m"),
            key("answer-timeout", Duration, "1m"),
        ],
    ),
    section(
        "meta",
        &[
            accepted("dir", Text, "./data/meta"),
            key("retention-autocreate", Bool, "true"),
            accepted("logging-enabled", Bool, "true"),
        ],
    ),
    section(
        "data",
        &[
            key("dir", Text, "./data"),
            accepted("index-version", Text, "inmem"),
            accepted("wal-dir", Text, "./data"),
            key("wal-fsync-delay", Duration, "0s"),
            key("validate-keys", Bool, "false"),
            accepted("strict-error-handling", Bool, "false"),
            key("query-log-enabled", Bool, "true"),
            accepted("cache-max-memory-size", Size, "1g"),
            accepted("cache-snapshot-memory-size", Size, "25m"),
            key("cache-snapshot-write-cold-duration", Duration, "10m"),
            key("compact-full-write-cold-duration", Duration, "4h"),
            key("compact-throughput", Size, "48m"),
            key("compact-throughput-burst", Size, "48m"),
            key("max-series-per-database", Count, "0"),
            key("max-values-per-tag", Count, "0"),
            accepted("max-concurrent-compactions", Count, "0"),
            accepted("max-index-log-file-size", Size, "1m"),
            accepted("series-id-set-cache-size", Count, "100"),
            accepted("series-file-max-concurrent-snapshot-compactions", Count, "0"),
            accepted("trace-logging-enabled", Bool, "false"),
            accepted("tsm-use-madv-willneed", Bool, "false"),
            hidden("engine", Text, "tsm1"),
            hidden("wal-logging-enabled", Bool, "true"),
            hidden("data-logging-enabled", Bool, "true"),
            hidden("max-points-per-block", Count, "0"),
            hidden("skip-field-size-validation", Bool, "false"),
            hidden("ingress-metric-by-measurement-enabled", Bool, "false"),
            hidden("ingress-metric-by-login-enabled", Bool, "false"),
            hidden("aggressive-points-per-block", Count, "10000"),
            hidden("max-concurrent-optimized-compactions", Count, "1"),
            hidden("max-concurrent-deletes", Count, "1"),
            hidden("series-file-max-concurrent-compactions", Count, "0"),
            hidden("tar-stream-buffer-size", Size, "1m"),
        ],
    ),
    section(
        "coordinator",
        &[
            key("write-timeout", Duration, "10s"),
            key("max-concurrent-queries", Count, "0"),
            key("query-timeout", Duration, "0s"),
            key("log-queries-after", Duration, "0s"),
            key("max-select-point", Count, "0"),
            key("max-select-series", Count, "0"),
            key("max-select-buckets", Count, "0"),
            hidden("log-timedout-queries", Bool, "false"),
            hidden("termination-query-log", Bool, "false"),
        ],
    ),
    section("retention", &[key("enabled", Bool, "true"), key("check-interval", Duration, "30m")]),
    section(
        "shard-precreation",
        &[key("enabled", Bool, "true"), key("check-interval", Duration, "10m"), key("advance-period", Duration, "30m")],
    ),
    section(
        "monitor",
        &[
            key("store-enabled", Bool, "true"),
            key("store-database", Text, "_internal"),
            key("store-interval", Duration, "10s"),
        ],
    ),
    section(
        "subscriber",
        &[
            key("enabled", Bool, "true"),
            key("http-timeout", Duration, "30s"),
            key("insecure-skip-verify", Bool, "false"),
            key("ca-certs", Text, ""),
            key("write-concurrency", Count, "40"),
            key("write-buffer-size", Count, "1000"),
            hidden("total-buffer-bytes", Size, "0"),
        ],
    ),
    section(
        "http",
        &[
            key("enabled", Bool, "true"),
            key("bind-address", Text, "127.0.0.1:8086"),
            key("auth-enabled", Bool, "false"),
            key("log-enabled", Bool, "true"),
            key("suppress-write-log", Bool, "false"),
            key("write-tracing", Bool, "false"),
            accepted("flux-enabled", Bool, "false"),
            accepted("flux-log-enabled", Bool, "false"),
            key("pprof-enabled", Bool, "true"),
            key("pprof-auth-enabled", Bool, "false"),
            key("debug-pprof-enabled", Bool, "false"),
            key("ping-auth-enabled", Bool, "false"),
            key("prom-read-auth-enabled", Bool, "false"),
            key("https-enabled", Bool, "false"),
            key("https-certificate", Text, "/etc/ssl/influxdb.pem"),
            key("https-private-key", Text, ""),
            key("max-row-limit", Count, "0"),
            key("max-connection-limit", Count, "0"),
            key("shared-secret", Text, ""),
            key("realm", Text, "InfluxDB"),
            key("unix-socket-enabled", Bool, "false"),
            key("unix-socket-permissions", Mode, "0777"),
            key("unix-socket-group", Group, ""),
            key("bind-socket", Text, "/var/run/influxdb.sock"),
            key("max-body-size", Size, "25000000"),
            key("access-log-path", Text, ""),
            key("access-log-status-filters", Texts, ""),
            key("max-concurrent-write-limit", Count, "0"),
            key("max-enqueued-write-limit", Count, "0"),
            key("enqueued-write-timeout", Nanoseconds, "30s"),
            key("headers", Pairs, ""),
            hidden("flux-testing", Bool, "false"),
            hidden("https-insecure-certificate", Bool, "false"),
            hidden("user-query-bytes-enabled", Bool, "false"),
        ],
    ),
    section("logging", &[key("format", Text, "auto"), key("level", Text, "info"), key("suppress-logo", Bool, "false")]),
    repeated(
        "graphite",
        &[
            accepted("enabled", Bool, "false"),
            accepted("bind-address", Text, ":2003"),
            accepted("database", Text, "graphite"),
            accepted("retention-policy", Text, ""),
            accepted("protocol", Text, "tcp"),
            accepted("batch-size", Count, "5000"),
            accepted("batch-pending", Count, "10"),
            accepted("batch-timeout", Duration, "1s"),
            accepted("consistency-level", Text, "one"),
            accepted("templates", Texts, ""),
            accepted("tags", Texts, ""),
            accepted("separator", Text, "."),
            accepted("udp-read-buffer", Count, "0"),
        ],
    ),
    repeated(
        "collectd",
        &[
            accepted("enabled", Bool, "false"),
            accepted("bind-address", Text, ":25826"),
            accepted("database", Text, "collectd"),
            accepted("retention-policy", Text, ""),
            accepted("batch-size", Count, "5000"),
            accepted("batch-pending", Count, "10"),
            accepted("batch-timeout", Duration, "10s"),
            accepted("read-buffer", Count, "0"),
            accepted("typesdb", Text, "/usr/share/collectd/types.db"),
            accepted("security-level", Text, "none"),
            accepted("auth-file", Text, "/etc/collectd/auth_file"),
            accepted("parse-multivalue-plugin", Text, "split"),
        ],
    ),
    repeated(
        "opentsdb",
        &[
            accepted("enabled", Bool, "false"),
            accepted("bind-address", Text, ":4242"),
            accepted("database", Text, "opentsdb"),
            accepted("retention-policy", Text, ""),
            accepted("consistency-level", Text, "one"),
            accepted("tls-enabled", Bool, "false"),
            accepted("certificate", Text, "/etc/ssl/influxdb.pem"),
            accepted("batch-size", Count, "1000"),
            accepted("batch-pending", Count, "5"),
            accepted("batch-timeout", Duration, "1s"),
            accepted("log-point-errors", Bool, "true"),
            hidden("private-key", Text, ""),
            hidden("insecure-certificate", Bool, "false"),
        ],
    ),
    repeated(
        "udp",
        &[
            key("enabled", Bool, "false"),
            key("bind-address", Text, ":8089"),
            key("database", Text, "udp"),
            key("retention-policy", Text, ""),
            key("batch-size", Count, "5000"),
            key("batch-pending", Count, "10"),
            key("read-buffer", Count, "0"),
            key("batch-timeout", Duration, "1s"),
            key("precision", Text, ""),
            hidden("writers", Count, "0"),
        ],
    ),
    section(
        "continuous_queries",
        &[
            key("log-enabled", Bool, "true"),
            key("enabled", Bool, "true"),
            key("query-stats-enabled", Bool, "false"),
            key("run-interval", Duration, "1s"),
        ],
    ),
    section("tls", &[key("ciphers", Texts, ""), key("min-version", Text, ""), key("max-version", Text, "")]),
    section(
        "ifql",
        &[hidden("enabled", Bool, "false"), hidden("log-enabled", Bool, "true"), hidden("bind-address", Text, ":8082")],
    ),
    section(
        "flux-controller",
        &[
            hidden("query-concurrency", Count, "0"),
            hidden("query-initial-memory-bytes", Size, "0"),
            hidden("query-max-memory-bytes", Size, "0"),
            hidden("total-max-memory-bytes", Size, "0"),
            hidden("query-queue-size", Count, "0"),
        ],
    ),
];

/// The section of that name; letter case does not count, as in stock.
pub fn section_index(name: &str) -> Option<usize> {
    SECTIONS.iter().position(|section| section.name.eq_ignore_ascii_case(name))
}

/// What stock calls a key in its complaints about the environment: the name of the struct field behind it.
pub fn complaint_name(key: &str) -> String {
    match key {
        "retention-autocreate" => "RetentionAutoCreate".to_owned(),
        "series-id-set-cache-size" => "SeriesIDSetCacheSize".to_owned(),
        "tsm-use-madv-willneed" => "TSMWillNeed".to_owned(),
        "max-select-point" => "MaxSelectPointN".to_owned(),
        "max-select-series" => "MaxSelectSeriesN".to_owned(),
        "max-select-buckets" => "MaxSelectBucketsN".to_owned(),
        "https-enabled" => "HTTPSEnabled".to_owned(),
        "tls-enabled" => "TLSEnabled".to_owned(),
        "udp-read-buffer" => "UDPReadBuffer".to_owned(),
        _ => key.split('-').map(capitalised).collect(),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}
