//! Series whose last shard group was dropped: by retention, DROP SHARD or DROP RETENTION POLICY.
//!
//! They leave the index as series do whose last point was deleted: some at a time, beside writes, and are dormant then.
//! A start finds those that are left by itself, when all partitions are open: series of the index that no partition
//! holds.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::model::DatabaseId;
use crate::shard::Engine;
use crate::shard::State;
use crate::shard::state::ShardState;

/// Series by shard and database that may have been left without a partition.
pub(super) type Orphans = BTreeMap<(u16, DatabaseId), RoaringBitmap>;

impl<P: Disk> ShardState<P> {
    /// Those of `series` that no partition of the database holds.
    fn without_partition(&self, database: DatabaseId, mut series: RoaringBitmap) -> RoaringBitmap {
        for (_, partition) in self.partitions.iter().filter(|(key, _)| key.database == database) {
            series -= &*partition.series();
        }
        series
    }

    /// Series of the index that no partition holds, by database; none of a database with a segment that is not or could
    /// not be opened, since nobody knows whose points those are.
    fn orphans(&self) -> Vec<(DatabaseId, RoaringBitmap)> {
        let is_known = |database: DatabaseId| {
            let mut partitions = self.partitions.iter().filter(|(key, _)| key.database == database);
            partitions.all(|(_, partition)| partition.unopened.is_empty() && partition.unreadable == 0)
        };
        let known = self.indexes.iter().filter(|(database, _)| is_known(**database));
        let orphans = known.map(|(&database, index)| {
            let mut all = RoaringBitmap::new();
            index.measurements().for_each(|measurement| all |= measurement.series());
            (database, self.without_partition(database, all))
        });
        orphans.collect()
    }
}

impl<P: Disk + Clock> Engine<P> {
    /// Looks for series that no partition holds.
    pub(super) fn find_orphans(&self) {
        let mut state = self.state.borrow_mut();
        let State { shards, orphans, .. } = &mut *state;
        for (&number, shard) in shards {
            for (database, series) in shard.orphans() {
                *orphans.entry((number, database)).or_default() |= series;
            }
        }
    }

    /// Takes the series of dropped partitions out of the index that are in no other one.
    pub(super) async fn settle_orphans(&self) {
        while let Some(((number, database), series)) = self.pop_orphans() {
            let left = match self.state.borrow().shards.get(&number) {
                Some(shard) => shard.without_partition(database, series),
                None => continue,
            };
            self.settle(number, database, &left).await;
        }
    }

    fn pop_orphans(&self) -> Option<((u16, DatabaseId), RoaringBitmap)> {
        self.state.borrow_mut().orphans.pop_first()
    }
}
