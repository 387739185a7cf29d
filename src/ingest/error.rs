//! Why a write was not, or not wholly, stored; the texts are stock's.

use crate::ingest::Written;

/// A refused or partly refused write. `http` gives each its status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No such database. 404.
    #[error("database not found: \"{0}\"")]
    DatabaseNotFound(String),
    /// No such policy; the text may hold an empty name. 500, as stock.
    #[error("retention policy not found: {0}")]
    PolicyNotFound(String),
    /// No line could be parsed. 400.
    #[error("{0}")]
    Parse(String),
    /// Good points were stored, others were not: the whole text, `partial write: ... dropped=N`. 400.
    #[error("{text}")]
    Partial {
        /// The text clients see.
        text: String,
        /// Points that were refused by storage.
        dropped: u64,
        /// What was stored.
        written: Written,
    },
    /// A queue or the memtable stayed full until the deadline; nothing was stored. 503.
    #[error("{0}")]
    Overloaded(String),
    /// `write-timeout` ran out; it may have been stored. 500.
    #[error("timeout")]
    Timeout,
    /// The log could not be written; the points are not acknowledged. 500.
    #[error("{0}")]
    Storage(String),
}
