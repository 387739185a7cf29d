//! Rules about WHERE, and about all select items together.

use crate::influxql::ast::Expr;
use crate::influxql::ast::Fill;
use crate::influxql::reduce::math_argument_count;
use crate::query::compile::Clauses;
use crate::query::compile::fields::Found;

/// WHERE calls nothing but math functions, each with its number of arguments. What stands in parentheses inside a
/// larger condition is not looked at, as in stock: a call there that is unknown has no value.
pub(super) fn check_condition(condition: &Expr) -> Result<(), String> {
    match condition {
        Expr::Binary { left, right, .. } => {
            check_condition(left)?;
            check_condition(right)
        }
        Expr::Call { name, args } => {
            if math_argument_count(name).is_none() {
                return Err(format!("invalid function call in condition: {condition}"));
            }
            // Stock forgets that log() takes a base.
            let expected = if matches!(name.as_str(), "atan2" | "pow") { 2 } else { 1 };
            if args.len() != expected {
                return Err(argument_count(name, expected, args.len()));
            }
            args.iter().try_for_each(check_condition)
        }
        _ => Ok(()),
    }
}

/// The complaint about a wrong number of arguments.
pub(super) fn argument_count(name: &str, expected: usize, found: usize) -> String {
    format!("invalid number of arguments for {name}, expected {expected}, got {found}")
}

/// What the items may not be together.
pub(super) fn check_items(found: &Found, clauses: &Clauses) -> Result<(), String> {
    let error = |text: &str| Err(text.to_owned());
    if found.fields.is_empty() {
        return error("at least 1 non-time field must be queried");
    }
    match &found.top_bottom {
        Some(name) if found.call_count > 1 => {
            return Err(format!("selector function {name}() cannot be combined with other functions"));
        }
        _ => {}
    }
    if found.call_count == 0 {
        match clauses.fill {
            Fill::None => return error("fill(none) must be used with a function"),
            Fill::Linear => return error("fill(linear) must be used with a function"),
            _ => {}
        }
        if clauses.interval.every != 0 && !clauses.interval_is_inherited {
            return error("GROUP BY requires at least one aggregate function");
        }
    }
    if found.has_distinct && (found.call_count != 1 || found.has_plain_fields) {
        return error("aggregate function distinct() cannot be combined with other functions or fields");
    }
    if found.has_plain_fields && !found.only_selectors {
        return error("mixing aggregate and non-aggregate queries is not supported");
    }
    if found.has_plain_fields && found.call_count > 1 {
        return error("mixing multiple selector functions with tags or fields is not supported");
    }
    Ok(())
}
