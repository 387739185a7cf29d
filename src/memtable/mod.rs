//! Acknowledged points of one partition in memory.
//!
//! Owns:  the points of one shard and shard group since the last flush. Belongs to a shard.
//! In:    batches, already durable in the log.
//! Out:   the rows of one series, sorted, with overwritten points gone and fields of one point joined; all series in
//!        order for a flush.
//!
//! Points are kept as they arrive, in one arena for each layout, cut into chunks:
//!
//! ```text
//! chunk   row: time u64 | series u32, sequence u32 | one u64 a field      ...      strings beside them
//! order   of a chunk, made when first needed: its series, and for each its rows by (time, sequence)
//! sealed  a full chunk, put in that order, and column after column
//! ```
//!
//! Appending a row is a copy. A chunk is sealed while the processor's cache still holds it; from then on the values of
//! a series are some pieces of memory, and not a word here and there. The sequence counts the rows of the partition:
//! for the same series, time and field the highest one wins.

mod order;
mod rows;

pub use rows::FlushCursor;
pub use rows::SeriesRows;

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::batch::BatchError;
use crate::batch::Reader;
use crate::batch::Rows;
use crate::batch::SeriesRef;
use crate::memtable::order::Order;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::FieldValue;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::stdx::bitset::BitSet;

/// Rows of a full chunk: sorted in well under a millisecond.
const CHUNK_ROWS: usize = if cfg!(test) { 8 } else { 8192 };
const TIME: usize = 0;
const SERIES: usize = 1;
const VALUES: usize = 2;

/// The points of one partition. See the module.
#[derive(Debug, Default)]
pub struct Memtable {
    arenas: Vec<Arena>,
    by_layout: HashMap<Bytes, u32>,
    next_sequence: u32,
    deletions: Vec<Deleted>,
    series: BitSet,
    bytes: usize,
    times: Option<TimeRange>,
}

/// Rows before `sequence` of these series and times are gone.
#[derive(Debug)]
struct Deleted {
    sequence: u32,
    series: Rc<RoaringBitmap>,
    range: TimeRange,
}

/// All rows of one layout.
#[derive(Debug)]
struct Arena {
    measurement: Bytes,
    fields: Vec<(Bytes, FieldType)>,
    /// That of all fields, if it is one.
    only_type: Option<FieldType>,
    chunks: Vec<Chunk>,
    /// Its fields are no longer known; a later row of the same layout gets a new arena.
    is_forgotten: bool,
}

#[derive(Debug, Default)]
struct Chunk {
    /// Row after row, or sealed: the time of each row, then the next word of each, and so on.
    words: Vec<u64>,
    strings: Vec<u8>,
    order: OnceCell<Order>,
    /// Rows, if it is sealed.
    sealed_rows: Option<usize>,
}

impl Arena {
    fn stride(&self) -> usize {
        VALUES + self.fields.len()
    }
}

impl Chunk {
    fn order(&self, stride: usize) -> &Order {
        self.order.get_or_init(|| Order::of(&self.words, stride))
    }

    /// A word of the row at a position of the order.
    fn word(&self, stride: usize, position: usize, slot: usize) -> u64 {
        match self.sealed_rows {
            Some(rows) => self.words[slot * rows + position],
            None => self.words[self.order(stride).row(position) * stride + slot],
        }
    }

    /// Appends what a word of each row at some positions stands for.
    fn extend<T>(
        &self,
        stride: usize,
        slot: usize,
        positions: Range<usize>,
        value: impl Fn(u64) -> T,
        into: &mut Vec<T>,
    ) {
        if let Some(rows) = self.sealed_rows {
            let words = &self.words[slot * rows..][positions];
            into.extend(words.iter().map(|&word| value(word)));
        } else {
            let rows = &self.order(stride).rows()[positions];
            into.extend(rows.iter().map(|&row| value(self.words[row as usize * stride + slot])));
        }
    }

    /// Puts the rows in order, and column after column.
    fn seal(&mut self, stride: usize) {
        self.order(stride);
        let order = self.order.take().unwrap_or_default();
        let mut columns = Vec::with_capacity(self.words.len());
        for slot in 0..stride {
            columns.extend(order.rows().iter().map(|&row| self.words[row as usize * stride + slot]));
        }
        self.words = columns;
        self.sealed_rows = Some(order.rows().len());
        self.order = order.of_ordered_rows().into();
    }

    /// Appends the values of a row.
    #[inline]
    fn take_values(
        &mut self,
        rows: &mut Rows<'_>,
        fields: &[(Bytes, FieldType)],
        only_type: Option<FieldType>,
    ) -> Result<(), BatchError> {
        // Rows of one type, as most are, in a loop that need not ask for it.
        match only_type {
            Some(FieldType::Integer) => self.take_numbers(rows, fields.len(), |rows| rows.bits(FieldType::Integer)),
            Some(FieldType::Float) => self.take_numbers(rows, fields.len(), |rows| rows.bits(FieldType::Float)),
            _ => fields.iter().try_for_each(|&(_, field_type)| {
                let word = match field_type {
                    FieldType::String => rows.value(field_type).map(|value| self.keep_string(value)),
                    number => rows.bits(number),
                };
                word.map(|word| self.words.push(word))
            }),
        }
    }

    #[inline(always)]
    fn take_numbers<'a>(
        &mut self,
        rows: &mut Rows<'a>,
        count: usize,
        mut number: impl FnMut(&mut Rows<'a>) -> Result<u64, BatchError>,
    ) -> Result<(), BatchError> {
        let mut failed = Ok(());
        // Without a way out, since the room for them all is then made once.
        self.words.extend((0..count).map(|_| {
            number(rows).unwrap_or_else(|error| {
                failed = Err(error);
                0
            })
        }));
        failed
    }

    /// Keeps a string; the word that stands for it. Nothing else is a string.
    fn keep_string(&mut self, value: FieldValue<'_>) -> u64 {
        let FieldValue::String(string) = value else { return 0 };
        let start = self.strings.len() as u64;
        self.strings.extend_from_slice(string);
        start << 32 | string.len() as u64
    }

    fn string(&self, slot: u64) -> &[u8] {
        let start = (slot >> 32) as usize;
        &self.strings[start..start + (slot as u32) as usize]
    }
}

impl Memtable {
    /// Takes all points of a batch; `assigned` gives each key of the batch its id.
    ///
    /// A batch that does not follow the format is refused; rows before the fault stay.
    pub fn apply(&mut self, batch: &Reader<'_>, assigned: &[SeriesId]) -> Result<(), BatchError> {
        let arenas: Vec<u32> = batch.layouts.iter().map(|layout| self.arena(layout)).collect();
        let mut rows = batch.rows();
        let mut times = self.times.unwrap_or(TimeRange::NEVER);
        let outcome = loop {
            match self.take_row(&mut rows, &arenas, assigned) {
                Ok(Some(time)) => times = TimeRange { min: times.min.min(time), max: times.max.max(time) },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.times = (!self.is_empty()).then_some(times);
        outcome
    }

    /// Takes the next row; its time.
    #[inline(always)]
    fn take_row(
        &mut self,
        rows: &mut Rows<'_>,
        arenas: &[u32],
        assigned: &[SeriesId],
    ) -> Result<Option<Timestamp>, BatchError> {
        let Some(row) = rows.next_row()? else { return Ok(None) };
        let series = match row.series {
            SeriesRef::Known(id) => id,
            SeriesRef::New(index) => *assigned.get(index as usize).ok_or(BatchError("no such key"))?,
        };
        let arena = *arenas.get(row.layout as usize).ok_or(BatchError("no such layout"))?;
        let arena = &mut self.arenas[arena as usize];
        let stride = arena.stride();
        let chunk = writable_chunk(&mut arena.chunks, stride);
        let before = chunk.words.len();
        let strings_before = chunk.strings.len();
        chunk.words.reserve(stride);
        chunk.words.extend([row.time as u64, u64::from(series.0) << 32 | u64::from(self.next_sequence)]);
        if let Err(error) = chunk.take_values(rows, &arena.fields, arena.only_type) {
            chunk.words.truncate(before);
            return Err(error);
        }
        self.bytes += stride * 8 + chunk.strings.len() - strings_before;
        self.next_sequence = self.next_sequence.checked_add(1).expect("a memtable is flushed before 4 G rows");
        self.series.insert(series.0);
        Ok(Some(row.time))
    }

    /// The arena of a layout, made on first sight.
    fn arena(&mut self, layout: &crate::batch::Layout<'_>) -> u32 {
        if let Some(&arena) = self.by_layout.get(layout.encoded) {
            return arena;
        }
        let arena = self.arenas.len() as u32;
        let first_type = layout.fields.first().map(|field| field.1);
        self.arenas.push(Arena {
            measurement: layout.measurement.into(),
            fields: layout.fields.iter().map(|&(name, field_type)| (name.into(), field_type)).collect(),
            only_type: first_type.filter(|first| layout.fields.iter().all(|field| field.1 == *first)),
            chunks: Vec::new(),
            is_forgotten: false,
        });
        self.by_layout.insert(layout.encoded.into(), arena);
        self.bytes += layout.encoded.len() * 2 + 256;
        arena
    }

    /// Takes all points held so far of these series and times away.
    pub fn delete(&mut self, series: &Rc<RoaringBitmap>, range: TimeRange) {
        if !self.is_empty() && !series.is_empty() {
            self.bytes += size_of::<Deleted>() + series.serialized_size();
            self.deletions.push(Deleted { sequence: self.next_sequence, series: series.clone(), range });
        }
    }

    /// Forgets the fields of a measurement of which no point is left.
    pub fn forget(&mut self, measurement: &[u8]) {
        for (index, arena) in self.arenas.iter_mut().enumerate() {
            if *arena.measurement == *measurement && !arena.is_forgotten {
                arena.is_forgotten = true;
                self.by_layout.retain(|_, known| *known as usize != index);
            }
        }
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.next_sequence == 0
    }

    /// Bytes of memory held, strings included, about.
    pub fn bytes(&self) -> usize {
        self.bytes + self.series.bytes()
    }

    /// Points held, overwritten ones included.
    pub fn row_count(&self) -> u32 {
        self.next_sequence
    }

    /// The series that have a point here.
    pub fn series(&self) -> &BitSet {
        &self.series
    }

    /// First and last time; `None` when empty.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        self.times.map(|times| (times.min, times.max))
    }

    /// Measurement, field name and type of everything ever written here; a pair may come more than once.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8], FieldType)> {
        self.arenas
            .iter()
            .filter(|arena| !arena.is_forgotten)
            .flat_map(|arena| arena.fields.iter().map(|(name, field_type)| (&*arena.measurement, &**name, *field_type)))
    }
}

/// The last chunk, or a new one when that is full. A chunk's order is forgotten when it grows.
fn writable_chunk(chunks: &mut Vec<Chunk>, stride: usize) -> &mut Chunk {
    if chunks.last().is_none_or(|chunk| chunk.words.len() >= CHUNK_ROWS * stride) {
        let is_first = chunks.is_empty();
        if let Some(full) = chunks.last_mut() {
            full.seal(stride);
        }
        let words = if is_first { Vec::new() } else { Vec::with_capacity(CHUNK_ROWS * stride) };
        chunks.push(Chunk { words, ..Chunk::default() });
    }
    let chunk = chunks.last_mut().expect("one was pushed if there was none");
    if chunk.order.get().is_some() {
        chunk.order.take();
    }
    chunk
}

#[cfg(test)]
mod tests;
