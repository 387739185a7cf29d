//! One write request over many cores: rows to owner batches, acknowledgements joined.
//!
//! In:   windows of a request body while it arrives.
//! Out:  one batch for each owner shard and shard group, sent when the body is complete, and the joined answer.

pub mod error;

pub use error::WriteError;

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
