//! Which segments a shard has, in which order, and which deletions hide something in them.
//!
//! A manifest is a log of changes; its file is replaced by one record of the whole when the changes have grown long.
//!
//! ```text
//! record     1 u8 | flushed age | segments u32, each: number u64, key | tombstones
//!                                                        (a flush before format 3: its segments are of that age)
//!            2 u8 | key | age | removed u32, number u64 each | added u8 (0 or 1) | number u64, if any  (a compaction)
//!            3 u8 | flushed age | partitions u32, each: key, segments u32, each: number u64, age
//!                 | tombstones                                   (all, before format 3; earlier records do not count)
//!            4 u8 | flushed age | named u32 | segments u32, each: number u64, key, age | tombstones   (a flush)
//!            5 u8 | named u32 | as 3 from its flushed age on                                            (all)
//! age        generation u32 | epoch u32
//! key        database u32 | policy u32 | group u64
//! tombstones u32 | each: age, deletion (see record.rs)
//! ```

use std::collections::BTreeMap;

use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::shard::record;
use crate::shard::record::Age;
use crate::shard::record::PartitionKey;
use crate::shard::tombstone::Deletion;
use crate::stdx::varint::Reader;

const FLUSH: u8 = 1;
const COMPACTION: u8 = 2;
const WHOLE: u8 = 3;
const FLUSH_OF_AGES: u8 = 4;
const WHOLE_NAMED: u8 = 5;

/// A segment that is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// In the file's name.
    pub number: u64,
    /// Deletions of this age and before are applied to it or came before its points.
    pub age: Age,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Age of the last log file whose records are in segments.
    pub flushed: Age,
    /// The id behind the last one that a segment names; 0: not known.
    pub named: u32,
    /// Segments, oldest first: a later one wins.
    pub partitions: BTreeMap<PartitionKey, Vec<Listed>>,
    /// Deletions.
    pub tombstones: Vec<(Age, Deletion)>,
}

/// A change of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// New segments; the logs up to `flushed` are in them, and in the tombstones. No segment names `named` or more.
    Flush { flushed: Age, named: u32, segments: Vec<(PartitionKey, Listed)>, tombstones: Vec<(Age, Deletion)> },
    /// A segment takes the place of some that follow each other; or none, when nothing was left in them.
    Compaction { key: PartitionKey, age: Age, removed: Vec<u64>, added: Option<u64> },
    /// Everything anew.
    Whole(Manifest),
}

impl Manifest {
    /// Takes a record of the manifest of `shard`; whether it made sense.
    pub fn take(&mut self, shard: u16, record: &[u8]) -> bool {
        let change = Change::decode(shard, record);
        let makes_sense = change.is_some();
        change.into_iter().for_each(|change| self.apply(change));
        makes_sense
    }

    /// Takes a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Flush { flushed, named, segments, tombstones } => {
                self.flushed = self.flushed.max(flushed);
                self.named = self.named.max(named);
                for (key, listed) in segments {
                    self.partitions.entry(key).or_default().push(listed);
                }
                self.tombstones.extend(tombstones);
            }
            Change::Compaction { key, age, removed, added } => {
                let segments = self.partitions.entry(key).or_default();
                let place = segments.iter().position(|listed| removed.contains(&listed.number));
                segments.retain(|listed| !removed.contains(&listed.number));
                if let Some(number) = added {
                    let place = place.unwrap_or(segments.len());
                    segments.insert(place, Listed { number, age });
                }
            }
            Change::Whole(manifest) => *self = manifest,
        }
    }

    /// Where each segment belongs, by its number.
    pub fn by_number(&self) -> BTreeMap<u64, PartitionKey> {
        self.segments().map(|(key, listed)| (listed.number, *key)).collect()
    }

    /// All segments.
    pub fn segments(&self) -> impl Iterator<Item = (&PartitionKey, Listed)> {
        self.partitions.iter().flat_map(|(key, segments)| segments.iter().map(move |&listed| (key, listed)))
    }
}

impl Change {
    /// The record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Change::Flush { flushed, named, segments, tombstones } => {
                out.push(FLUSH_OF_AGES);
                put_age(*flushed, &mut out);
                out.extend_from_slice(&named.to_le_bytes());
                put_count(segments.len(), &mut out);
                for (key, listed) in segments {
                    out.extend_from_slice(&listed.number.to_le_bytes());
                    put_key(key, &mut out);
                    put_age(listed.age, &mut out);
                }
                put_tombstones(tombstones, &mut out);
            }
            Change::Compaction { key, age, removed, added } => {
                out.push(COMPACTION);
                put_key(key, &mut out);
                put_age(*age, &mut out);
                put_count(removed.len(), &mut out);
                removed.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
                out.push(u8::from(added.is_some()));
                added.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
            }
            Change::Whole(manifest) => {
                out.push(WHOLE_NAMED);
                out.extend_from_slice(&manifest.named.to_le_bytes());
                put_age(manifest.flushed, &mut out);
                put_count(manifest.partitions.len(), &mut out);
                for (key, segments) in &manifest.partitions {
                    put_key(key, &mut out);
                    put_count(segments.len(), &mut out);
                    for listed in segments {
                        out.extend_from_slice(&listed.number.to_le_bytes());
                        put_age(listed.age, &mut out);
                    }
                }
                put_tombstones(&manifest.tombstones, &mut out);
            }
        }
        out
    }

    /// A record read back; `shard` is the manifest's.
    pub fn decode(shard: u16, bytes: &[u8]) -> Option<Change> {
        let mut reader = Reader::new(bytes);
        let change = match reader.u8()? {
            kind @ (FLUSH | FLUSH_OF_AGES) => {
                let flushed = age(&mut reader)?;
                let named = if kind == FLUSH { 0 } else { reader.u32()? };
                let segments = list(&mut reader, |reader| {
                    let (number, key) = (reader.u64()?, key(reader)?);
                    let age = if kind == FLUSH { flushed } else { age(reader)? };
                    Some((key, Listed { number, age }))
                })?;
                Change::Flush { flushed, named, segments, tombstones: tombstones(shard, &mut reader)? }
            }
            COMPACTION => {
                let (key, age) = (key(&mut reader)?, age(&mut reader)?);
                let removed = list(&mut reader, Reader::u64)?;
                let added = if reader.u8()? == 1 { Some(reader.u64()?) } else { None };
                Change::Compaction { key, age, removed, added }
            }
            kind @ (WHOLE | WHOLE_NAMED) => {
                let named = if kind == WHOLE { 0 } else { reader.u32()? };
                let flushed = age(&mut reader)?;
                let listed = |reader: &mut Reader<'_>| Some(Listed { number: reader.u64()?, age: age(reader)? });
                let partitions = list(&mut reader, |reader| Some((key(reader)?, list(reader, listed)?)))?;
                let partitions = partitions.into_iter().collect();
                Change::Whole(Manifest { flushed, named, partitions, tombstones: tombstones(shard, &mut reader)? })
            }
            _ => return None,
        };
        reader.is_empty().then_some(change)
    }
}

fn put_age((generation, epoch): Age, out: &mut Vec<u8>) {
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
}

fn put_key(key: &PartitionKey, out: &mut Vec<u8>) {
    out.extend_from_slice(&key.database.0.to_le_bytes());
    out.extend_from_slice(&key.policy.0.to_le_bytes());
    out.extend_from_slice(&key.group.0.to_le_bytes());
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

fn put_tombstones(tombstones: &[(Age, Deletion)], out: &mut Vec<u8>) {
    put_count(tombstones.len(), out);
    for (age, deletion) in tombstones {
        put_age(*age, out);
        record::put_deletion(deletion, out);
    }
}

fn age(reader: &mut Reader<'_>) -> Option<Age> {
    Some((reader.u32()?, reader.u32()?))
}

fn key(reader: &mut Reader<'_>) -> Option<PartitionKey> {
    let (database, policy) = (DatabaseId(reader.u32()?), PolicyId(reader.u32()?));
    Some(PartitionKey { database, policy, group: GroupId(reader.u64()?) })
}

fn tombstones(shard: u16, reader: &mut Reader<'_>) -> Option<Vec<(Age, Deletion)>> {
    list(reader, |reader| Some((age(reader)?, record::decode_deletion(shard, reader)?)))
}

/// A count and so many items; room is made as they come, so that a wrong count asks for nothing.
fn list<'a, T>(reader: &mut Reader<'a>, mut item: impl FnMut(&mut Reader<'a>) -> Option<T>) -> Option<Vec<T>> {
    let count = reader.u32()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(reader)?);
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::model::TimeRange;

    const KEY: PartitionKey = PartitionKey { database: DatabaseId(1), policy: PolicyId(2), group: GroupId(3) };

    fn deletion() -> Deletion {
        Deletion {
            shard: 3,
            database: DatabaseId(1),
            series: Rc::new([1, 70_000].into_iter().collect()),
            range: TimeRange { min: -5, max: 9 },
            forgotten: vec![b"m"[..].into()],
        }
    }

    fn numbers(manifest: &Manifest) -> Vec<u64> {
        manifest.segments().map(|(_, listed)| listed.number).collect()
    }

    #[test]
    fn changes_read_back_and_cut_ones_do_not() {
        let tombstones = vec![((4, 4), deletion())];
        let segments = [(6, (4, 4)), (7, (4, 5))].map(|(number, age)| (KEY, Listed { number, age })).to_vec();
        let flush = Change::Flush { flushed: (4, 5), named: 9, segments, tombstones };
        let mut manifest = Manifest::default();
        manifest.apply(flush.clone());
        let compaction = Change::Compaction { key: KEY, age: (4, 5), removed: vec![6, 7], added: Some(8) };
        for change in [flush, compaction, Change::Whole(manifest)] {
            let bytes = change.encode();
            assert_eq!(Change::decode(3, &bytes), Some(change));
            assert!((0..bytes.len()).all(|end| Change::decode(3, &bytes[..end]).is_none()));
        }
    }

    #[test]
    fn a_compacted_segment_stands_where_those_it_replaces_stood() {
        let mut manifest = Manifest::default();
        for number in 1..=4 {
            let age = (1, number as u32);
            let segments = vec![(KEY, Listed { number, age })];
            manifest.apply(Change::Flush { flushed: age, named: 0, segments, tombstones: Vec::new() });
        }
        manifest.apply(Change::Compaction { key: KEY, age: (1, 4), removed: vec![2, 3], added: Some(5) });
        assert_eq!(numbers(&manifest), [1, 5, 4]);
        manifest.apply(Change::Compaction { key: KEY, age: (1, 4), removed: vec![1], added: None });
        assert_eq!(numbers(&manifest), [5, 4]);
        let mut other = Manifest::default();
        other.apply(Change::Whole(manifest.clone()));
        assert_eq!(other, manifest);
    }
}
