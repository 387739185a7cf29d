//! What one shard holds: its series and its partitions.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use hashbrown::HashMap;
use hashbrown::HashSet;
use roaring::RoaringBitmap;

use crate::batch::Reader;
use crate::disk::Disk;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::memtable::Memtable;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::Segment;
use crate::series::Index;
use crate::series::InsertError;
use crate::series::block::Shape;
use crate::series::key::KeyError;
use crate::shard::SchemaFact;
use crate::shard::Sizes;
use crate::shard::dormant::Dormant;
use crate::shard::manifest::Listed;
use crate::shard::manifest::Manifest;
use crate::shard::record;
use crate::shard::record::Age;
use crate::shard::record::PartitionKey;
use crate::shard::tombstone;
use crate::shard::tombstone::Deletion;
use crate::shard::tombstone::Tombstone;
use crate::stdx::budget::Budget;
use crate::stdx::budget::Counter;
use crate::wal::Log;

/// What the catalog holds, as far as shards care: whatever is not here is dropped.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Databases.
    pub databases: HashSet<DatabaseId>,
    /// How many series each has on all cores, and may have. What is not here is not counted.
    pub series: HashMap<DatabaseId, Budget>,
    /// How often all cores were told to forget the ids that they know. What is not here keeps its dormant series.
    pub forgets: HashMap<DatabaseId, Counter>,
    /// Shard groups and their time ranges.
    pub groups: HashMap<PartitionKey, TimeRange>,
}

#[derive(Debug)]
pub struct ShardState<P: Disk> {
    /// Of its memtables.
    pub chunk_words: usize,
    pub next_series: u32,
    pub next_segment: u64,
    pub indexes: BTreeMap<DatabaseId, Index>,
    pub partitions: BTreeMap<PartitionKey, Partition<P>>,
    /// Series that are in the core's log but not yet in the series log, or are not what they are there: in the index or
    /// dormant. Their keys stand in the one or the other.
    pub unsaved_series: BTreeMap<DatabaseId, RoaringBitmap>,
    /// `None` while a flush uses it.
    pub series_log: Option<Log<P>>,
    /// What it holds.
    pub saved: SavedSeries,
    /// `None` while somebody appends to it, and after a failure until it could be opened again.
    pub manifest: Option<Log<P>>,
    /// Somebody appends to the manifest.
    pub manifest_is_taken: bool,
    /// What the manifest says.
    pub listed: Manifest,
    /// Segments of flushes whose change of the manifest failed: they can go after the next one.
    pub useless_later: Vec<PathBuf>,
    /// Segments of the logs of earlier runs that the manifest will name with the next flush.
    pub unlisted: Vec<(PartitionKey, Listed)>,
    /// Fields in those logs, by layout as encoded, until they are replayed.
    pub logged: BTreeMap<PartitionKey, HashMap<Bytes, LoggedLayout>>,
    /// Deletions that may hide something in segments, oldest first.
    pub tombstones: Vec<Tombstone>,
    /// Series without a point: out of the index, but other cores may still know their ids.
    pub dormant: BTreeMap<DatabaseId, Dormant>,
    /// The log file in use when the last dormant series was forgotten, by epoch: up to it logs may name ids whose keys
    /// stand nowhere but in the series log.
    pub forgotten_in: Option<u32>,
}

/// A measurement and fields of it.
type LoggedLayout = (Bytes, Vec<(Bytes, FieldType)>);

/// What a series log holds, as far as it matters for when to write it anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedSeries {
    /// Series, those named twice and those that are gone among them.
    pub series: u64,
    /// Records.
    pub records: u64,
    /// Records when it was last written anew in this run.
    pub records_whole: u64,
    /// Some were lost. It stays as it is: written anew, it would look as if they were gone.
    pub is_damaged: bool,
}

/// The part of a shard that lies in one shard group.
#[derive(Debug)]
pub struct Partition<P: Disk> {
    pub range: TimeRange,
    pub active: Memtable,
    /// What the logs of earlier runs hold, until all of it is here: older than `active`, and not read.
    pub replayed: Memtable,
    /// Being flushed; newer than all segments, older than `active`.
    pub frozen: Option<Frozen>,
    /// Oldest first: a later one wins.
    pub segments: Vec<Settled<P>>,
    /// Not opened since the start, oldest first; older than all of `segments`.
    pub unopened: Vec<Listed>,
    /// Somebody opens them.
    pub is_opening: bool,
    /// Segments that are damaged such that they could not be opened; the rest is not compacted.
    pub unreadable: u64,
    /// When a flush last added a segment, by the monotonic clock.
    pub changed_ns: u64,
    /// Counts changes of `frozen` and `segments`.
    version: u64,
    /// All series, and for which version and how many active ones it was made.
    series_cache: RefCell<Option<SeriesCache>>,
}

#[derive(Debug)]
struct SeriesCache {
    made_for: (u64, u32),
    series: Rc<RoaringBitmap>,
}

/// A memtable that is being flushed, and the age of its last log file.
#[derive(Clone, Debug)]
pub struct Frozen {
    pub age: (u32, u32),
    pub memtable: Rc<Memtable>,
}

/// A segment in its place.
#[derive(Debug)]
pub struct Settled<P: Disk> {
    /// Deletions of this age and before are applied to it or came before its points.
    pub age: Age,
    pub segment: Rc<Segment<P>>,
    /// Found damaged, or not yet in the manifest: it is not compacted.
    pub is_fixed: Cell<bool>,
}

impl<P: Disk> Settled<P> {
    pub fn new(age: Age, segment: Segment<P>) -> Settled<P> {
        Settled { age, segment: Rc::new(segment), is_fixed: Cell::new(false) }
    }
}

/// A segment that may hold a point of a series, and the times at which it is deleted.
#[derive(Debug)]
pub struct Look<P: Disk> {
    segment: Rc<Segment<P>>,
    dead: Vec<TimeRange>,
}

impl<P: Disk> Look<P> {
    /// Whether a point of the series is left, as far as can be told without reading blocks. A segment whose index
    /// cannot be read may have one.
    pub async fn has_points(&self, series: SeriesId) -> bool {
        match self.segment.sound_blocks_of(series, TimeRange::ALWAYS).await {
            Ok(blocks) => blocks.iter().any(|block| !tombstone::covers(&self.dead, block.range)),
            Err(_) => true,
        }
    }
}

impl<P: Disk> Partition<P> {
    /// An empty one; `chunk_words` are those of its memtables.
    pub fn new(range: TimeRange, chunk_words: usize) -> Partition<P> {
        Partition {
            range,
            active: Memtable::new(chunk_words),
            replayed: Memtable::new(chunk_words),
            frozen: None,
            segments: Vec::new(),
            unopened: Vec::new(),
            is_opening: false,
            unreadable: 0,
            changed_ns: 0,
            version: 0,
            series_cache: RefCell::new(None),
        }
    }

    /// The active memtable becomes the frozen one, as old as its last log file.
    pub fn freeze(&mut self, age: Age) {
        let active = self.active.take();
        self.freeze_one(active, age);
    }

    /// The rest of what was replayed becomes the frozen memtable.
    pub fn freeze_replayed(&mut self, age: Age) {
        let replayed = self.replayed.take();
        self.freeze_one(replayed, age);
    }

    fn freeze_one(&mut self, memtable: Memtable, age: Age) {
        if !memtable.is_empty() {
            assert!(self.frozen.is_none(), "one flush at a time");
            self.version += 1;
            self.frozen = Some(Frozen { age, memtable: Rc::new(memtable) });
        }
    }

    /// Leaves nothing of what was replayed; the files of the `unlisted` segments go to `garbage`.
    pub fn undo_replay(&mut self, unlisted: &[u64], garbage: &mut Vec<PathBuf>) {
        self.replayed.take();
        let gone = self.segments.extract_if(.., |settled| unlisted.contains(&settled.segment.id().number));
        garbage.extend(gone.map(|settled| settled.segment.path().to_path_buf()));
        self.version += 1;
    }

    /// Adds a segment that is newer than all others; it takes the place of the frozen memtable, if there is one.
    pub fn add_segment(&mut self, settled: Settled<P>) {
        self.segments.push(settled);
        self.frozen = None;
        self.version += 1;
    }

    /// Takes what was not open, without what is unreadable.
    pub fn take_opened(&mut self, segments: Vec<Settled<P>>) {
        let unopened = std::mem::take(&mut self.unopened);
        self.unreadable += (unopened.len() - segments.len()) as u64;
        self.segments.splice(..0, segments);
        self.version += 1;
    }

    /// Puts a segment, or none, in the place of some; whether they were all there, one behind the other.
    pub fn replace(&mut self, old: &[Rc<Segment<P>>], new: Option<Settled<P>>) -> bool {
        let is_first = |settled: &Settled<P>| old.first().is_some_and(|first| Rc::ptr_eq(first, &settled.segment));
        let Some(start) = self.segments.iter().position(is_first) else { return false };
        let found = self.segments[start..].iter().map(|settled| &settled.segment);
        let is_there = found.zip(old).filter(|(found, old)| Rc::ptr_eq(found, old)).count() == old.len();
        if is_there {
            self.segments.splice(start..start + old.len(), new);
            self.version += 1;
        }
        is_there
    }

    /// The series that have a point here.
    pub fn series(&self) -> Rc<RoaringBitmap> {
        let made_for = (self.version, self.active.series().count());
        let mut cache = self.series_cache.borrow_mut();
        if let Some(cached) = cache.as_ref().filter(|cached| cached.made_for == made_for) {
            return cached.series.clone();
        }
        let memtables = self.frozen.iter().map(|frozen| &*frozen.memtable).chain([&self.active]);
        let mut series = RoaringBitmap::new();
        for memtable in memtables {
            series |= RoaringBitmap::from_sorted_iter(memtable.series().iter()).unwrap_or_default();
        }
        self.segments.iter().for_each(|settled| series |= settled.segment.series());
        let series = Rc::new(series);
        *cache = Some(SeriesCache { made_for, series: series.clone() });
        series
    }

    /// Measurement, field and type of everything here that is not forgotten; pairs may repeat.
    pub fn fields<'a>(
        &'a self,
        database: DatabaseId,
        tombstones: &'a [Tombstone],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8], FieldType)> {
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.memtable.fields().map(|field| (frozen.age, field)));
        let segments = self.segments.iter().flat_map(|settled| {
            let fields = settled.segment.fields().iter();
            fields.map(|field| (settled.age, (&*field.measurement, &*field.name, field.field_type)))
        });
        let known = frozen
            .chain(segments)
            .filter(move |(age, (measurement, ..))| !tombstone::is_forgotten(tombstones, database, measurement, *age));
        self.active.fields().chain(known.map(|(_, field)| field))
    }

    /// Whether anything but the active memtable is older than `age`.
    fn has_older(&self, age: (u32, u32)) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| frozen.age < age)
            || self.segments.iter().any(|settled| settled.age < age)
            || self.unopened.iter().any(|listed| listed.age < age)
    }

    /// Whether a memtable holds a point of the series.
    fn has_in_memory(&self, database: DatabaseId, series: SeriesId, tombstones: &[Tombstone]) -> bool {
        if self.active.has_points(series.0) {
            return true;
        }
        let Some(Frozen { age, memtable }) = &self.frozen else { return false };
        let dead = tombstone::dead_ranges(tombstones, database, series, *age);
        let is_hidden = |time: i64| dead.iter().any(|dead| dead.contains(time));
        memtable.has_points(series.0) && !memtable.times_of(series.0).into_iter().all(is_hidden)
    }

    /// The segments that may hold a point of the series.
    fn looks(&self, database: DatabaseId, series: SeriesId, tombstones: &[Tombstone]) -> impl Iterator<Item = Look<P>> {
        let here = self.segments.iter().filter(move |settled| settled.segment.series().contains(series.0));
        here.filter_map(move |Settled { age, segment, .. }| {
            let dead = tombstone::dead_ranges(tombstones, database, series, *age);
            (!tombstone::covers(&dead, segment.range())).then(|| Look { segment: segment.clone(), dead })
        })
    }
}

impl<P: Disk> ShardState<P> {
    /// A shard that holds nothing.
    pub fn new(chunk_words: usize) -> ShardState<P> {
        ShardState {
            chunk_words,
            next_series: 0,
            next_segment: 0,
            indexes: BTreeMap::new(),
            partitions: BTreeMap::new(),
            unsaved_series: BTreeMap::new(),
            series_log: None,
            saved: SavedSeries::default(),
            manifest: None,
            manifest_is_taken: false,
            listed: Manifest::default(),
            useless_later: Vec::new(),
            unlisted: Vec::new(),
            logged: BTreeMap::new(),
            tombstones: Vec::new(),
            dormant: BTreeMap::new(),
            forgotten_in: None,
        }
    }

    /// The id of a key, made if it is new; whether it was.
    pub fn series_id(&mut self, database: DatabaseId, key: &[u8]) -> Result<(SeriesId, bool), InsertError> {
        let index = self.indexes.entry(database).or_default();
        if let Some(id) = index.lookup(key) {
            return Ok((id, false));
        }
        if let Some(id) = self.dormant.get_mut(&database).and_then(|dormant| dormant.claim(key)) {
            // Comes back to life when the batch is applied.
            return Ok((id, false));
        }
        let id = SeriesId(self.next_series);
        index.insert(id, key)?;
        self.next_series = self.next_series.checked_add(1).expect("a shard holds fewer than 2^32 series");
        self.note_unsaved(database, id);
        Ok((id, true))
    }

    /// Takes back ids whose batch never became durable; how many were series.
    pub fn forget_series(&mut self, database: DatabaseId, ids: &[SeriesId]) -> u64 {
        let index = self.indexes.get_mut(&database);
        let forgotten = index.map_or(0, |index| ids.iter().filter(|id| index.remove(**id)).count());
        if let Some(unsaved) = self.unsaved_series.get_mut(&database) {
            ids.iter().for_each(|id| _ = unsaved.remove(id.0));
        }
        forgotten as u64
    }

    fn note_unsaved(&mut self, database: DatabaseId, id: SeriesId) {
        self.unsaved_series.entry(database).or_default().insert(id.0);
    }

    /// A series that replay or the series log names. The newest id of a key counts: an older one was given to a write
    /// that failed.
    pub fn restore_series(
        &mut self,
        database: DatabaseId,
        id: SeriesId,
        key: &[u8],
        saved: bool,
    ) -> Result<(), InsertError> {
        self.keep_id(id);
        self.wake(database, id);
        let index = self.indexes.entry(database).or_default();
        if let Some(known) = index.lookup(key) {
            if known >= id {
                return Ok(());
            }
            index.remove(known);
            // Deleted points of it may be in segments, which must not name what the series log does not.
            self.dormant.entry(database).or_default().insert_replaced(known, key.into());
        }
        index.insert(id, key)?;
        if !saved {
            self.note_unsaved(database, id);
        }
        Ok(())
    }

    /// Series of the series log, of a database that is there. As for [`ShardState::restore_series`] the newest id of a
    /// key counts.
    pub fn restore_shape(&mut self, database: DatabaseId, shape: &Shape<'_>) -> Result<(), KeyError> {
        let index = self.indexes.entry(database).or_default();
        index.restore(shape)?;
        let mut key = Vec::new();
        for (row, member) in shape.members.iter().enumerate() {
            if member.is_dormant {
                shape.write_key(row, &mut key);
                index.remove(member.id);
                self.dormant.entry(database).or_default().insert_replaced(member.id, key.as_slice().into());
            } else if let Some(dormant) = self.dormant.get_mut(&database) {
                dormant.take(member.id);
            }
        }
        Ok(())
    }

    /// This id is not to be given out.
    pub fn keep_id(&mut self, id: SeriesId) {
        self.next_series = self.next_series.max(id.0.saturating_add(1));
    }

    /// Ids that data names are not given out again, should the series log have lost some.
    pub fn keep_known_ids(&mut self) {
        self.next_series = self.next_series.max(self.listed.named);
        let partitions = self.partitions.values();
        let known = partitions.flat_map(|partition| {
            let segments = partition.segments.iter().filter_map(|settled| settled.segment.series().max());
            let frozen = partition.frozen.iter().filter_map(|frozen| frozen.memtable.series().iter().last());
            segments.chain(frozen)
        });
        let next = known.max().map_or(0, |last| last.saturating_add(1));
        self.next_series = self.next_series.max(next);
    }

    /// The id behind the last one that a segment names.
    pub fn named(&self) -> u32 {
        let segments = self.partitions.values().flat_map(|partition| &partition.segments);
        let last = segments.filter_map(|settled| settled.segment.series().max()).max();
        self.listed.named.max(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// Drops what the catalog no longer holds; files to remove, in `folder`, go to `garbage`. The series of dropped
    /// partitions, by database.
    pub fn drop_all_but(
        &mut self,
        live: &Live,
        folder: &Path,
        garbage: &mut Vec<PathBuf>,
    ) -> BTreeMap<DatabaseId, RoaringBitmap> {
        self.indexes.retain(|database, _| live.databases.contains(database));
        self.unsaved_series.retain(|database, _| live.databases.contains(database));
        self.tombstones.retain(|tombstone| live.databases.contains(&tombstone.deletion.database));
        self.dormant.retain(|database, _| live.databases.contains(database));
        let mut dropped: BTreeMap<DatabaseId, RoaringBitmap> = BTreeMap::new();
        self.partitions.retain(|key, partition| {
            let stays = live.groups.contains_key(key);
            if !stays {
                if live.databases.contains(&key.database) {
                    *dropped.entry(key.database).or_default() |= &*partition.series();
                }
                garbage.extend(partition.segments.iter().map(|settled| settled.segment.path().to_path_buf()));
                let unopened = partition.unopened.iter();
                garbage.extend(unopened.map(|listed| folder.join(names::segment_name(listed.number))));
            }
            stays
        });
        dropped
    }

    /// Applies a batch to a memtable of its partition, which is made if it is not there; by how many
    /// bytes the memory that it takes has changed, which may be less than before.
    pub fn apply(
        &mut self,
        key: PartitionKey,
        range: TimeRange,
        batch: &Reader<'_>,
        ids: &[SeriesId],
        memtable: impl FnOnce(&mut Partition<P>) -> &mut Memtable,
    ) -> isize {
        let memtable = memtable(self.partitions.entry(key).or_insert_with(|| Partition::new(range, self.chunk_words)));
        let before = memtable.bytes();
        if let Err(error) = memtable.apply(batch, ids) {
            // The log holds the batch as it is; a defect of ours, not of a client.
            tracing::error!("a logged batch does not follow the format: {error}");
        }
        memtable.bytes() as isize - before as isize
    }

    /// Whether segments do not have what a log file holds of this shard.
    pub fn is_due(&self, log: WalName) -> bool {
        self.listed.flushed < record::log_age(log)
    }

    /// Keeps in mind which fields a batch has that is replayed later.
    pub fn note_fields(&mut self, key: PartitionKey, batch: &Reader<'_>) {
        let logged = self.logged.entry(key).or_default();
        for layout in &batch.layouts {
            if !logged.contains_key(layout.encoded) {
                let fields = layout.fields.iter().map(|&(name, field_type)| (name.into(), field_type)).collect();
                logged.insert(layout.encoded.into(), (layout.measurement.into(), fields));
            }
        }
    }

    /// A deletion comes after what was noted.
    pub fn forget_logged(&mut self, deletion: &Deletion) {
        for (_, layouts) in self.logged.iter_mut().filter(|(key, _)| key.database == deletion.database) {
            layouts.retain(|_, layout| !deletion.forgotten.contains(&layout.0));
        }
    }

    /// Puts dormant series of a batch, which will be applied next, back into the index; how many. The series log hears
    /// of it again: it may hold them as dormant.
    pub fn revive(&mut self, database: DatabaseId, batch: &Reader<'_>, ids: &[SeriesId]) -> u64 {
        let mut revived = 0;
        for id in self.dormant_of(batch, ids) {
            let Some(key) = self.wake(database, id) else { continue };
            // It was there before: its key is canonical and its id its own.
            revived += u64::from(self.indexes.entry(database).or_default().insert(id, &key).is_ok());
            self.note_unsaved(database, id);
        }
        revived
    }

    /// Takes a series out of the dormant ones; its key.
    fn wake(&mut self, database: DatabaseId, id: SeriesId) -> Option<Box<[u8]>> {
        self.dormant.get_mut(&database)?.take(id)
    }

    /// Whether a point, or a write under way, makes the key a series.
    pub fn has_series(&self, database: DatabaseId, key: &[u8]) -> bool {
        self.indexes.get(&database).is_some_and(|index| index.lookup(key).is_some())
    }

    /// Applies a deletion whose record stands in a log file of `age`. Series that lost their last point stay in the
    /// index until [`ShardState::retire`] takes them out.
    pub fn delete(&mut self, age: Age, deletion: &Deletion) {
        self.delete_rows(deletion, |partition| &mut partition.active);
        self.entomb(age, deletion);
    }

    /// Applies a deletion to some memtable of each partition.
    pub fn delete_rows(&mut self, deletion: &Deletion, memtable: impl Fn(&mut Partition<P>) -> &mut Memtable) {
        for (key, partition) in &mut self.partitions {
            if key.database != deletion.database {
                continue;
            }
            let is_concerned = !partition.range.intersect(deletion.range).is_empty();
            let memtable = memtable(partition);
            if is_concerned {
                memtable.delete(&deletion.series, deletion.range);
            }
            deletion.forgotten.iter().for_each(|measurement| memtable.forget(measurement));
        }
    }

    /// A deletion of this age hides what is older.
    pub fn entomb(&mut self, age: Age, deletion: &Deletion) {
        self.tombstones.push(Tombstone { age, deletion: deletion.clone(), is_saved: false });
    }

    /// Where a point of a series may be left in segments; `None` when a memtable holds one, or some are not open.
    pub fn looks(&self, database: DatabaseId, series: SeriesId) -> Option<Vec<Look<P>>> {
        let mut looks = Vec::new();
        for (_, partition) in self.partitions.iter().filter(|(key, _)| key.database == database) {
            if !partition.unopened.is_empty() || partition.has_in_memory(database, series, &self.tombstones) {
                return None;
            }
            looks.extend(partition.looks(database, series, &self.tombstones));
        }
        Some(looks)
    }

    /// Takes a series out of the index in whose segments `looked` nothing was found; whether it was in it and has
    /// gone. `None` when there is more to look at by now.
    pub fn retire(&mut self, database: DatabaseId, series: SeriesId, looked: &[Look<P>]) -> Option<bool> {
        let Some(looks) = self.looks(database, series) else { return Some(false) };
        let was_looked_at = |look: &Look<P>| looked.iter().any(|looked| Rc::ptr_eq(&looked.segment, &look.segment));
        if !looks.iter().all(was_looked_at) {
            return None;
        }
        let Some(index) = self.indexes.get_mut(&database) else { return Some(false) };
        let Some(key) = index.key(series).map(Vec::into_boxed_slice) else { return Some(false) };
        index.remove(series);
        self.dormant.entry(database).or_default().insert(series, key);
        // Its deletion may be forgotten one day, and it must not come back with a start then.
        self.note_unsaved(database, series);
        Some(true)
    }

    /// Forgets deletions that the manifest holds and that hide nothing any more.
    pub fn drop_spent_tombstones(&mut self) {
        let partitions = &self.partitions;
        self.tombstones.retain(|tombstone| {
            let database = tombstone.deletion.database;
            let mut concerned = partitions.iter().filter(|(key, _)| key.database == database);
            !tombstone.is_saved || concerned.any(|(_, partition)| partition.has_older(tombstone.age))
        });
    }

    /// After a start.
    pub fn forget_dormant(&mut self) {
        for (database, dormant) in &mut self.dormant {
            dormant.forget_known(self.unsaved_series.get(database));
        }
    }

    pub fn schema(&self) -> impl Iterator<Item = SchemaFact> {
        let partitions = self.partitions.iter().flat_map(|(key, partition)| {
            partition.fields(key.database, &self.tombstones).map(move |field| (key, field))
        });
        let logged = self.logged.iter().flat_map(|(key, layouts)| {
            layouts.values().flat_map(move |(measurement, fields)| {
                fields.iter().map(move |(name, field_type)| (key, (&**measurement, &**name, *field_type)))
            })
        });
        partitions.chain(logged).map(|(key, (measurement, field, field_type))| SchemaFact {
            database: key.database,
            policy: key.policy,
            group: key.group,
            measurement: measurement.into(),
            field: field.into(),
            field_type,
        })
    }

    pub fn add_sizes(&self, sizes: &mut Sizes) {
        for settled in self.partitions.values().flat_map(|partition| &partition.segments) {
            sizes.segments += 1;
            sizes.segment_bytes += settled.segment.bytes();
            sizes.damaged_blocks += settled.segment.quarantined_count();
        }
        sizes.unreadable_segments += self.partitions.values().map(|partition| partition.unreadable).sum::<u64>();
        sizes.series += u64::from(self.next_series);
    }
}
