//! The transport under two and three real executors.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use glommio::LocalExecutorBuilder;

use crate::mesh::Handler;
use crate::mesh::Heartbeat;
use crate::mesh::MeshError;
use crate::mesh::Room;
use crate::mesh::Weigh;
use crate::mesh::transport;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum Ask {
    Add(u64),
    /// Answered only after `Release`.
    Hold(usize),
    Release,
    Leave,
}

impl Weigh for Ask {
    fn bytes(&self) -> usize {
        if let Ask::Hold(bytes) = self { *bytes } else { 8 }
    }
}

type Mesh = transport::Mesh<Ask, u64>;

/// What the test's handler keeps on one core.
#[derive(Default)]
struct Core {
    seen: RefCell<Vec<(usize, u64)>>,
    held: RefCell<Vec<oneshot::Sender<()>>>,
    released: Cell<bool>,
    leave: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Core {
    fn handler(self: Rc<Self>) -> Rc<Handler<Ask, u64>> {
        Rc::new(move |from, ask| -> Pin<Box<dyn Future<Output = u64>>> {
            let core = Rc::clone(&self);
            if let Ask::Add(number) = ask {
                core.seen.borrow_mut().push((from, number));
            }
            Box::pin(async move { core.answer(ask).await })
        })
    }

    async fn answer(&self, ask: Ask) -> u64 {
        match ask {
            Ask::Add(number) => number + 1,
            Ask::Hold(_) if self.released.get() => 0,
            Ask::Hold(_) => {
                let (sender, receiver) = oneshot::channel();
                self.held.borrow_mut().push(sender);
                let _ = receiver.await;
                0
            }
            Ask::Release => {
                self.released.set(true);
                self.held.take().into_iter().for_each(|held| held.send(()).unwrap_or(()));
                0
            }
            Ask::Leave => {
                self.leave.take().into_iter().for_each(|leave| leave.send(()).unwrap_or(()));
                0
            }
        }
    }
}

/// As in the server.
fn start_heartbeat() -> Rc<Heartbeat> {
    let heartbeat = Rc::new(Heartbeat::default());
    let beating = Rc::clone(&heartbeat);
    glommio::spawn_local(async move { beating.beat().await }).detach();
    heartbeat
}

/// Runs `lead` on core 0 of `core_count`; the others answer until core 0 leaves or says they shall.
fn run<F: Future<Output = ()> + 'static>(core_count: usize, room: Room, lead: fn(Mesh, Rc<Core>) -> F) {
    let start = |seat| {
        let work = move || async move {
            let core = Rc::new(Core::default());
            let (leave, told) = oneshot::channel();
            core.leave.borrow_mut().push(leave);
            let mesh = Mesh::join(seat, room, start_heartbeat(), Rc::clone(&core).handler()).await;
            if mesh.core() == 0 {
                lead(mesh.clone(), core).await;
            } else {
                futures_lite::future::or(mesh.left(0), async { told.await.unwrap_or(()) }).await;
            }
            mesh.leave().await;
        };
        LocalExecutorBuilder::default().io_memory(1 << 20).spawn(work).unwrap()
    };
    let threads: Vec<_> = transport::seats(core_count).into_iter().map(start).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

const WIDE: Room = Room { asks: 1024, bytes: 64 << 20 };

async fn at_once(mesh: &Mesh, core: usize, asks: impl Iterator<Item = Ask>) -> Vec<Result<u64, MeshError>> {
    let calls: Vec<_> = asks
        .map(|ask| {
            let mesh = mesh.clone();
            glommio::spawn_local(async move { mesh.call(core, ask, LONG).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await);
    }
    answers
}

#[test]
fn every_core_answers_every_core_and_itself() {
    run(3, WIDE, |mesh, _| async move {
        for core in 0..3 {
            assert_eq!(mesh.call(core, Ask::Add(41), LONG).await, Ok(42));
        }
        assert_eq!(mesh.call_all(|| Ask::Add(1), LONG).await, [Ok(2), Ok(2), Ok(2)]);
    });
}

#[test]
fn one_core_alone_answers_itself() {
    run(1, WIDE, |mesh, _| async move {
        assert_eq!(mesh.call(0, Ask::Add(1), LONG).await, Ok(2));
        assert_eq!(mesh.call(0, Ask::Hold(1), SHORT).await, Err(MeshError::Late(0)));
    });
}

#[test]
fn requests_start_in_the_order_sent_although_the_queue_fills() {
    // More asks than room, more room than the queue has frames.
    run(2, Room { asks: 700, bytes: 1 << 20 }, |mesh, _| async move {
        let answers = at_once(&mesh, 1, (0..5_000).map(Ask::Add)).await;
        let expected: Vec<_> = (1..=5_000).map(Ok).collect();
        assert_eq!(answers, expected);
    });
    run(2, WIDE, |mesh, core| async move {
        // The same towards this core, seen by its handler.
        let answers = at_once(&mesh, 0, (0..100).map(Ask::Add)).await;
        assert_eq!(answers.len(), 100);
        let seen: Vec<_> = (0..100).map(|number| (0, number)).collect();
        assert_eq!(*core.seen.borrow(), seen);
    });
}

#[test]
fn all_cores_ask_all_cores_under_load_without_locking_up() {
    let start = |seat| {
        let work = move || async move {
            let core = Rc::new(Core::default());
            let room = Room { asks: 300, bytes: 1 << 20 };
            let mesh = Mesh::join(seat, room, start_heartbeat(), Rc::clone(&core).handler()).await;
            let tasks: Vec<_> = (0..mesh.core_count())
                .map(|target| {
                    let mesh = mesh.clone();
                    glommio::spawn_local(async move { at_once(&mesh, target, (0..3_000).map(Ask::Add)).await })
                })
                .collect();
            for task in tasks {
                assert!(task.await.iter().all(Result::is_ok));
            }
            // Each source's requests arrived in its order.
            for _ in 0..mesh.core_count() {
                let _ = mesh.call(0, Ask::Leave, LONG).await;
            }
            (mesh, core)
        };
        let work = move || async move {
            let (mesh, core) = work().await;
            // The others may still be asking: leave when all have said so.
            if mesh.core() == 0 {
                for other in 1..mesh.core_count() {
                    mesh.left(other).await;
                }
                for source in 0..mesh.core_count() {
                    let seen = core.seen.borrow();
                    let from_source = seen.iter().filter(|(from, _)| *from == source).map(|(_, number)| *number);
                    assert!(from_source.eq(0..3_000));
                }
            } else {
                while core.seen.borrow().len() < 3_000 * mesh.core_count() {
                    glommio::executor().yield_now().await;
                }
            }
            mesh.leave().await;
        };
        LocalExecutorBuilder::default().io_memory(1 << 20).spawn(work).unwrap()
    };
    let threads: Vec<_> = transport::seats(3).into_iter().map(start).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn without_room_a_call_waits_until_its_deadline_and_goes_on_when_there_is_room() {
    run(2, Room { asks: 2, bytes: 1 << 20 }, |mesh, _| async move {
        for _ in 0..2 {
            assert_eq!(mesh.call(1, Ask::Hold(8), SHORT).await, Err(MeshError::Late(1)));
        }
        // Both are still worked on, so there is no room.
        assert_eq!(mesh.call(1, Ask::Add(1), SHORT).await, Err(MeshError::Busy(1)));
    });
    run(3, Room { asks: 1, bytes: 1 << 20 }, |mesh, core| async move {
        // Core 0 cannot reach core 1 while this is held, so what it waits for is released by itself.
        let held = glommio::spawn_local({
            let mesh = mesh.clone();
            async move { mesh.call(0, Ask::Hold(8), LONG).await }
        });
        assert_eq!(at_once(&mesh, 1, (0..50).map(Ask::Add)).await.len(), 50);
        let _ = core.answer(Ask::Release).await;
        assert_eq!(held.await, Ok(0));
    });
}

#[test]
fn bytes_bound_what_is_in_flight_but_one_large_request_goes_alone() {
    run(2, Room { asks: 100, bytes: 1_000 }, |mesh, _| async move {
        assert_eq!(mesh.call(1, Ask::Hold(900), SHORT).await, Err(MeshError::Late(1)));
        assert_eq!(mesh.call(1, Ask::Hold(101), SHORT).await, Err(MeshError::Busy(1)));
        assert_eq!(mesh.call(1, Ask::Release, LONG).await, Ok(0));
        assert_eq!(mesh.call(1, Ask::Hold(5_000), LONG).await, Ok(0));
    });
}

#[test]
fn a_call_to_a_core_that_stops_fails_and_does_not_hang() {
    run(3, Room { asks: 4, bytes: 1 << 20 }, |mesh, _| async move {
        let held = glommio::spawn_local({
            let mesh = mesh.clone();
            // Four are worked on, the others wait for room.
            async move { at_once(&mesh, 1, (0..10).map(|_| Ask::Hold(8))).await }
        });
        assert_eq!(mesh.call(2, Ask::Leave, LONG).await, Ok(0));
        mesh.left(2).await;
        assert_eq!(mesh.call(2, Ask::Add(1), LONG).await, Err(MeshError::Gone(2)));
        // Core 1 still answers nothing; this core leaves, and its own calls end.
        mesh.leave().await;
        assert_eq!(held.await, [Err(MeshError::Gone(1)); 10]);
    });
}

#[test]
fn a_core_that_never_starts_is_gone() {
    let mut seats = transport::seats::<Ask, u64>(2);
    drop(seats.pop());
    let seat = seats.pop().unwrap();
    let work = move || async move {
        let mesh = Mesh::join(seat, WIDE, start_heartbeat(), Rc::new(Core::default()).handler()).await;
        assert_eq!(mesh.call(1, Ask::Add(1), LONG).await, Err(MeshError::Gone(1)));
        mesh.left(1).await;
        mesh.leave().await;
    };
    LocalExecutorBuilder::default().spawn(work).unwrap().join().unwrap();
}
