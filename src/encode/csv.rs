//! CSV answers: `name,tags,<columns>`, a header for each statement that has series, errors and messages invisible.

use super::Epoch;
use super::number;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::RowSet;

/// State of one CSV answer; it lives as long as the response, also when that is chunked.
#[derive(Debug)]
pub(super) struct Csv {
    epoch: Option<Epoch>,
    /// A header was printed, for whichever statement; the next one follows an empty line.
    any_header: bool,
    /// Columns of the series before, in the same piece.
    columns: Option<Vec<Bytes>>,
    /// The statement whose header was printed last.
    statement: Option<i32>,
    open_statement: i32,
    /// Name and tags of the open series, as cells.
    prefix: Vec<u8>,
    result_at: usize,
    /// `any_header` when the open result began.
    before: (bool, Option<i32>),
}

impl Csv {
    pub(super) fn new(epoch: Option<Epoch>) -> Csv {
        Csv {
            epoch,
            any_header: false,
            columns: None,
            statement: None,
            open_statement: 0,
            prefix: Vec::new(),
            result_at: 0,
            before: (false, None),
        }
    }

    pub(super) fn begin_result(&mut self, statement_id: i32, out: &[u8]) {
        self.open_statement = statement_id;
        self.columns = None;
        self.result_at = out.len();
        self.before = (self.any_header, self.statement);
    }

    /// The error itself is invisible; what was printed of the result is taken back where it still can be.
    pub(super) fn fail_result(&mut self, rewind: bool, out: &mut Vec<u8>) {
        if rewind {
            out.truncate(self.result_at);
            (self.any_header, self.statement) = self.before;
        }
    }

    pub(super) fn begin_series(&mut self, series: &RowSet, out: &mut Vec<u8>) {
        let new_statement = self.statement != Some(self.open_statement);
        let new_columns = self.columns.as_ref().is_some_and(|columns| *columns != series.columns);
        if new_statement || new_columns {
            self.header(&series.columns, out);
        }
        self.columns = Some(series.columns.clone());
        self.prefix.clear();
        field(series.name.as_deref().unwrap_or_default(), &mut self.prefix);
        self.prefix.push(b',');
        field(&tag_text(&series.tags), &mut self.prefix);
    }

    fn header(&mut self, columns: &[Bytes], out: &mut Vec<u8>) {
        if self.any_header {
            out.push(b'\n');
        }
        self.any_header = true;
        self.statement = Some(self.open_statement);
        out.extend_from_slice(b"name,tags");
        for column in columns {
            out.push(b',');
            field(column, out);
        }
        out.push(b'\n');
    }

    pub(super) fn row(&self, row: &[Cell], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        for (index, cell) in row.iter().enumerate() {
            out.push(b',');
            let epoch = if index == 0 { self.epoch } else { None };
            self.cell(cell, epoch, out);
        }
        out.push(b'\n');
    }

    fn cell(&self, cell: &Cell, epoch: Option<Epoch>, out: &mut Vec<u8>) {
        match cell {
            Cell::Null => {}
            Cell::Time { ns, .. } => number::integer(epoch.map_or(*ns, |epoch| epoch.units(*ns)), out),
            Cell::Float(value) => number::plain_float(*value, out),
            Cell::Integer(value) => number::integer(*value, out),
            Cell::Unsigned(value) => number::unsigned(*value, out),
            Cell::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Cell::String(value) => field(value, out),
            Cell::List(values) => field(&values.join(&b","[..]), out),
        }
    }
}

/// Appends the two lines that stand for an error.
pub(super) fn error_document(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"error\n");
    field(text, out);
    out.push(b'\n');
}

/// `k=v,k=v` with `,`, space and `=` behind backslashes.
fn tag_text(tags: &[(Bytes, Bytes)]) -> Vec<u8> {
    let mut text = Vec::new();
    let escape = |part: &[u8], text: &mut Vec<u8>| {
        for &byte in part {
            if matches!(byte, b',' | b' ' | b'=') {
                text.push(b'\\');
            }
            text.push(byte);
        }
    };
    // A tag without value is none.
    for (key, value) in tags.iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push(b',');
        }
        escape(key, &mut text);
        text.push(b'=');
        escape(value, &mut text);
    }
    text
}

/// Appends one field, quoted where a reader needs it.
fn field(text: &[u8], out: &mut Vec<u8>) {
    if !needs_quotes(text) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn needs_quotes(text: &[u8]) -> bool {
    if text == br"\." {
        return true;
    }
    let first = text.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    first.is_some_and(char::is_whitespace) || text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
}
