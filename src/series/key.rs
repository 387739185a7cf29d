//! The canonical key of a series: one byte string for one measurement and set of tags, stored, sent and hashed.
//!
//! ```text
//! measurement,tag=value,tag2=value2
//! ```
//!
//! It is the text SHOW SERIES prints: a backslash stands before each `,` and space of the measurement, and before each
//! `,`, `=` and space of tag keys and values. Tags are in the order of their *escaped* keys, as in stock.
//!
//! Line protocol cannot name anything that ends in a backslash, but other ways in can (0.8, Prometheus, SELECT INTO),
//! and the backslash would then hide the separator. So a part that ends in a backslash, or in one and NULs, gets one
//! NUL more; decoding takes it away. That keeps the form reversible for all bytes, and stock's for all that stock can
//! hold.

use std::borrow::Cow;

/// Bytes escaped in a measurement.
const MEASUREMENT: &[u8] = b", ";
/// Bytes escaped in a tag key or value.
const TAG: &[u8] = b",= ";

/// A key that is not in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag of the series key has no value")]
pub struct KeyError;

/// Measurement and tags of a key, unescaped.
pub type KeyParts = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// Measurement and tags of a key, escaped as they stand in it.
pub type EscapedParts<'a> = (&'a [u8], Vec<(&'a [u8], &'a [u8])>);

/// Appends a measurement as the first part of a key.
pub fn append_measurement(measurement: &[u8], out: &mut Vec<u8>) {
    append_escaped(measurement, MEASUREMENT, out);
}

/// Appends one tag to a key; the caller keeps the order of [`escaped_tag`].
pub fn append_tag(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(b',');
    append_escaped(key, TAG, out);
    out.push(b'=');
    append_escaped(value, TAG, out);
}

/// A tag key or value in escaped form: what tags are ordered by.
pub fn escaped_tag(part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    append_escaped(part, TAG, &mut out);
    out
}

/// The canonical key of `measurement` and `tags`, given in any order. Of two tags of one key the caller must have
/// chosen one.
pub fn encode_key(measurement: &[u8], tags: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut sorted: Vec<_> = tags.iter().map(|(key, value)| (escaped_tag(key), *value)).collect();
    sorted.sort();
    let mut out = Vec::new();
    append_measurement(measurement, &mut out);
    for (key, value) in sorted {
        out.push(b',');
        out.extend_from_slice(&key);
        out.push(b'=');
        append_escaped(value, TAG, &mut out);
    }
    out
}

/// Measurement and tags of a canonical key, tags in the key's order.
pub fn parse_key(key: &[u8]) -> Result<KeyParts, KeyError> {
    let (measurement, tags) = parts_of(key)?;
    let tags = tags.iter().map(|(name, value)| (unescaped(name, TAG), unescaped(value, TAG))).collect();
    Ok((unescaped(measurement, MEASUREMENT), tags))
}

/// The escaped parts of a canonical key, without a copy: its measurement, and its tags in order.
pub fn parts_of(key: &[u8]) -> Result<EscapedParts<'_>, KeyError> {
    let (measurement, mut rest) = split_at_plain(key, b',');
    let mut tags = Vec::new();
    while let Some(text) = rest {
        let (tag, after) = split_at_plain(text, b',');
        let (name, value) = split_at_plain(tag, b'=');
        tags.push((name, value.ok_or(KeyError)?));
        rest = after;
    }
    Ok((measurement, tags))
}

/// An escaped measurement, decoded; refuses one that no canonical key has.
pub fn canonical_measurement(escaped: &[u8]) -> Result<Vec<u8>, KeyError> {
    canonical(escaped, MEASUREMENT)
}

/// An escaped tag key or value, decoded; refuses one that no canonical key has.
pub fn canonical_tag(escaped: &[u8]) -> Result<Vec<u8>, KeyError> {
    canonical(escaped, TAG)
}

fn canonical(escaped: &[u8], special: &[u8]) -> Result<Vec<u8>, KeyError> {
    let part = unescaped(escaped, special);
    let mut again = Vec::with_capacity(escaped.len());
    append_escaped(&part, special, &mut again);
    if part.is_empty() || again != escaped { Err(KeyError) } else { Ok(part) }
}

/// The escaped measurement of a canonical key, without a copy.
pub fn measurement_of(key: &[u8]) -> &[u8] {
    split_at_plain(key, b',').0
}

/// The measurement of a canonical key, unescaped.
pub fn measurement_text(key: &[u8]) -> Cow<'_, [u8]> {
    match measurement_of(key) {
        plain if memchr::memchr(b'\\', plain).is_none() => Cow::Borrowed(plain),
        escaped => Cow::Owned(unescaped(escaped, MEASUREMENT)),
    }
}

/// A canonical key in which nothing is escaped, as nearly all are: its parts are slices of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The measurement.
    pub measurement: &'a [u8],
    /// `key=value`, separated by commas; may be empty.
    tags: &'a [u8],
}

impl<'a> Plain<'a> {
    /// `None` when `key` holds an escape or is not canonical; [`decode`] tells which.
    pub fn of(key: &'a [u8]) -> Option<Plain<'a>> {
        // A space would be escaped; a NUL counts behind a backslash only.
        if memchr::memchr2(b'\\', b' ', key).is_some() {
            return None;
        }
        let end = memchr::memchr(b',', key).unwrap_or(key.len());
        let plain = Plain { measurement: &key[..end], tags: key.get(end + 1..).unwrap_or_default() };
        // An empty tag at the very end would not be met below.
        if plain.measurement.is_empty() || key.ends_with(b",") {
            return None;
        }
        let mut last: &[u8] = b"";
        for (name, value) in plain.tags() {
            if name <= last || value.is_empty() || memchr::memchr(b'=', value).is_some() {
                return None;
            }
            last = name;
        }
        Some(plain)
    }

    /// Key and value of each tag, in order.
    pub fn tags(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        let mut rest = self.tags;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
            let tag = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let middle = memchr::memchr(b'=', tag).unwrap_or(tag.len());
            Some((&tag[..middle], tag.get(middle + 1..).unwrap_or_default()))
        })
    }
}

/// Whether a tag of a canonical key is called `name`, which needs no escapes.
pub fn has_tag(key: &[u8], name: &[u8]) -> bool {
    let mut rest = split_at_plain(key, b',').1;
    while let Some(text) = rest {
        if text.strip_prefix(name).is_some_and(|after| after.starts_with(b"=")) {
            return true;
        }
        rest = split_at_plain(text, b',').1;
    }
    false
}

/// What stands before the first `separator` without a backslash before it, and after, if there is one.
fn split_at_plain(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    for at in memchr::memchr_iter(separator, text) {
        if at == 0 || text[at - 1] != b'\\' {
            return (&text[..at], Some(&text[at + 1..]));
        }
    }
    (text, None)
}

fn append_escaped(part: &[u8], special: &[u8], out: &mut Vec<u8>) {
    for &byte in part {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    if ends_in_backslash(part) {
        out.push(0);
    }
}

fn unescaped(part: &[u8], special: &[u8]) -> Vec<u8> {
    let part = match part {
        [content @ .., 0] if ends_in_backslash(content) => content,
        _ => part,
    };
    let hides = |at: usize| part[at] == b'\\' && part.get(at + 1).is_some_and(|next| special.contains(next));
    (0..part.len()).filter(|&at| !hides(at)).map(|at| part[at]).collect()
}

/// Whether `part` ends in a backslash, not counting NULs behind it.
fn ends_in_backslash(part: &[u8]) -> bool {
    part.iter().rev().find(|&&byte| byte != 0) == Some(&b'\\')
}

/// Appends a decoded measurement in escaped form.
pub fn escape_measurement(raw: &[u8], out: &mut Vec<u8>) {
    append_escaped(raw, MEASUREMENT, out);
}

/// Appends a decoded tag key or value in escaped form.
pub fn escape_tag(raw: &[u8], out: &mut Vec<u8>) {
    append_escaped(raw, TAG, out);
}

/// A canonical key taken apart and decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The measurement.
    pub measurement: Vec<u8>,
    /// Key and value, in the order of the key.
    pub tags: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Takes a canonical key apart; refuses a key that [`encode_key`] would not have written.
pub fn decode(key: &[u8]) -> Result<Decoded, KeyError> {
    let (measurement, tags) = parse_key(key)?;
    let parts: Vec<(&[u8], &[u8])> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    let whole = !measurement.is_empty() && tags.iter().all(|(name, value)| !name.is_empty() && !value.is_empty());
    let distinct = tags.windows(2).all(|pair| pair[0].0 != pair[1].0);
    if whole && distinct && encode_key(&measurement, &parts) == key {
        Ok(Decoded { measurement, tags })
    } else {
        Err(KeyError)
    }
}

/// What follows `raw` in escaped form at the start of `text`; `None` when `text` starts otherwise.
pub(super) fn strip_measurement<'a>(text: &'a [u8], raw: &[u8]) -> Option<&'a [u8]> {
    strip(text, raw, MEASUREMENT)
}

/// See [`strip_measurement`].
pub(super) fn strip_tag<'a>(text: &'a [u8], raw: &[u8]) -> Option<&'a [u8]> {
    strip(text, raw, TAG)
}

fn strip<'a>(text: &'a [u8], raw: &[u8], special: &[u8]) -> Option<&'a [u8]> {
    let mut rest = text;
    for &byte in raw {
        if special.contains(&byte) {
            rest = rest.strip_prefix(b"\\")?;
        }
        rest = rest.strip_prefix(&[byte])?;
    }
    if ends_in_backslash(raw) { rest.strip_prefix(&[0]) } else { Some(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::seeded::cases;
    use proptest::prelude::*;

    fn check(measurement: &str, tags: &[(&str, &str)], expected: &str) {
        let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        let key = encode_key(measurement.as_bytes(), &tags);
        assert_eq!(String::from_utf8(key).unwrap(), expected);
    }

    #[test]
    fn key_reads_as_show_series_prints_it() {
        check("cpu", &[], "cpu");
        check("c,p u=\"x\"", &[("b", "1"), ("a", "=,\" ")], "c\\,p\\ u=\"x\",a=\\=\\,\"\\ ,b=1");
    }

    #[test]
    fn tags_are_ordered_by_their_escaped_keys() {
        // By plain bytes the space would come first.
        check("m", &[("a b", "1"), ("aAb", "2")], "m,aAb=2,a\\ b=1");
    }

    #[test]
    fn part_that_ends_in_a_backslash_hides_no_separator() {
        check("m\\", &[("k\\", "v\\")], "m\\\0,k\\\0=v\\\0");
        check("m\\\0", &[], "m\\\0\0");
    }

    #[test]
    fn tag_without_a_value_is_an_error() {
        assert_eq!(parse_key(b"m,t"), Err(KeyError));
    }

    fn part() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![4 => prop::sample::select(b"\\,= \0\"a".to_vec()), 1 => any::<u8>()];
        prop::collection::vec(byte, 0..6)
    }

    proptest! {
        #![proptest_config(cases(4096))]

        #[test]
        fn keys_of_any_bytes_round_trip(
            measurement in part(),
            tags in prop::collection::btree_map(part(), part(), 0..4),
        ) {
            let given: Vec<_> = tags.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
            let key = encode_key(&measurement, &given);
            let (read, mut read_tags) = parse_key(&key).unwrap();
            read_tags.sort();
            prop_assert_eq!(read, measurement);
            prop_assert_eq!(read_tags, tags.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(key in part()) {
            let _ = parse_key(&key);
        }

        #[test]
        fn plain_reading_is_what_decoding_gives_wherever_nothing_is_escaped(
            key in r"[ab\\\\\x00= ]{0,2}(,[ab\\\\= ]{0,2}=?[ab\\\\= ]{0,2}){0,3},?",
        ) {
            let decoded = decode(key.as_bytes());
            let plain = Plain::of(key.as_bytes()).map(|plain| Decoded {
                measurement: plain.measurement.to_vec(),
                tags: plain.tags().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            });
            let is_escaped = key.contains(['\\', ' ']);
            prop_assert_eq!(plain, decoded.clone().ok().filter(|_| !is_escaped));
            if let Ok(decoded) = decoded {
                prop_assert_eq!(measurement_text(key.as_bytes()), decoded.measurement);
                let has = decoded.tags.iter().any(|(name, _)| name == b"a");
                prop_assert_eq!(has_tag(key.as_bytes(), b"a"), has);
            }
        }
    }
}
