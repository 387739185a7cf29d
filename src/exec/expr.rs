//! Expressions over one row: what WHERE filters with on the owning core and what the select list computes on the asker.
//!
//! A missing value is [`Cell::Null`]; nothing here fails, a senseless operation is Null or false.

use crate::exec::fragment::FieldRef;
use crate::exec::view::Column;
use crate::exec::view::Values;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;

/// Operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the operators' own names")]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    And,
    Or,
    Equal,
    NotEqual,
    Match,
    NotMatch,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Op {
    /// Whether its result is true or false by comparing two values.
    pub fn is_comparison(self) -> bool {
        use Op::*;
        matches!(self, Equal | NotEqual | Match | NotMatch | Less | LessEqual | Greater | GreaterEqual)
    }
}

/// Mathematical functions of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the functions' own names")]
pub enum Function {
    Abs,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Atan2,
    Exp,
    Log,
    Ln,
    Log2,
    Log10,
    Sqrt,
    Pow,
    Floor,
    Ceil,
    Round,
}

impl Function {
    /// The function of that lower-case name.
    pub fn named(name: &str) -> Option<Function> {
        Some(match name {
            "abs" => Function::Abs,
            "sin" => Function::Sin,
            "cos" => Function::Cos,
            "tan" => Function::Tan,
            "asin" => Function::Asin,
            "acos" => Function::Acos,
            "atan" => Function::Atan,
            "atan2" => Function::Atan2,
            "exp" => Function::Exp,
            "log" => Function::Log,
            "ln" => Function::Ln,
            "log2" => Function::Log2,
            "log10" => Function::Log10,
            "sqrt" => Function::Sqrt,
            "pow" => Function::Pow,
            "floor" => Function::Floor,
            "ceil" => Function::Ceil,
            "round" => Function::Round,
            _ => return None,
        })
    }
}

/// A condition or value over one row of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A field, read as one type.
    Field {
        /// Its name.
        name: Bytes,
        /// What its values become.
        as_type: FieldType,
    },
    /// A tag.
    Tag(Bytes),
    /// A constant.
    Literal(Cell),
    /// The text of a regular expression, right of `=~` and `!~`.
    Regex(String),
    /// Two operands.
    Binary {
        /// The operator.
        op: Op,
        /// Left.
        left: Box<Expr>,
        /// Right.
        right: Box<Expr>,
    },
    /// A function.
    Call {
        /// Which.
        function: Function,
        /// Its arguments.
        args: Vec<Expr>,
    },
}

/// How two integers divide: the select list gives a float, WHERE an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// `5 / 2` is 2.5.
    Float,
    /// `5 / 2` is 2.
    Integer,
}

/// Applies `op` (regular expressions are the caller's).
pub fn binary(op: Op, left: &Cell, right: &Cell, division: Division) -> Cell {
    // A missing side beside a boolean counts as false, except in comparisons.
    let absent = Cell::Boolean(false);
    let (left, right) = match (left, right) {
        (Cell::Null, Cell::Boolean(_)) if !op.is_comparison() => (&absent, right),
        (Cell::Boolean(_), Cell::Null) if !op.is_comparison() => (left, &absent),
        both => both,
    };
    let result = match (left, right) {
        (Cell::Boolean(left), Cell::Boolean(right)) => booleans(op, *left, *right),
        (Cell::Boolean(_), _) if !matches!(op, Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod) => {
            Some(Cell::Boolean(false))
        }
        (Cell::Integer(left), Cell::Integer(right)) => integers(op, *left, *right, division),
        (Cell::Unsigned(left), Cell::Unsigned(right)) => unsigneds(op, *left, *right),
        (Cell::Integer(left), Cell::Unsigned(right)) => mixed(op, i128::from(*left), i128::from(*right)),
        (Cell::Unsigned(left), Cell::Integer(right)) => mixed(op, i128::from(*left), i128::from(*right)),
        (Cell::String(left), Cell::String(right)) => match op {
            Op::Equal => Some(Cell::Boolean(left == right)),
            Op::NotEqual => Some(Cell::Boolean(left != right)),
            _ => None,
        },
        _ => match (as_float(left), as_float(right)) {
            (Some(left), Some(right)) => floats(op, left, right),
            _ => None,
        },
    };
    result.unwrap_or(if op.is_comparison() || matches!(op, Op::And | Op::Or) {
        Cell::Boolean(false)
    } else {
        Cell::Null
    })
}

/// A number as float.
pub fn as_float(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Float(value) => Some(*value),
        Cell::Integer(value) => Some(*value as f64),
        Cell::Unsigned(value) => Some(*value as f64),
        _ => None,
    }
}

fn booleans(op: Op, left: bool, right: bool) -> Option<Cell> {
    Some(Cell::Boolean(match op {
        Op::And | Op::BitwiseAnd => left && right,
        Op::Or | Op::BitwiseOr => left || right,
        Op::BitwiseXor | Op::NotEqual => left != right,
        Op::Equal => left == right,
        _ => return None,
    }))
}

fn floats(op: Op, left: f64, right: f64) -> Option<Cell> {
    Some(match op {
        Op::Add => Cell::Float(left + right),
        Op::Sub => Cell::Float(left - right),
        Op::Mul => Cell::Float(left * right),
        Op::Div if right == 0.0 => Cell::Float(0.0),
        Op::Div => Cell::Float(left / right),
        Op::Mod => Cell::Float(left % right),
        _ => return compare(op, &left, &right),
    })
}

fn integers(op: Op, left: i64, right: i64, division: Division) -> Option<Cell> {
    Some(match op {
        Op::Add => Cell::Integer(left.wrapping_add(right)),
        Op::Sub => Cell::Integer(left.wrapping_sub(right)),
        Op::Mul => Cell::Integer(left.wrapping_mul(right)),
        Op::Div if division == Division::Float => {
            Cell::Float(if right == 0 { 0.0 } else { left as f64 / right as f64 })
        }
        Op::Div => Cell::Integer(if right == 0 { 0 } else { left.wrapping_div(right) }),
        Op::Mod => Cell::Integer(if right == 0 { 0 } else { left.wrapping_rem(right) }),
        Op::BitwiseAnd => Cell::Integer(left & right),
        Op::BitwiseOr => Cell::Integer(left | right),
        Op::BitwiseXor => Cell::Integer(left ^ right),
        _ => return compare(op, &left, &right),
    })
}

fn unsigneds(op: Op, left: u64, right: u64) -> Option<Cell> {
    Some(match op {
        Op::Add => Cell::Unsigned(left.wrapping_add(right)),
        Op::Sub => Cell::Unsigned(left.wrapping_sub(right)),
        Op::Mul => Cell::Unsigned(left.wrapping_mul(right)),
        Op::Div => Cell::Unsigned(left.checked_div(right).unwrap_or(0)),
        Op::Mod => Cell::Unsigned(left.checked_rem(right).unwrap_or(0)),
        Op::BitwiseAnd => Cell::Unsigned(left & right),
        Op::BitwiseOr => Cell::Unsigned(left | right),
        Op::BitwiseXor => Cell::Unsigned(left ^ right),
        _ => return compare(op, &left, &right),
    })
}

/// Signed with unsigned: compared by value, computed in 64 unsigned bits.
fn mixed(op: Op, left: i128, right: i128) -> Option<Cell> {
    if op.is_comparison() {
        return compare(op, &left, &right);
    }
    unsigneds(op, left as u64, right as u64)
}

fn compare<T: PartialOrd>(op: Op, left: &T, right: &T) -> Option<Cell> {
    Some(Cell::Boolean(match op {
        Op::Equal => left == right,
        Op::NotEqual => left != right,
        Op::Less => left < right,
        Op::LessEqual => left <= right,
        Op::Greater => left > right,
        Op::GreaterEqual => left >= right,
        _ => return None,
    }))
}

/// Applies a mathematical function; arguments that are no numbers give Null.
pub fn call(function: Function, args: &[Cell]) -> Cell {
    let first = args.first().unwrap_or(&Cell::Null);
    match (function, first) {
        (Function::Abs, Cell::Integer(value)) => return Cell::Integer(value.wrapping_abs()),
        (Function::Abs | Function::Floor | Function::Ceil | Function::Round, Cell::Integer(_) | Cell::Unsigned(_)) => {
            return first.clone();
        }
        _ => {}
    }
    let Some(x) = as_float(first) else { return Cell::Null };
    if matches!(function, Function::Atan2 | Function::Log | Function::Pow) {
        return match args.get(1).and_then(as_float) {
            Some(y) => Cell::Float(two_arguments(function, x, y)),
            None => Cell::Null,
        };
    }
    Cell::Float(match function {
        Function::Abs => x.abs(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Tan => x.tan(),
        Function::Asin => x.asin(),
        Function::Acos => x.acos(),
        Function::Atan => x.atan(),
        Function::Exp => x.exp(),
        Function::Ln => x.ln(),
        Function::Log2 => x.log2(),
        Function::Log10 => x.log10(),
        Function::Sqrt => x.sqrt(),
        Function::Floor => x.floor(),
        Function::Ceil => x.ceil(),
        Function::Round => x.round(),
        Function::Atan2 | Function::Log | Function::Pow => return Cell::Null,
    })
}

fn two_arguments(function: Function, x: f64, y: f64) -> f64 {
    match function {
        Function::Atan2 => x.atan2(y),
        Function::Log => x.ln() / y.ln(),
        _ => x.powf(y),
    }
}

/// The result type of `op` on two numeric types, for columns whose type must be known before data is read.
pub fn binary_type(op: Op, left: FieldType, right: FieldType) -> FieldType {
    if left == FieldType::Float || right == FieldType::Float {
        return FieldType::Float;
    }
    match (op, left, right) {
        (Op::Div, FieldType::Integer, FieldType::Integer) => FieldType::Float,
        (_, FieldType::Unsigned, _) | (_, _, FieldType::Unsigned) => FieldType::Unsigned,
        _ => left,
    }
}

/// Reads the operands of one row.
pub trait RowValues {
    /// The field in that slot.
    fn field(&self, slot: usize) -> Cell;
}

/// An [`Expr`] ready to run: its fields are slots of a row, its regular expressions are compiled.
#[derive(Clone, Debug)]
pub enum Program {
    /// A slot.
    Field(usize),
    /// A constant.
    Literal(Cell),
    /// `left =~ /re/`, or `!~`.
    Match(Box<Program>, regex::bytes::Regex, bool),
    /// Two operands.
    Binary(Op, Box<Program>, Box<Program>),
    /// A function.
    Call(Function, Vec<Program>),
}

impl Program {
    /// Compiles `expr`; its fields get slots in `fields`. Fails with the text of a bad regular expression.
    ///
    /// A tag that is still in it stands in arithmetic, where a string means nothing.
    pub fn compile(expr: &Expr, fields: &mut Vec<FieldRef>) -> Result<Program, String> {
        Ok(match expr {
            Expr::Field { name, as_type } => {
                let field = FieldRef { name: name.clone(), as_type: *as_type };
                Program::Field(slot_of(field, fields))
            }
            Expr::Literal(cell) => Program::Literal(cell.clone()),
            // Only right of a match operator a regular expression means something.
            Expr::Regex(_) | Expr::Tag(_) => Program::Literal(Cell::Null),
            Expr::Call { function, args } => {
                let args = args.iter().map(|arg| Program::compile(arg, fields)).collect::<Result<_, _>>()?;
                Program::Call(*function, args)
            }
            Expr::Binary { op: op @ (Op::Match | Op::NotMatch), left, right } => match &**right {
                Expr::Regex(text) => {
                    let regex = regex::bytes::Regex::new(text).map_err(|error| error.to_string())?;
                    Program::Match(Box::new(Program::compile(left, fields)?), regex, *op == Op::Match)
                }
                _ => Program::Literal(Cell::Boolean(false)),
            },
            Expr::Binary { op, left, right } => {
                let left = Box::new(Program::compile(left, fields)?);
                Program::Binary(*op, left, Box::new(Program::compile(right, fields)?))
            }
        })
    }

    /// The value for one row.
    pub fn eval(&self, row: &impl RowValues) -> Cell {
        match self {
            Program::Field(slot) => row.field(*slot),
            Program::Literal(cell) => cell.clone(),
            Program::Match(left, regex, wanted) => match left.eval(row) {
                Cell::String(text) => Cell::Boolean(regex.is_match(&text) == *wanted),
                _ => Cell::Boolean(false),
            },
            Program::Binary(Op::And, left, right) => Cell::Boolean(left.is_true(row) && right.is_true(row)),
            Program::Binary(Op::Or, left, right) => Cell::Boolean(left.is_true(row) || right.is_true(row)),
            Program::Binary(op, left, right) => binary(*op, &left.eval(row), &right.eval(row), Division::Integer),
            Program::Call(function, args) => {
                let args: Vec<Cell> = args.iter().map(|arg| arg.eval(row)).collect();
                call(*function, &args)
            }
        }
    }

    /// Whether the row fulfils this condition.
    pub fn is_true(&self, row: &impl RowValues) -> bool {
        self.eval(row) == Cell::Boolean(true)
    }

    /// Which of the first `count` rows of `columns` (one for each slot) fulfil this condition.
    pub fn mask(&self, columns: &[Option<Column>], count: usize) -> Vec<bool> {
        match self {
            Program::Binary(Op::And, left, right) => {
                let mut mask = left.mask(columns, count);
                mask.iter_mut().zip(right.mask(columns, count)).for_each(|(left, right)| *left &= right);
                mask
            }
            Program::Binary(Op::Or, left, right) => {
                let mut mask = left.mask(columns, count);
                mask.iter_mut().zip(right.mask(columns, count)).for_each(|(left, right)| *left |= right);
                mask
            }
            Program::Binary(op, left, right) => match (&**left, &**right) {
                (Program::Field(slot), Program::Literal(literal)) => {
                    compare_column(*op, columns.get(*slot).and_then(Option::as_ref), literal)
                }
                _ => None,
            }
            .unwrap_or_else(|| self.mask_by_row(columns, count)),
            _ => self.mask_by_row(columns, count),
        }
    }

    fn mask_by_row(&self, columns: &[Option<Column>], count: usize) -> Vec<bool> {
        (0..count).map(|row| self.is_true(&ColumnRow { columns, row })).collect()
    }
}

fn slot_of(field: FieldRef, fields: &mut Vec<FieldRef>) -> usize {
    fields.iter().position(|known| *known == field).unwrap_or_else(|| {
        fields.push(field);
        fields.len() - 1
    })
}

/// Compares a whole column of numbers with a constant, without a look at single cells.
fn compare_column(op: Op, column: Option<&Column>, literal: &Cell) -> Option<Vec<bool>> {
    let column = column?;
    let mut mask = match (&column.values, literal) {
        (Values::Float(values), _) => compare_values(op, values, &as_float(literal)?),
        (Values::Integer(values), Cell::Integer(literal)) => compare_values(op, values, literal),
        (Values::Unsigned(values), Cell::Unsigned(literal)) => compare_values(op, values, literal),
        _ => return None,
    }?;
    if let Some(valid) = &column.valid {
        mask.iter_mut().zip(valid).for_each(|(keep, valid)| *keep &= valid);
    }
    Some(mask)
}

fn compare_values<T: PartialOrd>(op: Op, values: &[T], literal: &T) -> Option<Vec<bool>> {
    Some(match op {
        Op::Equal => values.iter().map(|value| value == literal).collect(),
        Op::NotEqual => values.iter().map(|value| value != literal).collect(),
        Op::Less => values.iter().map(|value| value < literal).collect(),
        Op::LessEqual => values.iter().map(|value| value <= literal).collect(),
        Op::Greater => values.iter().map(|value| value > literal).collect(),
        Op::GreaterEqual => values.iter().map(|value| value >= literal).collect(),
        _ => return None,
    })
}

/// One row of columns.
struct ColumnRow<'a> {
    columns: &'a [Option<Column>],
    row: usize,
}

impl RowValues for ColumnRow<'_> {
    fn field(&self, slot: usize) -> Cell {
        self.columns.get(slot).and_then(Option::as_ref).map_or(Cell::Null, |column| column.cell(self.row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: Op, left: Cell, right: Cell, expected: Cell) {
        assert_eq!(binary(op, &left, &right, Division::Float), expected, "{left:?} {op:?} {right:?}");
    }

    #[test]
    fn integers_divide_to_floats_and_by_zero_to_zero() {
        check(Op::Div, Cell::Integer(7), Cell::Integer(2), Cell::Float(3.5));
        check(Op::Div, Cell::Integer(7), Cell::Integer(0), Cell::Float(0.0));
        check(Op::Mod, Cell::Integer(7), Cell::Integer(0), Cell::Integer(0));
        check(Op::Div, Cell::Float(7.0), Cell::Integer(0), Cell::Float(0.0));
        let whole = binary(Op::Div, &Cell::Integer(7), &Cell::Integer(2), Division::Integer);
        assert_eq!(whole, Cell::Integer(3));
    }

    #[test]
    fn a_missing_side_of_a_bitwise_boolean_is_false() {
        check(Op::BitwiseAnd, Cell::Null, Cell::Boolean(true), Cell::Boolean(false));
        check(Op::BitwiseOr, Cell::Boolean(true), Cell::Null, Cell::Boolean(true));
        check(Op::BitwiseAnd, Cell::Boolean(true), Cell::Float(1.0), Cell::Boolean(false));
        check(Op::Add, Cell::Null, Cell::Float(1.0), Cell::Null);
        check(Op::NotEqual, Cell::Null, Cell::Boolean(true), Cell::Boolean(false));
    }

    #[test]
    fn kinds_that_do_not_compare_are_false_also_for_unequal() {
        check(Op::NotEqual, Cell::Float(1.5), Cell::String(b"1.5".as_slice().into()), Cell::Boolean(false));
        check(Op::Less, Cell::Integer(-1), Cell::Unsigned(u64::MAX), Cell::Boolean(true));
    }
}
