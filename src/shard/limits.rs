//! What the limits on new series ask of a shard: which series and tag values it has, and how many.
//!
//! The series of a database are counted over all cores by its [`Budget`]: one for each that is in an index, and room
//! taken for those that a write is about to make. `ingest` asks first and takes the room; a series that comes in some
//! other way (its last point was deleted in between) has to find room here, or its write is refused.

use std::collections::HashSet;

use crate::batch::Reader;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::shard::Engine;
use crate::shard::Live;
use crate::shard::State;
use crate::shard::WriteError;
use crate::stdx::budget::Taken;

/// Values of one tag key of one measurement that a write brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagAsk {
    /// The measurement.
    pub measurement: Bytes,
    /// The tag key.
    pub key: Bytes,
    /// The values.
    pub values: Vec<Bytes>,
    /// Whether all values that are there shall be told apart.
    pub listed: bool,
}

impl TagAsk {
    /// Memory it takes, about.
    pub fn bytes(&self) -> usize {
        let values: usize = self.values.iter().map(|value| 16 + value.len()).sum();
        64 + self.measurement.len() + self.key.len() + values
    }
}

/// What one core has of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagAnswer {
    /// Which of the values asked for are there.
    pub known: Vec<bool>,
    /// Distinct values of the key, those that several shards have once for each.
    pub count: u64,
    /// A hash of each distinct value, sorted, if asked for.
    pub values: Vec<u64>,
}

impl<P: Disk + Clock> Engine<P> {
    /// Which of these keys, each with its shard, are series.
    pub fn known_series(&self, database: DatabaseId, keys: &[(u16, Bytes)]) -> Vec<bool> {
        let state = self.state.borrow();
        let is_known =
            |(shard, key): &(u16, Bytes)| state.shards.get(shard).is_some_and(|shard| shard.has_series(database, key));
        keys.iter().map(is_known).collect()
    }

    /// What this core has of some tag values.
    pub fn tag_values(&self, database: DatabaseId, asks: &[TagAsk]) -> Vec<TagAnswer> {
        let state = self.state.borrow();
        let answer = |ask: &TagAsk| {
            let mut answer = TagAnswer { known: vec![false; ask.values.len()], ..TagAnswer::default() };
            let indexes = state.shards.values().filter_map(|shard| shard.indexes.get(&database));
            for index in indexes {
                let Some(tag) = index.measurement(&ask.measurement).and_then(|found| found.tag(&ask.key)) else {
                    continue;
                };
                answer.count += tag.value_count() as u64;
                for (known, value) in answer.known.iter_mut().zip(&ask.values) {
                    *known |= tag.value(value).is_some();
                }
                if ask.listed {
                    answer.values.extend(tag.values().map(|(value, _)| rapidhash::v3::rapidhash_v3(value)));
                }
            }
            answer.values.sort_unstable();
            answer.values.dedup();
            answer
        };
        asks.iter().map(answer).collect()
    }

    /// Counts the series that a start has found.
    pub(super) fn count_series(&self) {
        let state = self.state.borrow();
        for (database, index) in state.shards.values().flat_map(|shard| &shard.indexes) {
            count(&state.live, *database, index.len() as u64);
        }
    }
}

/// Series came into an index.
pub(super) fn count(live: &Live, database: DatabaseId, series: u64) {
    if let Some(budget) = live.series.get(&database).filter(|_| series > 0) {
        budget.counter().add(series);
    }
}

/// Series left an index.
pub(super) fn uncount(live: &Live, database: DatabaseId, series: u64) {
    if let Some(budget) = live.series.get(&database).filter(|_| series > 0) {
        budget.counter().sub(series);
    }
}

/// Room for all series that a write brings: what was taken already, and more if that is not enough.
pub(super) fn room_for<P: Disk>(state: &State<P>, readers: &[Reader<'_>], taken: Taken) -> Result<Taken, WriteError> {
    let database = readers.first().map(|reader| reader.destination.database);
    let Some(budget) = database.and_then(|database| state.live.series.get(&database)) else { return Ok(taken) };
    let need = if budget.max() == 0 { 0 } else { new_series(state, readers) };
    let refused = |_| WriteError::Overloaded("series that were written to are being deleted; try again");
    let mut room = budget.take(need.saturating_sub(taken.units())).map_err(refused)?;
    room.join(taken);
    Ok(room)
}

/// How many series a write brings into the index, at once or when it is applied.
fn new_series<P: Disk>(state: &State<P>, readers: &[Reader<'_>]) -> u64 {
    let (mut keys, mut ids) = (HashSet::new(), HashSet::new());
    for reader in readers {
        let destination = reader.destination;
        let Some(shard) = state.shards.get(&destination.shard) else { continue };
        let new = reader.keys.iter().filter(|key| !shard.has_series(destination.database, key));
        keys.extend(new.map(|key| (destination.shard, *key)));
        ids.extend(shard.dormant_of(reader, &[]).into_iter().map(|id| (destination.shard, id)));
    }
    (keys.len() + ids.len()) as u64
}
