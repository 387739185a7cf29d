//! A manifest read for its own sake, without a shard to open.

use std::collections::BTreeMap;

use crate::shard::record::FlushRecord;
use crate::shard::record::PartitionKey;
use crate::shard::tombstone::Deletion;

/// What the records of a shard's manifest add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Generation and epoch of the last log file whose records are in segments.
    pub flushed: (u32, u32),
    /// Visible segments by number, and where they belong; also those of partitions dropped since.
    pub segments: BTreeMap<u64, PartitionKey>,
    /// Deletions, each with the age of its log file.
    pub tombstones: Vec<((u32, u32), Deletion)>,
}

impl Manifest {
    /// Takes the next record of the manifest of `shard`; whether it made sense.
    pub fn take(&mut self, shard: u16, record: &[u8]) -> bool {
        let Some(record) = FlushRecord::decode(shard, record) else { return false };
        self.flushed = self.flushed.max(record.flushed);
        self.segments.extend(record.segments);
        self.tombstones.extend(record.tombstones);
        true
    }
}
