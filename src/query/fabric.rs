//! What a query needs of the other cores. The mesh implements it; tests fake it in one thread.

use std::future::Future;
use std::sync::Arc;

use crate::exec;
use crate::exec::lookup;
use crate::meta;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::Kill;
use crate::model::RunningQuery;
use crate::model::TimeRange;

/// A core did not answer: its queue stayed full, it is stopping, or it failed with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FabricError(pub String);

/// The cores of this server, seen from one of them.
pub trait Fabric: Clone + 'static {
    /// Cores that own shards, numbered from 0; a fragment goes to all of them.
    fn core_count(&self) -> usize;

    /// The catalog as this core sees it now.
    fn catalog(&self) -> Arc<meta::Catalog>;

    /// Asks `core` to run a step of a fragment over its shards.
    fn ask(&self, core: usize, request: exec::Request) -> impl Future<Output = Result<exec::Response, FabricError>>;

    /// Asks core 0 to change the catalog; when it returns, every core sees the change and it is durable.
    fn change(&self, command: meta::Command) -> impl Future<Output = Result<meta::Outcome, meta::MetaError>>;

    /// Deletes the points of the selected series of `core` in `range`; returns when that is durable.
    /// A fabric that cannot write says so.
    fn delete(
        &self,
        core: usize,
        select: lookup::Request,
        range: TimeRange,
    ) -> impl Future<Output = Result<(), FabricError>> {
        let _ = (core, select, range);
        async { Err(FabricError("deleting is not available here".into())) }
    }

    /// Forgets the fields of measurements that have no series left on any core.
    fn forget(&self, database: DatabaseId, measurements: Vec<Bytes>) -> impl Future<Output = Result<(), FabricError>> {
        let _ = (database, measurements);
        async { Err(FabricError("deleting is not available here".into())) }
    }

    /// Stores points given as line protocol (ns), the way a write request does; returns when they are durable.
    /// A fabric that cannot write says so.
    fn write(&self, database: &str, policy: &str, lines: Vec<u8>) -> impl Future<Output = Result<(), FabricError>> {
        let _ = (database, policy, lines);
        async { Err(FabricError("writing query results is not available here".into())) }
    }

    /// Forgets, on every core, which ids the series of a database have: some may be gone.
    fn forget_ids(&self, database: DatabaseId) -> impl Future<Output = Result<(), FabricError>> {
        let _ = database;
        async { Ok(()) }
    }

    /// The requests that run now on any core.
    fn running(&self) -> impl Future<Output = Result<Vec<RunningQuery>, FabricError>> {
        async { Ok(Vec::new()) }
    }

    /// Ends a running request.
    fn kill(&self, id: u64) -> impl Future<Output = Result<Kill, FabricError>> {
        let _ = id;
        async { Ok(Kill::Unknown) }
    }

    /// Runs `work`, which blocks (hashing of a password), where it holds up no core. Tests run it in place.
    fn run_blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> impl Future<Output = R> {
        async move { work() }
    }
}
