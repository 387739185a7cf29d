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

use roaring::RoaringBitmap;

use crate::model::Cell;
use crate::model::Fate;
use crate::model::Found;
use crate::model::Model;

pub const SHARDS: u16 = 4;
/// Series; each belongs to the shard of its number's remainder.
const SERIES: usize = 10;
/// Tasks that write; each has the times of its own remainder.
pub const WRITERS: usize = 3;
const TIMES: u64 = 400;
const GROUP_TIMES: i64 = 200;
const FIELDS: [&[u8]; 2] = [b"i", b"j"];
const DATABASE: DatabaseId = DatabaseId(1);
const POLICY: PolicyId = PolicyId(1);

fn key(series: usize) -> Vec<u8> {
    format!("m,h={series}").into_bytes()
}

/// What the catalog of this data directory would hold.
pub fn live() -> Live {
    let mut live = Live::default();
    live.databases.insert(DATABASE);
    for group in 0..TIMES as i64 / GROUP_TIMES {
        let key = PartitionKey { database: DATABASE, policy: POLICY, group: group_of(group * GROUP_TIMES) };
        live.groups.insert(key, TimeRange { min: group * GROUP_TIMES, max: (group + 1) * GROUP_TIMES - 1 });
    }
    live
}

fn group_of(time: i64) -> GroupId {
    GroupId((time / GROUP_TIMES) as u64 + 1)
}

/// A time of the group that begins at `first` which only this writer writes.
fn own_time(first: i64, writer: usize, prng: &mut Prng) -> i64 {
    let slots = GROUP_TIMES as u64 / WRITERS as u64;
    first + (prng.below(slots) as usize * WRITERS + writer) as i64
}

/// The engines of one run.
#[derive(Clone)]
pub struct Run {
    pub engines: Vec<Rc<Engine<SimDisk>>>,
    known: Rc<RefCell<BTreeMap<usize, SeriesId>>>,
    disk: SimDisk,
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data")
}

impl Run {
    /// Opens all cores, as a start does.
    pub async fn open(disk: SimDisk, sizes: Sizes) -> Result<(Run, Recovery), OpenError> {
        let cores = usize::from(sizes.cores);
        let old_logs = OldLogs::list(&disk, &dir(), SHARDS, cores).await?;
        let mut run = Run { engines: Vec::new(), known: Rc::default(), disk: disk.clone() };
        let mut recovery = Recovery::default();
        for core in 0..sizes.cores {
            let options = sizes.options(&dir(), core, old_logs.next_generation());
            let (engine, found) = Engine::open(disk.clone(), options, live(), old_logs.clone()).await?;
            recovery.join(found);
            run.engines.push(engine);
        }
        Ok((run, recovery))
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
        let value = model.borrow_mut().begin(|value| {
            let mut cells = Vec::new();
            for _ in 0..prng.within(1..4) {
                let shard = shards[prng.below(shards.len() as u64) as usize];
                let first = prng.below(TIMES / GROUP_TIMES as u64) as i64 * GROUP_TIMES;
                let plan = Plan { writer, shard, first, value };
                let (builder, series) = self.fill(&plan, prng, &mut cells);
                batches.push(builder.finish());
                series_of_keys.push(series);
            }
            cells
        });
        let result = self.engines[core].write(batches).await;
        let fate = match &result {
            Ok(_) => Fate::There,
            // Nothing was stored.
            Err(WriteError::Overloaded(_) | WriteError::Stopping) => Fate::Missing,
            Err(WriteError::Log(_)) => Fate::Open,
            Err(error) => panic!("{error:?}"),
        };
        self.disk.note(format_args!("write {value} to core {core}: {fate:?}"));
        model.borrow_mut().end(value, fate);
        for (ids, series) in result.into_iter().flatten().zip(series_of_keys) {
            self.known.borrow_mut().extend(series.into_iter().zip(ids));
        }
    }

    /// Deletes one time of some series of one shard. The time is the writer's own, so that its writes and deletions of
    /// a cell have an order.
    async fn delete_some(&self, writer: usize, prng: &mut Prng, model: &RefCell<Model>) {
        let core = prng.below(self.engines.len() as u64) as usize;
        let views = self.engines[core].views();
        let view = &views[prng.below(views.len() as u64) as usize];
        let first = prng.below(TIMES / GROUP_TIMES as u64) as i64 * GROUP_TIMES;
        let time = own_time(first, writer, prng);
        let mut ids = RoaringBitmap::new();
        let mut cells = Vec::new();
        for series in (usize::from(view.shard())..SERIES).step_by(usize::from(SHARDS)) {
            let id = view.index(DATABASE, |index| index.lookup(&key(series))).flatten();
            if let Some(id) = id.filter(|_| prng.below(3) > 0) {
                ids.insert(id.0);
                cells.extend((0..FIELDS.len()).map(|field| (series, time, field)));
            }
        }
        if ids.is_empty() {
            return;
        }
        let deletion = Deletion {
            shard: view.shard(),
            database: DATABASE,
            series: Rc::new(ids),
            range: TimeRange { min: time, max: time },
            forgotten: Vec::new(),
        };
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
        let own: Vec<usize> = (plan.shard..SERIES).step_by(usize::from(SHARDS)).collect();
        for _ in 0..prng.within(1..12) {
            let series = own[prng.below(own.len() as u64) as usize];
            let fields: &[usize] = [&[0][..], &[1], &[0, 1]][prng.below(3) as usize];
            let time = own_time(plan.first, plan.writer, prng);
            let known = self.known.borrow().get(&series).copied().filter(|_| prng.below(2) == 0);
            let reference = known.map(SeriesRef::Known).unwrap_or_else(|| {
                let index = keys.iter().position(|named| *named == series).unwrap_or_else(|| {
                    keys.push(series);
                    builder.key(&key(series)) as usize
                });
                SeriesRef::New(index as u32)
            });
            let layout = builder.layout(b"m", fields.iter().map(|&field| (FIELDS[field], FieldType::Integer)));
            builder.row(reference, layout, time);
            for &field in fields {
                builder.value(FieldValue::Integer(plan.value));
                cells.push((series, time, field));
            }
        }
        (builder, keys)
    }

    /// Everything that can be read.
    pub async fn read(&self, descending: bool) -> Found {
        let mut found = Found::new();
        for view in self.engines.iter().flat_map(Engine::views) {
            for series in 0..SERIES {
                let id = view.index(DATABASE, |index| index.lookup(&key(series))).flatten();
                let Some(id) = id else { continue };
                let mut cursor = view.read(request(id, descending));
                let mut last = None;
                while let Some(block) = cursor.next().await.expect("a disk without faults is read") {
                    take(&block, series, descending, &mut last, &mut found);
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
        fields: FIELDS.iter().map(|field| Bytes::from(*field)).collect(),
        range: TimeRange { min: i64::MIN, max: i64::MAX },
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
            let Values::Integer(values) = &column.values else { panic!("not integers: {column:?}") };
            found.insert((series, time, field), values[row]);
        }
    }
}

/// The numbers of a run that the seed chooses.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub cores: u16,
    pub memtable_bytes: usize,
    pub wal_bytes: u64,
    pub cold_flush_ns: u64,
    pub commit_delay_ns: u64,
}

impl Sizes {
    pub fn draw(prng: &mut Prng) -> Sizes {
        Sizes {
            cores: prng.within(1..4) as u16,
            memtable_bytes: [500, 3_000, 20_000, 1 << 30][prng.below(4) as usize],
            wal_bytes: [20_000, 1 << 30][prng.below(2) as usize],
            cold_flush_ns: [20_000_000, 1 << 60][prng.below(2) as usize],
            commit_delay_ns: [0, 200_000][prng.below(2) as usize],
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
            wal_bytes: self.wal_bytes,
            cold_flush_ns: self.cold_flush_ns,
            pending_bytes: 1 << 20,
            write_wait_ns: 2_000_000_000,
            commit_delay_ns: self.commit_delay_ns,
            durability: Durability::Always,
        }
    }
}
