//! One write request over many cores: rows to owner batches, acknowledgements joined.
//!
//! Owns:  for each retention policy written to on this core, the parser's memory and the cache of series and layouts.
//! In:    windows of a request body while it arrives.
//! Out:   one batch for each owner shard and shard group, sent when the body is complete, and the joined answer.
//!
//! Nothing leaves this core before the body is complete: a body that ends early or is damaged leaves nothing behind.

mod admit;
mod cache;
pub mod error;
pub mod owners;
mod session;

#[cfg(test)]
mod tests;

pub use admit::Limits;
pub use cache::shard_of;
pub use error::WriteError;
pub use session::Session;

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::ingest::cache::PolicyCache;
use crate::ingest::owners::Owners;
use crate::line;
use crate::model::DatabaseId;
use crate::model::PolicyId;

/// What the address of a write request says.
#[derive(Clone, Debug, Default)]
pub struct WriteParams {
    /// Database name, not empty.
    pub database: String,
    /// Retention policy; empty: the database's default.
    pub policy: String,
    /// Nanoseconds of one timestamp unit: 1, 1_000, ...
    pub precision_ns: i64,
    /// Server clock for points without a time, ns, one instant for the whole request.
    pub now_ns: i64,
}

/// How much was stored, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Points stored.
    pub points: u64,
    /// Field values stored.
    pub values: u64,
}

/// The write path of one core.
#[derive(Clone, Debug)]
pub struct Ingest<O: Owners> {
    owners: O,
    policies: Rc<RefCell<Policies>>,
}

type Policies = HashMap<(DatabaseId, PolicyId), Rc<RefCell<PolicyState>>>;

/// What this core remembers of one policy.
#[derive(Debug)]
struct PolicyState {
    parser: line::Parser,
    cache: PolicyCache,
}

impl Default for PolicyState {
    fn default() -> PolicyState {
        // Every request sets its own options before it parses.
        let options = line::Options { precision_ns: 1, now_ns: 0 };
        PolicyState { parser: line::Parser::new(options), cache: PolicyCache::default() }
    }
}

impl<O: Owners> Ingest<O> {
    /// The write path of this core.
    pub fn new(owners: O) -> Ingest<O> {
        Ingest { owners, policies: Rc::default() }
    }

    /// Opens a write request, or refuses it: the database does not exist. That the policy does not is the answer only
    /// where not all lines are bad.
    pub fn begin(&self, params: WriteParams) -> Result<Session<O>, WriteError> {
        let target = match self.owners.target(&params.database, &params.policy) {
            Ok(target) => target,
            Err(error @ WriteError::PolicyNotFound(_)) => {
                return Ok(Session::refused(self.owners.clone(), params, error));
            }
            Err(error) => return Err(error),
        };
        let policy = self.policies.borrow_mut().entry((target.database, target.policy)).or_default().clone();
        let forgets = target.forgets.get();
        {
            let cache = &mut policy.borrow_mut().cache;
            cache.trim();
            cache.forget_before(forgets);
        }
        Ok(Session::new(self.owners.clone(), params, target, forgets, policy))
    }

    /// Forgets what is remembered of a database: field types in it have changed.
    pub fn forget(&self, database: DatabaseId) {
        let policies = self.policies.borrow();
        let concerned = policies.iter().filter(|((of, _), _)| *of == database);
        concerned.for_each(|(_, policy)| policy.borrow_mut().cache.forget());
    }

    /// Forgets what is remembered of policies that are gone.
    pub fn retain(&self, is_live: impl Fn(DatabaseId, PolicyId) -> bool) {
        self.policies.borrow_mut().retain(|&(database, policy), _| is_live(database, policy));
    }
}
