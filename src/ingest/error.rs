//! Why a write was not, or not wholly, stored; the texts are stock's.

use crate::ingest::Written;
use crate::model::Bytes;

/// A refused or partly refused write. `http` gives each its status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No such database. 404.
    #[error("database not found: \"{0}\"")]
    DatabaseNotFound(String),
    /// No such policy; the text may hold an empty name. 500, as stock.
    #[error("retention policy not found: {0}")]
    PolicyNotFound(String),
    /// No line could be parsed; bytes, since what a line holds need not be UTF-8. 400.
    #[error("{}", String::from_utf8_lossy(.0))]
    Parse(Bytes),
    /// New fields came with two types: nothing of the shard groups concerned was stored. 400.
    #[error("field type conflict")]
    FieldTypeConflict,
    /// Good points were stored, others were not: the whole text, `partial write: ... dropped=N`. 400.
    #[error("{}", String::from_utf8_lossy(text))]
    Partial {
        /// The text clients see, bytes as above.
        text: Bytes,
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
