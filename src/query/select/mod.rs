//! SELECT: plan, scatter, gather, finish.
//!
//! Owns:  the state of one running SELECT on the asking core ([`SelectRun`]).
//! In:    a compiled statement whose sources have their databases and policies.
//! Out:   pieces of rows, pulled one by one; nothing runs ahead of its reader by more than a chunk of each core.
//!
//! ```text
//! cores ──► gather ──► feed ──► pipeline of a call ──┐
//!                      feed ──► pipeline of a call ──┴► rows by (series, time) ──► select items ──► pieces
//! subquery ─► table ──► feed
//! ```

pub mod call;
pub mod condition;
pub mod explain;
pub mod feed;
pub mod fill;
pub mod gather;
pub mod holt_winters;
pub mod indicator;
pub mod into;
pub mod meter;
pub mod names;
pub mod operator;
pub mod plan;
pub mod reduce;
pub mod run;
pub mod source;
pub mod stream;
pub mod subquery;
pub mod transform;
pub mod types;

#[cfg(test)]
mod tests;

pub use run::SelectRun;
pub use source::Context;
pub use source::Limits;
