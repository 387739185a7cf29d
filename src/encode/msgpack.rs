//! MessagePack answers. Counts stand before what they count, each in its shortest form, so an open document stays in
//! memory until it ends.

use super::Epoch;
use crate::model::Cell;
use crate::model::Message;
use crate::model::RowSet;

/// Places of the open counts in the output.
#[derive(Debug, Default)]
pub(super) struct MessagePack {
    epoch: Option<Epoch>,
    results: Count,
    result_at: usize,
    series: Count,
    series_at: usize,
    series_keys: u8,
    rows: Count,
}

/// The length of an open array, and where its header stands.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    at: usize,
    value: usize,
}

impl Count {
    /// Leaves a byte for the header, which is enough for few items.
    fn open(out: &mut Vec<u8>) -> Count {
        out.push(0x90);
        Count { at: out.len() - 1, value: 0 }
    }

    /// A longer header moves what follows; all counts that are still open stand before it.
    fn close(self, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(5);
        array(self.value, &mut header);
        out.splice(self.at..=self.at, header);
    }
}

impl MessagePack {
    pub(super) fn new(epoch: Option<Epoch>) -> MessagePack {
        MessagePack { epoch, ..MessagePack::default() }
    }

    pub(super) fn begin_document(&mut self, out: &mut Vec<u8>) {
        out.push(0x81);
        string(b"results", out);
        self.results = Count::open(out);
    }

    pub(super) fn end_document(&mut self, out: &mut Vec<u8>) {
        self.results.close(out);
    }

    pub(super) fn begin_result(&mut self, statement_id: i32, out: &mut Vec<u8>) {
        self.results.value += 1;
        self.result_at = out.len();
        out.push(0x80);
        string(b"statement_id", out);
        integer(i64::from(statement_id), out);
        string(b"series", out);
        self.series = Count::open(out);
    }

    pub(super) fn end_result(&mut self, messages: &[Message], partial: bool, out: &mut Vec<u8>) {
        self.series.close(out);
        out[self.result_at] = 0x82 + u8::from(!messages.is_empty()) + u8::from(partial);
        if !messages.is_empty() {
            string(b"messages", out);
            array(messages.len(), out);
            for message in messages {
                out.push(0x82);
                string(b"level", out);
                string(message.level.as_bytes(), out);
                string(b"text", out);
                string(message.text.as_bytes(), out);
            }
        }
        if partial {
            string(b"partial", out);
            out.push(0xc3);
        }
    }

    /// A failed result is nothing but its error.
    pub(super) fn fail_result(&mut self, text: &str, out: &mut Vec<u8>) {
        out.truncate(self.result_at);
        error_document(text.as_bytes(), out);
    }

    pub(super) fn begin_series(&mut self, series: &RowSet, out: &mut Vec<u8>) {
        self.series.value += 1;
        self.series_at = out.len();
        self.series_keys = 2;
        out.push(0x80);
        if let Some(name) = series.name.as_ref().filter(|name| !name.is_empty()) {
            self.series_keys += 1;
            string(b"name", out);
            string(name, out);
        }
        if !series.tags.is_empty() {
            self.series_keys += 1;
            string(b"tags", out);
            map(series.tags.len(), out);
            for (key, value) in &series.tags {
                string(key, out);
                string(value, out);
            }
        }
        string(b"columns", out);
        array(series.columns.len(), out);
        for column in &series.columns {
            string(column, out);
        }
        string(b"values", out);
        self.rows = Count::open(out);
    }

    pub(super) fn end_series(&mut self, partial: bool, out: &mut Vec<u8>) {
        self.rows.close(out);
        out[self.series_at] = 0x80 + self.series_keys + u8::from(partial);
        if partial {
            string(b"partial", out);
            out.push(0xc3);
        }
    }

    pub(super) fn row(&mut self, row: &[Cell], out: &mut Vec<u8>) {
        self.rows.value += 1;
        array(row.len(), out);
        for (index, cell) in row.iter().enumerate() {
            let epoch = if index == 0 { self.epoch } else { None };
            push_cell(cell, epoch, out);
        }
    }
}

fn push_cell(cell: &Cell, epoch: Option<Epoch>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.push(0xc0),
        Cell::Time { ns, .. } => match epoch {
            Some(epoch) => integer(epoch.units(*ns), out),
            None => time(*ns, out),
        },
        Cell::Float(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Cell::Integer(value) => integer(*value, out),
        Cell::Unsigned(value) => unsigned(*value, out),
        Cell::Boolean(value) => out.push(0xc2 + u8::from(*value)),
        Cell::String(value) => string(value, out),
        Cell::List(values) => {
            array(values.len(), out);
            for value in values {
                string(value, out);
            }
        }
    }
}

/// A map of one key, `error`.
pub(super) fn error_document(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    string(b"error", out);
    string(text, out);
}

/// Extension type 5, twelve bytes: seconds and nanoseconds. Not the standard's timestamp; clients know this one.
fn time(ns: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc7, 12, 5]);
    out.extend_from_slice(&ns.div_euclid(1_000_000_000).to_be_bytes());
    out.extend_from_slice(&(ns.rem_euclid(1_000_000_000) as i32).to_be_bytes());
}

/// The smallest signed form, also for positive numbers.
fn integer(value: i64, out: &mut Vec<u8>) {
    if (-32..128).contains(&value) {
        out.push(value as u8);
    } else if (-128..0).contains(&value) {
        out.extend_from_slice(&[0xd0, value as u8]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn unsigned(value: u64, out: &mut Vec<u8>) {
    if value < 128 {
        out.push(value as u8);
    } else if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[0xcc, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xcd);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xce);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 256..65_536 => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn array(length: usize, out: &mut Vec<u8>) {
    collection(length, [0x90, 0xdc, 0xdd], out);
}

fn map(length: usize, out: &mut Vec<u8>) {
    collection(length, [0x80, 0xde, 0xdf], out);
}

fn collection(length: usize, [short, medium, long]: [u8; 3], out: &mut Vec<u8>) {
    match length {
        0..16 => out.push(short | length as u8),
        16..65_536 => {
            out.push(medium);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(long);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}
