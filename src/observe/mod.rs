//! Counters of one core, and the shape in which they are shown.
//!
//! Owns:  plain cells; one set for each core, nothing shared. Whoever shows them asks every core and adds up.

pub mod http;
pub mod profile;
pub mod requests;

use std::cell::Cell;

/// One counter of one core.
#[derive(Debug, Default)]
pub struct Counter(Cell<i64>);

impl Counter {
    /// Adds `amount`, which may be negative for gauges.
    pub fn add(&self, amount: i64) {
        self.0.set(self.0.get().wrapping_add(amount));
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

/// A counter's value as clients see it. The kind of a counter never changes: Telegraf drops a block whose kinds do.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
}

/// One object of `/debug/vars`, one series of SHOW STATS.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// `httpd`, `write`, `runtime`, ...
    pub name: &'static str,
    /// `None` is printed `null`, as stock does for a statistic that cannot have tags.
    pub tags: Option<Vec<(&'static str, String)>>,
    /// Counters, sorted by name.
    pub values: Vec<(&'static str, Value)>,
}

impl Statistic {
    /// Adds the numbers of the same statistic of another core; texts stay.
    pub fn add(&mut self, other: &Statistic) {
        for ((name, mine), (other_name, theirs)) in self.values.iter_mut().zip(&other.values) {
            debug_assert_eq!(name, other_name);
            match (mine, theirs) {
                (Value::Integer(a), Value::Integer(b)) => *a = a.wrapping_add(*b),
                (Value::Float(a), Value::Float(b)) => *a += b,
                _ => {}
            }
        }
    }
}

/// What this machine calls itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
