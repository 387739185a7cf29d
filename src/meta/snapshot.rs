//! The stored form of a catalog.
//!
//! In:    a catalog; out: bytes, and back, with damage and newer formats told apart.
//!
//! ```text
//! magic "MRCATLOG" | format u32 | crc32 u32 of the archive | length u64 | archive (rkyv)     little-endian
//! ```
//!
//! The archive holds structs of its own, apart from those in memory: those may change, a format that was released may
//! not. The checksum finds damage; rkyv's own checks keep a wrong but well-summed archive from being read at random.

use std::collections::BTreeMap;
use std::sync::Arc;

use rkyv::rancor;

use super::catalog::Catalog;
use super::catalog::ContinuousQuery;
use super::catalog::Database;
use super::catalog::Group;
use super::catalog::Options;
use super::catalog::Policy;
use super::catalog::Privilege;
use super::catalog::Subscription;
use super::catalog::User;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::stdx::budget::Counter;

const MAGIC: &[u8; 8] = b"MRCATLOG";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 24;

/// Why bytes are not a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer Millrace.
    #[error("catalog has format {0}, this version reads up to {FORMAT}: start the newer version again")]
    Newer(u32),
    /// Cut off, changed, or something else.
    #[error("catalog is damaged: {0}")]
    Damaged(String),
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredCatalog {
    version: u64,
    last_database: u32,
    last_policy: u32,
    last_group: u64,
    databases: Vec<StoredDatabase>,
    users: Vec<StoredUser>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredDatabase {
    id: u32,
    name: String,
    default_policy: String,
    policies: Vec<StoredPolicy>,
    continuous_queries: Vec<(String, String)>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredPolicy {
    id: u32,
    name: String,
    duration: i64,
    shard_group_duration: i64,
    replica_n: u32,
    groups: Vec<(u64, i64, i64)>,
    subscriptions: Vec<(String, bool, Vec<String>)>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct StoredUser {
    name: String,
    hash: String,
    admin: bool,
    privileges: Vec<(String, u8)>,
}

/// The bytes to store.
pub fn encode(catalog: &Catalog) -> Vec<u8> {
    let stored = to_stored(catalog);
    let archive = rkyv::to_bytes::<rancor::Error>(&stored).expect("plain structs in memory can be archived");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + archive.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&archive).to_le_bytes());
    bytes.extend_from_slice(&(archive.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&archive);
    bytes
}

/// The catalog in `bytes`, which may be longer than it (a file padded to whole blocks).
pub fn decode(bytes: &[u8], options: Options) -> Result<Catalog, SnapshotError> {
    let archive = checked_archive(bytes)?;
    // rkyv reads in place, and what it reads wants the alignment that a byte slice does not promise.
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    let stored = rkyv::from_bytes::<StoredCatalog, rancor::Error>(&aligned);
    from_stored(stored.map_err(|error| damaged(&error.to_string()))?, options)
}

fn checked_archive(bytes: &[u8]) -> Result<&[u8], SnapshotError> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Err(damaged("it is cut off")) };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if &header[..8] != MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    if number(8) > FORMAT {
        return Err(SnapshotError::Newer(number(8)));
    }
    let length = u64::from(number(16)) | u64::from(number(20)) << 32;
    let archive = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let archive = archive.ok_or_else(|| damaged("it is cut off"))?;
    if crc32fast::hash(archive) != number(12) {
        return Err(damaged("its checksum does not hold"));
    }
    Ok(archive)
}

fn damaged(what: &str) -> SnapshotError {
    SnapshotError::Damaged(what.to_owned())
}

fn to_stored(catalog: &Catalog) -> StoredCatalog {
    StoredCatalog {
        version: catalog.version,
        last_database: catalog.last_database,
        last_policy: catalog.last_policy,
        last_group: catalog.last_group,
        databases: catalog.databases.values().map(|database| stored_database(database)).collect(),
        users: catalog.users.iter().map(|user| stored_user(user)).collect(),
    }
}

fn stored_database(database: &Database) -> StoredDatabase {
    let queries = database.continuous_queries.iter().map(|query| (query.name.clone(), query.text.clone()));
    StoredDatabase {
        id: database.id.0,
        name: database.name.clone(),
        default_policy: database.default_policy.clone(),
        policies: database.policies.iter().map(stored_policy).collect(),
        continuous_queries: queries.collect(),
    }
}

fn stored_policy(policy: &Policy) -> StoredPolicy {
    let subscriptions = policy.subscriptions.iter();
    StoredPolicy {
        id: policy.id.0,
        name: policy.name.clone(),
        duration: policy.duration,
        shard_group_duration: policy.shard_group_duration,
        replica_n: policy.replica_n,
        groups: policy.groups.iter().map(|group| (group.id.0, group.start, group.end)).collect(),
        subscriptions: subscriptions.map(|one| (one.name.clone(), one.any, one.destinations.clone())).collect(),
    }
}

fn stored_user(user: &User) -> StoredUser {
    StoredUser {
        name: user.name.clone(),
        hash: user.hash.clone(),
        admin: user.admin,
        privileges: user.privileges.iter().map(|(database, given)| (database.clone(), *given as u8)).collect(),
    }
}

fn from_stored(stored: StoredCatalog, options: Options) -> Result<Catalog, SnapshotError> {
    let mut databases = BTreeMap::new();
    for database in stored.databases {
        databases.insert(database.name.clone(), Arc::new(database_of(database)?));
    }
    Ok(Catalog {
        version: stored.version,
        options,
        databases,
        users: stored.users.into_iter().map(|user| Arc::new(user_of(user))).collect(),
        last_database: stored.last_database,
        last_policy: stored.last_policy,
        last_group: stored.last_group,
    })
}

fn database_of(stored: StoredDatabase) -> Result<Database, SnapshotError> {
    let policies = stored.policies.into_iter().map(policy_of).collect::<Result<_, _>>()?;
    let queries = stored.continuous_queries.into_iter().map(|(name, text)| ContinuousQuery { name, text });
    Ok(Database {
        id: DatabaseId(stored.id),
        name: stored.name,
        default_policy: stored.default_policy,
        policies,
        continuous_queries: queries.collect(),
        series: Counter::default(),
        forgets: Counter::default(),
    })
}

fn policy_of(stored: StoredPolicy) -> Result<Policy, SnapshotError> {
    let groups = stored.groups.into_iter().map(|(id, start, end)| Group { id: GroupId(id), start, end });
    let groups: Vec<Group> = groups.collect();
    let ordered = groups.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if !ordered || groups.iter().any(|group| group.end <= group.start) {
        return Err(damaged("shard groups overlap"));
    }
    let subscriptions = stored.subscriptions.into_iter();
    Ok(Policy {
        id: PolicyId(stored.id),
        name: stored.name,
        duration: stored.duration,
        shard_group_duration: stored.shard_group_duration,
        replica_n: stored.replica_n,
        groups,
        subscriptions: subscriptions
            .map(|(name, any, destinations)| Subscription { name, any, destinations })
            .collect(),
    })
}

fn user_of(stored: StoredUser) -> User {
    let privileges = stored.privileges.into_iter().map(|(database, bits)| (database, Privilege::from_bits(bits)));
    User { name: stored.name, hash: stored.hash, admin: stored.admin, privileges: privileges.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Command;
    use crate::meta::NewPolicy;
    use crate::meta::apply;

    fn full() -> Catalog {
        let name = || "d".to_owned();
        let mut catalog = Catalog::default();
        let policy =
            NewPolicy { name: Some("p".to_owned()), duration: Some(7_200_000_000_000), ..NewPolicy::default() };
        let urls = vec!["http://h:1".to_owned()];
        let hash = "h".to_owned();
        let user = || "u".to_owned();
        for command in [
            Command::CreateDatabase { name: name(), policy: None },
            Command::CreatePolicy { database: name(), policy, default: true },
            Command::CreateGroups { database: DatabaseId(1), policy: PolicyId(2), times: vec![0, -1, i64::MAX - 1] },
            Command::CreateUser { name: user(), hash, admin: true },
            Command::Grant { user: user(), database: name(), privilege: Privilege::Write },
            Command::CreateContinuousQuery { database: name(), name: "c".to_owned(), text: "text".to_owned() },
            Command::CreateSubscription {
                database: name(),
                policy: "p".to_owned(),
                name: "s".to_owned(),
                any: true,
                destinations: urls,
            },
        ] {
            catalog = apply(&catalog, &command, 0).expect("all of it is allowed").0;
        }
        catalog
    }

    #[test]
    fn a_catalog_comes_back_whole() {
        for catalog in [Catalog::default(), full()] {
            let mut bytes = encode(&catalog);
            assert_eq!(decode(&bytes, Options::default()), Ok(catalog.clone()));
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
            assert_eq!(decode(&bytes, Options::default()), Ok(catalog));
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found() {
        let bytes = encode(&full());
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x10;
            let outcome = decode(&changed, Options::default());
            let is_older_format = (8..12).contains(&position) && outcome.is_ok();
            assert!(outcome.is_err() || is_older_format, "byte {position}");
            assert!(decode(&bytes[..position], Options::default()).is_err(), "cut at {position}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = encode(&full());
        bytes[8] = 7;
        let error = decode(&bytes, Options::default()).expect_err("newer");
        assert_eq!(
            error.to_string(),
            "catalog has format 7, this version reads up to 1: start the newer version again"
        );
    }
}
