//! From a compiled SELECT to its running streams: looks at the schema, plans, and opens what the plan demands.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;

use crate::exec;
use crate::exec::FieldRef;
use crate::exec::Fragment;
use crate::exec::Request;
use crate::exec::Response;
use crate::exec::Work;
use crate::exec::schema::MeasurementPattern;
use crate::exec::schema::MeasurementSchema;
use crate::exec::schema::Schema;
use crate::exec::schema::SchemaRequest;
use crate::influxql::ast::Measurement;
use crate::influxql::zone;
use crate::limits::TIME_MIN;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::model::PolicyId;
use crate::model::TimeRange;
use crate::query::compile::Compiled;
use crate::query::compile::CompiledSource;
use crate::query::compile::Dimension;
use crate::query::fabric::Fabric;
use crate::query::select::condition::condition;
use crate::query::select::condition::of_series;
use crate::query::select::feed::Feed;
use crate::query::select::feed::Leaf;
use crate::query::select::gather;
use crate::query::select::gather::Gather;
use crate::query::select::meter::Meter;
use crate::query::select::names::Names;
use crate::query::select::names::dimensions;
use crate::query::select::plan::Demand;
use crate::query::select::plan::DemandWork;
use crate::query::select::plan::Setting;
use crate::query::select::plan::plan;
use crate::query::select::run::Memory;
use crate::query::select::run::SelectRun;
use crate::query::select::stream::row_bytes;
use crate::query::select::subquery::RunOrder;
use crate::query::select::subquery::Table;
use crate::stdx::budget::Budget;
use crate::stdx::budget::Taken;
use crate::stdx::join::join_all;
use crate::stdx::pace::Pace;

/// Bounds of one SELECT; 0 is none.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// `max-select-series`.
    pub series_max: u64,
    /// `max-select-buckets`.
    pub buckets_max: u64,
    /// `max-select-point`.
    pub points_max: u64,
    /// Bytes of memory on the asking core.
    pub memory_bytes_max: usize,
    /// Memory of all queries.
    pub memory: Budget,
}

/// What a SELECT needs of the world.
#[derive(Clone)]
pub struct Context<F> {
    /// The cores.
    pub fabric: F,
    /// The bounds.
    pub limits: Limits,
    /// What the SELECT at work has read.
    pub meter: Rc<Meter>,
}

/// One measurement of one policy.
#[derive(Clone, Debug)]
struct Input {
    database: DatabaseId,
    policy: PolicyId,
    name: Bytes,
    schema: MeasurementSchema,
}

/// What a subquery takes over from the query around it.
#[derive(Clone, Debug, Default)]
pub struct Outer {
    /// Tags the outer queries group by.
    dimensions: Vec<Bytes>,
    /// Tags the outermost query groups by: what SLIMIT counts. `None`: there is no outer query.
    outermost: Option<Vec<Bytes>>,
    /// It groups by `*` or a regular expression: by all that the subquery does.
    is_wild: bool,
    /// Their SLIMIT.
    slimit: u64,
    /// Their SOFFSET.
    soffset: u64,
    /// The outermost range: where fields and tags are looked for, also those of subqueries.
    schema_range: Option<TimeRange>,
}

/// Most shard groups in which SLIMIT chooses on its own, as stock does; of more it chooses once for all.
const CHOICES_MAX: usize = 64;

/// Starts a SELECT.
pub fn start<'a, F: Fabric>(
    context: &'a Context<F>,
    compiled: &'a Compiled,
    outer: &'a Outer,
) -> Pin<Box<dyn Future<Output = Result<SelectRun<F>, String>> + 'a>> {
    Box::pin(async move {
        let zone =
            compiled.zone.as_deref().map(|name| zone::find(name).ok_or(format!("unable to find time zone {name}")));
        let zone = zone.transpose()?;
        let mut names = Names::default();
        let schema_range = outer.schema_range.unwrap_or(compiled.time);
        let inputs = measurements(context, compiled, schema_range, &mut names).await?;
        let own_names = names.clone();
        let choice = Outer {
            slimit: compiled.slimit.saturating_add(outer.slimit),
            soffset: compiled.soffset.saturating_add(outer.soffset),
            schema_range: Some(schema_range),
            ..outer.clone()
        };
        let (tables, table_memory) = tables(context, compiled, &mut names, &choice, &own_names).await?;
        let shard_groups = shard_groups(context, &inputs, looked_at(compiled));
        // Where SLIMIT chooses for each shard group, each is a source of its own.
        let chosen = choice.slimit > 0 || choice.soffset > 0;
        let split = chosen && shard_groups.len() > 1 && shard_groups.len() <= CHOICES_MAX;
        let setting = Setting {
            zone: zone.clone(),
            pushdown: tables.is_empty() && is_unique(&inputs) && !split,
            more_dimensions: &outer.dimensions,
            outermost: outer.outermost.as_deref().filter(|_| !outer.is_wild),
            is_subquery: outer.outermost.is_some(),
            over_rows: !tables.is_empty(),
            shard_groups: tables.is_empty().then(|| shard_groups.clone().into()),
        };
        let mut plan = plan(compiled, &names, &setting)?;
        let condition = compiled.condition.as_ref().map(|expr| condition(expr, &names));
        let series_filter = compiled.condition.as_ref().map(|expr| self::condition(&of_series(expr, &names), &names));
        let keys = outer.outermost.as_ref().filter(|_| !outer.is_wild).unwrap_or(&plan.dimensions);
        let looked_at = Looked { inputs: &inputs, tables: &tables, filter: &series_filter, choice: &choice, keys };
        plan.failure = refusal(context, &plan.refused, &looked_at, compiled.time).await?;
        check_buckets(compiled, &context.limits)?;
        let descending = !compiled.ascending;
        let mut feeds = Vec::new();
        for demand in &plan.demands {
            let fragment = |input: &Input, range: TimeRange| Fragment {
                database: input.database,
                policy: input.policy,
                measurement: input.name.clone(),
                range,
                fields: demand.fields.clone(),
                tags: demand.tags.clone(),
                ties: demand.ties.clone(),
                series_rows: demand.series_rows,
                filter: condition.clone(),
                dimensions: plan.dimensions.clone(),
                groups: None,
                rows_descending: demand.backwards.unwrap_or(descending),
                descending,
                series_max: context.limits.series_max,
                work: work_of(demand),
            };
            let ranges = match split {
                true => shard_groups.iter().map(|group| group.intersect(demand.range)).collect(),
                false => vec![demand.range],
            };
            let mut leaves = Vec::new();
            // Without a field a measurement has no rows.
            let layers = if demand.fields.is_empty() { Vec::new() } else { layers(&inputs, descending) };
            for layer in layers {
                for range in &ranges {
                    let mut fragments: Vec<Fragment> = layer.iter().map(|input| fragment(input, *range)).collect();
                    if chosen {
                        choose_groups(context, &choice, keys, &mut fragments).await?;
                    }
                    let gather = Gather::new(context, fragments);
                    leaves.push(Leaf::Gather(Box::new(gather)));
                }
            }
            let gathered = leaves.len();
            if let DemandWork::Rows { required, .. } = &demand.work {
                // A row of a subquery is a row, whatever of it is asked for.
                let required = if plan.is_raw { 0 } else { *required };
                for table in &tables {
                    let filter = condition.as_ref();
                    match table.rows(demand, required, filter, &plan.dimensions, descending).await {
                        Ok(rows) => leaves.push(Leaf::Memory(rows)),
                        Err(error) => plan.failure = plan.failure.take().or(Some(error)),
                    }
                }
            }
            // Rows of one instant come in the order of FROM.
            if let Some(CompiledSource::Subquery(_)) = compiled.sources.first() {
                leaves.rotate_left(gathered);
            }
            feeds.push(Feed::new(leaves, demand.backwards.unwrap_or(descending), descending));
        }
        for table in tables {
            Pace::default().drop_all(table.rows).await;
        }
        if let (Some(failure), None) = (&plan.failure, &outer.outermost) {
            return Err(failure.clone());
        }
        Ok(SelectRun::new(plan, feeds, compiled, zone, Memory::new(&context.limits, table_memory)))
    })
}

/// The range of a SELECT, and a window more on both sides: transformations look so far.
fn looked_at(compiled: &Compiled) -> TimeRange {
    let every = compiled.interval.map_or(0, |interval| interval.every);
    let range = compiled.time;
    TimeRange { min: range.min.saturating_sub(every), max: range.max.saturating_add(every) }
}

/// The shard groups of the inputs' policies in `range`, by time.
fn shard_groups<F: Fabric>(context: &Context<F>, inputs: &[Input], range: TimeRange) -> Vec<TimeRange> {
    let mut groups = Vec::new();
    for input in inputs {
        groups.extend(gather::shard_groups(&context.fabric, input.database, input.policy, range));
    }
    groups.sort_by_key(|group| (group.min, group.max));
    groups.dedup();
    groups
}

fn work_of(demand: &Demand) -> Work {
    match &demand.work {
        DemandWork::Rows { required, limit } => Work::Rows { required: *required, limit: *limit },
        DemandWork::Windows { window, calls, carried } => {
            Work::Windows { window: window.clone(), calls: calls.clone(), carried: carried.clone() }
        }
    }
}

/// Refuses more windows than `max-select-buckets`.
fn check_buckets(compiled: &Compiled, limits: &Limits) -> Result<(), String> {
    let Some(interval) = compiled.interval.filter(|_| limits.buckets_max > 0) else { return Ok(()) };
    if compiled.time.min <= TIME_MIN || compiled.time.is_empty() {
        return Ok(());
    }
    let range = compiled.time;
    let window = crate::exec::Window { interval: interval.every, offset: interval.offset, zone: None, range };
    let (first, _) = window.of(range.min);
    let (_, end) = window.of(range.max);
    let count = end.saturating_sub(first) / interval.every;
    match count as u64 > limits.buckets_max {
        true => Err(format!("max-select-buckets limit exceeded: ({count}/{})", limits.buckets_max)),
        false => Ok(()),
    }
}

/// The measurements of FROM that have data in range, and their names and types.
async fn measurements<F: Fabric>(
    context: &Context<F>,
    compiled: &Compiled,
    range: TimeRange,
    names: &mut Names,
) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    for source in &compiled.sources {
        let CompiledSource::Measurement(measurement) = source else { continue };
        let (database, policy) = place(context, measurement)?;
        let pattern = match &measurement.regex {
            Some(regex) => MeasurementPattern::Regex(regex.compiled.as_str().to_owned()),
            None => MeasurementPattern::Name(measurement.name.as_bytes().into()),
        };
        let request = SchemaRequest { database, policy, range, measurements: pattern };
        for (name, schema) in schema(&context.fabric, request).await?.measurements {
            names.add(&schema);
            inputs.push(Input { database, policy, name, schema });
        }
    }
    Ok(inputs)
}

/// How many series a SELECT's measurements have in range, and how many shard groups of its policies lie in it.
pub async fn extent<F: Fabric>(context: &Context<F>, compiled: &Compiled) -> Result<(u64, u64), String> {
    let mut names = Names::default();
    let (mut series_count, mut groups) = (0, std::collections::BTreeSet::new());
    let catalog = context.fabric.catalog();
    for input in measurements(context, compiled, compiled.time, &mut names).await? {
        let condition = compiled.condition.as_ref().map(|expr| condition(expr, &names));
        series_count += self::series_count(context, &input, compiled.time, condition, None).await?;
        let policy = catalog.database_by_id(input.database).and_then(|found| found.policy_by_id(input.policy));
        groups.extend(policy.into_iter().flat_map(|policy| policy.groups_in(compiled.time)).map(|group| group.id));
    }
    Ok((series_count, groups.len() as u64))
}

/// What a call may read.
struct Looked<'a> {
    inputs: &'a [Input],
    tables: &'a [Table],
    filter: &'a Option<exec::Expr>,
    choice: &'a Outer,
    /// Tags by which SLIMIT chooses.
    keys: &'a [Bytes],
}

/// The first error among `refused` whose input is there: in some shard group a field of that type, and a series. What
/// a subquery fails with comes before it.
async fn refusal<F: Fabric>(
    context: &Context<F>,
    refused: &[(FieldRef, String)],
    looked_at: &Looked<'_>,
    range: TimeRange,
) -> Result<Option<String>, String> {
    for (field, text) in refused {
        if let Some(table) = looked_at.tables.iter().find(|table| table.has(&field.name)) {
            return Ok(Some(table.failure.as_ref().unwrap_or(text).clone()));
        }
        let is_read = |schema: &MeasurementSchema| {
            schema.fields.get(&field.name).is_some_and(|types| types.contains(&field.as_type))
        };
        for input in looked_at.inputs.iter().filter(|input| is_read(&input.schema)) {
            let mut groups = shard_groups(context, std::slice::from_ref(input), range);
            if groups.is_empty() {
                groups.push(range);
            }
            for group in groups {
                let (database, policy, range) = (input.database, input.policy, group.intersect(range));
                let measurements = MeasurementPattern::Name(input.name.clone());
                let here = SchemaRequest { database, policy, range, measurements };
                let here = schema(&context.fabric, here).await?;
                if here.measurements.get(&input.name).is_some_and(is_read)
                    && series_count(context, input, range, looked_at.filter.clone(), Some(looked_at)).await? > 0
                {
                    return Ok(Some(text.clone()));
                }
            }
        }
    }
    Ok(None)
}

/// Series of a measurement that have data in `range` and whose tags pass `filter`, of those that SLIMIT chooses.
async fn series_count<F: Fabric>(
    context: &Context<F>,
    input: &Input,
    range: TimeRange,
    filter: Option<exec::Expr>,
    chosen: Option<&Looked<'_>>,
) -> Result<u64, String> {
    let mut fragment = Fragment {
        database: input.database,
        policy: input.policy,
        measurement: input.name.clone(),
        range,
        fields: Vec::new(),
        tags: Vec::new(),
        ties: Vec::new(),
        series_rows: None,
        filter,
        dimensions: Vec::new(),
        groups: None,
        rows_descending: false,
        descending: false,
        // With this bound a core counts and reads nothing.
        series_max: 1,
        work: Work::Rows { required: 0, limit: Some(0) },
    };
    if let Some(looked_at) = chosen.filter(|looked_at| looked_at.choice.slimit > 0 || looked_at.choice.soffset > 0) {
        choose_groups(context, looked_at.choice, looked_at.keys, std::slice::from_mut(&mut fragment)).await?;
    }
    let mut count = 0;
    let ask = |core| context.fabric.ask(core, Request::Open(Box::new(fragment.clone())));
    for answer in join_all((0..context.fabric.core_count()).map(ask)).await {
        if let Response::Chunk(chunk) = answer.map_err(|error| error.to_string())? {
            count += chunk.series_count;
        }
    }
    Ok(count)
}

/// The schema over all cores.
pub async fn schema<F: Fabric>(fabric: &F, request: SchemaRequest) -> Result<Schema, String> {
    let asked = (0..fabric.core_count()).map(|core| fabric.ask(core, Request::Schema(Box::new(request.clone()))));
    let mut schema = Schema::default();
    for answer in join_all(asked).await {
        match answer.map_err(|error| error.to_string())? {
            Response::Schema(one) => schema.merge(one),
            Response::Failed(error) => return Err(error),
            other => return Err(format!("a core answered a schema request with something else: {other:?}")),
        }
    }
    Ok(schema)
}

/// Database and policy of a source, which normalisation has named.
fn place<F: Fabric>(context: &Context<F>, source: &Measurement) -> Result<(DatabaseId, PolicyId), String> {
    let catalog = context.fabric.catalog();
    crate::query::place(&catalog, &source.database, &source.policy)
}

/// Runs the subqueries of FROM to their ends.
async fn tables<F: Fabric>(
    context: &Context<F>,
    compiled: &Compiled,
    names: &mut Names,
    choice: &Outer,
    own_names: &Names,
) -> Result<(Vec<Table>, Taken), String> {
    let mut tables = Vec::new();
    let mut bytes = 0;
    let mut memory = context.limits.memory.take(0).unwrap_or_default();
    for source in &compiled.sources {
        let CompiledSource::Subquery(inner) = source else { continue };
        // Tags named outside group the inner rows too; `*` and regular expressions stand for the inner tags only.
        let mut pushed = dimensions(&compiled.dimensions, &Names::default());
        pushed.extend(choice.dimensions.iter().cloned());
        let outermost = choice.outermost.clone().unwrap_or_else(|| dimensions(&compiled.dimensions, own_names));
        let is_named = |item: &Dimension| matches!(item, Dimension::Tag(_));
        let is_wild = match &choice.outermost {
            Some(_) => choice.is_wild,
            None => !compiled.dimensions.iter().all(is_named),
        };
        let outer = Outer { dimensions: pushed, outermost: Some(outermost), is_wild, ..choice.clone() };
        let mut run = start(context, inner, &outer).await?;
        let mut table = Table {
            columns: run.columns_and_hidden_tags(),
            dimensions: run.dimensions().to_vec(),
            visible: run.own_dimensions().to_vec(),
            rows: Vec::new(),
            failure: run.plan().failure.clone(),
        };
        if inner.is_bare_distinct {
            (table.columns, table.visible) = (Vec::new(), Vec::new());
        }
        while table.failure.is_none()
            && !inner.is_bare_distinct
            && let Some((group, rows)) = run.next_rows(crate::limits::CHUNK_ROWS_DEFAULT).await?
        {
            for row in rows {
                bytes += row_bytes(&row);
                table.push(group.clone(), row);
            }
            let max = context.limits.memory_bytes_max;
            if max > 0 && bytes > max {
                return Err(memory_error(max));
            }
            if !memory.resize(bytes as u64) {
                return Err(exec::memory_error(context.limits.memory.max()));
            }
        }
        if let Some((limit, offset)) = run.plan().run_limit {
            let outermost = outer.outermost.as_deref().unwrap_or_default();
            let (is_raw, descending, shard_groups) = (run.plan().is_raw, !inner.ascending, &*run.plan().shard_groups);
            table.limit_runs(limit, offset, &RunOrder { outermost, is_raw, descending, shard_groups }).await;
        }
        table.add_names(names);
        tables.push(table);
    }
    Ok((tables, memory))
}

/// The text of a query that needs too much memory.
pub fn memory_error(max: usize) -> String {
    format!("query needs more than its {max} bytes of memory; narrow its time range, or group by less")
}

fn is_unique(inputs: &[Input]) -> bool {
    layers(inputs, false).len() <= 1
}

/// Inputs in output order; one name from several policies, or listed twice, goes to layers of its own.
fn layers(inputs: &[Input], descending: bool) -> Vec<Vec<&Input>> {
    let mut by_name: BTreeMap<&[u8], Vec<&Input>> = BTreeMap::new();
    for input in inputs {
        by_name.entry(&input.name).or_default().push(input);
    }
    let depth = by_name.values().map(Vec::len).max().unwrap_or(0);
    let layer = |index: usize| {
        let inputs = by_name.values().filter_map(|same| same.get(index).copied());
        if descending { inputs.rev().collect() } else { inputs.collect() }
    };
    (0..depth).map(layer).collect()
}

/// SLIMIT and SOFFSET: the first tag sets of each measurement, also when they are shown backwards.
async fn choose_groups<F: Fabric>(
    context: &Context<F>,
    choice: &Outer,
    keys: &[Bytes],
    fragments: &mut [Fragment],
) -> Result<(), String> {
    for fragment in fragments {
        let fabric = &context.fabric;
        let count = choice.soffset.saturating_add(choice.slimit);
        let by_keys = Fragment { dimensions: keys.to_vec(), ..fragment.clone() };
        let ask = |core| fabric.ask(core, Request::Groups(Box::new(by_keys.clone()), count));
        let mut groups = BTreeMap::new();
        for answer in join_all((0..fabric.core_count()).map(ask)).await {
            match answer.map_err(|error| error.to_string())? {
                Response::Groups(found) => {
                    groups.extend(found.into_iter().map(|group| (by_keys.tag_set_key(&group), group)));
                }
                Response::Failed(error) => return Err(error),
                other => return Err(format!("a core answered with something else than groups: {other:?}")),
            }
        }
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        // SOFFSET alone leaves nothing, as in stock.
        let chosen = groups.into_values().skip(size(choice.soffset)).take(size(choice.slimit)).collect();
        fragment.groups = Some((keys.to_vec(), chosen));
    }
    Ok(())
}
