//! What a fragment reads: the seam between execution and storage. [`crate::shard`] implements it; tests fake it.

use std::convert::Infallible;
use std::future::Future;

use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::series::Index;

pub use crate::model::Column;
pub use crate::model::RowBlock;
pub use crate::model::Values;
pub use crate::segment::BlockSummary;

/// Which rows of one series to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The database.
    pub database: DatabaseId,
    /// The retention policy.
    pub policy: PolicyId,
    /// The series.
    pub series: SeriesId,
    /// Field names, in the order of the answer's columns. A row that has none of them is not returned.
    pub fields: Vec<Bytes>,
    /// Inclusive.
    pub range: TimeRange,
    /// Newest first.
    pub descending: bool,
}

/// A read failed: damaged file or device error. The text names file and place.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ReadError(pub String);

/// One shard group's part of a shard.
#[derive(Clone, Debug)]
pub struct PartitionInfo {
    /// The shard group.
    pub group: GroupId,
    /// The group's time range, inclusive.
    pub range: TimeRange,
    /// Series with at least one point in it.
    pub series: roaring::RoaringBitmap,
}

/// The series of one shard, as a fragment sees them.
///
/// Synchronous methods look at the state of this instant and borrow it: no borrow may live across an await.
pub trait View: 'static {
    /// Reads one series block by block.
    type Cursor: Cursor;

    /// Runs `look` on the series index of `database`, if this shard has one.
    fn index<R>(&self, database: DatabaseId, look: impl FnOnce(&Index) -> R) -> Option<R>;

    /// The shard groups of `policy` that hold data here and overlap `range`, by time.
    fn partitions(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<PartitionInfo>;

    /// The times of those shard groups.
    fn shard_groups(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<TimeRange> {
        self.partitions(database, policy, range).into_iter().map(|partition| partition.range).collect()
    }

    /// Field names and types of `measurement` in the groups of `policy` that overlap `range`; sorted by name then
    /// type, each pair once. A field may have several types, one for each shard group.
    fn fields(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        measurement: &[u8],
        range: TimeRange,
    ) -> Vec<(Bytes, FieldType)>;

    /// Measurements of which [`View::fields`] may tell although no series of theirs is here any more: others may still
    /// have some, and then the fields are known.
    fn measurements_without_series(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<Bytes> {
        let _ = (database, policy, range);
        Vec::new()
    }

    /// Opens a cursor; it sees every point acknowledged before this call.
    fn read(&self, request: ReadRequest) -> Self::Cursor;

    /// Lets other tasks of this core run; called between bounded steps of work.
    fn yield_now(&self) -> impl Future<Output = ()>;
}

/// Rows of one series, block by block.
pub trait Cursor {
    /// A block that was passed over.
    type Passed: Clone + 'static;

    /// The next block; `None` at the end. Blocks follow each other in the order asked for and do not overlap.
    fn next(&mut self) -> impl Future<Output = Result<Option<RowBlock>, ReadError>>;

    /// Passes the next block over, unread, if there is a summary of its rows and that is `enough`. What is handed out
    /// next is the same as if it had been read.
    fn pass(
        &mut self,
        enough: impl FnOnce(&BlockSummary) -> bool,
    ) -> impl Future<Output = Result<Option<Self::Passed>, ReadError>> {
        let _ = enough;
        async { Ok(None) }
    }

    /// The rows of a block that was passed over, after all; `None`: it turns out to have none.
    fn read_passed(&self, passed: &Self::Passed) -> impl Future<Output = Result<Option<RowBlock>, ReadError>> {
        let _ = passed;
        async { Ok(None) }
    }
}

/// A view whose blocks are all read. What it answers is what answers by summaries must be.
#[derive(Clone, Debug)]
pub struct ReadAll<V>(pub V);

impl<V: View> View for ReadAll<V> {
    type Cursor = ReadAll<V::Cursor>;

    fn index<R>(&self, database: DatabaseId, look: impl FnOnce(&Index) -> R) -> Option<R> {
        self.0.index(database, look)
    }

    fn partitions(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<PartitionInfo> {
        self.0.partitions(database, policy, range)
    }

    fn shard_groups(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<TimeRange> {
        self.0.shard_groups(database, policy, range)
    }

    fn fields(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        measurement: &[u8],
        range: TimeRange,
    ) -> Vec<(Bytes, FieldType)> {
        self.0.fields(database, policy, measurement, range)
    }

    fn measurements_without_series(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<Bytes> {
        self.0.measurements_without_series(database, policy, range)
    }

    fn read(&self, request: ReadRequest) -> ReadAll<V::Cursor> {
        ReadAll(self.0.read(request))
    }

    async fn yield_now(&self) {
        self.0.yield_now().await;
    }
}

impl<C: Cursor> Cursor for ReadAll<C> {
    type Passed = Infallible;

    async fn next(&mut self) -> Result<Option<RowBlock>, ReadError> {
        self.0.next().await
    }
}
