//! Canonical series keys: the one text form of a measurement and its tags.
//!
//! In:    decoded names and values, tags sorted by key.
//! Out:   the bytes SHOW SERIES prints, and back.
//!
//! ```text
//! measurement,key=value,key=value      `,` and space escaped by a backslash in the measurement,
//!                                      `,` space `=` in tag keys and values
//! ```
//!
//! A backslash itself is not escaped, as on the wire. So a part that ends in a backslash has no canonical form unless
//! it is the last one; line protocol cannot express such a part either, other writers are refused ([`encode`]).

use std::borrow::Cow;

/// Names and values have no canonical form: empty, unsorted, repeated, or ending in a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("series key has no canonical form")]
pub struct KeyError;

/// Appends the canonical key of `measurement` with `tags`, which are sorted by key, each key once.
pub fn encode<'a>(
    measurement: &[u8],
    tags: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), KeyError> {
    let start = out.len();
    let outcome = try_encode(measurement, tags, out);
    if outcome.is_err() {
        out.truncate(start);
    }
    outcome
}

fn try_encode<'a>(
    measurement: &[u8],
    tags: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), KeyError> {
    let mut last_key: Option<&[u8]> = None;
    let mut last_part = measurement;
    escape_measurement(measurement, out);
    for (key, value) in tags {
        let ordered = last_key.is_none_or(|last| last < key);
        let representable = !last_part.ends_with(b"\\") && !key.ends_with(b"\\");
        if key.is_empty() || value.is_empty() || !ordered || !representable {
            return Err(KeyError);
        }
        out.push(b',');
        escape_tag(key, out);
        out.push(b'=');
        escape_tag(value, out);
        last_key = Some(key);
        last_part = value;
    }
    if measurement.is_empty() { Err(KeyError) } else { Ok(()) }
}

/// Appends a decoded measurement in escaped form.
pub fn escape_measurement(raw: &[u8], out: &mut Vec<u8>) {
    escape(raw, is_measurement_special, out);
}

/// Appends a decoded tag key or value in escaped form.
pub fn escape_tag(raw: &[u8], out: &mut Vec<u8>) {
    escape(raw, is_tag_special, out);
}

/// Decodes a measurement as it stands in a canonical key.
pub fn unescape_measurement(escaped: &[u8]) -> Cow<'_, [u8]> {
    unescape(escaped, is_measurement_special)
}

/// Decodes a tag key or value as it stands in a canonical key.
pub fn unescape_tag(escaped: &[u8]) -> Cow<'_, [u8]> {
    unescape(escaped, is_tag_special)
}

/// The measurement of a canonical key, still escaped, and the rest from its comma on.
pub fn split_measurement(key: &[u8]) -> (&[u8], &[u8]) {
    key.split_at(find_unescaped(key, b',').unwrap_or(key.len()))
}

/// Key and value of a tag, decoded.
pub type Tag<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// A canonical key taken apart and decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The measurement.
    pub measurement: Cow<'a, [u8]>,
    /// Key and value, sorted by key.
    pub tags: Vec<Tag<'a>>,
}

/// Takes a canonical key apart; refuses what [`encode`] would not have written.
pub fn decode(key: &[u8]) -> Result<Decoded<'_>, KeyError> {
    let (measurement, mut rest) = split_measurement(key);
    let mut decoded = Decoded { measurement: unescape_measurement(measurement), tags: Vec::new() };
    while let Some(tags) = rest.strip_prefix(b",") {
        let (tag, after) = tags.split_at(find_unescaped(tags, b',').unwrap_or(tags.len()));
        let (name, value) = tag.split_at(find_unescaped(tag, b'=').ok_or(KeyError)?);
        decoded.tags.push((unescape_tag(name), unescape_tag(&value[1..])));
        rest = after;
    }
    let mut again = Vec::with_capacity(key.len());
    encode(&decoded.measurement, decoded.tags.iter().map(|(name, value)| (&**name, &**value)), &mut again)?;
    if again == key { Ok(decoded) } else { Err(KeyError) }
}

/// What follows `raw` in escaped form at the start of `text`; `None` when `text` starts otherwise.
pub(super) fn strip_measurement<'a>(text: &'a [u8], raw: &[u8]) -> Option<&'a [u8]> {
    strip(text, raw, is_measurement_special)
}

/// See [`strip_measurement`].
pub(super) fn strip_tag<'a>(text: &'a [u8], raw: &[u8]) -> Option<&'a [u8]> {
    strip(text, raw, is_tag_special)
}

fn is_measurement_special(byte: u8) -> bool {
    matches!(byte, b',' | b' ')
}

fn is_tag_special(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'=')
}

fn escape(raw: &[u8], is_special: fn(u8) -> bool, out: &mut Vec<u8>) {
    for &byte in raw {
        if is_special(byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

fn unescape(escaped: &[u8], is_special: fn(u8) -> bool) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', escaped).is_none() {
        return Cow::Borrowed(escaped);
    }
    let mut raw = Vec::with_capacity(escaped.len());
    for (position, &byte) in escaped.iter().enumerate() {
        let next_is_special = escaped.get(position + 1).is_some_and(|&next| is_special(next));
        if !(byte == b'\\' && next_is_special) {
            raw.push(byte);
        }
    }
    Cow::Owned(raw)
}

fn strip<'a>(text: &'a [u8], raw: &[u8], is_special: fn(u8) -> bool) -> Option<&'a [u8]> {
    let mut rest = text;
    for &byte in raw {
        if is_special(byte) {
            rest = rest.strip_prefix(b"\\")?;
        }
        let (&first, after) = rest.split_first()?;
        if first != byte {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

/// Position of the first `wanted` that no backslash stands before.
fn find_unescaped(text: &[u8], wanted: u8) -> Option<usize> {
    memchr::memchr_iter(wanted, text).find(|&at| at == 0 || text[at - 1] != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(measurement: &str, tags: &[(&str, &str)], expected: Option<&str>) {
        let mut out = b"kept".to_vec();
        let pairs = tags.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        let outcome = encode(measurement.as_bytes(), pairs, &mut out);
        let text = outcome.ok().map(|()| String::from_utf8(out[4..].to_vec()).expect("made of text"));
        assert_eq!(text.as_deref(), expected);
        let Some(text) = text else {
            assert_eq!(out, b"kept", "a refused key leaves nothing behind");
            return;
        };
        let decoded = decode(text.as_bytes()).expect("canonical");
        assert_eq!(&*decoded.measurement, measurement.as_bytes());
        let again: Vec<(&[u8], &[u8])> = decoded.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        let given: Vec<(&[u8], &[u8])> = tags.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        assert_eq!(again, given);
    }

    #[test]
    fn separators_are_escaped_and_come_back() {
        check("cpu", &[], Some("cpu"));
        check("cpu", &[("host", "a"), ("region", "eu")], Some("cpu,host=a,region=eu"));
        check("a b,c=d", &[("k =,", "v =,")], Some(r"a\ b\,c=d,k\ \=\,=v\ \=\,"));
        check(r"back\slash", &[("k", r"a\b")], Some(r"back\slash,k=a\b"));
        check("m", &[("k", r"a\ b")], Some(r"m,k=a\\ b"));
        check("m", &[("k", r"last\")], Some(r"m,k=last\"));
        check(r"m\=x", &[("k", "v")], Some(r"m\=x,k=v"));
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        check("", &[], None);
        check("m", &[("", "v")], None);
        check("m", &[("k", "")], None);
        check("m", &[("b", "1"), ("a", "1")], None);
        check("m", &[("a", "1"), ("a", "1")], None);
        check(r"m\", &[("a", "1")], None);
        check("m", &[("a", r"1\"), ("b", "1")], None);
        for text in ["", ",a=b", "m,", "m,a", "m,a=", "m,=b", "m,a=b=c", "m,b=1,a=1", "m x", "m,a=1,a=2", "m,a=b c"] {
            assert_eq!(decode(text.as_bytes()), Err(KeyError), "{text}");
        }
    }
}
