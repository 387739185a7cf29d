//! What was measured, as a table for people and as JSON for scripts.

use serde_json::Value;
use serde_json::json;

use crate::generate::Workload;
use crate::server::Kind;

/// One server in one round.
pub struct Measured {
    /// Which server.
    pub kind: Kind,
    /// Seconds from the first byte sent to the last acknowledgement.
    pub seconds: f64,
    /// Server CPU seconds in that time.
    pub cpu_seconds: f64,
    /// Server CPU seconds until its files had settled: flushes and compactions included.
    pub cpu_seconds_settled: f64,
    /// Latency of a request in microseconds: median, 99th percentile, worst.
    pub latency_us: [u64; 3],
    /// Worst latency of the small writer beside the load, microseconds.
    pub small_us: Option<u64>,
    /// Memory it held before the load, bytes.
    pub memory_idle: u64,
    /// Most memory it held, bytes.
    pub memory_peak: u64,
    /// Memory it held when settled, bytes.
    pub memory_settled: u64,
    /// Bytes on disk when settled.
    pub disk_bytes: u64,
    /// Bytes sent to the device until then.
    pub written_bytes: u64,
    /// Bytes written to segments for each byte flushed.
    pub write_amplification: Option<f64>,
    /// Whether it settled in the time given.
    pub settled: bool,
    /// Requests sent again.
    pub retries: u64,
    /// Seconds the spot queries took, if any was asked.
    pub query_seconds: Option<f64>,
}

struct Row {
    name: &'static str,
    key: &'static str,
    /// `None`: not measured.
    value: fn(&Measured, &Workload) -> Option<f64>,
    decimals: usize,
}

const fn row(
    name: &'static str,
    key: &'static str,
    value: fn(&Measured, &Workload) -> Option<f64>,
    decimals: usize,
) -> Row {
    Row { name, key, value, decimals }
}

const ROWS: [Row; 17] = [
    row("lines / CPU-second, loading", "lines_per_cpu_second", |m, w| Some(w.lines as f64 / m.cpu_seconds), 0),
    row(
        "lines / CPU-second, settled",
        "lines_per_cpu_second_settled",
        |m, w| Some(w.lines as f64 / m.cpu_seconds_settled),
        0,
    ),
    row("lines / second", "lines_per_second", |m, w| Some(w.lines as f64 / m.seconds), 0),
    row("latency p50, ms", "latency_p50_ms", |m, _| Some(ms(m.latency_us[0])), 2),
    row("latency p99, ms", "latency_p99_ms", |m, _| Some(ms(m.latency_us[1])), 2),
    row("latency max, ms", "latency_max_ms", |m, _| Some(ms(m.latency_us[2])), 2),
    row("small writer max, ms", "small_writer_max_ms", |m, _| m.small_us.map(ms), 2),
    row("memory peak, MiB", "memory_peak_mib", |m, _| Some(mib(m.memory_peak)), 1),
    row("memory settled, MiB", "memory_settled_mib", |m, _| Some(mib(m.memory_settled)), 1),
    row("memory peak / series, B", "memory_peak_per_series", |m, w| Some(per_series(m.memory_peak, m, w)), 0),
    row("memory settled / series, B", "memory_settled_per_series", |m, w| Some(per_series(m.memory_settled, m, w)), 0),
    row("disk settled, MiB", "disk_mib", |m, _| Some(mib(m.disk_bytes)), 1),
    row("disk bytes / value", "disk_bytes_per_value", |m, w| Some(m.disk_bytes as f64 / w.values()), 3),
    row("written bytes / value", "written_bytes_per_value", |m, w| Some(m.written_bytes as f64 / w.values()), 3),
    row("write amplification", "write_amplification", |m, _| m.write_amplification, 2),
    row("spot queries, s", "query_seconds", |m, _| m.query_seconds, 3),
    row("requests retried", "retries", |m, _| Some(m.retries as f64), 0),
];

/// Above what the server holds without any, so an upper bound: memtables and the requests under way are in it.
fn per_series(memory: u64, measured: &Measured, workload: &Workload) -> f64 {
    memory.saturating_sub(measured.memory_idle) as f64 / workload.series_met()
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The median over rounds of one row for one server.
fn median(row: &Row, kind: Kind, rounds: &[Measured], workload: &Workload) -> Option<f64> {
    let of_kind = rounds.iter().filter(|measured| measured.kind == kind);
    median_of(of_kind.filter_map(|measured| (row.value)(measured, workload)).collect())
}

/// The middle one.
pub fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Prints the medians and the ratio of ours to stock.
pub fn print_table(rounds: &[Measured], workload: &Workload) {
    print_head();
    for row in &ROWS {
        let ours = median(row, Kind::Millrace, rounds, workload);
        let stock = median(row, Kind::Stock, rounds, workload);
        print_row(row.name, row.decimals, ours, stock);
    }
    for measured in rounds.iter().filter(|measured| !measured.settled) {
        println!("note: {} had not settled when the wait for it ended", measured.kind.name());
    }
}

/// The head of a table.
pub fn print_head() {
    println!("{:<34} {:>14} {:>14} {:>12}", "", Kind::Millrace.name(), Kind::Stock.name(), "ours/stock");
}

/// One row of a table; what was not measured is a dash.
pub fn print_row(name: &str, decimals: usize, ours: Option<f64>, stock: Option<f64>) {
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"));
    let ratio = ratio(ours, stock).map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    println!("{name:<34} {:>14} {:>14} {ratio:>12}", cell(ours), cell(stock));
}

fn ratio(ours: Option<f64>, stock: Option<f64>) -> Option<f64> {
    let (ours, stock) = (ours?, stock?);
    (stock != 0.0).then(|| ours / stock)
}

/// The same and every round, with what was run on what.
pub fn json(rounds: &[Measured], workload: &Workload, connections: usize, differences: &[String]) -> Value {
    let median_of = |kind| {
        let cells = ROWS.iter().map(|row| (row.key.to_owned(), json!(median(row, kind, rounds, workload))));
        Value::Object(cells.collect())
    };
    let ratios = ROWS.iter().map(|row| {
        let of = |kind| median(row, kind, rounds, workload);
        (row.key.to_owned(), json!(ratio(of(Kind::Millrace), of(Kind::Stock))))
    });
    let each = rounds.iter().map(|measured| {
        let cells = ROWS.iter().map(|row| (row.key.to_owned(), json!((row.value)(measured, workload))));
        let mut cells: serde_json::Map<String, Value> = cells.collect();
        cells.insert("server".to_owned(), json!(measured.kind.name()));
        cells.insert("settled".to_owned(), json!(measured.settled));
        Value::Object(cells)
    });
    json!({
        "workload": described(workload, connections),
        "machine": machine(),
        "millrace": median_of(Kind::Millrace),
        "influxd": median_of(Kind::Stock),
        "ratio": Value::Object(ratios.collect()),
        "rounds": each.collect::<Vec<Value>>(),
        "differences": differences,
    })
}

/// What was run.
pub fn described(workload: &Workload, connections: usize) -> Value {
    json!({
        "shape": format!("{:?}", workload.shape),
        "series": workload.series,
        "lines": workload.lines,
        "body_lines": workload.body_lines,
        "connections": connections,
        "jitter_ns": workload.jitter_ns,
        "late_share": workload.late_share,
        "late_points": workload.late_points,
        "churn": workload.churn,
        "seed": workload.seed,
    })
}

/// What it was run on.
pub fn machine() -> Value {
    json!({
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    })
}
