//! Ten spot queries, with the answers computed from the generator.
//!
//! In:    the workload, replayed; a running server.
//! Out:   for each query the rows that came back, and where they differ from the rows that should have.
//!
//! Every query has one right answer: no ties between points, no order left open.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::drive::Client;
use crate::generate;
use crate::generate::FIELDS_MAX;
use crate::generate::START_NS;
use crate::generate::STEP_NS;
use crate::generate::Shape;
use crate::generate::Workload;

/// Most series one spot query groups by.
const GROUPS_MAX: usize = 10_000;
/// Most differences named for one query.
const DIFFERENCES_MAX: usize = 5;
/// Floats are summed in another order on each side.
const TOLERANCE: f64 = 1e-9;
const MINUTE_NS: i64 = 60_000_000_000;

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    name: String,
    tags: BTreeMap<String, String>,
    columns: Vec<String>,
    values: Vec<Vec<Value>>,
}

impl Rows {
    /// The value beside the time, of an answer of one row of one column.
    pub fn only_value(&self) -> Option<&Value> {
        self.values.first()?.get(1)
    }
}

/// A query and its answer.
pub struct Check {
    /// What it looks at.
    pub name: &'static str,
    /// The query.
    pub query: String,
    /// What must come back.
    pub expected: Vec<Rows>,
}

struct Series {
    tags: BTreeMap<&'static str, String>,
    points: Vec<(i64, [i16; FIELDS_MAX])>,
}

/// All points of a workload by series, each in order of time.
struct Model {
    shape: Shape,
    series: Vec<Series>,
    steps: i64,
}

impl Model {
    fn new(workload: &Workload) -> Model {
        let mut series: BTreeMap<u64, Series> = BTreeMap::new();
        for point in generate::points(workload) {
            let new =
                || Series { tags: generate::tags(workload, point.series).into_iter().collect(), points: Vec::new() };
            series.entry(point.series).or_insert_with(new).points.push((point.time, point.values));
        }
        let mut series: Vec<Series> = series.into_values().collect();
        for one in &mut series {
            one.points.sort_unstable();
        }
        Model { shape: workload.shape, series, steps: workload.lines.div_ceil(workload.series) as i64 }
    }

    /// Series that `keep` accepts, by the values of `keys`.
    fn groups(&self, keys: &[&str], keep: impl Fn(&Series) -> bool) -> BTreeMap<Vec<String>, Vec<&Series>> {
        let mut groups: BTreeMap<Vec<String>, Vec<&Series>> = BTreeMap::new();
        for series in self.series.iter().filter(|series| keep(series)) {
            groups.entry(keys.iter().map(|key| series.tags[*key].clone()).collect()).or_default().push(series);
        }
        groups
    }

    fn rows(&self, keys: &[&str], group: &[String], columns: &[&str], values: Vec<Vec<Value>>) -> Rows {
        Rows {
            name: self.shape.measurement().to_owned(),
            tags: keys.iter().map(|key| (*key).to_owned()).zip(group.iter().cloned()).collect(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            values,
        }
    }

    /// A stored value, or a sum of such, as it is printed.
    fn number(&self, stored: i64) -> Value {
        match self.shape {
            Shape::Tsbs => Value::from(stored),
            Shape::Floats => Value::from(stored as f64 / 100.0),
        }
    }

    /// The middle half of the time written, from (inclusive) and until (exclusive).
    fn middle(&self) -> (i64, i64) {
        (START_NS + self.steps / 4 * STEP_NS, START_NS + (self.steps - self.steps / 4) * STEP_NS)
    }

    /// The series with most points, first of several.
    fn longest(&self) -> &Series {
        let longest = self.series.iter().map(|series| series.points.len()).max();
        self.series.iter().find(|series| Some(series.points.len()) == longest).expect("a workload has a series")
    }

    /// As many zeros at the end of a name as leave at most [`GROUPS_MAX`] series.
    fn few(&self) -> String {
        let key = self.shape.name_tag();
        let mut suffix = String::new();
        while self.series.iter().filter(|series| series.tags[key].ends_with(&suffix)).count() > GROUPS_MAX {
            suffix.push('0');
        }
        suffix
    }
}

fn field(series: &[&Series], index: usize) -> impl Iterator<Item = i64> {
    series.iter().flat_map(move |one| one.points.iter().map(move |(_, values)| i64::from(values[index])))
}

/// The ten queries for a workload.
pub fn checks(workload: &Workload) -> Vec<Check> {
    let model = Model::new(workload);
    vec![
        counts_and_sums(&model),
        extremes_by_series(&model),
        raw_rows(&model),
        last_values(&model),
        mean_by_minute(&model),
        tag_filter(&model),
        regex_filter(&model),
        two_tags(&model),
        newest_with_offset(&model),
        field_filter(&model),
    ]
}

fn counts_and_sums(model: &Model) -> Check {
    let all: Vec<&Series> = model.series.iter().collect();
    let mut columns = vec!["time".to_owned()];
    let mut selected = Vec::new();
    let mut row = vec![Value::from(0)];
    for (index, name) in model.shape.fields().iter().enumerate() {
        selected.push(format!("count(\"{name}\") AS \"c_{name}\", sum(\"{name}\") AS \"s_{name}\""));
        columns.push(format!("c_{name}"));
        columns.push(format!("s_{name}"));
        row.push(Value::from(field(&all, index).count()));
        row.push(model.number(field(&all, index).sum()));
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Check {
        name: "count and sum of each field",
        query: format!("SELECT {} FROM \"{}\"", selected.join(", "), model.shape.measurement()),
        expected: vec![model.rows(&[], &[], &columns, vec![row])],
    }
}

fn extremes_by_series(model: &Model) -> Check {
    let key = model.shape.name_tag();
    let suffix = model.few();
    let last = model.shape.fields().len() - 1;
    let expected = model
        .groups(&[key], |series| series.tags[key].ends_with(&suffix))
        .iter()
        .map(|(group, series)| {
            let least = field(series, 0).min().unwrap_or_default();
            let greatest = field(series, last).max().unwrap_or_default();
            let row = vec![Value::from(0), model.number(least), model.number(greatest)];
            model.rows(&[key], group, &["time", "least", "greatest"], vec![row])
        })
        .collect();
    Check {
        name: "min and max of each series",
        query: format!(
            "SELECT min(\"{}\") AS least, max(\"{}\") AS greatest FROM \"{}\" WHERE \"{key}\" =~ /{suffix}$/ GROUP BY \
             \"{key}\"",
            model.shape.fields()[0],
            model.shape.fields()[last],
            model.shape.measurement()
        ),
        expected,
    }
}

fn raw_rows(model: &Model) -> Check {
    let key = model.shape.name_tag();
    let series = model.longest();
    let (from, until) = model.middle();
    let mut columns = vec!["time"];
    columns.extend(model.shape.fields());
    columns.push(key);
    let values = series.points.iter().filter(|(time, _)| (from..until).contains(time)).map(|(time, values)| {
        let mut row = vec![Value::from(*time)];
        row.extend(values[..model.shape.fields().len()].iter().map(|value| model.number(i64::from(*value))));
        row.push(Value::from(series.tags[key].as_str()));
        row
    });
    let values: Vec<Vec<Value>> = values.collect();
    let quoted: Vec<String> = columns[1..].iter().map(|column| format!("\"{column}\"")).collect();
    Check {
        name: "raw rows of one series",
        query: format!(
            "SELECT {} FROM \"{}\" WHERE \"{key}\" = '{}' AND time >= {from} AND time < {until}",
            quoted.join(", "),
            model.shape.measurement(),
            series.tags[key]
        ),
        expected: not_empty(model.rows(&[], &[], &columns, values)),
    }
}

fn last_values(model: &Model) -> Check {
    let key = model.shape.name_tag();
    let suffix = model.few();
    let expected = model
        .groups(&[key], |series| series.tags[key].ends_with(&suffix))
        .iter()
        .map(|(group, series)| {
            let (time, values) = series[0].points.last().expect("a series has a point");
            let row = vec![Value::from(*time), model.number(i64::from(values[0]))];
            model.rows(&[key], group, &["time", "last"], vec![row])
        })
        .collect();
    Check {
        name: "last value of each series",
        query: format!(
            "SELECT last(\"{}\") FROM \"{}\" WHERE \"{key}\" =~ /{suffix}$/ GROUP BY \"{key}\"",
            model.shape.fields()[0],
            model.shape.measurement()
        ),
        expected,
    }
}

fn mean_by_minute(model: &Model) -> Check {
    let (from, until) = model.middle();
    let mut windows: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (time, values) in model.series.iter().flat_map(|series| &series.points) {
        if (from..until).contains(time) {
            let window = windows.entry(time - time.rem_euclid(MINUTE_NS)).or_default();
            window.0 += model.shape.value(values[0]);
            window.1 += 1.0;
        }
    }
    let mut values = Vec::new();
    let mut start = from - from.rem_euclid(MINUTE_NS);
    while start < until && !windows.is_empty() {
        let mean = windows.get(&start).map_or(Value::Null, |(sum, count)| Value::from(sum / count));
        values.push(vec![Value::from(start), mean]);
        start += MINUTE_NS;
    }
    Check {
        name: "mean by minute",
        query: format!(
            "SELECT mean(\"{}\") FROM \"{}\" WHERE time >= {from} AND time < {until} GROUP BY time(1m)",
            model.shape.fields()[0],
            model.shape.measurement()
        ),
        expected: not_empty(model.rows(&[], &[], &["time", "mean"], values)),
    }
}

/// One row of count, sum, min and max over the series that `keep` accepts.
fn summary(model: &Model, name: &'static str, condition: &str, keep: impl Fn(&Series) -> bool) -> Check {
    let series: Vec<&Series> = model.series.iter().filter(|series| keep(series)).collect();
    let summed = |series: &[&Series]| {
        vec![
            Value::from(0),
            Value::from(field(series, 0).count()),
            model.number(field(series, 0).sum()),
            model.number(field(series, 0).min().unwrap_or_default()),
            model.number(field(series, 0).max().unwrap_or_default()),
        ]
    };
    let values = if series.is_empty() { Vec::new() } else { vec![summed(&series)] };
    let field = model.shape.fields()[0];
    Check {
        name,
        query: format!(
            "SELECT count(\"{field}\"), sum(\"{field}\"), min(\"{field}\"), max(\"{field}\") FROM \"{}\" WHERE \
             {condition}",
            model.shape.measurement()
        ),
        expected: not_empty(model.rows(&[], &[], &["time", "count", "sum", "min", "max"], values)),
    }
}

fn tag_filter(model: &Model) -> Check {
    let example = model.longest();
    let keys = model.shape.group_tags();
    let (first, last) = (keys[0], keys[keys.len() - 1]);
    let name = model.shape.name_tag();
    let condition = format!(
        "\"{first}\" = '{}' AND \"{last}\" = '{}' AND \"{name}\" != '{}'",
        example.tags[first], example.tags[last], model.series[0].tags[name]
    );
    summary(model, "tag filter", &condition, |series| {
        series.tags[first] == example.tags[first]
            && series.tags[last] == example.tags[last]
            && series.tags[name] != model.series[0].tags[name]
    })
}

fn regex_filter(model: &Model) -> Check {
    let name = model.shape.name_tag();
    let condition = format!("\"{name}\" =~ /[13579][0-4]?$/");
    summary(model, "regular expression", &condition, |series| {
        let digits: Vec<u8> = series.tags[name].bytes().rev().collect();
        let odd = |digit: Option<&u8>| digit.is_some_and(|digit| digit.is_ascii_digit() && digit % 2 == 1);
        odd(digits.first()) || ((b'0'..=b'4').contains(&digits[0]) && odd(digits.get(1)))
    })
}

fn two_tags(model: &Model) -> Check {
    let keys = model.shape.group_tags();
    let expected = model
        .groups(keys, |_| true)
        .iter()
        .map(|(group, series)| {
            let row = vec![Value::from(0), Value::from(field(series, 0).count()), model.number(field(series, 0).sum())];
            model.rows(keys, group, &["time", "count", "sum"], vec![row])
        })
        .collect();
    let quoted: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    let field = model.shape.fields()[0];
    Check {
        name: "grouped by tags",
        query: format!(
            "SELECT count(\"{field}\"), sum(\"{field}\") FROM \"{}\" GROUP BY {}",
            model.shape.measurement(),
            quoted.join(", ")
        ),
        expected,
    }
}

fn newest_with_offset(model: &Model) -> Check {
    let key = model.shape.name_tag();
    let series = model.longest();
    let rows = series.points.iter().rev().skip(3).take(7);
    let values = rows.map(|(time, values)| vec![Value::from(*time), model.number(i64::from(values[0]))]).collect();
    Check {
        name: "newest rows with limit and offset",
        query: format!(
            "SELECT \"{0}\" FROM \"{1}\" WHERE \"{key}\" = '{2}' ORDER BY time DESC LIMIT 7 OFFSET 3",
            model.shape.fields()[0],
            model.shape.measurement(),
            series.tags[key]
        ),
        expected: not_empty(model.rows(&[], &[], &["time", model.shape.fields()[0]], values)),
    }
}

fn field_filter(model: &Model) -> Check {
    let all: Vec<&Series> = model.series.iter().collect();
    let name = model.shape.fields()[0];
    let count = field(&all, 0).filter(|stored| model.shape.value(*stored as i16) >= 50.0).count();
    let values = if count == 0 { Vec::new() } else { vec![vec![Value::from(0), Value::from(count)]] };
    Check {
        name: "field filter",
        query: format!("SELECT count(\"{name}\") FROM \"{}\" WHERE \"{name}\" >= 50", model.shape.measurement()),
        expected: not_empty(model.rows(&[], &[], &["time", "count"], values)),
    }
}

/// An answer without rows has no series.
fn not_empty(rows: Rows) -> Vec<Rows> {
    if rows.values.is_empty() { Vec::new() } else { vec![rows] }
}

/// Asks a server; the error says what came back instead of rows.
pub fn ask(client: &mut Client, query: &str) -> Result<Vec<Rows>, String> {
    let answer = client.query(generate::DATABASE, query).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer.body);
    let shown: String = text.chars().take(300).collect();
    let value: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("{error}: {shown}"))?;
    let result = &value["results"][0];
    if answer.status != 200 || !result.is_object() || !result["error"].is_null() {
        return Err(format!("{} {shown}", answer.status));
    }
    let Some(series) = result["series"].as_array() else { return Ok(Vec::new()) };
    series.iter().map(|one| parse(one).ok_or_else(|| format!("not understood: {shown}"))).collect()
}

fn parse(series: &Value) -> Option<Rows> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let tags = series["tags"].as_object().into_iter().flatten();
    Some(Rows {
        name: text(&series["name"])?,
        tags: tags.map(|(key, value)| Some((key.clone(), text(value)?))).collect::<Option<_>>()?,
        columns: series["columns"].as_array()?.iter().map(text).collect::<Option<_>>()?,
        values: series["values"].as_array()?.iter().map(|row| row.as_array().cloned()).collect::<Option<_>>()?,
    })
}

/// Where two answers differ, the first few places.
pub fn differences(left: &[Rows], right: &[Rows]) -> Vec<String> {
    let mut found = Vec::new();
    if left.len() != right.len() {
        found.push(format!("{} series against {}", left.len(), right.len()));
    }
    for (left, right) in left.iter().zip(right) {
        let place = format!("{}{:?}", left.name, left.tags);
        if (&left.name, &left.tags) != (&right.name, &right.tags) {
            found.push(format!("series {place} against {}{:?}", right.name, right.tags));
        } else if left.columns != right.columns {
            found.push(format!("{place}: columns {:?} against {:?}", left.columns, right.columns));
        } else {
            if left.values.len() != right.values.len() {
                found.push(format!("{place}: {} rows against {}", left.values.len(), right.values.len()));
            }
            row_differences(&place, left, right, &mut found);
        }
        if found.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    found.truncate(DIFFERENCES_MAX);
    found
}

fn row_differences(place: &str, left: &Rows, right: &Rows, found: &mut Vec<String>) {
    for (index, (left_row, right_row)) in left.values.iter().zip(&right.values).enumerate() {
        let same = left_row.len() == right_row.len() && left_row.iter().zip(right_row).all(|(l, r)| same_cell(l, r));
        if !same {
            let (left_row, right_row) = (Value::from(left_row.clone()), Value::from(right_row.clone()));
            found.push(format!("{place} row {index}: {left_row} against {right_row}"));
        }
        if found.len() >= DIFFERENCES_MAX {
            return;
        }
    }
}

fn same_cell(left: &Value, right: &Value) -> bool {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return left == right;
    }
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => (left - right).abs() <= TOLERANCE * left.abs().max(right.abs()),
        _ => left == right,
    }
}
