//! A SELECT checked and brought into the form the executor works on. Pure: looks at no schema and no data.
//!
//! In:    the statement and the instant that `now()` is.
//! Out:   [`Compiled`], or the first complaint in stock's order: WHERE, GROUP BY, each select item from left to right
//!        and depth first, rules across items, then each subquery.
//!
//! What needs the schema comes after this, in the executor: wildcard expansion, types, unsupported input types.

mod calls;
mod dimensions;
mod fields;
mod names;
mod rules;
#[cfg(test)]
mod tests;

use crate::influxql::ast::Expr;
use crate::influxql::ast::Field;
use crate::influxql::ast::Fill;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::Regex;
use crate::influxql::ast::Select;
use crate::influxql::ast::Source;
use crate::influxql::reduce;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::model::TimeRange;
use crate::model::Timestamp;

pub use calls::outer_calls;
pub use fields::is_distinct;
pub use names::column_names;
pub use names::field_name;

/// Why a SELECT cannot run; the text of the statement's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub String);

/// A SELECT that passed every check that needs no schema.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Select items in order: constants folded, `DISTINCT v` as the call `distinct(v)`, `time` items removed, and
    /// behind a `top` or `bottom` one item for each of its tag arguments (not with INTO).
    pub fields: Vec<Field>,
    /// Name of the first column: `time`, or the alias of a `time` item.
    pub time_column: String,
    /// No call except math functions: every point gives a row.
    pub is_raw: bool,
    /// All calls are selectors (`first last min max percentile sample top bottom`) of one named field each.
    pub only_selectors: bool,
    /// Exactly one call in all items, nested ones counted, and it is a selector: without time grouping its row keeps
    /// the point's own time.
    pub single_selector: bool,
    /// Plain fields, tags or wildcards stand among the items (beside the tag arguments of `top` and `bottom`).
    pub has_plain_fields: bool,
    /// Its item is `DISTINCT v`, which a query around it does not see; `distinct(v)` is seen.
    pub is_bare_distinct: bool,
    /// `top` or `bottom` if one of them is called; then it is the only call.
    pub top_bottom: Option<String>,
    /// What is left of WHERE without its time bounds; folded, `now()` replaced. Calls other than math functions can
    /// occur inside parentheses; they have no value.
    pub condition: Option<Expr>,
    /// Time bounds with the defaults filled in: [`TIME_MIN`] without a lower bound; without an upper bound
    /// [`TIME_MAX`], or now if there is an interval. A subquery's are within what its parent reads.
    pub time: TimeRange,
    /// GROUP BY time. `None` also for an interval of 0 or less.
    pub interval: Option<Interval>,
    /// The interval is the outer query's; this subquery names none.
    pub interval_is_inherited: bool,
    /// Windows before [`Compiled::time`] that transformations over calls read for their first value: 0 or 1.
    pub lookback_windows: u32,
    /// GROUP BY without time, in order.
    pub dimensions: Vec<Dimension>,
    /// fill(). Null becomes None in subqueries with their own interval and with INTO.
    pub fill: Fill,
    /// Oldest rows first. A subquery's is its parent's.
    pub ascending: bool,
    /// LIMIT; 0: not said.
    pub limit: u64,
    /// OFFSET.
    pub offset: u64,
    /// SLIMIT; 0: not said.
    pub slimit: u64,
    /// SOFFSET.
    pub soffset: u64,
    /// tz(): a name [`crate::influxql::zone::find`] knows.
    pub zone: Option<String>,
    /// FROM, in order.
    pub sources: Vec<CompiledSource>,
    /// INTO; never in a subquery.
    pub target: Option<Measurement>,
}

/// One FROM item.
#[derive(Clone, Debug)]
pub enum CompiledSource {
    /// A measurement by name or regex.
    Measurement(Measurement),
    /// A subquery.
    Subquery(Box<Compiled>),
}

/// GROUP BY time(every, offset).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Length of a window, ns; greater than 0.
    pub every: i64,
    /// Shift of the windows, ns; already reduced modulo `every`, with its sign.
    pub offset: i64,
}

/// One GROUP BY item that is not time.
#[derive(Clone, Debug, PartialEq)]
pub enum Dimension {
    /// A tag, or a name that is none and groups under an empty value.
    Tag(String),
    /// `*`: all tags.
    Wildcard,
    /// Tags whose name matches.
    Regex(Regex),
}

/// Checks `select` and brings it into the executor's form; `now` is what `now()` means.
pub fn compile(select: &Select, now: Timestamp) -> Result<Compiled, CompileError> {
    let clauses = Clauses::read(select, now).map_err(CompileError)?;
    let mut compiled = clauses.compile(select, now).map_err(CompileError)?;
    compiled.target = select.target.clone();
    if compiled.target.is_some() && compiled.fill == Fill::Null {
        compiled.fill = Fill::None;
    }
    Ok(compiled)
}

/// What the clauses around the select items say; read first, since the items are checked against it.
#[derive(Clone, Debug)]
pub(super) struct Clauses {
    condition: Option<Expr>,
    time: TimeRange,
    /// As written: may be 0 or negative, which checks tell apart from nothing only by 0.
    interval: Interval,
    interval_is_inherited: bool,
    dimensions: Vec<Dimension>,
    fill: Fill,
    ascending: bool,
    limit: u64,
    has_target: bool,
}

impl Clauses {
    fn read(select: &Select, now: Timestamp) -> Result<Clauses, String> {
        let zone = select.zone.as_deref();
        let (condition, bounds) = match &select.condition {
            Some(condition) => reduce::split_condition(condition, now, zone)?,
            None => Default::default(),
        };
        if let Some(condition) = &condition {
            rules::check_condition(condition)?;
        }
        let (dimensions, interval) = dimensions::read(&select.dimensions, now, zone)?;
        let max = bounds.max.unwrap_or(if interval.every == 0 { TIME_MAX } else { now });
        Ok(Clauses {
            condition,
            time: TimeRange { min: bounds.min.unwrap_or(TIME_MIN), max },
            interval,
            interval_is_inherited: false,
            dimensions,
            fill: select.fill,
            ascending: select.sort.first().is_none_or(|sort| sort.ascending),
            limit: select.limit,
            has_target: select.target.is_some(),
        })
    }

    fn compile(self, select: &Select, now: Timestamp) -> Result<Compiled, String> {
        let found = fields::check(&select.fields, &self)?;
        rules::check_items(&found, &self)?;
        let interval = Some(self.interval).filter(|interval| interval.every > 0);
        // A transformation that stands alone reads a window more, also of subqueries.
        let looks_back = interval.is_some() && found.fields.len() == 1 && calls::look_back(&found.fields);
        let range = if looks_back { self.widened() } else { self.time };
        let sources = select.sources.iter().map(|source| self.source(source, range, now)).collect::<Result<_, _>>()?;
        Ok(Compiled {
            is_raw: found.call_count == 0,
            only_selectors: found.only_selectors,
            single_selector: found.call_count == 1 && found.only_selectors,
            has_plain_fields: found.has_plain_fields,
            is_bare_distinct: found.is_bare_distinct,
            lookback_windows: u32::from(interval.is_some() && calls::look_back(&found.fields)),
            fields: found.fields,
            time_column: found.time_column.unwrap_or_else(|| "time".into()),
            top_bottom: found.top_bottom,
            condition: self.condition,
            time: self.time,
            interval,
            interval_is_inherited: self.interval_is_inherited,
            dimensions: self.dimensions,
            fill: self.fill,
            ascending: self.ascending,
            limit: select.limit,
            offset: select.offset,
            slimit: select.slimit,
            soffset: select.soffset,
            zone: select.zone.clone(),
            sources,
            target: None,
        })
    }

    /// The range with one window more where it begins.
    fn widened(&self) -> TimeRange {
        let TimeRange { min, max } = self.time;
        match self.ascending {
            true if min <= TIME_MIN => self.time,
            true => TimeRange { min: min.saturating_sub(self.interval.every).max(TIME_MIN), max },
            false => TimeRange { min, max: max.saturating_add(self.interval.every).min(TIME_MAX) },
        }
    }

    fn source(&self, source: &Source, range: TimeRange, now: Timestamp) -> Result<CompiledSource, String> {
        match source {
            Source::Measurement(measurement) => Ok(CompiledSource::Measurement(measurement.clone())),
            Source::Subquery(select) => {
                let inner = self.inner(select, range, now)?;
                Ok(CompiledSource::Subquery(Box::new(inner.compile(select, now)?)))
            }
        }
    }

    /// The clauses of a subquery, with what it takes over from this query.
    fn inner(&self, select: &Select, range: TimeRange, now: Timestamp) -> Result<Clauses, String> {
        let mut inner = Clauses::read(select, now)?;
        if !select.sort.is_empty() && inner.ascending != self.ascending {
            return Err("subqueries must be ordered in the same direction as the query itself".into());
        }
        inner.ascending = self.ascending;
        inner.time = inner.time.intersect(range);
        if inner.interval.every != 0 && inner.fill == Fill::Null {
            inner.fill = Fill::None;
        }
        if self.interval.every != 0 && inner.interval.every == 0 {
            inner.interval = self.interval;
            inner.interval_is_inherited = true;
        }
        Ok(inner)
    }
}
