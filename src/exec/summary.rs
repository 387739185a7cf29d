//! What the summary of a block tells a query without the block.

use crate::exec::aggregate::order;
use crate::exec::expr::Division;
use crate::exec::expr::Op;
use crate::exec::expr::Program;
use crate::exec::expr::as_float;
use crate::exec::expr::binary;
use crate::model::Cell;
use crate::model::FieldType;
use crate::segment::Extremes;
use crate::segment::Summary;
use crate::segment::SummaryValues;

/// A column in short, as cells. [`Cell::Null`]: not known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Rows with a value, at least one.
    pub count: u32,
    /// Rows without.
    pub missing: u32,
    /// Smallest.
    pub min: Cell,
    /// Largest.
    pub max: Cell,
    /// First in time.
    pub first: Cell,
    /// Last in time.
    pub last: Cell,
    /// Sum; not known of floats, since it depends on the order of the additions.
    pub sum: Cell,
}

impl Facts {
    /// What is known of a column of `rows` rows, read as `as_type`; `None` of one that has to be converted.
    pub fn of(summary: &Summary, rows: u32, as_type: FieldType) -> Option<Facts> {
        let (field_type, [min, max, first, last], sum) = match summary.values {
            SummaryValues::Float(values) => (FieldType::Float, cells(values, Cell::Float), Cell::Null),
            SummaryValues::Integer(values, sum) => {
                (FieldType::Integer, cells(values, Cell::Integer), Cell::Integer(sum))
            }
            SummaryValues::Unsigned(values, sum) => {
                (FieldType::Unsigned, cells(values, Cell::Unsigned), Cell::Unsigned(sum))
            }
            SummaryValues::Boolean(values) => (FieldType::Boolean, cells(values, Cell::Boolean), Cell::Null),
            SummaryValues::String => (FieldType::String, [const { Cell::Null }; 4], Cell::Null),
        };
        let missing = summary.missing;
        let facts = Facts { count: rows.saturating_sub(missing), missing, min, max, first, last, sum };
        (field_type == as_type).then_some(facts)
    }
}

fn cells<T>(Extremes { min, max, first, last }: Extremes<T>, cell: fn(T) -> Cell) -> [Cell; 4] {
    [cell(min), cell(max), cell(first), cell(last)]
}

/// What a condition can be for the rows of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// True for some, perhaps.
    pub may_hold: bool,
    /// Not true for some, perhaps.
    pub may_fail: bool,
}

impl Outcome {
    const UNKNOWN: Outcome = Outcome { may_hold: true, may_fail: true };
    const NEVER: Outcome = Outcome { may_hold: false, may_fail: true };
}

/// What is known of a slot of a program.
#[derive(Clone, Debug)]
pub enum Slot {
    /// No row has it.
    Absent,
    /// In short.
    Known(Facts),
    /// Nothing is known.
    Unknown,
}

impl Program {
    /// What this condition can be for the rows of a block, of whose slots this is known.
    pub fn outcome(&self, slots: &[Slot]) -> Outcome {
        let Program::Binary(op, left, right) = self else { return Outcome::UNKNOWN };
        match (op, &**left, &**right) {
            (Op::And, left, right) => {
                let (left, right) = (left.outcome(slots), right.outcome(slots));
                Outcome { may_hold: left.may_hold && right.may_hold, may_fail: left.may_fail || right.may_fail }
            }
            (Op::Or, left, right) => {
                let (left, right) = (left.outcome(slots), right.outcome(slots));
                Outcome { may_hold: left.may_hold || right.may_hold, may_fail: left.may_fail && right.may_fail }
            }
            (op, Program::Field(slot), Program::Literal(literal)) if op.is_comparison() => {
                comparison(slots.get(*slot), literal, |value| binary(*op, value, literal, Division::Integer), *op)
            }
            (op, Program::Literal(literal), Program::Field(slot)) if op.is_comparison() => {
                comparison(slots.get(*slot), literal, |value| binary(*op, literal, value, Division::Integer), *op)
            }
            _ => Outcome::UNKNOWN,
        }
    }
}

/// A field beside a constant. Numbers in a range fulfil an order comparison at one end of the range if any of them do,
/// and fail it at one if any do.
fn comparison(slot: Option<&Slot>, literal: &Cell, compare: impl Fn(&Cell) -> Cell, op: Op) -> Outcome {
    let facts = match slot {
        Some(Slot::Known(facts)) => facts,
        Some(Slot::Absent) => return Outcome::NEVER,
        _ => return Outcome::UNKNOWN,
    };
    let is_number = |cell: &Cell| as_float(cell).is_some_and(|value| !value.is_nan());
    if ![&facts.min, &facts.max, literal].into_iter().all(is_number) {
        return Outcome::UNKNOWN;
    }
    let holds = [compare(&facts.min), compare(&facts.max)].map(|result| result == Cell::Boolean(true));
    let is_one = order(&facts.min, &facts.max).is_eq();
    let (may_hold, may_fail) = match op {
        Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => (holds[0] || holds[1], !(holds[0] && holds[1])),
        Op::Equal | Op::NotEqual => {
            // Whether the constant lies between them.
            let at_most = |left: &Cell, right: &Cell| {
                binary(Op::LessEqual, left, right, Division::Integer) == Cell::Boolean(true)
            };
            let is_inside = at_most(&facts.min, literal) && at_most(literal, &facts.max);
            let (may_equal, may_differ) = (is_inside, !(is_inside && is_one));
            if op == Op::Equal { (may_equal, may_differ) } else { (may_differ, may_equal) }
        }
        _ => return Outcome::UNKNOWN,
    };
    Outcome { may_hold, may_fail: may_fail || facts.missing > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: [Op; 6] = [Op::Equal, Op::NotEqual, Op::Less, Op::LessEqual, Op::Greater, Op::GreaterEqual];

    fn facts(values: &[i64], missing: u32) -> Facts {
        let cell = |value: Option<&i64>| Cell::Integer(*value.expect("a value"));
        Facts {
            count: values.len() as u32,
            missing,
            min: cell(values.iter().min()),
            max: cell(values.iter().max()),
            first: cell(values.first()),
            last: cell(values.last()),
            sum: Cell::Integer(values.iter().sum()),
        }
    }

    /// What a condition is for each value decides; where it cannot be told from the extremes, both must be possible.
    #[test]
    fn an_outcome_that_is_ruled_out_happens_for_no_value() {
        let literals = [Cell::Integer(3), Cell::Float(3.0), Cell::Float(2.5), Cell::Unsigned(3), Cell::Boolean(true)];
        for values in [&[3][..], &[1, 2], &[4, 7], &[1, 3, 5], &[-2, 3], &[3, 9], &[2, 4]] {
            let slots = [Slot::Known(facts(values, 0))];
            for (op, literal, turned) in ORDERS
                .iter()
                .flat_map(|op| literals.iter().flat_map(move |literal| [(*op, literal, false), (*op, literal, true)]))
            {
                let operands = (Box::new(Program::Field(0)), Box::new(Program::Literal(literal.clone())));
                let (left, right) = if turned { (operands.1, operands.0) } else { operands };
                let outcome = Program::Binary(op, left, right).outcome(&slots);
                let result = |value: &i64| {
                    let value = Cell::Integer(*value);
                    let (left, right) = if turned { (literal, &value) } else { (&value, literal) };
                    binary(op, left, right, Division::Integer) == Cell::Boolean(true)
                };
                assert!(outcome.may_hold || !values.iter().any(result), "{values:?} {op:?} {literal:?} {turned}");
                assert!(outcome.may_fail || values.iter().all(result), "{values:?} {op:?} {literal:?} {turned}");
            }
        }
    }

    fn check(program: Program, slot: Slot, may_hold: bool, may_fail: bool) {
        assert_eq!(program.outcome(&[slot]), Outcome { may_hold, may_fail }, "{program:?}");
    }

    fn over(limit: i64) -> Program {
        Program::Binary(Op::Greater, Box::new(Program::Field(0)), Box::new(Program::Literal(Cell::Integer(limit))))
    }

    #[test]
    fn extremes_rule_out_what_lies_beyond_them() {
        let known = |missing| Slot::Known(facts(&[10, 90], missing));
        check(over(90), known(0), false, true);
        check(over(89), known(0), true, true);
        check(over(9), known(0), true, false);
        check(over(9), known(1), true, true);
        check(over(9), Slot::Absent, false, true);
        check(over(9), Slot::Unknown, true, true);
        let both = |op| Program::Binary(op, Box::new(over(90)), Box::new(over(9)));
        check(both(Op::And), known(0), false, true);
        check(both(Op::Or), known(0), true, false);
    }
}
