//! Rows of one series, merged from segments, frozen and active memtable: later sources win, fields of one point join.

use std::rc::Rc;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::exec::view::Cursor;
use crate::exec::view::PartitionInfo;
use crate::exec::view::ReadError;
use crate::exec::view::ReadRequest;
use crate::exec::view::View;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::RowBlock;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::model::Values;
use crate::segment::BlockEntry;
use crate::segment::Segment;
use crate::series::Index;
use crate::shard::Engine;
use crate::shard::state::Frozen;
use crate::shard::state::Partition;
use crate::shard::state::Settled;
use crate::shard::tombstone;
use crate::shard::tombstone::Tombstone;

/// Most rows of one block handed out.
const ROWS_MAX: usize = 4096;

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
        // Only deletions leave fields without series.
        let found = self.with_partitions(database, policy, range, |_, partition, tombstones| {
            let fields = (!tombstones.is_empty()).then(|| partition.fields(database, tombstones));
            let mut names: Vec<Bytes> = fields.into_iter().flatten().map(|field| field.0.into()).collect();
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
            for Settled { age, segment } in &partition.segments {
                let blocks = segment.blocks_of(series, range);
                if !blocks.is_empty() {
                    let source = Source::segment(segment.clone(), blocks.to_vec(), descending);
                    sources.push(Source { dead: dead(*age), ..source });
                }
            }
            let frozen = partition.frozen.iter().map(|Frozen { age, memtable }| (&**memtable, dead(*age)));
            for (memtable, dead) in frozen.chain([(&partition.active, Vec::new())]) {
                let rows = without_dead(memtable.read(series.0, &fields, range), &dead);
                if !rows.times.is_empty() {
                    sources.push(Source::rows(rows, descending));
                }
            }
            sources
        });
        let mut parts: Vec<Vec<Source<P>>> = parts.into_iter().filter(|sources| !sources.is_empty()).collect();
        // Taken from the end.
        if !descending {
            parts.reverse();
        }
        SeriesCursor { parts, fields, range, descending }
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
    fields: Vec<Bytes>,
    range: TimeRange,
    descending: bool,
}

/// One segment or memtable of a partition: what has been read of it and not handed out, then what has not been read.
/// Everything is in the order asked for.
#[derive(Debug)]
struct Source<P: Disk> {
    segment: Option<Rc<Segment<P>>>,
    /// The next one last.
    blocks: Vec<BlockEntry>,
    rows: RowBlock,
    /// Times whose rows were deleted.
    dead: Vec<TimeRange>,
    /// Rows already handed out.
    used: usize,
}

impl<P: Disk> Source<P> {
    fn segment(segment: Rc<Segment<P>>, mut blocks: Vec<BlockEntry>, descending: bool) -> Source<P> {
        if !descending {
            blocks.reverse();
        }
        Source {
            segment: Some(segment),
            blocks,
            rows: RowBlock { times: Vec::new(), columns: Vec::new() },
            dead: Vec::new(),
            used: 0,
        }
    }

    fn rows(mut rows: RowBlock, descending: bool) -> Source<P> {
        if descending {
            rows.reverse();
        }
        Source { segment: None, blocks: Vec::new(), rows, dead: Vec::new(), used: 0 }
    }

    fn left(&self) -> &[Timestamp] {
        &self.rows.times[self.used..]
    }
}

impl<P: Disk + Clock> Cursor for SeriesCursor<P> {
    async fn next(&mut self) -> Result<Option<RowBlock>, ReadError> {
        while let Some(mut sources) = self.parts.pop() {
            let block = self.next_of(&mut sources).await?;
            sources.retain(|source| !source.left().is_empty() || !source.blocks.is_empty());
            if !sources.is_empty() {
                self.parts.push(sources);
            }
            if let Some(block) = block {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }
}

impl<P: Disk + Clock> SeriesCursor<P> {
    /// A time's place in the order asked for.
    fn place(&self, time: Timestamp) -> i64 {
        if self.descending { !time } else { time }
    }

    /// The next merged rows of one partition; `None` when what was read held nothing to hand out.
    async fn next_of(&self, sources: &mut [Source<P>]) -> Result<Option<RowBlock>, ReadError> {
        let Some(end) = self.load(sources).await? else { return Ok(None) };
        let counts: Vec<usize> = sources
            .iter()
            .map(|source| source.left().partition_point(|&time| self.place(time) <= end).min(ROWS_MAX))
            .collect();
        // A source that has more than ROWS_MAX rows ends the step early for all.
        let end = sources
            .iter()
            .zip(&counts)
            .filter(|(source, count)| **count == ROWS_MAX && source.left().len() > ROWS_MAX)
            .map(|(source, count)| self.place(source.left()[count - 1]))
            .fold(end, i64::min);
        let mut taken: Vec<(&Source<P>, usize)> = Vec::new();
        for source in sources.iter() {
            let count = source.left().partition_point(|&time| self.place(time) <= end);
            if count > 0 {
                taken.push((source, count));
            }
        }
        let block = match taken[..] {
            [(source, count)] => source.rows.slice(source.used..source.used + count),
            _ => self.merge(&taken),
        };
        let counts: Vec<usize> =
            sources.iter().map(|source| source.left().partition_point(|&time| self.place(time) <= end)).collect();
        sources.iter_mut().zip(counts).for_each(|(source, count)| source.used += count);
        Ok(without_empty_rows(block))
    }

    /// Reads blocks until the next rows of all sources are known up to some place, and returns that place.
    async fn load(&self, sources: &mut [Source<P>]) -> Result<Option<i64>, ReadError> {
        loop {
            let end = sources.iter().filter_map(|source| source.left().last()).map(|&time| self.place(time)).min();
            // A block not yet read that begins before that end may hold rows that belong before it.
            let next = sources
                .iter()
                .enumerate()
                .filter(|(_, source)| source.left().is_empty())
                .filter_map(|(index, source)| Some((self.first_place(source.blocks.last()?), index)))
                .min();
            match (next, end) {
                (Some((first, index)), end) if end.is_none_or(|end| first <= end) => {
                    self.read_block(&mut sources[index]).await?;
                }
                (_, end) => return Ok(end),
            }
        }
    }

    fn first_place(&self, block: &BlockEntry) -> i64 {
        if self.descending { !block.range.max } else { block.range.min }
    }

    async fn read_block(&self, source: &mut Source<P>) -> Result<(), ReadError> {
        let (Some(block), Some(segment)) = (source.blocks.pop(), &source.segment) else { return Ok(()) };
        let rows = segment.read_sound(&block, &self.fields).await.map_err(|error| ReadError(error.to_string()))?;
        let start = rows.times.partition_point(|&time| time < self.range.min);
        let end = rows.times.partition_point(|&time| time <= self.range.max);
        source.rows = if start == 0 && end == rows.times.len() { rows } else { rows.slice(start..end.max(start)) };
        if !source.dead.is_empty() {
            source.rows = without_dead(std::mem::take(&mut source.rows), &source.dead);
        }
        source.used = 0;
        if self.descending {
            source.rows.reverse();
        }
        Ok(())
    }

    /// Joins rows of several sources; for one time and field the last source that has a value wins.
    fn merge(&self, taken: &[(&Source<P>, usize)]) -> RowBlock {
        let mut next: Vec<usize> = taken.iter().map(|(source, _)| source.used).collect();
        let ends: Vec<usize> = taken.iter().map(|(source, count)| source.used + count).collect();
        let mut times = Vec::new();
        // For each row of the result: the row of each source that has this time.
        let mut origins: Vec<Option<usize>> = Vec::new();
        loop {
            let heads = (0..taken.len()).filter(|&index| next[index] < ends[index]);
            let Some(place) = heads.map(|index| self.place(taken[index].0.rows.times[next[index]])).min() else {
                break;
            };
            times.push(if self.descending { !place } else { place });
            for (index, (source, _)) in taken.iter().enumerate() {
                let here = next[index] < ends[index] && self.place(source.rows.times[next[index]]) == place;
                origins.push(here.then_some(next[index]));
                next[index] += usize::from(here);
            }
        }
        let columns = (0..self.fields.len()).map(|field| merge_column(field, taken, &origins)).collect();
        RowBlock { times, columns }
    }
}

fn merge_column<P: Disk>(field: usize, taken: &[(&Source<P>, usize)], origins: &[Option<usize>]) -> Option<Column> {
    let columns: Vec<Option<&Column>> = taken.iter().map(|(source, _)| source.rows.columns[field].as_ref()).collect();
    // The schema gives a field one type in a shard group; should a file disagree, the newest counts.
    let field_type = columns.iter().rev().flatten().next()?.values.field_type();
    let mut values = Values::new(field_type);
    let mut valid = Vec::new();
    for origin in origins.chunks_exact(taken.len()) {
        let newest = origin.iter().zip(&columns).rev().find_map(|(row, column)| {
            let (row, column) = ((*row)?, (*column)?);
            (column.is_valid(row) && column.values.field_type() == field_type).then_some((row, column))
        });
        match newest {
            Some((row, column)) => values.push_from(&column.values, row),
            None => values.push_zero(),
        }
        valid.push(newest.is_some());
    }
    let all = valid.iter().all(|&valid| valid);
    Some(Column { values, valid: (!all).then_some(valid) })
}

/// The rows that have a value in some column, if any.
fn without_empty_rows(block: RowBlock) -> Option<RowBlock> {
    if block.times.is_empty() || block.columns.iter().all(Option::is_none) {
        return None;
    }
    if block.columns.iter().flatten().any(|column| column.valid.is_none()) {
        return Some(block);
    }
    let keep: Vec<usize> = (0..block.times.len())
        .filter(|&row| block.columns.iter().flatten().any(|column| column.is_valid(row)))
        .collect();
    if keep.len() == block.times.len() {
        return Some(block);
    }
    (!keep.is_empty()).then(|| rows_at(&block, &keep))
}

/// The rows outside of some times.
fn without_dead(block: RowBlock, dead: &[TimeRange]) -> RowBlock {
    let is_dead = |&row: &usize| dead.iter().any(|dead| dead.contains(block.times[row]));
    let keep: Vec<usize> = (0..block.times.len()).filter(|row| !is_dead(row)).collect();
    if keep.len() == block.times.len() { block } else { rows_at(&block, &keep) }
}

fn rows_at(block: &RowBlock, keep: &[usize]) -> RowBlock {
    let select = |column: &Column| {
        let mut values = Values::new(column.values.field_type());
        keep.iter().for_each(|&row| values.push_from(&column.values, row));
        let valid: Vec<bool> = keep.iter().map(|&row| column.is_valid(row)).collect();
        let all = valid.iter().all(|&valid| valid);
        Column { values, valid: (!all).then_some(valid) }
    };
    RowBlock {
        times: keep.iter().map(|&row| block.times[row]).collect(),
        columns: block.columns.iter().map(|column| column.as_ref().map(select)).collect(),
    }
}
