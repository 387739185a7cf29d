//! SHOW statements that the catalog answers.

use crate::influxql::ast::Statement;
use crate::meta::Catalog;
use crate::meta::Database;
use crate::meta::Group;
use crate::meta::Policy;
use crate::meta::Privilege;
use crate::model::Cell;
use crate::model::RowSet;
use crate::query::request::Caller;

use super::Context;
use super::bytes;
use super::row_set;

/// Runs one of them.
pub(super) fn list(catalog: &Catalog, statement: &Statement, context: &Context) -> Result<Vec<RowSet>, String> {
    match statement {
        Statement::ShowDatabases => Ok(vec![databases(catalog, &context.caller)]),
        Statement::ShowRetentionPolicies { database } => policies(catalog, database.as_deref().unwrap_or("")),
        Statement::ShowShards => Ok(databases_of(catalog, shards)),
        Statement::ShowShardGroups => Ok(vec![shard_groups(catalog)]),
        Statement::ShowUsers => Ok(vec![users(catalog)]),
        Statement::ShowGrants { user } => grants(catalog, user),
        Statement::ShowContinuousQueries => Ok(databases_of(catalog, continuous_queries)),
        Statement::ShowSubscriptions => Ok(databases_of(catalog, subscriptions)),
        other => Err(format!("statement cannot be executed: {other}")),
    }
}

/// The whole second of a shard group's time, which is all that stock prints; beyond 64 bits too, as the expiry of a far
/// group may lie.
fn second(nanoseconds: impl Into<i128>) -> Cell {
    text(&rfc3339(nanoseconds.into().div_euclid(1_000_000_000) * 1_000_000_000))
}

/// `nanoseconds` since 1970 in RFC 3339, UTC.
pub(super) fn rfc3339(nanoseconds: i128) -> String {
    jiff::Timestamp::from_nanosecond(nanoseconds).map(|time| time.to_string()).unwrap_or_default()
}

/// A duration as Go prints it, `168h0m0s`; durations of policies are 0 or at least an hour.
pub(super) fn go_duration(nanoseconds: i64) -> String {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, _) => format!("{minutes}m"),
        _ => format!("{hours}h{minutes}m"),
    };
    text.push_str(&seconds.to_string());
    if fraction != 0 {
        text.push_str(format!(".{fraction:09}").trim_end_matches('0'));
    }
    text + "s"
}

fn text(value: &str) -> Cell {
    Cell::String(bytes(value))
}

fn databases_of(catalog: &Catalog, of: impl Fn(&Database) -> Option<RowSet>) -> Vec<RowSet> {
    catalog.databases().into_iter().filter_map(|database| of(database)).collect()
}

/// Whether the caller has one of `privileges` on the database.
fn may(catalog: &Catalog, caller: &Caller, database: &Database, privileges: &[Privilege]) -> bool {
    let Some(name) = caller.name() else { return true };
    let user = catalog.user(name);
    user.is_some_and(|user| privileges.iter().any(|privilege| user.may(*privilege, &database.name)))
}

fn databases(catalog: &Catalog, caller: &Caller) -> RowSet {
    let mut set = row_set(Some("databases"), &["name"]);
    let visible = |database: &Database| may(catalog, caller, database, &[Privilege::Read, Privilege::Write]);
    let visible = catalog.databases().into_iter().filter(|database| visible(database));
    set.rows = visible.map(|database| vec![text(&database.name)]).collect();
    set
}

fn policies(catalog: &Catalog, database: &str) -> Result<Vec<RowSet>, String> {
    if database.is_empty() {
        return Err("database name required".to_owned());
    }
    let found = catalog.database(database).ok_or_else(|| format!("database not found: {database}"))?;
    let mut set = row_set(None, &["name", "duration", "shardGroupDuration", "replicaN", "default"]);
    let row = |policy: &Policy| {
        vec![
            text(&policy.name),
            text(&go_duration(policy.duration)),
            text(&go_duration(policy.shard_group_duration)),
            Cell::Integer(i64::from(policy.replica_n)),
            Cell::Boolean(policy.name == found.default_policy),
        ]
    };
    set.rows = found.policies.iter().map(row).collect();
    Ok(vec![set])
}

fn expiry(policy: &Policy, group: &Group) -> Cell {
    second(i128::from(group.end) + i128::from(policy.duration))
}

fn number(group: &Group) -> Cell {
    Cell::Integer(group.id.0 as i64)
}

fn shards(database: &Database) -> Option<RowSet> {
    const COLUMNS: [&str; 8] =
        ["id", "database", "retention_policy", "shard_group", "start_time", "end_time", "expiry_time", "owners"];
    let mut set = row_set(Some(&database.name), &COLUMNS);
    for policy in &database.policies {
        set.rows.extend(policy.groups.iter().map(|group| {
            vec![
                number(group),
                text(&database.name),
                text(&policy.name),
                number(group),
                second(group.start),
                second(group.end),
                expiry(policy, group),
                text(""),
            ]
        }));
    }
    Some(set)
}

fn shard_groups(catalog: &Catalog) -> RowSet {
    const COLUMNS: [&str; 6] = ["id", "database", "retention_policy", "start_time", "end_time", "expiry_time"];
    let mut set = row_set(Some("shard groups"), &COLUMNS);
    for database in catalog.databases() {
        for policy in &database.policies {
            set.rows.extend(policy.groups.iter().map(|group| {
                vec![
                    number(group),
                    text(&database.name),
                    text(&policy.name),
                    second(group.start),
                    second(group.end),
                    expiry(policy, group),
                ]
            }));
        }
    }
    set
}

fn users(catalog: &Catalog) -> RowSet {
    let mut set = row_set(None, &["user", "admin"]);
    set.rows = catalog.users().iter().map(|user| vec![text(&user.name), Cell::Boolean(user.admin)]).collect();
    set
}

fn grants(catalog: &Catalog, user: &str) -> Result<Vec<RowSet>, String> {
    let user = catalog.user(user).ok_or("user not found")?;
    let mut set = row_set(None, &["database", "privilege"]);
    set.rows = user.privileges.iter().map(|(database, given)| vec![text(database), text(given.name())]).collect();
    Ok(vec![set])
}

fn continuous_queries(database: &Database) -> Option<RowSet> {
    let mut set = row_set(Some(&database.name), &["name", "query"]);
    let queries = database.continuous_queries.iter();
    set.rows = queries.map(|query| vec![text(&query.name), text(&query.text)]).collect();
    Some(set)
}

fn subscriptions(database: &Database) -> Option<RowSet> {
    let mut set = row_set(Some(&database.name), &["retention_policy", "name", "mode", "destinations"]);
    for policy in &database.policies {
        set.rows.extend(policy.subscriptions.iter().map(|subscription| {
            let destinations = subscription.destinations.iter().map(|url| bytes(url)).collect();
            let mode = if subscription.any { "ANY" } else { "ALL" };
            vec![text(&policy.name), text(&subscription.name), text(mode), Cell::List(destinations)]
        }));
    }
    (!set.rows.is_empty()).then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        let second = 1_000_000_000;
        for (nanoseconds, expected) in [
            (0, "0s"),
            (3600 * second, "1h0m0s"),
            (5400 * second, "1h30m0s"),
            (604_800 * second, "168h0m0s"),
            (3600 * second + 500_000_000, "1h0m0.5s"),
            (90 * second, "1m30s"),
        ] {
            assert_eq!(go_duration(nanoseconds), expected);
        }
    }

    #[test]
    fn shard_groups_print_whole_seconds() {
        assert_eq!(second(i64::MAX), text("2262-04-11T23:47:16Z"));
        assert_eq!(second(-1), text("1969-12-31T23:59:59Z"));
    }

    #[test]
    fn times_print_beyond_64_bits() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(i64::MAX.into()), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(rfc3339(i128::from(i64::MAX) * 2), "2554-07-21T23:34:33.709551614Z");
    }
}
