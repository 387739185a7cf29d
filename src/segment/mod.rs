//! Immutable files of sorted, compressed, checksummed blocks.
//! The points of one shard and shard group between two flushes, sorted by series and time.
//!
//! In:   rows of series, ascending by series, from a flush.
//! Out:  rows of one series in a time range, block by block.
//!
//! Little-endian; a file is padded to whole 4 KiB blocks, its last 64 bytes are the footer:
//!
//! ```text
//! block    crc32 u32 of the body | body
//!          body: rows varint | columns varint | times: coded bytes
//!                column: id varint | valid: 0, or coded bytes | values: coded bytes      (bytes = varint length first)
//! index    fields: count varint, each: measurement bytes | name bytes | type u8         (the number is the column id)
//!          blocks: count varint, each: series varint (from the one before) | rows varint
//!                  | first time signed | last - first varint | bytes varint
//!          in the order of the file, from offset 0, without gaps
//! footer   magic 8 B | version u32 | index crc32 u32 | index offset u64 | index bytes u64 | rows u64 | number u64
//!          | shard u16 | 0 ... | crc32 u32 of the footer before it
//! ```
//!
//! A block holds at most [`BLOCK_ROWS_MAX`] rows of one series; all its columns share the one time column. A file is
//! seen only after the manifest names it, so it needs no marks for "unfinished".

pub mod codec;
mod examine;
mod reader;
mod writer;

pub use examine::ColumnEntry;
pub use examine::Examined;
pub use reader::BlockEntry;
pub use reader::Segment;
pub use reader::SegmentError;
pub use writer::SegmentSummary;
pub use writer::SegmentWriter;

use crate::model::Bytes;
use crate::model::FieldType;

const MAGIC: [u8; 8] = *b"millseg\x01";
const VERSION: u32 = 1;
const FOOTER_BYTES: usize = 64;
/// Before the body of a block.
const CHECKSUM_BYTES: usize = 4;

/// Most rows of a block: a week of 10-minute values, and few enough that a narrow read decodes little it does not need.
pub const BLOCK_ROWS_MAX: usize = 2048;

/// A column of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldEntry {
    /// Measurement it belongs to.
    pub measurement: Bytes,
    /// Field name.
    pub name: Bytes,
    /// Type.
    pub field_type: FieldType,
}

#[cfg(test)]
mod tests;
