//! Reads a segment. Everything is checked before it is believed.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use futures_lite::future;
use roaring::RoaringBitmap;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::names;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::CHECKSUM_BYTES;
use crate::segment::FOOTER_BYTES;
use crate::segment::FieldEntry;
use crate::segment::MAGIC;
use crate::segment::SegmentId;
use crate::segment::VERSION;
use crate::segment::VERSION_2;
use crate::segment::VERSION_3;
use crate::segment::cache::PageCache;
use crate::segment::checksum;
use crate::segment::codec;
use crate::segment::page::Block;
use crate::segment::page::BlockEntry;
use crate::segment::page::BlockSummary;
use crate::segment::page::Page;
use crate::segment::summary::Summary;
use crate::stdx::join::join_all;
use crate::stdx::varint::Reader;

/// Pages of the index read with one that follows the page before it.
const PAGES_AHEAD: usize = 15;

/// A segment, or a block of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The device failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// The bytes are not what was written.
    #[error("{path}: damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        offset: u64,
        /// Which check failed.
        what: &'static str,
    },
    /// Written by another version that is not read here.
    #[error("{path}: segment format {version} is none that this program reads, {VERSION_2} to {VERSION}")]
    Version {
        /// The file.
        path: String,
        /// Its version.
        version: u32,
    },
}

/// Where a page stands; its blocks lie between the page before and it.
#[derive(Clone, Copy, Debug)]
struct PagePlace {
    first_series: u32,
    bytes: u32,
    offset: u64,
    /// Where its blocks begin.
    blocks: u64,
}

/// An open segment with its index in memory.
#[derive(Debug)]
pub struct Segment<P: Disk> {
    path: PathBuf,
    file: P::File,
    id: SegmentId,
    rows: u64,
    blocks: u32,
    range: TimeRange,
    packing_saves: u16,
    version: u32,
    bytes: u64,
    /// Where in the file the index stands.
    index_place: Range<u64>,
    index: Index,
    cache: Rc<PageCache>,
    /// In the cache.
    number: u64,
    /// Set for a reader that goes through the file from its start: the page it read last and the blocks before it, and
    /// where they begin.
    stretch: Option<RefCell<(u64, Vec<u8>)>>,
    /// The page whose block was read last: when the next one is of it too, all are read at once.
    last_page: Cell<Option<usize>>,
    /// The page of the index asked for last.
    last_index_page: Cell<usize>,
    /// Offsets of blocks and pages found damaged in this run.
    quarantined: RefCell<BTreeSet<u64>>,
}

#[derive(Debug, Default)]
struct Index {
    fields: Vec<FieldEntry>,
    layouts: Vec<Box<[u32]>>,
    pages: Vec<PagePlace>,
    series: RoaringBitmap,
}

/// Which segment a path in a data directory names: a device may have put another one there, whole.
fn named(path: &Path) -> Option<SegmentId> {
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let (shard, number) = (names::parse_shard(&name(path.parent()?)?)?, names::parse_segment(&name(path)?)?);
    Some(SegmentId { shard, number })
}

impl<P: Disk> Segment<P> {
    /// Opens a finished segment and reads its index; pages come through `cache`.
    pub async fn open(platform: &P, path: &Path, cache: &Rc<PageCache>) -> Result<Segment<P>, SegmentError> {
        match Segment::open_once(platform, path, cache).await {
            // Perhaps it was read wrongly, once.
            Err(SegmentError::Damaged { .. }) => Segment::open_once(platform, path, cache).await,
            outcome => outcome,
        }
    }

    async fn open_once(platform: &P, path: &Path, cache: &Rc<PageCache>) -> Result<Segment<P>, SegmentError> {
        let name = path.display().to_string();
        let io_error = |error| SegmentError::Io { path: name.clone(), error };
        let file = platform.open(path).await.map_err(io_error)?;
        let bytes = file.size().await.map_err(io_error)?;
        let footer_offset = bytes.saturating_sub(FOOTER_BYTES as u64);
        let footer = file.read_at(footer_offset, FOOTER_BYTES).await.map_err(io_error)?;
        let footer = Footer::read(&footer, &name, footer_offset)?;
        let damaged = |what| SegmentError::Damaged { path: name.clone(), offset: footer.index_offset, what };
        if named(path).is_some_and(|named| named != footer.id) {
            return Err(damaged("the content of another segment"));
        }
        if footer.index_offset.checked_add(footer.index_bytes).is_none_or(|end| end > footer_offset) {
            return Err(damaged("index outside the file"));
        }
        let index = file.read_at(footer.index_offset, footer.index_bytes as usize).await.map_err(io_error)?;
        let expected = checksum(footer.id, footer.index_offset, &index);
        if index.len() as u64 != footer.index_bytes || expected != footer.index_checksum {
            return Err(damaged("index checksum"));
        }
        let index = Index::read(&mut Reader::new(&index), footer.index_offset).ok_or_else(|| damaged("index"))?;
        Ok(Segment {
            path: path.to_path_buf(),
            file,
            id: footer.id,
            rows: footer.rows,
            blocks: footer.blocks,
            range: footer.range,
            packing_saves: footer.packing_saves,
            version: footer.version,
            bytes,
            index_place: footer.index_offset..footer.index_offset + footer.index_bytes,
            index,
            number: cache.register(),
            cache: cache.clone(),
            stretch: None,
            last_page: Cell::new(None),
            last_index_page: Cell::new(usize::MAX),
            quarantined: RefCell::default(),
        })
    }

    /// The same segment for a reader that goes through it from its start: a page comes with its blocks in one read.
    pub fn in_stretches(self) -> Segment<P> {
        Segment { stretch: Some(RefCell::default()), ..self }
    }

    /// Its shard and number, from the footer.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Where in the file the index stands; zeros follow up to the footer.
    pub fn index_range(&self) -> Range<u64> {
        self.index_place.clone()
    }

    /// The bytes between index and footer.
    pub async fn padding(&self) -> Result<Vec<u8>, SegmentError> {
        let bytes = (self.bytes - FOOTER_BYTES as u64).saturating_sub(self.index_place.end);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.file.read_at(self.index_place.end, bytes).await.map_err(|error| self.io_error(error))
    }

    /// Where page `number` and its blocks stand: first byte of the blocks, first of the page, end.
    pub fn page_place(&self, number: usize) -> (u64, u64, u64) {
        let PagePlace { blocks, offset, bytes, .. } = self.index.pages[number];
        (blocks, offset, offset + u64::from(bytes))
    }

    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// First and last time in it; an empty range when it has no rows.
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// What writing it anew with [`codec::Effort::Cold`] would save of its columns, in percent, about.
    pub fn packing_saves(&self) -> u16 {
        self.packing_saves
    }

    /// Blocks in it.
    pub fn block_count(&self) -> u32 {
        self.blocks
    }

    /// File size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its columns, some perhaps without a value.
    pub fn fields(&self) -> &[FieldEntry] {
        &self.index.fields
    }

    /// The columns of a block: numbers of [`Segment::fields`].
    pub fn columns(&self, block: &BlockEntry) -> &[u32] {
        self.index.layouts.get(block.layout as usize).map_or(&[], |layout| layout)
    }

    /// Series with a row in it.
    pub fn series(&self) -> &RoaringBitmap {
        &self.index.series
    }

    /// Memory of its index, about.
    pub fn index_bytes(&self) -> usize {
        let Index { fields, layouts, pages, series } = &self.index;
        let names = fields.iter().map(|field| field.measurement.len() + field.name.len() + size_of::<FieldEntry>());
        let layouts = layouts.iter().map(|layout| layout.len() * 4 + 16);
        names.sum::<usize>() + layouts.sum::<usize>() + pages.len() * size_of::<PagePlace>() + series.serialized_size()
    }

    /// Pages of its index.
    pub fn page_count(&self) -> usize {
        self.index.pages.len()
    }

    /// One page of its index, in the order of the file; ends with an error for a damaged one.
    pub async fn page(&self, number: usize) -> Result<Rc<Page>, SegmentError> {
        let goes_on = self.last_index_page.replace(number).checked_add(1) == Some(number);
        if let Some(page) = self.cache.page(self.number, number as u32) {
            return Ok(page);
        }
        if !goes_on || self.stretch.is_some() {
            return self.read_page(number).await;
        }
        // Series by series: whoever reads on finds the next ones in memory. Some reads at once take hardly longer than
        // one, above all beside the writes of a flush.
        let page = self.read_page(number);
        let ahead = (number + 1..self.page_count()).take(PAGES_AHEAD);
        let ahead = ahead.filter(|&later| self.cache.page(self.number, later as u32).is_none());
        let ahead = join_all(ahead.map(|later| self.read_page(later)));
        future::zip(page, ahead).await.0
    }

    /// What is wrong with a page is told when it is asked for.
    async fn read_page(&self, number: usize) -> Result<Rc<Page>, SegmentError> {
        let place = self.index.pages[number];
        if let Some(stretch) = &self.stretch {
            let bytes = (place.offset - place.blocks) as usize + place.bytes as usize;
            let read = self.file.read_at(place.blocks, bytes).await.map_err(|error| self.io_error(error))?;
            stretch.replace((place.blocks, read));
        }
        let bytes = self.read_checked(place.offset, place.bytes as usize, "page checksum").await?;
        let Index { layouts, fields, .. } = &self.index;
        let body = &bytes[CHECKSUM_BYTES..];
        let page = Page::decode(self.version, body, place.blocks..place.offset, place.first_series, layouts, fields);
        let page = Rc::new(page.ok_or_else(|| self.damaged(place.offset, "page"))?);
        self.cache.keep_page(self.number, number as u32, page.clone());
        Ok(page)
    }

    /// The blocks of a series that overlap `range`, by time. Those of a damaged page are an error.
    pub async fn blocks_of(&self, series: SeriesId, range: TimeRange) -> Result<Vec<Block>, SegmentError> {
        let mut blocks = Vec::new();
        for number in self.pages_of(series) {
            blocks.extend(self.page(number).await?.blocks_of(series.0, range));
        }
        Ok(blocks)
    }

    /// As [`Segment::blocks_of`]; a damaged page is reported once and has no blocks from then on.
    pub async fn sound_blocks_of(&self, series: SeriesId, range: TimeRange) -> Result<Vec<Block>, SegmentError> {
        let mut blocks = Vec::new();
        for number in self.pages_of(series) {
            let offset = self.index.pages[number].offset;
            if self.quarantined.borrow().contains(&offset) {
                continue;
            }
            match self.page(number).await {
                Ok(page) => blocks.extend(page.blocks_of(series.0, range)),
                Err(error @ SegmentError::Damaged { .. }) => {
                    if self.quarantined.borrow_mut().insert(offset) {
                        tracing::error!("an index page and its blocks are left out of all answers: {error}");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(blocks)
    }

    fn pages_of(&self, series: SeriesId) -> Range<usize> {
        let pages = &self.index.pages;
        if !self.index.series.contains(series.0) {
            return 0..0;
        }
        // The page before the first that begins with the series may end with it.
        let start = pages.partition_point(|page| page.first_series < series.0).saturating_sub(1);
        start..pages.partition_point(|page| page.first_series <= series.0)
    }

    /// What is known of the columns of a block without reading it, in the order of [`Segment::columns`].
    pub fn summaries(&self, block: &Block) -> Option<Vec<Summary>> {
        block.summaries(self.columns(block), &self.index.fields)
    }

    /// What is known of the columns of a block called `names`, without reading it; `None` for a block that has few rows
    /// or is known to be damaged.
    pub fn summary(&self, block: &Block, names: &[Bytes]) -> Option<BlockSummary> {
        if self.quarantined.borrow().contains(&block.offset) {
            return None;
        }
        block.summary(self.columns(block), &self.index.fields, names)
    }

    /// Blocks and pages found damaged in this run.
    pub fn quarantined_count(&self) -> u64 {
        self.quarantined.borrow().len() as u64
    }

    /// As [`Segment::read`]; a damaged block is reported once and has no rows from then on, so that the rest of the
    /// data stays readable.
    pub async fn read_sound(&self, block: &BlockEntry, names: &[Bytes]) -> Result<RowBlock, SegmentError> {
        let none = || RowBlock { times: Vec::new(), columns: vec![None; names.len()] };
        if self.quarantined.borrow().contains(&block.offset) {
            return Ok(none());
        }
        match self.read(block, names).await {
            Err(error @ SegmentError::Damaged { .. }) => {
                if self.quarantined.borrow_mut().insert(block.offset) {
                    let BlockEntry { series, rows, range, .. } = *block;
                    tracing::error!(
                        series,
                        rows,
                        from = range.min,
                        to = range.max,
                        "a block is left out of all answers: {error}"
                    );
                }
                Ok(none())
            }
            outcome => outcome,
        }
    }

    /// The rows of a block with the columns called `names`; rows with none of them are still there.
    pub async fn read(&self, block: &BlockEntry, names: &[Bytes]) -> Result<RowBlock, SegmentError> {
        let bytes = self.read_checked(block.offset, block.bytes as usize, "block checksum").await?;
        let rows =
            self.decode(block, &bytes[CHECKSUM_BYTES..], names).ok_or_else(|| self.damaged(block.offset, "block"))?;
        if rows.times.first() != Some(&block.range.min) || rows.times.last() != Some(&block.range.max) {
            return Err(self.damaged(block.offset, "block of other times"));
        }
        Ok(rows)
    }

    fn io_error(&self, error: io::Error) -> SegmentError {
        SegmentError::Io { path: self.path.display().to_string(), error }
    }

    pub(super) fn damaged(&self, offset: u64, what: &'static str) -> SegmentError {
        SegmentError::Damaged { path: self.path.display().to_string(), offset, what }
    }

    /// Checksum and all.
    pub(super) async fn read_checked(
        &self,
        offset: u64,
        bytes: usize,
        what: &'static str,
    ) -> Result<Vec<u8>, SegmentError> {
        let is_sound = |found: &[u8]| {
            let expected = found.first_chunk::<CHECKSUM_BYTES>().filter(|_| found.len() == bytes);
            let content = found.get(CHECKSUM_BYTES..).unwrap_or_default();
            expected == Some(&checksum(self.id, offset, content).to_le_bytes())
        };
        let found = self.read_bytes(offset, bytes).await.map_err(|error| self.io_error(error))?;
        if is_sound(&found) {
            return Ok(found);
        }
        // Perhaps it was read wrongly, once.
        let found = self.file.read_at(offset, bytes).await.map_err(|error| self.io_error(error))?;
        if is_sound(&found) { Ok(found) } else { Err(self.damaged(offset, what)) }
    }

    async fn read_bytes(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let held = self.stretch.as_ref().and_then(|stretch| {
            let (start, held) = &*stretch.borrow();
            let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
            held.get(from..from.checked_add(bytes)?).map(<[u8]>::to_vec)
        });
        if let Some(held) = held {
            return Ok(held);
        }
        let number = self.index.pages.partition_point(|page| page.blocks <= offset).saturating_sub(1);
        let Some(place) = self.index.pages.get(number).filter(|page| offset < page.offset) else {
            return self.file.read_at(offset, bytes).await;
        };
        let part = |blocks: &[u8]| {
            let from = (offset - place.blocks) as usize;
            blocks.get(from..from + bytes).map(<[u8]>::to_vec)
        };
        if let Some(found) = self.cache.blocks(self.number, number as u32).and_then(|blocks| part(&blocks)) {
            return Ok(found);
        }
        if self.last_page.replace(Some(number)) != Some(number) {
            return self.file.read_at(offset, bytes).await;
        }
        // Series by series: whoever reads on finds the rest of the page's blocks in memory.
        let blocks = Rc::new(self.file.read_at(place.blocks, (place.offset - place.blocks) as usize).await?);
        self.cache.keep_blocks(self.number, number as u32, blocks.clone());
        Ok(part(&blocks).unwrap_or_default())
    }

    /// First and last time of a block as its times are coded with: those of version 2 stand for themselves.
    pub(super) fn coded_range(&self, block: &BlockEntry) -> TimeRange {
        let min = if self.version == VERSION_2 { 0 } else { block.range.min };
        TimeRange { min, max: block.range.max }
    }

    /// The next column of a block: which rows have a value, if not all; the values.
    pub(super) fn coded_column<'a>(&self, reader: &mut Reader<'a>) -> Option<(Option<&'a [u8]>, &'a [u8])> {
        let head = reader.varint()?;
        let (has_gaps, length) = if self.version == VERSION_2 { (head & 1 == 1, head >> 1) } else { (head == 0, head) };
        let gaps = if has_gaps { Some(reader.bytes()?) } else { None };
        let length = if head == 0 { reader.varint()? } else { length };
        Some((gaps, reader.take(usize::try_from(length).ok()?)?))
    }

    fn decode(&self, block: &BlockEntry, body: &[u8], names: &[Bytes]) -> Option<RowBlock> {
        let mut reader = Reader::new(body);
        let rows = block.rows as usize;
        let times = codec::decode_times(reader.bytes()?, self.coded_range(block), rows).ok()?;
        let mut found: Vec<Option<Column>> = vec![None; names.len()];
        for &column in self.columns(block) {
            let field = self.index.fields.get(column as usize)?;
            let (gaps, values) = self.coded_column(&mut reader)?;
            let Some(index) = names.iter().position(|name| *name == field.name) else { continue };
            let valid = gaps.map(|gaps| codec::decode_valid(gaps, rows)).transpose().ok()?;
            let values = codec::decode(field.field_type, values, rows).ok()?;
            found[index] = Some(Column { values, valid });
        }
        reader.is_empty().then_some(RowBlock { times, columns: found })
    }
}

struct Footer {
    version: u32,
    id: SegmentId,
    index_checksum: u32,
    index_offset: u64,
    index_bytes: u64,
    rows: u64,
    blocks: u32,
    packing_saves: u16,
    range: TimeRange,
}

impl Footer {
    fn read(bytes: &[u8], path: &str, offset: u64) -> Result<Footer, SegmentError> {
        let damaged = |what| SegmentError::Damaged { path: path.to_owned(), offset, what };
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("footer cut short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged("footer checksum"));
        }
        let mut reader = Reader::new(body);
        let mut fields = || {
            let magic = reader.take(8)?;
            let version = reader.u32()?;
            let (index_checksum, index_offset, index_bytes) = (reader.u32()?, reader.u64()?, reader.u64()?);
            let (rows, blocks, shard) = (reader.u64()?, reader.u32()?, reader.u16()?);
            let packing_saves = reader.u16()?;
            let id = SegmentId { shard, number: reader.u64()? };
            let range = TimeRange { min: reader.u64()? as i64, max: reader.u64()? as i64 };
            let footer =
                Footer { version, id, index_checksum, index_offset, index_bytes, rows, blocks, packing_saves, range };
            Some((magic, footer))
        };
        let (magic, footer) = fields().ok_or_else(|| damaged("footer cut short"))?;
        if magic != MAGIC {
            return Err(damaged("not a segment"));
        }
        if ![VERSION_2, VERSION_3, VERSION].contains(&footer.version) {
            return Err(SegmentError::Version { path: path.to_owned(), version: footer.version });
        }
        Ok(footer)
    }
}

impl Index {
    fn read(reader: &mut Reader<'_>, pages_end: u64) -> Option<Index> {
        let mut index = Index::default();
        for _ in 0..reader.varint()? {
            index.fields.push(FieldEntry {
                measurement: reader.bytes()?.into(),
                name: reader.bytes()?.into(),
                field_type: FieldType::from_code(reader.u8()?)?,
            });
        }
        for _ in 0..reader.varint()? {
            let count = reader.varint()?;
            let columns = (0..count).map(|_| reader.varint_u32()).collect::<Option<Box<[u32]>>>()?;
            columns.iter().all(|&column| (column as usize) < index.fields.len()).then_some(())?;
            index.layouts.push(columns);
        }
        let (mut first_series, mut blocks) = (0_u32, 0_u64);
        for _ in 0..reader.varint()? {
            first_series = first_series.checked_add(reader.varint_u32()?)?;
            let offset = blocks.checked_add(reader.varint()?)?;
            let bytes = reader.varint_u32()?;
            index.pages.push(PagePlace { first_series, bytes, offset, blocks });
            blocks = offset.checked_add(u64::from(bytes))?;
        }
        index.series = RoaringBitmap::deserialize_from(reader.bytes()?).ok()?;
        (reader.is_empty() && blocks == pages_end).then_some(index)
    }
}
