//! The disk and clock of the machine, on glommio: direct I/O through io_uring, metadata work off the executor.

#![allow(clippy::disallowed_methods, reason = "blocking calls stand inside blocking(), off the executor")]

use std::future::Future;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use glommio::io::Directory;
use glommio::io::DmaBuffer;
use glommio::io::DmaFile;
use glommio::io::OpenOptions;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::File;
use crate::limits::DISK_ALIGN;
use crate::model::Timestamp;

/// See [`nudged`].
const NUDGE: Duration = Duration::from_millis(5);

/// The machine's disk and clock, inside a glommio executor.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk {
    start: Instant,
}

impl RealDisk {
    /// A handle; the monotonic clock counts from here.
    pub fn new() -> RealDisk {
        RealDisk { start: Instant::now() }
    }

    /// Lets glommio find out, on each executor, whether the device of `dir` can poll for completions. It tries a read
    /// of the first file it opens on a device; an empty one always succeeds and would leave it with the wrong answer.
    pub async fn probe(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(format!("probe-{}", glommio::executor().id()));
        let written = path.clone();
        blocking(move || std::fs::write(&written, [0; DISK_ALIGN])).await.map_err(|error| with_path(&path, error))?;
        let opened = self.open(&path).await?.close().await;
        self.remove(&path).await?;
        opened
    }
}

impl Default for RealDisk {
    fn default() -> RealDisk {
        RealDisk::new()
    }
}

/// An aligned buffer.
#[derive(Debug)]
pub struct RealBuffer(DmaBuffer);

impl std::ops::Deref for RealBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::ops::DerefMut for RealBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_bytes_mut()
    }
}

/// A file opened for direct I/O.
#[derive(Debug)]
pub struct RealFile(DmaFile);

impl Disk for RealDisk {
    type File = RealFile;
    type Buffer = RealBuffer;

    fn buffer(&self, bytes: usize) -> RealBuffer {
        assert!(bytes > 0 && bytes.is_multiple_of(DISK_ALIGN));
        RealBuffer(glommio::allocate_dma_buffer(bytes))
    }

    async fn create(&self, path: &Path) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(RealFile(options.dma_open(path).await.map_err(named(path))?))
    }

    async fn open(&self, path: &Path) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(RealFile(options.dma_open(path).await.map_err(named(path))?))
    }

    async fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        nudged(glommio::io::rename(source, target)).await.map_err(named(source))
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        nudged(glommio::io::remove(path)).await.map_err(named(path))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_path_buf();
        blocking(move || std::fs::create_dir_all(&path).map_err(|error| with_path(&path, error))).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let path = path.to_path_buf();
        blocking(move || list_sorted(&path).map_err(|error| with_path(&path, error))).await
    }

    async fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let path = path.to_path_buf();
        blocking(move || {
            let space = rustix::fs::statvfs(&path).map_err(|error| with_path(&path, error.into()))?;
            Ok(space.f_bavail.saturating_mul(space.f_frsize))
        })
        .await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directory = Directory::open(path).await.map_err(named(path))?;
        directory.sync().await.map_err(named(path))?;
        directory.close().await.map_err(named(path))
    }
}

fn list_sorted(path: &PathBuf) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Runs metadata work that would block the executor on glommio's blocking thread.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R> {
    nudged(glommio::executor().spawn_blocking(work)).await
}

/// Waits for work of glommio's blocking thread. glommio 0.9.0 can miss that thread's wake-up when the executor is just
/// going to sleep; a timer looks again.
async fn nudged<R>(work: impl Future<Output = R>) -> R {
    let nudge = async {
        loop {
            glommio::timer::sleep(NUDGE).await;
        }
    };
    futures_lite::future::or(work, nudge).await
}

fn named(path: &Path) -> impl FnOnce(glommio::GlommioError<()>) -> io::Error {
    move |error| match error {
        glommio::GlommioError::EnhancedIoError { source, .. } => with_path(path, source),
        other => with_path(path, io::Error::from(other)),
    }
}

/// In the words of the system; glommio's tell more of itself than of the matter.
fn plain(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        glommio::GlommioError::EnhancedIoError { source, path: Some(path), .. } => with_path(&path, source),
        other => io::Error::from(other),
    }
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl File for RealFile {
    type Buffer = RealBuffer;

    async fn write_at(&self, buffer: RealBuffer, position: u64) -> io::Result<()> {
        let bytes = buffer.len();
        assert!(position.is_multiple_of(DISK_ALIGN as u64));
        let written = self.0.write_at(buffer.0, position).await.map_err(plain)?;
        if written != bytes {
            return Err(io::Error::new(io::ErrorKind::WriteZero, format!("short write: {written} of {bytes} bytes")));
        }
        Ok(())
    }

    // Aligns by itself: glommio's unaligned read counts the bytes before `position` as read at the end of a file.
    async fn read_at(&self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let align = DISK_ALIGN as u64;
        let start = position - position % align;
        let end = (position + bytes as u64).next_multiple_of(align);
        let result = self.0.read_at_aligned(start, (end - start) as usize).await.map_err(plain)?;
        let skip = (position - start) as usize;
        let end = result.len().min(skip + bytes);
        Ok(result.get(skip..end).unwrap_or_default().to_vec())
    }

    async fn sync(&self) -> io::Result<()> {
        self.0.fdatasync().await.map_err(plain)
    }

    async fn size(&self) -> io::Result<u64> {
        self.0.file_size().await.map_err(plain)
    }

    async fn truncate(&self, bytes: u64) -> io::Result<()> {
        nudged(self.0.truncate(bytes)).await.map_err(plain)
    }

    async fn close(self) -> io::Result<()> {
        self.0.close().await.map_err(plain)
    }
}

impl Clock for RealDisk {
    fn now_ns(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    async fn sleep_ns(&self, ns: u64) {
        glommio::timer::sleep(Duration::from_nanos(ns)).await;
    }

    async fn yield_now(&self) {
        glommio::executor().yield_if_needed().await;
    }
}

#[cfg(test)]
mod tests {
    use glommio::LocalExecutor;

    use super::*;

    #[test]
    fn what_was_written_is_read_back_at_any_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        LocalExecutor::default().run(async move {
            let disk = RealDisk::new();
            disk.probe(path.parent().unwrap()).await.unwrap();
            let file = disk.create(&path).await.unwrap();
            let mut buffer = disk.buffer(2 * DISK_ALIGN);
            for (index, byte) in buffer.iter_mut().enumerate() {
                *byte = index as u8;
            }
            file.write_at(buffer, DISK_ALIGN as u64).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.size().await.unwrap(), 3 * DISK_ALIGN as u64);
            assert_eq!(file.read_at(DISK_ALIGN as u64 + 3, 4).await.unwrap(), [3, 4, 5, 6]);
            assert_eq!(file.read_at(3 * DISK_ALIGN as u64 - 1, 10).await.unwrap().len(), 1);
            file.close().await.unwrap();
            let error = disk.open(&path.with_extension("none")).await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert_eq!(disk.list(path.parent().unwrap()).await.unwrap(), ["file"]);
        });
    }
}
