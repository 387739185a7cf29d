//! What cores say to each other about a query: owned values, closed enums.

use std::collections::BTreeSet;

use crate::exec::aggregate::Aggregate;
use crate::exec::aggregate::Partial;
use crate::exec::expr::Expr;
use crate::exec::lookup;
use crate::exec::schema::Schema;
use crate::exec::schema::SchemaRequest;
use crate::exec::select::tag_set_key;
use crate::exec::view::Column;
use crate::exec::window::Window;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::PolicyId;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// A field, read as one type: numbers are converted, values of other kinds are not there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldRef {
    /// The field's name.
    pub name: Bytes,
    /// What its values become.
    pub as_type: FieldType,
}

/// One aggregate that merges over series and cores.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSpec {
    /// The function.
    pub aggregate: Aggregate,
    /// Index into [`Fragment::fields`].
    pub field: usize,
}

/// What to do with the rows of each group.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Send them, by time and then by series key; a row has a value in at least one of the first `required` fields.
    Rows {
        /// Leading fields of which a row must have one.
        required: usize,
        /// At most so many rows for each group.
        limit: Option<u64>,
    },
    /// Aggregate them.
    Windows {
        /// How time is cut.
        window: Window,
        /// What is computed.
        calls: Vec<CallSpec>,
        /// Fields whose value at the selected point travels with a selector (only with one call).
        carried: Vec<usize>,
    },
}

/// A column that orders rows of one instant, as long as it holds strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieColumn {
    /// Index into [`Fragment::tags`].
    Tag(usize),
    /// Index into [`Fragment::fields`].
    Field(usize),
}

/// One measurement's part of a plan, the same for every core.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment {
    /// The database.
    pub database: DatabaseId,
    /// The retention policy.
    pub policy: PolicyId,
    /// The measurement.
    pub measurement: Bytes,
    /// Inclusive.
    pub range: TimeRange,
    /// Fields read.
    pub fields: Vec<FieldRef>,
    /// Tag keys whose values travel with rows or with the point a selector chose.
    pub tags: Vec<Bytes>,
    /// What orders rows of one instant, before the series key.
    pub ties: Vec<TieColumn>,
    /// What a row must fulfil.
    pub filter: Option<Expr>,
    /// Tag keys that make groups, sorted.
    pub dimensions: Vec<Bytes>,
    /// Most rows of each series in each shard group; `None`: all.
    pub series_rows: Option<u64>,
    /// Only series whose values of these tag keys are among those; `None`: all.
    pub groups: Option<(Vec<Bytes>, BTreeSet<Vec<Bytes>>)>,
    /// Rows newest first, whatever the order of groups.
    pub rows_descending: bool,
    /// Newest windows first, groups in descending order too.
    pub descending: bool,
    /// Most series the whole fragment may select on one core; 0: no bound.
    pub series_max: u64,
    /// Rows or windows.
    pub work: Work,
}

impl Fragment {
    /// The ties that hold strings, up to the first that does not.
    pub fn string_ties(&self) -> Vec<TieColumn> {
        let is_string = |tie: &&TieColumn| match tie {
            TieColumn::Tag(_) => true,
            TieColumn::Field(field) => self.fields.get(*field).is_some_and(|f| f.as_type == FieldType::String),
        };
        self.ties.iter().take_while(is_string).copied().collect()
    }

    /// Fields among them: their cells travel ahead of the rows, in [`Upcoming::strings`].
    pub fn string_tie_fields(&self) -> Vec<usize> {
        let field = |tie: TieColumn| if let TieColumn::Field(field) = tie { Some(field) } else { None };
        self.string_ties().into_iter().filter_map(field).collect()
    }

    /// The order of its groups when SLIMIT counts them.
    pub fn tag_set_key(&self, group: &[Bytes]) -> Vec<u8> {
        tag_set_key(self.dimensions.iter().zip(group).map(|(key, value)| (&**key, &**value)))
    }
}

/// A query request of this server, as SHOW QUERIES numbers it; 0: none that could be stopped.
pub type QueryId = u64;

/// Number of an open fragment on one core.
pub type CursorId = u64;

/// What a core is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// Start a fragment and answer with its first chunk.
    Open(Box<Fragment>),
    /// The next chunk of an open fragment.
    Next(CursorId),
    /// Forget an open fragment.
    Close(CursorId),
    /// The groups of a fragment, at most so many, in the order of [`Fragment::tag_set_key`].
    Groups(Box<Fragment>, u64),
    /// Fields and tag keys of measurements.
    Schema(Box<SchemaRequest>),
    /// A page of what a SHOW statement asks.
    Lookup(Box<lookup::Request>),
}

impl Request {
    /// The database, policy (`None`: any) and times that it reads when it begins.
    pub fn needs(&self) -> Option<(DatabaseId, Option<PolicyId>, TimeRange)> {
        match self {
            Request::Open(fragment) | Request::Groups(fragment, _) => {
                Some((fragment.database, Some(fragment.policy), fragment.range))
            }
            Request::Schema(request) => Some((request.database, Some(request.policy), request.range)),
            Request::Lookup(request) => Some((request.database, None, TimeRange::ALWAYS)),
            Request::Next(_) | Request::Close(_) => None,
        }
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub enum Response {
    /// To [`Request::Open`] and [`Request::Next`].
    Chunk(Chunk),
    /// To [`Request::Close`].
    Closed,
    /// To [`Request::Groups`].
    Groups(Vec<Vec<Bytes>>),
    /// To [`Request::Schema`].
    Schema(Schema),
    /// To [`Request::Lookup`].
    Lookup(lookup::Page),
    /// The request failed with this text.
    Failed(String),
}

/// A bounded piece of a fragment's answer: parts in the order of their group, then of time.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Ask here for more; `None`: this was the last.
    pub cursor: Option<CursorId>,
    /// The pieces; neighbours may belong to one group.
    pub parts: Vec<Part>,
    /// Series the fragment selected on this core.
    pub series_count: u64,
    /// Points read for it since the chunk before, once for each call.
    pub points: u64,
}

/// Rows or windows of one group.
#[derive(Clone, Debug)]
pub struct Part {
    /// Values of the fragment's dimensions; empty: the series has no such tag.
    pub group: Vec<Bytes>,
    /// The data.
    pub data: PartData,
}

/// See [`Work`].
#[derive(Clone, Debug)]
pub enum PartData {
    /// Rows.
    Rows(Rows),
    /// Partial aggregates.
    Windows(Windows),
}

/// Series that rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSeries {
    /// Series key, for the order of rows of one instant.
    pub key: Bytes,
    /// Values of [`Fragment::tags`].
    pub tags: Vec<Option<Bytes>>,
}

/// Rows by time; rows of one instant by series.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Their times.
    pub times: Vec<Timestamp>,
    /// One for each of [`Fragment::fields`]; `None`: absent from all rows here.
    pub columns: Vec<Option<Column>>,
    /// Series of each row, an index into `origins`; empty: all are from `origins[0]`.
    pub series: Vec<u32>,
    /// The series named above.
    pub origins: Vec<RowSeries>,
    /// The next row of the series of each row. Empty where the order within an instant is not wanted by
    /// [`crate::exec::order`].
    pub next: Vec<Upcoming>,
    /// In the first part of a group: all its series here, with their first rows.
    pub heads: Vec<(RowSeries, Upcoming)>,
}

/// What is known of a row ahead of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Upcoming {
    /// Its time; [`NEXT_NONE`]: there is none.
    pub time: Timestamp,
    /// Its cells by field as far as they order rows of one instant; empty: no field does.
    pub strings: Vec<Cell>,
}

impl Upcoming {
    /// The series has no further row.
    pub const NONE: Upcoming = Upcoming { time: NEXT_NONE, strings: Vec::new() };
}

/// No further row.
pub const NEXT_NONE: Timestamp = i64::MIN;

/// Partial aggregates by window.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Window starts.
    pub starts: Vec<Timestamp>,
    /// For each call as many partials as there are starts.
    pub partials: Vec<Vec<Partial>>,
}
