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
//! chunk   columns of words: time | series u32, sequence u32 | one for each field      strings beside them
//! order   of a chunk, made when first needed: its series, and for each its rows by (time, sequence)
//! sealed  a full chunk, put in that order, in few bytes: see sealed.rs
//! ```
//!
//! Appending a row is a copy. A chunk is sealed while the processor's cache still holds it; from then on the values of
//! a series are some pieces of memory, and not a word here and there. The sequence counts the rows of the partition:
//! for the same series, time and field the highest one wins.

// In data order: each uses only those below it.
mod rows;
mod sealed;
mod order;

pub use rows::FlushCursor;
pub use rows::SeriesRows;

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::batch::BatchError;
use crate::batch::IntegerRows;
use crate::batch::Reader;
use crate::batch::Rows;
use crate::memtable::order::Order;
use crate::memtable::sealed::Sealed;
use crate::memtable::sealed::Word;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::FieldValue;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::stdx::bitset::BitSet;

/// Words of a full chunk, a megabyte: each of its columns fits a second-level cache, and it is sealed in a millisecond.
pub const CHUNK_WORDS: usize = 128 << 10;
/// A chunk of more columns has more words.
const COLUMNS_MAX: usize = 2 << 10;
/// So many times more rows have room in a chunk that was full and is small.
const CHUNK_GROWTH: usize = 4;
const FLUSHED_BEFORE: &str = "a memtable is flushed before 4 G rows";
const TIME: usize = 0;
const SERIES: usize = 1;
const VALUES: usize = 2;

/// The points of one partition. See the module.
#[derive(Debug)]
pub struct Memtable {
    chunk_words: usize,
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
    /// Column after column, each with room for the same number of rows; none once it is sealed.
    words: Vec<u64>,
    capacity: usize,
    rows: usize,
    strings: Vec<u8>,
    order: OnceCell<Order>,
    /// All are but the last of an arena.
    sealed: Option<Sealed>,
}

impl Arena {
    fn stride(&self) -> usize {
        VALUES + self.fields.len()
    }
}

/// The last chunk of these fields, or another if that is full and then sealed; by how much the bytes held changed.
#[inline]
fn writable_chunk<'a>(
    chunks: &'a mut Vec<Chunk>,
    fields: &[(Bytes, FieldType)],
    chunk_words: usize,
) -> (&'a mut Chunk, isize) {
    let change = match chunks.last() {
        Some(last) if last.rows < last.capacity => 0,
        _ => make_room(chunks, fields, chunk_words),
    };
    (chunks.last_mut().expect("one was begun if there was none"), change)
}

#[cold]
fn make_room(chunks: &mut Vec<Chunk>, fields: &[(Bytes, FieldType)], chunk_words: usize) -> isize {
    let stride = VALUES + fields.len();
    let rows_max = (chunk_words / stride.min(COLUMNS_MAX)).max(1);
    if chunks.is_empty() {
        chunks.push(Chunk::default());
    }
    let last = chunks.last_mut().expect("one was pushed if there was none");
    if last.rows < rows_max {
        last.grow(stride, rows_max);
        return 0;
    }
    let change = last.seal(fields);
    let (words, capacity) = (std::mem::take(&mut last.words), last.capacity);
    chunks.push(Chunk { words, capacity, ..Chunk::default() });
    change
}

impl Chunk {
    /// Makes room for more rows.
    fn grow(&mut self, stride: usize, rows_max: usize) {
        let (old, new) = (self.rows, (self.rows * CHUNK_GROWTH).clamp(1, rows_max));
        let mut words = vec![0; new * stride];
        for (column, known) in words.chunks_exact_mut(new).zip(self.words.chunks_exact(old.max(1))) {
            column[..old].copy_from_slice(known);
        }
        (self.words, self.capacity) = (words, new);
    }

    fn column(&self, slot: usize) -> &[u64] {
        &self.words[slot * self.capacity..][..self.rows]
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| Order::of(self.column(TIME), self.column(SERIES)))
    }

    /// A word of the row at a position of the order.
    fn word(&self, position: usize, slot: usize) -> u64 {
        match &self.sealed {
            Some(sealed) => sealed.word(position, slot),
            None => self.column(slot)[self.order().row(position)],
        }
    }

    /// A word of each row at some positions, and up to [`STEP`](sealed::STEP) others behind them.
    #[inline(always)]
    fn copy<T: Word>(&self, slot: usize, positions: Range<usize>, into: &mut [T]) {
        match &self.sealed {
            Some(sealed) => sealed.copy(slot, positions, into),
            None => {
                let (column, rows) = (self.column(slot), &self.order().rows()[positions]);
                into.iter_mut().zip(rows).for_each(|(into, &row)| *into = T::of(column[row as usize]));
            }
        }
    }

    /// Puts the rows in order and in few bytes; by how much that changed the bytes held. The words are of no more use.
    fn seal(&mut self, fields: &[(Bytes, FieldType)]) -> isize {
        self.order();
        let order = self.order.take().unwrap_or_default();
        let columns = (0..VALUES + fields.len()).map(|slot| self.column(slot));
        let sealed = Sealed::of(columns, fields.iter().map(|field| field.1), &order);
        let order = order.of_ordered_rows();
        let words = self.rows * (VALUES + fields.len());
        let change = (sealed.bytes() + order.bytes()) as isize - (words * size_of::<u64>()) as isize;
        (self.sealed, self.order) = (Some(sealed), order.into());
        change
    }

    /// It changes when the chunk grows.
    fn forget_order(&mut self) {
        if self.order.get().is_some() {
            self.order.take();
        }
    }

    /// Takes as many rows as there are heads, of all that were read those from `start` on; there is room.
    fn take_integers(&mut self, heads: &[Head], sequence: u32, numbers: &IntegerRows, start: usize) {
        self.forget_order();
        let room = self.rows..self.rows + heads.len();
        let mut columns = self.words.chunks_exact_mut(self.capacity).map(|column| &mut column[room.clone()]);
        if let (Some(times), Some(series)) = (columns.next(), columns.next()) {
            times.iter_mut().zip(heads).for_each(|(word, head)| *word = head.1 as u64);
            let words = heads.iter().zip(sequence..).map(|(head, sequence)| series_word(head.0, sequence));
            series.iter_mut().zip(words).for_each(|(into, word)| *into = word);
        }
        for (field, column) in columns.enumerate() {
            let values = numbers.values(field).skip(start);
            column.iter_mut().zip(values).for_each(|(word, value)| *word = value as u64);
        }
        self.rows = room.end;
    }

    /// Takes the values of a row; it counts if all are there.
    #[inline]
    fn take_row(
        &mut self,
        head: [u64; VALUES],
        rows: &mut Rows<'_>,
        fields: &[(Bytes, FieldType)],
        only_type: Option<FieldType>,
    ) -> Result<(), BatchError> {
        let Chunk { words, strings, .. } = self;
        let (row, capacity) = (self.rows, self.capacity);
        let mut put = |slot: usize, word| words[slot * capacity + row] = word;
        put(TIME, head[TIME]);
        put(SERIES, head[SERIES]);
        // Rows of one type, as most are, in a loop that need not ask for it.
        match only_type {
            Some(FieldType::Integer) => {
                rows.numbers(FieldType::Integer, fields.len(), |index, word| put(VALUES + index, word))?;
            }
            Some(FieldType::Float) => {
                rows.numbers(FieldType::Float, fields.len(), |index, word| put(VALUES + index, word))?;
            }
            _ => {
                for (index, &(_, field_type)) in fields.iter().enumerate() {
                    let word = match field_type {
                        FieldType::String => keep_string(strings, rows.value(field_type)?),
                        number => rows.bits(number)?,
                    };
                    put(VALUES + index, word);
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn string(&self, slot: u64) -> &[u8] {
        let start = (slot >> 32) as usize;
        &self.strings[start..start + (slot as u32) as usize]
    }
}

/// Series and time of a row.
type Head = (SeriesId, Timestamp);

fn series_word(series: SeriesId, sequence: u32) -> u64 {
    u64::from(series.0) << 32 | u64::from(sequence)
}

/// Keeps a string; the word that stands for it. Nothing else is a string.
fn keep_string(strings: &mut Vec<u8>, value: FieldValue<'_>) -> u64 {
    let FieldValue::String(string) = value else { return 0 };
    let start = strings.len() as u64;
    strings.extend_from_slice(string);
    start << 32 | string.len() as u64
}

impl Memtable {
    /// An empty one. A full chunk has about `chunk_words`; [`CHUNK_WORDS`] for speed, fewer so that chunks are full in
    /// small tests too.
    pub fn new(chunk_words: usize) -> Memtable {
        Memtable {
            chunk_words,
            arenas: Vec::new(),
            by_layout: HashMap::new(),
            next_sequence: 0,
            deletions: Vec::new(),
            series: BitSet::default(),
            bytes: 0,
            times: None,
        }
    }

    /// All points; none are left.
    pub fn take(&mut self) -> Memtable {
        let empty = Memtable::new(self.chunk_words);
        std::mem::replace(self, empty)
    }

    /// Takes all points of a batch; `assigned` gives each key of the batch its id.
    ///
    /// A batch that does not follow the format is refused; rows before the fault stay.
    pub fn apply(&mut self, batch: &Reader<'_>, assigned: &[SeriesId]) -> Result<(), BatchError> {
        let arenas: Vec<u32> = batch.layouts.iter().map(|layout| self.arena(layout)).collect();
        let mut rows = batch.rows();
        let mut times = self.times.unwrap_or(TimeRange::NEVER);
        if let [arena] = arenas[..]
            && self.arenas[arena as usize].only_type == Some(FieldType::Integer)
        {
            self.take_integers(&mut rows, arena, assigned, &mut times);
        }
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

    /// Takes rows as long as nothing is wrong with them.
    fn take_integers(&mut self, rows: &mut Rows<'_>, arena: u32, assigned: &[SeriesId], times: &mut TimeRange) {
        let Arena { fields, chunks, .. } = &mut self.arenas[arena as usize];
        let mut numbers = IntegerRows::default();
        let mut heads = Vec::new();
        let mut ahead = rows.clone();
        loop {
            let count = ahead.next_integer_rows(fields.len(), &mut numbers);
            heads.clear();
            heads.extend(numbers.heads().take(count).map_while(|(series, time)| Some((series.id(assigned)?, time))));
            if count == 0 || heads.len() < count {
                return;
            }
            let mut taken = 0;
            while taken < count {
                let (chunk, change) = writable_chunk(chunks, fields, self.chunk_words);
                let piece = taken..count.min(taken + chunk.capacity - chunk.rows);
                chunk.take_integers(&heads[piece.clone()], self.next_sequence, &numbers, piece.start);
                self.next_sequence = self.next_sequence.checked_add(piece.len() as u32).expect(FLUSHED_BEFORE);
                self.bytes = self.bytes.saturating_add_signed(change);
                taken = piece.end;
            }
            for &(series, time) in &heads {
                self.series.insert(series.0);
                *times = TimeRange { min: times.min.min(time), max: times.max.max(time) };
            }
            self.bytes += count * (VALUES + fields.len()) * size_of::<u64>();
            *rows = ahead.clone();
        }
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
        let series = row.series.id(assigned).ok_or(BatchError("no such key"))?;
        let arena = *arenas.get(row.layout as usize).ok_or(BatchError("no such layout"))?;
        let Arena { fields, only_type, chunks, .. } = &mut self.arenas[arena as usize];
        let (chunk, change) = writable_chunk(chunks, fields, self.chunk_words);
        self.bytes = self.bytes.saturating_add_signed(change);
        chunk.forget_order();
        let strings_before = chunk.strings.len();
        let head = [row.time as u64, series_word(series, self.next_sequence)];
        chunk.take_row(head, rows, fields, *only_type)?;
        self.bytes += (VALUES + fields.len()) * size_of::<u64>() + chunk.strings.len() - strings_before;
        self.next_sequence = self.next_sequence.checked_add(1).expect(FLUSHED_BEFORE);
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

#[cfg(test)]
mod tests;
