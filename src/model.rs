//! The nouns everyone uses, without behaviour: field types and values, rows of an answer.
//!
//! Names and strings are bytes: stock accepts and returns what is not UTF-8, so nothing below `encode` may insist on it.

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub type Timestamp = i64;

/// A name or string as stored: bytes, usually UTF-8.
pub type Bytes = Box<[u8]>;

/// Type of a field, in the order stock ranks them when several shards disagree (first wins).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FieldType {
    /// 64-bit IEEE float.
    Float = 0,
    /// Signed 64-bit integer.
    Integer = 1,
    /// Unsigned 64-bit integer.
    Unsigned = 2,
    /// Bytes, usually UTF-8.
    String = 3,
    /// True or false.
    Boolean = 4,
}

impl FieldType {
    /// The type whose stored number is `code`.
    pub fn from_code(code: u8) -> Option<FieldType> {
        Some(match code {
            0 => FieldType::Float,
            1 => FieldType::Integer,
            2 => FieldType::Unsigned,
            3 => FieldType::String,
            4 => FieldType::Boolean,
            _ => return None,
        })
    }

    /// The name clients see: `float`, `integer`, `unsigned`, `string`, `boolean`.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::Float => "float",
            FieldType::Integer => "integer",
            FieldType::Unsigned => "unsigned",
            FieldType::String => "string",
            FieldType::Boolean => "boolean",
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One field value, borrowed from the text or block it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// See [`FieldType::Float`].
    Float(f64),
    /// See [`FieldType::Integer`].
    Integer(i64),
    /// See [`FieldType::Unsigned`].
    Unsigned(u64),
    /// See [`FieldType::String`].
    String(&'a [u8]),
    /// See [`FieldType::Boolean`].
    Boolean(bool),
}

impl FieldValue<'_> {
    /// The type of this value.
    pub fn field_type(&self) -> FieldType {
        match self {
            FieldValue::Float(_) => FieldType::Float,
            FieldValue::Integer(_) => FieldType::Integer,
            FieldValue::Unsigned(_) => FieldType::Unsigned,
            FieldValue::String(_) => FieldType::String,
            FieldValue::Boolean(_) => FieldType::Boolean,
        }
    }
}

/// One cell of an answer row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// A time, ns. Formatted by the request's `epoch`, or RFC 3339 in `utc_offset_s` seconds east of UTC.
    Time {
        /// Nanoseconds since the epoch.
        ns: Timestamp,
        /// Seconds east of UTC when printed as text; 0 is printed `Z`.
        utc_offset_s: i32,
    },
    /// A float.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A boolean.
    Boolean(bool),
    /// A string.
    String(Bytes),
    /// A list of strings (SHOW SUBSCRIPTIONS).
    List(Vec<Bytes>),
}

/// Rows of one series of an answer, or a part of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet {
    /// Measurement or heading; `None` leaves `name` out.
    pub name: Option<Bytes>,
    /// Sorted by key; empty leaves `tags` out.
    pub tags: Vec<(Bytes, Bytes)>,
    /// Column names.
    pub columns: Vec<Bytes>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
    /// More rows of this same series follow in the next piece.
    pub partial: bool,
}

/// A message beside a result (`level`, `text`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `warning`.
    pub level: &'static str,
    /// The text.
    pub text: String,
}

/// One piece of the answer to one statement. In order; a statement ends with the first piece whose `partial` is false.
///
/// A piece continues a series when its first row set has the name and tags of the last row set before it and that one
/// was `partial`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultPiece {
    /// Position of the statement in the request, from 0.
    pub statement_id: i32,
    /// Row sets.
    pub series: Vec<RowSet>,
    /// Messages.
    pub messages: Vec<Message>,
    /// More pieces of this statement follow.
    pub partial: bool,
    /// The statement failed with this text.
    pub error: Option<String>,
}

/// Inclusive time range, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant inside.
    pub min: Timestamp,
    /// Last instant inside; a range with `max < min` is empty.
    pub max: Timestamp,
}

impl TimeRange {
    /// Whether nothing can lie inside.
    pub fn is_empty(&self) -> bool {
        self.max < self.min
    }

    /// The instants inside both.
    pub fn intersect(&self, other: TimeRange) -> TimeRange {
        TimeRange { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    /// Whether `time` lies inside.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.min <= time && time <= self.max
    }
}

/// A database's identity; never used again after DROP DATABASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseId(pub u32);

/// A retention policy's identity; never used again after it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// A shard group's identity, the `id` of SHOW SHARDS; counts up from 1 over all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// A series' identity inside one shard; never used again after the series is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);
