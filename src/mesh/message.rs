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
use crate::model::PolicyId;
use crate::observe::Statistic;
use crate::series::Held;
use crate::shard;

/// What one core asks of another.
#[derive(Debug)]
pub enum Request {
    /// Store these, all in shards of the asked core. Answer: [`Response::Written`].
    Write(Vec<Batch>),
    /// Core 0: which types do these fields have, or get now? Answer: [`Response::Claimed`].
    ClaimFields(Vec<FieldClaim>),
    /// Core 0: change the catalog. Answered when all cores have the new one: [`Response::Changed`].
    Change(Box<meta::Command>),
    /// Use this catalog from now on. Answer: [`Response::Done`].
    Catalog(Arc<meta::Catalog>),
    /// A step of a fragment. Answer: [`Response::Exec`].
    Exec(exec::Request),
    /// The statistics of this core. Answer: [`Response::Statistics`].
    Statistics,
    /// Serve this connection. Answered when it was taken: [`Response::Done`].
    Connection(Parcel),
    /// Open the shards. Answer: [`Response::Opened`].
    Open(Box<Opening>),
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
    /// To [`Request::ClaimFields`]: for each claim, the types that hold, in the order of its fields.
    Claimed(Vec<Vec<Held>>),
    /// To [`Request::Change`].
    Changed(Result<meta::Outcome, meta::MetaError>),
    /// To [`Request::Exec`].
    Exec(exec::Response),
    /// To [`Request::Statistics`].
    Statistics(Vec<Statistic>),
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
            Request::Write(batches) => batches.iter().map(|batch| batch.bytes().len()).sum(),
            Request::ClaimFields(claims) => claims.iter().map(|claim| 64 * claim.fields.len()).sum(),
            // Small, or bounded by their makers.
            Request::Change(_)
            | Request::Catalog(_)
            | Request::Exec(_)
            | Request::Statistics
            | Request::Connection(_)
            | Request::Open(_)
            | Request::Drain
            | Request::Close
            | Request::Leave => 1024,
        }
    }
}
