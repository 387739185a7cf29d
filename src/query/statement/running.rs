//! SHOW QUERIES and KILL QUERY.

use crate::model::Cell;
use crate::model::Kill;
use crate::model::RowSet;
use crate::model::RunningQuery;
use crate::query::fabric::Fabric;

use super::bytes;
use super::list::go_duration;
use super::row_set;

/// SHOW QUERIES: what runs on any core, oldest first.
pub(super) async fn list<F: Fabric>(fabric: &F) -> Result<Vec<RowSet>, String> {
    let mut running = fabric.running().await.map_err(|error| error.to_string())?;
    running.sort_by_key(|query| query.id);
    let mut set = row_set(None, &["qid", "query", "database", "duration", "status"]);
    set.rows = running.iter().map(row).collect();
    Ok(vec![set])
}

/// KILL QUERY.
pub(super) async fn kill<F: Fabric>(fabric: &F, id: u64) -> Result<(), String> {
    match fabric.kill(id).await.map_err(|error| error.to_string())? {
        Kill::Killed => Ok(()),
        Kill::AlreadyKilled => Err("already killed".to_owned()),
        Kill::Unknown => Err(format!("no such query id: {id}")),
    }
}

fn row(query: &RunningQuery) -> Vec<Cell> {
    let text = |text: &str| Cell::String(bytes(text));
    vec![
        // Every id fits: they count up from 1.
        Cell::Integer(i64::try_from(query.id).unwrap_or(i64::MAX)),
        text(&query.text),
        text(&query.database),
        text(&rough_duration(query.duration_ns)),
        text(if query.is_killed { "killed" } else { "running" }),
    ]
}

/// A duration cut to its largest unit below minutes, as stock prints it: `63µs`, `662ms`, `1m2s`.
fn rough_duration(ns: u64) -> String {
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        _ => go_duration(i64::try_from(ns / 1_000_000_000 * 1_000_000_000).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_cut_to_one_unit() {
        let cases = [
            (0, "0s"),
            (999, "999ns"),
            (63_999, "63µs"),
            (662_123_456, "662ms"),
            (1_999_999_999, "1s"),
            (62_000_000_001, "1m2s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (ns, text) in cases {
            assert_eq!(rough_duration(ns), text);
        }
    }
}
