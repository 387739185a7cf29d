//! Reads one selected series: blocks of the fields asked for, in the types asked for, filtered.

use std::cell::Cell;
use std::rc::Rc;

use crate::exec::column::convert;
use crate::exec::column::kept;
use crate::exec::expr::Program;
use crate::exec::fragment::FieldRef;
use crate::exec::fragment::Fragment;
use crate::exec::fragment::RowSeries;
use crate::exec::select::SelectedSeries;
use crate::exec::select::tag_values;
use crate::exec::summary::Facts;
use crate::exec::summary::Slot;
use crate::exec::view::BlockSummary;
use crate::exec::view::Column;
use crate::exec::view::Cursor;
use crate::exec::view::ReadRequest;
use crate::exec::view::RowBlock;
use crate::exec::view::View;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// The text of a query that was stopped while it was read.
pub const STOPPED: &str = "query interrupted";

/// What the readers of one open fragment count, and whether they shall stop.
#[derive(Debug, Default)]
pub struct Meter {
    /// Points handed out and not yet told to the asker.
    pub points: Cell<u64>,
    /// Nobody waits for the answer any more.
    pub is_stopped: Cell<bool>,
}

/// How columns of a block come from the fields that are read.
#[derive(Debug)]
pub struct ReadPlan {
    names: Vec<Bytes>,
    /// Where each of the fragment's fields is found, and its type.
    columns: Vec<(usize, FieldType)>,
    /// The same for the slots of filters.
    filter: Vec<(usize, FieldType)>,
    /// A row must have one of the first so many columns.
    required: usize,
    meter: Rc<Meter>,
}

impl ReadPlan {
    /// The plan for `fields`, with filters over `filter_fields`.
    pub fn new(fields: &[FieldRef], filter_fields: &[FieldRef], required: usize, meter: Rc<Meter>) -> ReadPlan {
        let mut names = Vec::new();
        let mut place = |field: &FieldRef| {
            let index = names.iter().position(|name| *name == field.name).unwrap_or_else(|| {
                names.push(field.name.clone());
                names.len() - 1
            });
            (index, field.as_type)
        };
        let columns = fields.iter().map(&mut place).collect();
        let filter = filter_fields.iter().map(&mut place).collect();
        ReadPlan { names, columns, filter, required, meter }
    }
}

/// Rows of one series as the fragment wants them; never empty.
#[derive(Debug)]
pub struct Block {
    /// Ascending or descending.
    pub times: Vec<Timestamp>,
    /// One for each of the fragment's fields.
    pub columns: Vec<Option<Column>>,
}

impl Block {
    fn filter(self, keep: &[bool]) -> Block {
        if keep.iter().all(|keep| *keep) {
            return self;
        }
        let columns = self.columns.into_iter().map(|column| column.map(|column| column.filter(keep)));
        Block { times: kept(self.times, keep), columns: columns.collect() }
    }

    /// About how much memory it holds.
    pub fn byte_count(&self) -> usize {
        self.times.len() * 8 + self.columns.iter().flatten().map(Column::byte_count).sum::<usize>()
    }
}

/// An open series.
#[derive(Debug)]
pub struct Reader<C> {
    cursor: C,
    plan: Rc<ReadPlan>,
    filter: Option<Rc<Program>>,
    cut: Option<Cut>,
}

/// The first rows of each shard group.
#[derive(Debug)]
struct Cut {
    count: u64,
    shard_groups: Vec<TimeRange>,
    at: TimeRange,
    seen: u64,
}

impl Cut {
    fn keeps(&mut self, time: Timestamp) -> bool {
        if self.seen == 0 || !self.at.contains(time) {
            let group = self.shard_groups.iter().find(|group| group.contains(time));
            (self.at, self.seen) = (group.copied().unwrap_or(TimeRange::ALWAYS), 0);
        }
        self.seen += 1;
        self.seen <= self.count
    }
}

/// A block that was not read, and its summary.
pub struct Summarized<'a> {
    /// The block.
    pub block: &'a BlockSummary,
    plan: &'a ReadPlan,
}

/// Points of a block.
pub struct Points {
    /// How many.
    pub count: u32,
    /// Each row is one.
    pub are_rows: bool,
}

impl Summarized<'_> {
    /// What is known of one of the fragment's fields; `None` when no row has it.
    pub fn facts(&self, field: usize) -> Option<Facts> {
        match slot(self.block, self.plan.columns[field]) {
            Slot::Known(facts) => Some(facts),
            Slot::Absent | Slot::Unknown => None,
        }
    }

    /// The rows with a value in one of the fields that make one; `None` when only the rows can tell.
    pub fn points(&self) -> Option<Points> {
        let mut missing = Vec::new();
        let mut seen = Vec::new();
        for &place in &self.plan.columns[..self.plan.required.min(self.plan.columns.len())] {
            match slot(self.block, place) {
                Slot::Absent => {}
                Slot::Unknown => return None,
                Slot::Known(_) if seen.contains(&place) => {}
                Slot::Known(facts) => {
                    seen.push(place);
                    missing.push(facts.missing);
                }
            }
        }
        let rows = self.block.rows;
        match missing[..] {
            [] => Some(Points { count: 0, are_rows: false }),
            [missing] => Some(Points { count: rows - missing.min(rows), are_rows: missing == 0 }),
            _ => missing.contains(&0).then_some(Points { count: rows, are_rows: true }),
        }
    }

    /// Counts points as handed out.
    pub fn count(&self, points: u32) {
        let meter = &self.plan.meter;
        meter.points.set(meter.points.get() + u64::from(points));
    }
}

/// What is known of a column that is read as some type.
fn slot(block: &BlockSummary, (index, as_type): (usize, FieldType)) -> Slot {
    match block.columns.get(index).and_then(Option::as_ref) {
        None => Slot::Absent,
        Some(summary) => Facts::of(summary, block.rows, as_type).map_or(Slot::Unknown, Slot::Known),
    }
}

impl<C: Cursor> Reader<C> {
    /// Opens `series` over `range`.
    pub fn open<V: View<Cursor = C>>(
        views: &[V],
        fragment: &Fragment,
        plan: &Rc<ReadPlan>,
        series: &SelectedSeries,
        range: TimeRange,
        descending: bool,
    ) -> Reader<C> {
        let cursor = views[series.view].read(ReadRequest {
            database: fragment.database,
            policy: fragment.policy,
            series: series.id,
            fields: plan.names.clone(),
            range,
            descending,
        });
        let cut = fragment.series_rows.map(|count| {
            let shard_groups = views[series.view].shard_groups(fragment.database, fragment.policy, range);
            Cut { count, shard_groups, at: TimeRange::ALWAYS, seen: 0 }
        });
        Reader { cursor, plan: plan.clone(), filter: series.filter.clone(), cut }
    }

    /// Passes the next block of which all rows pass the filter over, unread, if its summary is `enough`; before it,
    /// blocks of which none do.
    pub async fn pass(&mut self, enough: impl FnOnce(Summarized<'_>) -> bool) -> Result<Option<C::Passed>, String> {
        let mut enough = Some(enough);
        loop {
            let (plan, filter, is_cut) = (&*self.plan, self.filter.as_deref(), self.cut.is_some());
            let mut is_told = false;
            let passed = self.cursor.pass(|block| {
                let outcome = filter.map(|filter| {
                    let slots: Vec<Slot> = plan.filter.iter().map(|place| slot(block, *place)).collect();
                    filter.outcome(&slots)
                });
                if outcome.is_some_and(|outcome| !outcome.may_hold) {
                    return true;
                }
                is_told = !is_cut && outcome.is_none_or(|outcome| !outcome.may_fail);
                is_told && enough.take().is_some_and(|enough| enough(Summarized { block, plan }))
            });
            let passed = passed.await.map_err(|error| error.to_string())?;
            if is_told || passed.is_none() {
                return Ok(passed);
            }
            self.check_stopped()?;
            futures_lite::future::yield_now().await;
        }
    }

    /// The rows of a block that was passed over, after all; they were counted.
    pub async fn read_passed(&self, passed: &C::Passed) -> Result<Option<Block>, String> {
        self.check_stopped()?;
        let rows = self.cursor.read_passed(passed).await.map_err(|error| error.to_string())?;
        Ok(rows.map(|rows| self.shape(rows)).filter(|block| !block.times.is_empty()))
    }

    fn check_stopped(&self) -> Result<(), String> {
        if self.plan.meter.is_stopped.get() { Err(STOPPED.to_owned()) } else { Ok(()) }
    }

    /// The next rows that pass; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Block>, String> {
        loop {
            if self.filter.is_some() {
                self.pass(|_| false).await?;
            }
            let Some(block) = self.cursor.next().await.map_err(|error| error.to_string())? else { return Ok(None) };
            self.check_stopped()?;
            let mut block = self.shape(block);
            if let Some(cut) = &mut self.cut {
                let keep: Vec<bool> = block.times.iter().map(|time| cut.keeps(*time)).collect();
                block = block.filter(&keep);
            }
            if !block.times.is_empty() {
                let meter = &self.plan.meter;
                meter.points.set(meter.points.get() + block.times.len() as u64);
                return Ok(Some(block));
            }
            // The caller yields between blocks, and does not see this one: a filter that lets nothing through would
            // keep the core from everything else, the news that the query was killed too.
            futures_lite::future::yield_now().await;
        }
    }

    fn shape(&self, mut block: RowBlock) -> Block {
        let count = block.times.len();
        let mut keep: Option<Vec<bool>> = None;
        if let Some(filter) = &self.filter {
            let slots = self.plan.filter.iter().map(|place| copied(&block, *place)).collect::<Vec<_>>();
            keep = Some(filter.mask(&slots, count));
        }
        let columns: Vec<Option<Column>> = self.columns(&mut block);
        let required = &columns[..self.plan.required.min(columns.len())];
        if !required.iter().flatten().any(|column| column.valid.is_none()) {
            let present = (0..count).map(|row| required.iter().flatten().any(|column| column.has(row)));
            match &mut keep {
                Some(keep) => keep.iter_mut().zip(present).for_each(|(keep, present)| *keep &= present),
                None => keep = Some(present.collect()),
            }
        }
        match keep {
            Some(keep) => Block { times: block.times, columns }.filter(&keep),
            None => Block { times: block.times, columns },
        }
    }

    /// Takes columns out of the block; one that several places use is copied.
    fn columns(&self, block: &mut RowBlock) -> Vec<Option<Column>> {
        let places = &self.plan.columns;
        let mut columns = Vec::with_capacity(places.len());
        for (index, place) in places.iter().enumerate() {
            let used_later = places[index + 1..].iter().any(|later| later.0 == place.0);
            columns.push(if used_later {
                copied(block, *place)
            } else {
                let column = block.columns.get_mut(place.0).and_then(Option::take);
                column.and_then(|column| convert(column, place.1))
            });
        }
        columns
    }
}

fn copied(block: &RowBlock, (index, as_type): (usize, FieldType)) -> Option<Column> {
    block.columns.get(index).cloned().flatten().and_then(|column| convert(column, as_type))
}

/// Key and travelling tags of a series.
pub fn origin<V: View>(views: &[V], fragment: &Fragment, series: &SelectedSeries) -> RowSeries {
    let found = views[series.view].index(fragment.database, |index| RowSeries {
        key: index.key(series.id).map(Vec::into_boxed_slice).unwrap_or_default(),
        tags: tag_values(index, series.id, &fragment.tags),
    });
    found.unwrap_or_else(|| RowSeries { key: Bytes::default(), tags: vec![None; fragment.tags.len()] })
}
