//! Types of select items, known before data is read: the check of operands and the result types.

use crate::exec::Function;
use crate::exec::Op;
use crate::exec::expr::Division;
use crate::exec::expr::binary;
use crate::influxql::ast;
use crate::influxql::ast::DataType;
use crate::influxql::ast::Expr;
use crate::influxql::display;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;
use crate::query::select::names::Meaning;
use crate::query::select::names::Names;
use crate::query::select::names::data_type;
use crate::query::select::names::field_type;

/// Type of an operand; `None`: nothing is known, or there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A field's type.
    Field(FieldType),
    /// A tag.
    Tag,
    /// A duration literal.
    Duration,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Field(field_type) => field_type.name(),
            Kind::Tag => "tag",
            Kind::Duration => "duration",
        }
    }
}

/// Operators of the execution layer.
pub fn operator(op: ast::Operator) -> Option<Op> {
    use ast::Operator as From;
    Some(match op {
        From::Add => Op::Add,
        From::Sub => Op::Sub,
        From::Mul => Op::Mul,
        From::Div => Op::Div,
        From::Mod => Op::Mod,
        From::BitwiseAnd => Op::BitwiseAnd,
        From::BitwiseOr => Op::BitwiseOr,
        From::BitwiseXor => Op::BitwiseXor,
        _ => return None,
    })
}

/// A literal as cell; Null for what is no value.
pub fn literal(expr: &Expr) -> Cell {
    match expr {
        Expr::Number(value) => Cell::Float(*value),
        Expr::Integer(value) => Cell::Integer(*value),
        Expr::Unsigned(value) => Cell::Unsigned(*value),
        Expr::Boolean(value) => Cell::Boolean(*value),
        Expr::String(value) => Cell::String(value.as_bytes().into()),
        _ => Cell::Null,
    }
}

/// Checks the operands of every operator in a select item.
pub fn check(expr: &Expr, names: &Names) -> Result<(), String> {
    kind(expr, names).map(|_| ())
}

/// Whether a call's type is known, with or without values: it is a column that fill() applies to.
pub fn is_typed(expr: &Expr, names: &Names) -> bool {
    matches!(kind(expr, names), Ok(Some(_)))
}

/// Whether the values of a select item are those of a tag.
pub fn is_tag(expr: &Expr, names: &Names) -> bool {
    kind(expr, names) == Ok(Some(Kind::Tag))
}

/// The type of a select item's values.
pub fn result_type(expr: &Expr, names: &Names) -> Option<FieldType> {
    match kind(expr, names) {
        Ok(Some(Kind::Field(field_type))) => Some(field_type),
        _ => None,
    }
}

fn kind(expr: &Expr, names: &Names) -> Result<Option<Kind>, String> {
    Ok(match expr {
        Expr::Paren(inner) => kind(inner, names)?,
        // A cast decides, whatever is there.
        Expr::VarRef { data_type: Some(DataType::Tag), .. } => Some(Kind::Tag),
        Expr::VarRef { name, data_type } => match (data_type.and_then(field_type), names.meaning(name, *data_type)) {
            (Some(cast), _) => Some(Kind::Field(cast)),
            (None, Meaning::Field(field_type)) => Some(Kind::Field(field_type)),
            (None, Meaning::Tag) => Some(Kind::Tag),
            (None, Meaning::Nothing) => None,
        },
        Expr::Number(_) => Some(Kind::Field(FieldType::Float)),
        Expr::Integer(_) => Some(Kind::Field(FieldType::Integer)),
        Expr::Unsigned(_) => Some(Kind::Field(FieldType::Unsigned)),
        Expr::String(_) => Some(Kind::Field(FieldType::String)),
        Expr::Boolean(_) => Some(Kind::Field(FieldType::Boolean)),
        Expr::Duration(_) => Some(Kind::Duration),
        Expr::Call { name, args } => {
            let mut argument = None;
            for (index, arg) in args.iter().enumerate() {
                let found = kind(arg, names)?;
                argument = if index == 0 { found } else { argument };
            }
            call_type(name, argument)
        }
        Expr::Binary { op, left, right } => {
            let (left_kind, right_kind) = (kind(left, names)?, kind(right, names)?);
            match (left_kind, right_kind) {
                (Some(left_kind), Some(right_kind)) => Some(operands(expr, *op, left_kind, right_kind, names)?),
                (known, None) | (None, known) => known,
            }
        }
        _ => None,
    })
}

fn call_type(name: &str, argument: Option<Kind>) -> Option<Kind> {
    // Stock takes sqrt of an integer for an integer: what a subquery shows of it is cut off.
    if Function::named(name).is_some() {
        return Some(match argument {
            Some(Kind::Field(field_type)) => Kind::Field(field_type),
            _ => Kind::Field(FieldType::Float),
        });
    }
    Some(Kind::Field(match name {
        "count" | "elapsed" => FieldType::Integer,
        "sum"
        | "min"
        | "max"
        | "first"
        | "last"
        | "spread"
        | "mode"
        | "distinct"
        | "sample"
        | "percentile"
        | "top"
        | "bottom"
        | "difference"
        | "non_negative_difference"
        | "cumulative_sum" => return argument,
        _ => FieldType::Float,
    }))
}

/// The type of `expr`, whose operands have these types: what the operator makes of their zeros. Integers divided are
/// an integer here, as in stock, though not in the rows: a subquery's `i / 2` is cut off for the query around it.
fn operands(expr: &Expr, op: ast::Operator, left: Kind, right: Kind, names: &Names) -> Result<Kind, String> {
    let Some(operator) = operator(op) else { return Ok(Kind::Field(FieldType::Boolean)) };
    let unsigned_with_signed = [left, right].contains(&Kind::Field(FieldType::Unsigned))
        && [left, right].contains(&Kind::Field(FieldType::Integer));
    if unsigned_with_signed {
        let Expr::Binary { left, right, .. } = expr else { return Ok(Kind::Field(FieldType::Unsigned)) };
        let is_literal = |side: &Expr| matches!(side, Expr::Integer(_) | Expr::Unsigned(_));
        let text = match (is_literal(left), is_literal(right)) {
            (false, false) => "between an integer and unsigned, an explicit cast is required",
            _ => "with an integer and unsigned literal",
        };
        let op = display::operator(op);
        return Err(format!("type error: {}: cannot use {op} {text}", typed(expr, names)));
    }
    match binary(operator, &zero(left), &zero(right), Division::Integer) {
        Cell::Float(_) => Ok(Kind::Field(FieldType::Float)),
        Cell::Integer(_) => Ok(Kind::Field(FieldType::Integer)),
        Cell::Unsigned(_) => Ok(Kind::Field(FieldType::Unsigned)),
        Cell::Boolean(_) => Ok(Kind::Field(FieldType::Boolean)),
        _ => {
            let (left, right) = (left.name(), right.name());
            Err(format!("type error: {}: incompatible types: {left} and {right}", typed(expr, names)))
        }
    }
}

fn zero(kind: Kind) -> Cell {
    match kind {
        Kind::Field(FieldType::Float) => Cell::Float(0.0),
        Kind::Field(FieldType::Integer) => Cell::Integer(0),
        Kind::Field(FieldType::Unsigned) => Cell::Unsigned(0),
        Kind::Field(FieldType::Boolean) => Cell::Boolean(false),
        Kind::Field(FieldType::String) | Kind::Tag | Kind::Duration => Cell::String(Bytes::default()),
    }
}

/// `expr` with the type of every name, as messages print it.
fn typed(expr: &Expr, names: &Names) -> Expr {
    match expr {
        Expr::VarRef { name, data_type: cast } => {
            let data_type = match names.meaning(name, *cast) {
                Meaning::Field(field_type) => Some(data_type(field_type)),
                Meaning::Tag => Some(DataType::Tag),
                Meaning::Nothing => *cast,
            };
            Expr::VarRef { name: name.clone(), data_type }
        }
        Expr::Paren(inner) => Expr::Paren(Box::new(typed(inner, names))),
        Expr::Call { name, args } => {
            Expr::Call { name: name.clone(), args: args.iter().map(|arg| typed(arg, names)).collect() }
        }
        Expr::Binary { op, left, right } => {
            let (left, right) = (Box::new(typed(left, names)), Box::new(typed(right, names)));
            Expr::Binary { op: *op, left, right }
        }
        other => other.clone(),
    }
}
