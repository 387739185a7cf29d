//! Whether an answer is the recorded one, up to what does not count.
//!
//! Out: differences, each a line; none means alike.

use crate::datum;
use crate::datum::Datum;
use crate::scenario::Compare;
use crate::scenario::Expect;
use crate::wire::Answer;
use regex::Regex;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Sums depend on the order of addition, which is not part of the contract.
const RELATIVE_TOLERANCE: f64 = 1e-12;
/// More differences of one answer say nothing new.
const DIFFERENCES_MAX: usize = 12;

/// All differences between an answer and what was recorded.
pub fn check(expect: &Expect, answer: &Answer) -> Vec<String> {
    let mut differences = Vec::new();
    if answer.status != expect.status {
        differences.push(format!("status: expected {}, got {}", expect.status, answer.status));
    }
    check_headers(expect, answer, &mut differences);
    let mut body = Cow::Borrowed(&answer.body);
    if answer.header("content-encoding") == Some("gzip") && !body.is_empty() {
        match datum::gunzip(&answer.body) {
            Ok(unpacked) => body = Cow::Owned(unpacked),
            Err(error) => {
                differences.push(format!("body: bad gzip: {error}"));
                return differences;
            }
        }
    }
    let wanted = expect.body();
    if expect.compare == Compare::StatusOnly || wanted == *body {
        return differences;
    }
    if let Err(error) = check_body(expect, &wanted, &body, &mut differences) {
        differences.push(format!("body: {error}; expected {}, got {}", shown(&wanted), shown(&body)));
    }
    differences
}

fn check_headers(expect: &Expect, answer: &Answer, differences: &mut Vec<String>) {
    for (name, wanted) in &expect.headers {
        let got = answer.header(name);
        let same = match got {
            None => wanted.is_empty(),
            Some(got) if name == "Allow" => names(got) == names(wanted),
            Some(got) => same_text(wanted, got),
        };
        if !same {
            differences.push(format!("header {name}: expected {wanted:?}, got {got:?}"));
        }
    }
    for name in &expect.headers_present {
        if answer.header(name).is_none() {
            differences.push(format!("header {name}: absent"));
        }
    }
    for name in &expect.headers_absent {
        if let Some(got) = answer.header(name) {
            differences.push(format!("header {name}: expected none, got {got:?}"));
        }
    }
}

fn names(list: &str) -> BTreeSet<&str> {
    list.split(',').map(str::trim).collect()
}

fn check_body(expect: &Expect, wanted: &[u8], got: &[u8], differences: &mut Vec<String>) -> Result<(), String> {
    match expect.compare {
        Compare::Json | Compare::JsonUnordered | Compare::JsonKeys => {
            let wanted = Datum::List(datum::json(wanted)?);
            let got = Datum::List(datum::json(got)?);
            if expect.compare == Compare::JsonKeys {
                compare_shape(&wanted, &got, "", differences);
            } else {
                let unordered = expect.compare == Compare::JsonUnordered;
                Comparison { ignore: &expect.ignore, unordered, differences }.compare(&wanted, &got, "");
            }
        }
        Compare::Msgpack => {
            let wanted = Datum::List(datum::msgpack(wanted)?);
            let got = Datum::List(datum::msgpack(got)?);
            Comparison { ignore: &expect.ignore, unordered: false, differences }.compare(&wanted, &got, "");
        }
        Compare::Csv => compare_csv(&utf8(wanted)?, &utf8(got)?, differences),
        Compare::Snappy if datum::unsnappy(wanted)? == datum::unsnappy(got)? => (),
        Compare::Snappy | Compare::Text | Compare::StatusOnly => {
            differences.push(format!("body: expected {}, got {}", shown(wanted), shown(got)));
        }
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

/// A structural comparison that collects what differs.
struct Comparison<'a> {
    ignore: &'a [String],
    unordered: bool,
    differences: &'a mut Vec<String>,
}

impl Comparison<'_> {
    fn differ(&mut self, path: &str, wanted: &dyn std::fmt::Debug, got: &dyn std::fmt::Debug) {
        if self.differences.len() < DIFFERENCES_MAX {
            let line = format!("{}: expected {wanted:?}, got {got:?}", if path.is_empty() { "." } else { path });
            self.differences.push(shortened(&line, 400));
        }
    }

    fn compare(&mut self, wanted: &Datum, got: &Datum, path: &str) {
        match (wanted, got) {
            (Datum::Map(pairs), Datum::Map(others)) => {
                for (key, value) in pairs {
                    let below = format!("{path}.{key}");
                    match got.get(key) {
                        None => self.differ(&below, value, &"nothing"),
                        Some(other) if key == "values" && !self.ignore.is_empty() => {
                            let masked = (self.masked(wanted, value), self.masked(got, other));
                            self.compare(&masked.0, &masked.1, &below);
                        }
                        Some(other) => self.compare(value, other, &below),
                    }
                }
                for (key, value) in others {
                    if wanted.get(key).is_none() {
                        self.differ(&format!("{path}.{key}"), &"nothing", value);
                    }
                }
            }
            (Datum::List(items), Datum::List(others)) => self.compare_lists(items, others, path),
            (Datum::Text(text), Datum::Text(other)) if same_text(text, other) => (),
            _ if same_number(wanted, got).unwrap_or_else(|| wanted == got) => (),
            _ => self.differ(path, wanted, got),
        }
    }

    fn compare_lists(&mut self, items: &[Datum], others: &[Datum], path: &str) {
        if items.len() != others.len() {
            self.differ(&format!("{path}.length"), &items.len(), &others.len());
        }
        if self.unordered && (path.ends_with(".values") || path.ends_with(".series")) {
            let mut left: Vec<&Datum> = others.iter().collect();
            for item in items {
                match left.iter().position(|other| self.is_same(item, other)) {
                    Some(found) => drop(left.remove(found)),
                    None => return self.differ(&format!("{path}[*]"), item, &"no such element"),
                }
            }
            return;
        }
        for (index, (item, other)) in items.iter().zip(others).enumerate() {
            self.compare(item, other, &format!("{path}[{index}]"));
        }
    }

    fn is_same(&self, wanted: &Datum, got: &Datum) -> bool {
        let mut differences = Vec::new();
        Comparison { ignore: self.ignore, unordered: self.unordered, differences: &mut differences }
            .compare(wanted, got, "");
        differences.is_empty()
    }

    /// The rows of a series with a star in place of each value that does not count.
    fn masked(&self, series: &Datum, values: &Datum) -> Datum {
        let columns = series.get("columns").and_then(Datum::list).unwrap_or_default();
        let is_ignored =
            |index: usize| matches!(columns.get(index), Some(Datum::Text(name)) if self.ignore.contains(name));
        let mask = |row: &Datum| match row {
            Datum::List(cells) => Datum::List(
                cells
                    .iter()
                    .enumerate()
                    .map(|(index, cell)| match cell {
                        Datum::Null => Datum::Null,
                        _ if is_ignored(index) => Datum::Text("*".to_owned()),
                        cell => cell.clone(),
                    })
                    .collect(),
            ),
            other => other.clone(),
        };
        values.list().map_or_else(|| values.clone(), |rows| Datum::List(rows.iter().map(mask).collect()))
    }
}

/// The same keys everywhere, the same columns, the same kinds of values; of lists the first elements.
fn compare_shape(wanted: &Datum, got: &Datum, path: &str, differences: &mut Vec<String>) {
    match (wanted, got) {
        (Datum::Map(pairs), Datum::Map(others)) => {
            let keys = |pairs: &[(String, Datum)]| pairs.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>();
            if keys(pairs) != keys(others) {
                differences.push(format!("{path}: keys expected {:?}, got {:?}", keys(pairs), keys(others)));
            }
            for (key, value) in pairs {
                if let Some(other) = got.get(key) {
                    compare_shape(value, other, &format!("{path}.{key}"), differences);
                }
            }
        }
        (Datum::List(items), Datum::List(others)) => {
            if path.ends_with(".columns") {
                if items != others {
                    differences.push(format!("{path}: expected {items:?}, got {others:?}"));
                }
            } else if items.is_empty() != others.is_empty() {
                differences.push(format!("{path}: expected {} elements, got {}", items.len(), others.len()));
            } else if let (Some(item), Some(other)) = (items.first(), others.first()) {
                compare_shape(item, other, &format!("{path}[0]"), differences);
            }
        }
        _ if kind(wanted) == kind(got) => (),
        _ => differences.push(format!("{path}: expected a {}, got {got:?}", kind(wanted))),
    }
}

fn kind(value: &Datum) -> &'static str {
    match value {
        Datum::Null => "null",
        Datum::Bool(_) => "boolean",
        Datum::Integer(_) | Datum::Float(_) => "number",
        Datum::Text(_) => "text",
        Datum::Bytes(_) | Datum::Extension(..) => "bytes",
        Datum::List(_) => "list",
        Datum::Map(_) => "map",
    }
}

fn compare_csv(wanted: &str, got: &str, differences: &mut Vec<String>) {
    let (wanted, got) = (datum::csv(wanted), datum::csv(got));
    if wanted.len() != got.len() {
        differences.push(format!("csv rows: expected {}, got {}", wanted.len(), got.len()));
    }
    for (index, (row, other)) in wanted.iter().zip(&got).enumerate() {
        if row.len() != other.len() || !row.iter().zip(other).all(|(cell, other)| same_cell(cell, other)) {
            differences.push(format!("csv row {index}: expected {row:?}, got {other:?}"));
            return;
        }
    }
}

fn same_cell(wanted: &str, got: &str) -> bool {
    if wanted == got {
        return true;
    }
    if let (Ok(wanted), Ok(got)) = (wanted.parse::<i128>(), got.parse::<i128>()) {
        return wanted == got;
    }
    matches!((wanted.parse(), got.parse()), (Ok(wanted), Ok(got)) if same_float(wanted, got))
}

/// `None` when one of them is no number.
fn same_number(wanted: &Datum, got: &Datum) -> Option<bool> {
    Some(match (wanted, got) {
        (Datum::Integer(wanted), Datum::Integer(got)) => wanted == got,
        (Datum::Integer(wanted), Datum::Float(got)) => same_float(*wanted as f64, *got),
        (Datum::Float(wanted), Datum::Integer(got)) => same_float(*wanted, *got as f64),
        (Datum::Float(wanted), Datum::Float(got)) => same_float(*wanted, *got),
        _ => return None,
    })
}

fn same_float(wanted: f64, got: f64) -> bool {
    wanted == got
        || (wanted.is_nan() && got.is_nan())
        || (wanted - got).abs() <= RELATIVE_TOLERANCE * wanted.abs().max(got.abs())
            && wanted.is_finite()
            && got.is_finite()
}

/// Equal, where the number of a shard does not count.
fn same_text(wanted: &str, got: &str) -> bool {
    static SHARD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bshard \d+\b").expect("a fixed expression"));
    wanted == got || SHARD.replace_all(wanted, "shard N") == SHARD.replace_all(got, "shard N")
}

fn shown(bytes: &[u8]) -> String {
    shortened(&format!("{:?}", String::from_utf8_lossy(bytes)), 300)
}

/// At most so many letters.
pub fn shortened(text: &str, letters_max: usize) -> String {
    match text.char_indices().nth(letters_max) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Facts that the rest relies on; the target has no test harness, so `main` asks for them.
pub fn self_check() {
    let differences = |compare: &str, wanted: &str, got: &str| {
        let expect = serde_json::json!({"status": 200, "compare": compare, "body": wanted, "ignore": ["x"]});
        let expect: Expect = serde_json::from_value(expect).expect("the fields are right");
        let headers = Vec::new();
        check(&expect, &Answer { status: 200, headers, body: got.as_bytes().to_vec() }).len()
    };
    assert_eq!(differences("json", r#"{"a":1,"b":[0.1]}"#, r#"{"b":[0.10000000000000002],"a":1}"#), 0);
    assert_eq!(differences("json", r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#), 1);
    assert_eq!(differences("json", r#"{"a":1,"b":2}"#, r#"{"a":true,"c":2}"#), 3);
    assert_eq!(differences("json", r#"{"a":"in shard 4"}"#, r#"{"a":"in shard 77"}"#), 0);
    assert_eq!(
        differences("json", r#"{"columns":["x","y"],"values":[[1,2]]}"#, r#"{"columns":["x","y"],"values":[[3,2]]}"#),
        0
    );
    assert_eq!(differences("json-unordered", r#"{"values":[[1],[2]]}"#, r#"{"values":[[2],[1]]}"#), 0);
    assert_eq!(differences("json-unordered", r#"{"values":[[1],[2]]}"#, r#"{"values":[[2],[2]]}"#), 1);
    assert_eq!(differences("json-keys", r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":2},{"c":1}]}"#), 0);
    assert_eq!(differences("json-keys", r#"{"a":1}"#, r#"{"a":"1"}"#), 1);
    assert_eq!(differences("csv", "a,1.0\n", "a,1\n"), 0);
    assert_eq!(differences("text", "a", "b"), 1);
    assert_eq!(differences("status-only", "a", "b"), 0);
}
