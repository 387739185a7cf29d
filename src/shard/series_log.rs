//! The series log of a shard: new series go into it before a segment may name them, and it is written anew when most of
//! it is of no use any more.
//!
//! ```text
//! flush   -> blocks of unsaved series, appended
//! rewrite -> series.new: blocks of all series, by id, and the next id; it takes the place of series.log
//! ```
//!
//! What stands in the old file and not in the new one: ids that nothing alive names. Both happen in the flush loop, one
//! after the other, in steps that other work of the core may come between.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use roaring::RoaringBitmap;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::model::DatabaseId;
use crate::model::SeriesId;
use crate::series::Index;
use crate::series::block::BlockBuilder;
use crate::series::block::Member;
use crate::series::block::SERIES_MAX;
use crate::shard::Engine;
use crate::shard::Phase;
use crate::shard::dormant::Dormant;
use crate::shard::record;
use crate::shard::state::ShardState;
use crate::wal::Log;
use crate::wal::LogId;

/// A log with more than so many times the series that there are, or the blocks that they need, is written anew.
const DEAD_FACTOR: u64 = 2;
const BLOCKS_FACTOR: u64 = 8;

impl<P: Disk + Clock> Engine<P> {
    /// Every id that a segment may name must be in the series log before the segment is visible.
    pub(super) async fn save_series(&self, shard: u16) -> io::Result<()> {
        let (mut log, series) = {
            let mut state = self.state.borrow_mut();
            let shard = state.shards.get_mut(&shard).expect("own shard");
            let series = std::mem::take(&mut shard.unsaved_series);
            if series.is_empty() {
                return Ok(());
            }
            (shard.series_log.take(), series)
        };
        let result = self.append_series(shard, &mut log, &series).await;
        let mut state = self.state.borrow_mut();
        let shard = state.shards.get_mut(&shard).expect("own shard");
        shard.series_log = log;
        if result.is_err() {
            // Some may be saved twice: the last record of an id counts.
            for (database, series) in series {
                *shard.unsaved_series.entry(database).or_default() |= series;
            }
        }
        result
    }

    async fn append_series(
        &self,
        shard: u16,
        log: &mut Option<Log<P>>,
        series: &BTreeMap<DatabaseId, RoaringBitmap>,
    ) -> io::Result<()> {
        let dir = names::shard_dir(&self.options.dir, shard);
        let ids = |(&database, ids): (&DatabaseId, &RoaringBitmap)| {
            ids.iter().map(|id| (database, SeriesId(id))).collect::<Vec<_>>()
        };
        let series: Vec<(DatabaseId, SeriesId)> = series.iter().flat_map(ids).collect();
        // A million new series are no reason to hold up the core.
        for some in series.chunks(SERIES_MAX) {
            let records = self.series_records(shard, some);
            append_or_reopen(&self.platform, &dir, log, record::series_log_id(shard), &records).await?;
            {
                let mut state = self.state.borrow_mut();
                let held = &mut state.shards.get_mut(&shard).expect("own shard").saved;
                held.series += some.len() as u64;
                held.records += records.len() as u64;
            }
            self.platform.yield_now().await;
        }
        Ok(())
    }

    fn series_records(&self, shard: u16, series: &[(DatabaseId, SeriesId)]) -> Vec<Vec<u8>> {
        let state = self.state.borrow();
        let shard = &state.shards[&shard];
        let mut builders: BTreeMap<DatabaseId, BlockBuilder> = BTreeMap::new();
        let mut records = Vec::new();
        let mut key = Vec::new();
        for &(database, id) in series {
            let Some(member) = shard.saved_member(database, id, &mut key) else { continue };
            let builder = builders.entry(database).or_default();
            builder.add(member, &key);
            if builder.is_full() {
                records.extend(take_record(database, builder));
            }
        }
        records.extend(builders.iter_mut().filter_map(|(database, builder)| take_record(*database, builder)));
        records
    }

    /// Writes the log of a shard anew if that makes it much shorter. A failure leaves the one that is there.
    pub(super) async fn shorten_series_log(&self, shard: u16) {
        if !self.is_series_log_wasteful(shard) {
            return;
        }
        if let Err(error) = self.rewrite_series_log(shard).await {
            tracing::warn!("a series log could not be written anew: {error}");
        }
    }

    fn is_series_log_wasteful(&self, shard: u16) -> bool {
        let state = self.state.borrow();
        let own = &state.shards[&shard];
        let first_log = state.active_logs.first().map_or(0, |log| log.epoch);
        let is_needed = own.forgotten_in.is_some_and(|epoch| first_log <= epoch);
        let is_due = state.phase != Phase::Stopping && !own.saved.is_damaged && !is_needed;
        let Some(log) = own.series_log.as_ref().filter(|_| is_due) else { return false };
        let series =
            own.indexes.values().map(Index::len).chain(own.dormant.values().map(Dormant::len)).sum::<usize>() as u64;
        let blocks = series / SERIES_MAX as u64 + own.indexes.len() as u64 + 1;
        log.bytes() > self.options.series_log_bytes
            && (own.saved.series > DEAD_FACTOR * series
                || own.saved.records > BLOCKS_FACTOR * blocks.max(own.saved.records_whole))
    }

    async fn rewrite_series_log(&self, shard: u16) -> io::Result<()> {
        let dir = names::shard_dir(&self.options.dir, shard);
        let path = dir.join(names::NEW_SERIES_LOG);
        let mut log = Log::create(&self.platform, &path, record::series_log_id(shard)).await?;
        let (mut series, mut records) = (0, 1);
        for database in self.databases(shard) {
            let mut next = Some(SeriesId(0));
            while let Some(first) = next {
                let (record, members);
                (record, members, next) = self.next_block(shard, database, first);
                let Some(record) = record else { break };
                log.write(&[record]).await?;
                series += members;
                records += 1;
                self.platform.yield_now().await;
            }
        }
        let next = SeriesId(self.state.borrow().shards[&shard].next_series);
        log.append(&[record::encode_next_series(next)]).await?;
        // From here on the name may stand for either; both hold all that was saved.
        let old = self.state.borrow_mut().shards.get_mut(&shard).expect("own shard").series_log.take();
        self.platform.rename(&path, &dir.join(names::SERIES_LOG)).await?;
        self.platform.sync_dir(&dir).await?;
        let mut state = self.state.borrow_mut();
        let own = state.shards.get_mut(&shard).expect("own shard");
        own.series_log = Some(log);
        own.saved.series = series;
        own.saved.records = records;
        own.saved.records_whole = records;
        drop((state, old));
        Ok(())
    }

    fn databases(&self, shard: u16) -> BTreeSet<DatabaseId> {
        let state = self.state.borrow();
        let own = &state.shards[&shard];
        own.indexes.keys().chain(own.dormant.keys()).copied().collect()
    }

    /// A block of the series of a database from `first` on, how many they are, and where the next one begins.
    fn next_block(
        &self,
        shard: u16,
        database: DatabaseId,
        first: SeriesId,
    ) -> (Option<Vec<u8>>, u64, Option<SeriesId>) {
        let state = self.state.borrow();
        let own = &state.shards[&shard];
        let index = own.indexes.get(&database);
        let mut alive = index.into_iter().flat_map(|index| index.ids_from(first)).peekable();
        let dormant = own.dormant.get(&database);
        let mut dormant = dormant.into_iter().flat_map(|dormant| dormant.ids_from(first)).peekable();
        let mut builder = BlockBuilder::default();
        let mut key = Vec::new();
        let mut count = 0;
        loop {
            let next = match (alive.peek(), dormant.peek()) {
                (Some(one), Some(other)) if other < one => dormant.next(),
                (None, _) => dormant.next(),
                _ => alive.next(),
            };
            let Some(id) = next else { return (take_record(database, &mut builder), count, None) };
            if builder.is_full() {
                return (take_record(database, &mut builder), count, Some(id));
            }
            let member = own.saved_member(database, id, &mut key).expect("it was met in one of the two");
            builder.add(member, &key);
            count += 1;
        }
    }
}

impl<P: Disk> ShardState<P> {
    /// A series for the series log, its key in `key`; `None` when nothing names its id any more.
    fn saved_member(&self, database: DatabaseId, id: SeriesId, key: &mut Vec<u8>) -> Option<Member> {
        key.clear();
        if self.indexes.get(&database).is_some_and(|index| index.write_key(id, key)) {
            return Some(Member { id, is_dormant: false });
        }
        key.extend_from_slice(self.dormant.get(&database)?.key(id)?);
        Some(Member { id, is_dormant: true })
    }
}

fn take_record(database: DatabaseId, builder: &mut BlockBuilder) -> Option<Vec<u8>> {
    builder.take().map(|block| record::encode_series_block(database, &block))
}

/// Appends to a shard's series log; one that failed before is first read back and reopened, which cuts what was not
/// acknowledged.
async fn append_or_reopen<P: Disk>(
    platform: &P,
    dir: &Path,
    log: &mut Option<Log<P>>,
    id: LogId,
    records: &[Vec<u8>],
) -> io::Result<()> {
    let open = match log.take() {
        Some(open) if !open.has_failed() => open,
        _ => {
            // A new file may not be the one of this name yet, should the power fail.
            platform.sync_dir(dir).await?;
            Log::open(platform, &dir.join(names::SERIES_LOG), id, |_| ()).await?.0
        }
    };
    log.insert(open).append(records).await
}
