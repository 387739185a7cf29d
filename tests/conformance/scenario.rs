//! Scenarios as they stand in the files: steps to send and what each must answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Some requests and their answers, in an order, on databases of their own.
#[derive(Debug, Deserialize)]
pub struct Scenario {
    pub name: String,
    pub group: String,
    pub config: String,
    /// Every database is dropped before.
    #[serde(default)]
    pub needs_empty: bool,
    pub steps: Vec<Step>,
}

/// One request and its answer.
#[derive(Debug, Deserialize)]
pub struct Step {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub query: Vec<(String, String)>,
    pub raw_query: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub body_b64: Option<String>,
    /// Wait before sending.
    #[serde(default)]
    pub sleep_ms: u64,
    /// Send again until the answer is right, for so long.
    #[serde(default)]
    pub retry_ms: u64,
    pub expect: Expect,
}

/// What an answer must be.
#[derive(Debug, Deserialize)]
pub struct Expect {
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub headers_present: Vec<String>,
    #[serde(default)]
    pub headers_absent: Vec<String>,
    #[serde(default)]
    pub compare: Compare,
    pub body: Option<String>,
    pub body_b64: Option<String>,
    /// Columns whose values do not count.
    #[serde(default)]
    pub ignore: Vec<String>,
}

/// How bodies are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    #[default]
    Json,
    JsonUnordered,
    JsonKeys,
    Csv,
    Msgpack,
    Snappy,
    Text,
    StatusOnly,
}

/// A request ready to be sent.
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

/// All scenarios of all JSON files of a folder, in the order of their names.
pub fn load(folder: &Path) -> Vec<Scenario> {
    let listing = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = listing.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut scenarios = Vec::new();
    for path in paths {
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let more: Vec<Scenario> =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        scenarios.extend(more);
    }
    scenarios
}

impl Step {
    /// The request, with `{{now}}` filled in.
    pub fn request(&self, now_ns: i64) -> Request {
        let query = match &self.raw_query {
            Some(query) => filled(query, now_ns),
            None => {
                let mut pairs = form_urlencoded::Serializer::new(String::new());
                for (key, value) in &self.query {
                    pairs.append_pair(key, &filled(value, now_ns));
                }
                pairs.finish()
            }
        };
        let target = if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) };
        let body = match (&self.body, &self.body_b64) {
            (Some(text), _) => Some(filled(text, now_ns).into_bytes()),
            (None, Some(text)) => Some(unpacked(text)),
            (None, None) => None,
        };
        let headers = self.headers.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Request { method: self.method.clone(), target, headers, body }
    }
}

impl Expect {
    /// The body as bytes.
    pub fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_b64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(text)) => unpacked(text),
            (None, None) => Vec::new(),
        }
    }
}

fn unpacked(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("the file holds base64")
}

/// Replaces `{{now}}`, `{{now-2h}}`, `{{now+1d:s}}`: the start of the scenario, moved, in ns or the unit named last.
fn filled(text: &str, now_ns: i64) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{now") {
        let inner = &rest[start + 5..];
        let filling = inner.find("}}").and_then(|end| Some((number(&inner[..end], now_ns)?, end)));
        result.push_str(&rest[..start]);
        match filling {
            Some((number, end)) => {
                result.push_str(&number.to_string());
                rest = &inner[end + 2..];
            }
            None => {
                result.push_str("{{now");
                rest = inner;
            }
        }
    }
    result + rest
}

/// The number that `-2h:s`, the inside of a placeholder, stands for.
fn number(inside: &str, now_ns: i64) -> Option<i64> {
    let (shift, unit) = inside.split_once(':').unwrap_or((inside, "ns"));
    let moved = match shift.strip_prefix('-').map(|length| (-1, length)).or(shift.strip_prefix('+').map(|l| (1, l))) {
        None if shift.is_empty() => now_ns,
        None => return None,
        Some((sign, length)) => {
            let digits = length.find(|letter: char| !letter.is_ascii_digit())?;
            now_ns + sign * length[..digits].parse::<i64>().ok()? * unit_ns(&length[digits..])?
        }
    };
    Some(moved.div_euclid(unit_ns(unit)?))
}

fn unit_ns(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "u" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 604_800_000_000_000,
        _ => return None,
    })
}

/// Facts that the rest relies on; the target has no test harness, so `main` asks for them.
pub fn self_check() {
    let now = 1_000_000_000_000_000_000;
    assert_eq!(filled("a {{now}} b", now), "a 1000000000000000000 b");
    assert_eq!(filled("{{now-2h:s}},{{now+1ms}}", now), "999992800,1000000000001000000");
    assert_eq!(filled("{{now?}} {{no", now), "{{now?}} {{no");
}
