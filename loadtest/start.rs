//! How long a start takes: filled, ended, started again; ours and stock's in one table.
//!
//! Each server is filled once for a round, killed while its newest points are in the log alone, started and measured;
//! then stopped in order, started and measured. The page cache is warm both times. With a log of some length to be
//! found, the points asked for are made segments by a stop, and as many more follow as fill the log.

use std::time::Duration;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::check;
use crate::drive;
use crate::drive::Client;
use crate::generate;
use crate::generate::Bodies;
use crate::generate::Workload;
use crate::report;
use crate::server::Kind;
use crate::server::Server;

/// Longest a start may take until every point is there.
const START_MAX: Duration = Duration::from_secs(600);
const PING_INTERVAL: Duration = Duration::from_millis(1);
/// Lines prepared at a time.
const PIECE_LINES: u64 = 500_000;

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
    /// CPU time until then, seconds, and the most memory, bytes.
    cpu_seconds: f64,
    memory_peak: u64,
}

type Cell = fn(&Started) -> f64;

const ROWS: [(&str, &str, Cell, usize); 7] = [
    ("ending, s", "end_seconds", |started| started.end_seconds, 3),
    ("log found, MiB", "log_mib", |started| started.log_bytes as f64 / f64::from(1 << 20), 1),
    ("start to ping, s", "ping_seconds", |started| started.ping_seconds, 3),
    ("start to first answer, s", "query_seconds", |started| started.query_seconds, 3),
    ("start to every point, s", "whole_seconds", |started| started.whole_seconds, 3),
    ("CPU of the start, s", "cpu_seconds", |started| started.cpu_seconds, 2),
    ("memory peak, MiB", "memory_peak_mib", |started| started.memory_peak as f64 / f64::from(1 << 20), 0),
];

/// Fills a server, so that it has a log of `log_bytes` (whatever it has, when 0), and measures a start after each of
/// `ends`. `workload` may have any number of lines; `lines` of them are sent before the log is filled.
pub fn measure(
    server: &mut Server,
    label: &str,
    workload: &Workload,
    (lines, log_bytes): (u64, u64),
    options: &drive::Options,
    ends: &[End],
) -> Result<Vec<Started>, String> {
    let mut bodies = Bodies::new(workload);
    let mut sent = send(server, label, &mut bodies, options, |sent, _| sent >= lines)?;
    if log_bytes > 0 {
        server.stop()?;
        server.keep_log(Some(log_bytes))?;
        server.start_again()?;
        server.wait_for_ping()?;
        sent += send(server, label, &mut bodies, options, |_, server| server.log_bytes() >= log_bytes)?;
        server.keep_log(None)?;
    }
    let mut starts = Vec::new();
    for &end in ends {
        let ending = Instant::now();
        match end {
            End::Kill => server.kill()?,
            End::Stop => server.stop()?,
        }
        let end_seconds = ending.elapsed().as_secs_f64();
        let log_bytes = server.log_bytes();
        let [ping_seconds, query_seconds, whole_seconds] = start(server, workload, sent)?;
        println!("{label}: after {}: all {sent} lines there after {whole_seconds:.2} s", end.name());
        starts.push(Started {
            kind: server.kind,
            end,
            end_seconds,
            log_bytes,
            ping_seconds,
            query_seconds,
            whole_seconds,
            cpu_seconds: server.cpu_seconds()?,
            memory_peak: server.memory_peak()?,
        });
    }
    Ok(starts)
}

/// Sends pieces until `is_enough`, asked with the lines sent; how many they were.
fn send(
    server: &Server,
    label: &str,
    bodies: &mut Bodies<'_>,
    options: &drive::Options,
    is_enough: impl Fn(u64, &Server) -> bool,
) -> Result<u64, String> {
    let mut sent = 0;
    while !is_enough(sent, server) {
        let piece = bodies.next(PIECE_LINES, |_| ());
        if piece.is_empty() {
            return Err("there are no more lines to send".to_owned());
        }
        drive::run(server.address, &piece, options, |_| ()).map_err(|text| format!("{label}: {text}"))?;
        sent += piece.iter().map(|body| body.lines).sum::<u64>();
    }
    Ok(sent)
}

/// Starts a server; seconds until it answered a ping, until it answered a query, and until it had every point.
fn start(server: &mut Server, workload: &Workload, lines: u64) -> Result<[f64; 3], String> {
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
        if ask(server, &all).and_then(|value| value.as_u64()) == Some(lines) {
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
