//! Which series a fragment reads: tags decide through the index, by set operations; what only rows can decide stays
//! as a filter for each series. The series are put into the groups of the fragment's dimensions.

use std::collections::BTreeMap;
use std::rc::Rc;

use roaring::RoaringBitmap;

use crate::exec::expr::Expr;
use crate::exec::expr::Op;
use crate::exec::expr::Program;
use crate::exec::fragment::FieldRef;
use crate::exec::fragment::Fragment;
use crate::exec::pattern::Pattern;
use crate::exec::view::View;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::SeriesId;
use crate::series::Index;
use crate::series::MeasurementIndex;

/// One series to read.
#[derive(Clone, Debug)]
pub struct SelectedSeries {
    /// Index of its view.
    pub view: usize,
    /// The series.
    pub id: SeriesId,
    /// What its rows must fulfil.
    pub filter: Option<Rc<Program>>,
}

/// Series of equal dimensions.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Values of the dimensions; empty: no such tag.
    pub tags: Vec<Bytes>,
    /// The series.
    pub series: Vec<SelectedSeries>,
}

/// Most memory the list of selected series may take on one core; beyond it the query fails instead of the server.
const SELECTION_BYTES_MAX: usize = 512 << 20;

/// Series looked at between two yields.
const BATCH_SERIES: usize = 4096;

/// The groups of `fragment` over `views`, in its direction. Fields that filters read get slots in `filter_fields`.
pub async fn select<V: View>(
    views: &[V],
    fragment: &Fragment,
    filter_fields: &mut Vec<FieldRef>,
) -> Result<Vec<Group>, String> {
    let mut found = Found::default();
    for (view_index, view) in views.iter().enumerate() {
        let mut present = RoaringBitmap::new();
        for partition in view.partitions(fragment.database, fragment.policy, fragment.range) {
            present |= partition.series;
        }
        if present.is_empty() {
            continue;
        }
        let condition = view.index(fragment.database, |index| condition_in(index, fragment, &present, filter_fields));
        let Some((node, candidates)) = condition.transpose()?.flatten() else { continue };
        let mut programs = Programs::default();
        let mut candidates = candidates.into_iter();
        loop {
            let batch: Vec<u32> = candidates.by_ref().take(BATCH_SERIES).collect();
            if batch.is_empty() {
                break;
            }
            // Series that were dropped in between have no tags any more; their readers find nothing.
            view.index(fragment.database, |index| {
                for id in batch {
                    found.add(index, view_index, fragment, id, &node, &mut programs);
                }
            });
            if found.bytes > SELECTION_BYTES_MAX {
                return Err("query selects too many series for its memory; narrow it by tags or time".into());
            }
            view.yield_now().await;
        }
    }
    let groups = found.groups.into_iter().map(|(tags, series)| Group { tags, series });
    Ok(if fragment.descending { groups.rev().collect() } else { groups.collect() })
}

/// The condition in one index, and the series that may fulfil it.
fn condition_in(
    index: &Index,
    fragment: &Fragment,
    present: &RoaringBitmap,
    filter_fields: &mut Vec<FieldRef>,
) -> Result<Option<(Node, RoaringBitmap)>, String> {
    let Some(measurement) = index.measurement(&fragment.measurement) else { return Ok(None) };
    let all = measurement.series() & present;
    let scope = Scope { index, measurement, all: &all };
    let node = match &fragment.filter {
        Some(filter) => scope.condition(filter, filter_fields)?,
        None => Node::Always(true),
    };
    let candidates = node.candidates(&all);
    Ok(Some((node, candidates)))
}

/// Series found so far, by group.
#[derive(Default)]
struct Found {
    groups: BTreeMap<Vec<Bytes>, Vec<SelectedSeries>>,
    bytes: usize,
}

impl Found {
    fn add<'a>(
        &mut self,
        index: &Index,
        view: usize,
        fragment: &Fragment,
        id: u32,
        node: &'a Node,
        programs: &mut Programs<'a>,
    ) {
        let filter = match node.rest(id) {
            Rest::No => return,
            Rest::All => None,
            Rest::Rows(program) => Some(programs.shared(program)),
        };
        let tags = group_of(index, SeriesId(id), &fragment.dimensions);
        if let Some((keys, wanted)) = &fragment.groups
            && !wanted.contains(&group_of(index, SeriesId(id), keys))
        {
            return;
        }
        self.bytes += size_of::<SelectedSeries>();
        let bytes = &mut self.bytes;
        let series = self.groups.entry(tags).or_insert_with_key(|tags| {
            *bytes += 64 + tags.iter().map(|tag| tag.len() + 16).sum::<usize>();
            Vec::new()
        });
        series.push(SelectedSeries { view, id: SeriesId(id), filter });
    }
}

/// What stock orders the tag sets of a measurement by, which SLIMIT counts: keys of the tags that are there, then their
/// values. `tags` come by key; an empty value is none.
pub fn tag_set_key<'a>(tags: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let tags = tags.filter(|(_, value)| !value.is_empty());
    let parts: Vec<&[u8]> = tags.clone().map(|(key, _)| key).chain(tags.map(|(_, value)| value)).collect();
    parts.join(&b'|')
}

/// Values of `keys` of one series, empty where it lacks them.
pub fn group_of(index: &Index, id: SeriesId, keys: &[Bytes]) -> Vec<Bytes> {
    tag_values(index, id, keys).into_iter().map(Option::unwrap_or_default).collect()
}

/// Values of `keys` of one series.
pub fn tag_values(index: &Index, id: SeriesId, keys: &[Bytes]) -> Vec<Option<Bytes>> {
    let mut values = vec![None; keys.len()];
    if keys.is_empty() {
        return values;
    }
    for (key, value) in index.tags_of(id).into_iter().flatten() {
        for (slot, wanted) in values.iter_mut().zip(keys) {
            if **wanted == *key {
                *slot = Some(Bytes::from(value));
            }
        }
    }
    values
}

/// Most series end with the same filter: it is kept once.
#[derive(Default)]
struct Programs<'a> {
    known: Vec<(Vec<usize>, Rc<Program>)>,
    of: std::marker::PhantomData<&'a Node>,
}

impl<'a> Programs<'a> {
    fn shared(&mut self, rest: RowFilter<'a>) -> Rc<Program> {
        let key = rest.identity();
        if let Some((_, program)) = self.known.iter().find(|(known, _)| *known == key) {
            return program.clone();
        }
        let program = Rc::new(rest.program());
        // Different tag decisions leave few different filters; the bound is for the strange rest.
        if self.known.len() < 64 {
            self.known.push((key, program.clone()));
        }
        program
    }
}

/// A condition of one measurement in one index.
#[derive(Debug)]
enum Node {
    /// The same for every series.
    Always(bool),
    /// True for these series, decided by their tags.
    Series(RoaringBitmap),
    /// Only rows can tell.
    Rows(Program),
    /// Only rows can tell, and each series has a condition of its own (a tag compared with a field).
    Own(BTreeMap<u32, Program>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

/// What is left of a condition for one series.
enum Rest<'a> {
    No,
    All,
    Rows(RowFilter<'a>),
}

/// A filter over rows, put together from parts of the condition.
enum RowFilter<'a> {
    One(&'a Program),
    And(Box<RowFilter<'a>>, Box<RowFilter<'a>>),
    Or(Box<RowFilter<'a>>, Box<RowFilter<'a>>),
}

impl RowFilter<'_> {
    fn program(&self) -> Program {
        match self {
            RowFilter::One(program) => (*program).clone(),
            RowFilter::And(left, right) => {
                Program::Binary(Op::And, Box::new(left.program()), Box::new(right.program()))
            }
            RowFilter::Or(left, right) => Program::Binary(Op::Or, Box::new(left.program()), Box::new(right.program())),
        }
    }

    /// The parts' addresses in order: equal for equal filters of one condition.
    fn identity(&self) -> Vec<usize> {
        match self {
            RowFilter::One(program) => vec![std::ptr::from_ref(*program).addr()],
            RowFilter::And(left, right) => [vec![1], left.identity(), right.identity()].concat(),
            RowFilter::Or(left, right) => [vec![2], left.identity(), right.identity()].concat(),
        }
    }
}

impl Node {
    /// Series that may have rows; a superset.
    fn candidates(&self, all: &RoaringBitmap) -> RoaringBitmap {
        match self {
            Node::Always(true) | Node::Rows(_) => all.clone(),
            Node::Always(false) => RoaringBitmap::new(),
            Node::Series(series) => series.clone(),
            Node::Own(programs) => programs.keys().copied().collect(),
            Node::And(left, right) => left.candidates(all) & right.candidates(all),
            Node::Or(left, right) => left.candidates(all) | right.candidates(all),
        }
    }

    fn rest(&self, id: u32) -> Rest<'_> {
        match self {
            Node::Always(true) => Rest::All,
            Node::Always(false) => Rest::No,
            Node::Series(series) if series.contains(id) => Rest::All,
            Node::Series(_) => Rest::No,
            Node::Rows(program) => Rest::Rows(RowFilter::One(program)),
            Node::Own(programs) => programs.get(&id).map_or(Rest::No, |program| Rest::Rows(RowFilter::One(program))),
            Node::And(left, right) => match (left.rest(id), right.rest(id)) {
                (Rest::No, _) | (_, Rest::No) => Rest::No,
                (Rest::All, rest) | (rest, Rest::All) => rest,
                (Rest::Rows(left), Rest::Rows(right)) => Rest::Rows(RowFilter::And(Box::new(left), Box::new(right))),
            },
            Node::Or(left, right) => match (left.rest(id), right.rest(id)) {
                (Rest::All, _) | (_, Rest::All) => Rest::All,
                (Rest::No, rest) | (rest, Rest::No) => rest,
                (Rest::Rows(left), Rest::Rows(right)) => Rest::Rows(RowFilter::Or(Box::new(left), Box::new(right))),
            },
        }
    }
}

/// Where a condition is compiled.
struct Scope<'a> {
    index: &'a Index,
    measurement: &'a MeasurementIndex,
    all: &'a RoaringBitmap,
}

impl Scope<'_> {
    fn condition(&self, expr: &Expr, fields: &mut Vec<FieldRef>) -> Result<Node, String> {
        let (op, left, right) = match expr {
            Expr::Literal(Cell::Boolean(value)) => return Ok(Node::Always(*value)),
            Expr::Binary { op, left, right } if op.is_comparison() || matches!(op, Op::And | Op::Or) => {
                (*op, &**left, &**right)
            }
            // Arithmetic alone is accepted and filters nothing.
            _ => return Ok(Node::Always(true)),
        };
        Ok(match (op, left, right) {
            (Op::And, ..) => {
                Node::And(Box::new(self.condition(left, fields)?), Box::new(self.condition(right, fields)?))
            }
            (Op::Or, ..) => Node::Or(Box::new(self.condition(left, fields)?), Box::new(self.condition(right, fields)?)),
            (_, Expr::Tag(a), Expr::Tag(b)) => Node::Series(self.two_tags(op, a, b)),
            (_, Expr::Tag(key), Expr::Field { .. }) => self.tag_with_field(op, key, right, true, fields)?,
            (_, Expr::Field { .. }, Expr::Tag(key)) => self.tag_with_field(op, key, left, false, fields)?,
            (_, Expr::Tag(key), other) => Node::Series(self.tag(op, key, other)?),
            (Op::Equal | Op::NotEqual, other, Expr::Tag(key)) => Node::Series(self.tag(op, key, other)?),
            (_, _, Expr::Tag(_)) => Node::Always(false),
            _ => Node::Rows(Program::compile(expr, fields)?),
        })
    }

    /// `key op other`, other than a tag.
    fn tag(&self, op: Op, key: &[u8], other: &Expr) -> Result<RoaringBitmap, String> {
        Ok(match (op, other) {
            (Op::Equal, Expr::Literal(Cell::String(text))) => self.all & self.measurement.equal(key, text),
            (Op::NotEqual, Expr::Literal(Cell::String(text))) => self.all & self.measurement.not_equal(key, text),
            (Op::Match | Op::NotMatch, Expr::Regex(text)) => {
                let matching = Pattern::new(text)?.series(self.measurement, key);
                if op == Op::Match { self.all & matching } else { self.all - matching }
            }
            _ => RoaringBitmap::new(),
        })
    }

    /// A tag beside a field: in each series that has the tag, the field is compared with its value.
    fn tag_with_field(
        &self,
        op: Op,
        key: &[u8],
        field: &Expr,
        tag_is_left: bool,
        fields: &mut Vec<FieldRef>,
    ) -> Result<Node, String> {
        let keys = [Bytes::from(key)];
        let mut programs = BTreeMap::new();
        for id in &(self.all & self.measurement.having(key)) {
            let Some(Some(value)) = tag_values(self.index, SeriesId(id), &keys).pop() else { continue };
            let (value, field) = (Box::new(Expr::Literal(Cell::String(value))), Box::new(field.clone()));
            let (left, right) = if tag_is_left { (value, field) } else { (field, value) };
            programs.insert(id, Program::compile(&Expr::Binary { op, left, right }, fields)?);
        }
        Ok(Node::Own(programs))
    }

    /// Values are compared; a series that lacks either tag has them unequal.
    fn two_tags(&self, op: Op, a: &Bytes, b: &Bytes) -> RoaringBitmap {
        let equal = self.measurement.same(a, b);
        match op {
            Op::Equal => self.all & equal,
            Op::NotEqual => self.all - equal,
            _ => RoaringBitmap::new(),
        }
    }
}
