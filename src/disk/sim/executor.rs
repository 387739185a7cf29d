//! Runs tasks on one thread, one step at a time, in an order drawn from the seed.
//!
//! Time stands still while a task can run; when none can, it jumps to the next timer.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;

use crate::disk::sim::Faults;
use crate::disk::sim::SimDisk;

/// Tasks over one simulated machine. See the module.
pub struct Simulation {
    disk: SimDisk,
    tasks: Vec<Task>,
    next_task: u64,
}

struct Task {
    id: u64,
    future: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<Flag>,
}

/// A task is ready when its flag is set. An atomic only because wakers must be [`Send`].
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Flag>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a task returned, once it has.
#[derive(Debug)]
pub struct Outcome<T>(Rc<RefCell<Option<T>>>);

impl<T> Outcome<T> {
    /// Whether the task has ended.
    pub fn is_there(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// What it returned.
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }
}

impl Simulation {
    /// A machine with an empty disk.
    pub fn new(seed: u64, faults: Faults) -> Simulation {
        Simulation { disk: SimDisk::new(seed, faults), tasks: Vec::new(), next_task: 0 }
    }

    /// The disk and clock of the machine.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Adds a task.
    pub fn spawn<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> Outcome<T> {
        let outcome = Outcome(Rc::new(RefCell::new(None)));
        let slot = outcome.0.clone();
        let future = Box::pin(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        self.next_task += 1;
        self.tasks.push(Task { id: self.next_task, future, flag: Arc::new(Flag(AtomicBool::new(true))) });
        outcome
    }

    /// Lets one task take one step; false when none ever can again.
    pub fn step(&mut self) -> bool {
        loop {
            let ready: Vec<usize> =
                (0..self.tasks.len()).filter(|&index| self.tasks[index].flag.0.load(Ordering::Relaxed)).collect();
            if ready.is_empty() {
                if !self.disk.next_timer() {
                    return false;
                }
                continue;
            }
            let index = ready[self.disk.choose(ready.len())];
            self.poll(index);
            return true;
        }
    }

    fn poll(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        self.disk.note(format_args!("run task {}", task.id));
        task.flag.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.flag.clone());
        if let Poll::Ready(()) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            // Not a plain drop in place: what a task owns may wake others when it goes.
            let task = self.tasks.swap_remove(index);
            drop(task);
        }
    }

    /// Takes up to `steps` steps, fewer when `done` or nothing is left to do; whether `done`.
    pub fn run_until(&mut self, steps: u64, done: impl Fn() -> bool) -> bool {
        for _ in 0..steps {
            if done() || !self.step() {
                break;
            }
        }
        done()
    }

    /// Runs `future` to its end, with everything else going on beside it.
    ///
    /// # Panics
    /// When it cannot end: nothing is left that could wake it, or ten million steps were not enough.
    pub fn block_on<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let outcome = self.spawn(future);
        self.run_until(10_000_000, || outcome.is_there());
        outcome.take().expect("a task that is waited for ends")
    }

    /// The power fails: tasks and unsynced state are gone, as the seed will have it.
    pub fn crash(&mut self) {
        self.tasks.clear();
        self.disk.power_loss();
    }

    /// The process is killed: tasks are gone, what was handed to the device arrives.
    pub fn kill(&mut self) {
        self.tasks.clear();
        self.disk.process_loss();
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}
