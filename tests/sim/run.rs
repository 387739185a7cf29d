//! One run of the engines of all cores over a simulated disk: start, write, read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use millrace::batch::BatchBuilder;
use millrace::batch::Destination;
use millrace::batch::SeriesRef;
use millrace::disk::Clock;
use millrace::disk::sim::SimDisk;
use millrace::disk::sim::prng::Prng;
use millrace::exec::view::Cursor;
use millrace::exec::view::ReadRequest;
use millrace::exec::view::View;
use millrace::memtable::CHUNK_WORDS;
use millrace::model::Bytes;
use millrace::model::DatabaseId;
use millrace::model::FieldType;
use millrace::model::FieldValue;
use millrace::model::GroupId;
use millrace::model::PolicyId;
use millrace::model::RowBlock;
use millrace::model::SeriesId;
use millrace::model::TimeRange;
use millrace::model::Values;
use millrace::shard::Deletion;
use millrace::shard::Durability;
use millrace::shard::Engine;
use millrace::shard::Live;
use millrace::shard::OldLogs;
use millrace::shard::OpenError;
use millrace::shard::Options;
use millrace::shard::PartitionKey;
use millrace::shard::Recovery;
use millrace::shard::WriteError;
use millrace::stdx::budget::Counter;
use millrace::stdx::budget::Taken;

use roaring::RoaringBitmap;

use crate::model::BOOLEAN;
use crate::model::Cell;
use crate::model::Fate;
use crate::model::Found;
use crate::model::Model;
use crate::model::shown;

pub const SHARDS: u16 = 4;
/// Series; each belongs to the shard of its number's remainder, and in it to one writer.
const SERIES: usize = 24;
/// Tasks that write; each has its own series.
pub const WRITERS: usize = 3;
/// Shard groups; the last one may be dropped.
const GROUPS: i64 = 3;
const GROUP_TIMES: i64 = 70;
pub const FIELDS: [(&[u8], FieldType); 5] = [
    (b"i", FieldType::Integer),
    (b"f", FieldType::Float),
    (b"u", FieldType::Unsigned),
    (b"s", FieldType::String),
    (b"b", FieldType::Boolean),
];
/// Which fields a row may have; a boolean, which tells little, is never alone.
const ROWS: [&[usize]; 7] = [&[0], &[1, 3], &[2], &[0, 1, 2, 3], &[3], &[2, BOOLEAN], &[0, 1, 2, 3, BOOLEAN]];
pub const DATABASE: DatabaseId = DatabaseId(1);
pub const POLICY: PolicyId = PolicyId(1);

fn key(series: usize) -> Vec<u8> {
    format!("m,h={series}").into_bytes()
}

/// Times of the group that may be dropped.
pub const DROPPABLE: TimeRange = TimeRange { min: (GROUPS - 1) * GROUP_TIMES, max: GROUPS * GROUP_TIMES - 1 };

/// What the catalog holds.
pub fn catalog(is_dropped: bool) -> Live {
    let mut live = Live::default();
    live.databases.insert(DATABASE);
    for group in 0..GROUPS - i64::from(is_dropped) {
        let key = PartitionKey { database: DATABASE, policy: POLICY, group: group_of(group * GROUP_TIMES) };
        live.groups.insert(key, TimeRange { min: group * GROUP_TIMES, max: (group + 1) * GROUP_TIMES - 1 });
    }
    live
}

fn group_of(time: i64) -> GroupId {
    GroupId((time / GROUP_TIMES) as u64 + 1)
}

/// The series of a shard that only this writer writes, so that what becomes of them has an order.
fn own_series(shard: usize, writer: usize) -> Vec<usize> {
    (shard..SERIES).step_by(usize::from(SHARDS)).skip(writer).step_by(WRITERS).collect()
}

fn any_time(prng: &mut Prng) -> i64 {
    prng.below((GROUPS * GROUP_TIMES) as u64) as i64
}

/// A write's number as a value of a field.
fn value<'a>(field: usize, number: i64, text: &'a mut String) -> FieldValue<'a> {
    match FIELDS[field].1 {
        FieldType::Float => FieldValue::Float(number as f64 / 4.0),
        FieldType::Unsigned => FieldValue::Unsigned(number as u64),
        FieldType::Boolean => FieldValue::Boolean(shown(BOOLEAN, number) == 1),
        FieldType::String => {
            *text = format!("{number}{}", " ".repeat(number as usize % 50));
            FieldValue::String(text.as_bytes())
        }
        _ => FieldValue::Integer(number),
    }
}

/// Undoes [`value`], as far as [`shown`] tells numbers apart.
pub fn number(values: &Values, row: usize) -> i64 {
    match values {
        Values::Integer(values) => values[row],
        Values::Float(values) => (values[row] * 4.0) as i64,
        Values::Unsigned(values) => values[row] as i64,
        Values::String(values) => String::from_utf8_lossy(&values[row]).trim().parse().expect("a number"),
        Values::Boolean(values) => i64::from(values[row]),
    }
}

/// The engines of one run.
#[derive(Clone)]
pub struct Run {
    pub engines: Vec<Rc<Engine<SimDisk>>>,
    known: Rc<RefCell<Known>>,
    forgets: Counter,
    disk: SimDisk,
}

/// Ids as a core's cache knows them, told since the counter of forgotten ones stood at `forgets`.
#[derive(Default)]
struct Known {
    forgets: u64,
    ids: BTreeMap<usize, SeriesId>,
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data")
}

impl Run {
    /// Opens all cores, as a start does.
    pub async fn open(disk: SimDisk, sizes: Sizes, mut live: Live) -> Result<(Run, Recovery), OpenError> {
        let forgets = Counter::default();
        live.forgets.insert(DATABASE, forgets.clone());
        let cores = usize::from(sizes.cores);
        let old_logs = OldLogs::list(&disk, &dir(), cores).await?;
        let mut run = Run { engines: Vec::new(), known: Rc::default(), forgets, disk: disk.clone() };
        let mut recovery = Recovery::default();
        for core in 0..sizes.cores {
            let options = sizes.options(&dir(), core, old_logs.next_generation());
            let (engine, found) = Engine::open(disk.clone(), options, live.clone(), old_logs.clone()).await?;
            recovery.join(found);
            run.engines.push(engine);
        }
        Ok((run, recovery))
    }

    /// The catalog without the group that may be dropped.
    pub fn drop_group(&self) {
        let mut live = catalog(true);
        live.forgets.insert(DATABASE, self.forgets.clone());
        self.engines.iter().for_each(|engine| engine.set_live(live.clone()));
    }

    /// Writes until `count` writes have ended, whatever became of them.
    pub async fn write_many(self, writer: usize, mut prng: Prng, count: u64, model: Rc<RefCell<Model>>) {
        for _ in 0..count {
            if prng.below(4) == 0 {
                self.disk.sleep_ns(prng.below(3_000_000)).await;
            }
            if prng.below(6) == 0 {
                self.delete_some(writer, &mut prng, &model).await;
            } else {
                self.write_one(writer, &mut prng, &model).await;
            }
        }
    }

    async fn write_one(&self, writer: usize, prng: &mut Prng, model: &RefCell<Model>) {
        let core = prng.below(self.engines.len() as u64) as usize;
        let shards: Vec<usize> = (core..usize::from(SHARDS)).step_by(self.engines.len()).collect();
        let mut batches = Vec::new();
        let mut series_of_keys = Vec::new();
        let forgets = self.begin_write();
        let value = model.borrow_mut().begin(|value| {
            let mut cells = Vec::new();
            for _ in 0..prng.within(1..4) {
                let shard = shards[prng.below(shards.len() as u64) as usize];
                let first = any_time(prng) / GROUP_TIMES * GROUP_TIMES;
                let plan = Plan { writer, shard, first, value };
                let (builder, series) = self.fill(&plan, prng, &mut cells);
                batches.push(builder.finish());
                series_of_keys.push(series);
            }
            cells
        });
        // Meanwhile what it names may be deleted and forgotten.
        if prng.below(4) == 0 {
            self.disk.sleep_ns(prng.below(3_000_000)).await;
        }
        let result = self.engines[core].write_within(batches, forgets, Taken::default()).await;
        let fate = match &result {
            Ok(_) => Fate::There,
            // Nothing was stored.
            Err(WriteError::Overloaded(_) | WriteError::Stopping | WriteError::Gone) => Fate::Missing,
            Err(WriteError::Log(_)) => Fate::Open,
            Err(error) => panic!("{error:?}"),
        };
        self.disk.note(format_args!("write {value} to core {core}: {fate:?}"));
        model.borrow_mut().end(value, fate);
        let mut known = self.known.borrow_mut();
        for (ids, series) in result.into_iter().flatten().zip(series_of_keys) {
            if known.forgets == forgets {
                known.ids.extend(series.into_iter().zip(ids));
            }
        }
    }

    /// Forgets the ids that were told before the counter stood where it does now.
    fn begin_write(&self) -> u64 {
        let forgets = self.forgets.get();
        let mut known = self.known.borrow_mut();
        if known.forgets != forgets {
            *known = Known { forgets, ids: BTreeMap::new() };
        }
        forgets
    }

    /// Deletes some times of some series of one shard, all of them or a stretch.
    async fn delete_some(&self, writer: usize, prng: &mut Prng, model: &RefCell<Model>) {
        let core = prng.below(self.engines.len() as u64) as usize;
        let views = self.engines[core].views();
        let view = &views[prng.below(views.len() as u64) as usize];
        let (one, other) = (any_time(prng), any_time(prng));
        let range = match prng.below(4) {
            0 => TimeRange::ALWAYS,
            1 => TimeRange { min: one, max: one },
            _ => TimeRange { min: one.min(other), max: one.max(other) },
        };
        let mut ids = RoaringBitmap::new();
        let mut cells = Vec::new();
        for series in own_series(usize::from(view.shard()), writer) {
            let id = view.index(DATABASE, |index| index.lookup(&key(series))).flatten();
            if let Some(id) = id.filter(|_| prng.below(3) > 0) {
                ids.insert(id.0);
                let times = range.min.max(0)..=range.max.min(GROUPS * GROUP_TIMES - 1);
                cells.extend(times.flat_map(|time| (0..FIELDS.len()).map(move |field| (series, time, field))));
            }
        }
        if ids.is_empty() {
            return;
        }
        let deletion =
            Deletion { shard: view.shard(), database: DATABASE, series: Rc::new(ids), range, forgotten: Vec::new() };
        let number = model.borrow_mut().begin_deletion(cells);
        let fate = match self.engines[core].delete(vec![deletion]).await {
            Ok(()) => Fate::There,
            Err(WriteError::Overloaded(_) | WriteError::Stopping) => Fate::Missing,
            Err(WriteError::Log(_)) => Fate::Open,
            Err(error) => panic!("{error:?}"),
        };
        self.disk.note(format_args!("deletion {number} on core {core}: {fate:?}"));
        model.borrow_mut().end(number, fate);
    }

    /// A batch for one shard and group, and the series that it names by their keys.
    fn fill(&self, plan: &Plan, prng: &mut Prng, cells: &mut Vec<Cell>) -> (BatchBuilder, Vec<usize>) {
        let destination =
            Destination { shard: plan.shard as u16, database: DATABASE, policy: POLICY, group: group_of(plan.first) };
        let mut builder = BatchBuilder::new(destination);
        let mut keys = Vec::new();
        let own = own_series(plan.shard, plan.writer);
        let mut text = String::new();
        // Some fill a series' group with enough rows for a block with a summary.
        let filled = (prng.below(8) == 0).then(|| own[prng.below(own.len() as u64) as usize]);
        let count = if filled.is_some() { GROUP_TIMES } else { prng.within(1..12) as i64 };
        for row in 0..count {
            let series = filled.unwrap_or_else(|| own[prng.below(own.len() as u64) as usize]);
            let fields = ROWS[prng.below(ROWS.len() as u64) as usize];
            let offset = if filled.is_some() { row } else { prng.below(GROUP_TIMES as u64) as i64 };
            let time = plan.first + offset;
            let known = self.known.borrow().ids.get(&series).copied().filter(|_| prng.below(2) == 0);
            let reference = known.map(SeriesRef::Known).unwrap_or_else(|| {
                let index = keys.iter().position(|named| *named == series).unwrap_or_else(|| {
                    keys.push(series);
                    builder.key(&key(series)) as usize
                });
                SeriesRef::New(index as u32)
            });
            let layout = builder.layout(b"m", fields.iter().map(|&field| FIELDS[field]));
            builder.row(reference, layout, time);
            for &field in fields {
                builder.value(value(field, plan.value, &mut text));
                cells.push((series, time, field));
            }
        }
        (builder, keys)
    }

    /// Everything that can be read; with `is_damaged` that need not be everything.
    pub async fn read(&self, descending: bool, is_damaged: bool) -> Found {
        let mut found = Found::new();
        for engine in &self.engines {
            engine.opened(DATABASE, None, TimeRange::ALWAYS).await.expect("a disk without faults is read");
        }
        for view in self.engines.iter().flat_map(Engine::views) {
            for series in 0..SERIES {
                let id = view.index(DATABASE, |index| index.lookup(&key(series))).flatten();
                let Some(id) = id else { continue };
                let mut cursor = view.read(request(id, descending));
                let mut last = None;
                loop {
                    match cursor.next().await {
                        Ok(Some(block)) => take(&block, series, descending, &mut last, &mut found),
                        Ok(None) => break,
                        // Damage that stays is said instead of read.
                        Err(_) if is_damaged => break,
                        Err(error) => panic!("a disk without faults is read: {error}"),
                    }
                }
            }
        }
        found
    }
}

struct Plan {
    writer: usize,
    shard: usize,
    first: i64,
    value: i64,
}

fn request(series: SeriesId, descending: bool) -> ReadRequest {
    ReadRequest {
        database: DATABASE,
        policy: POLICY,
        series,
        fields: FIELDS.iter().map(|field| Bytes::from(field.0)).collect(),
        range: TimeRange::ALWAYS,
        descending,
    }
}

/// Each time once, in order.
fn take(block: &RowBlock, series: usize, descending: bool, last: &mut Option<i64>, found: &mut Found) {
    for (row, &time) in block.times.iter().enumerate() {
        let in_order = last.is_none_or(|last| if descending { time < last } else { time > last });
        assert!(in_order, "series {series}: {time} after {last:?}");
        *last = Some(time);
        for (field, column) in block.columns.iter().enumerate() {
            let Some(column) = column.as_ref().filter(|column| column.is_valid(row)) else { continue };
            found.insert((series, time, field), number(&column.values, row));
        }
    }
}

/// The numbers of a run that the seed chooses.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub cores: u16,
    pub memtable_bytes: usize,
    pub chunk_words: usize,
    pub replay_bytes: usize,
    pub wal_bytes: u64,
    pub cold_flush_ns: u64,
    pub commit_delay_ns: u64,
    pub reserve_bytes: u64,
    pub compact_cold_ns: u64,
    pub page_cache_bytes: u64,
    pub durability: Durability,
    pub series_log_bytes: u64,
    pub dormant_series: usize,
}

impl Sizes {
    pub fn draw(prng: &mut Prng) -> Sizes {
        Sizes {
            cores: prng.within(1..4) as u16,
            memtable_bytes: [500, 3_000, 20_000, 1 << 30][prng.below(4) as usize],
            replay_bytes: [500, 20_000][prng.below(2) as usize],
            wal_bytes: [20_000, 1 << 30][prng.below(2) as usize],
            cold_flush_ns: [20_000_000, 1 << 60][prng.below(2) as usize],
            commit_delay_ns: [0, 200_000][prng.below(2) as usize],
            reserve_bytes: [0, 32 << 10][prng.below(2) as usize],
            compact_cold_ns: [0, 10_000_000, u64::MAX][prng.below(3) as usize],
            page_cache_bytes: [0, 20_000][prng.below(2) as usize],
            durability: [Durability::Always, Durability::Interval(3_000_000)][prng.below(4) as usize / 3],
            series_log_bytes: [0, 20_000, u64::MAX][prng.below(3) as usize],
            dormant_series: [0, 2, usize::MAX][prng.below(3) as usize],
            chunk_words: [10, 100, CHUNK_WORDS][prng.below(3) as usize],
        }
    }

    fn options(&self, dir: &Path, core: u16, generation: u32) -> Options {
        Options {
            dir: dir.to_path_buf(),
            shard_count: SHARDS,
            core,
            core_count: self.cores,
            generation,
            memtable_bytes: self.memtable_bytes,
            chunk_words: self.chunk_words,
            replay_bytes: self.replay_bytes,
            wal_bytes: self.wal_bytes,
            cold_flush_ns: self.cold_flush_ns,
            pending_bytes: 1 << 20,
            write_wait_ns: 2_000_000_000,
            commit_delay_ns: self.commit_delay_ns,
            durability: self.durability,
            page_cache_bytes: self.page_cache_bytes,
            compact_bytes_per_second: 0,
            compact_burst_bytes: 0,
            reserve_bytes: self.reserve_bytes,
            compact_cold_ns: self.compact_cold_ns,
            series_log_bytes: self.series_log_bytes,
            dormant_series: self.dormant_series,
        }
    }
}
