//! What is known of a shard's series: enough to tell whether a segment belongs to them.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashMap;

use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::series::key;
use crate::shard;

/// The series of one shard, from its series log.
#[derive(Debug, Default)]
pub struct SeriesTable {
    series: HashMap<u32, Fact>,
    measurements: HashMap<Bytes, u32>,
    hasher: DefaultHashBuilder,
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
        let (database, id, key) = shard::decode_series(record).ok_or("it is no record of a series")?;
        let (measurement, _) = key::parse_key(key).map_err(|error| error.to_string())?;
        let next = self.measurements.len() as u32;
        let measurement = *self.measurements.entry(measurement.into()).or_insert(next);
        let fact = Fact { database, measurement, key_hash: self.hasher.hash_one(key) };
        match self.series.insert(id.0, fact) {
            // A step that failed and was tried again names some series twice.
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

    /// What speaks against a series of `database` with such a field.
    pub fn check(&self, id: u32, database: DatabaseId, measurement: &[u8]) -> Result<(), String> {
        let fact = self.series.get(&id).ok_or_else(|| format!("series {id} is not in the series log"))?;
        if fact.database != database {
            return Err(format!("series {id} is of another database in the series log"));
        }
        if self.measurements.get(measurement) != Some(&fact.measurement) {
            return Err(format!("series {id} is of another measurement in the series log"));
        }
        Ok(())
    }

    /// Series and measurements of each database.
    pub fn count(&self, into: &mut std::collections::BTreeMap<DatabaseId, (u64, hashbrown::HashSet<Bytes>)>) {
        let mut used: HashMap<DatabaseId, roaring::RoaringBitmap> = HashMap::new();
        for fact in self.series.values() {
            into.entry(fact.database).or_default().0 += 1;
            used.entry(fact.database).or_default().insert(fact.measurement);
        }
        for (name, number) in &self.measurements {
            for (database, _) in used.iter().filter(|(_, numbers)| numbers.contains(*number)) {
                into.entry(*database).or_default().1.insert(name.clone());
            }
        }
    }
}
