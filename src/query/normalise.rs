//! Gives every measurement of a statement its database and policy.

use crate::influxql::ast::Measurement;
use crate::influxql::ast::Select;
use crate::influxql::ast::Source;
use crate::meta::Catalog;

/// What stands in for what a statement does not say.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// Database of the request; may be empty.
    pub database: &'a str,
    /// Policy of the request; may be empty.
    pub policy: &'a str,
}

/// Fills in database and policy of every source and of the target, subqueries included.
pub fn select(select: &mut Select, defaults: Defaults<'_>, catalog: &Catalog) -> Result<(), String> {
    if let Some(target) = &mut select.target {
        measurement(target, defaults, catalog)?;
    }
    sources(&mut select.sources, defaults, catalog)
}

/// The same for a FROM clause.
pub fn sources(sources: &mut [Source], defaults: Defaults<'_>, catalog: &Catalog) -> Result<(), String> {
    for source in sources {
        match source {
            Source::Measurement(found) => measurement(found, defaults, catalog)?,
            Source::Subquery(inner) => select(inner, defaults, catalog)?,
        }
    }
    Ok(())
}

/// The same for one measurement.
pub fn measurement(found: &mut Measurement, defaults: Defaults<'_>, catalog: &Catalog) -> Result<(), String> {
    if found.name.is_empty() && found.regex.is_none() && !found.is_target {
        return Err("invalid measurement".into());
    }
    if found.database.is_empty() {
        found.database = defaults.database.to_owned();
    }
    if found.database.is_empty() {
        return Err("database name required".into());
    }
    let Some(database) = catalog.database(&found.database) else {
        return Err(format!("database not found: {}", found.database));
    };
    if found.policy.is_empty() {
        found.policy = match defaults.policy {
            "" if database.default_policy.is_empty() => {
                return Err(format!("default retention policy not set for: {}", found.database));
            }
            "" => database.default_policy.clone(),
            policy => policy.to_owned(),
        };
    }
    Ok(())
}

/// Names that look like tables of the server's own and are none.
pub fn refuse_system_sources(sources: &[Source]) -> Result<(), String> {
    for source in sources {
        let Source::Measurement(measurement) = source else { continue };
        let instead = match measurement.name.as_str() {
            "_fieldKeys" => "SHOW FIELD KEYS",
            "_measurements" => "SHOW MEASUREMENTS",
            "_series" => "SHOW SERIES",
            "_tagKeys" => "SHOW TAG KEYS",
            "_tags" => "SHOW TAG VALUES",
            "_name" | "_tagKey" => "the appropriate meta command",
            _ => continue,
        };
        let name = &measurement.name;
        return Err(format!("unable to use system source '{name}': use {instead} instead"));
    }
    Ok(())
}
