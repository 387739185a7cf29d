//! CREATE, ALTER, DROP, GRANT, REVOKE, SET PASSWORD: statements that become one command to the catalog.

use crate::influxql::ast;
use crate::influxql::ast::CreateContinuousQuery;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::PolicyOptions;
use crate::influxql::ast::Select;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::meta::MetaError;
use crate::meta::NewPolicy;
use crate::meta::PolicyChange;
use crate::meta::Privilege;
use crate::meta::auth;
use crate::model::GroupId;
use crate::query::fabric::Fabric;

/// Runs a statement that defines something.
pub(super) async fn define<F: Fabric>(fabric: &F, statement: &Statement) -> Result<(), String> {
    let command = match statement {
        Statement::CreateUser { name, password, admin } => {
            return create_user(fabric, name, password, *admin).await;
        }
        Statement::SetPassword { name, password } => {
            if fabric.catalog().user(name).is_none() {
                return Err(MetaError::UserNotFound.to_string());
            }
            Command::SetPassword { name: name.clone(), hash: hash(fabric, password).await? }
        }
        Statement::CreateContinuousQuery(query) => {
            check_policies(&fabric.catalog(), query)?;
            let (database, name) = (query.database.clone(), query.name.clone());
            Command::CreateContinuousQuery { database, name, text: statement.to_string() }
        }
        other => command(other).ok_or_else(|| format!("statement cannot be executed: {other}"))?,
    };
    fabric.change(command).await.map(|_| ()).map_err(|error| error.to_string())
}

/// The command that a statement is, if it is just that.
fn command(statement: &Statement) -> Option<Command> {
    let owned = String::clone;
    Some(match statement {
        Statement::CreateDatabase { name, policy } => {
            Command::CreateDatabase { name: owned(name), policy: policy.as_ref().map(new_policy) }
        }
        Statement::DropDatabase { name } => Command::DropDatabase { name: owned(name) },
        Statement::CreateRetentionPolicy(create) => Command::CreatePolicy {
            database: owned(&create.database),
            policy: NewPolicy {
                name: Some(owned(&create.name)),
                duration: Some(create.duration),
                shard_duration: create.shard_duration,
                replica_n: Some(create.replication),
            },
            default: create.default,
        },
        Statement::AlterRetentionPolicy { name, database, options, default } => Command::AlterPolicy {
            database: owned(database),
            name: owned(name),
            change: PolicyChange {
                duration: options.duration,
                shard_duration: options.shard_duration,
                replica_n: options.replication,
                default: *default,
            },
        },
        Statement::DropRetentionPolicy { name, database } => {
            Command::DropPolicy { database: owned(database), name: owned(name) }
        }
        Statement::DropShard { id } => Command::DropGroups { groups: vec![GroupId(*id)] },
        Statement::DropUser { name } => Command::DropUser { name: owned(name) },
        Statement::Grant { privilege: given, database, user } => {
            Command::Grant { user: owned(user), database: owned(database), privilege: privilege(*given) }
        }
        Statement::Revoke { privilege: taken, database, user } => {
            Command::Revoke { user: owned(user), database: owned(database), privilege: privilege(*taken) }
        }
        Statement::GrantAdmin { user } => Command::SetAdmin { user: owned(user), admin: true },
        Statement::RevokeAdmin { user } => Command::SetAdmin { user: owned(user), admin: false },
        Statement::DropContinuousQuery { name, database } => {
            Command::DropContinuousQuery { database: owned(database), name: owned(name) }
        }
        Statement::CreateSubscription { name, database, policy, any, destinations } => Command::CreateSubscription {
            database: owned(database),
            policy: owned(policy),
            name: owned(name),
            any: *any,
            destinations: destinations.clone(),
        },
        Statement::DropSubscription { name, database, policy } => {
            Command::DropSubscription { database: owned(database), policy: owned(policy), name: owned(name) }
        }
        _ => return None,
    })
}

fn new_policy(options: &PolicyOptions) -> NewPolicy {
    NewPolicy {
        name: options.name.clone(),
        duration: options.duration,
        shard_duration: options.shard_duration,
        replica_n: options.replication,
    }
}

fn privilege(privilege: ast::Privilege) -> Privilege {
    match privilege {
        ast::Privilege::Read => Privilege::Read,
        ast::Privilege::Write => Privilege::Write,
        ast::Privilege::All => Privilege::All,
    }
}

/// A repeat with the same password and rights succeeds; which the hash tells, away from the core's thread.
async fn create_user<F: Fabric>(fabric: &F, name: &str, password: &str, admin: bool) -> Result<(), String> {
    if name.is_empty() {
        return Err(MetaError::UsernameRequired.to_string());
    }
    let existing = fabric.catalog().user(name).map(|user| (user.hash.clone(), user.admin));
    if let Some((known, was_admin)) = existing {
        let password = password.to_owned();
        let same = fabric.run_blocking(move || auth::verify_password(&password, &known)).await;
        return if same && was_admin == admin { Ok(()) } else { Err(MetaError::UserExists.to_string()) };
    }
    let hash = hash(fabric, password).await?;
    let created = fabric.change(Command::CreateUser { name: name.to_owned(), hash, admin }).await;
    created.map(|_| ()).map_err(|error| error.to_string())
}

async fn hash<F: Fabric>(fabric: &F, password: &str) -> Result<String, String> {
    let password = password.to_owned();
    fabric.run_blocking(move || auth::hash_password(&password)).await.map_err(|error| error.to_string())
}

/// Every measurement that a continuous query reads or writes has a policy that exists.
fn check_policies(catalog: &Catalog, query: &CreateContinuousQuery) -> Result<(), String> {
    query.select.target.iter().try_for_each(|target| check_policy(catalog, target))?;
    check_sources(catalog, &query.select)
}

fn check_sources(catalog: &Catalog, select: &Select) -> Result<(), String> {
    select.sources.iter().try_for_each(|source| match source {
        Source::Measurement(measurement) => check_policy(catalog, measurement),
        Source::Subquery(inner) => check_sources(catalog, inner),
    })
}

fn check_policy(catalog: &Catalog, measurement: &Measurement) -> Result<(), String> {
    let Measurement { database, policy, .. } = measurement;
    let found = catalog.database(database).ok_or_else(|| format!("database not found: {database}"))?;
    match found.policy(policy) {
        Some(_) => Ok(()),
        None => Err(format!("retention policy not found: {database}.{policy}")),
    }
}
