//! A regular expression that tag values are compared with. What dashboards send most is a choice of whole values,
//! `^(a|b)$`: those are looked up, where another expression is tried on every value that there is.

use regex::bytes::Regex;
use roaring::RoaringBitmap;

use crate::model::Bytes;
use crate::series::MeasurementIndex;

/// A compiled regular expression, and the texts that it stands for if it is a choice of whole ones.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    texts: Option<Vec<Bytes>>,
}

impl Pattern {
    /// Compiles the text of an expression that was translated for the crate.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let regex = Regex::new(text).map_err(|error| error.to_string())?;
        Ok(Pattern { regex, texts: whole_texts(text) })
    }

    /// Whether it matches somewhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The series of `measurement` whose tag `key` it matches; lacking the tag is an empty value.
    pub fn series(&self, measurement: &MeasurementIndex, key: &[u8]) -> RoaringBitmap {
        let Some(texts) = &self.texts else { return measurement.matching(key, |value| self.is_match(value)) };
        let found = texts.iter().map(|text| measurement.equal(key, text));
        found.reduce(|found, more| found | more).unwrap_or_default()
    }
}

/// The texts of `^a$`, `^(a|b)$` and `^(?:a|b)$`.
fn whole_texts(text: &str) -> Option<Vec<Bytes>> {
    let whole = text.strip_prefix('^')?.strip_suffix('$')?;
    let choice = whole.strip_prefix("(?:").or_else(|| whole.strip_prefix('('));
    match choice.and_then(|choice| choice.strip_suffix(')')) {
        Some(choice) => choice.split('|').map(literal).collect(),
        None => Some(vec![literal(whole)?]),
    }
}

/// What the expression spells, if each of its characters stands for itself: `influxql::regex` leaves letters and digits
/// as they are and writes every other literal as `\x{2d}`.
fn literal(mut text: &str) -> Option<Bytes> {
    let mut spelled = String::new();
    while let Some(first) = text.chars().next() {
        text = match text.strip_prefix("\\x{") {
            Some(escaped) => {
                let (digits, rest) = escaped.split_once('}')?;
                spelled.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                rest
            }
            None if first.is_ascii_alphanumeric() || !first.is_ascii() => {
                spelled.push(first);
                &text[first.len_utf8()..]
            }
            None => return None,
        };
    }
    Some(spelled.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeriesId;
    use crate::series::Index;

    #[test]
    fn a_choice_of_whole_values_is_one_and_nothing_else_is() {
        let texts = |text: &str| -> Option<Vec<String>> {
            Some(whole_texts(text)?.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
        };
        let found = |found: &[&str]| Some(found.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(texts("^(h17|h\\x{2d}1\\x{2e}8|\u{e4}\\x{20})$"), found(&["h17", "h-1.8", "\u{e4} "]));
        assert_eq!(texts("^(?:a|)$"), found(&["a", ""]));
        assert_eq!(texts("^a$"), found(&["a"]));
        assert_eq!(texts("^$"), found(&[""]));
        let others =
            ["a", "^a", "a$", "^a|b$", "^(a|b.)$", "^(a|(b|c))$", "^(a)(b)$", "^(?i:a)$", "^a[0-9]$", "^(a|b)?$"];
        for other in others {
            assert_eq!(texts(other), None, "{other}");
        }
    }

    #[test]
    fn looked_up_or_tried_the_series_are_the_same() {
        let mut index = Index::default();
        for (id, key) in [&b"m,h=a"[..], b"m,h=b", b"m,h=ab", b"m", b"m,g=a"].into_iter().enumerate() {
            index.insert(SeriesId(id as u32), key).expect("the keys are canonical");
        }
        let measurement = index.measurement(b"m").expect("put there above");
        for text in ["^(a|b)$", "^(a|)$", "^(c)$", "^ab$", "^$"] {
            let pattern = Pattern::new(text).unwrap();
            assert!(pattern.texts.is_some());
            for key in [&b"h"[..], b"x"] {
                let tried = measurement.matching(key, |value| pattern.is_match(value));
                assert_eq!(pattern.series(measurement, key), tried, "{text}");
            }
        }
    }
}
