//! What the logs of earlier runs hold and segments do not. A start goes through them twice:
//!
//! ```text
//! scan     before it serves: which series, fields and deletions they name, so that writes can go on
//! replay   while it serves, by the flush loop: points into memtables, and from there into segments when these are full
//! ```
//!
//! Until the replay has ended nothing is read, deleted or compacted, and no memtable of this run is frozen: all that
//! they hold is newer than what comes out of the old logs. Where anything is damaged the replay comes before the first
//! write, since nobody knows which ids were lost.
//!
//! Each file is read by the cores that own shards of the core that wrote it, frame by frame; the replay takes exactly
//! the frames that the scan found. What it brings has ages of this run: its generation, and a level that goes up with
//! each deletion, which hides what stands before it. The manifest names the segments together with what is flushed of
//! the rest: a crash in between repeats all of it.

use std::cell::Cell;
use std::io;

use futures_lite::future;

use crate::batch::BatchError;
use crate::batch::Reader;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::File;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::model::SeriesId;
use crate::shard::Engine;
use crate::shard::Live;
use crate::shard::OpenError;
use crate::shard::Phase;
use crate::shard::Recovery;
use crate::shard::State;
use crate::shard::manifest::Listed;
use crate::shard::record;
use crate::shard::record::Age;
use crate::shard::record::LogRecord;
use crate::shard::record::PartitionKey;
use crate::shard::state::Settled;
use crate::shard::state::ShardState;
use crate::wal;
use crate::wal::Frame;
use crate::wal::Frames;

/// Logs of earlier runs that were scanned and not yet replayed.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    logs: Vec<(WalName, Vec<u64>)>,
    /// Deletions in them.
    pub level: u32,
    has_failed: Cell<bool>,
}

impl<P: Disk + Clock> Engine<P> {
    /// Takes series, fields and deletions from the logs.
    pub(super) async fn scan(&self, names: &[WalName], recovery: &mut Recovery) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        for &name in names.iter().filter(|name| self.may_hold(**name)) {
            let path = names::wal_dir(&self.options.dir).join(name.file_name());
            let file = self.platform.open(&path).await?;
            let mut frames = Frames::new(&file, record::log_id(name)).await?;
            let mut starts = Vec::new();
            while let Some(frame) = frames.next().await? {
                starts.push(frame.start);
                let unknown = self.scan_frame(name, &frame, &mut scanned.level, recovery);
                recovery.damage.extend(unknown.into_iter().map(|what| format!("{}: {what}", path.display())));
                self.platform.yield_now().await;
            }
            let replayed = frames.replayed();
            wal::settle(&self.platform, &file, &replayed).await?;
            file.close().await?;
            recovery.note(&path, &replayed);
            recovery.logs += 1;
            recovery.log_bytes += replayed.end;
            scanned.logs.push((name, starts));
        }
        Ok(scanned)
    }

    fn may_hold(&self, name: WalName) -> bool {
        let age = record::log_age(name);
        let state = self.state.borrow();
        state.shards.iter().any(|(number, shard)| name.may_hold(*number) && shard.listed.flushed < age)
    }

    /// What is wrong with records of the frame.
    fn scan_frame(&self, name: WalName, frame: &Frame<'_>, level: &mut u32, recovery: &mut Recovery) -> Vec<String> {
        let mut state = self.state.borrow_mut();
        let State { shards, live, .. } = &mut *state;
        let mut wrong = Vec::new();
        for bytes in frame.records() {
            let Some(found) = record::decode_log(bytes) else {
                wrong.push("a record of an unknown kind".to_owned());
                continue;
            };
            let Some(shard) = shards.get_mut(&found.shard()).filter(|shard| shard.is_due(name)) else { continue };
            match found {
                LogRecord::Deletion(deletion) => {
                    *level += 1;
                    shard.forget_logged(&deletion);
                    shard.entomb((self.options.generation, *level), &deletion);
                }
                LogRecord::Batch { ids, batch, .. } => match scan_batch(shard, live, batch, &ids) {
                    Ok(points) => {
                        recovery.batches += u64::from(points > 0);
                        recovery.points += u64::from(points);
                    }
                    Err(error) => wrong.push(error.to_string()),
                },
            }
        }
        wrong
    }

    /// Whether the logs of earlier runs still hold what is nowhere else.
    pub(super) fn is_replaying(&self) -> bool {
        self.state.borrow().scanned.is_some()
    }

    /// Returns when all that earlier runs left can be read. The error: the engine was closed before.
    pub async fn replayed(&self) -> Result<(), OpenError> {
        self.reached(|state| state.scanned.is_none()).await
    }

    /// Returns when a start got so far; the error as for [`Engine::replayed`].
    pub(super) async fn reached(&self, is_there: impl Fn(&State<P>) -> bool) -> Result<(), OpenError> {
        loop {
            let advanced = self.start_advanced.notified();
            {
                let state = self.state.borrow();
                if is_there(&state) {
                    return Ok(());
                }
                if state.flush_loop_ended && state.phase == Phase::Stopping {
                    return Err(OpenError::Io(io::Error::other("server is stopping")));
                }
            }
            advanced.await;
        }
    }

    /// Points of the scanned logs into memtables and segments. After a failure nothing of it is left, and it can be
    /// tried again.
    pub(super) async fn replay(&self) -> io::Result<()> {
        let Some(scanned) = self.state.borrow().scanned.clone() else { return Ok(()) };
        let started = self.platform.monotonic_ns();
        let mut replay = Replay { engine: self, level: 0, is_stuck: false, bytes: 0 };
        for (name, frames) in &scanned.logs {
            if let Err(error) = replay.take_log(*name, frames, scanned.has_failed.get()).await {
                scanned.has_failed.set(true);
                self.undo_replay();
                return Err(error);
            }
        }
        let bytes = replay.bytes;
        {
            let mut state = self.state.borrow_mut();
            for shard in state.shards.values_mut() {
                shard.partitions.values_mut().for_each(|partition| partition.freeze_replayed(replay.age()));
                shard.keep_known_ids();
                shard.logged.clear();
            }
            if let Some(frozen) = state.frozen.as_mut().filter(|frozen| frozen.old_logs.is_some()) {
                frozen.bytes = bytes;
            }
        }
        self.settle_deleted().await;
        self.state.borrow_mut().scanned = None;
        self.start_advanced.notify_all();
        self.compact_work.notify_all();
        if !scanned.logs.is_empty() {
            let ms = (self.platform.monotonic_ns() - started) / 1_000_000;
            tracing::info!(ms, core = self.options.core, "What the logs of earlier runs hold can be read");
        }
        Ok(())
    }

    fn undo_replay(&self) {
        let mut state = self.state.borrow_mut();
        let State { shards, garbage, .. } = &mut *state;
        for shard in shards.values_mut() {
            let unlisted: Vec<u64> = shard.unlisted.drain(..).map(|(_, listed)| listed.number).collect();
            for partition in shard.partitions.values_mut() {
                partition.undo_replay(&unlisted, garbage);
            }
        }
    }
}

/// A replay under way.
#[derive(Debug)]
struct Replay<'a, P: Disk + Clock> {
    engine: &'a Engine<P>,
    level: u32,
    /// A segment could not be written: the rest stays in memory.
    is_stuck: bool,
    /// Memtable bytes.
    bytes: usize,
}

impl<P: Disk + Clock> Replay<'_, P> {
    /// Of what was taken so far.
    fn age(&self) -> Age {
        (self.engine.options.generation, self.level)
    }

    /// Takes the points of these frames of a log. Those that are not there any more are damage, with `is_lenient`.
    async fn take_log(&mut self, name: WalName, starts: &[u64], is_lenient: bool) -> io::Result<()> {
        let Engine { platform, options, .. } = self.engine;
        let path = names::wal_dir(&options.dir).join(name.file_name());
        let file = platform.open(&path).await?;
        let mut frames = Frames::new(&file, record::log_id(name)).await?;
        let mut found = 0;
        while let Some(frame) = frames.next().await? {
            if starts.binary_search(&frame.start).is_ok() {
                found += 1;
                self.take_frame(name, &frame);
            }
            if self.bytes >= options.replay_bytes && !self.is_stuck {
                self.spill().await;
            }
            platform.yield_now().await;
        }
        drop(frames);
        file.close().await?;
        if found < starts.len() {
            let text = format!("{}: {} frames cannot be read any more", path.display(), starts.len() - found);
            if !is_lenient {
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            tracing::error!("damaged: {text}");
        }
        Ok(())
    }

    fn take_frame(&mut self, name: WalName, frame: &Frame<'_>) {
        let mut state = self.engine.state.borrow_mut();
        let State { shards, live, .. } = &mut *state;
        for found in frame.records().filter_map(record::decode_log) {
            let Some(shard) = shards.get_mut(&found.shard()).filter(|shard| shard.is_due(name)) else { continue };
            match found {
                LogRecord::Deletion(deletion) => {
                    self.level += 1;
                    shard.delete_rows(&deletion, |partition| &mut partition.replayed);
                }
                // What is wrong with it was reported.
                LogRecord::Batch { ids, batch, .. } => {
                    let change = replay_batch(shard, live, batch, &ids).unwrap_or_default();
                    self.bytes = self.bytes.saturating_add_signed(change);
                }
            }
        }
    }

    /// Writes all that was replayed to segments that nothing names yet: while one waits for the disk, another is
    /// encoded.
    async fn spill(&mut self) {
        let (engine, age) = (self.engine, self.age());
        let keys = |shard| engine.replayed_partitions(shard).into_iter().map(move |key| (shard, key));
        let all: Vec<(u16, PartitionKey)> = engine.options.shards().flat_map(keys).collect();
        let next = Cell::new(0);
        let lane = async || {
            while let Some(&(shard, key)) = all.get(next.replace(next.get() + 1)) {
                engine.spill(shard, key, age).await?;
            }
            Ok::<(), io::Error>(())
        };
        let (left, right) = future::zip(lane(), lane()).await;
        if let Err(error) = left.and(right) {
            tracing::warn!("what the logs hold stays in memory, it cannot be written to a segment: {error}");
            self.is_stuck = true;
            return;
        }
        self.bytes = 0;
    }
}

impl<P: Disk + Clock> Engine<P> {
    fn replayed_partitions(&self, shard: u16) -> Vec<PartitionKey> {
        let state = self.state.borrow();
        let partitions = state.shards[&shard].partitions.iter();
        partitions.filter(|(_, partition)| !partition.replayed.is_empty()).map(|(key, _)| *key).collect()
    }

    /// What was replayed of a partition becomes a segment.
    async fn spill(&self, shard: u16, key: PartitionKey, age: Age) -> io::Result<()> {
        let take = |state: &mut State<P>| {
            let partition = state.shards.get_mut(&shard)?.partitions.get_mut(&key)?;
            Some(partition.replayed.take())
        };
        let Some(memtable) = take(&mut self.state.borrow_mut()) else { return Ok(()) };
        let (path, id) = self.next_segment(shard);
        let written = self.write_segment(&path, id, &memtable).await;
        if written.is_err() {
            self.remove_useless(&path).await;
        }
        let mut state = self.state.borrow_mut();
        let State { shards, garbage, .. } = &mut *state;
        let own = shards.get_mut(&shard).expect("own shard");
        let partition = own.partitions.get_mut(&key);
        match (written, partition) {
            (Ok(segment), Some(partition)) => {
                own.unlisted.push((key, Listed { number: segment.id().number, age }));
                let settled = Settled::new(age, segment);
                settled.is_fixed.set(true);
                partition.add_segment(settled);
                Ok(())
            }
            // Dropped meanwhile.
            (written, None) => {
                garbage.extend(written.is_ok().then_some(path));
                Ok(())
            }
            (Err(error), Some(partition)) => {
                partition.replayed = memtable;
                Err(error)
            }
        }
    }
}

/// Takes the series and fields of a batch; how many points it has of shard groups that are there.
fn scan_batch<P: Disk>(
    shard: &mut ShardState<P>,
    live: &Live,
    batch: &[u8],
    ids: &[SeriesId],
) -> Result<u32, BatchError> {
    let reader = Reader::of(batch)?;
    let key = PartitionKey::of(&reader.destination);
    if !live.databases.contains(&key.database) {
        return Ok(0);
    }
    // Also of a shard group that is gone: later batches of other groups may name the series by their ids.
    for (&id, series) in ids.iter().zip(&reader.keys) {
        let restored = shard.restore_series(key.database, id, series, false);
        restored.map_err(|_| BatchError("a key that names no series"))?;
    }
    if !live.groups.contains_key(&key) {
        return Ok(0);
    }
    shard.revive(key.database, &reader, ids);
    shard.note_fields(key, &reader);
    Ok(reader.row_count)
}

/// By how many bytes the memory of the points held has changed.
fn replay_batch<P: Disk>(
    shard: &mut ShardState<P>,
    live: &Live,
    batch: &[u8],
    ids: &[SeriesId],
) -> Result<isize, BatchError> {
    let reader = Reader::of(batch)?;
    let key = PartitionKey::of(&reader.destination);
    let Some(&range) = live.groups.get(&key) else { return Ok(0) };
    Ok(shard.apply(key, range, &reader, ids, |partition| &mut partition.replayed))
}
