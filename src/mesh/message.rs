//! The closed list of what one core asks of another, and what it is answered.
//!
//! Owned values only. Requests to `core 0` concern what only core 0 owns; the others concern the asked core's shards
//! or its share of start and stop. Each is a leaf: it is answered without asking further cores, but for `Change`, for
//! which core 0 sends `Catalog` to all, and `Catalog` is a leaf.

use std::any::Any;
use std::sync::Arc;

use crate::batch::Batch;
use crate::exec;
use crate::mesh::Weigh;
use crate::meta;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::Kill;
use crate::model::PolicyId;
use crate::model::RunningQuery;
use crate::model::TimeRange;
use crate::observe::Statistic;
use crate::observe::requests::RequestCount;
use crate::series::Held;
use crate::shard;
use crate::stdx::budget::Taken;

/// What one core asks of another.
#[derive(Debug)]
pub enum Request {
    /// Store these, all in shards of the asked core, with where the database's counter of forgotten ids stood before;
    /// room for new series may have been taken for them. Answer: [`Response::Written`].
    Write(Vec<Batch>, u64, Taken),
    /// Which of these keys are series of the asked core's shards? Answer: [`Response::Known`].
    KnownSeries(DatabaseId, Vec<(u16, Bytes)>),
    /// Which of these tag values does the asked core have? Answer: [`Response::TagValues`].
    TagValues(DatabaseId, Vec<shard::TagAsk>),
    /// Forget which ids the series of this database have. Answer: [`Response::Done`].
    ForgetIds(DatabaseId),
    /// Core 0: which types do these fields have, or get now? Answer: [`Response::Claimed`].
    ClaimFields(Vec<FieldClaim>),
    /// Core 0: change the catalog. Answered when all cores have the new one: [`Response::Changed`].
    Change(Box<meta::Command>),
    /// Use this catalog from now on. Answer: [`Response::Done`].
    Catalog(Arc<meta::Catalog>),
    /// A step of a fragment for a query. Answer: [`Response::Exec`].
    Exec(exec::QueryId, exec::Request),
    /// Nobody waits for this query any more. Answer: [`Response::Done`].
    StopQuery(exec::QueryId),
    /// The requests with statements that run on this core. Answer: [`Response::Queries`].
    Queries,
    /// End one of them. Answer: [`Response::Kill`].
    KillQuery(u64),
    /// Delete points of these shards. Answered when that is durable and seen by all: [`Response::Deleted`].
    Delete(Box<DeleteOrder>),
    /// Measurements have no series left on any core: forget their fields, core 0 first. Answer: [`Response::Deleted`].
    Forget(DatabaseId, Vec<Bytes>),
    /// The statistics of this core. Answer: [`Response::Statistics`].
    Statistics,
    /// Count requests by sender, under this number, until asked for the result. Answer: [`Response::Done`].
    CountRequests(u64),
    /// End that. Answer: [`Response::CountedRequests`].
    CountedRequests(u64),
    /// Serve this connection. Answered when it was taken: [`Response::Done`].
    Connection(Parcel),
    /// Open the shards. Answer: [`Response::Opened`].
    Open(Box<Opening>),
    /// Open what that left for later. Answer: [`Response::Opened`].
    OpenCold,
    /// Finish the requests of this core's connections, and close them. Answer: [`Response::Done`].
    Drain,
    /// Write everything to segments and close the shards. Answer: [`Response::Done`].
    Close,
    /// Leave the mesh and end. Answer: [`Response::Done`].
    Leave,
}

/// What a core answers.
#[derive(Debug)]
pub enum Response {
    /// It is done.
    Done,
    /// To [`Request::Write`]: the ids of each batch's keys.
    Written(Result<Vec<shard::Assigned>, shard::WriteError>),
    /// To [`Request::KnownSeries`], in order.
    Known(Vec<bool>),
    /// To [`Request::TagValues`], in order.
    TagValues(Vec<shard::TagAnswer>),
    /// To [`Request::ClaimFields`]: for each claim, the types that hold, in the order of its fields.
    Claimed(Vec<Vec<Option<Held>>>),
    /// To [`Request::Delete`] and [`Request::Forget`].
    Deleted(Result<(), String>),
    /// To [`Request::Change`].
    Changed(Result<meta::Outcome, meta::MetaError>),
    /// To [`Request::Exec`].
    Exec(exec::Response),
    /// To [`Request::Queries`].
    Queries(Vec<RunningQuery>),
    /// To [`Request::KillQuery`].
    Kill(Kill),
    /// To [`Request::Statistics`].
    Statistics(Vec<Statistic>),
    /// To [`Request::CountedRequests`].
    CountedRequests(Vec<RequestCount>),
    /// To [`Request::Open`].
    Opened(Result<Box<Opened>, String>),
    /// The core cannot do this now, with the reason: it has not opened its shards, or it is not core 0.
    Refused(&'static str),
}

/// Fields of one measurement in one shard group, as somebody wants to write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldClaim {
    /// The database.
    pub database: DatabaseId,
    /// The retention policy.
    pub policy: PolicyId,
    /// The shard group.
    pub group: GroupId,
    /// The measurement.
    pub measurement: Bytes,
    /// Names and wanted types.
    pub fields: Vec<(Bytes, FieldType)>,
}

/// Which points to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOrder {
    /// Which series; what is asked of them does not matter.
    pub select: exec::lookup::Request,
    /// Which times, inclusive.
    pub range: TimeRange,
}

/// What a core needs to open its shards.
#[derive(Clone, Debug)]
pub struct Opening {
    /// How it keeps them; the core's own number is filled in by the core.
    pub options: shard::Options,
    /// The catalog.
    pub catalog: Arc<meta::Catalog>,
    /// The logs of earlier runs.
    pub old_logs: Arc<shard::OldLogs>,
}

/// What it found.
#[derive(Debug)]
pub struct Opened {
    /// For the log.
    pub recovery: shard::Recovery,
    /// Types of the fields in its data.
    pub schema: Vec<shard::SchemaFact>,
    /// The shard groups that are left for later.
    pub cold: Vec<shard::PartitionKey>,
}

/// Something on its way to another core whose type only the two ends know: an accepted connection belongs to `http`,
/// which lies above.
#[derive(Debug)]
pub struct Parcel(Box<dyn Any + Send>);

impl Parcel {
    /// Wraps it.
    pub fn new<T: Any + Send>(content: T) -> Parcel {
        Parcel(Box::new(content))
    }

    /// What was wrapped, if it is a `T`.
    pub fn take<T: Any>(self) -> Option<T> {
        self.0.downcast().ok().map(|content| *content)
    }
}

impl Weigh for Request {
    fn bytes(&self) -> usize {
        match self {
            Request::Write(batches, ..) => batches.iter().map(|batch| batch.bytes().len()).sum(),
            Request::KnownSeries(_, keys) => keys.iter().map(|(_, key)| 32 + key.len()).sum(),
            Request::TagValues(_, asks) => asks.iter().map(shard::TagAsk::bytes).sum(),
            Request::ClaimFields(claims) => claims.iter().map(|claim| 64 + 64 * claim.fields.len()).sum(),
            // Small, or bounded by their makers.
            Request::Change(_)
            | Request::Catalog(_)
            | Request::Exec(..)
            | Request::StopQuery(_)
            | Request::Queries
            | Request::KillQuery(_)
            | Request::ForgetIds(_)
            | Request::Delete(_)
            | Request::Forget(..)
            | Request::Statistics
            | Request::CountRequests(_)
            | Request::CountedRequests(_)
            | Request::Connection(_)
            | Request::Open(_)
            | Request::OpenCold
            | Request::Drain
            | Request::Close
            | Request::Leave => 1024,
        }
    }
}
