//! The records of a core's log and of a shard's series log. Those of its manifest are in manifest.rs.
//!
//! ```text
//! log       1 u8 | shard u16 | ids u32 | id u32 each: what the batch's keys have | batch           (see crate::batch)
//!           2 u8 | shard u16 | deletion                                                             (a deletion)
//! deletion  database u32 | first u64, last u64: the times | series: length varint, roaring's portable form
//!           | measurements forgotten: count varint, each: name bytes
//! series    1 u8 | database u32 | id u32 | canonical key                                (before format 3, still read)
//!           2 u8 | database u32 | block                                                    (see crate::series::block)
//!           3 u8 | next id u32       (lower ids that the log does not name are of no series any more)
//! ```

use std::rc::Rc;

use roaring::RoaringBitmap;

use crate::batch::Destination;
use crate::disk::names::WalName;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::series::block;
use crate::shard::tombstone::Deletion;
use crate::stdx::varint;
use crate::stdx::varint::Reader;
use crate::wal::LogId;

const BATCH: u8 = 1;
const DELETION: u8 = 2;
const SERIES: u8 = 1;
const SERIES_BLOCK: u8 = 2;
const NEXT_SERIES: u8 = 3;

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

impl PartitionKey {
    /// Where a batch goes.
    pub fn of(destination: &Destination) -> PartitionKey {
        let &Destination { database, policy, group, .. } = destination;
        PartitionKey { database, policy, group }
    }
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
#[derive(Debug, PartialEq)]
pub enum LogRecord<'a> {
    /// Points.
    Batch {
        /// Whose.
        shard: u16,
        /// What the batch's keys have.
        ids: Vec<SeriesId>,
        /// Encoded.
        batch: &'a [u8],
    },
    /// A deletion.
    Deletion(Deletion),
}

impl LogRecord<'_> {
    /// Whose it is.
    pub fn shard(&self) -> u16 {
        match self {
            LogRecord::Batch { shard, .. } => *shard,
            LogRecord::Deletion(deletion) => deletion.shard,
        }
    }
}

/// Reads a record of a core's log.
pub fn decode_log(bytes: &[u8]) -> Option<LogRecord<'_>> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8()?;
    let shard = reader.u16()?;
    match kind {
        BATCH => decode_batch(shard, reader),
        DELETION => decode_deletion(shard, &mut reader).filter(|_| reader.is_empty()).map(LogRecord::Deletion),
        _ => None,
    }
}

/// A log record.
pub fn encode_deletion(deletion: &Deletion) -> Vec<u8> {
    let mut bytes = vec![DELETION];
    bytes.extend_from_slice(&deletion.shard.to_le_bytes());
    put_deletion(deletion, &mut bytes);
    bytes
}

pub(super) fn put_deletion(deletion: &Deletion, out: &mut Vec<u8>) {
    out.extend_from_slice(&deletion.database.0.to_le_bytes());
    out.extend_from_slice(&deletion.range.min.to_le_bytes());
    out.extend_from_slice(&deletion.range.max.to_le_bytes());
    let mut series = Vec::with_capacity(deletion.series.serialized_size());
    deletion.series.serialize_into(&mut series).expect("memory takes all that is written");
    varint::put_bytes(out, &series);
    varint::put(out, deletion.forgotten.len() as u64);
    deletion.forgotten.iter().for_each(|name| varint::put_bytes(out, name));
}

pub(super) fn decode_deletion(shard: u16, reader: &mut Reader<'_>) -> Option<Deletion> {
    let database = DatabaseId(reader.u32()?);
    let range = TimeRange { min: reader.u64()? as i64, max: reader.u64()? as i64 };
    let series = Rc::new(RoaringBitmap::deserialize_from(reader.bytes()?).ok()?);
    let count = reader.varint()?;
    let mut forgotten = Vec::new();
    for _ in 0..count {
        forgotten.push(reader.bytes()?.into());
    }
    Some(Deletion { shard, database, series, range, forgotten })
}

fn decode_batch(shard: u16, mut reader: Reader<'_>) -> Option<LogRecord<'_>> {
    let count = reader.u32()?;
    let mut ids = Vec::with_capacity((count as usize).min(reader.rest().len()));
    for _ in 0..count {
        ids.push(SeriesId(reader.u32()?));
    }
    Some(LogRecord::Batch { shard, ids, batch: reader.rest() })
}

/// A record of a series log read back.
#[derive(Debug, PartialEq, Eq)]
pub enum SeriesRecord<'a> {
    /// One series and its canonical key.
    One(DatabaseId, SeriesId, &'a [u8]),
    /// Many, of one database; to be read with [`block::shapes`].
    Block(DatabaseId, Vec<u8>),
    /// No lower id is to be given out.
    Next(SeriesId),
}

pub fn encode_series_block(database: DatabaseId, block: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + block.len());
    bytes.push(SERIES_BLOCK);
    bytes.extend_from_slice(&database.0.to_le_bytes());
    bytes.extend_from_slice(block);
    bytes
}

pub fn encode_next_series(next: SeriesId) -> Vec<u8> {
    let mut bytes = vec![NEXT_SERIES];
    bytes.extend_from_slice(&next.0.to_le_bytes());
    bytes
}

/// Reads a record of a series log.
pub fn decode_series(bytes: &[u8]) -> Option<SeriesRecord<'_>> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        SERIES => Some(SeriesRecord::One(DatabaseId(reader.u32()?), SeriesId(reader.u32()?), reader.rest())),
        SERIES_BLOCK => Some(SeriesRecord::Block(DatabaseId(reader.u32()?), block::unpack(reader.rest())?)),
        NEXT_SERIES => Some(SeriesRecord::Next(SeriesId(reader.u32()?))).filter(|_| reader.is_empty()),
        _ => None,
    }
}

/// How old something is: generation and epoch of the log file that held it. Later is greater.
pub type Age = (u32, u32);

/// Age of what a log file holds.
pub fn log_age(name: WalName) -> Age {
    (name.generation, name.epoch)
}

/// Id of a core's log file.
pub fn log_id(name: WalName) -> LogId {
    LogId::from(u64::from(name.generation) << 40 ^ u64::from(name.core) << 28 ^ u64::from(name.epoch))
}

/// Id of a shard's series log.
pub fn series_log_id(shard: u16) -> LogId {
    shard_log_id(1, shard)
}

/// Id of a shard's manifest.
pub fn manifest_id(shard: u16) -> LogId {
    shard_log_id(2, shard)
}

/// Before format 3 both had the number of the shard.
fn shard_log_id(kind: u64, shard: u16) -> LogId {
    LogId { id: kind << 32 | u64::from(shard), earlier: Some(shard.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_logs_have_an_id_in_common() {
        let wal = |core, epoch| log_id(WalName { generation: 1, epoch, core, core_count: Some(9) });
        let shards = [0, 7, u16::MAX].into_iter().flat_map(|shard| [series_log_id(shard), manifest_id(shard)]);
        let mut ids: Vec<u64> = shards.chain([wal(0, 0), wal(8, 0), wal(8, 3)]).map(|id| id.id).collect();
        ids.extend([0, 7, u64::from(u16::MAX)]);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn records_read_back_and_cut_ones_do_not() {
        let deletion = Deletion {
            shard: 3,
            database: DatabaseId(1),
            series: Rc::new([1, 70_000].into_iter().collect()),
            range: TimeRange { min: -5, max: 9 },
            forgotten: vec![b"m"[..].into()],
        };
        let bytes = encode_deletion(&deletion);
        assert_eq!(decode_log(&bytes), Some(LogRecord::Deletion(deletion)));
        assert!((0..bytes.len()).all(|end| decode_log(&bytes[..end]).is_none()));
        let series = [&[1][..], &9_u32.to_le_bytes(), &8_u32.to_le_bytes(), b"m,h=a"].concat();
        let record = SeriesRecord::One(DatabaseId(9), SeriesId(8), b"m,h=a");
        assert_eq!(decode_series(&series), Some(record));
        let mut builder = block::BlockBuilder::default();
        builder.add(block::Member { id: SeriesId(8), is_dormant: false }, b"m,h=a");
        let packed = builder.take().unwrap();
        let series = encode_series_block(DatabaseId(9), &packed);
        let record = SeriesRecord::Block(DatabaseId(9), block::unpack(&packed).unwrap());
        assert_eq!(decode_series(&series), Some(record));
        assert!((0..series.len()).all(|end| decode_series(&series[..end]).is_none()));
        assert_eq!(decode_series(&encode_next_series(SeriesId(7))), Some(SeriesRecord::Next(SeriesId(7))));
        let mut batch = encode_batch_head(3, &[SeriesId(1)]);
        batch.extend_from_slice(b"batch");
        let record = LogRecord::Batch { shard: 3, ids: vec![SeriesId(1)], batch: b"batch" };
        assert_eq!(decode_log(&batch), Some(record));
    }
}
