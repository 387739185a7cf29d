//! Recorded answers of stock, played against a view and a fabric in memory: several cores, shards and block sizes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::exec;
use crate::exec::Executor;
use crate::exec::view::Column;
use crate::exec::view::Cursor;
use crate::exec::view::PartitionInfo;
use crate::exec::view::ReadError;
use crate::exec::view::ReadRequest;
use crate::exec::view::RowBlock;
use crate::exec::view::View;
use crate::meta;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::ResultPiece;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::query::Options;
use crate::query::QueryRun;
use crate::query::fabric::Fabric;
use crate::query::fabric::FabricError;
use crate::query::request::QueryRequest;
use crate::series::Index;

const WEEK: i64 = 7 * 24 * 3600 * 1_000_000_000;

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Float(f64),
    Integer(i64),
    String(Bytes),
    Boolean(bool),
}

type Points = BTreeMap<Timestamp, BTreeMap<Bytes, Field>>;

/// One database of one shard.
#[derive(Default)]
struct Stored {
    index: Index,
    series: BTreeMap<u32, (Bytes, Points)>,
}

/// A shard in memory.
#[derive(Clone, Default)]
struct FakeView {
    databases: Rc<RefCell<BTreeMap<DatabaseId, Stored>>>,
    block_rows: usize,
}

impl FakeView {
    fn write(&self, database: DatabaseId, line: &Line) {
        let mut databases = self.databases.borrow_mut();
        let stored = databases.entry(database).or_default();
        let id = stored.index.lookup(&line.key).unwrap_or_else(|| {
            let id = SeriesId(stored.series.len() as u32);
            stored.index.insert(id, &line.key).expect("a key of the tests is canonical");
            id
        });
        let (_, points) = stored.series.entry(id.0).or_insert_with(|| (line.measurement.clone(), Points::new()));
        points.entry(line.time).or_default().extend(line.fields.iter().cloned());
    }
}

impl View for FakeView {
    type Cursor = FakeCursor;

    fn index<R>(&self, database: DatabaseId, look: impl FnOnce(&Index) -> R) -> Option<R> {
        self.databases.borrow().get(&database).map(|stored| look(&stored.index))
    }

    fn partitions(&self, database: DatabaseId, _: PolicyId, range: TimeRange) -> Vec<PartitionInfo> {
        let mut groups: BTreeMap<i64, roaring::RoaringBitmap> = BTreeMap::new();
        if let Some(stored) = self.databases.borrow().get(&database) {
            for (id, (_, points)) in &stored.series {
                for time in points.keys() {
                    groups.entry(time.div_euclid(WEEK)).or_default().insert(*id);
                }
            }
        }
        let info = |(group, series): (i64, roaring::RoaringBitmap)| PartitionInfo {
            group: GroupId(group as u64),
            range: TimeRange { min: group * WEEK, max: group * WEEK + WEEK - 1 },
            series,
        };
        groups.into_iter().map(info).filter(|info| !info.range.intersect(range).is_empty()).collect()
    }

    fn fields(
        &self,
        database: DatabaseId,
        _: PolicyId,
        measurement: &[u8],
        range: TimeRange,
    ) -> Vec<(Bytes, FieldType)> {
        let mut fields = BTreeSet::new();
        if let Some(stored) = self.databases.borrow().get(&database) {
            for (_, points) in stored.series.values().filter(|(name, _)| **name == *measurement) {
                for (time, values) in points {
                    let group = time.div_euclid(WEEK) * WEEK;
                    let group = TimeRange { min: group, max: group + WEEK - 1 };
                    if !group.intersect(range).is_empty() {
                        fields.extend(values.iter().map(|(name, value)| (name.clone(), type_of(value))));
                    }
                }
            }
        }
        fields.into_iter().collect()
    }

    fn read(&self, request: ReadRequest) -> FakeCursor {
        let databases = self.databases.borrow();
        let points = databases.get(&request.database).and_then(|stored| stored.series.get(&request.series.0));
        let mut rows: Vec<(Timestamp, BTreeMap<Bytes, Field>)> = points
            .into_iter()
            .flat_map(|(_, points)| points)
            .filter(|(time, values)| {
                request.range.contains(**time) && request.fields.iter().any(|name| values.contains_key(name))
            })
            .map(|(time, values)| (*time, values.clone()))
            .collect();
        if request.descending {
            rows.reverse();
        }
        rows.reverse();
        FakeCursor { rows, fields: request.fields, block_rows: self.block_rows }
    }

    async fn yield_now(&self) {}
}

fn type_of(field: &Field) -> FieldType {
    match field {
        Field::Float(_) => FieldType::Float,
        Field::Integer(_) => FieldType::Integer,
        Field::String(_) => FieldType::String,
        Field::Boolean(_) => FieldType::Boolean,
    }
}

/// Rows to come, last first.
struct FakeCursor {
    rows: Vec<(Timestamp, BTreeMap<Bytes, Field>)>,
    fields: Vec<Bytes>,
    block_rows: usize,
}

impl Cursor for FakeCursor {
    type Passed = std::convert::Infallible;

    async fn next(&mut self) -> Result<Option<RowBlock>, ReadError> {
        let mut rows = Vec::new();
        while let Some((time, _)) = self.rows.last() {
            let first = rows.first().map_or(*time, |(first, _): &(Timestamp, _)| *first);
            if rows.len() == self.block_rows || first.div_euclid(WEEK) != time.div_euclid(WEEK) {
                break;
            }
            rows.extend(self.rows.pop());
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let columns = self.fields.iter().map(|name| column(name, &rows)).collect();
        Ok(Some(RowBlock { times: rows.iter().map(|(time, _)| *time).collect(), columns }))
    }
}

fn column(name: &Bytes, rows: &[(Timestamp, BTreeMap<Bytes, Field>)]) -> Option<Column> {
    let mut builder = crate::exec::column::ColumnBuilder::default();
    for (_, values) in rows {
        builder.push_cell(match values.get(name) {
            None => Cell::Null,
            Some(Field::Float(value)) => Cell::Float(*value),
            Some(Field::Integer(value)) => Cell::Integer(*value),
            Some(Field::String(value)) => Cell::String(value.clone()),
            Some(Field::Boolean(value)) => Cell::Boolean(*value),
        });
    }
    builder.finish()
}

/// Cores in one thread.
#[derive(Clone)]
struct FakeFabric {
    cores: Rc<Vec<Executor<FakeView>>>,
    catalog: Arc<meta::Catalog>,
}

impl Fabric for FakeFabric {
    fn core_count(&self) -> usize {
        self.cores.len()
    }

    fn catalog(&self) -> Arc<meta::Catalog> {
        self.catalog.clone()
    }

    async fn ask(&self, core: usize, request: exec::Request) -> Result<exec::Response, FabricError> {
        Ok(self.cores[core].handle(request).await)
    }

    async fn write(&self, database: &str, _: &str, lines: Vec<u8>) -> Result<(), FabricError> {
        let text = String::from_utf8(lines).expect("text");
        Server { fabric: self.clone() }.write(database, &text, 1);
        Ok(())
    }

    async fn change(&self, command: meta::Command) -> Result<meta::Outcome, meta::MetaError> {
        meta::apply(&self.catalog, &command, 0).map(|(_, outcome)| outcome)
    }
}

/// A line of the tests: no escapes.
struct Line {
    key: Bytes,
    measurement: Bytes,
    fields: Vec<(Bytes, Field)>,
    time: Timestamp,
}

fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

fn parse_line(line: &str, unit: i64) -> Line {
    let (key, rest) = line.split_once(' ').expect("a key");
    let (fields, time) = rest.rsplit_once(' ').expect("fields and a time");
    let measurement = key.split(',').next().expect("a measurement");
    let field = |text: &str| {
        let (name, value) = text.split_once('=').expect("name and value");
        let value = if let Some(text) = value.strip_prefix('"') {
            Field::String(bytes(text.trim_end_matches('"')))
        } else if let Some(number) = value.strip_suffix('i') {
            Field::Integer(number.parse().expect("an integer"))
        } else if value == "true" || value == "false" {
            Field::Boolean(value == "true")
        } else {
            Field::Float(value.parse().expect("a float"))
        };
        (bytes(name), value)
    };
    Line {
        key: bytes(key),
        measurement: bytes(measurement),
        fields: fields.split(',').map(field).collect(),
        time: time.parse::<i64>().expect("a time") * unit,
    }
}

/// A server of `cores` with two shards each.
struct Server {
    fabric: FakeFabric,
}

impl Server {
    fn new(cores: usize, block_rows: usize, databases: &[&str]) -> Server {
        let mut catalog = meta::Catalog::new(meta::Options { retention_autocreate: true });
        for name in databases {
            let command = meta::Command::CreateDatabase { name: (*name).into(), policy: None };
            catalog = meta::apply(&catalog, &command, 0).expect("a new database").0;
        }
        let view = || FakeView { block_rows, ..FakeView::default() };
        let cores = (0..cores).map(|_| Executor::new(vec![view(), view()])).collect();
        Server { fabric: FakeFabric { cores: Rc::new(cores), catalog: Arc::new(catalog) } }
    }

    fn write(&self, database: &str, lines: &str, unit: i64) {
        let id = self.fabric.catalog.database(database).expect("a database").id;
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let line = parse_line(line.trim(), unit);
            let hash = line.key.iter().fold(7_usize, |hash, byte| hash.wrapping_mul(31) + *byte as usize);
            let core = &self.fabric.cores[hash % self.fabric.cores.len()];
            core.views()[hash / 7 % 2].write(id, &line);
        }
    }

    fn run(&self, database: &str, text: &str, chunk_size: Option<usize>) -> QueryRun<FakeFabric> {
        let request = QueryRequest {
            text: text.into(),
            database: database.into(),
            chunk_size,
            now_ns: 1_700_000_000_000_000_000,
            ..QueryRequest::default()
        };
        let run = crate::query::run(self.fabric.clone(), request, Options::default());
        run.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn pieces(&self, database: &str, text: &str, chunk_size: Option<usize>) -> Vec<ResultPiece> {
        let mut run = self.run(database, text, chunk_size);
        futures_lite::future::block_on(async {
            let mut pieces = Vec::new();
            while let Some(piece) = run.next().await {
                pieces.push(piece);
            }
            pieces
        })
    }

    fn answer(&self, database: &str, text: &str, unit: &str) -> Json {
        let mut results: Vec<Json> = Vec::new();
        for piece in self.pieces(database, text, Some(2)) {
            let id = piece.statement_id as usize;
            if results.len() <= id {
                results.push(serde_json::json!({ "statement_id": id }));
            }
            if let Some(error) = piece.error {
                results[id]["error"] = error.into();
            }
            for set in piece.series {
                let rows = set.rows.iter().map(|row| row.iter().map(|cell| json(cell, unit)).collect::<Json>());
                let mut one = serde_json::json!({});
                one["name"] = text_of(set.name.as_deref().unwrap_or_default());
                if !set.tags.is_empty() {
                    let pair = |(key, value): &(Bytes, Bytes)| (String::from_utf8_lossy(key).into(), text_of(value));
                    one["tags"] = Json::Object(set.tags.iter().map(pair).collect());
                }
                one["columns"] = set.columns.iter().map(|name| text_of(name)).collect();
                if results[id].get("series").is_none() {
                    results[id]["series"] = Json::Array(Vec::new());
                }
                let series = results[id]["series"].as_array_mut().expect("an array");
                let same = |last: &Json| last["name"] == one["name"] && last.get("tags") == one.get("tags");
                match series.last_mut() {
                    Some(last) if same(last) => last["values"].as_array_mut().expect("rows").extend(rows),
                    _ => {
                        one["values"] = rows.collect();
                        series.push(one);
                    }
                }
            }
        }
        serde_json::json!({ "results": results })
    }
}

fn text_of(text: &[u8]) -> Json {
    String::from_utf8_lossy(text).into_owned().into()
}

fn json(cell: &Cell, unit: &str) -> Json {
    match cell {
        Cell::Null => Json::Null,
        Cell::Time { ns, utc_offset_s } => match unit {
            "rfc" => rfc3339(*ns, *utc_offset_s).into(),
            "s" => (ns / 1_000_000_000).into(),
            _ => (*ns).into(),
        },
        Cell::Float(value) => (*value).into(),
        Cell::Integer(value) => (*value).into(),
        Cell::Unsigned(value) => (*value).into(),
        Cell::Boolean(value) => (*value).into(),
        Cell::String(text) => text_of(text),
        Cell::List(_) => Json::Null,
    }
}

fn rfc3339(ns: i64, offset_s: i32) -> String {
    let offset = jiff::tz::Offset::from_seconds(offset_s).expect("an offset");
    let instant = jiff::Timestamp::from_nanosecond(i128::from(ns)).expect("a time");
    let local = offset.to_datetime(instant);
    let zone = match offset_s {
        0 => "Z".to_owned(),
        _ => {
            let sign = if offset_s < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", offset_s.abs() / 3600, offset_s.abs() / 60 % 60)
        }
    };
    format!("{local}{zone}")
}

/// Equal but for the way numbers are written and their last bits.
fn is_same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| is_same(left, right)))
        }
        (Json::Number(left), Json::Number(right)) => {
            let (left_text, right_text) = (left.to_string(), right.to_string());
            let (left, right): (f64, f64) = (left_text.parse().unwrap(), right_text.parse().unwrap());
            left_text == right_text || left == right || ((left - right) / right).abs() < 1e-12
        }
        _ => left == right,
    }
}

const REF_SECONDS: &str = r#"
cpu,host=a,region=eu usage=10,idle=90i,ok=true,note="x" 1577836800
cpu,host=a,region=eu usage=20,idle=80i,ok=false 1577836810
cpu,host=a,region=eu usage=30,idle=70i,ok=true,note="y" 1577836860
cpu,host=b,region=us usage=5,idle=95i,ok=true 1577836800
cpu,host=b,region=us usage=25,idle=75i 1577836830
cpu,host=c usage=40,idle=60i,note="z" 1577836890
cpu,host=a,region=eu usage=50,idle=50i 1577837040
li n=0i,f=0 0
li n=10i,f=1 180
li n=-5i,f=2 240
ma v=1 0
ma v=2 1
ma v=4 2
ma v=8 3
ma v=7 4
ma v=5 5
ma v=6 6
ma v=9 7
"#;

const REF_NANOSECONDS: &str = r#"
one v=5,n=5i,s="x",b=true 42
fn,h=a v=1,n=1i 1000000000
fn,h=a v=4,n=4i 2000000000
fn,h=a v=4,n=4i 4000000000
fn,h=a v=2,n=2i 7000000000
fn,h=b v=9,n=9i 2000000000
fn,h=b v=3,n=3i 4000000000
fn,h=b v=0.5,n=-5i 10000000000
ty,t=1 f=1.5,i=7i,s="abc",b=true 0
ty,t=1 f=-2.5,i=-3i,s="abd",b=false 1
ty,t=2 f=0,i=2i,s="",b=true 2
ty i=4i 3
ty,t=2 f=2.5 4
ft,host=tagval host="fieldval",v=1 0
ft,host=tagval v=2 1
tie,h=a v=5,w=1 1
tie,h=b v=5,w=2 1
tie,h=c v=7,w=3 1
tie,h=a v=7,w=4 2
tie,h=b v=3,w=5 2
mem,host=a used=1 0
mem,host=b used=2 1
mem2,host=a used=3 0
big n=9223372036854775807i 1
big n=1i 2
big n=-5i 3
"#;

fn recorded_server(cores: usize, block_rows: usize) -> Server {
    let server = Server::new(cores, block_rows, &["ref", "tc", "sl"]);
    server.write("ref", REF_SECONDS, 1_000_000_000);
    server.write("ref", REF_NANOSECONDS, 1);
    let cycle = [1, 2, 3, 2];
    for minute in 0..12_i64 {
        let v = cycle[minute as usize % 4];
        server.write("ref", &format!("hw v={v},n={}i {}", 10 * v, minute * 60), 1_000_000_000);
    }
    for start in [1_552_089_600_i64, 1_572_652_800] {
        for hour in 0..96 {
            server.write("ref", &format!("dst v=1 {}", start + hour * 3600), 1_000_000_000);
        }
    }
    let day = 86_400;
    let tc = format!(
        "m,h=a x=1i,y=1.5 0\nm,h=a x=2i,y=2.5 60\nm,h=a x=3.5,y=3i {}\nm,h=a x=4.5,y=4i {}\nm,h=a x=\"str\",y=true {}",
        30 * day,
        30 * day + 60,
        60 * day
    );
    server.write("tc", &tc, 1_000_000_000);
    let sl = format!("m,h=b v=1 0\nm,h=a v=2 {}\nm,h=b v=3 {}", 30 * day, 30 * day + 1);
    server.write("sl", &sl, 1_000_000_000);
    server
}

/// Answers that stock leaves to chance or that we deliberately give differently.
const DIFFERENT: &[(&str, &str)] = &[
    ("E300", "SLIMIT chooses in each shard group, which the catalog of these tests has none of"),
    ("E301", "the same"),
    ("E165", "windowed transformations without a lower bound: stock wraps around and returns nothing"),
    ("E352", "data of this measurement is not on the page"),
];

fn check_recorded(cores: usize, block_rows: usize) {
    let server = recorded_server(cores, block_rows);
    let mut failures = Vec::new();
    let mut passed = 0;
    for case in include_str!("cases.txt").split("\n\n") {
        let mut lines = case.trim().lines();
        let (Some(head), Some(query), Some(expected)) = (lines.next(), lines.next(), lines.next()) else { continue };
        let mut head = head.split(' ');
        let (name, database, unit) = (head.next().unwrap(), head.next().unwrap(), head.next().unwrap());
        if DIFFERENT.iter().any(|(different, _)| *different == name) {
            continue;
        }
        let expected: Json = serde_json::from_str(expected).expect("recorded JSON");
        let found = server.answer(database, query, unit);
        if is_same(&found, &expected) {
            passed += 1;
        } else {
            failures.push(format!("{name} {query}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(failures.is_empty(), "{passed} passed, {} failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn answers_are_those_recorded_from_stock() {
    check_recorded(1, 1000);
}

#[test]
fn answers_do_not_depend_on_cores_and_blocks() {
    check_recorded(3, 2);
}

#[test]
fn a_query_lets_others_run_while_it_fills_windows() {
    use futures_lite::future::poll_once;
    let server = recorded_server(1, 1000);
    let mut run = server.run("ref", "SELECT count(v) FROM one GROUP BY time(1d)", Some(100_000));
    let mut polls = 1;
    let piece = futures_lite::future::block_on(async {
        let mut next = std::pin::pin!(run.next());
        loop {
            match poll_once(&mut next).await {
                Some(piece) => break piece,
                None => polls += 1,
            }
        }
    });
    let rows = piece.expect("a piece").series[0].rows.len();
    assert!(rows > 19_000 && polls > 15, "{rows} rows in {polls} polls");
}
