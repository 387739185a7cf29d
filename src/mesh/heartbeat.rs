//! Wakes an executor now and then, so that a wake-up that glommio misses costs little.
//!
//! glommio 0.9.0 takes any completion in its latency ring for a sign to preempt. One that arrives between its last look
//! at the rings and its first look at the task queues makes it run no task; if nobody waits for that completion (the
//! preemption timer, a wake-up of a core that is awake already), it goes to sleep with tasks that are ready, until
//! something else wakes it. Whether it sleeps is decided between these two looks, where no code of ours runs, so the
//! gap cannot be closed from here; but a timer bounds the sleep.
//!
//! A beat costs some 50 us of CPU, nearly all of it in system calls. While tasks run, beats follow each other quickly;
//! each that finds nothing but itself to have run since the last makes the pause four times as long. What crosses the
//! mesh brings the quick beats back, so a core at rest can miss only the first event of new work, and only when the
//! kernel takes the processor away for milliseconds just then.

use std::cell::Cell;
use std::time::Duration;

use futures_lite::future::or;

use crate::stdx::notify::Notify;

/// Pause while tasks run.
const SHORTEST: Duration = Duration::from_millis(10);
/// Pause of a core at rest.
const LONGEST: Duration = Duration::from_millis(320);

/// The beat of one core.
#[derive(Debug, Default)]
pub struct Heartbeat {
    is_resting: Cell<bool>,
    work: Notify,
}

impl Heartbeat {
    /// Beats on this executor for as long as it is polled.
    pub async fn beat(&self) {
        let mut pause = SHORTEST;
        loop {
            self.is_resting.set(pause > SHORTEST);
            let work = self.work.notified();
            let is_woken = or(
                async {
                    work.await;
                    true
                },
                async {
                    glommio::timer::sleep(pause).await;
                    false
                },
            );
            let is_woken = is_woken.await;
            // Counted since the last call: the beat before this one, and whatever else ran.
            let ran = glommio::executor().executor_stats().tasks_executed();
            pause = next_pause(pause, is_woken || ran > 1);
        }
    }

    /// There is work: beats are quick from now on.
    pub fn quicken(&self) {
        if self.is_resting.replace(false) {
            self.work.notify_all();
        }
    }
}

fn next_pause(pause: Duration, has_worked: bool) -> Duration {
    if has_worked { SHORTEST } else { (pause * 4).min(LONGEST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_at_rest_up_to_a_bound_and_work_makes_them_short() {
        let at_rest = std::iter::successors(Some(SHORTEST), |pause| Some(next_pause(*pause, false)));
        let pauses: Vec<u128> = at_rest.take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [10, 40, 160, 320, 320, 320]);
        assert_eq!(next_pause(LONGEST, true), SHORTEST);
    }
}
