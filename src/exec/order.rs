//! The order of rows of one instant, as clients of stock see it.
//!
//! Stock merges the series of a group with binary heaps whose comparison knows times and strings only, so rows of one
//! instant come in the order its heaps happen to give them. Clients notice, since `LIMIT 1` and `integral()` depend on
//! it. The order is a function of the series, sorted by key, and of the times of their rows; this is the same heap,
//! over series instead of rows. Each shard group has a heap of its own.

use std::cmp::Ordering;

use crate::exec::fragment::NEXT_NONE;
use crate::exec::fragment::RowSeries;
use crate::exec::fragment::TieColumn;
use crate::exec::fragment::Upcoming;
use crate::exec::rows::tie_of_strings;
use crate::model::TimeRange;

/// A series and its next row.
#[derive(Clone, Debug)]
pub struct Item {
    /// The series.
    pub series: RowSeries,
    /// Its next row.
    pub next: Upcoming,
    /// Where its rows come from.
    pub source: usize,
}

/// The merge order of the rows of one group.
#[derive(Debug)]
pub struct RowOrder {
    /// A heap of the series that have rows in the shard group at work.
    items: Vec<Item>,
    /// Those whose next row is in a later one.
    waiting: Vec<Item>,
    shard_group: TimeRange,
    shard_groups: Vec<TimeRange>,
    ties: Vec<TieColumn>,
    descending: bool,
}

impl RowOrder {
    /// The order over `items`, all series of the group.
    pub fn new(items: Vec<Item>, shard_groups: &[TimeRange], ties: &[TieColumn], descending: bool) -> RowOrder {
        let mut order = RowOrder {
            items: Vec::new(),
            waiting: items,
            shard_group: TimeRange::ALWAYS,
            shard_groups: shard_groups.to_vec(),
            ties: ties.to_vec(),
            descending,
        };
        order.enter_shard_group();
        order
    }

    /// The series whose row is next.
    pub fn first(&self) -> Option<&Item> {
        self.items.first()
    }

    /// Its row was taken; it goes on at `next`.
    pub fn advance(&mut self, next: Upcoming) {
        let Some(last) = self.items.len().checked_sub(1) else { return };
        // The first changes places with the last, which sinks; then it comes back as a new last and rises.
        self.items.swap(0, last);
        self.sink(0, last);
        if next.time != NEXT_NONE && self.shard_group.contains(next.time) {
            self.items[last].next = next;
            self.rise(last);
            return;
        }
        let item = self.items.pop().filter(|_| next.time != NEXT_NONE);
        self.waiting.extend(item.map(|item| Item { next, ..item }));
        if self.items.is_empty() {
            self.enter_shard_group();
        }
    }

    /// Makes the heap of the next shard group.
    fn enter_shard_group(&mut self) {
        let times = self.waiting.iter().map(|item| item.next.time);
        let Some(first) = (if self.descending { times.max() } else { times.min() }) else { return };
        let found = self.shard_groups.iter().find(|group| group.contains(first));
        let shard_group = found.copied().unwrap_or(TimeRange::ALWAYS);
        self.shard_group = shard_group;
        self.items = self.waiting.extract_if(.., |item| shard_group.contains(item.next.time)).collect();
        self.items.sort_by(|left, right| left.series.key.cmp(&right.series.key));
        if self.descending {
            self.items.reverse();
        }
        for index in (0..self.items.len() / 2).rev() {
            self.sink(index, self.items.len());
        }
    }

    fn is_before(&self, left: usize, right: usize) -> bool {
        let (left, right) = (&self.items[left], &self.items[right]);
        let order = left.next.time.cmp(&right.next.time).then_with(|| {
            let (left_row, right_row) = ((&left.series, &*left.next.strings), (&right.series, &*right.next.strings));
            tie_of_strings(&self.ties, left_row, right_row)
        });
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
    use crate::model::Timestamp;

    fn row(time: Timestamp) -> Upcoming {
        Upcoming { time, strings: Vec::new() }
    }

    fn merged(rows: &[(&str, &[Timestamp])], shard_groups: &[TimeRange], descending: bool) -> String {
        let item = |(source, (key, times)): (usize, &(&str, &[Timestamp]))| Item {
            series: RowSeries { key: key.as_bytes().into(), tags: Vec::new() },
            next: row(times[0]),
            source,
        };
        let mut order = RowOrder::new(rows.iter().enumerate().map(item).collect(), shard_groups, &[], descending);
        let mut taken = vec![0; rows.len()];
        let mut names = String::new();
        while let Some(first) = order.first() {
            let source = first.source;
            names.push_str(rows[source].0);
            taken[source] += 1;
            order.advance(rows[source].1.get(taken[source]).map_or(Upcoming::NONE, |time| row(*time)));
        }
        names
    }

    /// Orders seen from stock.
    #[test]
    fn rows_of_one_instant_come_as_from_stock() {
        let times: &[Timestamp] = &[0, 10, 20, 30];
        assert_eq!(merged(&[("a", times), ("b", times), ("c", times)], &[], false), "acbcbabacacb");
        let times: &[Timestamp] = &[30, 20];
        assert_eq!(&merged(&[("a", times), ("b", times), ("c", times)], &[], true)[..3], "cab");
        assert_eq!(merged(&[("a", &[1, 2, 4, 7]), ("b", &[2, 4, 10])], &[], false), "ababaab".to_owned());
    }
    #[test]
    fn a_shard_group_begins_afresh() {
        let times: &[Timestamp] = &[0, 10, 20, 30];
        let groups = [TimeRange { min: 0, max: 15 }, TimeRange { min: 16, max: 40 }];
        assert_eq!(merged(&[("a", times), ("b", times), ("c", times)], &groups, false), "acbcbaacbcba");
    }
}
