//! Replays recorded exchanges of InfluxDB 1.8.10 against the real binary.
//!
//! `passing.txt` names the scenarios that must pass; it only grows. With `MILLRACE_BLESS=1` what passes now is added.
//! Arguments are parts of scenario names or groups to play; `-v` shows the differences of the others too.
//! `recorded/` holds our scenarios; those of a neighbouring `../shared/conformance/suite` (MILLRACE_SHARED names
//! another place) are played when they are there.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test may block")]

mod compare;
mod datum;
#[path = "../api/process.rs"]
mod process;
mod replay;
mod scenario;
#[path = "../api/wire.rs"]
mod wire;

use replay::Outcome;
use scenario::Scenario;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    scenario::self_check();
    datum::self_check();
    compare::self_check();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let is_verbose = arguments.iter().any(|argument| argument == "-v");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let all = scenarios();
    let chosen = |scenario: &&Scenario| {
        wanted.is_empty() || wanted.iter().any(|part| scenario.name.contains(*part) || scenario.group.contains(*part))
    };
    let mut by_config: BTreeMap<&str, Vec<&Scenario>> = BTreeMap::new();
    for scenario in all.iter().filter(chosen) {
        by_config.entry(&scenario.config).or_default().push(scenario);
    }
    let mut outcomes: Vec<Outcome> =
        by_config.iter().flat_map(|(config, scenarios)| replay::play(config, scenarios)).collect();
    if wanted.is_empty() {
        outcomes.extend(configs().iter().map(|config| replay::try_start(config)));
    }
    let listed = listed();
    report(&outcomes, &listed, is_verbose)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn list_path() -> PathBuf {
    folder().join("passing.txt")
}

/// Names of the configurations, as the scenarios use them.
fn configs() -> BTreeSet<String> {
    let listing = std::fs::read_dir(folder().join("configs")).expect("the folder is part of the repository");
    let stem = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("the folder can be listed").path();
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
    };
    listing.filter_map(stem).collect()
}

fn scenarios() -> Vec<Scenario> {
    let mut all = scenario::load(&folder().join("recorded"));
    let shared = std::env::var_os("MILLRACE_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let suite = shared.join("conformance/suite");
    if suite.is_dir() {
        all.extend(scenario::load(&suite));
    }
    all
}

fn listed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(list_path()).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Prints what went wrong, and grows the list when asked to.
fn report(outcomes: &[Outcome], listed: &BTreeSet<String>, is_verbose: bool) -> ExitCode {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut listed_passed, mut listed_failed) = (0, 0);
    let mut passed = BTreeSet::new();
    for outcome in outcomes {
        let group = groups.entry(&outcome.group).or_default();
        let is_listed = listed.contains(&outcome.name);
        if outcome.differences.is_empty() {
            group.0 += 1;
            listed_passed += usize::from(is_listed);
            passed.insert(outcome.name.clone());
            continue;
        }
        group.1 += 1;
        listed_failed += usize::from(is_listed);
        if is_listed || is_verbose {
            println!("{} {}", if is_listed { "FAIL" } else { "not yet" }, outcome.name);
            outcome.differences.iter().for_each(|line| println!("  {line}"));
        }
    }
    for (group, (good, bad)) in groups.iter().filter(|(_, (_, bad))| *bad > 0) {
        println!("group {group:<22} {good:4} passed {bad:4} failed");
    }
    let new = passed.difference(listed).count();
    if std::env::var("MILLRACE_BLESS").is_ok_and(|value| value == "1") && new > 0 {
        let lines: Vec<&str> = listed.union(&passed).map(String::as_str).collect();
        std::fs::write(list_path(), lines.join("\n") + "\n").expect("the list can be written");
        println!("{new} scenarios added to the list");
    }
    println!("all: {} of {} pass, {new} of them not listed before", passed.len(), outcomes.len());
    println!("listed: {listed_passed} passed, {listed_failed} failed");
    if listed_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
