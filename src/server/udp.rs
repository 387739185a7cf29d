//! One `[[udp]]` listener: datagrams of line protocol, written in batches by nobody in particular.
//!
//! Owns:  the batch being gathered and its deadline. Runs on core 0, whose write path it uses like a request.
//! In:    datagrams. One with any bad line is thrown away whole, as in stock.
//! Out:   a write for each batch; there is no one to tell how it went but the log and the counters.
//!
//! A batch is written when it has `batch-size` points, or `batch-timeout` after its first. While `batch-pending` of
//! them are being written nothing is received: what the socket cannot hold is lost, which is what UDP promises.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::UdpSocket as StdUdpSocket;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use futures_lite::future::or;
use glommio::Task;
use glommio::net::UdpSocket;

use crate::config::options::UdpOptions;
use crate::disk::Clock;
use crate::ingest::Session;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::line;
use crate::line::LineError;
use crate::line::Point;
use crate::line::Sink;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Command;
use crate::observe::Statistic;
use crate::observe::Value;
use crate::server::core;
use crate::server::core::Core;
use crate::server::owners::CoreOwners;
use crate::stdx::notify::Notify;

/// Largest datagram there can be.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Pause after a failed receive.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for the database to be made.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// How long the last batches get when the server stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// See the module.
pub struct Udp {
    core: Rc<Core>,
    options: UdpOptions,
    precision_ns: i64,
    parser: RefCell<line::Parser>,
    /// `None` also while a datagram is being added.
    batch: RefCell<Option<Batch>>,
    /// The database is there, or was once.
    is_ready: Cell<bool>,
    /// Batches being written.
    pending: Cell<u64>,
    changed: Notify,
    is_stopping: Cell<bool>,
    stopped: Notify,
    counters: Counters,
}

struct Batch {
    session: Session<CoreOwners>,
    points: u64,
    since: Instant,
}

#[derive(Default)]
struct Counters {
    points_received: Cell<i64>,
    bytes_received: Cell<i64>,
    parse_failures: Cell<i64>,
    read_failures: Cell<i64>,
    batches_sent: Cell<i64>,
    points_sent: Cell<i64>,
    batches_failed: Cell<i64>,
}

/// A listener that runs.
pub struct Running {
    udp: Rc<Udp>,
    receiving: Task<()>,
    watching: Task<()>,
}

impl Udp {
    /// Starts to receive from `socket`, on core 0.
    pub fn start(core: &Rc<Core>, options: UdpOptions, socket: StdUdpSocket) -> Running {
        let precision_ns = match options.precision {
            "u" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => 1,
        };
        tracing::info!(address = options.bind_address, database = options.database, "Listening on UDP");
        let udp = Rc::new(Udp {
            core: Rc::clone(core),
            precision_ns,
            options,
            parser: RefCell::new(line::Parser::new(line::Options { precision_ns, now_ns: 0 })),
            batch: RefCell::default(),
            is_ready: Cell::new(false),
            pending: Cell::new(0),
            changed: Notify::default(),
            is_stopping: Cell::new(false),
            stopped: Notify::default(),
            counters: Counters::default(),
        });
        core.udp.borrow_mut().push(Rc::clone(&udp));
        // SAFETY: the descriptor is a datagram socket, and its owner has just given it away.
        let socket = unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) };
        let (receiver, watcher) = (Rc::clone(&udp), Rc::clone(&udp));
        Running {
            udp,
            receiving: glommio::spawn_local(async move { receiver.receive(&socket).await }),
            watching: glommio::spawn_local(async move { watcher.watch().await }),
        }
    }

    async fn receive(self: &Rc<Self>, socket: &UdpSocket) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let stopped = self.stopped.notified();
            if self.is_stopping.get() {
                return;
            }
            let stopped = async {
                stopped.await;
                None
            };
            let Some(received) = or(async { Some(socket.recv_from(&mut buffer).await) }, stopped).await else { return };
            match received {
                Ok((length, _)) => self.take(&buffer[..length]).await,
                Err(error) => {
                    bump(&self.counters.read_failures, 1);
                    tracing::warn!("UDP receive failed: {error}");
                    glommio::timer::sleep(RECEIVE_PAUSE).await;
                }
            }
        }
    }

    /// Adds a datagram to the batch.
    async fn take(self: &Rc<Self>, datagram: &[u8]) {
        bump(&self.counters.bytes_received, datagram.len() as i64);
        let points = match self.count(datagram) {
            Ok(points) => points,
            Err(reason) => {
                bump(&self.counters.parse_failures, 1);
                tracing::warn!("UDP datagram thrown away: {reason}");
                return;
            }
        };
        bump(&self.counters.points_received, points as i64);
        if points == 0 {
            return;
        }
        let batch = self.batch.take();
        match self.add(batch, datagram, points).await {
            Ok(batch) if batch.points >= self.options.batch_size || self.is_due(&batch) => self.send(batch).await,
            Ok(batch) => {
                self.batch.replace(Some(batch));
                self.changed.notify_all();
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn add(&self, batch: Option<Batch>, datagram: &[u8], points: u64) -> Result<Batch, WriteError> {
        let mut batch = match batch {
            Some(batch) => batch,
            None => Batch { session: self.begin().await?, points: 0, since: Instant::now() },
        };
        batch.session.set_now(self.core.platform.now_ns());
        batch.session.feed(datagram, true).await?;
        batch.points += points;
        Ok(batch)
    }

    /// Opens a write; the first one makes the database.
    async fn begin(&self) -> Result<Session<CoreOwners>, WriteError> {
        let params = || WriteParams {
            database: self.options.database.clone(),
            policy: self.options.retention_policy.clone(),
            precision_ns: self.precision_ns,
            now_ns: self.core.platform.now_ns(),
        };
        match self.core.ingest().begin(params()) {
            Err(WriteError::DatabaseNotFound(name)) if !self.is_ready.get() => {
                let change = Command::CreateDatabase { name, policy: None };
                let answer = self.core.mesh().call(0, Request::Change(Box::new(change)), CHANGE_WAIT).await;
                match answer {
                    Ok(Response::Changed(Ok(_))) => self.core.ingest().begin(params()),
                    Ok(Response::Changed(Err(error))) => Err(WriteError::Storage(error.to_string())),
                    Ok(other) => Err(WriteError::Storage(format!("unexpected answer: {other:?}"))),
                    Err(error) => Err(WriteError::Storage(error.to_string())),
                }
            }
            outcome => outcome,
        }
        .inspect(|_| self.is_ready.set(true))
    }

    /// How many points a datagram has, or why a line of it is bad.
    fn count(&self, datagram: &[u8]) -> Result<u64, String> {
        let mut count = Count::default();
        self.parser.borrow_mut().parse(datagram, true, &mut count);
        match count.error {
            None => Ok(count.points),
            Some(reason) => Err(reason),
        }
    }

    fn is_due(&self, batch: &Batch) -> bool {
        batch.since.elapsed() >= self.timeout()
    }

    fn timeout(&self) -> Duration {
        Duration::from_nanos(self.options.batch_timeout_ns)
    }

    /// Writes batches whose time has come.
    async fn watch(self: &Rc<Self>) {
        loop {
            let changed = self.changed.notified();
            let left = self.batch.borrow().as_ref().map(|batch| self.timeout().saturating_sub(batch.since.elapsed()));
            match left {
                Some(Duration::ZERO) => {
                    let batch = self.batch.take();
                    if let Some(batch) = batch {
                        self.send(batch).await;
                    }
                }
                Some(left) => or(changed, glommio::timer::sleep(left)).await,
                None => changed.await,
            }
        }
    }

    /// Writes a batch while the next one is gathered, once there are not too many under way.
    async fn send(self: &Rc<Self>, batch: Batch) {
        loop {
            let changed = self.changed.notified();
            if self.pending.get() < self.options.batch_pending {
                break;
            }
            changed.await;
        }
        self.pending.set(self.pending.get() + 1);
        let udp = Rc::clone(self);
        core::spawn(self.core.queues.requests, async move {
            let outcome = batch.session.finish().await;
            udp.core.writes.count(&outcome);
            match outcome {
                Ok(_) => {
                    bump(&udp.counters.batches_sent, 1);
                    bump(&udp.counters.points_sent, batch.points as i64);
                }
                Err(error) => udp.failed(&error),
            }
            udp.pending.set(udp.pending.get() - 1);
            udp.changed.notify_all();
        });
    }

    fn failed(&self, error: &WriteError) {
        bump(&self.counters.batches_failed, 1);
        tracing::warn!(database = self.options.database, "UDP batch not written: {error}");
    }

    /// Stock's counters.
    pub fn statistic(&self) -> Statistic {
        let Counters {
            points_received,
            bytes_received,
            parse_failures,
            read_failures,
            batches_sent,
            points_sent,
            batches_failed,
        } = &self.counters;
        let value = |counter: &Cell<i64>| Value::Integer(counter.get());
        Statistic {
            name: "udp",
            tags: Some(vec![("bind", self.options.bind_address.clone())]),
            values: vec![
                ("batchesTx", value(batches_sent)),
                ("batchesTxFail", value(batches_failed)),
                ("bytesRx", value(bytes_received)),
                ("pointsParseFail", value(parse_failures)),
                ("pointsRx", value(points_received)),
                ("pointsTx", value(points_sent)),
                ("readFail", value(read_failures)),
            ],
        }
    }
}

impl Running {
    /// Receives no more, and writes what was received.
    pub async fn stop(self) {
        let Running { udp, receiving, watching } = self;
        udp.is_stopping.set(true);
        udp.stopped.notify_all();
        watching.cancel().await;
        let writing = async {
            // What it is adding to a batch is still added.
            receiving.await;
            let batch = udp.batch.take();
            if let Some(batch) = batch {
                udp.send(batch).await;
            }
            loop {
                let changed = udp.changed.notified();
                if udp.pending.get() == 0 {
                    return;
                }
                changed.await;
            }
        };
        or(writing, glommio::timer::sleep(STOP_WAIT)).await;
    }
}

fn bump(counter: &Cell<i64>, by: i64) {
    counter.set(counter.get() + by);
}

/// Looks at lines and keeps none.
#[derive(Default)]
struct Count {
    points: u64,
    error: Option<String>,
}

impl Sink for Count {
    fn point(&mut self, point: &Point<'_>) {
        self.points += 1;
        if let Err(reason) = line::canonical(point.raw_key) {
            self.error(&LineError { line: point.line, reason: &reason });
        }
    }

    fn error(&mut self, error: &LineError<'_>) {
        let text = || {
            let mut errors = line::Errors::default();
            errors.push(error);
            String::from_utf8_lossy(&errors.into_text()).into_owned()
        };
        self.error.get_or_insert_with(text);
    }
}
