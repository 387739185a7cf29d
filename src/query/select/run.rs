//! A running SELECT: rows of its chains joined by series and time, select items computed, pieces cut.

use std::rc::Rc;

use jiff::tz::TimeZone;

use crate::exec;
use crate::exec::window::offset_seconds;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::query::compile::Compiled;
use crate::query::fabric::Fabric;
use crate::query::select::feed::Feed;
use crate::query::select::operator::Pipeline;
use crate::query::select::plan::Absent;
use crate::query::select::plan::Column;
use crate::query::select::plan::Plan;
use crate::query::select::plan::Value;
use crate::query::select::source::Limits;
use crate::query::select::source::memory_error;
use crate::query::select::stream::Batch;
use crate::query::select::stream::GroupKey;
use crate::query::select::stream::Row;
use crate::query::select::stream::directed;
use crate::query::select::stream::rows_bytes;
use crate::query::select::subquery::ColumnKind;
use crate::query::select::subquery::TableColumn;
use crate::stdx::budget::Budget;
use crate::stdx::budget::Taken;

/// A feed, and which pipelines its outputs go to.
struct Input<F> {
    feed: Feed<F>,
    /// What comes next; not yet given to the pipelines.
    pending: Option<Batch>,
    started: bool,
    /// Output and pipeline.
    readers: Vec<(usize, usize)>,
}

/// Steps in which memory is taken, so that cores rarely touch the count they share.
const MEMORY_STEP: usize = 64 << 10;

/// Rows made between two yields: what fill() makes, and a reader that takes all at once, would else keep the core busy.
const YIELD_ROWS: usize = 1024;

/// What a group costs beside its rows, as so many rows.
const GROUP_COST: usize = 16;

/// What a running SELECT may hold on this core, and holds.
pub struct Memory {
    bytes_max: usize,
    all: Budget,
    taken: Taken,
    /// For the rows of its subqueries.
    _tables: Taken,
}

impl Memory {
    /// Nothing held yet but the rows of subqueries.
    pub fn new(limits: &Limits, tables: Taken) -> Memory {
        let taken = limits.memory.take(0).unwrap_or_default();
        Memory { bytes_max: limits.memory_bytes_max, all: limits.memory.clone(), taken, _tables: tables }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), String> {
        if self.bytes_max > 0 && bytes > self.bytes_max {
            return Err(memory_error(self.bytes_max));
        }
        let units = bytes.next_multiple_of(MEMORY_STEP) as u64;
        if units != self.taken.units() && !self.taken.resize(units) {
            return Err(exec::memory_error(self.all.max()));
        }
        Ok(())
    }
}

/// See the module's doc.
pub struct SelectRun<F> {
    plan: Plan,
    inputs: Vec<Input<F>>,
    pipelines: Vec<Pipeline>,
    /// The series being shown.
    group: Option<Rc<GroupKey>>,
    /// The one shown last.
    last_group: Option<Rc<GroupKey>>,
    /// Last cell shown of each slot, for fill(previous).
    shown: Vec<Cell>,
    descending: bool,
    time_column: String,
    hidden_tags: Vec<Bytes>,
    zone: Option<TimeZone>,
    memory: Memory,
    /// Rows that follow the piece given out last.
    ahead: Option<(Rc<GroupKey>, Vec<Row>)>,
    finished: bool,
    /// Rows made since the last yield.
    unyielded: usize,
}

impl<F: Fabric> SelectRun<F> {
    /// A run of `plan` over `feeds`, one for each demand.
    pub fn new(
        mut plan: Plan,
        feeds: Vec<Feed<F>>,
        compiled: &Compiled,
        zone: Option<TimeZone>,
        memory: Memory,
    ) -> SelectRun<F> {
        let mut inputs: Vec<Input<F>> =
            feeds.into_iter().map(|feed| Input { feed, pending: None, started: false, readers: Vec::new() }).collect();
        let mut pipelines = Vec::new();
        for (index, chain) in plan.chains.iter_mut().enumerate() {
            inputs[chain.demand].readers.push((chain.output, index));
            pipelines.push(Pipeline::new(std::mem::take(&mut chain.operators)));
        }
        SelectRun {
            shown: vec![Cell::Null; plan.slots.len()],
            hidden_tags: plan.hidden.iter().map(|(key, _)| key.clone()).collect(),
            plan,
            inputs,
            pipelines,
            group: None,
            last_group: None,
            descending: !compiled.ascending,
            time_column: compiled.time_column.clone(),
            zone,
            memory,
            ahead: None,
            finished: false,
            unyielded: 0,
        }
    }

    /// Names and kinds of the columns, as an outer query sees them, and the tags behind them.
    pub fn columns_and_hidden_tags(&self) -> Vec<TableColumn> {
        let column = |column: &Column| TableColumn {
            name: Bytes::from(column.source_name.as_bytes()),
            kind: match (column.is_tag, column.is_implied) {
                (true, true) => ColumnKind::Implied,
                (true, false) => ColumnKind::Tag,
                (false, _) => ColumnKind::Field(column.field_type),
            },
        };
        let hidden = self.hidden_tags.iter().map(|tag| TableColumn { name: tag.clone(), kind: ColumnKind::Hidden });
        self.plan.columns.iter().map(column).chain(hidden).collect()
    }

    /// Those that the statement itself names.
    pub fn own_dimensions(&self) -> &[Bytes] {
        &self.plan.own_dimensions
    }

    /// Names of the columns without time.
    pub fn columns(&self) -> Vec<Bytes> {
        self.plan.columns.iter().map(|column| Bytes::from(column.name.as_bytes())).collect()
    }

    /// Name of the time column.
    pub fn time_column(&self) -> &str {
        &self.time_column
    }

    /// Keys of tags whose cells follow those of the columns in [`SelectRun::next_rows`].
    pub fn hidden_tags(&self) -> &[Bytes] {
        &self.hidden_tags
    }

    /// What is read.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Sorted keys of the GROUP BY tags.
    pub fn dimensions(&self) -> &[Bytes] {
        &self.plan.dimensions
    }

    /// The next piece: rows of one series, at most `row_max`. `None` at the end; a statement without rows has one
    /// piece without series.
    pub async fn next_piece(&mut self, row_max: usize) -> Result<Option<ResultPiece>, String> {
        if self.finished {
            return Ok(None);
        }
        let row_max = row_max.max(1);
        let current = match self.ahead.take() {
            Some(ahead) => Some(ahead),
            None => self.next_rows(row_max).await?,
        };
        let Some((group, rows)) = current else {
            self.finished = true;
            return Ok(Some(ResultPiece::default()));
        };
        // What follows decides what this piece is marked with.
        self.ahead = self.next_rows(row_max).await?;
        let more = self.ahead.as_ref().map(|(next, _)| *next == group);
        self.finished = more.is_none();
        let set = self.row_set(&group, rows, more == Some(true));
        Ok(Some(ResultPiece { series: vec![set], partial: more.is_some(), ..ResultPiece::default() }))
    }

    fn row_set(&self, group: &GroupKey, rows: Vec<Row>, partial: bool) -> RowSet {
        let columns = self.plan.columns.iter().map(|column| Bytes::from(column.name.as_bytes()));
        let time = |ns| {
            let utc_offset_s = self.zone.as_ref().map_or(0, |zone| offset_seconds(zone, ns));
            Cell::Time { ns, utc_offset_s }
        };
        RowSet {
            name: Some(group.name.clone()),
            tags: self.plan.dimensions.iter().cloned().zip(group.tags.iter().cloned()).collect(),
            columns: std::iter::once(Bytes::from(self.time_column.as_bytes())).chain(columns).collect(),
            rows: rows.into_iter().map(|row| std::iter::once(time(row.time)).chain(row.cells).collect()).collect(),
            partial,
        }
    }

    /// The next rows of the next series, at most `row_max`; cells are those of the columns.
    pub async fn next_rows(&mut self, row_max: usize) -> Result<Option<(Rc<GroupKey>, Vec<Row>)>, String> {
        loop {
            if self.group.is_none() && !self.next_group().await? {
                return Ok(None);
            }
            let mut rows = Vec::new();
            while rows.len() < row_max {
                self.fill_pipelines().await?;
                self.unyielded += 1 + self.plan.columns.len() / 16;
                if self.unyielded >= YIELD_ROWS {
                    self.unyielded = 0;
                    futures_lite::future::yield_now().await;
                }
                match self.join_row() {
                    Some(row) => rows.push(row),
                    None => break,
                }
            }
            let group = if rows.len() < row_max { self.group.take() } else { self.group.clone() };
            if let (Some(group), false) = (group, rows.is_empty()) {
                return Ok(Some((group, rows)));
            }
        }
    }

    /// Goes to the next series that any feed has.
    async fn next_group(&mut self) -> Result<bool, String> {
        for input in &mut self.inputs {
            if !input.started {
                input.started = true;
                input.pending = input.feed.next().await?;
            }
            // Behind a limit the rest of a series was not wanted.
            while let (Some(pending), Some(last)) = (&input.pending, &self.last_group) {
                if pending.group != *last {
                    break;
                }
                input.pending = input.feed.next().await?;
            }
        }
        let descending = self.descending;
        let groups = self.inputs.iter().filter_map(|input| input.pending.as_ref().map(|batch| &batch.group));
        let Some(group) = groups.min_by(|left, right| directed(*left, *right, descending)).cloned() else {
            return Ok(false);
        };
        for input in &self.inputs {
            let has_input = input.pending.as_ref().is_some_and(|batch| batch.group == group);
            for (_, pipeline) in &input.readers {
                self.pipelines[*pipeline].begin(has_input);
            }
        }
        self.unyielded += GROUP_COST;
        self.shown.fill(Cell::Null);
        self.last_group = Some(group.clone());
        self.group = Some(group);
        Ok(true)
    }

    /// Brings every pipeline to a row or to its end.
    async fn fill_pipelines(&mut self) -> Result<(), String> {
        for index in 0..self.pipelines.len() {
            loop {
                let pipeline = &mut self.pipelines[index];
                if pipeline.head().is_some() {
                    break;
                }
                let moved = pipeline.pump();
                if pipeline.head().is_some() || pipeline.is_ended() {
                    break;
                }
                if let Some(operator) = pipeline.due() {
                    operator.compute().await;
                    continue;
                }
                if moved {
                    self.check_memory()?;
                    futures_lite::future::yield_now().await;
                    continue;
                }
                self.feed(self.plan.chains[index].demand).await?;
            }
        }
        Ok(())
    }

    /// Gives the next batch of one input to its pipelines; at the end of the series, that.
    async fn feed(&mut self, input: usize) -> Result<(), String> {
        let input = &mut self.inputs[input];
        let here = |batch: &Batch| self.group.as_ref().is_some_and(|group| batch.group == *group);
        if let Some(batch) = input.pending.take_if(|batch| here(batch)) {
            for (output, rows) in batch.outputs.into_iter().enumerate() {
                // One output has one reader.
                if let Some((_, pipeline)) = input.readers.iter().find(|(wanted, _)| *wanted == output) {
                    self.pipelines[*pipeline].push(rows);
                }
            }
            input.pending = input.feed.next().await?;
        }
        if !input.pending.as_ref().is_some_and(here) {
            for (_, pipeline) in &input.readers {
                self.pipelines[*pipeline].end();
            }
        }
        self.check_memory()
    }

    fn check_memory(&mut self) -> Result<(), String> {
        let pending = |input: &Input<F>| {
            input.pending.iter().flat_map(|batch| &batch.outputs).map(|rows| rows_bytes(rows)).sum::<usize>()
        };
        let held: usize = self.pipelines.iter().map(Pipeline::held_bytes).sum();
        self.memory.hold(held + self.inputs.iter().map(pending).sum::<usize>())
    }

    /// The row of the next instant: cells of all pipelines that stand there, defaults of the others.
    fn join_row(&mut self) -> Option<Row> {
        let times = self.pipelines.iter().filter_map(|pipeline| pipeline.head().map(|row| row.time));
        let time = if self.descending { times.max() } else { times.min() }?;
        let mut taken: Vec<Option<Row>> = Vec::with_capacity(self.pipelines.len());
        for pipeline in &mut self.pipelines {
            let here = pipeline.head().is_some_and(|row| row.time == time);
            taken.push(if here { pipeline.take() } else { None });
        }
        let mut slots = Vec::with_capacity(self.plan.slots.len());
        for (index, slot) in self.plan.slots.iter().enumerate() {
            let found = slot.place.and_then(|(chain, cell)| taken[chain].as_mut()?.cells.get_mut(cell));
            let mut cell = found.map_or(Cell::Null, |cell| std::mem::replace(cell, Cell::Null));
            if cell == Cell::Null {
                cell = match &slot.absent {
                    Absent::Cell(cell) => cell.clone(),
                    Absent::Previous => self.shown[index].clone(),
                };
            }
            if slot.absent == Absent::Previous {
                self.shown[index] = cell.clone();
            }
            slots.push(cell);
        }
        let columns = self.plan.columns.iter().map(|column| shown(&column.value, &slots));
        let hidden = self.plan.hidden.iter().map(|(_, slot)| slots[*slot].clone());
        let cells = columns.chain(hidden).collect();
        Some(Row { time, cells })
    }
}

/// A cell as it is shown: what is not a number is no value.
fn shown(value: &Value, slots: &[Cell]) -> Cell {
    match value.eval(slots) {
        Cell::Float(value) if value.is_nan() => Cell::Null,
        cell => cell,
    }
}
