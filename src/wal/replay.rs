//! Reads a log back: whole frames, a torn tail, damage in between.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;

use futures_lite::future;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::align_up;
use crate::limits::DISK_ALIGN;
use crate::stdx::varint::Reader;
use crate::wal::FRAME_HEADER_BYTES;
use crate::wal::LogId;
use crate::wal::MAGIC;
use crate::wal::WRITE_BYTES_MAX;

const BLOCK: u64 = DISK_ALIGN as u64;
/// How much of the file is read at a time: what comes is copied, and that while the processor's cache still holds it.
const READ_BYTES: usize = 256 << 10;
/// Reads under way at a time, for which the device need not wait for the processor.
const READS_AHEAD: usize = 4;

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

/// Makes what was read of a log durable, so that nothing built on it outlives it. A killed process may have left its
/// last frame unsynced; a failed sync may even have left it readable, but such that a later sync says yes and does not
/// save it. Only writing it once more helps. Frames before the last were synced before the next was written.
pub async fn settle<P: Disk>(platform: &P, file: &P::File, replayed: &Replayed) -> io::Result<()> {
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

pub(super) async fn replay_file<F: File>(
    file: &F,
    id: LogId,
    mut on_record: impl FnMut(&[u8]),
) -> io::Result<Replayed> {
    scan(file, id, |frame| frame.records().for_each(&mut on_record)).await
}

/// Hands every whole frame of a log to `on_frame`, in order, and changes nothing.
pub async fn scan<F: File>(
    file: &F,
    id: impl Into<LogId>,
    mut on_frame: impl FnMut(&Frame<'_>),
) -> io::Result<Replayed> {
    let mut frames = Frames::new(file, id).await?;
    while let Some(frame) = frames.next().await? {
        on_frame(&frame);
    }
    Ok(frames.replayed())
}

/// The whole frames of a log, one after the other.
pub struct Frames<'a, F> {
    window: Window<'a, F>,
    id: LogId,
    position: u64,
    replayed: Replayed,
}

impl<'a, F: File> Frames<'a, F> {
    /// From the start of the file.
    pub async fn new(file: &'a F, id: impl Into<LogId>) -> io::Result<Frames<'a, F>> {
        Ok(Frames { window: Window::new(file).await?, id: id.into(), position: 0, replayed: Replayed::default() })
    }

    /// The next whole frame; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        while self.position < self.window.size {
            let start = self.position;
            let mut header = self.whole(start).await?;
            if header.is_none() && start == self.replayed.end {
                // Perhaps it was read wrongly, once.
                self.window.forget();
                header = self.whole(start).await?;
            }
            let Some(header) = header else {
                self.position += BLOCK;
                continue;
            };
            if start > self.replayed.end {
                self.replayed.damage.push(Damage { start: self.replayed.end, end: start });
            }
            let total = FRAME_HEADER_BYTES + header.bytes as usize;
            self.position += align_up(total) as u64;
            self.replayed.next_sequence = header.sequence + 1;
            self.replayed.last_frame = start;
            self.replayed.end = self.position;
            // As it was checked: nothing else was read since.
            let bytes = self.window.read(start, align_up(total)).await?;
            let (frame, padding) = bytes.split_at(total.min(bytes.len()));
            let content = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            let Header { sequence, records, .. } = header;
            let frame = Frame { start, sequence, record_count: records, content, padding };
            self.replayed.records += frame.records().count() as u64;
            return Ok(Some(frame));
        }
        self.replayed.cut_bytes = self.window.size.saturating_sub(self.replayed.end);
        Ok(None)
    }

    /// What was found; complete when there is no further frame.
    pub fn replayed(self) -> Replayed {
        self.replayed
    }

    /// The header of the whole frame at `position` that may be the next, if there is one.
    async fn whole(&mut self, position: u64) -> io::Result<Option<Header>> {
        let Some(header) = self.window.header(position).await? else { return Ok(None) };
        if header.magic != MAGIC || !self.id.is_of(&header) || header.sequence < self.replayed.next_sequence {
            return Ok(None);
        }
        let total = FRAME_HEADER_BYTES + header.bytes as usize;
        if position + total as u64 > self.window.size {
            return Ok(None);
        }
        let bytes = self.window.read(position, align_up(total)).await?;
        let frame = bytes.get(8..total).filter(|frame| crc32fast::hash(frame) == header.checksum);
        Ok(frame.map(|_| header))
    }
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

/// A part of the file in memory. While it is used the next ones are read already.
pub(super) struct Window<'a, F> {
    file: &'a F,
    pub size: u64,
    start: u64,
    bytes: Vec<u8>,
    /// What follows `bytes`, piece after piece, begun.
    ahead: VecDeque<Reading<'a>>,
}

type Reading<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + 'a>>;

impl<'a, F: File> Window<'a, F> {
    pub async fn new(file: &'a F) -> io::Result<Window<'a, F>> {
        Ok(Window { file, size: file.size().await?, start: 0, bytes: Vec::new(), ahead: VecDeque::new() })
    }

    /// Reads from the file again.
    fn forget(&mut self) {
        self.bytes.clear();
        self.ahead.clear();
    }

    /// What stands where a frame would begin; `None` when the file ends before.
    pub async fn header(&mut self, position: u64) -> io::Result<Option<Header>> {
        Ok(Header::read(self.read(position, FRAME_HEADER_BYTES).await?))
    }

    /// `bytes` from `position`, fewer at the end of the file.
    pub async fn read(&mut self, position: u64, bytes: usize) -> io::Result<&[u8]> {
        let end = position.saturating_add(bytes as u64).min(self.size);
        if position < self.start || position > self.end() {
            self.forget();
            self.start = position;
        }
        if end > self.end() {
            self.bytes.drain(..(position - self.start) as usize);
            self.start = position;
            while self.end() < end && self.append().await? > 0 {}
        }
        let start = (position - self.start) as usize;
        let end = self.bytes.len().min(start + bytes);
        Ok(self.bytes.get(start..end).unwrap_or_default())
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Reads on; how many bytes came.
    async fn append(&mut self) -> io::Result<usize> {
        self.read_ahead().await;
        let Some(next) = self.ahead.pop_front() else { return Ok(0) };
        let found = next.await?;
        if found.len() < READ_BYTES {
            // The others were to follow a whole one.
            self.ahead.clear();
        }
        self.bytes.extend_from_slice(&found);
        self.read_ahead().await;
        Ok(found.len())
    }

    /// Begins to read what follows.
    async fn read_ahead(&mut self) {
        while self.ahead.len() < READS_AHEAD {
            let position = self.end() + (self.ahead.len() * READ_BYTES) as u64;
            if position >= self.size {
                return;
            }
            let mut next: Reading<'a> = Box::pin(self.file.read_at(position, READ_BYTES));
            let begun = match future::poll_once(&mut next).await {
                Some(done) => Box::pin(future::ready(done)),
                None => next,
            };
            self.ahead.push_back(begun);
        }
    }
}
