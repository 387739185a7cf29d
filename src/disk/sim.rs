//! A simulated disk, clock and executor: everything that can go wrong with storage, from one seed.
//!
//! Owns:  the files of a [`Simulation`], its time, its random numbers, and the trace of what happened.
//! In:    a seed, [`Faults`], tasks that use a [`SimDisk`] as their [`Disk`] and [`Clock`].
//! Out:   the same run for the same seed, to the byte: [`SimDisk::trace`] is a hash over every step and operation.
//!
//! [`files`] has the rules of what a power loss takes, [`executor`] those of who runs next. A crash is
//! [`Simulation::crash`] between any two steps; as every operation waits at least once, that is at any await.

pub mod executor;
pub mod files;
pub mod misdirect;
pub mod prng;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::ops::DerefMut;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::File;
use crate::disk::sim::files::FileId;
use crate::disk::sim::files::Files;
use crate::disk::sim::files::SECTOR_BYTES;
use crate::disk::sim::prng::Prng;
use crate::limits::DISK_ALIGN;
use crate::model::Timestamp;

pub use crate::disk::sim::executor::Outcome;
pub use crate::disk::sim::executor::Simulation;

/// Simulated time begins here: 2020-01-01T00:00:00Z.
const START_NS: Timestamp = 1_577_836_800_000_000_000;

/// How often what fails, in parts of a million operations, and how slow the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes that fail; any of their sectors may have been written.
    pub write: u32,
    /// Writes of which only the beginning is written.
    pub short_write: u32,
    /// Failed syncs of a file; see [`files`].
    pub sync: u32,
    /// Failed reads.
    pub read: u32,
    /// Reads that bring one wrong bit; the file is as it was.
    pub flip: u32,
    /// Reads that bring the content of another place; see [`misdirect`].
    pub misread: u32,
    /// Writes that land in another place, and say that they did not.
    pub miswrite: u32,
    /// Failed creations, opens, renames, removals, listings and folder syncs; nothing was done.
    pub names: u32,
    /// Longest an operation takes, ns; one in a hundred takes a hundred times as long.
    pub latency_ns: u64,
    /// Bytes the disk holds; `None`: any number.
    pub capacity: Option<u64>,
}

impl Faults {
    /// None; an operation takes up to so long.
    pub const fn calm(latency_ns: u64) -> Faults {
        Faults {
            write: 0,
            short_write: 0,
            sync: 0,
            read: 0,
            flip: 0,
            misread: 0,
            miswrite: 0,
            names: 0,
            latency_ns,
            capacity: None,
        }
    }
}

struct Machine {
    prng: Prng,
    faults: Faults,
    files: Files,
    now_ns: u64,
    timers: BTreeMap<(u64, u64), Waker>,
    next_timer: u64,
    trace: u64,
    trace_shown: bool,
}

/// The disk and clock of a [`Simulation`].
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<Machine>>);

impl SimDisk {
    fn new(seed: u64, faults: Faults) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(Machine {
            prng: Prng::from_seed(seed),
            faults,
            files: Files::default(),
            now_ns: 0,
            timers: BTreeMap::new(),
            next_timer: 0,
            trace: 0,
            trace_shown: false,
        })))
    }

    /// From now on, this fails.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.0.borrow().files.bytes()
    }

    /// Copies of all files as a read would see them now.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.0.borrow().files.all().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
    }

    /// Hash of everything that happened so far.
    pub fn trace(&self) -> u64 {
        self.0.borrow().trace
    }

    /// Prints everything that happens from now on to standard error.
    pub fn show_trace(&self) {
        self.0.borrow_mut().trace_shown = true;
    }

    /// A line of the trace.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        self.0.borrow_mut().note(line);
    }

    fn choose(&self, count: usize) -> usize {
        if count == 1 { 0 } else { self.0.borrow_mut().prng.below(count as u64) as usize }
    }

    /// Time jumps to the next timer; false when there is none.
    fn next_timer(&self) -> bool {
        let mut machine = self.0.borrow_mut();
        let Some(((due, _), waker)) = machine.timers.pop_first() else { return false };
        machine.now_ns = machine.now_ns.max(due);
        drop(machine);
        waker.wake();
        true
    }

    fn power_loss(&self) {
        let mut machine = self.0.borrow_mut();
        let machine = &mut *machine;
        machine.timers.clear();
        machine.files.power_loss(&mut machine.prng);
        machine.note(format_args!("power loss"));
    }

    fn process_loss(&self) {
        let mut machine = self.0.borrow_mut();
        machine.timers.clear();
        machine.files.process_loss();
        machine.note(format_args!("process loss"));
    }

    /// Waits as long as an operation takes.
    async fn latency(&self) {
        let ns = self.0.borrow_mut().latency();
        self.sleep_ns(ns).await;
    }

    /// Does what changes or looks up names, after the usual wait, or fails.
    async fn name_operation<T>(
        &self,
        what: &str,
        path: &Path,
        operate: impl FnOnce(&mut Files) -> io::Result<T>,
    ) -> io::Result<T> {
        let result = {
            let mut machine = self.0.borrow_mut();
            let machine = &mut *machine;
            let failed = machine.prng.chance(machine.faults.names);
            machine.note(format_args!("{what} {}{}", path.display(), if failed { ": fails" } else { "" }));
            if failed { Err(injected(what)) } else { operate(&mut machine.files) }
        };
        self.latency().await;
        result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

impl Machine {
    fn note(&mut self, line: fmt::Arguments<'_>) {
        let text = format!("{:>15} {line}", self.now_ns);
        let mixed = rapidhash::v3::rapidhash_v3(text.as_bytes());
        self.trace = (self.trace ^ mixed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        if self.trace_shown {
            eprintln!("{text}");
        }
    }

    fn latency(&mut self) -> u64 {
        let longest = self.faults.latency_ns + 1;
        if self.prng.chance(10_000) { self.prng.below(longest * 100) } else { self.prng.below(longest) }
    }

    /// How a write ends, and how much of it is written.
    fn write_outcome(&mut self, id: FileId, position: u64, bytes: usize) -> (io::Result<()>, usize) {
        let growth = (position + bytes as u64).saturating_sub(self.files.size(id));
        if self.faults.capacity.is_some_and(|capacity| self.files.bytes() + growth > capacity) {
            return (Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device")), 0);
        }
        let written = self.prng.below((bytes / SECTOR_BYTES) as u64 + 1) as usize * SECTOR_BYTES;
        if self.prng.chance(self.faults.write) {
            return (Err(injected("write")), written);
        }
        if self.prng.chance(self.faults.short_write) {
            let error = io::Error::new(io::ErrorKind::WriteZero, format!("short write: {written} of {bytes} bytes"));
            return (Err(error), written);
        }
        (Ok(()), bytes)
    }
}

impl Machine {
    /// Where an operation goes instead, in `parts` of a million cases.
    fn misdirected(&mut self, parts: u32, id: FileId, position: u64) -> Option<(FileId, u64)> {
        let other = self.prng.chance(parts).then(|| misdirect::elsewhere(&self.files, &mut self.prng, id, position));
        let (other, place) = other.flatten()?;
        self.note(format_args!("misdirected: file {other} at {place} instead of file {id} at {position}"));
        Some((other, place))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

fn injected(what: &str) -> io::Error {
    io::Error::other(format!("simulated failure: {what}"))
}

fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file or folder")
}

/// A buffer of the simulated disk.
#[derive(Debug)]
pub struct SimBuffer(Vec<u8>);

impl Deref for SimBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for SimBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// An open file of the simulated disk. A file that is removed lives on while it is open.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    id: FileId,
}

impl Disk for SimDisk {
    type File = SimFile;
    type Buffer = SimBuffer;

    fn buffer(&self, bytes: usize) -> SimBuffer {
        assert!(bytes > 0 && bytes.is_multiple_of(DISK_ALIGN));
        // Not zeros: whoever forgets to fill it shall notice.
        SimBuffer(vec![0xd5; bytes])
    }

    async fn create(&self, path: &Path) -> io::Result<SimFile> {
        let create = |files: &mut Files| {
            let parent = path.parent().ok_or_else(not_found)?;
            if files.has_folder(parent) { Ok(files.create(path)) } else { Err(not_found()) }
        };
        let id = self.name_operation("create", path, create).await?;
        Ok(SimFile { disk: self.clone(), id })
    }

    async fn open(&self, path: &Path) -> io::Result<SimFile> {
        let id = self.name_operation("open", path, |files| files.lookup(path).ok_or_else(not_found)).await?;
        Ok(SimFile { disk: self.clone(), id })
    }

    async fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let rename = |files: &mut Files| files.rename(source, target).then_some(()).ok_or_else(not_found);
        self.name_operation("rename", source, rename).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let remove = |files: &mut Files| files.remove(path).then_some(()).ok_or_else(not_found);
        self.name_operation("remove", path, remove).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let create = |files: &mut Files| {
            files.create_folder(path);
            Ok(())
        };
        self.name_operation("create folder", path, create).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let list = |files: &mut Files| if files.has_folder(path) { Ok(files.list(path)) } else { Err(not_found()) };
        self.name_operation("list", path, list).await
    }

    async fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let taken = self.name_operation("look at space", path, |files| Ok(files.bytes())).await?;
        Ok(self.0.borrow().faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(taken)))
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let begin =
            |files: &mut Files| if files.has_folder(path) { Ok(files.newest_change()) } else { Err(not_found()) };
        let newest = self.name_operation("sync folder", path, begin).await?;
        self.0.borrow_mut().files.sync_folder(path, newest);
        Ok(())
    }
}

impl File for SimFile {
    type Buffer = SimBuffer;

    async fn write_at(&self, buffer: SimBuffer, position: u64) -> io::Result<()> {
        assert!(position.is_multiple_of(DISK_ALIGN as u64) && buffer.len().is_multiple_of(DISK_ALIGN));
        let (result, number) = {
            let mut machine = self.disk.0.borrow_mut();
            let (result, written) = machine.write_outcome(self.id, position, buffer.len());
            let content = rapidhash::v3::rapidhash_v3(&buffer);
            let id = self.id;
            machine.note(format_args!(
                "write file {id} at {position}, {written} of {} bytes, {content:016x}",
                buffer.len()
            ));
            let parts = machine.faults.miswrite;
            let number = match machine.misdirected(parts, self.id, position) {
                Some((other, place)) if result.is_ok() => {
                    machine.files.overwrite(other, place as usize, &buffer);
                    // The file is as long as if it had been written.
                    let size = machine.files.size(self.id).max(position + buffer.len() as u64);
                    machine.files.resize(self.id, size)
                }
                _ => machine.files.write(self.id, position, &buffer[..written]),
            };
            (result, number)
        };
        self.disk.latency().await;
        // Also after a failure: reads do not pass by the device, so what they see of it a later sync covers.
        self.disk.0.borrow_mut().files.ended(self.id, number);
        result
    }

    async fn read_at(&self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.disk.latency().await;
        let mut machine = self.disk.0.borrow_mut();
        let machine = &mut *machine;
        let failed = machine.prng.chance(machine.faults.read);
        machine.note(format_args!("read file {} at {position}, {bytes} bytes", self.id));
        if failed {
            return Err(injected("read"));
        }
        let misread = machine.misdirected(machine.faults.misread, self.id, position);
        let (id, place) = misread.unwrap_or((self.id, position));
        let mut found = machine.files.read(id, place, bytes);
        if !found.is_empty() && machine.faults.flip > 0 && machine.prng.chance(machine.faults.flip) {
            let bit = machine.prng.below(found.len() as u64 * 8);
            machine.note(format_args!("read file {}: bit {bit} flips", self.id));
            found[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(found)
    }

    async fn sync(&self) -> io::Result<()> {
        let covered = self.disk.0.borrow().files.covered(self.id);
        self.disk.latency().await;
        let mut machine = self.disk.0.borrow_mut();
        let machine = &mut *machine;
        let failed = machine.prng.chance(machine.faults.sync);
        machine.note(format_args!("sync file {}{}", self.id, if failed { ": fails" } else { "" }));
        if failed {
            machine.files.fail_sync(self.id, &covered, &mut machine.prng);
            return Err(injected("sync"));
        }
        machine.files.sync(self.id, &covered);
        Ok(())
    }

    async fn size(&self) -> io::Result<u64> {
        self.disk.latency().await;
        Ok(self.disk.0.borrow().files.size(self.id))
    }

    async fn truncate(&self, bytes: u64) -> io::Result<()> {
        let number = {
            let mut machine = self.disk.0.borrow_mut();
            let parts = machine.faults.names;
            let failed = machine.prng.chance(parts);
            machine.note(format_args!("truncate file {} to {bytes}{}", self.id, if failed { ": fails" } else { "" }));
            if failed {
                return Err(injected("truncate"));
            }
            machine.files.resize(self.id, bytes)
        };
        self.disk.latency().await;
        self.disk.0.borrow_mut().files.ended(self.id, number);
        Ok(())
    }

    async fn close(self) -> io::Result<()> {
        self.disk.latency().await;
        Ok(())
    }
}

impl Clock for SimDisk {
    fn now_ns(&self) -> Timestamp {
        START_NS + self.0.borrow().now_ns as Timestamp
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.borrow().now_ns
    }

    async fn sleep_ns(&self, ns: u64) {
        let due = self.monotonic_ns().saturating_add(ns);
        Sleep { disk: self.clone(), due, timer: None }.await;
    }

    async fn yield_now(&self) {
        let others_first = self.0.borrow_mut().prng.below(4) == 0;
        if others_first {
            futures_lite::future::yield_now().await;
        }
    }
}

/// Waits until `due`, at least until the next step.
struct Sleep {
    disk: SimDisk,
    due: u64,
    timer: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let disk = self.disk.clone();
        let mut machine = disk.0.borrow_mut();
        match self.timer {
            Some(timer) if !machine.timers.contains_key(&timer) => return Poll::Ready(()),
            Some(timer) => {
                machine.timers.insert(timer, context.waker().clone());
            }
            None => {
                machine.next_timer += 1;
                let timer = (self.due, machine.next_timer);
                machine.timers.insert(timer, context.waker().clone());
                self.timer = Some(timer);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.disk.0.borrow_mut().timers.remove(&timer);
        }
    }
}

#[cfg(test)]
mod tests;
