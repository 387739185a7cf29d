//! Series keys to ids; tags to sets of ids; field types.

/// The series of one database in one shard.
#[derive(Debug, Default)]
pub struct Index {}
