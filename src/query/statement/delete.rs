//! DELETE, DROP SERIES, DROP MEASUREMENT: checked as stock checks them. The engine cannot take out single series yet:
//! what would have something to do is refused; what has nothing to do succeeds.

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
use crate::query::fabric::Fabric;

use super::Context;
use super::bytes;
use super::condition;
use super::condition::Mode;
use super::pages::Pages;

/// DELETE.
pub(super) async fn delete<F: Fabric>(fabric: &F, delete: &Delete, context: &Context) -> Result<(), String> {
    remove(fabric, "DELETE", delete, context).await
}

/// DROP SERIES.
pub(super) async fn drop_series<F: Fabric>(fabric: &F, delete: &Delete, context: &Context) -> Result<(), String> {
    find(fabric, &context.database)?;
    if delete.condition.as_ref().is_some_and(condition::has_time) {
        return Err("DROP SERIES doesn't support time in WHERE clause".to_owned());
    }
    remove(fabric, "DROP SERIES", delete, context).await
}

/// DROP MEASUREMENT.
pub(super) async fn drop_measurement<F: Fabric>(fabric: &F, name: &str, context: &Context) -> Result<(), String> {
    let database = find(fabric, &context.database)?;
    refuse_if_any(fabric, "DROP MEASUREMENT", &database, vec![Pattern::Name(bytes(name))], None).await
}

async fn remove<F: Fabric>(fabric: &F, what: &str, delete: &Delete, context: &Context) -> Result<(), String> {
    let database = find(fabric, &context.database)?;
    let rest = match &delete.condition {
        Some(condition) => split_condition(condition, context.now_ns, None)?.0,
        None => None,
    };
    let patterns: Vec<Pattern> = delete.sources.iter().filter_map(pattern).collect();
    if let Some(rest) = &rest {
        refuse_fields(fabric, &database, &patterns, rest).await?;
    }
    let filter = rest.map(|rest| condition::translate(&rest, Mode::Index)).transpose()?;
    refuse_if_any(fabric, what, &database, patterns, filter).await
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

/// Refuses a condition on a field of one of the measurements.
async fn refuse_fields<F: Fabric>(
    fabric: &F,
    database: &Database,
    patterns: &[Pattern],
    condition: &Expr,
) -> Result<(), String> {
    let mut names = Vec::new();
    references(condition, &mut names);
    for policy in &database.policies {
        let Some(group) = policy.groups.first() else { continue };
        let request = request(database, patterns.to_vec(), None, Within::Policy(policy.id), Ask::Fields);
        let mut pages = Pages::new(fabric, &[request]);
        while let Some(entry) = pages.next().await? {
            let is_field = |name: &&str| entry.key.item.first().is_some_and(|field| **field == *name.as_bytes());
            if names.iter().any(is_field) {
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

/// Succeeds when no series is concerned.
async fn refuse_if_any<F: Fabric>(
    fabric: &F,
    what: &str,
    database: &Database,
    patterns: Vec<Pattern>,
    condition: Option<Condition>,
) -> Result<(), String> {
    let request = request(database, patterns, condition, Within::Database, Ask::Count);
    match Pages::new(fabric, &[request]).next().await? {
        None => Ok(()),
        Some(_) => {
            Err(format!("{what} is not supported yet: only whole shards, policies and databases can be dropped"))
        }
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
        policies: Vec::new(),
        ask,
        after: None,
        limit: PAGE_ENTRIES,
    }
}
