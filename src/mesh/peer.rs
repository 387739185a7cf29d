//! What one core knows of one other core: frames that wait to be sent, asks that wait for an answer, and the room
//! left for more.
//!
//! Owns:  the outgoing queue towards one peer. Bounded without ever refusing an answer: asks are bounded by the
//!        credits below, and answers by the credits of the peer that asked.
//! In:    frames from this core's tasks.
//! Out:   frames, in order, to the one task that sends to this peer.
//!
//! Room is counted in asks and in bytes. An ask keeps its room until it is answered, also when nobody waits for the
//! answer any more: the peer still works on it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::task::Waker;

use futures_channel::oneshot;

/// What crosses between two cores.
pub(super) enum Frame<Q, A> {
    /// Please do this, and answer with this id.
    Ask { id: u64, request: Q },
    /// The answer to the ask of this id.
    Answer { id: u64, answer: A },
    /// Nothing comes after this: the core stops.
    Leaving,
}

/// How much one core may have in flight towards one other.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Asks that are not answered yet.
    pub asks: usize,
    /// Bytes in them. One larger ask may go alone.
    pub bytes: usize,
}

pub(super) struct Peer<Q, A> {
    room: Room,
    outgoing: RefCell<VecDeque<Frame<Q, A>>>,
    sender: Cell<Option<Waker>>,
    pending: RefCell<HashMap<u64, Pending<Q, A>>>,
    last_id: Cell<u64>,
    used: Cell<Room>,
    waiting: RefCell<VecDeque<Waiting<Q, A>>>,
    gone: Cell<bool>,
    watchers: RefCell<Vec<oneshot::Sender<()>>>,
}

struct Pending<Q, A> {
    answer: oneshot::Sender<A>,
    _credit: Credit<Q, A>,
}

struct Waiting<Q, A> {
    bytes: usize,
    granted: oneshot::Sender<Credit<Q, A>>,
}

/// The peer has left or is leaving.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Room for one ask; given back when dropped.
pub(super) struct Credit<Q, A> {
    peer: Option<Rc<Peer<Q, A>>>,
    bytes: usize,
}

impl<Q, A> Drop for Credit<Q, A> {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.give_back(self.bytes);
            peer.grant();
        }
    }
}

impl<Q, A> Peer<Q, A> {
    pub(super) fn new(room: Room) -> Rc<Peer<Q, A>> {
        Rc::new(Peer {
            room,
            outgoing: RefCell::default(),
            sender: Cell::default(),
            pending: RefCell::default(),
            last_id: Cell::new(0),
            used: Cell::new(Room { asks: 0, bytes: 0 }),
            waiting: RefCell::default(),
            gone: Cell::new(false),
            watchers: RefCell::default(),
        })
    }

    /// Waits until an ask of `bytes` may go; first come, first served.
    pub(super) async fn credit(self: &Rc<Self>, bytes: usize) -> Result<Credit<Q, A>, Gone> {
        if self.gone.get() {
            return Err(Gone);
        }
        // One who stopped waiting must not keep the place in front of this one.
        self.grant();
        if self.waiting.borrow().is_empty() && self.fits(bytes) {
            return Ok(self.take(bytes));
        }
        let (granted, credit) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiting { bytes, granted });
        credit.await.map_err(|_| Gone)
    }

    /// Queues an ask; the receiver fails if the peer leaves first.
    pub(super) fn ask(&self, credit: Credit<Q, A>, request: Q) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        if self.gone.get() {
            return answered;
        }
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        self.pending.borrow_mut().insert(id, Pending { answer, _credit: credit });
        self.push(Frame::Ask { id, request });
        answered
    }

    /// The peer answered.
    pub(super) fn answered(&self, id: u64, answer: A) {
        let pending = self.pending.borrow_mut().remove(&id);
        assert!(pending.is_some() || self.gone.get(), "a peer answers each ask once");
        // The one who asked may have stopped waiting.
        let _ = pending.map(|pending| pending.answer.send(answer));
    }

    /// Queues a frame for the sending task; dropped when the peer is gone.
    pub(super) fn push(&self, frame: Frame<Q, A>) {
        if self.gone.get() {
            return;
        }
        self.outgoing.borrow_mut().push_back(frame);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// The next frame to send. Only the one sending task calls it.
    pub(super) async fn next_outgoing(&self) -> Frame<Q, A> {
        poll_fn(|context| match self.outgoing.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => {
                self.sender.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// The peer left: whoever waits for it learns now, and nothing more is sent to it but our own leaving.
    pub(super) fn set_gone(&self) {
        if self.gone.replace(true) {
            return;
        }
        let outgoing = self.outgoing.take();
        let waiting = self.waiting.take();
        let pending = self.pending.take();
        let watchers = self.watchers.take();
        // The sending task must end, and ends with this frame; the peer reads it or not.
        self.outgoing.borrow_mut().push_back(Frame::Leaving);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
        drop((outgoing, waiting, pending, watchers));
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Ends when the peer leaves.
    pub(super) async fn left(&self) {
        if self.gone.get() {
            return;
        }
        let (kept, dropped) = oneshot::channel();
        self.watchers.borrow_mut().push(kept);
        let _ = dropped.await;
    }

    fn fits(&self, bytes: usize) -> bool {
        let used = self.used.get();
        used.asks == 0 || (used.asks < self.room.asks && used.bytes + bytes <= self.room.bytes)
    }

    fn take(self: &Rc<Self>, bytes: usize) -> Credit<Q, A> {
        let used = self.used.get();
        self.used.set(Room { asks: used.asks + 1, bytes: used.bytes + bytes });
        Credit { peer: Some(Rc::clone(self)), bytes }
    }

    fn give_back(&self, bytes: usize) {
        let used = self.used.get();
        assert!(used.asks > 0);
        assert!(used.bytes >= bytes);
        self.used.set(Room { asks: used.asks - 1, bytes: used.bytes - bytes });
    }

    fn grant(self: &Rc<Self>) {
        while let Some(next) = self.next_waiting() {
            let bytes = next.bytes;
            let credit = self.take(bytes);
            if let Err(mut refused) = next.granted.send(credit) {
                // It stopped waiting. Given back here, not by the credit's drop: that would come back into this loop.
                refused.peer = None;
                self.give_back(bytes);
            }
        }
    }

    fn next_waiting(&self) -> Option<Waiting<Q, A>> {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front()?.granted.is_canceled() {
            waiting.pop_front();
        }
        if !self.fits(waiting.front()?.bytes) {
            return None;
        }
        waiting.pop_front()
    }
}
