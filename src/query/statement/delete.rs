//! DELETE, DROP SERIES, DROP MEASUREMENT: checked as stock checks them, then done by every core for its own series.
//! A measurement without a series anywhere is forgotten with its fields.

use std::collections::BTreeSet;

use crate::exec::lookup::Ask;
use crate::exec::lookup::Pattern;
use crate::exec::lookup::Request;
use crate::influxql::ast::Delete;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Source;
use crate::influxql::reduce::split_condition;
use crate::meta::Database;
use crate::model::Bytes;
use crate::model::TimeRange;
use crate::query::fabric::Fabric;
use crate::stdx::join::join_all;

use super::Context;
use super::bytes;
use super::condition;
use super::condition::Mode;
use super::pages::Pages;
use super::show::find_fields;
use super::show::request;

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
    let measurements = vec![Pattern::Name(bytes(name))];
    erase(fabric, &database, Request { measurements, ..request(database.id, Ask::Count) }, TimeRange::ALWAYS).await
}

async fn remove<F: Fabric>(fabric: &F, delete: &Delete, context: &Context) -> Result<(), String> {
    let database = find(fabric, &context.database)?;
    let mut select = request(database.id, Ask::Count);
    select.measurements = delete.sources.iter().filter_map(pattern).collect();
    let (rest, range) = match &delete.condition {
        Some(_) if !delete.sources.is_empty() && !is_anything_named(fabric, &select.measurements).await? => {
            return Ok(());
        }
        Some(condition) => {
            let (rest, bounds) = split_condition(condition, context.now_ns, None)?;
            let (min, max) = (bounds.min.unwrap_or(TimeRange::ALWAYS.min), bounds.max.unwrap_or(TimeRange::ALWAYS.max));
            (rest, TimeRange { min, max })
        }
        None => (None, TimeRange::ALWAYS),
    };
    if let Some(rest) = &rest {
        select.condition = Some(condition::translate(rest, Mode::Delete { undecided: false })?);
        find_fields(fabric, Some(rest), std::slice::from_mut(&mut select)).await?;
        select.fields_pass = false;
        refuse_undecided(fabric, &database, &select, rest).await?;
    }
    erase(fabric, &database, select, range).await
}

/// Whether a source names a measurement of any database: stock does not even look at the condition else. A name alone
/// does where anything was written.
async fn is_anything_named<F: Fabric>(fabric: &F, patterns: &[Pattern]) -> Result<bool, String> {
    let catalog = fabric.catalog();
    let written = catalog.databases().into_iter().filter(|found| found.policies.iter().any(|p| !p.groups.is_empty()));
    let ask = Ask::Measurements { tests: Vec::new() };
    let requests: Vec<Request> = written
        .map(|database| Request { measurements: patterns.to_vec(), ..request(database.id, ask.clone()) })
        .collect();
    let is_name = |pattern: &Pattern| matches!(pattern, Pattern::Name(_));
    Ok(match patterns.iter().any(is_name) {
        true => !requests.is_empty(),
        false => Pages::new(fabric, &requests).next().await?.is_some(),
    })
}

/// Refuses to delete where something that is no tag decides about a series: to leave such a part of the condition out
/// would delete more than was asked for.
async fn refuse_undecided<F: Fabric>(
    fabric: &F,
    database: &Database,
    certain: &Request,
    condition: &Expr,
) -> Result<(), String> {
    let translated = condition::translate(condition, Mode::Delete { undecided: true })?;
    let possible = Request { condition: Some(translated), fields_pass: true, ..certain.clone() };
    let Some(group) = database.policies.iter().flat_map(|policy| &policy.groups).next() else { return Ok(()) };
    if (certain.condition == possible.condition && certain.fields.is_empty())
        || count(fabric, certain).await? == count(fabric, &possible).await?
    {
        return Ok(());
    }
    Err(match certain.fields.is_empty() && condition::is_about_tags(condition) {
        true => "invalid tag comparison operator".to_owned(),
        false => format!("shard {}: fields not supported in WHERE clause during deletion", group.id.0),
    })
}

/// How many series `request` finds.
async fn count<F: Fabric>(fabric: &F, request: &Request) -> Result<u64, String> {
    let mut pages = Pages::new(fabric, std::slice::from_ref(request));
    let mut total = 0;
    while let Some(entry) = pages.next().await? {
        total += entry.number;
    }
    Ok(total)
}

/// Deletes on all cores, then forgets the measurements that are left without a series.
async fn erase<F: Fabric>(fabric: &F, database: &Database, select: Request, range: TimeRange) -> Result<(), String> {
    let before = measurements(fabric, &select).await?;
    if before.is_empty() {
        return Ok(());
    }
    let cores = 0..fabric.core_count();
    for deleted in join_all(cores.map(|core| fabric.delete(core, select.clone(), range))).await {
        deleted.map_err(|error| error.to_string())?;
    }
    fabric.forget_ids(database.id).await.map_err(|error| error.to_string())?;
    let after = measurements(fabric, &select).await?;
    let gone: Vec<Bytes> = before.difference(&after).cloned().collect();
    if gone.is_empty() {
        return Ok(());
    }
    fabric.forget(database.id, gone).await.map_err(|error| error.to_string())
}

/// The measurements of `select` that have a series.
async fn measurements<F: Fabric>(fabric: &F, select: &Request) -> Result<BTreeSet<Bytes>, String> {
    let ask = Ask::Measurements { tests: Vec::new() };
    Pages::new(fabric, &[Request { condition: None, ask, ..select.clone() }]).measurements().await
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
