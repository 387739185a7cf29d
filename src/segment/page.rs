//! The index of a segment, in pages: where each block stands and what its columns hold in short.
//!
//! ```text
//! page     crc32 u32, as of a block | blocks: count varint | entry of each
//! entry    series varint (from the one before; first of the page: from the index) | layout varint | rows varint
//!          | first time signed, span signed (both from the entry before) | bytes varint
//!          | with SUMMARY_ROWS_MIN rows or more, of each column: rows without a value varint | summary
//! summary  integers: four | sum less min * count varint
//!          floats: places u8 | four, of the values * 10^places;  or 255 u8 | min, max, first, last: 8 bytes each
//!          booleans: bits 0 to 3 are min, max, first, last;  strings: nothing
//! four     min signed | max, first, last, each less min: varint                                (all of it wraps)
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
use crate::segment::VERSION_2;
use crate::segment::codec;
use crate::stdx::varint;
use crate::stdx::varint::Reader;
use crate::stdx::wide::Work;
use crate::stdx::wide::wide;

/// A block with fewer rows is decoded as quickly as its summary would be looked up.
pub const SUMMARY_ROWS_MIN: usize = 64;

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

    /// Reads a page whose checksum holds. Its blocks begin at `offset`, its first series is `series`; `version`,
    /// `layouts` and `fields` are those of the segment.
    pub fn decode(
        version: u32,
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
                for &column in columns {
                    let field_type = fields.get(column as usize)?.field_type;
                    if version == VERSION_2 {
                        let summary = decode_summary_2(&mut reader, field_type)?;
                        let is_sound = summary.missing <= rows;
                        is_sound.then_some(())?;
                        encode_summary(&summary, rows, &codec::Hints::default(), &mut page.summaries);
                        continue;
                    }
                    let start = reader.rest();
                    decode_summary(&mut reader, field_type, rows)?;
                    page.summaries.extend_from_slice(&start[..start.len() - reader.rest().len()]);
                }
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
        let field_type = |column: u32| Some(fields.get(column as usize)?.field_type);
        columns.iter().map(|&column| decode_summary(&mut reader, field_type(column)?, self.rows)).collect()
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
                    found[index] = Some(decode_summary(&mut reader, field.field_type, self.rows)?);
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
    /// Adds a block; `columns` are those of its layout, each with its hints.
    pub fn add<'a>(&mut self, entry: &BlockEntry, columns: impl Iterator<Item = (&'a Column, &'a codec::Hints)>) {
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
            for (column, hints) in columns {
                let summary = summarize(column).expect("a column of a block has a value");
                encode_summary(&summary, entry.rows, hints, &mut self.bytes);
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
fn extremes<T: Copy + PartialOrd + Default>(column: &Column, values: &[T]) -> Option<Extremes<T>> {
    if column.valid.is_none() {
        return extremes_of_all(values);
    }
    let mut present = values.iter().enumerate().filter(|(row, _)| column.is_valid(*row)).map(|(_, value)| *value);
    let first = present.next()?;
    let start = Extremes { min: first, max: first, first, last: first };
    Some(present.fold(start, |so_far, value| Extremes { last: value, ..so_far.with(value) }))
}

/// Compared side by side, since each comparison waits for the one before.
const LANES: usize = 16;

fn extremes_of_all<T: Copy + PartialOrd + Default>(values: &[T]) -> Option<Extremes<T>> {
    let (&first, &last) = (values.first()?, values.last()?);
    let (min, max) = match values.last_chunk() {
        // Those that it has twice change nothing.
        Some(end) => wide(Lanes { first, rows: values.as_chunks().0, end }),
        None => values.iter().fold((first, first), |(min, max), &value| (smaller(value, min), larger(value, max))),
    };
    // Equal ones are the same but for the zeros of floats, of which the first counts.
    let first_of = |extreme: T| {
        let same = |value: &&T| **value == extreme;
        if extreme == T::default() { values.iter().find(same).copied().unwrap_or(extreme) } else { extreme }
    };
    Some(Extremes { min: first_of(min), max: first_of(max), first, last })
}

/// What [`extremes`] answers, and the sum, if all rows have a value and these are near each other.
fn near_extremes(column: &Column, values: &[i64]) -> Option<(Extremes<i64>, i64)> {
    if column.valid.is_some() {
        return None;
    }
    let (&first, &last) = (values.first()?, values.last()?);
    let codec::Near { min, max, sum } = codec::near(values)?;
    // Where they are on both sides of the end of the integers the smallest is not the nearest below.
    let (min, max) = (first.checked_add(min.into())?, first.checked_add(max.into())?);
    Some((Extremes { min, max, first, last }, sum))
}

/// Smallest and largest of some rows and the last one.
struct Lanes<'a, T> {
    first: T,
    rows: &'a [[T; LANES]],
    end: &'a [T; LANES],
}

impl<T: Copy + PartialOrd> Work for Lanes<'_, T> {
    type Answer = (T, T);

    #[inline(always)]
    fn run(self) -> (T, T) {
        let (mut mins, mut maxs) = ([self.first; LANES], [self.first; LANES]);
        for row in self.rows.iter().chain([self.end]) {
            for lane in 0..LANES {
                mins[lane] = smaller(row[lane], mins[lane]);
                maxs[lane] = larger(row[lane], maxs[lane]);
            }
        }
        let mut lanes = LANES;
        while lanes > 1 {
            lanes /= 2;
            for lane in 0..lanes {
                mins[lane] = smaller(mins[lane + lanes], mins[lane]);
                maxs[lane] = larger(maxs[lane + lanes], maxs[lane]);
            }
        }
        (mins[0], maxs[0])
    }
}

/// The second unless the first is smaller.
#[inline(always)]
fn smaller<T: PartialOrd>(value: T, min: T) -> T {
    if value < min { value } else { min }
}

#[inline(always)]
fn larger<T: PartialOrd>(value: T, max: T) -> T {
    if value > max { value } else { max }
}

impl<T: Copy + PartialOrd> Extremes<T> {
    fn with(self, value: T) -> Extremes<T> {
        Extremes { min: smaller(value, self.min), max: larger(value, self.max), ..self }
    }
}

/// The summary of a column; `None` when no row has a value.
pub fn summarize(column: &Column) -> Option<Summary> {
    let missing = column.valid.as_ref().map_or(0, |valid| valid.iter().filter(|valid| !**valid).count()) as u32;
    // Rows without a value hold zero and add nothing.
    let values = match &column.values {
        Values::Float(values) => SummaryValues::Float(extremes(column, values)?),
        Values::Integer(values) => match near_extremes(column, values) {
            Some((extremes, sum)) => SummaryValues::Integer(extremes, sum),
            None => {
                let sum = values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
                SummaryValues::Integer(extremes(column, values)?, sum)
            }
        },
        Values::Unsigned(values) => {
            let sum = wide(|| values.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value)));
            SummaryValues::Unsigned(extremes(column, values)?, sum)
        }
        Values::Boolean(values) => SummaryValues::Boolean(extremes(column, values)?),
        Values::String(_) => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

/// Instead of decimal places: the floats are not decimals.
const FLOAT_BITS: u8 = u8::MAX;
const FLOAT_BITS_BYTES: usize = 32;

/// `rows` are those of the block, `hints` those of the column.
fn encode_summary(summary: &Summary, rows: u32, hints: &codec::Hints, out: &mut Vec<u8>) {
    varint::put(out, u64::from(summary.missing));
    let count = i64::from(rows - summary.missing);
    match summary.values {
        SummaryValues::Float(Extremes { min, max, first, last }) => {
            let values = [min, max, first, last];
            match codec::decimals(hints, &values) {
                Some((places, decimals)) => {
                    out.push(places);
                    encode_four(decimals, out);
                }
                None => {
                    out.push(FLOAT_BITS);
                    out.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
                }
            }
        }
        SummaryValues::Integer(extremes, sum) => encode_integers(extremes, sum, count, out),
        SummaryValues::Unsigned(extremes, sum) => {
            encode_integers(extremes.map(|value| value as i64), sum as i64, count, out);
        }
        SummaryValues::Boolean(Extremes { min, max, first, last }) => {
            out.push([min, max, first, last].iter().enumerate().map(|(bit, set)| u8::from(*set) << bit).sum());
        }
        SummaryValues::String => (),
    }
}

fn encode_integers(Extremes { min, max, first, last }: Extremes<i64>, sum: i64, count: i64, out: &mut Vec<u8>) {
    encode_four([min, max, first, last], out);
    varint::put(out, sum.wrapping_sub(min.wrapping_mul(count)) as u64);
}

fn encode_four([min, others @ ..]: [i64; 4], out: &mut Vec<u8>) {
    varint::put_signed(out, min);
    others.iter().for_each(|value| varint::put(out, value.wrapping_sub(min) as u64));
}

fn decode_four(reader: &mut Reader<'_>) -> Option<Extremes<i64>> {
    let min = reader.signed()?;
    let mut next = || Some(min.wrapping_add(reader.varint()? as i64));
    Some(Extremes { min, max: next()?, first: next()?, last: next()? })
}

/// `rows` are those of the block.
fn decode_summary(reader: &mut Reader<'_>, field_type: FieldType, rows: u32) -> Option<Summary> {
    let missing = reader.varint_u32()?;
    let count = i64::from(rows.checked_sub(missing)?);
    let values = match field_type {
        FieldType::Float => SummaryValues::Float(match reader.u8()? {
            FLOAT_BITS => {
                let mut float = || Some(f64::from_bits(reader.u64()?));
                Extremes { min: float()?, max: float()?, first: float()?, last: float()? }
            }
            places => {
                let power = codec::power_of_ten(places)?;
                decode_four(reader)?.map(|decimal| decimal as f64 / power)
            }
        }),
        FieldType::Integer => {
            let extremes = decode_four(reader)?;
            SummaryValues::Integer(extremes, decode_sum(reader, extremes.min, count)?)
        }
        FieldType::Unsigned => {
            let extremes = decode_four(reader)?;
            let sum = decode_sum(reader, extremes.min, count)?;
            SummaryValues::Unsigned(extremes.map(|value| value as u64), sum as u64)
        }
        FieldType::Boolean => SummaryValues::Boolean(decode_booleans(reader)?),
        FieldType::String => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

/// A summary as it was in segments of version 2: numbers coded as a column, then the sum of integers.
fn decode_summary_2(reader: &mut Reader<'_>, field_type: FieldType) -> Option<Summary> {
    let missing = reader.varint_u32()?;
    let mut four = || codec::decode(field_type, reader.bytes()?, 4).ok();
    let values = match field_type {
        FieldType::Float | FieldType::Integer | FieldType::Unsigned => match four()? {
            Values::Float(values) => SummaryValues::Float(as_extremes(&values)?),
            Values::Integer(values) => SummaryValues::Integer(as_extremes(&values)?, reader.signed()?),
            Values::Unsigned(values) => SummaryValues::Unsigned(as_extremes(&values)?, reader.signed()? as u64),
            _ => return None,
        },
        FieldType::Boolean => SummaryValues::Boolean(decode_booleans(reader)?),
        FieldType::String => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

fn as_extremes<T: Copy>(values: &[T]) -> Option<Extremes<T>> {
    let &[min, max, first, last] = values else { return None };
    Some(Extremes { min, max, first, last })
}

fn decode_booleans(reader: &mut Reader<'_>) -> Option<Extremes<bool>> {
    let bits = reader.u8()?;
    let bit = |index: u8| bits >> index & 1 == 1;
    Some(Extremes { min: bit(0), max: bit(1), first: bit(2), last: bit(3) })
}

/// Past a summary that is not wanted.
fn skip_summary(reader: &mut Reader<'_>, field_type: FieldType) -> Option<()> {
    reader.varint_u32()?;
    let number_count = match field_type {
        FieldType::Float if reader.u8()? == FLOAT_BITS => return reader.take(FLOAT_BITS_BYTES).map(drop),
        FieldType::Float => 4,
        FieldType::Integer | FieldType::Unsigned => 5,
        FieldType::Boolean => return reader.u8().map(drop),
        FieldType::String => 0,
    };
    (0..number_count).try_for_each(|_| reader.varint().map(drop))
}

fn decode_sum(reader: &mut Reader<'_>, min: i64, count: i64) -> Option<i64> {
    Some((reader.varint()? as i64).wrapping_add(min.wrapping_mul(count)))
}

impl<T> Extremes<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Extremes<U> {
        let Extremes { min, max, first, last } = self;
        Extremes { min: change(min), max: change(max), first: change(first), last: change(last) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Values;

    fn column() -> impl Strategy<Value = Column> {
        let float = prop_oneof![
            (-3000_i32..3000).prop_map(|hundredths| f64::from(hundredths) / 100.0),
            any::<u64>().prop_map(f64::from_bits),
            Just(-0.0),
            Just(f64::MAX),
        ];
        let values = prop_oneof![
            prop::collection::vec(float, 1..90).prop_map(Values::Float),
            prop::collection::vec(-9_i64..9, 1..90).prop_map(Values::Integer),
            prop::collection::vec(any::<i64>(), 1..90).prop_map(Values::Integer),
            prop::collection::vec(any::<u64>(), 1..90).prop_map(Values::Unsigned),
            prop::collection::vec(any::<bool>(), 1..90).prop_map(Values::Boolean),
        ];
        (values, 0_usize..5).prop_map(|(values, gap)| {
            let count = values.len();
            // Row 0 has a value; rows without one hold zero, which matters to sums alone.
            let valid = (gap > 1).then(|| (0..count).map(|row| row % gap != 1).collect::<Vec<bool>>());
            Column { values, valid }
        })
    }

    /// Equal bits are equal, also those of NaN.
    fn bits(summary: Summary) -> String {
        match summary.values {
            SummaryValues::Float(extremes) => format!("{} {:x?}", summary.missing, extremes.map(f64::to_bits)),
            other => format!("{} {other:?}", summary.missing),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn summaries_read_back_bit_for_bit_and_can_be_skipped(columns in prop::collection::vec(column(), 1..6)) {
            let mut coded = Vec::new();
            for column in &columns {
                let summary = summarize(column).unwrap();
                encode_summary(&summary, column.values.len() as u32, &codec::Hints::default(), &mut coded);
            }
            let (mut read, mut skipped) = (Reader::new(&coded), Reader::new(&coded));
            for column in &columns {
                let (field_type, rows) = (column.values.field_type(), column.values.len() as u32);
                let found = decode_summary(&mut read, field_type, rows).unwrap();
                prop_assert_eq!(bits(found), bits(summarize(column).unwrap()));
                skip_summary(&mut skipped, field_type).unwrap();
                prop_assert_eq!(read.rest().len(), skipped.rest().len());
            }
            prop_assert!(read.is_empty());
        }

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

        #[test]
        fn integers_near_each_other_are_summed_up_as_any_also_at_the_end_of_the_integers(
            base in prop_oneof![Just(0), Just(i64::MAX), any::<i64>()],
            spread in prop_oneof![Just(9), Just(i64::from(i32::MAX)), Just(1 << 32)],
            steps in proptest::collection::vec(-1.0..1.0, 1..40),
        ) {
            let values: Vec<i64> =
                steps.iter().map(|step| base.wrapping_add((step * spread as f64) as i64)).collect();
            let whole = Column { values: Values::Integer(values), valid: None };
            let gappy = Column { valid: Some(vec![true; whole.values.len()]), ..whole.clone() };
            // The one with gaps goes value by value.
            prop_assert_eq!(summarize(&whole), summarize(&gappy));
        }
    }
}
