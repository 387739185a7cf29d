//! Waits until a server has nothing left to do, so that what is measured then is what stays.
//!
//! In:    a running server: its counters (`/debug/vars`) and its files.
//! Out:   its [`Counters`] when settled.
//!
//! Settled means: nothing unflushed in memory, no log behind it (Millrace), no compaction under way or due, and for
//! [`QUIET`] no change of counters or files. Logs that are kept open count with the bytes they take.

use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::drive::Client;
use crate::server::Kind;
use crate::server::Server;

/// Longer than both servers wait before they compact what has gone cold, see the configurations in `server`.
const QUIET: Duration = Duration::from_secs(18);
/// Each look costs the server a millisecond or so, which counts as its own.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What a server says about its storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Bytes in memory or in the log that are not in files that stay.
    pub unflushed: u64,
    /// Compactions under way, and due where that is told.
    pub busy: u64,
    /// Bytes of segments that flushes wrote, where counted.
    pub flushed_bytes: Option<u64>,
    /// Bytes of segments that compaction wrote, where counted.
    pub compacted_bytes: Option<u64>,
}

impl Counters {
    /// Asks a server.
    pub fn read(server: &Server) -> Result<Counters, String> {
        let answer = Client::connect(server.address).and_then(|mut client| client.get("/debug/vars"));
        let answer = answer.map_err(|error| format!("/debug/vars: {error}"))?;
        let vars: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("/debug/vars: {error}"))?;
        let statistics = vars.as_object().ok_or("/debug/vars: not an object")?.values();
        let mut counters = Counters::default();
        let mut found = false;
        for statistic in statistics {
            let values = &statistic["values"];
            let value = |key: &str| values[key].as_u64().unwrap_or(0);
            match (server.kind, statistic["name"].as_str()) {
                (Kind::Millrace, Some("engine")) => {
                    found = true;
                    counters.unflushed += value("memtableBytes") + value("walBytes");
                    counters.flushed_bytes = values["flushedBytes"].as_u64();
                    counters.compacted_bytes = values["compactedBytes"].as_u64();
                    counters.busy += value("compactionsDue");
                }
                (Kind::Stock, Some("tsm1_cache")) => counters.unflushed += value("memBytes"),
                (Kind::Stock, Some("tsm1_engine")) => counters.busy += stock_compactions(values),
                _ => {}
            }
        }
        // Stock has no engine before the first write.
        if server.kind == Kind::Millrace && !found {
            return Err("/debug/vars: no engine".to_owned());
        }
        Ok(counters)
    }

    /// Bytes written to segments for each byte flushed.
    pub fn write_amplification(&self) -> Option<f64> {
        let flushed = self.flushed_bytes.filter(|bytes| *bytes > 0)?;
        Some((flushed + self.compacted_bytes?) as f64 / flushed as f64)
    }
}

/// A gauge for each level, `tsmLevel1CompactionsActive` and so on.
fn stock_compactions(values: &Value) -> u64 {
    let gauges = values.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("CompactionsActive"));
    gauges.filter_map(|(_, value)| value.as_u64()).sum()
}

/// Waits until `server` has settled, or for `longest`; whether it has, and what it says.
pub fn settle(server: &Server, label: &str, longest: Duration) -> Result<(bool, Counters), String> {
    let progress = ProgressBar::new_spinner();
    let started = Instant::now();
    let mut last = None;
    let mut since = started;
    loop {
        let seen = (Counters::read(server)?, server.disk_bytes());
        let (counters, disk_bytes) = &seen;
        if counters.unflushed > 0 || counters.busy > 0 || last.as_ref() != Some(&seen) {
            since = Instant::now();
        }
        progress.set_message(format!(
            "{label} settles, {:.0} s: {:.1} MiB not flushed, {} compactions, {:.1} MiB on disk, quiet for {:.0} s",
            started.elapsed().as_secs_f64(),
            counters.unflushed as f64 / f64::from(1 << 20),
            counters.busy,
            *disk_bytes as f64 / f64::from(1 << 20),
            since.elapsed().as_secs_f64()
        ));
        progress.tick();
        let settled = since.elapsed() >= QUIET;
        if settled || started.elapsed() >= longest {
            progress.finish_and_clear();
            return Ok((settled, seen.0));
        }
        last = Some(seen);
        std::thread::sleep(LOOK_INTERVAL);
    }
}
