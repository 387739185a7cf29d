//! Checksummed record log: append, replay. Sees bytes only; the shards' write-ahead log, their manifests and their
//! series logs are all files of this kind.
//!
//! Owns:  one open file and its tail. One [`Log`] has one writer.
//! In:    records, any number in one append.
//! Out:   their durability when the append returns; on open, the same records again.
//!
//! A file is a sequence of frames. Each append writes one frame, which starts on a fresh 4 KiB block, so a frame is
//! never rewritten and damage in one leaves the next readable. Little-endian:
//!
//! ```text
//! frame   magic u32 | crc32 u32 of all that follows | file id u64 | sequence u64 | bytes u32 | records u32
//!         record: length u32, content   ...   zeros up to 4 KiB
//! ```
//!
//! Replay reads frames as long as they are whole and number on from each other. Bytes that are no frame at the end of
//! the file are a torn tail: they were never acknowledged, and are cut. If a later whole frame follows, the gap is
//! damage: it is reported, and the rest is read.
//!
//! After one failed write or sync a [`Log`] takes nothing more: a second sync could say yes to lost bytes. Its owner
//! cuts the file back with [`Log::repair`] or goes on in a new file.

mod replay;
mod tail;

pub use replay::Damage;
pub use replay::Frame;
pub use replay::Frames;
pub use replay::Replayed;
pub use replay::scan;
pub use replay::settle;
pub use tail::is_torn;

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::align_up;
use crate::limits::DISK_ALIGN;

const MAGIC: u32 = u32::from_le_bytes(*b"mrl1");
const FRAME_HEADER_BYTES: usize = 32;
/// Largest single write; a longer frame is written in pieces of this size, since one call may be cut short.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Tells the frames of one file from those of every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId {
    /// What is written.
    pub id: u64,
    /// What is read too: frames of an earlier version.
    pub earlier: Option<u64>,
}

impl LogId {
    fn is_of(self, header: &replay::Header) -> bool {
        header.id == self.id || Some(header.id) == self.earlier
    }
}

impl From<u64> for LogId {
    fn from(id: u64) -> LogId {
        LogId { id, earlier: None }
    }
}

/// A log that can be appended to.
#[derive(Debug)]
pub struct Log<P: Disk> {
    platform: P,
    file: P::File,
    id: u64,
    position: u64,
    sequence: u64,
    failed: bool,
}

impl<P: Disk> Log<P> {
    /// Creates an empty log. `id` tells its frames from leftovers of others; the name is durable only after the
    /// caller has synced the folder.
    pub async fn create(platform: &P, path: &Path, id: impl Into<LogId>) -> io::Result<Log<P>> {
        let file = platform.create(path).await?;
        Ok(Log { platform: platform.clone(), file, id: id.into().id, position: 0, sequence: 0, failed: false })
    }

    /// Opens an existing log for appending after handing all its records to `on_record`, and cuts off a torn tail.
    pub async fn open(
        platform: &P,
        path: &Path,
        id: impl Into<LogId>,
        on_record: impl FnMut(&[u8]),
    ) -> io::Result<(Log<P>, Replayed)> {
        let id = id.into();
        let file = platform.open(path).await?;
        let replayed = replay::replay_file(&file, id, on_record).await?;
        if replayed.cut_bytes > 0 {
            file.truncate(replayed.end).await?;
        }
        replay::settle(platform, &file, &replayed).await?;
        let log = Log {
            platform: platform.clone(),
            file,
            id: id.id,
            position: replayed.end,
            sequence: replayed.next_sequence,
            failed: false,
        };
        Ok((log, replayed))
    }

    /// Bytes of the file up to the tail.
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// Whether an append failed; every further one will.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Appends the records in one frame. When it returns `Ok` they are durable, all of them; on an error they may or
    /// may not come back at replay, unless [`Log::repair`] succeeds.
    pub async fn append(&mut self, records: &[impl AsRef<[u8]>]) -> io::Result<()> {
        self.write(records).await?;
        self.sync().await
    }

    /// Writes one frame without waiting for it to be durable: [`Log::sync`] does that.
    pub async fn write(&mut self, records: &[impl AsRef<[u8]>]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the log takes no more records after a failed write"));
        }
        let content: usize = records.iter().map(|record| 4 + record.as_ref().len()).sum();
        let content_bytes = u32::try_from(content)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an append of 4 GiB or more"))?;
        let header =
            FrameHeader { id: self.id, sequence: self.sequence, bytes: content_bytes, records: records.len() as u32 };
        let total = align_up(FRAME_HEADER_BYTES + content);
        let mut frame = FrameWriter::new(&self.platform, &self.file, self.position, total);
        // The checksum covers the whole frame, so it is known only after a first walk over the records.
        let checksum = header.checksum(records);
        // Until the write has succeeded the log counts as failed, so that a cancelled append cannot be followed.
        self.failed = true;
        frame.put(&header.encode(checksum)).await?;
        for record in records {
            frame.put(&(record.as_ref().len() as u32).to_le_bytes()).await?;
            frame.put(record.as_ref()).await?;
        }
        frame.finish().await?;
        self.failed = false;
        self.position += total as u64;
        self.sequence += 1;
        Ok(())
    }

    /// Makes all that was written durable.
    pub async fn sync(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the log takes no more records after a failed write"));
        }
        self.failed = true;
        self.file.sync().await?;
        self.failed = false;
        Ok(())
    }

    /// After a failure: cuts the file back to `bytes`, a tail that was known durable, so that nothing unacknowledged
    /// comes back at replay. The log stays closed for appends.
    pub async fn repair(&mut self, bytes: u64) -> io::Result<()> {
        assert!(self.failed, "only a failed log is repaired");
        self.file.truncate(bytes).await?;
        self.file.sync().await
    }

    /// Closes the file.
    pub async fn close(self) -> io::Result<()> {
        self.file.close().await
    }
}

#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    id: u64,
    sequence: u64,
    bytes: u32,
    records: u32,
}

impl FrameHeader {
    fn fields(&self) -> [u8; FRAME_HEADER_BYTES - 8] {
        let mut bytes = [0; FRAME_HEADER_BYTES - 8];
        bytes[0..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.records.to_le_bytes());
        bytes
    }

    fn checksum(&self, records: &[impl AsRef<[u8]>]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.fields());
        for record in records {
            hasher.update(&(record.as_ref().len() as u32).to_le_bytes());
            hasher.update(record.as_ref());
        }
        hasher.finalize()
    }

    fn encode(&self, checksum: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes[8..].copy_from_slice(&self.fields());
        bytes
    }
}

/// Fills aligned buffers and writes each when it is full.
struct FrameWriter<'a, P: Disk> {
    platform: &'a P,
    file: &'a P::File,
    position: u64,
    left: usize,
    buffer: Option<P::Buffer>,
    filled: usize,
}

impl<'a, P: Disk> FrameWriter<'a, P> {
    fn new(platform: &'a P, file: &'a P::File, position: u64, total: usize) -> FrameWriter<'a, P> {
        debug_assert!(total.is_multiple_of(DISK_ALIGN));
        FrameWriter { platform, file, position, left: total, buffer: None, filled: 0 }
    }

    async fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let next = self.left.min(WRITE_BYTES_MAX);
            let buffer = self.buffer.get_or_insert_with(|| self.platform.buffer(next));
            let count = bytes.len().min(buffer.len() - self.filled);
            buffer[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == buffer.len() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let bytes = buffer.len();
        self.file.write_at(buffer, self.position).await?;
        self.position += bytes as u64;
        self.left -= bytes;
        self.filled = 0;
        Ok(())
    }

    async fn finish(mut self) -> io::Result<()> {
        if let Some(buffer) = &mut self.buffer {
            buffer[self.filled..].fill(0);
        }
        self.flush().await?;
        assert_eq!(self.left, 0, "a frame fills its blocks");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
