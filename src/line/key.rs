//! Keys as sent: where they end, and their canonical form.

use std::borrow::Cow;

use crate::line::Reason;
use crate::line::escape;
use crate::series::key::Plain;
use crate::series::key::append_measurement;

/// A canonical key, see [`crate::series::key`]: a copy only where the raw key is not canonical already.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalKey<'a>(pub Cow<'a, [u8]>);

/// Where the key of a line ends: at the first space without a backslash before it. Checks all that stock checks there.
pub(super) fn check(line: &[u8]) -> Result<usize, Reason> {
    let mut tags = Vec::new();
    let end = scan(line, |tag| tags.push(tag))?;
    if end == line.len() {
        return Err(Reason::MissingFields);
    }
    sort_tags(line, &mut tags)?;
    Ok(end)
}

/// The canonical form of a raw key, as [`crate::line::Point::raw_key`] holds it.
pub fn canonical(raw_key: &[u8]) -> Result<CanonicalKey<'_>, Reason> {
    if Plain::of(raw_key).is_some() {
        return Ok(CanonicalKey(Cow::Borrowed(raw_key)));
    }
    canonical_copy(raw_key).map(|key| CanonicalKey(Cow::Owned(key)))
}

fn canonical_copy(raw_key: &[u8]) -> Result<Vec<u8>, Reason> {
    let mut tags = Vec::new();
    let end = scan(raw_key, |tag| tags.push(tag))?;
    sort_tags(raw_key, &mut tags)?;
    let measurement_end = measurement_end(raw_key);
    let mut measurement = Vec::with_capacity(measurement_end);
    escape::unescape_name(&raw_key[..measurement_end], &mut measurement);
    let mut key = Vec::with_capacity(end);
    append_measurement(&measurement, &mut key);
    for tag in tags {
        // A raw tag has a backslash before each byte that needs one, but for an `=` that starts the value.
        let (tag_key, value) = (&raw_key[tag.start..tag.key_end], &raw_key[tag.key_end + 1..tag.end]);
        key.push(b',');
        key.extend_from_slice(tag_key);
        key.extend_from_slice(if value.starts_with(b"=") { b"=\\" } else { b"=" });
        key.extend_from_slice(value);
    }
    Ok(key)
}

/// Places of one tag in its line.
#[derive(Clone, Copy, Debug)]
struct Tag {
    start: usize,
    key_end: usize,
    end: usize,
}

/// Orders tags by key; refuses two of one key.
fn sort_tags(line: &[u8], tags: &mut [Tag]) -> Result<(), Reason> {
    let key = |tag: &Tag| &line[tag.start..tag.key_end];
    tags.sort_unstable_by(|left, right| key(left).cmp(key(right)));
    let twins = tags.windows(2).any(|pair| key(&pair[0]) == key(&pair[1]));
    if twins { Err(Reason::DuplicateTags) } else { Ok(()) }
}

/// Where the measurement ends: at the first comma or space that no backslash stands before.
fn measurement_end(line: &[u8]) -> usize {
    let is_end = |at: &usize| matches!(line[*at], b',' | b' ') && line[at - 1] != b'\\';
    (1..line.len()).find(is_end).unwrap_or(line.len())
}

/// Reports each tag; returns where the key ends, which is the end of `line` if no space ends it.
fn scan(line: &[u8], mut tag: impl FnMut(Tag)) -> Result<usize, Reason> {
    if matches!(line.first(), None | Some(b',')) {
        return Err(Reason::MissingMeasurement);
    }
    let mut at = measurement_end(line);
    while line.get(at) == Some(&b',') {
        let start = at + 1;
        let key_end = tag_key_end(line, start)?;
        at = tag_value_end(line, key_end + 1)?;
        tag(Tag { start, key_end, end: at });
    }
    Ok(at)
}

fn tag_key_end(line: &[u8], start: usize) -> Result<usize, Reason> {
    if matches!(line.get(start), None | Some(b' ' | b',' | b'=')) {
        return Err(Reason::MissingTagKey);
    }
    let is_end = |at: &usize| matches!(line[*at], b' ' | b',' | b'=') && line[at - 1] != b'\\';
    match (start + 1..line.len()).find(is_end) {
        Some(end) if line[end] == b'=' => Ok(end),
        _ => Err(Reason::MissingTagValue),
    }
}

fn tag_value_end(line: &[u8], start: usize) -> Result<usize, Reason> {
    if matches!(line.get(start), None | Some(b' ' | b',')) {
        return Err(Reason::MissingTagValue);
    }
    // The first byte may be an `=`, as in stock.
    let is_end = |at: &usize| matches!(line[*at], b' ' | b',' | b'=') && line[at - 1] != b'\\';
    match (start + 1..line.len()).find(is_end) {
        Some(end) if line[end] == b'=' => Err(Reason::TagFormat),
        Some(end) => Ok(end),
        None => Ok(line.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::key::encode_key;
    use crate::series::key::parse_key;
    use crate::stdx::seeded::cases;
    use proptest::prelude::*;

    fn check(raw: &str, expected: &str) {
        let key = canonical(raw.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(key.0.into_owned()).unwrap(), expected);
    }

    #[test]
    fn tags_are_sorted_as_sent_bytes() {
        check("m", "m");
        check("m,b=2,a=1", "m,a=1,b=2");
        check(r"m,a\ b=1,aAb=2", r"m,aAb=2,a\ b=1");
    }

    #[test]
    fn measurement_keeps_only_the_escapes_it_needs() {
        check(r#"a\=b\"c\ d\,e\x,t=\"v\""#, r#"a=b"c\ d\,e\x,t=\"v\""#);
    }

    #[test]
    fn tag_value_may_start_with_an_equals_sign() {
        check("m,b==x,a==", r"m,a=\=,b=\=x");
        assert_eq!(canonical(b"m,b===x"), Err(Reason::TagFormat));
    }

    #[test]
    fn duplicate_tags_are_refused_wherever_they_stand() {
        assert_eq!(canonical(b"m,a=1,a=2"), Err(Reason::DuplicateTags));
        assert_eq!(canonical(b"m,b=1,a=2,b=3"), Err(Reason::DuplicateTags));
    }

    proptest! {
        #![proptest_config(cases(4096))]

        #[test]
        fn canonical_form_is_what_encoding_its_parts_gives(
            raw in r#"[a-c\\",= ]{0,6}(,[a-c\\",= ]{1,4}=[a-c\\",= ]{1,4}){0,3}"#,
        ) {
            if let Ok(key) = canonical(raw.as_bytes()) {
                let (measurement, tags) = parse_key(&key.0).unwrap();
                let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
                if !raw.ends_with('\\') {
                    prop_assert_eq!(encode_key(&measurement, &tags), &*key.0);
                }
                prop_assert_eq!(canonical_copy(raw.as_bytes()), Ok(key.0.into_owned()));
            } else {
                prop_assert!(canonical_copy(raw.as_bytes()).is_err());
            }
        }
    }
}
