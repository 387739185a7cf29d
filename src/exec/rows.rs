//! Raw rows of a fragment, group by group, merged by time.
//!
//! A group of few series is merged with all of them open. A group of many is read in passes, series after series: each
//! pass keeps the next [`PASS_ROWS`] rows in time order and learns how far it has to look, so memory stays bounded
//! whatever the group holds.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::exec::column::ColumnBuilder;
use crate::exec::fragment::FieldRef;
use crate::exec::fragment::Fragment;
use crate::exec::fragment::Part;
use crate::exec::fragment::PartData;
use crate::exec::fragment::RowSeries;
use crate::exec::fragment::Rows;
use crate::exec::fragment::TieColumn;
use crate::exec::fragment::Upcoming;
use crate::exec::fragment::Work;
use crate::exec::reader::Block;
use crate::exec::reader::Meter;
use crate::exec::reader::ReadPlan;
use crate::exec::reader::Reader;
use crate::exec::reader::origin;
use crate::exec::select::Group;
use crate::exec::view::View;
use crate::model::Cell;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::stdx::pace::Pace;

/// Most series of one group that are open at once; each holds a block of some ten kilobytes.
const HEADS_MAX: usize = 512;

/// Rows one pass over a large group keeps.
const PASS_ROWS: usize = 16 * 1024;

/// Rows of one chunk.
pub const CHUNK_ROWS: usize = 4096;

/// Bytes of one chunk, about.
pub const CHUNK_BYTES: usize = 256 << 10;

/// The rows of a fragment on one core, being read.
pub struct RowScan<V: View> {
    fragment: Rc<Fragment>,
    plan: Rc<ReadPlan>,
    groups: VecDeque<Group>,
    current: Option<GroupRows<V>>,
}

/// One group being read.
struct GroupRows<V: View> {
    group: Group,
    /// Rows that may still be sent.
    left: u64,
    origins: Vec<RowSeries>,
    /// Sent with the first rows.
    heads: Vec<(RowSeries, Upcoming)>,
    merge: Merge<V>,
}

enum Merge<V: View> {
    /// Every series is open. A head without block is at its end.
    Open(Vec<Head<V::Cursor>>),
    /// Rows of the last pass that were not sent, and what the next one looks at.
    Passes(VecDeque<LooseRow>, Option<TimeRange>),
}

struct Head<C> {
    reader: Reader<C>,
    block: Option<Block>,
    row: usize,
    origin: usize,
}

struct LooseRow {
    time: Timestamp,
    origin: usize,
    cells: Vec<Cell>,
}

impl<V: View> RowScan<V> {
    /// A scan of `groups`.
    pub fn new(fragment: Rc<Fragment>, groups: Vec<Group>, filter_fields: &[FieldRef], meter: Rc<Meter>) -> RowScan<V> {
        let required = match &fragment.work {
            Work::Rows { required, .. } => *required,
            Work::Windows { .. } => fragment.fields.len(),
        };
        let plan = Rc::new(ReadPlan::new(&fragment.fields, filter_fields, required, meter));
        RowScan { fragment, plan, groups: groups.into(), current: None }
    }

    /// The next parts; empty at the end.
    pub async fn next(&mut self, views: &[V]) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while rows < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let Some(current) = self.current(views).await? else { break };
            let room = Room { rows: CHUNK_ROWS - rows, bytes: CHUNK_BYTES - bytes };
            let tags = current.group.tags.clone();
            let fragment = self.fragment.clone();
            let plan = self.plan.clone();
            let Some(current) = &mut self.current else { break };
            let data = current.fill(views, &fragment, &plan, room).await?;
            match data {
                Some(data) => {
                    rows += data.times.len();
                    bytes += data.byte_count() + tags.len() * 32 + 64;
                    parts.push(Part { group: tags, data: PartData::Rows(data) });
                }
                None => self.current = None,
            }
            if self.current.as_ref().is_some_and(GroupRows::is_done) {
                self.current = None;
            }
        }
        Ok(parts)
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.current.is_none() && self.groups.is_empty()
    }

    /// About how much memory it holds between two chunks, without the list of its series.
    pub fn held_bytes(&self) -> usize {
        match self.current.as_ref().map(|current| &current.merge) {
            None => 0,
            Some(Merge::Open(heads)) => heads.iter().filter_map(|head| Some(head.block.as_ref()?.byte_count())).sum(),
            Some(Merge::Passes(rows, _)) => {
                rows.len() * (size_of::<LooseRow>() + self.fragment.fields.len() * size_of::<Cell>())
            }
        }
    }

    async fn current(&mut self, views: &[V]) -> Result<Option<&GroupRows<V>>, String> {
        if self.current.is_none() {
            let Some(group) = self.groups.pop_front() else { return Ok(None) };
            self.current = Some(GroupRows::open(views, &self.fragment, &self.plan, group).await?);
        }
        Ok(self.current.as_ref())
    }
}

#[derive(Clone, Copy)]
struct Room {
    rows: usize,
    bytes: usize,
}

impl<V: View> GroupRows<V> {
    async fn open(views: &[V], fragment: &Fragment, plan: &Rc<ReadPlan>, group: Group) -> Result<GroupRows<V>, String> {
        let origins: Vec<RowSeries> = group.series.iter().map(|series| origin(views, fragment, series)).collect();
        let left = match &fragment.work {
            Work::Rows { limit: Some(limit), .. } => *limit,
            _ => u64::MAX,
        };
        if group.series.len() > HEADS_MAX {
            let merge = Merge::Passes(VecDeque::new(), Some(fragment.range));
            return Ok(GroupRows { group, left, origins, heads: Vec::new(), merge });
        }
        let tie_fields = fragment.string_tie_fields();
        let mut heads = Vec::with_capacity(group.series.len());
        let mut firsts = Vec::with_capacity(group.series.len());
        for (index, series) in group.series.iter().enumerate() {
            let mut reader = Reader::open(views, fragment, plan, series, fragment.range, fragment.rows_descending);
            let block = reader.next().await?;
            if let Some(block) = &block {
                firsts.push((RowSeries::clone(&origins[index]), upcoming(Some(block), 0, &tie_fields)));
            }
            if block.is_some() {
                heads.push(Head { reader, block, row: 0, origin: index });
            }
            views[series.view].yield_now().await;
        }
        Ok(GroupRows { group, left, origins, heads: firsts, merge: Merge::Open(heads) })
    }

    fn is_done(&self) -> bool {
        self.left == 0
            || match &self.merge {
                Merge::Open(heads) => heads.is_empty(),
                Merge::Passes(rows, next) => rows.is_empty() && next.is_none(),
            }
    }

    /// The next rows; `None` at the end of the group.
    async fn fill(
        &mut self,
        views: &[V],
        fragment: &Fragment,
        plan: &Rc<ReadPlan>,
        room: Room,
    ) -> Result<Option<Rows>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        if let Merge::Passes(..) = &self.merge {
            self.run_pass(views, fragment, plan).await?;
        }
        let view = self.group.series.first().map_or(0, |series| series.view);
        views[view].yield_now().await;
        let mut rows = match &mut self.merge {
            Merge::Passes(rows, _) => {
                let mut builder = RowsBuilder::new(fragment, &self.origins);
                while builder.has_room(room) && self.left > 0 {
                    let Some(row) = rows.pop_front() else { break };
                    builder.push_loose(row);
                    self.left -= 1;
                }
                builder.finish()
            }
            Merge::Open(heads) if heads.len() == 1 => single(heads, fragment, &self.origins, &mut self.left).await?,
            Merge::Open(heads) => merge(heads, fragment, &self.origins, &mut self.left, room).await?,
        };
        rows.heads = std::mem::take(&mut self.heads);
        Ok((!rows.times.is_empty()).then_some(rows))
    }

    /// Reads the next rows of a large group, if none are left of the last pass.
    async fn run_pass(&mut self, views: &[V], fragment: &Fragment, plan: &Rc<ReadPlan>) -> Result<(), String> {
        let Merge::Passes(rows, next) = &mut self.merge else { return Ok(()) };
        if !rows.is_empty() {
            return Ok(());
        }
        let Some(mut range) = next.take() else { return Ok(()) };
        let whole = range;
        let row_max = usize::try_from(self.left).unwrap_or(PASS_ROWS).min(PASS_ROWS);
        let mut pass: Vec<LooseRow> = Vec::new();
        // Rows of one instant are never cut apart, so what is left may be long.
        let mut cut_at = 2 * row_max;
        for (index, series) in self.group.series.iter().enumerate() {
            let mut reader = Reader::open(views, fragment, plan, series, range, fragment.rows_descending);
            'series: while let Some(block) = reader.next().await? {
                for (row, time) in block.times.iter().enumerate() {
                    if !range.contains(*time) {
                        break 'series;
                    }
                    let cells = block.columns.iter().map(|column| column_cell(column, row)).collect();
                    pass.push(LooseRow { time: *time, origin: index, cells });
                }
                if pass.len() > cut_at {
                    cut(&mut pass, row_max, &mut range, fragment.rows_descending);
                    cut_at = 2 * pass.len().max(row_max);
                }
                views[series.view].yield_now().await;
            }
        }
        cut(&mut pass, row_max, &mut range, fragment.rows_descending);
        let order = |a: &LooseRow, b: &LooseRow| {
            let order = a.time.cmp(&b.time).then_with(|| {
                let left = (&self.origins[a.origin], a.cells.as_slice());
                tie(&fragment.ties, left, (&self.origins[b.origin], b.cells.as_slice()))
            });
            if fragment.rows_descending { order.reverse() } else { order }
        };
        rows.extend(Pace::default().sort_by(pass, order).await);
        *next = behind(range, whole, fragment.rows_descending);
        Ok(())
    }
}

/// Keeps the first `row_max` rows in time order and those of the same instant as the last; `range` shrinks to them.
fn cut(rows: &mut Vec<LooseRow>, row_max: usize, range: &mut TimeRange, descending: bool) {
    if rows.len() <= row_max || row_max == 0 {
        return;
    }
    let last = row_max - 1;
    if descending {
        rows.select_nth_unstable_by_key(last, |row| std::cmp::Reverse(row.time));
        range.min = rows[last].time;
    } else {
        rows.select_nth_unstable_by_key(last, |row| row.time);
        range.max = rows[last].time;
    }
    rows.retain(|row| range.contains(row.time));
}

/// What of `whole` lies behind `done`.
fn behind(done: TimeRange, whole: TimeRange, descending: bool) -> Option<TimeRange> {
    let rest = if descending {
        TimeRange { min: whole.min, max: done.min.saturating_sub(1) }
    } else {
        TimeRange { min: done.max.saturating_add(1), max: whole.max }
    };
    (done != whole && !rest.is_empty()).then_some(rest)
}

fn column_cell(column: &Option<crate::exec::view::Column>, row: usize) -> Cell {
    column.as_ref().map_or(Cell::Null, |column| column.cell(row))
}

/// One series: its blocks are the answer.
async fn single<C: crate::exec::view::Cursor>(
    heads: &mut Vec<Head<C>>,
    fragment: &Fragment,
    origins: &[RowSeries],
    left: &mut u64,
) -> Result<Rows, String> {
    let Some(head) = heads.first_mut() else { return Ok(Rows::default()) };
    let Some(mut block) = head.block.take() else { return Ok(Rows::default()) };
    head.block = head.reader.next().await?;
    // A head that was merged before may be inside its block.
    let end = usize::try_from(*left).unwrap_or(usize::MAX).saturating_add(head.row).min(block.times.len());
    if head.row > 0 || end < block.times.len() {
        let keep: Vec<bool> = (0..block.times.len()).map(|row| head.row <= row && row < end).collect();
        block.times = crate::exec::column::kept(block.times, &keep);
        block.columns = block.columns.into_iter().map(|column| column.map(|column| column.filter(&keep))).collect();
    }
    head.row = 0;
    *left -= block.times.len() as u64;
    let origins = vec![origins[head.origin].clone()];
    let tie_fields = fragment.string_tie_fields();
    let next = (1..block.times.len()).map(|row| upcoming(Some(&block), row, &tie_fields));
    let next = next.chain([upcoming(head.block.as_ref(), 0, &tie_fields)]).collect();
    if head.block.is_none() {
        heads.clear();
    }
    Ok(Rows { times: block.times, columns: block.columns, series: Vec::new(), origins, next, heads: Vec::new() })
}

/// Several series by time.
async fn merge<C: crate::exec::view::Cursor>(
    heads: &mut Vec<Head<C>>,
    fragment: &Fragment,
    origins: &[RowSeries],
    left: &mut u64,
    room: Room,
) -> Result<Rows, String> {
    let mut builder = RowsBuilder::new(fragment, origins);
    let mut instant: Vec<usize> = Vec::new();
    while *left > 0 && builder.has_room(room) && !heads.is_empty() {
        let next = next_instant(heads, fragment.rows_descending, &mut instant);
        let Some(run_end) = next else { break };
        if instant.len() > 1 {
            sort_instant(&mut instant, heads, fragment, origins);
        }
        for index in &instant {
            let head = &mut heads[*index];
            let Some(block) = &head.block else { continue };
            // Alone at this instant, a series may go on until another one has a row.
            let mut end = head.row + 1;
            while instant.len() == 1
                && end < block.times.len()
                && before(block.times[end], run_end, fragment.rows_descending)
                && end - head.row < room.rows
            {
                end += 1;
            }
            // Which rows of an instant are wanted the asker decides: it gets all of them.
            let end = match instant.len() {
                1 => end.min(head.row.saturating_add(usize::try_from(*left).unwrap_or(usize::MAX))),
                _ => end,
            };
            builder.push_run(block, head.row..end, head.origin);
            *left = left.saturating_sub((end - head.row) as u64);
            head.row = end;
            if head.row == block.times.len() {
                head.block = head.reader.next().await?;
                head.row = 0;
                builder.set_next(head.block.as_ref());
            }
        }
        heads.retain(|head| head.block.is_some());
    }
    Ok(builder.finish())
}

/// Row `row` of `block`, as far as its place among others is concerned.
fn upcoming(block: Option<&Block>, row: usize, tie_fields: &[usize]) -> Upcoming {
    let Some((block, time)) = block.and_then(|block| Some((block, *block.times.get(row)?))) else {
        return Upcoming::NONE;
    };
    let Some(last) = tie_fields.iter().max() else { return Upcoming { time, strings: Vec::new() } };
    let mut strings = vec![Cell::Null; last + 1];
    for field in tie_fields {
        strings[*field] = column_cell(&block.columns[*field], row);
    }
    Upcoming { time, strings }
}

fn before(time: Timestamp, other: Option<Timestamp>, descending: bool) -> bool {
    other.is_none_or(|other| if descending { time > other } else { time < other })
}

/// Heads that stand at the next instant; returns where the others go on.
fn next_instant<C>(heads: &[Head<C>], descending: bool, instant: &mut Vec<usize>) -> Option<Option<Timestamp>> {
    instant.clear();
    let mut now: Option<Timestamp> = None;
    let mut later: Option<Timestamp> = None;
    for (index, head) in heads.iter().enumerate() {
        let Some(time) = head.block.as_ref().and_then(|block| block.times.get(head.row).copied()) else { continue };
        match now {
            Some(at) if at == time => instant.push(index),
            Some(at) if !before(time, Some(at), descending) => {
                if before(time, later, descending) {
                    later = Some(time);
                }
            }
            _ => {
                later = now.or(later);
                now = Some(time);
                instant.clear();
                instant.push(index);
            }
        }
    }
    now.map(|_| later)
}

fn sort_instant<C>(instant: &mut [usize], heads: &[Head<C>], fragment: &Fragment, origins: &[RowSeries]) {
    let cells = |index: usize| -> Vec<Cell> {
        let head = &heads[index];
        head.block.iter().flat_map(|block| block.columns.iter().map(|column| column_cell(column, head.row))).collect()
    };
    let mut keyed: Vec<(usize, Vec<Cell>)> = instant.iter().map(|index| (*index, cells(*index))).collect();
    keyed.sort_by(|(a, a_cells), (b, b_cells)| {
        let left = (&origins[heads[*a].origin], a_cells.as_slice());
        let order = tie(&fragment.ties, left, (&origins[heads[*b].origin], b_cells.as_slice()));
        if fragment.rows_descending { order.reverse() } else { order }
    });
    for (slot, (index, _)) in instant.iter_mut().zip(keyed) {
        *slot = index;
    }
}

/// Order of two rows of one instant: by the strings among their columns up to the first that is none, as stock does;
/// then by series key, where stock leaves it open.
pub fn tie(ties: &[TieColumn], left: (&RowSeries, &[Cell]), right: (&RowSeries, &[Cell])) -> Ordering {
    tie_of_strings(ties, left, right).then_with(|| left.0.key.cmp(&right.0.key))
}

/// The part of [`tie`] that stock has.
pub fn tie_of_strings(ties: &[TieColumn], left: (&RowSeries, &[Cell]), right: (&RowSeries, &[Cell])) -> Ordering {
    for column in ties {
        let order = match column {
            TieColumn::Tag(index) => match (left.0.tags.get(*index), right.0.tags.get(*index)) {
                (Some(Some(left)), Some(Some(right))) => left.cmp(right),
                _ => break,
            },
            TieColumn::Field(index) => match (left.1.get(*index), right.1.get(*index)) {
                (Some(Cell::String(left)), Some(Cell::String(right))) => left.cmp(right),
                _ => break,
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

impl Rows {
    /// About how much memory it holds.
    pub fn byte_count(&self) -> usize {
        let origins: usize = self.origins.iter().map(|origin| origin.key.len() + 64).sum();
        let columns: usize = self.columns.iter().flatten().map(|column| column.byte_count()).sum();
        let strings: usize = self.next.iter().flat_map(|next| &next.strings).map(crate::exec::column::cell_bytes).sum();
        self.times.len() * 8
            + self.next.len() * 32
            + self.series.len() * 4
            + columns
            + origins
            + strings
            + self.heads.len() * 120
    }
}

/// Rows of several series under construction.
struct RowsBuilder<'a> {
    origins: &'a [RowSeries],
    /// Place of each origin in the rows, plus one.
    places: Vec<u32>,
    rows: Rows,
    columns: Vec<ColumnBuilder>,
    tie_fields: Vec<usize>,
    bytes: usize,
}

impl<'a> RowsBuilder<'a> {
    fn new(fragment: &Fragment, origins: &'a [RowSeries]) -> RowsBuilder<'a> {
        let columns = fragment.fields.iter().map(|_| ColumnBuilder::default()).collect();
        let (places, tie_fields) = (vec![0; origins.len()], fragment.string_tie_fields());
        RowsBuilder { origins, places, rows: Rows::default(), columns, tie_fields, bytes: 0 }
    }

    fn has_room(&self, room: Room) -> bool {
        self.rows.times.len() < room.rows && self.bytes < room.bytes
    }

    fn place(&mut self, origin: usize) -> u32 {
        if self.places[origin] == 0 {
            self.rows.origins.push(self.origins[origin].clone());
            self.bytes += self.origins[origin].key.len() + 64;
            self.places[origin] = self.rows.origins.len() as u32;
        }
        self.places[origin] - 1
    }

    fn push_run(&mut self, block: &Block, range: std::ops::Range<usize>, origin: usize) {
        let place = self.place(origin);
        for row in range {
            self.rows.times.push(block.times[row]);
            self.rows.series.push(place);
            self.rows.next.push(upcoming(Some(block), row + 1, &self.tie_fields));
            for (builder, column) in self.columns.iter_mut().zip(&block.columns) {
                builder.push(column.as_ref(), row);
            }
            self.bytes += 20 + block.columns.len() * 9;
        }
    }

    /// The series of the last row goes on with `block`.
    fn set_next(&mut self, block: Option<&Block>) {
        if let Some(last) = self.rows.next.last_mut() {
            *last = upcoming(block, 0, &self.tie_fields);
        }
    }

    fn push_loose(&mut self, row: LooseRow) {
        let place = self.place(row.origin);
        self.rows.times.push(row.time);
        self.rows.series.push(place);
        for (builder, cell) in self.columns.iter_mut().zip(row.cells) {
            self.bytes += 9 + crate::exec::column::cell_bytes(&cell);
            builder.push_cell(cell);
        }
        self.bytes += 12;
    }

    fn finish(mut self) -> Rows {
        self.rows.columns = self.columns.into_iter().map(ColumnBuilder::finish).collect();
        self.rows
    }
}
