//! Two constants and an operator to one constant.

use jiff::tz::TimeZone;

use crate::influxql::ast::Expr;
use crate::influxql::ast::Operator;
use crate::influxql::reduce::time::is_date;
use crate::influxql::reduce::time::parse_date;
use crate::model::Timestamp;

use Operator::*;

/// What `left op right` is; `None` when it stays an expression.
pub(super) fn fold(op: Operator, left: &Expr, right: &Expr, zone: &TimeZone) -> Option<Expr> {
    use Expr::{Boolean, Duration, Integer, Nil, Number, String, Time, Unsigned};
    match (left, right) {
        (Nil, _) => matches!(op, Equal | NotEqual).then_some(Boolean(false)),
        (String(_), Nil) => matches!(op, Equal | NotEqual).then_some(Boolean(false)),
        (Boolean(_) | Duration(_) | Integer(_) | Unsigned(_) | Number(_) | Time(_), Nil) => Some(Boolean(false)),
        (Boolean(a), Boolean(b)) => booleans(op, *a, *b),

        (Number(a), Number(b)) => numbers(op, *a, *b),
        (Number(a), Integer(b)) => numbers(op, *a, *b as f64),
        (Number(a), Unsigned(b)) => numbers(op, *a, *b as f64),
        (Integer(a), Number(b)) => numbers(op, *a as f64, *b),
        (Unsigned(a), Number(b)) => numbers(op, *a as f64, *b),
        (Integer(a), Integer(b)) => integers(op, *a, *b),
        (Unsigned(a), Unsigned(b)) => unsigneds(op, *a, *b),
        (Integer(a), Unsigned(b)) => mixed(op, *a, *b, false),
        (Unsigned(a), Integer(b)) => mixed(op, *b, *a, true),

        (Duration(a), Duration(b)) => match op {
            Add => Some(Duration(a.wrapping_add(*b))),
            Sub => Some(Duration(a.wrapping_sub(*b))),
            _ => compared(op, a, b),
        },
        (Duration(a), Number(b)) => scaled(op, *a, *b as i64, *b == 0.0),
        (Duration(a), Integer(b)) => scaled(op, *a, *b, *b == 0),
        (Duration(a), Time(b)) if op == Add => Some(Time(later(*b, *a))),

        (Time(a), Duration(b)) | (Time(a), Integer(b)) => match op {
            Add => Some(Time(later(*a, *b))),
            Sub => Some(Time(later(*a, b.saturating_neg()))),
            _ => None,
        },
        (Time(a), Time(b)) => match op {
            Sub => Some(Duration(a.saturating_sub(*b))),
            _ => compared(op, a, b),
        },
        // An integer beside a duration or a time is a time, or a distance, in nanoseconds.
        (Integer(a), Duration(b)) => match op {
            Add => Some(Time(later(*a, *b))),
            Sub => Some(Time(later(*a, b.saturating_neg()))),
            _ => None,
        },
        (Integer(a), Time(_)) => fold(op, &Duration(*a), right, zone),

        (String(a), String(b)) => strings(op, a, b, zone),
        (String(text), Duration(_) | Integer(_) | Time(_)) => fold(op, &date(text, zone)?, right, zone),
        (Duration(_) | Integer(_) | Time(_), String(text)) => fold(op, left, &date(text, zone)?, zone),
        _ => None,
    }
}

fn date(text: &str, zone: &TimeZone) -> Option<Expr> {
    parse_date(text, zone).ok().map(|date| Expr::Time(date.saturated()))
}

/// `time` moved by `span`. The outermost values stand for all that is further out and do not move.
fn later(time: Timestamp, span: i64) -> Timestamp {
    if time == Timestamp::MIN || time == Timestamp::MAX { time } else { time.saturating_add(span) }
}

fn compared<T: PartialOrd>(op: Operator, a: &T, b: &T) -> Option<Expr> {
    Some(Expr::Boolean(match op {
        Equal => a == b,
        NotEqual => a != b,
        Less => a < b,
        LessEqual => a <= b,
        Greater => a > b,
        GreaterEqual => a >= b,
        _ => return None,
    }))
}

fn booleans(op: Operator, a: bool, b: bool) -> Option<Expr> {
    Some(Expr::Boolean(match op {
        Equal => a == b,
        NotEqual | BitwiseXor => a != b,
        And | BitwiseAnd => a && b,
        Or | BitwiseOr => a || b,
        _ => return None,
    }))
}

fn numbers(op: Operator, a: f64, b: f64) -> Option<Expr> {
    Some(Expr::Number(match op {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div if b == 0.0 => 0.0,
        Div => a / b,
        Mod => a % b,
        _ => return compared(op, &a, &b),
    }))
}

fn integers(op: Operator, a: i64, b: i64) -> Option<Expr> {
    Some(Expr::Integer(match op {
        Add => a.wrapping_add(b),
        Sub => a.wrapping_sub(b),
        Mul => a.wrapping_mul(b),
        Div => return Some(Expr::Number(if b == 0 { 0.0 } else { a as f64 / b as f64 })),
        Mod if b == 0 => 0,
        Mod => a.wrapping_rem(b),
        BitwiseAnd => a & b,
        BitwiseOr => a | b,
        BitwiseXor => a ^ b,
        _ => return compared(op, &a, &b),
    }))
}

fn unsigneds(op: Operator, a: u64, b: u64) -> Option<Expr> {
    Some(Expr::Unsigned(match op {
        Add => a.wrapping_add(b),
        Sub => a.wrapping_sub(b),
        Mul => a.wrapping_mul(b),
        Div => a.checked_div(b).unwrap_or(0),
        Mod => a.checked_rem(b).unwrap_or(0),
        // Bits of unsigned constants are left to the rows, as in stock.
        _ => return compared(op, &a, &b),
    }))
}

/// A signed and an unsigned constant: compared by value, computed as unsigned. `swapped`: the unsigned one is left.
fn mixed(op: Operator, signed: i64, unsigned: u64, swapped: bool) -> Option<Expr> {
    let (a, b) = if swapped { (i128::from(unsigned), i128::from(signed)) } else { (signed.into(), unsigned.into()) };
    match op {
        Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => compared(op, &a, &b),
        _ if swapped => unsigneds(op, unsigned, signed as u64),
        _ => unsigneds(op, signed as u64, unsigned),
    }
}

fn scaled(op: Operator, span: i64, factor: i64, is_zero: bool) -> Option<Expr> {
    match op {
        Mul => Some(Expr::Duration(span.wrapping_mul(factor))),
        Div if is_zero => Some(Expr::Duration(0)),
        Div => Some(Expr::Duration(span.checked_div(factor).unwrap_or(0))),
        _ => None,
    }
}

fn strings(op: Operator, a: &str, b: &str, zone: &TimeZone) -> Option<Expr> {
    let as_dates = || fold(op, &date(a, zone)?, &date(b, zone)?, zone);
    match op {
        // Two spellings of one instant are equal.
        Equal | NotEqual if is_date(a) && is_date(b) => as_dates().or_else(|| compared(op, &a, &b)),
        Equal | NotEqual => compared(op, &a, &b),
        Add => Some(Expr::String(format!("{a}{b}"))),
        _ => as_dates(),
    }
}
