//! Opens a core's shards: series log, manifest and segments, then what the logs name that is not in segments.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use hashbrown::HashSet;
use roaring::RoaringBitmap;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::model::DatabaseId;
use crate::segment::PageCache;
use crate::segment::SegmentError;
use crate::series::block;
use crate::shard::Engine;
use crate::shard::Frozen;
use crate::shard::Live;
use crate::shard::Options;
use crate::shard::Phase;
use crate::shard::State;
use crate::shard::Work;
use crate::shard::cold;
use crate::shard::flush::remove_if_there;
use crate::shard::manifest::Change;
use crate::shard::manifest::Manifest;
use crate::shard::record;
use crate::shard::record::SeriesRecord;
use crate::shard::replay::Scanned;
use crate::shard::space::Space;
use crate::shard::state::Partition;
use crate::shard::state::ShardState;
use crate::shard::tombstone::Tombstone;
use crate::stdx::notify::Notify;
use crate::wal::Log;
use crate::wal::LogId;
use crate::wal::Replayed;

/// The shards could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The device failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A segment was written by another version.
    #[error("{0}")]
    Version(SegmentError),
}

/// The log files of earlier runs. Every core reads them; the last core that has its part in segments removes them.
#[derive(Debug, Default)]
pub struct OldLogs {
    names: Vec<WalName>,
    generation: u32,
    cores_left: AtomicUsize,
}

impl OldLogs {
    /// Lists the logs in `dir` (the data directory); `cores` engines will each release them once.
    pub async fn list<P: Disk>(platform: &P, dir: &Path, cores: usize) -> io::Result<Arc<OldLogs>> {
        let folder = names::wal_dir(dir);
        platform.create_dir(&folder).await?;
        let mut names: Vec<WalName> =
            platform.list(&folder).await?.iter().filter_map(|name| WalName::parse(name)).collect();
        names.sort_unstable();
        let generation = names.iter().map(|name| name.generation).max().unwrap_or(0);
        Ok(Arc::new(OldLogs { names, generation: generation + 1, cores_left: AtomicUsize::new(cores) }))
    }

    /// The generation that this run must have: later than any log file. A core whose manifests mention a later one,
    /// since files are gone, takes one behind that.
    pub fn next_generation(&self) -> u32 {
        self.generation
    }

    pub(super) async fn release<P: Disk>(&self, platform: &P, dir: &Path) -> io::Result<()> {
        if self.cores_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        for name in &self.names {
            remove_if_there(platform, &dir.join(name.file_name())).await?;
        }
        platform.sync_dir(dir).await
    }
}

/// What a start found. Prints as one line for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments opened.
    pub segments: u64,
    /// Series known.
    pub series: u64,
    /// Batches taken from the logs.
    pub batches: u64,
    /// Points in them.
    pub points: u64,
    /// Log files read; one that several cores have read counts so often.
    pub logs: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Time it took to read series and segments, ms; the longest of all cores.
    pub index_ms: u64,
    /// Time it took to read through the logs, ms; the longest of all cores.
    pub logs_ms: u64,
    /// Torn tails: file and bytes cut off, never acknowledged.
    pub cut: Vec<(String, u64)>,
    /// Damage: what and where. The rest was recovered.
    pub damage: Vec<String>,
}

impl Recovery {
    /// Adds what a log of any kind had to be cut and was damaged.
    pub(super) fn note(&mut self, path: &Path, replayed: &Replayed) {
        if replayed.cut_bytes > 0 {
            self.cut.push((path.display().to_string(), replayed.cut_bytes));
        }
        for damage in &replayed.damage {
            self.damage.push(format!("{}: bytes {} to {}", path.display(), damage.start, damage.end));
        }
    }

    /// Names what is damaged in the server's log, each once.
    pub fn log_damage(&self) {
        self.damage.iter().for_each(|damage| tracing::error!("damaged: {damage}"));
    }

    /// Adds what another core found.
    pub fn join(&mut self, other: Recovery) {
        self.segments += other.segments;
        self.series += other.series;
        self.batches += other.batches;
        self.points += other.points;
        self.logs += other.logs;
        self.log_bytes += other.log_bytes;
        self.index_ms = self.index_ms.max(other.index_ms);
        self.logs_ms = self.logs_ms.max(other.logs_ms);
        self.cut.extend(other.cut);
        self.cut.sort();
        self.cut.dedup();
        self.damage.extend(other.damage);
        self.damage.sort();
        self.damage.dedup();
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recovery { segments, series, batches, points, logs, log_bytes, index_ms, logs_ms, .. } = self;
        write!(f, "recovered {series} series in {segments} segments in {index_ms} ms, ")?;
        write!(f, "{points} points in {batches} batches from {logs} logs of {log_bytes} bytes in {logs_ms} ms")?;
        self.cut
            .iter()
            .try_for_each(|(file, bytes)| write!(f, "; cut {bytes} bytes off {file} (torn tail, never acknowledged)"))
    }
}

impl<P: Disk + Clock> Engine<P> {
    /// Opens the shards of one core. Afterwards spawn [`Engine::commit_loop`] and [`Engine::flush_loop`].
    pub async fn open(
        platform: P,
        options: Options,
        live: Live,
        old_logs: Arc<OldLogs>,
    ) -> Result<(Rc<Engine<P>>, Recovery), OpenError> {
        let started = platform.monotonic_ns();
        let mut recovery = Recovery::default();
        let mut engine = Engine::new(platform, options, live);
        engine.open_shards(&mut recovery).await?;
        let opened = engine.platform.monotonic_ns();
        recovery.index_ms = (opened - started) / 1_000_000;
        let scanned = engine.scan(&old_logs.names, &mut recovery).await?;
        recovery.logs_ms = (engine.platform.monotonic_ns() - opened) / 1_000_000;
        engine.begin(scanned, old_logs);
        engine.count_series();
        if !recovery.damage.is_empty() {
            engine.replay().await?;
        }
        recovery.series = engine.state.borrow().shards.values().map(|shard| u64::from(shard.next_series)).sum();
        let log_name = engine.state.borrow().log_name;
        let log = engine.create_log(log_name).await?;
        engine.state.borrow_mut().log = Some(log);
        Ok((Rc::new(engine), recovery))
    }

    /// Without shards and log.
    fn new(platform: P, options: Options, live: Live) -> Engine<P> {
        let log_name = options.log_name(0);
        Engine {
            platform,
            state: RefCell::new(State {
                live,
                shards: BTreeMap::new(),
                log: None,
                log_failure: None,
                uncut_log: None,
                log_name,
                active_logs: Vec::new(),
                active_log_bytes: 0,
                pending: Vec::new(),
                pending_bytes: 0,
                enqueued: 0,
                ended: 0,
                active_bytes: 0,
                freeze_due_ns: None,
                frozen: None,
                scanned: None,
                is_all_open: false,
                is_settled: false,
                freeze_asked: false,
                phase: Phase::Running,
                commit_loop_ended: false,
                flush_loop_ended: false,
                compact_loop_ended: false,
                garbage: Vec::new(),
                orphans: BTreeMap::new(),
                forgetting: BTreeMap::new(),
                work: Work::default(),
                last_sync_ns: 0,
                unsynced: false,
                space: Space::default(),
            }),
            page_cache: PageCache::new(options.page_cache_bytes),
            options,
            commit_work: Notify::default(),
            flush_work: Notify::default(),
            compact_work: Notify::default(),
            room: Notify::default(),
            manifest_returned: Notify::default(),
            partition_opened: Notify::default(),
            start_advanced: Notify::default(),
        }
    }

    async fn open_shards(&mut self, recovery: &mut Recovery) -> Result<(), OpenError> {
        for shard in self.options.shards() {
            let state = self.state.get_mut();
            let (platform, cache) = (&self.platform, &self.page_cache);
            let opening = Opening { platform, options: &self.options, shard, live: &state.live, cache };
            let opened = opening.open(recovery).await?;
            self.options.generation = self.options.generation.max(opened.listed.flushed.0 + 1);
            state.shards.insert(shard, opened);
        }
        Ok(())
    }

    /// What the old logs hold will be flushed first, as the freeze before the first log file of this run.
    fn begin(&mut self, scanned: Scanned, old_logs: Arc<OldLogs>) {
        let state = self.state.get_mut();
        for shard in state.shards.values_mut() {
            shard.keep_known_ids();
            shard.forget_dormant();
        }
        state.log_name = self.options.log_name(scanned.level + 1);
        state.active_logs = vec![state.log_name];
        if !old_logs.names.is_empty() {
            let up_to = self.options.log_name(scanned.level);
            let old_logs = Some(old_logs);
            state.frozen = Some(Frozen { up_to, logs: Vec::new(), bytes: 0, log_bytes: 0, old_logs });
        }
        state.scanned = Some(Rc::new(scanned));
    }

    /// Takes series out of the index that deletions have left without a point.
    pub(super) async fn settle_deleted(&self) {
        for number in self.options.shards() {
            let mut deleted: BTreeMap<DatabaseId, RoaringBitmap> = BTreeMap::new();
            for Tombstone { deletion, .. } in &self.state.borrow().shards[&number].tombstones {
                *deleted.entry(deletion.database).or_default() |= &*deletion.series;
            }
            for (database, series) in deleted {
                self.settle(number, database, &series).await;
            }
            if let Some(shard) = self.state.borrow_mut().shards.get_mut(&number) {
                shard.drop_spent_tombstones();
            }
        }
    }
}

/// One shard on its way.
struct Opening<'a, P> {
    platform: &'a P,
    options: &'a Options,
    shard: u16,
    live: &'a Live,
    cache: &'a Rc<PageCache>,
}

impl<P: Disk + Clock> Opening<'_, P> {
    async fn open(&self, recovery: &mut Recovery) -> Result<ShardState<P>, OpenError> {
        let Opening { platform, options: Options { dir, chunk_words, .. }, shard, live, .. } = *self;
        let folder = names::shard_dir(dir, shard);
        platform.create_dir(&folder).await?;
        let mut state = ShardState::new(*chunk_words);
        let series_path = folder.join(names::SERIES_LOG);
        let (log, replayed) = open_or_create(platform, &series_path, record::series_log_id(shard), |bytes| {
            if !restore(&mut state, live, bytes) {
                state.saved.is_damaged = true;
                recovery.damage.push(format!("{}: a record that names no series", series_path.display()));
            }
            state.saved.records += 1;
        })
        .await?;
        state.series_log = Some(log);
        state.saved.is_damaged |= !replayed.damage.is_empty();
        recovery.note(&series_path, &replayed);
        let manifest_path = folder.join(names::MANIFEST);
        let mut listed = Manifest::default();
        let mut is_whole = true;
        let (log, replayed) = open_or_create(platform, &manifest_path, record::manifest_id(shard), |bytes| {
            match Change::decode(shard, bytes) {
                Some(change) => listed.apply(change),
                None => {
                    is_whole = false;
                    recovery.damage.push(format!("{}: a record of an unknown kind", manifest_path.display()));
                }
            }
        })
        .await?;
        state.manifest = Some(log);
        is_whole = is_whole && replayed.damage.is_empty();
        recovery.note(&manifest_path, &replayed);
        platform.sync_dir(&folder).await?;
        platform.sync_dir(dir).await?;
        let saved = listed.tombstones.iter().filter(|(_, deletion)| live.databases.contains(&deletion.database));
        let saved = saved.map(|(age, deletion)| Tombstone { age: *age, deletion: deletion.clone(), is_saved: true });
        state.tombstones = saved.collect();
        state.listed = listed;
        self.remove_unlisted(&folder, is_whole, &mut state).await?;
        // Without it, only the segments themselves tell which ids they name.
        let is_all = state.listed.named == 0;
        self.open_segments(&folder, &mut state, recovery, is_all).await?;
        if state.listed.named > state.next_series {
            let (first, end) = (state.next_series, state.listed.named);
            state.saved.is_damaged = true;
            recovery.damage.push(format!("{}: series {first} to {end} are missing", series_path.display()));
        }
        Ok(state)
    }

    /// Removes what a crash left. Where the manifest has lost a record, files that it does not name may be somebody's
    /// points, and stay.
    async fn remove_unlisted(&self, folder: &Path, is_whole: bool, state: &mut ShardState<P>) -> io::Result<()> {
        let listed = state.listed.segments().filter(|&(key, _)| self.live.groups.contains_key(key));
        let listed: HashSet<u64> = listed.map(|(_, listed)| listed.number).collect();
        remove_if_there(self.platform, &folder.join(names::NEW_MANIFEST)).await?;
        remove_if_there(self.platform, &folder.join(names::NEW_SERIES_LOG)).await?;
        for name in self.platform.list(folder).await? {
            let Some(number) = names::parse_segment(&name) else { continue };
            state.next_segment = state.next_segment.max(number);
            if !listed.contains(&number) && is_whole {
                remove_if_there(self.platform, &folder.join(name)).await?;
            }
        }
        Ok(())
    }

    /// Opens the segments of shard groups that end now or later, or all.
    async fn open_segments(
        &self,
        folder: &Path,
        state: &mut ShardState<P>,
        recovery: &mut Recovery,
        is_all: bool,
    ) -> Result<(), OpenError> {
        let now = self.platform.now_ns();
        for (key, listed) in &state.listed.partitions {
            state.next_segment = listed.iter().map(|listed| listed.number).fold(state.next_segment, u64::max);
            let Some(&range) = self.live.groups.get(key).filter(|_| !listed.is_empty()) else { continue };
            let mut partition = Partition::new(range, state.chunk_words);
            partition.unopened = listed.clone();
            if is_all || range.max >= now {
                partition.take_opened(cold::open_segments(self.platform, folder, listed, self.cache, recovery).await?);
            }
            state.partitions.insert(*key, partition);
        }
        Ok(())
    }
}

/// Takes a record of the series log; whether it made sense.
fn restore<P: Disk>(state: &mut ShardState<P>, live: &Live, record: &[u8]) -> bool {
    match record::decode_series(record) {
        None => return false,
        Some(SeriesRecord::Next(next)) => state.next_series = state.next_series.max(next.0),
        Some(SeriesRecord::One(database, id, key)) => {
            state.saved.series += 1;
            state.keep_id(id);
            return !live.databases.contains(&database) || state.restore_series(database, id, key, true).is_ok();
        }
        Some(SeriesRecord::Block(database, plain)) => {
            let Some(shapes) = block::shapes(&plain) else { return false };
            for shape in &shapes {
                state.saved.series += shape.members.len() as u64;
                shape.members.iter().for_each(|member| state.keep_id(member.id));
                if live.databases.contains(&database) && state.restore_shape(database, shape).is_err() {
                    return false;
                }
            }
        }
    }
    true
}

async fn open_or_create<P: Disk>(
    platform: &P,
    path: &Path,
    id: LogId,
    on_record: impl FnMut(&[u8]),
) -> io::Result<(Log<P>, Replayed)> {
    match Log::open(platform, path, id, on_record).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((Log::create(platform, path, id).await?, Replayed::default()))
        }
        other => other,
    }
}
