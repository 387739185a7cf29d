//! EXPLAIN and EXPLAIN ANALYZE: what a SELECT reads, as lines of text.

use std::time::Duration;

use crate::influxql::ast::Select;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::query::select::plan::Demand;
use crate::query::select::plan::DemandWork;
use crate::query::select::plan::Plan;

/// Lines of EXPLAIN: a block for each stream that is read.
pub fn plan_lines(plan: &Plan, series_count: u64, group_count: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for demand in plan.demands.iter().filter(|_| series_count > 0) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let (expression, auxiliary) = describe(demand, plan.is_raw);
        lines.push(format!("EXPRESSION: {expression}"));
        if !auxiliary.is_empty() {
            lines.push(format!("AUXILIARY FIELDS: {}", auxiliary.join(", ")));
        }
        lines.push(format!("NUMBER OF SHARDS: {group_count}"));
        lines.push(format!("NUMBER OF SERIES: {series_count}"));
        // Blocks are not looked at before they are read.
        lines.extend(
            ["CACHED VALUES", "NUMBER OF FILES", "NUMBER OF BLOCKS", "SIZE OF BLOCKS"].map(|of| format!("{of}: 0")),
        );
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

fn describe(demand: &Demand, is_raw: bool) -> (String, Vec<String>) {
    let fields =
        demand.fields.iter().map(|field| format!("{}::{}", String::from_utf8_lossy(&field.name), field.as_type));
    let fields: Vec<String> = fields.collect();
    let tags = demand.tags.iter().map(|tag| format!("{}::tag", String::from_utf8_lossy(tag)));
    match &demand.work {
        DemandWork::Rows { .. } if is_raw => ("<nil>".into(), fields.into_iter().chain(tags).collect()),
        // A function over all rows of its field.
        DemandWork::Rows { .. } => {
            let mut fields = fields.into_iter();
            (fields.next().unwrap_or_default(), fields.chain(tags).collect())
        }
        DemandWork::Windows { calls, carried, .. } => {
            let call = |call: &crate::exec::CallSpec| {
                let name = format!("{:?}", call.aggregate).to_lowercase();
                format!("{name}({})", fields.get(call.field).map_or("", String::as_str))
            };
            let expression = calls.iter().map(call).collect::<Vec<_>>().join(", ");
            let carried = carried.iter().filter_map(|field| fields.get(*field).cloned());
            (expression, carried.chain(tags).collect())
        }
    }
}

/// Lines of EXPLAIN ANALYZE for a SELECT that was run.
pub fn analyze_lines(select: &Select, planning: Duration, execution: Duration, row_count: u64) -> Vec<String> {
    vec![
        ".".into(),
        "└── select".into(),
        format!("    ├── execution_time: {execution:?}"),
        format!("    ├── planning_time: {planning:?}"),
        format!("    ├── total_time: {:?}", planning + execution),
        "    └── build_cursor".into(),
        "        ├── labels".into(),
        format!("        │   └── statement: {select}"),
        format!("        └── rows: {row_count}"),
        String::new(),
    ]
}

/// The answer of one text column.
pub fn answer(column: &str, lines: Vec<String>) -> ResultPiece {
    let row = |line: String| vec![Cell::String(line.into_bytes().into_boxed_slice())];
    let set = RowSet {
        columns: vec![Bytes::from(column.as_bytes())],
        rows: lines.into_iter().map(row).collect(),
        ..RowSet::default()
    };
    ResultPiece { series: vec![set], ..ResultPiece::default() }
}
