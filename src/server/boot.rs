//! How the server starts: one executor for each core, the mesh between them, shards opened, then the listener.
//!
//! ```text
//! main thread   bind, signals, spawn executors, join them
//! every core    probe the disk, join the mesh, answer it until told to leave
//! core 0        load the catalog, Open on all cores, fill the schema registry, accept, OpenCold on all cores, stop
//! ```
//!
//! Core 0 drives; the others only answer. The address is taken before any data is touched. A failure anywhere ends all
//! cores with one text.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures_channel::oneshot;
use futures_lite::future::or;
use glommio::LocalExecutorBuilder;
use glommio::Placement;
use glommio::net::TcpListener;
use rustls::ServerConfig;

use crate::background;
use crate::background::monitor;
use crate::background::monitor::Monitor;
use crate::config::Config;
use crate::disk::Disk;
use crate::disk::File;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::disk::real::RealDisk;
use crate::http::listen;
use crate::http::listen::Door;
use crate::http::listen::Slots;
use crate::mesh;
use crate::mesh::Heartbeat;
use crate::mesh::Mesh;
use crate::mesh::Opened;
use crate::mesh::Opening;
use crate::mesh::Parcel;
use crate::mesh::Pulse;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::mesh::Room;
use crate::mesh::Seat;
use crate::mesh::Watch;
use crate::meta;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::observe;
use crate::server::core;
use crate::server::core::Core;
use crate::server::core::Handover;
use crate::server::layout::Layout;
use crate::server::options;
use crate::server::owner;
use crate::server::owner::Owner;
use crate::server::running::Shared;
use crate::server::services::CoreServices;
use crate::server::snapshots::Snapshots;
use crate::server::sockets::Sockets;
use crate::server::stop;
use crate::server::udp::Udp;
use crate::shard::OldLogs;
use crate::shard::Recovery;

/// Buffers that each executor registers with the kernel; memory that may be locked is short by default.
const IO_MEMORY_BYTES: usize = 10 << 20;
/// Submissions one ring holds. glommio has three for each executor.
const RING_DEPTH: usize = 512;
/// What one core may have in flight towards another: writes wait for a sync there, so many small ones are normal.
const MESH_ROOM: Room = Room { asks: 1024, bytes: 64 << 20 };
/// Longest wait for all shards to open. Replay runs at hundreds of MiB/s; this is for the worst of disks.
const OPEN_WAIT: Duration = Duration::from_secs(3600);
/// Longest wait for a core to take a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// What core 0 needs on top.
struct Lead {
    sockets: Sockets,
    signal: oneshot::Receiver<()>,
}

/// What all cores are started with.
#[derive(Clone)]
struct Start {
    config: Arc<Config>,
    dir: Arc<Path>,
    shard_count: u16,
    shared: Arc<Shared>,
    tls: Option<Arc<ServerConfig>>,
}

/// Serves until a signal, over TLS if there is something to make it from; the error says why it could not.
pub fn run(
    config: Config,
    core_count: u32,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    layout: &Layout,
) -> Result<(), String> {
    let core_count = u16::try_from(core_count).map_err(|_| format!("{core_count} cores are too many"))?;
    abort_on_panic();
    raise_descriptor_limit();
    use_small_pages();
    let sockets = Sockets::bind(&config, address)?;
    let mut lead = Some(Lead { sockets, signal: stop::on_signal()? });
    let start = Start {
        config: Arc::new(config),
        dir: Arc::from(&*layout.dir),
        shard_count: layout.shard_count,
        shared: Arc::default(),
        tls,
    };
    let processors = usable_processors();
    let pulses: Vec<Arc<Pulse>> = (0..core_count).map(|_| Arc::default()).collect();
    let watch = Watch::start(pulses.clone()).map_err(|error| format!("the watch over the cores: {error}"))?;
    let mut threads = Vec::new();
    for (core, seat) in mesh::seats(usize::from(core_count)).into_iter().enumerate() {
        let (start, lead, pulse) = (start.clone(), lead.take(), Arc::clone(&pulses[core]));
        let placement = match processors.get(core) {
            Some(&processor) if usize::from(core_count) <= processors.len() => Placement::Fixed(processor),
            _ => Placement::Unbound,
        };
        let thread = LocalExecutorBuilder::new(placement)
            .name("core")
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .spawn(move || run_core(core, seat, start, lead, pulse));
        threads.push(thread.map_err(|error| format!("core {core} cannot be started: {error}"))?);
    }
    let outcomes = threads.into_iter().enumerate().map(|(core, thread)| match thread.join() {
        Ok(outcome) => outcome,
        Err(error) => Err(format!("core {core} cannot be started: {error}")),
    });
    // All are joined before the first error is looked at; one that could not start says more than those it stopped.
    let mut errors: Vec<String> = outcomes.filter_map(Result::err).collect();
    drop(watch);
    errors.sort_by_key(|error| !error.contains("cannot be started"));
    errors.into_iter().next().map_or(Ok(()), Err)
}

async fn run_core(
    number: usize,
    seat: Seat,
    start: Start,
    lead: Option<Lead>,
    pulse: Arc<Pulse>,
) -> Result<(), String> {
    let core = Core::new(number, Arc::clone(&start.config), start.shard_count, Arc::clone(&start.shared));
    let queue = core.queues.requests;
    let heartbeat = Rc::new(Heartbeat::new(pulse));
    let beating = Rc::clone(&heartbeat);
    let beating = glommio::spawn_local(async move { beating.beat().await });
    let work = async move {
        let probed = core.platform.probe(&start.dir).await;
        *core.probe_error.borrow_mut() = probed.err();
        let mesh = Mesh::join(seat, MESH_ROOM, heartbeat, Rc::clone(&core).handler()).await;
        core.joined(mesh.clone(), start.tls.clone());
        let outcome = match lead {
            Some(lead) => serve(&core, &start, lead).await,
            None => {
                or(core.told_to_leave(), mesh.left(0)).await;
                Ok(())
            }
        };
        mesh.leave().await;
        outcome
    };
    // Everything the core does for requests is spawned from here, and so in this queue.
    let outcome = glommio::spawn_local_into(work, queue).map_err(|error| error.to_string())?.await;
    beating.cancel().await;
    outcome
}

/// Core 0, from start to stop.
async fn serve(core: &Rc<Core>, start: &Start, lead: Lead) -> Result<(), String> {
    let Lead { sockets: Sockets { tcp, unix, udp }, mut signal } = lead;
    let opened = or(async { Some(open_all(core, start).await) }, async {
        let _ = (&mut signal).await;
        None
    })
    .await;
    match opened {
        Some(Ok(())) => {}
        Some(Err(text)) => {
            stop::leave_others(core.mesh()).await;
            return Err(text);
        }
        // Stopped while it started: nothing was acknowledged, and the logs are as they were.
        None => {
            stop::leave_others(core.mesh()).await;
            return Ok(());
        }
    }
    let address = tcp.local_addr().map_err(|error| error.to_string())?;
    let udp: Vec<_> = udp.into_iter().map(|(options, socket)| Udp::start(core, options, socket)).collect();
    let mut doors = vec![Door { listener: listening(tcp), is_tls: start.tls.is_some() }];
    if let Some(unix) = &unix {
        let listener = unix.listener.try_clone().map_err(|error| error.to_string())?;
        tracing::info!(address = ?unix.listener.local_addr().ok(), "Listening on unix socket");
        // An accepted stream is read and written in the same way whatever its family.
        doors.push(Door { listener: listening(listener), is_tls: false });
    }
    tracing::info!(%address, https = start.tls.is_some(), cores = core.mesh().core_count(), "Listening on HTTP");
    accept(core, &doors, async { signal.await.unwrap_or(()) }).await;
    // New connections are refused from here on.
    drop((doors, unix));
    let stopping = Instant::now();
    for listener in udp {
        listener.stop().await;
    }
    stop::stop_all(core.mesh()).await;
    tracing::info!(ms = stopping.elapsed().as_millis() as u64, "Stopped");
    Ok(())
}

/// A listening socket, for this executor.
fn listening(listener: impl IntoRawFd) -> TcpListener {
    // SAFETY: the descriptor is a listening socket, and its owner has just given it away.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

async fn accept(core: &Rc<Core>, doors: &[Door], stop: impl Future<Output = ()>) {
    let connections_max = usize::try_from(core.config.http.max_connection_limit).unwrap_or(usize::MAX);
    let slots = Slots::new(core.mesh().core_count(), connections_max);
    listen::accept(doors, &slots, stop, async |accepted| {
        let target = accepted.core();
        let handover = Handover::new(accepted);
        if target == core.number {
            handover.serve(Rc::clone(core.edge()));
        } else {
            // Not waited for: a core that is busy must not keep the others from their connections.
            let mesh = core.mesh().clone();
            let request = Request::Connection(Parcel::new(handover));
            core::spawn(core.queues.requests, async move {
                if let Err(error) = mesh.call(target, request, CONNECT_WAIT).await {
                    tracing::warn!("a connection was closed: {error}");
                }
            });
        }
        Ok(())
    })
    .await;
}

/// Loads the catalog and opens all shards; afterwards every core serves.
async fn open_all(core: &Rc<Core>, start: &Start) -> Result<(), String> {
    let started = Instant::now();
    if let Some(error) = core.probe_error.borrow().as_ref() {
        return Err(error.to_string());
    }
    let core_count = u16::try_from(core.mesh().core_count()).map_err(|_| "too many cores".to_owned())?;
    let (snapshots, catalog) = load_catalog(core, &start.dir).await?;
    let old_logs = OldLogs::list(&core.platform, &start.dir, usize::from(core_count));
    let old_logs = old_logs.await.map_err(|error| error.to_string())?;
    let generation = old_logs.next_generation();
    let owner = Owner::new(snapshots);
    let opening = Opening {
        options: options::engine(&start.config, &start.dir, start.shard_count, core_count, generation),
        catalog,
        old_logs,
    };
    let mut recovery = Recovery::default();
    let answers = core.mesh().call_all(|| Request::Open(Box::new(opening.clone())), OPEN_WAIT).await;
    for answer in answers {
        let opened = opened(answer)?;
        recovery.join(opened.recovery);
        owner.observe(&opened.schema);
        owner.expect(opened.cold);
    }
    let ms = started.elapsed().as_millis() as u64;
    tracing::info!(generation, ms, "Storage open: {recovery}");
    recovery.log_damage();
    if core.owner.set(owner).is_err() {
        return Err("the catalog has an owner already".to_owned());
    }
    core::spawn(core.queues.requests, owner::change_loop(Rc::clone(core)));
    core::spawn(core.queues.requests, open_cold(Rc::clone(core)));
    watch_clock(core);
    Ok(())
}

/// Opens what may wait until requests are served.
async fn open_cold(core: Rc<Core>) {
    let started = Instant::now();
    let owner = core.owner.get().expect("spawned where the owner is");
    let mut recovery = Recovery::default();
    for answer in core.mesh().call_all(|| Request::OpenCold, OPEN_WAIT).await {
        match opened(answer) {
            Ok(opened) => {
                recovery.join(opened.recovery);
                owner.observe(&opened.schema);
            }
            Err(error) => tracing::error!("older shard groups: {error}"),
        }
    }
    owner.expect_nothing();
    let (ms, segments) = (started.elapsed().as_millis() as u64, recovery.segments);
    tracing::info!(ms, "Older shard groups open: {segments} segments");
    recovery.log_damage();
}

/// Starts what the clock drives.
fn watch_clock(core: &Rc<Core>) {
    let repeat = |name: &'static str, interval_ns: u64, command: Command| {
        let (mesh, interval) = (core.mesh().clone(), Duration::from_nanos(interval_ns));
        core::spawn(core.queues.background, async move { background::repeat(mesh, interval, name, command).await });
    };
    let (retention, precreation) = (&core.config.retention, &core.config.precreation);
    if retention.enabled {
        repeat("Shard groups past retention dropped", retention.check_interval_ns, Command::ExpireGroups);
    }
    if precreation.enabled {
        let advance_ns = i64::try_from(precreation.advance_ns).unwrap_or(i64::MAX);
        repeat("Shard groups made in advance", precreation.check_interval_ns, Command::PrecreateGroups { advance_ns });
    }
    let options = &core.config.monitor;
    if options.store_enabled {
        let monitor = Monitor {
            database: options.store_database.clone(),
            interval_ns: i64::try_from(options.store_interval_ns).unwrap_or(i64::MAX),
            hostname: observe::host_name(),
        };
        let (services, mesh) = (CoreServices::new(Rc::clone(core)), core.mesh().clone());
        core::spawn(core.queues.background, monitor::store(services, mesh, monitor));
    }
}

fn opened(answer: Result<Response, mesh::MeshError>) -> Result<Box<Opened>, String> {
    match answer {
        Ok(Response::Opened(outcome)) => outcome,
        Ok(other) => Err(format!("unexpected answer to open: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

type CatalogFiles = Snapshots<RealDisk>;

async fn load_catalog(core: &Core, dir: &Path) -> Result<(CatalogFiles, Arc<Catalog>), String> {
    let options = meta::Options { retention_autocreate: core.config.meta.retention_autocreate };
    let decode = |bytes: &[u8]| meta::decode(bytes, options).map_err(|error| error.to_string());
    let loaded = Snapshots::load(core.platform, dir, decode).await;
    let (snapshots, loaded) = loaded.map_err(|error| error.to_string())?;
    for damage in &loaded.damage {
        tracing::error!("catalog snapshot damaged, set aside, the one before it counts: {damage}");
    }
    snapshots.set_aside_damaged(&loaded).await.map_err(|error: io::Error| error.to_string())?;
    let catalog = match loaded.catalog {
        Some(catalog) => catalog,
        // Whoever writes a point has made a database before: logs without a catalog mean that it was lost, and an
        // empty one would have everything dropped.
        None if has_data(core, dir).await.map_err(|error| error.to_string())? => {
            return Err(format!("{}: there is data but no catalog; restore its catalog-* files", dir.display()));
        }
        None => Catalog::new(options),
    };
    Ok((snapshots, Arc::new(catalog)))
}

/// Whether any log holds a record, or any shard a segment. Empty ones are made by every start.
async fn has_data(core: &Core, dir: &Path) -> io::Result<bool> {
    let disk = &core.platform;
    let logs = names::wal_dir(dir);
    for name in list_if_there(disk, &logs).await?.iter().filter(|name| WalName::parse(name).is_some()) {
        let file = disk.open(&logs.join(name)).await?;
        let bytes = file.size().await?;
        file.close().await?;
        if bytes > 0 {
            return Ok(true);
        }
    }
    for shard in 0..core.shard_count {
        let files = list_if_there(disk, &names::shard_dir(dir, shard)).await?;
        if files.iter().any(|name| names::parse_segment(name).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn list_if_there(disk: &RealDisk, folder: &Path) -> io::Result<Vec<String>> {
    match disk.list(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// A panic anywhere ends the process: half a server is worse than one that starts again from its logs.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!("millrace ends after a panic; what was acknowledged is in the logs");
        process::abort();
    }));
}

/// Each connection and each segment is a descriptor.
fn raise_descriptor_limit() {
    use rustix::process::Resource;
    use rustix::process::Rlimit;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // As far as it goes without being asked for more; what is not given shows when it is missing.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What is written to memory is written in order: the kernel would clear 2 MiB at a time long before they are used, and
/// where little is written at all. Where it is not allowed, huge pages are used as the machine is set.
fn use_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Numbers of the processors this process may run on.
fn usable_processors() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect()
}
