//! A hash table whose parts grow one after the other.
//!
//! One table doubles as a whole: old and new are there at once, the core waits while all of it moves, and as shards
//! fill evenly all of them do so together. Here a part gets the more entries the later it stands, up to twice those of
//! the first, so that at any size some have just grown and others are nearly full: the room for an entry hardly
//! changes.

use hashbrown::HashTable;

/// What a few entries need not: a hundred thousand small indexes shall not have as many parts each.
const ENTRIES_WHOLE: usize = 2048;
/// Where the second part begins and so on, in 256ths of all hashes: at 2^(n/16) - 1.
const STARTS: [u8; 15] = [11, 23, 36, 48, 62, 76, 91, 106, 122, 139, 156, 175, 194, 214, 234];

/// A table of entries that know their hash; see the module. 64 bits of it shall be well mixed.
#[derive(Debug)]
pub struct Table<T> {
    /// All entries, until there are many.
    whole: HashTable<T>,
    parts: Vec<HashTable<T>>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { whole: HashTable::new(), parts: Vec::new(), len: 0 }
    }
}

impl<T> Table<T> {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The entry with this hash that `is_it`.
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        let part = if self.parts.is_empty() { &self.whole } else { &self.parts[part_of(hash)] };
        part.find(hash, is_it)
    }

    /// Adds an entry that is not there.
    pub fn insert_unique(&mut self, entry: T, hash: impl Fn(&T) -> u64) {
        if self.parts.is_empty() && self.len == ENTRIES_WHOLE {
            self.divide(&hash);
        }
        let part = if self.parts.is_empty() { &mut self.whole } else { &mut self.parts[part_of(hash(&entry))] };
        part.insert_unique(hash(&entry), entry, hash);
        self.len += 1;
    }

    /// Takes the entry with this hash out that `is_it`; whether it was there.
    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> bool {
        let part = if self.parts.is_empty() { &mut self.whole } else { &mut self.parts[part_of(hash)] };
        let was_there = part.find_entry(hash, is_it).map(|entry| entry.remove()).is_ok();
        self.len -= usize::from(was_there);
        was_there
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.whole.iter().chain(self.parts.iter().flatten())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| part.allocation_size() + size_of::<HashTable<T>>());
        self.whole.allocation_size() + parts.sum::<usize>()
    }

    fn divide(&mut self, hash: impl Fn(&T) -> u64) {
        self.parts.resize_with(STARTS.len() + 1, HashTable::new);
        for entry in std::mem::take(&mut self.whole) {
            self.parts[part_of(hash(&entry))].insert_unique(hash(&entry), entry, &hash);
        }
    }
}

/// By bits that say nothing of the place in a part: that comes from the lowest, the tag from the highest.
fn part_of(hash: u64) -> usize {
    let share = (hash >> 40) as u8;
    STARTS.partition_point(|&start| start <= share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::spread::spread;

    #[test]
    fn behaves_as_a_set_when_whole_and_in_parts() {
        let hash = |entry: &u32| spread(entry.wrapping_mul(0x9E37_79B1));
        let is = |sought: u32| move |entry: &u32| *entry == sought;
        let mut table = Table::default();
        for entry in 0..20_000 {
            table.insert_unique(entry, hash);
            assert!(table.find(hash(&(entry / 2)), is(entry / 2)).is_some());
        }
        for entry in (0..20_000).filter(|entry| entry % 4 != 0) {
            assert!(table.remove(hash(&entry), is(entry)) && !table.remove(hash(&entry), is(entry)));
        }
        let mut left: Vec<u32> = table.iter().copied().collect();
        left.sort_unstable();
        assert!(left.len() == table.len() && left.into_iter().eq((0..20_000).step_by(4)));
    }

    #[test]
    fn room_for_an_entry_hardly_changes_while_it_grows() {
        let hash = |entry: &u32| spread(entry.wrapping_mul(0x9E37_79B1));
        let mut table = Table::default();
        for entry in 0..400_000_u32 {
            table.insert_unique(entry, hash);
            if entry > 50_000 && entry % 1000 == 0 {
                let each = table.bytes() as f64 / f64::from(entry);
                // Five bytes an entry, two thirds full.
                assert!((7.4..9.2).contains(&each), "{each} bytes at {entry}");
            }
        }
    }
}
