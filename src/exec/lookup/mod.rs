//! What SHOW statements ask of the owners: measurements, series, tag keys and values, field keys, and how many.
//!
//! In:    a [`Request`]: which series, and what about them.
//! Out:   a [`Page`]: entries in one fixed order, at most [`Request::limit`], and where to go on. Every core answers in
//!        the same order, so the asker merges pages as they come and no answer is ever whole in memory.
//!
//! The order of entries is that of [`Key`]: measurement, group, item. Names are decoded bytes. Series keys are items of
//! the form key, value, key, value, ..., which is the order stock prints them in.

mod condition;
mod owner;

pub use condition::Comparison;
pub use condition::Compiled;
pub use condition::Condition;
pub use condition::Test;
pub use owner::answer;
pub use owner::select;

use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::TimeRange;

/// Entries of one page: large enough to outweigh a message between cores, small enough to build in a few milliseconds.
pub const PAGE_ENTRIES: u32 = 4096;

/// Which measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Name(Bytes),
    /// All that match the text of this regular expression.
    Regex(String),
}

/// Which series count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// Every series of the database in this shard.
    Database,
    /// Those with data in a shard group of the policy.
    Policy(PolicyId),
    /// Those with data in a shard group of the policy that the range touches.
    Groups(PolicyId, TimeRange),
}

/// What to tell about the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Their keys; items are tags in a row.
    Series,
    /// How many; no item.
    Count,
    /// Their measurements; the entry's number has a bit for each of `tests`: 1 << 2i when the measurement has the tag
    /// key at all, 2 << 2i when some value of it passes. No item.
    Measurements {
        /// At most 32.
        tests: Vec<(Bytes, Test)>,
    },
    /// Tag keys; the item is the key.
    TagKeys,
    /// Tag values; the item is key, value.
    TagValues {
        /// Which keys; all of these must pass.
        keys: Vec<Condition>,
        /// Which values.
        values: Option<Condition>,
    },
    /// Fields of the policy named by [`Request::within`]; the item is name, type name.
    Fields,
    /// The same for each shard group; the item is the group's id ([`group_item`]), name.
    FieldsByGroup,
    /// Shard groups of the policy that the series have data in; the item is the group's id.
    Groups,
}

/// One lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The database.
    pub database: DatabaseId,
    /// Which series count.
    pub within: Within,
    /// Which measurements; empty: all.
    pub measurements: Vec<Pattern>,
    /// What a series must fulfil.
    pub condition: Option<Condition>,
    /// Tag keys that split the answer into groups.
    pub dimensions: Vec<Bytes>,
    /// Measurements and names in the condition that are fields there. Sorted.
    pub fields: Vec<(Bytes, Bytes)>,
    /// What a comparison of a field is.
    pub fields_pass: bool,
    /// What is asked.
    pub ask: Ask,
    /// Entries up to this one were told already.
    pub after: Option<Key>,
    /// At most so many entries.
    pub limit: u32,
}

/// What an entry is about, and its place in the order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Measurement.
    pub measurement: Bytes,
    /// Values of the dimensions; empty: the series lacks the tag.
    pub group: Vec<Bytes>,
    /// See [`Ask`].
    pub item: Vec<Bytes>,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub key: Key,
    /// Series counted, or bits of [`Ask::Measurements`]; otherwise 1.
    pub number: u64,
}

/// A bounded piece of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order; each key once.
    pub entries: Vec<Entry>,
    /// Go on after this key; `None`: this was all. It may lie behind the last entry, and entries may be none.
    pub next: Option<Key>,
}

/// A shard group's id as part of an item.
pub fn group_item(group: GroupId) -> Bytes {
    group.0.to_be_bytes().into()
}

impl Ask {
    /// Joins what two shards or cores say of the same key.
    pub fn join(&self, left: u64, right: u64) -> u64 {
        match self {
            Ask::Count => left + right,
            Ask::Measurements { .. } => left | right,
            _ => left,
        }
    }
}
