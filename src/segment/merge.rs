//! Rows of one series, merged from several sources: later sources win, fields of one point join.
//!
//! ```text
//! sources  segments, oldest first, then rows held in memory
//! load     read blocks until the next rows of all sources are known up to some time
//! take     hand out the rows up to that time, joined
//! ```

use std::rc::Rc;

use crate::disk::Disk;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::model::Values;
use crate::segment::FieldEntry;
use crate::segment::page::Block;
use crate::segment::page::BlockEntry;
use crate::segment::page::BlockSummary;
use crate::segment::reader::Segment;
use crate::segment::reader::SegmentError;

/// Most rows of one block handed out.
const ROWS_MAX: usize = 4096;

/// What to merge, and how.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The series.
    pub series: SeriesId,
    /// Columns of the result. Rows that have none of them are left out.
    pub fields: Vec<Bytes>,
    /// Times, inclusive.
    pub range: TimeRange,
    /// Newest first.
    pub descending: bool,
    /// Whether damage is an error; else what is damaged is reported and left out.
    pub strict: bool,
}

/// One segment, or rows in memory: what has been read of it and not handed out, then what has not been read. Everything
/// is in the order asked for.
#[derive(Debug)]
pub struct Source<P: Disk> {
    segment: Option<Rc<Segment<P>>>,
    /// The next one last; `None` until the segment's index was asked.
    blocks: Option<Vec<Block>>,
    rows: RowBlock,
    /// Times whose rows were deleted.
    dead: Vec<TimeRange>,
    /// Rows already handed out.
    used: usize,
}

impl<P: Disk> Source<P> {
    /// A segment without the rows of some times.
    pub fn segment(segment: Rc<Segment<P>>, dead: Vec<TimeRange>) -> Source<P> {
        Source { segment: Some(segment), blocks: None, rows: RowBlock::default(), dead, used: 0 }
    }

    /// Rows in memory, ascending, without those of some times; `None` when nothing is left.
    pub fn rows(rows: RowBlock, dead: &[TimeRange], descending: bool) -> Option<Source<P>> {
        let mut rows = without_dead(rows, dead);
        if rows.times.is_empty() {
            return None;
        }
        if descending {
            rows.reverse();
        }
        Some(Source { segment: None, blocks: Some(Vec::new()), rows, dead: Vec::new(), used: 0 })
    }

    fn left(&self) -> &[Timestamp] {
        &self.rows.times[self.used..]
    }

    /// The next `count` rows.
    fn take(&mut self, count: usize) -> RowBlock {
        let range = self.used..self.used + count;
        if range == (0..self.rows.times.len()) {
            return std::mem::take(&mut self.rows);
        }
        self.used = range.end;
        self.rows.slice(range)
    }

    /// The columns of its blocks that were found and not read yet, once or more often.
    pub fn columns(&self) -> impl Iterator<Item = &FieldEntry> {
        let blocks = self.blocks.iter().flatten();
        let segment = self.segment.as_ref();
        let mut last = None;
        let blocks = blocks.filter(move |block| last.replace(block.layout) != Some(block.layout));
        let columns = blocks.flat_map(move |block| segment.map_or(&[][..], |segment| segment.columns(block)));
        columns.filter_map(move |&column| segment?.fields().get(column as usize))
    }

    /// Whether all has been handed out.
    pub fn is_spent(&self) -> bool {
        self.left().is_empty() && self.blocks.as_ref().is_some_and(Vec::is_empty)
    }
}

/// A block that [`Merge::pass`] did not read.
#[derive(Debug)]
pub struct Passed<P: Disk> {
    segment: Rc<Segment<P>>,
    block: Block,
}

impl<P: Disk> Clone for Passed<P> {
    fn clone(&self) -> Passed<P> {
        Passed { segment: self.segment.clone(), block: self.block.clone() }
    }
}

impl Merge {
    /// A time's place in the order asked for.
    fn place(&self, time: Timestamp) -> i64 {
        if self.descending { !time } else { time }
    }

    /// The next merged rows; `None` when what was read held nothing to hand out, and at the end, when no source is
    /// left.
    pub async fn step<P: Disk>(&self, sources: &mut Vec<Source<P>>) -> Result<Option<RowBlock>, SegmentError> {
        self.find_all(sources).await?;
        let Some(end) = self.load(sources).await? else {
            sources.clear();
            return Ok(None);
        };
        let block = self.take(sources, end);
        sources.retain(|source| !source.is_spent());
        Ok(block)
    }

    /// Asks the indexes of the segments that were not asked yet; answers whether nothing is left to hand out.
    pub async fn find_all<P: Disk>(&self, sources: &mut Vec<Source<P>>) -> Result<bool, SegmentError> {
        for source in sources.iter_mut() {
            self.find_blocks(source).await?;
        }
        sources.retain(|source| !source.is_spent());
        Ok(sources.is_empty())
    }

    /// Passes the next block over, unread, if its summary is `enough`. Only a block that would be handed out as it
    /// stands is asked about: all its rows are in range, none is deleted, and no other source has rows among its times.
    /// Needs [`Merge::find_all`].
    pub fn pass<P: Disk>(
        &self,
        sources: &mut [Source<P>],
        enough: impl FnOnce(&BlockSummary) -> bool,
    ) -> Option<Passed<P>> {
        let next = self.next_alone(sources)?;
        let Source { segment: Some(segment), blocks: Some(blocks), .. } = &mut sources[next] else { return None };
        let summary = segment.summary(blocks.last()?, &self.fields)?;
        if enough(&summary) { blocks.pop().map(|block| Passed { segment: segment.clone(), block }) } else { None }
    }

    /// The source whose next block comes before all other rows and may be passed.
    fn next_alone<P: Disk>(&self, sources: &[Source<P>]) -> Option<usize> {
        let places = || sources.iter().map(|source| self.next_place(source).unwrap_or(i64::MAX)).enumerate();
        let (next, _) = places().min_by_key(|(_, place)| *place)?;
        let Source { blocks, dead, .. } = &sources[next];
        let block = blocks.as_ref()?.last().filter(|_| sources[next].left().is_empty())?;
        let end = if self.descending { !block.range.min } else { block.range.max };
        let is_whole = self.range.covers(block.range) && dead.iter().all(|dead| dead.intersect(block.range).is_empty());
        (is_whole && places().all(|(index, place)| index == next || place > end)).then_some(next)
    }

    /// Where the next row of a source is; no later than its first.
    fn next_place<P: Disk>(&self, source: &Source<P>) -> Option<i64> {
        let row = source.left().first().map(|&time| self.place(time));
        row.or_else(|| Some(self.first_place(source.blocks.as_ref()?.last()?)))
    }

    /// The rows of a block that was passed over, after all.
    pub async fn read_passed<P: Disk>(&self, passed: &Passed<P>) -> Result<Option<RowBlock>, SegmentError> {
        let mut rows = self.rows_of(&passed.segment, &passed.block).await?;
        if self.descending {
            rows.reverse();
        }
        Ok(without_empty_rows(rows))
    }

    async fn rows_of<P: Disk>(&self, segment: &Segment<P>, block: &Block) -> Result<RowBlock, SegmentError> {
        if self.strict {
            segment.read(block, &self.fields).await
        } else {
            segment.read_sound(block, &self.fields).await
        }
    }

    /// Asks the index of a source's segment, if that was not done yet. Needs no [`Merge::fields`].
    pub async fn find_blocks<P: Disk>(&self, source: &mut Source<P>) -> Result<(), SegmentError> {
        let (None, Some(segment)) = (&source.blocks, &source.segment) else { return Ok(()) };
        let mut blocks = if self.strict {
            segment.blocks_of(self.series, self.range).await?
        } else {
            segment.sound_blocks_of(self.series, self.range).await?
        };
        blocks.retain(|block| !source.dead.iter().any(|dead| dead.covers(block.range)));
        if !self.descending {
            blocks.reverse();
        }
        source.blocks = Some(blocks);
        Ok(())
    }

    /// Reads blocks until the next rows of all sources are known up to some place, and returns that place.
    async fn load<P: Disk>(&self, sources: &mut [Source<P>]) -> Result<Option<i64>, SegmentError> {
        loop {
            let end = sources.iter().filter_map(|source| source.left().last()).map(|&time| self.place(time)).min();
            // A block not yet read that begins before that end may hold rows that belong before it.
            let next = sources
                .iter()
                .enumerate()
                .filter(|(_, source)| source.left().is_empty())
                .filter_map(|(index, source)| Some((self.first_place(source.blocks.as_ref()?.last()?), index)))
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

    async fn read_block<P: Disk>(&self, source: &mut Source<P>) -> Result<(), SegmentError> {
        let Some(block) = source.blocks.as_mut().and_then(Vec::pop) else { return Ok(()) };
        let Some(segment) = &source.segment else { return Ok(()) };
        let rows = self.rows_of(segment, &block).await?;
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

    /// Hands out what lies before `end`, or less when that is much.
    fn take<P: Disk>(&self, sources: &mut [Source<P>], end: i64) -> Option<RowBlock> {
        let count = |source: &Source<P>, end| source.left().partition_point(|&time| self.place(time) <= end);
        // A source that has more than ROWS_MAX rows ends the step early for all.
        let end = sources
            .iter()
            .filter(|source| count(source, end) > ROWS_MAX)
            .map(|source| self.place(source.left()[ROWS_MAX - 1]))
            .fold(end, i64::min);
        let counts: Vec<usize> = sources.iter().map(|source| count(source, end)).collect();
        let mut with_rows = (0..sources.len()).filter(|&index| counts[index] > 0);
        if let (Some(only), None) = (with_rows.next(), with_rows.next()) {
            return without_empty_rows(sources[only].take(counts[only]));
        }
        let taken: Vec<(&Source<P>, usize)> = sources
            .iter()
            .zip(&counts)
            .filter(|(_, count)| **count > 0)
            .map(|(source, &count)| (source, count))
            .collect();
        let block = self.join(&taken);
        sources.iter_mut().zip(counts).for_each(|(source, count)| source.used += count);
        without_empty_rows(block)
    }

    /// Joins rows of several sources; for one time and field the last source that has a value wins.
    fn join<P: Disk>(&self, taken: &[(&Source<P>, usize)]) -> RowBlock {
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
        let columns = (0..self.fields.len()).map(|field| join_column(field, taken, &origins)).collect();
        RowBlock { times, columns }
    }
}

fn join_column<P: Disk>(field: usize, taken: &[(&Source<P>, usize)], origins: &[Option<usize>]) -> Option<Column> {
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
    if dead.is_empty() {
        return block;
    }
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
