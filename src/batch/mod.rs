//! Points encoded for one owner: mesh message, log record and memtable input in one layout.
//!
//! Little-endian; `varint` and `signed` as in [`crate::stdx::varint`]:
//!
//! ```text
//! header   version u8 | 0 u8 | shard u16 | database u32 | policy u32 | group u64 | rows u32
//!          layouts u32, bytes u32 | keys u32, bytes u32
//! layout   measurement bytes | fields varint | field: type u8, name bytes          (bytes = varint length + content)
//! key      canonical series key bytes: series whose id the sender does not know
//! row      series varint | layout varint | time signed, from the row before | values in the layout's order
//! series   id << 1, or index of a key << 1 | 1
//! value    float 8 B | integer signed | unsigned varint | boolean 1 B | string varint length + content
//! ```
//!
//! A row has a value for each field of its layout. A row of the TSBS kind takes about 16 bytes.

mod build;
mod read;

pub use build::BatchBuilder;
pub use read::BatchError;
pub use read::IntegerRows;
pub use read::Layout;
pub use read::Reader;
pub use read::Row;
pub use read::Rows;

use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;

/// Version of the layout.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 40;
/// Where the header counts the rows.
const ROW_COUNT_AT: usize = 20;

/// Where the points of a batch belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Owner shard.
    pub shard: u16,
    /// Database.
    pub database: DatabaseId,
    /// Retention policy.
    pub policy: PolicyId,
    /// Shard group that the times of all rows lie in.
    pub group: GroupId,
}

/// The series of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesRef {
    /// An id that the owner gave.
    Known(SeriesId),
    /// Index into the batch's keys.
    New(u32),
}

impl SeriesRef {
    /// Its id; `assigned` are those of the batch's keys.
    #[inline]
    pub fn id(self, assigned: &[SeriesId]) -> Option<SeriesId> {
        match self {
            SeriesRef::Known(id) => Some(id),
            SeriesRef::New(index) => assigned.get(index as usize).copied(),
        }
    }
}

/// An encoded batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// Takes encoded bytes; they are checked when read.
    pub fn from_bytes(bytes: Vec<u8>) -> Batch {
        Batch { bytes }
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same series and fields, without a point: what stock keeps of a refused batch.
    pub fn without_rows(mut self) -> Result<Batch, BatchError> {
        let rows_bytes = self.read()?.rows_bytes();
        self.bytes.truncate(self.bytes.len() - rows_bytes);
        self.bytes[ROW_COUNT_AT..ROW_COUNT_AT + 4].fill(0);
        Ok(self)
    }

    /// The same without the points of some of its keys (`refused`, in their order), and without what only those used.
    pub fn without_keys(&self, refused: &[bool]) -> Result<Batch, BatchError> {
        let reader = self.read()?;
        let mut builder = BatchBuilder::new(reader.destination);
        let kept = reader.keys.iter().zip(refused).map(|(key, refused)| (!refused).then(|| builder.key(key)));
        let keys: Vec<Option<u32>> = kept.collect();
        let mut layouts = vec![None; reader.layouts.len()];
        let mut rows = reader.rows();
        while let Some(row) = rows.next_row()? {
            let layout = reader.layouts.get(row.layout as usize).ok_or(BatchError("unknown layout"))?;
            let series = match row.series {
                SeriesRef::New(index) => keys.get(index as usize).copied().flatten().map(SeriesRef::New),
                known => Some(known),
            };
            if let Some(series) = series {
                let fields = layout.fields.iter().copied();
                let index = &mut layouts[row.layout as usize];
                let index = *index.get_or_insert_with(|| builder.layout(layout.measurement, fields));
                builder.row(series, index, row.time);
            }
            for (_, field_type) in &layout.fields {
                let value = rows.value(*field_type)?;
                if series.is_some() {
                    builder.value(value);
                }
            }
        }
        Ok(builder.finish())
    }

    /// Reads it.
    pub fn read(&self) -> Result<Reader<'_>, BatchError> {
        Reader::of(&self.bytes)
    }
}

#[cfg(test)]
mod tests;
