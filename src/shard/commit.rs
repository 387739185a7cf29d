//! From a write to its acknowledgement: room, one frame and one sync for all that wait, memtables; and the freeze
//! between two commits.

use std::io;

use futures_channel::oneshot;

use crate::batch::Batch;
use crate::batch::Reader;
use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::shard::Assigned;
use crate::shard::Change;
use crate::shard::Deletion;
use crate::shard::Durability;
use crate::shard::Engine;
use crate::shard::Frozen;
use crate::shard::Pending;
use crate::shard::PendingRecord;
use crate::shard::Phase;
use crate::shard::State;
use crate::shard::WriteError;
use crate::shard::dormant;
use crate::shard::limits;
use crate::shard::record;
use crate::shard::record::PartitionKey;
use crate::shard::space;
use crate::stdx::budget::Taken;
use crate::wal::Log;

/// Most bytes of one frame: what waits beyond it gets the next sync.
const COMMIT_BYTES_MAX: usize = 32 << 20;
/// Pause before a failed log is tried again.
const RETRY_NS: u64 = 500_000_000;
/// How often a waiter looks at its deadline, and the loop at what is due and cannot be done yet.
const TICK_NS: u64 = 100_000_000;
/// A deletion is flushed no later than that: compaction frees the space only of those that the manifest holds.
const DELETED_FLUSH_NS: u64 = 60_000_000_000;

type Done = oneshot::Receiver<Result<Vec<Assigned>, WriteError>>;

/// What a commit loop does next.
enum Step {
    Commit,
    Freeze,
    Sync,
    Repair,
    Wait,
    End,
}

/// Why a write may not enter.
enum Wait {
    /// Not yet; what to say when it takes too long.
    For(&'static str),
    /// It is refused at once.
    Never(WriteError),
}

impl<P: Disk + Clock> Engine<P> {
    /// Waits until a write may enter, or says why not. What frees space enters without any to spare.
    pub(super) async fn wait_for_room(&self, frees_space: bool) -> Result<(), WriteError> {
        let deadline = self.platform.monotonic_ns().saturating_add(self.options.write_wait_ns);
        loop {
            let changed = self.room.notified();
            self.look_at_space().await;
            let refusal = match self.refusal(frees_space) {
                Ok(()) => return Ok(()),
                Err(Wait::Never(refusal)) => return Err(refusal),
                Err(Wait::For(what)) => WriteError::Overloaded(what),
            };
            let now = self.platform.monotonic_ns();
            if now >= deadline {
                return Err(refusal);
            }
            let pause = self.platform.sleep_ns(TICK_NS.min(deadline - now));
            futures_lite::future::or(changed, pause).await;
        }
    }

    fn refusal(&self, frees_space: bool) -> Result<(), Wait> {
        let state = self.state.borrow();
        if state.phase == Phase::Stopping {
            return Err(Wait::Never(WriteError::Stopping));
        }
        if let Some(failure) = &state.log_failure {
            return Err(Wait::Never(WriteError::Log(failure.clone())));
        }
        let is_long = state.active_log_bytes >= self.options.wal_bytes;
        let full = state.frozen.is_some() && (is_long || state.active_bytes >= self.options.memtable_bytes);
        let queued = state.pending_bytes >= self.options.pending_bytes;
        let makes_room = state.frozen.is_some() || state.active_bytes > 0;
        match state.space.is_short && !frees_space {
            true if makes_room => Err(Wait::For(space::SHORT)),
            true => Err(Wait::Never(WriteError::Overloaded(space::SHORT))),
            false if full || queued => Err(Wait::For("timed out waiting for memtable space")),
            false => Ok(()),
        }
    }

    /// Checks batches, gives their keys ids and queues them for the next commit. `forgets` is where the database's
    /// counter stood when the sender began; `room` is for new series.
    pub(super) fn enqueue(&self, batches: Vec<Batch>, forgets: u64, room: Taken) -> Result<Done, WriteError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let readers = batches.iter().map(|batch| self.check(batch, state)).collect::<Result<Vec<_>, _>>()?;
        dormant::check_ids(state, &readers, forgets)?;
        let mut room = limits::room_for(state, &readers, room)?;
        let mut created_count = 0;
        let mut writes = Vec::with_capacity(batches.len());
        for (batch, reader) in batches.iter().zip(&readers) {
            let destination = reader.destination;
            let shard = state.shards.get_mut(&destination.shard).expect("checked");
            let mut created = Vec::new();
            let mut assigned = Vec::with_capacity(reader.keys.len());
            for key in &reader.keys {
                let (id, new) = shard
                    .series_id(destination.database, key)
                    .map_err(|error| WriteError::Malformed(error.to_string()))?;
                assigned.push(id);
                if new {
                    created.push(id);
                }
            }
            created_count += created.len() as u64;
            let mut record = record::encode_batch_head(destination.shard, &assigned);
            let start = record.len();
            record.extend_from_slice(batch.bytes());
            state.pending_bytes += record.len();
            let change = Change::Batch { start, assigned, created };
            writes.push(PendingRecord { record, shard: destination.shard, change });
        }
        // With a limit there was room for all of them; without one there always is.
        room.resize(room.units().max(created_count));
        room.keep(created_count);
        let (done, receiver) = oneshot::channel();
        state.pending.push(Pending { writes, done, _room: room });
        state.enqueued += 1;
        Ok(receiver)
    }

    /// Queues deletions for the next commit.
    pub(super) fn enqueue_deletions(&self, deletions: &[Deletion]) -> Result<Done, WriteError> {
        let mut state = self.state.borrow_mut();
        let mut writes = Vec::with_capacity(deletions.len());
        for deletion in deletions {
            if !state.shards.contains_key(&deletion.shard) {
                return Err(WriteError::Malformed(format!("shard {} is not of this core", deletion.shard)));
            }
            let record = record::encode_deletion(deletion);
            writes.push(PendingRecord { record, shard: deletion.shard, change: Change::Deletion(deletion.clone()) });
        }
        state.pending_bytes += writes.iter().map(|write| write.record.len()).sum::<usize>();
        let (done, receiver) = oneshot::channel();
        state.pending.push(Pending { writes, done, _room: Taken::default() });
        state.enqueued += 1;
        Ok(receiver)
    }

    fn check<'a>(&self, batch: &'a Batch, state: &super::State<P>) -> Result<Reader<'a>, WriteError> {
        let reader = batch.read().map_err(|error| WriteError::Malformed(error.to_string()))?;
        let destination = reader.destination;
        let key = PartitionKey { database: destination.database, policy: destination.policy, group: destination.group };
        if !state.shards.contains_key(&destination.shard) {
            return Err(WriteError::Malformed(format!("shard {} is not of this core", destination.shard)));
        }
        if !state.live.groups.contains_key(&key) {
            return Err(WriteError::Gone);
        }
        Ok(reader)
    }

    /// Commits, freezes and repairs until the engine is closed. Spawned once.
    pub async fn commit_loop(&self) {
        loop {
            let changed = self.commit_work.notified();
            match self.next_step() {
                Step::Commit => self.commit().await,
                Step::Freeze => self.freeze().await,
                Step::Sync => self.sync().await,
                Step::Repair => {
                    self.platform.sleep_ns(RETRY_NS).await;
                    self.replace_failed_log().await;
                }
                Step::Wait => match self.until_due() {
                    None => changed.await,
                    Some(pause) => futures_lite::future::or(changed, self.platform.sleep_ns(pause)).await,
                },
                Step::End => break,
            }
        }
        self.state.borrow_mut().commit_loop_ended = true;
        self.flush_work.notify_all();
        self.room.notify_all();
    }

    fn next_step(&self) -> Step {
        let state = self.state.borrow();
        let now = self.platform.monotonic_ns();
        if state.log_failure.is_some() {
            return if state.phase == Phase::Stopping { Step::End } else { Step::Repair };
        }
        let stopping = state.phase == Phase::Stopping;
        let old = state.freeze_due_ns.is_some_and(|due| now >= due);
        let full =
            state.active_bytes >= self.options.memtable_bytes || state.active_log_bytes >= self.options.wal_bytes;
        let wanted = full || old || state.freeze_asked || (stopping && state.pending.is_empty());
        if wanted && state.frozen.is_none() && state.active_bytes > 0 {
            // Shards are flushed one by one: until the last is, the log must hold what makes a write whole.
            return if state.unsynced { Step::Sync } else { Step::Freeze };
        }
        if !state.pending.is_empty() {
            return Step::Commit;
        }
        if let Durability::Interval(interval) = self.options.durability
            && state.unsynced
            && (stopping || now.saturating_sub(state.last_sync_ns) >= interval)
        {
            return Step::Sync;
        }
        if stopping && state.active_bytes == 0 { Step::End } else { Step::Wait }
    }

    /// How long until the clock alone gives the loop something to do; `None`: it never will.
    fn until_due(&self) -> Option<u64> {
        let state = self.state.borrow();
        let sync = match self.options.durability {
            Durability::Interval(interval) if state.unsynced => state.last_sync_ns.checked_add(interval),
            _ => None,
        };
        let due = [state.freeze_due_ns, sync].into_iter().flatten().min()?;
        // What is due already waits for something, such as the end of a flush.
        Some(due.checked_sub(self.platform.monotonic_ns()).filter(|pause| *pause > 0).unwrap_or(TICK_NS))
    }

    /// Takes what waits, up to a bound, writes it as one frame, syncs, applies and acknowledges.
    async fn commit(&self) {
        if self.options.commit_delay_ns > 0 {
            self.platform.sleep_ns(self.options.commit_delay_ns).await;
        }
        let (group, mut log) = {
            let mut state = self.state.borrow_mut();
            let group = take_group(&mut state.pending);
            let log = state.log.take().expect("a healthy log is idle between commits");
            (group, log)
        };
        let records: Vec<&[u8]> =
            group.iter().flat_map(|pending| &pending.writes).map(|write| write.record.as_slice()).collect();
        let tail = log.bytes();
        let result = self.write_frame(&mut log, &records).await;
        let bytes: usize = records.iter().map(|record| record.len()).sum();
        match result {
            Ok(()) => {
                {
                    let mut state = self.state.borrow_mut();
                    state.active_log_bytes += log.bytes() - tail;
                    state.pending_bytes -= bytes;
                    state.log = Some(log);
                }
                self.apply(group).await;
                if self.is_forgetting() {
                    self.flush_work.notify_all();
                }
            }
            Err(error) => self.fail(log, tail, bytes, group, &error).await,
        }
        self.room.notify_all();
    }

    async fn write_frame(&self, log: &mut Log<P>, records: &[&[u8]]) -> io::Result<()> {
        log.write(records).await?;
        match self.options.durability {
            Durability::Always => log.sync().await,
            Durability::Interval(_) => {
                self.state.borrow_mut().unsynced = true;
                Ok(())
            }
        }
    }

    /// Puts durable batches into the memtables, in log order, and acknowledges each write when all of it is visible.
    async fn apply(&self, group: Vec<Pending>) {
        for pending in group {
            for write in &pending.writes {
                self.apply_one(write);
                self.platform.yield_now().await;
            }
            let assigned = pending.writes.into_iter().filter_map(|write| match write.change {
                Change::Batch { assigned, .. } => Some(assigned),
                Change::Deletion(_) => None,
            });
            let assigned = assigned.collect();
            self.state.borrow_mut().ended += 1;
            // The writer may be gone (its client hung up); the points are stored all the same.
            let _ = pending.done.send(Ok(assigned));
        }
    }

    fn apply_one(&self, write: &PendingRecord) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let (start, assigned) = match &write.change {
            Change::Batch { start, assigned, .. } => (*start, assigned),
            Change::Deletion(deletion) => {
                let age = record::log_age(state.log_name);
                if let Some(shard) = state.shards.get_mut(&write.shard) {
                    shard.delete(age, deletion);
                }
                // So that logs of nothing but deletions are flushed too.
                state.active_bytes += write.record.len();
                return self.freeze_within(state, self.options.cold_flush_ns.min(DELETED_FLUSH_NS));
            }
        };
        let reader = Reader::of(&write.record[start..]).expect("it was read before it was queued");
        let destination = reader.destination;
        let key = PartitionKey { database: destination.database, policy: destination.policy, group: destination.group };
        // Dropped while it waited for the disk: acknowledged and gone, as if the drop had come after.
        let Some(&range) = state.live.groups.get(&key) else { return };
        let Some(shard) = state.shards.get_mut(&write.shard) else { return };
        let revived = shard.revive(key.database, &reader, assigned);
        limits::count(&state.live, key.database, revived);
        let bytes = shard.apply(key, range, &reader, assigned, |partition| &mut partition.active);
        state.active_bytes = state.active_bytes.saturating_add_signed(bytes);
        self.freeze_within(state, self.options.cold_flush_ns);
    }

    /// What is active waits for its flush no longer than that.
    fn freeze_within(&self, state: &mut State<P>, wait_ns: u64) {
        let due = self.platform.monotonic_ns().checked_add(wait_ns);
        state.freeze_due_ns = [state.freeze_due_ns, due].into_iter().flatten().min();
    }

    /// The log failed: nothing that waits is acknowledged, and the file is cut back to what was.
    async fn fail(&self, mut log: Log<P>, tail: u64, bytes: usize, group: Vec<Pending>, error: &io::Error) {
        let text = format!("write-ahead log failed: {error}");
        tracing::error!("{text}; no writes until it has been replaced");
        let waiting = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            state.pending_bytes -= bytes;
            state.log_failure = Some(text.clone());
            let mut failed = group;
            failed.append(&mut state.pending);
            state.pending_bytes = 0;
            state.ended += failed.len() as u64;
            for write in failed.iter().flat_map(|pending| &pending.writes) {
                forget(state, write);
            }
            failed
        };
        if let Err(error) = log.repair(tail).await {
            tracing::error!("the failed log could not be cut back yet: {error}");
            self.state.borrow_mut().uncut_log = Some((log, tail));
        }
        for pending in waiting {
            let _ = pending.done.send(Err(WriteError::Log(text.clone())));
        }
    }

    /// Goes on in a new file; the failed one stays until its points are in segments.
    async fn replace_failed_log(&self) {
        if !self.cut_back().await {
            return;
        }
        let name = self.next_log_name();
        match self.create_log(name).await {
            Ok(log) => {
                tracing::info!("write-ahead log replaced; writes are accepted again");
                let mut state = self.state.borrow_mut();
                state.log = Some(log);
                state.log_failure = None;
                // What was acknowledged and not synced may be missing in the failed file: only memory has it for sure.
                state.freeze_asked |= state.unsynced;
                state.log_name = name;
                state.active_logs.push(name);
            }
            Err(error) => tracing::error!("no new write-ahead log yet: {error}"),
        }
    }

    /// Whether the failed log holds nothing that was not acknowledged. Until then no flush may follow: it would take
    /// such points for flushed in one shard, and a replay would find them in another.
    async fn cut_back(&self) -> bool {
        let uncut = self.state.borrow_mut().uncut_log.take();
        let Some((mut log, tail)) = uncut else { return true };
        let Err(error) = log.repair(tail).await else { return true };
        tracing::error!("the failed log could not be cut back yet: {error}");
        self.state.borrow_mut().uncut_log = Some((log, tail));
        false
    }

    async fn sync(&self) {
        let mut log = self.state.borrow_mut().log.take().expect("a healthy log is idle between commits");
        let tail = log.bytes();
        match log.sync().await {
            Ok(()) => {
                let mut state = self.state.borrow_mut();
                state.log = Some(log);
                state.unsynced = false;
                state.last_sync_ns = self.platform.monotonic_ns();
            }
            Err(error) => self.fail(log, tail, 0, Vec::new(), &error).await,
        }
    }

    fn next_log_name(&self) -> WalName {
        let name = self.state.borrow().log_name;
        WalName { epoch: name.epoch + 1, ..name }
    }

    pub(super) async fn create_log(&self, name: WalName) -> io::Result<Log<P>> {
        let dir = names::wal_dir(&self.options.dir);
        let log = Log::create(&self.platform, &dir.join(name.file_name()), record::log_id(name)).await?;
        self.platform.sync_dir(&dir).await?;
        Ok(log)
    }

    /// A new log file, and all active memtables become the frozen ones.
    async fn freeze(&self) {
        let name = self.next_log_name();
        let log = match self.create_log(name).await {
            Ok(log) => log,
            Err(error) => {
                tracing::error!("no new write-ahead log for a freeze: {error}");
                self.state.borrow_mut().freeze_asked = false;
                self.platform.sleep_ns(RETRY_NS).await;
                return;
            }
        };
        let old = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let age = record::log_age(state.log_name);
            for shard in state.shards.values_mut() {
                shard.partitions.values_mut().for_each(|partition| partition.freeze(age));
            }
            state.frozen = Some(Frozen {
                up_to: state.log_name,
                logs: std::mem::replace(&mut state.active_logs, vec![name]),
                bytes: std::mem::take(&mut state.active_bytes),
                log_bytes: std::mem::take(&mut state.active_log_bytes),
                old_logs: None,
            });
            state.freeze_due_ns = None;
            state.freeze_asked = false;
            state.log_name = name;
            state.log.replace(log)
        };
        if let Some(old) = old {
            // Nothing to lose: its records are durable.
            let _ = old.close().await;
        }
        self.flush_work.notify_all();
    }
}

/// The writes of the next frame: all that wait, up to a bound, at least one.
fn take_group(pending: &mut Vec<Pending>) -> Vec<Pending> {
    let mut bytes = 0;
    let count = pending
        .iter()
        .take_while(|pending| {
            let before = bytes;
            bytes += pending.writes.iter().map(|write| write.record.len()).sum::<usize>();
            before < COMMIT_BYTES_MAX
        })
        .count();
    pending.drain(..count).collect()
}

fn forget<P: Disk>(state: &mut super::State<P>, write: &PendingRecord) {
    let Change::Batch { start, created, .. } = &write.change else { return };
    let Ok(reader) = Reader::of(&write.record[*start..]) else { return };
    if let Some(shard) = state.shards.get_mut(&write.shard) {
        let database = reader.destination.database;
        let forgotten = shard.forget_series(database, created);
        limits::uncount(&state.live, database, forgotten);
    }
}
