//! What an operator asks of a data directory that no server has open: is all of it sound, and what takes how much.
//!
//! Owns:  nothing that lasts. One thread, no executor: a tool may block, and works where io_uring is not allowed.
//! In:    a data directory, read through [`ReadOnlyDisk`](crate::disk::read_only::ReadOnlyDisk) by the readers that
//!        the server has.
//! Out:   a [`report::Report`] or an [`inspect::Inventory`]: one value, printed as text or as one JSON document.
//!
//! ```text
//! verify   FORMAT, catalog-*  ->  wal/*  ->  each shard: series.log, manifest.log, segments    (verify.rs, segment.rs)
//! inspect  the same, added up by database, policy and shard group                               (inspect.rs, usage.rs)
//! ```
//!
//! Both go on after damage. Memory: one log frame, one segment index with one block of it, and what is known of the
//! series of one shard; findings are kept up to a bound and counted beyond it.

pub mod catalog;
pub mod directory;
pub mod inspect;
pub mod log;
pub mod print;
pub mod progress;
pub mod report;
pub mod segment;
pub mod series;
pub mod usage;
pub mod verify;
