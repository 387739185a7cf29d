//! Functions from one point to the next: derivative, difference, elapsed, moving_average, cumulative_sum.

use std::collections::VecDeque;

use crate::exec::expr::as_float;
use crate::model::Cell;
use crate::model::Timestamp;
use crate::query::select::indicator::Indicator;
use crate::query::select::stream::Row;

/// The functions.
#[derive(Clone, Debug, PartialEq)]
pub enum Transformation {
    /// derivative(x, unit), non_negative_derivative.
    Derivative {
        /// ns.
        unit: i64,
        /// Drops what is below 0.
        non_negative: bool,
    },
    /// difference(x), non_negative_difference.
    Difference {
        /// Drops what is below 0.
        non_negative: bool,
    },
    /// elapsed(x, unit).
    Elapsed {
        /// ns.
        unit: i64,
    },
    /// moving_average(x, n).
    MovingAverage(usize),
    /// cumulative_sum(x).
    CumulativeSum,
    /// The moving indicators.
    Indicator(Indicator),
}

/// A transformation at work on one group.
#[derive(Debug)]
pub struct Transform {
    transformation: Transformation,
    descending: bool,
    previous: Option<(Timestamp, Cell)>,
    recent: VecDeque<Cell>,
    sum: Cell,
    indicator: Option<Indicator>,
}

impl Transform {
    /// A transformation of rows in the query's direction.
    pub fn new(transformation: Transformation, descending: bool) -> Transform {
        let mut transform = Transform {
            transformation,
            descending,
            previous: None,
            recent: VecDeque::new(),
            sum: Cell::Null,
            indicator: None,
        };
        transform.reset();
        transform
    }

    /// Forgets everything: another group follows.
    pub fn reset(&mut self) {
        self.previous = None;
        self.recent.clear();
        self.sum = Cell::Null;
        self.indicator = match &self.transformation {
            Transformation::Indicator(fresh) => Some(fresh.clone()),
            _ => None,
        };
    }

    /// Takes one row and gives at most one.
    pub fn push(&mut self, row: Row) -> Option<Row> {
        let cell = row.cells.into_iter().next().filter(|cell| *cell != Cell::Null)?;
        let time = row.time;
        let result = match &self.transformation {
            Transformation::Derivative { unit, non_negative } => {
                let (unit, non_negative) = (*unit, *non_negative);
                let (previous_time, previous) = self.advance(time, cell.clone())?;
                let elapsed = if self.descending { previous_time - time } else { time - previous_time };
                let change = change_as_float(&previous, &cell)?;
                if non_negative && change < 0.0 {
                    return None;
                }
                Cell::Float(change / (elapsed as f64 / unit as f64))
            }
            Transformation::Difference { non_negative } => {
                let non_negative = *non_negative;
                let (_, previous) = self.advance(time, cell.clone())?;
                let change = subtract(&cell, &previous)?;
                if non_negative && as_float(&change).is_some_and(|change| change < 0.0) {
                    return None;
                }
                change
            }
            Transformation::Elapsed { unit } => {
                let unit = *unit;
                let (previous, _) = self.previous.replace((time, Cell::Null))?;
                Cell::Integer(time.saturating_sub(previous) / unit.max(1))
            }
            Transformation::MovingAverage(count) => {
                let count = *count;
                self.moving_average(cell, count)?
            }
            Transformation::CumulativeSum => {
                self.sum = match (&self.sum, cell) {
                    // From 0 on: the sum of a negative zero is 0.
                    (Cell::Null, Cell::Float(value)) => Cell::Float(value + 0.0),
                    (Cell::Null, cell) => cell,
                    (sum, cell) => add(sum, &cell)?,
                };
                self.sum.clone()
            }
            Transformation::Indicator(_) => Cell::Float(self.indicator.as_mut()?.push(as_float(&cell)?)?),
        };
        Some(Row { time, cells: vec![result] })
    }

    /// Remembers this point; the one before, unless this one has the same time and so does not count.
    fn advance(&mut self, time: Timestamp, cell: Cell) -> Option<(Timestamp, Cell)> {
        if self.previous.as_ref().is_some_and(|(previous, _)| *previous == time) {
            return None;
        }
        self.previous.replace((time, cell))
    }

    /// A running sum: what falls out is subtracted, so float rounding accumulates as in stock.
    fn moving_average(&mut self, cell: Cell, count: usize) -> Option<Cell> {
        if self.recent.len() == count {
            let oldest = self.recent.pop_front()?;
            self.sum = subtract(&self.sum, &oldest)?;
        }
        self.sum = if self.sum == Cell::Null { cell.clone() } else { add(&self.sum, &cell)? };
        self.recent.push_back(cell);
        (self.recent.len() == count).then(|| as_float(&self.sum))?.map(|sum| Cell::Float(sum / count as f64))
    }

    /// Bytes of remembered points.
    pub fn held_bytes(&self) -> usize {
        self.recent.len() * size_of::<Cell>()
    }
}

fn change_as_float(previous: &Cell, current: &Cell) -> Option<f64> {
    Some(match (previous, current) {
        (Cell::Integer(previous), Cell::Integer(current)) => current.wrapping_sub(*previous) as f64,
        (Cell::Unsigned(previous), Cell::Unsigned(current)) if current < previous => -((previous - current) as f64),
        (Cell::Unsigned(previous), Cell::Unsigned(current)) => (current - previous) as f64,
        _ => as_float(current)? - as_float(previous)?,
    })
}

fn add(left: &Cell, right: &Cell) -> Option<Cell> {
    Some(match (left, right) {
        (Cell::Integer(left), Cell::Integer(right)) => Cell::Integer(left.wrapping_add(*right)),
        (Cell::Unsigned(left), Cell::Unsigned(right)) => Cell::Unsigned(left.wrapping_add(*right)),
        _ => Cell::Float(as_float(left)? + as_float(right)?),
    })
}

fn subtract(left: &Cell, right: &Cell) -> Option<Cell> {
    Some(match (left, right) {
        (Cell::Integer(left), Cell::Integer(right)) => Cell::Integer(left.wrapping_sub(*right)),
        (Cell::Unsigned(left), Cell::Unsigned(right)) => Cell::Unsigned(left.wrapping_sub(*right)),
        _ => Cell::Float(as_float(left)? - as_float(right)?),
    })
}
