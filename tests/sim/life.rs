//! The life of one data directory: starts, work, and ends of every kind.

use std::cell::RefCell;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use millrace::disk::Disk;
use millrace::disk::sim::Faults;
use millrace::disk::sim::Simulation;
use millrace::disk::sim::prng::Prng;
use millrace::server::layout;
use millrace::shard::Durability;
use millrace::shard::Live;
use millrace::shard::Recovery;
use millrace::tools::directory::Directory;
use millrace::tools::progress::Progress;
use millrace::tools::report::Report;
use millrace::tools::verify::verify_shards;

use crate::aggregates;
use crate::model::Fate;
use crate::model::Found;
use crate::model::Model;
use crate::run::DROPPABLE;
use crate::run::Run;
use crate::run::SHARDS;
use crate::run::Sizes;
use crate::run::WRITERS;
use crate::run::catalog;
use crate::run::dir;

const CALM: Faults = Faults::calm(50_000);
/// Far more steps than anything here needs: who has not ended by then hangs.
const STEPS_MAX: u64 = 2_000_000;

/// Lives through one seed; the hash of all that happened.
pub fn live(seed: u64, shown: bool) -> u64 {
    let mut life = Life::new(seed, shown);
    for _ in 0..life.prng.within(2..7) {
        life.round();
    }
    life.end();
    life.simulation.disk().trace()
}

struct Life {
    simulation: Simulation,
    prng: Prng,
    model: Rc<RefCell<Model>>,
    faults: Faults,
    /// Nothing fails, there are only crashes.
    crashes_only: bool,
    /// Some rounds had syncs that failed.
    syncs_fail: bool,
    /// This run has all data.
    whole: bool,
    /// The last shard group is gone.
    is_dropped: bool,
    /// Some run acknowledged before the sync: a crash may leave gaps in its logs.
    is_lax: bool,
    /// Reads may have brought flipped bits or another place: points may be missing, but none may be wrong.
    is_flipped: bool,
    /// Writes may lie elsewhere, over others: what is read may say so, and so may a start.
    is_damaged: bool,
}

impl Life {
    fn new(seed: u64, shown: bool) -> Life {
        let mut prng = Prng::from_seed(seed ^ 0x5eed);
        let mut simulation = Simulation::new(seed, CALM);
        if shown {
            simulation.disk().show_trace();
        }
        let disk = simulation.disk().clone();
        simulation.block_on(async move {
            disk.create_dir(&dir()).await.expect("no faults yet");
            disk.sync_dir(Path::new("/")).await.expect("no faults yet");
        });
        let kind = prng.below(7);
        let faults = faults(kind, &mut prng);
        Life {
            simulation,
            prng,
            model: Rc::default(),
            faults,
            crashes_only: kind == 0,
            syncs_fail: faults.sync > 0,
            whole: true,
            is_dropped: false,
            is_lax: false,
            is_flipped: faults.flip + faults.misread + faults.miswrite > 0,
            is_damaged: faults.miswrite > 0,
        }
    }

    /// A start, perhaps several until one succeeds, work, and an end.
    fn round(&mut self) {
        self.simulation.disk().set_faults(self.faults);
        let sizes = Sizes::draw(&mut self.prng);
        self.is_lax = self.is_lax || sizes.durability != Durability::Always;
        self.simulation.disk().note(format_args!("start with {sizes:?} and {:?}", self.faults));
        let Some(run) = self.start(sizes) else { return };
        // Otherwise work begins while old logs are replayed.
        if self.prng.below(3) > 0 {
            self.check_after_start(&run);
        }
        self.limit_space();
        self.work(&run);
        match self.prng.below(8) {
            0 => self.close(&run),
            1 | 2 => {
                self.simulation.kill();
                // What a failed sync lost was still in memory.
                self.doubt(sizes.durability, self.syncs_fail);
            }
            _ => {
                self.simulation.crash();
                self.doubt(sizes.durability, true);
            }
        }
    }

    /// Writes that were acknowledged before the sync may be gone, if something took them.
    fn doubt(&mut self, durability: Durability, is_lossy: bool) {
        if is_lossy && durability != Durability::Always {
            self.model.borrow_mut().doubt_all();
        }
        self.verify();
    }

    /// What a crash leaves is no damage to `millrace verify`, and neither is what a clean stop leaves.
    fn verify(&self) {
        if self.damage_is_expected() {
            return;
        }
        let report = verify(&self.simulation.disk().files(), catalog(self.is_dropped));
        assert!(report.sound, "{report:#?}");
    }

    /// Opens the engines and starts their loops; `None` when it crashed or failed on the way.
    fn start(&mut self, sizes: Sizes) -> Option<Run> {
        let opened = self.simulation.spawn(Run::open(self.simulation.disk().clone(), sizes, catalog(self.is_dropped)));
        let crashes = self.prng.below(4) == 0;
        let steps = if crashes { self.prng.below(400) } else { STEPS_MAX };
        if !self.simulation.run_until(steps, || opened.is_there()) {
            assert!(crashes, "a start hangs");
            self.simulation.crash();
            // What an earlier run left unsynced may go now.
            if self.is_lax {
                self.model.borrow_mut().doubt_all();
            }
            return None;
        }
        match opened.take()? {
            Ok((run, recovery)) => {
                self.simulation.disk().note(format_args!("{recovery}"));
                self.check_recovery(&recovery);
                self.spawn_loops(&run);
                Some(run)
            }
            Err(error) => {
                self.simulation.disk().note(format_args!("no start: {error}"));
                assert!(!self.crashes_only, "{error}");
                self.simulation.kill();
                None
            }
        }
    }

    /// Crashes and failed writes damage nothing: they can only tear the end of a log. A failed sync may leave a gap.
    fn check_recovery(&self, recovery: &Recovery) {
        assert!(self.damage_is_expected() || recovery.damage.is_empty(), "{recovery}");
    }

    fn damage_is_expected(&self) -> bool {
        self.syncs_fail || self.faults.read > 0 || self.faults.names > 0 || self.is_lax || self.is_flipped
    }

    fn spawn_loops(&mut self, run: &Run) {
        for engine in &run.engines {
            let opening = engine.clone();
            self.simulation.spawn(async move { opening.open_cold().await });
            let (committing, flushing, compacting) = (engine.clone(), engine.clone(), engine.clone());
            self.simulation.spawn(async move { committing.commit_loop().await });
            self.simulation.spawn(async move { flushing.flush_loop().await });
            self.simulation.spawn(async move { compacting.compact_loop().await });
        }
    }

    fn check_after_start(&mut self, run: &Run) {
        let found = self.read(run);
        if !self.whole && !self.is_flipped {
            return;
        }
        if self.is_flipped {
            self.model.borrow().check_nothing_else(&found);
        } else {
            self.model.borrow_mut().check_started(&found);
            self.check_aggregates(run, &found);
        }
    }

    /// What the summaries of blocks say is what the points say.
    fn check_aggregates(&mut self, run: &Run, found: &Found) {
        self.simulation.disk().set_faults(CALM);
        let run = run.clone();
        let told = self.simulation.block_on(async move { aggregates::aggregates(&run).await });
        self.simulation.disk().set_faults(self.faults);
        assert_eq!(told, aggregates::expected(found));
    }

    fn check_running(&self, found: &Found, promises: &[Fate]) {
        if self.is_flipped {
            self.model.borrow().check_nothing_else(found);
        } else {
            self.model.borrow().check_running(found, promises);
        }
    }

    /// The catalog drops a shard group: at once, for good, and whatever is under way.
    fn drop_group(&mut self, run: &Run) {
        self.simulation.disk().note(format_args!("a group is dropped"));
        self.is_dropped = true;
        self.model.borrow_mut().drop_times(DROPPABLE);
        run.drop_group();
    }

    /// Reads everything without faults; flushes go on beside it.
    fn read(&mut self, run: &Run) -> Found {
        let faults = self.faults;
        self.simulation.disk().set_faults(CALM);
        let (reader, descending) = (run.clone(), self.prng.below(2) == 0);
        let is_damaged = self.is_damaged;
        let found = self.simulation.block_on(async move { reader.read(descending, is_damaged).await });
        self.simulation.disk().set_faults(faults);
        // A segment that could not be read is left out of this run; the next has it again.
        self.whole = run.engines.iter().all(|engine| engine.sizes().unreadable_segments == 0);
        found
    }

    /// Sometimes the disk is nearly full.
    fn limit_space(&mut self) {
        if self.faults.capacity.is_some() && self.prng.below(2) == 0 {
            let capacity = Some(self.simulation.disk().bytes() + self.prng.below(200_000));
            self.simulation.disk().set_faults(Faults { capacity, ..self.faults });
        }
    }

    /// Writers and flushes, up to some step.
    fn work(&mut self, run: &Run) {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let prng = Prng::from_seed(self.prng.draw());
            let count = self.prng.within(5..40);
            writers.push(self.simulation.spawn(run.clone().write_many(writer, prng, count, self.model.clone())));
        }
        for _ in 0..self.prng.below(4) {
            let steps = self.prng.below(1500);
            self.simulation.run_until(steps, || false);
            match self.prng.below(4) {
                3 if !self.is_dropped && self.prng.below(3) == 0 => self.drop_group(run),
                0 => run.engines.iter().for_each(|engine| engine.freeze_soon()),
                1 => {
                    let promises = self.model.borrow().promises();
                    let found = self.read(run);
                    if self.whole || self.is_flipped {
                        self.check_running(&found, &promises);
                    }
                }
                _ => {}
            }
        }
        if self.prng.below(3) == 0 {
            self.simulation.disk().set_faults(CALM);
            let done = self.simulation.run_until(STEPS_MAX, || writers.iter().all(|writer| writer.is_there()));
            assert!(done, "writers hang on a disk that works");
        }
    }

    /// A clean stop ends, whatever state the engines are in, once the disk works.
    fn close(&mut self, run: &Run) {
        self.simulation.disk().set_faults(CALM);
        let engines = run.engines.clone();
        let closed = self.simulation.spawn(async move {
            for engine in engines {
                engine.close().await;
            }
        });
        assert!(self.simulation.run_until(STEPS_MAX, || closed.is_there()), "a stop hangs");
        self.simulation.kill();
    }

    /// Without faults, a start, a clean stop, and another start keep everything.
    fn end(&mut self) {
        self.faults = CALM;
        self.simulation.disk().set_faults(CALM);
        for start in 0..2 {
            let sizes = Sizes::draw(&mut self.prng);
            let opened = Run::open(self.simulation.disk().clone(), sizes, catalog(self.is_dropped));
            let (run, recovery) = match self.simulation.block_on(opened) {
                Ok(opened) => opened,
                Err(error) if self.is_damaged => return self.simulation.disk().note(format_args!("no start: {error}")),
                Err(error) => panic!("a disk that works is opened: {error}"),
            };
            assert!(
                start == 0 || self.is_damaged || recovery.points == 0,
                "a clean stop leaves nothing to replay: {recovery}"
            );
            self.check_recovery(&recovery);
            self.spawn_loops(&run);
            self.check_after_start(&run);
            self.close(&run);
            self.verify();
        }
    }
}

/// Checks a copy of the files on the machine's own disk.
#[allow(clippy::disallowed_methods, reason = "a test may block")]
fn verify(files: &[(PathBuf, Vec<u8>)], live: Live) -> Report {
    let folder = tempfile::tempdir().expect("a directory for the test");
    for (path, bytes) in files {
        let path = folder.path().join(path.strip_prefix(dir()).expect("all is in the data directory"));
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the directory is ours");
        std::fs::write(path, bytes).expect("the directory is ours");
    }
    let format = layout::Format { version: layout::FORMAT_VERSION, shard_count: SHARDS }.text();
    std::fs::write(folder.path().join(layout::FORMAT_NAME), format).expect("the directory is ours");
    let directory = Directory::open(folder.path()).expect("a data directory");
    verify_shards(&directory, live, &Progress::hidden()).expect("it can be listed")
}

fn faults(kind: u64, prng: &mut Prng) -> Faults {
    let mut often = || prng.within(1_000..30_000) as u32;
    match kind {
        0 => CALM,
        1 => Faults { write: often(), short_write: often(), ..CALM },
        2 => Faults { sync: often(), names: often(), ..CALM },
        3 => Faults { flip: often(), ..CALM },
        4 => Faults { misread: often(), ..CALM },
        5 => Faults { miswrite: often(), ..CALM },
        _ => Faults {
            write: often(),
            short_write: often(),
            sync: often(),
            read: often() / 4,
            names: often() / 4,
            capacity: Some(u64::MAX),
            ..CALM
        },
    }
}
