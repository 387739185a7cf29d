//! The rows of a subquery as a source of the query around it.
//!
//! They are collected whole, within the query's memory: the outer query sorts them by groups of its own.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::exec::Expr;
use crate::exec::FieldRef;
use crate::exec::column::convert_cell;
use crate::exec::expr::Program;
use crate::exec::expr::RowValues;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::query::select::names::Names;
use crate::query::select::plan::Demand;
use crate::query::select::stream::Batch;
use crate::query::select::stream::GroupKey;
use crate::query::select::stream::Row;
use crate::query::select::stream::directed;
use crate::stdx::pace::Pace;

/// What a subquery gave.
#[derive(Debug, Default)]
pub struct Table {
    /// Its columns without time. The first of a name is the one that is seen.
    pub columns: Vec<TableColumn>,
    /// Tags its rows are grouped by: its own, and those the outer query groups by.
    pub dimensions: Vec<Bytes>,
    /// Its own, which the outer query sees.
    pub visible: Vec<Bytes>,
    /// Its rows in its order.
    pub rows: Vec<(Rc<GroupKey>, Row)>,
    /// The error it is for who reads it.
    pub failure: Option<String>,
}

/// A column of a subquery.
#[derive(Debug)]
pub struct TableColumn {
    /// Its name before it was made unique.
    pub name: Bytes,
    /// What it is for the query around it.
    pub kind: ColumnKind,
}

/// See [`TableColumn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A field of this type, as far as it is known.
    Field(Option<FieldType>),
    /// A tag.
    Tag,
    /// A tag that top() or bottom() brought in: it is there when named, and `*` does not know it.
    Implied,
    /// A tag that groups its rows and is no column.
    Hidden,
}

/// Where a name of the outer query is found in a row of the table.
#[derive(Clone, Copy)]
enum Place {
    Column(usize),
    Tag(usize),
    Nowhere,
}

impl Table {
    /// Adds its columns and tags to what the outer query sees.
    pub fn add_names(&self, names: &mut Names) {
        for column in &self.columns {
            match column.kind {
                ColumnKind::Field(Some(field_type)) => names.add_field(column.name.clone(), field_type),
                ColumnKind::Tag => {
                    names.tag_columns.insert(column.name.clone());
                    names.row_tags.insert(column.name.clone());
                }
                ColumnKind::Implied => drop(names.row_tags.insert(column.name.clone())),
                ColumnKind::Field(None) | ColumnKind::Hidden => {}
            }
        }
        names.row_tags.extend(self.visible.iter().cloned());
        names.tags.extend(self.visible.iter().cloned());
    }

    /// Whether a call can read `name` of it.
    pub fn has(&self, name: &[u8]) -> bool {
        !matches!(self.tag(name), Place::Nowhere)
    }

    fn column(&self, name: &[u8]) -> Place {
        let is_it = |column: &TableColumn| column.kind != ColumnKind::Hidden && *column.name == *name;
        self.columns.iter().position(is_it).map_or(Place::Nowhere, Place::Column)
    }

    /// What is asked for: a column, or a tag that its GROUP BY names.
    fn tag(&self, name: &[u8]) -> Place {
        match self.column(name) {
            Place::Nowhere if self.visible.iter().any(|known| **known == *name) => self.group_tag(name),
            place => place,
        }
    }

    fn group_tag(&self, name: &[u8]) -> Place {
        if let Some(tag) = self.dimensions.iter().position(|known| **known == *name) {
            return Place::Tag(tag);
        }
        let is_it = |column: &TableColumn| column.kind == ColumnKind::Hidden && *column.name == *name;
        self.columns.iter().position(is_it).map_or(Place::Nowhere, Place::Column)
    }

    /// Adds one of its rows. Absent tags of groups are empty strings.
    pub fn push(&mut self, group: Rc<GroupKey>, mut row: Row) {
        for (column, cell) in self.columns.iter().zip(&mut row.cells) {
            if column.kind == ColumnKind::Hidden && *cell == Cell::Null {
                *cell = Cell::String(Bytes::default());
            }
        }
        self.rows.push((group, row));
    }

    /// LIMIT and OFFSET as stock applies them where the query around groups otherwise: its limit sees rows by time, and
    /// counts anew when the tags change. On raw rows the storage of each shard group does it once before.
    pub async fn limit_runs(&mut self, limit: u64, offset: u64, order: &RunOrder<'_>) {
        let mut pace = Pace::default();
        if !order.is_raw {
            let outermost: Vec<Place> = order.outermost.iter().map(|tag| self.group_tag(tag)).collect();
            let key = |group: &GroupKey, row: &Row| -> Vec<Bytes> {
                outermost.iter().map(|place| text(cell(*place, group, row))).collect()
            };
            let order_of = |(group, row): &(Rc<GroupKey>, Row)| (group.name.clone(), key(group, row), row.time);
            let rows = std::mem::take(&mut self.rows);
            let by_key = |left: &_, right: &_| directed(&order_of(left), &order_of(right), order.descending);
            self.rows = pace.sort_by(rows, by_key).await;
        }
        let hidden = |column: &(usize, &TableColumn)| column.1.kind == ColumnKind::Hidden;
        let hidden: Vec<usize> = self.columns.iter().enumerate().filter(hidden).map(|(index, _)| index).collect();
        let is_run = |left: &(Rc<GroupKey>, Row), right: &(Rc<GroupKey>, Row)| {
            left.0 == right.0 && hidden.iter().all(|index| left.1.cells.get(*index) == right.1.cells.get(*index))
        };
        let shard_group = |time| order.shard_groups.iter().position(|group| group.contains(time));
        if order.is_raw {
            let is_part = |left: &(Rc<GroupKey>, Row), right: &(Rc<GroupKey>, Row)| {
                is_run(left, right) && shard_group(left.1.time) == shard_group(right.1.time)
            };
            limit_each(&mut self.rows, limit, offset, is_part, &mut pace).await;
        }
        limit_each(&mut self.rows, limit, offset, is_run, &mut pace).await;
    }

    /// The rows that `demand` asks for, in groups of `dimensions`; they have one of the first `required` fields.
    pub async fn rows(
        &self,
        demand: &Demand,
        required: usize,
        filter: Option<&Expr>,
        dimensions: &[Bytes],
        descending: bool,
    ) -> Result<VecDeque<Batch>, String> {
        let filter = filter.map(|filter| Filter::new(self, filter)).transpose()?;
        let fields: Vec<(Place, FieldType)> =
            demand.fields.iter().map(|field| (self.tag(&field.name), field.as_type)).collect();
        let tags: Vec<Place> = demand.tags.iter().map(|tag| self.tag(tag)).collect();
        let groups: Vec<Place> = dimensions.iter().map(|tag| self.group_tag(tag)).collect();
        // Without the column that a call reads the subquery has nothing to say; raw rows are rows all the same.
        if required > 0 && demand.fields.first().is_none_or(|field| !self.has(&field.name)) {
            return Ok(VecDeque::new());
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut pace = Pace::default();
        let mut rows: Vec<(Rc<GroupKey>, Row)> = Vec::new();
        for (group, row) in &self.rows {
            pace.step(8 + fields.len() + tags.len()).await;
            let passes = filter.as_ref().is_none_or(|filter| filter.passes(group, row));
            if !passes {
                continue;
            }
            let mut cells = Vec::with_capacity(fields.len() + tags.len());
            cells.extend(fields.iter().map(|(place, as_type)| convert_cell(cell(*place, group, row), *as_type)));
            if required > 0 && cells.iter().take(required).all(|cell| *cell == Cell::Null) {
                continue;
            }
            cells.extend(tags.iter().map(|place| cell(*place, group, row)));
            let tags: Vec<Bytes> = groups.iter().map(|place| text(cell(*place, group, row))).collect();
            let known = rows.last().map(|(last, _)| last).filter(|last| last.name == group.name && last.tags == tags);
            let key = known.cloned().unwrap_or_else(|| Rc::new(GroupKey { name: group.name.clone(), tags }));
            rows.push((key, Row { time: row.time, cells }));
        }
        // Stable: rows of one instant stay in the subquery's order.
        let order = |left: &(Rc<GroupKey>, Row), right: &(Rc<GroupKey>, Row)| {
            let group = directed(&left.0, &right.0, descending);
            group.then_with(|| directed(&left.1.time, &right.1.time, descending))
        };
        let rows = pace.sort_by(rows, order).await;
        Ok(batches(rows, &mut pace).await)
    }
}

/// How the rows of a subquery come, for [`Table::limit_runs`].
pub struct RunOrder<'a> {
    /// Tags the outermost query groups by.
    pub outermost: &'a [Bytes],
    /// Every point gave a row: they are in order.
    pub is_raw: bool,
    /// Newest first.
    pub descending: bool,
    /// Those of the measurements read.
    pub shard_groups: &'a [TimeRange],
}

/// Keeps of each run of rows that belong together those behind `offset`, at most `limit`; 0: all.
async fn limit_each<T>(rows: &mut Vec<T>, limit: u64, offset: u64, is_run: impl Fn(&T, &T) -> bool, pace: &mut Pace) {
    let last = if limit == 0 { u64::MAX } else { limit.saturating_add(offset) };
    let mut seen = 0;
    let mut keep = Vec::with_capacity(rows.len());
    for index in 0..rows.len() {
        let goes_on = index > 0 && is_run(&rows[index - 1], &rows[index]);
        seen = if goes_on { seen + 1 } else { 1 };
        keep.push(offset < seen && seen <= last);
        pace.step(4).await;
    }
    let mut kept = Vec::new();
    for (row, keep) in std::mem::take(rows).into_iter().zip(keep) {
        kept.extend(keep.then_some(row));
        pace.step(1).await;
    }
    *rows = kept;
}

fn text(cell: Cell) -> Bytes {
    match cell {
        Cell::String(text) => text,
        _ => Bytes::default(),
    }
}

fn cell(place: Place, group: &GroupKey, row: &Row) -> Cell {
    match place {
        Place::Column(index) => row.cells.get(index).cloned().unwrap_or(Cell::Null),
        Place::Tag(index) => group.tags.get(index).map_or(Cell::Null, |tag| Cell::String(tag.clone())),
        Place::Nowhere => Cell::Null,
    }
}

/// Rows of one batch, so that none takes long.
const BATCH_ROWS_MAX: usize = 4096;

async fn batches(rows: Vec<(Rc<GroupKey>, Row)>, pace: &mut Pace) -> VecDeque<Batch> {
    let mut batches: VecDeque<Batch> = VecDeque::new();
    for (group, row) in rows {
        pace.step(2).await;
        match batches.back_mut() {
            Some(last) if last.group == group && last.outputs[0].len() < BATCH_ROWS_MAX => last.outputs[0].push(row),
            _ => batches.push_back(Batch { group, outputs: vec![vec![row]] }),
        }
    }
    batches
}

/// The outer WHERE over rows of a table.
struct Filter {
    program: Program,
    places: Vec<(Place, FieldType)>,
}

/// Fields of the program that stand for tags are marked by this; no field name that a client may send holds it.
const TAG_MARK: &[u8] = b"\0tag\0";

impl Filter {
    fn new(table: &Table, expr: &Expr) -> Result<Filter, String> {
        let mut fields: Vec<FieldRef> = Vec::new();
        let program = Program::compile(&over_rows(expr), &mut fields)?;
        let place = |field: &FieldRef| match field.name.strip_prefix(TAG_MARK) {
            Some(tag) => match table.column(tag) {
                Place::Nowhere => (table.group_tag(tag), FieldType::String),
                column => (column, FieldType::String),
            },
            None => (table.column(&field.name), field.as_type),
        };
        Ok(Filter { program, places: fields.iter().map(place).collect() })
    }

    fn passes(&self, group: &GroupKey, row: &Row) -> bool {
        self.program.is_true(&TableRow { filter: self, group, row })
    }
}

struct TableRow<'a> {
    filter: &'a Filter,
    group: &'a GroupKey,
    row: &'a Row,
}

impl RowValues for TableRow<'_> {
    fn field(&self, slot: usize) -> Cell {
        match self.filter.places.get(slot) {
            // A name that the subquery does not have is a tag without value.
            Some((Place::Nowhere, _)) => Cell::String(Bytes::default()),
            Some((place, as_type)) => match convert_cell(cell(*place, self.group, self.row), *as_type) {
                // An absent boolean is a false one, unlike in the storage.
                Cell::Null if *as_type == FieldType::Boolean => Cell::Boolean(false),
                cell => cell,
            },
            None => Cell::Null,
        }
    }
}

/// Tags become cells of the row; math functions mean nothing here, as in stock. Arithmetic alone filters nothing.
fn over_rows(expr: &Expr) -> Expr {
    fn operand(expr: &Expr) -> Expr {
        match expr {
            Expr::Tag(name) => {
                Expr::Field { name: [TAG_MARK, name].concat().into_boxed_slice(), as_type: FieldType::String }
            }
            Expr::Binary { op, left, right } => {
                Expr::Binary { op: *op, left: Box::new(operand(left)), right: Box::new(operand(right)) }
            }
            Expr::Call { .. } => Expr::Literal(Cell::Null),
            other => other.clone(),
        }
    }
    operand(expr)
}
