//! The cores as the write path sees them: [`Owners`] over the mesh.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::batch::Batch;
use crate::ingest::Limits;
use crate::ingest::WriteError;
use crate::ingest::owners::Claim;
use crate::ingest::owners::Owners;
use crate::ingest::owners::Target;
use crate::mesh::FieldClaim;
use crate::mesh::MeshError;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::Timestamp;
use crate::series::Held;
use crate::server::core::Core;
use crate::shard;
use crate::shard::TagAnswer;
use crate::shard::TagAsk;
use crate::stdx::budget::Taken;

/// How long changes of the catalog and claims may take; a new catalog has to be synced to disk.
const CHANGE_WAIT: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub struct CoreOwners {
    core: Rc<Core>,
}

impl fmt::Debug for CoreOwners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreOwners").field("core", &self.core.number).finish()
    }
}

impl CoreOwners {
    /// Seen from `core`.
    pub fn new(core: Rc<Core>) -> CoreOwners {
        CoreOwners { core }
    }

    async fn call(&self, core: usize, request: Request, within: Duration) -> Result<Response, WriteError> {
        self.core.mesh().call(core, request, within).await.map_err(|error| match error {
            MeshError::Busy(_) => WriteError::Overloaded(error.to_string()),
            MeshError::Late(_) => WriteError::Timeout,
            MeshError::Gone(_) => WriteError::Storage(error.to_string()),
        })
    }
}

impl Owners for CoreOwners {
    fn shard_count(&self) -> u16 {
        self.core.shard_count
    }

    fn core_count(&self) -> u16 {
        u16::try_from(self.core.mesh().core_count()).expect("boot refuses more cores than u16 holds")
    }

    fn target(&self, database: &str, policy: &str) -> Result<Rc<Target>, WriteError> {
        self.core.target(database, policy, |catalog| find_target(catalog, database, policy))
    }

    async fn create_groups(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        times: Vec<Timestamp>,
    ) -> Result<(), WriteError> {
        let command = Command::CreateGroups { database, policy, times };
        match self.call(0, Request::Change(Box::new(command)), CHANGE_WAIT).await? {
            Response::Changed(Ok(_)) => Ok(()),
            Response::Changed(Err(error)) => Err(WriteError::Storage(error.to_string())),
            other => Err(unexpected(&other)),
        }
    }

    async fn claim(&self, claims: Vec<Claim>) -> Result<Vec<Vec<Option<Held>>>, WriteError> {
        let claims = claims.into_iter().map(|claim| {
            let Claim { database, policy, group, measurement, fields } = claim;
            FieldClaim { database, policy, group, measurement, fields }
        });
        match self.call(0, Request::ClaimFields(claims.collect()), CHANGE_WAIT).await? {
            Response::Claimed(types) => Ok(types),
            other => Err(unexpected(&other)),
        }
    }

    fn limits(&self) -> Limits {
        let data = &self.core.config.data;
        Limits { series_max: data.max_series_per_database, values_max: data.max_values_per_tag }
    }

    async fn known_series(
        &self,
        core: u16,
        database: DatabaseId,
        keys: Vec<(u16, Bytes)>,
    ) -> Result<Vec<bool>, WriteError> {
        match self.call(usize::from(core), Request::KnownSeries(database, keys), CHANGE_WAIT).await? {
            Response::Known(known) => Ok(known),
            other => Err(unexpected(&other)),
        }
    }

    async fn tag_values(
        &self,
        core: u16,
        database: DatabaseId,
        asks: Vec<TagAsk>,
    ) -> Result<Vec<TagAnswer>, WriteError> {
        match self.call(usize::from(core), Request::TagValues(database, asks), CHANGE_WAIT).await? {
            Response::TagValues(answers) => Ok(answers),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(
        &self,
        core: u16,
        batches: Vec<Batch>,
        forgets: u64,
        room: Taken,
    ) -> Result<Vec<Vec<SeriesId>>, WriteError> {
        let within = match self.core.config.coordinator.write_timeout_ns {
            // Zero is for ever in stock; an hour is long enough for anybody still to be there.
            0 => Duration::from_secs(3600),
            ns => Duration::from_nanos(ns),
        };
        match self.call(usize::from(core), Request::Write(batches, forgets, room), within).await? {
            Response::Written(outcome) => outcome.map_err(write_error),
            other => Err(unexpected(&other)),
        }
    }
}

fn find_target(catalog: &Catalog, database: &str, policy: &str) -> Result<Target, WriteError> {
    let found = catalog.database(database).ok_or_else(|| WriteError::DatabaseNotFound(database.to_owned()))?;
    let missing =
        || WriteError::PolicyNotFound(if policy.is_empty() { &found.default_policy } else { policy }.to_owned());
    let policy = found.policy(policy).ok_or_else(missing)?;
    Ok(Target {
        database: found.id,
        policy: policy.id,
        duration_ns: policy.duration,
        groups: policy.groups.iter().map(|group| (group.id, group.range())).collect(),
        series: found.series.clone(),
        forgets: found.forgets.clone(),
    })
}

fn write_error(error: shard::WriteError) -> WriteError {
    let text = error.to_string();
    match error {
        shard::WriteError::Overloaded(_) | shard::WriteError::Stopping => WriteError::Overloaded(text),
        shard::WriteError::Gone | shard::WriteError::Log(_) | shard::WriteError::Malformed(_) => {
            WriteError::Storage(text)
        }
    }
}

fn unexpected(response: &Response) -> WriteError {
    match response {
        Response::Refused(reason) => WriteError::Overloaded((*reason).to_owned()),
        other => WriteError::Storage(format!("unexpected answer: {other:?}")),
    }
}
