//! Why a line could not be parsed, in stock's words, and the joined text of a request.

use std::fmt;

use crate::limits::KEY_BYTES_MAX;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;

/// Largest joined text kept for one request. Stock has no bound: a body of 25 MB of bad lines answers 26 MB.
/// From the first line that does not fit on, lines are only counted.
pub const ERROR_TEXT_BYTES_MAX: usize = 1 << 20;

/// The reason behind the colon of `unable to parse '<line>': <reason>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The line starts with a comma.
    MissingMeasurement,
    /// The line ends inside the key.
    MissingFields,
    /// A tag without a key.
    MissingTagKey,
    /// A tag without a value.
    MissingTagValue,
    /// An unescaped `=` in a tag value.
    TagFormat,
    /// Two tags of one key.
    DuplicateTags,
    /// Field keys and values do not pair up.
    FieldFormat,
    /// A field without a key.
    MissingFieldKey,
    /// A field without a value.
    MissingFieldValue,
    /// A string without an end.
    UnbalancedQuotes,
    /// Not a number, or of an unsupported kind.
    Number,
    /// A float that cannot be read or is too large.
    Float,
    /// An integer out of range; its text.
    Integer(Box<[u8]>),
    /// Not one of the spellings of a boolean.
    Boolean,
    /// Something but digits where the time should be.
    Timestamp,
    /// More text after the time.
    PointInvalid,
    /// A time that is no integer; its text.
    TimeSyntax(Box<[u8]>),
    /// A time beyond 64 bits; its text.
    TimeOverflow(Box<[u8]>),
    /// A time that cannot be stored.
    TimeRange,
    /// Key, or key and field name, of this many bytes.
    KeyLength(usize),
    /// A field whose key and value cannot be told apart; the text taken for its key.
    FieldValue(Box<[u8]>),
}

impl Reason {
    /// Appends the reason as bytes, as names need not be UTF-8.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Reason::Integer(text) => {
                out.extend_from_slice(b"unable to parse integer ");
                out.extend_from_slice(text);
                out.extend_from_slice(b": ");
                append_integer_error(text, "value out of range", out);
            }
            Reason::TimeSyntax(text) => append_integer_error(text, "invalid syntax", out),
            Reason::TimeOverflow(text) => append_integer_error(text, "value out of range", out),
            Reason::FieldValue(key) => {
                out.extend_from_slice(b"invalid value: field-key=");
                out.extend_from_slice(key);
            }
            Reason::TimeRange => {
                out.extend_from_slice(format!("time outside range {TIME_MIN} - {TIME_MAX}").as_bytes());
            }
            Reason::KeyLength(bytes) => {
                out.extend_from_slice(format!("max key length exceeded: {bytes} > {KEY_BYTES_MAX}").as_bytes());
            }
            other => out.extend_from_slice(other.fixed_text().as_bytes()),
        }
    }

    fn fixed_text(&self) -> &'static str {
        match self {
            Reason::MissingMeasurement => "missing measurement",
            Reason::MissingFields => "missing fields",
            Reason::MissingTagKey => "missing tag key",
            Reason::MissingTagValue => "missing tag value",
            Reason::TagFormat => "invalid tag format",
            Reason::DuplicateTags => "duplicate tags",
            Reason::FieldFormat => "invalid field format",
            Reason::MissingFieldKey => "missing field key",
            Reason::MissingFieldValue => "missing field value",
            Reason::UnbalancedQuotes => "unbalanced quotes",
            Reason::Number => "invalid number",
            Reason::Float => "invalid float",
            Reason::Boolean => "invalid boolean",
            Reason::Timestamp => "bad timestamp",
            Reason::PointInvalid => "point is invalid",
            Reason::Integer(_)
            | Reason::TimeSyntax(_)
            | Reason::TimeOverflow(_)
            | Reason::TimeRange
            | Reason::KeyLength(_)
            | Reason::FieldValue(_) => "",
        }
    }
}

/// Go's text for a failed integer conversion. `text` is digits and perhaps a sign: nothing that needs quoting.
fn append_integer_error(text: &[u8], why: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"strconv.ParseInt: parsing \"");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\": ");
    out.extend_from_slice(why.as_bytes());
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.append_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl std::error::Error for Reason {}

/// A line that could not be parsed, or whose key cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineError<'a> {
    /// The line from its first byte that is not blank, without its line feed.
    pub line: &'a [u8],
    /// What is wrong.
    pub reason: &'a Reason,
}

impl LineError<'_> {
    /// Appends `unable to parse '<line>': <reason>`. Bytes, because the line need not be UTF-8 and the error header
    /// carries it unchanged; the JSON body shows each bad byte as U+FFFD.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"unable to parse '");
        out.extend_from_slice(self.line);
        out.extend_from_slice(b"': ");
        self.reason.append_to(out);
    }
}

/// The errors of one request, joined as clients see them.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    text: Vec<u8>,
    count: u64,
    unnamed: u64,
}

impl Errors {
    /// Adds one line's error.
    pub fn push(&mut self, error: &LineError<'_>) {
        self.count += 1;
        // The first is always named, however long its line: a client must learn what was wrong.
        let fits = self.text.len() + error.line.len() < ERROR_TEXT_BYTES_MAX;
        if self.unnamed > 0 || (self.count > 1 && !fits) {
            self.unnamed += 1;
            return;
        }
        if self.count > 1 {
            self.text.push(b'\n');
        }
        error.append_to(&mut self.text);
    }

    /// Lines that failed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether no line failed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The errors in line order, one for each line; past [`ERROR_TEXT_BYTES_MAX`] a last line counts the rest.
    pub fn into_text(mut self) -> Vec<u8> {
        if self.unnamed > 0 {
            self.text.extend_from_slice(format!("\n{} more lines could not be parsed", self.unnamed).as_bytes());
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_joined_until_the_bound_and_counted_after_it() {
        let mut errors = Errors::default();
        assert!(errors.is_empty());
        let line = vec![b'x'; ERROR_TEXT_BYTES_MAX / 2];
        for _ in 0..4 {
            errors.push(&LineError { line: &line, reason: &Reason::MissingFields });
        }
        errors.push(&LineError { line: b"short", reason: &Reason::MissingFields });
        assert_eq!(errors.count(), 5);
        let text = errors.into_text();
        assert!(text.ends_with(b"': missing fields\n4 more lines could not be parsed"));
    }

    #[test]
    fn one_line_longer_than_the_bound_is_named() {
        let mut errors = Errors::default();
        let line = vec![b'x'; ERROR_TEXT_BYTES_MAX + 1];
        errors.push(&LineError { line: &line, reason: &Reason::MissingFields });
        assert!(errors.into_text().ends_with(b"x': missing fields"));
    }
}
