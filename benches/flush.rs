//! What a flush costs for each value: points in a memtable, in order of arrival, to a segment on a disk that takes all.
//!
//! ```text
//! cargo bench --bench flush
//! ```
//!
//! Speeds are the fastest of some rounds, each over a memtable of its own; applying the batches is measured beside, and
//! so is a copy of as many values in the same run. What was written is read back and compared value by value. `cargo
//! test` runs it small and only checks.

mod rounds;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::block_on;
use millrace::batch::Batch;
use millrace::batch::BatchBuilder;
use millrace::batch::Destination;
use millrace::batch::SeriesRef;
use millrace::disk::Disk;
use millrace::disk::File;
use millrace::disk::sim::prng::Prng;
use millrace::memtable::CHUNK_WORDS;
use millrace::memtable::FlushCursor;
use millrace::memtable::Memtable;
use millrace::model::DatabaseId;
use millrace::model::FieldType;
use millrace::model::FieldValue;
use millrace::model::GroupId;
use millrace::model::PolicyId;
use millrace::model::SeriesId;
use millrace::model::TimeRange;
use millrace::model::Values;
use millrace::segment::PageCache;
use millrace::segment::Segment;
use millrace::segment::SegmentId;
use millrace::segment::SegmentWriter;
use millrace::segment::codec::Effort;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_NS: i64 = 1_451_606_400_000_000_000;
const STEP_NS: i64 = 10_000_000_000;
const BATCH_ROWS: usize = 600;
const ID: SegmentId = SegmentId { shard: 1, number: 2 };

fn main() {
    // `cargo bench` passes `--bench`; `cargo test` does not.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (scale, rounds) = if measured { (1, 7) } else { (20, 1) };
    println!("{:34} bytes/value   apply ns   flush ns   x copy", "");
    for shape in SHAPES {
        Bench::new(Shape { series: shape.series / scale, ..shape }).run(rounds);
    }
}

/// Points of a partition: each series has a row for every step, all series of a step follow each other.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    series: usize,
    steps: usize,
    fields: usize,
    field_type: FieldType,
    /// So many of a hundred rows come up to a hundred steps late.
    late_percent: u64,
}

const SHAPES: [Shape; 4] = [
    // What a flush of the preset `tsbs` finds in one of eight shards.
    Shape {
        name: "10 integers, 250 steps",
        series: 500,
        steps: 250,
        fields: 10,
        field_type: FieldType::Integer,
        late_percent: 0,
    },
    Shape {
        name: "10 integers, a fifth late",
        series: 500,
        steps: 250,
        fields: 10,
        field_type: FieldType::Integer,
        late_percent: 20,
    },
    Shape {
        name: "1 float in hundredths, 500 steps",
        series: 1250,
        steps: 500,
        fields: 1,
        field_type: FieldType::Float,
        late_percent: 0,
    },
    Shape {
        name: "1 float in hundredths, 20 steps",
        series: 20_000,
        steps: 20,
        fields: 1,
        field_type: FieldType::Float,
        late_percent: 0,
    },
];

struct Bench {
    shape: Shape,
    /// By series, then field, then step.
    values: Vec<Vec<Vec<f64>>>,
    batches: Vec<Batch>,
}

impl Bench {
    fn new(shape: Shape) -> Bench {
        let mut random = Prng::from_seed(7);
        let mut walk = || walk(&mut random, shape);
        let values: Vec<Vec<Vec<f64>>> =
            (0..shape.series).map(|_| (0..shape.fields).map(|_| walk()).collect()).collect();
        let mut rows: Vec<(usize, usize, usize)> = Vec::new();
        for step in 0..shape.steps {
            for series in 0..shape.series {
                let is_late = random.below(100) < shape.late_percent;
                let turn = step + if is_late { random.below(100) as usize } else { 0 };
                rows.push((turn, series, step));
            }
        }
        rows.sort_by_key(|row| row.0);
        let batches = rows.chunks(BATCH_ROWS).map(|rows| batch(shape, rows, &values)).collect();
        Bench { shape, values, batches }
    }

    fn run(&self, rounds: u32) {
        let Shape { name, series, steps, fields, .. } = self.shape;
        let value_count = series * steps * fields;
        let mut applied = Duration::MAX;
        let mut flushed = Duration::MAX;
        let mut bytes = 0;
        for round in 0..rounds {
            let mut memtable = Memtable::new(CHUNK_WORDS);
            applied = applied.min(rounds::fastest(1, || self.apply(&mut memtable)));
            let disk = MemoryDisk::default();
            flushed =
                flushed.min(rounds::fastest(1, || bytes = block_on(flush(&disk, &memtable)).expect("it is memory")));
            if round == 0 {
                block_on(self.check(&disk));
            }
        }
        let source = vec![0_u64; 1 << 12];
        let mut copy = source.clone();
        let copied = rounds::fastest(rounds, || {
            for _ in 0..value_count / source.len() + 1 {
                black_box(&mut copy).copy_from_slice(black_box(&source));
            }
        });
        let nanoseconds = |spent: Duration| spent.as_nanos() as f64 / value_count as f64;
        println!(
            "{name:34} {:11.3} {:10.2} {:10.2} {:8.1}",
            bytes as f64 / value_count as f64,
            nanoseconds(applied),
            nanoseconds(flushed),
            flushed.as_nanos() as f64 / copied.as_nanos().max(1) as f64
        );
    }

    fn apply(&self, memtable: &mut Memtable) {
        for batch in &self.batches {
            memtable.apply(&batch.read().expect("it was just built"), &[]).expect("it was just built");
        }
    }

    /// Every value is there, once, at its time.
    async fn check(&self, disk: &MemoryDisk) {
        let cache = PageCache::new(1 << 20);
        let segment = Segment::open(disk, Path::new("1.seg"), &cache).await.expect("what was just written");
        assert_eq!(segment.rows(), (self.shape.series * self.shape.steps) as u64, "{}", self.shape.name);
        for (series, expected) in self.values.iter().enumerate() {
            let mut found: Vec<Vec<f64>> = vec![Vec::new(); self.shape.fields];
            let mut times = Vec::new();
            let blocks = segment.blocks_of(SeriesId(series as u32), TimeRange::ALWAYS).await.expect("sound");
            for block in blocks {
                let names: Vec<_> = (0..self.shape.fields).map(|field| field_name(field).as_bytes().into()).collect();
                let rows = segment.read(&block, &names).await.expect("sound");
                times.extend_from_slice(&rows.times);
                for (found, column) in found.iter_mut().zip(rows.columns) {
                    let column = column.expect("each row has each field");
                    assert!(column.valid.is_none(), "each row has each field");
                    match column.values {
                        Values::Float(values) => found.extend(values),
                        Values::Integer(values) => found.extend(values.into_iter().map(|value| value as f64)),
                        other => panic!("other values: {other:?}"),
                    }
                }
            }
            assert!(times.into_iter().eq((0..self.shape.steps).map(time)), "{}: other times", self.shape.name);
            assert!(found == *expected, "{}: other values", self.shape.name);
        }
    }
}

/// As the engine does it.
async fn flush(disk: &MemoryDisk, memtable: &Memtable) -> io::Result<u64> {
    while FlushCursor::prepare_step(memtable) {}
    let mut writer = SegmentWriter::create(disk, Path::new("1.seg"), ID, Effort::Hot).await?;
    let mut cursor = FlushCursor::new(memtable);
    while let Some(rows) = cursor.next(memtable) {
        writer.add(SeriesId(rows.series), rows.measurement, &rows.fields, rows.block).await?;
    }
    Ok(writer.finish().await?.bytes)
}

fn time(step: usize) -> i64 {
    START_NS + step as i64 * STEP_NS
}

fn field_name(field: usize) -> String {
    format!("usage_{field}")
}

fn batch(shape: Shape, rows: &[(usize, usize, usize)], values: &[Vec<Vec<f64>>]) -> Batch {
    let destination = Destination { shard: 1, database: DatabaseId(1), policy: PolicyId(1), group: GroupId(1) };
    let mut builder = BatchBuilder::new(destination);
    let names: Vec<String> = (0..shape.fields).map(field_name).collect();
    let layout = builder.layout(b"cpu", names.iter().map(|name| (name.as_bytes(), shape.field_type)));
    for &(_, series, step) in rows {
        builder.row(SeriesRef::Known(SeriesId(series as u32)), layout, time(step));
        for field in &values[series] {
            builder.value(match shape.field_type {
                FieldType::Integer => FieldValue::Integer(field[step] as i64),
                _ => FieldValue::Float(field[step]),
            });
        }
    }
    builder.finish()
}

/// Whole numbers for integers, hundredths for floats, as the load harness has them: steps of a normal distribution,
/// kept between 0 and 100.
fn walk(random: &mut Prng, shape: Shape) -> Vec<f64> {
    let unit = |random: &mut Prng| (random.draw() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut level = unit(random) * 100.0;
    let mut next = || {
        let bell = (unit(random) + unit(random) + unit(random) - 1.5) * 2.0;
        level = (level + bell).clamp(0.0, 100.0);
        if shape.field_type == FieldType::Integer { level.floor() } else { (level * 100.0).floor() / 100.0 }
    };
    (0..shape.steps).map(|_| next()).collect()
}

/// A disk that takes all, at once.
#[derive(Clone, Debug, Default)]
struct MemoryDisk {
    files: Rc<RefCell<HashMap<PathBuf, MemoryFile>>>,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile {
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Buffer = Vec<u8>;

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        vec![0; bytes]
    }

    async fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let file = MemoryFile::default();
        self.files.borrow_mut().insert(path.to_path_buf(), file.clone());
        Ok(file)
    }

    async fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        self.files.borrow().get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    async fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    async fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl File for MemoryFile {
    type Buffer = Vec<u8>;

    async fn write_at(&self, buffer: Vec<u8>, position: u64) -> io::Result<()> {
        let mut bytes = self.bytes.borrow_mut();
        assert_eq!(position, bytes.len() as u64, "a segment is written in order");
        bytes.extend_from_slice(&buffer);
        Ok(())
    }

    async fn read_at(&self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let content = self.bytes.borrow();
        let start = content.len().min(position as usize);
        Ok(content[start..content.len().min(start + bytes)].to_vec())
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    async fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    async fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.bytes.borrow_mut().resize(bytes as usize, 0);
        Ok(())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}
