//! Result rows to JSON, CSV and MessagePack: pieces in, bytes out, one piece at a time.
//!
//! Owns:  the bytes not yet sent. Asks for rows, never for storage.
//! In:    [`ResultPiece`]s in order, statement after statement.
//! Out:   [`Encoder::sendable`] bytes after each piece; the caller sends them when it likes and says so.
//!
//! Not chunked, the pieces are one document: pieces of one statement become one result, consecutive pieces of one
//! series become one series, while streaming. Chunked, each piece is a document of its own.
//!
//! Two things can only be said before what they replace has left: that a statement failed after rows of it were
//! printed (the rows are taken back), and that JSON has no infinity (stock's error replaces the document). Once the
//! bytes are gone, the error follows the rows, and an infinity is `null`.

mod csv;
mod json;
mod msgpack;
pub mod number;

use crate::model::Bytes;
use crate::model::Message;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::model::Timestamp;
use crate::stdx::pace::Pace;

pub use json::string as json_string;

/// What an answer is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    #[default]
    Json,
    /// `text/csv`, `application/csv`.
    Csv,
    /// `application/x-msgpack`.
    MessagePack,
}

/// Unit of the time column when it is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Nanoseconds of one unit.
    unit_ns: i64,
}

impl Epoch {
    /// The unit that an `epoch` parameter asks for: empty is none, an unknown one is nanoseconds.
    pub fn from_parameter(text: &str) -> Option<Epoch> {
        let unit_ns = match text {
            "" => return None,
            "u" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => 1,
        };
        Some(Epoch { unit_ns })
    }

    /// Whole units, cut toward zero.
    fn units(self, ns: Timestamp) -> i64 {
        ns / self.unit_ns
    }
}

/// How one response is laid out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// The format.
    pub format: Format,
    /// JSON indented by four spaces.
    pub pretty: bool,
    /// Times as numbers.
    pub epoch: Option<Epoch>,
    /// One document for each piece.
    pub chunked: bool,
    /// Most rows of a response that is not chunked; 0: no limit.
    pub row_limit: usize,
}

/// One response while it is written.
#[derive(Debug)]
pub struct Encoder {
    layout: Layout,
    writer: Writer,
    out: Vec<u8>,
    /// Bytes of `out` from here on belong to a document that may still change as a whole.
    document_at: usize,
    /// Nothing of the open document, or of the open result, has been sent.
    document_whole: bool,
    result_whole: bool,
    in_document: bool,
    result: Option<OpenResult>,
    series: Option<OpenSeries>,
    rows: usize,
    full: bool,
    pace: Pace,
}

#[derive(Debug)]
struct OpenResult {
    statement_id: i32,
    messages: Vec<Message>,
    failed: bool,
    pieces: usize,
    /// More would follow, had the limit on rows not been reached.
    partial: bool,
}

/// What the next piece's first series is compared with.
#[derive(Debug)]
struct OpenSeries {
    name: Option<Bytes>,
    tags: Vec<(Bytes, Bytes)>,
    continues: bool,
    cut: bool,
}

#[derive(Debug)]
enum Writer {
    Json(json::Json),
    Csv(csv::Csv),
    MessagePack(msgpack::MessagePack),
}

impl Encoder {
    /// An encoder without any bytes yet.
    pub fn new(layout: Layout) -> Encoder {
        let writer = match layout.format {
            Format::Json => Writer::Json(json::Json::new(layout.pretty, layout.epoch)),
            Format::Csv => Writer::Csv(csv::Csv::new(layout.epoch)),
            Format::MessagePack => Writer::MessagePack(msgpack::MessagePack::new(layout.epoch)),
        };
        Encoder {
            layout,
            writer,
            out: Vec::new(),
            document_at: 0,
            document_whole: true,
            result_whole: true,
            in_document: false,
            result: None,
            series: None,
            rows: 0,
            full: false,
            pace: Pace::default(),
        }
    }

    /// Takes one piece, which may be ten thousand rows of a thousand cells: others get their turns in between.
    pub async fn push(&mut self, piece: &ResultPiece) {
        if self.layout.chunked {
            self.push_chunk(piece).await;
        } else if !self.full {
            self.begin_document();
            self.merge(piece).await;
        }
    }

    /// Ends the answer.
    pub fn finish(&mut self) {
        if self.layout.chunked || (self.full && !self.in_document) {
            return;
        }
        self.begin_document();
        self.end_result();
        self.end_document();
        self.full = true;
    }

    /// Nothing pushed from now on can appear in the answer: the query may be dropped.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that may be sent now.
    pub fn sendable(&self) -> &[u8] {
        let open = self.layout.format == Format::MessagePack && self.in_document;
        &self.out[..if open { self.document_at } else { self.out.len() }]
    }

    /// Bytes held, sendable or not.
    pub fn held_bytes(&self) -> usize {
        self.out.len()
    }

    /// The sendable bytes have been sent.
    pub fn sent(&mut self) {
        let count = self.sendable().len();
        self.out.drain(..count);
        self.document_at -= self.document_at.min(count);
        if self.in_document && count > 0 && self.layout.format != Format::MessagePack {
            self.document_whole = false;
            self.result_whole = false;
        }
    }

    /// Gives up on an answer of which nothing was sent: `text` is the answer.
    pub fn fail(&mut self, text: &str) {
        self.out.truncate(self.document_at);
        error_document(self.layout.format, self.layout.pretty, text.as_bytes(), &mut self.out);
        self.in_document = false;
        self.result = None;
        self.series = None;
        self.full = true;
    }

    async fn push_chunk(&mut self, piece: &ResultPiece) {
        self.begin_document();
        self.begin_result(piece.statement_id);
        let mut infinite = None;
        for series in &piece.series {
            self.begin_series(series);
            for row in &series.rows {
                infinite = infinite.or(self.row(row).err());
                self.pace.step(row.len()).await;
            }
            self.end_series(series.partial);
        }
        if let Some(value) = infinite {
            self.replace_document(value);
            self.in_document = false;
            self.result = None;
            return;
        }
        if let Some(result) = &mut self.result {
            result.messages.extend_from_slice(&piece.messages);
        }
        match &piece.error {
            Some(text) => self.fail_result(text),
            None => self.close_result(piece.partial),
        }
        self.result = None;
        self.end_document();
    }

    /// Joins a piece to the document.
    async fn merge(&mut self, piece: &ResultPiece) {
        if self.result.as_ref().is_none_or(|result| result.statement_id != piece.statement_id) {
            self.end_result();
            self.begin_result(piece.statement_id);
        }
        if let Some(result) = &mut self.result {
            result.pieces += 1;
        }
        for (index, series) in piece.series.iter().enumerate() {
            if !self.merge_series(series, index == 0).await {
                // Stock unmarks only a result that one piece has filled.
                if let Some(result) = &mut self.result {
                    result.partial = piece.partial && result.pieces > 1;
                }
                return;
            }
        }
        if let Some(result) = &mut self.result {
            result.messages.extend_from_slice(&piece.messages);
        }
        if let Some(text) = &piece.error {
            self.end_open_series();
            self.fail_result(text);
        }
    }

    /// Joins one row set; false when the answer has become full.
    async fn merge_series(&mut self, series: &RowSet, first: bool) -> bool {
        let same = first && self.series.as_ref().is_some_and(|open| open.is_continued_by(series));
        if !same {
            self.end_open_series();
            self.begin_series(series);
        }
        let room = if self.layout.row_limit == 0 { usize::MAX } else { self.layout.row_limit - self.rows };
        let taken = &series.rows[..series.rows.len().min(room)];
        self.rows += taken.len();
        for row in taken {
            self.pace.step(row.len()).await;
            if let Err(value) = self.row(row)
                && self.document_whole
            {
                self.replace_document(value);
                self.in_document = false;
                self.result = None;
                self.series = None;
                self.full = true;
                return false;
            }
        }
        self.full = taken.len() == room;
        self.series = Some(OpenSeries {
            name: series.name.clone(),
            tags: series.tags.clone(),
            continues: series.partial,
            cut: self.full && (taken.len() < series.rows.len() || series.partial),
        });
        !self.full
    }

    fn begin_document(&mut self) {
        if self.in_document {
            return;
        }
        self.in_document = true;
        self.document_at = self.out.len();
        self.document_whole = true;
        match &mut self.writer {
            Writer::Json(json) => json.begin_document(&mut self.out),
            Writer::Csv(_) => {}
            Writer::MessagePack(pack) => pack.begin_document(&mut self.out),
        }
    }

    fn end_document(&mut self) {
        match &mut self.writer {
            Writer::Json(json) => json.end_document(&mut self.out),
            Writer::Csv(_) => {}
            Writer::MessagePack(pack) => pack.end_document(&mut self.out),
        }
        self.in_document = false;
        self.document_at = self.out.len();
    }

    fn begin_result(&mut self, statement_id: i32) {
        self.result = Some(OpenResult { statement_id, messages: Vec::new(), failed: false, pieces: 0, partial: false });
        match &mut self.writer {
            Writer::Json(json) => json.begin_result(statement_id, &mut self.out),
            Writer::Csv(csv) => csv.begin_result(statement_id, &self.out),
            Writer::MessagePack(pack) => pack.begin_result(statement_id, &mut self.out),
        }
        self.result_whole = true;
    }

    fn end_result(&mut self) {
        self.end_open_series();
        if let Some(partial) = self.result.as_ref().filter(|result| !result.failed).map(|result| result.partial) {
            self.close_result(partial);
        }
        self.result = None;
    }

    fn close_result(&mut self, partial: bool) {
        let messages = self.result.as_ref().map_or(&[][..], |result| &result.messages);
        match &mut self.writer {
            Writer::Json(json) => json.end_result(messages, partial, &mut self.out),
            Writer::Csv(_) => {}
            Writer::MessagePack(pack) => pack.end_result(messages, partial, &mut self.out),
        }
    }

    fn fail_result(&mut self, text: &str) {
        let Some(result) = self.result.as_mut().filter(|result| !result.failed) else { return };
        result.failed = true;
        match &mut self.writer {
            Writer::Json(json) => json.fail_result(text, self.result_whole, &mut self.out),
            Writer::Csv(csv) => csv.fail_result(self.result_whole, &mut self.out),
            Writer::MessagePack(pack) => pack.fail_result(text, &mut self.out),
        }
    }

    fn begin_series(&mut self, series: &RowSet) {
        match &mut self.writer {
            Writer::Json(json) => json.begin_series(series, &mut self.out),
            Writer::Csv(csv) => csv.begin_series(series, &mut self.out),
            Writer::MessagePack(pack) => pack.begin_series(series, &mut self.out),
        }
    }

    fn end_open_series(&mut self) {
        if let Some(series) = self.series.take() {
            self.end_series(series.cut);
        }
    }

    fn end_series(&mut self, partial: bool) {
        match &mut self.writer {
            Writer::Json(json) => json.end_series(partial, &mut self.out),
            Writer::Csv(_) => {}
            Writer::MessagePack(pack) => pack.end_series(partial, &mut self.out),
        }
    }

    fn row(&mut self, row: &[crate::model::Cell]) -> Result<(), f64> {
        match &mut self.writer {
            Writer::Json(json) => return json.row(row, &mut self.out),
            Writer::Csv(csv) => csv.row(row, &mut self.out),
            Writer::MessagePack(pack) => pack.row(row, &mut self.out),
        }
        Ok(())
    }

    /// The open document becomes stock's error about an infinity.
    fn replace_document(&mut self, value: f64) {
        self.out.truncate(self.document_at);
        let text = format!("json: unsupported value: {}Inf", if value > 0.0 { '+' } else { '-' });
        error_document(self.layout.format, self.layout.pretty, text.as_bytes(), &mut self.out);
        self.document_at = self.out.len();
    }
}

impl OpenSeries {
    fn is_continued_by(&self, next: &RowSet) -> bool {
        self.continues && self.name == next.name && self.tags == next.tags
    }
}

/// Appends the whole body of an error answer.
pub fn error_document(format: Format, pretty: bool, text: &[u8], out: &mut Vec<u8>) {
    match format {
        Format::Json => json::error_document(text, pretty, out),
        Format::Csv => csv::error_document(text, out),
        Format::MessagePack => msgpack::error_document(text, out),
    }
}

#[cfg(test)]
mod tests;
