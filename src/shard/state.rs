//! What one shard holds: its series and its partitions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use hashbrown::HashMap;
use hashbrown::HashSet;
use roaring::RoaringBitmap;

use crate::batch::Reader;
use crate::disk::Disk;
use crate::memtable::Memtable;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::Segment;
use crate::series::Index;
use crate::series::InsertError;
use crate::shard::SchemaFact;
use crate::shard::Sizes;
use crate::shard::record::PartitionKey;
use crate::stdx::bitset::BitSet;
use crate::wal::Log;

/// What the catalog holds, as far as shards care: whatever is not here is dropped.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Databases.
    pub databases: HashSet<DatabaseId>,
    /// Shard groups and their time ranges.
    pub groups: HashMap<PartitionKey, TimeRange>,
}

#[derive(Debug)]
pub struct ShardState<P: Disk> {
    pub next_series: u32,
    pub next_segment: u64,
    pub indexes: BTreeMap<DatabaseId, Index>,
    pub partitions: BTreeMap<PartitionKey, Partition<P>>,
    /// Series that are in the core's log but not yet in the series log.
    pub unsaved_series: Vec<(DatabaseId, SeriesId, Box<[u8]>)>,
    /// `None` while a flush uses it.
    pub series_log: Option<Log<P>>,
    /// `None` while a flush uses it.
    pub manifest: Option<Log<P>>,
    /// Age of the last log file whose records are in segments.
    pub flushed: (u32, u32),
}

/// The part of a shard that lies in one shard group.
#[derive(Debug)]
pub struct Partition<P: Disk> {
    pub range: TimeRange,
    pub active: Memtable,
    /// Being flushed; newer than all segments, older than `active`.
    pub frozen: Option<Rc<Memtable>>,
    /// Oldest first: a later one wins.
    pub segments: Vec<Rc<Segment<P>>>,
    /// Series with a point in a segment or a frozen memtable.
    settled_series: BitSet,
    /// All series, and how many there were when it was made.
    series_cache: RefCell<Option<(u32, u32, Rc<RoaringBitmap>)>>,
}

impl<P: Disk> Partition<P> {
    pub fn new(range: TimeRange) -> Partition<P> {
        Partition {
            range,
            active: Memtable::default(),
            frozen: None,
            segments: Vec::new(),
            settled_series: BitSet::default(),
            series_cache: RefCell::new(None),
        }
    }

    /// The active memtable becomes the frozen one.
    pub fn freeze(&mut self) {
        assert!(self.frozen.is_none(), "one flush at a time");
        if self.active.is_empty() {
            return;
        }
        let frozen = std::mem::take(&mut self.active);
        frozen.series().iter().for_each(|series| {
            self.settled_series.insert(series);
        });
        self.frozen = Some(Rc::new(frozen));
    }

    pub fn add_segment(&mut self, segment: Rc<Segment<P>>) {
        let mut last = None;
        for block in segment.blocks() {
            if last.replace(block.series) != Some(block.series) {
                self.settled_series.insert(block.series);
            }
        }
        self.segments.push(segment);
    }

    /// The series that have a point here.
    pub fn series(&self) -> Rc<RoaringBitmap> {
        let counts = (self.settled_series.count(), self.active.series().count());
        let mut cache = self.series_cache.borrow_mut();
        if let Some((settled, active, series)) = &*cache
            && (*settled, *active) == counts
        {
            return series.clone();
        }
        let mut series = RoaringBitmap::from_sorted_iter(self.settled_series.iter()).unwrap_or_default();
        series |= RoaringBitmap::from_sorted_iter(self.active.series().iter()).unwrap_or_default();
        let series = Rc::new(series);
        *cache = Some((counts.0, counts.1, series.clone()));
        series
    }

    /// Measurement, field and type of everything here; pairs may repeat.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8], FieldType)> {
        let segments = self.segments.iter().flat_map(|segment| segment.fields());
        self.active
            .fields()
            .chain(self.frozen.iter().flat_map(|frozen| frozen.fields()))
            .chain(segments.map(|field| (&*field.measurement, &*field.name, field.field_type)))
    }
}

impl<P: Disk> ShardState<P> {
    /// The id of a key, made if it is new; whether it was.
    pub fn series_id(&mut self, database: DatabaseId, key: &[u8]) -> Result<(SeriesId, bool), InsertError> {
        let index = self.indexes.entry(database).or_default();
        if let Some(id) = index.lookup(key) {
            return Ok((id, false));
        }
        let id = SeriesId(self.next_series);
        index.insert(id, key)?;
        self.next_series = self.next_series.checked_add(1).expect("a shard holds fewer than 2^32 series");
        self.unsaved_series.push((database, id, key.into()));
        Ok((id, true))
    }

    /// Takes back ids whose batch never became durable.
    pub fn forget_series(&mut self, database: DatabaseId, ids: &[SeriesId]) {
        if let Some(index) = self.indexes.get_mut(&database) {
            for &id in ids {
                index.remove(id);
            }
        }
        self.unsaved_series.retain(|series| !ids.contains(&series.1));
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
        self.next_series = self.next_series.max(id.0.saturating_add(1));
        let index = self.indexes.entry(database).or_default();
        if let Some(known) = index.lookup(key) {
            if known >= id {
                return Ok(());
            }
            index.remove(known);
        }
        index.insert(id, key)?;
        if !saved {
            self.unsaved_series.push((database, id, key.into()));
        }
        Ok(())
    }

    /// Drops what the catalog no longer holds; files to remove go to `garbage`.
    pub fn drop_all_but(&mut self, live: &Live, garbage: &mut Vec<PathBuf>) {
        self.indexes.retain(|database, _| live.databases.contains(database));
        self.unsaved_series.retain(|series| live.databases.contains(&series.0));
        self.partitions.retain(|key, partition| {
            let stays = live.groups.contains_key(key);
            if !stays {
                garbage.extend(partition.segments.iter().map(|segment| segment.path().to_path_buf()));
            }
            stays
        });
    }

    /// Applies a batch to its partition, made if it is not there; the memory it took.
    pub fn apply(&mut self, key: PartitionKey, range: TimeRange, batch: &Reader<'_>, ids: &[SeriesId]) -> usize {
        let partition = self.partitions.entry(key).or_insert_with(|| Partition::new(range));
        let before = partition.active.bytes();
        if let Err(error) = partition.active.apply(batch, ids) {
            // The log holds the batch as it is; a defect of ours, not of a client.
            tracing::error!("a logged batch does not follow the format: {error}");
        }
        partition.active.bytes() - before
    }

    pub fn schema(&self) -> impl Iterator<Item = SchemaFact> {
        self.partitions.iter().flat_map(|(key, partition)| {
            partition.fields().map(|(measurement, field, field_type)| SchemaFact {
                database: key.database,
                policy: key.policy,
                group: key.group,
                measurement: measurement.into(),
                field: field.into(),
                field_type,
            })
        })
    }

    pub fn add_sizes(&self, sizes: &mut Sizes) {
        for segment in self.partitions.values().flat_map(|partition| &partition.segments) {
            sizes.segments += 1;
            sizes.segment_bytes += segment.bytes();
        }
        sizes.series += u64::from(self.next_series);
    }
}
