//! Immutable files of sorted, compressed, checksummed blocks.
//! The points of one shard and shard group, from a flush or from several older segments.
//!
//! In:   rows of series, ascending by series, from a flush or a compaction.
//! Out:  rows of one series in a time range, block by block; what a block holds, in short.
//!
//! Little-endian; a file is padded to whole 4 KiB blocks, its last 80 bytes are the footer:
//!
//! ```text
//! file     (block ... page) ... | index | 0 ... | footer
//! block    crc32 u32 | times since the first: coded bytes | column ...                  (bytes = varint length first)
//!          column: 0 u8 | gaps: coded bytes, if there are any | values: coded bytes, at least one
//! page     what the blocks since the page before are: see page.rs
//! index    fields: count varint, each: measurement bytes | name bytes | type u8         (the number is the column id)
//!          layouts: count varint, each: count varint | column id varint ...             (the number is the layout)
//!          pages: count varint, each: first series varint (from the one before) | bytes of its blocks varint
//!                 | bytes varint        in the order of the file, from offset 0, without gaps
//!          series: roaring's portable form, bytes
//! footer   magic 8 B | version u32 | index crc32 u32 | index offset u64 | index bytes u64 | rows u64 | blocks u32
//!          | shard u16 | packing saves u16 | number u64 | first time u64 | last time u64 | 0 u32
//!          | crc32 u32 of all before
//! ```
//!
//! Times of even steps have no bytes: the page knows the first, the last and how many. What packing saves, in percent,
//! is a guess of how much less the columns would take if written with more effort ([`codec::Effort`]); 0 where that was
//! done, and in files of version 2. Those are read too, and those of version 3 (`VERSION_2`, `VERSION_3`).
//!
//! A block holds at most [`BLOCK_ROWS_MAX`] rows of one series; all its columns share the one time column. Checksums of
//! blocks, pages and index also cover shard, number and position, so that a sound block in a wrong place is noticed. A
//! file is seen only after the manifest names it, so it needs no marks for "unfinished".
//!
//! An open segment keeps its index in memory: some bytes for each page and a set of series. Pages are read when asked
//! for and stay in a [`PageCache`] of bounded size.

pub mod codec;
mod cache;
mod examine;
mod merge;
mod page;
mod reader;
mod summary;
mod writer;

pub use cache::PageCache;
pub use examine::ColumnEntry;
pub use examine::Examined;
pub use merge::Merge;
pub use merge::Passed;
pub use merge::Source;
pub use page::Block;
pub use page::BlockEntry;
pub use page::BlockSummary;
pub use page::Page;
pub use reader::Segment;
pub use reader::SegmentError;
pub use summary::Extremes;
pub use summary::Summary;
pub use summary::SummaryValues;
pub use summary::summarize;
pub use writer::SegmentSummary;
pub use writer::SegmentWriter;

use crate::model::Bytes;
use crate::model::FieldType;

const MAGIC: [u8; 8] = *b"millseg\x01";
const VERSION: u32 = 4;
/// Read, not written: entries of pages have all their numbers and whole summaries (see page.rs), and a column of
/// decimals without exceptions says that there are none (see codec/float.rs).
const VERSION_3: u32 = 3;
/// Read, not written, as version 3, but: times stand for themselves, those of even steps take bytes; summaries are
/// columns of four values; a column begins with twice the length of its values, plus 1 if gaps follow.
const VERSION_2: u32 = 2;
const FOOTER_BYTES: usize = 80;
/// Before the content of a block and of a page.
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

/// Which file: checksums cover it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentId {
    /// The shard.
    pub shard: u16,
    /// The number in the file's name.
    pub number: u64,
}

/// Checksum of what stands at `offset` of a segment.
fn checksum(id: SegmentId, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.shard.to_le_bytes());
    hasher.update(&id.number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
