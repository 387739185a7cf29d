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
    let bytes = file.read_at(replayed.last_frame, (replayed.end - replayed.last_frame) as usize).await?;
    // What is written must be what was believed, whatever the device says this time.
    let is_the_frame = Header::read(&bytes).is_some_and(|header| {
        let frame = bytes.get(8..FRAME_HEADER_BYTES + header.bytes as usize);
        frame.is_some_and(|frame| crc32fast::hash(frame) == header.checksum)
    });
    if replayed.end > 0 && !is_the_frame {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the last frame of a log reads differently each time"));
    }
    for (index, piece) in bytes.chunks(WRITE_BYTES_MAX).enumerate() {
        // The padding of the last block may be missing from the file.
        let mut buffer = platform.buffer(align_up(piece.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        buffer[piece.len()..].fill(0);
        file.write_at(buffer, replayed.last_frame + (index * WRITE_BYTES_MAX) as u64).await?;
    }
    file.sync().await
}

pub(super) async fn replay_file<F: File>(file: &F, id: u64, mut on_record: impl FnMut(&[u8])) -> io::Result<Replayed> {
    scan(file, id, |frame| frame.records().for_each(&mut on_record)).await
}

/// Hands every whole frame of a log to `on_frame`, in order, and changes nothing.
pub async fn scan<F: File>(file: &F, id: u64, mut on_frame: impl FnMut(&Frame<'_>)) -> io::Result<Replayed> {
    let mut window = Window::new(file).await?;
    let mut replayed = Replayed::default();
    let mut position = 0;
    while position < window.size {
        let mut is_frame = window.has_frame(position, id, replayed.next_sequence).await?;
        if !is_frame && position == replayed.end {
            // Perhaps it was read wrongly, once.
            window.forget();
            is_frame = window.has_frame(position, id, replayed.next_sequence).await?;
        }
        if !is_frame {
            position += BLOCK;
            continue;
        }
        let Some(frame) = window.frame(position, id, replayed.next_sequence).await? else {
            position += BLOCK;
            continue;
        };
        if position > replayed.end {
            replayed.damage.push(Damage { start: replayed.end, end: position });
        }
        replayed.next_sequence = frame.sequence + 1;
        replayed.records += frame.records().count() as u64;
        on_frame(&frame);
        replayed.last_frame = position;
        position += align_up(FRAME_HEADER_BYTES + frame.content.len()) as u64;
        replayed.end = position;
    }
    replayed.cut_bytes = window.size.saturating_sub(replayed.end);
    Ok(replayed)
}

/// A frame whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it begins.
    pub start: u64,
    /// Its number; those of a file count up from 0.
    pub sequence: u64,
    /// Records that its header names.
    pub record_count: u32,
    /// The records with their lengths.
    pub content: &'a [u8],
    /// What follows up to the end of its last block: zeros. May be missing at the end of the file.
    pub padding: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.content);
        std::iter::from_fn(move || reader.u32().and_then(|length| reader.take(length as usize)))
    }

    /// Bytes of header and content.
    pub fn bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.content.len()) as u64
    }
}

/// What a frame begins with, before it is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub magic: u32,
    pub checksum: u32,
    pub id: u64,
    pub sequence: u64,
    pub bytes: u32,
    pub records: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader::new(bytes);
        Some(Header {
            magic: reader.u32()?,
            checksum: reader.u32()?,
            id: reader.u64()?,
            sequence: reader.u64()?,
            bytes: reader.u32()?,
            records: reader.u32()?,
        })
    }
}

/// A part of the file in memory.
pub(super) struct Window<'a, F> {
    file: &'a F,
    pub size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a, F: File> Window<'a, F> {
    pub async fn new(file: &'a F) -> io::Result<Window<'a, F>> {
        Ok(Window { file, size: file.size().await?, start: 0, bytes: Vec::new() })
    }

    /// Reads from the file again.
    fn forget(&mut self) {
        self.bytes = Vec::new();
    }

    async fn has_frame(&mut self, position: u64, id: u64, sequence: u64) -> io::Result<bool> {
        Ok(self.frame(position, id, sequence).await?.is_some())
    }

    /// What stands where a frame would begin; `None` when the file ends before.
    pub async fn header(&mut self, position: u64) -> io::Result<Option<Header>> {
        Ok(Header::read(self.read(position, FRAME_HEADER_BYTES).await?))
    }

    /// The whole frame at `position` with `id` and at least `sequence`, if there is one.
    async fn frame(&mut self, position: u64, id: u64, sequence: u64) -> io::Result<Option<Frame<'_>>> {
        let Some(header) = self.header(position).await? else { return Ok(None) };
        if header.magic != MAGIC || header.id != id || header.sequence < sequence {
            return Ok(None);
        }
        let total = FRAME_HEADER_BYTES + header.bytes as usize;
        if position + total as u64 > self.size {
            return Ok(None);
        }
        let bytes = self.read(position, align_up(total)).await?;
        let Some((frame, padding)) = bytes.split_at_checked(total) else { return Ok(None) };
        if crc32fast::hash(&frame[8..]) != header.checksum {
            return Ok(None);
        }
        let content = &frame[FRAME_HEADER_BYTES..];
        let Header { sequence, records, .. } = header;
        Ok(Some(Frame { start: position, sequence, record_count: records, content, padding }))
    }

    /// `bytes` from `position`, fewer at the end of the file.
    pub async fn read(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
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
