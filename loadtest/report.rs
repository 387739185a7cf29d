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
    /// Most memory it held, bytes.
    pub memory_peak: u64,
    /// Bytes on disk when settled.
    pub disk_bytes: u64,
    /// Whether the files stopped changing in the time given.
    pub settled: bool,
    /// Requests sent again.
    pub retries: u64,
    /// Seconds the spot queries took.
    pub query_seconds: f64,
}

struct Row {
    name: &'static str,
    key: &'static str,
    value: fn(&Measured, &Workload) -> f64,
    decimals: usize,
}

const ROWS: &[Row] = &[
    Row { name: "lines / CPU-second, loading", key: "lines_per_cpu_second", value: per_cpu, decimals: 0 },
    Row {
        name: "lines / CPU-second, settled",
        key: "lines_per_cpu_second_settled",
        value: per_cpu_settled,
        decimals: 0,
    },
    Row { name: "lines / second", key: "lines_per_second", value: |m, w| w.lines as f64 / m.seconds, decimals: 0 },
    Row { name: "latency p50, ms", key: "latency_p50_ms", value: |m, _| m.latency_us[0] as f64 / 1e3, decimals: 2 },
    Row { name: "latency p99, ms", key: "latency_p99_ms", value: |m, _| m.latency_us[1] as f64 / 1e3, decimals: 2 },
    Row { name: "latency max, ms", key: "latency_max_ms", value: |m, _| m.latency_us[2] as f64 / 1e3, decimals: 2 },
    Row { name: "memory peak, MiB", key: "memory_peak_mib", value: |m, _| mib(m.memory_peak), decimals: 1 },
    Row { name: "disk settled, MiB", key: "disk_mib", value: |m, _| mib(m.disk_bytes), decimals: 1 },
    Row { name: "disk bytes / value", key: "disk_bytes_per_value", value: per_value, decimals: 3 },
    Row { name: "spot queries, s", key: "query_seconds", value: |m, _| m.query_seconds, decimals: 3 },
    Row { name: "requests retried", key: "retries", value: |m, _| m.retries as f64, decimals: 0 },
];

fn per_cpu(measured: &Measured, workload: &Workload) -> f64 {
    workload.lines as f64 / measured.cpu_seconds
}

fn per_cpu_settled(measured: &Measured, workload: &Workload) -> f64 {
    workload.lines as f64 / measured.cpu_seconds_settled
}

fn per_value(measured: &Measured, workload: &Workload) -> f64 {
    measured.disk_bytes as f64 / (workload.lines as f64 * workload.shape.fields().len() as f64)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The median over rounds of one row for one server.
fn median(row: &Row, kind: Kind, rounds: &[Measured], workload: &Workload) -> Option<f64> {
    let of_kind = rounds.iter().filter(|measured| measured.kind == kind);
    let mut values: Vec<f64> = of_kind.map(|measured| (row.value)(measured, workload)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Prints the medians and the ratio of ours to stock.
pub fn print_table(rounds: &[Measured], workload: &Workload) {
    println!("{:<30} {:>14} {:>14} {:>12}", "", Kind::Millrace.name(), Kind::Stock.name(), "ours/stock");
    for row in ROWS {
        let ours = median(row, Kind::Millrace, rounds, workload);
        let stock = median(row, Kind::Stock, rounds, workload);
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.*}", row.decimals));
        let ratio = ratio(ours, stock).map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        println!("{:<30} {:>14} {:>14} {:>12}", row.name, cell(ours), cell(stock), ratio);
    }
    for measured in rounds.iter().filter(|measured| !measured.settled) {
        println!("note: the files of {} still changed when the wait for them ended", measured.kind.name());
    }
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
    let kernel = rustix::system::uname();
    json!({
        "workload": {
            "shape": format!("{:?}", workload.shape),
            "series": workload.series,
            "lines": workload.lines,
            "body_lines": workload.body_lines,
            "connections": connections,
            "jitter_ns": workload.jitter_ns,
            "late_share": workload.late_share,
            "churn": workload.churn,
            "seed": workload.seed,
        },
        "machine": {
            "kernel": kernel.release().to_string_lossy(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
        },
        "millrace": median_of(Kind::Millrace),
        "influxd": median_of(Kind::Stock),
        "ratio": Value::Object(ratios.collect()),
        "rounds": each.collect::<Vec<Value>>(),
        "differences": differences,
    })
}
