//! One segment, read to its last byte and held against what index, series log, manifest and catalog say of it.

use std::path::Path;

use hashbrown::HashSet;
use roaring::RoaringBitmap;

use crate::disk::read_only::ReadOnlyDisk;
use crate::limits::DISK_ALIGN;
use crate::model::TimeRange;
use crate::segment::BLOCK_ROWS_MAX;
use crate::segment::Block;
use crate::segment::BlockEntry;
use crate::segment::Examined;
use crate::segment::PageCache;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::segment::summarize;
use crate::shard::PartitionKey;
use crate::tools::progress::Progress;
use crate::tools::report::Report;
use crate::tools::series::SeriesTable;

/// What the rest of the directory says of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
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
        SegmentError::Version { version, .. } => {
            (0, format!("segment format {version} is none that this program reads"))
        }
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
    let segment = match Segment::open(&ReadOnlyDisk, path, &PageCache::new(0)).await {
        Ok(segment) => segment,
        Err(error) => {
            let (offset, what) = parts(&error);
            return report.damage(name, offset, bytes - offset.min(bytes), what);
        }
    };
    report.checked.segments += 1;
    check_frame_of_file(&segment, name, report).await;
    let mut seen = Seen::default();
    for number in 0..segment.page_count() {
        let (_, start, end) = segment.page_place(number);
        match segment.page(number).await {
            Ok(page) => {
                for index in 0..page.entries().len() {
                    seen.check(&segment, name, &Block::new(page.clone(), index), expected, report).await;
                }
            }
            Err(error) => {
                seen.is_whole = false;
                report.damage(name, start, end - start, parts(&error).1);
            }
        }
        progress.reached(end);
    }
    if let Some(what) = seen.differs(&segment) {
        let index = segment.index_range();
        report.damage(name, index.start, bytes - index.start, what);
    }
}

/// What the pages of a segment add up to.
struct Seen {
    before: Option<BlockEntry>,
    rows: u64,
    blocks: u32,
    series: RoaringBitmap,
    range: TimeRange,
    is_whole: bool,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { before: None, rows: 0, blocks: 0, series: RoaringBitmap::new(), range: TimeRange::NEVER, is_whole: true }
    }
}

impl Seen {
    async fn check(
        &mut self,
        segment: &Segment<ReadOnlyDisk>,
        name: &str,
        block: &Block,
        expected: Expected<'_>,
        report: &mut Report,
    ) {
        let whole = |report: &mut Report, what: String| report.damage(name, block.offset, block.bytes.into(), what);
        if let Some(before) = self.before.replace(**block)
            && (before.series, before.range.max) >= (block.series, block.range.min)
        {
            whole(report, "blocks are not in the order of series and time".to_owned());
        }
        self.rows += u64::from(block.rows);
        self.blocks += 1;
        self.series.insert(block.series);
        self.range = TimeRange { min: self.range.min.min(block.range.min), max: self.range.max.max(block.range.max) };
        match segment.examine(block).await {
            Ok(examined) => {
                report.checked.blocks += 1;
                report.checked.rows += examined.times.len() as u64;
                let values = examined.columns.iter().map(|column| column.value_count(examined.times.len()));
                report.checked.values += values.sum::<u64>();
                if let Err(what) = check_block(segment, block, &examined, expected) {
                    whole(report, what);
                }
            }
            Err(error) => whole(report, parts(&error).1),
        }
    }

    /// What footer or index say otherwise; nothing can be said when a page is missing.
    fn differs(&self, segment: &Segment<ReadOnlyDisk>) -> Option<String> {
        let Seen { rows, blocks, series, range, is_whole, .. } = self;
        if !is_whole {
            return None;
        }
        if (*rows, *blocks) != (segment.rows(), segment.block_count()) {
            let (known, known_blocks) = (segment.rows(), segment.block_count());
            return Some(format!(
                "the footer counts {known} rows in {known_blocks} blocks, the pages {rows} in {blocks}"
            ));
        }
        if *range != segment.range() {
            return Some("the footer has other times than the pages".to_owned());
        }
        (series != segment.series()).then(|| "the index has other series than the pages".to_owned())
    }
}

/// Everything but the blocks.
async fn check_frame_of_file(segment: &Segment<ReadOnlyDisk>, name: &str, report: &mut Report) {
    let (index, bytes) = (segment.index_range(), segment.bytes());
    let mut footer = |what: String| report.damage(name, index.end, bytes - index.end, what);
    if !bytes.is_multiple_of(DISK_ALIGN as u64) {
        footer(format!("{bytes} bytes are not whole blocks of the disk"));
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
    block: &Block,
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
    let summaries = examined.columns.iter().map(|column| summarize(&column.column)).collect::<Option<Vec<_>>>();
    if segment.summaries(block).is_some_and(|said| Some(said) != summaries) {
        return Err("the index has other smallest, largest, first, last values or sums".to_owned());
    }
    if expected.key.is_some() && !expected.series.may_name(block.series) {
        return Err(format!("series {} is not in the series log", block.series));
    }
    Ok(())
}
