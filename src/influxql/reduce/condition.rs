//! WHERE cut into time bounds and the rest.

use crate::influxql::ast::Expr;
use crate::influxql::ast::Operator;
use crate::influxql::display;
use crate::influxql::reduce::Known;
use crate::influxql::reduce::fold;
use crate::influxql::reduce::fold_binary;
use crate::influxql::reduce::fold_inner;
use crate::influxql::reduce::kind_name;
use crate::influxql::reduce::time::Date;
use crate::influxql::reduce::time::is_date;
use crate::influxql::reduce::time::parse_date;
use crate::influxql::zone;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::model::Timestamp;

/// Inclusive bounds as far as WHERE gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeBounds {
    /// First instant.
    pub min: Option<Timestamp>,
    /// Last instant.
    pub max: Option<Timestamp>,
}

impl TimeBounds {
    fn intersect(self, other: TimeBounds) -> TimeBounds {
        TimeBounds {
            min: self.min.max(other.min),
            max: self.max.map_or(other.max, |max| Some(other.max.map_or(max, |other| max.min(other)))),
        }
    }
}

/// Cuts `condition` in two. Every time bound counts for the whole, also below OR; what is left keeps its structure.
/// `zone` is the name given to `tz()`; the error is the statement's.
pub fn split_condition(
    condition: &Expr,
    now: Timestamp,
    zone: Option<&str>,
) -> Result<(Option<Expr>, TimeBounds), String> {
    let zone = zone.and_then(zone::find).unwrap_or(jiff::tz::TimeZone::UTC);
    let (rest, bounds) = split(condition, &Known::now(now, zone))?;
    let rest = match rest {
        Some(Expr::Paren(inner)) => Some(*inner),
        other => other,
    };
    Ok((rest.filter(|rest| *rest != Expr::Boolean(true)), bounds))
}

fn split(condition: &Expr, known: &Known) -> Result<(Option<Expr>, TimeBounds), String> {
    match condition {
        Expr::Binary { op: op @ (Operator::And | Operator::Or), left, right } => {
            let (left, left_bounds) = split(left, known)?;
            let (right, right_bounds) = split(right, known)?;
            let rest = match (left, right) {
                (Some(left), Some(right)) => Some(fold_binary(*op, left, right, &Known::nothing())),
                (left, right) => left.or(right),
            };
            Ok((rest, left_bounds.intersect(right_bounds)))
        }
        Expr::Binary { op, left, right } if is_time(left) => Ok((None, bounds(*op, right, known)?)),
        Expr::Binary { op, left, right } if is_time(right) => Ok((None, bounds(mirrored(*op), left, known)?)),
        Expr::Binary { .. } => Ok((Some(fold_inner(condition, known)), TimeBounds::default())),
        Expr::Paren(inner) => {
            let (rest, bounds) = split(inner, known)?;
            let rest = rest.map(|rest| match rest {
                binary @ Expr::Binary { .. } => Expr::Paren(Box::new(binary)),
                other => other,
            });
            Ok((rest, bounds))
        }
        Expr::Boolean(_) => Ok((Some(condition.clone()), TimeBounds::default())),
        other => Err(format!("invalid condition expression: {other}")),
    }
}

/// Whether `expr` is the name `time`, in any case.
fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::VarRef { name, .. } if name.eq_ignore_ascii_case("time"))
}

fn mirrored(op: Operator) -> Operator {
    match op {
        Operator::Less => Operator::Greater,
        Operator::LessEqual => Operator::GreaterEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterEqual => Operator::LessEqual,
        other => other,
    }
}

/// The bounds of `time op value`.
fn bounds(op: Operator, value: &Expr, known: &Known) -> Result<TimeBounds, String> {
    let time = instant(value, known)?;
    let (min, max) = match op {
        Operator::Greater => (Some(time.saturating_add(1)), None),
        Operator::GreaterEqual => (Some(time), None),
        Operator::Less => (None, Some(time.saturating_sub(1))),
        Operator::LessEqual => (None, Some(time)),
        Operator::Equal => (Some(time), Some(time)),
        other => return Err(format!("invalid time comparison operator: {}", display::operator(other))),
    };
    Ok(TimeBounds { min, max })
}

fn instant(value: &Expr, known: &Known) -> Result<Timestamp, String> {
    if let Expr::String(text) = value
        && is_date(text)
    {
        return in_range(parse_date(text, &known.zone).map_err(|_| "invalid timestamp string")?);
    }
    match fold(value, known) {
        Expr::Time(ns) => in_range(Date { ns: ns.into(), utc_offset_s: 0 }),
        Expr::Duration(ns) | Expr::Integer(ns) => Ok(ns),
        Expr::Number(ns) => Ok(ns as Timestamp),
        other => Err(format!("invalid operation: time and {} are not compatible", kind_name(&other))),
    }
}

fn in_range(date: Date) -> Result<Timestamp, String> {
    if date.ns > TIME_MAX.into() {
        return Err(format!("time {} overflows time literal", date.shown()));
    }
    if date.ns <= TIME_MIN.into() {
        return Err(format!("time {} underflows time literal", date.shown()));
    }
    Ok(date.saturated())
}
