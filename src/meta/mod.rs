//! Databases, retention policies, shard groups, users, continuous queries, subscriptions: the catalog.
//!
//! Owns:  the rules of what may be created, changed and dropped, and their texts; the stored form.
//! In:    [`Command`]s, from statements, ingest (shard groups) and the clock. Core 0 applies and stores them.
//! Out:   a new [`Catalog`], immutable; every core holds the newest for itself. [`Outcome`] says what to create or
//!        delete on disk.
//!
//! Pure: [`apply`] reads no clock and no disk, so what a command does is decided by its arguments.

pub mod alignment;
mod apply;
pub mod auth;
mod catalog;
mod command;
mod snapshot;
pub mod token;

pub use apply::apply;
pub use catalog::Catalog;
pub use catalog::ContinuousQuery;
pub use catalog::Database;
pub use catalog::Group;
pub use catalog::Options;
pub use catalog::Policy;
pub use catalog::Privilege;
pub use catalog::Subscription;
pub use catalog::User;
pub use command::Command;
pub use command::Dropped;
pub use command::MetaError;
pub use command::NewPolicy;
pub use command::Outcome;
pub use command::PolicyChange;
pub use snapshot::SnapshotError;
pub use snapshot::decode;
pub use snapshot::encode;
