//! The settings as rows of SHOW DIAGNOSTICS.

use crate::config::Config;
use crate::config::diagnostics::Section;
use crate::config::duration;
use crate::config::value::Value;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::RowSet;

/// One series for each section.
pub fn sections(config: &Config) -> Vec<RowSet> {
    config.diagnostics.iter().map(row_set).collect()
}

fn row_set(section: &Section) -> RowSet {
    RowSet {
        name: Some(bytes(section.name)),
        columns: section.columns.iter().map(|column| bytes(column)).collect(),
        rows: section.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        ..RowSet::default()
    }
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Bool(value) => Cell::Boolean(*value),
        Value::Count(count) => Cell::Integer(i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::Duration(nanoseconds) => Cell::String(bytes(&duration::format(*nanoseconds))),
        Value::Text(text) => Cell::String(bytes(text)),
        Value::Mode(mode) => Cell::Integer(i64::from(*mode)),
        Value::Texts(texts) => Cell::String(bytes(&texts.join(","))),
        Value::Pairs(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(key, text)| format!("{key}={text}")).collect();
            Cell::String(bytes(&pairs.join(",")))
        }
    }
}

fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}
