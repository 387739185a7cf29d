//! One pass over one group: series after series is read once; windows advance with the data.
//!
//! A block of which a summary is there, and which lies in one window, is not read when the summary tells all: counts,
//! sums, and the values that selectors choose. Of the blocks that may hold the point a selector chooses, where its time
//! or other fields are wanted, the best one is read, once all are known.
//!
//! A pass keeps at most [`PASS_STATES`] states: when data makes more windows, the furthest are given up and a further
//! pass reads them again, so a window length of one nanosecond costs time and not memory.

use std::rc::Rc;

use crate::exec::aggregate::Aggregate;
use crate::exec::aggregate::Choice;
use crate::exec::aggregate::Partial;
use crate::exec::fragment::CallSpec;
use crate::exec::fragment::Fragment;
use crate::exec::reader::Block;
use crate::exec::reader::ReadPlan;
use crate::exec::reader::Reader;
use crate::exec::reader::Summarized;
use crate::exec::reader::origin;
use crate::exec::select::SelectedSeries;
use crate::exec::states::Ready;
use crate::exec::states::States;
use crate::exec::summary::Facts;
use crate::exec::view::Cursor;
use crate::exec::view::View;
use crate::exec::window::Window;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// States one pass over a group keeps: about 8 MB.
const PASS_STATES: usize = 128 * 1024;

/// See the module.
pub struct Pass<'a> {
    fragment: &'a Fragment,
    plan: &'a Rc<ReadPlan>,
    window: &'a Window,
    calls: &'a [CallSpec],
    carried: &'a [usize],
    whole: TimeRange,
    /// What is still kept.
    range: TimeRange,
    states: States,
    /// No call needs every value.
    by_summary: bool,
}

/// A series being read.
struct Series<P> {
    /// Its shard groups.
    groups: Vec<TimeRange>,
    /// What it carries to a selector: its tags.
    tags: Vec<Cell>,
    descending: bool,
    /// The window it is at, of one shard group.
    run: Run<P>,
}

/// States of the series being read, in one window of one shard group.
struct Run<P> {
    /// Of the window it is or was at.
    start: Timestamp,
    /// The rows it takes; at first none.
    span: TimeRange,
    /// Nothing of it counts.
    is_lost: bool,
    calls: Vec<CallState<P>>,
}

struct CallState<P> {
    partial: Partial,
    /// The block not read that holds the point to choose, if that is not the one in `partial`.
    candidate: Option<Candidate<P>>,
    /// A point was passed over that loses against one of another series.
    is_beaten: bool,
}

struct Candidate<P> {
    choice: Choice,
    /// Known once the block was passed.
    block: Option<P>,
}

impl<P> Series<P> {
    /// The time of a range that comes first.
    fn first(&self, range: TimeRange) -> Timestamp {
        if self.descending { range.max } else { range.min }
    }
}

impl<P> Run<P> {
    fn has_candidates(&self) -> bool {
        self.calls.iter().any(|call| call.candidate.is_some())
    }

    /// Whether something was found for each call.
    fn is_found(&self) -> bool {
        let is_found = |call: &CallState<P>| call.partial != Partial::Empty || call.candidate.is_some();
        self.calls.iter().all(|call| is_found(call) || call.is_beaten)
    }

    /// The block just passed over is the one its newest candidates are in.
    fn adopt(&mut self, passed: &P)
    where
        P: Clone,
    {
        let candidates = self.calls.iter_mut().filter_map(|call| call.candidate.as_mut());
        candidates.filter(|candidate| candidate.block.is_none()).for_each(|candidate| {
            candidate.block = Some(passed.clone());
        });
    }
}

/// What a summary adds to a call.
enum Addition {
    /// It is all that is needed.
    Sure(Partial),
    /// The chosen point may be in the block.
    Candidate(Choice),
    /// Nothing.
    Beaten,
}

impl<'a> Pass<'a> {
    /// A pass over `range`.
    pub fn new(
        fragment: &'a Fragment,
        plan: &'a Rc<ReadPlan>,
        window: &'a Window,
        calls: &'a [CallSpec],
        carried: &'a [usize],
        range: TimeRange,
    ) -> Pass<'a> {
        let states = States::new(calls.len(), fragment.descending);
        let adds_floats = |call: &CallSpec| {
            matches!(call.aggregate, Aggregate::Sum | Aggregate::Mean)
                && fragment.fields[call.field].as_type == FieldType::Float
        };
        let by_summary = !calls.iter().any(adds_floats);
        Pass { fragment, plan, window, calls, carried, whole: range, range, states, by_summary }
    }

    /// Adds a series.
    pub async fn read<V: View>(&mut self, views: &[V], series: &SelectedSeries) -> Result<(), String> {
        let view = &views[series.view];
        let whole = self.window.interval <= 0;
        let only = |wanted: Aggregate| whole && self.calls.iter().all(|call| call.aggregate == wanted);
        // The last value alone is the first of a reader that goes backwards.
        let (only_first, only_last) = (only(Aggregate::First), only(Aggregate::Last));
        let descending = if only_first { false } else { only_last || self.fragment.descending };
        let mut reader = Reader::open(views, self.fragment, self.plan, series, self.range, descending);
        let mut state = self.open_series(views, series, descending);
        loop {
            let mut is_outside = false;
            let passed = match self.by_summary {
                true => {
                    let passed = reader.pass(|summary| {
                        let first = state.first(summary.block.range);
                        is_outside = state.run.has_candidates() && !state.run.span.contains(first);
                        !is_outside && self.add_summary(&mut state, &summary)
                    });
                    passed.await?
                }
                false => None,
            };
            if let Some(passed) = passed {
                state.run.adopt(&passed);
            } else {
                self.read_candidates(views, series, &mut state, &reader).await?;
                if is_outside {
                    self.close(&mut state.run);
                    continue;
                }
                let Some(block) = reader.next().await? else { break };
                if !self.range.contains(block.times[0]) {
                    break;
                }
                self.add_block(&mut state, &block);
            }
            view.yield_now().await;
            if (only_first || only_last) && !state.run.span.is_empty() && state.run.is_found() {
                break;
            }
        }
        self.read_candidates(views, series, &mut state, &reader).await?;
        self.close(&mut state.run);
        Ok(())
    }

    fn open_series<V: View>(
        &self,
        views: &[V],
        series: &SelectedSeries,
        descending: bool,
    ) -> Series<<V::Cursor as Cursor>::Passed> {
        let tags = match self.fragment.tags.is_empty() {
            true => Vec::new(),
            false => origin(views, self.fragment, series).tags,
        };
        let cell = |tag: Option<Bytes>| tag.map_or(Cell::Null, Cell::String);
        let call = |_: &CallSpec| CallState { partial: Partial::Empty, candidate: None, is_beaten: false };
        let calls = self.calls.iter().map(call).collect();
        Series {
            groups: views[series.view].shard_groups(self.fragment.database, self.fragment.policy, self.range),
            tags: tags.into_iter().map(cell).collect(),
            descending,
            run: Run { start: Timestamp::MIN, span: TimeRange::NEVER, is_lost: false, calls },
        }
    }

    /// Adds a block by its summary, or nothing of it if that is not enough.
    fn add_summary<P>(&mut self, series: &mut Series<P>, summary: &Summarized<'_>) -> bool {
        let block = summary.block;
        let Some(points) = summary.points().filter(|_| self.range.contains(series.first(block.range))) else {
            return false;
        };
        if points.count == 0 {
            return true;
        }
        if !series.run.span.covers(block.range) {
            let first = series.first(block.range);
            // Near a change of the clock the window depends on the row that is the first in it.
            if series.run.span.contains(first) || self.window.zone.is_some() && !points.are_rows {
                return false;
            }
            let (start, span, is_lost) = self.window_of(first, series);
            if !span.covers(block.range) || is_lost {
                return false;
            }
            self.close(&mut series.run);
            (series.run.start, series.run.span, series.run.is_lost) = (start, span, is_lost);
        }
        if series.run.is_lost {
            return false;
        }
        let mut additions = Vec::with_capacity(self.calls.len());
        for (index, call) in self.calls.iter().enumerate() {
            let Some(facts) = summary.facts(call.field) else {
                additions.push(None);
                continue;
            };
            let Some(addition) = self.addition(series, index, &facts, block.range) else { return false };
            additions.push(Some(addition));
        }
        for ((call, state), addition) in self.calls.iter().zip(&mut series.run.calls).zip(additions) {
            match addition {
                Some(Addition::Sure(partial)) => state.partial.merge(call.aggregate, partial),
                Some(Addition::Candidate(choice)) => state.candidate = Some(Candidate { choice, block: None }),
                Some(Addition::Beaten) => state.is_beaten = true,
                None => (),
            }
        }
        summary.count(points.count);
        true
    }

    /// What a block adds to a call; `None` if only its rows can tell.
    fn addition<P>(&self, series: &Series<P>, index: usize, facts: &Facts, range: TimeRange) -> Option<Addition> {
        let aggregate = self.calls[index].aggregate;
        let Some(choice) = Choice::of(aggregate, facts, range) else {
            return Partial::of_facts(aggregate, facts).map(Addition::Sure);
        };
        let state = &series.run.calls[index];
        let in_group = self.states.get(series.run.start).map(|states| &states[index]);
        let is_beaten_by = |partial: &Partial| matches!(partial, Partial::Point(chosen) if !choice.can_beat(chosen));
        if is_beaten_by(&state.partial)
            || in_group.is_some_and(is_beaten_by)
            || state.candidate.as_ref().is_some_and(|other| !choice.beats(&other.choice))
        {
            return Some(Addition::Beaten);
        }
        // In a window the value alone matters, unless something comes along with it.
        let needs_time = self.window.interval <= 0 || !series.tags.is_empty();
        match choice.selected(needs_time).filter(|_| self.carried.is_empty() && state.candidate.is_none()) {
            Some(mut selected) => {
                selected.carried = series.tags.clone();
                Some(Addition::Sure(Partial::Point(Box::new(selected))))
            }
            None => Some(Addition::Candidate(choice)),
        }
    }

    /// Reads the blocks that hold points to choose.
    async fn read_candidates<V: View>(
        &self,
        views: &[V],
        series: &SelectedSeries,
        state: &mut Series<<V::Cursor as Cursor>::Passed>,
        reader: &Reader<V::Cursor>,
    ) -> Result<(), String> {
        for index in 0..self.calls.len() {
            let Some(candidate) = state.run.calls[index].candidate.take() else { continue };
            let Some(passed) = candidate.block else { continue };
            let partial = &mut state.run.calls[index].partial;
            if let Some(block) = reader.read_passed(&passed).await? {
                self.update(partial, index, &block, 0..block.times.len(), &state.tags);
                continue;
            }
            // It is damaged, as is known only now: the point is one of those it kept from being read.
            let range = state.run.span.intersect(self.range);
            let mut reader = Reader::open(views, self.fragment, self.plan, series, range, state.descending);
            while let Some(block) = reader.next().await? {
                self.update(partial, index, &block, 0..block.times.len(), &state.tags);
                views[series.view].yield_now().await;
            }
        }
        Ok(())
    }

    fn add_block<P>(&mut self, series: &mut Series<P>, block: &Block) {
        let mut row = 0;
        while row < block.times.len() {
            let time = block.times[row];
            if !series.run.span.contains(time) {
                self.close(&mut series.run);
                let window = self.window_of(time, series);
                (series.run.start, series.run.span, series.run.is_lost) = window;
            }
            let end = row + rows_inside(&block.times[row..], series.run.span, series.descending);
            if !series.run.is_lost {
                for (index, state) in series.run.calls.iter_mut().enumerate() {
                    self.update(&mut state.partial, index, block, row..end, &series.tags);
                }
            }
            row = end;
        }
    }

    /// Adds rows to the state of a call.
    fn update(&self, partial: &mut Partial, call: usize, block: &Block, rows: std::ops::Range<usize>, tags: &[Cell]) {
        let CallSpec { aggregate, field } = self.calls[call];
        let Some(column) = block.columns[field].as_ref() else { return };
        let moved = partial.update(aggregate, column, &block.times, rows);
        if let (Some(at), Partial::Point(point)) = (moved, partial)
            && !(self.carried.is_empty() && tags.is_empty())
        {
            let cell = |field: &usize| block.columns[*field].as_ref().map_or(Cell::Null, |c| c.cell(at));
            point.carried = self.carried.iter().map(cell).chain(tags.iter().cloned()).collect();
        }
    }

    /// Start and rows of the window of `time` in its shard group, and whether nothing of it counts.
    fn window_of<P>(&self, time: Timestamp, series: &Series<P>) -> (Timestamp, TimeRange, bool) {
        let (start, end) = self.window.of_near(time, series.run.start);
        let group = series.groups.iter().find(|group| group.contains(time)).copied().unwrap_or(TimeRange::ALWAYS);
        if self.window.is_lost(time) {
            return (self.window.merged_start(start), group, true);
        }
        let span = TimeRange { min: start, max: end.saturating_sub(1) }.intersect(group);
        // Windows of the outermost times may not hold their own instant.
        let span = TimeRange { min: span.min.min(time), max: span.max.max(time) };
        (self.window.merged_start(start), span, false)
    }

    /// Joins what a series gave with what others gave for the window, and leaves `run` without one.
    fn close<P>(&mut self, run: &mut Run<P>) {
        let span = std::mem::replace(&mut run.span, TimeRange::NEVER);
        if span.is_empty() {
            return;
        }
        // The pass may have given this window up while the series was being read.
        let is_kept = !run.is_lost && !span.intersect(self.range).is_empty();
        let mut states = is_kept.then(|| self.states.entry(run.start).iter_mut());
        for (call, of_run) in self.calls.iter().zip(&mut run.calls) {
            of_run.is_beaten = false;
            let mut partial = std::mem::take(&mut of_run.partial);
            if let Some(state) = states.as_mut().and_then(Iterator::next) {
                partial.settle();
                state.merge(call.aggregate, partial);
            }
        }
        if self.states.count() * self.calls.len().max(1) > PASS_STATES && self.states.count() > 1 {
            self.shrink();
        }
    }

    /// Gives up the further half of the windows; a later pass computes them.
    fn shrink(&mut self) {
        let Some((last, first_out)) = self.states.halve() else { return };
        if self.fragment.descending {
            self.range.min = last.max(self.range.min);
        } else {
            self.range.max = first_out.saturating_sub(1).min(self.range.max);
        }
    }

    /// The windows, and what a further pass looks at.
    pub fn finish(self) -> (Ready, Option<TimeRange>) {
        let rest = if self.fragment.descending {
            TimeRange { min: self.whole.min, max: self.range.min.saturating_sub(1) }
        } else {
            TimeRange { min: self.range.max.saturating_add(1), max: self.whole.max }
        };
        let more = self.range != self.whole && !rest.is_empty();
        (self.states.finish(), more.then_some(rest))
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
