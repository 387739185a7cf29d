//! What each function asks of its arguments, in the order and the words of stock.

use crate::influxql::ast::Expr;
use crate::influxql::ast::Field;
use crate::influxql::duration;
use crate::influxql::reduce::kind_name;
use crate::influxql::reduce::math_argument_count;
use crate::query::compile::fields::Checker;
use crate::query::compile::rules::argument_count;

type Checked = Result<(), String>;

/// Checks the call of `name`, which is no math function.
pub(super) fn check(checker: &mut Checker<'_>, name: &str, args: &[Expr]) -> Checked {
    match name {
        "min" | "max" | "first" | "last" => plain(checker, name, args),
        "count" | "sum" | "mean" | "median" | "mode" | "stddev" | "spread" => {
            checker.found.only_selectors = false;
            plain(checker, name, args)
        }
        "percentile" => percentile(checker, args),
        "sample" => sample(checker, args),
        "distinct" => check_distinct(checker, args, false),
        "top" | "bottom" => top_bottom(checker, name, args),
        "derivative" | "non_negative_derivative" | "elapsed" => with_unit(checker, name, args),
        "difference" | "non_negative_difference" | "cumulative_sum" => {
            count(name, args, 1)?;
            checker.found.only_selectors = false;
            transformed(checker, name, &args[0])
        }
        "moving_average" => moving_average(checker, args),
        "exponential_moving_average"
        | "double_exponential_moving_average"
        | "triple_exponential_moving_average"
        | "relative_strength_index"
        | "triple_exponential_derivative" => smoothed(checker, name, args, &["exponential", "simple"]),
        "kaufmans_efficiency_ratio" | "kaufmans_adaptive_moving_average" => smoothed(checker, name, args, &[]),
        "chande_momentum_oscillator" => smoothed(checker, name, args, &["none", "exponential", "simple"]),
        "integral" => integral(checker, args),
        "holt_winters" | "holt_winters_with_fit" => holt_winters(checker, name, args),
        _ => Err(format!("undefined function {name}()")),
    }
}

fn count(name: &str, args: &[Expr], expected: usize) -> Checked {
    if args.len() == expected { Ok(()) } else { Err(argument_count(name, expected, args.len())) }
}

fn count_between(name: &str, args: &[Expr], least: usize, most: usize) -> Checked {
    if (least..=most).contains(&args.len()) {
        return Ok(());
    }
    let found = args.len();
    Err(format!(
        "invalid number of arguments for {name}, expected at least {least} but no more than {most}, got {found}"
    ))
}

fn plain(checker: &mut Checker<'_>, name: &str, args: &[Expr]) -> Checked {
    count(name, args, 1)?;
    match &args[0] {
        Expr::Call { name: inner, args } if name == "count" && inner == "distinct" => {
            check_distinct(checker, args, true)
        }
        Expr::Distinct(_) if name == "count" => {
            checker.found.only_selectors = false;
            Ok(())
        }
        arg => checker.symbol(name, arg),
    }
}

fn percentile(checker: &mut Checker<'_>, args: &[Expr]) -> Checked {
    count("percentile", args, 2)?;
    match &args[1] {
        Expr::Integer(_) | Expr::Number(_) => checker.symbol("percentile", &args[0]),
        _ => Err("expected float argument in percentile()".into()),
    }
}

fn sample(checker: &mut Checker<'_>, args: &[Expr]) -> Checked {
    count("sample", args, 2)?;
    match &args[1] {
        Expr::Integer(size) if *size <= 0 => Err(format!("sample window must be greater than 1, got {size}")),
        Expr::Integer(_) => checker.symbol("sample", &args[0]),
        _ => Err("expected integer argument in sample()".into()),
    }
}

/// `nested`: inside count() or a transformation.
pub(super) fn check_distinct(checker: &mut Checker<'_>, args: &[Expr], nested: bool) -> Checked {
    match args {
        [] => Err("distinct function requires at least one argument".into()),
        [Expr::VarRef { .. }] => {
            checker.found.has_distinct |= !nested;
            checker.found.only_selectors = false;
            Ok(())
        }
        [_] => Err("expected field argument in distinct()".into()),
        _ => Err("distinct function can only have one argument".into()),
    }
}

fn top_bottom(checker: &mut Checker<'_>, name: &str, args: &[Expr]) -> Checked {
    if let Some(first) = &checker.found.top_bottom {
        return Err(format!("selector function {first}() cannot be combined with other functions"));
    }
    let [field, keys @ .., size] = args else {
        let found = args.len();
        return Err(format!("invalid number of arguments for {name}, expected at least 2, got {found}"));
    };
    let limit = checker.clauses.limit;
    match size {
        Expr::Integer(size) if *size < 1 => {
            return Err(format!("limit ({size}) in {name} function must be at least 1"));
        }
        Expr::Integer(size) if limit > 0 && *size as u64 > limit => {
            return Err(format!(
                "limit ({size}) in {name} function can not be larger than the LIMIT ({limit}) in the select statement"
            ));
        }
        Expr::Integer(_) => {}
        other => return Err(format!("expected integer as last argument in {name}(), found {other}")),
    }
    if !matches!(field, Expr::VarRef { .. }) {
        return Err(format!("expected first argument to be a field in {name}(), found {field}"));
    }
    for key in keys {
        if !matches!(key, Expr::VarRef { .. }) {
            return Err(format!("only fields or tags are allowed in {name}(), found {key}"));
        }
        if !checker.clauses.has_target {
            checker.extra.push(Field { expr: key.clone(), alias: None });
        }
    }
    checker.found.top_bottom = Some(name.to_owned());
    Ok(())
}

/// derivative and elapsed: the second argument is a unit of time.
fn with_unit(checker: &mut Checker<'_>, name: &str, args: &[Expr]) -> Checked {
    count_between(name, args, 1, 2)?;
    checker.found.only_selectors = false;
    match args.get(1) {
        None => {}
        Some(Expr::Duration(unit)) => positive(*unit)?,
        Some(other) => {
            return Err(format!("second argument to {name} must be a duration, got {}", kind_name(other)));
        }
    }
    transformed(checker, name, &args[0])
}

fn positive(span: i64) -> Checked {
    if span > 0 { Ok(()) } else { Err(format!("duration argument must be positive, got {}", duration::format(span))) }
}

fn moving_average(checker: &mut Checker<'_>, args: &[Expr]) -> Checked {
    count("moving_average", args, 2)?;
    match &args[1] {
        Expr::Integer(size) if *size <= 1 => {
            return Err(format!("moving_average window must be greater than 1, got {size}"));
        }
        Expr::Integer(_) => {}
        other => {
            let kind = kind_name(other);
            return Err(format!("second argument for moving_average must be an integer, got {kind}"));
        }
    }
    checker.found.only_selectors = false;
    transformed(checker, "moving_average", &args[0])
}

/// The moving indicators: period, hold period, and where `warmups` are named, how to warm up.
fn smoothed(checker: &mut Checker<'_>, name: &str, args: &[Expr], warmups: &[&str]) -> Checked {
    count_between(name, args, 2, if warmups.is_empty() { 3 } else { 4 })?;
    checker.found.only_selectors = false;
    match &args[1] {
        Expr::Integer(period) if *period < 1 => {
            return Err(format!("{name} period must be greater than or equal to 1"));
        }
        Expr::Integer(_) => {}
        _ => return Err(format!("{name} period must be an integer")),
    }
    let least = i64::from(name == "triple_exponential_derivative");
    match args.get(2) {
        Some(Expr::Integer(hold)) if *hold < least && *hold != -1 => {
            return Err(format!("{name} hold period must be greater than or equal to {least}"));
        }
        None | Some(Expr::Integer(_)) => {}
        Some(_) => return Err(format!("{name} hold period must be an integer")),
    }
    match args.get(3) {
        None => {}
        Some(Expr::String(warmup)) if warmups.contains(&warmup.as_str()) => {}
        Some(Expr::String(_)) => {
            let known: Vec<String> = warmups.iter().map(|warmup| format!("'{warmup}'")).collect();
            return Err(format!("{name} warmup type must be one of: {}", known.join(" ")));
        }
        Some(_) => return Err(format!("{name} warmup type must be a string")),
    }
    match &args[0] {
        // Here stock does not look into the call: distinct counts as standing on its own.
        arg @ Expr::Call { .. } if checker.clauses.interval.every != 0 => checker.expr(arg),
        arg => transformed(checker, name, arg),
    }
}

fn integral(checker: &mut Checker<'_>, args: &[Expr]) -> Checked {
    count_between("integral", args, 1, 2)?;
    match args.get(1) {
        None => {}
        Some(Expr::Duration(unit)) => positive(*unit)?,
        Some(_) => return Err("second argument must be a duration".into()),
    }
    checker.found.only_selectors = false;
    checker.symbol("integral", &args[0])
}

fn holt_winters(checker: &mut Checker<'_>, name: &str, args: &[Expr]) -> Checked {
    count(name, args, 3)?;
    checker.found.only_selectors = false;
    match &args[1] {
        Expr::Integer(rows) if *rows <= 0 => {
            return Err(format!("second arg to {name} must be greater than 0, got {rows}"));
        }
        Expr::Integer(_) => {}
        _ => return Err(format!("expected integer argument as second arg in {name}")),
    }
    match &args[2] {
        Expr::Integer(season) if *season < 0 => {
            return Err(format!("third arg to {name} cannot be negative, got {season}"));
        }
        Expr::Integer(_) => {}
        _ => return Err(format!("expected integer argument as third arg in {name}")),
    }
    if !matches!(args[0], Expr::Call { .. }) {
        return Err(format!("must use aggregate function with {name}"));
    }
    if checker.clauses.interval.every == 0 {
        return Err(format!("{name} aggregate requires a GROUP BY interval"));
    }
    checker.nested(&args[0])
}

/// The first argument of a transformation: a call with GROUP BY time, else a field.
fn transformed(checker: &mut Checker<'_>, name: &str, arg: &Expr) -> Checked {
    let clauses = checker.clauses;
    match arg {
        Expr::Call { .. } if clauses.interval.every == 0 => {
            Err(format!("{name} aggregate requires a GROUP BY interval"))
        }
        Expr::Call { .. } => checker.nested(arg),
        _ if clauses.interval.every != 0 && !clauses.interval_is_inherited => {
            Err(format!("aggregate function required inside the call to {name}"))
        }
        _ => checker.symbol(name, arg),
    }
}

/// The outermost calls in `expr`, from left to right; math functions and operators are looked through.
pub fn outer_calls<'a>(expr: &'a Expr, calls: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Call { name, args } if math_argument_count(name).is_some() => {
            args.iter().for_each(|arg| outer_calls(arg, calls));
        }
        Expr::Call { .. } => calls.push(expr),
        Expr::Binary { left, right, .. } => {
            outer_calls(left, calls);
            outer_calls(right, calls);
        }
        Expr::Paren(inner) => outer_calls(inner, calls),
        _ => {}
    }
}

/// Whether some transformation over a call needs the window before the first.
pub(super) fn look_back(fields: &[Field]) -> bool {
    let mut calls = Vec::new();
    fields.iter().for_each(|field| outer_calls(&field.expr, &mut calls));
    calls.iter().any(|call| match call {
        Expr::Call { name, args } => {
            matches!(args.first(), Some(Expr::Call { .. }))
                && !matches!(name.as_str(), "count" | "cumulative_sum" | "holt_winters" | "holt_winters_with_fit")
        }
        _ => false,
    })
}
