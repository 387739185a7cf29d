//! Fills in what a statement leaves to the request: databases and policies of measurements.
//!
//! DELETE and DROP SERIES stay as they are: their text cannot name a database. SHOW statements over series keep their
//! sources too: what they make of a policy differs from one to the next.

use crate::influxql::ast::CreateContinuousQuery;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::Select;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::meta::Catalog;

/// `statement` with its names filled in; `database` and `policy` are the request's.
pub fn normalised(statement: &Statement, catalog: &Catalog, database: &str, policy: &str) -> Result<Statement, String> {
    let mut normalised = statement.clone();
    match &mut normalised {
        Statement::Select(select) | Statement::Explain { select, .. } => {
            normalise_select(select, catalog, database, policy)?;
        }
        Statement::CreateContinuousQuery(query) => {
            let CreateContinuousQuery { database: own, select, .. } = &mut **query;
            let database = if database.is_empty() { own.as_str() } else { database };
            normalise_select(select, catalog, database, policy)?;
        }
        Statement::ShowRetentionPolicies { database: own } => default_to(own, database),
        Statement::ShowMeasurements(show) => default_to(&mut show.show.database, database),
        Statement::ShowSeries(show)
        | Statement::ShowFieldKeys(show)
        | Statement::ShowTagKeys { show, .. }
        | Statement::ShowTagValues { show, .. } => default_to(&mut show.database, database),
        Statement::ShowCardinality(show) => default_to(&mut show.show.database, database),
        _ => {}
    }
    Ok(normalised)
}

/// Fills in the sources of a SELECT, those of subqueries and the INTO target.
pub fn normalise_select(select: &mut Select, catalog: &Catalog, database: &str, policy: &str) -> Result<(), String> {
    if let Some(target) = &mut select.target {
        normalise_measurement(target, catalog, database, policy)?;
    }
    for source in &mut select.sources {
        match source {
            Source::Measurement(measurement) => normalise_measurement(measurement, catalog, database, policy)?,
            Source::Subquery(inner) => normalise_select(inner, catalog, database, policy)?,
        }
    }
    Ok(())
}

/// Fills in database and policy of one measurement; the policy may be one that does not exist.
pub fn normalise_measurement(
    measurement: &mut Measurement,
    catalog: &Catalog,
    database: &str,
    policy: &str,
) -> Result<(), String> {
    if !measurement.is_target && measurement.name.is_empty() && measurement.regex.is_none() {
        return Err("invalid measurement".to_owned());
    }
    if measurement.database.is_empty() {
        database.clone_into(&mut measurement.database);
    }
    if measurement.database.is_empty() {
        return Err("database name required".to_owned());
    }
    let name = &measurement.database;
    let found = catalog.database(name).ok_or_else(|| format!("database not found: {name}"))?;
    if measurement.policy.is_empty() {
        let policy = if policy.is_empty() { &found.default_policy } else { policy };
        policy.clone_into(&mut measurement.policy);
    }
    if measurement.policy.is_empty() {
        return Err(format!("default retention policy not set for: {name}"));
    }
    Ok(())
}

fn default_to(own: &mut Option<String>, database: &str) {
    if own.as_ref().is_none_or(String::is_empty) {
        *own = Some(database.to_owned());
    }
}
