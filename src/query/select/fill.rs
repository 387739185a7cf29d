//! fill(): windows without a value, one after the other and only when asked for the next rows.

use std::collections::VecDeque;

use crate::exec::Window;
use crate::exec::column::float_to_integer;
use crate::exec::column::float_to_unsigned;
use crate::exec::expr::as_float;
use crate::influxql::ast;
use crate::limits::TIME_MIN;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;
use crate::model::Timestamp;
use crate::query::select::stream::Row;

/// What an empty window gets.
#[derive(Clone, Debug, PartialEq)]
pub enum FillWith {
    /// This cell.
    Cell(Cell),
    /// The last value.
    Previous,
    /// A value on the line to the next one.
    Linear,
}

/// The cell fill(n) puts into a column of type `column`.
pub fn number_as(fill: ast::Fill, column: FieldType) -> Option<Cell> {
    let number = match fill {
        ast::Fill::Integer(value) => Cell::Integer(value),
        ast::Fill::Number(value) => Cell::Float(value),
        _ => return None,
    };
    Some(match column {
        FieldType::Float => Cell::Float(as_float(&number)?),
        FieldType::Integer => match number {
            Cell::Float(value) => Cell::Integer(float_to_integer(value)),
            whole => whole,
        },
        FieldType::Unsigned => match number {
            Cell::Float(value) => Cell::Unsigned(float_to_unsigned(value)),
            Cell::Integer(value) => Cell::Unsigned(value as u64),
            other => other,
        },
        FieldType::String => Cell::String(Bytes::default()),
        FieldType::Boolean => Cell::Boolean(false),
    })
}

/// Windows that have points and yet no result: percentile(x, 10) of two points.
///
/// Stock's iterators say the same for "nothing here" as for "nothing more". Whoever sends the rows takes that for the
/// end of a series, sends it and asks again; without a row to send, it is the end of the statement, and the series
/// behind it are missing. Filled windows swallow one each.
#[derive(Debug)]
pub struct Holes {
    after: AfterHole,
    /// A row was shown since the last hole.
    shown: bool,
    /// Nothing follows, also in later groups.
    stopped: bool,
}

/// What follows a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterHole {
    /// Everything: there are other calls, which keep the statement going.
    All,
    /// What is behind it, if rows came before it.
    Resume,
    /// Nothing: a transformation or another query reads the rows.
    Nothing,
}

impl Holes {
    /// Nothing met yet.
    pub fn new(after: AfterHole) -> Holes {
        Holes { after, shown: false, stopped: false }
    }

    /// Takes one row; whether it is to be shown.
    pub fn pass(&mut self, row: &Row) -> bool {
        if row.is_hole() {
            self.meet();
            return false;
        }
        self.shown = true;
        !self.stopped
    }

    fn meet(&mut self) {
        self.stopped |= match self.after {
            AfterHole::All => false,
            AfterHole::Resume => !self.shown,
            AfterHole::Nothing => true,
        };
        self.shown = false;
    }
}

/// A fill walk over the windows of one group.
#[derive(Debug)]
pub struct FillWalk {
    with: FillWith,
    window: Window,
    descending: bool,
    /// First and last window; the first is unknown when the range has no such bound.
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    expected: Option<Timestamp>,
    zone_offset: i64,
    previous: Option<Row>,
    holes: Holes,
    /// Windows filled since the last row of the input: they swallow holes at the start of the next group.
    trailing: u64,
}

impl FillWalk {
    /// A walk over all windows of `window` and its range.
    pub fn new(with: FillWith, window: Window, descending: bool, holes: Holes) -> FillWalk {
        let range = window.range;
        let lowest = (range.min > TIME_MIN).then(|| window.of(range.min).0);
        let highest = Some(window.of(range.max).0);
        let (first, last) = if descending { (highest, lowest) } else { (lowest, highest) };
        let (expected, previous) = (None, None);
        FillWalk { with, window, descending, first, last, expected, zone_offset: 0, previous, holes, trailing: 0 }
    }

    /// Forgets everything: another group follows.
    pub fn reset(&mut self) {
        self.expected = None;
        self.previous = None;
    }

    /// Moves rows from `input` to `out`, with the windows between them, until `out` holds `max` rows or `input` is
    /// used up. `ended`: nothing follows `input`.
    pub fn pump(&mut self, input: &mut VecDeque<Row>, ended: bool, out: &mut VecDeque<Row>, max: usize) {
        while out.len() < max {
            match input.front() {
                Some(row) if row.is_hole() || self.holes.stopped => {
                    self.drop_hole(row.is_hole());
                    input.pop_front();
                }
                Some(row) => {
                    let time = row.time;
                    self.trailing = 0;
                    self.holes.shown = true;
                    let expected = self.start(time);
                    if self.is_before(expected, time) {
                        let filled = self.filled(expected, input.front());
                        out.push_back(filled);
                        self.step(expected);
                    } else if let Some(row) = input.pop_front() {
                        self.previous = Some(row.clone());
                        out.push_back(row);
                        // Several rows of one window do not move the walk on.
                        if expected == time {
                            self.step(expected);
                        }
                    }
                }
                None if ended => {
                    let Some(expected) = self.expected.filter(|expected| self.is_in_range(*expected)) else { return };
                    let filled = self.filled(expected, None);
                    out.push_back(filled);
                    self.trailing += 1;
                    self.step(expected);
                }
                None => return,
            }
        }
    }

    /// A hole is a window like the empty ones, except at the start of a group.
    fn drop_hole(&mut self, is_hole: bool) {
        if !is_hole || self.expected.is_some() {
            return;
        }
        match self.trailing.checked_sub(1) {
            Some(left) => self.trailing = left,
            None => self.holes.meet(),
        }
    }

    /// Whether more rows can come without more input.
    pub fn has_more(&self) -> bool {
        self.expected.is_some_and(|expected| self.is_in_range(expected))
    }

    fn start(&mut self, time: Timestamp) -> Timestamp {
        if let Some(expected) = self.expected {
            return expected;
        }
        let expected = self.first.unwrap_or(time);
        self.zone_offset = self.window.zone_offset(expected);
        self.expected = Some(expected);
        expected
    }

    fn is_before(&self, expected: Timestamp, time: Timestamp) -> bool {
        if self.descending { expected > time } else { expected < time }
    }

    fn is_in_range(&self, expected: Timestamp) -> bool {
        match self.last {
            Some(last) if self.descending => expected >= last,
            Some(last) => expected <= last,
            None => false,
        }
    }

    fn step(&mut self, expected: Timestamp) {
        let step = if self.descending { -self.window.interval } else { self.window.interval };
        let Some(mut next) = expected.checked_add(step) else {
            // Past the end of time nothing is expected.
            self.last = None;
            return;
        };
        if self.window.zone.is_some() {
            let offset = self.window.zone_offset(next - 1);
            let moved = self.zone_offset - offset;
            if moved != 0 && moved.abs() < self.window.interval {
                next += moved;
            }
            self.zone_offset = offset;
        }
        self.expected = Some(next);
    }

    fn filled(&self, time: Timestamp, next: Option<&Row>) -> Row {
        let value = match &self.with {
            FillWith::Cell(cell) => cell.clone(),
            FillWith::Previous => self.previous.as_ref().and_then(value_of).cloned().unwrap_or(Cell::Null),
            FillWith::Linear => self.linear(time, next).unwrap_or(Cell::Null),
        };
        Row { time, cells: vec![value] }
    }

    fn linear(&self, time: Timestamp, next: Option<&Row>) -> Option<Cell> {
        let (previous, next) = (self.previous.as_ref()?, next?);
        let index = |time: Timestamp| time / self.window.interval;
        let (from, to) = (index(previous.time), index(next.time));
        let (low, high) = (value_of(previous)?, value_of(next)?);
        let slope = (as_float(high)? - as_float(low)?) / (to - from) as f64;
        let value = slope * (index(time) - from) as f64 + as_float(low)?;
        Some(match low {
            Cell::Integer(_) => Cell::Integer(float_to_integer(value)),
            Cell::Unsigned(_) => Cell::Unsigned(float_to_unsigned(value)),
            _ => Cell::Float(value),
        })
    }
}

fn value_of(row: &Row) -> Option<&Cell> {
    row.cells.first()
}
