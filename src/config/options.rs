//! The settings in units, one struct for each concern; any value in them is legal.

use super::tls::HttpsOptions;
use std::path::PathBuf;

/// `[http]`, and the limits of `[millrace]` on requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Whether to listen at all.
    pub enabled: bool,
    /// `host:port`; an empty host means every address of the machine.
    pub bind_address: String,
    /// Requests need credentials.
    pub auth_enabled: bool,
    /// Named in `WWW-Authenticate`.
    pub realm: String,
    /// Key of bearer tokens; empty refuses them.
    pub shared_secret: String,
    /// Write an access log.
    pub log_enabled: bool,
    /// Leave writes out of it.
    pub suppress_write_log: bool,
    /// Where it goes instead of stderr.
    pub access_log_path: Option<PathBuf>,
    /// Log only these statuses (`4xx`, `5xx`, `200`); all when empty.
    pub access_log_status_filters: Vec<StatusFilter>,
    /// Log bodies of writes.
    pub write_tracing: bool,
    /// Serve `/debug/pprof`.
    pub pprof_enabled: bool,
    /// `/debug/*` needs an administrator's credentials, where any are needed and profiles are served.
    pub pprof_auth_enabled: bool,
    /// `/ping` needs credentials.
    pub ping_auth_enabled: bool,
    /// Prometheus reads need credentials.
    pub prom_read_auth_enabled: bool,
    /// Rows in an answer that is not chunked; 0: no limit.
    pub max_row_limit: u64,
    /// Connections at once; 0: no limit.
    pub max_connection_limit: u64,
    /// Bytes of a body; 0: no limit.
    pub body_bytes_max: u64,
    /// Writes at once; 0: no limit.
    pub max_concurrent_write_limit: u64,
    /// Writes that wait for their turn; 0: no limit.
    pub max_enqueued_write_limit: u64,
    /// How long one waits; 0: for ever.
    pub enqueued_write_timeout_ns: u64,
    /// Encrypt all connections but those of that socket in the file system.
    pub https: Option<HttpsOptions>,
    /// Listen on a socket in the file system too.
    pub unix_socket: Option<UnixSocketOptions>,
    /// Further headers of every answer.
    pub headers: Vec<(String, String)>,
    /// Bytes of a request head.
    pub head_bytes_max: u64,
    /// From the first byte of a request to the end of its head.
    pub head_timeout_ns: u64,
    /// Between two pieces of a body.
    pub body_timeout_ns: u64,
    /// Between two requests of a connection.
    pub idle_timeout_ns: u64,
    /// Longest wait for a client that does not take its answer.
    pub answer_timeout_ns: u64,
}

/// `unix-socket-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocketOptions {
    /// Where.
    pub path: PathBuf,
    /// Permissions of the socket file.
    pub mode: u32,
    /// Group of the socket file, by name or number.
    pub group: Option<String>,
}

/// One of `access-log-status-filters`: leading digits that count, `X` for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusFilter {
    /// First status it takes.
    pub first: u16,
    /// Last status it takes.
    pub last: u16,
}

/// `[coordinator]`: limits on statements. 0 means no limit throughout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorOptions {
    /// A write that takes longer fails with `timeout`.
    pub write_timeout_ns: u64,
    /// Requests with statements at once.
    pub max_concurrent_queries: u64,
    /// A request that takes longer is stopped.
    pub query_timeout_ns: u64,
    /// A statement that takes longer is logged.
    pub log_queries_after_ns: u64,
    /// Points a SELECT may read.
    pub max_select_point: u64,
    /// Series a SELECT may read.
    pub max_select_series: u64,
    /// Windows a SELECT may make.
    pub max_select_buckets: u64,
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionOptions {
    /// Whether old shard groups are dropped.
    pub enabled: bool,
    /// How often to look.
    pub check_interval_ns: u64,
}

/// `[shard-precreation]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrecreationOptions {
    /// Whether shard groups are made before they are written to.
    pub enabled: bool,
    /// How often to look.
    pub check_interval_ns: u64,
    /// How long before the last group ends.
    pub advance_ns: u64,
}

/// `[meta]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaOptions {
    /// CREATE DATABASE makes the policy `autogen`.
    pub retention_autocreate: bool,
}

/// When an acknowledged write is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged.
    Always,
    /// At the latest this long after.
    Interval {
        /// How long.
        ns: u64,
    },
}

/// `[data]`, and the engine's part of `[millrace]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataOptions {
    /// The one directory that holds everything.
    pub dir: PathBuf,
    /// Shards of a directory that is created now; `None`: chosen from the machine.
    pub shard_count: Option<u16>,
    /// When acknowledged writes are durable.
    pub durability: Durability,
    /// How long a commit waits for more writes before it syncs.
    pub commit_wait_ns: u64,
    /// Age of the oldest point in memory at which all of them go into segments.
    pub cold_flush_ns: u64,
    /// Memory of memtables, all together; `None`: chosen from the machine.
    pub memtable_bytes_max: Option<u64>,
    /// Logs of all cores at which points go into segments; `None`: so many for each core.
    pub log_bytes: Option<u64>,
    /// What compactions of all cores write on average; 0: no limit.
    pub compact_bytes_per_second: u64,
    /// What they may write at once.
    pub compact_burst_bytes: u64,
    /// A shard group without a flush for so long is compacted as a whole.
    pub compact_cold_ns: u64,
    /// Log statements.
    pub query_log_enabled: bool,
    /// Refuse keys with unprintable characters.
    pub validate_keys: bool,
    /// Series a database may have; 0: no limit.
    pub max_series_per_database: u64,
    /// Values a tag key may have in a measurement; 0: no limit.
    pub max_values_per_tag: u64,
}

/// Memory of statements, from `[millrace]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOptions {
    /// Of one request; `None`: chosen from the machine.
    pub bytes_max: Option<u64>,
    /// Of all together; `None`: chosen from the machine.
    pub total_bytes_max: Option<u64>,
}

/// `[monitor]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorOptions {
    /// Whether own statistics are stored.
    pub store_enabled: bool,
    /// Where.
    pub store_database: String,
    /// How often.
    pub store_interval_ns: u64,
}

/// `[subscriber]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberOptions {
    /// Whether writes are forwarded.
    pub enabled: bool,
    /// Longest wait for a destination.
    pub http_timeout_ns: u64,
    /// Accept any certificate of a destination.
    pub insecure_skip_verify: bool,
    /// Certificates that destinations are checked against.
    pub ca_certs: Option<PathBuf>,
    /// Batches sent at once.
    pub write_concurrency: u64,
    /// Batches that wait; more are dropped and counted.
    pub write_buffer_size: u64,
}

/// `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingOptions {
    /// Form of a line.
    pub format: LogFormat,
    /// Least severity that is shown.
    pub level: LogLevel,
    /// No banner on a terminal.
    pub suppress_logo: bool,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Console on a terminal, logfmt elsewhere.
    Auto,
    /// For eyes.
    Console,
    /// `key=value`.
    Logfmt,
    /// One object for each line.
    Json,
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What deserves a look.
    Warn,
    /// What went wrong.
    Error,
}

/// One enabled `[[udp]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpOptions {
    /// `host:port`; an empty host means every address of the machine.
    pub bind_address: String,
    /// Where points go; created when missing.
    pub database: String,
    /// Empty: the default policy.
    pub retention_policy: String,
    /// Points that are written together.
    pub batch_size: u64,
    /// Batches that wait in memory.
    pub batch_pending: u64,
    /// Longest time a point waits for company.
    pub batch_timeout_ns: u64,
    /// Receive buffer of the socket; 0: as the system has it.
    pub read_buffer_bytes: u64,
    /// Unit of timestamps: `n`, `u`, `ms`, `s`, `m` or `h`.
    pub precision: &'static str,
}

/// `[continuous_queries]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuousOptions {
    /// Whether they run.
    pub enabled: bool,
    /// Log each run.
    pub log_enabled: bool,
    /// Store statistics of each run.
    pub query_stats_enabled: bool,
    /// How often to look which are due.
    pub run_interval_ns: u64,
}
