//! One query over many cores: statements, plans, scatter, gather.

pub mod request;
pub mod compile;
