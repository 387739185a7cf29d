//! The cores as a query sees them: [`Fabric`] over the mesh.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::exec;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::meta::MetaError;
use crate::meta::Outcome;
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
}

impl MeshFabric {
    /// Seen from `core`.
    pub fn new(core: Rc<Core>) -> MeshFabric {
        MeshFabric { core }
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
        match self.core.mesh().call(core, Request::Exec(request), STEP_WAIT).await {
            Ok(Response::Exec(response)) => Ok(response),
            Ok(Response::Refused(reason)) => Err(FabricError(reason.to_owned())),
            Ok(other) => Err(FabricError(format!("unexpected answer: {other:?}"))),
            Err(error) => Err(FabricError(error.to_string())),
        }
    }

    async fn change(&self, command: Command) -> Result<Outcome, MetaError> {
        match self.core.mesh().call(0, Request::Change(Box::new(command)), CHANGE_WAIT).await {
            Ok(Response::Changed(outcome)) => outcome,
            Ok(Response::Refused(reason)) => Err(MetaError::Storage(reason.to_owned())),
            Ok(other) => Err(MetaError::Storage(format!("unexpected answer: {other:?}"))),
            Err(error) => Err(MetaError::Storage(error.to_string())),
        }
    }

    async fn write(&self, database: &str, policy: &str, lines: Vec<u8>) -> Result<(), FabricError> {
        let failed = |error: WriteError| FabricError(error.to_string());
        let (database, policy) = (database.to_owned(), policy.to_owned());
        let params = WriteParams { database, policy, precision_ns: 1, now_ns: 0 };
        let mut session = self.core.ingest().begin(params).map_err(failed)?;
        let mut start = 0;
        while start < lines.len() {
            match session.feed(&lines[start..], true).await.map_err(failed)? {
                0 => return Err(FabricError("a row of the result is too long to be written".into())),
                taken => start += taken,
            }
        }
        session.finish().await.map(|_| ()).map_err(failed)
    }

    async fn run_blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        glommio::executor().spawn_blocking(work).await
    }
}
