//! The storage engine on a disk that fails: several cores in one thread, crashes at any await, all from one seed.
//!
//! Holds: after every start, each acknowledged point is there once, with its newest value; of a write that was not
//! acknowledged all or nothing is there, and that stays so; nothing else is there. One seed twice gives one trace.
//!
//! A seed that fails is printed; `MILLRACE_SEED=n` runs that one alone and prints every step of the machine.
//! `MILLRACE_SEEDS=n` runs so many fresh ones.

mod aggregates;
mod life;
mod model;
mod run;

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Always the same seeds, so that a change is judged by what judged the last one.
const FIXED_SEEDS: u64 = 100;
/// And new ones, so that every run looks somewhere new.
const FRESH_SEEDS: u64 = 200;

fn check(seed: u64, shown: bool) -> u64 {
    let outcome = std::panic::catch_unwind(|| life::live(seed, shown));
    assert!(outcome.is_ok(), "replay with MILLRACE_SEED={seed}");
    outcome.unwrap_or_default()
}

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_was_acknowledged_survives_whatever_the_disk_does() {
    if let Some(seed) = given("MILLRACE_SEED") {
        check(seed, true);
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let fresh = given("MILLRACE_SEEDS").unwrap_or(FRESH_SEEDS);
    (0..FIXED_SEEDS).chain(now..now + fresh).for_each(|seed| {
        check(seed, false);
    });
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..10 {
        assert_eq!(check(seed, false), check(seed, false), "seed {seed}");
    }
}
