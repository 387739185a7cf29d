//! Functions that see all points of a window in time order: what does not merge from partial states, and over
//! subqueries everything.
//!
//! In:    rows by time; cell 0 is the value, the others travel with it.
//! Out:   rows stamped with the window's start, or with their own time where the function keeps it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::collections::btree_map::Entry;
use std::hash::BuildHasher;
use std::hash::RandomState;

use futures_lite::future::block_on;

use crate::exec::Window;
use crate::exec::aggregate::Aggregate;
use crate::exec::aggregate::Partial;
use crate::exec::aggregate::Selected;
use crate::exec::aggregate::order;
use crate::exec::expr::as_float;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::Timestamp;
use crate::query::select::stream::Row;
use crate::query::select::stream::directed;
use crate::query::select::stream::row_bytes;
use crate::stdx::pace::Pace;
use crate::stdx::pdqsort;

/// The functions.
#[derive(Clone, Debug, PartialEq)]
pub enum Reducer {
    /// One that merges.
    Merge(Aggregate),
    /// median(x).
    Median,
    /// mode(x).
    Mode,
    /// stddev(x).
    Stddev,
    /// percentile(x, p).
    Percentile(f64),
    /// distinct(x).
    Distinct,
    /// count(distinct(x)).
    CountDistinct,
    /// top(x, tags.., n) and bottom: cells that make groups (`None`: no tags were listed), rows, largest or smallest.
    Best {
        /// Cells of the listed tags.
        by: Option<Vec<usize>>,
        /// Rows wanted.
        count: usize,
        /// top or bottom.
        largest: bool,
    },
    /// sample(x, n).
    Sample(usize),
}

impl Reducer {
    /// Whether its rows keep the points' own times even in windows.
    pub fn keeps_times(&self) -> bool {
        matches!(self, Reducer::Best { .. } | Reducer::Sample(_))
    }

    /// Whether it chooses points.
    pub fn is_selector(&self) -> bool {
        match self {
            Reducer::Merge(aggregate) => aggregate.is_selector(),
            Reducer::Percentile(_) => true,
            _ => self.keeps_times(),
        }
    }
}

/// A reducer at work on one group.
#[derive(Debug)]
pub struct Reduce {
    reducer: Reducer,
    window: Window,
    descending: bool,
    current: Option<(Timestamp, Timestamp)>,
    partial: Partial,
    rows: Vec<Row>,
    held: usize,
    /// A row outside its own window ended everything.
    is_lost: bool,
    /// Results of the current window, computed already.
    ready: Option<Vec<Row>>,
}

/// From so many rows on a window's results are computed at a pace that lets others run.
const ROWS_AT_ONCE_MAX: usize = 512;

impl Reduce {
    /// A reducer over the windows of `window`.
    pub fn new(reducer: Reducer, window: Window, descending: bool) -> Reduce {
        Reduce {
            reducer,
            window,
            descending,
            current: None,
            partial: Partial::Empty,
            rows: Vec::new(),
            held: 0,
            is_lost: false,
            ready: None,
        }
    }

    /// top and bottom: the best of each combination of these cells.
    pub fn set_groups(&mut self, cells: Vec<usize>) {
        if let Reducer::Best { by, .. } = &mut self.reducer {
            *by = Some(cells);
        }
    }

    /// Forgets everything: another group follows.
    pub fn reset(&mut self) {
        self.current = None;
        self.partial = Partial::Empty;
        self.rows.clear();
        self.held = 0;
        self.ready = None;
    }

    /// Whether results of many rows have to be computed before the row of the time `next` (`None`: the end) is taken.
    pub fn is_due(&self, next: Option<Timestamp>) -> bool {
        let ends = |(start, end)| next.is_none_or(|time| time < start || time >= end);
        self.rows.len() >= ROWS_AT_ONCE_MAX && self.ready.is_none() && self.current.is_some_and(ends)
    }

    /// Computes them.
    pub async fn compute(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.ready = Some(reduce(&self.reducer, rows, self.descending, &mut Pace::default()).await);
    }

    /// Bytes of the window being collected.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Takes one row; results of a window that ended go to `out`.
    pub fn push(&mut self, row: Row, out: &mut VecDeque<Row>) {
        if row.cells.first().is_none_or(|value| *value == Cell::Null) {
            return;
        }
        if self.is_lost {
            return;
        }
        if self.current.is_none_or(|(start, end)| row.time < start || row.time >= end) {
            self.finish(out);
            if self.window.is_lost(row.time) {
                self.is_lost = true;
                return;
            }
            let (start, end) = self.window.of(row.time);
            // Also the outermost windows hold the instant they were made for.
            self.current = Some((start, end.max(row.time.saturating_add(1))));
        }
        match &self.reducer {
            Reducer::Merge(aggregate) => merge_row(&mut self.partial, *aggregate, row),
            _ => {
                self.held += row_bytes(&row);
                self.rows.push(row);
            }
        }
    }

    /// The end of the window, and of the group.
    pub fn finish(&mut self, out: &mut VecDeque<Row>) {
        let Some((start, _)) = self.current.take() else { return };
        self.held = 0;
        let keep_time = self.reducer.keeps_times() || (self.reducer.is_selector() && self.window.interval <= 0);
        let results = match &self.reducer {
            Reducer::Merge(_) => {
                let mut partial = std::mem::take(&mut self.partial);
                partial.settle();
                let found = partial.finish();
                found.into_iter().map(selected_row).collect()
            }
            reducer => match self.ready.take() {
                Some(results) => results,
                None => {
                    let rows = std::mem::take(&mut self.rows);
                    // Few rows: it never waits.
                    block_on(reduce(reducer, rows, self.descending, &mut Pace::default()))
                }
            },
        };
        if results.is_empty() {
            out.push_back(Row::hole(start));
        }
        out.extend(results.into_iter().map(|row| if keep_time { row } else { Row { time: start, ..row } }));
    }
}

fn selected_row(selected: Selected) -> Row {
    let mut cells = vec![selected.value];
    cells.extend(selected.carried);
    Row { time: selected.time, cells }
}

/// Adds one point to a merging state.
fn merge_row(partial: &mut Partial, aggregate: Aggregate, row: Row) {
    let mut cells = row.cells.into_iter();
    let value = cells.next().unwrap_or(Cell::Null);
    let one = match aggregate {
        Aggregate::Count => Partial::Count(1),
        Aggregate::Sum => Partial::Sum(value),
        Aggregate::Mean => {
            if let Partial::Summing(sum, count) = partial {
                *sum = crate::exec::expr::binary(crate::exec::Op::Add, sum, &value, crate::exec::expr::Division::Float);
                *count += 1;
            } else {
                *partial = Partial::Summing(value, 1);
            }
            return;
        }
        Aggregate::Spread => Partial::Spread(value.clone(), value),
        Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => {
            Partial::Point(Box::new(Selected { time: row.time, value, carried: cells.collect() }))
        }
    };
    partial.merge(aggregate, one);
}

async fn reduce(reducer: &Reducer, rows: Vec<Row>, descending: bool, pace: &mut Pace) -> Vec<Row> {
    let value = |value: Option<Cell>| value.map(|value| Row { time: 0, cells: vec![value] }).into_iter().collect();
    match reducer {
        Reducer::Merge(_) => Vec::new(),
        Reducer::Median => value(median(rows, pace).await),
        Reducer::Mode => value(mode(rows, pace).await),
        Reducer::Stddev => value(stddev(rows, pace).await),
        Reducer::Percentile(p) => percentile(rows, *p, pace).await.into_iter().collect(),
        Reducer::Distinct => distinct(rows, descending, pace).await,
        Reducer::CountDistinct => {
            let rows = first_of_each(rows, pace).await;
            let count = rows.len() as i64;
            pace.drop_all(rows).await;
            value(Some(Cell::Integer(count)))
        }
        Reducer::Best { by, count, largest } => best(rows, by.as_deref(), *count, *largest, descending, pace).await,
        Reducer::Sample(count) => sample(rows, *count, descending, pace).await,
    }
}

fn by_value(left: &Row, right: &Row) -> Ordering {
    order(&left.cells[0], &right.cells[0])
}

async fn median(rows: Vec<Row>, pace: &mut Pace) -> Option<Cell> {
    let rows = pace.sort_by(rows, by_value).await;
    let upper = rows.get(rows.len() / 2)?.cells[0].clone();
    let lower = rows[(rows.len() - 1) / 2].cells[0].clone();
    let is_odd = rows.len() % 2 == 1;
    pace.drop_all(rows).await;
    Some(Cell::Float(match (&lower, &upper) {
        _ if is_odd => as_float(&upper)?,
        (Cell::Integer(lower), Cell::Integer(upper)) => *lower as f64 + upper.wrapping_sub(*lower) as f64 / 2.0,
        (Cell::Unsigned(lower), Cell::Unsigned(upper)) => *lower as f64 + upper.wrapping_sub(*lower) as f64 / 2.0,
        _ => {
            let lower = as_float(&lower)?;
            lower + (as_float(&upper)? - lower) / 2.0
        }
    }))
}

/// A value counts from its second occurrence on, except the smallest; of equal counts the one that began before the
/// last point of the best so far wins, with points of one value in the order that stock's sort leaves.
async fn mode(mut rows: Vec<Row>, pace: &mut Pace) -> Option<Cell> {
    if rows.len() == 1 {
        return rows.pop()?.cells.into_iter().next();
    }
    if let Cell::Boolean(_) = rows.first()?.cells[0] {
        let yes = rows.iter().filter(|row| row.cells[0] == Cell::Boolean(true)).count();
        return Some(Cell::Boolean(2 * yes >= rows.len()));
    }
    sort_by_value(&mut rows, pace).await;
    let first = rows.first()?;
    let (mut run_value, mut run_time, mut run_count) = (&first.cells[0], first.time, 0_usize);
    let (mut best_value, mut best_time, mut best_count) = (&first.cells[0], first.time, 0_usize);
    for row in &rows {
        pace.step(1).await;
        if row.cells[0] != *run_value {
            (run_value, run_time, run_count) = (&row.cells[0], row.time, 1);
            continue;
        }
        run_count += 1;
        if best_count > run_count || (best_count == run_count && run_time > best_time) {
            continue;
        }
        (best_value, best_time, best_count) = (&row.cells[0], row.time, run_count);
    }
    let best_value = best_value.clone();
    pace.drop_all(rows).await;
    Some(best_value)
}

/// Which of equal values comes first is part of the answer, so it is stock's sort.
async fn sort_by_value(rows: &mut [Row], pace: &mut Pace) {
    pdqsort::sort_by(rows, |left, right| by_value(left, right) == Ordering::Less, pace).await;
}

async fn stddev(rows: Vec<Row>, pace: &mut Pace) -> Option<Cell> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        pace.step(1).await;
        values.extend(as_float(&row.cells[0]).filter(|value| !value.is_nan()));
    }
    let (mut mean, mut count) = (0.0, 0.0);
    for value in &values {
        count += 1.0;
        mean += (value - mean) / count;
    }
    // One point has no deviation, which prints as null but is a value: fill does not replace it.
    if count < 2.0 {
        return Some(Cell::Float(f64::NAN));
    }
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Some(Cell::Float((squares / (count - 1.0)).sqrt()))
}

async fn percentile(mut rows: Vec<Row>, p: f64, pace: &mut Pace) -> Option<Row> {
    sort_by_value(&mut rows, pace).await;
    let index = (rows.len() as f64 * p / 100.0 + 0.5).floor() - 1.0;
    if index < 0.0 || index >= rows.len() as f64 {
        return None;
    }
    let found = rows.swap_remove(index as usize);
    pace.drop_all(rows).await;
    Some(found)
}

/// A value that can be looked up.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Null,
    Float(u64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Bytes),
}

impl Key {
    fn of(cell: &Cell) -> Key {
        match cell {
            // Both zeros are one value.
            Cell::Float(value) => Key::Float((value + 0.0).to_bits()),
            Cell::Integer(value) => Key::Integer(*value),
            Cell::Unsigned(value) => Key::Unsigned(*value),
            Cell::Boolean(value) => Key::Boolean(*value),
            Cell::String(value) => Key::String(value.clone()),
            Cell::Null | Cell::Time { .. } | Cell::List(_) => Key::Null,
        }
    }
}

/// Sets that a value may be in.
const SETS: usize = 256;

/// The first row of each value.
async fn first_of_each(rows: Vec<Row>, pace: &mut Pace) -> Vec<Row> {
    // A set that grows moves all it has, so it is cut in many.
    let mut seen: Vec<HashSet<Key>> = (0..SETS).map(|_| HashSet::new()).collect();
    let hasher = RandomState::new();
    let mut kept = Vec::new();
    for row in rows {
        pace.step(4).await;
        let key = Key::of(&row.cells[0]);
        if seen[hasher.hash_one(&key) as usize % SETS].insert(key) {
            kept.push(row);
        }
    }
    for set in seen {
        pace.step(set.len()).await;
    }
    kept
}

async fn distinct(rows: Vec<Row>, descending: bool, pace: &mut Pace) -> Vec<Row> {
    let rows = first_of_each(rows, pace).await;
    let order = |left: &Row, right: &Row| directed(&left.time, &right.time, descending).then(by_value(left, right));
    pace.sort_by(rows, order).await
}

async fn best(
    rows: Vec<Row>,
    by: Option<&[usize]>,
    count: usize,
    largest: bool,
    descending: bool,
    pace: &mut Pace,
) -> Vec<Row> {
    let worse = |left: &Row, right: &Row| {
        let by_value = if largest { by_value(left, right) } else { by_value(right, left) };
        by_value.then(right.time.cmp(&left.time)) == Ordering::Less
    };
    let rows = match by {
        None => rows,
        Some(by) => best_of_each(rows, by, worse, descending, pace).await,
    };
    let mut chosen: Vec<Row> = Vec::new();
    for row in rows {
        pace.step(4).await;
        if chosen.len() < count {
            chosen.push(row);
            rise(&mut chosen, worse);
        } else if chosen.first().is_some_and(|worst| worse(worst, &row)) {
            chosen[0] = row;
            sink(&mut chosen, worse);
        }
    }
    pdqsort::sort_by(&mut chosen, |left, right| worse(right, left), pace).await;
    pace.sort_by(chosen, |left, right| directed(&left.time, &right.time, descending)).await
}

/// The best row of each combination of the cells `by`: by time, and of one instant by those cells.
async fn best_of_each(
    rows: Vec<Row>,
    by: &[usize],
    worse: impl Fn(&Row, &Row) -> bool,
    descending: bool,
    pace: &mut Pace,
) -> Vec<Row> {
    let mut groups: BTreeMap<Vec<Bytes>, Row> = BTreeMap::new();
    for row in rows {
        pace.step(8).await;
        let tag = |cell: &usize| match row.cells.get(*cell) {
            Some(Cell::String(tag)) => tag.clone(),
            _ => Bytes::default(),
        };
        match groups.entry(by.iter().map(tag).collect()) {
            Entry::Vacant(entry) => drop(entry.insert(row)),
            Entry::Occupied(mut entry) if worse(entry.get(), &row) => drop(entry.insert(row)),
            Entry::Occupied(_) => {}
        }
    }
    let mut rows: Vec<Row> = groups.into_values().collect();
    if descending {
        rows.reverse();
    }
    pace.sort_by(rows, |left, right| directed(&left.time, &right.time, descending)).await
}

/// The last of a heap moves up to its place; the first is the least.
fn rise(heap: &mut [Row], less: impl Fn(&Row, &Row) -> bool) {
    let mut at = heap.len().saturating_sub(1);
    while at > 0 && less(&heap[at], &heap[(at - 1) / 2]) {
        heap.swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

/// The first of a heap moves down to its place.
fn sink(heap: &mut [Row], less: impl Fn(&Row, &Row) -> bool) {
    let mut at = 0;
    while 2 * at + 1 < heap.len() {
        let mut child = 2 * at + 1;
        if child + 1 < heap.len() && less(&heap[child + 1], &heap[child]) {
            child += 1;
        }
        if !less(&heap[child], &heap[at]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// Reservoir sampling; the choice depends on the data only, so one query gives one answer.
async fn sample(rows: Vec<Row>, count: usize, descending: bool, pace: &mut Pace) -> Vec<Row> {
    let mut chosen: Vec<Row> = Vec::with_capacity(count.min(rows.len()));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ rows.len() as u64;
    for (index, row) in rows.into_iter().enumerate() {
        pace.step(1).await;
        if index < count {
            chosen.push(row);
            continue;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = (state % (index as u64 + 1)) as usize;
        if place < count {
            chosen[place] = row;
        }
    }
    // Of one instant the smaller value comes first, in either direction; false comes before anything, also before
    // another false, which is no order but is stock's.
    let less = |left: &Row, right: &Row| match left.cells[0] {
        Cell::Boolean(value) if left.time == right.time => !value,
        _ => left.time.cmp(&right.time).then_with(|| by_value(left, right)) == Ordering::Less,
    };
    pdqsort::sort_by(&mut chosen, less, pace).await;
    pace.sort_by(chosen, |left, right| directed(&left.time, &right.time, descending)).await
}

/// integral(x, unit): the area under the lines between consecutive points, cut at window ends.
#[derive(Debug)]
pub struct Integral {
    unit: f64,
    window: Window,
    descending: bool,
    whole_time: Timestamp,
    previous: Option<(Timestamp, Cell)>,
    start: Timestamp,
    end: Timestamp,
    sum: f64,
}

impl Integral {
    /// An integral in units of `unit` ns; without windows its result has the time `whole_time`.
    pub fn new(unit: i64, window: Window, descending: bool, whole_time: Timestamp) -> Integral {
        let (unit, previous) = (unit as f64, None);
        Integral { unit, window, descending, whole_time, previous, start: 0, end: 0, sum: 0.0 }
    }

    /// Forgets everything: another group follows.
    pub fn reset(&mut self) {
        self.previous = None;
        self.sum = 0.0;
    }

    fn open_window(&mut self, time: Timestamp) {
        let (start, end) = self.window.of(time);
        (self.start, self.end) = if self.descending && self.window.interval > 0 { (end, start) } else { (start, end) };
    }

    fn output(&self) -> Row {
        Row { time: self.output_time(), cells: vec![Cell::Float(self.sum)] }
    }

    /// Going backwards a window begins at its later edge, and stock stamps it so.
    fn output_time(&self) -> Timestamp {
        if self.window.interval > 0 { self.start } else { self.whole_time }
    }

    /// Takes one row; a window that ended goes to `out`.
    pub fn push(&mut self, row: Row, out: &mut VecDeque<Row>) {
        let Some(cell) = row.cells.into_iter().next().filter(|cell| as_float(cell).is_some()) else { return };
        let time = row.time;
        let Some((mut previous_time, previous)) = self.previous.take() else {
            self.open_window(time);
            self.previous = Some((time, cell));
            return;
        };
        if previous_time == time {
            self.previous = Some((time, cell));
            return;
        }
        let mut previous_value = as_float(&previous).unwrap_or(0.0);
        let mut value = as_float(&cell).unwrap_or(0.0);
        let crossed = if self.descending { time <= self.end } else { time >= self.end };
        if self.window.interval > 0 && crossed {
            if previous_time != self.end {
                let part = (self.end - previous_time) as f64 / (time - previous_time) as f64;
                let at_end = previous_value + (value - previous_value) * part;
                self.sum += 0.5 * (at_end + previous_value) * ((self.end - previous_time) as f64 / self.unit);
                previous_time = self.end;
                match cell {
                    Cell::Float(_) => previous_value = at_end,
                    // Stock's integers go on from the boundary's value to the old point's.
                    _ => value = at_end,
                }
            }
            out.push_back(self.output());
            self.open_window(time);
            self.sum = 0.0;
        }
        self.sum += 0.5 * (value + previous_value) * ((time - previous_time) as f64 / self.unit);
        self.previous = Some((time, cell));
    }

    /// The end of the group.
    pub fn finish(&mut self, out: &mut VecDeque<Row>) {
        let Some((time, _)) = self.previous.take() else { return };
        // A last point at the very start has no area.
        if time != self.output_time() {
            out.push_back(self.output());
        }
        self.reset();
    }
}
