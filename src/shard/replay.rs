//! What the logs of earlier runs hold and segments do not, into memtables; and out of them again into segments when
//! they grow too large.
//!
//! Each file is read by the cores that own shards of the core that wrote it, frame by frame. A deletion in it hides
//! what stands before it, so what is replayed has ages of this run: its generation, and a level that goes up with each
//! deletion that comes after something was written to a segment.
//!
//! Segments written here are named by the manifest together with what is flushed of the rest: a crash in between
//! repeats all of it.

use std::io;
use std::path::Path;

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

/// Replays logs in order of their age.
#[derive(Debug)]
pub(super) struct Replay<'a, P: Disk + Clock> {
    engine: &'a Engine<P>,
    recovery: &'a mut Recovery,
    level: u32,
    /// Something of this level is in a segment.
    has_spilled: bool,
    /// A segment could not be written: the rest stays in memory.
    is_stuck: bool,
    /// Memtable bytes.
    bytes: usize,
}

impl<'a, P: Disk + Clock> Replay<'a, P> {
    pub fn new(engine: &'a Engine<P>, recovery: &'a mut Recovery) -> Replay<'a, P> {
        Replay { engine, recovery, level: 0, has_spilled: false, is_stuck: false, bytes: 0 }
    }

    /// What was replayed is as old as this.
    pub fn age(&self) -> Age {
        (self.engine.options.generation, self.level)
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes from a log what is of this core's shards and not in segments.
    pub async fn take_log(&mut self, name: WalName) -> io::Result<()> {
        if !self.may_hold(name) {
            return Ok(());
        }
        let Engine { platform, options, .. } = self.engine;
        let path = names::wal_dir(&options.dir).join(name.file_name());
        let file = platform.open(&path).await?;
        let mut frames = Frames::new(&file, record::log_id(name)).await?;
        while let Some(frame) = frames.next().await? {
            self.take_frame(name, &path, &frame);
            if self.bytes >= options.memtable_bytes && !self.is_stuck {
                self.spill().await;
            }
            platform.yield_now().await;
        }
        let replayed = frames.replayed();
        wal::settle(platform, &file, &replayed).await?;
        file.close().await?;
        self.recovery.note(&path, &replayed);
        self.recovery.logs += 1;
        self.recovery.log_bytes += replayed.end;
        Ok(())
    }

    fn may_hold(&self, name: WalName) -> bool {
        let age = record::log_age(name);
        let state = self.engine.state.borrow();
        state.shards.iter().any(|(number, shard)| name.may_hold(*number) && shard.listed.flushed < age)
    }

    fn take_frame(&mut self, name: WalName, path: &Path, frame: &Frame<'_>) {
        let mut state = self.engine.state.borrow_mut();
        let State { shards, live, .. } = &mut *state;
        for bytes in frame.records() {
            let Some(found) = record::decode_log(bytes) else {
                self.recovery.damage.push(format!("{}: a record of an unknown kind", path.display()));
                continue;
            };
            let number = match &found {
                LogRecord::Batch { shard, .. } => *shard,
                LogRecord::Deletion(deletion) => deletion.shard,
            };
            let age = record::log_age(name);
            let Some(shard) = shards.get_mut(&number).filter(|shard| shard.listed.flushed < age) else { continue };
            let (ids, batch) = match found {
                LogRecord::Batch { ids, batch, .. } => (ids, batch),
                LogRecord::Deletion(deletion) => {
                    self.level += u32::from(std::mem::take(&mut self.has_spilled));
                    shard.delete((self.engine.options.generation, self.level), &deletion);
                    continue;
                }
            };
            match take_batch(shard, live, batch, &ids) {
                Ok((points, bytes)) => {
                    self.recovery.batches += 1;
                    self.recovery.points += u64::from(points);
                    self.bytes += bytes;
                }
                Err(error) => self.recovery.damage.push(format!("{}: {error}", path.display())),
            }
        }
    }

    /// Writes all that was replayed to segments that nothing names yet.
    async fn spill(&mut self) {
        for shard in self.engine.options.shards() {
            for key in self.engine.replayed_partitions(shard) {
                if let Err(error) = self.engine.spill(shard, key, self.age()).await {
                    tracing::warn!("what the logs hold stays in memory, it cannot be written to a segment: {error}");
                    self.is_stuck = true;
                    return;
                }
                self.has_spilled = true;
            }
        }
        self.bytes = 0;
    }
}

impl<P: Disk + Clock> Engine<P> {
    fn replayed_partitions(&self, shard: u16) -> Vec<PartitionKey> {
        let state = self.state.borrow();
        let partitions = state.shards[&shard].partitions.iter();
        partitions.filter(|(_, partition)| !partition.active.is_empty()).map(|(key, _)| *key).collect()
    }

    /// The active memtable of a partition becomes a segment; nothing else looks at either meanwhile.
    async fn spill(&self, shard: u16, key: PartitionKey, age: Age) -> io::Result<()> {
        let take = |state: &mut State<P>| {
            let partition = state.shards.get_mut(&shard)?.partitions.get_mut(&key)?;
            Some(std::mem::take(&mut partition.active))
        };
        let memtable = take(&mut self.state.borrow_mut()).unwrap_or_default();
        let (path, id) = self.next_segment(shard);
        let written = self.write_segment(&path, id, &memtable).await;
        if written.is_err() {
            self.remove_useless(&path).await;
        }
        let mut state = self.state.borrow_mut();
        let own = state.shards.get_mut(&shard).expect("own shard");
        let partition = own.partitions.get_mut(&key).expect("nothing drops partitions during a start");
        match written {
            Ok(segment) => {
                own.unlisted.push((key, Listed { number: segment.id().number, age }));
                let settled = Settled::new(age, segment);
                settled.is_fixed.set(true);
                partition.add_segment(settled);
                Ok(())
            }
            Err(error) => {
                partition.active = memtable;
                Err(error)
            }
        }
    }
}

/// Points of a batch, and the memory that they take.
fn take_batch<P: Disk>(
    shard: &mut ShardState<P>,
    live: &Live,
    batch: &[u8],
    ids: &[SeriesId],
) -> Result<(u32, usize), BatchError> {
    let reader = Reader::of(batch)?;
    let destination = reader.destination;
    let key = PartitionKey { database: destination.database, policy: destination.policy, group: destination.group };
    if !live.databases.contains(&destination.database) {
        return Ok((0, 0));
    }
    // Also of a shard group that is gone: later batches of other groups may name the series by their ids.
    for (&id, series) in ids.iter().zip(&reader.keys) {
        shard
            .restore_series(destination.database, id, series, false)
            .map_err(|_| BatchError("a key that names no series"))?;
    }
    let Some(&range) = live.groups.get(&key) else { return Ok((0, 0)) };
    shard.revive(destination.database, &reader, ids);
    let bytes = shard.apply(key, range, &reader, ids);
    Ok((reader.row_count, bytes))
}
