//! Reads a log back: whole frames, a torn tail, damage in between.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::align_up;
use crate::limits::DISK_ALIGN;
use crate::stdx::varint::Reader;
use crate::wal::FRAME_HEADER_BYTES;
use crate::wal::MAGIC;
use crate::wal::WRITE_BYTES_MAX;

const BLOCK: u64 = DISK_ALIGN as u64;
/// How much of the file is read at a time.
const READ_BYTES: usize = 1 << 20;

/// A stretch of the file that should hold frames and does not; later frames were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records handed on.
    pub records: u64,
    /// Where the last whole frame begins.
    pub last_frame: u64,
    /// Where it ends.
    pub end: u64,
    /// Bytes behind `end`: the torn tail.
    pub cut_bytes: u64,
    /// Damage before the end.
    pub damage: Vec<Damage>,
    /// Sequence of the next frame.
    pub next_sequence: u64,
}

/// Hands every record of the log at `path` to `on_record`, in order. What was handed on is durable when this returns.
pub async fn replay<P: Disk>(platform: &P, path: &Path, id: u64, on_record: impl FnMut(&[u8])) -> io::Result<Replayed> {
    let file = platform.open(path).await?;
    let replayed = replay_file(&file, id, on_record).await?;
    settle(platform, &file, &replayed).await?;
    file.close().await?;
    Ok(replayed)
}

/// Makes what was read durable, so that nothing built on it outlives it. A killed process may have left its last frame
/// unsynced; a failed sync may even have left it readable, but such that a later sync says yes and does not save it.
/// Only writing it once more helps. Frames before the last were synced before the next was written.
pub(super) async fn settle<P: Disk>(platform: &P, file: &P::File, replayed: &Replayed) -> io::Result<()> {
    let mut position = replayed.last_frame;
    while position < replayed.end {
        let bytes = file.read_at(position, WRITE_BYTES_MAX.min((replayed.end - position) as usize)).await?;
        if bytes.is_empty() {
            break;
        }
        // The padding of the last block may be missing from the file.
        let mut buffer = platform.buffer(align_up(bytes.len()));
        buffer[..bytes.len()].copy_from_slice(&bytes);
        buffer[bytes.len()..].fill(0);
        file.write_at(buffer, position).await?;
        position += align_up(bytes.len()) as u64;
    }
    file.sync().await
}

pub(super) async fn replay_file<F: File>(file: &F, id: u64, mut on_record: impl FnMut(&[u8])) -> io::Result<Replayed> {
    let mut window = Window { file, size: file.size().await?, start: 0, bytes: Vec::new() };
    let mut replayed = Replayed::default();
    let mut position = 0;
    while position < window.size {
        let Some(frame) = window.frame(position, id, replayed.next_sequence).await? else {
            position += BLOCK;
            continue;
        };
        if position > replayed.end {
            replayed.damage.push(Damage { start: replayed.end, end: position });
        }
        replayed.next_sequence = frame.sequence + 1;
        replayed.records += hand_on(&frame.content, &mut on_record);
        replayed.last_frame = position;
        position += align_up(FRAME_HEADER_BYTES + frame.content.len()) as u64;
        replayed.end = position;
    }
    replayed.cut_bytes = window.size.saturating_sub(replayed.end);
    Ok(replayed)
}

/// The records of a frame whose checksum holds.
fn hand_on(content: &[u8], on_record: &mut impl FnMut(&[u8])) -> u64 {
    let mut reader = Reader::new(content);
    let mut count = 0;
    while let Some(record) = reader.u32().and_then(|length| reader.take(length as usize)) {
        on_record(record);
        count += 1;
    }
    count
}

struct Frame {
    sequence: u64,
    content: Vec<u8>,
}

/// A part of the file in memory.
struct Window<'a, F> {
    file: &'a F,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: File> Window<'_, F> {
    /// The whole frame at `position` with `id` and at least `sequence`, if there is one.
    async fn frame(&mut self, position: u64, id: u64, sequence: u64) -> io::Result<Option<Frame>> {
        let header = self.read(position, FRAME_HEADER_BYTES).await?;
        let mut reader = Reader::new(header);
        let mut read = || Some((reader.u32()?, reader.u32()?, reader.u64()?, reader.u64()?, reader.u32()?));
        let Some((magic, checksum, frame_id, frame_sequence, content_bytes)) = read() else { return Ok(None) };
        if magic != MAGIC || frame_id != id || frame_sequence < sequence {
            return Ok(None);
        }
        let total = FRAME_HEADER_BYTES + content_bytes as usize;
        if position + total as u64 > self.size {
            return Ok(None);
        }
        let frame = self.read(position, total).await?;
        if frame.len() < total || crc32fast::hash(&frame[8..]) != checksum {
            return Ok(None);
        }
        Ok(Some(Frame { sequence: frame_sequence, content: frame[FRAME_HEADER_BYTES..].to_vec() }))
    }

    /// `bytes` from `position`, fewer at the end of the file.
    async fn read(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
        let end = (position + bytes as u64).min(self.size);
        if position < self.start || end > self.start + self.bytes.len() as u64 {
            self.bytes = self.file.read_at(position, bytes.max(READ_BYTES)).await?;
            self.start = position;
        }
        let start = (position - self.start) as usize;
        let end = self.bytes.len().min(start + bytes);
        Ok(self.bytes.get(start..end).unwrap_or_default())
    }
}
