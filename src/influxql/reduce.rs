//! Constant folding, and WHERE cut into its time bounds and the rest.
//!
//! In:    an expression and what is known about it: the instant `now()` is, the zone of date strings.
//! Out:   an expression without constant parts; or a condition without time, and the bounds.
//!
//! What folds to what follows stock case by case: a pair of kinds that is not listed stays as it stands, and the
//! complaint about it, if any, comes from whoever needs a constant there.

mod condition;
mod literal;
mod math;
#[cfg(test)]
mod tests;
mod time;

use jiff::tz::TimeZone;

use crate::influxql::ast::Expr;
use crate::influxql::ast::Operator;
use crate::model::Timestamp;

pub use condition::TimeBounds;
pub use condition::split_condition;
pub use math::argument_count as math_argument_count;
pub use time::is_date;
pub use time::parse_date;

/// What is known while an expression is folded.
#[derive(Clone, Debug)]
pub struct Known {
    /// What `now()` is; without it the call stays.
    pub now: Option<Timestamp>,
    /// Whether calls of math functions on constants are computed, as in the select list.
    pub math: bool,
    /// Zone of date strings that name none.
    pub zone: TimeZone,
}

impl Known {
    /// Nothing but the constants themselves.
    pub fn nothing() -> Known {
        Known { now: None, math: false, zone: TimeZone::UTC }
    }

    /// For select items: math functions, but no time.
    pub fn math() -> Known {
        Known { math: true, ..Known::nothing() }
    }

    /// For conditions.
    pub fn now(now: Timestamp, zone: TimeZone) -> Known {
        Known { now: Some(now), math: false, zone }
    }
}

/// `expr` with its constant parts folded and without parentheses around the whole.
pub fn fold(expr: &Expr, known: &Known) -> Expr {
    match fold_inner(expr, known) {
        Expr::Paren(inner) => *inner,
        other => other,
    }
}

/// Like [`fold`], with the parentheses kept.
fn fold_inner(expr: &Expr, known: &Known) -> Expr {
    match expr {
        Expr::Binary { op, left, right } => fold_binary(*op, fold_inner(left, known), fold_inner(right, known), known),
        Expr::Call { name, args } => {
            let args: Vec<Expr> = args.iter().map(|arg| fold_inner(arg, known)).collect();
            fold_call(name, &args, known).unwrap_or_else(|| Expr::Call { name: name.clone(), args })
        }
        Expr::Paren(inner) => match fold_inner(inner, known) {
            binary @ Expr::Binary { .. } => Expr::Paren(Box::new(binary)),
            other => other,
        },
        other => other.clone(),
    }
}

fn fold_call(name: &str, args: &[Expr], known: &Known) -> Option<Expr> {
    match (name, args, known.now) {
        ("now", [], Some(now)) => Some(Expr::Time(now)),
        _ if known.math && args.iter().all(is_literal) => math::call(name, args),
        _ => None,
    }
}

/// Whether `expr` is a constant. A regular expression is one too.
pub fn is_literal(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Regex(_)
            | Expr::Number(_)
            | Expr::Integer(_)
            | Expr::Unsigned(_)
            | Expr::String(_)
            | Expr::Boolean(_)
            | Expr::Duration(_)
            | Expr::Time(_)
            | Expr::Nil
    )
}

/// Joins two folded sides, into a constant where that is possible.
fn fold_binary(op: Operator, left: Expr, right: Expr, known: &Known) -> Expr {
    match (op, &left, &right) {
        (Operator::And, Expr::Boolean(false), _) | (Operator::And, _, Expr::Boolean(false)) => {
            return Expr::Boolean(false);
        }
        (Operator::Or, Expr::Boolean(true), _) | (Operator::Or, _, Expr::Boolean(true)) => return Expr::Boolean(true),
        (Operator::And, Expr::Boolean(true), _) | (Operator::Or, Expr::Boolean(false), _) => return right,
        (Operator::And, _, Expr::Boolean(true)) | (Operator::Or, _, Expr::Boolean(false)) => return left,
        _ => {}
    }
    match literal::fold(op, &left, &right, &known.zone) {
        Some(folded) => folded,
        None => Expr::Binary { op, left: Box::new(left), right: Box::new(right) },
    }
}

/// What stock calls the kind of an expression in a complaint.
pub fn kind_name(expr: &Expr) -> &'static str {
    match expr {
        Expr::VarRef { .. } => "*influxql.VarRef",
        Expr::Call { .. } => "*influxql.Call",
        Expr::Distinct(_) => "*influxql.Distinct",
        Expr::Binary { .. } => "*influxql.BinaryExpr",
        Expr::Paren(_) => "*influxql.ParenExpr",
        Expr::Wildcard(_) => "*influxql.Wildcard",
        Expr::Regex(_) => "*influxql.RegexLiteral",
        Expr::Number(_) => "*influxql.NumberLiteral",
        Expr::Integer(_) => "*influxql.IntegerLiteral",
        Expr::Unsigned(_) => "*influxql.UnsignedLiteral",
        Expr::String(_) => "*influxql.StringLiteral",
        Expr::Boolean(_) => "*influxql.BooleanLiteral",
        Expr::Duration(_) => "*influxql.DurationLiteral",
        Expr::Time(_) => "*influxql.TimeLiteral",
        Expr::Nil => "*influxql.nilLiteral",
    }
}
