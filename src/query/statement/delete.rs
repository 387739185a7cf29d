//! DELETE, DROP SERIES, DROP MEASUREMENT: checked as stock checks them, then done by every core for its own series.
//! A measurement without a series anywhere is forgotten with its fields.

use std::collections::BTreeSet;

use crate::exec::lookup::Ask;
use crate::exec::lookup::Condition;
use crate::exec::lookup::PAGE_ENTRIES;
use crate::exec::lookup::Pattern;
use crate::exec::lookup::Request;
use crate::exec::lookup::Within;
use crate::influxql::ast::Delete;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Source;
use crate::influxql::reduce::split_condition;
use crate::meta::Database;
use crate::model::Bytes;
use crate::model::TimeRange;
use crate::query::fabric::Fabric;
use crate::query::select::gather::join_all;

use super::Context;
use super::bytes;
use super::condition;
use super::condition::Mode;
use super::pages::Pages;

/// DELETE.
pub(super) async fn delete<F: Fabric>(fabric: &F, delete: &Delete, context: &Context) -> Result<(), String> {
    remove(fabric, delete, context).await
}

/// DROP SERIES.
pub(super) async fn drop_series<F: Fabric>(fabric: &F, delete: &Delete, context: &Context) -> Result<(), String> {
    find(fabric, &context.database)?;
    if delete.condition.as_ref().is_some_and(condition::has_time) {
        return Err("DROP SERIES doesn't support time in WHERE clause".to_owned());
    }
    remove(fabric, delete, context).await
}

/// DROP MEASUREMENT.
pub(super) async fn drop_measurement<F: Fabric>(fabric: &F, name: &str, context: &Context) -> Result<(), String> {
    let database = find(fabric, &context.database)?;
    erase(fabric, &database, vec![Pattern::Name(bytes(name))], None, TimeRange::ALWAYS).await
}

async fn remove<F: Fabric>(fabric: &F, delete: &Delete, context: &Context) -> Result<(), String> {
    let database = find(fabric, &context.database)?;
    let nothing_written = |database: &std::sync::Arc<Database>| database.policies.iter().all(|p| p.groups.is_empty());
    // Where no database has a point, stock does not even look at the condition.
    if !delete.sources.is_empty() && fabric.catalog().databases().into_iter().all(nothing_written) {
        return Ok(());
    }
    let (rest, range) = match &delete.condition {
        Some(condition) => {
            let (rest, bounds) = split_condition(condition, context.now_ns, None)?;
            let (min, max) = (bounds.min.unwrap_or(TimeRange::ALWAYS.min), bounds.max.unwrap_or(TimeRange::ALWAYS.max));
            (rest, TimeRange { min, max })
        }
        None => (None, TimeRange::ALWAYS),
    };
    let patterns: Vec<Pattern> = delete.sources.iter().filter_map(pattern).collect();
    if let Some(rest) = &rest {
        refuse_fields(fabric, &database, &patterns, rest).await?;
    }
    let filter = rest.map(|rest| condition::translate(&rest, Mode::Delete)).transpose()?;
    erase(fabric, &database, patterns, filter, range).await
}

/// Deletes on all cores, then forgets the measurements that are left without a series.
async fn erase<F: Fabric>(
    fabric: &F,
    database: &Database,
    patterns: Vec<Pattern>,
    filter: Option<Condition>,
    range: TimeRange,
) -> Result<(), String> {
    let before = measurements(fabric, database, &patterns).await?;
    if before.is_empty() {
        return Ok(());
    }
    let select = request(database, patterns.clone(), filter, Within::Database, Ask::Count);
    let cores = 0..fabric.core_count();
    for deleted in join_all(cores.map(|core| fabric.delete(core, select.clone(), range))).await {
        deleted.map_err(|error| error.to_string())?;
    }
    fabric.forget_ids(database.id).await.map_err(|error| error.to_string())?;
    let after = measurements(fabric, database, &patterns).await?;
    let gone: Vec<Bytes> = before.difference(&after).cloned().collect();
    if gone.is_empty() {
        return Ok(());
    }
    fabric.forget(database.id, gone).await.map_err(|error| error.to_string())
}

/// The measurements that have a series.
async fn measurements<F: Fabric>(
    fabric: &F,
    database: &Database,
    patterns: &[Pattern],
) -> Result<BTreeSet<Bytes>, String> {
    let ask = Ask::Measurements { tests: Vec::new() };
    Pages::new(fabric, &[request(database, patterns.to_vec(), None, Within::Database, ask)]).measurements().await
}

fn find<F: Fabric>(fabric: &F, name: &str) -> Result<std::sync::Arc<Database>, String> {
    fabric.catalog().database(name).cloned().ok_or_else(|| format!("database not found: {name}"))
}

fn pattern(source: &Source) -> Option<Pattern> {
    let Source::Measurement(measurement) = source else { return None };
    Some(match &measurement.regex {
        Some(regex) => Pattern::Regex(condition::pattern(regex)),
        None => Pattern::Name(bytes(&measurement.name)),
    })
}

/// Refuses a condition on a field of one of the measurements, and one that no tag can decide: to leave such a part out
/// would delete more than was asked for.
async fn refuse_fields<F: Fabric>(
    fabric: &F,
    database: &Database,
    patterns: &[Pattern],
    condition: &Expr,
) -> Result<(), String> {
    let is_decided = condition::is_about_tags(condition);
    let mut names = Vec::new();
    references(condition, &mut names);
    for policy in &database.policies {
        let Some(group) = policy.groups.first() else { continue };
        let request = request(database, patterns.to_vec(), None, Within::Policy(policy.id), Ask::Fields);
        let mut pages = Pages::new(fabric, &[request]);
        while let Some(entry) = pages.next().await? {
            let is_field = |name: &&str| entry.key.item.first().is_some_and(|field| **field == *name.as_bytes());
            if !is_decided || names.iter().any(is_field) {
                let id = group.id.0;
                return Err(format!("shard {id}: fields not supported in WHERE clause during deletion"));
            }
        }
    }
    Ok(())
}

fn references<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    match expr {
        Expr::VarRef { name, .. } => names.push(name),
        Expr::Binary { left, right, .. } => {
            references(left, names);
            references(right, names);
        }
        Expr::Paren(inner) => references(inner, names),
        _ => {}
    }
}

fn request(
    database: &Database,
    measurements: Vec<Pattern>,
    condition: Option<Condition>,
    within: Within,
    ask: Ask,
) -> Request {
    Request {
        database: database.id,
        within,
        measurements,
        condition,
        dimensions: Vec::new(),
        fields: Vec::new(),
        fields_pass: false,
        ask,
        after: None,
        limit: PAGE_ENTRIES,
    }
}
