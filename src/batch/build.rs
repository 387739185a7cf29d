//! Builds a batch row by row.

use crate::batch::Batch;
use crate::batch::Destination;
use crate::batch::HEADER_BYTES;
use crate::batch::SeriesRef;
use crate::batch::VERSION;
use crate::model::FieldType;
use crate::model::FieldValue;
use crate::model::Timestamp;
use crate::stdx::varint;

/// Collects the rows of one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    destination: Destination,
    layouts: Vec<u8>,
    layout_count: u32,
    keys: Vec<u8>,
    key_count: u32,
    rows: Vec<u8>,
    row_count: u32,
    last_time: Timestamp,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(destination: Destination) -> BatchBuilder {
        BatchBuilder {
            destination,
            layouts: Vec::new(),
            layout_count: 0,
            keys: Vec::new(),
            key_count: 0,
            rows: Vec::new(),
            row_count: 0,
            last_time: 0,
        }
    }

    /// Where it goes.
    pub fn destination(&self) -> Destination {
        self.destination
    }

    /// Rows so far.
    pub fn row_count(&self) -> u32 {
        self.row_count
    }

    /// Encoded size so far.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.layouts.len() + self.keys.len() + self.rows.len()
    }

    /// Adds a layout and returns its index. The caller adds each layout once.
    pub fn layout<'a>(
        &mut self,
        measurement: &[u8],
        fields: impl ExactSizeIterator<Item = (&'a [u8], FieldType)>,
    ) -> u32 {
        varint::put_bytes(&mut self.layouts, measurement);
        varint::put(&mut self.layouts, fields.len() as u64);
        for (name, field_type) in fields {
            self.layouts.push(field_type as u8);
            varint::put_bytes(&mut self.layouts, name);
        }
        self.layout_count += 1;
        self.layout_count - 1
    }

    /// Adds the canonical key of a series without a known id and returns its index.
    pub fn key(&mut self, key: &[u8]) -> u32 {
        varint::put_bytes(&mut self.keys, key);
        self.key_count += 1;
        self.key_count - 1
    }

    /// Begins a row; exactly one [`BatchBuilder::value`] for each field of the layout must follow.
    #[inline]
    pub fn row(&mut self, series: SeriesRef, layout: u32, time: Timestamp) {
        let series = match series {
            SeriesRef::Known(id) => u64::from(id.0) << 1,
            SeriesRef::New(index) => u64::from(index) << 1 | 1,
        };
        varint::put(&mut self.rows, series);
        varint::put(&mut self.rows, u64::from(layout));
        varint::put_signed(&mut self.rows, time.wrapping_sub(self.last_time));
        self.last_time = time;
        self.row_count += 1;
    }

    /// The next value of the row.
    #[inline]
    pub fn value(&mut self, value: FieldValue<'_>) {
        match value {
            FieldValue::Float(float) => self.rows.extend_from_slice(&float.to_bits().to_le_bytes()),
            FieldValue::Integer(integer) => varint::put_signed(&mut self.rows, integer),
            FieldValue::Unsigned(unsigned) => varint::put(&mut self.rows, unsigned),
            FieldValue::Boolean(boolean) => self.rows.push(u8::from(boolean)),
            FieldValue::String(string) => varint::put_bytes(&mut self.rows, string),
        }
    }

    /// The finished batch.
    pub fn finish(self) -> Batch {
        let mut bytes = Vec::with_capacity(self.bytes());
        let Destination { shard, database, policy, group } = self.destination;
        bytes.extend_from_slice(&[VERSION, 0]);
        bytes.extend_from_slice(&shard.to_le_bytes());
        bytes.extend_from_slice(&database.0.to_le_bytes());
        bytes.extend_from_slice(&policy.0.to_le_bytes());
        bytes.extend_from_slice(&group.0.to_le_bytes());
        let sizes = [
            self.row_count,
            self.layout_count,
            section_bytes(&self.layouts),
            self.key_count,
            section_bytes(&self.keys),
        ];
        for size in sizes {
            bytes.extend_from_slice(&size.to_le_bytes());
        }
        assert_eq!(bytes.len(), HEADER_BYTES);
        bytes.extend_from_slice(&self.layouts);
        bytes.extend_from_slice(&self.keys);
        bytes.extend_from_slice(&self.rows);
        Batch { bytes }
    }
}

fn section_bytes(section: &[u8]) -> u32 {
    u32::try_from(section.len()).expect("ingest closes a batch long before 4 GiB")
}
