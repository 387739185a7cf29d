//! Queries over summaries answer what reading everything answers.

use crate::batch::BatchBuilder;
use crate::batch::Destination;
use crate::batch::SeriesRef;
use crate::disk::File;
use crate::disk::sim::Faults;
use crate::disk::sim::SimDisk;
use crate::disk::sim::Simulation;
use crate::disk::sim::prng::Prng;
use crate::exec::CallSpec;
use crate::exec::Executor;
use crate::exec::Expr;
use crate::exec::FieldRef;
use crate::exec::Fragment;
use crate::exec::Op;
use crate::exec::Part;
use crate::exec::PartData;
use crate::exec::Request;
use crate::exec::Response;
use crate::exec::Window;
use crate::exec::Work;
use crate::exec::aggregate::Aggregate;
use crate::exec::aggregate::Partial;
use crate::exec::view::ReadAll;
use crate::model::Cell;
use crate::model::FieldValue;
use crate::shard::Deletion;
use crate::shard::Live;
use crate::shard::OldLogs;
use crate::shard::Options;
use crate::shard::PartitionKey;
use crate::shard::tests::run_options;

use super::*;

const DATABASE: DatabaseId = DatabaseId(1);
const POLICY: PolicyId = PolicyId(1);
/// Times of one of the two shard groups.
const GROUP_TIMES: i64 = 4000;
const SERIES: u64 = 3;
const NAMES: [&[u8]; 6] = [b"i", b"f", b"u", b"b", b"s", b"x"];
const AGGREGATES: [Aggregate; 8] = [
    Aggregate::Count,
    Aggregate::Sum,
    Aggregate::Mean,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::Spread,
];

/// The type of a field; the last one has another in each group.
fn type_of(field: usize, group: i64) -> FieldType {
    [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String][match field {
        0 => 1,
        1 => 0,
        5 => (group % 2) as usize,
        other => other,
    }]
}

/// Few different values, so that ties are many; both zeros, and numbers whose sums wrap.
fn value(prng: &mut Prng, field_type: FieldType, level: i64) -> FieldValue<'static> {
    match field_type {
        FieldType::Float => FieldValue::Float([-0.0, 0.0, 0.25, -1.5, level as f64][prng.below(5) as usize]),
        FieldType::Integer => FieldValue::Integer([0, -1, level, level, i64::MAX - 3][prng.below(5) as usize]),
        FieldType::Unsigned => FieldValue::Unsigned([0, level as u64, u64::MAX][prng.below(3) as usize]),
        FieldType::Boolean => FieldValue::Boolean(prng.below(2) == 0),
        FieldType::String => FieldValue::String([&b"a"[..], b"b", b""][prng.below(3) as usize]),
    }
}

struct Run {
    simulation: Simulation,
    engine: Rc<Engine<SimDisk>>,
}

impl Run {
    /// Compacts cold partitions after that time; never compacts without one.
    fn start(seed: u64, compact_cold_ns: Option<u64>) -> Run {
        let mut simulation = Simulation::new(seed, Faults::default());
        let disk = simulation.disk().clone();
        let opened = async move {
            let mut live = Live::default();
            live.databases.insert(DATABASE);
            for group in 0..2 {
                let key = PartitionKey { database: DATABASE, policy: POLICY, group: GroupId(group as u64 + 1) };
                live.groups.insert(key, TimeRange { min: group * GROUP_TIMES, max: (group + 1) * GROUP_TIMES - 1 });
            }
            let old_logs = OldLogs::list(&disk, "/data".as_ref(), 1).await.unwrap();
            let options = Options {
                shard_count: 1,
                generation: old_logs.next_generation(),
                pending_bytes: 1 << 24,
                write_wait_ns: u64::MAX,
                compact_cold_ns: compact_cold_ns.unwrap_or(u64::MAX),
                ..run_options("/data".as_ref(), 0, 1, 1 << 30)
            };
            Engine::open(disk, options, live, old_logs).await.unwrap().0
        };
        let engine = simulation.block_on(opened);
        let (committing, flushing, compacting) = (engine.clone(), engine.clone(), engine.clone());
        simulation.spawn(async move { committing.commit_loop().await });
        simulation.spawn(async move { flushing.flush_loop().await });
        if compact_cold_ns.is_some() {
            simulation.spawn(async move { compacting.compact_loop().await });
        }
        let opening = engine.clone();
        simulation.block_on(async move {
            opening.open_cold().await;
            opening.replayed().await.unwrap();
        });
        Run { simulation, engine }
    }

    /// Rows of one series in one group, some fields now and then missing.
    fn write(&mut self, prng: &mut Prng) {
        let (group, count) = (prng.below(2) as i64, prng.within(1..700) as i64);
        let (step, first) = (prng.within(1..5) as i64, prng.below(GROUP_TIMES as u64) as i64);
        let group_id = GroupId(group as u64 + 1);
        let destination = Destination { shard: 0, database: DATABASE, policy: POLICY, group: group_id };
        let mut builder = BatchBuilder::new(destination);
        let series = builder.key(format!("m,h={}", prng.below(SERIES)).as_bytes());
        let mut fields: Vec<usize> = (0..NAMES.len()).filter(|_| prng.below(3) > 0).collect();
        if fields.is_empty() {
            fields.push(0);
        }
        let gaps = [0, 0, 3, 400][prng.below(4) as usize];
        let level = [1, 2, first][prng.below(3) as usize];
        for row in 0..count {
            let time = group * GROUP_TIMES + (first + row * step) % GROUP_TIMES;
            let mut here: Vec<usize> = fields.iter().copied().filter(|_| gaps == 0 || prng.below(gaps) > 0).collect();
            if here.is_empty() {
                here = fields.clone();
            }
            let layout = here.iter().map(|field| (NAMES[*field], type_of(*field, group)));
            let layout = builder.layout(b"m", layout);
            builder.row(SeriesRef::New(series), layout, time);
            for field in here {
                builder.value(value(prng, type_of(field, group), level + row / 100));
            }
        }
        self.store(builder);
    }

    fn store(&mut self, builder: BatchBuilder) {
        let (engine, batches) = (self.engine.clone(), vec![builder.finish()]);
        self.simulation.block_on(async move { engine.write(batches).await }).unwrap();
    }

    fn flush(&mut self) {
        self.engine.freeze_soon();
        let engine = self.engine.clone();
        assert!(self.simulation.run_until(1_000_000, || engine.is_flushed()));
    }

    fn delete(&mut self, prng: &mut Prng) {
        let (one, other) = (any_time(prng), any_time(prng));
        let range = TimeRange { min: one.min(other), max: one.min(other) + one.abs_diff(other) as i64 / 8 };
        let series = (0..SERIES as u32).filter(|_| prng.below(2) == 0).collect();
        let deletion = Deletion { shard: 0, database: DATABASE, series: Rc::new(series), range, forgotten: Vec::new() };
        let engine = self.engine.clone();
        self.simulation.block_on(async move { engine.delete(vec![deletion]).await }).unwrap();
    }

    /// What the fragment gives and how many points it counts, with and without summaries.
    fn answers(&mut self, fragment: &Fragment) -> [(Vec<Part>, u64); 2] {
        let views = self.engine.views();
        let summaries = Executor::new(views.clone());
        let reading = Executor::new(views.into_iter().map(ReadAll).collect());
        let (one, other) = (fragment.clone(), fragment.clone());
        let answers = async move { [collect(&summaries, one).await, collect(&reading, other).await] };
        self.simulation.block_on(answers)
    }
}

fn any_time(prng: &mut Prng) -> i64 {
    prng.below(2 * GROUP_TIMES as u64) as i64
}

async fn collect<V: View>(executor: &Executor<V>, fragment: Fragment) -> (Vec<Part>, u64) {
    let has_interval = matches!(&fragment.work, Work::Windows { window, .. } if window.interval > 0);
    let mut request = Request::Open(Box::new(fragment));
    let (mut parts, mut points) = (Vec::new(), 0);
    loop {
        let Response::Chunk(chunk) = executor.handle(request).await else { panic!("not a chunk") };
        parts.extend(chunk.parts);
        points += chunk.points;
        let Some(next) = chunk.cursor else { break };
        request = Request::Next(next);
    }
    if has_interval {
        parts.iter_mut().for_each(forget_times);
    }
    (parts, points)
}

/// Where windows have a length, the time of the point that was chosen is in no answer.
fn forget_times(part: &mut Part) {
    let PartData::Windows(windows) = &mut part.data else { return };
    for partial in windows.partials.iter_mut().flatten() {
        if let Partial::Point(point) = partial {
            point.time = 0;
        }
    }
}

/// Any query.
fn fragment(prng: &mut Prng) -> Fragment {
    let field = |prng: &mut Prng| {
        let field = prng.below(NAMES.len() as u64) as usize;
        let as_type = if prng.below(8) == 0 { FieldType::Float } else { type_of(field, prng.below(2) as i64) };
        FieldRef { name: NAMES[field].into(), as_type }
    };
    let (one, other) = (any_time(prng), any_time(prng));
    let range = match prng.below(3) {
        0 => TimeRange { min: one.min(other), max: one.max(other) },
        _ => TimeRange { min: 0, max: 2 * GROUP_TIMES },
    };
    let has_tags = prng.below(4) == 0;
    let mut fields = vec![field(prng)];
    let descending = prng.below(2) == 0;
    let work = if prng.below(6) == 0 {
        fields.push(field(prng));
        let required = prng.within(1..3) as usize;
        Work::Rows { required, limit: [None, Some(5)][prng.below(2) as usize] }
    } else {
        let interval = [0, 0, 150, 700, GROUP_TIMES][prng.below(5) as usize];
        let zone = (prng.below(6) == 0).then(|| jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        let offset = if interval > 0 { prng.below(interval as u64) as i64 } else { 0 };
        let window = Window { interval, offset, zone, range };
        let aggregate = |prng: &mut Prng| AGGREGATES[prng.below(AGGREGATES.len() as u64) as usize];
        let mut calls = vec![CallSpec { aggregate: aggregate(prng), field: 0 }];
        let mut carried = Vec::new();
        if calls[0].aggregate.is_selector() && (has_tags || prng.below(3) == 0) {
            fields.extend((0..prng.below(3)).map(|_| field(prng)));
            carried = (1..fields.len()).collect();
        } else if !has_tags {
            for _ in 0..prng.below(3) {
                fields.push(field(prng));
                calls.push(CallSpec { aggregate: aggregate(prng), field: prng.below(fields.len() as u64) as usize });
            }
        }
        Work::Windows { window, calls, carried }
    };
    Fragment {
        database: DATABASE,
        policy: POLICY,
        measurement: b"m"[..].into(),
        range,
        fields,
        tags: if has_tags { vec![b"h"[..].into()] } else { Vec::new() },
        ties: Vec::new(),
        filter: (prng.below(3) == 0).then(|| filter(prng)),
        dimensions: if prng.below(2) == 0 { vec![b"h"[..].into()] } else { Vec::new() },
        series_rows: (prng.below(12) == 0).then_some(7),
        groups: None,
        rows_descending: descending,
        descending,
        series_max: 0,
        work,
    }
}

fn filter(prng: &mut Prng) -> Expr {
    const OPS: [Op; 6] = [Op::Equal, Op::NotEqual, Op::Less, Op::LessEqual, Op::Greater, Op::GreaterEqual];
    if prng.below(4) == 0 {
        let op = if prng.below(2) == 0 { Op::And } else { Op::Or };
        return Expr::Binary { op, left: Box::new(filter(prng)), right: Box::new(filter(prng)) };
    }
    let field = prng.below(NAMES.len() as u64) as usize;
    let literal = match prng.below(6) {
        0 => Cell::Boolean(true),
        1 => Cell::Float(0.5),
        2 => Cell::Float(0.0),
        _ => Cell::Integer(prng.below(GROUP_TIMES as u64) as i64 - 2),
    };
    let op = OPS[prng.below(OPS.len() as u64) as usize];
    let field = Box::new(Expr::Field { name: NAMES[field].into(), as_type: type_of(field, 0) });
    let literal = Box::new(Expr::Literal(literal));
    let (left, right) = if prng.below(4) == 0 { (literal, field) } else { (field, literal) };
    Expr::Binary { op, left, right }
}

/// Runs the property on `MILLRACE_SEEDS` seeds, or on the one of `MILLRACE_SEED`.
#[test]
fn summaries_answer_what_reading_answers() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = number("MILLRACE_SEED").map_or((1, number("MILLRACE_SEEDS").unwrap_or(40)), |seed| (seed, 1));
    for seed in first..first + count {
        let mut prng = Prng::from_seed(seed);
        let mut run = Run::start(seed, [None, Some(u64::MAX), Some(0)][prng.below(3) as usize]);
        for _ in 0..prng.within(2..9) {
            match prng.below(6) {
                0 => run.delete(&mut prng),
                1 | 2 => run.flush(),
                _ => run.write(&mut prng),
            }
        }
        if prng.below(2) == 0 {
            run.flush();
        }
        for _ in 0..60 {
            let fragment = fragment(&mut prng);
            let [found, expected] = run.answers(&fragment).map(|answer| format!("{answer:?}"));
            assert_eq!(found, expected, "MILLRACE_SEED={seed}: {fragment:?}");
        }
    }
}

/// 1000 values from 0 up, a block for each hundred times, of which the first cannot be read.
fn damaged() -> Run {
    let mut run = Run::start(1, None);
    for block in 0..10 {
        let destination = Destination { shard: 0, database: DATABASE, policy: POLICY, group: GroupId(1) };
        let mut builder = BatchBuilder::new(destination);
        let series = builder.key(b"m,h=0");
        let layout = builder.layout(b"m", [(&b"i"[..], FieldType::Integer)].into_iter());
        for time in block * 100..(block + 1) * 100 {
            builder.row(SeriesRef::New(series), layout, time);
            builder.value(FieldValue::Integer(time));
        }
        run.store(builder);
        run.flush();
    }
    let disk = run.simulation.disk().clone();
    run.simulation.block_on(async move {
        let paths = disk.files().into_iter().map(|(path, _)| path);
        let path = paths.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).min().unwrap();
        let file = Disk::open(&disk, &path).await.unwrap();
        let bytes = file.read_at(0, 4096).await.unwrap();
        let mut buffer = Disk::buffer(&disk, 4096);
        buffer.copy_from_slice(&bytes);
        buffer[8] ^= 1;
        file.write_at(buffer, 0).await.unwrap();
    });
    run
}

fn whole(aggregate: Aggregate, filter: Option<Expr>) -> Fragment {
    let range = TimeRange { min: 0, max: GROUP_TIMES };
    let calls = vec![CallSpec { aggregate, field: 0 }];
    Fragment {
        database: DATABASE,
        policy: POLICY,
        measurement: b"m"[..].into(),
        range,
        fields: vec![FieldRef { name: b"i"[..].into(), as_type: FieldType::Integer }],
        tags: Vec::new(),
        ties: Vec::new(),
        filter,
        dimensions: Vec::new(),
        series_rows: None,
        groups: None,
        rows_descending: false,
        descending: false,
        series_max: 0,
        work: Work::Windows { window: Window::whole(range), calls, carried: Vec::new() },
    }
}

/// What comes of an aggregate of [`damaged`]; with the damaged block it lacks 0 to 99.
fn check(aggregate: Aggregate, filter: Option<Expr>, expected: Cell, with_reading: Cell) {
    let answers = damaged().answers(&whole(aggregate, filter));
    let values = answers.map(|(parts, _)| {
        let Some(PartData::Windows(windows)) = parts.into_iter().next().map(|part| part.data) else {
            panic!("no part")
        };
        windows.partials[0][0].clone().finish().unwrap().value
    });
    assert_eq!(values, [expected, with_reading], "{aggregate:?}");
}

fn over(limit: i64) -> Option<Expr> {
    let left = Box::new(Expr::Field { name: b"i"[..].into(), as_type: FieldType::Integer });
    Some(Expr::Binary { op: Op::Greater, left, right: Box::new(Expr::Literal(Cell::Integer(limit))) })
}

#[test]
fn aggregates_of_whole_blocks_read_none() {
    check(Aggregate::Count, None, Cell::Integer(1000), Cell::Integer(900));
    check(Aggregate::Sum, None, Cell::Integer(499_500), Cell::Integer(494_550));
    check(Aggregate::Mean, None, Cell::Float(499.5), Cell::Float(549.5));
    check(Aggregate::Spread, None, Cell::Integer(999), Cell::Integer(899));
    check(Aggregate::First, None, Cell::Integer(0), Cell::Integer(100));
    check(Aggregate::Count, over(-1), Cell::Integer(1000), Cell::Integer(900));
}

/// A block that was read is known to be damaged, and left out of all answers.
#[test]
fn only_the_block_of_the_chosen_point_is_read() {
    let mut run = damaged();
    for (fragment, value) in [
        (whole(Aggregate::Max, None), 999),
        (whole(Aggregate::Last, None), 999),
        (whole(Aggregate::Min, over(400)), 401),
        (whole(Aggregate::Count, over(899)), 100),
        (whole(Aggregate::Count, None), 1000),
        (whole(Aggregate::Min, None), 100),
        (whole(Aggregate::Count, None), 900),
    ] {
        let views = run.engine.views();
        let executor = Executor::new(views);
        let text = format!("{fragment:?}");
        let (parts, _) = run.simulation.block_on(async move { collect(&executor, fragment).await });
        let Some(PartData::Windows(windows)) = parts.into_iter().next().map(|part| part.data) else { panic!("{text}") };
        assert_eq!(windows.partials[0][0].clone().finish().unwrap().value, Cell::Integer(value), "{text}");
    }
}

#[test]
fn a_cold_segment_is_packed_once_and_only_where_that_saves_enough() {
    // Of steps of half a unit few are frequent; of those of a unit packing saves less than it is for.
    for (deviation, expected) in [(0.5, 1), (1.0, 0)] {
        let mut run = Run::start(1, Some(0));
        let mut prng = Prng::from_seed(1);
        let destination = Destination { shard: 0, database: DATABASE, policy: POLICY, group: GroupId(1) };
        let mut builder = BatchBuilder::new(destination);
        let series = builder.key(b"m,h=1");
        let layout = builder.layout(b"m", [(NAMES[0], FieldType::Integer)].into_iter());
        let (mut level, mut unit) = (50.0, || prng.below(1000) as f64 / 1000.0);
        for time in 0..GROUP_TIMES / 2 {
            level = f64::clamp(level + (unit() + unit() + unit() - 1.5) * 2.0 * deviation, 0.0, 100.0);
            builder.row(SeriesRef::New(series), layout, time);
            builder.value(FieldValue::Integer(level as i64));
        }
        run.store(builder);
        run.flush();
        let engine = run.engine.clone();
        let is_done = || {
            let state = engine.state.borrow();
            !state.work.is_compacting && engine.choose(&state).is_none()
        };
        assert!(run.simulation.run_until(1_000_000, is_done), "it is written anew again and again");
        assert_eq!(engine.state.borrow().work.compactions, expected);
    }
}

#[test]
fn the_space_of_deleted_points_comes_back_though_nothing_is_written_after_the_deletion() {
    let mut run = Run::start(1, Some(1 << 62));
    let mut prng = Prng::from_seed(1);
    run.write(&mut prng);
    run.flush();
    let series = (0..SERIES as u32).collect();
    let range = TimeRange::ALWAYS;
    let deletion = Deletion { shard: 0, database: DATABASE, series: Rc::new(series), range, forgotten: Vec::new() };
    let engine = run.engine.clone();
    run.simulation.block_on(async move { engine.delete(vec![deletion]).await }).unwrap();
    let engine = run.engine.clone();
    let row_count = || -> u64 {
        let state = engine.state.borrow();
        let segments = state.shards[&0].partitions.values().flat_map(|partition| &partition.segments);
        segments.map(|settled| settled.segment.rows()).sum()
    };
    assert!(row_count() > 0);
    assert!(run.simulation.run_until(1_000_000, || row_count() == 0));
}
