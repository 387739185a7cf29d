//! Disk and clock as traits, so that the real storage code runs on glommio and under the simulator alike.
//!
//! Everything above takes one type `P: Disk + Clock`. A file takes whole, aligned buffers at explicit positions (direct
//! I/O); what was written is durable only after [`File::sync`], and a created, renamed or removed name only after
//! [`Disk::sync_dir`] of its folder.

pub mod names;
pub mod read_only;
pub mod real;
pub mod sim;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::DerefMut;
use std::path::Path;

use crate::limits::DISK_ALIGN;
use crate::model::Timestamp;

/// Files and folders. Cheap to clone: a handle.
pub trait Disk: Clone + Debug + 'static {
    /// An open file.
    type File: File<Buffer = Self::Buffer>;
    /// An aligned buffer, as [`File::write_at`] takes it.
    type Buffer: DerefMut<Target = [u8]> + Debug + 'static;

    /// A buffer of exactly `bytes`, a multiple of [`DISK_ALIGN`]. Its content is unspecified: the caller fills all of
    /// it.
    fn buffer(&self, bytes: usize) -> Self::Buffer;

    /// Creates a file for writing and reading; what it held is gone.
    fn create(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>>;

    /// Renames a file; what stood at `target` is gone.
    fn rename(&self, source: &Path, target: &Path) -> impl Future<Output = io::Result<()>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Creates a folder and those above it; fine when it exists.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Names of the files (not folders) in a folder, sorted.
    fn list(&self, path: &Path) -> impl Future<Output = io::Result<Vec<String>>>;

    /// Bytes that can still be written where `path` lies.
    fn free_bytes(&self, path: &Path) -> impl Future<Output = io::Result<u64>>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
}

/// One open file. Dropping it closes it; [`File::close`] reports errors and waits.
pub trait File: Debug + 'static {
    /// See [`Disk::Buffer`].
    type Buffer;

    /// Writes the whole buffer at a position that is a multiple of [`DISK_ALIGN`].
    fn write_at(&self, buffer: Self::Buffer, position: u64) -> impl Future<Output = io::Result<()>>;

    /// Reads `bytes` from any position; shorter only at the end of the file.
    fn read_at(&self, position: u64, bytes: usize) -> impl Future<Output = io::Result<Vec<u8>>>;

    /// Makes everything written so far durable. After an error nothing more may be assumed about unsynced writes.
    fn sync(&self) -> impl Future<Output = io::Result<()>>;

    /// Length in bytes.
    fn size(&self) -> impl Future<Output = io::Result<u64>>;

    /// Cuts (or extends with zeros) to `bytes`; durable after [`File::sync`].
    fn truncate(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;

    /// Closes the file.
    fn close(self) -> impl Future<Output = io::Result<()>>;
}

/// Time, as the storage code needs it.
pub trait Clock: Clone + 'static {
    /// Wall clock, ns since 1970.
    fn now_ns(&self) -> Timestamp;

    /// A clock that never steps, ns since some start.
    fn monotonic_ns(&self) -> u64;

    /// Waits.
    fn sleep_ns(&self, ns: u64) -> impl Future<Output = ()>;

    /// Lets other tasks of this core run if they have waited long enough; cheap when not.
    fn yield_now(&self) -> impl Future<Output = ()>;
}

/// `bytes` rounded up to the alignment of the disk.
pub fn align_up(bytes: usize) -> usize {
    bytes.next_multiple_of(DISK_ALIGN)
}
