//! One segment, read to its last byte and held against what index, series log, manifest and catalog say of it.

use std::path::Path;

use hashbrown::HashSet;

use crate::disk::read_only::ReadOnlyDisk;
use crate::limits::DISK_ALIGN;
use crate::model::TimeRange;
use crate::segment::BLOCK_ROWS_MAX;
use crate::segment::BlockEntry;
use crate::segment::Examined;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::shard::PartitionKey;
use crate::tools::progress::Progress;
use crate::tools::report::Report;
use crate::tools::series::SeriesTable;

/// What the rest of the directory says of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The shard whose folder it is in.
    pub shard: u16,
    /// The number in its name.
    pub number: u64,
    /// Where its points belong; `None`: nothing says so.
    pub key: Option<PartitionKey>,
    /// The times of its shard group, when the catalog has it.
    pub range: Option<TimeRange>,
    /// The series of the shard.
    pub series: &'a SeriesTable,
}

/// Offset and text of an error, without the path that the report names already.
pub fn parts(error: &SegmentError) -> (u64, String) {
    match error {
        SegmentError::Io { error, .. } => (0, format!("cannot be read: {error}")),
        SegmentError::Damaged { offset, what, .. } => (*offset, (*what).to_owned()),
        SegmentError::Newer { version, .. } => (0, format!("segment format {version} is newer than this program")),
    }
}

/// Checks the segment at `path`, which the report calls `name` and which has so many bytes.
pub async fn check(
    path: &Path,
    name: &str,
    bytes: u64,
    expected: Expected<'_>,
    progress: &Progress,
    report: &mut Report,
) {
    let segment = match Segment::open(&ReadOnlyDisk, path).await {
        Ok(segment) => segment,
        Err(error) => {
            let (offset, what) = parts(&error);
            return report.damage(name, offset, bytes - offset.min(bytes), what);
        }
    };
    report.checked.segments += 1;
    check_frame_of_file(&segment, name, expected, report).await;
    let mut before: Option<BlockEntry> = None;
    let mut rows = 0;
    for block in segment.blocks() {
        let whole = |report: &mut Report, what: String| report.damage(name, block.offset, block.bytes.into(), what);
        if let Some(before) = before.replace(*block)
            && (before.series, before.range.max) >= (block.series, block.range.min)
        {
            whole(report, "blocks are not in the order of series and time".to_owned());
        }
        rows += u64::from(block.rows);
        match segment.examine(block).await {
            Ok(examined) => {
                report.checked.blocks += 1;
                report.checked.rows += examined.times.len() as u64;
                let values = examined.columns.iter().map(|column| column.value_count(examined.times.len()));
                report.checked.values += values.sum::<u64>();
                if let Err(what) = check_block(&segment, block, &examined, expected) {
                    whole(report, what);
                }
            }
            Err(error) => whole(report, parts(&error).1),
        }
        progress.reached(block.offset + u64::from(block.bytes));
    }
    if rows != segment.rows() {
        let what = format!("the footer counts {} rows, the index {rows}", segment.rows());
        report.damage(name, segment.index_range().end, bytes - segment.index_range().end, what);
    }
}

/// Everything but the blocks.
async fn check_frame_of_file(segment: &Segment<ReadOnlyDisk>, name: &str, expected: Expected<'_>, report: &mut Report) {
    let (index, bytes) = (segment.index_range(), segment.bytes());
    let mut footer = |what: String| report.damage(name, index.end, bytes - index.end, what);
    if !bytes.is_multiple_of(DISK_ALIGN as u64) {
        footer(format!("{bytes} bytes are not whole blocks of the disk"));
    }
    if (segment.shard(), segment.number()) != (expected.shard, expected.number) {
        footer(format!("the footer is of segment {} of shard {}", segment.number(), segment.shard()));
    }
    match segment.padding().await {
        Ok(padding) => {
            if let Some(at) = padding.iter().position(|&byte| byte != 0) {
                report.damage(name, index.end + at as u64, 1, "the padding before the footer is not zero");
            }
        }
        Err(error) => report.damage(name, index.end, bytes - index.end, parts(&error).1),
    }
    let mut fields = HashSet::new();
    if !segment.fields().iter().all(|field| fields.insert(field)) {
        report.damage(name, index.start, index.end - index.start, "the index names a field twice");
    }
}

fn check_block(
    segment: &Segment<ReadOnlyDisk>,
    block: &BlockEntry,
    examined: &Examined,
    expected: Expected<'_>,
) -> Result<(), String> {
    let times = &examined.times;
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return Err("a block without rows".to_owned());
    };
    if times.len() > BLOCK_ROWS_MAX {
        return Err(format!("{} rows are more than a block has", times.len()));
    }
    if !times.is_sorted_by(|before, after| before < after) {
        return Err("times are not in order".to_owned());
    }
    if (TimeRange { min: first, max: last }) != block.range {
        return Err(format!(
            "its times are {first} to {last}, the index has {} to {}",
            block.range.min, block.range.max
        ));
    }
    if expected.range.is_some_and(|range| !range.contains(first) || !range.contains(last)) {
        return Err(format!("its times {first} to {last} are not all in its shard group"));
    }
    let mut fields = HashSet::new();
    for column in &examined.columns {
        let field = &segment.fields()[column.field as usize];
        if !fields.insert(&field.name) {
            return Err("it has a field twice".to_owned());
        }
        if let Some(key) = expected.key {
            expected.series.check(block.series, key.database, &field.measurement)?;
        }
    }
    if expected.key.is_some() && !expected.series.contains(block.series) {
        return Err(format!("series {} is not in the series log", block.series));
    }
    Ok(())
}
