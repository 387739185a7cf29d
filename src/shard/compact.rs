//! Segments that became many, or mostly deleted, are rewritten as one.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use crate::compact;
use crate::compact::Candidate;
use crate::compact::PAGE_CACHE_BYTES;
use crate::compact::RewriteError;
use crate::compact::Rules;
use crate::compact::Throttle;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::model::DatabaseId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::PageCache;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::segment::codec::DENSE_SAVES;
use crate::segment::codec::Effort;
use crate::shard::Engine;
use crate::shard::Phase;
use crate::shard::State;
use crate::shard::manifest::Change;
use crate::shard::record::Age;
use crate::shard::record::PartitionKey;
use crate::shard::state::Partition;
use crate::shard::state::Settled;
use crate::shard::tombstone;
use crate::shard::tombstone::Tombstone;

/// How often partitions that have become cold are looked for.
const COLD_LOOK_NS: u64 = 60_000_000_000;
/// Pause after a compaction that failed.
const RETRY_NS: u64 = 10_000_000_000;
/// Each deletion counts as hiding at least this share of a segment, so that they do not pile up.
const DELETION_SHARE: f64 = 1.0 / 256.0;

/// A merge that is due.
#[derive(Debug)]
pub(super) struct Job<P: Disk> {
    shard: u16,
    key: PartitionKey,
    inputs: Vec<(Age, Rc<Segment<P>>)>,
    /// What it will write, about.
    bytes: u64,
    /// What it will free beyond that, about.
    dead_bytes: u64,
    effort: Effort,
}

/// What a compaction leaves out.
#[derive(Debug)]
struct Deleted<'a, P: Disk + Clock> {
    engine: &'a Engine<P>,
    database: DatabaseId,
    ages: Vec<Age>,
    tombstones: Vec<Tombstone>,
}

impl<P: Disk + Clock> Rules for Deleted<'_, P> {
    fn dead(&self, input: usize, series: SeriesId) -> Vec<TimeRange> {
        tombstone::dead_ranges(&self.tombstones, self.database, series, self.ages[input])
    }

    fn is_forgotten(&self, input: usize, measurement: &[u8]) -> bool {
        tombstone::is_forgotten(&self.tombstones, self.database, measurement, self.ages[input])
    }

    fn is_cancelled(&self) -> bool {
        self.engine.state.borrow().phase == Phase::Stopping
    }
}

impl<P: Disk + Clock> Engine<P> {
    /// Compacts what is due until the engine is closed. Spawned once, with fewer shares than requests.
    pub async fn compact_loop(&self) {
        let Engine { platform, options, .. } = self;
        let mut throttle =
            Throttle::new(platform.clone(), options.compact_bytes_per_second, options.compact_burst_bytes);
        loop {
            let changed = self.compact_work.notified();
            let job = {
                let state = self.state.borrow();
                if state.phase == Phase::Stopping {
                    break;
                }
                self.choose(&state)
            };
            let Some(job) = job else {
                futures_lite::future::or(changed, platform.sleep_ns(COLD_LOOK_NS)).await;
                continue;
            };
            if !self.has_space_beside_writes(job.bytes, job.dead_bytes).await {
                futures_lite::future::or(changed, platform.sleep_ns(RETRY_NS)).await;
                continue;
            }
            self.state.borrow_mut().work.is_compacting = true;
            let result = self.compact(&job, &mut throttle).await;
            self.state.borrow_mut().work.is_compacting = false;
            match result {
                Ok(()) => self.flush_work.notify_all(),
                Err(RewriteError::Cancelled) => (),
                Err(error) => {
                    tracing::error!("compaction failed, nothing is lost: {error}");
                    self.set_aside(&job, &error);
                    futures_lite::future::or(changed, platform.sleep_ns(RETRY_NS)).await;
                }
            }
        }
        self.state.borrow_mut().compact_loop_ended = true;
        self.room.notify_all();
    }

    /// The smallest merge that is due.
    pub(super) fn choose(&self, state: &State<P>) -> Option<Job<P>> {
        if state.scanned.is_some() {
            return None;
        }
        let now = self.platform.monotonic_ns();
        let partitions = state.shards.iter().flat_map(|(number, shard)| {
            shard.partitions.iter().map(move |(key, partition)| (*number, *key, partition, &shard.tombstones))
        });
        let jobs = partitions.filter_map(|(shard, key, partition, tombstones)| {
            let is_cold = now.saturating_sub(partition.changed_ns) >= self.options.compact_cold_ns;
            let range = pick(key.database, partition, tombstones, is_cold)?;
            let inputs = &partition.segments[range];
            let bytes: u64 = inputs.iter().map(|settled| settled.segment.bytes()).sum();
            let dead = inputs
                .iter()
                .map(|settled| settled.segment.bytes() as f64 * dead_share(key.database, settled, tombstones));
            let dead_bytes = (dead.sum::<f64>() as u64).min(bytes);
            let inputs = inputs.iter().map(|settled| (settled.age, settled.segment.clone())).collect();
            let effort = if is_cold { Effort::Cold } else { Effort::Hot };
            Some(Job { shard, key, inputs, bytes: bytes - dead_bytes, dead_bytes, effort })
        });
        jobs.min_by_key(|job| job.bytes)
    }

    async fn compact(&self, job: &Job<P>, throttle: &mut Throttle<P>) -> Result<(), RewriteError> {
        let Job { shard, key, .. } = *job;
        let cache = PageCache::new(PAGE_CACHE_BYTES);
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for (_, segment) in &job.inputs {
            let segment = Segment::open(&self.platform, segment.path(), &cache).await?;
            inputs.push(Rc::new(segment.in_stretches()));
        }
        let (deleted, age) = {
            let state = self.state.borrow();
            let own = &state.shards[&shard];
            // Exactly those that the age of the result will speak for. The manifest holds them; those that only a log
            // holds are for a later time, since a crash may still take them back.
            let age = own.listed.flushed;
            let saved = own.tombstones.iter().filter(|tombstone| tombstone.age <= age);
            let tombstones = saved.filter(|saved| saved.deletion.database == key.database).cloned().collect();
            let ages = job.inputs.iter().map(|input| input.0).collect();
            (Deleted { engine: self, database: key.database, ages, tombstones }, age)
        };
        let (path, id) = self.next_segment(shard);
        let written = compact::rewrite(&self.platform, &inputs, &deleted, (&path, id), job.effort, throttle).await;
        let summary = match written {
            Ok(summary) => summary,
            Err(error) => {
                self.remove_useless(&path).await;
                return Err(error);
            }
        };
        let opened = match summary {
            Some(_) => Some(Segment::open(&self.platform, &path, &self.page_cache).await?),
            None => {
                self.remove_useless(&path).await;
                None
            }
        };
        self.platform.sync_dir(&names::shard_dir(&self.options.dir, shard)).await.map_err(RewriteError::Output)?;
        let removed = job.inputs.iter().map(|(_, segment)| segment.id().number).collect();
        let change = Change::Compaction { key, age, removed, added: opened.is_some().then_some(id.number) };
        // After a failure here the change may come back at the next start, so the file stays; if it does not come back,
        // that start removes the file.
        self.change_manifest(shard, change).await.map_err(RewriteError::Output)?;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.work.compactions += 1;
        state.work.compacted_bytes += summary.map_or(0, |summary| summary.bytes);
        let own = state.shards.get_mut(&shard).expect("own shard");
        let old: Vec<Rc<Segment<P>>> = job.inputs.iter().map(|(_, segment)| segment.clone()).collect();
        match own.partitions.get_mut(&key) {
            Some(partition) => {
                let is_replaced = partition.replace(&old, opened.map(|segment| Settled::new(age, segment)));
                assert!(is_replaced, "only one compaction at a time takes segments out of a partition");
                state.garbage.extend(old.iter().map(|segment| segment.path().to_path_buf()));
            }
            // Dropped meanwhile, with its segments.
            None => state.garbage.extend(opened.map(|segment| segment.path().to_path_buf())),
        }
        own.drop_spent_tombstones();
        Ok(())
    }

    /// What cannot be read is not tried again; what was read as damage stays for whoever wants to look at it.
    fn set_aside(&self, job: &Job<P>, error: &RewriteError) {
        let RewriteError::Input(SegmentError::Damaged { path, .. }) = error else { return };
        let state = self.state.borrow();
        let Some(partition) = state.shards[&job.shard].partitions.get(&job.key) else { return };
        let damaged = partition.segments.iter().filter(|settled| settled.segment.path() == Path::new(path));
        damaged.for_each(|settled| settled.is_fixed.set(true));
    }
}

fn pick<P: Disk>(
    database: DatabaseId,
    partition: &Partition<P>,
    tombstones: &[Tombstone],
    is_cold: bool,
) -> Option<Range<usize>> {
    if partition.unreadable > 0 || !partition.unopened.is_empty() {
        return None;
    }
    let candidates = partition.segments.iter().map(|settled| Candidate {
        bytes: settled.segment.bytes(),
        dead: dead_share(database, settled, tombstones),
        is_packable: settled.segment.packing_saves() >= DENSE_SAVES,
        is_fixed: settled.is_fixed.get(),
    });
    compact::pick(&candidates.collect::<Vec<_>>(), is_cold)
}

/// Which share of a segment deletions hide, about.
fn dead_share<P: Disk>(database: DatabaseId, settled: &Settled<P>, tombstones: &[Tombstone]) -> f64 {
    let segment = &settled.segment;
    let span = |range: TimeRange| (range.max as f64 - range.min as f64 + 1.0).max(0.0);
    let hiding = tombstones.iter().filter(|tombstone| {
        tombstone.is_saved && tombstone.age > settled.age && tombstone.deletion.database == database
    });
    hiding
        .map(|Tombstone { deletion, .. }| {
            let times = span(deletion.range.intersect(segment.range())) / span(segment.range());
            let common = deletion.series.intersection_len(segment.series());
            let series = common as f64 / segment.series().len().max(1) as f64;
            if common == 0 || times == 0.0 { 0.0 } else { (times * series).max(DELETION_SHARE) }
        })
        .sum::<f64>()
        .min(1.0)
}
