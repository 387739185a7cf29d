//! One file of the log format, read to its last byte: frames, padding, sequence, tail, records.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::disk::read_only::ReadOnlyDisk;
use crate::tools::progress::Progress;
use crate::wal;
use crate::wal::Frame;
use crate::wal::LogId;

/// What was found in a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFound {
    /// Whole frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of a torn tail: never acknowledged, cut off by the next start.
    pub torn_bytes: u64,
    /// Where the torn tail begins.
    pub end: u64,
    /// First byte, length, and which check failed.
    pub damage: Vec<(u64, u64, String)>,
}

/// Reads the log at `path`; `on_record` says what is wrong with a record.
pub async fn read(
    path: &Path,
    id: LogId,
    progress: &Progress,
    mut on_record: impl FnMut(&[u8]) -> Result<(), String>,
) -> io::Result<LogFound> {
    let file = ReadOnlyDisk.open(path).await?;
    let mut found = LogFound::default();
    let (mut end, mut next_sequence) = (0, 0);
    let replayed = wal::scan(&file, id, |frame| {
        let follows = frame.start == end;
        if follows && frame.sequence != next_sequence {
            let what = format!("frames {next_sequence} to {} are missing before it", frame.sequence - 1);
            found.damage.push((frame.start, frame.bytes(), what));
        }
        end = frame.start + frame.bytes() + frame.padding.len() as u64;
        next_sequence = frame.sequence + 1;
        found.frames += 1;
        found.damage.extend(check_frame(frame, &mut on_record));
        progress.reached(end);
    });
    let replayed = replayed.await?;
    for gap in &replayed.damage {
        let what = "no whole frame, and whole ones follow".to_owned();
        found.damage.push((gap.start, gap.end - gap.start, what));
    }
    if replayed.cut_bytes > 0 {
        if wal::is_torn(&file, id, &replayed).await? {
            found.torn_bytes = replayed.cut_bytes;
        } else {
            let what = "bytes behind the last whole frame that no cut-off append leaves".to_owned();
            found.damage.push((replayed.end, replayed.cut_bytes, what));
        }
    }
    found.records = replayed.records;
    found.end = replayed.end;
    Ok(found)
}

/// What a frame with a good checksum has wrong; of its records the first.
fn check_frame(frame: &Frame<'_>, on_record: &mut impl FnMut(&[u8]) -> Result<(), String>) -> Vec<(u64, u64, String)> {
    let mut damage = Vec::new();
    let mut count = 0;
    let mut bytes = 0;
    let mut problem = None;
    for record in frame.records() {
        if let Err(what) = on_record(record) {
            problem = problem.or(Some(format!("record {count} of the frame: {what}")));
        }
        count += 1;
        bytes += 4 + record.len();
    }
    if count != frame.record_count || bytes != frame.content.len() {
        problem = problem.or(Some("the frame does not hold the records that its header counts".to_owned()));
    }
    damage.extend(problem.map(|what| (frame.start, frame.bytes(), what)));
    if let Some(index) = frame.padding.iter().position(|&byte| byte != 0) {
        let offset = frame.start + frame.bytes() + index as u64;
        damage.push((offset, 1, "the padding of a frame is not zero".to_owned()));
    }
    damage
}
