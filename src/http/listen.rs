//! Accepting connections on one core and spreading them over all of them.
//!
//! The kernel's own spreading (one listener for each core) hashes addresses: with two cores and four clients, one core
//! often gets all. So one core accepts, and gives each connection to the core with the fewest open ones.
//!
//! Owns:  one count for each core, shared by all; touched once when a connection begins and once when it ends.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use glommio::net::AcceptedTcpStream;
use glommio::net::TcpListener;

use crate::http::conn;
use crate::http::edge::Edge;
use crate::http::services::Services;

/// Pause after a failed accept: the usual cause, no descriptors left, does not go away by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Open connections of every core.
#[derive(Clone, Debug)]
pub struct Slots {
    counts: Arc<[AtomicUsize]>,
    /// Most of all cores together; 0: no limit.
    connections_max: usize,
}

/// The place of one open connection; it is free again when this is dropped.
#[derive(Debug)]
pub struct Slot {
    counts: Arc<[AtomicUsize]>,
    core: usize,
}

impl Slots {
    /// Places on `cores` cores.
    pub fn new(cores: usize, connections_max: usize) -> Slots {
        assert!(cores > 0, "no core to serve connections");
        Slots { counts: (0..cores).map(|_| AtomicUsize::new(0)).collect(), connections_max }
    }

    /// A place on the core that has the fewest connections; `None` when there are as many as allowed.
    pub fn take(&self) -> Option<Slot> {
        // One core accepts, so nobody else adds; a connection that ends meanwhile only makes room.
        let counts: Vec<usize> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        if self.connections_max > 0 && counts.iter().sum::<usize>() >= self.connections_max {
            return None;
        }
        let core = (0..counts.len()).min_by_key(|core| counts[*core])?;
        self.counts[core].fetch_add(1, Ordering::Relaxed);
        Some(Slot { counts: self.counts.clone(), core })
    }

    /// Open connections of all cores.
    pub fn open(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Slot {
    /// The core this place is on.
    pub fn core(&self) -> usize {
        self.core
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counts[self.core].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where connections come in.
#[derive(Debug)]
pub struct Door {
    /// The listening socket.
    pub listener: TcpListener,
    /// Whether they are encrypted, as [`super::Options::tls`] says.
    pub is_tls: bool,
}

/// A connection on its way to the core that serves it.
#[derive(Debug)]
#[must_use = "a connection that is neither served nor refused stays open"]
pub struct Accepted {
    stream: AcceptedTcpStream,
    is_tls: bool,
    slot: Slot,
}

impl Accepted {
    /// The core that is to serve it.
    pub fn core(&self) -> usize {
        self.slot.core()
    }

    /// Serves it on this core, in a task of its own.
    pub fn serve<S: Services>(self, edge: Rc<Edge<S>>) {
        let Accepted { stream, is_tls, slot } = self;
        let stream = stream.bind_to_executor();
        // Asked of the bound stream: glommio closes an accepted one whose peer has already gone, and then binds it.
        let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        // Answers are written whole; waiting to fill a segment only adds delay. A socket that refuses is still served.
        let _ = stream.set_nodelay(true);
        glommio::spawn_local(async move {
            match &edge.options.tls {
                Some(tls) if is_tls => {
                    if let Some(stream) = tls.accept(stream, &peer, &edge).await {
                        conn::serve(stream, peer, Rc::clone(&edge)).await;
                    }
                }
                _ => conn::serve(stream, peer, edge).await,
            }
            drop(slot);
        })
        .detach();
    }

    /// Closes it.
    pub fn refuse(self) {
        close(self.stream);
    }
}

/// Accepted streams do not close themselves; bound ones do.
fn close(stream: AcceptedTcpStream) {
    drop(stream.bind_to_executor());
}

/// Accepts until `stop` is ready. `hand_over` sends a connection to [`Accepted::core`] and gives it back when that core
/// cannot take it; then it is closed.
pub async fn accept<F, R>(doors: &[Door], slots: &Slots, stop: impl Future<Output = ()>, hand_over: F)
where
    F: Fn(Accepted) -> R,
    R: Future<Output = Result<(), Accepted>>,
{
    let hand_over = &hand_over;
    let accepting = doors.iter().map(|Door { listener, is_tls }| async move {
        loop {
            match listener.shared_accept().await {
                Ok(stream) => match slots.take() {
                    Some(slot) => {
                        if let Err(accepted) = hand_over(Accepted { stream, is_tls: *is_tls, slot }).await {
                            accepted.refuse();
                        }
                    }
                    None => close(stream),
                },
                Err(error) => {
                    tracing::warn!(target: "httpd", "accept failed: {error}");
                    glommio::timer::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    let mut accepting: Vec<_> = accepting.map(Box::pin).collect();
    let all = std::future::poll_fn(|context| {
        // None of them ends.
        accepting.iter_mut().for_each(|one: &mut std::pin::Pin<Box<_>>| {
            let _: std::task::Poll<()> = Future::poll(one.as_mut(), context);
        });
        std::task::Poll::<()>::Pending
    });
    futures_lite::future::or(stop, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_the_core_with_the_fewest() {
        let slots = Slots::new(2, 0);
        let first = slots.take().unwrap();
        let second = slots.take().unwrap();
        let third = slots.take().unwrap();
        assert_eq!((first.core(), second.core(), third.core()), (0, 1, 0));
        drop(first);
        drop(third);
        assert_eq!(slots.take().unwrap().core(), 0);
        assert_eq!(slots.open(), 1);
    }

    #[test]
    fn the_limit_counts_all_cores() {
        let slots = Slots::new(2, 2);
        let held = (slots.take(), slots.take());
        assert!(slots.take().is_none());
        drop(held.0);
        assert!(slots.take().is_some());
    }
}
