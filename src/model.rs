//! The nouns everyone uses, without behaviour: field types and values, rows of an answer.
//!
//! Names and strings are bytes: stock accepts and returns what is not UTF-8, so nothing below `encode` may insist on
//! it.

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
    /// Rows, each as long as `columns`; SHOW DIAGNOSTICS alone has shorter ones.
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
    /// All of time.
    pub const ALWAYS: TimeRange = TimeRange { min: Timestamp::MIN, max: Timestamp::MAX };
    /// No time at all; what is joined with it is left.
    pub const NEVER: TimeRange = TimeRange { min: Timestamp::MAX, max: Timestamp::MIN };

    /// Whether nothing can lie inside.
    pub fn is_empty(&self) -> bool {
        self.max < self.min
    }

    /// The instants inside both.
    pub fn intersect(&self, other: TimeRange) -> TimeRange {
        TimeRange { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    /// Whether all of `other` lies inside.
    pub fn covers(&self, other: TimeRange) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Whether `time` lies inside.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.min <= time && time <= self.max
    }
}

/// One request with statements while it runs, as SHOW QUERIES lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningQuery {
    /// Its number.
    pub id: u64,
    /// Its statements.
    pub text: String,
    /// The database the request names; may be empty.
    pub database: String,
    /// How long it has been running.
    pub duration_ns: u64,
    /// Whether KILL QUERY has ended it; it may still hold something.
    pub is_killed: bool,
}

/// What KILL QUERY found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// It runs no longer.
    Killed,
    /// Somebody was faster.
    AlreadyKilled,
    /// There is no such query.
    Unknown,
}

/// A database's identity; never used again after DROP DATABASE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseId(pub u32);

/// A retention policy's identity; never used again after it is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// A shard group's identity, the `id` of SHOW SHARDS; counts up from 1 over all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// A series' identity inside one shard; never used again after the series is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

/// Values of one column, dense: a row without a value holds the type's zero (`valid` in [`Column`] tells).
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats.
    Float(Vec<f64>),
    /// Integers.
    Integer(Vec<i64>),
    /// Unsigned integers.
    Unsigned(Vec<u64>),
    /// Strings.
    String(Vec<Bytes>),
    /// Booleans.
    Boolean(Vec<bool>),
}

/// One field of a block of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// As long as the block's `times`.
    pub values: Values,
    /// Which rows have a value; `None`: all.
    pub valid: Option<Vec<bool>>,
}

/// Rows of one series, in the order asked for, at most a few thousand; overwritten points are already gone and the
/// fields of one point are already joined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowBlock {
    /// Strictly ascending (or descending, as asked).
    pub times: Vec<Timestamp>,
    /// One for each field asked for; `None`: no row of the block has it. A field's type is fixed inside a block but
    /// may differ between blocks of different shard groups.
    pub columns: Vec<Option<Column>>,
}

impl Values {
    /// No values of a type.
    pub fn new(field_type: FieldType) -> Values {
        match field_type {
            FieldType::Float => Values::Float(Vec::new()),
            FieldType::Integer => Values::Integer(Vec::new()),
            FieldType::Unsigned => Values::Unsigned(Vec::new()),
            FieldType::String => Values::String(Vec::new()),
            FieldType::Boolean => Values::Boolean(Vec::new()),
        }
    }

    /// Their type.
    pub fn field_type(&self) -> FieldType {
        match self {
            Values::Float(_) => FieldType::Float,
            Values::Integer(_) => FieldType::Integer,
            Values::Unsigned(_) => FieldType::Unsigned,
            Values::String(_) => FieldType::String,
            Values::Boolean(_) => FieldType::Boolean,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::Float(values) => values.len(),
            Values::Integer(values) => values.len(),
            Values::Unsigned(values) => values.len(),
            Values::String(values) => values.len(),
            Values::Boolean(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the type's zero.
    pub fn push_zero(&mut self) {
        match self {
            Values::Float(values) => values.push(0.0),
            Values::Integer(values) => values.push(0),
            Values::Unsigned(values) => values.push(0),
            Values::String(values) => values.push(Bytes::default()),
            Values::Boolean(values) => values.push(false),
        }
    }

    /// Appends the value at `index` of `source`, which has the same type.
    pub fn push_from(&mut self, source: &Values, index: usize) {
        match (self, source) {
            (Values::Float(values), Values::Float(source)) => values.push(source[index]),
            (Values::Integer(values), Values::Integer(source)) => values.push(source[index]),
            (Values::Unsigned(values), Values::Unsigned(source)) => values.push(source[index]),
            (Values::String(values), Values::String(source)) => values.push(source[index].clone()),
            (Values::Boolean(values), Values::Boolean(source)) => values.push(source[index]),
            _ => panic!("columns of two types are never joined"),
        }
    }

    /// Makes them `count`, with the type's zero for new ones.
    pub fn resize(&mut self, count: usize) {
        match self {
            Values::Float(values) => values.resize(count, 0.0),
            Values::Integer(values) => values.resize(count, 0),
            Values::Unsigned(values) => values.resize(count, 0),
            Values::String(values) => values.resize(count, Bytes::default()),
            Values::Boolean(values) => values.resize(count, false),
        }
    }

    /// Appends values of the same type.
    pub fn append(&mut self, more: Values) {
        match (self, more) {
            (Values::Float(values), Values::Float(mut more)) => values.append(&mut more),
            (Values::Integer(values), Values::Integer(mut more)) => values.append(&mut more),
            (Values::Unsigned(values), Values::Unsigned(mut more)) => values.append(&mut more),
            (Values::String(values), Values::String(mut more)) => values.append(&mut more),
            (Values::Boolean(values), Values::Boolean(mut more)) => values.append(&mut more),
            _ => panic!("columns of two types are never joined"),
        }
    }

    /// The values of `range` alone.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Values {
        match self {
            Values::Float(values) => Values::Float(values[range].to_vec()),
            Values::Integer(values) => Values::Integer(values[range].to_vec()),
            Values::Unsigned(values) => Values::Unsigned(values[range].to_vec()),
            Values::String(values) => Values::String(values[range].to_vec()),
            Values::Boolean(values) => Values::Boolean(values[range].to_vec()),
        }
    }

    /// Turns the order round.
    pub fn reverse(&mut self) {
        match self {
            Values::Float(values) => values.reverse(),
            Values::Integer(values) => values.reverse(),
            Values::Unsigned(values) => values.reverse(),
            Values::String(values) => values.reverse(),
            Values::Boolean(values) => values.reverse(),
        }
    }
}

impl Column {
    /// Appends the rows of another of the same type to `before` rows.
    fn append(&mut self, more: Column, before: usize) {
        let count = more.values.len();
        match (&mut self.valid, more.valid) {
            (Some(valid), Some(more)) => valid.extend_from_slice(&more),
            (Some(valid), None) => valid.resize(before + count, true),
            (None, Some(more)) => {
                let mut valid = vec![true; before];
                valid.extend_from_slice(&more);
                self.valid = Some(valid);
            }
            (None, None) => (),
        }
        self.values.append(more.values);
    }

    /// Whether row `index` has a value.
    pub fn is_valid(&self, index: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[index])
    }
}

impl RowBlock {
    /// The rows of `range` alone.
    pub fn slice(&self, range: std::ops::Range<usize>) -> RowBlock {
        let slice = |column: &Column| Column {
            values: column.values.slice(range.clone()),
            valid: column.valid.as_ref().map(|valid| valid[range.clone()].to_vec()),
        };
        RowBlock {
            times: self.times[range.clone()].to_vec(),
            columns: self.columns.iter().map(|column| column.as_ref().map(slice)).collect(),
        }
    }

    /// Appends rows with the same columns.
    pub fn append(&mut self, more: RowBlock) {
        let (before, after) = (self.times.len(), self.times.len() + more.times.len());
        self.times.extend_from_slice(&more.times);
        for (column, more) in self.columns.iter_mut().zip(more.columns) {
            match (column.as_mut(), more) {
                (None, None) => (),
                (Some(column), Some(more)) => column.append(more, before),
                (Some(column), None) => {
                    column.valid.get_or_insert_with(|| vec![true; before]).resize(after, false);
                    column.values.resize(after);
                }
                (None, Some(more)) => {
                    let mut values = Values::new(more.values.field_type());
                    values.resize(before);
                    let mut joined = Column { values, valid: Some(vec![false; before]) };
                    joined.append(more, before);
                    *column = Some(joined);
                }
            }
        }
    }

    /// Takes the first `count` rows out.
    pub fn split_front(&mut self, count: usize) -> RowBlock {
        let front = self.slice(0..count);
        *self = self.slice(count..self.times.len());
        front
    }

    /// Turns the order round.
    pub fn reverse(&mut self) {
        self.times.reverse();
        for column in self.columns.iter_mut().flatten() {
            column.values.reverse();
            if let Some(valid) = &mut column.valid {
                valid.reverse();
            }
        }
    }
}
