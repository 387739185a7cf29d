//! Aggregates whose states merge over series, shards and cores.
//!
//! One state goes through three hands: [`Partial::update`] adds rows of one series of one shard group,
//! [`Partial::settle`] closes that series, [`Partial::merge`] joins settled states on the owner and on the asker.
//! Stock computes the mean of each series of each shard first and weighs those; the last bits follow that.

use std::cmp::Ordering;
use std::ops::Range;

use crate::exec::summary::Facts;
use crate::exec::view::Column;
use crate::exec::view::Values;
use crate::model::Cell;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the functions' own names")]
pub enum Aggregate {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    First,
    Last,
    Spread,
}

impl Aggregate {
    /// Whether it chooses one point.
    pub fn is_selector(self) -> bool {
        matches!(self, Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last)
    }
}

/// The point a selector chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// Its time.
    pub time: Timestamp,
    /// Its value.
    pub value: Cell,
    /// Other values of the same row and series: fields, then tags.
    pub carried: Vec<Cell>,
}

/// A state of one aggregate in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Partial {
    /// No value yet.
    #[default]
    Empty,
    /// Values counted.
    Count(i64),
    /// Their sum, in the field's type.
    Sum(Cell),
    /// A mean before its series is settled: sum in the field's type, and count.
    Summing(Cell, i64),
    /// Settled means: the mean when only one was merged, the weighted sum, the count, how many were merged.
    Mean {
        /// Of the first series.
        first: f64,
        /// Sum of mean times count.
        weighted: f64,
        /// Values in all.
        count: i64,
        /// Series in all.
        merged: u32,
    },
    /// Smallest and largest.
    Spread(Cell, Cell),
    /// See [`Selected`].
    Point(Box<Selected>),
}

impl Partial {
    /// Adds the values of `rows` of one series. Returns the row a selector moved to, if it moved.
    pub fn update(
        &mut self,
        aggregate: Aggregate,
        column: &Column,
        times: &[Timestamp],
        rows: Range<usize>,
    ) -> Option<usize> {
        match aggregate {
            Aggregate::Count => self.count(column, rows),
            Aggregate::Sum => self.sum(column, rows),
            Aggregate::Mean => self.mean(column, rows),
            Aggregate::Spread => self.spread(column, rows),
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => {
                return self.select(aggregate, column, times, rows);
            }
        }
        None
    }

    fn count(&mut self, column: &Column, rows: Range<usize>) {
        let count = count_valid(column, rows);
        if count > 0 {
            let before = if let Partial::Count(before) = self { *before } else { 0 };
            *self = Partial::Count(before + count);
        }
    }

    fn sum(&mut self, column: &Column, rows: Range<usize>) {
        if let Partial::Sum(sum) = self {
            add_rows(sum, column, rows);
            return;
        }
        let mut sum = Cell::Null;
        if add_rows(&mut sum, column, rows) > 0 {
            *self = Partial::Sum(sum);
        }
    }

    fn mean(&mut self, column: &Column, rows: Range<usize>) {
        if let Partial::Summing(sum, count) = self {
            *count += add_rows(sum, column, rows);
            return;
        }
        let mut sum = Cell::Null;
        let count = add_rows(&mut sum, column, rows);
        if count > 0 {
            *self = Partial::Summing(sum, count);
        }
    }

    fn spread(&mut self, column: &Column, rows: Range<usize>) {
        let lowest = extreme(column, rows.clone(), Ordering::Less).map(|row| column.cell(row));
        let highest = extreme(column, rows, Ordering::Greater).map(|row| column.cell(row));
        if let (Some(lowest), Some(highest)) = (lowest, highest) {
            self.merge(Aggregate::Spread, Partial::Spread(lowest, highest));
        }
    }

    fn select(
        &mut self,
        aggregate: Aggregate,
        column: &Column,
        times: &[Timestamp],
        rows: Range<usize>,
    ) -> Option<usize> {
        let ascending = times.first() <= times.last();
        let row = match aggregate {
            Aggregate::Min => extreme_by_time(column, rows, Ordering::Less, ascending),
            Aggregate::Max => extreme_by_time(column, rows, Ordering::Greater, ascending),
            Aggregate::First if ascending => first_valid(column, rows),
            Aggregate::Last if !ascending => first_valid(column, rows),
            _ => rows.rev().find(|row| column.has(*row)),
        }?;
        let found = Selected { time: times[row], value: column.cell(row), carried: Vec::new() };
        match self {
            Partial::Point(chosen) if !wins(aggregate, &found, chosen) => None,
            _ => {
                *self = Partial::Point(Box::new(found));
                Some(row)
            }
        }
    }

    /// Closes the series: what follows comes from another one.
    pub fn settle(&mut self) {
        if let Partial::Summing(sum, count) = self {
            let total = crate::exec::expr::as_float(sum).unwrap_or(0.0);
            let mean = total / *count as f64;
            *self = Partial::Mean { first: mean, weighted: mean * *count as f64, count: *count, merged: 1 };
        }
    }

    /// What a block adds to an aggregate that is no selector, by its summary; `None` if only its rows can tell.
    pub fn of_facts(aggregate: Aggregate, facts: &Facts) -> Option<Partial> {
        let Facts { count, min, max, sum, .. } = facts;
        let is_known = |cell: &Cell| *cell != Cell::Null;
        Some(match aggregate {
            Aggregate::Count => Partial::Count(i64::from(*count)),
            Aggregate::Sum if is_known(sum) => Partial::Sum(sum.clone()),
            Aggregate::Mean if is_known(sum) => Partial::Summing(sum.clone(), i64::from(*count)),
            Aggregate::Spread if is_known(min) => Partial::Spread(min.clone(), max.clone()),
            _ => return None,
        })
    }

    /// Joins a state of other rows: of the same series, or a settled one of others.
    pub fn merge(&mut self, aggregate: Aggregate, other: Partial) {
        match (&mut *self, other) {
            (_, Partial::Empty) => {}
            (Partial::Empty, other) => *self = other,
            (Partial::Count(count), Partial::Count(more)) => *count += more,
            (Partial::Sum(sum), Partial::Sum(more)) => *sum = add(sum, &more),
            (Partial::Summing(sum, count), Partial::Summing(more, more_count)) => {
                *sum = add(sum, &more);
                *count += more_count;
            }
            (
                Partial::Mean { weighted, count, merged, .. },
                Partial::Mean { weighted: more_weighted, count: more_count, merged: more_merged, .. },
            ) => {
                *weighted += more_weighted;
                *count += more_count;
                *merged += more_merged;
            }
            (Partial::Spread(lowest, highest), Partial::Spread(low, high)) => {
                if order(&low, lowest) == Ordering::Less {
                    *lowest = low;
                }
                if order(&high, highest) == Ordering::Greater {
                    *highest = high;
                }
            }
            (Partial::Point(chosen), Partial::Point(found)) => {
                if wins(aggregate, &found, chosen) {
                    *chosen = found;
                }
            }
            // States of one call are of one kind; another would be our own mistake.
            (mine, theirs) => panic!("states of one call differ: {mine:?} and {theirs:?}"),
        }
    }

    /// The result: value, and for a selector the point.
    pub fn finish(self) -> Option<Selected> {
        let value = match self {
            Partial::Empty | Partial::Summing(..) => return None,
            Partial::Point(selected) => return Some(*selected),
            Partial::Count(count) => Cell::Integer(count),
            Partial::Sum(sum) => sum,
            Partial::Mean { first, merged: 1, .. } => Cell::Float(first),
            Partial::Mean { weighted, count, .. } => Cell::Float(weighted / count as f64),
            Partial::Spread(lowest, highest) => subtract(&highest, &lowest),
        };
        Some(Selected { time: 0, value, carried: Vec::new() })
    }

    /// About how much memory it holds.
    pub fn byte_count(&self) -> usize {
        let held = match self {
            Partial::Point(point) => 64 + point.carried.len() * 40,
            _ => 0,
        };
        size_of::<Partial>() + held
    }
}

/// Whether `found` replaces `chosen`.
fn wins(aggregate: Aggregate, found: &Selected, chosen: &Selected) -> bool {
    let value = order(&found.value, &chosen.value);
    let earlier = found.time < chosen.time;
    match aggregate {
        Aggregate::Min => value == Ordering::Less || (value == Ordering::Equal && earlier),
        Aggregate::Max => value == Ordering::Greater || (value == Ordering::Equal && earlier),
        // On one instant the larger value wins; of booleans the first prefers false.
        Aggregate::First => {
            let larger = match found.value {
                Cell::Boolean(_) => value == Ordering::Less,
                _ => value == Ordering::Greater,
            };
            earlier || (found.time == chosen.time && larger)
        }
        _ => found.time > chosen.time || (found.time == chosen.time && value == Ordering::Greater),
    }
}

/// The point of a block that a selector would choose, by the block's summary.
#[derive(Clone, Debug)]
pub struct Choice {
    aggregate: Aggregate,
    value: Cell,
    /// Where it is.
    range: TimeRange,
    /// When, if known.
    time: Option<Timestamp>,
}

impl Choice {
    /// The choice of `aggregate` in a block of these times; `None` of aggregates that choose none, and of strings.
    pub fn of(aggregate: Aggregate, facts: &Facts, range: TimeRange) -> Option<Choice> {
        // Rows without a value may be the first and the last.
        let at = |time| (facts.missing == 0).then_some(time);
        let (value, time) = match aggregate {
            Aggregate::Min => (&facts.min, None),
            Aggregate::Max => (&facts.max, None),
            Aggregate::First => (&facts.first, at(range.min)),
            Aggregate::Last => (&facts.last, at(range.max)),
            _ => return None,
        };
        (*value != Cell::Null).then(|| Choice { aggregate, value: value.clone(), range, time })
    }

    /// Whether it may replace a point; none of the block does otherwise.
    pub fn can_beat(&self, chosen: &Selected) -> bool {
        let value = order(&self.value, &chosen.value);
        match self.aggregate {
            Aggregate::Min => value.is_lt() || (value.is_eq() && self.range.min < chosen.time),
            Aggregate::Max => value.is_gt() || (value.is_eq() && self.range.min < chosen.time),
            Aggregate::First => self.range.min <= chosen.time,
            _ => self.range.max >= chosen.time,
        }
    }

    /// Whether it replaces the choice of another block of the same series.
    pub fn beats(&self, other: &Choice) -> bool {
        let value = order(&self.value, &other.value);
        let earlier = self.range.min < other.range.min;
        match self.aggregate {
            Aggregate::Min => value.is_lt() || (value.is_eq() && earlier),
            Aggregate::Max => value.is_gt() || (value.is_eq() && earlier),
            Aggregate::First => earlier,
            _ => !earlier,
        }
    }

    /// The point, if enough is known. Without need of its time, that is some time of the block: of equal values one is
    /// as good as another, but for the two zeros.
    pub fn selected(&self, needs_time: bool) -> Option<Selected> {
        let is_zero = matches!(self.value, Cell::Float(0.0));
        let is_by_value = matches!(self.aggregate, Aggregate::Min | Aggregate::Max);
        let any = (is_by_value && !needs_time && !is_zero).then_some(self.range.min);
        Some(Selected { time: self.time.or(any)?, value: self.value.clone(), carried: Vec::new() })
    }
}

/// The order of two values of one type; values that do not compare count as equal.
pub fn order(left: &Cell, right: &Cell) -> Ordering {
    match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => left.partial_cmp(right).unwrap_or(Ordering::Equal),
        (Cell::Integer(left), Cell::Integer(right)) => left.cmp(right),
        (Cell::Unsigned(left), Cell::Unsigned(right)) => left.cmp(right),
        (Cell::Boolean(left), Cell::Boolean(right)) => left.cmp(right),
        (Cell::String(left), Cell::String(right)) => left.cmp(right),
        _ => Ordering::Equal,
    }
}

fn add(left: &Cell, right: &Cell) -> Cell {
    match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => Cell::Float(left + right),
        (Cell::Integer(left), Cell::Integer(right)) => Cell::Integer(left.wrapping_add(*right)),
        (Cell::Unsigned(left), Cell::Unsigned(right)) => Cell::Unsigned(left.wrapping_add(*right)),
        _ => Cell::Null,
    }
}

fn subtract(left: &Cell, right: &Cell) -> Cell {
    match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => Cell::Float(left - right),
        (Cell::Integer(left), Cell::Integer(right)) => Cell::Integer(left.wrapping_sub(*right)),
        (Cell::Unsigned(left), Cell::Unsigned(right)) => Cell::Unsigned(left.wrapping_sub(*right)),
        _ => Cell::Null,
    }
}

fn count_valid(column: &Column, rows: Range<usize>) -> i64 {
    match &column.valid {
        None => rows.len() as i64,
        Some(valid) => valid[rows].iter().map(|valid| i64::from(*valid)).sum(),
    }
}

fn first_valid(column: &Column, mut rows: Range<usize>) -> Option<usize> {
    rows.find(|row| column.has(*row))
}

/// Adds to `sum` in row order, and answers how many: floats must not be regrouped, their last bits are part of the
/// answer.
fn add_rows(sum: &mut Cell, column: &Column, rows: Range<usize>) -> i64 {
    let count = count_valid(column, rows.clone());
    if count == 0 {
        return 0;
    }
    // Absent rows hold the type's zero, so integers need no look at `valid`.
    *sum = match &column.values {
        Values::Float(values) => {
            let start = if let Cell::Float(sum) = sum { *sum } else { 0.0 };
            Cell::Float(match &column.valid {
                None => values[rows].iter().fold(start, |sum, value| sum + value),
                Some(valid) => values[rows.clone()]
                    .iter()
                    .zip(&valid[rows])
                    .fold(start, |sum, (value, valid)| if *valid { sum + value } else { sum }),
            })
        }
        Values::Integer(values) => {
            let start = if let Cell::Integer(sum) = sum { *sum } else { 0 };
            Cell::Integer(values[rows].iter().fold(start, |sum, value| sum.wrapping_add(*value)))
        }
        Values::Unsigned(values) => {
            let start = if let Cell::Unsigned(sum) = sum { *sum } else { 0 };
            Cell::Unsigned(values[rows].iter().fold(start, |sum, value| sum.wrapping_add(*value)))
        }
        Values::String(_) | Values::Boolean(_) => return 0,
    };
    count
}

/// The first row (in row order) with the extreme value.
fn extreme(column: &Column, rows: Range<usize>, side: Ordering) -> Option<usize> {
    extreme_by_time(column, rows, side, true)
}

/// The row with the extreme value; of equal ones the earliest.
fn extreme_by_time(column: &Column, rows: Range<usize>, side: Ordering, ascending: bool) -> Option<usize> {
    match &column.values {
        Values::Float(values) => extreme_row(values, column, rows, side, ascending),
        Values::Integer(values) => extreme_row(values, column, rows, side, ascending),
        Values::Unsigned(values) => extreme_row(values, column, rows, side, ascending),
        Values::Boolean(values) => extreme_row(values, column, rows, side, ascending),
        Values::String(_) => None,
    }
}

fn extreme_row<T: PartialOrd + Copy>(
    values: &[T],
    column: &Column,
    rows: Range<usize>,
    side: Ordering,
    ascending: bool,
) -> Option<usize> {
    let mut best = first_valid(column, rows.clone())?;
    let mut best_value = values[best];
    let from = best + 1;
    for (offset, value) in values[from..rows.end].iter().enumerate() {
        let better = if side == Ordering::Less { *value < best_value } else { *value > best_value };
        if (better || (!ascending && *value == best_value)) && column.has(from + offset) {
            best = from + offset;
            best_value = *value;
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Column {
        Column { values: Values::Float(values.to_vec()), valid: None }
    }

    fn run(aggregate: Aggregate, series: &[(&[Timestamp], Column)]) -> Option<Selected> {
        let mut merged = Partial::Empty;
        for (times, column) in series {
            let mut one = Partial::Empty;
            one.update(aggregate, column, times, 0..times.len());
            one.settle();
            merged.merge(aggregate, one);
        }
        merged.finish()
    }

    fn check(aggregate: Aggregate, series: &[(&[Timestamp], Column)], time: Timestamp, value: Cell) {
        let result = run(aggregate, series).expect("a value");
        assert_eq!((result.time, result.value), (time, value), "{aggregate:?}");
    }

    #[test]
    fn states_of_two_series_merge() {
        let both: Vec<(&[Timestamp], Column)> =
            vec![(&[1, 2, 4, 7], floats(&[1.0, 4.0, 4.0, 2.0])), (&[2, 4, 10], floats(&[9.0, 3.0, 0.5]))];
        check(Aggregate::Count, &both, 0, Cell::Integer(7));
        check(Aggregate::Sum, &both, 0, Cell::Float(23.5));
        check(Aggregate::Max, &both, 2, Cell::Float(9.0));
        check(Aggregate::Min, &both, 10, Cell::Float(0.5));
        check(Aggregate::First, &both, 1, Cell::Float(1.0));
        check(Aggregate::Last, &both, 10, Cell::Float(0.5));
        check(Aggregate::Spread, &both, 0, Cell::Float(8.5));
    }

    #[test]
    fn on_one_instant_first_and_last_take_the_larger_value() {
        let both: Vec<(&[Timestamp], Column)> = vec![(&[1], floats(&[5.0])), (&[1], floats(&[7.0]))];
        check(Aggregate::First, &both, 1, Cell::Float(7.0));
        check(Aggregate::Last, &both, 1, Cell::Float(7.0));
    }

    #[test]
    fn of_equal_extremes_the_earlier_wins_in_either_direction() {
        check(Aggregate::Max, &[(&[1, 2], floats(&[4.0, 4.0]))], 1, Cell::Float(4.0));
        check(Aggregate::Max, &[(&[2, 1], floats(&[4.0, 4.0]))], 1, Cell::Float(4.0));
    }

    #[test]
    fn absent_rows_do_not_count() {
        let column = Column { values: Values::Integer(vec![3, 0, 5]), valid: Some(vec![true, false, true]) };
        check(Aggregate::Count, &[(&[1, 2, 3], column.clone())], 0, Cell::Integer(2));
        check(Aggregate::Min, &[(&[1, 2, 3], column.clone())], 1, Cell::Integer(3));
        check(Aggregate::Mean, &[(&[1, 2, 3], column)], 0, Cell::Float(4.0));
        let none = Column { values: Values::Integer(vec![0]), valid: Some(vec![false]) };
        assert_eq!(run(Aggregate::Sum, &[(&[1], none)]), None);
    }
}
