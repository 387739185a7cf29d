//! What segments take, by what is in them; sums of segments are sums of these.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::SerializeSeq;
use serde::ser::Serializer;

use crate::model::TimeRange;
use crate::segment::BlockEntry;
use crate::segment::Examined;
use crate::segment::FieldEntry;

/// What a value takes uncoded.
const RAW_BYTES: u64 = 8;

/// Segments of one shard group, of a policy, of a database, or of all. `bytes` is the sum of the bytes of all columns,
/// `presence_bytes`, `block_overhead_bytes`, `index_bytes`, `padding_bytes` and `unreadable_bytes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Files.
    pub segments: u64,
    /// Their length.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Rows.
    pub rows: u64,
    /// Series with rows, counted once for each shard group.
    pub series: u64,
    /// First and last time, ns.
    pub first_time: Option<i64>,
    /// See `first_time`.
    pub last_time: Option<i64>,
    /// Bytes that say which rows have a value.
    pub presence_bytes: u64,
    /// Checksums, counts and lengths inside blocks.
    pub block_overhead_bytes: u64,
    /// Indexes.
    pub index_bytes: u64,
    /// Footers, and zeros before them.
    pub padding_bytes: u64,
    /// Damaged blocks, of which nothing else here knows.
    pub unreadable_bytes: u64,
    /// By type and codec.
    pub columns: Columns,
}

/// Column usage by type (`time` too) and codec; a list in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(pub BTreeMap<(&'static str, &'static str), ColumnUsage>);

/// What columns of one type and codec take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnUsage {
    /// Columns of blocks.
    pub blocks: u64,
    /// Values.
    pub values: u64,
    /// Coded.
    pub bytes: u64,
}

impl ColumnUsage {
    /// Bytes of a value.
    pub fn bytes_per_value(&self) -> Option<f64> {
        (self.values > 0).then(|| self.bytes as f64 / self.values as f64)
    }

    /// How often it fits into 8 bytes a value.
    pub fn ratio(&self) -> Option<f64> {
        (self.bytes > 0).then(|| (self.values * RAW_BYTES) as f64 / self.bytes as f64)
    }

    fn add(&mut self, values: u64, bytes: u64) {
        self.blocks += 1;
        self.values += values;
        self.bytes += bytes;
    }
}

impl Usage {
    /// Adds a block; its series is not counted.
    pub fn add_block(&mut self, fields: &[FieldEntry], block: &BlockEntry, examined: &Examined) {
        let rows = examined.times.len();
        let mut coded = u64::from(examined.times_bytes);
        self.columns.of("time", examined.times_codec).add(rows as u64, coded);
        for column in &examined.columns {
            let field_type = fields[column.field as usize].field_type.name();
            let bytes = u64::from(column.values_bytes);
            self.columns.of(field_type, column.codec).add(column.value_count(rows), bytes);
            self.presence_bytes += u64::from(column.valid_bytes);
            coded += bytes + u64::from(column.valid_bytes);
        }
        self.blocks += 1;
        self.rows += rows as u64;
        self.block_overhead_bytes += u64::from(block.bytes) - coded;
        self.add_times(Some(block.range));
    }

    fn add_times(&mut self, range: Option<TimeRange>) {
        let Some(TimeRange { min, max }) = range else { return };
        self.first_time = Some(self.first_time.map_or(min, |first| first.min(min)));
        self.last_time = Some(self.last_time.map_or(max, |last| last.max(max)));
    }

    /// Adds all that another has.
    pub fn add(&mut self, other: &Usage) {
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.blocks += other.blocks;
        self.rows += other.rows;
        self.series += other.series;
        self.presence_bytes += other.presence_bytes;
        self.block_overhead_bytes += other.block_overhead_bytes;
        self.index_bytes += other.index_bytes;
        self.padding_bytes += other.padding_bytes;
        self.unreadable_bytes += other.unreadable_bytes;
        self.add_times(other.first_time.zip(other.last_time).map(|(min, max)| TimeRange { min, max }));
        for ((field_type, codec), column) in &other.columns.0 {
            let own = self.columns.of(field_type, codec);
            own.blocks += column.blocks;
            own.values += column.values;
            own.bytes += column.bytes;
        }
    }
}

impl Columns {
    fn of(&mut self, field_type: &'static str, codec: &'static str) -> &mut ColumnUsage {
        self.0.entry((field_type, codec)).or_default()
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row {
            r#type: &'static str,
            codec: &'static str,
            blocks: u64,
            values: u64,
            bytes: u64,
            bytes_per_value: Option<f64>,
            ratio: Option<f64>,
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (&(r#type, codec), column) in &self.0 {
            let ColumnUsage { blocks, values, bytes } = *column;
            let (bytes_per_value, ratio) = (column.bytes_per_value(), column.ratio());
            list.serialize_element(&Row { r#type, codec, blocks, values, bytes, bytes_per_value, ratio })?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_the_outermost_times_and_join_columns_of_one_codec() {
        let part = |rows: u64, first: i64, last: i64| {
            let mut usage = Usage { rows, bytes: 10 * rows, ..Usage::default() };
            usage.add_times(Some(TimeRange { min: first, max: last }));
            usage.columns.of("float", "bits").add(rows, 4 * rows);
            usage
        };
        let mut sum = Usage::default();
        for part in [Usage::default(), part(3, 5, 9), part(4, -2, 7)] {
            sum.add(&part);
        }
        assert_eq!((sum.rows, sum.bytes, sum.first_time, sum.last_time), (7, 70, Some(-2), Some(9)));
        let column = sum.columns.0[&("float", "bits")];
        assert_eq!((column.blocks, column.values, column.bytes, column.ratio()), (2, 7, 28, Some(2.0)));
        let text = serde_json::to_string(&sum.columns).unwrap();
        let expected =
            r#"[{"type":"float","codec":"bits","blocks":2,"values":7,"bytes":28,"bytes_per_value":4.0,"ratio":2.0}]"#;
        assert_eq!(text, expected);
        assert_eq!(ColumnUsage::default().bytes_per_value(), None);
    }
}
