//! Databases, retention policies, continuous queries, subscriptions.

use std::sync::Arc;

use super::database_mut;
use super::policy_mut;
use crate::meta::alignment::HOUR;
use crate::meta::alignment::normalised_shard_duration;
use crate::meta::catalog::Catalog;
use crate::meta::catalog::ContinuousQuery;
use crate::meta::catalog::Database;
use crate::meta::catalog::Policy;
use crate::meta::catalog::Subscription;
use crate::meta::command::Dropped;
use crate::meta::command::MetaError;
use crate::meta::command::NewPolicy;
use crate::meta::command::Outcome;
use crate::meta::command::PolicyChange;
use crate::model::DatabaseId;
use crate::model::PolicyId;
use crate::stdx::budget::Counter;

/// Name of the policy that a database gets by itself.
const AUTOGEN: &str = "autogen";

pub(super) fn create_database(
    catalog: &mut Catalog,
    name: &str,
    policy: Option<&NewPolicy>,
) -> Result<Outcome, MetaError> {
    check_name(name)?;
    let Some(asked) = policy else {
        if catalog.database(name).is_none() {
            add_database(catalog, name);
            if catalog.options.retention_autocreate {
                add_policy(catalog, name, AUTOGEN, &NewPolicy::default(), true)?;
            }
        }
        return Ok(Outcome::default());
    };
    check_duration(asked.duration)?;
    // A name that is empty is none.
    let policy_name = asked.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(AUTOGEN);
    check_name(policy_name)?;
    if catalog.database(name).is_none() {
        add_database(catalog, name);
    }
    let database = database_mut(catalog, name)?;
    if database.policies.is_empty() {
        add_policy(catalog, name, policy_name, asked, true)?;
    } else if !database.policy(policy_name).is_some_and(|existing| matches(asked, existing)) {
        return Err(MetaError::PolicyConflict);
    }
    let is_default = database_mut(catalog, name)?.default_policy == policy_name;
    if is_default { Ok(Outcome::default()) } else { Err(MetaError::PolicyConflict) }
}

pub(super) fn drop_database(catalog: &mut Catalog, name: &str) -> Outcome {
    let Some(database) = catalog.databases.remove(name) else { return Outcome::default() };
    for user in catalog.users.iter_mut().filter(|user| user.privileges.contains_key(name)) {
        Arc::make_mut(user).privileges.remove(name);
    }
    Outcome { dropped: vec![Dropped::Database(database.id)], ..Outcome::default() }
}

pub(super) fn create_policy(
    catalog: &mut Catalog,
    database: &str,
    asked: &NewPolicy,
    default: bool,
) -> Result<Outcome, MetaError> {
    let name = asked.name.as_deref().unwrap_or("");
    check_name(name)?;
    check_duration(asked.duration)?;
    add_policy(catalog, database, name, asked, default)?;
    Ok(Outcome::default())
}

pub(super) fn alter_policy(
    catalog: &mut Catalog,
    database: &str,
    name: &str,
    change: &PolicyChange,
) -> Result<Outcome, MetaError> {
    let database = database_mut(catalog, database)?;
    // Without a name it is the default policy.
    let named = if name.is_empty() { database.default_policy.clone() } else { name.to_owned() };
    let policy = policy_mut(database, &named).map_err(|_| MetaError::PolicyNotFound(name.to_owned()))?;
    check_duration(change.duration)?;
    let duration = change.duration.unwrap_or(policy.duration);
    // As asked for, before an hour is made of less and the default of 0; and not at all when neither is asked for.
    let shard_duration = change.shard_duration.unwrap_or(policy.shard_group_duration);
    let asked = change.duration.is_some() || change.shard_duration.is_some();
    if asked && duration > 0 && duration < shard_duration {
        return Err(MetaError::ShardDurationTooLong);
    }
    policy.duration = duration;
    policy.replica_n = change.replica_n.unwrap_or(policy.replica_n);
    if let Some(shard_duration) = change.shard_duration {
        policy.shard_group_duration = normalised_shard_duration(shard_duration, duration);
    }
    if change.default {
        database.default_policy = named;
    }
    Ok(Outcome::default())
}

pub(super) fn drop_policy(catalog: &mut Catalog, database: &str, name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(database) = database_mut(catalog, database) else { return outcome };
    let id = database.id;
    database.policies.retain(|policy| {
        if policy.name == name {
            outcome.dropped.push(Dropped::Policy(id, policy.id));
        }
        policy.name != name
    });
    outcome
}

pub(super) fn create_continuous_query(
    catalog: &mut Catalog,
    database: &str,
    name: &str,
    text: &str,
) -> Result<Outcome, MetaError> {
    let queries = &mut database_mut(catalog, database)?.continuous_queries;
    match queries.iter().find(|query| query.name == name) {
        Some(query) if query.text.to_lowercase() != text.to_lowercase() => Err(MetaError::ContinuousQueryExists),
        Some(_) => Ok(Outcome::default()),
        None => {
            queries.push(ContinuousQuery { name: name.to_owned(), text: text.to_owned() });
            Ok(Outcome::default())
        }
    }
}

pub(super) fn drop_continuous_query(catalog: &mut Catalog, database: &str, name: &str) -> Outcome {
    if let Ok(database) = database_mut(catalog, database) {
        database.continuous_queries.retain(|query| query.name != name);
    }
    Outcome::default()
}

pub(super) fn create_subscription(
    catalog: &mut Catalog,
    database: &str,
    policy: &str,
    name: &str,
    any: bool,
    destinations: &[String],
) -> Result<Outcome, MetaError> {
    if let Some(bad) = destinations.iter().find(|url| !is_subscription_url(url)) {
        return Err(MetaError::InvalidSubscriptionUrl(bad.clone()));
    }
    let subscriptions = &mut policy_mut(database_mut(catalog, database)?, policy)?.subscriptions;
    if subscriptions.iter().any(|subscription| subscription.name == name) {
        return Err(MetaError::SubscriptionExists);
    }
    subscriptions.push(Subscription { name: name.to_owned(), any, destinations: destinations.to_vec() });
    Ok(Outcome::default())
}

pub(super) fn drop_subscription(
    catalog: &mut Catalog,
    database: &str,
    policy: &str,
    name: &str,
) -> Result<Outcome, MetaError> {
    let subscriptions = &mut policy_mut(database_mut(catalog, database)?, policy)?.subscriptions;
    let position = subscriptions.iter().position(|subscription| subscription.name == name);
    subscriptions.remove(position.ok_or(MetaError::SubscriptionNotFound)?);
    Ok(Outcome::default())
}

fn add_database(catalog: &mut Catalog, name: &str) {
    catalog.last_database += 1;
    let database = Database {
        id: DatabaseId(catalog.last_database),
        name: name.to_owned(),
        default_policy: String::new(),
        policies: Vec::new(),
        continuous_queries: Vec::new(),
        series: Counter::default(),
        forgets: Counter::default(),
    };
    catalog.databases.insert(name.to_owned(), Arc::new(database));
}

/// Adds a policy, or agrees that it is there already.
fn add_policy(
    catalog: &mut Catalog,
    database: &str,
    name: &str,
    asked: &NewPolicy,
    default: bool,
) -> Result<(), MetaError> {
    let id = PolicyId(catalog.last_policy + 1);
    let policy = policy_of(id, name, asked);
    if policy.duration > 0 && policy.duration < policy.shard_group_duration {
        return Err(MetaError::ShardDurationTooLong);
    }
    let database = database_mut(catalog, database)?;
    if let Some(existing) = database.policies.iter().find(|existing| existing.name == name) {
        let same = existing.duration == policy.duration
            && existing.shard_group_duration == policy.shard_group_duration
            && existing.replica_n == policy.replica_n;
        return match (same, default && database.default_policy != name) {
            (false, _) => Err(MetaError::PolicyExists),
            (true, true) => Err(MetaError::PolicyConflict),
            (true, false) => Ok(()),
        };
    }
    database.policies.push(policy);
    if default {
        name.clone_into(&mut database.default_policy);
    }
    catalog.last_policy = id.0;
    Ok(())
}

fn policy_of(id: PolicyId, name: &str, asked: &NewPolicy) -> Policy {
    let duration = asked.duration.unwrap_or(0);
    Policy {
        id,
        name: name.to_owned(),
        duration,
        shard_group_duration: normalised_shard_duration(asked.shard_duration.unwrap_or(0), duration),
        replica_n: asked.replica_n.unwrap_or(1),
        groups: Vec::new(),
        subscriptions: Vec::new(),
    }
}

/// Whether `existing` is what CREATE DATABASE ... WITH asks for; what it does not say matches anything.
fn matches(asked: &NewPolicy, existing: &Policy) -> bool {
    let shard_duration = normalised_shard_duration(asked.shard_duration.unwrap_or(0), existing.duration);
    asked.duration.is_none_or(|duration| duration == existing.duration)
        && asked.replica_n.is_none_or(|replica_n| replica_n == existing.replica_n)
        && shard_duration == existing.shard_group_duration
}

fn check_duration(duration: Option<i64>) -> Result<(), MetaError> {
    match duration {
        Some(duration) if duration != 0 && duration < HOUR => Err(MetaError::DurationTooShort),
        _ => Ok(()),
    }
}

/// Names become folder names in stock: no separators, nothing invisible.
fn check_name(name: &str) -> Result<(), MetaError> {
    let reserved = name.is_empty() || name == "." || name == "..";
    if reserved || name.contains(['/', '\\']) || !name.chars().all(is_printable) {
        return Err(MetaError::InvalidName);
    }
    Ok(())
}

/// Letters, marks, numbers, punctuation, symbols and the plain space; no controls, no other spaces, nothing private
/// or unassigned in the ranges that are fixed for ever.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c as u32,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x8E2 | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0xE000..=0xF8FF | 0xFEFF | 0xFFF0..=0xFFFB | 0xFFFE..=0xFFFF | 0xE0000..=0xE0FFF
        | 0xF_0000..=0x10_FFFF);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// `udp`, `http` or `https`, then a host with an explicit port.
fn is_subscription_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if !["udp", "http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let Some((name, port)) = host.rsplit_once(':') else { return false };
    let plain = !name.contains(':') || (name.starts_with('[') && name.ends_with(']'));
    plain && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}
