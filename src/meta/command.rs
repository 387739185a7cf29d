//! What may be asked of the catalog, what comes of it, and the texts of refusals.

use super::catalog::Group;
use super::catalog::Privilege;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::Timestamp;

/// A change of the catalog. Passwords arrive hashed: hashing blocks, and applying must not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "variants and fields are named after the statements they come from")]
pub enum Command {
    CreateDatabase {
        name: String,
        policy: Option<NewPolicy>,
    },
    DropDatabase {
        name: String,
    },
    CreatePolicy {
        database: String,
        policy: NewPolicy,
        default: bool,
    },
    AlterPolicy {
        database: String,
        name: String,
        change: PolicyChange,
    },
    DropPolicy {
        database: String,
        name: String,
    },
    /// Makes the groups that `times` lie in and that are not there.
    CreateGroups {
        database: DatabaseId,
        policy: PolicyId,
        times: Vec<Timestamp>,
    },
    DropGroups {
        groups: Vec<GroupId>,
    },
    /// Drops every group whose end is further back than its policy's duration.
    ExpireGroups,
    /// Makes the successor of each policy's last group if that ends within `advance_ns` from now.
    PrecreateGroups {
        advance_ns: i64,
    },
    CreateUser {
        name: String,
        hash: String,
        admin: bool,
    },
    DropUser {
        name: String,
    },
    SetPassword {
        name: String,
        hash: String,
    },
    Grant {
        user: String,
        database: String,
        privilege: Privilege,
    },
    Revoke {
        user: String,
        database: String,
        privilege: Privilege,
    },
    SetAdmin {
        user: String,
        admin: bool,
    },
    CreateContinuousQuery {
        database: String,
        name: String,
        text: String,
    },
    DropContinuousQuery {
        database: String,
        name: String,
    },
    CreateSubscription {
        database: String,
        policy: String,
        name: String,
        any: bool,
        destinations: Vec<String>,
    },
    DropSubscription {
        database: String,
        policy: String,
        name: String,
    },
}

/// A policy to be created; `None`: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPolicy {
    /// Name.
    pub name: Option<String>,
    /// Retention, ns; 0 is infinite.
    pub duration: Option<i64>,
    /// Length of a shard group, ns; 0 asks for the default.
    pub shard_duration: Option<i64>,
    /// Copies.
    pub replica_n: Option<u32>,
}

/// What ALTER RETENTION POLICY says; `None`: stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// Retention, ns; 0 is infinite.
    pub duration: Option<i64>,
    /// Length of later shard groups, ns; 0 asks for the default.
    pub shard_duration: Option<i64>,
    /// Copies.
    pub replica_n: Option<u32>,
    /// Becomes the default policy.
    pub default: bool,
}

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The catalog differs; if not, nothing has to be stored or sent.
    pub changed: bool,
    /// Shard groups that were made.
    pub created: Vec<Group>,
    /// What shards have to delete.
    pub dropped: Vec<Dropped>,
}

/// Data that no longer belongs to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// All of a database.
    Database(DatabaseId),
    /// All of a policy.
    Policy(DatabaseId, PolicyId),
    /// One shard group.
    Group(DatabaseId, PolicyId, GroupId),
}

/// Why a command was refused; the texts are stock's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant says itself in its text")]
pub enum MetaError {
    #[error("invalid name")]
    InvalidName,
    #[error("database not found: {0}")]
    DatabaseNotFound(String),
    #[error("retention policy not found: {0}")]
    PolicyNotFound(String),
    #[error("retention policy already exists")]
    PolicyExists,
    #[error("retention policy conflicts with an existing policy")]
    PolicyConflict,
    #[error("retention policy duration must be at least 1h0m0s")]
    DurationTooShort,
    #[error("retention policy duration must be greater than the shard duration")]
    ShardDurationTooLong,
    #[error("username required")]
    UsernameRequired,
    #[error("user already exists")]
    UserExists,
    #[error("user not found")]
    UserNotFound,
    #[error("continuous query already exists")]
    ContinuousQueryExists,
    #[error("invalid subscription URL: {0}")]
    InvalidSubscriptionUrl(String),
    #[error("subscription already exists")]
    SubscriptionExists,
    #[error("subscription not found")]
    SubscriptionNotFound,
    /// The change could not be stored or sent, with the reason; the catalog is as before.
    #[error("{0}")]
    Storage(String),
}
