//! What was deleted and may still lie in segments: sets of series, a time range, and how far back it reaches.
//!
//! A deletion is a record of the core's log, in order with the writes. It hides every older segment and the frozen
//! memtable; the active memtable keeps its own note, since there it divides the rows by their sequence. It moves to the
//! manifest with the flush of the log file that holds it, and stays in memory as long as something older is there.

use std::rc::Rc;

use roaring::RoaringBitmap;

use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::SeriesId;
use crate::model::TimeRange;

/// One deletion in one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Deletion {
    /// The shard.
    pub shard: u16,
    /// The database; all its policies are concerned.
    pub database: DatabaseId,
    /// Series that lose their points.
    pub series: Rc<RoaringBitmap>,
    /// Times they lose, inclusive.
    pub range: TimeRange,
    /// Measurements that have no series left anywhere: their older fields are no longer known.
    pub forgotten: Vec<Bytes>,
}

/// A deletion that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// Age of its log file: it hides what is older.
    pub age: (u32, u32),
    /// What it hides.
    pub deletion: Deletion,
    /// Whether the manifest holds it.
    pub is_saved: bool,
}

impl Tombstone {
    fn hides(&self, database: DatabaseId, series: SeriesId, age: (u32, u32)) -> bool {
        self.age > age && self.deletion.database == database && self.deletion.series.contains(series.0)
    }
}

/// Times at which points of `series` in a segment or frozen memtable of `age` are hidden; may overlap.
pub fn dead_ranges(
    tombstones: &[Tombstone],
    database: DatabaseId,
    series: SeriesId,
    age: (u32, u32),
) -> Vec<TimeRange> {
    let hiding = tombstones.iter().filter(|tombstone| tombstone.hides(database, series, age));
    hiding.map(|tombstone| tombstone.deletion.range).collect()
}

/// Whether fields of `measurement` in something of `age` are forgotten.
pub fn is_forgotten(tombstones: &[Tombstone], database: DatabaseId, measurement: &[u8], age: (u32, u32)) -> bool {
    tombstones.iter().any(|tombstone| {
        tombstone.age > age
            && tombstone.deletion.database == database
            && tombstone.deletion.forgotten.iter().any(|name| **name == *measurement)
    })
}

/// Whether dead ranges leave nothing of `range`, as far as can be told without reading: a point at its first and its
/// last time is sure to be there.
pub fn covers(dead: &[TimeRange], range: TimeRange) -> bool {
    let hidden = |time| dead.iter().any(|dead| dead.contains(time));
    hidden(range.min) && hidden(range.max) && {
        let mut sorted = dead.to_vec();
        sorted.sort_by_key(|range| range.min);
        let mut reached = range.min;
        for dead in sorted {
            if dead.min > reached {
                break;
            }
            reached = reached.max(dead.max.saturating_add(1));
        }
        reached > range.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_cover_together_and_a_gap_is_seen() {
        let range = |min, max| TimeRange { min, max };
        assert!(covers(&[range(5, 9), range(0, 4)], range(1, 8)));
        assert!(!covers(&[range(6, 9), range(0, 4)], range(1, 8)));
        assert!(!covers(&[range(0, 7)], range(1, 8)));
        assert!(!covers(&[], range(1, 1)));
    }

    #[test]
    fn a_tombstone_hides_what_is_older_only() {
        let deletion = Deletion {
            shard: 0,
            database: DatabaseId(1),
            series: Rc::new([3].into_iter().collect()),
            range: TimeRange { min: 0, max: 9 },
            forgotten: vec![b"m"[..].into()],
        };
        let tombstones = [Tombstone { age: (1, 2), deletion, is_saved: false }];
        let dead = |series, age| dead_ranges(&tombstones, DatabaseId(1), SeriesId(series), age).len();
        assert_eq!((dead(3, (1, 1)), dead(3, (1, 2)), dead(4, (1, 1))), (1, 0, 0));
        assert!(is_forgotten(&tombstones, DatabaseId(1), b"m", (0, 9)));
        assert!(!is_forgotten(&tombstones, DatabaseId(1), b"m", (1, 2)));
    }
}
