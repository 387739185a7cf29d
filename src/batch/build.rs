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
    rows: Room,
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
            rows: Room::default(),
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
        HEADER_BYTES + self.layouts.len() + self.keys.len() + self.rows.used
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

    /// Begins a row; exactly one value for each field of the layout must follow.
    #[inline]
    pub fn row(&mut self, series: SeriesRef, layout: u32, time: Timestamp) {
        let series = match series {
            SeriesRef::Known(id) => u64::from(id.0) << 1,
            SeriesRef::New(index) => u64::from(index) << 1 | 1,
        };
        let step = varint::zigzag(time.wrapping_sub(self.last_time));
        self.rows.make(3 * varint::BYTES_MAX);
        let mut at = self.rows.used;
        for number in [series, u64::from(layout), step] {
            at += varint::write(&mut self.rows.bytes[at..], number);
        }
        self.rows.used = at;
        self.last_time = time;
        self.row_count += 1;
    }

    /// The next value of the row.
    #[inline]
    pub fn value(&mut self, value: FieldValue<'_>) {
        self.values(std::iter::once(value));
    }

    /// The next values of the row.
    #[inline]
    pub fn values<'a>(&mut self, values: impl ExactSizeIterator<Item = FieldValue<'a>>) {
        let bytes_max = values.len() * varint::BYTES_MAX;
        self.rows.make(bytes_max);
        let mut at = self.rows.used;
        for value in values {
            let room = &mut self.rows.bytes[at..];
            at += match value {
                FieldValue::Float(float) => put(room, &float.to_bits().to_le_bytes()),
                FieldValue::Integer(integer) => varint::write(room, varint::zigzag(integer)),
                FieldValue::Unsigned(unsigned) => varint::write(room, unsigned),
                FieldValue::Boolean(boolean) => put(room, &[u8::from(boolean)]),
                FieldValue::String(string) => {
                    self.rows.used = at + varint::write(room, string.len() as u64);
                    self.rows.make(string.len() + bytes_max);
                    self.rows.used - at + put(&mut self.rows.bytes[self.rows.used..], string)
                }
            };
        }
        self.rows.used = at;
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
        bytes.extend_from_slice(self.rows.written());
        Batch { bytes }
    }
}

/// What is written, and zeros behind it: that values fit is looked at once for many of them.
#[derive(Debug, Default)]
struct Room {
    bytes: Vec<u8>,
    used: usize,
}

impl Room {
    /// Has room for so many more bytes.
    #[inline(always)]
    fn make(&mut self, bytes: usize) {
        if self.bytes.len() - self.used < bytes {
            self.grow(bytes);
        }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        self.bytes.resize((self.used + bytes).max(2 * self.bytes.len()), 0);
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

/// Writes bytes at the front of `room`; how many.
#[inline(always)]
fn put(room: &mut [u8], bytes: &[u8]) -> usize {
    room[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

fn section_bytes(section: &[u8]) -> u32 {
    u32::try_from(section.len()).expect("ingest closes a batch long before 4 GiB")
}
