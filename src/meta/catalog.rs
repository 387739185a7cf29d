//! The catalog's nouns and the questions that every write and query asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::stdx::budget::Counter;

/// Settings that the catalog's rules depend on; from the configuration, not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// CREATE DATABASE makes the policy `autogen`.
    pub retention_autocreate: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { retention_autocreate: true }
    }
}

/// Everything that is declared rather than written; immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Counts changes.
    pub version: u64,
    /// See [`Options`].
    pub options: Options,
    /// By name. Identities count up, so they give the order of creation.
    pub(super) databases: BTreeMap<String, Arc<Database>>,
    /// In order of creation.
    pub(super) users: Vec<Arc<User>>,
    /// The last identity given to a database, policy and group; 0: none yet.
    pub(super) last_database: u32,
    pub(super) last_policy: u32,
    pub(super) last_group: u64,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Identity.
    pub id: DatabaseId,
    /// Name.
    pub name: String,
    /// Name of the default policy; empty: none. The policy may have been dropped since.
    pub default_policy: String,
    /// In order of creation.
    pub policies: Vec<Policy>,
    /// In order of creation.
    pub continuous_queries: Vec<ContinuousQuery>,
    /// How many series it has on all cores; counted by the shards, not stored.
    pub series: Counter,
    /// How often the shards asked all cores to forget the ids of its series; not stored.
    pub forgets: Counter,
}

/// One retention policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Identity.
    pub id: PolicyId,
    /// Name.
    pub name: String,
    /// Retention, ns; 0 is infinite.
    pub duration: i64,
    /// Length of a shard group, ns.
    pub shard_group_duration: i64,
    /// Copies; stored, without effect.
    pub replica_n: u32,
    /// By start; they do not overlap.
    pub groups: Vec<Group>,
    /// In order of creation.
    pub subscriptions: Vec<Subscription>,
}

/// One shard group: a window of time that is kept and dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Identity.
    pub id: GroupId,
    /// First instant inside.
    pub start: Timestamp,
    /// First instant behind it.
    pub end: Timestamp,
}

impl Group {
    /// The group's instants.
    pub fn range(&self) -> TimeRange {
        TimeRange { min: self.start, max: self.end - 1 }
    }

    /// Whether `time` lies inside.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

/// One continuous query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinuousQuery {
    /// Name.
    pub name: String,
    /// The whole statement, normalised.
    pub text: String,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Name.
    pub name: String,
    /// One destination for each batch rather than all of them.
    pub any: bool,
    /// Addresses.
    pub destinations: Vec<String>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// bcrypt hash of the password.
    pub hash: String,
    /// May do everything.
    pub admin: bool,
    /// By database name.
    pub privileges: BTreeMap<String, Privilege>,
}

/// What a user may do in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the privileges' own names")]
#[repr(u8)]
pub enum Privilege {
    None = 0,
    Read = 1,
    Write = 2,
    All = 3,
}

impl Privilege {
    /// The privilege whose bits are the low two of `bits`.
    pub fn from_bits(bits: u8) -> Privilege {
        match bits & 3 {
            0 => Privilege::None,
            1 => Privilege::Read,
            2 => Privilege::Write,
            _ => Privilege::All,
        }
    }

    /// What is left when `taken` is revoked.
    pub fn without(self, taken: Privilege) -> Privilege {
        Privilege::from_bits(self as u8 & !(taken as u8))
    }

    /// Whether everything in `wanted` is given.
    pub fn allows(self, wanted: Privilege) -> bool {
        self as u8 & wanted as u8 == wanted as u8
    }

    /// The name that SHOW GRANTS prints.
    pub fn name(self) -> &'static str {
        match self {
            Privilege::None => "NO PRIVILEGES",
            Privilege::Read => "READ",
            Privilege::Write => "WRITE",
            Privilege::All => "ALL PRIVILEGES",
        }
    }
}

impl Catalog {
    /// An empty catalog.
    pub fn new(options: Options) -> Catalog {
        Catalog { options, ..Catalog::default() }
    }

    /// The database `name`.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name)
    }

    /// The database with this identity.
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.values().find(|database| database.id == id)
    }

    /// Databases in order of creation.
    pub fn databases(&self) -> Vec<&Arc<Database>> {
        let mut databases: Vec<_> = self.databases.values().collect();
        databases.sort_by_key(|database| database.id);
        databases
    }

    /// The user `name`.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Users in order of creation.
    pub fn users(&self) -> &[Arc<User>] {
        &self.users
    }

    /// Whether some user is admin; without one nobody can be authenticated.
    pub fn has_admin(&self) -> bool {
        self.users.iter().any(|user| user.admin)
    }
}

impl Database {
    /// The policy `name`; the default policy when `name` is empty.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        let name = if name.is_empty() { &self.default_policy } else { name };
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// The policy with this identity.
    pub fn policy_by_id(&self, id: PolicyId) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.id == id)
    }
}

impl Policy {
    /// The shard group that `time` lies in.
    pub fn group_for(&self, time: Timestamp) -> Option<&Group> {
        let behind = self.groups.partition_point(|group| group.start <= time);
        self.groups[..behind].last().filter(|group| group.contains(time))
    }

    /// The shard groups that overlap `range`, by start.
    pub fn groups_in(&self, range: TimeRange) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |group| !group.range().intersect(range).is_empty())
    }

    /// The oldest time that may be written at `now`; `None`: any.
    pub fn oldest_writable(&self, now: Timestamp) -> Option<Timestamp> {
        (self.duration > 0).then(|| now.saturating_sub(self.duration))
    }
}

impl User {
    /// The privilege on `database`, if one was ever granted or revoked.
    pub fn privilege(&self, database: &str) -> Option<Privilege> {
        self.privileges.get(database).copied()
    }

    /// Whether the user may do `wanted` in `database`.
    pub fn may(&self, wanted: Privilege, database: &str) -> bool {
        self.admin || self.privilege(database).is_some_and(|given| given.allows(wanted))
    }
}
