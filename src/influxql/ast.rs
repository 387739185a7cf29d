//! The statements of InfluxQL as values. The parser makes them, `display` prints them back, nothing here decides.

use std::rc::Rc;

use crate::model::Timestamp;

/// Nanoseconds.
pub type Duration = i64;

/// One statement of a query text.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "variants are named after the statements they hold")]
pub enum Statement {
    Select(Box<Select>),
    Explain { analyze: bool, select: Box<Select> },
    Delete(Delete),
    DropSeries(Delete),
    DropMeasurement { name: String },
    DropDatabase { name: String },
    DropShard { id: u64 },
    DropUser { name: String },
    DropRetentionPolicy { name: String, database: String },
    DropContinuousQuery { name: String, database: String },
    DropSubscription { name: String, database: String, policy: String },
    CreateDatabase { name: String, policy: Option<PolicyOptions> },
    CreateRetentionPolicy(CreatePolicy),
    AlterRetentionPolicy { name: String, database: String, options: PolicyOptions, default: bool },
    CreateUser { name: String, password: String, admin: bool },
    SetPassword { name: String, password: String },
    Grant { privilege: Privilege, database: String, user: String },
    GrantAdmin { user: String },
    Revoke { privilege: Privilege, database: String, user: String },
    RevokeAdmin { user: String },
    CreateContinuousQuery(Box<CreateContinuousQuery>),
    CreateSubscription { name: String, database: String, policy: String, any: bool, destinations: Vec<String> },
    KillQuery { id: u64, host: Option<String> },
    ShowContinuousQueries,
    ShowDatabases,
    ShowDiagnostics { module: Option<String> },
    ShowStats { module: Option<String> },
    ShowGrants { user: String },
    ShowQueries,
    ShowRetentionPolicies { database: Option<String> },
    ShowShardGroups,
    ShowShards,
    ShowSubscriptions,
    ShowUsers,
    ShowMeasurements(ShowMeasurements),
    ShowSeries(Show),
    ShowTagKeys { show: Show, slimit: u64, soffset: u64 },
    ShowTagValues { show: Show, key: TagKeyFilter },
    ShowFieldKeys(Show),
    ShowCardinality(ShowCardinality),
}

/// What CREATE DATABASE ... WITH and ALTER RETENTION POLICY may say; `None`: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOptions {
    /// Retention; 0 is infinite.
    pub duration: Option<Duration>,
    /// Copies; stored, without effect.
    pub replication: Option<u32>,
    /// Length of a shard group; 0 asks for the default.
    pub shard_duration: Option<Duration>,
    /// Policy name (CREATE DATABASE only).
    pub name: Option<String>,
}

/// CREATE RETENTION POLICY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePolicy {
    /// Policy name.
    pub name: String,
    /// Its database.
    pub database: String,
    /// Retention; 0 is infinite.
    pub duration: Duration,
    /// Copies; stored, without effect.
    pub replication: u32,
    /// Length of a shard group; 0 or `None` asks for the default.
    pub shard_duration: Option<Duration>,
    /// Becomes the default policy.
    pub default: bool,
}

/// What a GRANT gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the privileges' own names")]
pub enum Privilege {
    Read,
    Write,
    All,
}

/// CREATE CONTINUOUS QUERY.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateContinuousQuery {
    /// Name.
    pub name: String,
    /// Database it belongs to.
    pub database: String,
    /// The SELECT ... INTO.
    pub select: Select,
    /// RESAMPLE EVERY; 0: not said.
    pub every: Duration,
    /// RESAMPLE FOR; 0: not said.
    pub span: Duration,
}

/// DELETE and DROP SERIES.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// Measurements; empty: all.
    pub sources: Vec<Source>,
    /// WHERE.
    pub condition: Option<Expr>,
}

/// The clauses that most SHOW statements share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Show {
    /// ON.
    pub database: Option<String>,
    /// FROM.
    pub sources: Vec<Source>,
    /// WHERE.
    pub condition: Option<Expr>,
    /// ORDER BY, without effect.
    pub sort: Vec<SortField>,
    /// LIMIT; 0: not said.
    pub limit: u64,
    /// OFFSET.
    pub offset: u64,
}

/// SHOW MEASUREMENTS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShowMeasurements {
    /// WITH MEASUREMENT `=` name or `=~` regex.
    pub with: Option<Measurement>,
    /// The other clauses; `sources` stays empty.
    pub show: Show,
}

/// WITH KEY of SHOW TAG VALUES.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "one variant an operator")]
pub enum TagKeyFilter {
    Equal(String),
    NotEqual(String),
    Match(Regex),
    NotMatch(Regex),
    In(Vec<String>),
}

/// The SHOW ... CARDINALITY statements.
#[derive(Clone, Debug, PartialEq)]
pub struct ShowCardinality {
    /// Of what.
    pub of: CardinalityOf,
    /// EXACT.
    pub exact: bool,
    /// The clauses.
    pub show: Show,
    /// GROUP BY.
    pub dimensions: Vec<Expr>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the statements' own words")]
pub enum CardinalityOf {
    Series,
    Measurement,
    FieldKey,
    TagKey,
    TagValues(TagKeyFilter),
}

/// SELECT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Select {
    /// The select items.
    pub fields: Vec<Field>,
    /// INTO.
    pub target: Option<Measurement>,
    /// FROM.
    pub sources: Vec<Source>,
    /// WHERE.
    pub condition: Option<Expr>,
    /// GROUP BY.
    pub dimensions: Vec<Expr>,
    /// fill(...).
    pub fill: Fill,
    /// ORDER BY.
    pub sort: Vec<SortField>,
    /// LIMIT; 0: not said.
    pub limit: u64,
    /// OFFSET.
    pub offset: u64,
    /// SLIMIT; 0: not said.
    pub slimit: u64,
    /// SOFFSET.
    pub soffset: u64,
    /// tz(...): name of the zone as written, known to exist.
    pub zone: Option<String>,
}

/// One select item.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The expression (a regex only as a whole item).
    pub expr: Expr,
    /// AS.
    pub alias: Option<String>,
}

/// fill(...).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fill {
    /// fill(null), also when nothing is said.
    #[default]
    Null,
    /// fill(none).
    None,
    /// fill(previous).
    Previous,
    /// fill(linear).
    Linear,
    /// fill(n), an integer literal.
    Integer(i64),
    /// fill(n), a literal with a point.
    Number(f64),
}

/// One ORDER BY item; `name` is empty when only ASC or DESC was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortField {
    /// `time`, or for SHOW statements anything.
    pub name: String,
    /// ASC.
    pub ascending: bool,
}

/// One FROM item.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A measurement by name or regex.
    Measurement(Measurement),
    /// A subquery.
    Subquery(Box<Select>),
}

/// `db.rp.name`, `db.rp./regex/`, or an INTO target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Empty: not said.
    pub database: String,
    /// Empty: not said.
    pub policy: String,
    /// Empty when `regex` is given.
    pub name: String,
    /// Instead of a name.
    pub regex: Option<Regex>,
    /// INTO target (`:MEASUREMENT` when `name` is empty).
    pub is_target: bool,
}

/// A regular expression: its text as between the slashes (`\/` already a slash), compiled.
#[derive(Clone, Debug)]
pub struct Regex {
    /// Source text.
    pub text: String,
    /// Compiled, on bytes; unanchored.
    pub compiled: Rc<regex::bytes::Regex>,
}

impl PartialEq for Regex {
    fn eq(&self, other: &Regex) -> bool {
        self.text == other.text
    }
}

/// `::type` behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the types' own names")]
pub enum DataType {
    Float,
    Integer,
    Unsigned,
    String,
    Boolean,
    Time,
    Duration,
    Tag,
    AnyField,
}

/// Operators of expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the operators' own names")]
pub enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    And,
    Or,
    Equal,
    NotEqual,
    Match,
    NotMatch,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A name, `a.b` joined, with an optional `::type`.
    VarRef {
        /// The name.
        name: String,
        /// The type asked for.
        data_type: Option<DataType>,
    },
    /// `f(a, b)`; the name is lower case. `DISTINCT v` is [`Expr::Distinct`].
    Call {
        /// Function name.
        name: String,
        /// Arguments.
        args: Vec<Expr>,
    },
    /// `DISTINCT v`, the form without parentheses.
    Distinct(String),
    /// `a op b`.
    Binary {
        /// Operator.
        op: Operator,
        /// Left side.
        left: Box<Expr>,
        /// Right side.
        right: Box<Expr>,
    },
    /// `(e)`.
    Paren(Box<Expr>),
    /// `*`, `*::field`, `*::tag`.
    Wildcard(Option<WildcardKind>),
    /// `/re/`.
    Regex(Regex),
    /// A literal with a point.
    Number(f64),
    /// A literal that fits 64 signed bits.
    Integer(i64),
    /// A literal that fits 64 unsigned bits only.
    Unsigned(u64),
    /// `'text'`.
    String(String),
    /// `true`, `false`.
    Boolean(bool),
    /// `10m`.
    Duration(Duration),
    /// A time; made by reduction, never by the parser.
    Time(Timestamp),
    /// No value; made by reduction, never by the parser.
    Nil,
}

/// Behind a `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words themselves")]
pub enum WildcardKind {
    Field,
    Tag,
}
