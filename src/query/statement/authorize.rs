//! Which privilege each statement needs, and whether the caller has it.
//!
//! Checked for all statements of a request before the first one runs; the texts follow `error authorizing query: `.

use std::fmt::Display;

use crate::influxql::ast::CardinalityOf;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::Select;
use crate::influxql::ast::ShowCardinality;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::meta::Catalog;
use crate::meta::Privilege;
use crate::query::request::Caller;

/// One thing the caller must be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be admin.
    Admin,
    /// A privilege on a database; an empty name is the request's.
    On(Privilege, String),
}

/// Whether `caller` may run all of `statements`; `database` is the request's.
pub fn authorize(statements: &[Statement], caller: &Caller, catalog: &Catalog, database: &str) -> Result<(), String> {
    let name = match caller {
        Caller::Trusted => return Ok(()),
        Caller::NoAdminYet if !catalog.users().is_empty() => return Err("no user provided".to_owned()),
        Caller::NoAdminYet => {
            let first_admin = matches!(statements.first(), Some(Statement::CreateUser { admin: true, .. }));
            let refusal = || "create admin user first or disable authentication".to_owned();
            return if first_admin { Ok(()) } else { Err(refusal()) };
        }
        Caller::User(name) => name,
    };
    let user = catalog.user(name).ok_or_else(|| "no user provided".to_owned())?;
    if user.admin {
        return Ok(());
    }
    for statement in statements {
        for need in needs(statement) {
            let (allowed, wanted) = match &need {
                Need::Admin => (false, "admin privilege".to_owned()),
                Need::On(privilege, own) => {
                    let on = if own.is_empty() { database } else { own };
                    (user.may(*privilege, on), format!("{} on {on}", privilege.name()))
                }
            };
            if !allowed {
                return Err(refusal(name, statement, &wanted));
            }
        }
    }
    Ok(())
}

fn refusal(user: &str, statement: &dyn Display, wanted: &str) -> String {
    format!("{user} not authorized to execute statement '{statement}', requires {wanted}")
}

/// What `statement` needs, in the order in which it is checked.
pub fn needs(statement: &Statement) -> Vec<Need> {
    use Statement::*;
    let read = |database: &Option<String>| vec![Need::On(Privilege::Read, database.clone().unwrap_or_default())];
    let write = |database: &str| vec![Need::On(Privilege::Write, database.to_owned())];
    match statement {
        ShowDatabases => Vec::new(),
        Select(select) | Explain { select, .. } => select_needs(select),
        Delete(_) | DropSeries(_) => write(""),
        DropRetentionPolicy { database, .. } | DropContinuousQuery { database, .. } => write(database),
        CreateContinuousQuery(query) => {
            let mut needs = vec![Need::On(Privilege::Read, query.database.clone())];
            let target = query.select.target.as_ref().filter(|target| !target.database.is_empty());
            needs.extend(target.map(|target| Need::On(Privilege::Write, target.database.clone())));
            needs
        }
        ShowRetentionPolicies { database } => read(database),
        ShowMeasurements(show) => read(&show.show.database),
        ShowSeries(show) | ShowFieldKeys(show) | ShowTagKeys { show, .. } | ShowTagValues { show, .. } => {
            read(&show.database)
        }
        ShowCardinality(show) => cardinality_needs(show),
        ShowContinuousQueries | ShowQueries => read(&None),
        _ => vec![Need::Admin],
    }
}

fn select_needs(select: &Select) -> Vec<Need> {
    let mut needs = source_needs(&select.sources);
    if let Some(target) = &select.target {
        needs.push(Need::On(Privilege::Write, target.database.clone()));
    }
    needs
}

fn source_needs(sources: &[Source]) -> Vec<Need> {
    let of = |source: &Source| match source {
        Source::Measurement(Measurement { database, .. }) => vec![Need::On(Privilege::Read, database.clone())],
        Source::Subquery(inner) => source_needs(&inner.sources),
    };
    sources.iter().flat_map(of).collect()
}

fn cardinality_needs(show: &ShowCardinality) -> Vec<Need> {
    let estimable = matches!(show.of, CardinalityOf::Series | CardinalityOf::Measurement);
    if estimable && !show.exact {
        return vec![Need::On(Privilege::Read, show.show.database.clone().unwrap_or_default())];
    }
    source_needs(&show.show.sources)
}
