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

/// What a subquery gave.
#[derive(Debug, Default)]
pub struct Table {
    /// Its columns without time: name, type. The first of a name is the one that is seen.
    pub columns: Vec<(Bytes, Option<FieldType>)>,
    /// Tags its rows are grouped by: its own, and those the outer query groups by.
    pub dimensions: Vec<Bytes>,
    /// Its own, which the outer query sees.
    pub visible: Vec<Bytes>,
    /// Its rows in its order.
    pub rows: Vec<(Rc<GroupKey>, Row)>,
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
        for (name, field_type) in &self.columns {
            if let Some(field_type) = field_type {
                names.add_field(name.clone(), *field_type);
            }
        }
        names.tags.extend(self.visible.iter().cloned());
    }

    fn column(&self, name: &[u8]) -> Place {
        self.columns.iter().position(|(known, _)| **known == *name).map_or(Place::Nowhere, Place::Column)
    }

    fn tag(&self, name: &[u8]) -> Place {
        let is_visible = self.visible.iter().any(|known| **known == *name);
        if is_visible { self.group_tag(name) } else { Place::Nowhere }
    }

    fn group_tag(&self, name: &[u8]) -> Place {
        self.dimensions.iter().position(|known| **known == *name).map_or(Place::Nowhere, Place::Tag)
    }

    /// The rows that `demand` asks for, in groups of `dimensions`; they have one of the first `required` fields.
    pub fn rows(
        &self,
        demand: &Demand,
        required: usize,
        range: TimeRange,
        filter: Option<&Expr>,
        dimensions: &[Bytes],
        descending: bool,
    ) -> Result<VecDeque<Batch>, String> {
        let filter = filter.map(|filter| Filter::new(self, filter)).transpose()?;
        let fields: Vec<(Place, FieldType)> =
            demand.fields.iter().map(|field| (self.column(&field.name), field.as_type)).collect();
        let tags: Vec<Place> = demand.tags.iter().map(|tag| self.tag(tag)).collect();
        let groups: Vec<Place> = dimensions.iter().map(|tag| self.group_tag(tag)).collect();
        // Without any of the columns asked for, the subquery has nothing to say.
        if fields.iter().all(|(place, _)| matches!(place, Place::Nowhere)) {
            return Ok(VecDeque::new());
        }
        let mut rows: Vec<(GroupKey, Row)> = Vec::new();
        for (group, row) in &self.rows {
            let passes = filter.as_ref().is_none_or(|filter| filter.passes(group, row));
            if !passes || !range.contains(row.time) {
                continue;
            }
            let mut cells = Vec::with_capacity(fields.len() + tags.len());
            cells.extend(fields.iter().map(|(place, as_type)| convert_cell(cell(*place, group, row), *as_type)));
            if required > 0 && cells.iter().take(required).all(|cell| *cell == Cell::Null) {
                continue;
            }
            cells.extend(tags.iter().map(|place| cell(*place, group, row)));
            let tags = groups.iter().map(|place| match cell(*place, group, row) {
                Cell::String(text) => text,
                _ => Bytes::default(),
            });
            rows.push((GroupKey { name: group.name.clone(), tags: tags.collect() }, Row { time: row.time, cells }));
        }
        // Stable: rows of one instant stay in the subquery's order.
        rows.sort_by(|left, right| {
            let group = directed(&left.0, &right.0, descending);
            group.then_with(|| directed(&left.1.time, &right.1.time, descending))
        });
        Ok(batches(rows))
    }
}

fn cell(place: Place, group: &GroupKey, row: &Row) -> Cell {
    match place {
        Place::Column(index) => row.cells.get(index).cloned().unwrap_or(Cell::Null),
        Place::Tag(index) => group.tags.get(index).map_or(Cell::Null, |tag| Cell::String(tag.clone())),
        Place::Nowhere => Cell::Null,
    }
}

fn batches(rows: Vec<(GroupKey, Row)>) -> VecDeque<Batch> {
    let mut batches: VecDeque<Batch> = VecDeque::new();
    for (group, row) in rows {
        match batches.back_mut() {
            Some(last) if *last.group == group => last.outputs[0].push(row),
            _ => batches.push_back(Batch { group: Rc::new(group), outputs: vec![vec![row]] }),
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
            Some(tag) => (table.tag(tag), FieldType::String),
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
            Some((place, as_type)) => convert_cell(cell(*place, self.group, self.row), *as_type),
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
