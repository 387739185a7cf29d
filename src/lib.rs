#![doc = include_str!("ARCHITECTURE.md")]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test may block"))]

// In data order: a module uses only modules below it (tests/tidy.rs reads this list).
pub mod cli;
pub mod tools;
pub mod server;
pub mod config;
pub mod background;
pub mod http;
pub mod encode;
pub mod ingest;
pub mod line;
pub mod query;
pub mod influxql;
pub mod mesh;
pub mod shard;
pub mod exec;
pub mod compact;
pub mod segment;
pub mod memtable;
pub mod wal;
pub mod batch;
pub mod series;
pub mod meta;
pub mod disk;
pub mod observe;
pub mod model;
pub mod limits;
pub mod stdx;
