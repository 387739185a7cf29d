//! The windows of a pass with the states of all calls, in the order the windows are read in.
//!
//! Series after series goes over the same windows, so that the one looked for mostly is the one behind the last. New
//! windows mostly come behind all others; the rest wait in a tree until there are enough of them to be sorted in.

use std::collections::BTreeMap;
use std::vec::IntoIter;

use crate::exec::aggregate::Partial;
use crate::model::Timestamp;

/// So many windows may always wait to be sorted in.
const LATE_MIN: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct States {
    descending: bool,
    calls: usize,
    /// In order, and for each the partials of its calls.
    starts: Vec<Timestamp>,
    partials: Vec<Partial>,
    /// Not sorted in yet, by their place in the order.
    late: BTreeMap<i64, Vec<Partial>>,
    /// Where the last window was found.
    last: usize,
}

impl States {
    /// None yet, for so many calls.
    pub fn new(calls: usize, descending: bool) -> States {
        let (starts, partials, late) = (Vec::new(), Vec::new(), BTreeMap::new());
        States { descending, calls, starts, partials, late, last: 0 }
    }

    /// How many windows.
    pub fn count(&self) -> usize {
        self.starts.len() + self.late.len()
    }

    fn place(&self, start: Timestamp) -> i64 {
        if self.descending { !start } else { start }
    }

    fn index_of(&self, start: Timestamp) -> Result<usize, usize> {
        let place = self.place(start);
        for index in [self.last, self.last + 1] {
            if self.starts.get(index) == Some(&start) {
                return Ok(index);
            }
        }
        match self.starts.last() {
            Some(last) if self.place(*last) >= place => self.starts.binary_search_by_key(&place, |at| self.place(*at)),
            _ => Err(self.starts.len()),
        }
    }

    /// The partials of a window, if it has any.
    pub fn get(&self, start: Timestamp) -> Option<&[Partial]> {
        match self.index_of(start) {
            Ok(index) => Some(&self.partials[index * self.calls..][..self.calls]),
            Err(_) => self.late.get(&self.place(start)).map(Vec::as_slice),
        }
    }

    /// The partials of a window, empty ones at first.
    pub fn entry(&mut self, start: Timestamp) -> &mut [Partial] {
        if self.late.len() > LATE_MIN + self.starts.len() / 4 {
            self.sort();
        }
        match self.index_of(start) {
            Ok(index) => self.last = index,
            Err(index) if index == self.starts.len() => {
                self.last = index;
                self.starts.push(start);
                self.partials.resize(self.partials.len() + self.calls, Partial::Empty);
            }
            Err(_) => {
                let count = self.calls;
                return self.late.entry(self.place(start)).or_insert_with(|| vec![Partial::Empty; count]);
            }
        }
        &mut self.partials[self.last * self.calls..][..self.calls]
    }

    /// Sorts all windows in.
    fn sort(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let mut late = std::mem::take(&mut self.late).into_iter().peekable();
        let (starts, partials) = (std::mem::take(&mut self.starts), std::mem::take(&mut self.partials));
        let mut partials = partials.into_iter();
        for start in starts {
            while let Some((place, states)) = late.next_if(|(place, _)| *place < self.place(start)) {
                self.push(place, states);
            }
            self.starts.push(start);
            self.partials.extend(partials.by_ref().take(self.calls));
        }
        late.for_each(|(place, states)| self.push(place, states));
        self.last = 0;
    }

    fn push(&mut self, place: i64, states: Vec<Partial>) {
        self.starts.push(if self.descending { !place } else { place });
        self.partials.extend(states);
    }

    /// Gives the further half of the windows up. Answers the last one that is left and the first that is not.
    pub fn halve(&mut self) -> Option<(Timestamp, Timestamp)> {
        self.sort();
        let half = self.starts.len() / 2;
        let border = (*self.starts.get(half.checked_sub(1)?)?, *self.starts.get(half)?);
        self.starts.truncate(half);
        self.partials.truncate(half * self.calls);
        self.last = 0;
        Some(border)
    }

    /// All windows, in order.
    pub fn finish(mut self) -> Ready {
        self.sort();
        Ready { starts: self.starts.into_iter(), partials: self.partials.into_iter() }
    }
}

/// Finished windows, in order.
#[derive(Debug, Default)]
pub struct Ready {
    starts: IntoIter<Timestamp>,
    /// Those of all calls of the first window, then of the next.
    partials: IntoIter<Partial>,
}

impl Ready {
    /// Windows left.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next window; its partials go to those of each call.
    pub fn next_into(&mut self, partials: &mut [Vec<Partial>]) -> Option<Timestamp> {
        let start = self.starts.next()?;
        partials.iter_mut().zip(&mut self.partials).for_each(|(of_call, partial)| of_call.push(partial));
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(partial: &Partial) -> i64 {
        if let Partial::Count(count) = partial { *count } else { 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn equals_a_map(starts in prop::collection::vec(0_i64..400, 0..600), descending: bool, halved: bool) {
            let mut states = States::new(2, descending);
            let mut map: BTreeMap<i64, i64> = BTreeMap::new();
            for start in starts {
                prop_assert_eq!(states.get(start).map(|of| count(&of[1])), map.get(&start).copied());
                let state = &mut states.entry(start)[1];
                *state = Partial::Count(count(state) + 1);
                *map.entry(start).or_default() += 1;
            }
            prop_assert_eq!(states.count(), map.len());
            let mut expected: Vec<(i64, i64)> = map.into_iter().collect();
            if descending {
                expected.reverse();
            }
            if halved {
                let half = expected.len() / 2;
                let border = (half > 0).then(|| (expected[half - 1].0, expected[half].0));
                prop_assert_eq!(states.halve(), border);
                if half > 0 {
                    expected.truncate(half);
                }
            }
            let (mut ready, mut partials) = (states.finish(), vec![Vec::new(), Vec::new()]);
            let starts: Vec<i64> = std::iter::from_fn(|| ready.next_into(&mut partials)).collect();
            let found: Vec<(i64, i64)> = starts.into_iter().zip(partials[1].iter().map(count)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
