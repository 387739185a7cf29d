//! Rows of one series out of the arenas: for a reader, some fields; for a flush, all.

use std::borrow::Cow;

use crate::memtable::Arena;
use crate::memtable::Memtable;
use crate::memtable::SERIES;
use crate::memtable::TIME;
use crate::memtable::VALUES;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::model::Values;

/// Moves a row on average after which rows count as out of order.
const SORT_MOVES: usize = 4;

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
struct RowRef {
    time: Timestamp,
    sequence: u32,
    arena: u32,
    chunk: u32,
    row: u32,
}

/// All rows of one series, for a flush.
#[derive(Debug)]
pub struct SeriesRows<'a> {
    /// The series.
    pub series: u32,
    /// Its measurement.
    pub measurement: &'a Bytes,
    /// Field of each column of `block`.
    pub fields: Cow<'a, [(Bytes, FieldType)]>,
    /// The rows, ascending.
    pub block: RowBlock,
}

impl Memtable {
    /// The rows of a series in `range` that have a value in one of `fields`, ascending. A field that is not there, or
    /// has no value in any row, is `None`.
    pub fn read(&self, series: u32, fields: &[Bytes], range: TimeRange) -> RowBlock {
        if !self.series.contains(series) {
            return RowBlock { times: Vec::new(), columns: vec![None; fields.len()] };
        }
        let mut refs = Vec::new();
        for (arena_index, arena) in self.arenas.iter().enumerate() {
            if arena.fields.iter().any(|field| fields.contains(&field.0)) {
                self.collect(arena_index, series, range, &mut refs);
            }
        }
        self.drop_deleted(series, &mut refs);
        sort(&mut refs);
        if let Some(arena) = self.only_arena(&refs) {
            let slot =
                |name: &Bytes| arena.fields.iter().position(|field| field.0 == *name).map(|index| index + VALUES);
            return arena.block(refs, fields.iter().map(slot));
        }
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
        let mut refs = Vec::new();
        for arena in 0..self.arenas.len() {
            self.collect(arena, series, TimeRange::ALWAYS, &mut refs);
        }
        self.drop_deleted(series, &mut refs);
        refs.into_iter().map(|row| row.time).collect()
    }

    fn drop_deleted(&self, series: u32, refs: &mut Vec<RowRef>) {
        for deleted in self.deletions.iter().filter(|deleted| deleted.series.contains(series)) {
            refs.retain(|row| row.sequence >= deleted.sequence || !deleted.range.contains(row.time));
        }
    }

    fn collect(&self, arena_index: usize, series: u32, range: TimeRange, refs: &mut Vec<RowRef>) {
        let arena = &self.arenas[arena_index];
        let stride = arena.stride();
        for (chunk_index, chunk) in arena.chunks.iter().enumerate() {
            for &row in chunk.order(stride).rows_of(series) {
                let row_ref = self.row_ref(arena_index, chunk_index, row, stride);
                if range.contains(row_ref.time) {
                    refs.push(row_ref);
                }
            }
        }
    }

    fn row_ref(&self, arena: usize, chunk: usize, row: u32, stride: usize) -> RowRef {
        let words = &self.arenas[arena].chunks[chunk].rows[row as usize * stride..];
        RowRef {
            time: words[TIME] as i64,
            sequence: words[SERIES] as u32,
            arena: arena as u32,
            chunk: chunk as u32,
            row,
        }
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

    /// The arena of some rows if it is the same for all.
    fn only_arena(&self, refs: &[RowRef]) -> Option<&Arena> {
        let first = refs.first()?.arena;
        refs.iter().all(|row| row.arena == first).then(|| &self.arenas[first as usize])
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
        let arena = &self.arenas[row.arena as usize];
        let chunk = &arena.chunks[row.chunk as usize];
        let word = chunk.rows[row.row as usize * arena.stride() + slot];
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

/// By time; rows of one time in the order of arrival.
fn sort(refs: &mut [RowRef]) {
    let key = |row: &RowRef| (row.time, row.sequence);
    // They mostly come nearly so: each chunk has its own in order, and writers that go side by side are not far apart.
    let mut moves_left = refs.len() * SORT_MOVES;
    for next in 1..refs.len() {
        let row = refs[next];
        let mut place = next;
        while place > 0 && key(&refs[place - 1]) > key(&row) {
            refs[place] = refs[place - 1];
            place -= 1;
        }
        refs[place] = row;
        match moves_left.checked_sub(next - place) {
            Some(left) => moves_left = left,
            None => return refs.sort_by_key(key),
        }
    }
}

impl Arena {
    /// Sorted rows, of equal times the last; for each column the slot that holds it, if there is one. Each row of a
    /// layout has all of its fields.
    fn block(&self, mut refs: Vec<RowRef>, slots: impl Iterator<Item = Option<usize>>) -> RowBlock {
        if refs.windows(2).any(|pair| pair[0].time == pair[1].time) {
            refs.reverse();
            refs.dedup_by_key(|row| row.time);
            refs.reverse();
        }
        let stride = self.stride();
        let row = |at: &RowRef| &self.chunks[at.chunk as usize].rows[at.row as usize * stride..][..stride];
        let rows: Vec<&[u64]> = refs.iter().map(row).collect();
        let times = refs.iter().map(|row| row.time).collect();
        RowBlock { times, columns: slots.map(|slot| Some(self.column(slot?, &refs, &rows))).collect() }
    }

    fn column(&self, slot: usize, refs: &[RowRef], rows: &[&[u64]]) -> Column {
        let words = rows.iter().map(|row| row[slot]);
        let values = match self.fields[slot - VALUES].1 {
            FieldType::Float => Values::Float(words.map(f64::from_bits).collect()),
            FieldType::Integer => Values::Integer(words.map(|word| word as i64).collect()),
            FieldType::Unsigned => Values::Unsigned(words.collect()),
            FieldType::Boolean => Values::Boolean(words.map(|word| word != 0).collect()),
            FieldType::String => {
                let text = |(word, at): (u64, &RowRef)| self.chunks[at.chunk as usize].string(word).into();
                Values::String(words.zip(refs).map(text).collect())
            }
        };
        Column { values, valid: None }
    }
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
    /// For each chunk of each arena: how many of its series have been walked.
    walked: Vec<Vec<usize>>,
    /// Rows of the series before: most have as many.
    row_count: usize,
}

impl FlushCursor {
    /// Before the first series.
    pub fn new(memtable: &Memtable) -> FlushCursor {
        let mut series: Vec<u32> = memtable.series.iter().collect();
        series.reverse();
        let walked = memtable.arenas.iter().map(|arena| vec![0; arena.chunks.len()]).collect();
        FlushCursor { series, walked, row_count: 0 }
    }

    /// Sorts one chunk that has not been sorted; whether there was one. Done ahead, so that each step stays short.
    pub fn prepare_step(memtable: &Memtable) -> bool {
        let unsorted = memtable.arenas.iter().find_map(|arena| {
            let chunk = arena.chunks.iter().find(|chunk| chunk.order.get().is_none())?;
            Some((chunk, arena.stride()))
        });
        unsorted.map(|(chunk, stride)| chunk.order(stride)).is_some()
    }

    /// The next series with all its rows; one that was deleted has none and is passed over.
    pub fn next<'a>(&mut self, memtable: &'a Memtable) -> Option<SeriesRows<'a>> {
        loop {
            let series = self.series.pop()?;
            if let Some(rows) = self.rows_of(memtable, series) {
                return Some(rows);
            }
        }
    }

    fn rows_of<'a>(&mut self, memtable: &'a Memtable, series: u32) -> Option<SeriesRows<'a>> {
        let mut refs = Vec::with_capacity(self.row_count);
        for (arena_index, arena) in memtable.arenas.iter().enumerate() {
            let stride = arena.stride();
            for (chunk_index, chunk) in arena.chunks.iter().enumerate() {
                let order = chunk.order(stride);
                let walked = &mut self.walked[arena_index][chunk_index];
                if order.series().get(*walked) == Some(&series) {
                    let rows = order.rows_at(*walked);
                    refs.extend(rows.iter().map(|&row| memtable.row_ref(arena_index, chunk_index, row, stride)));
                    *walked += 1;
                }
            }
        }
        self.row_count = refs.len();
        memtable.drop_deleted(series, &mut refs);
        sort(&mut refs);
        let measurement = &memtable.arenas[refs.first()?.arena as usize].measurement;
        if let Some(arena) = memtable.only_arena(&refs) {
            let block = arena.block(refs, (VALUES..arena.stride()).map(Some));
            return Some(SeriesRows { series, measurement, fields: Cow::Borrowed(&arena.fields), block });
        }
        let fields = all_fields(memtable, &refs);
        let columns: Vec<_> = fields.iter().map(|(name, field_type)| (name.clone(), Some(*field_type))).collect();
        let block = memtable.joined_block(&refs, &columns);
        Some(SeriesRows { series, measurement, fields: Cow::Owned(fields), block })
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
