//! What stands between a source and a slot: operators over the rows of one group, pumped in bounded steps.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::query::select::fill::FillWalk;
use crate::query::select::fill::Holes;
use crate::query::select::holt_winters::HoltWinters;
use crate::query::select::reduce::Integral;
use crate::query::select::reduce::Reduce;
use crate::query::select::stream::Row;
use crate::query::select::transform::Transform;

/// Rows an operator makes before its reader must have taken them.
const OUTPUT_ROWS_MAX: usize = 1024;

/// One stage.
#[derive(Debug)]
pub enum Operator {
    /// Rows of a window to one row or a few.
    Reduce(Box<Reduce>),
    /// integral().
    Integral(Box<Integral>),
    /// Windows without data.
    Fill(Box<FillWalk>),
    /// Windows without a result.
    Holes(Holes),
    /// From point to point.
    Transform(Box<Transform>),
    /// holt_winters().
    HoltWinters(Box<HoltWinters>),
    /// Rows before this time (after it: descending) were only looked back at.
    DropOutside(Timestamp, bool),
    /// Rows get this time.
    SetTime(Timestamp),
    /// LIMIT and OFFSET.
    Limit(Limit),
    /// What stock's storage lets through under LIMIT, in each shard group.
    LimitEach(LimitEach),
}

/// The first rows of each shard group.
#[derive(Debug)]
pub struct LimitEach {
    count: u64,
    groups: Rc<[TimeRange]>,
    at: Option<TimeRange>,
    seen: u64,
}

/// LIMIT and OFFSET at work.
#[derive(Debug)]
pub struct Limit {
    limit: u64,
    offset: u64,
    seen: u64,
}

impl Operator {
    /// LIMIT and OFFSET; a limit of 0 is none.
    pub fn limit(limit: u64, offset: u64) -> Operator {
        Operator::Limit(Limit { limit: if limit == 0 { u64::MAX } else { limit }, offset, seen: 0 })
    }

    /// The first `count` rows of each of `groups`.
    pub fn limit_each(count: u64, groups: Rc<[TimeRange]>) -> Operator {
        Operator::LimitEach(LimitEach { count, groups, at: None, seen: 0 })
    }

    fn reset(&mut self) {
        match self {
            Operator::Reduce(reduce) => reduce.reset(),
            Operator::Integral(integral) => integral.reset(),
            Operator::Fill(fill) => fill.reset(),
            Operator::Transform(transform) => transform.reset(),
            Operator::HoltWinters(holt_winters) => holt_winters.reset(),
            Operator::DropOutside(..) | Operator::SetTime(_) | Operator::Holes(_) => {}
            Operator::Limit(limit) => limit.seen = 0,
            Operator::LimitEach(limit) => (limit.at, limit.seen) = (None, 0),
        }
    }

    /// Whether its long computation comes before it takes the row of the time `next`, or, without one, the end.
    fn is_due(&self, next: Option<Timestamp>) -> bool {
        match self {
            Operator::Reduce(reduce) => reduce.is_due(next),
            Operator::HoltWinters(holt_winters) => next.is_none() && holt_winters.is_due(),
            _ => false,
        }
    }

    /// Runs that computation, with turns for others.
    pub async fn compute(&mut self) {
        match self {
            Operator::Reduce(reduce) => reduce.compute().await,
            Operator::HoltWinters(holt_winters) => holt_winters.compute().await,
            _ => {}
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Operator::Reduce(reduce) => reduce.held_bytes(),
            Operator::Transform(transform) => transform.held_bytes(),
            Operator::HoltWinters(holt_winters) => holt_winters.held_bytes(),
            _ => 0,
        }
    }
}

/// Rows between two operators.
#[derive(Debug, Default)]
struct Queue {
    rows: VecDeque<Row>,
    /// Nothing follows in this group.
    ended: bool,
}

impl Queue {
    /// Whether what comes next makes its reader compute.
    fn is_due(&self, reader: &Operator) -> bool {
        let next = self.rows.front().map(|row| row.time);
        (next.is_some() || self.ended) && reader.is_due(next)
    }
}

/// A chain of operators over one group at a time.
#[derive(Debug)]
pub struct Pipeline {
    operators: Vec<Operator>,
    /// One more than operators: before each, and behind the last.
    queues: Vec<Queue>,
}

impl Pipeline {
    /// A pipeline of `operators`, at its end until a group begins.
    pub fn new(operators: Vec<Operator>) -> Pipeline {
        let queues = (0..=operators.len()).map(|_| Queue { rows: VecDeque::new(), ended: true }).collect();
        Pipeline { operators, queues }
    }

    /// Starts a group; without `has_input` it is empty.
    pub fn begin(&mut self, has_input: bool) {
        self.operators.iter_mut().for_each(Operator::reset);
        for queue in &mut self.queues {
            queue.rows.clear();
            queue.ended = !has_input;
        }
    }

    /// Gives it rows.
    pub fn push(&mut self, rows: Vec<Row>) {
        // Behind a limit that is reached nothing is wanted any more.
        if !self.is_ended() {
            self.queues[0].rows.extend(rows);
        }
    }

    /// No more rows of this group.
    pub fn end(&mut self) {
        self.queues[0].ended = true;
    }

    /// The next row, if it is made.
    pub fn head(&self) -> Option<&Row> {
        self.queues.last().and_then(|queue| queue.rows.front())
    }

    /// Takes the next row.
    pub fn take(&mut self) -> Option<Row> {
        self.queues.last_mut().and_then(|queue| queue.rows.pop_front())
    }

    /// Whether no row will follow the ones that are made.
    pub fn is_ended(&self) -> bool {
        self.queues.last().is_some_and(|queue| queue.ended)
    }

    /// Bytes that wait in it.
    pub fn held_bytes(&self) -> usize {
        let rows: usize = self.queues.iter().map(|queue| queue.rows.len() * (size_of::<Row>() + 48)).sum();
        rows + self.operators.iter().map(Operator::held_bytes).sum::<usize>()
    }

    /// The operator that cannot go on before a long computation.
    pub fn due(&mut self) -> Option<&mut Operator> {
        let is_due = |(operator, input): &(&mut Operator, &Queue)| input.is_due(operator);
        self.operators.iter_mut().zip(&self.queues).find(is_due).map(|(operator, _)| operator)
    }

    /// Moves some rows on through each operator; whether anything changed. If not, input is missing, all is done, or an
    /// operator has to compute. What fill() makes and another operator takes in may be endless.
    pub fn pump(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.operators.len() {
            let (before, behind) = self.queues.split_at_mut(index + 1);
            moved |= step(&mut self.operators[index], &mut before[index], &mut behind[0]);
        }
        moved
    }
}

/// Runs one operator; whether anything changed.
fn step(operator: &mut Operator, input: &mut Queue, output: &mut Queue) -> bool {
    if output.ended || output.rows.len() >= OUTPUT_ROWS_MAX {
        return false;
    }
    let before = (input.rows.len(), output.rows.len());
    match operator {
        Operator::Fill(fill) => {
            fill.pump(&mut input.rows, input.ended, &mut output.rows, OUTPUT_ROWS_MAX);
            output.ended = input.ended && input.rows.is_empty() && !fill.has_more();
        }
        _ => {
            while output.rows.len() < OUTPUT_ROWS_MAX && !output.ended && !input.is_due(operator) {
                let Some(row) = input.rows.pop_front() else { break };
                push(operator, row, output);
            }
            if input.ended && input.rows.is_empty() && !output.ended && !input.is_due(operator) {
                finish(operator, &mut output.rows);
                output.ended = true;
            }
        }
    }
    (input.rows.len(), output.rows.len()) != before || output.ended
}

fn push(operator: &mut Operator, mut row: Row, output: &mut Queue) {
    match operator {
        Operator::Reduce(reduce) => reduce.push(row, &mut output.rows),
        Operator::Integral(integral) => integral.push(row, &mut output.rows),
        Operator::Transform(transform) => output.rows.extend(transform.push(row)),
        Operator::HoltWinters(holt_winters) => holt_winters.push(row),
        Operator::DropOutside(time, descending) => {
            let outside = if *descending { row.time > *time } else { row.time < *time };
            if !outside {
                output.rows.push_back(row);
            }
        }
        Operator::SetTime(time) => {
            row.time = *time;
            output.rows.push_back(row);
        }
        Operator::Limit(limit) => {
            limit.seen += 1;
            if limit.seen > limit.offset {
                output.rows.push_back(row);
            }
            output.ended = limit.seen >= limit.offset.saturating_add(limit.limit);
        }
        Operator::LimitEach(limit) => {
            if limit.at.is_none_or(|at| !at.contains(row.time)) {
                let whole = TimeRange::ALWAYS;
                let group = limit.groups.iter().find(|group| group.contains(row.time));
                (limit.at, limit.seen) = (Some(group.copied().unwrap_or(whole)), 0);
            }
            limit.seen += 1;
            if limit.seen <= limit.count {
                output.rows.push_back(row);
            }
        }
        Operator::Holes(holes) => output.rows.extend(holes.pass(&row).then_some(row)),
        Operator::Fill(_) => output.rows.push_back(row),
    }
}

fn finish(operator: &mut Operator, out: &mut VecDeque<Row>) {
    match operator {
        Operator::Reduce(reduce) => reduce.finish(out),
        Operator::Integral(integral) => integral.finish(out),
        Operator::HoltWinters(holt_winters) => holt_winters.finish(out),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use futures_lite::future::poll_once;

    use super::*;
    use crate::exec::Window;
    use crate::model::Cell;
    use crate::query::select::reduce::Reducer;

    fn filled(operator: Operator, rows: i64) -> Pipeline {
        let mut pipeline = Pipeline::new(vec![operator]);
        pipeline.begin(true);
        let row = |time: i64| Row { time, cells: vec![Cell::Integer(time.wrapping_mul(7919) % rows)] };
        pipeline.push((0..rows).map(row).collect());
        pipeline.end();
        pipeline.pump();
        pipeline
    }

    #[test]
    fn a_window_of_many_rows_is_computed_in_many_turns() {
        let reducers = [
            (Reducer::Median, Cell::Float(49_999.5)),
            (Reducer::Mode, Cell::Integer(0)),
            (Reducer::CountDistinct, Cell::Integer(100_000)),
            (Reducer::Percentile(50.0), Cell::Integer(49_999)),
            (Reducer::Distinct, Cell::Integer(0)),
            (Reducer::Sample(200_000), Cell::Integer(0)),
            (Reducer::Best { by: None, count: 100_000, largest: true }, Cell::Integer(0)),
        ];
        for (reducer, expected) in reducers {
            let reduce = Reduce::new(reducer.clone(), Window::whole(TimeRange::ALWAYS), false);
            let mut pipeline = filled(Operator::Reduce(Box::new(reduce)), 100_000);
            assert!(pipeline.head().is_none() && !pipeline.is_ended());
            let turns = block_on(async {
                let mut turns = 1;
                let mut work = std::pin::pin!(pipeline.due().expect("a computation").compute());
                while poll_once(&mut work).await.is_none() {
                    turns += 1;
                }
                turns
            });
            assert!(turns > 5, "{reducer:?}: {turns}");
            pipeline.pump();
            assert_eq!(pipeline.head().map(|row| &row.cells[0]), Some(&expected), "{reducer:?}");
        }
    }

    #[test]
    fn a_window_of_few_rows_is_computed_at_once() {
        let reduce = Reduce::new(Reducer::Median, Window::whole(TimeRange::ALWAYS), false);
        let mut pipeline = filled(Operator::Reduce(Box::new(reduce)), 100);
        assert!(pipeline.due().is_none());
        assert_eq!(pipeline.head().map(|row| &row.cells[0]), Some(&Cell::Float(49.5)));
    }

    #[test]
    fn a_fit_over_many_windows_can_be_left_at_any_turn() {
        let fit = HoltWinters::new(1, 10, 4, false);
        let mut pipeline = filled(Operator::HoltWinters(Box::new(fit)), 1 << 20);
        block_on(async {
            let mut work = std::pin::pin!(pipeline.due().expect("a fit").compute());
            for _ in 0..100 {
                assert!(poll_once(&mut work).await.is_none());
            }
        });
        pipeline.begin(false);
        assert!(pipeline.due().is_none() && pipeline.is_ended());
    }
}
