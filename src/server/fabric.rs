//! The cores as a query sees them: [`Fabric`] over the mesh.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::Clock;
use crate::exec;
use crate::exec::QueryId;
use crate::exec::lookup;
use crate::ingest::WriteParams;
use crate::mesh::DeleteOrder;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::meta::MetaError;
use crate::meta::Outcome;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::Kill;
use crate::model::RunningQuery;
use crate::model::TimeRange;
use crate::query::fabric::Fabric;
use crate::query::fabric::FabricError;
use crate::server::core::Core;

/// Longest wait for one step of a fragment. Steps are bounded, but a selective condition may read much for few rows.
const STEP_WAIT: Duration = Duration::from_secs(300);
/// Longest wait for a change of the catalog.
const CHANGE_WAIT: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub struct MeshFabric {
    core: Rc<Core>,
    /// The request it works for, once that has a number.
    query: Rc<Cell<QueryId>>,
}

impl MeshFabric {
    async fn deleted(&self, core: usize, request: Request) -> Result<(), FabricError> {
        match self.core.mesh().call(core, request, STEP_WAIT).await {
            Ok(Response::Deleted(outcome)) => outcome.map_err(FabricError),
            Ok(Response::Refused(reason)) => Err(FabricError(reason.to_owned())),
            Ok(other) => Err(FabricError(format!("unexpected answer: {other:?}"))),
            Err(error) => Err(FabricError(error.to_string())),
        }
    }

    /// Seen from `core`.
    pub fn new(core: Rc<Core>) -> MeshFabric {
        MeshFabric { core, query: Rc::default() }
    }

    /// Its work is for this request.
    pub fn set_query(&self, query: QueryId) {
        self.query.set(query);
    }
}

impl Fabric for MeshFabric {
    fn core_count(&self) -> usize {
        self.core.mesh().core_count()
    }

    fn catalog(&self) -> Arc<Catalog> {
        self.core.catalog()
    }

    async fn ask(&self, core: usize, request: exec::Request) -> Result<exec::Response, FabricError> {
        match self.core.mesh().call(core, Request::Exec(self.query.get(), request), STEP_WAIT).await {
            Ok(Response::Exec(response)) => Ok(response),
            Ok(Response::Refused(reason)) => Err(FabricError(reason.to_owned())),
            Ok(other) => Err(FabricError(format!("unexpected answer: {other:?}"))),
            Err(error) => Err(FabricError(error.to_string())),
        }
    }

    async fn delete(&self, core: usize, select: lookup::Request, range: TimeRange) -> Result<(), FabricError> {
        self.deleted(core, Request::Delete(Box::new(DeleteOrder { select, range }))).await
    }

    async fn forget(&self, database: DatabaseId, measurements: Vec<Bytes>) -> Result<(), FabricError> {
        // Core 0 first: what the others ask of it once they have forgotten is new to it too.
        for core in 0..self.core_count() {
            self.deleted(core, Request::Forget(database, measurements.clone())).await?;
        }
        Ok(())
    }

    async fn forget_ids(&self, database: DatabaseId) -> Result<(), FabricError> {
        if self.core.config.data.max_series_per_database == 0 {
            return Ok(());
        }
        for answer in self.core.mesh().call_all(|| Request::ForgetIds(database), CHANGE_WAIT).await {
            answer.map_err(|error| FabricError(error.to_string()))?;
        }
        Ok(())
    }

    async fn running(&self) -> Result<Vec<RunningQuery>, FabricError> {
        let mut running = Vec::new();
        for answer in self.core.mesh().call_all(|| Request::Queries, CHANGE_WAIT).await {
            match answer {
                Ok(Response::Queries(queries)) => running.extend(queries),
                Ok(other) => return Err(FabricError(format!("unexpected answer: {other:?}"))),
                Err(error) => return Err(FabricError(error.to_string())),
            }
        }
        Ok(running)
    }

    async fn kill(&self, id: u64) -> Result<Kill, FabricError> {
        let mut found = Kill::Unknown;
        for answer in self.core.mesh().call_all(|| Request::KillQuery(id), CHANGE_WAIT).await {
            match answer {
                Ok(Response::Kill(Kill::Unknown)) => {}
                Ok(Response::Kill(kill)) => found = kill,
                Ok(other) => return Err(FabricError(format!("unexpected answer: {other:?}"))),
                Err(error) => return Err(FabricError(error.to_string())),
            }
        }
        Ok(found)
    }

    async fn change(&self, command: Command) -> Result<Outcome, MetaError> {
        match self.core.mesh().call(0, Request::Change(Box::new(command)), CHANGE_WAIT).await {
            Ok(Response::Changed(outcome)) => outcome,
            Ok(Response::Refused(reason)) => Err(MetaError::Storage(reason.to_owned())),
            Ok(other) => Err(MetaError::Storage(format!("unexpected answer: {other:?}"))),
            Err(error) => Err(MetaError::Storage(error.to_string())),
        }
    }

    async fn run_blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        glommio::executor().spawn_blocking(work).await
    }

    async fn write(&self, database: &str, policy: &str, lines: Vec<u8>) -> Result<(), FabricError> {
        let params = WriteParams {
            database: database.to_owned(),
            policy: policy.to_owned(),
            precision_ns: 1,
            now_ns: self.core.platform.now_ns(),
        };
        let stored = async {
            let mut session = self.core.ingest().begin(params)?;
            session.feed(&lines, true).await?;
            session.finish().await
        };
        stored.await.map(|_| ()).map_err(|error| FabricError(error.to_string()))
    }
}
