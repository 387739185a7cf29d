//! Runs a fragment of a plan over the series of one shard.

pub mod view;
