//! A count that all cores share, and parts of it that are taken up to a bound and come back by themselves.
//!
//! An atomic rather than a core that owns the count: what is taken must come back wherever its holder ends, on any
//! core and on a path that cannot wait for a message. Only rare events count here (a query, a new series, a chunk of
//! memory), never a point or a row.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The count; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

// What is counted is no part of what the counter's owner is.
impl PartialEq for Counter {
    fn eq(&self, _: &Counter) -> bool {
        true
    }
}

impl Eq for Counter {}

impl Counter {
    /// Now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Adds `units`, and says how many there were before.
    pub fn add(&self, units: u64) -> u64 {
        self.0.fetch_add(units, Ordering::AcqRel)
    }

    /// Takes `units` away again.
    pub fn sub(&self, units: u64) {
        let before = self.0.fetch_sub(units, Ordering::AcqRel);
        assert!(before >= units, "what was never counted cannot come back");
    }
}

/// A counter and how far it may go.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    counter: Counter,
    /// 0: as far as it likes.
    max: u64,
}

impl Budget {
    /// Of `counter`, up to `max`; 0: no bound.
    pub fn new(counter: Counter, max: u64) -> Budget {
        Budget { counter, max }
    }

    /// What is counted.
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// How far the counter may go; 0: no bound.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Takes `units`; the count that left no room for them.
    pub fn take(&self, units: u64) -> Result<Taken, u64> {
        self.take_of(units, units)
    }

    /// Takes `units` if there is room even for `room`.
    pub fn take_of(&self, units: u64, room: u64) -> Result<Taken, u64> {
        let fits = |count: u64| self.max == 0 || count.saturating_add(room.max(units)) <= self.max;
        let grown = |count: u64| fits(count).then_some(count + units);
        self.counter.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown)?;
        Ok(Taken { budget: self.clone(), units })
    }
}

/// Units taken of a budget, until dropped.
#[derive(Debug, Default)]
pub struct Taken {
    budget: Budget,
    units: u64,
}

impl Taken {
    /// How many.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Holds `units` from now on, unless there is no room for them; then what it held, and that is said.
    pub fn resize(&mut self, units: u64) -> bool {
        if units > self.units {
            let Ok(mut more) = self.budget.take(units - self.units) else { return false };
            more.units = 0;
        } else {
            self.budget.counter.sub(self.units - units);
        }
        self.units = units;
        true
    }

    /// Leaves `units` of them counted for ever: somebody else will take them off the counter.
    pub fn keep(&mut self, units: u64) {
        assert!(units <= self.units, "only what was taken can be kept");
        self.units -= units;
    }

    /// `units` of them apart.
    pub fn split(&mut self, units: u64) -> Taken {
        self.keep(units);
        Taken { budget: self.budget.clone(), units }
    }

    /// Joins units of the same budget.
    pub fn join(&mut self, mut other: Taken) {
        self.units += std::mem::take(&mut other.units);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.units > 0 {
            self.budget.counter.sub(self.units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_never_exceeds_the_bound() {
        let counter = Counter::default();
        let budget = Budget::new(counter.clone(), 10);
        let first = budget.take(7).unwrap();
        assert_eq!(budget.take(4).unwrap_err(), 7);
        assert_eq!(budget.take_of(1, 4).unwrap_err(), 7);
        let second = budget.take_of(1, 3).unwrap();
        assert_eq!(counter.get(), 8);
        drop(first);
        assert_eq!(counter.get(), 1);
        drop(second);
        assert_eq!(counter.get(), 0);
    }

    #[test]
    fn what_is_kept_stays() {
        let counter = Counter::default();
        let mut taken = Budget::new(counter.clone(), 0).take(5).unwrap();
        let part = taken.split(2);
        taken.keep(1);
        drop(taken);
        assert_eq!(counter.get(), 3);
        drop(part);
        assert_eq!(counter.get(), 1);
    }

    #[test]
    fn a_part_grows_as_far_as_there_is_room() {
        let counter = Counter::default();
        let budget = Budget::new(counter.clone(), 10);
        let mut taken = budget.take(0).unwrap();
        assert!(taken.resize(10));
        assert!(!taken.resize(11));
        assert_eq!(counter.get(), 10);
        assert!(taken.resize(3));
        assert_eq!(counter.get(), 3);
    }
}
