//! Writes a segment, streaming: memory is one buffer, one page, and some bytes for each page.

use std::io;
use std::path::Path;
use std::rc::Rc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::align_up;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::BLOCK_ROWS_MAX;
use crate::segment::FOOTER_BYTES;
use crate::segment::FieldEntry;
use crate::segment::MAGIC;
use crate::segment::SegmentId;
use crate::segment::VERSION;
use crate::segment::checksum;
use crate::segment::codec;
use crate::segment::codec::Effort;
use crate::segment::page::BlockEntry;
use crate::segment::page::PageBuilder;
use crate::stdx::varint;

/// Written at once; large enough that the disk, not the call, is the cost.
const BUFFER_BYTES: usize = 512 << 10;
/// A page ends with this length, or with so many bytes of blocks, so that they are one read.
const PAGE_BYTES: usize = 4 << 10;
const PAGE_BLOCK_BYTES: u64 = 512 << 10;

/// What a finished segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Rows.
    pub rows: u64,
    /// File size.
    pub bytes: u64,
}

/// A segment being written.
#[derive(Debug)]
pub struct SegmentWriter<P: Disk> {
    platform: P,
    file: P::File,
    id: SegmentId,
    pending: Vec<u8>,
    /// Bytes already in the file; `pending` follows.
    written: u64,
    fields: Vec<FieldEntry>,
    field_ids: HashMap<FieldEntry, u32>,
    effort: Effort,
    last: Named,
    /// What the last block of each column taught, by its id.
    hints: Vec<codec::Hints>,
    layouts: Vec<Box<[u32]>>,
    layout_ids: HashMap<Box<[u32]>, u32>,
    /// That of the last block, which mostly is that of the next.
    last_layout: u32,
    /// A column, for its length to be known before it is put down.
    coded: Vec<u8>,
    page: PageBuilder,
    /// Encoded, for the index.
    pages: Vec<u8>,
    page_count: u64,
    page_series: u32,
    series: RoaringBitmap,
    last_series: u32,
    blocks: u32,
    rows: u64,
    range: TimeRange,
}

/// What the rows added last were of: series of a measurement mostly have the same fields.
#[derive(Debug, Default)]
struct Named {
    measurement: Bytes,
    fields: Vec<(Bytes, FieldType)>,
    ids: Rc<[u32]>,
}

impl<P: Disk> SegmentWriter<P> {
    /// Creates the file; `effort` is that of all its blocks.
    pub async fn create(platform: &P, path: &Path, id: SegmentId, effort: Effort) -> io::Result<SegmentWriter<P>> {
        Ok(SegmentWriter {
            platform: platform.clone(),
            file: platform.create(path).await?,
            id,
            pending: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            fields: Vec::new(),
            field_ids: HashMap::new(),
            effort,
            last: Named::default(),
            hints: Vec::new(),
            layouts: Vec::new(),
            layout_ids: HashMap::new(),
            last_layout: 0,
            coded: Vec::new(),
            page: PageBuilder::default(),
            pages: Vec::new(),
            page_count: 0,
            page_series: 0,
            series: RoaringBitmap::new(),
            last_series: 0,
            blocks: 0,
            rows: 0,
            range: TimeRange::NEVER,
        })
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Makes a field known, with or without rows.
    pub fn declare(&mut self, entry: FieldEntry) -> u32 {
        if let Some(&id) = self.field_ids.get(&entry) {
            return id;
        }
        let id = self.fields.len() as u32;
        self.fields.push(entry.clone());
        self.hints.push(codec::Hints::new(self.effort));
        self.field_ids.insert(entry, id);
        id
    }

    /// Adds rows of a series, ascending in time, behind everything added before; `fields` names the columns.
    pub async fn add(
        &mut self,
        series: SeriesId,
        measurement: &Bytes,
        fields: &[(Bytes, FieldType)],
        rows: &RowBlock,
    ) -> io::Result<()> {
        assert!(series.0 >= self.last_series, "series come in order");
        let ids = self.ids(measurement, fields);
        let mut start = 0;
        while start < rows.times.len() {
            let end = rows.times.len().min(start + BLOCK_ROWS_MAX);
            if start == 0 && end == rows.times.len() {
                self.add_block(series, &ids, rows);
            } else {
                self.add_block(series, &ids, &rows.slice(start..end));
            }
            start = end;
            if self.page.bytes() >= PAGE_BYTES || self.page.block_bytes() >= PAGE_BLOCK_BYTES {
                self.end_page();
            }
            if self.pending.len() >= BUFFER_BYTES {
                self.write_whole_blocks().await?;
            }
        }
        Ok(())
    }

    fn ids(&mut self, measurement: &Bytes, fields: &[(Bytes, FieldType)]) -> Rc<[u32]> {
        if self.last.measurement != *measurement || self.last.fields != fields {
            let entry = |(name, field_type): &(Bytes, FieldType)| FieldEntry {
                measurement: measurement.clone(),
                name: name.clone(),
                field_type: *field_type,
            };
            let ids = fields.iter().map(|field| self.declare(entry(field))).collect();
            self.last = Named { measurement: measurement.clone(), fields: fields.to_vec(), ids };
        }
        self.last.ids.clone()
    }

    fn add_block(&mut self, series: SeriesId, ids: &[u32], rows: &RowBlock) {
        let layout = self.layout(ids, rows);
        let offset = self.bytes();
        let start = self.pending.len();
        self.pending.extend_from_slice(&[0; 4]);
        self.encode_block(ids, rows);
        let checksum = checksum(self.id, offset, &self.pending[start + 4..]);
        self.pending[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        let entry = BlockEntry {
            series: series.0,
            layout,
            rows: rows.times.len() as u32,
            range: TimeRange { min: rows.times[0], max: rows.times[rows.times.len() - 1] },
            offset,
            bytes: (self.pending.len() - start) as u32,
        };
        let hints = &self.hints;
        self.page.add(&entry, present(ids, rows).map(|(id, column)| (column, &hints[id as usize])));
        self.range = TimeRange { min: self.range.min.min(entry.range.min), max: self.range.max.max(entry.range.max) };
        if self.blocks == 0 || self.last_series != series.0 {
            self.series.insert(series.0);
        }
        self.last_series = series.0;
        self.blocks += 1;
        self.rows += rows.times.len() as u64;
    }

    /// What writing all columns with [`Effort::Cold`] would save, in percent; 0 if that was done, whatever it saved.
    fn packing_saves(&self) -> u16 {
        if self.effort == Effort::Cold {
            return 0;
        }
        let mut all = codec::Packing::default();
        self.hints.iter().for_each(|hints| all.add(hints.packing()));
        all.saves()
    }

    fn encode_block(&mut self, ids: &[u32], rows: &RowBlock) {
        let SegmentWriter { hints, pending, coded, .. } = self;
        coded.clear();
        codec::encode_times(&rows.times, coded);
        varint::put_bytes(pending, coded);
        for (id, column) in present(ids, rows) {
            coded.clear();
            codec::encode_with(&mut hints[id as usize], &column.values, coded);
            // A column that has a value in every row needs no map of them, however it came.
            let valid = column.valid.as_ref().filter(|valid| valid.contains(&false));
            if let Some(valid) = valid {
                let mut gaps = Vec::new();
                codec::encode_valid(valid, &mut gaps);
                pending.push(0);
                varint::put_bytes(pending, &gaps);
            }
            varint::put_bytes(pending, coded);
        }
    }

    fn layout(&mut self, ids: &[u32], rows: &RowBlock) -> u32 {
        let ids = || present(ids, rows).map(|(id, _)| id);
        let last = self.layouts.get(self.last_layout as usize);
        if last.is_some_and(|last| last.iter().copied().eq(ids())) {
            return self.last_layout;
        }
        let ids: Box<[u32]> = ids().collect();
        let next = self.layouts.len() as u32;
        self.last_layout = *self.layout_ids.entry(ids).or_insert_with_key(|ids| {
            self.layouts.push(ids.clone());
            next
        });
        self.last_layout
    }

    fn end_page(&mut self) {
        let Some(page) = self.page.take() else { return };
        let checksum = checksum(self.id, self.bytes(), &page.body);
        self.pending.extend_from_slice(&checksum.to_le_bytes());
        self.pending.extend_from_slice(&page.body);
        varint::put(&mut self.pages, u64::from(page.first_series - self.page_series));
        varint::put(&mut self.pages, page.block_bytes);
        varint::put(&mut self.pages, page.body.len() as u64 + 4);
        self.page_series = page.first_series;
        self.page_count += 1;
    }

    async fn write_whole_blocks(&mut self) -> io::Result<()> {
        let whole = self.pending.len() / BUFFER_BYTES * BUFFER_BYTES;
        for start in (0..whole).step_by(BUFFER_BYTES) {
            let mut buffer = self.platform.buffer(BUFFER_BYTES);
            buffer.copy_from_slice(&self.pending[start..start + BUFFER_BYTES]);
            self.file.write_at(buffer, self.written).await?;
            self.written += BUFFER_BYTES as u64;
        }
        self.pending.drain(..whole);
        Ok(())
    }

    /// Writes index and footer and makes the file durable (not its name).
    pub async fn finish(mut self) -> io::Result<SegmentSummary> {
        self.end_page();
        let index_offset = self.bytes();
        let index = self.encode_index();
        self.pending.extend_from_slice(&index);
        let padded = align_up(self.pending.len() + FOOTER_BYTES);
        self.pending.resize(padded - FOOTER_BYTES, 0);
        let footer = self.footer(index_offset, &index);
        self.pending.extend_from_slice(&footer);
        self.write_whole_blocks().await?;
        if !self.pending.is_empty() {
            let mut buffer = self.platform.buffer(self.pending.len());
            buffer.copy_from_slice(&self.pending);
            self.file.write_at(buffer, self.written).await?;
            self.written += self.pending.len() as u64;
        }
        self.file.sync().await?;
        self.file.close().await?;
        Ok(SegmentSummary { rows: self.rows, bytes: self.written })
    }

    fn encode_index(&self) -> Vec<u8> {
        let mut index = Vec::new();
        varint::put(&mut index, self.fields.len() as u64);
        for field in &self.fields {
            varint::put_bytes(&mut index, &field.measurement);
            varint::put_bytes(&mut index, &field.name);
            index.push(field.field_type as u8);
        }
        varint::put(&mut index, self.layouts.len() as u64);
        for layout in &self.layouts {
            varint::put(&mut index, layout.len() as u64);
            layout.iter().for_each(|&id| varint::put(&mut index, u64::from(id)));
        }
        varint::put(&mut index, self.page_count);
        index.extend_from_slice(&self.pages);
        let mut series = Vec::with_capacity(self.series.serialized_size());
        self.series.serialize_into(&mut series).expect("memory takes all that is written");
        varint::put_bytes(&mut index, &series);
        index
    }

    fn footer(&self, index_offset: u64, index: &[u8]) -> [u8; FOOTER_BYTES] {
        let mut footer = [0; FOOTER_BYTES];
        footer[0..8].copy_from_slice(&MAGIC);
        footer[8..12].copy_from_slice(&VERSION.to_le_bytes());
        footer[12..16].copy_from_slice(&checksum(self.id, index_offset, index).to_le_bytes());
        footer[16..24].copy_from_slice(&index_offset.to_le_bytes());
        footer[24..32].copy_from_slice(&(index.len() as u64).to_le_bytes());
        footer[32..40].copy_from_slice(&self.rows.to_le_bytes());
        footer[40..44].copy_from_slice(&self.blocks.to_le_bytes());
        footer[44..46].copy_from_slice(&self.id.shard.to_le_bytes());
        footer[46..48].copy_from_slice(&self.packing_saves().to_le_bytes());
        footer[48..56].copy_from_slice(&self.id.number.to_le_bytes());
        footer[56..64].copy_from_slice(&self.range.min.to_le_bytes());
        footer[64..72].copy_from_slice(&self.range.max.to_le_bytes());
        let checksum = crc32fast::hash(&footer[..FOOTER_BYTES - 4]);
        footer[FOOTER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        footer
    }
}

/// The columns with a value, and their ids.
fn present<'a>(ids: &'a [u32], rows: &'a RowBlock) -> impl Iterator<Item = (u32, &'a Column)> {
    let present = |(id, column): (&u32, &'a Option<Column>)| Some((*id, column.as_ref().filter(has_value)?));
    ids.iter().zip(&rows.columns).filter_map(present)
}

fn has_value(column: &&Column) -> bool {
    column.valid.as_ref().is_none_or(|valid| valid.contains(&true))
}
