//! Segments to one segment, series by series, in memory that does not grow with them.

use std::io;
use std::path::Path;
use std::rc::Rc;

use roaring::RoaringBitmap;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::segment::BLOCK_ROWS_MAX;
use crate::segment::FieldEntry;
use crate::segment::Merge;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::segment::SegmentId;
use crate::segment::SegmentSummary;
use crate::segment::SegmentWriter;
use crate::segment::Source;
use crate::segment::codec::Effort;

/// Pages of all inputs that a rewrite keeps; each is used once or twice.
pub const PAGE_CACHE_BYTES: u64 = 4 << 20;

/// What to leave out, by the number of the input, and when to end.
pub trait Rules {
    /// Times of a series that are not copied.
    fn dead(&self, input: usize, series: SeriesId) -> Vec<TimeRange>;
    /// Whether a measurement's fields are forgotten if no row has them.
    fn is_forgotten(&self, input: usize, measurement: &[u8]) -> bool;
    /// Whether to end early.
    fn is_cancelled(&self) -> bool;
}

/// A rewrite did not come to its end. The file it wrote is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Asked to end.
    #[error("cancelled")]
    Cancelled,
    /// An input cannot be read.
    #[error("{0}")]
    Input(#[from] SegmentError),
    /// The output cannot be written.
    #[error("{0}")]
    Output(io::Error),
}

/// Bytes per second that are written on average; a pause makes up for what was written too fast.
#[derive(Debug)]
pub struct Throttle<C: Clock> {
    clock: C,
    /// 0: no limit.
    bytes_per_second: u64,
    burst_bytes: u64,
    /// Bytes written and not yet paid with time.
    owed: u64,
    since_ns: u64,
}

impl<C: Clock> Throttle<C> {
    /// `burst_bytes` may be written at once.
    pub fn new(clock: C, bytes_per_second: u64, burst_bytes: u64) -> Throttle<C> {
        let since_ns = clock.monotonic_ns();
        Throttle { clock, bytes_per_second, burst_bytes, owed: 0, since_ns }
    }

    /// Waits until `bytes` more may be written.
    pub async fn spend(&mut self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let per_second = u128::from(self.bytes_per_second);
        let now = self.clock.monotonic_ns();
        let paid = u128::from(now.saturating_sub(self.since_ns)) * per_second / 1_000_000_000;
        self.since_ns = now;
        self.owed = self.owed.saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX)) + bytes;
        if let Some(excess) = self.owed.checked_sub(self.burst_bytes.max(1)).filter(|excess| *excess > 0) {
            let pause = u128::from(excess) * 1_000_000_000 / per_second;
            self.clock.sleep_ns(u64::try_from(pause).unwrap_or(u64::MAX)).await;
        }
    }
}

/// Writes what is left of `inputs` to a new segment; they come oldest first, opened [`Segment::in_stretches`]. `None`
/// when nothing is left, and then there may be a file of no use. The file is durable, its name is not.
pub async fn rewrite<P: Disk + Clock>(
    platform: &P,
    inputs: &[Rc<Segment<P>>],
    rules: &impl Rules,
    (path, id): (&Path, SegmentId),
    effort: Effort,
    throttle: &mut Throttle<P>,
) -> Result<Option<SegmentSummary>, RewriteError> {
    let mut writer = SegmentWriter::create(platform, path, id, effort).await.map_err(RewriteError::Output)?;
    let mut all_series = RoaringBitmap::new();
    inputs.iter().for_each(|segment| all_series |= segment.series());
    let mut spent = 0;
    for series in all_series {
        copy(platform, inputs, rules, SeriesId(series), &mut writer).await?;
        throttle.spend(writer.bytes() - spent).await;
        spent = writer.bytes();
        if rules.is_cancelled() {
            return Err(RewriteError::Cancelled);
        }
    }
    let mut is_empty = spent == 0;
    // A field stays known as long as its measurement is, though its points may be gone.
    for (number, segment) in inputs.iter().enumerate() {
        for field in segment.fields() {
            if !rules.is_forgotten(number, &field.measurement) {
                writer.declare(field.clone());
                is_empty = false;
            }
        }
    }
    if is_empty {
        return Ok(None);
    }
    writer.finish().await.map(Some).map_err(RewriteError::Output)
}

/// Copies what is left of one series.
async fn copy<P: Disk + Clock>(
    platform: &P,
    inputs: &[Rc<Segment<P>>],
    rules: &impl Rules,
    series: SeriesId,
    writer: &mut SegmentWriter<P>,
) -> Result<(), RewriteError> {
    let mut merge = Merge { series, fields: Vec::new(), range: TimeRange::ALWAYS, descending: false, strict: true };
    let mut sources = Vec::new();
    for (number, segment) in inputs.iter().enumerate() {
        if segment.series().contains(series.0) {
            let mut source = Source::segment(segment.clone(), rules.dead(number, series));
            merge.find_blocks(&mut source).await?;
            sources.push(source);
        }
    }
    let Some((measurement, fields)) = columns(inputs, &sources)? else { return Ok(()) };
    merge.fields = fields.iter().map(|field| field.0.clone()).collect();
    let none = || RowBlock { times: Vec::new(), columns: vec![None; fields.len()] };
    let mut rows = none();
    while !sources.is_empty() {
        if let Some(more) = merge.step(&mut sources).await? {
            rows.append(more);
        }
        while rows.times.len() >= BLOCK_ROWS_MAX {
            let front = rows.split_front(BLOCK_ROWS_MAX);
            writer.add(series, &measurement, &fields, &front).await.map_err(RewriteError::Output)?;
        }
        platform.yield_now().await;
    }
    writer.add(series, &measurement, &fields, &rows).await.map_err(RewriteError::Output)
}

/// A measurement and fields of it.
type Columns = (Bytes, Vec<(Bytes, FieldType)>);

/// Those of the blocks that were found; `None` when there are none.
fn columns<P: Disk>(inputs: &[Rc<Segment<P>>], sources: &[Source<P>]) -> Result<Option<Columns>, SegmentError> {
    let mut found: Vec<&FieldEntry> = Vec::new();
    for field in sources.iter().flat_map(Source::columns) {
        if found.contains(&field) {
            continue;
        }
        if found.iter().any(|known| known.name == field.name || known.measurement != field.measurement) {
            let path = inputs.first().map(|segment| segment.path().display().to_string()).unwrap_or_default();
            return Err(SegmentError::Damaged { path, offset: 0, what: "a series of two measurements or types" });
        }
        found.push(field);
    }
    let Some(first) = found.first() else { return Ok(None) };
    let measurement = first.measurement.clone();
    Ok(Some((measurement, found.into_iter().map(|field| (field.name.clone(), field.field_type)).collect())))
}
