//! The series of one tag value: one id inline, a few in a sorted list, many in a bitmap.
//!
//! Most values of a large tag (host names) have one series for each measurement; a bitmap of its own costs about 200
//! bytes there, the inline id nothing.

use roaring::RoaringBitmap;

use crate::model::SeriesId;

/// Longest sorted list; a bitmap of so many ids is not larger than the list.
const FEW_MAX: usize = 32;

/// A set of series ids.
#[derive(Clone, Debug, Default)]
pub struct Postings(Set);

#[derive(Clone, Debug, Default)]
enum Set {
    #[default]
    Empty,
    One(u32),
    #[allow(clippy::box_collection, reason = "16 bytes for each tag value instead of 24")]
    Few(Box<Vec<u32>>),
    Many(Box<RoaringBitmap>),
}

const _: () = assert!(size_of::<Postings>() == 16);

impl Postings {
    /// Adds a series; whether it was new.
    pub fn insert(&mut self, series: SeriesId) -> bool {
        let id = series.0;
        match &mut self.0 {
            Set::Empty => self.0 = Set::One(id),
            Set::One(only) if *only == id => return false,
            Set::One(only) => self.0 = Set::Few(Box::new(vec![id.min(*only), id.max(*only)])),
            Set::Few(ids) => {
                let Err(at) = ids.binary_search(&id) else { return false };
                ids.insert(at, id);
                if ids.len() > FEW_MAX {
                    self.0 = Set::Many(Box::new(ids.iter().copied().collect()));
                }
            }
            Set::Many(bitmap) => return bitmap.insert(id),
        }
        true
    }

    /// Takes a series out; whether it was there.
    pub fn remove(&mut self, series: SeriesId) -> bool {
        let id = series.0;
        let was_there = match &mut self.0 {
            Set::Empty => false,
            Set::One(only) => *only == id,
            Set::Few(ids) => ids.binary_search(&id).map(|at| ids.remove(at)).is_ok(),
            Set::Many(bitmap) => bitmap.remove(id),
        };
        if was_there && (matches!(self.0, Set::One(_)) || self.is_empty()) {
            self.0 = Set::Empty;
        }
        was_there
    }

    /// How many series.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Set::Empty => 0,
            Set::One(_) => 1,
            Set::Few(ids) => ids.len() as u64,
            Set::Many(bitmap) => bitmap.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `series` is in it.
    pub fn contains(&self, series: SeriesId) -> bool {
        match &self.0 {
            Set::Empty => false,
            Set::One(only) => *only == series.0,
            Set::Few(ids) => ids.binary_search(&series.0).is_ok(),
            Set::Many(bitmap) => bitmap.contains(series.0),
        }
    }

    /// Whether some series is in this and in `other`.
    pub fn intersects(&self, other: &RoaringBitmap) -> bool {
        match &self.0 {
            Set::Empty => false,
            Set::One(only) => other.contains(*only),
            Set::Few(ids) => ids.iter().any(|&id| other.contains(id)),
            Set::Many(bitmap) => !bitmap.is_disjoint(other),
        }
    }

    /// How many series are in this and in `other`.
    pub fn intersection_len(&self, other: &RoaringBitmap) -> u64 {
        match &self.0 {
            Set::Empty => 0,
            Set::One(only) => u64::from(other.contains(*only)),
            Set::Few(ids) => ids.iter().filter(|&&id| other.contains(id)).count() as u64,
            Set::Many(bitmap) => bitmap.intersection_len(other),
        }
    }

    /// Adds all of it to `target`.
    pub fn union_into(&self, target: &mut RoaringBitmap) {
        match &self.0 {
            Set::Empty => {}
            Set::One(only) => {
                target.insert(*only);
            }
            Set::Few(ids) => target.extend(ids.iter().copied()),
            Set::Many(bitmap) => *target |= &**bitmap,
        }
    }

    /// The set as a bitmap.
    pub fn to_bitmap(&self) -> RoaringBitmap {
        let mut bitmap = RoaringBitmap::new();
        self.union_into(&mut bitmap);
        bitmap
    }

    /// Bytes held beside the 16 of the value itself.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Set::Empty | Set::One(_) => 0,
            Set::Few(ids) => size_of::<Vec<u32>>() + ids.capacity() * 4,
            Set::Many(bitmap) => bitmap_bytes(bitmap) + size_of::<RoaringBitmap>(),
        }
    }
}

/// Bytes `bitmap` holds on the heap.
pub fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    let statistics = bitmap.statistics();
    let stores =
        statistics.n_bytes_array_containers + statistics.n_bytes_run_containers + statistics.n_bytes_bitset_containers;
    stores as usize + statistics.n_containers as usize * 32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_as_a_set_through_all_three_forms() {
        let mut postings = Postings::default();
        let mut twin = BTreeSet::new();
        let mut state = 12_345_u32;
        for step in 0..4000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = state >> 25;
            let grow = (step / 500) % 2 == 0;
            let changed = if grow { postings.insert(SeriesId(id)) } else { postings.remove(SeriesId(id)) };
            assert_eq!(changed, if grow { twin.insert(id) } else { twin.remove(&id) }, "step {step}");
            assert_eq!(postings.len(), twin.len() as u64);
            assert_eq!(postings.contains(SeriesId(id)), twin.contains(&id));
            assert!(postings.to_bitmap().iter().eq(twin.iter().copied()));
            let even: RoaringBitmap = (0..64).map(|half| half * 2).collect();
            let shared = twin.iter().filter(|id| **id % 2 == 0).count() as u64;
            assert_eq!(postings.intersection_len(&even), shared);
            assert_eq!(postings.intersects(&even), shared > 0);
        }
    }
}
