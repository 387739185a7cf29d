//! The careful parser: what a line of text means, one byte at a time. It defines the truth for the fast tiers.
//!
//! A line is read four times, as stock does, because the readings disagree on odd input and clients see where:
//!
//! 1. [`line_end`] finds where it ends: a backslash hides the next byte; from the first space on a quote opens a string
//!    if more `=` than `,` were met outside strings.
//! 2. [`key::check`] finds the end of measurement and tags: only a backslash right before a byte escapes it.
//! 3. [`check_fields`] finds the end of the fields and checks each value: backslashes hide pairs again.
//! 4. [`FieldWalk`] cuts the fields into names and values: by the one byte before in names, by pairs in values.
//!
//! Where 3 and 4 disagree a checked text can hold a value that nobody checked (`a="x"\,b"=zzz"`). Stock panics or
//! answers 500 for the whole batch there; here such a line is `invalid field format`.

use crate::limits::KEY_BYTES_MAX;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::line::Field;
use crate::line::LineError;
use crate::line::Options;
use crate::line::Point;
use crate::line::Reason;
use crate::line::Sink;
use crate::line::escape;
use crate::line::key;
use crate::line::number;
use crate::line::number::IntegerError;
use crate::model::FieldValue;
use crate::model::Timestamp;

/// Bytes between key and field name in stock's storage key, which its length limit includes.
pub(super) const FIELD_SEPARATOR_BYTES: usize = 4;

/// The careful parser and its buffers.
#[derive(Debug, Default)]
pub struct Reference {
    drafts: Vec<Draft>,
    scratch: Vec<u8>,
    fields: Vec<Field<'static>>,
}

/// A field before it borrows: the scratch may still move.
#[derive(Debug)]
struct Draft {
    name: Piece,
    value: DraftValue,
}

#[derive(Debug)]
enum DraftValue {
    Fixed(FieldValue<'static>),
    String(Piece),
}

/// A part of the line, or of the scratch where escapes had to go.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    end: usize,
    in_scratch: bool,
}

impl Piece {
    fn of<'a>(self, line: &'a [u8], scratch: &'a [u8]) -> &'a [u8] {
        &(if self.in_scratch { scratch } else { line })[self.start..self.end]
    }
}

impl Reference {
    /// Parses whole lines of `window`, and what is left of it when it is the `last` of the body; returns the bytes
    /// consumed.
    pub fn parse(&mut self, options: &Options, window: &[u8], last: bool, sink: &mut impl Sink) -> usize {
        let mut start = 0;
        while start < window.len() {
            let Some(end) = line_end(window, start, last) else { return start };
            self.parse_block(options, &window[start..end], sink);
            start = end + 1;
        }
        // The last line may end without a line feed.
        start.min(window.len())
    }

    /// Parses what [`line_end`] cut out: a line, a comment or nothing.
    pub(super) fn parse_block(&mut self, options: &Options, block: &[u8], sink: &mut impl Sink) {
        let start = skip_blank(block, 0);
        if matches!(block.get(start), None | Some(b'#')) {
            return;
        }
        // Only a string without an end at the end of the body leaves one.
        let line = &block[start..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        self.parse_line(options, line, sink);
    }

    fn parse_line(&mut self, options: &Options, line: &[u8], sink: &mut impl Sink) {
        let (key_end, time) = match self.read(options, line) {
            Ok(read) => read,
            Err(reason) => return sink.error(&LineError { line, reason: &reason }),
        };
        let mut fields = recycle(std::mem::take(&mut self.fields));
        fields.extend(self.drafts.iter().map(|draft| Field {
            name: draft.name.of(line, &self.scratch),
            value: match draft.value {
                DraftValue::Fixed(value) => value,
                DraftValue::String(piece) => FieldValue::String(piece.of(line, &self.scratch)),
            },
        }));
        sink.point(&Point { line, raw_key: &line[..key_end], fields: &fields, time, slot: None, names: None });
        self.fields = recycle(fields);
    }

    /// Fills the drafts; returns where the key ends, and the time.
    fn read(&mut self, options: &Options, line: &[u8]) -> Result<(usize, Timestamp), Reason> {
        let key_end = key::check(line)?;
        if key_end > KEY_BYTES_MAX {
            return Err(Reason::KeyLength(key_end));
        }
        let fields_start = skip_blank(line, key_end);
        let fields_end = check_fields(line, fields_start)?;
        for field in FieldWalk::new(line, fields_start, fields_end) {
            let (name, _) = field?;
            let bytes = key_end + FIELD_SEPARATOR_BYTES + name.len();
            if bytes > KEY_BYTES_MAX {
                return Err(Reason::KeyLength(bytes));
            }
        }
        let time = read_time(options, line, fields_end)?;
        self.draft_fields(line, fields_start, fields_end)?;
        Ok((key_end, time))
    }

    fn draft_fields(&mut self, line: &[u8], start: usize, end: usize) -> Result<(), Reason> {
        self.drafts.clear();
        self.scratch.clear();
        for field in FieldWalk::new(line, start, end) {
            let (name, value) = field?;
            let name = if escape::is_escaped_name(&line[name.clone()]) {
                self.piece(|scratch| escape::unescape_name(&line[name], scratch))
            } else {
                Piece { start: name.start, end: name.end, in_scratch: false }
            };
            let value = self.draft_value(&line[value])?;
            self.drafts.push(Draft { name, value });
        }
        Ok(())
    }

    fn draft_value(&mut self, text: &[u8]) -> Result<DraftValue, Reason> {
        // Anything refused here was not seen by `check_fields`, see the module's doc.
        let fixed = match text {
            [b'"', content @ .., _] => {
                return Ok(DraftValue::String(self.piece(|scratch| escape::unescape_string(content, scratch))));
            }
            [digits @ .., b'i'] => number::integer(digits).ok().map(FieldValue::Integer),
            [b'0'..=b'9' | b'-' | b'.', ..] => number::float(text).map(FieldValue::Float),
            _ => boolean(text).map(FieldValue::Boolean),
        };
        fixed.map(DraftValue::Fixed).ok_or(Reason::FieldFormat)
    }

    fn piece(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Piece {
        let start = self.scratch.len();
        fill(&mut self.scratch);
        Piece { start, end: self.scratch.len(), in_scratch: true }
    }
}

/// The same empty vector for fields of another lifetime; keeps its memory (an in-place collect).
pub(super) fn recycle<'a, 'b>(mut fields: Vec<Field<'a>>) -> Vec<Field<'b>> {
    fields.clear();
    fields.into_iter().map(|_| unreachable!("the vector was just cleared")).collect()
}

/// Where the line that starts at `start` ends: at a line feed, or at the end of the `last` window. `None` when the end
/// is not in this window.
pub(super) fn line_end(window: &[u8], start: usize, last: bool) -> Option<usize> {
    let mut at = start;
    let (mut in_fields, mut quoted) = (false, false);
    let (mut equals, mut commas) = (0_usize, 0_usize);
    while at < window.len() {
        match window[at] {
            // The last but one byte of a body hides nothing; before the last window it is not known to be that.
            b'\\' if !last || at + 2 < window.len() => {
                at += 2;
                continue;
            }
            b'\n' if !quoted => return Some(at),
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    last.then_some(window.len())
}

/// The first position from `at` on that is no space, tab or NUL.
fn skip_blank(text: &[u8], at: usize) -> usize {
    let blanks = text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0));
    at + blanks.count()
}

/// Checks the fields from `start` on and returns where they end.
fn check_fields(line: &[u8], start: usize) -> Result<usize, Reason> {
    let mut at = start;
    let mut quoted = false;
    let (mut equals, mut commas) = (0_usize, 0_usize);
    while at < line.len() {
        match line[at] {
            b'\\' if at + 1 < line.len() => {
                at += 2;
                continue;
            }
            b'"' if equals > commas => quoted = !quoted,
            b'=' if !quoted => {
                equals += 1;
                let value = checked_value_start(line, at)?;
                if line[value] != b'"' {
                    at = check_value(line, value)?;
                    continue;
                }
            }
            b',' if !quoted => commas += 1,
            b' ' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err(Reason::UnbalancedQuotes);
    }
    if equals == 0 || commas != equals - 1 {
        return Err(Reason::FieldFormat);
    }
    Ok(at)
}

/// Checks what stands around the `=` at `at`; returns where the value begins.
fn checked_value_start(line: &[u8], at: usize) -> Result<usize, Reason> {
    // A key is never empty, so two bytes stand before the fields.
    if let [.., before, b' ' | b','] = line[..at]
        && before != b'\\'
    {
        return Err(Reason::MissingFieldKey);
    }
    match line.get(at + 1) {
        None | Some(b',' | b' ') => Err(Reason::MissingFieldValue),
        Some(_) => Ok(at + 1),
    }
}

/// Checks the number or boolean at `start`; returns where it ends.
fn check_value(line: &[u8], start: usize) -> Result<usize, Reason> {
    let length = line[start..].iter().position(|byte| matches!(byte, b',' | b' '));
    let end = length.map_or(line.len(), |length| start + length);
    let text = &line[start..end];
    match text[0] {
        b'0'..=b'9' | b'.' | b'-' | b'n' | b'N' => check_number(text)?,
        _ => {
            boolean(text).ok_or(Reason::Boolean)?;
        }
    }
    Ok(end)
}

fn check_number(text: &[u8]) -> Result<(), Reason> {
    let negative = usize::from(text[0] == b'-');
    let (mut points, mut scientific, mut integer) = (0_usize, false, false);
    for (at, &byte) in text.iter().enumerate().skip(negative) {
        match byte {
            b'0'..=b'9' => {}
            b'.' if points == 0 => points = 1,
            b'i' if at > 0 && !integer => integer = true,
            b'e' | b'E' if at > 0 => scientific = true,
            b'+' | b'-' if at > 0 && matches!(text[at - 1], b'e' | b'E') => {}
            _ => return Err(Reason::Number),
        }
    }
    if text.len() == negative + points + usize::from(integer) {
        return Err(Reason::Number);
    }
    if !integer {
        return number::float(text).map(|_| ()).ok_or(Reason::Float);
    }
    match text {
        [digits @ .., b'i'] if points == 0 && !scientific => match number::integer(digits) {
            Ok(_) => Ok(()),
            Err(_) => Err(Reason::Integer(digits.into())),
        },
        _ => Err(Reason::Number),
    }
}

/// The value of one of the spellings of a boolean.
pub(super) fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// Cuts checked fields into the places of their names and values.
struct FieldWalk<'a> {
    line: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> FieldWalk<'a> {
    fn new(line: &'a [u8], start: usize, end: usize) -> FieldWalk<'a> {
        FieldWalk { line, at: start, end }
    }

    /// The first `=` whose byte before is no backslash; a name may be empty.
    fn name_end(&self) -> usize {
        let text = &self.line[self.at..self.end];
        let is_end = |at: usize| text[at] == b'=' && (at == 0 || text[at - 1] != b'\\');
        self.at + (0..text.len()).find(|&at| is_end(at)).unwrap_or(text.len())
    }

    /// The first comma outside quotes.
    fn value_end(&self, start: usize) -> usize {
        let text = &self.line[..self.end];
        let mut at = start;
        let mut quoted = false;
        while at < text.len() {
            match text[at] {
                b'\\' if matches!(text.get(at + 1), Some(b'"' | b'\\')) => at += 1,
                b'"' => quoted = !quoted,
                b',' if !quoted => return at,
                _ => {}
            }
            at += 1;
        }
        text.len()
    }
}

impl Iterator for FieldWalk<'_> {
    type Item = Result<(std::ops::Range<usize>, std::ops::Range<usize>), Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let name = self.at..self.name_end();
        if name.end + 1 >= self.end {
            self.at = self.end;
            return Some(Err(Reason::FieldValue(self.line[name].into())));
        }
        let value = name.end + 1..self.value_end(name.end + 1);
        self.at = value.end + 1;
        Some(Ok((name, value)))
    }
}

/// Reads the time behind the fields.
fn read_time(options: &Options, line: &[u8], fields_end: usize) -> Result<Timestamp, Reason> {
    let start = skip_blank(line, fields_end);
    let text = &line[start..];
    let length = text.iter().position(|byte| matches!(byte, b' ' | b'\n')).unwrap_or(text.len());
    let (text, rest) = text.split_at(length);
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Timestamp);
    }
    if text.is_empty() {
        // Stock looks no further, so text after a line feed here is no error.
        return Ok(options.default_time());
    }
    let units = number::integer(text).map_err(|error| match error {
        IntegerError::Syntax => Reason::TimeSyntax(text.into()),
        IntegerError::Range => Reason::TimeOverflow(text.into()),
    })?;
    let time = scale_time(units, options.precision_ns).ok_or(Reason::TimeRange)?;
    if rest.iter().any(|&byte| byte != b' ') {
        return Err(Reason::PointInvalid);
    }
    Ok(time)
}

/// A time in ns, if it can be stored.
#[inline]
pub(super) fn scale_time(units: i64, precision_ns: i64) -> Option<Timestamp> {
    units.checked_mul(precision_ns).filter(|time| (TIME_MIN..=TIME_MAX).contains(time))
}

#[cfg(test)]
mod tests;
