//! The index of a segment, in pages: where each block stands and what its columns hold in short.
//!
//! ```text
//! page     crc32 u32, as of a block | blocks: count varint | entry of each
//! entry    bits u8 | changes: one signed for each of bits 0 to 5 that is set
//!          | with SUMMARY_ROWS_MIN rows or more: if bit 6 is set, places u8 of each column of floats
//!          | if bit 7 is set, of each column rows without a value varint | numbers of each column
//! changes  series, less the one after that of the entry before (before the first: the page's first, from the index)
//!          | layout | rows | first time | span of the times | bytes of the block, each less that of the entry before
//!          (before the first: 0); times and spans wrap
//! numbers  integers: four | sum less min * count varint
//!          floats: four, of the values * 10^places;  or, where places are 255, min, max, first, last: 8 bytes each
//!          booleans: bits 0 to 3 are min, max, first, last;  strings: nothing
//! four     min signed | max, first, last, each less min: varint                                (all of it wraps)
//! ```
//!
//! A change that is not there is 0, and so are rows without a value; places that are not there are those said last in
//! the page. So mostly a byte and the change of its length are all that is said of a block before the numbers of its
//! columns.
//!
//! In memory and in files of version 3 the summary of a column is whole: rows without a value varint | places u8, of
//! floats | numbers.
//!
//! Sums of integers wrap as their addition does. Floats have none: their sum depends on the order of the additions, and
//! answers must be those of adding point by point.

use std::ops::Range;
use std::rc::Rc;

use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::segment::FieldEntry;
use crate::segment::VERSION;
use crate::segment::VERSION_2;
use crate::segment::codec;
use crate::segment::summary::FLOAT_BITS;
use crate::segment::summary::Summary;
use crate::segment::summary::decode_summary;
use crate::segment::summary::decode_summary_2;
use crate::segment::summary::encode_numbers;
use crate::segment::summary::encode_summary;
use crate::segment::summary::skip_numbers;
use crate::segment::summary::skip_summary;
use crate::segment::summary::summarize;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

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

/// Some blocks that follow each other in a file.
#[derive(Debug)]
pub struct Page {
    entries: Vec<BlockEntry>,
    /// Coded summaries, each of them whole, and where those of each entry begin.
    summaries: Vec<u8>,
    summary_starts: Vec<u32>,
}

impl Page {
    /// Its blocks, by series and time.
    pub fn entries(&self) -> &[BlockEntry] {
        &self.entries
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

    /// Reads a page whose checksum holds. Its blocks are at `blocks`, its first series is `series`; `version`,
    /// `layouts` and `fields` are those of the segment.
    pub fn decode(
        version: u32,
        body: &[u8],
        blocks: Range<u64>,
        series: u32,
        layouts: &[Box<[u32]>],
        fields: &[FieldEntry],
    ) -> Option<Page> {
        let mut reader = Reader::new(body);
        let count = usize::try_from(reader.varint()?).ok()?;
        let mut page = Page { entries: Vec::new(), summaries: Vec::new(), summary_starts: Vec::new() };
        page.entries.reserve(count.min(body.len()));
        let mut numbers = first_numbers(series);
        let mut places: &[u8] = &[];
        let mut offset = blocks.start;
        for _ in 0..count {
            let (bits, next) = match version {
                VERSION => decode_numbers(&mut reader, numbers)?,
                _ => (0, decode_numbers_3(&mut reader, numbers)?),
            };
            let entry = entry(next, offset)?;
            let columns = layouts.get(entry.layout as usize)?;
            // A column takes a byte of its block, so that summaries are not longer than the file.
            let is_sound = next[0] >= numbers[0]
                && entry.rows > 0
                && entry.range.min <= entry.range.max
                && entry.bytes as usize >= columns.len();
            is_sound.then_some(())?;
            numbers = next;
            offset = offset.checked_add(u64::from(entry.bytes)).filter(|end| *end <= blocks.end)?;
            page.summary_starts.push(page.summaries.len() as u32);
            page.entries.push(entry);
            if (entry.rows as usize) < SUMMARY_ROWS_MIN {
                continue;
            }
            let types = columns.iter().map(|&column| Some(fields.get(column as usize)?.field_type));
            let summaries = &mut page.summaries;
            match version {
                VERSION => copy_summaries(bits, &mut reader, types, entry.rows, &mut places, summaries)?,
                VERSION_2 => copy_summaries_2(&mut reader, types, entry.rows, summaries)?,
                _ => copy_summaries_3(&mut reader, types, entry.rows, summaries)?,
            }
        }
        page.summaries.shrink_to_fit();
        (reader.is_empty() && offset == blocks.end).then_some(page)
    }
}

/// What tells an entry from others: series, layout, rows, first time, span, bytes.
type Numbers = [i64; 6];
/// Of the bits of an entry, beside those of its numbers.
const PLACES: u8 = 1 << 6;
const MISSING: u8 = 1 << 7;

fn numbers(entry: &BlockEntry) -> Numbers {
    let BlockEntry { series, layout, rows, range, bytes, .. } = *entry;
    let span = range.max.wrapping_sub(range.min);
    [series.into(), layout.into(), rows.into(), range.min, span, bytes.into()]
}

/// As if of an entry before the first of a page that begins with `series`.
fn first_numbers(series: u32) -> Numbers {
    [series.into(), 0, 0, 0, 0, 0]
}

/// What the entry after one mostly says.
fn after([series, same @ ..]: Numbers) -> Numbers {
    let [layout, rows, first, span, bytes] = same;
    [series + 1, layout, rows, first, span, bytes]
}

fn entry([series, layout, rows, min, span, bytes]: Numbers, offset: u64) -> Option<BlockEntry> {
    let range = TimeRange { min, max: min.wrapping_add(span) };
    let small = |number: i64| u32::try_from(number).ok();
    Some(BlockEntry {
        series: small(series)?,
        layout: small(layout)?,
        rows: small(rows)?,
        range,
        offset,
        bytes: small(bytes)?,
    })
}

/// And the bits that come with them.
fn decode_numbers(reader: &mut Reader<'_>, before: Numbers) -> Option<(u8, Numbers)> {
    let bits = reader.u8()?;
    let mut numbers = after(before);
    for (bit, number) in numbers.iter_mut().enumerate() {
        if bits >> bit & 1 == 1 {
            *number = number.wrapping_add(reader.signed()?);
        }
    }
    Some((bits, numbers))
}

/// As they were in versions 2 and 3: series less that of the entry before, layout, rows, changes of first time and
/// span, bytes.
fn decode_numbers_3(reader: &mut Reader<'_>, [before, _, _, first, span, _]: Numbers) -> Option<Numbers> {
    let mut small = || reader.varint_u32().map(i64::from);
    let (series, layout, rows) = (before + small()?, small()?, small()?);
    let (first, span) = (first.wrapping_add(reader.signed()?), span.wrapping_add(reader.signed()?));
    Some([series, layout, rows, first, span, reader.varint_u32()?.into()])
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

/// Builds the pages of a segment.
#[derive(Debug, Default)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    count: u64,
    first_series: u32,
    before: Numbers,
    places_before: Vec<u8>,
    block_bytes: u64,
    coded: CodedSummaries,
}

/// The parts of an entry's summaries, and whether some row has no value.
#[derive(Debug, Default)]
struct CodedSummaries {
    places: Vec<u8>,
    missing: Vec<u8>,
    numbers: Vec<u8>,
    has_missing: bool,
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
            self.before = first_numbers(entry.series);
        }
        let PageBuilder { bytes, before, places_before, coded, .. } = self;
        let bits_at = bytes.len();
        bytes.push(0);
        let mut bits = 0;
        let numbers = numbers(entry);
        for (bit, (number, expected)) in numbers.into_iter().zip(after(*before)).enumerate() {
            if number != expected {
                bits |= 1 << bit;
                varint::put_signed(bytes, number.wrapping_sub(expected));
            }
        }
        *before = numbers;
        if entry.rows as usize >= SUMMARY_ROWS_MIN {
            coded.fill(entry.rows, columns);
            if coded.places != *places_before {
                bits |= PLACES;
                bytes.extend_from_slice(&coded.places);
                std::mem::swap(places_before, &mut coded.places);
            }
            if coded.has_missing {
                bits |= MISSING;
                bytes.extend_from_slice(&coded.missing);
            }
            bytes.extend_from_slice(&coded.numbers);
        }
        bytes[bits_at] = bits;
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

impl CodedSummaries {
    fn fill<'a>(&mut self, rows: u32, columns: impl Iterator<Item = (&'a Column, &'a codec::Hints)>) {
        let CodedSummaries { places, missing, numbers, has_missing } = self;
        [&mut *places, missing, numbers].into_iter().for_each(Vec::clear);
        *has_missing = false;
        for (column, hints) in columns {
            let summary = summarize(column).expect("a column of a block has a value");
            *has_missing |= summary.missing > 0;
            varint::put(missing, u64::from(summary.missing));
            places.extend(encode_numbers(&summary, rows, hints, numbers));
        }
    }
}

/// The summaries of an entry, made whole; `places` are those said last.
fn copy_summaries<'a>(
    bits: u8,
    reader: &mut Reader<'a>,
    types: impl Iterator<Item = Option<FieldType>> + Clone,
    rows: u32,
    places: &mut &'a [u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    if bits & PLACES != 0 {
        *places = reader.take(types.clone().filter(|field_type| *field_type == Some(FieldType::Float)).count())?;
    }
    let mut all_missing = *reader;
    if bits & MISSING != 0 {
        types.clone().try_for_each(|_| reader.varint().map(drop))?;
    }
    let mut places = places.iter();
    for field_type in types {
        let field_type = field_type?;
        let missing = if bits & MISSING != 0 { all_missing.varint_u32()? } else { 0 };
        varint::put(out, u64::from(missing));
        let places = if field_type == FieldType::Float { Some(*places.next()?) } else { None };
        out.extend(places);
        let numbers = reader.rest();
        skip_numbers(reader, field_type, places)?;
        out.extend_from_slice(&numbers[..numbers.len() - reader.rest().len()]);
        let has_power = |places: u8| places == FLOAT_BITS || codec::power_of_ten(places).is_some();
        (missing <= rows && places.is_none_or(has_power)).then_some(())?;
    }
    places.next().is_none().then_some(())
}

/// As they were in version 3: whole.
fn copy_summaries_3(
    reader: &mut Reader<'_>,
    mut types: impl Iterator<Item = Option<FieldType>>,
    rows: u32,
    out: &mut Vec<u8>,
) -> Option<()> {
    let start = reader.rest();
    types.try_for_each(|field_type| decode_summary(reader, field_type?, rows).map(drop))?;
    out.extend_from_slice(&start[..start.len() - reader.rest().len()]);
    Some(())
}

/// As they were in version 2: see [`decode_summary_2`].
fn copy_summaries_2(
    reader: &mut Reader<'_>,
    mut types: impl Iterator<Item = Option<FieldType>>,
    rows: u32,
    out: &mut Vec<u8>,
) -> Option<()> {
    types.try_for_each(|field_type| {
        let summary = decode_summary_2(reader, field_type?).filter(|summary| summary.missing <= rows)?;
        encode_summary(&summary, rows, &codec::Hints::default(), out);
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Values;
    use crate::segment::summary::tests::bits;

    fn field(field_type: FieldType) -> FieldEntry {
        FieldEntry { measurement: b"m".as_slice().into(), name: b"f".as_slice().into(), field_type }
    }

    /// Layouts of the fields, by their numbers, and those fields.
    fn layouts() -> (Vec<Box<[u32]>>, Vec<FieldEntry>) {
        let types = [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];
        let layouts = [&[0_u32][..], &[1], &[4, 2, 0], &[0, 0], &[3, 4]];
        (layouts.map(Box::from).to_vec(), types.map(field).to_vec())
    }

    fn column_of(field_type: FieldType, values: &[i64], missing: usize) -> Column {
        let floats = |value: &i64| if value % 50 == 7 { *value as f64 / 3.0 } else { *value as f64 / 100.0 };
        let values = match field_type {
            FieldType::Float => Values::Float(values.iter().map(floats).collect()),
            FieldType::Integer => Values::Integer(values.to_vec()),
            FieldType::Unsigned => Values::Unsigned(values.iter().map(|value| *value as u64).collect()),
            FieldType::Boolean => Values::Boolean(values.iter().map(|value| value & 1 == 1).collect()),
            FieldType::String => Values::String(values.iter().map(|_| Bytes::default()).collect()),
        };
        let rows = values.len();
        Column { values, valid: (missing > 0).then(|| (0..rows).map(|row| row == 0 || row > missing).collect()) }
    }

    /// A block and its columns.
    type Added = (BlockEntry, Vec<Column>);

    /// Blocks that mostly are as the one before, of the next series.
    fn blocks() -> impl Strategy<Value = Vec<Added>> {
        let mostly = |usual: u32, other: std::ops::Range<u32>| prop_oneof![4 => Just(usual), 1 => other];
        let times = prop_oneof![6 => Just((5, 100)), 1 => (any::<i64>(), 0_i64..1000), 1 => Just((i64::MIN, -1))];
        let rows = prop_oneof![4 => Just(70_u32), 1 => 1_u32..200];
        let block = (mostly(1, 0..9), mostly(0, 0..5), rows, times, mostly(200, 10..50_000), mostly(0, 0..60));
        prop::collection::vec((block, any::<i64>(), any::<bool>()), 1..40).prop_map(|blocks| {
            let (mut series, mut offset) = (7_u32, 1000);
            let mut add = |((step, layout, rows, (min, span), bytes, missing), seed, is_wild): (_, i64, _)| {
                let (min, span): (i64, i64) = (min, span);
                let range = TimeRange { min, max: min.saturating_add(span).max(min) };
                let range = if min == i64::MIN { TimeRange::ALWAYS } else { range };
                series += step;
                let entry = BlockEntry { series, layout, rows, range, offset, bytes };
                offset += u64::from(bytes);
                let value = |row: i64| if is_wild { seed.wrapping_mul(row) } else { 5000 + seed % 9 + row % 60 };
                let values: Vec<i64> = (0..i64::from(rows)).map(value).collect();
                let (layouts, fields) = layouts();
                let column = |id: &u32| column_of(fields[*id as usize].field_type, &values, missing as usize);
                (entry, layouts[layout as usize].iter().map(column).collect())
            };
            blocks.into_iter().map(&mut add).collect()
        })
    }

    fn built(blocks: &[Added]) -> BuiltPage {
        let mut builder = PageBuilder::default();
        let hints = codec::Hints::default();
        blocks.iter().for_each(|(entry, columns)| builder.add(entry, columns.iter().map(|column| (column, &hints))));
        builder.take().unwrap()
    }

    fn decoded(body: &[u8], page: &BuiltPage) -> Option<Page> {
        let (layouts, fields) = layouts();
        Page::decode(VERSION, body, 1000..1000 + page.block_bytes, page.first_series, &layouts, &fields)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_page_reads_back_whatever_changes_from_block_to_block(blocks in blocks()) {
            let page = built(&blocks);
            let read = Rc::new(decoded(&page.body, &page).unwrap());
            prop_assert!(read.entries().iter().eq(blocks.iter().map(|(entry, _)| entry)));
            let (layouts, fields) = layouts();
            for (index, (entry, columns)) in blocks.iter().enumerate() {
                let found = Block::new(read.clone(), index).summaries(&layouts[entry.layout as usize], &fields);
                let found: Option<Vec<String>> = found.map(|found| found.into_iter().map(bits).collect());
                let expected = columns.iter().map(|column| bits(summarize(column).unwrap())).collect();
                prop_assert_eq!(found, (entry.rows as usize >= SUMMARY_ROWS_MIN).then_some(expected));
            }
        }

        #[test]
        fn a_page_of_other_bytes_is_refused_or_is_some_page_of_no_more_room(
            blocks in blocks(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..9), 100),
        ) {
            let page = built(&blocks);
            for (place, byte, kind) in changes {
                let mut body = page.body.clone();
                let place = place.index(body.len());
                match kind {
                    0 => body.truncate(place),
                    1 => body.insert(place, byte),
                    2 | 3 => body[place] = byte,
                    _ => body[place] ^= 1 << (byte % 8),
                }
                let Some(read) = decoded(&body, &page).map(Rc::new) else { continue };
                prop_assert!(read.entries().len() <= body.len());
                prop_assert!(read.summaries.len() as u64 <= 2 * body.len() as u64 + page.block_bytes);
                let (layouts, fields) = layouts();
                for (index, entry) in read.entries().iter().enumerate() {
                    let found = Block::new(read.clone(), index).summaries(&layouts[entry.layout as usize], &fields);
                    prop_assert_eq!(found.is_some(), entry.rows as usize >= SUMMARY_ROWS_MIN);
                    prop_assert!(entry.range.min <= entry.range.max);
                }
                prop_assert!(read.entries().is_sorted_by_key(|entry| entry.series));
            }
        }
    }

    #[test]
    fn a_block_as_the_one_before_of_the_next_series_takes_two_bytes_and_its_numbers() {
        let range = TimeRange { min: 1_700_000_000_000_000_000, max: 1_700_000_005_000_000_000 };
        let values: Vec<i64> = (0..500).map(|row| 3000 + row % 60).collect();
        let block = |index: u32| {
            let (series, bytes) = (7 + index, 200 + index % 2 * 9);
            let entry = BlockEntry { series, layout: 0, rows: 500, range, offset: 0, bytes };
            (entry, vec![column_of(FieldType::Float, &values, 0)])
        };
        let blocks: Vec<Added> = (0..100).map(block).collect();
        let bytes = |count: usize| built(&blocks[..count]).body.len();
        let mut numbers = Vec::new();
        encode_numbers(&summarize(&blocks[0].1[0]).unwrap(), 500, &codec::Hints::default(), &mut numbers);
        assert_eq!(bytes(100) - bytes(1), 99 * (2 + numbers.len()));
    }

    #[test]
    fn a_page_whose_series_go_back_is_refused() {
        let (layouts, fields) = layouts();
        let page = |change: i64| {
            // Blocks of one row and four bytes.
            let mut body = vec![2, 0b10_0101];
            [-1, 1, 4].into_iter().for_each(|change| varint::put_signed(&mut body, change));
            body.push(1);
            varint::put_signed(&mut body, change);
            let page = Page::decode(VERSION, &body, 0..8, 5, &layouts, &fields)?;
            Some(page.entries().iter().map(|entry| entry.series).collect::<Vec<u32>>())
        };
        assert_eq!(page(1), Some(vec![5, 7]));
        assert_eq!(page(-1), Some(vec![5, 5]));
        assert_eq!(page(-2), None);
    }

    #[test]
    fn a_page_of_columns_without_numbers_takes_no_more_room_than_its_blocks() {
        // Strings have none, so that two bytes say a block of a thousand columns is like the one before.
        let (layouts, fields) = (vec![vec![0; 1000].into_boxed_slice()], vec![field(FieldType::String)]);
        let page = |bytes: u32| {
            let mut body = vec![2, 0b10_1101, 1];
            [64, 0].into_iter().for_each(|change| varint::put_signed(&mut body, change));
            varint::put_signed(&mut body, bytes.into());
            body.push(0);
            Page::decode(VERSION, &body, 0..u64::from(bytes) * 2, 0, &layouts, &fields)
        };
        assert!(page(999).is_none());
        assert_eq!(page(1000).unwrap().summaries.len(), 2000);
    }
}
