//! Bounds the writes that one core serves at the same time; the others wait in a queue, itself bounded.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

/// A write was not let in. 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Throttled {
    /// As many are waiting as may.
    #[error("request throttled, queue full")]
    QueueFull,
    /// It waited as long as it may.
    #[error("request throttled, exceeds timeout")]
    Timeout,
}

/// How many may run and wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Running at once on this core; 0: no limit.
    pub running_max: usize,
    /// Waiting; 0: no limit.
    pub waiting_max: usize,
    /// Longest wait; zero: for ever.
    pub wait_max: Duration,
}

/// The gate of one core.
#[derive(Debug, Default)]
pub struct Throttle {
    bounds: Bounds,
    running: Cell<usize>,
    next_ticket: Cell<u64>,
    /// First in, first out.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

/// A place inside; dropping it lets the next one in.
#[derive(Debug)]
pub struct Permit<'a>(&'a Throttle);

/// A place in the queue; dropping it (the client went away) gives it up.
struct Ticket<'a> {
    throttle: &'a Throttle,
    number: u64,
}

impl Throttle {
    /// A gate with these bounds.
    pub fn new(bounds: Bounds) -> Throttle {
        Throttle { bounds, ..Throttle::default() }
    }

    /// Waits for a place.
    pub async fn enter(&self) -> Result<Permit<'_>, Throttled> {
        if self.has_room() && self.waiting.borrow().is_empty() {
            return Ok(self.admit());
        }
        if self.bounds.waiting_max > 0 && self.waiting.borrow().len() >= self.bounds.waiting_max {
            return Err(Throttled::QueueFull);
        }
        if self.bounds.wait_max.is_zero() {
            return Ok(self.queue().await);
        }
        let late = async {
            glommio::timer::sleep(self.bounds.wait_max).await;
            Err(Throttled::Timeout)
        };
        futures_lite::future::or(async { Ok(self.queue().await) }, late).await
    }

    fn has_room(&self) -> bool {
        self.bounds.running_max == 0 || self.running.get() < self.bounds.running_max
    }

    fn admit(&self) -> Permit<'_> {
        self.running.set(self.running.get() + 1);
        Permit(self)
    }

    async fn queue(&self) -> Permit<'_> {
        let ticket = Ticket { throttle: self, number: self.next_ticket.get() };
        self.next_ticket.set(ticket.number + 1);
        poll_fn(|cx| {
            let mut waiting = self.waiting.borrow_mut();
            let at = waiting.iter().position(|(number, _)| *number == ticket.number);
            if at.unwrap_or(waiting.len()) == 0 && self.has_room() {
                return Poll::Ready(());
            }
            match at {
                Some(at) => waiting[at].1.clone_from(cx.waker()),
                None => waiting.push_back((ticket.number, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await;
        self.admit()
        // The ticket leaves the queue here and wakes the next: there may be room for it too.
    }

    fn wake_first(&self) {
        if self.has_room()
            && let Some((_, waker)) = self.waiting.borrow().front()
        {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.wake_first();
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.throttle.waiting.borrow_mut().retain(|(number, _)| *number != self.number);
        self.throttle.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_lite::future::block_on;
    use futures_lite::future::poll_once;

    use super::*;

    fn throttle(running_max: usize, waiting_max: usize) -> Throttle {
        Throttle::new(Bounds { running_max, waiting_max, wait_max: Duration::ZERO })
    }

    #[test]
    fn without_a_limit_everybody_gets_in() {
        let throttle = throttle(0, 0);
        let held: Vec<_> = (0..100).map(|_| block_on(throttle.enter()).unwrap()).collect();
        assert_eq!(held.len(), 100);
    }

    #[test]
    fn who_waits_gets_in_in_order_and_a_full_queue_refuses() {
        block_on(async {
            let throttle = throttle(1, 2);
            let first = throttle.enter().await.unwrap();
            let mut second = Box::pin(throttle.enter());
            let mut third = pin!(throttle.enter());
            assert!(poll_once(second.as_mut()).await.is_none());
            assert!(poll_once(third.as_mut()).await.is_none());
            assert_eq!(throttle.enter().await.unwrap_err(), Throttled::QueueFull);
            drop(first);
            assert!(poll_once(third.as_mut()).await.is_none(), "second comes first");
            drop(second);
            let permit = poll_once(third.as_mut()).await.expect("the queue has moved on").unwrap();
            drop(permit);
            assert!(throttle.enter().await.is_ok());
        });
    }
}
