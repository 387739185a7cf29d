//! Settings of the HTTP edge, checked and in units; `config` fills them.

use std::time::Duration;

use crate::http::throttle::Bounds;
use crate::http::tls::Tls;

/// Who may look at `/debug/*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugAccess {
    /// Anybody, but there are no profiles.
    NoProfiles,
    /// Anybody.
    Open,
    /// Administrators.
    Administrators,
}

/// Settings of the HTTP edge. Every wait for a peer has a deadline, every buffer a bound.
#[derive(Clone, Debug)]
pub struct Options {
    /// Version told to clients; it decides what they expect of the rest.
    pub version: &'static str,
    /// Listening address as it was set, which is how statistics name it.
    pub bind: String,
    /// Realm of a 401.
    pub realm: String,
    /// Whether `/ping`, `/status` and `/health` need credentials.
    pub ping_auth: bool,
    /// Who may look at `/debug/*`.
    pub debug_access: DebugAccess,
    /// Longest request head. Clients send queries of 100 kB in the address; Go's own bound is 1 MiB.
    pub head_bytes_max: usize,
    /// Largest request body as sent; 0: no limit.
    pub body_bytes_max: u64,
    /// Largest request body once unpacked.
    pub unpacked_bytes_max: u64,
    /// Longest single line of a write, and so the largest window held for one.
    pub line_bytes_max: usize,
    /// Largest form of a POST to `/query`; stock discards more.
    pub form_bytes_max: usize,
    /// Most rows of a query answer that is not chunked; 0: no limit.
    pub row_limit: usize,
    /// Largest MessagePack document: it cannot be sent before it is whole.
    pub packed_bytes_max: usize,
    /// First byte of a head to its last.
    pub head_deadline: Duration,
    /// Between two reads of a body.
    pub body_stall: Duration,
    /// First byte of a body to its last.
    pub body_deadline: Duration,
    /// Between two requests.
    pub idle_deadline: Duration,
    /// Without progress while a response is sent.
    pub write_deadline: Duration,
    /// How long a peer that is still sending gets to read the answer before the connection is cut.
    pub linger: Duration,
    /// Writes to `/write` at the same time on one core; a limit for the server is to be divided by its cores.
    pub write_bounds: Bounds,
    /// One log line for each request.
    pub access_log: bool,
    /// None for writes.
    pub suppress_write_log: bool,
    /// How connections are encrypted that came in at such a port.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            version: "1.8.10",
            bind: ":8086".into(),
            realm: "InfluxDB".into(),
            ping_auth: false,
            debug_access: DebugAccess::Open,
            head_bytes_max: 1 << 20,
            body_bytes_max: 25_000_000,
            unpacked_bytes_max: 512 << 20,
            line_bytes_max: 64 << 20,
            form_bytes_max: 10 << 20,
            row_limit: 0,
            packed_bytes_max: 256 << 20,
            head_deadline: Duration::from_secs(30),
            body_stall: Duration::from_secs(60),
            body_deadline: Duration::from_secs(600),
            idle_deadline: Duration::from_secs(600),
            write_deadline: Duration::from_secs(60),
            linger: Duration::from_millis(500),
            write_bounds: Bounds::default(),
            access_log: true,
            suppress_write_log: false,
            tls: None,
        }
    }
}
