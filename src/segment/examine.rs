//! A block with everything in it: what a check has to look at and what a column takes.
//!
//! In:   a block of the index. Out: all its columns, decoded, each with its codec and its length in the file.

use crate::disk::Disk;
use crate::model::Column;
use crate::model::Timestamp;
use crate::segment::BlockEntry;
use crate::segment::CHECKSUM_BYTES;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::segment::codec;
use crate::stdx::varint::Reader;

/// A whole block.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Its times.
    pub times: Vec<Timestamp>,
    /// How they are coded.
    pub times_codec: &'static str,
    /// Bytes they take.
    pub times_bytes: u32,
    /// Its columns, in the order of the file.
    pub columns: Vec<ColumnEntry>,
}

/// A column of a block.
#[derive(Clone, Debug)]
pub struct ColumnEntry {
    /// Its number among the segment's fields.
    pub field: u32,
    /// How its values are coded.
    pub codec: &'static str,
    /// Bytes of its values.
    pub values_bytes: u32,
    /// Bytes that say which rows have a value.
    pub valid_bytes: u32,
    /// Its values.
    pub column: Column,
}

impl ColumnEntry {
    /// Rows with a value, of `row_count`.
    pub fn value_count(&self, row_count: usize) -> u64 {
        let valid = self.column.valid.as_ref();
        valid.map_or(row_count, |valid| valid.iter().filter(|&&is_valid| is_valid).count()) as u64
    }
}

impl<P: Disk> Segment<P> {
    /// Reads and decodes all of a block.
    pub async fn examine(&self, block: &BlockEntry) -> Result<Examined, SegmentError> {
        let bytes = self.read_checked(block.offset, block.bytes as usize, "block checksum").await?;
        self.examined(block, &bytes[CHECKSUM_BYTES..]).ok_or_else(|| self.damaged(block.offset, "block"))
    }

    fn examined(&self, block: &BlockEntry, body: &[u8]) -> Option<Examined> {
        let rows = block.rows as usize;
        let mut reader = Reader::new(body);
        let coded = reader.bytes()?;
        let times = codec::decode_times(coded, self.coded_range(block), rows).ok()?;
        let (times_codec, times_bytes) = (codec::times_name(coded), coded.len() as u32);
        let mut columns = Vec::new();
        for &id in self.columns(block) {
            let field_type = self.fields().get(id as usize)?.field_type;
            let (gaps, values) = self.coded_column(&mut reader)?;
            let column = Column {
                values: codec::decode(field_type, values, rows).ok()?,
                valid: gaps.map(|gaps| codec::decode_valid(gaps, rows)).transpose().ok()?,
            };
            columns.push(ColumnEntry {
                field: id,
                codec: codec::name(field_type, values),
                values_bytes: values.len() as u32,
                valid_bytes: gaps.map_or(0, <[u8]>::len) as u32,
                column,
            });
        }
        reader.is_empty().then_some(Examined { times, times_codec, times_bytes, columns })
    }
}
