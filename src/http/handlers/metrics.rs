//! `/metrics`: the process in Prometheus' text form, under the names that every client library of it uses.
//!
//! Stock's further ones (`go_*`, `promhttp_*`) tell of Go's runtime and have no like here.

use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::exchange::Exchange;
use crate::http::services::Services;

/// Clock ticks a second in files of `/proc`; the same on every machine that Linux runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Answers with what the kernel tells of this process.
pub async fn metrics<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    if exchange.edge().options.ping_auth
        && let Err(failure) = auth::authenticate(exchange).await
    {
        return exchange.fail(failure).await;
    }
    let body = document(exchange.edge().started_ns);
    exchange.respond(200, Some("text/plain; version=0.0.4; charset=utf-8"), &[], body.as_bytes()).await;
}

fn document(started_ns: i64) -> String {
    let Figures { cpu_ticks, virtual_bytes, resident_pages } = figures(&own("stat"));
    let limit = |resource| rustix::process::getrlimit(resource).current.map_or(-1.0, |limit| limit as f64);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let page_bytes = rustix::param::page_size() as u64;
    let metrics = [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            cpu_ticks as f64 / TICKS_PER_SECOND,
        ),
        (
            "process_max_fds",
            "gauge",
            "Maximum number of open file descriptors.",
            limit(rustix::process::Resource::Nofile),
        ),
        ("process_open_fds", "gauge", "Number of open file descriptors.", open as f64),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            resident_pages.saturating_mul(page_bytes) as f64,
        ),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            started_ns as f64 / 1e9,
        ),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", virtual_bytes as f64),
        (
            "process_virtual_memory_max_bytes",
            "gauge",
            "Maximum amount of virtual memory available in bytes.",
            limit(rustix::process::Resource::As),
        ),
    ];
    let text = metrics
        .map(|(name, kind, help, value)| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    text.concat()
}

/// A file of the kernel's memory about this process, which never waits for a device; empty when it cannot be read.
#[allow(clippy::disallowed_methods, reason = "never waits for a device")]
fn own(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

#[derive(Debug, Default, PartialEq)]
struct Figures {
    cpu_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Reads `/proc/self/stat`; what is not there is 0.
fn figures(stat: &str) -> Figures {
    // The name of the program stands in parentheses and may hold anything.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    Figures { cpu_ticks: field(11) + field(12), virtual_bytes: field(20), resident_pages: field(21) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 7 8 20 0 9 0 1234 4096000 77 18446744073709551615";
        assert_eq!(figures(stat), Figures { cpu_ticks: 200, virtual_bytes: 4_096_000, resident_pages: 77 });
        assert_eq!(figures(""), Figures::default());
    }

    #[test]
    fn every_metric_has_a_value() {
        let text = document(1_500_000_000_500_000_000);
        assert!(text.contains("\nprocess_start_time_seconds 1500000000.5\n"), "{text}");
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(values.len(), 7);
        assert!(!text.contains("process_resident_memory_bytes 0\n"), "{text}");
    }
}
