//! What only core 0 owns: the catalog's next state, its files, and the types of all fields.
//!
//! Owns:  the snapshots on disk, the queue of changes, the [`SchemaRegistry`].
//! In:    commands and claims of all cores.
//! Out:   outcomes, once the new catalog is durable and every core has it.
//!
//! Changes are made one after the other by one task. All that wait share one snapshot and one round to the cores, as
//! writes share a sync: a backfill over many shard groups asks for many changes at once.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;

use crate::disk::Clock;
use crate::disk::real::RealDisk;
use crate::mesh::FieldClaim;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::meta::Dropped;
use crate::meta::MetaError;
use crate::meta::Outcome;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::series::Held;
use crate::series::SchemaRegistry;
use crate::server::core::Core;
use crate::server::snapshots::Snapshots;
use crate::shard::PartitionKey;
use crate::shard::SchemaFact;
use crate::stdx::notify::Notify;

/// How long the cores get to take a new catalog.
const BROADCAST_WAIT: Duration = Duration::from_secs(10);

type Answer = Result<Outcome, MetaError>;

/// See the module.
#[derive(Debug)]
pub struct Owner {
    snapshots: RefCell<Option<Snapshots<RealDisk>>>,
    registry: RefCell<SchemaRegistry>,
    /// Shard groups with types that were not observed yet.
    cold: RefCell<BTreeSet<PartitionKey>>,
    is_observed: Cell<bool>,
    observed: Notify,
    waiting: RefCell<Vec<(Command, oneshot::Sender<Answer>)>>,
    work: Notify,
}

impl Owner {
    /// Starts with what was loaded.
    pub fn new(snapshots: Snapshots<RealDisk>) -> Owner {
        Owner {
            snapshots: RefCell::new(Some(snapshots)),
            registry: RefCell::default(),
            cold: RefCell::default(),
            is_observed: Cell::new(false),
            observed: Notify::default(),
            waiting: RefCell::default(),
            work: Notify::default(),
        }
    }

    /// Takes in the types that a core found in its data.
    pub fn observe(&self, facts: &[SchemaFact]) {
        let mut registry = self.registry.borrow_mut();
        for fact in facts {
            let SchemaFact { database, policy, group, measurement, field, field_type } = fact;
            registry.observe(*database, *policy, *group, measurement, field, *field_type);
        }
    }

    /// The types in these shard groups are observed later; until then nothing is claimed there.
    pub fn expect(&self, cold: Vec<PartitionKey>) {
        self.cold.borrow_mut().extend(cold);
    }

    /// Everything was observed.
    pub fn expect_nothing(&self) {
        self.cold.borrow_mut().clear();
        self.is_observed.set(true);
        self.observed.notify_all();
    }

    /// The types that hold for the fields of each claim.
    pub async fn claim(&self, claims: &[FieldClaim]) -> Vec<Vec<Option<Held>>> {
        let key =
            |claim: &FieldClaim| PartitionKey { database: claim.database, policy: claim.policy, group: claim.group };
        loop {
            let observed = self.observed.notified();
            let is_cold = claims.iter().any(|claim| self.cold.borrow().contains(&key(claim)));
            if !is_cold {
                break;
            }
            observed.await;
        }
        let mut registry = self.registry.borrow_mut();
        let mut claim = |claim: &FieldClaim| {
            let fields: Vec<(&[u8], FieldType)> = claim.fields.iter().map(|(name, asked)| (&**name, *asked)).collect();
            registry.claim(claim.database, claim.policy, claim.group, &claim.measurement, &fields)
        };
        claims.iter().map(&mut claim).collect()
    }

    /// Measurements lost their last series: other types may be written from now on. What a start observes comes before.
    pub async fn forget_measurements(&self, database: DatabaseId, measurements: &[Bytes]) {
        loop {
            let observed = self.observed.notified();
            if self.is_observed.get() {
                break;
            }
            observed.await;
        }
        let mut registry = self.registry.borrow_mut();
        measurements.iter().for_each(|measurement| registry.forget_measurement(database, measurement));
    }

    /// Measurements of `database` that any shard group has.
    pub fn measurement_count(&self, database: DatabaseId) -> u64 {
        self.registry.borrow().measurement_count(database)
    }

    /// Changes the catalog; ends when the change is durable and every core has it.
    pub async fn change(&self, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().push((command, answer));
        self.work.notify_all();
        answered.await.unwrap_or_else(|_| Err(MetaError::Storage("server is stopping".to_owned())))
    }
}

/// Makes the changes that are asked for, for ever.
pub async fn change_loop(core: Rc<Core>) {
    let owner = core.owner.get().expect("spawned where the owner is");
    loop {
        let changed = owner.work.notified();
        let waiting = owner.waiting.take();
        if waiting.is_empty() {
            changed.await;
        } else {
            change_all(&core, owner, waiting).await;
        }
    }
}

async fn change_all(core: &Core, owner: &Owner, waiting: Vec<(Command, oneshot::Sender<Answer>)>) {
    let before = core.catalog();
    let mut catalog = Arc::clone(&before);
    let now = core.platform.now_ns();
    let mut answers = Vec::with_capacity(waiting.len());
    for (command, answer) in waiting {
        let outcome = meta::apply(&catalog, &command, now).map(|(next, outcome)| {
            if outcome.changed {
                catalog = Arc::new(next);
            }
            outcome
        });
        answers.push((answer, outcome));
    }
    let published = if Arc::ptr_eq(&catalog, &before) { Ok(()) } else { publish(core, owner, &catalog).await };
    for (answer, outcome) in answers {
        let outcome = match (&published, outcome) {
            // Also when nothing changed by it: what it found may have come from a change that failed.
            (Err(error), Ok(_)) => Err(error.clone()),
            (_, outcome) => outcome,
        };
        if let Ok(outcome) = &outcome {
            owner.forget(&outcome.dropped);
        }
        // The one who asked may have stopped waiting.
        let _ = answer.send(outcome);
    }
}

async fn publish(core: &Core, owner: &Owner, catalog: &Arc<Catalog>) -> Result<(), MetaError> {
    let mut snapshots = owner.snapshots.take().expect("one task changes the catalog");
    let saved = snapshots.save(&meta::encode(catalog)).await;
    owner.snapshots.replace(Some(snapshots));
    if let Err(error) = saved {
        tracing::error!("the catalog could not be stored: {error}");
        return Err(MetaError::Storage(format!("the catalog could not be stored: {error}")));
    }
    let answers = core.mesh().call_all(|| Request::Catalog(Arc::clone(catalog)), BROADCAST_WAIT).await;
    for answer in answers {
        match answer {
            Ok(Response::Done) => {}
            Ok(other) => return Err(MetaError::Storage(format!("unexpected answer to a new catalog: {other:?}"))),
            Err(error) => return Err(MetaError::Storage(format!("the change is stored, but {error}"))),
        }
    }
    Ok(())
}

impl Owner {
    fn forget(&self, dropped: &[Dropped]) {
        let mut registry = self.registry.borrow_mut();
        for dropped in dropped {
            match *dropped {
                Dropped::Database(database) => registry.forget_database(database),
                // Identities are never used again, so types of a policy that is gone decide nothing.
                Dropped::Policy(..) => {}
                Dropped::Group(database, policy, group) => registry.forget_group(database, policy, group),
            }
        }
    }
}
