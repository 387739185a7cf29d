//! One file for each endpoint: read the request, call down, answer.

pub mod debug;
pub mod health;
pub mod metrics;
pub mod ping;
pub mod pprof;
pub mod query;
pub mod requests;
pub mod v2_write;
pub mod write;
