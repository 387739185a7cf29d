//! How the benches time: the fastest of some rounds, since the machine is shared.

use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// The least time `work` took of this thread in `rounds` rounds, without what others took of the core.
pub fn fastest(rounds: u32, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = cpu_time();
        work();
        cpu_time() - start
    };
    (0..rounds).map(round).min().unwrap_or_default()
}

/// What this thread has taken so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
