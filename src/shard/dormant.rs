//! Dormant series: those without a point are out of the index, but the caches of other cores may still know their ids,
//! and a write that names one brings the series back. For that their keys are kept; but not for ever.
//!
//! ```text
//! retire ──► dormant ──write by key or id──► index
//!               │ there are many
//!               ▼
//!           leaving ──all that was queued before is applied──► forgotten: its key gets a new id
//! ```
//!
//! Leaving begins with a step of the database's counter, which every core compares with its cache before it begins a
//! write: from then on no cache has the ids. A write that began before and names one that is still there keeps it; if
//! it is gone, the write is refused, and the client's next try sends the key. What is dormant must stand in the series
//! log before its key may go, and there it stays while core logs may name it: as after a start, where nobody knows the
//! ids of dormant series. Not while a flush waits: so that the logs after it name none that went before.

use std::cell::RefMut;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::batch::Reader;
use crate::batch::SeriesRef;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::model::DatabaseId;
use crate::model::SeriesId;
use crate::shard::Engine;
use crate::shard::State;
use crate::shard::WriteError;
use crate::shard::state::ShardState;

/// Forgotten at once, in some tenths of a millisecond.
const STEP_SERIES: usize = 1024;

/// The dormant series of one database in one shard.
#[derive(Debug, Default)]
pub struct Dormant {
    keys: BTreeMap<SeriesId, Box<[u8]>>,
    /// Those that a write of their key brings back.
    by_key: HashTable<SeriesId>,
    leaving: RoaringBitmap,
}

impl Dormant {
    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Ids from `first` on, ascending.
    pub fn ids_from(&self, first: SeriesId) -> impl Iterator<Item = SeriesId> {
        self.keys.range(first..).map(|(id, _)| *id)
    }

    /// The key of a dormant series.
    pub fn key(&self, id: SeriesId) -> Option<&[u8]> {
        self.keys.get(&id).map(|key| &**key)
    }

    /// The series that a write of `key` brings back. It stays.
    pub fn claim(&mut self, key: &[u8]) -> Option<SeriesId> {
        let keys = &self.keys;
        let found = *self.by_key.find(hash(key), |id| keys.get(id).is_some_and(|other| **other == *key))?;
        self.leaving.remove(found.0);
        Some(found)
    }

    /// Whether a write that names `id` can bring it back. Then it stays.
    fn keep(&mut self, id: SeriesId) -> bool {
        self.leaving.remove(id.0);
        self.keys.contains_key(&id)
    }

    /// A series became dormant.
    pub fn insert(&mut self, id: SeriesId, key: Box<[u8]>) {
        let hash_of = |id: &SeriesId| hash(self.keys.get(id).map_or(&[], |key| key));
        self.by_key.insert_unique(hash(&key), id, hash_of);
        self.keys.insert(id, key);
    }

    /// A series that a newer id of the same key has replaced.
    pub fn insert_replaced(&mut self, id: SeriesId, key: Box<[u8]>) {
        self.keys.insert(id, key);
    }

    /// A series comes back, or goes; its key.
    pub fn take(&mut self, id: SeriesId) -> Option<Box<[u8]>> {
        let key = self.keys.remove(&id)?;
        self.leaving.remove(id.0);
        if let Ok(entry) = self.by_key.find_entry(hash(&key), |other| *other == id) {
            entry.remove();
        }
        Some(key)
    }

    /// All that the series log does not need are about to go.
    fn leave(&mut self, unsaved: Option<&RoaringBitmap>) {
        self.leaving = self.keys.keys().map(|id| id.0).collect();
        if let Some(unsaved) = unsaved {
            self.leaving -= unsaved;
        }
    }

    /// Forgets some of those that were about to go and still are; whether there may be more.
    fn forget_leaving(&mut self) -> bool {
        let some: Vec<u32> = self.leaving.iter().take(STEP_SERIES).collect();
        some.iter().for_each(|id| _ = self.take(SeriesId(*id)));
        if !some.is_empty() {
            return true;
        }
        self.by_key.shrink_to_fit(|id| hash(self.keys.get(id).map_or(&[], |key| key)));
        false
    }

    /// After a start nobody knows their ids; their keys get new ones when they come back. Keys that the series log
    /// still needs are kept: segments may name their ids.
    pub fn forget_known(&mut self, unsaved: Option<&RoaringBitmap>) {
        self.keys.retain(|id, _| unsaved.is_some_and(|unsaved| unsaved.contains(id.0)));
        self.by_key = HashTable::new();
    }
}

fn hash(key: &[u8]) -> u64 {
    rapidhash::v3::rapidhash_v3(key)
}

/// The series of a batch's rows; `ids` are those of its keys.
fn series_of(batch: &Reader<'_>, ids: &[SeriesId], mut each: impl FnMut(SeriesId)) {
    let mut rows = batch.rows();
    while let Ok(Some(row)) = rows.next_row() {
        match row.series {
            SeriesRef::Known(id) => each(id),
            SeriesRef::New(index) => ids.get(index as usize).copied().into_iter().for_each(&mut each),
        }
        let Some(layout) = batch.layouts.get(row.layout as usize) else { break };
        if layout.fields.iter().any(|field| rows.value(field.1).is_err()) {
            break;
        }
    }
}

impl<P: Disk> ShardState<P> {
    /// The dormant series that a batch has points of, each once; `ids` are those of its keys.
    pub fn dormant_of(&self, batch: &Reader<'_>, ids: &[SeriesId]) -> BTreeSet<SeriesId> {
        let mut found = BTreeSet::new();
        if let Some(dormant) = self.dormant.get(&batch.destination.database).filter(|dormant| !dormant.is_empty()) {
            series_of(batch, ids, |id| {
                if dormant.key(id).is_some() {
                    found.insert(id);
                }
            });
        }
        found
    }

    /// Whether all ids that a batch names are of series, or of dormant ones, which stay then.
    pub fn keep_named(&mut self, batch: &Reader<'_>) -> bool {
        let index = self.indexes.get(&batch.destination.database);
        let mut dormant = self.dormant.get_mut(&batch.destination.database);
        let mut are_there = true;
        series_of(batch, &[], |id| {
            are_there &= index.is_some_and(|index| index.contains(id))
                || dormant.as_mut().is_some_and(|dormant| dormant.keep(id));
        });
        are_there
    }
}

/// What a core knows of the ids of a database.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forgetting {
    /// Writes that began before the counter stood here may name ids that are gone.
    trusted_from: u64,
    /// Dormant series are leaving; they go when so many writes have ended.
    leaves_at: Option<u64>,
}

/// Refuses batches that name an id that is gone, as those of a write may that began before the others were told.
pub(super) fn check_ids<P: Disk>(state: &mut State<P>, readers: &[Reader<'_>], forgets: u64) -> Result<(), WriteError> {
    let State { shards, forgetting, .. } = state;
    for reader in readers {
        let is_trusted = forgetting.get(&reader.destination.database).is_none_or(|known| known.trusted_from <= forgets);
        let shard = shards.get_mut(&reader.destination.shard).expect("checked");
        if !is_trusted && !shard.keep_named(reader) {
            return Err(WriteError::Overloaded("series that were written to have been deleted; try again"));
        }
    }
    Ok(())
}

impl<P: Disk + Clock> Engine<P> {
    /// Whether dormant series are about to go.
    pub(super) fn is_forgetting(&self) -> bool {
        self.state.borrow().forgetting.values().any(|known| known.leaves_at.is_some())
    }

    /// Lets dormant series go where there are too many of them. A step of the flush loop, since that saves series.
    pub(super) async fn forget_dormant(&self) {
        self.forget_leaving().await;
        for database in self.crowded() {
            for shard in self.options.shards() {
                if let Err(error) = self.save_series(shard).await {
                    tracing::warn!("series without a point could not be saved: {error}");
                    return;
                }
            }
            self.start_leaving(database).await;
        }
        self.forget_leaving().await;
    }

    /// Databases with too many dormant series. Half as many as are alive are not: so what it costs that all cores
    /// forget and learn again was paid with deletions.
    fn crowded(&self) -> Vec<DatabaseId> {
        let state = self.state.borrow();
        let is_crowded = |database: &DatabaseId| {
            let shards = state.shards.values();
            let alive = shards.clone().filter_map(|shard| shard.indexes.get(database)).map(|index| index.len());
            let dormant = shards.filter_map(|shard| shard.dormant.get(database)).map(Dormant::len);
            let is_leaving = state.forgetting.get(database).is_some_and(|known| known.leaves_at.is_some());
            !is_leaving && dormant.sum::<usize>() > self.options.dormant_series.max(alive.sum::<usize>() / 2)
        };
        let sleeping =
            state.shards.values().flat_map(|shard| &shard.dormant).filter(|(_, dormant)| !dormant.is_empty());
        let databases: BTreeSet<DatabaseId> = sleeping.map(|(database, _)| *database).collect();
        databases.into_iter().filter(|database| state.live.forgets.contains_key(database)).filter(is_crowded).collect()
    }

    async fn start_leaving(&self, database: DatabaseId) {
        for shard in self.options.shards() {
            {
                let mut state = self.state.borrow_mut();
                let ShardState { dormant, unsaved_series, .. } = state.shards.get_mut(&shard).expect("own shard");
                if let Some(dormant) = dormant.get_mut(&database) {
                    dormant.leave(unsaved_series.get(&database));
                }
            }
            self.platform.yield_now().await;
        }
        let mut state = self.state.borrow_mut();
        let State { live, forgetting, enqueued, .. } = &mut *state;
        // A drop may have come in between.
        let Some(counter) = live.forgets.get(&database) else { return };
        let trusted_from = counter.add(1) + 1;
        forgetting.insert(database, Forgetting { trusted_from, leaves_at: Some(*enqueued) });
    }

    /// Forgets what has left, once all writes that were queued before have ended.
    async fn forget_leaving(&self) {
        while let Some(database) = self.left() {
            for shard in self.options.shards() {
                self.note_forgetting(shard);
                while self.dormant_mut(shard, database).is_some_and(|mut dormant| dormant.forget_leaving()) {
                    self.platform.yield_now().await;
                }
            }
        }
    }

    fn note_forgetting(&self, shard: u16) {
        let mut state = self.state.borrow_mut();
        let epoch = state.log_name.epoch;
        state.shards.get_mut(&shard).expect("own shard").forgotten_in = Some(epoch);
    }

    fn left(&self) -> Option<DatabaseId> {
        let mut state = self.state.borrow_mut();
        let State { forgetting, ended, .. } = &mut *state;
        let has_left = |known: &Forgetting| known.leaves_at.is_some_and(|enqueued| enqueued <= *ended);
        let (database, known) = forgetting.iter_mut().find(|(_, known)| has_left(known))?;
        known.leaves_at = None;
        Some(*database)
    }

    fn dormant_mut(&self, shard: u16, database: DatabaseId) -> Option<RefMut<'_, Dormant>> {
        RefMut::filter_map(self.state.borrow_mut(), |state| state.shards.get_mut(&shard)?.dormant.get_mut(&database))
            .ok()
    }
}
