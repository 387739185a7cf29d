//! One measurement of an index: its series, and for each tag key the values with their series.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::arena::Arena;
use super::arena::Place;
use super::postings;
use super::postings::Postings;
use super::table::Table;
use crate::model::Bytes;
use crate::model::SeriesId;
use crate::stdx::spread::spread;

/// The series and tags of one measurement.
#[derive(Debug)]
pub struct MeasurementIndex {
    name: Bytes,
    /// All series of the measurement.
    series: RoaringBitmap,
    /// By ordinal; a key stays when its last series goes, and is passed over by [`MeasurementIndex::tag_keys`].
    keys: Vec<TagIndex>,
    ordinals: BTreeMap<Bytes, u32>,
    /// Series in the order SHOW SERIES prints them, made when asked for.
    pub(super) ordered: OnceCell<Box<[u32]>>,
}

impl MeasurementIndex {
    pub(super) fn new(name: &[u8]) -> MeasurementIndex {
        MeasurementIndex {
            name: name.into(),
            series: RoaringBitmap::new(),
            keys: Vec::new(),
            ordinals: BTreeMap::new(),
            ordered: OnceCell::new(),
        }
    }

    /// The name, decoded.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// All series.
    pub fn series(&self) -> &RoaringBitmap {
        &self.series
    }

    /// Tag keys that some series has, sorted by name.
    pub fn tag_keys(&self) -> impl Iterator<Item = (&[u8], &TagIndex)> {
        let keys = self.ordinals.iter().map(|(name, &ordinal)| (&**name, &self.keys[ordinal as usize]));
        keys.filter(|(_, key)| key.series_count > 0)
    }

    /// The tag `key`, if some series has it.
    pub fn tag(&self, key: &[u8]) -> Option<&TagIndex> {
        self.ordinals.get(key).map(|&ordinal| &self.keys[ordinal as usize]).filter(|key| key.series_count > 0)
    }

    /// Series that match `key = value`; an empty value means lacking the tag.
    pub fn equal(&self, key: &[u8], value: &[u8]) -> RoaringBitmap {
        match (self.tag(key), value.is_empty()) {
            (None, true) => self.series.clone(),
            (None, false) => RoaringBitmap::new(),
            (Some(tag), true) => self.lacking(tag),
            (Some(tag), false) => tag.value(value).map(Postings::to_bitmap).unwrap_or_default(),
        }
    }

    /// Series that match `key != value`, those without the tag among them; `!= ''` asks for the tag.
    pub fn not_equal(&self, key: &[u8], value: &[u8]) -> RoaringBitmap {
        &self.series - self.equal(key, value)
    }

    /// Series that match `key =~ regex`; `is_match` is asked for each distinct value, and for the empty string in the
    /// name of series without the tag.
    pub fn matching(&self, key: &[u8], mut is_match: impl FnMut(&[u8]) -> bool) -> RoaringBitmap {
        let without = is_match(b"");
        let Some(tag) = self.tag(key) else {
            return if without { self.series.clone() } else { RoaringBitmap::new() };
        };
        let mut found = if without { self.lacking(tag) } else { RoaringBitmap::new() };
        for (value, series) in tag.values() {
            if is_match(value) {
                series.union_into(&mut found);
            }
        }
        found
    }

    /// Series that have the tag `key`.
    pub fn having(&self, key: &[u8]) -> RoaringBitmap {
        self.not_equal(key, b"")
    }

    /// Series that have both tags with the same value.
    pub fn same(&self, left: &[u8], right: &[u8]) -> RoaringBitmap {
        let (Some(left), Some(right)) = (self.tag(left), self.tag(right)) else { return RoaringBitmap::new() };
        let (few, many) = if left.value_count() < right.value_count() { (left, right) } else { (right, left) };
        let mut same = RoaringBitmap::new();
        for (value, series) in few.values() {
            if let Some(others) = many.value(value) {
                same |= series.to_bitmap() & others.to_bitmap();
            }
        }
        same
    }

    fn lacking(&self, tag: &TagIndex) -> RoaringBitmap {
        if tag.series_count == self.series.len() {
            return RoaringBitmap::new();
        }
        let mut having = RoaringBitmap::new();
        for (_, series) in tag.values() {
            series.union_into(&mut having);
        }
        &self.series - having
    }

    pub(super) fn insert_series(&mut self, series: SeriesId) {
        self.series.insert(series.0);
        self.ordered.take();
    }

    pub(super) fn remove_series(&mut self, series: SeriesId) {
        self.series.remove(series.0);
        self.ordered.take();
    }

    /// Files `series` under `key = value`, its tag at `position`; the ordinals that stand for them in its record.
    pub(super) fn insert_tag(&mut self, position: usize, key: &[u8], value: &[u8], series: SeriesId) -> (u32, u32) {
        // Most series of a measurement have the same tags, so that a key's ordinal is its position.
        let ordinal = match self.keys.get(position).is_some_and(|there| *there.name == *key) {
            true => position as u32,
            false => self.key_ordinal(key),
        };
        (ordinal, self.keys[ordinal as usize].insert(value, series))
    }

    /// As [`MeasurementIndex::insert_tag`], by the ordinals that it gave for another series that is still there.
    pub(super) fn insert_known_tag(&mut self, key: u32, value: u32, series: SeriesId) {
        let key = &mut self.keys[key as usize];
        key.series_count += u64::from(key.values[value as usize].series.insert(series));
    }

    fn key_ordinal(&mut self, key: &[u8]) -> u32 {
        if let Some(&ordinal) = self.ordinals.get(key) {
            return ordinal;
        }
        let ordinal = self.keys.len() as u32;
        self.keys.push(TagIndex::new(key));
        self.ordinals.insert(key.into(), ordinal);
        ordinal
    }

    pub(super) fn remove_tag(&mut self, key: u32, value: u32, series: SeriesId) {
        self.keys[key as usize].remove(value, series);
    }

    pub(super) fn tag_text(&self, key: u32, value: u32) -> (&[u8], &[u8]) {
        let key = &self.keys[key as usize];
        (&key.name, key.text(value))
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let ordered = self.ordered.get().map_or(0, |ordered| ordered.len() * 4);
        let names = self.ordinals.keys().map(|name| name.len() + 40).sum::<usize>();
        postings::bitmap_bytes(&self.series)
            + self.keys.iter().map(TagIndex::bytes).sum::<usize>()
            + (self.keys.capacity() - self.keys.len()) * size_of::<TagIndex>()
            + ordered
            + names
            + size_of::<MeasurementIndex>()
    }
}

/// The values of one tag key of one measurement.
#[derive(Debug)]
pub struct TagIndex {
    name: Bytes,
    texts: Arena,
    values: Vec<Value>,
    /// Ordinals by text.
    table: Table<Entry>,
    /// Ordinals of values that lost their last series.
    free: Vec<u32>,
    series_count: u64,
    /// Ordinals by text order, made when asked for.
    sorted: OnceCell<Box<[u32]>>,
}

/// An ordinal and half the hash of its text, so that a table that grows reads no text: with a hundred thousand values
/// that would hold up the core for ten milliseconds.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    ordinal: u32,
}

impl Entry {
    fn spread(self) -> u64 {
        spread(self.hash)
    }
}

#[derive(Debug)]
struct Value {
    text: Place,
    series: Postings,
}

impl TagIndex {
    fn new(name: &[u8]) -> TagIndex {
        TagIndex {
            name: name.into(),
            texts: Arena::default(),
            values: Vec::new(),
            table: Table::default(),
            free: Vec::new(),
            series_count: 0,
            sorted: OnceCell::new(),
        }
    }

    /// How many series have the tag.
    pub fn series_count(&self) -> u64 {
        self.series_count
    }

    /// How many distinct values.
    pub fn value_count(&self) -> usize {
        self.table.len()
    }

    /// The series with `value`.
    pub fn value(&self, value: &[u8]) -> Option<&Postings> {
        Some(&self.values[self.find(value)? as usize].series)
    }

    /// Distinct values with their series, in no order.
    pub fn values(&self) -> impl Iterator<Item = (&[u8], &Postings)> {
        self.values
            .iter()
            .filter(|value| !value.series.is_empty())
            .map(|value| (self.texts.get(value.text), &value.series))
    }

    /// Distinct values with their series, sorted, from the first one greater than `after` on (`None`: from the
    /// start).
    pub fn values_after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &Postings)> {
        let sorted = self.sorted.get_or_init(|| {
            let mut ordinals: Box<[u32]> = self.table.iter().map(|entry| entry.ordinal).collect();
            ordinals.sort_unstable_by(|&left, &right| self.text(left).cmp(self.text(right)));
            ordinals
        });
        let start = after.map_or(0, |after| sorted.partition_point(|&ordinal| self.text(ordinal) <= after));
        sorted[start..].iter().map(|&ordinal| (self.text(ordinal), &self.values[ordinal as usize].series))
    }

    fn text(&self, ordinal: u32) -> &[u8] {
        self.texts.get(self.values[ordinal as usize].text)
    }

    fn find(&self, value: &[u8]) -> Option<u32> {
        let hash = hash(value);
        let is_it = |entry: &Entry| entry.hash == hash && self.text(entry.ordinal) == value;
        self.table.find(spread(hash), is_it).map(|entry| entry.ordinal)
    }

    fn insert(&mut self, value: &[u8], series: SeriesId) -> u32 {
        let ordinal = self.find(value).unwrap_or_else(|| self.add(value));
        let new = self.values[ordinal as usize].series.insert(series);
        self.series_count += u64::from(new);
        ordinal
    }

    fn add(&mut self, text: &[u8]) -> u32 {
        let value = Value { text: self.texts.push(text), series: Postings::default() };
        let ordinal = match self.free.pop() {
            Some(ordinal) => {
                self.values[ordinal as usize] = value;
                ordinal
            }
            None => {
                self.values.push(value);
                self.values.len() as u32 - 1
            }
        };
        let entry = Entry { hash: hash(text), ordinal };
        self.table.insert_unique(entry, |entry| entry.spread());
        self.sorted.take();
        ordinal
    }

    fn remove(&mut self, ordinal: u32, series: SeriesId) {
        let value = &mut self.values[ordinal as usize];
        self.series_count -= u64::from(value.series.remove(series));
        if !value.series.is_empty() {
            return;
        }
        let text = value.text;
        let hash = spread(hash(self.texts.get(text)));
        let was_there = self.table.remove(hash, |entry| entry.ordinal == ordinal);
        assert!(was_there, "a value stays in the table until its last series goes");
        self.texts.release(text);
        self.free.push(ordinal);
        self.sorted.take();
        if self.texts.is_wasteful() {
            self.copy_texts();
        }
    }

    fn copy_texts(&mut self) {
        let mut texts = Arena::default();
        for value in self.values.iter_mut().filter(|value| !value.series.is_empty()) {
            value.text = texts.push(self.texts.get(value.text));
        }
        self.texts = texts;
    }

    fn bytes(&self) -> usize {
        let series = self.values.iter().map(|value| value.series.heap_bytes()).sum::<usize>();
        let sorted = self.sorted.get().map_or(0, |sorted| sorted.len() * 4);
        self.texts.bytes()
            + self.values.capacity() * size_of::<Value>()
            + self.table.bytes()
            + self.free.capacity() * 4
            + series
            + sorted
            + self.name.len()
            + size_of::<TagIndex>()
    }
}

fn hash(text: &[u8]) -> u32 {
    rapidhash::v3::rapidhash_v3(text) as u32
}
