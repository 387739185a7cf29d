//! Math functions on constants.

use crate::influxql::ast::Expr;

/// How many arguments the math function `name` takes; `None` if there is no such function.
pub fn argument_count(name: &str) -> Option<usize> {
    match name {
        "atan2" | "pow" | "log" => Some(2),
        "abs" | "sin" | "cos" | "tan" | "asin" | "acos" | "atan" | "exp" | "ln" | "log2" | "log10" | "sqrt"
        | "ceil" | "floor" | "round" => Some(1),
        _ => None,
    }
}

/// The value of a call on constants; [`Expr::Nil`] when the arguments are no numbers, `None` when it is no math
/// function or has too few or too many arguments.
pub(super) fn call(name: &str, args: &[Expr]) -> Option<Expr> {
    if argument_count(name)? != args.len() {
        return None;
    }
    let value = match args {
        [whole @ (Expr::Integer(_) | Expr::Unsigned(_))] if matches!(name, "abs" | "ceil" | "floor" | "round") => {
            return Some(match whole {
                Expr::Integer(value) if name == "abs" => Expr::Integer(value.wrapping_abs()),
                other => other.clone(),
            });
        }
        [x] => number(x).map(|x| of_one(name, x)),
        [x, y] => number(x).zip(number(y)).map(|(x, y)| of_two(name, x, y)),
        _ => None,
    };
    Some(value.map_or(Expr::Nil, Expr::Number))
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Number(value) => Some(*value),
        Expr::Integer(value) => Some(*value as f64),
        Expr::Unsigned(value) => Some(*value as f64),
        _ => None,
    }
}

fn of_one(name: &str, x: f64) -> f64 {
    match name {
        "abs" => x.abs(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "exp" => x.exp(),
        "ln" => x.ln(),
        "log2" => x.log2(),
        "log10" => x.log10(),
        "sqrt" => x.sqrt(),
        "ceil" => x.ceil(),
        "floor" => x.floor(),
        _ => x.round(),
    }
}

fn of_two(name: &str, x: f64, y: f64) -> f64 {
    match name {
        "atan2" => x.atan2(y),
        "pow" => x.powf(y),
        _ => x.ln() / y.ln(),
    }
}
