//! Frozen memtables to segments: series log, segment files, manifest; then the logs behind them can go.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::memtable::FlushCursor;
use crate::memtable::Memtable;
use crate::model::DatabaseId;
use crate::model::SeriesId;
use crate::segment::Segment;
use crate::segment::SegmentId;
use crate::segment::SegmentWriter;
use crate::segment::codec::Effort;
use crate::shard::Engine;
use crate::shard::Frozen;
use crate::shard::Phase;
use crate::shard::manifest::Change;
use crate::shard::record;
use crate::shard::record::PartitionKey;
use crate::shard::state::Settled;
use crate::shard::tombstone::Deletion;
use crate::wal::Log;

/// Series written to the series log in one step.
const SAVE_SERIES: usize = 4096;
/// Pause before a failed flush is tried again.
const RETRY_NS: u64 = 1_000_000_000;
/// A stop does not wait longer for a disk that fails: the logs keep what could not be flushed.
const LATE_TRIES: u32 = 3;

impl<P: Disk + Clock> Engine<P> {
    /// Flushes what was frozen and removes what was dropped, until the engine is closed. Spawned once, with fewer
    /// shares than requests.
    pub async fn flush_loop(&self) {
        let mut late_failures = 0;
        loop {
            let changed = self.flush_work.notified();
            self.remove_garbage().await;
            self.settle_orphans().await;
            let frozen = self.state.borrow().frozen.clone();
            if let Some(frozen) = frozen {
                if let Err(error) = self.flush(&frozen).await {
                    tracing::error!("flush failed, and is tried again: {error}");
                    late_failures += u32::from(self.state.borrow().phase == Phase::Stopping);
                    if late_failures == LATE_TRIES {
                        break;
                    }
                    self.platform.sleep_ns(RETRY_NS).await;
                }
                continue;
            }
            if self.may_end() {
                break;
            }
            changed.await;
        }
        self.state.borrow_mut().flush_loop_ended = true;
        self.room.notify_all();
    }

    fn may_end(&self) -> bool {
        let state = self.state.borrow();
        state.phase == Phase::Stopping && state.commit_loop_ended
    }

    async fn flush(&self, frozen: &Frozen) -> io::Result<()> {
        let age = record::log_age(frozen.up_to);
        let shards: Vec<u16> = self.options.shards().collect();
        for shard in shards {
            let done = self.state.borrow().shards[&shard].listed.flushed >= age;
            if !done {
                self.flush_shard(shard, age).await?;
            }
        }
        let dir = names::wal_dir(&self.options.dir);
        for name in &frozen.logs {
            remove_if_there(&self.platform, &dir.join(name.file_name())).await?;
        }
        if let Some(old_logs) = &frozen.old_logs {
            old_logs.release(&self.platform, &dir).await?;
        }
        {
            let mut state = self.state.borrow_mut();
            state.frozen = None;
            state.space.look_again();
        }
        self.room.notify_all();
        self.commit_work.notify_all();
        Ok(())
    }

    async fn flush_shard(&self, shard: u16, age: (u32, u32)) -> io::Result<()> {
        let partitions = self.frozen_partitions(shard);
        self.save_series(shard).await?;
        let mut paths = Vec::new();
        let segments = match self.write_segments(shard, partitions, &mut paths).await {
            Ok(segments) => segments,
            Err(error) => {
                for path in &paths {
                    self.remove_useless(path).await;
                }
                return Err(error);
            }
        };
        let visible = segments.iter().map(|(key, segment)| (segment.id().number, *key)).collect();
        let tombstones = self.unsaved_tombstones(shard, age);
        let change = Change::Flush { flushed: age, segments: visible, tombstones };
        if let Err(error) = self.change_manifest(shard, change).await {
            // Until the next change the manifest may name them.
            self.state.borrow_mut().shards.get_mut(&shard).expect("own shard").useless_later.extend(paths);
            return Err(error);
        }
        self.publish(shard, age, segments);
        Ok(())
    }

    /// Writes a segment of each partition; `paths` are the files begun, also when one fails.
    async fn write_segments(
        &self,
        shard: u16,
        partitions: Vec<(PartitionKey, Rc<Memtable>)>,
        paths: &mut Vec<PathBuf>,
    ) -> io::Result<Vec<(PartitionKey, Segment<P>)>> {
        let mut segments = Vec::new();
        for (key, memtable) in partitions {
            let (path, id) = self.next_segment(shard);
            paths.push(path.clone());
            segments.push((key, self.write_segment(&path, id, &memtable).await?));
        }
        if !segments.is_empty() {
            self.platform.sync_dir(&names::shard_dir(&self.options.dir, shard)).await?;
        }
        Ok(segments)
    }

    /// Deletions of the logs that go with this flush.
    fn unsaved_tombstones(&self, shard: u16, age: (u32, u32)) -> Vec<((u32, u32), Deletion)> {
        let state = self.state.borrow();
        let tombstones = state.shards[&shard].tombstones.iter();
        let unsaved = tombstones.filter(|tombstone| !tombstone.is_saved && tombstone.age <= age);
        unsaved.map(|tombstone| (tombstone.age, tombstone.deletion.clone())).collect()
    }

    fn frozen_partitions(&self, shard: u16) -> Vec<(PartitionKey, Rc<Memtable>)> {
        let state = self.state.borrow();
        let partitions = state.shards[&shard].partitions.iter();
        partitions.filter_map(|(key, partition)| Some((*key, partition.frozen.as_ref()?.memtable.clone()))).collect()
    }

    /// Every id that a segment may name must be in the series log before the segment is visible.
    async fn save_series(&self, shard: u16) -> io::Result<()> {
        let (mut log, series) = {
            let mut state = self.state.borrow_mut();
            let shard = state.shards.get_mut(&shard).expect("own shard");
            let series = std::mem::take(&mut shard.unsaved_series);
            if series.is_empty() {
                return Ok(());
            }
            (shard.series_log.take(), series)
        };
        let path = names::shard_dir(&self.options.dir, shard).join(names::SERIES_LOG);
        let mut result = Ok(());
        let mut saved = 0;
        // A million new series are no reason to hold up the core.
        for some in series.chunks(SAVE_SERIES) {
            let records = self.series_records(shard, some);
            result = append_or_reopen(&self.platform, &path, &mut log, u64::from(shard), &records).await;
            if result.is_err() {
                break;
            }
            saved += some.len();
            self.platform.yield_now().await;
        }
        let mut state = self.state.borrow_mut();
        let shard = state.shards.get_mut(&shard).expect("own shard");
        shard.series_log = log;
        if result.is_err() {
            let unsaved = series[saved..].to_vec();
            let newer = std::mem::replace(&mut shard.unsaved_series, unsaved);
            shard.unsaved_series.extend(newer);
        }
        result
    }

    fn series_records(&self, shard: u16, series: &[(DatabaseId, SeriesId)]) -> Vec<Vec<u8>> {
        let state = self.state.borrow();
        let shard = &state.shards[&shard];
        let record = |&(database, id): &(DatabaseId, SeriesId)| {
            Some(record::encode_series(database, id, &shard.unsaved_key(database, id)?))
        };
        series.iter().filter_map(record).collect()
    }

    async fn write_segment(&self, path: &Path, id: SegmentId, memtable: &Memtable) -> io::Result<Segment<P>> {
        while FlushCursor::prepare_step(memtable) {
            self.platform.yield_now().await;
        }
        let mut writer = SegmentWriter::create(&self.platform, path, id, Effort::Hot).await?;
        let mut cursor = FlushCursor::new(memtable);
        while let Some(rows) = cursor.next(memtable) {
            writer.add(SeriesId(rows.series), rows.measurement, &rows.fields, &rows.block).await?;
            self.platform.yield_now().await;
        }
        let summary = writer.finish().await?;
        self.state.borrow_mut().work.flushed_bytes += summary.bytes;
        Segment::open(&self.platform, path, &self.page_cache).await.map_err(io::Error::other)
    }

    /// A file name that was never used in this shard.
    pub(super) fn next_segment(&self, shard: u16) -> (PathBuf, SegmentId) {
        let mut state = self.state.borrow_mut();
        let own = state.shards.get_mut(&shard).expect("own shard");
        own.next_segment += 1;
        let number = own.next_segment;
        (names::shard_dir(&self.options.dir, shard).join(names::segment_name(number)), SegmentId { shard, number })
    }

    /// Segments take the place of the frozen memtables, in one step for readers.
    fn publish(&self, shard: u16, age: (u32, u32), segments: Vec<(PartitionKey, Segment<P>)>) {
        let now = self.platform.monotonic_ns();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let shard = state.shards.get_mut(&shard).expect("own shard");
        for (key, segment) in segments {
            // A drop may have come in between.
            match shard.partitions.get_mut(&key) {
                Some(partition) => {
                    partition.add_segment(Settled::new(age, segment));
                    partition.changed_ns = now;
                }
                None => state.garbage.push(segment.path().to_path_buf()),
            }
        }
        state.garbage.append(&mut shard.useless_later);
        shard.tombstones.iter_mut().filter(|saved| saved.age <= age).for_each(|saved| saved.is_saved = true);
        shard.drop_spent_tombstones();
        self.compact_work.notify_all();
    }

    /// Removes a file that the manifest does not name.
    pub(super) async fn remove_useless(&self, path: &Path) {
        if let Err(error) = remove_if_there(&self.platform, path).await {
            tracing::warn!("an unfinished segment could not be removed, a restart will try again: {error}");
        }
    }

    async fn remove_garbage(&self) {
        let garbage = std::mem::take(&mut self.state.borrow_mut().garbage);
        for path in garbage {
            if let Err(error) = remove_if_there(&self.platform, &path).await {
                tracing::warn!("a dropped segment could not be removed, a restart will try again: {error}");
            }
        }
    }
}

/// Appends to a log; one that failed before is first read back and reopened, which cuts what was not acknowledged.
async fn append_or_reopen<P: Disk>(
    platform: &P,
    path: &Path,
    log: &mut Option<Log<P>>,
    id: u64,
    records: &[Vec<u8>],
) -> io::Result<()> {
    let open = match log.take() {
        Some(open) if !open.has_failed() => open,
        _ => Log::open(platform, path, id, |_| ()).await?.0,
    };
    log.insert(open).append(records).await
}

pub(super) async fn remove_if_there<P: Disk>(platform: &P, path: &Path) -> io::Result<()> {
    match platform.remove(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
