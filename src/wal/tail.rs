//! What stands behind the last whole frame of a log: an append that was cut off, or one that was whole once.
//!
//! A device writes sectors, each as a whole or not at all, in any order. A sector that never came reads as zeros or
//! lies behind the end of the file, so an append that was cut off misses one. A frame that misses none was written, and
//! may have been acknowledged: if its checksum does not hold now, its bytes have changed since.

use std::io;

use crate::disk::File;
use crate::wal::FRAME_HEADER_BYTES;
use crate::wal::LogId;
use crate::wal::MAGIC;
use crate::wal::Replayed;
use crate::wal::replay::Header;
use crate::wal::replay::Window;

/// The least that a device writes as a whole.
const SECTOR_BYTES: usize = 512;

/// Whether the bytes behind the last frame that `replayed` found may be what a crash leaves of an append. False means
/// damage. A frame with a stretch of zeros in its content counts as torn: both look the same.
pub async fn is_torn<F: File>(file: &F, id: LogId, replayed: &Replayed) -> io::Result<bool> {
    let mut window = Window::new(file).await?;
    let start = replayed.end;
    let Some(header) = window.header(start).await? else { return Ok(true) };
    if is_zero(window.read(start, SECTOR_BYTES).await?) {
        return Ok(true);
    }
    if header.magic != MAGIC || !id.is_of(&header) || header.sequence != replayed.next_sequence {
        return Ok(false);
    }
    // Either of its two lengths may be what has changed.
    let by_header = start + FRAME_HEADER_BYTES as u64 + u64::from(header.bytes);
    let by_records = end_of_records(&mut window, start, header).await?;
    for end in [Some(by_header), by_records].into_iter().flatten() {
        if end <= window.size && !misses_sector(&mut window, start, end).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where the records end that the header counts, by their own lengths; `None`: not in this file.
async fn end_of_records<F: File>(window: &mut Window<'_, F>, start: u64, header: Header) -> io::Result<Option<u64>> {
    let mut end = start + FRAME_HEADER_BYTES as u64;
    for _ in 0..header.records {
        let Some(length) = window.read(end, 4).await?.first_chunk::<4>() else { return Ok(None) };
        end += 4 + u64::from(u32::from_le_bytes(*length));
    }
    Ok(Some(end))
}

async fn misses_sector<F: File>(window: &mut Window<'_, F>, start: u64, end: u64) -> io::Result<bool> {
    for position in (start..end).step_by(SECTOR_BYTES) {
        let bytes = SECTOR_BYTES.min((end - position) as usize);
        if is_zero(window.read(position, bytes).await?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}
