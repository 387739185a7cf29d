use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use glommio::LocalExecutor;

use super::dormant::Dormant;
use super::*;
use crate::batch::BatchBuilder;
use crate::batch::Destination;
use crate::batch::SeriesRef;
use crate::disk::real::RealDisk;
use crate::exec::view::Cursor;
use crate::exec::view::ReadRequest;
use crate::exec::view::View;
use crate::model::FieldValue;
use crate::model::TimeRange;
use crate::model::Values;
use crate::stdx::budget::Counter;

const DATABASE: DatabaseId = DatabaseId(1);
const POLICY: PolicyId = PolicyId(1);
const EVERYTHING: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };
const SHARDS: u16 = 4;

/// Two shard groups: times below 1000, and the rest below 2000.
fn live() -> Live {
    let mut live = Live::default();
    live.databases.insert(DATABASE);
    for (group, min, max) in [(1, 0, 999), (2, 1000, 1999)] {
        let key = PartitionKey { database: DATABASE, policy: POLICY, group: GroupId(group) };
        live.groups.insert(key, TimeRange { min, max });
    }
    live
}

/// Of a core that only freezes by size and never compacts what is cold.
pub(super) fn run_options(dir: &Path, core: u16, core_count: u16, memtable_bytes: usize) -> Options {
    Options {
        dir: dir.to_path_buf(),
        shard_count: SHARDS,
        core,
        core_count,
        generation: 1,
        memtable_bytes,
        chunk_words: 64,
        replay_bytes: memtable_bytes,
        wal_bytes: 1 << 30,
        cold_flush_ns: u64::MAX,
        pending_bytes: 1 << 20,
        write_wait_ns: 10_000_000_000,
        commit_delay_ns: 0,
        reserve_bytes: 0,
        durability: Durability::Always,
        page_cache_bytes: 1 << 20,
        compact_bytes_per_second: 0,
        compact_burst_bytes: 0,
        compact_cold_ns: u64::MAX,
        series_log_bytes: 0,
        dormant_series: 8,
    }
}

/// The engines of all cores of one run, in one thread.
struct Run {
    engines: Vec<Rc<Engine<RealDisk>>>,
    tasks: Vec<glommio::Task<()>>,
    recovery: Recovery,
}

impl Run {
    async fn start(dir: &Path, cores: u16, memtable_bytes: usize) -> Run {
        let mut run = Run::start_cold(dir, cores, memtable_bytes).await;
        for engine in &run.engines {
            run.recovery.join(engine.open_cold().await);
            engine.replayed().await.unwrap();
        }
        run
    }

    /// Without what a start leaves for later.
    async fn start_cold(dir: &Path, cores: u16, memtable_bytes: usize) -> Run {
        Run::start_parts(dir, cores, memtable_bytes, &[0, 1, 2]).await
    }

    /// With some of the loops alone: commit, flush, compact.
    async fn start_parts(dir: &Path, cores: u16, memtable_bytes: usize, parts: &[u8]) -> Run {
        let disk = RealDisk::new();
        disk.probe(dir).await.unwrap();
        let old_logs = OldLogs::list(&disk, dir, usize::from(cores)).await.unwrap();
        let mut run = Run { engines: Vec::new(), tasks: Vec::new(), recovery: Recovery::default() };
        for core in 0..cores {
            let generation = old_logs.next_generation();
            let options = Options { generation, ..run_options(dir, core, cores, memtable_bytes) };
            let (engine, recovery) = Engine::open(disk, options, live(), old_logs.clone()).await.unwrap();
            run.recovery.join(recovery);
            for &part in parts {
                let engine = engine.clone();
                run.tasks.push(glommio::spawn_local(async move {
                    match part {
                        0 => engine.commit_loop().await,
                        1 => engine.flush_loop().await,
                        _ => engine.compact_loop().await,
                    }
                }));
            }
            run.engines.push(engine);
        }
        run
    }

    async fn write(&self, shard: u16, key: &str, time: i64, value: i64) {
        let group = GroupId(if time < 1000 { 1 } else { 2 });
        let mut builder = BatchBuilder::new(Destination { shard, database: DATABASE, policy: POLICY, group });
        let layout = builder.layout(b"m", [(&b"i"[..], FieldType::Integer)].into_iter());
        let series = builder.key(key.as_bytes());
        builder.row(SeriesRef::New(series), layout, time);
        builder.value(FieldValue::Integer(value));
        let engine = &self.engines[usize::from(shard) % self.engines.len()];
        engine.write(vec![builder.finish()]).await.unwrap();
    }

    /// Every point of the field `i`: (key, time) to value. Checks on the way that both directions agree.
    async fn points(&self, keys: &[&str]) -> BTreeMap<(String, i64), i64> {
        let mut points = BTreeMap::new();
        for view in self.engines.iter().flat_map(Engine::views) {
            for key in keys {
                let id = view.index(DATABASE, |index| index.lookup(key.as_bytes())).flatten();
                let Some(series) = id else { continue };
                let mut found = Vec::new();
                for descending in [false, true] {
                    let fields = vec![Bytes::from(&b"i"[..])];
                    let request = ReadRequest {
                        database: DATABASE,
                        policy: POLICY,
                        series,
                        fields,
                        range: EVERYTHING,
                        descending,
                    };
                    let mut cursor = view.read(request);
                    let mut rows = Vec::new();
                    while let Some(block) = cursor.next().await.unwrap() {
                        let Some(Values::Integer(values)) = block.columns[0].as_ref().map(|column| &column.values)
                        else {
                            panic!("{block:?}")
                        };
                        rows.extend(block.times.iter().copied().zip(values.iter().copied()));
                    }
                    if descending {
                        rows.reverse();
                    }
                    found.push(rows);
                }
                assert_eq!(found[0], found[1]);
                assert!(found[0].is_sorted_by_key(|row| row.0));
                points.extend(found[0].iter().map(|&(time, value)| ((key.to_string(), time), value)));
            }
        }
        points
    }

    /// Deletes all points of a series that `shard` holds.
    async fn delete(&self, shard: u16, key: &str) {
        let engine = &self.engines[usize::from(shard) % self.engines.len()];
        let view = engine.views().into_iter().find(|view| view.shard() == shard).unwrap();
        let id = view.index(DATABASE, |index| index.lookup(key.as_bytes())).flatten().unwrap();
        let series = Rc::new([id.0].into_iter().collect());
        let deletion = Deletion { shard, database: DATABASE, series, range: EVERYTHING, forgotten: Vec::new() };
        engine.delete(vec![deletion]).await.unwrap();
    }

    /// Waits until everything acknowledged is in segments.
    async fn flush(&self) {
        for engine in &self.engines {
            engine.freeze_soon();
            while !engine.is_flushed() {
                glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }

    fn sizes(&self) -> Sizes {
        let mut sum = Sizes::default();
        for sizes in self.engines.iter().map(|engine| engine.sizes()) {
            sum.memtable_bytes += sizes.memtable_bytes;
            sum.segments += sizes.segments;
            sum.unreadable_segments += sizes.unreadable_segments;
        }
        sum
    }

    async fn stop(self) {
        for engine in &self.engines {
            engine.close().await;
        }
        for task in self.tasks {
            task.await;
        }
    }

    /// Lets go of everything without another step, as a kill does.
    async fn kill(self) {
        for task in self.tasks {
            task.cancel().await;
        }
    }
}

fn test<F: Future<Output = ()>>(body: impl FnOnce(std::path::PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_path_buf();
    LocalExecutor::default().run(body(dir));
}

const KEYS: [&str; 3] = ["m,h=a", "m,h=b", "m,h=c"];

async fn fill(run: &Run, model: &mut BTreeMap<(String, i64), i64>, salt: i64) {
    for index in 0..60 {
        let key = KEYS[(index % 3) as usize];
        let time = (index * 37 + salt * 11) % 2000;
        run.write((index % 3) as u16, key, time, index + salt).await;
        model.insert((key.to_string(), time), index + salt);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_any_change_of_cores() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        for (round, cores) in [2, 3, 1, 4, 2].into_iter().enumerate() {
            let run = Run::start(&dir, cores, 1 << 30).await;
            assert_eq!(run.points(&KEYS).await, model, "round {round}");
            fill(&run, &mut model, round as i64).await;
            assert_eq!(run.points(&KEYS).await, model, "round {round}");
            run.kill().await;
        }
    });
}

#[test]
fn flushes_in_between_change_no_answer_and_a_clean_stop_leaves_nothing_to_replay() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        for round in 0..3 {
            let run = Run::start(&dir, 2, 2000).await;
            assert_eq!(run.recovery.points, 0, "{}", run.recovery);
            assert!(round == 0 || run.recovery.segments > 4, "{}", run.recovery);
            assert_eq!(run.points(&KEYS).await, model, "round {round}");
            fill(&run, &mut model, round).await;
            assert_eq!(run.points(&KEYS).await, model, "round {round}");
            run.stop().await;
        }
        let run = Run::start(&dir, 2, 2000).await;
        assert_eq!(run.points(&KEYS).await, model);
        run.stop().await;
        let logs = std::fs::read_dir(dir.join("wal")).unwrap().count();
        assert_eq!(logs, 2, "only the log in use of each core stays");
    });
}

#[test]
fn a_dropped_database_is_gone_at_once_and_after_a_restart() {
    test(async |dir| {
        let run = Run::start(&dir, 2, 2000).await;
        fill(&run, &mut BTreeMap::new(), 0).await;
        run.engines.iter().for_each(|engine| engine.set_live(Live::default()));
        assert!(run.points(&KEYS).await.is_empty());
        let builder =
            BatchBuilder::new(Destination { shard: 0, database: DATABASE, policy: POLICY, group: GroupId(1) });
        assert_eq!(run.engines[0].write(vec![builder.finish()]).await, Err(WriteError::Gone));
        run.stop().await;
        let segments = |shard: u16| {
            let dir = dir.join(format!("shard-{shard:04}"));
            std::fs::read_dir(dir)
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "seg"))
                .count()
        };
        assert_eq!((0..SHARDS).map(segments).sum::<usize>(), 0);
    });
}

/// Paths in the folder of a shard whose names end so.
fn files(dir: &Path, shard: u16, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join(format!("shard-{shard:04}"))).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(end));
    paths.sort();
    paths
}

#[test]
fn logs_longer_than_memory_go_into_segments_while_they_are_replayed() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        let run = Run::start(&dir, 2, 1 << 30).await;
        for salt in 0..20 {
            fill(&run, &mut model, salt).await;
            if salt % 7 == 3 {
                // What stands before it in the log is gone, what follows is not.
                run.delete(1, KEYS[1]).await;
                model.retain(|(key, _), _| key != KEYS[1]);
                fill(&run, &mut model, salt + 100).await;
            }
        }
        let bytes = run.sizes().memtable_bytes;
        run.kill().await;
        let limit = bytes / 10;
        for cores in [2, 3, 1] {
            // Twice from the same logs: a crash before the first flush leaves nothing of what was written.
            let run = Run::start(&dir, cores, limit as usize).await;
            let sizes = run.sizes();
            assert!(sizes.memtable_bytes <= u64::from(cores) * 2 * limit, "{sizes:?} of {bytes}");
            assert!(sizes.segments > 8, "{sizes:?}");
            assert_eq!(run.points(&KEYS).await, model, "{cores} cores");
            if cores == 1 {
                run.flush().await;
                assert_eq!(run.points(&KEYS).await, model);
                run.stop().await;
            } else {
                run.kill().await;
            }
        }
        let run = Run::start(&dir, 2, 1 << 30).await;
        assert_eq!((run.recovery.points, run.points(&KEYS).await), (0, model));
        run.stop().await;
    });
}

#[test]
fn writes_are_taken_before_the_logs_are_replayed() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        let run = Run::start(&dir, 1, 1 << 30).await;
        fill(&run, &mut model, 0).await;
        run.delete(1, KEYS[1]).await;
        model.retain(|(key, _), _| key != KEYS[1]);
        run.kill().await;
        // Nobody replays yet.
        let run = Run::start_parts(&dir, 1, 1 << 30, &[0]).await;
        assert_eq!(run.recovery.points, 60, "{}", run.recovery);
        let fields: Vec<_> = run.engines[0].schema().into_iter().map(|fact| (fact.group.0, fact.field)).collect();
        assert_eq!(fields, [(1, Bytes::from(&b"i"[..])), (2, Bytes::from(&b"i"[..]))]);
        // Over what the logs hold, and beside it.
        fill(&run, &mut model, 0).await;
        fill(&run, &mut model, 5).await;
        let flushing = run.engines[0].clone();
        let flushing = glommio::spawn_local(async move { flushing.flush_loop().await });
        run.engines[0].opened(DATABASE, Some(POLICY), EVERYTHING).await.unwrap();
        assert_eq!(run.points(&KEYS).await, model);
        run.flush().await;
        assert_eq!(run.points(&KEYS).await, model);
        flushing.cancel().await;
        run.kill().await;
        let run = Run::start(&dir, 2, 1 << 30).await;
        assert_eq!((run.recovery.points, run.points(&KEYS).await), (0, model));
        run.stop().await;
    });
}

#[test]
fn a_log_is_read_by_the_core_that_owns_its_shards() {
    test(async |dir| {
        let run = Run::start(&dir, 2, 1 << 30).await;
        fill(&run, &mut BTreeMap::new(), 0).await;
        run.kill().await;
        let run = Run::start(&dir, 2, 1 << 30).await;
        assert_eq!((run.recovery.logs, run.recovery.points), (2, 60), "{}", run.recovery);
        run.kill().await;
    });
}

#[test]
fn a_series_log_is_written_anew_without_series_that_are_gone() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        let run = Run::start(&dir, 1, 1 << 30).await;
        for number in 0..300 {
            run.write(0, &format!("m,h=gone{number}"), 5, 1).await;
        }
        fill(&run, &mut model, 0).await;
        run.flush().await;
        for number in 0..300 {
            run.delete(0, &format!("m,h=gone{number}")).await;
        }
        run.stop().await;
        // Dormant ones are kept for as long as a log may name their ids, and forgotten at the next start.
        for salt in 1..40 {
            let run = Run::start(&dir, 1, 1 << 30).await;
            run.write(0, &format!("m,h=new{salt}"), 5, salt).await;
            fill(&run, &mut model, salt).await;
            run.flush().await;
            assert_eq!(run.points(&KEYS).await, model);
            assert_eq!(run.points(&["m,h=gone0", "m,h=gone299"]).await, BTreeMap::new());
            run.stop().await;
        }
        let (mut series, mut records) = (0, 0);
        let path = &files(&dir, 0, "series.log")[0];
        let disk = RealDisk::new();
        let log = Log::open(&disk, path, series_log_id(0), |record| {
            records += 1;
            let Some(SeriesRecord::Block(_, plain)) = decode_series(record) else { return };
            series +=
                crate::series::block::shapes(&plain).unwrap().iter().map(|shape| shape.members.len()).sum::<usize>();
        });
        log.await.unwrap().0.close().await.unwrap();
        assert!((40..60).contains(&series) && records < 20, "{series} series in {records} records");
        let run = Run::start(&dir, 1, 1 << 30).await;
        assert_eq!(run.recovery.damage, Vec::<String>::new());
        // An id that was given out is not given out again.
        run.write(0, "m,h=late", 5, 7).await;
        let view = run.engines[0].views().into_iter().next().unwrap();
        let id = view.index(DATABASE, |index| index.lookup(b"m,h=late")).flatten().unwrap();
        assert!(id.0 >= 340, "{id:?}");
        run.stop().await;
    });
}

#[test]
fn series_of_dropped_groups_leave_the_index_and_come_back_with_a_point() {
    test(async |dir| {
        // Of a, points are in both groups, of b in the one that is dropped, in segments and in memory.
        let (a, b) = (KEYS[0], KEYS[1]);
        let is_known = |run: &Run, key: &str| {
            let mut views = run.engines.iter().flat_map(Engine::views);
            views.any(|view| view.index(DATABASE, |index| index.lookup(key.as_bytes())).flatten().is_some())
        };
        let mut only_late = live();
        only_late.groups.retain(|key, _| key.group == GroupId(2));
        for memtable_bytes in [1, 1 << 30] {
            let folder = dir.join(memtable_bytes.to_string());
            std::fs::create_dir(&folder).unwrap();
            let run = Run::start(&folder, 2, memtable_bytes).await;
            for (key, time) in [(a, 1), (a, 1500), (b, 2)] {
                run.write(0, key, time, 7).await;
            }
            run.engines.iter().for_each(|engine| engine.set_live(only_late.clone()));
            let hopeless = Instant::now() + Duration::from_secs(30);
            while is_known(&run, b) && Instant::now() < hopeless {
                glommio::executor().yield_now().await;
            }
            assert!(is_known(&run, a) && !is_known(&run, b));
            run.write(0, b, 1600, 8).await;
            assert!(is_known(&run, b));
            let expected = BTreeMap::from([((a.to_owned(), 1500), 7), ((b.to_owned(), 1600), 8)]);
            assert_eq!(run.points(&KEYS).await, expected);
            run.stop().await;
        }
    });
}

/// Points of one time for some series of shard 0.
fn batch_of(series: impl IntoIterator<Item = Result<SeriesId, String>>) -> Batch {
    let destination = Destination { shard: 0, database: DATABASE, policy: POLICY, group: GroupId(1) };
    let mut builder = BatchBuilder::new(destination);
    let layout = builder.layout(b"m", [(&b"i"[..], FieldType::Integer)].into_iter());
    for series in series {
        let series = match series {
            Ok(id) => SeriesRef::Known(id),
            Err(key) => SeriesRef::New(builder.key(key.as_bytes())),
        };
        builder.row(series, layout, 5);
        builder.value(FieldValue::Integer(7));
    }
    builder.finish()
}

#[test]
fn keys_of_dormant_series_go_while_others_come_and_a_write_that_names_one_is_refused() {
    test(async |dir| {
        let (mut live, forgets) = (live(), Counter::default());
        live.forgets.insert(DATABASE, forgets.clone());
        let run = Run::start(&dir, 1, 1 << 30).await;
        let engine = &run.engines[0];
        engine.set_live(live);
        let sleeping = || engine.state.borrow().shards[&0].dormant.get(&DATABASE).map_or(0, Dormant::len);
        let delete = async |ids: &[SeriesId]| {
            let series = Rc::new(ids.iter().map(|id| id.0).collect());
            let deletion = Deletion { shard: 0, database: DATABASE, series, range: EVERYTHING, forgotten: Vec::new() };
            engine.delete(vec![deletion]).await.unwrap();
        };
        let keys = || (0..50).map(|number| Err(format!("m,h={number}")));
        let mut last = Vec::new();
        for _ in 0..4 {
            let before = forgets.get();
            let ids = engine.write_within(vec![batch_of(keys())], before, Taken::default()).await.unwrap().remove(0);
            assert!(ids.iter().all(|id| !last.contains(id)), "ids are not given out twice");
            delete(&ids).await;
            let hopeless = Instant::now() + Duration::from_secs(30);
            while sleeping() > 0 && Instant::now() < hopeless {
                glommio::executor().yield_now().await;
            }
            assert!(sleeping() == 0 && forgets.get() > before);
            let stale = engine.write_within(vec![batch_of([Ok(ids[3])])], before, Taken::default()).await;
            assert!(matches!(stale, Err(WriteError::Overloaded(_))), "{stale:?}");
            last = ids;
        }
        // A few stay, and come back by key or id, also for a write that began before.
        let some = vec![batch_of(keys().take(4))];
        let ids = engine.write_within(some, forgets.get(), Taken::default()).await.unwrap().remove(0);
        delete(&ids).await;
        assert_eq!(sleeping(), 4);
        let back = vec![batch_of([Ok(ids[0])]), batch_of(keys().take(2).skip(1))];
        assert_eq!(engine.write_within(back, 0, Taken::default()).await.unwrap()[1], [ids[1]]);
        let model = BTreeMap::from(["m,h=0", "m,h=1"].map(|key| ((key.to_owned(), 5), 7)));
        let all: Vec<String> = keys().filter_map(Result::err).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(run.points(&all).await, model);
        run.kill().await;
        let run = Run::start(&dir, 1, 1 << 30).await;
        assert_eq!(run.points(&all).await, model);
        run.stop().await;
    });
}

#[test]
fn a_series_log_stays_while_core_logs_may_name_what_stands_there_alone() {
    test(async |dir| {
        let mut live = live();
        live.forgets.insert(DATABASE, Counter::default());
        let run = Run::start(&dir, 1, 1 << 30).await;
        let engine = &run.engines[0];
        engine.set_live(live);
        let length = || std::fs::metadata(&files(&dir, 0, "series.log")[0]).unwrap().len();
        for number in 0..40 {
            run.write(0, &format!("m,h=gone{number}"), 5, 1).await;
            run.delete(0, &format!("m,h=gone{number}")).await;
        }
        let sleeping = || engine.state.borrow().shards[&0].dormant.get(&DATABASE).map_or(0, Dormant::len);
        let hopeless = Instant::now() + Duration::from_secs(30);
        while (sleeping() > 8 || engine.is_forgetting()) && Instant::now() < hopeless {
            glommio::executor().yield_now().await;
        }
        let forgotten_in = |epoch| engine.state.borrow_mut().shards.get_mut(&0).unwrap().forgotten_in = epoch;
        forgotten_in(Some(u32::MAX));
        run.flush().await;
        let long = length();
        // The log is written anew behind a flush: the next one comes when that is over.
        for number in 0..3 {
            run.write(0, &format!("m,h=new{number}"), 5, 1).await;
            run.flush().await;
        }
        assert!(length() > long);
        forgotten_in(None);
        for number in 3..5 {
            run.write(0, &format!("m,h=new{number}"), 5, 1).await;
            run.flush().await;
        }
        assert!(length() < long, "{} {long}", length());
        run.stop().await;
    });
}

#[test]
fn series_of_an_earlier_format_are_read() {
    test(async |dir| {
        let run = Run::start(&dir, 1, 1 << 30).await;
        let mut model = BTreeMap::new();
        fill(&run, &mut model, 0).await;
        run.stop().await;
        // As builds before format 3 wrote them: a record for each series.
        let disk = RealDisk::new();
        for (shard, key) in (0..).zip(KEYS) {
            let record = [&[1][..], &DATABASE.0.to_le_bytes(), &0_u32.to_le_bytes(), key.as_bytes()].concat();
            let path = &files(&dir, shard, "series.log")[0];
            let mut log = Log::create(&disk, path, u64::from(shard)).await.unwrap();
            log.append(&[record]).await.unwrap();
            log.close().await.unwrap();
        }
        let run = Run::start(&dir, 1, 1 << 30).await;
        assert_eq!(run.points(&KEYS).await, model);
        assert_eq!(run.recovery.damage, Vec::<String>::new());
        run.stop().await;
    });
}

#[test]
fn lost_keys_are_reported_and_their_ids_not_given_out_again() {
    test(async |dir| {
        let run = Run::start(&dir, 1, 1 << 30).await;
        fill(&run, &mut BTreeMap::new(), 0).await;
        run.stop().await;
        let path = &files(&dir, 0, "series.log")[0];
        let mut bytes = std::fs::read(path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(path, bytes).unwrap();
        let run = Run::start(&dir, 1, 1 << 30).await;
        let said = run.recovery.damage.join("; ");
        assert!(said.contains("series.log: series 0 to 1 are missing"), "{said}");
        run.write(0, "m,h=new", 5, 7).await;
        let points = run.points(&["m,h=new"]).await;
        assert_eq!(points.into_iter().collect::<Vec<_>>(), [(("m,h=new".to_owned(), 5), 7)]);
        run.stop().await;
    });
}

#[test]
fn partitions_that_are_not_open_take_writes_and_are_opened_for_whoever_reads() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        let run = Run::start(&dir, 1, 1 << 30).await;
        fill(&run, &mut model, 0).await;
        run.stop().await;
        let run = Run::start_cold(&dir, 1, 1 << 30).await;
        assert_eq!((run.recovery.segments, run.engines[0].cold().len()), (0, 2), "{}", run.recovery);
        fill(&run, &mut model, 1).await;
        run.flush().await;
        let (policy, range) = (Some(POLICY), TimeRange { min: 0, max: 5 });
        run.engines[0].opened(DATABASE, policy, range).await.unwrap();
        assert_eq!(run.engines[0].cold().len(), 1);
        assert_eq!(run.engines[0].open_cold().await.damage, Vec::<String>::new());
        assert_eq!((run.engines[0].cold(), run.points(&KEYS).await), (Vec::new(), model.clone()));
        run.stop().await;
        let run = Run::start(&dir, 1, 1 << 30).await;
        assert_eq!(run.points(&KEYS).await, model);
        run.stop().await;
    });
}

#[test]
fn damage_in_a_partition_that_was_not_open_is_reported_and_the_rest_is_read() {
    test(async |dir| {
        let mut model = BTreeMap::new();
        let run = Run::start(&dir, 1, 1 << 30).await;
        fill(&run, &mut model, 0).await;
        run.stop().await;
        let path = files(&dir, 0, ".seg").remove(0);
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let run = Run::start_cold(&dir, 1, 1 << 30).await;
        let damage = run.engines[0].open_cold().await.damage;
        assert!(damage.len() == 1 && damage[0].contains(".seg: damaged at byte"), "{damage:?}");
        assert_eq!(run.sizes().unreadable_segments, 1);
        let points = run.points(&KEYS).await;
        assert!(points.iter().all(|(cell, value)| model.get(cell) == Some(value)));
        assert!(points.len() < model.len() && points.len() >= 40, "{}", points.len());
        run.stop().await;
    });
}

#[test]
fn a_partition_that_is_dropped_before_it_was_opened_leaves_no_file() {
    test(async |dir| {
        let run = Run::start(&dir, 1, 1 << 30).await;
        fill(&run, &mut BTreeMap::new(), 0).await;
        run.stop().await;
        let run = Run::start_cold(&dir, 1, 1 << 30).await;
        run.engines[0].set_live(Live::default());
        assert_eq!(run.engines[0].open_cold().await, Recovery::default());
        run.stop().await;
        assert_eq!((0..SHARDS).flat_map(|shard| files(&dir, shard, ".seg")).count(), 0);
    });
}

#[test]
fn a_start_knows_no_series_whose_groups_were_dropped_while_it_was_down() {
    test(async |dir| {
        let run = Run::start(&dir, 2, 1).await;
        run.write(0, KEYS[0], 1, 7).await;
        run.stop().await;
        let disk = RealDisk::new();
        let old_logs = OldLogs::list(&disk, &dir, 1).await.unwrap();
        let options = Options { generation: old_logs.next_generation(), ..run_options(&dir, 0, 1, 1) };
        let none = Live { databases: live().databases, ..Live::default() };
        let (engine, _) = Engine::open(disk, options, none, old_logs).await.unwrap();
        engine.open_cold().await;
        while engine.flush_step().await.is_some() {}
        let known = engine.views()[0].index(DATABASE, |index| index.len());
        assert_eq!(known, Some(0));
    });
}
