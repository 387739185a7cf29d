//! What flows between the stages of a SELECT on the asking core: rows of groups, in order.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::model::Bytes;
use crate::model::Cell;
use crate::model::Timestamp;

/// One row of a stream: its value and what travels with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its time.
    pub time: Timestamp,
    /// Cells; what each means, the stream's reader knows.
    pub cells: Vec<Cell>,
}

impl Row {
    /// What a window that has points and yet no result leaves in its place: see [`crate::query::select::fill::Holes`].
    pub fn hole(time: Timestamp) -> Row {
        Row { time, cells: Vec::new() }
    }

    /// Whether it is one.
    pub fn is_hole(&self) -> bool {
        self.cells.is_empty()
    }
}

/// An output series: measurement and values of the GROUP BY tags, whose sorted keys the statement knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Measurement.
    pub name: Bytes,
    /// Tag values; empty: the series has no such tag.
    pub tags: Vec<Bytes>,
}

/// Rows of one group; each output of a feed has its own.
#[derive(Debug)]
pub struct Batch {
    /// The group.
    pub group: Rc<GroupKey>,
    /// For each output, rows in the order of the query.
    pub outputs: Vec<Vec<Row>>,
}

/// Order of two items in the query's direction.
pub fn directed<T: Ord>(left: &T, right: &T, descending: bool) -> Ordering {
    if descending { right.cmp(left) } else { left.cmp(right) }
}

/// About how much memory rows hold.
pub fn rows_bytes(rows: &[Row]) -> usize {
    rows.iter().map(row_bytes).sum()
}

/// About how much memory a row holds.
pub fn row_bytes(row: &Row) -> usize {
    let held: usize = row.cells.iter().map(crate::exec::column::cell_bytes).sum();
    size_of::<Row>() + row.cells.len() * size_of::<Cell>() + held
}
