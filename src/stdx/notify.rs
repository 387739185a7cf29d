//! Wakes the tasks of one thread that wait for a change.
//!
//! A waiter looks at the state itself: it makes the future first, looks, and only then awaits, so that no change can
//! slip in between. [`Notify::notify_all`] wakes every future made before it.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

/// See the module.
#[derive(Debug, Default)]
pub struct Notify {
    version: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.version.set(self.version.get() + 1);
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// Ends with the first [`Notify::notify_all`] after this call (not after the first poll).
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, version: self.version.get() }
    }
}

/// See [`Notify::notified`].
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    version: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.version.get() != self.version {
            return Poll::Ready(());
        }
        let mut wakers = self.notify.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future;

    use super::*;

    #[test]
    fn a_change_between_look_and_wait_is_not_missed() {
        let notify = Notify::default();
        let waiting = notify.notified();
        notify.notify_all();
        future::block_on(waiting);
    }

    #[test]
    fn a_waiter_sleeps_until_the_change() {
        let notify = Notify::default();
        future::block_on(async {
            let mut waiting = Box::pin(notify.notified());
            assert!(future::poll_once(&mut waiting).await.is_none());
            notify.notify_all();
            assert!(future::poll_once(&mut waiting).await.is_some());
        });
    }
}
