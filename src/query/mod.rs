//! One query over many cores: statements, plans, scatter, gather.

pub mod compile;
pub mod fabric;
pub mod request;
pub mod run;
pub mod select;
pub mod statement;

pub use run::Options;
pub use run::QueryRun;
pub use run::run;

use crate::meta::Catalog;
use crate::model::DatabaseId;
use crate::model::PolicyId;

/// The identities of a database and one of its policies.
pub fn place(catalog: &Catalog, database: &str, policy: &str) -> Result<(DatabaseId, PolicyId), String> {
    let found = catalog.database(database).ok_or_else(|| format!("database not found: {database}"))?;
    let policy = found.policy(policy).ok_or_else(|| format!("retention policy not found: {policy}"))?;
    Ok((found.id, policy.id))
}
