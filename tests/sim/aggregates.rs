//! Aggregates beside what reading every point gives.

use std::collections::BTreeMap;

use millrace::exec::CallSpec;
use millrace::exec::Executor;
use millrace::exec::FieldRef;
use millrace::exec::Fragment;
use millrace::exec::PartData;
use millrace::exec::Request;
use millrace::exec::Response;
use millrace::exec::Window;
use millrace::exec::Work;
use millrace::exec::aggregate::Aggregate;
use millrace::exec::aggregate::Partial;
use millrace::model::TimeRange;
use millrace::model::Values;

use crate::model::Found;
use crate::run::DATABASE;
use crate::run::FIELDS;
use crate::run::POLICY;
use crate::run::Run;
use crate::run::number;

const CALLS: [Aggregate; 4] = [Aggregate::Count, Aggregate::First, Aggregate::Last, Aggregate::Max];

/// Of one field of one series: how many values, the first, the last and the largest; of strings no largest.
type Told = BTreeMap<(usize, usize), [i64; CALLS.len()]>;

/// What the points say.
pub fn expected(found: &Found) -> Told {
    let mut told = Told::new();
    // By series, then time.
    for ((series, _, field), value) in found {
        let [count, _, last, max] = told.entry((*series, *field)).or_insert([0, *value, 0, i64::MIN]);
        (*count, *last, *max) = (*count + 1, *value, (*max).max(*value));
    }
    told.iter_mut().filter(|((_, field), _)| FIELDS[*field].0 == b"s").for_each(|(_, told)| told[3] = 0);
    told
}

/// What aggregates say.
pub async fn aggregates(run: &Run) -> Told {
    let mut told = Told::new();
    for engine in &run.engines {
        let executor = Executor::new(engine.views());
        let Response::Chunk(chunk) = executor.handle(Request::Open(Box::new(fragment()))).await else {
            panic!("a disk without faults is read")
        };
        assert!(chunk.cursor.is_none(), "few series fit a chunk");
        for part in chunk.parts {
            let PartData::Windows(windows) = part.data else { panic!("not windows") };
            let series = String::from_utf8_lossy(&part.group[0]).parse().expect("the tag is the series' number");
            for (call, partials) in windows.partials.into_iter().enumerate() {
                let (field, call) = (call / CALLS.len(), call % CALLS.len());
                if let Some(value) = partials.into_iter().next().and_then(value) {
                    told.entry((series, field)).or_default()[call] = value;
                }
            }
        }
    }
    told
}

fn value(partial: Partial) -> Option<i64> {
    use millrace::model::Cell;
    let is_count = matches!(partial, Partial::Count(_));
    Some(match partial.finish()?.value {
        Cell::Integer(count) if is_count => count,
        Cell::Integer(value) => number(&Values::Integer(vec![value]), 0),
        Cell::Float(value) => number(&Values::Float(vec![value]), 0),
        Cell::Unsigned(value) => number(&Values::Unsigned(vec![value]), 0),
        Cell::String(value) => number(&Values::String(vec![value]), 0),
        Cell::Boolean(value) => number(&Values::Boolean(vec![value]), 0),
        other => panic!("not a type of these fields: {other:?}"),
    })
}

fn fragment() -> Fragment {
    let call = |field: usize| CALLS.map(|aggregate| CallSpec { aggregate, field });
    Fragment {
        database: DATABASE,
        policy: POLICY,
        measurement: b"m"[..].into(),
        range: TimeRange::ALWAYS,
        fields: FIELDS.iter().map(|(name, as_type)| FieldRef { name: (*name).into(), as_type: *as_type }).collect(),
        tags: Vec::new(),
        ties: Vec::new(),
        filter: None,
        dimensions: vec![b"h"[..].into()],
        series_rows: None,
        groups: None,
        rows_descending: false,
        descending: false,
        series_max: 0,
        work: Work::Windows {
            window: Window::whole(TimeRange::ALWAYS),
            calls: (0..FIELDS.len()).flat_map(call).collect(),
            carried: Vec::new(),
        },
    }
}
