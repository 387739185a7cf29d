//! The rules: a catalog and a command to the next catalog, or a refusal.

mod databases;
mod groups;
mod users;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::catalog::Catalog;
use super::catalog::Database;
use super::catalog::Policy;
use super::command::Command;
use super::command::MetaError;
use super::command::Outcome;
use crate::model::Timestamp;

/// What `command` makes of `catalog` at `now`. Commands that ask for what is there already succeed without a change.
pub fn apply(catalog: &Catalog, command: &Command, now: Timestamp) -> Result<(Catalog, Outcome), MetaError> {
    let mut next = catalog.clone();
    let mut outcome = run(&mut next, command, now)?;
    outcome.changed = next != *catalog;
    next.version += u64::from(outcome.changed);
    Ok((next, outcome))
}

fn run(catalog: &mut Catalog, command: &Command, now: Timestamp) -> Result<Outcome, MetaError> {
    match command {
        Command::CreateDatabase { name, policy } => databases::create_database(catalog, name, policy.as_ref()),
        Command::DropDatabase { name } => Ok(databases::drop_database(catalog, name)),
        Command::CreatePolicy { database, policy, default } => {
            databases::create_policy(catalog, database, policy, *default)
        }
        Command::AlterPolicy { database, name, change } => databases::alter_policy(catalog, database, name, change),
        Command::DropPolicy { database, name } => Ok(databases::drop_policy(catalog, database, name)),
        Command::CreateGroups { database, policy, times } => groups::create_groups(catalog, *database, *policy, times),
        Command::DropGroups { groups } => Ok(groups::drop_groups(catalog, |_, group| groups.contains(&group.id))),
        Command::ExpireGroups => Ok(groups::expire(catalog, now)),
        Command::PrecreateGroups { advance_ns } => Ok(groups::precreate(catalog, now, *advance_ns)),
        Command::CreateUser { name, hash, admin } => users::create(catalog, name, hash, *admin),
        Command::DropUser { name } => users::drop(catalog, name),
        Command::SetPassword { name, hash } => users::change(catalog, name, |user| user.hash.clone_from(hash)),
        Command::SetAdmin { user, admin } => users::change(catalog, user, |user| user.admin = *admin),
        Command::Grant { user, database, privilege } => users::grant(catalog, user, database, *privilege),
        Command::Revoke { user, database, privilege } => users::revoke(catalog, user, database, *privilege),
        Command::CreateContinuousQuery { database, name, text } => {
            databases::create_continuous_query(catalog, database, name, text)
        }
        Command::DropContinuousQuery { database, name } => {
            Ok(databases::drop_continuous_query(catalog, database, name))
        }
        Command::CreateSubscription { database, policy, name, any, destinations } => {
            databases::create_subscription(catalog, database, policy, name, *any, destinations)
        }
        Command::DropSubscription { database, policy, name } => {
            databases::drop_subscription(catalog, database, policy, name)
        }
    }
}

fn database_mut<'a>(catalog: &'a mut Catalog, name: &str) -> Result<&'a mut Database, MetaError> {
    let database = catalog.databases.get_mut(name);
    database.map(Arc::make_mut).ok_or_else(|| MetaError::DatabaseNotFound(name.to_owned()))
}

fn policy_mut<'a>(database: &'a mut Database, name: &str) -> Result<&'a mut Policy, MetaError> {
    let policy = database.policies.iter_mut().find(|policy| policy.name == name);
    policy.ok_or_else(|| MetaError::PolicyNotFound(name.to_owned()))
}
