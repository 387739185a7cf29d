//! Whole-server load: the same bytes to Millrace and to stock influxd, measured from outside, answers compared.
//!
//! `cargo run --release --example loadtest -- --preset tsbs --influxd PATH`
//!
//! Each round starts each server with an empty directory, sends the workload, waits until it has settled, and asks ten
//! queries whose answers are known from the generator. The preset `start` measures starts instead. Exit status 1 when
//! an answer is wrong, 2 when the run could not be made.

// A client tool: it runs beside the servers, on plain threads and blocking calls.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a client tool blocks on purpose")]

mod check;
mod drive;
mod generate;
mod report;
mod server;
mod settle;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use clap::Parser;
use clap::ValueEnum;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;

use crate::check::Check;
use crate::check::Rows;
use crate::drive::Client;
use crate::generate::Body;
use crate::generate::Shape;
use crate::generate::Workload;
use crate::report::Measured;
use crate::server::Kind;
use crate::server::Program;
use crate::server::Server;
use crate::start::End;

/// Steps of the longest delay of the preset `late`: three hours.
const LATE_STEPS: u64 = 3 * 360;
/// New series in a second of the preset `series`.
const SERIES_RATE: u64 = 100_000;

/// Sends one workload to Millrace and to influxd 1.8.10 and compares what it cost and what they answer.
#[derive(Parser, Debug)]
struct Arguments {
    /// The workload; the options below change parts of it.
    #[arg(long, value_enum, default_value = "small")]
    preset: Preset,
    /// Lines in all.
    #[arg(long)]
    lines: Option<u64>,
    /// Series alive at one time.
    #[arg(long)]
    series: Option<u64>,
    /// Lines in one request.
    #[arg(long)]
    body_lines: Option<usize>,
    /// Connections, each with one request under way.
    #[arg(long)]
    connections: Option<usize>,
    /// Timestamps are moved by up to this much either way.
    #[arg(long)]
    jitter_ms: Option<u32>,
    /// No faster than this many lines in a second.
    #[arg(long)]
    rate: Option<u64>,
    /// How the preset `start` ends a server before it measures a start; both when not given.
    #[arg(long, value_enum)]
    end: Option<End>,
    /// Length of the log that the preset `start` shall find after kill -9, on top of the lines, which are in segments
    /// then; 0: what the lines leave.
    #[arg(long)]
    log_mib: Option<u64>,
    /// Percent of the points that are sent late.
    #[arg(long)]
    late_percent: Option<f64>,
    /// A late point is sent up to this many points after its turn.
    #[arg(long)]
    late_points: Option<u64>,
    /// Percent of the points that begin a new series.
    #[arg(long)]
    churn_percent: Option<f64>,
    /// Everything random comes from here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Millrace's program.
    #[arg(long, default_value = "target/release/millrace")]
    millrace: PathBuf,
    /// A further argument for Millrace; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    millrace_arg: Vec<String>,
    /// influxd 1.8.10; looked for on PATH when not given.
    #[arg(long)]
    influxd: Option<PathBuf>,
    /// Leaves the other server out.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// How often a request answered with 500 or 503 is sent again.
    #[arg(long, default_value_t = 10)]
    retries: u32,
    /// Longest wait for a server to settle.
    #[arg(long, default_value_t = 180)]
    settle_seconds: u64,
    /// Most memory for the prepared requests.
    #[arg(long, default_value_t = 4096)]
    prepared_mib: u64,
    /// Where the data directories go; on a real disk, or the syncs cost nothing.
    #[arg(long, default_value = "target/loadtest")]
    directory: PathBuf,
    /// Asks nothing afterwards: the answers are not checked.
    #[arg(long)]
    no_queries: bool,
    /// Leaves the data directories behind.
    #[arg(long)]
    keep: bool,
    /// Also writes the results to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Millrace,
    Influxd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// The gate: TSBS cpu-only, 4000 hosts, 5000-line bodies, 8 connections, 10 M values.
    Tsbs,
    /// A float with two decimals in a line, 10,000 series of 500 points.
    Floats,
    /// As floats, with timestamps up to 2 s off.
    Jitter,
    /// Seven hours as tsbs, a fifth of the points up to three hours late and out of order.
    Late,
    /// A million new series as tsbs, 100,000 in a second, and a small writer beside them.
    Series,
    /// Five million points as floats, then a start after kill -9 and one after a stop.
    Start,
    /// As start: 100 million values as tsbs in segments, and a log of a GiB.
    History,
    /// Every fifth point begins a new series.
    Cardinality,
    /// One line in a request, 32 connections.
    Posts,
    /// A quick check that everything works.
    Small,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn workload(arguments: &Arguments) -> Result<(Workload, drive::Options), String> {
    let base = Workload {
        shape: Shape::Tsbs,
        series: 4000,
        lines: 1_000_000,
        body_lines: 5000,
        jitter_ns: 0,
        late_share: 0.0,
        late_points: 200_000,
        churn: 0.0,
        seed: arguments.seed,
    };
    let floats = Workload { shape: Shape::Floats, series: 10_000, lines: 5_000_000, ..base.clone() };
    let (mut workload, connections) = match arguments.preset {
        Preset::Tsbs => (base, 8),
        Preset::History => (Workload { lines: 10_000_000, ..base }, 8),
        Preset::Floats | Preset::Start => (floats, 8),
        Preset::Jitter => (Workload { jitter_ns: 2_000_000_000, ..floats }, 8),
        Preset::Late => {
            let (series, lines) = (1600, 4_000_000);
            (Workload { series, lines, late_share: 0.2, late_points: series * LATE_STEPS, ..base }, 8)
        }
        Preset::Series => (Workload { series: 1_000_000, body_lines: 1000, ..base }, 8),
        Preset::Cardinality => (Workload { series: 1000, lines: 500_000, churn: 0.2, ..base }, 8),
        Preset::Posts => (Workload { series: 1000, lines: 200_000, body_lines: 1, ..floats }, 32),
        Preset::Small => (Workload { series: 100, lines: 20_000, body_lines: 1000, ..base }, 4),
    };
    workload.lines = arguments.lines.unwrap_or(workload.lines);
    workload.series = arguments.series.unwrap_or(workload.series);
    workload.body_lines = arguments.body_lines.unwrap_or(workload.body_lines);
    workload.jitter_ns = arguments.jitter_ms.map_or(workload.jitter_ns, |ms| i64::from(ms) * 1_000_000);
    workload.late_share = arguments.late_percent.map_or(workload.late_share, |percent| percent / 100.0);
    workload.late_points = arguments.late_points.unwrap_or(workload.late_points);
    workload.churn = arguments.churn_percent.map_or(workload.churn, |percent| percent / 100.0);
    if workload.lines == 0 || workload.series == 0 || workload.body_lines == 0 {
        return Err("--lines, --series and --body-lines must be at least 1".to_owned());
    }
    if workload.jitter_ns * 2 >= generate::STEP_NS {
        return Err("--jitter-ms must be below 5000, half the time between two points".to_owned());
    }
    let needed = (workload.lines * workload.shape.line_bytes()) >> 20;
    if needed > arguments.prepared_mib && !measures_starts(arguments) {
        return Err(format!("the requests need {needed} MiB of memory: fewer --lines, or more --prepared-mib"));
    }
    let series = matches!(arguments.preset, Preset::Series);
    let options = drive::Options {
        connections: arguments.connections.unwrap_or(connections).max(1),
        retries_max: arguments.retries,
        lines_per_second: arguments.rate.or(series.then_some(SERIES_RATE)).filter(|rate| *rate > 0),
        small_writer: series,
    };
    Ok((workload, options))
}

fn measures_starts(arguments: &Arguments) -> bool {
    matches!(arguments.preset, Preset::Start | Preset::History)
}

fn programs(arguments: &Arguments) -> Result<Vec<Program>, String> {
    let mut programs = Vec::new();
    if arguments.only != Some(Only::Influxd) {
        let path = arguments.millrace.clone();
        if !path.is_file() {
            return Err(format!("{}: not there; build it, or give --millrace PATH", path.display()));
        }
        programs.push(Program { kind: Kind::Millrace, path, arguments: arguments.millrace_arg.clone() });
    }
    if arguments.only != Some(Only::Millrace) {
        let on_path = || {
            let directories = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&directories).map(|directory| directory.join("influxd")).find(|path| path.is_file())
        };
        let path = arguments.influxd.clone().or_else(on_path).ok_or_else(|| server::STOCK_HELP.to_owned())?;
        programs.push(Program { kind: Kind::Stock, path, arguments: Vec::new() });
    }
    Ok(programs)
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let (workload, options) = workload(arguments)?;
    let programs = programs(arguments)?;
    std::fs::create_dir_all(&arguments.directory).map_err(|error| error.to_string())?;
    let directory = arguments.directory.canonicalize().map_err(|error| error.to_string())?;

    let progress = bar("preparing", workload.lines);
    let bodies = match measures_starts(arguments) {
        // Prepared while they are sent.
        true => Vec::new(),
        false => generate::bodies(&workload, |lines| progress.inc(lines)),
    };
    progress.finish_and_clear();
    println!(
        "{:?}: {} lines of {} bytes in {} requests over {} connections, {} series, seed {}",
        arguments.preset,
        workload.lines,
        workload.shape.line_bytes(),
        workload.lines.div_ceil(workload.body_lines as u64),
        options.connections,
        workload.series_met(),
        workload.seed
    );
    let run = Run { arguments, workload, options, programs, directory, bodies };
    if measures_starts(arguments) { run.starts() } else { run.loads() }
}

type Answers = Vec<Result<Vec<Rows>, String>>;

/// What every round does again.
struct Run<'a> {
    arguments: &'a Arguments,
    workload: Workload,
    options: drive::Options,
    programs: Vec<Program>,
    directory: PathBuf,
    bodies: Vec<Body>,
}

impl Run<'_> {
    fn loads(&self) -> Result<bool, String> {
        let progress = bar("computing the answers", 0);
        let checks = if self.arguments.no_queries { Vec::new() } else { check::checks(&self.workload) };
        progress.finish_and_clear();
        let mut rounds = Vec::new();
        let mut differences = Vec::new();
        for round in 0..self.round_count() {
            let mut answers = Vec::new();
            for program in &self.programs {
                let mut server = self.start(program)?;
                let (measured, rows) = self.measure(&server, &self.label(program, round), &checks)?;
                server.stop()?;
                rounds.push(measured);
                answers.push((program.kind, rows));
            }
            compare(round, &checks, &answers, &mut differences);
        }
        report::print_table(&rounds, &self.workload);
        self.write_json(|| report::json(&rounds, &self.workload, self.options.connections, &differences))?;
        match differences.len() {
            0 => println!("spot queries: {} asked of each server, all right", checks.len()),
            count => println!("spot queries: {count} differences\n{}", differences.join("\n")),
        }
        Ok(differences.is_empty())
    }

    fn starts(&self) -> Result<bool, String> {
        let ends = self.arguments.end.map_or(vec![End::Kill, End::Stop], |end| vec![end]);
        let history = matches!(self.arguments.preset, Preset::History);
        let log_mib = self.arguments.log_mib.unwrap_or(if history { 1024 } else { 0 });
        let amounts = (self.workload.lines, log_mib << 20);
        // The log takes as many more as it needs.
        let workload =
            Workload { lines: if log_mib > 0 { u64::MAX } else { self.workload.lines }, ..self.workload.clone() };
        let mut starts = Vec::new();
        for round in 0..self.round_count() {
            for program in &self.programs {
                let mut server = self.start(program)?;
                let label = self.label(program, round);
                starts.extend(start::measure(&mut server, &label, &workload, amounts, &self.options, &ends)?);
                server.stop()?;
            }
        }
        start::print_table(&starts, &ends);
        self.write_json(|| start::json(&starts, &self.workload, self.options.connections))?;
        Ok(true)
    }

    fn round_count(&self) -> usize {
        self.arguments.rounds.max(1)
    }

    fn label(&self, program: &Program, round: usize) -> String {
        format!("{} {}/{}", program.kind.name(), round + 1, self.round_count())
    }

    /// A server with an empty database.
    fn start(&self, program: &Program) -> Result<Server, String> {
        let server = Server::start(program, &self.directory, self.arguments.keep)?;
        let mut client = Client::connect(server.address).map_err(|error| error.to_string())?;
        let created = client.query("", &format!("CREATE DATABASE {}", generate::DATABASE));
        let created = created.map_err(|error| error.to_string())?;
        match created.status {
            200 => Ok(server),
            _ => Err(format!("CREATE DATABASE: {}", String::from_utf8_lossy(&created.body))),
        }
    }

    fn write_json(&self, json: impl FnOnce() -> Value) -> Result<(), String> {
        let Some(path) = &self.arguments.json else { return Ok(()) };
        std::fs::write(path, format!("{:#}\n", json())).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn measure(&self, server: &Server, label: &str, checks: &[Check]) -> Result<(Measured, Answers), String> {
        let lines = self.workload.lines;
        let progress = bar(label, lines);
        let memory_idle = server.memory_now()?;
        let cpu_before = server.cpu_seconds()?;
        let load = drive::run(server.address, &self.bodies, &self.options, |lines| progress.inc(lines));
        let load = load.map_err(|text| format!("{label}: {text}"))?;
        let cpu_seconds = server.cpu_seconds()? - cpu_before;
        progress.finish_and_clear();
        println!("{label}: {:.0} lines/s, {cpu_seconds:.2} s of CPU", lines as f64 / load.seconds);

        let longest = Duration::from_secs(self.arguments.settle_seconds);
        let (settled, counters) = settle::settle(server, label, longest)?;
        let latency = &load.latency;
        let mut measured = Measured {
            kind: server.kind,
            seconds: load.seconds,
            cpu_seconds,
            cpu_seconds_settled: server.cpu_seconds()? - cpu_before,
            latency_us: [latency.value_at_quantile(0.5), latency.value_at_quantile(0.99), latency.max()],
            small_us: load.small.map(|small| small.max()),
            memory_idle,
            memory_peak: server.memory_peak()?,
            memory_settled: server.memory_now()?,
            disk_bytes: server.disk_bytes(),
            written_bytes: server.written_bytes()?,
            write_amplification: counters.write_amplification(),
            settled,
            retries: load.retries,
            query_seconds: None,
        };
        let progress = bar(&format!("{label} queries"), checks.len() as u64);
        let asked = Instant::now();
        let ask = |check: &Check| {
            // A fresh connection for each, so that one that ends badly does not spoil the next.
            let mut client = Client::connect(server.address).map_err(|error| error.to_string())?;
            let rows = check::ask(&mut client, &check.query);
            progress.inc(1);
            rows
        };
        let rows = checks.iter().map(ask).collect();
        measured.query_seconds = (!checks.is_empty()).then(|| asked.elapsed().as_secs_f64());
        progress.finish_and_clear();
        Ok((measured, rows))
    }
}

/// Each server against the generator, and the two against each other.
fn compare(round: usize, checks: &[Check], answers: &[(Kind, Answers)], differences: &mut Vec<String>) {
    for (index, check) in checks.iter().enumerate() {
        let mut name = |who: &str, found: Vec<String>| {
            for place in found {
                differences.push(format!("round {}, {}, {who}: {place}\n    {}", round + 1, check.name, check.query));
            }
        };
        for (kind, rows) in answers {
            match &rows[index] {
                Ok(rows) => {
                    name(&format!("{} against the generator", kind.name()), check::differences(rows, &check.expected));
                }
                Err(text) => name(kind.name(), vec![text.clone()]),
            }
        }
        if let [(_, ours), (_, stock)] = answers
            && let (Ok(ours), Ok(stock)) = (&ours[index], &stock[index])
        {
            name("millrace against influxd", check::differences(ours, stock));
        }
    }
}

fn bar(label: &str, length: u64) -> ProgressBar {
    let style = "{msg:30} {wide_bar} {human_pos}/{human_len} {per_sec} {elapsed}";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(label.to_owned())
}
