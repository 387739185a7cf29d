//! How long a start takes: filled, ended, started again; ours and stock's in one table.
//!
//! Each server is filled once for a round, killed while its newest points are in the log alone, started and measured;
//! then stopped in order, started and measured. The page cache is warm both times.

use std::time::Duration;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::check;
use crate::drive;
use crate::drive::Client;
use crate::generate;
use crate::generate::Body;
use crate::generate::Workload;
use crate::report;
use crate::server::Kind;
use crate::server::Server;

/// Longest a start may take until every point is there.
const START_MAX: Duration = Duration::from_secs(600);
const PING_INTERVAL: Duration = Duration::from_millis(1);

/// How a server ended before it was started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// kill -9.
    Kill,
    /// SIGTERM, and waited for.
    Stop,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            End::Kill => "kill -9",
            End::Stop => "stop",
        }
    }
}

/// One start.
pub struct Started {
    kind: Kind,
    end: End,
    /// What the stop took, seconds.
    end_seconds: f64,
    /// Bytes of the logs it found.
    log_bytes: u64,
    /// Seconds until a ping was answered, a query was, and until a count that found every point was asked.
    ping_seconds: f64,
    query_seconds: f64,
    whole_seconds: f64,
}

type Cell = fn(&Started) -> f64;

const ROWS: [(&str, &str, Cell, usize); 5] = [
    ("ending, s", "end_seconds", |started| started.end_seconds, 3),
    ("log found, MiB", "log_mib", |started| started.log_bytes as f64 / f64::from(1 << 20), 1),
    ("start to ping, s", "ping_seconds", |started| started.ping_seconds, 3),
    ("start to first answer, s", "query_seconds", |started| started.query_seconds, 3),
    ("start to every point, s", "whole_seconds", |started| started.whole_seconds, 3),
];

/// Fills a server, and measures a start after each of `ends`.
pub fn measure(
    server: &mut Server,
    label: &str,
    bodies: &[Body],
    workload: &Workload,
    options: &drive::Options,
    ends: &[End],
) -> Result<Vec<Started>, String> {
    let progress = crate::bar(label, workload.lines);
    let load = drive::run(server.address, bodies, options, |lines| progress.inc(lines));
    load.map_err(|text| format!("{label}: {text}"))?;
    progress.finish_and_clear();
    let mut starts = Vec::new();
    for &end in ends {
        let ending = Instant::now();
        match end {
            End::Kill => server.kill()?,
            End::Stop => server.stop()?,
        }
        let end_seconds = ending.elapsed().as_secs_f64();
        let log_bytes = server.log_bytes();
        let [ping_seconds, query_seconds, whole_seconds] = start(server, workload)?;
        println!("{label}: after {}: every point there after {whole_seconds:.2} s", end.name());
        starts.push(Started {
            kind: server.kind,
            end,
            end_seconds,
            log_bytes,
            ping_seconds,
            query_seconds,
            whole_seconds,
        });
    }
    Ok(starts)
}

/// Starts a server; seconds until it answered a ping, until it answered a query, and until it had every point.
fn start(server: &mut Server, workload: &Workload) -> Result<[f64; 3], String> {
    let field = workload.shape.fields()[0];
    let measurement = workload.shape.measurement();
    let (tag, name) = &generate::tags(workload, 0)[0];
    let one = format!("SELECT last(\"{field}\") FROM \"{measurement}\" WHERE \"{tag}\" = '{name}'");
    let all = format!("SELECT count(\"{field}\") FROM \"{measurement}\"");
    let started = Instant::now();
    server.start_again()?;
    while !server.answers_ping()? {
        in_time(started)?;
        std::thread::sleep(PING_INTERVAL);
    }
    let ping_seconds = started.elapsed().as_secs_f64();
    while ask(server, &one).is_none() {
        in_time(started)?;
        std::thread::sleep(PING_INTERVAL);
    }
    let query_seconds = started.elapsed().as_secs_f64();
    loop {
        // What the count itself takes is not the start's.
        let asked = started.elapsed().as_secs_f64();
        if ask(server, &all).and_then(|value| value.as_u64()) == Some(workload.lines) {
            return Ok([ping_seconds, query_seconds, asked.max(ping_seconds)]);
        }
        in_time(started)?;
        std::thread::sleep(PING_INTERVAL);
    }
}

/// The only value of an answer, if there is one yet.
fn ask(server: &Server, query: &str) -> Option<Value> {
    let mut client = Client::connect(server.address).ok()?;
    check::ask(&mut client, query).ok()?.first()?.only_value().cloned()
}

fn in_time(started: Instant) -> Result<(), String> {
    match started.elapsed() < START_MAX {
        true => Ok(()),
        false => Err("points that were acknowledged are not there after a start".to_owned()),
    }
}

/// Prints the medians of each way to end.
pub fn print_table(starts: &[Started], ends: &[End]) {
    report::print_head();
    for &end in ends {
        for (name, _, cell, decimals) in ROWS {
            let of = |kind| median(starts, kind, end, cell);
            report::print_row(&format!("{}: {name}", end.name()), decimals, of(Kind::Millrace), of(Kind::Stock));
        }
    }
}

fn median(starts: &[Started], kind: Kind, end: End, cell: Cell) -> Option<f64> {
    let of = starts.iter().filter(|started| started.kind == kind && started.end == end);
    report::median_of(of.map(cell).collect())
}

/// Every start, with what was run on what.
pub fn json(starts: &[Started], workload: &Workload, connections: usize) -> Value {
    let each = starts.iter().map(|started| {
        let cells = ROWS.iter().map(|(_, key, cell, _)| ((*key).to_owned(), json!(cell(started))));
        let mut cells: serde_json::Map<String, Value> = cells.collect();
        cells.insert("server".to_owned(), json!(started.kind.name()));
        cells.insert("end".to_owned(), json!(started.end.name()));
        Value::Object(cells)
    });
    json!({
        "workload": report::described(workload, connections),
        "machine": report::machine(),
        "starts": each.collect::<Vec<Value>>(),
    })
}
