//! One query over many cores: statements, plans, scatter, gather.

pub mod fabric;
pub mod request;
