//! Opens a core's shards: manifest and segments, series log, then whatever of the logs is not in segments.

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

use crate::batch::BatchError;
use crate::batch::Reader;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::model::DatabaseId;
use crate::segment::PageCache;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::shard::Engine;
use crate::shard::Frozen;
use crate::shard::Live;
use crate::shard::Options;
use crate::shard::Phase;
use crate::shard::State;
use crate::shard::Work;
use crate::shard::commit::log_id;
use crate::shard::flush::remove_if_there;
use crate::shard::manifest::Change;
use crate::shard::manifest::Listed;
use crate::shard::manifest::Manifest;
use crate::shard::record;
use crate::shard::record::LogRecord;
use crate::shard::record::PartitionKey;
use crate::shard::space::Space;
use crate::shard::state::Partition;
use crate::shard::state::Settled;
use crate::shard::state::ShardState;
use crate::shard::tombstone::Tombstone;
use crate::stdx::notify::Notify;
use crate::wal;
use crate::wal::Log;
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
    pub async fn list<P: Disk>(platform: &P, dir: &Path, shard_count: u16, cores: usize) -> io::Result<Arc<OldLogs>> {
        let folder = names::wal_dir(dir);
        platform.create_dir(&folder).await?;
        let mut names: Vec<WalName> =
            platform.list(&folder).await?.iter().filter_map(|name| WalName::parse(name)).collect();
        names.sort_unstable();
        let mut generation = names.iter().map(|name| name.generation).max().unwrap_or(0);
        for shard in 0..shard_count {
            generation = generation.max(flushed_generation(platform, dir, shard).await?);
        }
        Ok(Arc::new(OldLogs { names, generation: generation + 1, cores_left: AtomicUsize::new(cores) }))
    }

    /// The generation that this run must have: later than any log file, even one that is gone.
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

/// The last run whose logs a shard's manifest mentions; 0 for a shard that has none yet.
async fn flushed_generation<P: Disk>(platform: &P, dir: &Path, shard: u16) -> io::Result<u32> {
    let path = names::shard_dir(dir, shard).join(names::MANIFEST);
    let mut generation = 0;
    let replayed = wal::replay(platform, &path, u64::from(shard), |bytes| {
        if let Some(Change::Flush { flushed, .. } | Change::Whole(Manifest { flushed, .. })) =
            Change::decode(shard, bytes)
        {
            generation = generation.max(flushed.0);
        }
    });
    match replayed.await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
        Ok(_) => Ok(generation),
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
    /// Log files read.
    pub logs: u64,
    /// Torn tails: file and bytes cut off, never acknowledged.
    pub cut: Vec<(String, u64)>,
    /// Damage: what and where. The rest was recovered.
    pub damage: Vec<String>,
}

impl Recovery {
    /// Adds what another core found.
    pub fn join(&mut self, other: Recovery) {
        self.segments += other.segments;
        self.series += other.series;
        self.batches += other.batches;
        self.points += other.points;
        self.logs = self.logs.max(other.logs);
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
        let Recovery { segments, series, batches, points, logs, .. } = self;
        write!(
            f,
            "recovered {series} series in {segments} segments, {points} points in {batches} batches from {logs} logs"
        )?;
        for (file, bytes) in &self.cut {
            write!(f, "; cut {bytes} bytes off {file} (torn tail, never acknowledged)")?;
        }
        for damage in &self.damage {
            write!(f, "; damaged: {damage}")?;
        }
        Ok(())
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
        let mut recovery = Recovery::default();
        let mut shards = BTreeMap::new();
        let page_cache = PageCache::new(options.page_cache_bytes);
        for shard in options.shards() {
            let opening = Opening { platform: &platform, dir: &options.dir, shard, live: &live, cache: &page_cache };
            let state = opening.open(&mut recovery).await?;
            shards.insert(shard, state);
        }
        for &name in &old_logs.names {
            replay_log(&platform, &options.dir, name, &mut shards, &live, &mut recovery).await?;
        }
        shards.values_mut().for_each(ShardState::keep_known_ids);
        recovery.logs = old_logs.names.len() as u64;
        recovery.series = shards.values().map(|shard| u64::from(shard.next_series)).sum();
        let log_name = WalName { generation: options.generation, epoch: 1, core: options.core };
        let frozen = (!old_logs.names.is_empty()).then(|| freeze_recovered(&options, &mut shards, old_logs));
        let engine = Engine {
            platform,
            state: std::cell::RefCell::new(State {
                live,
                shards,
                log: None,
                log_failure: None,
                uncut_log: None,
                log_name,
                active_logs: vec![log_name],
                active_log_bytes: 0,
                pending: Vec::new(),
                pending_bytes: 0,
                active_bytes: 0,
                active_since_ns: None,
                frozen,
                freeze_asked: false,
                phase: Phase::Running,
                commit_loop_ended: false,
                flush_loop_ended: false,
                compact_loop_ended: false,
                garbage: Vec::new(),
                orphans: BTreeMap::new(),
                work: Work::default(),
                last_sync_ns: 0,
                unsynced: false,
                space: Space::default(),
            }),
            options,
            commit_work: Notify::default(),
            flush_work: Notify::default(),
            compact_work: Notify::default(),
            room: Notify::default(),
            manifest_returned: Notify::default(),
            page_cache,
        };
        engine.settle_all().await;
        engine.count_series();
        let log = engine.create_log(log_name).await?;
        engine.state.borrow_mut().log = Some(log);
        Ok((Rc::new(engine), recovery))
    }

    /// Takes series out of the index that deletions have left without a point, or dropped shard groups.
    async fn settle_all(&self) {
        for number in self.options.shards() {
            let mut deleted: BTreeMap<DatabaseId, RoaringBitmap> = BTreeMap::new();
            for Tombstone { deletion, .. } in &self.state.borrow().shards[&number].tombstones {
                *deleted.entry(deletion.database).or_default() |= &*deletion.series;
            }
            let orphans = self.state.borrow().shards[&number].orphans();
            for (database, series) in deleted.into_iter().chain(orphans) {
                self.settle(number, database, &series, false).await;
            }
            if let Some(shard) = self.state.borrow_mut().shards.get_mut(&number) {
                shard.forget_dormant();
                shard.drop_spent_tombstones();
            }
        }
    }
}

/// What the logs held is flushed first, as the freeze before the first file of this run.
fn freeze_recovered<P: Disk>(
    options: &Options,
    shards: &mut BTreeMap<u16, ShardState<P>>,
    old_logs: Arc<OldLogs>,
) -> Frozen {
    let mut bytes = 0;
    let up_to = WalName { generation: options.generation, epoch: 0, core: options.core };
    let age = record::log_age(up_to);
    for partition in shards.values_mut().flat_map(|shard| shard.partitions.values_mut()) {
        bytes += partition.active.bytes();
        partition.freeze(age);
    }
    Frozen { up_to, logs: Vec::new(), bytes, log_bytes: 0, old_logs: Some(old_logs) }
}

/// One shard on its way.
struct Opening<'a, P> {
    platform: &'a P,
    dir: &'a Path,
    shard: u16,
    live: &'a Live,
    cache: &'a Rc<PageCache>,
}

impl<P: Disk> Opening<'_, P> {
    async fn open(&self, recovery: &mut Recovery) -> Result<ShardState<P>, OpenError> {
        let Opening { platform, dir, shard, live, .. } = *self;
        let folder = names::shard_dir(dir, shard);
        platform.create_dir(&folder).await?;
        let mut state = ShardState::new();
        let series_path = folder.join(names::SERIES_LOG);
        let (log, replayed) = open_or_create(platform, &series_path, shard, |bytes| {
            if !restore(&mut state, live, bytes) {
                recovery.damage.push(format!("{}: a record that names no series", series_path.display()));
            }
        })
        .await?;
        state.series_log = Some(log);
        note(recovery, &series_path, &replayed);
        let manifest_path = folder.join(names::MANIFEST);
        let mut listed = Manifest::default();
        let mut is_whole = true;
        let (log, replayed) =
            open_or_create(platform, &manifest_path, shard, |bytes| match Change::decode(shard, bytes) {
                Some(change) => listed.apply(change),
                None => {
                    is_whole = false;
                    recovery.damage.push(format!("{}: a record of an unknown kind", manifest_path.display()));
                }
            })
            .await?;
        state.manifest = Some(log);
        is_whole = is_whole && replayed.damage.is_empty();
        note(recovery, &manifest_path, &replayed);
        platform.sync_dir(&folder).await?;
        platform.sync_dir(dir).await?;
        let saved = listed.tombstones.iter().filter(|(_, deletion)| live.databases.contains(&deletion.database));
        let saved = saved.map(|(age, deletion)| Tombstone { age: *age, deletion: deletion.clone(), is_saved: true });
        state.tombstones = saved.collect();
        state.listed = listed;
        self.remove_unlisted(&folder, is_whole, &mut state).await?;
        self.open_segments(&folder, &mut state, recovery).await?;
        Ok(state)
    }

    /// Removes what a crash left. Where the manifest has lost a record, files that it does not name may be somebody's
    /// points, and stay.
    async fn remove_unlisted(&self, folder: &Path, is_whole: bool, state: &mut ShardState<P>) -> io::Result<()> {
        let listed = state.listed.segments().filter(|&(key, _)| self.live.groups.contains_key(key));
        let listed: HashSet<u64> = listed.map(|(_, listed)| listed.number).collect();
        remove_if_there(self.platform, &folder.join(names::NEW_MANIFEST)).await?;
        for name in self.platform.list(folder).await? {
            let Some(number) = names::parse_segment(&name) else { continue };
            state.next_segment = state.next_segment.max(number);
            if !listed.contains(&number) && is_whole {
                remove_if_there(self.platform, &folder.join(name)).await?;
            }
        }
        Ok(())
    }

    async fn open_segments(
        &self,
        folder: &Path,
        state: &mut ShardState<P>,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        for (key, Listed { number, age }) in state.listed.segments() {
            state.next_segment = state.next_segment.max(number);
            let Some(&range) = self.live.groups.get(key) else { continue };
            let partition = state.partitions.entry(*key).or_insert_with(|| Partition::new(range));
            match Segment::open(self.platform, &folder.join(names::segment_name(number)), self.cache).await {
                Ok(segment) => {
                    recovery.segments += 1;
                    partition.add_segment(Settled::new(age, segment));
                }
                Err(error @ SegmentError::Version { .. }) => return Err(OpenError::Version(error)),
                // A device that fails now may answer at the next start: serving without the segment would hide its
                // points.
                Err(SegmentError::Io { path, error }) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(OpenError::Io(io::Error::new(error.kind(), format!("{path}: {error}"))));
                }
                // The rest of the data stays readable; the file stays for whoever wants to look at it.
                Err(error) => {
                    partition.has_unreadable = true;
                    recovery.damage.push(error.to_string());
                }
            }
        }
        Ok(())
    }
}

/// Takes a record of the series log; whether it made sense.
fn restore<P: Disk>(state: &mut ShardState<P>, live: &Live, record: &[u8]) -> bool {
    let Some((database, id, key)) = record::decode_series(record) else { return false };
    if live.databases.contains(&database) {
        return state.restore_series(database, id, key, true).is_ok();
    }
    state.next_series = state.next_series.max(id.0.saturating_add(1));
    true
}

async fn open_or_create<P: Disk>(
    platform: &P,
    path: &Path,
    shard: u16,
    on_record: impl FnMut(&[u8]),
) -> io::Result<(Log<P>, Replayed)> {
    match Log::open(platform, path, u64::from(shard), on_record).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((Log::create(platform, path, u64::from(shard)).await?, Replayed::default()))
        }
        other => other,
    }
}

/// Takes from one log what is of these shards and not in segments.
async fn replay_log<P: Disk>(
    platform: &P,
    dir: &Path,
    name: WalName,
    shards: &mut BTreeMap<u16, ShardState<P>>,
    live: &Live,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    let path = names::wal_dir(dir).join(name.file_name());
    let replayed = wal::replay(platform, &path, log_id(name), |bytes| {
        let Some(found) = record::decode_log(bytes) else {
            recovery.damage.push(format!("{}: a record of an unknown kind", path.display()));
            return;
        };
        let age = record::log_age(name);
        let number = match &found {
            LogRecord::Batch { shard, .. } => *shard,
            LogRecord::Deletion(deletion) => deletion.shard,
        };
        let Some(shard) = shards.get_mut(&number).filter(|shard| shard.listed.flushed < age) else { return };
        let (ids, batch) = match found {
            LogRecord::Batch { ids, batch, .. } => (ids, batch),
            LogRecord::Deletion(deletion) => return shard.delete(age, &deletion),
        };
        match take_batch(shard, live, batch, &ids) {
            Ok(points) => {
                recovery.batches += 1;
                recovery.points += u64::from(points);
            }
            Err(error) => recovery.damage.push(format!("{}: {error}", path.display())),
        }
    })
    .await?;
    note(recovery, &path, &replayed);
    Ok(())
}

fn take_batch<P: Disk>(
    shard: &mut ShardState<P>,
    live: &Live,
    batch: &[u8],
    ids: &[crate::model::SeriesId],
) -> Result<u32, BatchError> {
    let reader = Reader::of(batch)?;
    let destination = reader.destination;
    let key = PartitionKey { database: destination.database, policy: destination.policy, group: destination.group };
    if !live.databases.contains(&destination.database) {
        return Ok(0);
    }
    // Also of a shard group that is gone: later batches of other groups may name the series by their ids.
    for (&id, series) in ids.iter().zip(&reader.keys) {
        shard
            .restore_series(destination.database, id, series, false)
            .map_err(|_| BatchError("a key that names no series"))?;
    }
    let Some(&range) = live.groups.get(&key) else { return Ok(0) };
    shard.apply(key, range, &reader, ids);
    Ok(reader.row_count)
}

fn note(recovery: &mut Recovery, path: &Path, replayed: &Replayed) {
    if replayed.cut_bytes > 0 {
        recovery.cut.push((path.display().to_string(), replayed.cut_bytes));
    }
    for damage in &replayed.damage {
        recovery.damage.push(format!("{}: bytes {} to {}", path.display(), damage.start, damage.end));
    }
}
