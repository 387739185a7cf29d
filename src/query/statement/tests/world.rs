//! A server made of maps: several cores and shards, real executors, a catalog that is applied in place.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::exec;
use crate::exec::lookup;
use crate::exec::view::Column;
use crate::exec::view::Cursor;
use crate::exec::view::PartitionInfo;
use crate::exec::view::ReadError;
use crate::exec::view::ReadRequest;
use crate::exec::view::RowBlock;
use crate::exec::view::View;
use crate::influxql;
use crate::meta;
use crate::meta::Catalog;
use crate::meta::Command;
use crate::model::Cell;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::query::fabric::FabricError;
use crate::query::statement::*;
use crate::series::Index;

pub const CORES: usize = 2;
pub const SHARDS: usize = 3;
pub const NOW: Timestamp = 1_790_000_000_000_000_000;

/// What one shard holds.
#[derive(Default)]
pub struct Data {
    pub indexes: BTreeMap<DatabaseId, Index>,
    pub partitions: BTreeMap<(DatabaseId, PolicyId, GroupId), Partition>,
}

#[derive(Default)]
pub struct Partition {
    pub range: Option<TimeRange>,
    pub points: BTreeSet<(u32, Timestamp)>,
    pub fields: BTreeSet<(Vec<u8>, Bytes, FieldType)>,
}

#[derive(Clone, Default)]
pub struct Shard(pub Rc<RefCell<Data>>);

pub struct Points(pub Option<RowBlock>);

impl Cursor for Points {
    type Passed = std::convert::Infallible;

    async fn next(&mut self) -> Result<Option<RowBlock>, ReadError> {
        Ok(self.0.take())
    }
}

impl View for Shard {
    type Cursor = Points;

    fn index<R>(&self, database: DatabaseId, look: impl FnOnce(&Index) -> R) -> Option<R> {
        self.0.borrow().indexes.get(&database).map(look)
    }

    fn partitions(&self, database: DatabaseId, policy: PolicyId, range: TimeRange) -> Vec<PartitionInfo> {
        let data = self.0.borrow();
        let mine = data.partitions.iter().filter(|((d, p, _), _)| (*d, *p) == (database, policy));
        let infos = mine.map(|((_, _, group), partition)| PartitionInfo {
            group: *group,
            range: partition.range.expect("set when made"),
            series: partition.points.iter().map(|(series, _)| *series).collect(),
        });
        infos.filter(|info| !info.range.intersect(range).is_empty()).collect()
    }

    fn fields(
        &self,
        database: DatabaseId,
        policy: PolicyId,
        measurement: &[u8],
        range: TimeRange,
    ) -> Vec<(Bytes, FieldType)> {
        let data = self.0.borrow();
        let mine = data.partitions.iter().filter(|((d, p, _), partition)| {
            (*d, *p) == (database, policy) && !partition.range.expect("set").intersect(range).is_empty()
        });
        let fields = mine.flat_map(|(_, partition)| &partition.fields).filter(|(of, _, _)| **of == *measurement);
        fields.map(|(_, name, of)| (name.clone(), *of)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn read(&self, request: ReadRequest) -> Points {
        let data = self.0.borrow();
        let mine = data.partitions.iter().filter(|((d, p, _), _)| (*d, *p) == (request.database, request.policy));
        let times: Vec<Timestamp> = mine
            .flat_map(|(_, partition)| &partition.points)
            .filter(|(series, time)| *series == request.series.0 && request.range.contains(*time))
            .map(|(_, time)| *time)
            .collect();
        let columns: Vec<Option<Column>> = request.fields.iter().map(|_| None).collect();
        Points((!times.is_empty()).then_some(RowBlock { times, columns }))
    }

    async fn yield_now(&self) {}
}

/// The server.
#[derive(Clone)]
pub struct World(pub Rc<Inner>);

pub struct Inner {
    pub catalog: RefCell<Arc<Catalog>>,
    pub cores: Vec<exec::Executor<Shard>>,
    pub shards: Vec<Shard>,
    pub next_series: RefCell<u32>,
    pub lookups: RefCell<usize>,
    /// Measurements whose fields were to be forgotten.
    pub forgotten: RefCell<Vec<Bytes>>,
}

impl Fabric for World {
    fn core_count(&self) -> usize {
        CORES
    }

    fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.borrow().clone()
    }

    async fn ask(&self, core: usize, request: exec::Request) -> Result<exec::Response, FabricError> {
        *self.0.lookups.borrow_mut() += 1;
        Ok(self.0.cores[core].handle(request).await)
    }

    async fn delete(&self, core: usize, select: lookup::Request, range: TimeRange) -> Result<(), FabricError> {
        for view in self.0.cores[core].views() {
            let series = lookup::select(view, &select).map_err(FabricError)?;
            let mut data = view.0.borrow_mut();
            for partition in data.partitions.values_mut() {
                partition.points.retain(|(id, time)| !series.contains(*id) || !range.contains(*time));
            }
            let points: Vec<u32> =
                data.partitions.values().flat_map(|partition| partition.points.iter().map(|point| point.0)).collect();
            let index = data.indexes.entry(select.database).or_default();
            for id in series.iter().filter(|id| !points.contains(id)) {
                index.remove(SeriesId(id));
            }
        }
        Ok(())
    }

    async fn forget(&self, _: DatabaseId, measurements: Vec<Bytes>) -> Result<(), FabricError> {
        self.0.forgotten.borrow_mut().extend(measurements);
        Ok(())
    }

    async fn change(&self, command: Command) -> Result<meta::Outcome, meta::MetaError> {
        let (next, outcome) = meta::apply(&self.catalog(), &command, NOW)?;
        *self.0.catalog.borrow_mut() = Arc::new(next);
        Ok(outcome)
    }
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    futures_lite::future::block_on(future)
}

impl World {
    pub fn new() -> World {
        let shards: Vec<Shard> = (0..CORES * SHARDS).map(|_| Shard::default()).collect();
        let cores = shards.chunks(SHARDS).map(|shards| exec::Executor::new(shards.to_vec())).collect();
        let inner = Inner {
            catalog: RefCell::default(),
            cores,
            shards,
            next_series: RefCell::new(0),
            lookups: RefCell::new(0),
            forgotten: RefCell::default(),
        };
        World(Rc::new(inner))
    }

    /// Writes lines without escapes, times in seconds; the key's length chooses the shard.
    pub fn write(&self, database: &str, policy: &str, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let parts: Vec<&str> = line.split(' ').collect();
            let time = parts[2].parse::<i64>().expect("seconds") * 1_000_000_000;
            let key = parts[0].as_bytes();
            self.write_point(database, policy, key, parts[1], time);
        }
    }

    pub fn write_point(&self, database: &str, policy: &str, key: &[u8], fields: &str, time: Timestamp) {
        let (database_id, policy_id) = crate::query::place(&self.catalog(), database, policy).expect("there");
        let create = Command::CreateGroups { database: database_id, policy: policy_id, times: vec![time] };
        wait(self.change(create)).expect("allowed");
        let catalog = self.catalog();
        let policy = catalog.database(database).and_then(|found| found.policy(policy)).expect("there");
        let group = *policy.group_for(time).expect("made above");
        let mut data = self.0.shards[key.len() % (CORES * SHARDS)].0.borrow_mut();
        let index = data.indexes.entry(database_id).or_default();
        let id = index.lookup(key).unwrap_or_else(|| {
            *self.0.next_series.borrow_mut() += 1;
            let id = SeriesId(*self.0.next_series.borrow());
            index.insert(id, key).expect("new");
            id
        });
        let measurement = index.measurement_of(id).expect("just put there").name().to_vec();
        let partition = data.partitions.entry((database_id, policy_id, group.id)).or_default();
        partition.range = Some(group.range());
        partition.points.insert((id.0, time));
        for field in fields.split(',') {
            let (name, value) = field.split_once('=').expect("a field");
            let field_type = match value.as_bytes() {
                [b'"', ..] => FieldType::String,
                [b't' | b'f', ..] => FieldType::Boolean,
                [.., b'i'] => FieldType::Integer,
                _ => FieldType::Float,
            };
            partition.fields.insert((measurement.clone(), bytes(name), field_type));
        }
    }

    pub fn results(&self, context: &Context, text: &str, row_max: usize) -> Vec<Value> {
        let statements = influxql::parse(text, &influxql::Params::default()).expect(text);
        let result = |statement| match wait(collect(self, statement, context, row_max)) {
            Ok(series) if series.is_empty() => json!({}),
            Ok(series) => json!({"series": series}),
            Err(error) => json!({"error": error}),
        };
        statements.iter().map(result).collect()
    }

    #[track_caller]
    pub fn check(&self, database: &str, text: &str, expected: &str) {
        let expected: Value = serde_json::from_str(expected).expect("JSON");
        for row_max in [1, 3, 10_000] {
            let context = Context { database: database.to_owned(), now_ns: NOW, ..Context::default() };
            let results = self.results(&context, text, row_max);
            assert_eq!(json!(results), expected, "{text}, pieces of {row_max}");
        }
    }

    /// Runs statements that succeed without rows.
    #[track_caller]
    pub fn run(&self, text: &str) {
        for result in self.results(&Context { now_ns: NOW, ..Context::default() }, text, 10) {
            assert_eq!(result, json!({}), "{text}");
        }
    }
}

/// All pieces of a statement, joined as the wire shows them.
pub async fn collect(
    world: &World,
    statement: &Statement,
    context: &Context,
    row_max: usize,
) -> Result<Vec<Value>, String> {
    let mut answer = start(world, statement, context).await?;
    let mut sets: Vec<RowSet> = Vec::new();
    let mut more = true;
    while let Some(piece) = answer.next_piece(row_max).await? {
        assert!(more, "a piece after the last one");
        more = piece.partial;
        for set in piece.series {
            match sets.last_mut() {
                Some(last) if last.partial => {
                    assert_eq!((&last.name, &last.tags), (&set.name, &set.tags));
                    last.rows.extend(set.rows);
                    last.partial = set.partial;
                }
                _ => sets.push(set),
            }
        }
    }
    assert!(!more, "the last piece says so");
    Ok(sets.iter().map(shown).collect())
}

pub fn shown(set: &RowSet) -> Value {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let cell = |cell: &Cell| match cell {
        Cell::String(value) => json!(text(value)),
        Cell::Integer(value) => json!(value),
        Cell::Boolean(value) => json!(value),
        Cell::List(values) => json!(values.iter().map(text).collect::<Vec<_>>()),
        other => json!(format!("{other:?}")),
    };
    let rows: Vec<Vec<Value>> = set.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let mut shown = json!({"columns": set.columns.iter().map(text).collect::<Vec<_>>()});
    if let Some(name) = &set.name {
        shown["name"] = json!(text(name));
    }
    if !set.tags.is_empty() {
        shown["tags"] = set.tags.iter().map(|(key, value)| (text(key), json!(text(value)))).collect();
    }
    if !rows.is_empty() {
        shown["values"] = json!(rows);
    }
    shown
}
