//! The records of a core's log, of a shard's series log and of a shard's manifest.
//!
//! ```text
//! log       1 u8 | shard u16 | ids u32 | id u32 each: what the batch's keys have | batch           (see crate::batch)
//! series    1 u8 | database u32 | id u32 | canonical key
//! manifest  1 u8 | flushed: generation u32, epoch u32 | segments u32
//!                | each: number u64, database u32, policy u32, group u64                            (a flush)
//! ```

use crate::disk::names::WalName;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::stdx::varint::Reader;

const BATCH: u8 = 1;
const SERIES: u8 = 1;
const FLUSH: u8 = 1;

/// Which partition of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    /// Database.
    pub database: DatabaseId,
    /// Retention policy.
    pub policy: PolicyId,
    /// Shard group.
    pub group: GroupId,
}

/// A log record up to the batch.
pub fn encode_batch_head(shard: u16, ids: &[SeriesId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(7 + ids.len() * 4);
    bytes.push(BATCH);
    bytes.extend_from_slice(&shard.to_le_bytes());
    bytes.extend_from_slice(&(ids.len() as u32).to_le_bytes());
    ids.iter().for_each(|id| bytes.extend_from_slice(&id.0.to_le_bytes()));
    bytes
}

/// A log record read back.
#[derive(Debug)]
pub struct BatchRecord<'a> {
    pub shard: u16,
    pub ids: Vec<SeriesId>,
    pub batch: &'a [u8],
}

pub fn decode_batch(bytes: &[u8]) -> Option<BatchRecord<'_>> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != BATCH {
        return None;
    }
    let shard = reader.u16()?;
    let count = reader.u32()?;
    let mut ids = Vec::with_capacity((count as usize).min(bytes.len()));
    for _ in 0..count {
        ids.push(SeriesId(reader.u32()?));
    }
    Some(BatchRecord { shard, ids, batch: reader.rest() })
}

pub fn encode_series(database: DatabaseId, id: SeriesId, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.push(SERIES);
    bytes.extend_from_slice(&database.0.to_le_bytes());
    bytes.extend_from_slice(&id.0.to_le_bytes());
    bytes.extend_from_slice(key);
    bytes
}

pub fn decode_series(bytes: &[u8]) -> Option<(DatabaseId, SeriesId, &[u8])> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != SERIES {
        return None;
    }
    Some((DatabaseId(reader.u32()?), SeriesId(reader.u32()?), reader.rest()))
}

/// A manifest record: these segments are visible, and the logs up to `flushed` are in segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushRecord {
    pub flushed: (u32, u32),
    pub segments: Vec<(u64, PartitionKey)>,
}

/// Age of a log file, as the manifest keeps it.
pub fn log_age(name: WalName) -> (u32, u32) {
    (name.generation, name.epoch)
}

impl FlushRecord {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FLUSH];
        bytes.extend_from_slice(&self.flushed.0.to_le_bytes());
        bytes.extend_from_slice(&self.flushed.1.to_le_bytes());
        bytes.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for (number, key) in &self.segments {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&key.database.0.to_le_bytes());
            bytes.extend_from_slice(&key.policy.0.to_le_bytes());
            bytes.extend_from_slice(&key.group.0.to_le_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<FlushRecord> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != FLUSH {
            return None;
        }
        let flushed = (reader.u32()?, reader.u32()?);
        let count = reader.u32()?;
        let mut segments = Vec::with_capacity((count as usize).min(bytes.len()));
        for _ in 0..count {
            let number = reader.u64()?;
            let key = PartitionKey {
                database: DatabaseId(reader.u32()?),
                policy: PolicyId(reader.u32()?),
                group: GroupId(reader.u64()?),
            };
            segments.push((number, key));
        }
        reader.is_empty().then_some(FlushRecord { flushed, segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_cut_ones_do_not() {
        let key = PartitionKey { database: DatabaseId(1), policy: PolicyId(2), group: GroupId(3) };
        let flush = FlushRecord { flushed: (4, 5), segments: vec![(6, key), (7, key)] };
        let bytes = flush.encode();
        assert_eq!(FlushRecord::decode(&bytes), Some(flush));
        assert!((0..bytes.len()).all(|end| FlushRecord::decode(&bytes[..end]).is_none()));
        let series = encode_series(DatabaseId(9), SeriesId(8), b"m,h=a");
        assert_eq!(decode_series(&series), Some((DatabaseId(9), SeriesId(8), &b"m,h=a"[..])));
        let mut batch = encode_batch_head(3, &[SeriesId(1)]);
        batch.extend_from_slice(b"batch");
        let record = decode_batch(&batch).unwrap();
        assert_eq!((record.shard, &record.ids[..], record.batch), (3, &[SeriesId(1)][..], &b"batch"[..]));
    }
}
