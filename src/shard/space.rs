//! Room on the device. A write is taken only while all that is in the logs has room to become segments: a flush makes
//! room, and a disk that is full up to the last byte would never see one. Deletions are taken until nothing is left.

use crate::disk::Clock;
use crate::disk::Disk;
use crate::shard::Engine;
use crate::shard::State;

/// How long what was seen counts.
const LOOK_NS: u64 = 100_000_000;

/// How long there must have been room for the shortage to be over.
const CALM_NS: u64 = 10_000_000_000;

/// What the last look at the device said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Space {
    looked_ns: Option<u64>,
    /// Unflushed bytes for which the last look is still good.
    good_to: u64,
    /// Writes wait.
    pub is_short: bool,
    /// When room was short last, since the log says so.
    told_short_ns: Option<u64>,
}

impl Space {
    /// Room was made: the next write looks.
    pub fn look_again(&mut self) {
        self.looked_ns = None;
    }

    /// Takes what was seen; what the log shall say of it. A device near its end is short and is not, with each flush:
    /// that is said once.
    fn note(&mut self, is_short: bool, now: u64) -> Option<&'static str> {
        self.is_short = is_short;
        if is_short {
            return self.told_short_ns.replace(now).is_none().then_some(SHORT);
        }
        if self.told_short_ns.is_none_or(|told| now <= told + CALM_NS) {
            return None;
        }
        self.told_short_ns = None;
        Some("writes have room on the device again")
    }
}

impl<P: Disk + Clock> Engine<P> {
    /// Looks at the device, if the last look is no longer good. When room gets short, what is in memory is flushed
    /// early, so that its logs can go.
    pub(super) async fn look_at_space(&self) {
        let now = self.platform.monotonic_ns();
        let unflushed = {
            let mut state = self.state.borrow_mut();
            let unflushed = self.unflushed_bytes(&state);
            let is_good = state.space.looked_ns.is_some_and(|looked| now < looked + LOOK_NS);
            if self.options.reserve_bytes == 0 || is_good && unflushed <= state.space.good_to {
                return;
            }
            state.space.looked_ns = Some(now);
            // For all that come before the device has answered.
            state.space.good_to = u64::MAX;
            unflushed
        };
        let needed = self.options.reserve_bytes + unflushed;
        let free = self.free_bytes().await;
        let is_short = free < needed;
        let mut state = self.state.borrow_mut();
        if !is_short {
            // What goes to the logs is needed a second time.
            state.space.good_to = unflushed + (free - needed) / 4;
        }
        if let Some(news) = state.space.note(is_short, now) {
            tracing::warn!("{news}");
        }
        if is_short && state.active_bytes > 0 {
            state.freeze_asked = true;
            drop(state);
            self.commit_work.notify_all();
        }
    }

    /// Whether so many bytes can be written without taking the room of writes and flushes. What frees more than it
    /// writes may use half of the reserve: nothing else makes room on a device that is full of deleted points.
    pub(super) async fn has_space_beside_writes(&self, bytes: u64, freed_bytes: u64) -> bool {
        let reserve = self.options.reserve_bytes / if freed_bytes > bytes { 2 } else { 1 };
        let needed = bytes + reserve + self.unflushed_bytes(&self.state.borrow());
        self.options.reserve_bytes == 0 || self.free_bytes().await >= needed
    }

    /// What the device has left; one that does not tell has no end.
    async fn free_bytes(&self) -> u64 {
        self.platform.free_bytes(&self.options.dir).await.unwrap_or(u64::MAX)
    }

    /// An estimate of what the segments take that all cores still owe: as much as the logs do, and what waits for a log
    /// needs room in both.
    fn unflushed_bytes(&self, state: &State<P>) -> u64 {
        let frozen = state.frozen.as_ref().map_or(0, |frozen| frozen.log_bytes);
        let own = 2 * state.pending_bytes as u64 + state.active_log_bytes + frozen;
        own * u64::from(self.options.core_count)
    }
}

/// Said to a writer, and in the log.
pub const SHORT: &str = "no space left on device for writes: the rest is kept for flushing what is in memory";

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use super::*;
    use crate::batch::Batch;
    use crate::batch::BatchBuilder;
    use crate::batch::Destination;
    use crate::batch::SeriesRef;
    use crate::disk::sim::Faults;
    use crate::disk::sim::SimDisk;
    use crate::disk::sim::Simulation;
    use crate::model::DatabaseId;
    use crate::model::FieldType;
    use crate::model::FieldValue;
    use crate::model::GroupId;
    use crate::model::PolicyId;
    use crate::model::TimeRange;
    use crate::shard::Deletion;
    use crate::shard::Live;
    use crate::shard::OldLogs;
    use crate::shard::Options;
    use crate::shard::PartitionKey;
    use crate::shard::WriteError;
    use crate::shard::tests::run_options;

    const KEY: PartitionKey = PartitionKey { database: DatabaseId(1), policy: PolicyId(1), group: GroupId(1) };
    const SECOND_NS: u64 = 1_000_000_000;

    /// An engine of one shard whose loops run; only what the device says makes it flush.
    fn start(simulation: &mut Simulation, reserve_bytes: u64) -> Rc<Engine<SimDisk>> {
        let options = Options {
            shard_count: 1,
            wal_bytes: 1 << 40,
            write_wait_ns: SECOND_NS,
            reserve_bytes,
            ..run_options("/data".as_ref(), 0, 1, 1 << 30)
        };
        let mut live = Live::default();
        live.databases.insert(KEY.database);
        live.groups.insert(KEY, TimeRange::ALWAYS);
        let disk = simulation.disk().clone();
        let engine = simulation.block_on(async move {
            disk.create_dir(Path::new("/data/wal")).await.unwrap();
            let logs = OldLogs::list(&disk, Path::new("/data"), 1).await.unwrap();
            Engine::open(disk, options, live, logs).await.unwrap().0
        });
        let (committing, flushing, compacting) = (engine.clone(), engine.clone(), engine.clone());
        simulation.spawn(async move { committing.commit_loop().await });
        simulation.spawn(async move { compacting.compact_loop().await });
        simulation.spawn(async move { flushing.flush_loop().await });
        engine
    }

    fn batch(number: i64) -> Batch {
        let PartitionKey { database, policy, group } = KEY;
        let mut builder = BatchBuilder::new(Destination { shard: 0, database, policy, group });
        let layout = builder.layout(b"m", [(&b"f"[..], FieldType::Float)].into_iter());
        let series = builder.key(b"m");
        for row in 0..100 {
            builder.row(SeriesRef::New(series), layout, number * 100 + row);
            builder.value(FieldValue::Float(((number * 100 + row) as f64).sin()));
        }
        builder.finish()
    }

    fn limit(simulation: &Simulation, capacity: u64) {
        simulation.disk().set_faults(Faults { capacity: Some(capacity), ..Faults::default() });
    }

    fn segments(simulation: &Simulation) -> usize {
        simulation.disk().files().iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "seg")).count()
    }

    fn pause(simulation: &mut Simulation, ns: u64) {
        let disk = simulation.disk().clone();
        simulation.block_on(async move { disk.sleep_ns(ns).await });
    }

    #[test]
    fn a_device_near_its_end_is_said_to_be_short_once() {
        let mut space = Space::default();
        let told = [(false, 1), (true, 2), (false, 3), (true, 4), (false, 13), (false, 15), (true, 16), (false, 17)];
        let news = told.map(|(is_short, second)| space.note(is_short, second * SECOND_NS));
        let again = Some("writes have room on the device again");
        assert_eq!(news, [None, Some(SHORT), None, None, None, again, Some(SHORT), None]);
    }

    #[test]
    fn a_full_device_has_room_for_the_flush_of_what_was_acknowledged() {
        let mut simulation = Simulation::new(1, Faults::default());
        let engine = start(&mut simulation, 64 << 10);
        limit(&simulation, 1 << 20);
        let writer = engine.clone();
        let (count, refusal) = simulation.block_on(async move {
            let mut count = 0;
            loop {
                if let Err(refusal) = writer.write(vec![batch(count)]).await {
                    return (count, refusal);
                }
                count += 1;
            }
        });
        assert_eq!(refusal, WriteError::Overloaded(SHORT));
        // Several times what fits in logs: flushes made room again and again.
        assert!(count * 4096 > 2 << 20, "{count}");
        pause(&mut simulation, SECOND_NS);
        assert!(engine.is_flushed());

        limit(&simulation, 2 << 20);
        pause(&mut simulation, SECOND_NS);
        let writer = engine.clone();
        assert!(simulation.block_on(async move { writer.write(vec![batch(count)]).await }).is_ok());
    }

    #[test]
    fn a_full_device_takes_deletions_and_they_make_room_for_writes() {
        let mut simulation = Simulation::new(1, Faults::default());
        let engine = start(&mut simulation, 64 << 10);
        limit(&simulation, 1 << 20);
        let writer = engine.clone();
        simulation.block_on(async move {
            let mut batches = (0..).map(batch);
            while writer.write(batches.by_ref().take(1).collect()).await.is_ok() {}
        });
        pause(&mut simulation, SECOND_NS);
        let everything = Deletion {
            shard: 0,
            database: KEY.database,
            series: Rc::new([0].into_iter().collect()),
            range: TimeRange::ALWAYS,
            forgotten: Vec::new(),
        };
        let deleter = engine.clone();
        simulation.block_on(async move { deleter.delete(vec![everything]).await }).unwrap();
        // A writer that goes on trying is heard at last.
        let taken = (0..60).any(|_| {
            pause(&mut simulation, SECOND_NS);
            let writer = engine.clone();
            simulation.block_on(async move { writer.write(vec![batch(0)]).await }).is_ok()
        });
        assert!(taken);
        assert!(simulation.disk().bytes() < 512 << 10);
    }

    #[test]
    fn a_flush_that_fails_leaves_no_segment_behind() {
        let mut simulation = Simulation::new(1, Faults::default());
        let engine = start(&mut simulation, 0);
        let writer = engine.clone();
        simulation.block_on(async move { writer.write((0..100).map(batch).collect()).await }).unwrap();
        let taken = simulation.disk().bytes();
        limit(&simulation, taken + (16 << 10));
        engine.freeze_soon();
        pause(&mut simulation, 10 * SECOND_NS);
        assert!(!engine.is_flushed());
        assert_eq!(segments(&simulation), 0);

        simulation.disk().set_faults(Faults::default());
        pause(&mut simulation, 2 * SECOND_NS);
        assert!(engine.is_flushed());
        assert_eq!(segments(&simulation), 1);
    }
}
