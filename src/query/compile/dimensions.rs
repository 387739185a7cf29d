//! GROUP BY.

use jiff::tz::TimeZone;

use crate::influxql::ast::Expr;
use crate::influxql::reduce::Known;
use crate::influxql::reduce::fold;
use crate::influxql::reduce::is_date;
use crate::influxql::reduce::parse_date;
use crate::influxql::zone;
use crate::model::Timestamp;
use crate::query::compile::Dimension;
use crate::query::compile::Interval;

/// The GROUP BY items without time, and the interval; an `every` of 0: none.
pub(super) fn read(
    dimensions: &[Expr],
    now: Timestamp,
    zone: Option<&str>,
) -> Result<(Vec<Dimension>, Interval), String> {
    let zone = zone.and_then(zone::find).unwrap_or(TimeZone::UTC);
    let mut interval = Interval { every: 0, offset: 0 };
    let mut others = Vec::new();
    for dimension in dimensions {
        match fold(dimension, &Known::nothing()) {
            Expr::VarRef { name, .. } if name.eq_ignore_ascii_case("time") => {
                return Err("time() is a function and expects at least one argument".into());
            }
            Expr::VarRef { name, .. } => others.push(Dimension::Tag(name)),
            Expr::Wildcard(_) => others.push(Dimension::Wildcard),
            Expr::Regex(regex) => others.push(Dimension::Regex(regex)),
            Expr::Call { name, args } => {
                let every = every(&name, &args)?;
                if interval.every != 0 {
                    return Err("multiple time dimensions not allowed".into());
                }
                let offset = args.get(1).map_or(Ok(0), |offset| self::offset(offset, every, now, &zone))?;
                interval = Interval { every, offset };
            }
            _ => return Err("only time and tag dimensions allowed".into()),
        }
    }
    Ok((others, interval))
}

/// The length of a window, from the call and its arguments.
fn every(name: &str, args: &[Expr]) -> Result<i64, String> {
    match args {
        _ if name != "time" => Err("only time() calls allowed in dimensions".into()),
        [Expr::Duration(every)] | [Expr::Duration(every), _] => Ok(*every),
        [_] | [_, _] => Err("time dimension must have duration argument".into()),
        _ => Err("time dimension expected 1 or 2 arguments".into()),
    }
}

fn offset(offset: &Expr, every: i64, now: Timestamp, zone: &TimeZone) -> Result<i64, String> {
    match offset {
        Expr::Duration(offset) => Ok(offset.checked_rem(every).unwrap_or(0)),
        Expr::Call { name, .. } if name != "now" => Err("time dimension offset function must be now()".into()),
        Expr::Call { args, .. } if !args.is_empty() => {
            Err("time dimension offset now() function requires no arguments".into())
        }
        Expr::Call { .. } => Ok(now.checked_rem_euclid(every).unwrap_or(0)),
        Expr::String(text) if is_date(text) => match parse_date(text, zone) {
            // Taken by the first check, refused by the next one in stock; there is nothing else to wait for here.
            Ok(_) => Err(format!("invalid time dimension offset: {offset}")),
            Err(_) => Err("invalid timestamp string".into()),
        },
        _ => Err("time dimension offset must be duration or now()".into()),
    }
}
