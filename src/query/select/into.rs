//! SELECT INTO: result rows become points again, handed to the write path as line protocol in batches.

use std::rc::Rc;

use crate::influxql::ast::Measurement;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::query::fabric::Fabric;
use crate::query::select::run::SelectRun;
use crate::query::select::stream::GroupKey;
use crate::query::select::stream::Row;

/// Points of one batch, as in stock.
const BATCH_POINTS: u64 = 10_000;

/// Bytes of one batch at most, about.
const BATCH_BYTES: usize = 4 << 20;

/// Runs `run` to its end and writes its rows to `target`; how many points that were.
///
/// Batches before a failed one stay written. Whether there is such a policy is seen with the first of them.
pub async fn write<F: Fabric>(fabric: &F, run: &mut SelectRun<F>, target: &Measurement) -> Result<u64, String> {
    let keys: Vec<Bytes> = run.dimensions().to_vec();
    let columns = run.columns();
    let mut lines = Vec::new();
    let (mut written, mut batched) = (0, 0);
    while let Some((group, rows)) = run.next_rows(1000).await? {
        if run.time_column() != "time" {
            return Err("error finding time index in result".into());
        }
        let tags: Vec<(Bytes, Bytes)> = keys.iter().cloned().zip(group.tags.iter().cloned()).collect();
        for row in rows {
            batched += u64::from(point(&mut lines, target, &group, &tags, &columns, run.hidden_tags(), &row));
            if batched >= BATCH_POINTS || lines.len() >= BATCH_BYTES {
                flush(fabric, target, &mut lines).await?;
                written += batched;
                batched = 0;
            }
        }
    }
    flush(fabric, target, &mut lines).await?;
    Ok(written + batched)
}

/// The answer of the statement.
pub fn answer(written: u64) -> ResultPiece {
    let count = Cell::Integer(i64::try_from(written).unwrap_or(i64::MAX));
    let set = RowSet {
        name: Some(Bytes::from(b"result".as_slice())),
        columns: vec![Bytes::from(b"time".as_slice()), Bytes::from(b"written".as_slice())],
        rows: vec![vec![Cell::Time { ns: 0, utc_offset_s: 0 }, count]],
        ..RowSet::default()
    };
    ResultPiece { series: vec![set], ..ResultPiece::default() }
}

async fn flush<F: Fabric>(fabric: &F, target: &Measurement, lines: &mut Vec<u8>) -> Result<(), String> {
    if lines.is_empty() {
        return Ok(());
    }
    crate::query::place(&fabric.catalog(), &target.database, &target.policy)?;
    let written = fabric.write(&target.database, &target.policy, std::mem::take(lines)).await;
    written.map_err(|error| error.to_string())
}

/// Appends one row as a line; a row without any value is none.
fn point(
    lines: &mut Vec<u8>,
    target: &Measurement,
    group: &Rc<GroupKey>,
    tags: &[(Bytes, Bytes)],
    columns: &[Bytes],
    hidden: &[Bytes],
    row: &Row,
) -> bool {
    let start = lines.len();
    let name = if target.name.is_empty() { &group.name } else { target.name.as_bytes() };
    escape(lines, name, b", ");
    let hidden = hidden.iter().zip(row.cells.get(columns.len()..).unwrap_or_default());
    let hidden = hidden.filter_map(|(key, cell)| match cell {
        Cell::String(text) => Some((key, text)),
        _ => None,
    });
    let grouped = tags.iter().map(|(key, value)| (key, value));
    for (key, value) in grouped.chain(hidden).filter(|(_, value)| !value.is_empty()) {
        lines.push(b',');
        escape(lines, key, b",= ");
        lines.push(b'=');
        escape(lines, value, b",= ");
    }
    let mut separator = b' ';
    for (name, cell) in columns.iter().zip(&row.cells) {
        let value = match cell {
            Cell::Float(value) if value.is_finite() => format!("{value:?}").into_bytes(),
            Cell::Integer(value) => format!("{value}i").into_bytes(),
            Cell::Unsigned(value) => format!("{value}u").into_bytes(),
            Cell::Boolean(value) => format!("{value}").into_bytes(),
            Cell::String(text) => quoted(text),
            Cell::Float(_) | Cell::Null | Cell::Time { .. } | Cell::List(_) => continue,
        };
        lines.push(separator);
        escape(lines, name, b",= ");
        lines.push(b'=');
        lines.extend(value);
        separator = b',';
    }
    if separator == b' ' {
        lines.truncate(start);
        return false;
    }
    lines.extend_from_slice(format!(" {}\n", row.time).as_bytes());
    true
}

fn escape(lines: &mut Vec<u8>, text: &[u8], special: &[u8]) {
    for byte in text {
        if special.contains(byte) {
            lines.push(b'\\');
        }
        lines.push(*byte);
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_a_line_without_its_empty_parts() {
        let group = Rc::new(GroupKey { name: b"cpu load".as_slice().into(), tags: Vec::new() });
        let tag = |key: &[u8], value: &[u8]| (Bytes::from(key), Bytes::from(value));
        let tags = [tag(b"h", b"a b"), tag(b"r", b"")];
        let columns: Vec<Bytes> = [b"f".as_slice(), b"i", b"s", b"n"].map(Bytes::from).to_vec();
        let cells = vec![Cell::Float(0.5), Cell::Integer(3), Cell::String(b"x\"y".as_slice().into()), Cell::Null];
        let row = Row { time: 7, cells };
        let mut lines = Vec::new();
        assert!(point(&mut lines, &Measurement::default(), &group, &tags, &columns, &[], &row));
        assert_eq!(String::from_utf8(lines).unwrap(), "cpu\\ load,h=a\\ b f=0.5,i=3i,s=\"x\\\"y\" 7\n");
        let mut lines = Vec::new();
        let empty = Row { time: 7, cells: vec![Cell::Null; 4] };
        assert!(!point(&mut lines, &Measurement::default(), &group, &tags, &columns, &[], &empty));
        assert!(lines.is_empty());
    }
}
