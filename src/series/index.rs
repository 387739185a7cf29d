//! The series of one database in one shard: key to id and back, tags to sets of ids.
//!
//! Owns:  every series key of the database in this shard, in memory. Ids come from the shard's allocator.
//! In:    canonical keys ([`super::key`]) with the ids given to them.
//! Out:   ids, keys, decoded tags, sets of series.
//!
//! Key text is not kept: a series is a record of small numbers that stand for its measurement, tag keys and values,
//! whose texts are kept once a measurement. A key is written out of its record when asked for, and compared with a
//! text without writing it.
//!
//! ```text
//! record   measurement varint | tags varint | tag ...                                         (sorted by tag key)
//! tag      value ordinal << 1 | 0 varint, of the key behind the last one by ordinal; or | 1, then key ordinal varint
//! table    hash of the canonical text (32 bits), id; so that growing never reads a record
//! ```
//!
//! Ten tags with one value of their own cost about 140 bytes a series (test `ten_tags_cost_less_than_150_bytes`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::arena::Arena;
use super::arena::Place;
use super::block::Member;
use super::block::Shape;
use super::key;
use super::key::KeyError;
use super::key::Plain;
use super::measurement::MeasurementIndex;
use super::table::Table;
use crate::model::Bytes;
use crate::model::SeriesId;
use crate::stdx::spread::spread;
use crate::stdx::varint;

/// Why a series was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The key is not canonical.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key or the id is there already.
    #[error("series key or id exists")]
    Exists,
}

/// The series of one database in one shard.
#[derive(Debug, Default)]
pub struct Index {
    table: Table<Entry>,
    records: Arena,
    places: Places,
    measurements: Vec<Option<MeasurementIndex>>,
    ordinals: BTreeMap<Bytes, u32>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    id: u32,
}

impl Entry {
    fn spread(self) -> u64 {
        spread(self.hash)
    }
}

impl Index {
    /// Ids of the series from `first` on, ascending.
    pub fn ids_from(&self, first: SeriesId) -> impl Iterator<Item = SeriesId> {
        self.places.ids_from(first)
    }

    /// How many series.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a series has this id.
    pub fn contains(&self, id: SeriesId) -> bool {
        self.places.get(id).is_some()
    }

    /// The series with this canonical key.
    pub fn lookup(&self, key: &[u8]) -> Option<SeriesId> {
        let sought = Entry { hash: hash(key), id: 0 };
        let is_it = |entry: &Entry| entry.hash == sought.hash && self.is_key(SeriesId(entry.id), key);
        self.table.find(sought.spread(), is_it).map(|entry| SeriesId(entry.id))
    }

    /// Takes in a series under the id that the shard gave it.
    pub fn insert(&mut self, id: SeriesId, key: &[u8]) -> Result<(), InsertError> {
        if let Some(plain) = Plain::of(key) {
            return self.insert_parts(id, key, plain.measurement, plain.tags());
        }
        let decoded = key::decode(key)?;
        let tags = decoded.tags.iter().map(|(name, value)| (&**name, &**value));
        self.insert_parts(id, key, &decoded.measurement, tags)
    }

    fn insert_parts<'a>(
        &mut self,
        id: SeriesId,
        key: &[u8],
        measurement: &[u8],
        tags: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Result<(), InsertError> {
        if self.contains(id) || self.lookup(key).is_some() {
            return Err(InsertError::Exists);
        }
        let ordinal = self.measurement_ordinal(measurement);
        let measurement = self.measurements[ordinal as usize].as_mut().expect("named measurements exist");
        let mut record = RecordWriter::new(ordinal, tags.clone().count());
        for (position, (name, value)) in tags.enumerate() {
            record.tag(measurement.insert_tag(position, name, value, id));
        }
        measurement.insert_series(id);
        self.keep(id, hash(key), &record.bytes);
        Ok(())
    }

    fn keep(&mut self, id: SeriesId, hash: u32, record: &[u8]) {
        let place = self.records.push(record);
        self.places.set(id, Some(place));
        let entry = Entry { hash, id: id.0 };
        self.table.insert_unique(entry, |entry| entry.spread());
    }

    /// Takes in the series of a shape that are not dormant, except where the key has a newer id already; an older one
    /// is taken out. Nothing was changed when the measurement or the tags are none that a key can have.
    pub fn restore(&mut self, shape: &Shape<'_>) -> Result<(), KeyError> {
        let mut parts = ShapeParts::of(shape)?;
        let mut key = Vec::new();
        for (row, &Member { id, is_dormant }) in shape.members.iter().enumerate() {
            // What was saved twice, since the first time seemed to fail.
            if is_dormant || self.contains(id) {
                continue;
            }
            shape.write_key(row, &mut key);
            match self.lookup(&key) {
                Some(known) if known > id => continue,
                Some(known) => {
                    self.remove(known);
                    // Its ordinals may stand for something else from now on.
                    parts.forget_ordinals();
                }
                None => {}
            }
            let ordinal = match parts.ordinal {
                Some(ordinal) => ordinal,
                None => *parts.ordinal.insert(self.measurement_ordinal(&parts.measurement)),
            };
            let measurement = self.measurements[ordinal as usize].as_mut().expect("named measurements exist");
            let mut record = RecordWriter::new(ordinal, shape.columns.len());
            for (position, (part, column)) in parts.columns.iter_mut().zip(&shape.columns).enumerate() {
                let ValueParts { text, ordinals } = &mut part.values[column.rows[row] as usize];
                record.tag(match *ordinals {
                    Some((name, value)) => {
                        measurement.insert_known_tag(name, value, id);
                        (name, value)
                    }
                    None => *ordinals.insert(measurement.insert_tag(position, &part.name, text, id)),
                });
            }
            measurement.insert_series(id);
            self.keep(id, hash(&key), &record.bytes);
        }
        Ok(())
    }

    /// Takes a series out; whether it was there. Its measurement, tag keys and values go with the last series that
    /// has them.
    pub fn remove(&mut self, id: SeriesId) -> bool {
        let Some(key) = self.key(id) else { return false };
        let place = self.places.get(id).expect("a series with a key has a record");
        let Record { measurement: ordinal, tags } = Record::read(self.records.get(place));
        let slot = &mut self.measurements[ordinal as usize];
        let measurement = slot.as_mut().expect("records name measurements that exist");
        for (name, value) in tags {
            measurement.remove_tag(name, value, id);
        }
        measurement.remove_series(id);
        if measurement.series().is_empty() {
            self.ordinals.remove(measurement.name());
            self.free.push(ordinal);
            *slot = None;
        }
        let entry = Entry { hash: hash(&key), id: id.0 };
        let was_there = self.table.remove(entry.spread(), |other| other.id == id.0);
        assert!(was_there, "a series with a record is in the table");
        self.places.set(id, None);
        self.records.release(place);
        if self.records.is_wasteful() {
            self.copy_records();
        }
        true
    }

    /// The canonical key of a series.
    pub fn key(&self, id: SeriesId) -> Option<Vec<u8>> {
        let mut key = Vec::with_capacity(128);
        self.write_key(id, &mut key).then_some(key)
    }

    /// Appends the canonical key of a series; false when there is no such series.
    pub fn write_key(&self, id: SeriesId, out: &mut Vec<u8>) -> bool {
        let Some((measurement, tags)) = self.parts(id) else { return false };
        key::escape_measurement(measurement.name(), out);
        for (name, value) in tags {
            out.push(b',');
            key::escape_tag(name, out);
            out.push(b'=');
            key::escape_tag(value, out);
        }
        true
    }

    /// The measurement of a series.
    pub fn measurement_of(&self, id: SeriesId) -> Option<&MeasurementIndex> {
        self.parts(id).map(|(measurement, _)| measurement)
    }

    /// The tags of a series, decoded, sorted by key.
    pub fn tags_of(&self, id: SeriesId) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
        self.parts(id).map(|(_, tags)| tags)
    }

    /// The value of one tag of a series; `None` when the series or the tag is not there.
    pub fn tag_of(&self, id: SeriesId, key: &[u8]) -> Option<&[u8]> {
        self.tags_of(id)?.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Measurements, sorted by name.
    pub fn measurements(&self) -> impl DoubleEndedIterator<Item = &MeasurementIndex> {
        self.ordinals.values().map(|&ordinal| self.by_ordinal(ordinal))
    }

    /// Measurements after `name`, sorted by name.
    pub fn measurements_after(&self, name: &[u8]) -> impl Iterator<Item = &MeasurementIndex> {
        let after = (std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded);
        self.ordinals.range::<[u8], _>(after).map(|(_, &ordinal)| self.by_ordinal(ordinal))
    }

    /// The measurement `name` (decoded).
    pub fn measurement(&self, name: &[u8]) -> Option<&MeasurementIndex> {
        self.ordinals.get(name).map(|&ordinal| self.by_ordinal(ordinal))
    }

    /// The series of one measurement of this index in the order SHOW SERIES prints them: tag by tag, key
    /// before value, and what ends first comes first.
    pub fn ordered<'a>(&'a self, measurement: &'a MeasurementIndex) -> &'a [u32] {
        measurement.ordered.get_or_init(|| {
            let mut ids: Box<[u32]> = measurement.series().iter().collect();
            ids.sort_unstable_by(|&left, &right| self.compare(measurement, SeriesId(left), SeriesId(right)));
            ids
        })
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let measurements = self.measurements().map(|measurement| measurement.bytes() + measurement.name().len() + 40);
        self.table.bytes()
            + self.records.bytes()
            + self.places.bytes()
            + self.measurements.capacity() * size_of::<Option<MeasurementIndex>>()
            + measurements.sum::<usize>()
    }

    fn by_ordinal(&self, ordinal: u32) -> &MeasurementIndex {
        self.measurements[ordinal as usize].as_ref().expect("records and names lead to measurements that exist")
    }

    #[allow(clippy::type_complexity, reason = "an iterator has no name to make an alias of")]
    fn parts(&self, id: SeriesId) -> Option<(&MeasurementIndex, impl Iterator<Item = (&[u8], &[u8])>)> {
        let record = Record::read(self.records.get(self.places.get(id)?));
        let measurement = self.by_ordinal(record.measurement);
        Some((measurement, record.tags.map(|(name, value)| measurement.tag_text(name, value))))
    }

    /// Whether the canonical key of series `id` is `text`.
    fn is_key(&self, id: SeriesId, text: &[u8]) -> bool {
        self.parts(id).is_some_and(|(measurement, tags)| {
            let mut rest = key::strip_measurement(text, measurement.name());
            for (name, value) in tags {
                rest = rest
                    .and_then(|rest| key::strip_tag(rest.strip_prefix(b",")?, name))
                    .and_then(|rest| key::strip_tag(rest.strip_prefix(b"=")?, value));
            }
            rest.is_some_and(<[u8]>::is_empty)
        })
    }

    /// Of two series of `measurement`. Their ordinals tell where they differ: texts are read of that tag alone.
    fn compare(&self, measurement: &MeasurementIndex, left: SeriesId, right: SeriesId) -> Ordering {
        let tags = |id| Some(Record::read(self.records.get(self.places.get(id)?)).tags);
        let (Some(mut left), Some(mut right)) = (tags(left), tags(right)) else { return Ordering::Equal };
        let text = |(key, value)| measurement.tag_text(key, value);
        loop {
            match (left.next(), right.next()) {
                (Some(left), Some(right)) if left == right => continue,
                (left, right) => return left.map(text).cmp(&right.map(text)),
            }
        }
    }

    fn measurement_ordinal(&mut self, name: &[u8]) -> u32 {
        if let Some(&ordinal) = self.ordinals.get(name) {
            return ordinal;
        }
        let ordinal = self.free.pop().unwrap_or_else(|| {
            self.measurements.push(None);
            self.measurements.len() as u32 - 1
        });
        self.measurements[ordinal as usize] = Some(MeasurementIndex::new(name));
        self.ordinals.insert(name.into(), ordinal);
        ordinal
    }

    fn copy_records(&mut self) {
        let mut records = Arena::default();
        for entry in self.table.iter() {
            let id = SeriesId(entry.id);
            let place = self.places.get(id).expect("a series in the table has a record");
            self.places.set(id, Some(records.push(self.records.get(place))));
        }
        self.records = records;
    }
}

/// A shape, decoded, and what its texts have become in an index.
struct ShapeParts {
    measurement: Vec<u8>,
    ordinal: Option<u32>,
    columns: Vec<ColumnParts>,
}

struct ColumnParts {
    name: Vec<u8>,
    values: Vec<ValueParts>,
}

struct ValueParts {
    text: Vec<u8>,
    /// Of its key and its own.
    ordinals: Option<(u32, u32)>,
}

impl ShapeParts {
    fn of(shape: &Shape<'_>) -> Result<ShapeParts, KeyError> {
        // Tags are in the order of their escaped keys.
        if !shape.columns.is_sorted_by(|left, right| left.name < right.name) {
            return Err(KeyError);
        }
        let columns = shape.columns.iter().map(|column| {
            let part = |value: &&[u8]| Ok(ValueParts { text: key::canonical_tag(value)?, ordinals: None });
            let values = column.values.iter().map(part);
            Ok(ColumnParts { name: key::canonical_tag(column.name)?, values: values.collect::<Result<_, _>>()? })
        });
        let measurement = key::canonical_measurement(shape.measurement)?;
        Ok(ShapeParts { measurement, ordinal: None, columns: columns.collect::<Result<_, _>>()? })
    }

    fn forget_ordinals(&mut self) {
        self.ordinal = None;
        self.columns.iter_mut().flat_map(|column| &mut column.values).for_each(|value| value.ordinals = None);
    }
}

fn hash(key: &[u8]) -> u32 {
    rapidhash::v3::rapidhash_v3(key) as u32
}

/// A series record, read; see the module's doc.
struct Record<T> {
    measurement: u32,
    tags: T,
}

impl Record<()> {
    fn read(bytes: &[u8]) -> Record<impl Iterator<Item = (u32, u32)>> {
        const OURS: &str = "records are written by insert only";
        let mut reader = varint::Reader::new(bytes);
        let measurement = reader.varint_u32().expect(OURS);
        let count = reader.varint_u32().expect(OURS);
        let mut next_key = 0;
        let tag = move |_| {
            let value = reader.varint().expect(OURS);
            let key = if value & 1 == 0 { next_key } else { reader.varint_u32().expect(OURS) };
            next_key = key + 1;
            (key, (value >> 1) as u32)
        };
        Record { measurement, tags: (0..count).map(tag) }
    }
}

/// A series record being written.
struct RecordWriter {
    bytes: Vec<u8>,
    /// Most series of a measurement have the same tags, met in their order.
    next_key: u32,
}

impl RecordWriter {
    fn new(measurement: u32, tag_count: usize) -> RecordWriter {
        let mut bytes = Vec::with_capacity(64);
        varint::put(&mut bytes, u64::from(measurement));
        varint::put(&mut bytes, tag_count as u64);
        RecordWriter { bytes, next_key: 0 }
    }

    fn tag(&mut self, (key, value): (u32, u32)) {
        let is_next = key == self.next_key;
        varint::put(&mut self.bytes, u64::from(value) << 1 | u64::from(!is_next));
        if !is_next {
            varint::put(&mut self.bytes, u64::from(key));
        }
        self.next_key = key + 1;
    }
}

/// Ids of one chunk; one database has few gaps inside a chunk, many databases share the shard's ids in runs.
const CHUNK_IDS: usize = 256;

/// Record places by series id.
#[derive(Debug, Default)]
struct Places {
    chunks: Vec<Option<Box<[Option<Place>; CHUNK_IDS]>>>,
}

impl Places {
    fn get(&self, id: SeriesId) -> Option<Place> {
        let index = id.0 as usize;
        self.chunks.get(index / CHUNK_IDS)?.as_ref()?[index % CHUNK_IDS]
    }

    fn ids_from(&self, first: SeriesId) -> impl Iterator<Item = SeriesId> {
        let start = first.0 as usize;
        let chunks = self.chunks.iter().enumerate().skip(start / CHUNK_IDS);
        let ids = chunks.flat_map(|(number, chunk)| {
            let places = chunk.iter().flat_map(|places| places.iter().enumerate());
            places.filter(|(_, place)| place.is_some()).map(move |(index, _)| number * CHUNK_IDS + index)
        });
        ids.filter(move |&id| id >= start).map(|id| SeriesId(id as u32))
    }

    fn set(&mut self, id: SeriesId, place: Option<Place>) {
        let index = id.0 as usize;
        if self.chunks.len() <= index / CHUNK_IDS {
            self.chunks.resize_with(index / CHUNK_IDS + 1, || None);
        }
        let chunk = self.chunks[index / CHUNK_IDS].get_or_insert_with(|| Box::new([None; CHUNK_IDS]));
        chunk[index % CHUNK_IDS] = place;
        // Ids are never used again, so that chunks of nothing would only ever become more.
        if place.is_none() && chunk.iter().all(Option::is_none) {
            self.chunks[index / CHUNK_IDS] = None;
        }
    }

    fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        self.chunks.capacity() * size_of::<usize>() + chunks * size_of::<[Option<Place>; CHUNK_IDS]>()
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
