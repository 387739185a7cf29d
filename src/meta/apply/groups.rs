//! Shard groups: made when something is written into them, dropped when they are past retention.

use std::sync::Arc;

use crate::limits::TIME_MAX;
use crate::meta::alignment::window;
use crate::meta::catalog::Catalog;
use crate::meta::catalog::Group;
use crate::meta::catalog::Policy;
use crate::meta::command::Dropped;
use crate::meta::command::MetaError;
use crate::meta::command::Outcome;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::Timestamp;

pub(super) fn create_groups(
    catalog: &mut Catalog,
    database: DatabaseId,
    policy: PolicyId,
    times: &[Timestamp],
) -> Result<Outcome, MetaError> {
    let mut last_group = catalog.last_group;
    let mut outcome = Outcome::default();
    let database = catalog.databases.values_mut().find(|found| found.id == database);
    let database = database.ok_or_else(|| MetaError::DatabaseNotFound(String::new()))?;
    let found = Arc::make_mut(database).policies.iter_mut().find(|found| found.id == policy);
    let policy = found.ok_or_else(|| MetaError::PolicyNotFound(String::new()))?;
    for &time in times {
        create_group(policy, time, &mut last_group, &mut outcome);
    }
    catalog.last_group = last_group;
    Ok(outcome)
}

pub(super) fn drop_groups(catalog: &mut Catalog, is_dropped: impl Fn(&Policy, &Group) -> bool) -> Outcome {
    let mut outcome = Outcome::default();
    for database in catalog.databases.values_mut() {
        let affected = |policy: &Policy| policy.groups.iter().any(|group| is_dropped(policy, group));
        if !database.policies.iter().any(affected) {
            continue;
        }
        let database = Arc::make_mut(database);
        for policy in &mut database.policies {
            let (gone, kept) = policy.groups.iter().partition(|group| is_dropped(policy, group));
            let gone: Vec<Group> = gone;
            policy.groups = kept;
            outcome.dropped.extend(gone.iter().map(|group| Dropped::Group(database.id, policy.id, group.id)));
        }
    }
    outcome
}

pub(super) fn expire(catalog: &mut Catalog, now: Timestamp) -> Outcome {
    drop_groups(catalog, |policy, group| {
        policy.duration > 0 && i128::from(group.end) + i128::from(policy.duration) < i128::from(now)
    })
}

pub(super) fn precreate(catalog: &mut Catalog, now: Timestamp, advance_ns: i64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut last_group = catalog.last_group;
    let until = now.saturating_add(advance_ns);
    let due = |policy: &Policy| {
        let last = policy.groups.last()?;
        (now <= last.end && last.end <= until && last.end < i64::MAX).then_some(last.end)
    };
    for database in catalog.databases.values_mut() {
        if !database.policies.iter().any(|policy| due(policy).is_some()) {
            continue;
        }
        for policy in &mut Arc::make_mut(database).policies {
            if let Some(time) = due(policy) {
                create_group(policy, time, &mut last_group, &mut outcome);
            }
        }
    }
    catalog.last_group = last_group;
    outcome
}

/// Makes the group of `time` unless there is one. After the shard duration was changed an aligned window may overlap
/// older groups: it is cut so that it does not, since a partition owns its time alone.
fn create_group(policy: &mut Policy, time: Timestamp, last_group: &mut u64, outcome: &mut Outcome) {
    if time > TIME_MAX || policy.group_for(time).is_some() {
        return;
    }
    let (mut start, mut end) = window(time, policy.shard_group_duration);
    let position = policy.groups.partition_point(|group| group.start <= time);
    if let Some(before) = position.checked_sub(1).and_then(|before| policy.groups.get(before)) {
        start = start.max(before.end);
    }
    if let Some(after) = policy.groups.get(position) {
        end = end.min(after.start);
    }
    assert!(start <= time && time < end, "a group holds the time that it was made for");
    *last_group += 1;
    let group = Group { id: GroupId(*last_group), start, end };
    policy.groups.insert(position, group);
    outcome.created.push(group);
}
