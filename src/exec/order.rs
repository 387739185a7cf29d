//! The order of rows of one instant, as clients of stock see it.
//!
//! Stock merges the series of a group with a binary heap whose comparison knows times and strings only, so rows of one
//! instant come in the order its heap happens to give them. Clients notice, since `LIMIT 1` and `integral()` depend on
//! it. The order is a function of the series, sorted by key, and of the times of their rows; this is the same heap,
//! over series instead of rows.

use std::cmp::Ordering;

use crate::exec::fragment::NEXT_NONE;
use crate::exec::fragment::RowSeries;
use crate::exec::fragment::TieColumn;
use crate::exec::rows::tie_of_strings;
use crate::model::Timestamp;

/// A series and the time of its next row.
#[derive(Clone, Debug)]
pub struct Item {
    /// The series.
    pub series: RowSeries,
    /// When its next row is.
    pub time: Timestamp,
    /// Where its rows come from.
    pub source: usize,
}

/// The merge order of the rows of one group.
#[derive(Debug)]
pub struct RowOrder {
    items: Vec<Item>,
    ties: Vec<TieColumn>,
    descending: bool,
}

impl RowOrder {
    /// The order over `items`, all series of the group.
    pub fn new(mut items: Vec<Item>, ties: &[TieColumn], descending: bool) -> RowOrder {
        items.sort_by(|left, right| left.series.key.cmp(&right.series.key));
        if descending {
            items.reverse();
        }
        let mut order = RowOrder { items, ties: ties.to_vec(), descending };
        for index in (0..order.items.len() / 2).rev() {
            order.sink(index, order.items.len());
        }
        order
    }

    /// The series whose row is next.
    pub fn first(&self) -> Option<&Item> {
        self.items.first()
    }

    /// Its row was taken; it goes on at `next`.
    pub fn advance(&mut self, next: Timestamp) {
        let last = self.items.len().saturating_sub(1);
        if self.items.is_empty() {
            return;
        }
        // The first changes places with the last, which sinks; then it comes back as a new last and rises.
        self.items.swap(0, last);
        self.sink(0, last);
        if next == NEXT_NONE {
            self.items.pop();
        } else if let Some(item) = self.items.last_mut() {
            item.time = next;
            self.rise(last);
        }
    }

    fn is_before(&self, left: usize, right: usize) -> bool {
        let (left, right) = (&self.items[left], &self.items[right]);
        let order = left.time.cmp(&right.time);
        let order = order.then_with(|| tie_of_strings(&self.ties, (&left.series, &[]), (&right.series, &[])));
        order == if self.descending { Ordering::Greater } else { Ordering::Less }
    }

    fn sink(&mut self, mut at: usize, end: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.is_before(child + 1, child) {
                child += 1;
            }
            if !self.is_before(child, at) {
                return;
            }
            self.items.swap(at, child);
            at = child;
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.is_before(at, parent) {
                return;
            }
            self.items.swap(at, parent);
            at = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(rows: &[(&str, &[Timestamp])], descending: bool) -> String {
        let item = |(source, (key, times)): (usize, &(&str, &[Timestamp]))| Item {
            series: RowSeries { key: key.as_bytes().into(), tags: Vec::new() },
            time: times[0],
            source,
        };
        let mut order = RowOrder::new(rows.iter().enumerate().map(item).collect(), &[], descending);
        let mut taken = vec![0; rows.len()];
        let mut names = String::new();
        while let Some(first) = order.first() {
            let source = first.source;
            names.push_str(rows[source].0);
            taken[source] += 1;
            order.advance(rows[source].1.get(taken[source]).copied().unwrap_or(NEXT_NONE));
        }
        names
    }

    /// Orders seen from stock.
    #[test]
    fn rows_of_one_instant_come_as_from_stock() {
        let times: &[Timestamp] = &[0, 10, 20, 30];
        assert_eq!(merged(&[("a", times), ("b", times), ("c", times)], false), "acbcbabacacb");
        let times: &[Timestamp] = &[30, 20];
        assert_eq!(&merged(&[("a", times), ("b", times), ("c", times)], true)[..3], "cab");
        assert_eq!(merged(&[("a", &[1, 2, 4, 7]), ("b", &[2, 4, 10])], false), "ababaab".to_owned());
    }
}
