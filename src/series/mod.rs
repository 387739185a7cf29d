//! Series keys to ids; tags to sets of ids; field types.
//!
//! Owns:  [`Index`], the series of one database in one shard; [`SchemaRegistry`], the field types of all shard groups
//!        (core 0 has the one that decides).
//! In:    canonical keys, field names with types.
//! Out:   ids, sets of ids, sorted names. Pure, in memory: what survives a restart is replayed into it.

mod arena;
pub mod block;
pub mod fields;
mod index;
pub mod key;
mod measurement;
mod postings;
mod table;

pub use fields::Held;
pub use fields::SchemaRegistry;
pub use index::Index;
pub use index::InsertError;
pub use measurement::MeasurementIndex;
pub use measurement::TagIndex;
pub use postings::Postings;
