//! A compiled SELECT and the names of its sources become streams, operators and columns.
//!
//! Every call is one chain: a stream of rows or of aggregated windows from the sources, then operators. Select items
//! are expressions over slots, and a slot is a cell of one of those chains.
//!
//! ```text
//! derivative(mean(v))   demand: windows mean(v) ─► fill ─► derivative ─► drop lookback ─► limit ─► slot
//! top(v, h, 2), h       demand: rows v, h       ─► top ──────────────────────────────► limit ─► slots
//! v, h                  demand: rows v, h       ─────────────────────────────────────► limit ─► slots
//! ```

use std::rc::Rc;

use crate::exec::CallSpec;
use crate::exec::FieldRef;
use crate::exec::Function;
use crate::exec::Op;
use crate::exec::TieColumn;
use crate::exec::Window;
use crate::exec::aggregate::Aggregate;
use crate::exec::expr::Division;
use crate::exec::expr::binary;
use crate::influxql::ast;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Fill;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::query::compile::Compiled;
use crate::query::compile::column_names;
use crate::query::compile::field_name;
use crate::query::compile::is_distinct;
use crate::query::select::call;
use crate::query::select::call::Call;
use crate::query::select::call::Refusal;
use crate::query::select::fill::AfterHole;
use crate::query::select::fill::FillWalk;
use crate::query::select::fill::FillWith;
use crate::query::select::fill::Holes;
use crate::query::select::fill::number_as;
use crate::query::select::names::Meaning;
use crate::query::select::names::Names;
use crate::query::select::names::dimensions;
use crate::query::select::names::expand;
use crate::query::select::operator::Operator;
use crate::query::select::reduce::Integral;
use crate::query::select::reduce::Reduce;
use crate::query::select::reduce::Reducer;
use crate::query::select::transform::Transform;
use crate::query::select::types;

/// Rows or windows wanted of all sources.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Fields read; their cells come first in each row.
    pub fields: Vec<FieldRef>,
    /// Tags read; their cells follow.
    pub tags: Vec<Bytes>,
    /// Order of rows of one instant.
    pub ties: Vec<TieColumn>,
    /// Most rows of each series in each shard group.
    pub series_rows: Option<u64>,
    /// Time.
    pub range: TimeRange,
    /// Whether rows come newest first; `None`: as the query says.
    pub backwards: Option<bool>,
    /// Rows, or aggregates.
    pub work: DemandWork,
}

/// See [`Demand`].
#[derive(Clone, Debug)]
pub enum DemandWork {
    /// Rows that have one of the first `required` fields.
    Rows {
        /// See above.
        required: usize,
        /// At most so many a group.
        limit: Option<u64>,
    },
    /// Merging aggregates; several chains may share them. Rows are the value and the carried cells.
    Windows {
        /// How time is cut.
        window: Window,
        /// One output each.
        calls: Vec<CallSpec>,
        /// Fields that travel with a selector.
        carried: Vec<usize>,
    },
}

/// A call, or all of a raw query.
#[derive(Debug)]
pub struct Chain {
    /// Index into [`Plan::demands`].
    pub demand: usize,
    /// Which of its outputs.
    pub output: usize,
    /// What happens to its rows, in order.
    pub operators: Vec<Operator>,
}

/// What a slot is where its chain has no value.
#[derive(Clone, Debug, PartialEq)]
pub enum Absent {
    /// This cell.
    Cell(Cell),
    /// The last one shown in this series.
    Previous,
}

/// One cell of the row that select items are computed from.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Chain and cell in its rows; `None`: never a value.
    pub place: Option<(usize, usize)>,
    /// Without a value.
    pub absent: Absent,
}

/// A select item over slots.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A slot.
    Slot(usize),
    /// A constant.
    Literal(Cell),
    /// Two operands.
    Binary(Op, Box<Value>, Box<Value>),
    /// A function of one row.
    Call(Function, Vec<Value>),
}

impl Value {
    /// The cell for one row.
    pub fn eval(&self, slots: &[Cell]) -> Cell {
        match self {
            Value::Slot(slot) => slots[*slot].clone(),
            Value::Literal(cell) => cell.clone(),
            Value::Binary(op, left, right) => binary(*op, &left.eval(slots), &right.eval(slots), Division::Float),
            Value::Call(function, args) => {
                let args: Vec<Cell> = args.iter().map(|arg| arg.eval(slots)).collect();
                crate::exec::expr::call(*function, &args)
            }
        }
    }
}

/// One result column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its name before it was made unique: what an outer query calls it.
    pub source_name: String,
    /// Its value.
    pub value: Value,
    /// Its type, as far as it is known without data.
    pub field_type: Option<FieldType>,
    /// Its values are a tag's.
    pub is_tag: bool,
    /// top() or bottom() before it names it; it is no item of its own.
    pub is_implied: bool,
}

/// What runs.
#[derive(Debug)]
pub struct Plan {
    /// What is read.
    pub demands: Vec<Demand>,
    /// What is computed.
    pub chains: Vec<Chain>,
    /// The row of cells.
    pub slots: Vec<Slot>,
    /// Result columns without time.
    pub columns: Vec<Column>,
    /// Sorted keys of the GROUP BY tags.
    pub dimensions: Vec<Bytes>,
    /// Those of them that the statement itself names.
    pub own_dimensions: Vec<Bytes>,
    /// Every point gives a row.
    pub is_raw: bool,
    /// Tags that are no columns and yet travel with the rows, and their slots: arguments of top and bottom (INTO keeps
    /// them as tags), and what groups a raw subquery but not the query around it.
    pub hidden: Vec<(Bytes, usize)>,
    /// LIMIT and OFFSET of a subquery that count rows of one group which follow each other: see [`Setting::outermost`].
    pub run_limit: Option<(u64, u64)>,
    /// The shard groups read, when all sources are measurements.
    pub shard_groups: Rc<[TimeRange]>,
    /// Input that the call reading it does not take, and the error of that where such input is.
    pub refused: Vec<(FieldRef, String)>,
    /// Why it gives no rows; of a subquery an error only if they are asked for.
    pub failure: Option<String>,
}

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The zone of windows.
    pub zone: Option<jiff::tz::TimeZone>,
    /// The sources aggregate themselves; else they only give rows.
    pub pushdown: bool,
    /// Tags an outer query groups by.
    pub more_dimensions: &'a [Bytes],
    /// For a subquery: the tags that the outermost query groups by. Its rows come in groups of those and then by time,
    /// and LIMIT counts neighbours of equal tags. `None`: the statement is the outermost one.
    pub outermost: Option<&'a [Bytes]>,
    /// The statement is a subquery.
    pub is_subquery: bool,
    /// Some source is a subquery, whose rows are rows whatever is asked of them.
    pub over_rows: bool,
    /// The shard groups read, when all sources are measurements.
    pub shard_groups: Option<Rc<[TimeRange]>>,
}

/// Makes the plan.
pub fn plan(compiled: &Compiled, names: &Names, setting: &Setting<'_>) -> Result<Plan, String> {
    let fields = expand(compiled, names)?;
    // A subquery's item of wrong types is one of no type, and has no values.
    for field in fields.iter().filter(|_| !setting.is_subquery) {
        types::check(&field.expr, names)?;
    }
    let mut dimensions = dimensions(&compiled.dimensions, names);
    let own_dimensions = dimensions.clone();
    dimensions.extend(setting.more_dimensions.iter().cloned());
    dimensions.sort();
    dimensions.dedup();
    let mut planner = Planner {
        compiled,
        names,
        setting,
        plan: Plan {
            demands: Vec::new(),
            chains: Vec::new(),
            slots: Vec::new(),
            columns: Vec::new(),
            dimensions,
            own_dimensions,
            is_raw: false,
            hidden: Vec::new(),
            run_limit: None,
            shard_groups: setting.shard_groups.clone().unwrap_or_default(),
            refused: Vec::new(),
            failure: None,
        },
        calls: Vec::new(),
        after_hole: AfterHole::All,
        references: Vec::new(),
    };
    planner.columns(&fields)?;
    planner.chains()?;
    Ok(planner.plan)
}

/// A plain field or tag of the select list, and its slot.
struct Reference {
    name: String,
    meaning: Meaning,
    slot: usize,
    /// Its type is known, also without a field or tag of that name.
    is_typed: bool,
}

struct Planner<'a> {
    compiled: &'a Compiled,
    names: &'a Names,
    setting: &'a Setting<'a>,
    plan: Plan,
    /// Distinct calls and their slots.
    calls: Vec<(Expr, usize)>,
    after_hole: AfterHole,
    references: Vec<Reference>,
}

impl Planner<'_> {
    fn columns(&mut self, fields: &[ast::Field]) -> Result<(), String> {
        let names = column_names(fields);
        let mut implied = 0_usize;
        for (field, name) in fields.iter().zip(names) {
            let value = self.value(&field.expr)?;
            let field_type = types::result_type(&field.expr, self.names);
            let is_tag = types::is_tag(&field.expr, self.names);
            let source_name = field.alias.clone().unwrap_or_else(|| field_name(field));
            let is_implied = implied > 0;
            implied = match &field.expr {
                Expr::Call { name, args } if name == "top" || name == "bottom" => args.len().saturating_sub(2),
                _ => implied.saturating_sub(1),
            };
            self.plan.columns.push(Column { name, source_name, value, field_type, is_tag, is_implied });
        }
        Ok(())
    }

    fn slot(&mut self) -> usize {
        self.plan.slots.push(Slot { place: None, absent: Absent::Cell(Cell::Null) });
        self.plan.slots.len() - 1
    }

    fn value(&mut self, expr: &Expr) -> Result<Value, String> {
        Ok(match expr {
            Expr::Paren(inner) => self.value(inner)?,
            Expr::VarRef { name, data_type } => Value::Slot(self.reference(name, *data_type)),
            Expr::Call { name, args } => match Function::named(name) {
                Some(function) => {
                    Value::Call(function, args.iter().map(|arg| self.value(arg)).collect::<Result<_, _>>()?)
                }
                None => Value::Slot(self.call(expr)),
            },
            Expr::Distinct(name) => {
                let field = Expr::VarRef { name: name.clone(), data_type: None };
                Value::Slot(self.call(&Expr::Call { name: "distinct".into(), args: vec![field] }))
            }
            // Stock knows DISTINCT as an item and as an argument; as an operand it has no values.
            Expr::Binary { left, right, .. } if is_distinct(left) || is_distinct(right) => Value::Literal(Cell::Null),
            Expr::Binary { op, left, right } => match types::operator(*op) {
                Some(op) => Value::Binary(op, Box::new(self.value(left)?), Box::new(self.value(right)?)),
                None => return Err("comparisons are not supported in the select list".into()),
            },
            other => Value::Literal(types::literal(other)),
        })
    }

    fn reference(&mut self, name: &str, data_type: Option<ast::DataType>) -> usize {
        let meaning = self.names.meaning(name, data_type);
        let known = |known: &&Reference| known.name == name && known.meaning == meaning;
        let is_typed = meaning != Meaning::Nothing || data_type.is_some_and(|cast| cast != ast::DataType::AnyField);
        if let Some(known) = self.references.iter_mut().find(|reference| known(&&**reference)) {
            known.is_typed |= is_typed;
            return known.slot;
        }
        let slot = self.slot();
        self.references.push(Reference { name: name.to_owned(), meaning, slot, is_typed });
        slot
    }

    fn call(&mut self, expr: &Expr) -> usize {
        if let Some((_, slot)) = self.calls.iter().find(|(known, _)| known == expr) {
            return *slot;
        }
        let slot = self.slot();
        self.calls.push((expr.clone(), slot));
        slot
    }

    fn chains(&mut self) -> Result<(), String> {
        let (limit, offset) = (self.compiled.limit, self.compiled.offset);
        let is_mixed = self.setting.outermost.is_some_and(|outer| outer.len() != self.plan.dimensions.len());
        self.plan.run_limit = (is_mixed && (limit > 0 || offset > 0)).then_some((limit, offset));
        if self.calls.is_empty() {
            self.plan.is_raw = true;
            return self.raw_chain();
        }
        // Plain fields stand only beside a single selector (compile saw to it) and travel with its point.
        let references = std::mem::take(&mut self.references);
        // One call alone, however often it is written.
        let single = self.calls.len() == 1;
        for (expr, slot) in std::mem::take(&mut self.calls) {
            self.call_chain(&expr, slot, &references, single)?;
        }
        Ok(())
    }

    /// The default of a slot, by fill().
    fn absent(&self, column: Option<FieldType>) -> Absent {
        let fill = self.compiled.fill;
        match (fill, column) {
            (Fill::Previous, _) => Absent::Previous,
            (Fill::Integer(_) | Fill::Number(_), Some(kind)) if is_number(kind) => {
                Absent::Cell(number_as(fill, kind).unwrap_or(Cell::Null))
            }
            // The number itself, whatever stands in the column.
            (Fill::Integer(value), _) => Absent::Cell(Cell::Integer(value)),
            (Fill::Number(value), _) => Absent::Cell(Cell::Float(value)),
            (Fill::Null | Fill::None | Fill::Linear, _) => Absent::Cell(Cell::Null),
        }
    }

    fn raw_chain(&mut self) -> Result<(), String> {
        let references = std::mem::take(&mut self.references);
        let mut demand = Demand {
            fields: Vec::new(),
            tags: Vec::new(),
            ties: Vec::new(),
            series_rows: None,
            range: self.compiled.time,
            backwards: None,
            work: DemandWork::Rows { required: 0, limit: self.raw_limit() },
        };
        self.carry(&mut demand, &references, 0, 0);
        let is_wanted = self.setting.over_rows && references.iter().any(|reference| reference.is_typed);
        if demand.fields.is_empty() && !is_wanted {
            return Ok(());
        }
        if let Some(outermost) = self.setting.outermost {
            self.hide_dimensions(&mut demand, outermost);
        }
        let field_count = demand.fields.len();
        if let DemandWork::Rows { required, .. } = &mut demand.work {
            *required = field_count;
        }
        self.plan.demands.push(demand);
        let mut operators: Vec<Operator> = self.limit().into_iter().collect();
        if self.compiled.limit == 0 && self.plan.run_limit.is_none() {
            operators.splice(0..0, self.storage_limit());
        }
        self.plan.chains.push(Chain { demand: 0, output: 0, operators });
        Ok(())
    }

    /// Rows of a raw subquery are not grouped by its own tags: those travel along.
    fn hide_dimensions(&mut self, demand: &mut Demand, outermost: &[Bytes]) {
        for tag in std::mem::replace(&mut self.plan.dimensions, outermost.to_vec()) {
            if outermost.contains(&tag) {
                continue;
            }
            let (slot, cell) = (self.slot(), demand.fields.len() + demand.tags.len());
            self.plan.slots[slot] = Slot { place: Some((0, cell)), absent: Absent::Cell(Cell::Null) };
            self.plan.hidden.push((tag.clone(), slot));
            demand.tags.push(tag);
        }
        demand.series_rows = self.plan.run_limit.map(|(limit, offset)| limit.saturating_add(offset).saturating_add(1));
    }

    /// Adds what `references` read to `demand`. Their cells in the rows of chain `chain` start at `first`, fields
    /// before tags.
    fn carry(&mut self, demand: &mut Demand, references: &[Reference], chain: usize, first: usize) {
        let start = demand.fields.len();
        for reference in references {
            if let Meaning::Field(as_type) = reference.meaning {
                demand.fields.push(FieldRef { name: reference.name.as_bytes().into(), as_type });
            }
        }
        let field_count = demand.fields.len() - start;
        let (mut field, mut tag) = (0, 0);
        let mut ties: Vec<(&str, TieColumn)> = Vec::new();
        for reference in references {
            let (cell, column) = match reference.meaning {
                Meaning::Field(as_type) => {
                    field += 1;
                    ties.push((&reference.name, TieColumn::Field(start + field - 1)));
                    (first + field - 1, Some(as_type))
                }
                Meaning::Tag => {
                    demand.tags.push(reference.name.as_bytes().into());
                    tag += 1;
                    ties.push((&reference.name, TieColumn::Tag(tag - 1)));
                    (first + field_count + tag - 1, None)
                }
                Meaning::Nothing => {
                    let absent = self.absent(None);
                    self.plan.slots[reference.slot] = Slot { place: None, absent };
                    continue;
                }
            };
            let absent = self.absent(column);
            self.plan.slots[reference.slot] = Slot { place: Some((chain, cell)), absent };
        }
        ties.sort_by(|left, right| left.0.cmp(right.0));
        demand.ties = ties.into_iter().map(|(_, column)| column).collect();
    }

    fn raw_limit(&self) -> Option<u64> {
        let (limit, offset) = (self.compiled.limit, self.compiled.offset);
        (limit > 0 && self.plan.run_limit.is_none()).then(|| limit.saturating_add(offset))
    }

    /// Stock's storage gives raw queries, top() and bottom() without tags one row more than LIMIT and OFFSET from each
    /// shard group; what that leads to (OFFSET alone shows one row) is part of the answer.
    fn storage_limit(&self) -> Option<Operator> {
        let (limit, offset) = (self.compiled.limit, self.compiled.offset);
        let groups = self.setting.shard_groups.as_ref().filter(|_| limit > 0 || offset > 0)?;
        Some(Operator::limit_each(limit.saturating_add(offset).saturating_add(1), groups.clone()))
    }

    fn limit(&self) -> Option<Operator> {
        let (limit, offset) = (self.compiled.limit, self.compiled.offset);
        (self.plan.run_limit.is_none() && (limit > 0 || offset > 0)).then(|| Operator::limit(limit, offset))
    }

    fn call_chain(&mut self, expr: &Expr, slot: usize, references: &[Reference], single: bool) -> Result<(), String> {
        let call = match call::parse(expr, self.names, self.compiled) {
            Ok(call) => call,
            Err(Refusal::Always(text)) => return Err(text),
            Err(Refusal::Input { field, text }) => {
                self.plan.refused.push((field, text));
                return Ok(());
            }
        };
        let result = call.result_type();
        let chain = self.plan.chains.len();
        let Some(source) = call.field() else {
            // Nothing to read, yet a column that fill() applies to.
            if types::is_typed(expr, self.names) {
                self.plan.slots[slot].absent = self.absent(result);
            }
            return Ok(());
        };
        let mut demand = Demand {
            fields: vec![source],
            tags: Vec::new(),
            ties: Vec::new(),
            series_rows: None,
            range: self.compiled.time,
            backwards: None,
            work: DemandWork::Rows { required: 1, limit: None },
        };
        let mut operators = Vec::new();
        self.after_hole = match call {
            _ if !single => AfterHole::All,
            Call::Reduce { .. } if !self.setting.is_subquery => AfterHole::Resume,
            _ => AfterHole::Nothing,
        };
        let range = self.extended(&call);
        demand.range = range;
        let windows = self.operators(&call, range, &mut operators);
        if let (true, Call::Reduce { reducer: Reducer::Merge(aggregate), .. }) = (self.setting.pushdown, &call)
            && self.reads_two_rows(*aggregate)
        {
            demand.backwards = Some(*aggregate == Aggregate::Last);
            demand.work = DemandWork::Rows { required: 1, limit: Some(2) };
            operators.insert(0, Operator::limit(2, 0));
        } else if call.is_best() && call.extra_references(self.names).is_empty() {
            operators.splice(0..0, self.storage_limit());
        }
        let extra = call.extra_references(self.names);
        let listed = extra.iter().map(|(name, meaning)| {
            let known = references.iter().find(|known| known.name == *name && known.meaning == *meaning);
            Reference {
                name: name.clone(),
                meaning: meaning.clone(),
                slot: known.map_or(usize::MAX, |known| known.slot),
                is_typed: *meaning != Meaning::Nothing,
            }
        });
        // Tag arguments of top and bottom that are no columns (INTO) travel too, in slots of their own.
        let mut all: Vec<Reference> = Vec::new();
        for mut reference in listed {
            if reference.slot == usize::MAX {
                reference.slot = self.slot();
                if reference.meaning == Meaning::Tag {
                    self.plan.hidden.push((reference.name.as_bytes().into(), reference.slot));
                }
            }
            all.push(reference);
        }
        for reference in references {
            let known = |other: &Reference| other.name == reference.name && other.meaning == reference.meaning;
            if !all.iter().any(known) {
                all.push(Reference {
                    name: reference.name.clone(),
                    meaning: reference.meaning.clone(),
                    slot: reference.slot,
                    is_typed: reference.is_typed,
                });
            }
        }
        self.carry(&mut demand, &all, chain, 1);
        let reduce = operators.iter_mut().find_map(|operator| match operator {
            Operator::Reduce(reduce) => Some(reduce),
            _ => None,
        });
        if let (Some(reduce), false) = (reduce, extra.is_empty()) {
            // A listed field makes no groups, only tags do.
            let listed = all.iter().take(extra.len());
            let mut tags: Vec<&Reference> = listed.filter(|reference| reference.meaning == Meaning::Tag).collect();
            tags.sort_by_key(|tag| &tag.name);
            let tags = tags.into_iter();
            let cells = tags.filter_map(|tag| self.plan.slots[tag.slot].place.map(|(_, cell)| cell)).collect();
            reduce.set_groups(cells);
        }
        let (demand, output) = self.demand(demand, windows);
        let has_time = call.keeps_times() || matches!(call, Call::Integral { .. }) || (single && call.is_selector());
        if self.compiled.interval.is_none() && !has_time {
            operators.push(Operator::SetTime(self.start_or_zero()));
        }
        operators.extend(self.limit());
        self.plan.chains.push(Chain { demand, output, operators });
        let absent = self.absent(result);
        self.plan.slots[slot] = Slot { place: Some((chain, 0)), absent };
        Ok(())
    }

    fn start_or_zero(&self) -> Timestamp {
        let start = self.compiled.time.min;
        if start <= TIME_MIN { 0 } else { start }
    }

    /// The time of integral() without windows: of floats always 0, of integers where the range begins.
    fn integral_time(&self, call: &Call) -> Timestamp {
        match call.field().map(|field| field.as_type) {
            Some(FieldType::Integer | FieldType::Unsigned) if self.compiled.ascending => self.start_or_zero(),
            Some(FieldType::Integer | FieldType::Unsigned) => self.compiled.time.max.saturating_add(1),
            _ => 0,
        }
    }

    /// The range a call reads: transformations over windows look one window further, each level one more.
    fn extended(&self, call: &Call) -> TimeRange {
        let mut range = self.compiled.time;
        let Some(interval) = self.compiled.interval else { return range };
        for _ in 0..call.lookback_count() {
            if self.compiled.ascending {
                range.min = if range.min <= TIME_MIN { TIME_MIN } else { range.min.saturating_sub(interval.every) };
                range.min = range.min.max(TIME_MIN);
            } else {
                range.max = range.max.saturating_add(interval.every).min(TIME_MAX);
            }
        }
        range
    }

    fn window(&self, range: TimeRange) -> Window {
        match self.compiled.interval {
            Some(interval) => {
                Window { interval: interval.every, offset: interval.offset, zone: self.setting.zone.clone(), range }
            }
            None => Window::whole(range),
        }
    }

    /// The operators of a call, inner before outer; the aggregate that the sources compute themselves, if any.
    fn operators(&self, call: &Call, range: TimeRange, operators: &mut Vec<Operator>) -> Option<Aggregate> {
        let descending = !self.compiled.ascending;
        match call {
            Call::Reduce { reducer, field_type, is_count, .. } => {
                let window = self.window(range);
                let pushed = match reducer {
                    Reducer::Merge(aggregate) if self.setting.pushdown && !self.reads_two_rows(*aggregate) => {
                        Some(*aggregate)
                    }
                    _ => {
                        let reduce = Reduce::new(reducer.clone(), window.clone(), descending);
                        operators.push(Operator::Reduce(Box::new(reduce)));
                        None
                    }
                };
                let holes = Holes::new(self.after_hole);
                if window.interval > 0
                    && call.is_filled()
                    && let Some(with) = self.fill_with(*is_count, call.result_type(), *field_type)
                {
                    operators.push(Operator::Fill(Box::new(FillWalk::new(with, window, descending, holes))));
                } else if let Reducer::Percentile(_) = reducer {
                    operators.push(Operator::Holes(holes));
                }
                pushed
            }
            Call::Integral { unit, .. } => {
                let integral = Integral::new(*unit, self.window(range), descending, self.integral_time(call));
                operators.push(Operator::Integral(Box::new(integral)));
                None
            }
            Call::TransformField { transformation, .. } => {
                operators.push(Operator::Transform(Box::new(Transform::new(transformation.clone(), descending))));
                None
            }
            Call::TransformCall { transformation, inner, lookback } => {
                let pushed = self.operators(inner, range, operators);
                operators.push(Operator::Transform(Box::new(Transform::new(transformation.clone(), descending))));
                if *lookback {
                    operators.push(Operator::DropOutside(self.inside(), descending));
                }
                pushed
            }
            Call::HoltWinters { inner, forecast, seasons, with_fit } => {
                let pushed = self.operators(inner, range, operators);
                let interval = self.compiled.interval.map_or(1, |interval| interval.every);
                operators.push(Operator::HoltWinters(Box::new(crate::query::select::holt_winters::HoltWinters::new(
                    interval, *forecast, *seasons, *with_fit,
                ))));
                pushed
            }
        }
    }

    /// Without windows first and last look at the two outermost rows of their series, and choose among those: of more
    /// rows at that instant the others are not seen. So does stock.
    fn reads_two_rows(&self, aggregate: Aggregate) -> bool {
        self.compiled.interval.is_none() && matches!(aggregate, Aggregate::First | Aggregate::Last)
    }

    /// The first (or last) window that is shown: those before it were read only for what they lead to.
    fn inside(&self) -> Timestamp {
        let window = self.window(self.compiled.time);
        let range = self.compiled.time;
        if self.compiled.ascending {
            if range.min <= TIME_MIN { i64::MIN } else { window.of(range.min).0 }
        } else {
            window.of(range.max).0
        }
    }

    fn fill_with(&self, is_count: bool, result: Option<FieldType>, field: FieldType) -> Option<FillWith> {
        let column = result.unwrap_or(field);
        Some(match self.compiled.fill {
            Fill::None => return None,
            Fill::Null if is_count => FillWith::Cell(Cell::Integer(0)),
            Fill::Null => FillWith::Cell(Cell::Null),
            Fill::Previous => FillWith::Previous,
            Fill::Linear if is_number(column) => FillWith::Linear,
            Fill::Linear => FillWith::Cell(Cell::Null),
            fill @ (Fill::Integer(_) | Fill::Number(_)) => {
                FillWith::Cell(number_as(fill, column).unwrap_or(Cell::Null))
            }
        })
    }

    /// Files a demand; equal windows are computed together.
    fn demand(&mut self, mut demand: Demand, windows: Option<Aggregate>) -> (usize, usize) {
        let Some(aggregate) = windows else {
            self.plan.demands.push(demand);
            return (self.plan.demands.len() - 1, 0);
        };
        let window = self.window(demand.range);
        let alone = demand.fields.len() > 1 || !demand.tags.is_empty();
        if !alone {
            for (index, shared) in self.plan.demands.iter_mut().enumerate() {
                if shared.range != demand.range || !shared.tags.is_empty() {
                    continue;
                }
                let DemandWork::Windows { calls, carried, .. } = &mut shared.work else { continue };
                if !carried.is_empty() {
                    continue;
                }
                let field = match shared.fields.iter().position(|known| *known == demand.fields[0]) {
                    Some(field) => field,
                    None => {
                        shared.fields.push(demand.fields[0].clone());
                        shared.fields.len() - 1
                    }
                };
                calls.push(CallSpec { aggregate, field });
                return (index, calls.len() - 1);
            }
        }
        let carried = (1..demand.fields.len()).collect();
        demand.work = DemandWork::Windows { window, calls: vec![CallSpec { aggregate, field: 0 }], carried };
        self.plan.demands.push(demand);
        (self.plan.demands.len() - 1, 0)
    }
}

fn is_number(kind: FieldType) -> bool {
    matches!(kind, FieldType::Float | FieldType::Integer | FieldType::Unsigned)
}
