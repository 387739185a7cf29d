//! Partitions whose segments are opened after a start, while the core serves already.
//!
//! A start opens what ends now or later, where writes are expected. Of the rest it knows from the manifest which
//! segments there are; they are opened one partition after the other, newest first, and at once when somebody asks for
//! their points. Until then a partition takes writes and is flushed, but nothing is read from it, compacted, or found
//! to have lost its last point.

use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::model::DatabaseId;
use crate::model::PolicyId;
use crate::model::TimeRange;
use crate::segment::PageCache;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::shard::Engine;
use crate::shard::OpenError;
use crate::shard::Phase;
use crate::shard::Recovery;
use crate::shard::manifest::Listed;
use crate::shard::record::PartitionKey;
use crate::shard::state::Partition;
use crate::shard::state::Settled;

/// A partition that is not open.
type Cold = (u16, PartitionKey);

impl<P: Disk + Clock> Engine<P> {
    /// The shard groups of which something is not open yet.
    pub fn cold(&self) -> Vec<PartitionKey> {
        let state = self.state.borrow();
        let partitions = state.shards.values().flat_map(|shard| &shard.partitions);
        let mut keys: Vec<_> = partitions.filter(|entry| !entry.1.unopened.is_empty()).map(|entry| *entry.0).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Opens everything. What cannot be opened is reported, and tried again by whoever needs it. Called once.
    pub async fn open_cold(&self) -> Recovery {
        let mut recovery = Recovery::default();
        let mut cold = self.unopened(|_, _| true);
        cold.sort_by_key(|&(shard, key)| {
            let range = self.state.borrow().shards[&shard].partitions.get(&key).map(|partition| partition.range.max);
            (std::cmp::Reverse(range), shard, key)
        });
        for (shard, key) in cold {
            if self.state.borrow().phase == Phase::Stopping {
                return recovery;
            }
            if let Err(error) = self.open_partition(shard, key, &mut recovery).await {
                recovery.damage.push(error.to_string());
            }
            self.platform.yield_now().await;
        }
        self.state.borrow_mut().is_all_open = true;
        self.flush_work.notify_all();
        recovery
    }

    /// Returns when all that `policy` (`None`: any) of a database has in `range` can be read.
    pub async fn opened(
        &self,
        database: DatabaseId,
        policy: Option<PolicyId>,
        range: TimeRange,
    ) -> Result<(), OpenError> {
        self.replayed().await?;
        self.open_needed(database, policy, range).await?;
        if policy.is_none() {
            // Whoever asks for all of a database asks for its series.
            self.reached(|state| state.is_settled).await?;
        }
        Ok(())
    }

    /// The same for segments alone.
    pub(super) async fn open_needed(
        &self,
        database: DatabaseId,
        policy: Option<PolicyId>,
        range: TimeRange,
    ) -> Result<(), OpenError> {
        let is_needed = |key: &PartitionKey, partition: &Partition<P>| {
            key.database == database
                && policy.is_none_or(|policy| policy == key.policy)
                && !partition.range.intersect(range).is_empty()
        };
        for (shard, key) in self.unopened(is_needed) {
            let mut recovery = Recovery::default();
            self.open_partition(shard, key, &mut recovery).await?;
            recovery.log_damage();
        }
        Ok(())
    }

    fn unopened(&self, is_needed: impl Fn(&PartitionKey, &Partition<P>) -> bool) -> Vec<Cold> {
        let state = self.state.borrow();
        let partitions = state
            .shards
            .iter()
            .flat_map(|(number, shard)| shard.partitions.iter().map(move |(key, partition)| (*number, key, partition)));
        let cold = partitions.filter(|(_, key, partition)| !partition.unopened.is_empty() && is_needed(key, partition));
        cold.map(|(shard, key, _)| (shard, *key)).collect()
    }

    /// Opens the segments of a partition, if nobody else does or did.
    async fn open_partition(&self, shard: u16, key: PartitionKey, recovery: &mut Recovery) -> Result<(), OpenError> {
        let Some((unopened, taken)) = self.take_unopened(shard, key).await else { return Ok(()) };
        let folder = names::shard_dir(&self.options.dir, shard);
        let mut found = Recovery::default();
        let opened = open_segments(&self.platform, &folder, &unopened, &self.page_cache, &mut found).await;
        let mut state = self.state.borrow_mut();
        let partitions = &mut state.shards.get_mut(&shard).expect("own shard").partitions;
        // Dropped meanwhile: then its files are gone, and that is no damage.
        let outcome = match partitions.get_mut(&key) {
            Some(partition) => opened.map(|segments| {
                partition.take_opened(segments);
                recovery.join(found);
            }),
            None => Ok(()),
        };
        drop(state);
        drop(taken);
        self.compact_work.notify_all();
        outcome
    }

    /// What is to be opened; `None` when it is open, perhaps after a wait. Nobody else gets it while `Taken` lives.
    async fn take_unopened(&self, shard: u16, key: PartitionKey) -> Option<(Vec<Listed>, Taken<'_, P>)> {
        loop {
            let changed = self.partition_opened.notified();
            {
                let mut state = self.state.borrow_mut();
                let partition = state.shards.get_mut(&shard)?.partitions.get_mut(&key)?;
                if partition.unopened.is_empty() {
                    return None;
                }
                if !std::mem::replace(&mut partition.is_opening, true) {
                    return Some((partition.unopened.clone(), Taken { engine: self, shard, key }));
                }
            }
            changed.await;
        }
    }
}

/// A partition that is being opened. Whoever waits for it hears of the end, also when the opener has given up.
struct Taken<'a, P: Disk + Clock> {
    engine: &'a Engine<P>,
    shard: u16,
    key: PartitionKey,
}

impl<P: Disk + Clock> Drop for Taken<'_, P> {
    fn drop(&mut self) {
        let mut state = self.engine.state.borrow_mut();
        let shard = state.shards.get_mut(&self.shard);
        if let Some(partition) = shard.and_then(|shard| shard.partitions.get_mut(&self.key)) {
            partition.is_opening = false;
        }
        self.engine.partition_opened.notify_all();
    }
}

/// Opens segments of one partition; what is damaged is reported and left out.
pub(super) async fn open_segments<P: Disk>(
    platform: &P,
    folder: &Path,
    listed: &[Listed],
    cache: &Rc<PageCache>,
    recovery: &mut Recovery,
) -> Result<Vec<Settled<P>>, OpenError> {
    let mut opened = Vec::with_capacity(listed.len());
    for &Listed { number, age } in listed {
        match Segment::open(platform, &folder.join(names::segment_name(number)), cache).await {
            Ok(segment) => {
                recovery.segments += 1;
                opened.push(Settled::new(age, segment));
            }
            Err(error @ SegmentError::Version { .. }) => return Err(OpenError::Version(error)),
            // A device that fails now may answer later: serving without the segment would hide its points.
            Err(SegmentError::Io { path, error }) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::Io(io::Error::new(error.kind(), format!("{path}: {error}"))));
            }
            // The rest of the data stays readable; the file stays for whoever wants to look at it.
            Err(error) => recovery.damage.push(error.to_string()),
        }
    }
    Ok(opened)
}
