//! Writes a segment, streaming: memory is one buffer and the index.

use std::io;
use std::path::Path;

use hashbrown::HashMap;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::align_up;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::segment::BLOCK_ROWS_MAX;
use crate::segment::FOOTER_BYTES;
use crate::segment::FieldEntry;
use crate::segment::MAGIC;
use crate::segment::VERSION;
use crate::segment::codec;
use crate::stdx::varint;

/// Written at once; large enough that the disk, not the call, is the cost.
const BUFFER_BYTES: usize = 512 << 10;

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
    pending: Vec<u8>,
    /// Bytes already in the file; `pending` follows.
    written: u64,
    fields: Vec<FieldEntry>,
    field_ids: HashMap<FieldEntry, u32>,
    /// What the last block of each column taught, by its id.
    hints: Vec<codec::Hints>,
    blocks: Vec<u8>,
    block_count: u64,
    last_series: u32,
    rows: u64,
}

impl<P: Disk> SegmentWriter<P> {
    /// Creates the file.
    pub async fn create(platform: &P, path: &Path) -> io::Result<SegmentWriter<P>> {
        Ok(SegmentWriter {
            platform: platform.clone(),
            file: platform.create(path).await?,
            pending: Vec::new(),
            written: 0,
            fields: Vec::new(),
            field_ids: HashMap::new(),
            hints: Vec::new(),
            blocks: Vec::new(),
            block_count: 0,
            last_series: 0,
            rows: 0,
        })
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
        let ids: Vec<u32> = fields.iter().map(|field| self.field_id(measurement, field)).collect();
        let mut start = 0;
        while start < rows.times.len() {
            let end = rows.times.len().min(start + BLOCK_ROWS_MAX);
            if start == 0 && end == rows.times.len() {
                self.add_block(series, &ids, rows);
            } else {
                self.add_block(series, &ids, &rows.slice(start..end));
            }
            start = end;
            if self.pending.len() >= BUFFER_BYTES {
                self.write_whole_blocks().await?;
            }
        }
        Ok(())
    }

    fn field_id(&mut self, measurement: &Bytes, (name, field_type): &(Bytes, FieldType)) -> u32 {
        let entry = FieldEntry { measurement: measurement.clone(), name: name.clone(), field_type: *field_type };
        if let Some(&id) = self.field_ids.get(&entry) {
            return id;
        }
        let id = self.fields.len() as u32;
        self.fields.push(entry.clone());
        self.hints.push(codec::Hints::default());
        self.field_ids.insert(entry, id);
        id
    }

    fn add_block(&mut self, series: SeriesId, ids: &[u32], rows: &RowBlock) {
        let start = self.pending.len();
        self.pending.extend_from_slice(&[0; 4]);
        encode_block(ids, rows, &mut self.hints, &mut self.pending);
        let checksum = crc32fast::hash(&self.pending[start + 4..]);
        self.pending[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        let (first, last) = (rows.times[0], rows.times[rows.times.len() - 1]);
        varint::put(&mut self.blocks, u64::from(series.0 - self.last_series));
        varint::put(&mut self.blocks, rows.times.len() as u64);
        varint::put_signed(&mut self.blocks, first);
        varint::put(&mut self.blocks, last.wrapping_sub(first) as u64);
        varint::put(&mut self.blocks, (self.pending.len() - start) as u64);
        self.last_series = series.0;
        self.block_count += 1;
        self.rows += rows.times.len() as u64;
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
    pub async fn finish(mut self, shard: u16, number: u64) -> io::Result<SegmentSummary> {
        let index_offset = self.written + self.pending.len() as u64;
        let index = self.encode_index();
        self.pending.extend_from_slice(&index);
        let padded = align_up(self.pending.len() + FOOTER_BYTES);
        self.pending.resize(padded - FOOTER_BYTES, 0);
        let footer = self.footer(shard, number, index_offset, &index);
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
        varint::put(&mut index, self.block_count);
        index.extend_from_slice(&self.blocks);
        index
    }

    fn footer(&self, shard: u16, number: u64, index_offset: u64, index: &[u8]) -> [u8; FOOTER_BYTES] {
        let mut footer = [0; FOOTER_BYTES];
        footer[0..8].copy_from_slice(&MAGIC);
        footer[8..12].copy_from_slice(&VERSION.to_le_bytes());
        footer[12..16].copy_from_slice(&crc32fast::hash(index).to_le_bytes());
        footer[16..24].copy_from_slice(&index_offset.to_le_bytes());
        footer[24..32].copy_from_slice(&(index.len() as u64).to_le_bytes());
        footer[32..40].copy_from_slice(&self.rows.to_le_bytes());
        footer[40..48].copy_from_slice(&number.to_le_bytes());
        footer[48..50].copy_from_slice(&shard.to_le_bytes());
        let checksum = crc32fast::hash(&footer[..FOOTER_BYTES - 4]);
        footer[FOOTER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        footer
    }
}

fn encode_block(ids: &[u32], rows: &RowBlock, hints: &mut [codec::Hints], out: &mut Vec<u8>) {
    let present = || ids.iter().zip(&rows.columns).filter_map(|(id, column)| Some((id, column.as_ref()?)));
    varint::put(out, rows.times.len() as u64);
    varint::put(out, present().count() as u64);
    let mut coded = Vec::new();
    codec::encode_times(&rows.times, &mut coded);
    varint::put_bytes(out, &coded);
    for (id, column) in present() {
        varint::put(out, u64::from(*id));
        coded.clear();
        if let Some(valid) = &column.valid {
            codec::encode_valid(valid, &mut coded);
        }
        varint::put_bytes(out, &coded);
        coded.clear();
        codec::encode_with(&mut hints[*id as usize], &column.values, &mut coded);
        varint::put_bytes(out, &coded);
    }
}
