//! Byte strings that live long and die seldom, in pages: no allocation for each, no copy when it grows.

use std::num::NonZeroU64;

use crate::stdx::varint;

const PAGE_BYTES_FIRST: usize = 256;
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Below this much waste a copy of the rest is not worth it.
const DEAD_BYTES_MIN: usize = 64 << 10;

/// Where a string lies: page plus one in the upper, offset in the lower 32 bits; never 0, so that an optional one is
/// as small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(NonZeroU64);

const _: () = assert!(size_of::<Option<Place>>() == 8);

/// Append-only pages of length-prefixed strings.
#[derive(Debug, Default)]
pub struct Arena {
    pages: Vec<Vec<u8>>,
    used: usize,
    dead: usize,
}

impl Arena {
    /// Keeps a copy of `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> Place {
        let needed = bytes.len() + 10;
        let full = self.pages.last().is_none_or(|page| page.capacity() - page.len() < needed);
        if full {
            let size = (PAGE_BYTES_FIRST << self.pages.len().min(12)).min(PAGE_BYTES_MAX).max(needed);
            self.pages.push(Vec::with_capacity(size));
        }
        let page_number = self.pages.len();
        let page = &mut self.pages[page_number - 1];
        let start = page.len();
        varint::put_bytes(page, bytes);
        self.used += page.len() - start;
        Place(NonZeroU64::new((page_number as u64) << 32 | start as u64).expect("pages are numbered from 1"))
    }

    /// The string at `place`, which this arena gave.
    pub fn get(&self, place: Place) -> &[u8] {
        let page = &self.pages[(place.0.get() >> 32) as usize - 1];
        let start = (place.0.get() & u64::from(u32::MAX)) as usize;
        varint::Reader::new(&page[start..]).bytes().expect("places are given by push only")
    }

    /// Notes that nobody will ask for `place` again.
    pub fn release(&mut self, place: Place) {
        self.dead += self.get(place).len() + 1;
    }

    /// Whether more than half of it is dead, so that its owner should copy the rest into a new one.
    pub fn is_wasteful(&self) -> bool {
        self.dead > DEAD_BYTES_MIN && self.dead * 2 > self.used
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(Vec::capacity).sum::<usize>() + self.pages.capacity() * size_of::<Vec<u8>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_any_length_come_back() {
        let mut arena = Arena::default();
        let strings: Vec<Vec<u8>> =
            [0, 1, 127, 128, 300, 5000, 2_000_000, 3].iter().map(|&length| vec![b'x'; length]).collect();
        let places: Vec<Place> = strings.iter().map(|string| arena.push(string)).collect();
        for (string, place) in strings.iter().zip(places) {
            assert_eq!(arena.get(place), string);
        }
    }

    #[test]
    fn waste_is_seen_once_most_is_dead() {
        let mut arena = Arena::default();
        let places: Vec<Place> = (0..2000).map(|_| arena.push(&[b'x'; 100])).collect();
        for place in &places[..900] {
            arena.release(*place);
        }
        assert!(!arena.is_wasteful());
        for place in &places[900..1100] {
            arena.release(*place);
        }
        assert!(arena.is_wasteful());
    }
}
