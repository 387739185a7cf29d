//! JSON answers, event by event, in the layout of Go's `encoding/json`.
//!
//! The nesting of an answer is fixed, so indentation depths are constants:
//!
//! ```text
//! {"results":[ {"statement_id":0,"series":[ {"name":..,"tags":{..},"columns":[..],"values":[ [..] ]} ]} ]}
//! 0 1          2 3               3          4 5                                              6 7
//! ```

use super::Epoch;
use super::number;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::Message;
use crate::model::RowSet;

/// State of one JSON document.
#[derive(Debug)]
pub(super) struct Json {
    pretty: bool,
    epoch: Option<Epoch>,
    results: usize,
    series: usize,
    rows: usize,
    /// Where the open result stands in the output, just behind its statement_id.
    result_at: usize,
}

impl Json {
    pub(super) fn new(pretty: bool, epoch: Option<Epoch>) -> Json {
        Json { pretty, epoch, results: 0, series: 0, rows: 0, result_at: 0 }
    }

    pub(super) fn begin_document(&mut self, out: &mut Vec<u8>) {
        self.results = 0;
        out.push(b'{');
    }

    pub(super) fn end_document(&mut self, out: &mut Vec<u8>) {
        if self.results > 0 {
            self.line(1, out);
            out.push(b']');
            self.line(0, out);
        }
        out.extend_from_slice(b"}\n");
    }

    pub(super) fn begin_result(&mut self, statement_id: i32, out: &mut Vec<u8>) {
        if self.results == 0 {
            self.key(1, b"results", out);
            out.push(b'[');
        } else {
            out.push(b',');
        }
        self.results += 1;
        self.series = 0;
        self.line(2, out);
        out.push(b'{');
        self.key(3, b"statement_id", out);
        number::integer(i64::from(statement_id), out);
        self.result_at = out.len();
    }

    pub(super) fn end_result(&mut self, messages: &[Message], partial: bool, out: &mut Vec<u8>) {
        self.end_series_list(out);
        if !messages.is_empty() {
            out.push(b',');
            self.key(3, b"messages", out);
            self.messages(messages, out);
        }
        if partial {
            out.push(b',');
            self.key(3, b"partial", out);
            out.extend_from_slice(b"true");
        }
        self.line(2, out);
        out.push(b'}');
    }

    /// Ends the result with an error. With `rewind` the series printed so far are taken back.
    pub(super) fn fail_result(&mut self, text: &str, rewind: bool, out: &mut Vec<u8>) {
        if rewind {
            out.truncate(self.result_at);
            self.series = 0;
        }
        self.end_series_list(out);
        out.push(b',');
        self.key(3, b"error", out);
        string(text.as_bytes(), out);
        self.line(2, out);
        out.push(b'}');
    }

    fn end_series_list(&self, out: &mut Vec<u8>) {
        if self.series > 0 {
            self.line(3, out);
            out.push(b']');
        }
    }

    pub(super) fn begin_series(&mut self, series: &RowSet, out: &mut Vec<u8>) {
        out.push(b',');
        if self.series == 0 {
            self.key(3, b"series", out);
            out.push(b'[');
        }
        self.series += 1;
        self.rows = 0;
        self.line(4, out);
        out.push(b'{');
        self.series_head(series, out);
    }

    fn series_head(&mut self, series: &RowSet, out: &mut Vec<u8>) {
        let start = out.len();
        let comma = |out: &mut Vec<u8>| {
            if out.len() > start {
                out.push(b',');
            }
        };
        if let Some(name) = series.name.as_ref().filter(|name| !name.is_empty()) {
            self.key(5, b"name", out);
            string(name, out);
        }
        if !series.tags.is_empty() {
            comma(out);
            self.key(5, b"tags", out);
            self.tags(&series.tags, out);
        }
        if !series.columns.is_empty() {
            comma(out);
            self.key(5, b"columns", out);
            self.strings(6, &series.columns, out);
        }
    }

    pub(super) fn end_series(&mut self, partial: bool, out: &mut Vec<u8>) {
        if self.rows > 0 {
            self.line(5, out);
            out.push(b']');
        }
        if partial {
            self.comma_unless_open(out);
            self.key(5, b"partial", out);
            out.extend_from_slice(b"true");
        }
        self.line(4, out);
        out.push(b'}');
    }

    /// A series may have no name, tags or columns; then its next key is its first.
    fn comma_unless_open(&self, out: &mut Vec<u8>) {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
    }

    /// Appends a row; `Err` with the first infinite cell, which JSON cannot say (`null` stands for it).
    pub(super) fn row(&mut self, row: &[Cell], out: &mut Vec<u8>) -> Result<(), f64> {
        if self.rows == 0 {
            self.comma_unless_open(out);
            self.key(5, b"values", out);
            out.push(b'[');
        } else {
            out.push(b',');
        }
        self.rows += 1;
        self.line(6, out);
        out.push(b'[');
        let mut infinite = None;
        for (index, cell) in row.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.line(7, out);
            let epoch = if index == 0 { self.epoch } else { None };
            if let Err(value) = self.cell(cell, epoch, out) {
                infinite.get_or_insert(value);
            }
        }
        if !row.is_empty() {
            self.line(6, out);
        }
        out.push(b']');
        infinite.map_or(Ok(()), Err)
    }

    fn cell(&self, cell: &Cell, epoch: Option<Epoch>, out: &mut Vec<u8>) -> Result<(), f64> {
        match cell {
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Time { ns, utc_offset_s } => match epoch {
                Some(epoch) => number::integer(epoch.units(*ns), out),
                None => {
                    out.push(b'"');
                    number::rfc3339(*ns, *utc_offset_s, out);
                    out.push(b'"');
                }
            },
            Cell::Float(value) if value.is_finite() => number::json_float(*value, out),
            Cell::Float(value) => {
                out.extend_from_slice(b"null");
                if value.is_infinite() {
                    return Err(*value);
                }
            }
            Cell::Integer(value) => number::integer(*value, out),
            Cell::Unsigned(value) => number::unsigned(*value, out),
            Cell::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Cell::String(value) => string(value, out),
            Cell::List(values) => self.strings(8, values, out),
        }
        Ok(())
    }

    fn tags(&self, tags: &[(Bytes, Bytes)], out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (key, value)) in tags.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.line(6, out);
            string(key, out);
            self.colon(out);
            string(value, out);
        }
        self.line(5, out);
        out.push(b'}');
    }

    fn strings(&self, depth: usize, values: &[Bytes], out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.line(depth, out);
            string(value, out);
        }
        if !values.is_empty() {
            self.line(depth - 1, out);
        }
        out.push(b']');
    }

    fn messages(&self, messages: &[Message], out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, message) in messages.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.line(4, out);
            out.push(b'{');
            self.key(5, b"level", out);
            string(message.level.as_bytes(), out);
            out.push(b',');
            self.key(5, b"text", out);
            string(message.text.as_bytes(), out);
            self.line(4, out);
            out.push(b'}');
        }
        self.line(3, out);
        out.push(b']');
    }

    fn key(&self, depth: usize, key: &[u8], out: &mut Vec<u8>) {
        self.line(depth, out);
        out.push(b'"');
        out.extend_from_slice(key);
        out.push(b'"');
        self.colon(out);
    }

    fn colon(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.pretty { b": " } else { b":" });
    }

    /// A new line indented to `depth`, when pretty.
    fn line(&self, depth: usize, out: &mut Vec<u8>) {
        if self.pretty {
            out.push(b'\n');
            out.resize(out.len() + 4 * depth, b' ');
        }
    }
}

/// Appends `{"error":text}` and a line end.
pub(super) fn error_document(text: &[u8], pretty: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if pretty { b"{\n    \"error\": " } else { b"{\"error\":" });
    string(text, out);
    out.extend_from_slice(if pretty { b"\n}\n" } else { b"}\n" });
}

/// Appends a JSON string: HTML characters and the two Unicode line ends escaped, bytes that are no UTF-8 as `\ufffd`.
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        escaped(chunk.valid().as_bytes(), out);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0..0x20 => {
                out.extend_from_slice(&text[copied..at]);
                copied = at + 1;
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[b"01"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]]);
                continue;
            }
            0xe2 => match text.get(at + 1..at + 3) {
                Some([0x80, last @ (0xa8 | 0xa9)]) => {
                    out.extend_from_slice(&text[copied..at]);
                    copied = at + 3;
                    out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    continue;
                }
                _ => continue,
            },
            _ => continue,
        };
        out.extend_from_slice(&text[copied..at]);
        copied = at + 1;
        out.extend_from_slice(escape);
    }
    out.extend_from_slice(&text[copied..]);
}
