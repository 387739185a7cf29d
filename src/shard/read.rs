//! What execution sees of a shard: its index, its partitions, and the rows of a series from segments, frozen and active
//! memtable.

use std::rc::Rc;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::exec::view::BlockSummary;
use crate::exec::view::Cursor;
use crate::exec::view::PartitionInfo;
use crate::exec::view::ReadError;
use crate::exec::view::ReadRequest;
use crate::exec::view::View;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::RowBlock;
use crate::model::TimeRange;
use crate::segment::Merge;
use crate::segment::Passed;
use crate::segment::SegmentError;
use crate::segment::Source;
use crate::series::Index;
use crate::shard::Engine;
use crate::shard::state::Frozen;
use crate::shard::state::Partition;
use crate::shard::state::Settled;
use crate::shard::tombstone;
use crate::shard::tombstone::Tombstone;

/// One shard of an engine, as execution reads it.
#[derive(Debug)]
pub struct ShardView<P: Disk + Clock> {
    engine: Rc<Engine<P>>,
    shard: u16,
}

impl<P: Disk + Clock> Clone for ShardView<P> {
    fn clone(&self) -> ShardView<P> {
        ShardView { engine: self.engine.clone(), shard: self.shard }
    }
}

impl<P: Disk + Clock> ShardView<P> {
    pub(super) fn new(engine: Rc<Engine<P>>, shard: u16) -> ShardView<P> {
        ShardView { engine, shard }
    }

    /// Its number.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Runs `look` on the partitions of a policy that overlap `range`, by time.
    fn with_partitions<R>(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        range: TimeRange,
        mut look: impl FnMut(GroupId, &Partition<P>, &[Tombstone]) -> R,
    ) -> Vec<R> {
        let state = self.engine.state.borrow();
        let Some(shard) = state.shards.get(&self.shard) else { return Vec::new() };
        let mut found: Vec<_> = shard
            .partitions
            .iter()
            .filter(|(key, _)| key.database == database && key.policy == policy)
            .filter(|(_, partition)| !partition.range.intersect(range).is_empty())
            .collect();
        found.sort_by_key(|(_, partition)| partition.range.min);
        found.into_iter().map(|(key, partition)| look(key.group, partition, &shard.tombstones)).collect()
    }
}

impl<P: Disk + Clock> View for ShardView<P> {
    type Cursor = SeriesCursor<P>;

    fn index<R>(&self, database: DatabaseId, look: impl FnOnce(&Index) -> R) -> Option<R> {
        let state = self.engine.state.borrow();
        state.shards.get(&self.shard)?.indexes.get(&database).map(look)
    }

    fn partitions(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<PartitionInfo> {
        self.with_partitions(database, policy, range, |group, partition, _| PartitionInfo {
            group,
            range: partition.range,
            series: (*partition.series()).clone(),
        })
    }

    fn shard_groups(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<TimeRange> {
        self.with_partitions(database, policy, range, |_, partition, _| partition.range)
    }

    fn fields(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        measurement: &[u8],
        range: TimeRange,
    ) -> Vec<(Bytes, FieldType)> {
        let found = self.with_partitions(database, policy, range, |_, partition, tombstones| {
            let fields = partition.fields(database, tombstones).filter(|field| field.0 == measurement);
            fields.map(|(_, name, field_type)| (Bytes::from(name), field_type)).collect::<Vec<_>>()
        });
        let mut fields: Vec<_> = found.into_iter().flatten().collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn measurements_without_series(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<Bytes> {
        let found = self.with_partitions(database, policy, range, |_, partition, tombstones| {
            let mut names: Vec<Bytes> = partition.fields(database, tombstones).map(|field| field.0.into()).collect();
            names.dedup();
            names
        });
        let mut names: Vec<Bytes> = found.into_iter().flatten().collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.index(database, |index| index.measurement(name).is_none()).unwrap_or(true));
        names
    }

    fn read(&self, request: ReadRequest) -> SeriesCursor<P> {
        let ReadRequest { database, policy, series, fields, range, descending } = request;
        let parts = self.with_partitions(database, policy, range, |_, partition, tombstones| {
            let dead = |age| tombstone::dead_ranges(tombstones, database, series, age);
            let mut sources: Vec<Source<P>> = Vec::new();
            for Settled { age, segment, .. } in &partition.segments {
                if segment.series().contains(series.0) && !segment.range().intersect(range).is_empty() {
                    sources.push(Source::segment(segment.clone(), dead(*age)));
                }
            }
            let frozen = partition.frozen.iter().map(|Frozen { age, memtable }| (&**memtable, dead(*age)));
            for (memtable, dead) in frozen.chain([(&partition.active, Vec::new())]) {
                sources.extend(Source::rows(memtable.read(series.0, &fields, range), &dead, descending));
            }
            sources
        });
        let mut parts: Vec<Vec<Source<P>>> = parts.into_iter().filter(|sources| !sources.is_empty()).collect();
        // Taken from the end.
        if !descending {
            parts.reverse();
        }
        SeriesCursor { parts, merge: Merge { series, fields, range, descending, strict: false } }
    }

    async fn yield_now(&self) {
        self.engine.platform.yield_now().await;
    }
}

/// See the module. Holds what it reads: a flush or a drop meanwhile changes nothing for it.
#[derive(Debug)]
pub struct SeriesCursor<P: Disk> {
    /// Partitions not yet read, the next one last.
    parts: Vec<Vec<Source<P>>>,
    merge: Merge,
}

impl<P: Disk + Clock> Cursor for SeriesCursor<P> {
    type Passed = Passed<P>;

    async fn next(&mut self) -> Result<Option<RowBlock>, ReadError> {
        while let Some(sources) = self.parts.last_mut() {
            let block = self.merge.step(sources).await.map_err(failed)?;
            if sources.is_empty() {
                self.parts.pop();
            }
            if block.is_some() {
                return Ok(block);
            }
        }
        Ok(None)
    }

    async fn pass(&mut self, enough: impl FnOnce(&BlockSummary) -> bool) -> Result<Option<Passed<P>>, ReadError> {
        while let Some(sources) = self.parts.last_mut() {
            let spent = self.merge.find_all(sources).await.map_err(failed)?;
            if !spent {
                return Ok(self.merge.pass(sources, enough));
            }
            self.parts.pop();
        }
        Ok(None)
    }

    async fn read_passed(&self, passed: &Passed<P>) -> Result<Option<RowBlock>, ReadError> {
        self.merge.read_passed(passed).await.map_err(failed)
    }
}

fn failed(error: SegmentError) -> ReadError {
    ReadError(error.to_string())
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
