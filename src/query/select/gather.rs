//! Scatter and gather: a fragment goes to every core; their sorted answers come back as one sorted stream.
//!
//! Every core answers in bounded chunks and is asked for the next one only when its last has been used up, so a slow
//! reader holds at most one chunk of each core.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::exec::CallSpec;
use crate::exec::Chunk;
use crate::exec::Fragment;
use crate::exec::Part;
use crate::exec::PartData;
use crate::exec::Request;
use crate::exec::Response;
use crate::exec::TieColumn;
use crate::exec::Work;
use crate::exec::aggregate::Partial;
use crate::exec::fragment::RowSeries;
use crate::exec::fragment::Upcoming;
use crate::exec::order::Item;
use crate::exec::order::RowOrder;
use crate::exec::rows::tie;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::DatabaseId;
use crate::model::PolicyId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::query::fabric::Fabric;
use crate::query::select::meter::Meter;
use crate::query::select::source::Context;
use crate::query::select::stream::Batch;
use crate::query::select::stream::GroupKey;
use crate::query::select::stream::Row;
use crate::query::select::stream::directed;
use crate::stdx::join::join_all;

/// Fragments, one for each measurement in output order, run one after the other on all cores.
pub struct Gather<F> {
    fabric: F,
    fragments: VecDeque<Fragment>,
    running: Option<Running>,
    series_max: u64,
    series_count: u64,
    meter: Rc<Meter>,
}

/// The fragment being read.
struct Running {
    fragment: Fragment,
    /// Those of its policy.
    shard_groups: Vec<TimeRange>,
    streams: Vec<CoreStream>,
    /// The group at work and, if all cores told its series, the order of its rows.
    order: Option<(Vec<Bytes>, Option<RowOrder>)>,
}

/// One core's answer.
#[derive(Default)]
struct CoreStream {
    core: usize,
    cursor: Option<u64>,
    parts: VecDeque<Part>,
    head: Option<Head>,
}

/// The group a core stands at.
struct Head {
    group: Vec<Bytes>,
    items: Items,
    /// With the first part of a group: its series on this core.
    series: Vec<(RowSeries, Upcoming)>,
}

/// A row, its series, and how that goes on.
struct SeriesRow {
    row: Row,
    series: Rc<RowSeries>,
    next: Upcoming,
}

enum Items {
    Rows(VecDeque<SeriesRow>),
    Windows(VecDeque<(Timestamp, Vec<Partial>)>),
}

impl Items {
    fn is_empty(&self) -> bool {
        match self {
            Items::Rows(rows) => rows.is_empty(),
            Items::Windows(windows) => windows.is_empty(),
        }
    }

    fn last_time(&self) -> Option<Timestamp> {
        match self {
            Items::Rows(rows) => rows.back().map(|row| row.row.time),
            Items::Windows(windows) => windows.back().map(|(start, _)| *start),
        }
    }
}

impl<F: Fabric> Gather<F> {
    /// A gather of `fragments`, in this order; the limit on series is on what all of them select.
    pub fn new(context: &Context<F>, fragments: Vec<Fragment>) -> Gather<F> {
        Gather {
            fabric: context.fabric.clone(),
            fragments: fragments.into(),
            running: None,
            series_max: context.limits.series_max,
            series_count: 0,
            meter: context.meter.clone(),
        }
    }

    /// The next rows of the next group; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Batch>, String> {
        loop {
            if self.running.is_none() && !self.open().await? {
                return Ok(None);
            }
            self.refill().await?;
            let Some(running) = &mut self.running else { continue };
            if let Some(batch) = running.next_batch() {
                return Ok(Some(batch));
            }
            if running.streams.iter().all(|stream| stream.head.is_none()) {
                self.running = None;
            }
        }
    }

    /// Sends the next fragment to all cores.
    async fn open(&mut self) -> Result<bool, String> {
        let Some(fragment) = self.fragments.pop_front() else { return Ok(false) };
        let fabric = &self.fabric;
        let asked = (0..fabric.core_count()).map(|core| fabric.ask(core, Request::Open(Box::new(fragment.clone()))));
        let mut streams = Vec::new();
        for (core, answer) in join_all(asked).await.into_iter().enumerate() {
            let chunk = chunk_of(answer.map_err(|error| error.to_string())?)?;
            self.series_count += chunk.series_count;
            self.meter.count(chunk.points)?;
            streams.push(CoreStream { core, cursor: chunk.cursor, parts: chunk.parts.into(), head: None });
        }
        if self.series_max > 0 && self.series_count > self.series_max {
            let (count, max) = (self.series_count, self.series_max);
            return Err(format!("max-select-series limit exceeded: ({count}/{max})"));
        }
        let shard_groups = shard_groups(&self.fabric, fragment.database, fragment.policy, fragment.range);
        self.running = Some(Running { fragment, shard_groups, streams, order: None });
        Ok(true)
    }

    /// Brings every stream that is not at its end to a head.
    async fn refill(&mut self) -> Result<(), String> {
        let Some(running) = &mut self.running else { return Ok(()) };
        loop {
            let fragment = &running.fragment;
            running.streams.iter_mut().for_each(|stream| stream.take_head(fragment));
            let fabric = &self.fabric;
            let empty: Vec<usize> = (0..running.streams.len())
                .filter(|index| running.streams[*index].head.is_none() && running.streams[*index].cursor.is_some())
                .collect();
            if empty.is_empty() {
                return Ok(());
            }
            let asked: Vec<_> = empty
                .iter()
                .filter_map(|index| {
                    let stream = &mut running.streams[*index];
                    let cursor = stream.cursor.take()?;
                    Some(fabric.ask(stream.core, Request::Next(cursor)))
                })
                .collect();
            for (index, answer) in empty.into_iter().zip(join_all(asked).await) {
                let chunk = chunk_of(answer.map_err(|error| error.to_string())?)?;
                self.meter.count(chunk.points)?;
                running.streams[index].cursor = chunk.cursor;
                running.streams[index].parts = chunk.parts.into();
            }
        }
    }
}

/// The shard groups of a policy in `range`.
pub fn shard_groups(fabric: &impl Fabric, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<TimeRange> {
    let catalog = fabric.catalog();
    let policy = catalog.database_by_id(database).and_then(|database| database.policy_by_id(policy));
    policy.into_iter().flat_map(|policy| policy.groups_in(range)).map(|group| group.range()).collect()
}

fn chunk_of(response: Response) -> Result<Chunk, String> {
    match response {
        Response::Chunk(chunk) => Ok(chunk),
        Response::Failed(error) => Err(error),
        other => Err(format!("a core answered a fragment with something else: {other:?}")),
    }
}

impl CoreStream {
    /// Takes the next part as head when the last one is used up.
    fn take_head(&mut self, fragment: &Fragment) {
        if self.head.as_ref().is_some_and(|head| !head.items.is_empty()) {
            return;
        }
        self.head = None;
        while let Some(mut part) = self.parts.pop_front() {
            let series = match &mut part.data {
                PartData::Rows(rows) => std::mem::take(&mut rows.heads),
                PartData::Windows(_) => Vec::new(),
            };
            let items = items_of(part.data, fragment);
            if !items.is_empty() {
                self.head = Some(Head { group: part.group, items, series });
                return;
            }
        }
    }

    /// Whether rows of the head's group may follow behind the head.
    fn may_go_on(&self) -> bool {
        match (&self.head, self.parts.front()) {
            (Some(head), Some(next)) => head.group == next.group,
            _ => self.cursor.is_some(),
        }
    }
}

fn items_of(data: PartData, fragment: &Fragment) -> Items {
    match data {
        PartData::Rows(rows) => {
            let origins: Vec<Rc<RowSeries>> = rows.origins.into_iter().map(Rc::new).collect();
            let mut items = VecDeque::with_capacity(rows.times.len());
            let width = fragment.fields.len() + fragment.tags.len();
            let mut upcoming = rows.next.into_iter();
            for (index, time) in rows.times.iter().enumerate() {
                let next = upcoming.next().unwrap_or(Upcoming::NONE);
                let origin = rows.series.get(index).map_or(0, |place| *place as usize);
                let Some(origin) = origins.get(origin) else { continue };
                let mut cells = Vec::with_capacity(width);
                cells.extend(rows.columns.iter().map(|c| c.as_ref().map_or(Cell::Null, |column| column.cell(index))));
                cells.extend(origin.tags.iter().map(|tag| tag.clone().map_or(Cell::Null, Cell::String)));
                items.push_back(SeriesRow { row: Row { time: *time, cells }, series: origin.clone(), next });
            }
            Items::Rows(items)
        }
        PartData::Windows(windows) => {
            let mut partials: Vec<_> = windows.partials.into_iter().map(Vec::into_iter).collect();
            let next = |start| {
                let states = partials.iter_mut().map(|states| states.next().unwrap_or_default()).collect();
                (start, states)
            };
            Items::Windows(windows.starts.into_iter().map(next).collect())
        }
    }
}

impl Running {
    /// Rows of the first group that stands at a head; `None` when there is no head.
    fn next_batch(&mut self) -> Option<Batch> {
        let descending = self.fragment.descending;
        let is_rows = matches!(self.fragment.work, Work::Rows { .. });
        let time_descending = if is_rows { self.fragment.rows_descending } else { descending };
        let first = self.streams.iter().filter_map(|stream| stream.head.as_ref().map(|head| &head.group));
        let group = first.min_by(|left, right| directed(left, right, descending))?.clone();
        let mine: Vec<usize> = (0..self.streams.len())
            .filter(|index| self.streams[*index].head.as_ref().is_some_and(|head| head.group == group))
            .collect();
        // Behind this time a core that goes on may still have rows that come before those of the others.
        let mut bound: Option<Timestamp> = None;
        if mine.len() > 1 {
            for stream in mine.iter().map(|index| &self.streams[*index]).filter(|stream| stream.may_go_on()) {
                let last = stream.head.as_ref().and_then(|head| head.items.last_time());
                bound = match (bound, last) {
                    (Some(bound), Some(last)) => Some(if time_descending { bound.max(last) } else { bound.min(last) }),
                    (bound, last) => bound.or(last),
                };
            }
        }
        if is_rows && self.order.as_ref().is_none_or(|(at, _)| *at != group) {
            self.order = Some((group.clone(), self.row_order(&mine)));
        }
        let key = Rc::new(GroupKey { name: self.fragment.measurement.clone(), tags: group });
        let heads: Vec<(usize, &mut Items)> = self
            .streams
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| mine.contains(index))
            .filter_map(|(index, stream)| stream.head.as_mut().map(|head| (index, &mut head.items)))
            .collect();
        let outputs = match &self.fragment.work {
            Work::Rows { .. } => match &mut self.order {
                Some((_, Some(order))) => vec![ordered_rows(heads, order, time_descending, bound)],
                _ => vec![merge_rows(heads, &self.fragment, bound)],
            },
            Work::Windows { calls, window, .. } => {
                let mut outputs = vec![Vec::new(); calls.len()];
                merge_windows(heads, calls, window.interval > 0, descending, bound, &mut outputs);
                outputs
            }
        };
        Some(Batch { group: key, outputs })
    }

    /// The order of a group's rows, when it has several series and all of them are known.
    fn row_order(&mut self, mine: &[usize]) -> Option<RowOrder> {
        let mut items = Vec::new();
        for index in mine {
            let series = std::mem::take(&mut self.streams[*index].head.as_mut()?.series);
            if series.is_empty() {
                return None;
            }
            items.extend(series.into_iter().map(|(series, next)| Item { series, next, source: *index }));
        }
        let descending = self.fragment.rows_descending;
        let ties = self.fragment.string_ties();
        (items.len() > 1).then(|| RowOrder::new(items, &self.shard_groups, &ties, descending))
    }
}

/// Rows in the order given, up to `bound`.
fn ordered_rows(
    heads: Vec<(usize, &mut Items)>,
    order: &mut RowOrder,
    descending: bool,
    bound: Option<Timestamp>,
) -> Vec<Row> {
    let mut queues: Vec<(usize, &mut VecDeque<SeriesRow>)> = heads
        .into_iter()
        .filter_map(|(index, items)| match items {
            Items::Rows(rows) => Some((index, rows)),
            Items::Windows(_) => None,
        })
        .collect();
    let mut merged = Vec::new();
    while let Some(first) = order.first() {
        let time = first.next.time;
        if !within(time, bound, descending) {
            break;
        }
        let Some((_, queue)) = queues.iter_mut().find(|(index, _)| *index == first.source) else { break };
        // Rows of one instant lie side by side, and a core sends them together.
        let here = queue.iter().take_while(|row| row.row.time == time);
        let Some(place) = here.into_iter().position(|row| row.series.key == first.series.key) else { break };
        let Some(row) = queue.remove(place) else { break };
        order.advance(row.next);
        merged.push(row.row);
    }
    if merged.is_empty() {
        // A limit on a core ends its rows before its series end: what is left comes as it stands.
        merged.extend(queues.iter_mut().flat_map(|(_, queue)| queue.drain(..)).map(|row| row.row));
    }
    merged
}

fn within(time: Timestamp, bound: Option<Timestamp>, descending: bool) -> bool {
    bound.is_none_or(|bound| if descending { time >= bound } else { time <= bound })
}

fn merge_rows(heads: Vec<(usize, &mut Items)>, fragment: &Fragment, bound: Option<Timestamp>) -> Vec<Row> {
    let descending = fragment.rows_descending;
    let mut queues: Vec<&mut VecDeque<SeriesRow>> = heads
        .into_iter()
        .filter_map(|(_, items)| match items {
            Items::Rows(rows) => Some(rows),
            Items::Windows(_) => None,
        })
        .collect();
    if let [queue] = &mut queues[..] {
        return queue.drain(..).map(|row| row.row).collect();
    }
    let mut merged = Vec::new();
    loop {
        let mut best: Option<usize> = None;
        for (index, queue) in queues.iter().enumerate() {
            let head = queue.front().filter(|row| within(row.row.time, bound, descending));
            let Some(head) = head else { continue };
            let better = best
                .and_then(|best| queues[best].front())
                .is_none_or(|best| row_order(&fragment.ties, head, best, descending) == Ordering::Less);
            if better {
                best = Some(index);
            }
        }
        match best.and_then(|best| queues[best].pop_front()) {
            Some(row) => merged.push(row.row),
            None => return merged,
        }
    }
}

fn row_order(ties: &[TieColumn], left: &SeriesRow, right: &SeriesRow, descending: bool) -> Ordering {
    let order = left.row.time.cmp(&right.row.time);
    let order = order.then_with(|| tie(ties, (&left.series, &left.row.cells), (&right.series, &right.row.cells)));
    if descending { order.reverse() } else { order }
}

fn merge_windows(
    heads: Vec<(usize, &mut Items)>,
    calls: &[CallSpec],
    has_interval: bool,
    descending: bool,
    bound: Option<Timestamp>,
    outputs: &mut [Vec<Row>],
) {
    let mut queues: Vec<&mut VecDeque<(Timestamp, Vec<Partial>)>> = heads
        .into_iter()
        .filter_map(|(_, items)| match items {
            Items::Windows(windows) => Some(windows),
            Items::Rows(_) => None,
        })
        .collect();
    loop {
        let starts = queues.iter().filter_map(|queue| queue.front().map(|(start, _)| *start));
        let next = if descending { starts.max() } else { starts.min() };
        let Some(start) = next.filter(|start| within(*start, bound, descending)) else { return };
        let mut merged = vec![Partial::Empty; calls.len()];
        for queue in &mut queues {
            if queue.front().is_some_and(|(other, _)| *other == start) {
                let Some((_, states)) = queue.pop_front() else { continue };
                for ((state, call), more) in merged.iter_mut().zip(calls).zip(states) {
                    state.merge(call.aggregate, more);
                }
            }
        }
        for ((state, call), output) in merged.into_iter().zip(calls).zip(outputs.iter_mut()) {
            let Some(selected) = state.finish() else { continue };
            let own_time = call.aggregate.is_selector() && !has_interval;
            let mut cells = Vec::with_capacity(1 + selected.carried.len());
            cells.push(selected.value);
            cells.extend(selected.carried);
            output.push(Row { time: if own_time { selected.time } else { start }, cells });
        }
    }
}
