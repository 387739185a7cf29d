//! A block with everything in it: what a check has to look at and what a column takes.
//!
//! In:   a block of the index. Out: all its columns, decoded, each with its codec and its length in the file.

use crate::disk::Disk;
use crate::model::Column;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::segment::BlockEntry;
use crate::segment::CHECKSUM_BYTES;
use crate::segment::FieldEntry;
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
        let examined =
            decode(block.rows, self.coded_range(block), &bytes[CHECKSUM_BYTES..], self.columns(block), self.fields());
        examined.ok_or_else(|| self.damaged(block.offset, "block"))
    }
}

fn decode(rows: u32, range: TimeRange, body: &[u8], layout: &[u32], fields: &[FieldEntry]) -> Option<Examined> {
    let rows = rows as usize;
    let mut reader = Reader::new(body);
    let coded = reader.bytes()?;
    let times = codec::decode_times(coded, range, rows).ok()?;
    let (times_codec, times_bytes) = (codec::times_name(coded), coded.len() as u32);
    let mut columns = Vec::new();
    for &id in layout {
        let field_type = fields.get(id as usize)?.field_type;
        let head = reader.varint()?;
        let gaps = if head & 1 == 1 { reader.bytes()? } else { &[] };
        let values = reader.take(usize::try_from(head >> 1).ok()?)?;
        let column = Column {
            values: codec::decode(field_type, values, rows).ok()?,
            valid: if gaps.is_empty() { None } else { Some(codec::decode_valid(gaps, rows).ok()?) },
        };
        columns.push(ColumnEntry {
            field: id,
            codec: codec::name(field_type, values),
            values_bytes: values.len() as u32,
            valid_bytes: gaps.len() as u32,
            column,
        });
    }
    reader.is_empty().then_some(Examined { times, times_codec, times_bytes, columns })
}
