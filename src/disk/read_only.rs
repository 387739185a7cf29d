//! The machine's files for reading alone, outside any executor: the operator's tools look through this.
//!
//! Every future is ready at once, so any way to drive one will do, and neither io_uring nor locked memory is needed.
//! What would change a file is refused: a check must leave what it finds.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "no executor runs here")]

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::disk::Disk;
use crate::disk::File;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyDisk;

/// Has the kernel forget what it remembers of a file: that says nothing about the device. Best effort.
pub fn forget_cached(path: &Path) {
    if let Ok(file) = fs::File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// A file opened for reading.
#[derive(Debug)]
pub struct ReadOnlyFile(fs::File);

impl Disk for ReadOnlyDisk {
    type File = ReadOnlyFile;
    type Buffer = Box<[u8]>;

    fn buffer(&self, bytes: usize) -> Box<[u8]> {
        vec![0; bytes].into()
    }

    async fn create(&self, _: &Path) -> io::Result<ReadOnlyFile> {
        Err(refused())
    }

    async fn open(&self, path: &Path) -> io::Result<ReadOnlyFile> {
        Ok(ReadOnlyFile(fs::File::open(path)?))
    }

    async fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn remove(&self, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    async fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
    }

    async fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(refused())
    }
}

impl File for ReadOnlyFile {
    type Buffer = Box<[u8]>;

    async fn write_at(&self, _: Box<[u8]>, _: u64) -> io::Result<()> {
        Err(refused())
    }

    async fn read_at(&self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.size().await?.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; bytes.min(there)];
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    async fn sync(&self) -> io::Result<()> {
        Err(refused())
    }

    async fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    async fn truncate(&self, _: u64) -> io::Result<()> {
        Err(refused())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}

fn refused() -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, "this disk is for reading only")
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn reads_end_with_the_file_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"content").unwrap();
        block_on(async {
            let file = ReadOnlyDisk.open(&path).await.unwrap();
            assert_eq!(file.read_at(3, 100).await.unwrap(), b"tent");
            assert_eq!(file.read_at(7, 1).await.unwrap(), b"");
            assert_eq!(file.read_at(u64::MAX, usize::MAX).await.unwrap(), b"");
            assert!(file.write_at(ReadOnlyDisk.buffer(1), 0).await.is_err());
            assert!(file.truncate(0).await.is_err());
            assert!(ReadOnlyDisk.remove(&path).await.is_err());
            assert_eq!(ReadOnlyDisk.list(folder.path()).await.unwrap(), ["file"]);
        });
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }
}
