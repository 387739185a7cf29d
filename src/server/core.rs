//! One core: everything it owns, and how it answers what the mesh asks.
//!
//! Owns:  the core's engine, executor, HTTP edge and its copy of the catalog; on core 0 also the [`Owner`].
//! In:    [`Request`]s of all cores, this one too. Out: their [`Response`]s.
//!
//! Parts come one after the other while the server starts: a request that comes before its part is refused.

use std::cell::Cell;
use std::cell::OnceCell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use glommio::Latency;
use glommio::Shares;
use glommio::TaskQueueHandle;
use rustls::ServerConfig;

use crate::config::Config;
use crate::disk::Clock;
use crate::disk::real::RealDisk;
use crate::exec::Executor;
use crate::exec::QueryId;
use crate::exec::lookup;
use crate::exec::view::View;
use crate::http::edge::Edge;
use crate::http::listen::Accepted;
use crate::http::tls::Tls;
use crate::ingest::Ingest;
use crate::ingest::owners::Target;
use crate::mesh::DeleteOrder;
use crate::mesh::Handler;
use crate::mesh::Mesh;
use crate::mesh::Opened;
use crate::mesh::Opening;
use crate::mesh::Parcel;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Catalog;
use crate::meta::auth;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::TimeRange;
use crate::server::options;
use crate::server::owner::Owner;
use crate::server::owners::CoreOwners;
use crate::server::running::Running;
use crate::server::running::Shared;
use crate::server::services::CoreServices;
use crate::server::statistics;
use crate::server::statistics::WriteCounters;
use crate::server::udp::Udp;
use crate::shard;
use crate::shard::Deletion;
use crate::shard::Engine;
use crate::shard::ShardView;
use crate::stdx::budget::Budget;
use crate::stdx::notify::Notify;

/// How long the connections of a core get to finish their requests when the server stops.
const DRAIN_WAIT: Duration = Duration::from_secs(8);
/// Requests may wait this long behind a slice of background work. Writes are acknowledged by a sync that takes longer.
const REQUEST_LATENCY: Duration = Duration::from_millis(2);
/// Longest a core looks away from its rings while other work keeps it busy. An executor at rest keeps glommio's 100 ms:
/// the longer, the less likely it misses a wake-up (see `mesh/heartbeat.rs`), and before its first task nobody could
/// wake it.
const TURN_MAX: Duration = Duration::from_millis(5);
/// Shares of the executor. A flush must keep up with the writes that cause it, but only when there is room.
const REQUEST_SHARES: usize = 1000;
const QUERY_SHARES: usize = 400;
const HANDSHAKE_SHARES: usize = 400;
const BACKGROUND_SHARES: usize = 150;

/// The task queues of one core.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Connections, mesh, writes and commits.
    pub requests: TaskQueueHandle,
    /// Fragments.
    pub queries: TaskQueueHandle,
    /// Of TLS. A crowd of new connections must not keep those that are open from their answers.
    pub handshakes: TaskQueueHandle,
    /// Flush, compaction and other work nobody waits for.
    pub background: TaskQueueHandle,
}

impl Queues {
    /// On this executor.
    pub fn create() -> Queues {
        let queue =
            |shares, latency, name| glommio::executor().create_task_queue(Shares::Static(shares), latency, name);
        Queues {
            requests: queue(REQUEST_SHARES, Latency::Matters(REQUEST_LATENCY), "requests"),
            queries: queue(QUERY_SHARES, Latency::Matters(TURN_MAX), "queries"),
            handshakes: queue(HANDSHAKE_SHARES, Latency::Matters(TURN_MAX), "handshakes"),
            background: queue(BACKGROUND_SHARES, Latency::Matters(TURN_MAX), "background"),
        }
    }
}

/// A core's shards once they are open.
pub struct Shards {
    /// The storage.
    pub engine: Rc<Engine<RealDisk>>,
    /// Runs fragments over it.
    pub executor: Rc<Executor<ShardView<RealDisk>>>,
}

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Shards are being opened.
    Starting,
    /// Requests are served.
    Serving,
    /// No new requests.
    Stopping,
}

/// See the module.
pub struct Core {
    /// From 0.
    pub number: usize,
    /// The settings.
    pub config: Arc<Config>,
    /// Shards of the data directory.
    pub shard_count: u16,
    /// Disk and clock.
    pub platform: RealDisk,
    /// When this core started, ns since 1970.
    pub started_ns: i64,
    /// Where work runs.
    pub queues: Queues,
    /// Writes of this core.
    pub writes: WriteCounters,
    /// The requests with statements that run on this core.
    pub running: Rc<Running>,
    /// Memory of one query on this core.
    pub query_bytes_max: usize,
    /// Memory of all queries of all cores.
    pub memory: Budget,
    /// Logins that were verified on this core.
    pub logins: RefCell<auth::Cache>,
    /// Why the data directory cannot be used from here, found before anything was asked.
    pub probe_error: RefCell<Option<io::Error>>,
    /// On core 0.
    pub owner: OnceCell<Owner>,
    /// On core 0: the UDP listeners, for their counters.
    pub udp: RefCell<Vec<Rc<Udp>>>,
    mesh: OnceCell<Mesh>,
    catalog: RefCell<Arc<Catalog>>,
    targets: RefCell<HashMap<(String, String), Rc<Target>>>,
    shards: OnceCell<Shards>,
    ingest: OnceCell<Ingest<CoreOwners>>,
    edge: OnceCell<Rc<Edge<CoreServices>>>,
    phase: Cell<Phase>,
    leave_asked: Cell<bool>,
    leave: Notify,
}

impl Core {
    /// A core without parts, on its executor.
    pub fn new(number: usize, config: Arc<Config>, shard_count: u16, shared: Arc<Shared>) -> Rc<Core> {
        let platform = RealDisk::new();
        let query_bytes = config.query.bytes_max.unwrap_or_else(options::query_bytes);
        let memory = Budget::new(shared.memory.clone(), options::query_total_bytes(&config));
        Rc::new(Core {
            number,
            writes: WriteCounters::default(),
            running: Running::new(shared, options::running(&config)),
            query_bytes_max: usize::try_from(query_bytes).unwrap_or(usize::MAX),
            memory,
            config,
            shard_count,
            started_ns: platform.now_ns(),
            platform,
            queues: Queues::create(),
            logins: RefCell::default(),
            probe_error: RefCell::default(),
            owner: OnceCell::new(),
            udp: RefCell::default(),
            mesh: OnceCell::new(),
            catalog: RefCell::default(),
            targets: RefCell::default(),
            shards: OnceCell::new(),
            ingest: OnceCell::new(),
            edge: OnceCell::new(),
            phase: Cell::new(Phase::Starting),
            leave_asked: Cell::new(false),
            leave: Notify::default(),
        })
    }

    /// Takes its place among the cores. Once.
    pub fn joined(self: &Rc<Self>, mesh: Mesh, tls: Option<Arc<ServerConfig>>) {
        assert!(self.mesh.set(mesh).is_ok(), "a core joins once");
        let services = CoreServices::new(Rc::clone(self));
        let mut options = options::http(&self.config, self.mesh().core_count());
        options.tls = tls.map(|config| Tls { config, queue: self.queues.handshakes });
        let edge = Edge::new(options, services, options::node(self.number), now_ns(self));
        assert!(self.edge.set(Rc::new(edge)).is_ok(), "a core has one edge");
        assert!(self.ingest.set(Ingest::new(CoreOwners::new(Rc::clone(self)))).is_ok(), "a core has one write path");
    }

    /// The other cores.
    pub fn mesh(&self) -> &Mesh {
        self.mesh.get().expect("work begins after the core has joined")
    }

    /// The write path.
    pub fn ingest(&self) -> &Ingest<CoreOwners> {
        self.ingest.get().expect("work begins after the core has joined")
    }

    /// The HTTP edge.
    pub fn edge(&self) -> &Rc<Edge<CoreServices>> {
        self.edge.get().expect("work begins after the core has joined")
    }

    /// The shards, once they are open.
    pub fn shards(&self) -> Option<&Shards> {
        self.shards.get()
    }

    /// The catalog as this core has it.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.borrow())
    }

    /// How far the server is.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Where a write to `policy` of `database` goes; found once for each catalog.
    pub fn target<E>(
        &self,
        database: &str,
        policy: &str,
        find: impl FnOnce(&Catalog) -> Result<Target, E>,
    ) -> Result<Rc<Target>, E> {
        let key = (database.to_owned(), policy.to_owned());
        if let Some(target) = self.targets.borrow().get(&key) {
            return Ok(Rc::clone(target));
        }
        let target = Rc::new(find(&self.catalog.borrow())?);
        self.targets.borrow_mut().insert(key, Rc::clone(&target));
        Ok(target)
    }

    /// Uses `catalog` from now on; what it no longer has is gone from the shards and from every memory of it.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        self.targets.borrow_mut().clear();
        if let Some(shards) = self.shards.get() {
            shards.engine.set_live(live(&catalog, self.config.data.max_series_per_database));
        }
        if let Some(ingest) = self.ingest.get() {
            ingest.retain(|database, policy| {
                catalog.database_by_id(database).is_some_and(|database| database.policy_by_id(policy).is_some())
            });
        }
        *self.catalog.borrow_mut() = catalog;
    }

    /// Ends when this core has been asked to leave.
    pub async fn told_to_leave(&self) {
        loop {
            let changed = self.leave.notified();
            if self.leave_asked.get() {
                return;
            }
            changed.await;
        }
    }

    /// What answers the mesh.
    pub fn handler(self: Rc<Self>) -> Rc<Handler<Request, Response>> {
        Rc::new(move |_, request| -> Pin<Box<dyn Future<Output = Response>>> {
            let core = Rc::clone(&self);
            Box::pin(async move { core.answer(request).await })
        })
    }

    async fn answer(self: &Rc<Self>, request: Request) -> Response {
        match request {
            Request::Write(batches, forgets, room) => match self.shards.get() {
                Some(shards) => Response::Written(shards.engine.write_within(batches, forgets, room).await),
                None => Response::Refused("the shards are not open yet"),
            },
            Request::KnownSeries(database, keys) => match self.shards.get() {
                Some(shards) => Response::Known(shards.engine.known_series(database, &keys)),
                None => Response::Refused("the shards are not open yet"),
            },
            Request::TagValues(database, asks) => match self.shards.get() {
                Some(shards) => Response::TagValues(shards.engine.tag_values(database, &asks)),
                None => Response::Refused("the shards are not open yet"),
            },
            Request::ForgetIds(database) => {
                self.ingest().forget(database);
                Response::Done
            }
            Request::Exec(query, request) => self.execute(query, request).await,
            Request::StopQuery(query) => {
                if let Some(shards) = self.shards.get() {
                    shards.executor.stop(query);
                }
                Response::Done
            }
            Request::Queries => Response::Queries(self.running.list()),
            Request::KillQuery(id) => Response::Kill(self.running.kill(id)),
            Request::ClaimFields(claims) => match self.owner.get() {
                Some(owner) => Response::Claimed(owner.claim(&claims).await),
                None => Response::Refused("only core 0 owns the schema"),
            },
            Request::Change(command) => match self.owner.get() {
                Some(owner) => Response::Changed(owner.change(*command).await),
                None => Response::Refused("only core 0 owns the catalog"),
            },
            Request::Catalog(catalog) => {
                self.set_catalog(catalog);
                Response::Done
            }
            Request::Delete(order) => Response::Deleted(self.delete(&order).await),
            Request::Forget(database, measurements) => Response::Deleted(self.forget(database, measurements).await),
            Request::Statistics => Response::Statistics(statistics::of_core(self)),
            Request::CountRequests(id) => {
                self.edge().requests.start(id);
                Response::Done
            }
            Request::CountedRequests(id) => Response::CountedRequests(self.edge().requests.end(id)),
            Request::Connection(parcel) => self.connect(parcel),
            Request::Open(opening) => Response::Opened(self.open(*opening).await.map(Box::new)),
            Request::OpenCold => Response::Opened(self.open_cold().await.map(Box::new)),
            Request::Drain => {
                self.drain().await;
                Response::Done
            }
            Request::Close => {
                if let Some(shards) = self.shards.get() {
                    shards.engine.close().await;
                }
                Response::Done
            }
            Request::Leave => {
                self.leave_asked.set(true);
                self.leave.notify_all();
                Response::Done
            }
        }
    }

    async fn delete(&self, order: &DeleteOrder) -> Result<(), String> {
        let shards = self.shards.get().ok_or("the shards are not open yet")?;
        let opened = shards.engine.opened(order.select.database, None, TimeRange::ALWAYS).await;
        opened.map_err(|error| error.to_string())?;
        let mut deletions = Vec::new();
        for view in shards.executor.views() {
            let series = lookup::select(view, &order.select)?;
            if !series.is_empty() {
                deletions.push(Deletion {
                    shard: view.shard(),
                    database: order.select.database,
                    series: Rc::new(series),
                    range: order.range,
                    forgotten: Vec::new(),
                });
            }
            view.yield_now().await;
        }
        if deletions.is_empty() {
            return Ok(());
        }
        shards.engine.delete(deletions).await.map_err(|error| error.to_string())
    }

    async fn forget(&self, database: DatabaseId, measurements: Vec<Bytes>) -> Result<(), String> {
        if let Some(owner) = self.owner.get() {
            owner.forget_measurements(database, &measurements).await;
        }
        self.ingest().forget(database);
        let shards = self.shards.get().ok_or("the shards are not open yet")?;
        let forgetting = |view: &ShardView<RealDisk>| Deletion {
            shard: view.shard(),
            database,
            series: Rc::default(),
            range: TimeRange { min: 0, max: -1 },
            forgotten: measurements.clone(),
        };
        let deletions = shards.executor.views().iter().map(forgetting).collect();
        shards.engine.delete(deletions).await.map_err(|error| error.to_string())
    }

    async fn open(&self, opening: Opening) -> Result<Opened, String> {
        if let Some(error) = self.probe_error.borrow().as_ref() {
            return Err(error.to_string());
        }
        let Opening { mut options, catalog, old_logs } = opening;
        options.core = u16::try_from(self.number).map_err(|_| "too many cores".to_owned())?;
        let live = live(&catalog, self.config.data.max_series_per_database);
        // Not among the requests: there each read of a log that ends would count as a wish to be preempted.
        let opened =
            glommio::spawn_local_into(Engine::open(self.platform, options, live, old_logs), self.queues.queries);
        let opened = opened.expect("the queue lives as long as the core").await;
        let (engine, recovery) = opened.map_err(|error| error.to_string())?;
        *self.catalog.borrow_mut() = catalog;
        let committing = Rc::clone(&engine);
        spawn(self.queues.requests, async move { committing.commit_loop().await });
        let flushing = Rc::clone(&engine);
        spawn(self.queues.background, async move { flushing.flush_loop().await });
        let compacting = Rc::clone(&engine);
        spawn(self.queues.background, async move { compacting.compact_loop().await });
        let (schema, cold) = (engine.schema(), engine.cold());
        let executor = Rc::new(Executor::within(engine.views(), self.memory.clone()));
        if self.shards.set(Shards { engine, executor }).is_err() {
            return Err("the shards are open already".to_owned());
        }
        self.phase.set(Phase::Serving);
        Ok(Opened { recovery, schema, cold })
    }

    async fn open_cold(&self) -> Result<Opened, String> {
        let shards = self.shards.get().ok_or("the shards are not open yet")?;
        let engine = Rc::clone(&shards.engine);
        let work = async move { engine.open_cold().await };
        let work = glommio::spawn_local_into(work, self.queues.queries).expect("the queue lives as long as the core");
        let recovery = work.await;
        Ok(Opened { recovery, schema: shards.engine.schema(), cold: Vec::new() })
    }

    async fn execute(&self, query: QueryId, request: crate::exec::Request) -> Response {
        let Some(shards) = self.shards.get() else { return Response::Refused("the shards are not open yet") };
        if let Some((database, policy, range)) = request.needs()
            && let Err(error) = shards.engine.opened(database, policy, range).await
        {
            return Response::Exec(crate::exec::Response::Failed(error.to_string()));
        }
        let executor = Rc::clone(&shards.executor);
        let work = async move { executor.handle_for(query, request).await };
        let work = glommio::spawn_local_into(work, self.queues.queries).expect("the queue lives as long as the core");
        Response::Exec(work.await)
    }

    fn connect(self: &Rc<Self>, parcel: Parcel) -> Response {
        match parcel.take::<Handover>() {
            Some(handover) if self.phase.get() == Phase::Serving => handover.serve(Rc::clone(self.edge())),
            // Dropped, and so closed.
            _ => return Response::Refused("this core does not serve connections now"),
        }
        Response::Done
    }

    async fn drain(&self) {
        self.phase.set(Phase::Stopping);
        let stop = self.edge().stop();
        stop.set();
        let late = async {
            glommio::timer::sleep(DRAIN_WAIT).await;
            tracing::warn!(core = self.number, connections = stop.open(), "requests were cut off by the stop");
        };
        or(stop.drained(), late).await;
    }
}

/// Runs a task of this core in one of its queues, to its end.
pub fn spawn(queue: TaskQueueHandle, work: impl Future<Output = ()> + 'static) {
    glommio::spawn_local_into(work, queue).expect("the queue lives as long as the core").detach();
}

fn now_ns(core: &Core) -> i64 {
    crate::disk::Clock::now_ns(&core.platform)
}

/// What shards must know of the catalog; a database may have `series_max` series, any number when that is 0.
pub fn live(catalog: &Catalog, series_max: u64) -> shard::Live {
    let mut live = shard::Live::default();
    for database in catalog.databases() {
        live.databases.insert(database.id);
        live.series.insert(database.id, Budget::new(database.series.clone(), series_max));
        live.forgets.insert(database.id, database.forgets.clone());
        for policy in &database.policies {
            let key = |group| shard::PartitionKey { database: database.id, policy: policy.id, group };
            let groups = policy.groups.iter().map(|group| (key(group.id), TimeRange::clone(&group.range())));
            live.groups.extend(groups);
        }
    }
    live
}

/// A connection on its way to its core; closed when nobody serves it.
#[derive(Debug)]
pub struct Handover(Option<Accepted>);

impl Handover {
    /// Wraps what was accepted.
    pub fn new(accepted: Accepted) -> Handover {
        Handover(Some(accepted))
    }

    /// Serves it on this core.
    pub fn serve(mut self, edge: Rc<Edge<CoreServices>>) {
        if let Some(accepted) = self.0.take() {
            accepted.serve(edge);
        }
    }
}

impl Drop for Handover {
    // An accepted stream is a bare descriptor that nobody else closes. Requests are only dropped on executors.
    fn drop(&mut self) {
        if let Some(accepted) = self.0.take() {
            accepted.refuse();
        }
    }
}
