//! What ingest needs of the other cores. `server` implements it over the mesh; tests fake it in one thread.

use std::future::Future;
use std::rc::Rc;

use crate::batch::Batch;
use crate::ingest::Limits;
use crate::ingest::WriteError;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::series::Held;
use crate::shard::TagAnswer;
use crate::shard::TagAsk;
use crate::stdx::budget::Counter;
use crate::stdx::budget::Taken;

/// Where a request writes to: a retention policy as the catalog has it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Database.
    pub database: DatabaseId,
    /// Retention policy.
    pub policy: PolicyId,
    /// How long points are kept, ns; 0: for ever.
    pub duration_ns: i64,
    /// Shard groups by time; ranges are inclusive and do not overlap.
    pub groups: Vec<(GroupId, TimeRange)>,
    /// How many series the database has, or is about to.
    pub series: Counter,
    /// Steps when ids learned before may no longer be sent.
    pub forgets: Counter,
}

/// The fields of a point that a batch wants to use, with the types it would give them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Database.
    pub database: DatabaseId,
    /// Retention policy.
    pub policy: PolicyId,
    /// Shard group.
    pub group: GroupId,
    /// Measurement.
    pub measurement: Bytes,
    /// Fields, each once. They get these types together, or none does because one of them has another type.
    pub fields: Vec<(Bytes, FieldType)>,
}

/// The cores that own shards, the catalog and the schema.
pub trait Owners: Clone + 'static {
    /// Shards of the data directory.
    fn shard_count(&self) -> u16;

    /// Cores of this run; core `shard % core_count` owns a shard.
    fn core_count(&self) -> u16;

    /// The policy called `policy` (empty: the default one) of `database`. The same `Rc` as long as nothing changed.
    fn target(&self, database: &str, policy: &str) -> Result<Rc<Target>, WriteError>;

    /// Makes the shard groups that hold `times`; afterwards [`Owners::target`] has them.
    fn create_groups(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        times: Vec<Timestamp>,
    ) -> impl Future<Output = Result<(), WriteError>>;

    /// The types that hold, for each claim in the order of its fields; none for a new field of a refused claim.
    fn claim(&self, claims: Vec<Claim>) -> impl Future<Output = Result<Vec<Vec<Option<Held>>>, WriteError>>;

    /// The limits on new series.
    fn limits(&self) -> Limits;

    /// Which of these keys of shards that `core` owns, each with its shard, are series.
    fn known_series(
        &self,
        core: u16,
        database: DatabaseId,
        keys: Vec<(u16, Bytes)>,
    ) -> impl Future<Output = Result<Vec<bool>, WriteError>>;

    /// What `core` has of some tag values.
    fn tag_values(
        &self,
        core: u16,
        database: DatabaseId,
        asks: Vec<TagAsk>,
    ) -> impl Future<Output = Result<Vec<TagAnswer>, WriteError>>;

    /// Stores batches of shards that `core` owns, with room for their new series; for each the ids of its keys.
    /// `forgets` is what [`Target::forgets`] was before their ids were looked up.
    fn write(
        &self,
        core: u16,
        batches: Vec<Batch>,
        forgets: u64,
        room: Taken,
    ) -> impl Future<Output = Result<Vec<Vec<SeriesId>>, WriteError>>;
}
