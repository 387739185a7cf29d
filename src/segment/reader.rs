//! Reads a segment. Everything is checked before it is believed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::disk::File;
use crate::model::Bytes;
use crate::model::Column;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::segment::CHECKSUM_BYTES;
use crate::segment::FOOTER_BYTES;
use crate::segment::FieldEntry;
use crate::segment::MAGIC;
use crate::segment::VERSION;
use crate::segment::codec;
use crate::stdx::varint::Reader;

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
    /// Written by a later version.
    #[error("{path}: segment format {version} is newer than this program")]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        version: u32,
    },
}

/// Where one block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Its series.
    pub series: u32,
    /// Rows.
    pub rows: u32,
    /// First and last time.
    pub range: TimeRange,
    /// Position in the file.
    pub offset: u64,
    /// Length, checksum included.
    pub bytes: u32,
}

/// An open segment with its index in memory.
#[derive(Debug)]
pub struct Segment<P: Disk> {
    path: PathBuf,
    file: P::File,
    number: u64,
    shard: u16,
    rows: u64,
    bytes: u64,
    /// Where in the file the index stands.
    index: Range<u64>,
    fields: Vec<FieldEntry>,
    blocks: Vec<BlockEntry>,
    /// Offsets of blocks found damaged in this run.
    quarantined: RefCell<BTreeSet<u64>>,
}

impl<P: Disk> Segment<P> {
    /// Opens a finished segment and reads its index.
    pub async fn open(platform: &P, path: &Path) -> Result<Segment<P>, SegmentError> {
        let name = path.display().to_string();
        let io_error = |error| SegmentError::Io { path: name.clone(), error };
        let file = platform.open(path).await.map_err(io_error)?;
        let bytes = file.size().await.map_err(io_error)?;
        let footer_offset = bytes.saturating_sub(FOOTER_BYTES as u64);
        let footer = file.read_at(footer_offset, FOOTER_BYTES).await.map_err(io_error)?;
        let footer = Footer::read(&footer, &name, footer_offset)?;
        let damaged = |what| SegmentError::Damaged { path: name.clone(), offset: footer.index_offset, what };
        if footer.index_offset.checked_add(footer.index_bytes).is_none_or(|end| end > footer_offset) {
            return Err(damaged("index outside the file"));
        }
        let index = file.read_at(footer.index_offset, footer.index_bytes as usize).await.map_err(io_error)?;
        if index.len() as u64 != footer.index_bytes || crc32fast::hash(&index) != footer.index_checksum {
            return Err(damaged("index checksum"));
        }
        let (fields, blocks) =
            read_index(&mut Reader::new(&index), footer.index_offset).ok_or_else(|| damaged("index"))?;
        Ok(Segment {
            path: path.to_path_buf(),
            file,
            number: footer.number,
            shard: footer.shard,
            rows: footer.rows,
            bytes,
            index: footer.index_offset..footer.index_offset + footer.index_bytes,
            fields,
            blocks,
            quarantined: RefCell::default(),
        })
    }

    /// Its number, from the footer.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The shard it was written for, from the footer.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Where in the file the index stands; zeros follow up to the footer.
    pub fn index_range(&self) -> Range<u64> {
        self.index.clone()
    }

    /// The bytes between index and footer.
    pub async fn padding(&self) -> Result<Vec<u8>, SegmentError> {
        let bytes = (self.bytes - FOOTER_BYTES as u64).saturating_sub(self.index.end);
        let error = |error| SegmentError::Io { path: self.path.display().to_string(), error };
        self.file.read_at(self.index.end, usize::try_from(bytes).unwrap_or(usize::MAX)).await.map_err(error)
    }

    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// File size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its columns.
    pub fn fields(&self) -> &[FieldEntry] {
        &self.fields
    }

    /// All blocks, by series and time.
    pub fn blocks(&self) -> &[BlockEntry] {
        &self.blocks
    }

    /// The blocks of a series that overlap `range`, by time.
    pub fn blocks_of(&self, series: SeriesId, range: TimeRange) -> &[BlockEntry] {
        let start = self.blocks.partition_point(|block| block.series < series.0);
        let end = start + self.blocks[start..].partition_point(|block| block.series == series.0);
        let blocks = &self.blocks[start..end];
        let first = blocks.partition_point(|block| block.range.max < range.min);
        let last = blocks.partition_point(|block| block.range.min <= range.max);
        &blocks[first.min(last)..last]
    }

    /// Blocks found damaged in this run.
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
        let bytes = self.checked(block).await?;
        let damaged =
            |what| SegmentError::Damaged { path: self.path.display().to_string(), offset: block.offset, what };
        let rows = self.decode(&bytes[CHECKSUM_BYTES..], names).ok_or_else(|| damaged("block"))?;
        if rows.times.len() != block.rows as usize {
            return Err(damaged("block of another length"));
        }
        Ok(rows)
    }

    /// A block whose checksum holds, with the checksum before it.
    pub(super) async fn checked(&self, block: &BlockEntry) -> Result<Vec<u8>, SegmentError> {
        let bytes = self
            .file
            .read_at(block.offset, block.bytes as usize)
            .await
            .map_err(|error| SegmentError::Io { path: self.path.display().to_string(), error })?;
        let damaged =
            |what| SegmentError::Damaged { path: self.path.display().to_string(), offset: block.offset, what };
        let (checksum, body) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged("block cut short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged("block checksum"));
        }
        Ok(bytes)
    }

    fn decode(&self, body: &[u8], names: &[Bytes]) -> Option<RowBlock> {
        let mut reader = Reader::new(body);
        let rows = usize::try_from(reader.varint()?).ok()?;
        let columns = reader.varint()?;
        let times: Vec<Timestamp> = codec::decode_times(reader.bytes()?, rows).ok()?;
        let mut found: Vec<Option<Column>> = vec![None; names.len()];
        for _ in 0..columns {
            let field = self.fields.get(reader.varint_u32()? as usize)?;
            let (valid, values) = (reader.bytes()?, reader.bytes()?);
            let Some(index) = names.iter().position(|name| *name == field.name) else { continue };
            let valid = if valid.is_empty() { None } else { Some(codec::decode_valid(valid, rows).ok()?) };
            let values = codec::decode(field.field_type, values, rows).ok()?;
            found[index] = Some(Column { values, valid });
        }
        reader.is_empty().then_some(RowBlock { times, columns: found })
    }
}

struct Footer {
    index_checksum: u32,
    index_offset: u64,
    index_bytes: u64,
    rows: u64,
    number: u64,
    shard: u16,
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
            let footer = Footer {
                index_checksum: reader.u32()?,
                index_offset: reader.u64()?,
                index_bytes: reader.u64()?,
                rows: reader.u64()?,
                number: reader.u64()?,
                shard: reader.u16()?,
            };
            Some((magic, version, footer))
        };
        let (magic, version, footer) = fields().ok_or_else(|| damaged("footer cut short"))?;
        if magic != MAGIC {
            return Err(damaged("not a segment"));
        }
        if version > VERSION {
            return Err(SegmentError::Newer { path: path.to_owned(), version });
        }
        Ok(footer)
    }
}

fn read_index(reader: &mut Reader<'_>, blocks_end: u64) -> Option<(Vec<FieldEntry>, Vec<BlockEntry>)> {
    let count = reader.varint_u32()? as usize;
    let mut fields = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        fields.push(FieldEntry {
            measurement: reader.bytes()?.into(),
            name: reader.bytes()?.into(),
            field_type: FieldType::from_code(reader.u8()?)?,
        });
    }
    let count = usize::try_from(reader.varint()?).ok()?;
    let mut blocks = Vec::with_capacity(count.min(reader.rest().len()));
    let (mut series, mut offset) = (0_u32, 0_u64);
    for _ in 0..count {
        series = series.checked_add(reader.varint_u32()?)?;
        let rows = reader.varint_u32()?;
        let min = reader.signed()?;
        let max = min.wrapping_add(reader.varint()? as i64);
        let bytes = reader.varint_u32()?;
        blocks.push(BlockEntry { series, rows, range: TimeRange { min, max }, offset, bytes });
        offset = offset.checked_add(u64::from(bytes))?;
    }
    (reader.is_empty() && offset == blocks_end).then_some((fields, blocks))
}
