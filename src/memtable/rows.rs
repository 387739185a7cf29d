//! Rows of one series out of the arenas: for a reader, some fields; for a flush, all.

use std::borrow::Cow;
use std::ops::Range;

use crate::memtable::Arena;
use crate::memtable::Chunk;
use crate::memtable::Memtable;
use crate::memtable::SERIES;
use crate::memtable::TIME;
use crate::memtable::VALUES;
use crate::memtable::order::Order;
use crate::memtable::order::sort;
use crate::memtable::sealed::STEP;
use crate::memtable::sealed::Word;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::model::Values;
use crate::stdx::wide::Work;
use crate::stdx::wide::wide;

/// Rows of one series in a chunk that follow each other in its order.
#[derive(Clone, Debug)]
struct Run {
    arena: u32,
    chunk: u32,
    positions: Range<usize>,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
struct RowRef {
    time: Timestamp,
    sequence: u32,
    arena: u32,
    chunk: u32,
    position: u32,
}

/// Those of an arena, or of several.
type Fields<'a> = Cow<'a, [(Bytes, FieldType)]>;

/// All rows of one series, for a flush.
#[derive(Debug)]
pub struct SeriesRows<'a> {
    /// The series.
    pub series: u32,
    /// Its measurement.
    pub measurement: &'a Bytes,
    /// Field of each column of `block`.
    pub fields: Fields<'a>,
    /// The rows, ascending.
    pub block: &'a RowBlock,
}

impl Memtable {
    /// The rows of a series in `range` that have a value in one of `fields`, ascending. A field that is not there, or
    /// has no value in any row, is `None`.
    pub fn read(&self, series: u32, fields: &[Bytes], range: TimeRange) -> RowBlock {
        if !self.series.contains(series) {
            return RowBlock { times: Vec::new(), columns: vec![None; fields.len()] };
        }
        let mut runs = Vec::new();
        for (arena_index, arena) in self.arenas.iter().enumerate() {
            if arena.fields.iter().any(|field| fields.contains(&field.0)) {
                self.collect(arena_index, series, range, &mut runs);
            }
        }
        if let Some(arena) = self.only_arena(series, &runs) {
            let slot =
                |name: &Bytes| arena.fields.iter().position(|field| field.0 == *name).map(|index| index + VALUES);
            let mut block = RowBlock::default();
            arena.fill(&runs, fields.iter().map(slot), &mut block);
            return block;
        }
        let refs = self.sorted_refs(series, &runs);
        let columns: Vec<(Bytes, Option<FieldType>)> =
            fields.iter().map(|name| (name.clone(), self.type_of(name, &refs))).collect();
        self.joined_block(&refs, &columns)
    }

    /// Whether a point of the series is left.
    pub fn has_points(&self, series: u32) -> bool {
        if !self.series.contains(series) {
            return false;
        }
        if self.deletions.iter().all(|deleted| !deleted.series.contains(series)) {
            return true;
        }
        !self.times_of(series).is_empty()
    }

    /// Times of the points of a series that are left, in no order.
    pub fn times_of(&self, series: u32) -> Vec<Timestamp> {
        let mut runs = Vec::new();
        for arena in 0..self.arenas.len() {
            self.collect(arena, series, TimeRange::ALWAYS, &mut runs);
        }
        self.refs(series, &runs).into_iter().map(|row| row.time).collect()
    }

    fn collect(&self, arena_index: usize, series: u32, range: TimeRange, runs: &mut Vec<Run>) {
        let arena = &self.arenas[arena_index];
        let is_whole = self.times.is_some_and(|times| range.covers(times));
        for (chunk_index, chunk) in arena.chunks.iter().enumerate() {
            let all = chunk.order().positions_of(series);
            let before = |is_before: &dyn Fn(Timestamp) -> bool| {
                all.start + partition_point(all.len(), |index| is_before(chunk.time(all.start + index)))
            };
            let positions = match is_whole {
                true => all,
                false => before(&|time| time < range.min)..before(&|time| time <= range.max),
            };
            if !positions.is_empty() {
                runs.push(Run { arena: arena_index as u32, chunk: chunk_index as u32, positions });
            }
        }
    }

    /// The rows of some runs of a series that are not deleted, by time; those of one time in the order of arrival.
    fn sorted_refs(&self, series: u32, runs: &[Run]) -> Vec<RowRef> {
        let mut refs = self.refs(series, runs);
        sort(&mut refs, |row| (row.time, row.sequence));
        refs
    }

    fn refs(&self, series: u32, runs: &[Run]) -> Vec<RowRef> {
        let mut refs = Vec::new();
        for &Run { arena, chunk, ref positions } in runs {
            let rows = self.chunk(arena, chunk);
            refs.extend(positions.clone().map(|position| RowRef {
                time: rows.time(position),
                sequence: rows.word(position, SERIES) as u32,
                arena,
                chunk,
                position: position as u32,
            }));
        }
        for deleted in self.deletions.iter().filter(|deleted| deleted.series.contains(series)) {
            refs.retain(|row| row.sequence >= deleted.sequence || !deleted.range.contains(row.time));
        }
        refs
    }

    fn chunk(&self, arena: u32, chunk: u32) -> &Chunk {
        &self.arenas[arena as usize].chunks[chunk as usize]
    }

    /// The type of a field among some rows: that of the first arena that has it. The schema gives a field one type in
    /// a shard group.
    fn type_of(&self, name: &Bytes, refs: &[RowRef]) -> Option<FieldType> {
        let mut last = None;
        refs.iter().filter(|row| last.replace(row.arena) != Some(row.arena)).find_map(|row| {
            let fields = &self.arenas[row.arena as usize].fields;
            fields.iter().find(|field| field.0 == *name).map(|field| field.1)
        })
    }

    /// The arena of some runs if it is the same for all and no row is deleted.
    fn only_arena(&self, series: u32, runs: &[Run]) -> Option<&Arena> {
        let first = runs.first()?.arena;
        let is_only = runs.iter().all(|run| run.arena == first)
            && self.deletions.iter().all(|deleted| !deleted.series.contains(series));
        is_only.then(|| &self.arenas[first as usize])
    }

    /// Joins sorted rows of several layouts into one row for each time.
    fn joined_block(&self, refs: &[RowRef], columns: &[(Bytes, Option<FieldType>)]) -> RowBlock {
        let mut arena_slots: Vec<Vec<Option<usize>>> = vec![Vec::new(); self.arenas.len()];
        for row in refs {
            let slots = &mut arena_slots[row.arena as usize];
            if slots.is_empty() {
                *slots = slots_of(&self.arenas[row.arena as usize], columns);
            }
        }
        let mut builders: Vec<Option<Builder>> = columns.iter().map(|column| column.1.map(Builder::new)).collect();
        let mut times = Vec::with_capacity(refs.len());
        for point in refs.chunk_by(|left, right| left.time == right.time) {
            times.push(point[0].time);
            for (column, builder) in builders.iter_mut().enumerate() {
                let Some(builder) = builder else { continue };
                // The last arrival that has the field wins.
                let newest = point.iter().rev().find_map(|row| Some((row, arena_slots[row.arena as usize][column]?)));
                match newest {
                    Some((row, slot)) => self.push(builder, row, slot),
                    None => builder.push_missing(),
                }
            }
        }
        let columns = builders.into_iter().map(|builder| builder.and_then(Builder::finish)).collect();
        RowBlock { times, columns }
    }

    fn push(&self, builder: &mut Builder, row: &RowRef, slot: usize) {
        let chunk = self.chunk(row.arena, row.chunk);
        let word = chunk.word(row.position as usize, slot);
        builder.valid.push(true);
        match &mut builder.values {
            Values::Float(values) => values.push(f64::from_bits(word)),
            Values::Integer(values) => values.push(word as i64),
            Values::Unsigned(values) => values.push(word),
            Values::Boolean(values) => values.push(word != 0),
            Values::String(values) => values.push(chunk.string(word).into()),
        }
    }
}

/// The first of `0..count` for which it does not hold; it holds for all before and none after.
fn partition_point(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut start, mut end) = (0, count);
    while start < end {
        let middle = start.midpoint(end);
        if holds(middle) { start = middle + 1 } else { end = middle }
    }
    start
}

impl Chunk {
    fn time(&self, position: usize) -> Timestamp {
        self.word(position, TIME) as i64
    }
}

impl Arena {
    /// Makes `block` the rows of some runs of one series, ascending, of equal times the last; for each column the slot
    /// that holds it, if there is one. Each row of a layout has all of its fields.
    fn fill(&self, runs: &[Run], slots: impl Iterator<Item = Option<usize>>, block: &mut RowBlock) {
        let RowBlock { times, columns } = block;
        self.gather(runs, TIME, times);
        // Runs are in the order of arrival, and so are rows of one time in a run.
        let picks = Picks::of(times);
        picks.apply(times);
        let mut count = 0;
        for (column, slot) in slots.enumerate() {
            if column == columns.len() {
                columns.push(None);
            }
            match slot {
                Some(slot) => self.fill_column(runs, slot, &picks, &mut columns[column]),
                None => columns[column] = None,
            }
            count += 1;
        }
        columns.truncate(count);
    }

    fn fill_column(&self, runs: &[Run], slot: usize, picks: &Picks, into: &mut Option<Column>) {
        let field_type = self.fields[slot - VALUES].1;
        // What it held of another series is room for these.
        let column = into.take().filter(|column| column.values.field_type() == field_type);
        let mut values = column.map_or_else(|| Values::new(field_type), |column| column.values);
        match &mut values {
            Values::Float(values) => self.gather_picks(runs, slot, picks, values),
            Values::Integer(values) => self.gather_picks(runs, slot, picks, values),
            Values::Unsigned(values) => self.gather_picks(runs, slot, picks, values),
            Values::Boolean(values) => self.gather_picks(runs, slot, picks, values),
            Values::String(values) => {
                *values = self.gather_strings(runs, slot);
                picks.apply(values);
            }
        }
        *into = Some(Column { values, valid: None });
    }

    fn gather_picks<T: Word>(&self, runs: &[Run], slot: usize, picks: &Picks, into: &mut Vec<T>) {
        self.gather(runs, slot, into);
        picks.apply(into);
    }

    /// Makes `into` the words of all rows of some runs.
    fn gather<T: Word>(&self, runs: &[Run], slot: usize, into: &mut Vec<T>) {
        let count: usize = runs.iter().map(|run| run.positions.len()).sum();
        into.resize(count + STEP, T::default());
        wide(Copying { chunks: &self.chunks, runs, slot, into: &mut into[..] });
        into.truncate(count);
    }

    fn gather_strings(&self, runs: &[Run], slot: usize) -> Vec<Bytes> {
        let strings = |run: &Run| {
            let chunk = &self.chunks[run.chunk as usize];
            let string = |position| Bytes::from(chunk.string(chunk.word(position, slot)));
            run.positions.clone().map(string)
        };
        runs.iter().flat_map(strings).collect()
    }
}

/// How rows in the order of arrival become rows in the order of time, of equal times the last.
enum Picks {
    /// Most are where they belong, as those of several writers at one time; to which places which others go, and how
    /// many there are.
    Few(Vec<(u32, u32)>, usize),
    /// The row at each place.
    All(Vec<u32>),
}

impl Picks {
    fn of(times: &[Timestamp]) -> Picks {
        if is_ascending(times) {
            return Picks::Few(Vec::new(), times.len());
        }
        let mut rows: Vec<(Timestamp, u32)> = times.iter().copied().zip(0..).collect();
        sort(&mut rows, |row| row.0);
        rows.dedup_by(|later, row| {
            let is_same = later.0 == row.0;
            if is_same {
                row.1 = later.1;
            }
            is_same
        });
        let count = rows.len();
        let moves = (0..).zip(&rows).map(|(place, row)| (place, row.1)).filter(|(place, row)| place != row);
        let move_count = moves.clone().count();
        if move_count > count / 2 {
            return Picks::All(rows.iter().map(|row| row.1).collect());
        }
        let mut few = Vec::with_capacity(move_count);
        few.extend(moves);
        Picks::Few(few, count)
    }

    /// Leaves the rows that count, in order.
    fn apply<T: Clone>(&self, values: &mut Vec<T>) {
        match self {
            Picks::Few(moves, count) => {
                let moved: Vec<T> = moves.iter().map(|&(_, row)| values[row as usize].clone()).collect();
                moves.iter().zip(moved).for_each(|(&(place, _), value)| values[place as usize] = value);
                values.truncate(*count);
            }
            Picks::All(rows) => *values = rows.iter().map(|&row| values[row as usize].clone()).collect(),
        }
    }
}

/// The words of some runs, one after the other.
struct Copying<'a, T> {
    chunks: &'a [Chunk],
    runs: &'a [Run],
    slot: usize,
    /// Longer than they are, by [`STEP`].
    into: &'a mut [T],
}

impl<T: Word> Work for Copying<'_, T> {
    type Answer = ();

    #[inline(always)]
    fn run(self) {
        let mut into = self.into;
        for run in self.runs {
            self.chunks[run.chunk as usize].copy(self.slot, run.positions.clone(), into);
            into = &mut into[run.positions.len()..];
        }
    }
}

fn is_ascending(times: &[Timestamp]) -> bool {
    let neighbours = times.iter().zip(times.get(1..).unwrap_or_default());
    !wide(|| neighbours.fold(false, |any, (earlier, later)| any | (earlier >= later)))
}

/// Where an arena's rows hold each column, if they do.
fn slots_of(arena: &Arena, columns: &[(Bytes, Option<FieldType>)]) -> Vec<Option<usize>> {
    let slot = |(name, field_type): &(Bytes, Option<FieldType>)| {
        arena
            .fields
            .iter()
            .position(|field| field.0 == *name && Some(field.1) == *field_type)
            .map(|index| index + VALUES)
    };
    columns.iter().map(slot).collect()
}

struct Builder {
    values: Values,
    valid: Vec<bool>,
    missing: usize,
}

impl Builder {
    fn new(field_type: FieldType) -> Builder {
        Builder { values: Values::new(field_type), valid: Vec::new(), missing: 0 }
    }

    fn push_missing(&mut self) {
        self.values.push_zero();
        self.valid.push(false);
        self.missing += 1;
    }

    fn finish(self) -> Option<Column> {
        if self.missing == self.valid.len() {
            return None;
        }
        Some(Column { values: self.values, valid: (self.missing > 0).then_some(self.valid) })
    }
}

/// Walks all series of a memtable that no longer changes, ascending.
#[derive(Debug)]
pub struct FlushCursor {
    /// Series not yet walked, descending.
    series: Vec<u32>,
    /// For each chunk of each arena.
    walks: Vec<Vec<Walk>>,
    /// Those of a series.
    runs: Vec<Run>,
    /// Its rows, and room for those of the next.
    block: RowBlock,
}

/// How far a chunk has been walked: its next series, and how many came before.
#[derive(Clone, Copy, Debug)]
struct Walk {
    series: Option<u32>,
    walked: usize,
}

impl Walk {
    fn at(order: &Order, walked: usize) -> Walk {
        Walk { series: order.series().get(walked).copied(), walked }
    }
}

impl FlushCursor {
    /// Before the first series.
    pub fn new(memtable: &Memtable) -> FlushCursor {
        let mut series: Vec<u32> = memtable.series.iter().collect();
        series.reverse();
        let walks = |arena: &Arena| arena.chunks.iter().map(|chunk| Walk::at(chunk.order(), 0)).collect();
        let walks = memtable.arenas.iter().map(walks).collect();
        FlushCursor { series, walks, runs: Vec::new(), block: RowBlock::default() }
    }

    /// Sorts one chunk that has not been sorted; whether there was one. Done ahead, so that each step stays short.
    pub fn prepare_step(memtable: &Memtable) -> bool {
        let mut chunks = memtable.arenas.iter().flat_map(|arena| &arena.chunks);
        chunks.find(|chunk| chunk.order.get().is_none()).map(Chunk::order).is_some()
    }

    /// The next series with all its rows; one that was deleted has none and is passed over.
    pub fn next<'a>(&'a mut self, memtable: &'a Memtable) -> Option<SeriesRows<'a>> {
        loop {
            let series = self.series.pop()?;
            if let Some((measurement, fields)) = self.fill(memtable, series) {
                return Some(SeriesRows { series, measurement, fields, block: &self.block });
            }
        }
    }

    /// Makes `block` the rows of the next series; its measurement and fields, if it has a row.
    fn fill<'a>(&mut self, memtable: &'a Memtable, series: u32) -> Option<(&'a Bytes, Fields<'a>)> {
        self.runs.clear();
        for (arena, (chunks, walks)) in (0..).zip(memtable.arenas.iter().zip(&mut self.walks)) {
            for (chunk, walk) in (0..).zip(walks) {
                if walk.series == Some(series) {
                    let order = chunks.chunks[chunk as usize].order();
                    self.runs.push(Run { arena, chunk, positions: order.positions_at(walk.walked) });
                    *walk = Walk::at(order, walk.walked + 1);
                }
            }
        }
        if let Some(arena) = memtable.only_arena(series, &self.runs) {
            arena.fill(&self.runs, (VALUES..arena.stride()).map(Some), &mut self.block);
            return Some((&arena.measurement, Cow::Borrowed(&arena.fields)));
        }
        let refs = memtable.sorted_refs(series, &self.runs);
        let measurement = &memtable.arenas[refs.first()?.arena as usize].measurement;
        let fields = all_fields(memtable, &refs);
        let columns: Vec<_> = fields.iter().map(|(name, field_type)| (name.clone(), Some(*field_type))).collect();
        self.block = memtable.joined_block(&refs, &columns);
        Some((measurement, Cow::Owned(fields)))
    }
}

/// Every field of some rows, once.
fn all_fields(memtable: &Memtable, refs: &[RowRef]) -> Vec<(Bytes, FieldType)> {
    let mut arenas: Vec<u32> = refs.iter().map(|row| row.arena).collect();
    arenas.sort_unstable();
    arenas.dedup();
    let mut fields: Vec<(Bytes, FieldType)> = Vec::new();
    for arena in arenas {
        for field in &memtable.arenas[arena as usize].fields {
            if !fields.contains(field) {
                fields.push(field.clone());
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn of_each_time_the_last_row_is_left_in_order_whether_few_or_most_have_moved(
            late in proptest::collection::vec(prop_oneof![9 => Just(0_i64), 1 => 0..5_i64], 1..200),
            scale in 1_i64..4,
        ) {
            let times: Vec<i64> = (0..).zip(&late).map(|(row, late)| (row - late) * scale / 3).collect();
            let newest: std::collections::BTreeMap<i64, usize> = times.iter().copied().zip(0..).collect();
            let (mut rows, mut picked): (Vec<usize>, Vec<i64>) = ((0..times.len()).collect(), times.clone());
            let picks = Picks::of(&times);
            picks.apply(&mut rows);
            picks.apply(&mut picked);
            prop_assert!(picked.iter().eq(newest.keys()));
            prop_assert!(rows.iter().eq(newest.values()));
        }
    }
}
