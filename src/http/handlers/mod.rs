//! One file for each endpoint: read the request, call down, answer.

pub mod debug;
pub mod health;
pub mod ping;
pub mod query;
pub mod v2_write;
pub mod write;
