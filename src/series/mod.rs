//! Series keys to ids; tags to sets of ids; field types.
pub mod key;

use crate::model::SeriesId;

/// The series of one database in one shard.
#[derive(Debug, Default)]
pub struct Index {
    ids: hashbrown::HashMap<Box<[u8]>, SeriesId>,
}

impl Index {
    /// The id of a canonical key.
    pub fn lookup(&self, key: &[u8]) -> Option<SeriesId> {
        self.ids.get(key).copied()
    }

    /// Adds a series.
    pub fn insert(&mut self, id: SeriesId, key: &[u8]) {
        self.ids.insert(key.into(), id);
    }

    /// Forgets a series.
    pub fn remove(&mut self, id: SeriesId) {
        self.ids.retain(|_, other| *other != id);
    }
}
