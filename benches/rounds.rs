//! How the benches time: the fastest of some rounds, since the machine is shared.

use std::time::Duration;
use std::time::Instant;

/// The least time `work` took in `rounds` rounds.
pub fn fastest(rounds: u32, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..rounds).map(round).min().unwrap_or_default()
}
