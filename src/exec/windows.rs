//! Partial aggregates of a fragment, group by group, window by window.
//!
//! Series after series is read once; windows advance with the data. A pass over a group keeps at most [`PASS_STATES`]
//! states: when data makes more windows, the furthest are dropped and a further pass reads them again, so a window
//! length of one nanosecond costs time and not memory.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::exec::aggregate::Aggregate;
use crate::exec::aggregate::Partial;
use crate::exec::fragment::CallSpec;
use crate::exec::fragment::FieldRef;
use crate::exec::fragment::Fragment;
use crate::exec::fragment::Part;
use crate::exec::fragment::PartData;
use crate::exec::fragment::Windows;
use crate::exec::fragment::Work;
use crate::exec::reader::Block;
use crate::exec::reader::ReadPlan;
use crate::exec::reader::Reader;
use crate::exec::reader::origin;
use crate::exec::rows::CHUNK_BYTES;
use crate::exec::select::Group;
use crate::exec::select::SelectedSeries;
use crate::exec::view::View;
use crate::exec::window::Window;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// States one pass over a group keeps: about 8 MB.
const PASS_STATES: usize = 128 * 1024;

/// States of one chunk.
const CHUNK_STATES: usize = 4096;

/// Windows by time with the states of all calls.
type States = VecDeque<(Timestamp, Vec<Partial>)>;

/// The windows of a fragment on one core, being computed.
pub struct WindowScan {
    fragment: Rc<Fragment>,
    plan: Rc<ReadPlan>,
    groups: VecDeque<Group>,
    /// Group, what further passes look at, states not yet sent.
    current: Option<(Group, Option<TimeRange>, States)>,
}

impl WindowScan {
    /// A scan of `groups`.
    pub fn new(fragment: Rc<Fragment>, groups: Vec<Group>, filter_fields: &[FieldRef]) -> WindowScan {
        // Values that only travel with a selector make no row.
        let required = match &fragment.work {
            Work::Windows { calls, .. } => calls.iter().map(|call| call.field + 1).max().unwrap_or(0),
            Work::Rows { required, .. } => *required,
        };
        let plan = Rc::new(ReadPlan::new(&fragment.fields, filter_fields, required));
        WindowScan { fragment, plan, groups: groups.into(), current: None }
    }

    /// The next parts; empty at the end.
    pub async fn next<V: View>(&mut self, views: &[V]) -> Result<Vec<Part>, String> {
        let fragment = self.fragment.clone();
        let Work::Windows { window, calls, carried } = &fragment.work else { return Ok(Vec::new()) };
        let mut parts = Vec::new();
        let (mut states, mut bytes) = (0, 0);
        while states < CHUNK_STATES && bytes < CHUNK_BYTES {
            let (group, mut next, mut ready) = match self.current.take() {
                Some(current) => current,
                None => match self.groups.pop_front() {
                    Some(group) => (group, Some(fragment.range), VecDeque::new()),
                    None => break,
                },
            };
            if ready.is_empty() {
                let Some(range) = next.take() else { continue };
                let mut pass = Pass::new(&fragment, &self.plan, window, calls, carried, range);
                for series in &group.series {
                    pass.read(views, series).await?;
                }
                (ready, next) = pass.finish();
            }
            let mut data = Windows { starts: Vec::new(), partials: vec![Vec::new(); calls.len()] };
            while states < CHUNK_STATES && bytes < CHUNK_BYTES {
                let Some((start, partials)) = ready.pop_front() else { break };
                data.starts.push(start);
                states += partials.len();
                for (slot, partial) in data.partials.iter_mut().zip(partials) {
                    bytes += partial.byte_count();
                    slot.push(partial);
                }
            }
            bytes += 64 + group.tags.iter().map(|tag| tag.len() + 16).sum::<usize>();
            if !data.starts.is_empty() {
                parts.push(Part { group: group.tags.clone(), data: PartData::Windows(data) });
            }
            if next.is_some() || !ready.is_empty() {
                self.current = Some((group, next, ready));
            }
        }
        Ok(parts)
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.current.is_none() && self.groups.is_empty()
    }
}

/// One pass over one group.
struct Pass<'a> {
    fragment: &'a Fragment,
    plan: &'a Rc<ReadPlan>,
    window: &'a Window,
    calls: &'a [CallSpec],
    carried: &'a [usize],
    whole: TimeRange,
    /// What is still kept.
    range: TimeRange,
    states: BTreeMap<Timestamp, Vec<Partial>>,
}

/// States of the series being read, in one window of one shard group.
struct Run {
    start: Timestamp,
    /// The rows it takes.
    span: TimeRange,
    /// Nothing of it counts.
    is_lost: bool,
    partials: Vec<Partial>,
}

impl<'a> Pass<'a> {
    fn new(
        fragment: &'a Fragment,
        plan: &'a Rc<ReadPlan>,
        window: &'a Window,
        calls: &'a [CallSpec],
        carried: &'a [usize],
        range: TimeRange,
    ) -> Pass<'a> {
        Pass { fragment, plan, window, calls, carried, whole: range, range, states: BTreeMap::new() }
    }

    async fn read<V: View>(&mut self, views: &[V], series: &SelectedSeries) -> Result<(), String> {
        let view = &views[series.view];
        let groups: Vec<TimeRange> = view
            .partitions(self.fragment.database, self.fragment.policy, self.range)
            .into_iter()
            .map(|partition| partition.range)
            .collect();
        let whole = self.window.interval <= 0;
        let only = |wanted: Aggregate| whole && self.calls.iter().all(|call| call.aggregate == wanted);
        // The last value alone is the first of a reader that goes backwards.
        let (only_first, only_last) = (only(Aggregate::First), only(Aggregate::Last));
        let descending = if only_first { false } else { only_last || self.fragment.descending };
        let mut tags: Option<Vec<Cell>> = None;
        let mut reader = Reader::open(views, self.fragment, self.plan, series, self.range, descending);
        let mut run: Option<Run> = None;
        while let Some(block) = reader.next().await? {
            if !self.range.contains(block.times[0]) {
                break;
            }
            if !self.fragment.tags.is_empty() && tags.is_none() {
                let origin = origin(views, self.fragment, series);
                let cell = |tag: Option<Bytes>| tag.map_or(Cell::Null, Cell::String);
                tags = Some(origin.tags.into_iter().map(cell).collect());
            }
            self.add_block(&block, &groups, &mut run, tags.as_deref().unwrap_or_default(), descending);
            view.yield_now().await;
            let found = run.as_ref().is_some_and(|run| run.partials.iter().all(|state| *state != Partial::Empty));
            if (only_first || only_last) && found {
                break;
            }
        }
        if let Some(run) = run {
            self.close(run);
        }
        Ok(())
    }

    fn add_block(
        &mut self,
        block: &Block,
        groups: &[TimeRange],
        run: &mut Option<Run>,
        tags: &[Cell],
        descending: bool,
    ) {
        let mut row = 0;
        while row < block.times.len() {
            let time = block.times[row];
            if run.as_ref().is_none_or(|run| !run.span.contains(time)) {
                if let Some(done) = run.take() {
                    self.close(done);
                }
                *run = Some(self.open_run(time, groups));
            }
            let Some(run) = run else { return };
            let end = row + rows_inside(&block.times[row..], run.span, descending);
            for (index, call) in self.calls.iter().enumerate() {
                let Some(column) = block.columns[call.field].as_ref().filter(|_| !run.is_lost) else { continue };
                let moved = run.partials[index].update(call.aggregate, column, &block.times, row..end);
                if let (Some(at), Partial::Point(point)) = (moved, &mut run.partials[index])
                    && !(self.carried.is_empty() && tags.is_empty())
                {
                    let cell = |field: &usize| block.columns[*field].as_ref().map_or(Cell::Null, |c| c.cell(at));
                    point.carried = self.carried.iter().map(cell).chain(tags.iter().cloned()).collect();
                }
            }
            row = end;
        }
    }

    fn open_run(&self, time: Timestamp, groups: &[TimeRange]) -> Run {
        let (start, end) = self.window.of(time);
        let mut span = TimeRange { min: start, max: end.saturating_sub(1) };
        if let Some(group) = groups.iter().find(|group| group.contains(time)) {
            span = span.intersect(*group);
        }
        // Windows of the outermost times may not hold their own instant.
        span = TimeRange { min: span.min.min(time), max: span.max.max(time) };
        let is_lost = self.window.is_lost(time);
        if is_lost {
            span = groups.iter().find(|group| group.contains(time)).copied().unwrap_or(TimeRange::ALWAYS);
        }
        Run { start: self.window.merged_start(start), span, is_lost, partials: vec![Partial::Empty; self.calls.len()] }
    }

    fn close(&mut self, mut run: Run) {
        // The pass gave this window up while the series was being read.
        if run.is_lost || run.span.intersect(self.range).is_empty() {
            return;
        }
        let count = self.calls.len();
        let states = self.states.entry(run.start).or_insert_with(|| vec![Partial::Empty; count]);
        for ((state, call), partial) in states.iter_mut().zip(self.calls).zip(&mut run.partials) {
            partial.settle();
            state.merge(call.aggregate, std::mem::take(partial));
        }
        if self.states.len() * count.max(1) > PASS_STATES && self.states.len() > 1 {
            self.shrink();
        }
    }

    /// Gives up the further half of the windows; a later pass computes them.
    fn shrink(&mut self) {
        let half = self.states.len() / 2;
        if self.fragment.descending {
            let Some(first) = self.states.keys().rev().nth(half - 1).copied() else { return };
            self.states = self.states.split_off(&first);
            self.range.min = first.max(self.range.min);
        } else {
            let Some(first_out) = self.states.keys().nth(half).copied() else { return };
            self.states.split_off(&first_out);
            self.range.max = first_out.saturating_sub(1).min(self.range.max);
        }
    }

    fn finish(self) -> (States, Option<TimeRange>) {
        let rest = if self.fragment.descending {
            TimeRange { min: self.whole.min, max: self.range.min.saturating_sub(1) }
        } else {
            TimeRange { min: self.range.max.saturating_add(1), max: self.whole.max }
        };
        let more = self.range != self.whole && !rest.is_empty();
        let states = self.states.into_iter();
        let ready = if self.fragment.descending { states.rev().collect() } else { states.collect() };
        (ready, more.then_some(rest))
    }
}

/// How many of the leading `times` lie inside `span`: windows advance with the data, by galloping, not by dividing.
fn rows_inside(times: &[Timestamp], span: TimeRange, descending: bool) -> usize {
    let inside = |time: &Timestamp| if descending { *time >= span.min } else { *time <= span.max };
    // Mostly a block ends inside the window.
    if times.last().is_some_and(inside) {
        return times.len();
    }
    let mut step = 1;
    while step < times.len() && inside(&times[step]) {
        step *= 2;
    }
    let high = step.min(times.len());
    step / 2 + times[step / 2..high].partition_point(inside)
}
