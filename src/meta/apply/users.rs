//! Users and what they may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::meta::catalog::Catalog;
use crate::meta::catalog::Privilege;
use crate::meta::catalog::User;
use crate::meta::command::MetaError;
use crate::meta::command::Outcome;

/// Adds a user. Whether a repeat names the same password only a comparison of hashes tells, which blocks; so the
/// statement decides that before it sends the command, and a name that is there is refused here.
pub(super) fn create(catalog: &mut Catalog, name: &str, hash: &str, admin: bool) -> Result<Outcome, MetaError> {
    if name.is_empty() {
        return Err(MetaError::UsernameRequired);
    }
    if catalog.user(name).is_some() {
        return Err(MetaError::UserExists);
    }
    let user = User { name: name.to_owned(), hash: hash.to_owned(), admin, privileges: BTreeMap::new() };
    catalog.users.push(Arc::new(user));
    Ok(Outcome::default())
}

pub(super) fn drop(catalog: &mut Catalog, name: &str) -> Result<Outcome, MetaError> {
    let position = catalog.users.iter().position(|user| user.name == name).ok_or(MetaError::UserNotFound)?;
    catalog.users.remove(position);
    Ok(Outcome::default())
}

pub(super) fn change(catalog: &mut Catalog, name: &str, edit: impl FnOnce(&mut User)) -> Result<Outcome, MetaError> {
    let user = catalog.users.iter_mut().find(|user| user.name == name).ok_or(MetaError::UserNotFound)?;
    edit(Arc::make_mut(user));
    Ok(Outcome::default())
}

/// The last grant on a database stands alone: WRITE after READ leaves WRITE.
pub(super) fn grant(
    catalog: &mut Catalog,
    user: &str,
    database: &str,
    privilege: Privilege,
) -> Result<Outcome, MetaError> {
    set(catalog, user, database, |_| privilege)
}

pub(super) fn revoke(
    catalog: &mut Catalog,
    user: &str,
    database: &str,
    privilege: Privilege,
) -> Result<Outcome, MetaError> {
    set(catalog, user, database, |given| given.without(privilege))
}

fn set(
    catalog: &mut Catalog,
    user: &str,
    database: &str,
    next: impl FnOnce(Privilege) -> Privilege,
) -> Result<Outcome, MetaError> {
    let has_database = catalog.database(database).is_some();
    if catalog.user(user).is_some() && !has_database {
        return Err(MetaError::DatabaseNotFound(database.to_owned()));
    }
    change(catalog, user, |user| {
        let given = user.privilege(database).unwrap_or(Privilege::None);
        user.privileges.insert(database.to_owned(), next(given));
    })
}
