//! Rows of one series out of the arenas: for a reader, some fields; for a flush, all.

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

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowRef {
    time: Timestamp,
    sequence: u32,
    arena: u32,
    chunk: u32,
    row: u32,
}

/// All rows of one series, for a flush.
#[derive(Debug)]
pub struct SeriesRows {
    /// The series.
    pub series: u32,
    /// Its measurement.
    pub measurement: Bytes,
    /// Field of each column of `block`.
    pub fields: Vec<(Bytes, FieldType)>,
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
        // Also orders equal times by arrival.
        refs.sort_unstable();
        let columns: Vec<(Bytes, Option<FieldType>)> =
            fields.iter().map(|name| (name.clone(), self.type_of(name, &refs))).collect();
        self.block(&refs, &columns)
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

    /// Joins rows, sorted by (time, sequence), into one row for each time.
    fn block(&self, refs: &[RowRef], columns: &[(Bytes, Option<FieldType>)]) -> RowBlock {
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
}

impl FlushCursor {
    /// Before the first series.
    pub fn new(memtable: &Memtable) -> FlushCursor {
        let mut series: Vec<u32> = memtable.series.iter().collect();
        series.reverse();
        FlushCursor { series, walked: memtable.arenas.iter().map(|arena| vec![0; arena.chunks.len()]).collect() }
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
    pub fn next(&mut self, memtable: &Memtable) -> Option<SeriesRows> {
        loop {
            let series = self.series.pop()?;
            if let Some(rows) = self.rows_of(memtable, series) {
                return Some(rows);
            }
        }
    }

    fn rows_of(&mut self, memtable: &Memtable, series: u32) -> Option<SeriesRows> {
        let mut refs = Vec::new();
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
        memtable.drop_deleted(series, &mut refs);
        refs.sort_unstable();
        let measurement = memtable.arenas[refs.first()?.arena as usize].measurement.clone();
        let fields = all_fields(memtable, &refs);
        let columns: Vec<_> = fields.iter().map(|(name, field_type)| (name.clone(), Some(*field_type))).collect();
        let block = memtable.block(&refs, &columns);
        Some(SeriesRows { series, measurement, fields, block })
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
