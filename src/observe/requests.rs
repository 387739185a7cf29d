//! Writes and queries by who sends them, counted only while somebody wants to know.
//!
//! Owns:  a table for each counting under way; none, and no work, when there is none.
//! Bounds: countings at once, and senders told apart in each; what is beyond is not counted.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Countings at once; a further one finds nothing.
const COUNTINGS_MAX: usize = 32;
/// Senders of one counting.
const SENDERS_MAX: usize = 10_000;

/// The requests of one sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCount {
    /// `user:address`, or the address of a client without a user.
    pub sender: String,
    /// Writes.
    pub writes: u64,
    /// Queries.
    pub queries: u64,
}

impl RequestCount {
    /// Adds the requests of the same sender on another core.
    pub fn add(&mut self, other: &RequestCount) {
        self.writes += other.writes;
        self.queries += other.queries;
    }
}

/// A request that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/write`.
    Write,
    /// `/query`.
    Query,
}

/// The countings of one core.
#[derive(Debug, Default)]
pub struct Requests(RefCell<BTreeMap<u64, BTreeMap<String, RequestCount>>>);

impl Requests {
    /// Begins a counting.
    pub fn start(&self, id: u64) {
        let mut countings = self.0.borrow_mut();
        if countings.len() < COUNTINGS_MAX {
            countings.insert(id, BTreeMap::new());
        }
    }

    /// Ends a counting; its result, in the order of senders.
    pub fn end(&self, id: u64) -> Vec<RequestCount> {
        self.0.borrow_mut().remove(&id).unwrap_or_default().into_values().collect()
    }

    /// A request of `user` from `peer`, which is an address with a port.
    pub fn count(&self, kind: Kind, user: Option<&str>, peer: &str) {
        let mut countings = self.0.borrow_mut();
        if countings.is_empty() {
            return;
        }
        // Without a port, as of a socket in the file system, stock counts nothing.
        let Some((address, _)) = peer.rsplit_once(':') else { return };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let sender = user.map_or_else(|| address.to_owned(), |user| format!("{user}:{address}"));
        for senders in countings.values_mut() {
            if senders.len() >= SENDERS_MAX && !senders.contains_key(&sender) {
                continue;
            }
            let new = || RequestCount { sender: sender.clone(), ..RequestCount::default() };
            let count = senders.entry(sender.clone()).or_insert_with(new);
            match kind {
                Kind::Write => count.writes += 1,
                Kind::Query => count.queries += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(sender: &str, writes: u64, queries: u64) -> RequestCount {
        RequestCount { sender: sender.to_owned(), writes, queries }
    }

    #[test]
    fn each_counting_sees_what_comes_while_it_runs() {
        let requests = Requests::default();
        requests.count(Kind::Write, None, "1.2.3.4:5");
        requests.start(1);
        requests.count(Kind::Write, None, "1.2.3.4:5");
        requests.start(2);
        requests.count(Kind::Query, None, "1.2.3.4:6");
        requests.count(Kind::Query, Some("bob"), "[::1]:7");
        requests.count(Kind::Query, None, "");
        assert_eq!(requests.end(1), [count("1.2.3.4", 1, 1), count("bob:::1", 0, 1)]);
        assert_eq!(requests.end(2), [count("1.2.3.4", 0, 1), count("bob:::1", 0, 1)]);
        assert_eq!(requests.end(2), []);
    }

    #[test]
    fn tables_are_bounded() {
        let requests = Requests::default();
        (0..100).for_each(|id| requests.start(id));
        for sender in 0..SENDERS_MAX + 5 {
            requests.count(Kind::Write, Some(&sender.to_string()), "a:1");
        }
        assert_eq!([requests.end(0).len(), requests.end(99).len()], [SENDERS_MAX, 0]);
    }
}
