//! Wakes an executor now and then, so that a wake-up that glommio misses costs little.
//!
//! glommio 0.9.0 takes any completion in its latency ring for a sign to preempt. One that arrives between its last look
//! at the rings and its first look at the task queues makes it run no task; if nobody waits for that completion (the
//! preemption timer, a wake-up of a core that is awake already), it goes to sleep with tasks that are ready, until
//! something else wakes it. Whether it sleeps is decided between these two looks, where no code of ours runs, so the
//! gap cannot be closed from here; but a timer bounds the sleep. One of the tasks that are ready may be that of the
//! timer itself: so a thread outside of the executors watches the beats, and wakes a core whose beat is overdue.
//!
//! A beat costs some 50 us of CPU, nearly all of it in system calls. While tasks run, beats follow each other quickly;
//! each that finds nothing but itself to have run since the last makes the pause four times as long. What crosses the
//! mesh brings the quick beats back, so a core at rest can miss only the first event of new work, and only when the
//! kernel takes the processor away for milliseconds just then.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
#[allow(clippy::disallowed_types, reason = "a thread that is no core has to reach what it wakes")]
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::task::Poll;
use std::task::Waker;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use futures_lite::future::or;

use crate::stdx::notify::Notify;

/// Pause while tasks run.
const SHORTEST: Duration = Duration::from_millis(10);
/// Pause of a core at rest.
const LONGEST: Duration = Duration::from_millis(320);
/// How often the watch looks at all beats.
const LOOK: Duration = Duration::from_millis(50);
/// How late a beat may be: a core that works may have other things to do first.
const LATE_MS: u64 = 20;

/// The beat of one core.
#[derive(Debug, Default)]
pub struct Heartbeat {
    is_resting: Cell<bool>,
    work: Notify,
    pulse: Arc<Pulse>,
}

impl Heartbeat {
    /// One that can be watched.
    pub fn new(pulse: Arc<Pulse>) -> Heartbeat {
        Heartbeat { pulse, ..Heartbeat::default() }
    }

    /// Beats on this executor for as long as it is polled.
    pub async fn beat(&self) {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let _felt = Felt::of(&self.pulse, waker);
        let mut pause = SHORTEST;
        loop {
            self.pulse.expect_after(pause);
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

/// What can be seen of a beat from another thread.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "a thread that is no core has to reach what it wakes")]
pub struct Pulse {
    started: Instant,
    /// When the next beat is due, ms after `started`; the largest number: not at all.
    due_ms: AtomicU64,
    task: Mutex<Option<Waker>>,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { started: Instant::now(), due_ms: AtomicU64::new(u64::MAX), task: Default::default() }
    }
}

impl Pulse {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn expect_after(&self, pause: Duration) {
        self.due_ms.store(self.now_ms() + pause.as_millis() as u64, Ordering::Relaxed);
    }

    fn set_task(&self, waker: Option<Waker>) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    /// Wakes the core if its beat is late. A core that sleeps hears that even if the task is waiting to run already.
    fn rouse_if_late(&self, now_ms: u64) {
        if now_ms > self.due_ms.load(Ordering::Relaxed).saturating_add(LATE_MS) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.iter().for_each(Waker::wake_by_ref);
        }
    }
}

/// While this lives, a pulse can be felt. The executor's own thread drops what wakes it.
struct Felt<'a>(&'a Pulse);

impl<'a> Felt<'a> {
    fn of(pulse: &'a Pulse, waker: Waker) -> Felt<'a> {
        pulse.set_task(Some(waker));
        Felt(pulse)
    }
}

impl Drop for Felt<'_> {
    fn drop(&mut self) {
        self.0.set_task(None);
    }
}

/// The thread that watches the beats of all cores; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    thread: Option<JoinHandle<()>>,
    end: Option<mpsc::Sender<()>>,
}

impl Watch {
    /// Begins to watch.
    pub fn start(pulses: Vec<Arc<Pulse>>) -> io::Result<Watch> {
        let (end, ended) = mpsc::channel();
        let watch = move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                pulses.iter().for_each(|pulse| pulse.rouse_if_late(pulse.now_ms()));
            }
        };
        let thread = thread::Builder::new().name("heart-watch".to_owned()).spawn(watch)?;
        Ok(Watch { thread: Some(thread), end: Some(end) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end = None;
        // It only waits and wakes; nothing of it is worth an error.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn next_pause(pause: Duration, has_worked: bool) -> Duration {
    if has_worked { SHORTEST } else { (pause * 4).min(LONGEST) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_late_beat_is_called_for_until_it_comes_or_has_ended() {
        let count = Arc::new(Count::default());
        let pulse = Pulse::default();
        pulse.due_ms.store(100, Ordering::Relaxed);
        let felt = Felt::of(&pulse, Waker::from(Arc::clone(&count)));
        pulse.rouse_if_late(100 + LATE_MS);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        pulse.rouse_if_late(101 + LATE_MS);
        pulse.rouse_if_late(151 + LATE_MS);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        drop(felt);
        pulse.rouse_if_late(201 + LATE_MS);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn pauses_grow_at_rest_up_to_a_bound_and_work_makes_them_short() {
        let at_rest = std::iter::successors(Some(SHORTEST), |pause| Some(next_pause(*pause, false)));
        let pauses: Vec<u128> = at_rest.take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [10, 40, 160, 320, 320, 320]);
        assert_eq!(next_pause(LONGEST, true), SHORTEST);
    }
}
