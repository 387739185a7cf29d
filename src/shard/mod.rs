//! The owner: everything one core keeps of its shards, in memory and on disk.
//!
//! Owns:  the core's write-ahead log; for each of its shards the series, the partitions (memtables and segments), the
//!        series log and the manifest. One [`Engine`] for each core.
//! In:    batches. A batch is acknowledged when it is in the log, durable, and applied to its memtable.
//! Out:   rows of a series, through [`crate::exec::view::View`].
//!
//! ```text
//! write    -> pending -> one frame of the log, one sync -> memtables -> acknowledged        (commit.rs)
//! freeze   -> new log file; every active memtable becomes frozen                            (commit.rs)
//! flush    -> series log, segments, manifest; then the frozen logs are removed              (flush.rs)
//! series   -> series log: appended to by flushes, written anew when much of it is dead      (series_log.rs)
//! compact  -> a segment in the place of several, manifest; then those are removed           (compact.rs)
//! manifest <- changes of flushes and compactions, one at a time                             (amend.rs)
//! open     <- series log, manifest, segments of today, and what old logs name                  (recover.rs, replay.rs)
//! replay   <- points of the old logs, which are in no segment, once the core serves             (replay.rs)
//! cold     <- older segments, once the core serves                                          (cold.rs)
//! ```
//!
//! Log files and memtables change together: a freeze starts a new file, so the files before it hold just what the
//! frozen memtables hold and can go when these are in segments. The manifest says up to which log file a shard is in
//! segments; replay skips those records. A shard lives in the log of whichever core owned it in that run: logs are
//! read by every core, each for its own shards, so the number of cores may change from start to start.

mod amend;
mod cold;
mod commit;
mod compact;
mod dormant;
mod flush;
mod limits;
mod manifest;
mod orphans;
mod read;
mod record;
mod recover;
mod replay;
mod series_log;
mod space;
mod state;
mod tombstone;

pub use limits::TagAnswer;
pub use limits::TagAsk;
pub use manifest::Listed;
pub use manifest::Manifest;
pub use read::SeriesCursor;
pub use read::ShardView;
pub use record::Age;
pub use record::LogRecord;
pub use record::PartitionKey;
pub use record::SeriesRecord;
pub use record::decode_log;
pub use record::decode_series;
pub use record::log_id;
pub use record::manifest_id;
pub use record::series_log_id;
pub use recover::OldLogs;
pub use recover::OpenError;
pub use recover::Recovery;
pub use state::Live;
pub use tombstone::Deletion;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use futures_channel::oneshot;
use roaring::RoaringBitmap;

use crate::batch::Batch;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::PageCache;
use crate::shard::dormant::Forgetting;
use crate::shard::orphans::Orphans;
use crate::shard::replay::Scanned;
use crate::shard::space::Space;
use crate::shard::state::ShardState;
use crate::stdx::budget::Taken;
use crate::stdx::notify::Notify;
use crate::wal::Log;

/// When a write may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its log frame is on stable storage.
    Always,
    /// After its log frame was handed to the device; a sync follows at least every so many ns. A power cut may lose
    /// what came since the last one.
    Interval(u64),
}

/// Series looked at in one step after a deletion.
const SETTLE_SERIES: usize = 256;

/// How one core keeps its shards.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub dir: PathBuf,
    /// Shards of the data directory, fixed when it was made.
    pub shard_count: u16,
    /// This core, from 0; it owns the shards whose number leaves this remainder.
    pub core: u16,
    /// Cores of this run.
    pub core_count: u16,
    /// Counts the runs of this data directory, from 1.
    pub generation: u32,
    /// Memtable bytes of this core at which they are frozen and flushed. Memory can reach twice that: frozen and
    /// active.
    pub memtable_bytes: usize,
    /// Words of a full chunk of a memtable, see [`crate::memtable::Memtable::new`].
    pub chunk_words: usize,
    /// Memtable bytes that a start fills from the logs of earlier runs before it writes segments of them. More than
    /// the above, since all can be read the sooner the less is to be written.
    pub replay_bytes: usize,
    /// Log bytes at which the memtables are frozen too.
    pub wal_bytes: u64,
    /// Age of the oldest unflushed point at which the memtables are frozen too, ns.
    pub cold_flush_ns: u64,
    /// Batches that may wait for the log, bytes.
    pub pending_bytes: usize,
    /// How long a write waits for room before it is refused, ns.
    pub write_wait_ns: u64,
    /// Waits this long for company before each sync, ns (stock's `wal-fsync-delay`).
    pub commit_delay_ns: u64,
    /// Bytes of the device that writes leave free, beyond what flushes will need; 0: its room is not looked at.
    pub reserve_bytes: u64,
    /// When to acknowledge.
    pub durability: Durability,
    /// Index pages and blocks of segments that stay in memory, bytes.
    pub page_cache_bytes: u64,
    /// Bytes per second that compactions write on average; 0: no limit.
    pub compact_bytes_per_second: u64,
    /// What they may write at once.
    pub compact_burst_bytes: u64,
    /// A partition without a flush for so long is compacted as a whole, ns.
    pub compact_cold_ns: u64,
    /// Series logs up to this length are not written anew, whatever they hold.
    pub series_log_bytes: u64,
    /// Dormant series of a database that are kept, however few are alive.
    pub dormant_series: usize,
}

impl Options {
    /// The shards of this core.
    pub fn shards(&self) -> impl Iterator<Item = u16> + use<> {
        (self.core..self.shard_count).step_by(usize::from(self.core_count))
    }

    fn log_name(&self, epoch: u32) -> WalName {
        let Options { generation, core, core_count, .. } = *self;
        WalName { generation, epoch, core, core_count: Some(core_count) }
    }
}

/// A write was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The database, policy or shard group is not (or no longer) in the catalog. Nothing was stored.
    #[error("database, retention policy or shard group is gone")]
    Gone,
    /// No room until the deadline. Nothing was stored.
    #[error("{0}")]
    Overloaded(&'static str),
    /// The log failed, or refuses since it failed. Not acknowledged.
    #[error("{0}")]
    Log(String),
    /// The batch does not follow the format, or names a series or shard that is not here: a defect of the sender.
    #[error("{0}")]
    Malformed(String),
    /// The server is stopping. Nothing was stored.
    #[error("server is stopping")]
    Stopping,
}

/// The ids that the keys of one batch have.
pub type Assigned = Vec<SeriesId>;

/// A field's type in one shard group, as found in the data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaFact {
    /// Database.
    pub database: DatabaseId,
    /// Retention policy.
    pub policy: PolicyId,
    /// Shard group.
    pub group: GroupId,
    /// Measurement.
    pub measurement: Bytes,
    /// Field.
    pub field: Bytes,
    /// Its type.
    pub field_type: FieldType,
}

/// Sizes for the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Memtable bytes, active and frozen.
    pub memtable_bytes: u64,
    /// Log bytes not yet in segments.
    pub wal_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Their blocks found damaged since the start.
    pub damaged_blocks: u64,
    /// Segment files that are damaged such that nothing of them can be read.
    pub unreadable_segments: u64,
    /// Series.
    pub series: u64,
    /// Bytes of segments that flushes wrote since the start.
    pub flushed_bytes: u64,
    /// Bytes of segments that compactions wrote since the start.
    pub compacted_bytes: u64,
    /// Compactions that ended since the start.
    pub compactions: u64,
    /// Compactions that run or could begin.
    pub compactions_due: u64,
}

/// One core's shards. See the module.
#[derive(Debug)]
pub struct Engine<P: Disk + Clock> {
    platform: P,
    options: Options,
    state: RefCell<State<P>>,
    /// Something to commit, to freeze, or the end.
    commit_work: Notify,
    /// Something to flush, or the end.
    flush_work: Notify,
    /// Something to compact, or the end.
    compact_work: Notify,
    /// Room in the memtables or the queue, or a loop ended.
    room: Notify,
    /// A manifest was given back.
    manifest_returned: Notify,
    /// A partition was opened, or could not be.
    partition_opened: Notify,
    /// A start got further: logs replayed, series of dropped groups forgotten. Or the flush loop ended.
    start_advanced: Notify,
    page_cache: Rc<PageCache>,
}

#[derive(Debug)]
struct State<P: Disk> {
    live: Live,
    shards: BTreeMap<u16, ShardState<P>>,
    /// `None` while the commit loop uses it, and after a failure until it could be replaced.
    log: Option<Log<P>>,
    log_failure: Option<String>,
    /// A failed log with something behind its tail, where that is.
    uncut_log: Option<(Log<P>, u64)>,
    /// The log file in use.
    log_name: WalName,
    /// The files that hold the active memtables, the one in use last.
    active_logs: Vec<WalName>,
    active_log_bytes: u64,
    pending: Vec<Pending>,
    pending_bytes: usize,
    /// Writes ever queued, and how many of them, in this order, were applied or failed.
    enqueued: u64,
    ended: u64,
    /// Written bytes of batches that are in the active memtables.
    active_bytes: usize,
    /// When the active memtables are frozen whatever they hold, on the monotonic clock.
    freeze_due_ns: Option<u64>,
    frozen: Option<Frozen>,
    /// Logs of earlier runs that are to be replayed; `None` when that is done.
    scanned: Option<Rc<Scanned>>,
    /// No segment waits to be opened since the start.
    is_all_open: bool,
    /// Series of shard groups that were dropped before the start have left the index.
    is_settled: bool,
    freeze_asked: bool,
    phase: Phase,
    commit_loop_ended: bool,
    flush_loop_ended: bool,
    compact_loop_ended: bool,
    /// Segments of dropped partitions, and those that were compacted, whose files are to be removed.
    garbage: Vec<PathBuf>,
    /// Series of dropped partitions that may have to leave the index.
    orphans: Orphans,
    forgetting: BTreeMap<DatabaseId, Forgetting>,
    work: Work,
    last_sync_ns: u64,
    unsynced: bool,
    space: Space,
}

/// Background work since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    flushed_bytes: u64,
    compacted_bytes: u64,
    compactions: u64,
    is_compacting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// No new writes; the commit loop drains, freezes and ends, then the flush loop does.
    Stopping,
}

/// What a freeze handed to the flush.
#[derive(Clone, Debug)]
struct Frozen {
    /// Every record of the logs up to this file is in segments once the flush is done.
    up_to: WalName,
    logs: Vec<WalName>,
    bytes: usize,
    log_bytes: u64,
    /// Set for what recovery found; the logs of earlier runs wait for all cores.
    old_logs: Option<std::sync::Arc<OldLogs>>,
}

/// A write that waits for the log.
#[derive(Debug)]
struct Pending {
    writes: Vec<PendingRecord>,
    done: oneshot::Sender<Result<Vec<Assigned>, WriteError>>,
    /// For series that become alive when it is applied.
    _room: Taken,
}

/// A log record that waits, and what it does once it is durable.
#[derive(Debug)]
struct PendingRecord {
    record: Vec<u8>,
    shard: u16,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Batch {
        /// Where in the record the batch stands.
        start: usize,
        assigned: Assigned,
        /// Ids made for this batch, forgotten again if the log fails.
        created: Vec<SeriesId>,
    },
    Deletion(Deletion),
}

impl<P: Disk + Clock> Engine<P> {
    /// Stores batches; returns when all are durable and visible, with the ids of their keys. Batches of one call are
    /// in one log frame: after a crash all of them are there or none.
    pub async fn write(&self, batches: Vec<Batch>) -> Result<Vec<Assigned>, WriteError> {
        self.write_within(batches, 0, Taken::default()).await
    }

    /// As [`Engine::write`], for batches of one database, whose counter of [`Live::forgets`] stood at `forgets` before
    /// their ids were looked up, with `room` taken for their new series.
    pub async fn write_within(
        &self,
        batches: Vec<Batch>,
        forgets: u64,
        room: Taken,
    ) -> Result<Vec<Assigned>, WriteError> {
        self.wait_for_room(false).await?;
        let done = self.enqueue(batches, forgets, room)?;
        self.commit_work.notify_all();
        done.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// Deletes points; returns when that is durable, hidden from the next query, and series without a point have left
    /// the index. Writes go on meanwhile.
    pub async fn delete(&self, deletions: Vec<Deletion>) -> Result<(), WriteError> {
        self.replayed().await.map_err(|_| WriteError::Stopping)?;
        self.wait_for_room(true).await?;
        let done = self.enqueue_deletions(&deletions)?;
        self.commit_work.notify_all();
        done.await.unwrap_or(Err(WriteError::Stopping))?;
        for deletion in deletions {
            self.settle(deletion.shard, deletion.database, &deletion.series).await;
        }
        self.flush_work.notify_all();
        Ok(())
    }

    /// Takes those of some series out of the index that have no point left. Nothing is known of them while some
    /// partition cannot be opened.
    async fn settle(&self, shard: u16, database: DatabaseId, series: &RoaringBitmap) {
        if let Err(error) = self.open_needed(database, None, TimeRange::ALWAYS).await {
            tracing::error!("series without a point stay in the index: {error}");
            return;
        }
        for (count, series) in series.iter().enumerate() {
            let gone = self.settle_one(shard, database, SeriesId(series)).await;
            if gone {
                limits::uncount(&self.state.borrow().live, database, 1);
            }
            if count % SETTLE_SERIES == 0 {
                self.platform.yield_now().await;
            }
        }
    }

    /// Whether the series left the index.
    async fn settle_one(&self, shard: u16, database: DatabaseId, series: SeriesId) -> bool {
        loop {
            let looks = self.state.borrow().shards.get(&shard).and_then(|shard| shard.looks(database, series));
            let Some(looks) = looks else { return false };
            for look in &looks {
                if look.has_points(series).await {
                    return false;
                }
            }
            let mut state = self.state.borrow_mut();
            let Some(shard) = state.shards.get_mut(&shard) else { return false };
            // A flush or a compaction may have come in between.
            match shard.retire(database, series, &looks) {
                Some(gone) => return gone,
                None => continue,
            }
        }
    }

    /// Takes what the catalog now holds; partitions and databases that are gone are dropped at once.
    pub fn set_live(&self, live: Live) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        for (&number, shard) in &mut state.shards {
            let folder = names::shard_dir(&self.options.dir, number);
            for (database, series) in shard.drop_all_but(&live, &folder, &mut state.garbage) {
                *state.orphans.entry((number, database)).or_default() |= series;
            }
        }
        state.forgetting.retain(|database, _| live.databases.contains(database));
        state.live = live;
        self.flush_work.notify_all();
    }

    /// Asks for a flush of everything acknowledged so far, soon.
    pub fn freeze_soon(&self) {
        self.state.borrow_mut().freeze_asked = true;
        self.commit_work.notify_all();
    }

    /// Whether everything acknowledged is in segments.
    pub fn is_flushed(&self) -> bool {
        let state = self.state.borrow();
        state.frozen.is_none() && state.active_bytes == 0 && state.pending.is_empty()
    }

    /// Refuses new writes, makes the rest durable, flushes it, and ends all loops.
    pub async fn close(&self) {
        self.state.borrow_mut().phase = Phase::Stopping;
        self.commit_work.notify_all();
        self.compact_work.notify_all();
        loop {
            let changed = self.room.notified();
            self.flush_work.notify_all();
            let have_ended = {
                let state = self.state.borrow();
                state.flush_loop_ended && state.compact_loop_ended
            };
            if have_ended {
                return;
            }
            changed.await;
        }
    }

    /// The shards, as execution reads them.
    pub fn views(self: &Rc<Self>) -> Vec<ShardView<P>> {
        self.options.shards().map(|shard| ShardView::new(self.clone(), shard)).collect()
    }

    /// The field types in the data: what the schema owner must know after a start.
    pub fn schema(&self) -> Vec<SchemaFact> {
        let state = self.state.borrow();
        let mut facts: Vec<SchemaFact> = state.shards.values().flat_map(ShardState::schema).collect();
        facts.sort_unstable();
        facts.dedup();
        facts
    }

    /// Sizes for the statistics.
    pub fn sizes(&self) -> Sizes {
        let state = self.state.borrow();
        let frozen = state.frozen.as_ref();
        let mut sizes = Sizes {
            memtable_bytes: (state.active_bytes + frozen.map_or(0, |frozen| frozen.bytes)) as u64,
            wal_bytes: state.active_log_bytes + frozen.map_or(0, |frozen| frozen.log_bytes),
            ..Sizes::default()
        };
        for shard in state.shards.values() {
            shard.add_sizes(&mut sizes);
        }
        let Work { flushed_bytes, compacted_bytes, compactions, is_compacting } = state.work;
        let due = u64::from(is_compacting) + u64::from(self.choose(&state).is_some());
        Sizes { flushed_bytes, compacted_bytes, compactions, compactions_due: due, ..sizes }
    }
}

#[cfg(test)]
mod tests;
