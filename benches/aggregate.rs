//! What aggregates over compressed blocks cost, as a ratio to adding the same values up in memory.
//!
//! Series of regular points in segments, whose pages and blocks are in the page cache, through the executor of one
//! core: with the summaries of blocks, and reading every block. Both must answer the same, and the counts must be
//! right. `cargo test` runs it small and only checks the answers.
//!
//! ```text
//! cargo bench --bench aggregate
//! ```

mod rounds;

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use glommio::LocalExecutor;
use millrace::batch::BatchBuilder;
use millrace::batch::Destination;
use millrace::batch::SeriesRef;
use millrace::disk::real::RealDisk;
use millrace::disk::sim::prng::Prng;
use millrace::exec::CallSpec;
use millrace::exec::Executor;
use millrace::exec::FieldRef;
use millrace::exec::Fragment;
use millrace::exec::Part;
use millrace::exec::PartData;
use millrace::exec::Request;
use millrace::exec::Response;
use millrace::exec::Window;
use millrace::exec::Work;
use millrace::exec::aggregate::Aggregate;
use millrace::exec::aggregate::Partial;
use millrace::exec::view::ReadAll;
use millrace::exec::view::View;
use millrace::memtable::CHUNK_WORDS;
use millrace::model::DatabaseId;
use millrace::model::FieldType;
use millrace::model::FieldValue;
use millrace::model::GroupId;
use millrace::model::PolicyId;
use millrace::model::TimeRange;
use millrace::shard::Durability;
use millrace::shard::Engine;
use millrace::shard::Live;
use millrace::shard::OldLogs;
use millrace::shard::Options;
use millrace::shard::PartitionKey;
use tempfile::TempDir;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECOND: i64 = 1_000_000_000;
const STEP: i64 = 10 * SECOND;
const DATABASE: DatabaseId = DatabaseId(1);
const POLICY: PolicyId = PolicyId(1);
const FIELDS: [(&[u8], FieldType); 2] = [(b"i", FieldType::Integer), (b"f", FieldType::Float)];
const AGGREGATES: [(&str, Aggregate); 7] = [
    ("count", Aggregate::Count),
    ("sum", Aggregate::Sum),
    ("mean", Aggregate::Mean),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("first", Aggregate::First),
    ("last", Aggregate::Last),
];

fn main() {
    // `cargo bench` passes `--bench`; `cargo test` does not.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let shapes = if measured { [(64, 16 * 2048), (4096, 250)] } else { [(2, 2 * 2048), (4, 250)] };
    for (series, rows) in shapes {
        LocalExecutor::default().run(async {
            let bench = Bench::new(series, rows, if measured { 5 } else { 1 }).await;
            let plain = bench.plain();
            let speed = bench.speed(plain);
            println!("{series} series of {rows} points; in memory {speed:.0} M values/s are summed up");
            println!(
                "                               by summaries  x memory       reading  x memory   summaries : reading"
            );
            for interval in [0, 3600 * SECOND, 60 * SECOND] {
                for field in 0..FIELDS.len() {
                    for (name, aggregate) in AGGREGATES {
                        bench.run(name, aggregate, field, interval, plain).await;
                    }
                }
            }
        });
    }
}

struct Bench {
    /// Removed when all is done.
    _folder: TempDir,
    engine: Rc<Engine<RealDisk>>,
    /// The values of the float field.
    floats: Vec<f64>,
    rows: i64,
    rounds: u32,
}

impl Bench {
    async fn new(series: usize, rows: i64, rounds: u32) -> Bench {
        let folder = tempfile::tempdir().expect("a folder for files");
        let engine = open(folder.path()).await;
        let (committing, flushing) = (engine.clone(), engine.clone());
        glommio::spawn_local(async move { committing.commit_loop().await }).detach();
        glommio::spawn_local(async move { flushing.flush_loop().await }).detach();
        let mut bench = Bench { _folder: folder, engine, floats: Vec::new(), rows, rounds };
        let mut random = Prng::from_seed(7);
        for number in 0..series {
            bench.write(number, &mut random).await;
        }
        bench.engine.freeze_soon();
        while !bench.engine.is_flushed() {
            glommio::yield_if_needed().await;
            futures_lite::future::yield_now().await;
        }
        bench
    }

    async fn write(&mut self, number: usize, random: &mut Prng) {
        let destination = Destination { shard: 0, database: DATABASE, policy: POLICY, group: GroupId(1) };
        let mut builder = BatchBuilder::new(destination);
        let series = builder.key(format!("m,h={number}").as_bytes());
        let layout = builder.layout(b"m", FIELDS.into_iter());
        let mut level = random.below(10_000) as i64;
        for row in 0..self.rows {
            level = (level + random.below(201) as i64 - 100).clamp(1, 10_000);
            builder.row(SeriesRef::New(series), layout, row * STEP);
            builder.value(FieldValue::Integer(level / 100));
            builder.value(FieldValue::Float(level as f64 / 100.0));
            self.floats.push(level as f64 / 100.0);
        }
        self.engine.write(vec![builder.finish()]).await.expect("there is room");
    }

    /// What it takes to add the values up, series by series.
    fn plain(&self) -> Duration {
        rounds::fastest(self.rounds, || {
            for series in self.floats.chunks(self.rows as usize) {
                black_box(black_box(series).iter().fold(0.0, |sum, value| sum + value));
            }
        })
    }

    /// Million values a second.
    fn speed(&self, spent: Duration) -> f64 {
        self.floats.len() as f64 / spent.as_nanos().max(1) as f64 * 1000.0
    }

    async fn run(&self, name: &str, aggregate: Aggregate, field: usize, interval: i64, plain: Duration) {
        let fragment = fragment(aggregate, field, interval);
        let views = self.engine.views();
        let by_summaries = Executor::new(views.clone());
        let reading = Executor::new(views.into_iter().map(ReadAll).collect());
        let (found, fast) = self.measure(&by_summaries, &fragment).await;
        let (expected, slow) = self.measure(&reading, &fragment).await;
        assert!(format!("{found:?}") == format!("{expected:?}"), "{name}: answers differ");
        if aggregate == Aggregate::Count {
            let counts = found.iter().map(|partial| if let Partial::Count(count) = partial { *count } else { 0 });
            assert_eq!(counts.sum::<i64>() as usize, self.floats.len(), "every value is counted");
        }
        let ratio = |spent: Duration| spent.as_nanos() as f64 / plain.as_nanos().max(1) as f64;
        println!(
            "  {name:6} {:8} every {:5} s {:14.0} {:9.2} {:13.0} {:9.2} {:20.2}",
            FIELDS[field].1.name(),
            interval / SECOND,
            self.speed(fast),
            ratio(fast),
            self.speed(slow),
            ratio(slow),
            fast.as_nanos() as f64 / slow.as_nanos().max(1) as f64,
        );
    }

    async fn measure<V: View>(&self, executor: &Executor<V>, fragment: &Fragment) -> (Vec<Partial>, Duration) {
        // Pages and blocks come into the cache.
        let mut found = answer(executor, fragment.clone()).await;
        let mut fastest = Duration::MAX;
        for _ in 0..self.rounds {
            let start = rounds::cpu_time();
            found = answer(executor, fragment.clone()).await;
            fastest = fastest.min(rounds::cpu_time() - start);
        }
        (found, fastest)
    }
}

async fn open(folder: &Path) -> Rc<Engine<RealDisk>> {
    let disk = RealDisk::new();
    disk.probe(folder).await.expect("a folder of our own");
    let mut live = Live::default();
    live.databases.insert(DATABASE);
    let key = PartitionKey { database: DATABASE, policy: POLICY, group: GroupId(1) };
    live.groups.insert(key, TimeRange { min: 0, max: i64::MAX });
    let old_logs = OldLogs::list(&disk, folder, 1).await.expect("an empty folder");
    let options = Options {
        dir: folder.into(),
        shard_count: 1,
        core: 0,
        core_count: 1,
        generation: old_logs.next_generation(),
        memtable_bytes: 1 << 40,
        chunk_words: CHUNK_WORDS,
        replay_bytes: 1 << 40,
        wal_bytes: 1 << 40,
        cold_flush_ns: u64::MAX,
        pending_bytes: 1 << 30,
        write_wait_ns: 60_000_000_000,
        commit_delay_ns: 0,
        reserve_bytes: 0,
        durability: Durability::Always,
        page_cache_bytes: 1 << 30,
        compact_bytes_per_second: 0,
        compact_burst_bytes: 0,
        compact_cold_ns: u64::MAX,
        series_log_bytes: u64::MAX,
        dormant_series: usize::MAX,
    };
    Engine::open(disk, options, live, old_logs).await.expect("an empty folder").0
}

/// All states of the answer. Where windows have a length, the time of a point is in no answer.
async fn answer<V: View>(executor: &Executor<V>, fragment: Fragment) -> Vec<Partial> {
    let has_interval = matches!(&fragment.work, Work::Windows { window, .. } if window.interval > 0);
    let mut request = Request::Open(Box::new(fragment));
    let mut found = Vec::new();
    loop {
        let Response::Chunk(chunk) = executor.handle(request).await else { panic!("not a chunk") };
        for Part { data, .. } in chunk.parts {
            let PartData::Windows(windows) = data else { panic!("not windows") };
            found.extend(windows.partials.into_iter().flatten());
        }
        let Some(next) = chunk.cursor else { break };
        request = Request::Next(next);
    }
    for partial in found.iter_mut().filter(|_| has_interval) {
        if let Partial::Point(point) = partial {
            point.time = 0;
        }
    }
    found
}

fn fragment(aggregate: Aggregate, field: usize, interval: i64) -> Fragment {
    let range = TimeRange { min: 0, max: i64::MAX / 2 };
    let (name, as_type) = FIELDS[field];
    Fragment {
        database: DATABASE,
        policy: POLICY,
        measurement: b"m"[..].into(),
        range,
        fields: vec![FieldRef { name: name.into(), as_type }],
        tags: Vec::new(),
        ties: Vec::new(),
        filter: None,
        dimensions: Vec::new(),
        series_rows: None,
        groups: None,
        rows_descending: false,
        descending: false,
        series_max: 0,
        work: Work::Windows {
            window: Window { interval, offset: 0, zone: None, range },
            calls: vec![CallSpec { aggregate, field: 0 }],
            carried: Vec::new(),
        },
    }
}
