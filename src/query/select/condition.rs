//! What is left of WHERE, as the execution layer understands it: every name is a field or a tag.

use crate::exec::Expr as Condition;
use crate::exec::Function;
use crate::exec::Op;
use crate::influxql::ast;
use crate::influxql::ast::DataType;
use crate::influxql::ast::Expr;
use crate::model::Cell;
use crate::query::select::names::Meaning;
use crate::query::select::names::Names;
use crate::query::select::types;

/// Translates a condition.
pub fn condition(expr: &Expr, names: &Names) -> Condition {
    match expr {
        Expr::Paren(inner) => condition(inner, names),
        Expr::VarRef { name, data_type } => reference(name, *data_type, names),
        Expr::Regex(regex) => Condition::Regex(regex.compiled.as_str().to_owned()),
        // Names of old meta queries pass every series.
        Expr::Binary { left, .. } if matches!(&**left, Expr::VarRef { name, .. } if name == "_tagKey") => {
            Condition::Literal(Cell::Boolean(true))
        }
        Expr::Binary { op, left, right } => Condition::Binary {
            op: operator(*op),
            left: Box::new(condition(left, names)),
            right: Box::new(condition(right, names)),
        },
        Expr::Call { name, args } => match Function::named(name) {
            Some(function) => {
                Condition::Call { function, args: args.iter().map(|arg| condition(arg, names)).collect() }
            }
            None => Condition::Literal(Cell::Null),
        },
        other => Condition::Literal(types::literal(other)),
    }
}

/// What of a condition decides which series are looked at: comparisons of tags with texts; all else passes.
pub fn of_series(expr: &Expr, names: &Names) -> Expr {
    let is_tag = |side: &Expr| match side {
        Expr::VarRef { name, data_type } => matches!(reference(name, *data_type, names), Condition::Tag(_)),
        _ => false,
    };
    let is_text = |side: &Expr| matches!(side, Expr::String(_) | Expr::Regex(_));
    match expr {
        Expr::Paren(inner) => of_series(inner, names),
        Expr::Binary { op: op @ (ast::Operator::And | ast::Operator::Or), left, right } => {
            Expr::Binary { op: *op, left: Box::new(of_series(left, names)), right: Box::new(of_series(right, names)) }
        }
        Expr::Binary { op, left, right } => {
            use ast::Operator as Is;
            let decides = matches!(op, Is::Equal | Is::NotEqual | Is::Match | Is::NotMatch)
                && ((is_tag(left) && (is_text(right) || is_tag(right))) || (is_text(left) && is_tag(right)));
            if decides { expr.clone() } else { Expr::Boolean(true) }
        }
        _ => Expr::Boolean(true),
    }
}

/// A name that is no field anywhere is a tag, also one that no series has.
fn reference(name: &str, data_type: Option<DataType>, names: &Names) -> Condition {
    match names.meaning(name, data_type) {
        Meaning::Field(as_type) => Condition::Field { name: name.as_bytes().into(), as_type },
        Meaning::Tag => Condition::Tag(name.as_bytes().into()),
        Meaning::Nothing if matches!(data_type, None | Some(DataType::Tag)) => Condition::Tag(name.as_bytes().into()),
        Meaning::Nothing => Condition::Literal(Cell::Null),
    }
}

fn operator(op: ast::Operator) -> Op {
    use ast::Operator as From;
    match op {
        From::Add => Op::Add,
        From::Sub => Op::Sub,
        From::Mul => Op::Mul,
        From::Div => Op::Div,
        From::Mod => Op::Mod,
        From::BitwiseAnd => Op::BitwiseAnd,
        From::BitwiseOr => Op::BitwiseOr,
        From::BitwiseXor => Op::BitwiseXor,
        From::And => Op::And,
        From::Or => Op::Or,
        From::Equal => Op::Equal,
        From::NotEqual => Op::NotEqual,
        From::Match => Op::Match,
        From::NotMatch => Op::NotMatch,
        From::Less => Op::Less,
        From::LessEqual => Op::LessEqual,
        From::Greater => Op::Greater,
        From::GreaterEqual => Op::GreaterEqual,
    }
}
