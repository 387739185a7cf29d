//! What is known of a shard's series: enough to tell whether a segment belongs to them.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashMap;
use hashbrown::HashSet;
use roaring::RoaringBitmap;

use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::SeriesId;
use crate::series::block;
use crate::series::key;
use crate::shard;
use crate::shard::SeriesRecord;

/// The series of one shard, from its series log.
#[derive(Debug, Default)]
pub struct SeriesTable {
    series: HashMap<u32, Fact>,
    measurements: HashMap<Bytes, u32>,
    hasher: DefaultHashBuilder,
    /// Lower ids that are not here are of no series any more.
    gone_below: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fact {
    database: DatabaseId,
    measurement: u32,
    key_hash: u64,
}

impl SeriesTable {
    /// Takes a record of the series log; the error says what is wrong with it.
    pub fn take(&mut self, record: &[u8]) -> Result<(), String> {
        match shard::decode_series(record).ok_or("it is no record of a series")? {
            SeriesRecord::One(database, id, key) => self.add(database, id, key),
            SeriesRecord::Next(next) => {
                self.gone_below = self.gone_below.max(next.0);
                Ok(())
            }
            SeriesRecord::Block(database, plain) => {
                let mut key = Vec::new();
                for shape in block::shapes(&plain).ok_or("it is no block of series")? {
                    for (row, member) in shape.members.iter().enumerate() {
                        shape.write_key(row, &mut key);
                        self.add(database, member.id, &key)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, database: DatabaseId, id: SeriesId, key: &[u8]) -> Result<(), String> {
        let key::Decoded { measurement, .. } = key::decode(key).map_err(|error| error.to_string())?;
        let next = self.measurements.len() as u32;
        let measurement = *self.measurements.entry(measurement.into()).or_insert(next);
        let fact = Fact { database, measurement, key_hash: self.hasher.hash_one(key) };
        match self.series.insert(id.0, fact) {
            // A step that failed and was tried again, or a series that came back, is named twice.
            Some(before) if before != fact => Err(format!("series {} has another key before", id.0)),
            _ => Ok(()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.series.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether there is such a series.
    pub fn contains(&self, id: u32) -> bool {
        self.series.contains_key(&id)
    }

    /// Whether a segment may name it: also one that is gone, since deleted points of it may be left.
    pub fn may_name(&self, id: u32) -> bool {
        id < self.gone_below || self.contains(id)
    }

    /// What speaks against a series of `database` with such a field.
    pub fn check(&self, id: u32, database: DatabaseId, measurement: &[u8]) -> Result<(), String> {
        let fact = match self.series.get(&id) {
            Some(fact) => fact,
            None if self.may_name(id) => return Ok(()),
            None => return Err(format!("series {id} is not in the series log")),
        };
        if fact.database != database {
            return Err(format!("series {id} is of another database in the series log"));
        }
        if self.measurements.get(measurement) != Some(&fact.measurement) {
            return Err(format!("series {id} is of another measurement in the series log"));
        }
        Ok(())
    }

    /// Adds series and measurements of each database. A series that was dropped and came back has two ids and counts
    /// once.
    pub fn count(&self, into: &mut BTreeMap<DatabaseId, (u64, HashSet<Bytes>)>) {
        let mut used: HashMap<DatabaseId, RoaringBitmap> = HashMap::new();
        let mut keys = HashSet::new();
        for fact in self.series.values() {
            if keys.insert((fact.database, fact.key_hash)) {
                into.entry(fact.database).or_default().0 += 1;
            }
            used.entry(fact.database).or_default().insert(fact.measurement);
        }
        for (name, number) in &self.measurements {
            for (database, _) in used.iter().filter(|(_, numbers)| numbers.contains(*number)) {
                into.entry(*database).or_default().1.insert(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `shard/record.rs` lays it out.
    fn record(database: u32, id: u32, key: &str) -> Vec<u8> {
        [&[1][..], &database.to_le_bytes(), &id.to_le_bytes(), key.as_bytes()].concat()
    }

    #[test]
    fn a_series_is_known_by_its_database_and_measurement() {
        let mut table = SeriesTable::default();
        for (id, key) in [(0, "m,h=a"), (1, "n"), (0, "m,h=a")] {
            assert_eq!(table.take(&record(7, id, key)), Ok(()));
        }
        assert_eq!(table.check(0, DatabaseId(7), b"m"), Ok(()));
        let problem =
            |id, database, measurement: &[u8]| table.check(id, DatabaseId(database), measurement).unwrap_err();
        assert_eq!(problem(0, 7, b"n"), "series 0 is of another measurement in the series log");
        assert_eq!(problem(0, 8, b"m"), "series 0 is of another database in the series log");
        assert_eq!(problem(2, 7, b"m"), "series 2 is not in the series log");
        // Then those below 3 that it does not name are gone, and deleted points of them may be left.
        assert_eq!(table.take(&[&[3][..], &3_u32.to_le_bytes()].concat()), Ok(()));
        assert!(table.may_name(2) && !table.may_name(3));
        assert_eq!(table.check(2, DatabaseId(7), b"m"), Ok(()));
    }

    #[test]
    fn an_id_has_one_key_and_a_key_that_came_back_counts_once() {
        let mut table = SeriesTable::default();
        assert_eq!(table.take(&record(7, 0, "m,h=a")), Ok(()));
        assert_eq!(table.take(&record(7, 0, "m,h=b")), Err("series 0 has another key before".to_owned()));
        assert_eq!(table.take(&[9]), Err("it is no record of a series".to_owned()));
        let mut table = SeriesTable::default();
        for (id, key) in [(0, "m,h=a"), (1, "m,h=b"), (2, "m,h=a")] {
            assert_eq!(table.take(&record(7, id, key)), Ok(()));
        }
        let mut counts = BTreeMap::new();
        table.count(&mut counts);
        let (series, measurements) = counts.remove(&DatabaseId(7)).unwrap_or_default();
        assert_eq!((series, measurements.len(), table.len()), (2, 1, 3));
    }
}
