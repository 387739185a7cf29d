//! What a core remembers between requests: series by their raw keys, field layouts by shard group.
//!
//! A raw key (measurement and tags as sent) is taken apart and hashed once; from then on it stands for a shard and,
//! once the owner has told it, an id. Its text is not kept, only 128 bits of keyed hash: every core may meet every
//! series, and the text is nine tenths of what remembering one would take. The parser's memory, which compares whole
//! keys, answers first. A layout (the fields of a line, in order) is checked against the schema once;
//! from then on a line with the same fields needs only the comparison of their names.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::hash::RandomState;

use hashbrown::HashMap;
use hashbrown::HashTable;

use crate::line;
use crate::line::Field;
use crate::line::Reason;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::SeriesId;
use crate::series::key;

/// What one core remembers of the series of one policy, bytes; some three million. Beyond it all are forgotten at once:
/// the next line of each series is taken apart again, nothing else is lost.
const SERIES_BYTES_MAX: usize = 128 << 20;
/// Layouts of one measurement that are remembered; clients that send the fields in ever new orders stop here.
const LAYOUTS_MAX: usize = 1024;

/// What is remembered of one retention policy.
#[derive(Debug, Default)]
pub struct PolicyCache {
    /// Changes when the series are forgotten: series numbers from before mean nothing then.
    pub generation: u64,
    /// The database's counter of forgotten ids: those known here were told since.
    forgets: u64,
    hasher: RandomState,
    table: HashTable<u32>,
    series: Vec<Series>,
    /// The series taken in last and its canonical key, if the owner is still to be told of it.
    fresh: Option<(u32, Box<[u8]>)>,
    /// By the parser's slot: 1 + series number, 0 for none.
    slots: Vec<u32>,
    measurements: HashMap<Bytes, u32>,
    names: Vec<Bytes>,
    schemas: Vec<Schema>,
    /// Number of the schema of a measurement in a shard group.
    schema_numbers: HashMap<(GroupId, u32), u32>,
    /// The one met last: most requests stay in one shard group.
    last_schema: Option<((GroupId, u32), u32)>,
}

/// One series, as this core met it.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    fingerprint: Fingerprint,
    /// Number of its measurement in the cache.
    pub measurement: u32,
    /// [`NO_ID`] until the owner has told it.
    id: u32,
    /// The shard that owns it.
    pub shard: u16,
    /// A tag is called `time`: stock refuses its points.
    pub has_time_tag: bool,
}

const _: () = assert!(size_of::<Series>() == 28);

/// No shard gives this id: it counts its series in 32 bits.
const NO_ID: u32 = u32::MAX;

impl Series {
    /// The owner's id, once it is known.
    #[inline]
    pub fn id(&self) -> Option<SeriesId> {
        (self.id != NO_ID).then_some(SeriesId(self.id))
    }
}

/// Stands for a raw key: two words of SipHash under a key of this cache that nobody outside can see. With three million
/// keys two of them agree with a chance of 2^-85, far below that of memory that flips a bit unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint([u32; 4]);

impl Fingerprint {
    fn of(hasher: &RandomState, raw_key: &[u8]) -> Fingerprint {
        let (first, second) = (hasher.hash_one((0_u8, raw_key)), hasher.hash_one((1_u8, raw_key)));
        Fingerprint([first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32])
    }

    /// Any of its bits are as good as others.
    fn hash(self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }
}

/// The fields of one measurement in one shard group.
#[derive(Debug, Default)]
pub struct Schema {
    /// Types that the schema owner confirmed.
    pub types: HashMap<Bytes, FieldType>,
    layouts: Vec<Layout>,
    /// The layout that was met last: collectors repeat themselves.
    last: usize,
    /// The parser's number of its names, if it has told one.
    last_names: Option<line::NamesSlot>,
}

/// The fields of a line, in the order sent, all of them known to the schema with these types.
#[derive(Clone, Debug)]
pub struct Layout {
    /// As sent.
    sent: Vec<(Bytes, FieldType)>,
    /// Which of them are stored, in order: without `time`, and of a repeated field the last.
    pub stored: Vec<u32>,
    /// Whether `stored` is all of them.
    pub is_plain: bool,
}

impl Layout {
    fn matches(&self, fields: &[Field<'_>]) -> bool {
        self.sent.len() == fields.len()
            && self.sent.iter().zip(fields).all(|((name, _), field)| **name == *field.name)
            && self.has_types(fields)
    }

    /// Whether fields that have its names have its types too.
    #[inline]
    fn has_types(&self, fields: &[Field<'_>]) -> bool {
        self.sent.iter().zip(fields).all(|((_, field_type), field)| *field_type == field.value.field_type())
    }

    /// A layout of known fields; `sent` must agree with the schema.
    pub fn new(fields: &[Field<'_>]) -> Layout {
        let stored: Vec<u32> = (0..fields.len())
            .filter(|&index| fields[index].name != b"time")
            .filter(|&index| fields[index + 1..].iter().all(|later| later.name != fields[index].name))
            .map(|index| index as u32)
            .collect();
        Layout {
            sent: fields.iter().map(|field| (field.name.into(), field.value.field_type())).collect(),
            is_plain: stored.len() == fields.len(),
            stored,
        }
    }

    /// Names and types of what is stored.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], FieldType)> {
        self.stored.iter().map(|&index| {
            let (name, field_type) = &self.sent[index as usize];
            (&**name, *field_type)
        })
    }
}

impl Schema {
    /// The number of the layout of `fields`, if it has been met; `names` is what the parser says of their names.
    #[inline]
    pub fn find(&mut self, fields: &[Field<'_>], names: Option<line::NamesSlot>) -> Option<usize> {
        let has_last_names = names.is_some() && names == self.last_names;
        let is_last = |layout: &Layout| if has_last_names { layout.has_types(fields) } else { layout.matches(fields) };
        if !self.layouts.get(self.last).is_some_and(is_last) {
            self.last = self.layouts.iter().position(|layout| layout.matches(fields))?;
        }
        self.last_names = names;
        Some(self.last)
    }

    /// Remembers a layout. Numbers given before stay good until [`PolicyCache::trim`].
    pub fn add(&mut self, layout: Layout) -> usize {
        self.layouts.push(layout);
        (self.last, self.last_names) = (self.layouts.len() - 1, None);
        self.last
    }

    /// The layout of a number.
    pub fn layout(&self, number: usize) -> &Layout {
        &self.layouts[number]
    }
}

impl PolicyCache {
    /// The number of the series with this raw key, if it has been met.
    #[inline]
    pub fn find(&mut self, raw_key: &[u8], slot: Option<line::KeySlot>) -> Option<u32> {
        if let Some(slot) = slot
            && let Some(&number @ 1..) = self.slots.get(slot.0 as usize)
        {
            return Some(number - 1);
        }
        let fingerprint = Fingerprint::of(&self.hasher, raw_key);
        let is_it = |number: &u32| self.series[*number as usize].fingerprint == fingerprint;
        let number = *self.table.find(fingerprint.hash(), is_it)?;
        self.remember_slot(slot, number);
        Some(number)
    }

    fn remember_slot(&mut self, slot: Option<line::KeySlot>, number: u32) {
        let Some(slot) = slot else { return };
        if slot.0 as usize >= self.slots.len() {
            self.slots.resize(slot.0 as usize + 1, 0);
        }
        self.slots[slot.0 as usize] = number + 1;
    }

    /// The parser gives its slots out anew.
    pub fn forget_slots(&mut self) {
        self.slots.clear();
        self.schemas.iter_mut().for_each(|schema| schema.last_names = None);
    }

    /// Takes in a series met for the first time; refuses a key that no point may have.
    pub fn insert(&mut self, raw_key: &[u8], slot: Option<line::KeySlot>, shard_count: u16) -> Result<u32, Reason> {
        let canonical = line::canonical(raw_key)?.0;
        let fingerprint = Fingerprint::of(&self.hasher, raw_key);
        let series = Series {
            fingerprint,
            measurement: self.measurement(&key::measurement_text(&canonical)),
            id: NO_ID,
            shard: shard_of(&canonical, shard_count),
            has_time_tag: key::has_tag(&canonical, b"time"),
        };
        let number = self.series.len() as u32;
        self.series.push(series);
        self.fresh = Some((number, canonical.into()));
        let all = &self.series;
        self.table.insert_unique(fingerprint.hash(), number, |&number| all[number as usize].fingerprint.hash());
        self.remember_slot(slot, number);
        Ok(number)
    }

    /// The canonical key of a series, for its owner: `raw_key` is what it was taken in by.
    pub fn canonical<'a>(&'a self, number: u32, raw_key: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.fresh {
            Some((fresh, key)) if *fresh == number => Cow::Borrowed(key),
            _ => line::canonical(raw_key).expect("it could be taken apart when it was taken in").0,
        }
    }

    /// The number of a measurement.
    fn measurement(&mut self, name: &[u8]) -> u32 {
        if let Some(&number) = self.measurements.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.into());
        self.measurements.insert(name.into(), number);
        number
    }

    /// A series by number.
    #[inline]
    pub fn series(&self, number: u32) -> &Series {
        &self.series[number as usize]
    }

    /// The owner told the id of a series. `generation` is that of the number.
    pub fn learn(&mut self, generation: u64, number: u32, id: SeriesId) {
        if generation != self.generation {
            return;
        }
        if let Some(series) = self.series.get_mut(number as usize) {
            series.id = id.0;
        }
    }

    /// Name of a measurement.
    pub fn measurement_name(&self, number: u32) -> &Bytes {
        &self.names[number as usize]
    }

    /// The number of the schema of a measurement in a shard group.
    #[inline]
    pub fn schema_number(&mut self, group: GroupId, measurement: u32) -> u32 {
        if let Some((last, number)) = self.last_schema
            && last == (group, measurement)
        {
            return number;
        }
        let schemas = &mut self.schemas;
        let number = *self.schema_numbers.entry((group, measurement)).or_insert_with(|| {
            schemas.push(Schema::default());
            schemas.len() as u32 - 1
        });
        self.last_schema = Some(((group, measurement), number));
        number
    }

    /// A schema by number.
    #[inline]
    pub fn schema(&self, number: u32) -> &Schema {
        &self.schemas[number as usize]
    }

    /// A schema by number, to add what was met.
    #[inline]
    pub fn schema_mut(&mut self, number: u32) -> &mut Schema {
        &mut self.schemas[number as usize]
    }

    /// The schema of a measurement by name.
    pub fn schema_of(&mut self, group: GroupId, measurement: &[u8]) -> &mut Schema {
        let measurement = self.measurement(measurement);
        let number = self.schema_number(group, measurement);
        self.schema_mut(number)
    }

    /// Forgets what has grown too large. Between requests' steps only: numbers of series and layouts change.
    pub fn trim(&mut self) -> bool {
        let layouts = self.schemas.iter().any(|schema| schema.layouts.len() > LAYOUTS_MAX);
        if self.bytes() <= SERIES_BYTES_MAX && !layouts {
            return false;
        }
        self.forget();
        true
    }

    fn bytes(&self) -> usize {
        self.series.capacity() * size_of::<Series>() + self.table.allocation_size() + self.slots.capacity() * 4
    }

    /// Forgets everything that may have been told before the database's counter stood here.
    pub fn forget_before(&mut self, forgets: u64) {
        if self.forgets != forgets {
            self.forget();
            self.forgets = forgets;
        }
    }

    /// Forgets everything; numbers given before mean nothing then.
    pub fn forget(&mut self) {
        let (generation, forgets) = (self.generation + 1, self.forgets);
        *self = PolicyCache { generation, forgets, ..PolicyCache::default() };
    }
}

/// The shard that owns a series: by its canonical key, so that it is the same for every way of writing the key. The
/// hash is stable by value; it decides what lies where on disk.
pub fn shard_of(canonical_key: &[u8], shard_count: u16) -> u16 {
    let hash = rapidhash::v3::rapidhash_v3(canonical_key);
    ((u128::from(hash) * u128::from(shard_count)) >> 64) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::NamesSlot;
    use crate::model::FieldValue;

    fn fields(names: &[&'static str], value: FieldValue<'static>) -> Vec<Field<'static>> {
        names.iter().map(|name| Field { name: name.as_bytes(), value }).collect()
    }

    #[test]
    fn names_that_the_parser_knows_are_not_compared_but_their_types_are() {
        let integers = |names: &[&'static str]| fields(names, FieldValue::Integer(1));
        let (first, second) = (integers(&["a", "b"]), integers(&["c", "d"]));
        let mut cache = PolicyCache::default();
        let schema = cache.schema_of(GroupId(1), b"m");
        assert_eq!(schema.add(Layout::new(&first)), 0);
        assert_eq!(schema.find(&first, Some(NamesSlot(7))), Some(0));
        assert_eq!(schema.find(&first, Some(NamesSlot(7))), Some(0));
        assert_eq!(schema.find(&fields(&["a", "b"], FieldValue::Float(1.0)), Some(NamesSlot(7))), None);
        assert_eq!(schema.find(&second, Some(NamesSlot(8))), None);
        assert_eq!(schema.find(&second, None), None);
        assert_eq!(schema.add(Layout::new(&second)), 1);
        assert_eq!(schema.find(&first, Some(NamesSlot(7))), Some(0));
        assert_eq!(schema.find(&second, Some(NamesSlot(8))), Some(1));
        // The numbers of names start anew.
        cache.forget_slots();
        assert_eq!(cache.schema_of(GroupId(1), b"m").find(&first, Some(NamesSlot(8))), Some(0));
    }
}
