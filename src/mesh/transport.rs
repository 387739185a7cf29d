//! Questions and answers between the cores of one process, whatever they say.
//!
//! Owns:  one bounded queue for each ordered pair of cores, one task that sends into each, one that receives from each.
//! In:    a request for another core, from any task.
//! Out:   its answer, or an error; never neither.
//!
//! ```text
//! core 0   call --> credit --> outgoing --> send task ==queue==> receive task --> handler task   core 1
//!          call <-- pending <-- receive task <==queue== send task <-- outgoing <-- answer
//! ```
//!
//! A receive task never waits for anything but the next frame, so a full queue always empties and two cores that ask
//! each other cannot lock up. Requests of one core to another start in the order they were sent; they may end in
//! any order. A request once sent is carried out to its end, also when the caller no longer waits.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_lite::future::or;
use glommio::channels::shared_channel;
use glommio::channels::shared_channel::ConnectedReceiver;
use glommio::channels::shared_channel::ConnectedSender;
use glommio::channels::shared_channel::SharedReceiver;
use glommio::channels::shared_channel::SharedSender;
use glommio::timer::Timer;

use crate::mesh::heartbeat::Heartbeat;
use crate::mesh::peer::Frame;
use crate::mesh::peer::Peer;
use crate::mesh::peer::Room;

/// Frames one queue between two cores holds. Below 128 each fill and drain parks and wakes a core (25 us of CPU).
const QUEUE_FRAMES: usize = 256;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// The core had too much to do until the deadline; it was not asked.
    #[error("core {0} is overloaded")]
    Busy(usize),
    /// It was asked, and did not answer before the deadline. It may still do what it was asked.
    #[error("core {0} did not answer in time")]
    Late(usize),
    /// The core stops or has stopped. It may have done what it was asked.
    #[error("core {0} has stopped")]
    Gone(usize),
}

/// A request that knows its size, for the bound on bytes in flight.
pub trait Weigh {
    /// Bytes it keeps in memory, about.
    fn bytes(&self) -> usize;
}

/// What answers requests: the number of the core that asked, and the request.
pub type Handler<Q, A> = dyn Fn(usize, Q) -> Pin<Box<dyn Future<Output = A>>>;

type Sending<Q, A> = SharedSender<Frame<Q, A>>;
type Receiving<Q, A> = SharedReceiver<Frame<Q, A>>;
type Ends<Q, A> = Option<(Sending<Q, A>, Receiving<Q, A>)>;

/// One core's ends of the queues, before that core runs. Made on one thread, sent to another.
pub struct Seat<Q: Send, A: Send> {
    core: usize,
    /// One for each core; `None` for itself.
    ends: Vec<Ends<Q, A>>,
}

/// The seats of `core_count` cores.
pub fn seats<Q: Send, A: Send>(core_count: usize) -> Vec<Seat<Q, A>> {
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for source in 0..core_count {
        let (row_senders, row_receivers): (Vec<_>, Vec<_>) = (0..core_count)
            .map(|target| (source != target).then(|| shared_channel::new_bounded(QUEUE_FRAMES)))
            .map(Option::unzip)
            .unzip();
        senders.push(row_senders);
        receivers.push(row_receivers);
    }
    let seat = |(core, row): (usize, Vec<Option<Sending<Q, A>>>)| {
        let receivers = receivers.iter_mut().map(|row| row[core].take());
        Seat { core, ends: row.into_iter().zip(receivers).map(|(sender, receiver)| sender.zip(receiver)).collect() }
    };
    senders.into_iter().enumerate().map(seat).collect()
}

/// This core's place in the mesh; clones are the same place.
pub struct Mesh<Q, A> {
    inner: Rc<Inner<Q, A>>,
}

struct Inner<Q, A> {
    core: usize,
    /// One for each core; the one of this core is never used.
    peers: Vec<Rc<Peer<Q, A>>>,
    handler: Rc<Handler<Q, A>>,
    heartbeat: Rc<Heartbeat>,
    /// Each ends when the task that sends to this core has sent all.
    senders: RefCell<Vec<(usize, oneshot::Receiver<()>)>>,
}

impl<Q, A> Clone for Mesh<Q, A> {
    fn clone(&self) -> Mesh<Q, A> {
        Mesh { inner: Rc::clone(&self.inner) }
    }
}

impl<Q: Send + Weigh + 'static, A: Send + 'static> Mesh<Q, A> {
    /// Takes the seat, on the executor of its core; waits until all cores have. Requests are answered from now on, and
    /// all that comes or goes quickens the core's heartbeat.
    pub async fn join(
        seat: Seat<Q, A>,
        room: Room,
        heartbeat: Rc<Heartbeat>,
        handler: Rc<Handler<Q, A>>,
    ) -> Mesh<Q, A> {
        let core = seat.core;
        let peers: Vec<_> = seat.ends.iter().map(|_| Peer::new(room)).collect();
        // All ends at once: each waits for its other end, so one after the other could wait for each other.
        let joining: Vec<_> = seat
            .ends
            .into_iter()
            .map(|ends| {
                let (sender, receiver) = ends?;
                Some((glommio::spawn_local(sender.connect()), glommio::spawn_local(receiver.connect())))
            })
            .collect();
        let mut senders = Vec::new();
        for (peer_core, tasks) in joining.into_iter().enumerate() {
            let Some((sender, receiver)) = tasks else { continue };
            let (done, ended) = oneshot::channel();
            glommio::spawn_local(send(Rc::clone(&peers[peer_core]), sender.await, done)).detach();
            let peer = Rc::clone(&peers[peer_core]);
            let incoming = receive(peer_core, peer, receiver.await, Rc::clone(&heartbeat), Rc::clone(&handler));
            glommio::spawn_local(incoming).detach();
            senders.push((peer_core, ended));
        }
        Mesh { inner: Rc::new(Inner { core, peers, handler, heartbeat, senders: RefCell::new(senders) }) }
    }

    /// This core's number.
    pub fn core(&self) -> usize {
        self.inner.core
    }

    /// Cores in the mesh.
    pub fn core_count(&self) -> usize {
        self.inner.peers.len()
    }

    /// Asks a core, and waits for the answer no longer than `within`. A call to this same core skips the queue.
    pub async fn call(&self, core: usize, request: Q, within: Duration) -> Result<A, MeshError> {
        self.inner.heartbeat.quicken();
        let mut timer = Timer::new(within);
        if core == self.core() {
            let answered = self.call_here(request);
            return race(answered, &mut timer).await.ok_or(MeshError::Late(core))?.map_err(|_| MeshError::Gone(core));
        }
        let peer = &self.inner.peers[core];
        let credit = race(peer.credit(request.bytes()), &mut timer).await.ok_or(MeshError::Busy(core))?;
        let answered = peer.ask(credit.map_err(|_| MeshError::Gone(core))?, request);
        race(answered, &mut timer).await.ok_or(MeshError::Late(core))?.map_err(|_| MeshError::Gone(core))
    }

    /// Asks all cores the same at once, this one too; answers in the order of the cores.
    pub async fn call_all(&self, request: impl Fn() -> Q, within: Duration) -> Vec<Result<A, MeshError>> {
        let call = |core| {
            let (mesh, request) = (self.clone(), request());
            glommio::spawn_local(async move { mesh.call(core, request, within).await })
        };
        let calls: Vec<_> = (0..self.core_count()).map(call).collect();
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(call.await);
        }
        answers
    }

    // A task of its own, so that a caller who stops waiting does not stop the work half-way, as with another core.
    fn call_here(&self, request: Q) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        let work = (self.inner.handler)(self.core(), request);
        glommio::spawn_local(async move {
            let _ = answer.send(work.await);
        })
        .detach();
        answered
    }

    /// Ends when `core` has left.
    pub async fn left(&self, core: usize) {
        self.inner.peers[core].left().await;
    }

    /// Tells all cores that this one stops; ends when they have been told. Their pending calls to this core fail, and
    /// so do this core's to them.
    pub async fn leave(&self) {
        for peer in &self.inner.peers {
            peer.push(Frame::Leaving);
        }
        let senders = self.inner.senders.take();
        for (core, ended) in senders {
            // A peer that has left no longer empties its queue: what waits for room there waits for ever.
            or(self.left(core), async { ended.await.unwrap_or(()) }).await;
        }
        for peer in &self.inner.peers {
            peer.set_gone();
        }
    }
}

/// What `work` gives, unless the timer ends first.
async fn race<R>(work: impl Future<Output = R>, timer: &mut Timer) -> Option<R> {
    or(async { Some(work.await) }, async {
        timer.await;
        None
    })
    .await
}

async fn send<Q: Send, A: Send>(
    peer: Rc<Peer<Q, A>>,
    sender: ConnectedSender<Frame<Q, A>>,
    _done: oneshot::Sender<()>,
) {
    loop {
        let frame = peer.next_outgoing().await;
        let last = matches!(frame, Frame::Leaving);
        // Once the peer is gone nobody empties the queue: only what still fits goes out.
        let sent = if peer.is_gone() { sender.try_send(frame) } else { sender.send(frame).await };
        if sent.is_err() {
            peer.set_gone();
        }
        if last || sent.is_err() {
            return;
        }
    }
}

async fn receive<Q: Send + 'static, A: Send + 'static>(
    core: usize,
    peer: Rc<Peer<Q, A>>,
    receiver: ConnectedReceiver<Frame<Q, A>>,
    heartbeat: Rc<Heartbeat>,
    handler: Rc<Handler<Q, A>>,
) {
    while let Some(frame) = receiver.recv().await {
        heartbeat.quicken();
        match frame {
            Frame::Ask { id, request } => {
                let work = handler(core, request);
                let peer = Rc::clone(&peer);
                glommio::spawn_local(async move { peer.push(Frame::Answer { id, answer: work.await }) }).detach();
            }
            Frame::Answer { id, answer } => peer.answered(id, answer),
            Frame::Leaving => break,
        }
    }
    peer.set_gone();
    // Keeps the queue's end: a sender that waits for room in a queue without receiver would spin.
    std::mem::forget(receiver);
}
