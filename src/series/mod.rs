//! Series keys to ids; tags to sets of ids; field types.
pub mod key;

/// The series of one database in one shard.
#[derive(Debug, Default)]
pub struct Index {}
