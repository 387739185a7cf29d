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
use crate::model::SeriesId;
use crate::segment::FieldEntry;
use crate::segment::Segment;
use crate::segment::SegmentId;
use crate::segment::SegmentWriter;
use crate::segment::codec::Effort;
use crate::shard::Engine;
use crate::shard::Frozen;
use crate::shard::Phase;
use crate::shard::manifest::Change;
use crate::shard::manifest::Listed;
use crate::shard::record;
use crate::shard::record::PartitionKey;
use crate::shard::state::Settled;
use crate::shard::tombstone::Deletion;

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
            if let Some(outcome) = self.flush_step().await {
                if let Err(error) = outcome {
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
        self.start_advanced.notify_all();
    }

    /// What comes next, if there is something: first of all the logs of earlier runs.
    pub(super) async fn flush_step(&self) -> Option<io::Result<()>> {
        if self.is_replaying() {
            return Some(self.replay().await);
        }
        self.remove_garbage().await;
        let is_start = {
            let state = self.state.borrow();
            state.is_all_open && !state.is_settled
        };
        if is_start {
            self.find_orphans();
        }
        self.settle_orphans().await;
        if is_start {
            self.state.borrow_mut().is_settled = true;
            self.start_advanced.notify_all();
        }
        let frozen = self.state.borrow().frozen.clone();
        match frozen {
            Some(frozen) => Some(self.flush(&frozen).await),
            None => {
                self.forget_dormant().await;
                None
            }
        }
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
        for shard in self.options.shards() {
            self.shorten_series_log(shard).await;
        }
        Ok(())
    }

    async fn flush_shard(&self, shard: u16, age: (u32, u32)) -> io::Result<()> {
        self.save_series(shard).await?;
        let mut paths = Vec::new();
        let segments = match self.write_frozen(shard, &mut paths).await {
            Ok(segments) => segments,
            Err(error) => {
                for path in &paths {
                    self.remove_useless(path).await;
                }
                return Err(error);
            }
        };
        let (mut visible, mut named) = {
            let state = self.state.borrow();
            (state.shards[&shard].unlisted.clone(), state.shards[&shard].named())
        };
        let last = segments.iter().filter_map(|(_, segment)| segment.series().max()).max();
        named = named.max(last.map_or(0, |last| last.saturating_add(1)));
        visible.extend(segments.iter().map(|(key, segment)| (*key, Listed { number: segment.id().number, age })));
        let tombstones = self.unsaved_tombstones(shard, age);
        let change = Change::Flush { flushed: age, named, segments: visible, tombstones };
        if let Err(error) = self.change_manifest(shard, change).await {
            // Until the next change the manifest may name them.
            self.state.borrow_mut().shards.get_mut(&shard).expect("own shard").useless_later.extend(paths);
            return Err(error);
        }
        self.publish(shard, age, segments);
        Ok(())
    }

    /// Writes a segment of each frozen memtable; `paths` are the files begun, also when one fails.
    async fn write_frozen(&self, shard: u16, paths: &mut Vec<PathBuf>) -> io::Result<Vec<(PartitionKey, Segment<P>)>> {
        let mut segments = Vec::new();
        for (key, memtable) in self.frozen_partitions(shard) {
            let (path, id) = self.next_segment(shard);
            paths.push(path.clone());
            segments.push((key, self.write_segment(&path, id, &memtable).await?));
        }
        // Also for those that were written while logs were replayed.
        self.platform.sync_dir(&names::shard_dir(&self.options.dir, shard)).await?;
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

    /// A segment that is not yet visible, nor its name durable.
    pub(super) async fn write_segment(
        &self,
        path: &Path,
        id: SegmentId,
        memtable: &Memtable,
    ) -> io::Result<Segment<P>> {
        while FlushCursor::prepare_step(memtable) {
            self.platform.yield_now().await;
        }
        let mut writer = SegmentWriter::create(&self.platform, path, id, Effort::Hot).await?;
        let mut cursor = FlushCursor::new(memtable);
        while let Some(rows) = cursor.next(memtable) {
            writer.add(SeriesId(rows.series), rows.measurement, &rows.fields, rows.block).await?;
            self.platform.yield_now().await;
        }
        // Those too whose points were all deleted: they stay known as long as their measurement.
        for (measurement, name, field_type) in memtable.fields() {
            writer.declare(FieldEntry { measurement: measurement.into(), name: name.into(), field_type });
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
        for (key, listed) in std::mem::take(&mut shard.unlisted) {
            let partition = shard.partitions.get(&key);
            let settled = partition.iter().flat_map(|partition| &partition.segments);
            let now_listed = settled.filter(|settled| settled.segment.id().number == listed.number);
            now_listed.for_each(|settled| settled.is_fixed.set(false));
        }
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

pub(super) async fn remove_if_there<P: Disk>(platform: &P, path: &Path) -> io::Result<()> {
    match platform.remove(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
