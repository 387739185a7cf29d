//! The index of a segment, in pages: where each block stands and what its columns hold in short.
//!
//! ```text
//! page     crc32 u32, as of a block | blocks: count varint | entry of each
//! entry    series varint (from the one before; first of the page: from the index) | layout varint | rows varint
//!          | first time signed, span signed (both from the entry before) | bytes varint
//!          | with SUMMARY_ROWS_MIN rows or more, of each column: rows without a value varint | summary
//! summary  numbers: min, max, first, last coded as a column (length first); integers then their sum, signed
//!          booleans: bits 0 to 3 are min, max, first, last;  strings: nothing
//! ```
//!
//! Sums of integers wrap as their addition does. Floats have none: their sum depends on the order of the additions, and
//! answers must be those of adding point by point.

use std::rc::Rc;

use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::model::Values;
use crate::segment::FieldEntry;
use crate::segment::codec;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

/// A block with fewer rows is decoded as quickly as its summary would be looked up.
pub const SUMMARY_ROWS_MIN: usize = 64;
/// Four numbers as they are, and what says so.
const SUMMARY_CODED_BYTES: usize = 40;

/// Where one block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Its series.
    pub series: u32,
    /// Which columns it has: a number of the segment's layouts.
    pub layout: u32,
    /// Rows.
    pub rows: u32,
    /// First and last time.
    pub range: TimeRange,
    /// Position in the file.
    pub offset: u64,
    /// Length, checksum included.
    pub bytes: u32,
}

/// The values of one column of one block, in short. `min` and `max` are the first of their kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes<T> {
    /// Smallest.
    pub min: T,
    /// Largest.
    pub max: T,
    /// Of the first row that has one.
    pub first: T,
    /// Of the last row that has one.
    pub last: T,
}

/// What is known of a column without reading it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Rows without a value.
    pub missing: u32,
    /// The values.
    pub values: SummaryValues,
}

/// What is known of a block without reading it, for a reader of some fields.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSummary {
    /// First and last time.
    pub range: TimeRange,
    /// Rows.
    pub rows: u32,
    /// One for each field asked for; `None`: no row has it.
    pub columns: Vec<Option<Summary>>,
}

/// By type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SummaryValues {
    /// Floats.
    Float(Extremes<f64>),
    /// Integers and their wrapping sum.
    Integer(Extremes<i64>, i64),
    /// Unsigned integers and their wrapping sum.
    Unsigned(Extremes<u64>, u64),
    /// Booleans.
    Boolean(Extremes<bool>),
    /// Nothing is kept of strings.
    String,
}

/// Some blocks that follow each other in a file.
#[derive(Debug)]
pub struct Page {
    entries: Vec<BlockEntry>,
    /// Coded summaries, and where those of each entry begin.
    summaries: Vec<u8>,
    summary_starts: Vec<u32>,
}

impl Page {
    /// Its blocks, by series and time.
    pub fn entries(&self) -> &[BlockEntry] {
        &self.entries
    }

    /// Where its last block ends.
    pub(super) fn blocks_end(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.offset + u64::from(entry.bytes))
    }

    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Page>() + self.entries.capacity() * (size_of::<BlockEntry>() + 4) + self.summaries.capacity()
    }

    /// The blocks of `series` that overlap `range`, by time.
    pub fn blocks_of(self: &Rc<Page>, series: u32, range: TimeRange) -> impl Iterator<Item = Block> + use<'_> {
        let start = self.entries.partition_point(|entry| entry.series < series);
        let count = self.entries[start..].partition_point(|entry| entry.series == series);
        let overlaps = move |index: &usize| !self.entries[*index].range.intersect(range).is_empty();
        (start..start + count).filter(overlaps).map(|index| Block { page: self.clone(), index })
    }

    /// Reads a page whose checksum holds. Its blocks begin at `offset`, its first series is `series`; `layouts` and
    /// `fields` are those of the segment.
    pub fn decode(
        body: &[u8],
        offset: u64,
        series: u32,
        layouts: &[Box<[u32]>],
        fields: &[FieldEntry],
    ) -> Option<Page> {
        let mut reader = Reader::new(body);
        let count = usize::try_from(reader.varint()?).ok()?;
        let mut page = Page { entries: Vec::new(), summaries: Vec::new(), summary_starts: Vec::new() };
        page.entries.reserve(count.min(body.len()));
        let mut before = EntryBefore { series, ..EntryBefore::default() };
        let mut offset = offset;
        for _ in 0..count {
            let series = before.series.checked_add(reader.varint_u32()?)?;
            let layout = reader.varint_u32()?;
            let columns = layouts.get(layout as usize)?;
            let rows = reader.varint_u32()?;
            let min = before.first.wrapping_add(reader.signed()?);
            let span = before.span.wrapping_add(reader.signed()?);
            let max = min.wrapping_add(span);
            let bytes = reader.varint_u32()?;
            page.summary_starts.push(page.summaries.len() as u32);
            if rows as usize >= SUMMARY_ROWS_MIN {
                let start = reader.rest();
                for &column in columns {
                    decode_summary(&mut reader, fields.get(column as usize)?.field_type)?;
                }
                page.summaries.extend_from_slice(&start[..start.len() - reader.rest().len()]);
            }
            let is_sound = rows > 0 && min <= max;
            is_sound.then_some(())?;
            page.entries.push(BlockEntry { series, layout, rows, range: TimeRange { min, max }, offset, bytes });
            before = EntryBefore { series, first: min, span };
            offset = offset.checked_add(u64::from(bytes))?;
        }
        page.summaries.shrink_to_fit();
        reader.is_empty().then_some(page)
    }
}

/// One block of a page.
#[derive(Clone, Debug)]
pub struct Block {
    page: Rc<Page>,
    index: usize,
}

impl std::ops::Deref for Block {
    type Target = BlockEntry;

    fn deref(&self) -> &BlockEntry {
        &self.page.entries[self.index]
    }
}

impl Block {
    /// Block `index` of a page.
    pub fn new(page: Rc<Page>, index: usize) -> Block {
        assert!(index < page.entries.len(), "a block of this page");
        Block { page, index }
    }

    /// What is known of its columns, in the order of its layout; `None` for a block of few rows.
    pub(super) fn summaries(&self, columns: &[u32], fields: &[FieldEntry]) -> Option<Vec<Summary>> {
        let mut reader = self.coded_summaries()?;
        columns.iter().map(|&column| decode_summary(&mut reader, fields.get(column as usize)?.field_type)).collect()
    }

    /// The same of the columns called `names` alone.
    pub(super) fn summary(&self, columns: &[u32], fields: &[FieldEntry], names: &[Bytes]) -> Option<BlockSummary> {
        let mut reader = self.coded_summaries()?;
        let mut found = vec![None; names.len()];
        let mut missing = names.len();
        for &column in columns {
            let field = fields.get(column as usize)?;
            match names.iter().position(|name| *name == field.name) {
                Some(index) => {
                    found[index] = Some(decode_summary(&mut reader, field.field_type)?);
                    missing -= 1;
                }
                None => skip_summary(&mut reader, field.field_type)?,
            }
            if missing == 0 {
                break;
            }
        }
        Some(BlockSummary { range: self.range, rows: self.rows, columns: found })
    }

    fn coded_summaries(&self) -> Option<Reader<'_>> {
        let start = self.page.summary_starts[self.index] as usize;
        (self.rows as usize >= SUMMARY_ROWS_MIN).then(|| Reader::new(&self.page.summaries[start..]))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct EntryBefore {
    series: u32,
    first: i64,
    span: i64,
}

/// Builds the pages of a segment.
#[derive(Debug, Default)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    count: u64,
    first_series: u32,
    before: EntryBefore,
    block_bytes: u64,
}

/// A finished page, without its checksum.
#[derive(Debug)]
pub struct BuiltPage {
    pub body: Vec<u8>,
    pub first_series: u32,
    /// Length of its blocks.
    pub block_bytes: u64,
}

impl PageBuilder {
    /// Adds a block; `columns` are those of its layout.
    pub fn add(&mut self, entry: &BlockEntry, columns: &[&Column], hints: &[codec::Hints]) {
        if self.count == 0 {
            self.first_series = entry.series;
            self.before = EntryBefore { series: entry.series, ..EntryBefore::default() };
        }
        let span = entry.range.max.wrapping_sub(entry.range.min);
        varint::put(&mut self.bytes, u64::from(entry.series - self.before.series));
        varint::put(&mut self.bytes, u64::from(entry.layout));
        varint::put(&mut self.bytes, u64::from(entry.rows));
        varint::put_signed(&mut self.bytes, entry.range.min.wrapping_sub(self.before.first));
        varint::put_signed(&mut self.bytes, span.wrapping_sub(self.before.span));
        varint::put(&mut self.bytes, u64::from(entry.bytes));
        if entry.rows as usize >= SUMMARY_ROWS_MIN {
            for (column, hints) in columns.iter().zip(hints) {
                encode_summary(column, *hints, &mut self.bytes);
            }
        }
        self.before = EntryBefore { series: entry.series, first: entry.range.min, span };
        self.block_bytes += u64::from(entry.bytes);
        self.count += 1;
    }

    /// Length so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Length of its blocks.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Ends the page, if it has a block.
    pub fn take(&mut self) -> Option<BuiltPage> {
        let PageBuilder { bytes, count, first_series, block_bytes, .. } = std::mem::take(self);
        let mut body = Vec::with_capacity(bytes.len() + 5);
        varint::put(&mut body, count);
        body.extend_from_slice(&bytes);
        (count > 0).then_some(BuiltPage { body, first_series, block_bytes })
    }
}

/// Smallest, largest, first and last of some values; `None` of none.
fn extremes<T: Copy + PartialOrd>(column: &Column, values: &[T]) -> Option<Extremes<T>> {
    if column.valid.is_none() {
        return extremes_of_all(values);
    }
    let mut present = values.iter().enumerate().filter(|(row, _)| column.is_valid(*row)).map(|(_, value)| *value);
    let first = present.next()?;
    let start = Extremes { min: first, max: first, first, last: first };
    Some(present.fold(start, |so_far, value| Extremes { last: value, ..so_far.with(value) }))
}

fn extremes_of_all<T: Copy + PartialOrd>(values: &[T]) -> Option<Extremes<T>> {
    let (&first, &last) = (values.first()?, values.last()?);
    let start = Extremes { min: first, max: first, first, last };
    // Four parts side by side, since each comparison waits for the one before; joined in their order, so that of equal
    // ones the first still counts.
    let part = values.len() / 4;
    let (mut parts, (fourth, rest)) = ([start; 4], values[part * 3..].split_at(part));
    for (index, &last) in fourth.iter().enumerate() {
        let four = [values[index], values[part + index], values[2 * part + index], last];
        for (part, value) in parts.iter_mut().zip(four) {
            *part = part.with(value);
        }
    }
    let joined = parts.iter().fold(start, |so_far, part| so_far.with(part.min).with(part.max));
    Some(rest.iter().fold(joined, |so_far, &value| so_far.with(value)))
}

impl<T: Copy + PartialOrd> Extremes<T> {
    fn with(self, value: T) -> Extremes<T> {
        Extremes {
            min: if value < self.min { value } else { self.min },
            max: if value > self.max { value } else { self.max },
            ..self
        }
    }
}

/// The summary of a column; `None` when no row has a value.
pub fn summarize(column: &Column) -> Option<Summary> {
    let missing = column.valid.as_ref().map_or(0, |valid| valid.iter().filter(|valid| !**valid).count()) as u32;
    // Rows without a value hold zero and add nothing.
    let values = match &column.values {
        Values::Float(values) => SummaryValues::Float(extremes(column, values)?),
        Values::Integer(values) => SummaryValues::Integer(
            extremes(column, values)?,
            values.iter().fold(0, |sum, value| sum.wrapping_add(*value)),
        ),
        Values::Unsigned(values) => SummaryValues::Unsigned(
            extremes(column, values)?,
            values.iter().fold(0, |sum, value| sum.wrapping_add(*value)),
        ),
        Values::Boolean(values) => SummaryValues::Boolean(extremes(column, values)?),
        Values::String(_) => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

fn encode_summary(column: &Column, hints: codec::Hints, out: &mut Vec<u8>) {
    let summary = summarize(column).expect("a column of a block has a value");
    varint::put(out, u64::from(summary.missing));
    let mut coded = Vec::with_capacity(SUMMARY_CODED_BYTES);
    match summary.values {
        SummaryValues::Float(Extremes { min, max, first, last }) => {
            codec::encode_few_floats(hints, &[min, max, first, last], &mut coded);
            varint::put_bytes(out, &coded);
        }
        SummaryValues::Integer(Extremes { min, max, first, last }, sum) => {
            codec::encode_few_integers(&[min, max, first, last], &mut coded);
            varint::put_bytes(out, &coded);
            varint::put_signed(out, sum);
        }
        SummaryValues::Unsigned(Extremes { min, max, first, last }, sum) => {
            codec::encode_few_integers(&[min, max, first, last].map(|value| value as i64), &mut coded);
            varint::put_bytes(out, &coded);
            varint::put_signed(out, sum as i64);
        }
        SummaryValues::Boolean(Extremes { min, max, first, last }) => {
            out.push([min, max, first, last].iter().enumerate().map(|(bit, set)| u8::from(*set) << bit).sum());
        }
        SummaryValues::String => (),
    }
}

fn decode_summary(reader: &mut Reader<'_>, field_type: FieldType) -> Option<Summary> {
    let missing = reader.varint_u32()?;
    let mut four = || codec::decode(field_type, reader.bytes()?, 4).ok();
    let values = match field_type {
        FieldType::Float => match four()? {
            Values::Float(values) => SummaryValues::Float(as_extremes(&values)?),
            _ => return None,
        },
        FieldType::Integer => match four()? {
            Values::Integer(values) => SummaryValues::Integer(as_extremes(&values)?, reader.signed()?),
            _ => return None,
        },
        FieldType::Unsigned => match four()? {
            Values::Unsigned(values) => SummaryValues::Unsigned(as_extremes(&values)?, reader.signed()? as u64),
            _ => return None,
        },
        FieldType::Boolean => {
            let bits = reader.u8()?;
            let bit = |index: u8| bits >> index & 1 == 1;
            SummaryValues::Boolean(Extremes { min: bit(0), max: bit(1), first: bit(2), last: bit(3) })
        }
        FieldType::String => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

/// Past a summary that is not wanted.
fn skip_summary(reader: &mut Reader<'_>, field_type: FieldType) -> Option<()> {
    reader.varint_u32()?;
    match field_type {
        FieldType::Float => drop(reader.bytes()?),
        FieldType::Integer | FieldType::Unsigned => {
            reader.bytes()?;
            reader.signed()?;
        }
        FieldType::Boolean => drop(reader.u8()?),
        FieldType::String => (),
    }
    Some(())
}

fn as_extremes<T: Copy>(values: &[T]) -> Option<Extremes<T>> {
    let &[min, max, first, last] = values else { return None };
    Some(Extremes { min, max, first, last })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Values;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn of_equal_extremes_the_first_counts_with_gaps_and_without(
            values in proptest::collection::vec(
                prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(1.0), Just(-1.0), any::<f64>()],
                1..40,
            )
        ) {
            let bits = |extremes: Extremes<f64>| {
                let Extremes { min, max, first, last } = extremes;
                [min, max, first, last].map(f64::to_bits)
            };
            let whole = Column { values: Values::Float(values.clone()), valid: None };
            let gappy = Column { valid: Some(vec![true; values.len()]), ..whole.clone() };
            // The one with gaps goes value by value.
            prop_assert_eq!(extremes(&whole, &values).map(bits), extremes(&gappy, &values).map(bits));
        }
    }
}
