//! SHOW statements over series: which lookups they are, and how entries become rows.
//!
//! Every measurement of the database, whatever the policy: SHOW MEASUREMENTS, TAG KEYS, TAG VALUES, and SHOW SERIES
//! without time (if the policy has data at all), as stock does with its index for the whole database. One policy:
//! FIELD KEYS, SERIES with time, and exact cardinalities.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::collections::VecDeque;

use crate::exec::lookup::Ask;
use crate::exec::lookup::Condition;
use crate::exec::lookup::Entry;
use crate::exec::lookup::Key;
use crate::exec::lookup::PAGE_ENTRIES;
use crate::exec::lookup::Pattern;
use crate::exec::lookup::Request;
use crate::exec::lookup::Within;
use crate::exec::schema::MeasurementPattern;
use crate::exec::schema::Schema;
use crate::exec::schema::SchemaRequest;
use crate::influxql::ast;
use crate::influxql::ast::CardinalityOf;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::ShowCardinality;
use crate::influxql::ast::ShowMeasurements;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::influxql::ast::TagKeyFilter;
use crate::influxql::display;
use crate::influxql::reduce::split_condition;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::meta::Catalog;
use crate::meta::Database;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::DatabaseId;
use crate::model::PolicyId;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::model::TimeRange;
use crate::query::fabric::Fabric;
use crate::query::select::source::schema;
use crate::series::key;
use crate::stdx::pace::Pace;

use super::Context;
use super::bytes;
use super::condition;
use super::condition::MeasurementFilter;
use super::condition::Mode;
use super::normalise::normalise_measurement;
use super::pages::Pages;

/// Tag values of one measurement that come in one piece, whatever `chunk_size` says: stock never splits them. More than
/// so many are split all the same, so that no answer is whole in memory.
const TAG_VALUES_MAX: usize = 100_000;

/// A running SHOW statement.
pub(super) struct Show<F> {
    pages: Pages<F>,
    /// Fields of each shard group, where those are counted.
    fields: Option<Pages<F>>,
    /// Measurements with a series, where fields are listed: an owner knows those of its own.
    known: Option<BTreeSet<Bytes>>,
    kind: Kind,
    limit: u64,
    offset: u64,
    /// Rows met so far, in the current measurement where the limit counts for each.
    met: u64,
    measurement: Option<Bytes>,
    /// A row that was read to see whether there is one.
    ahead: Option<Line>,
    /// Rows of cardinalities that had to be counted up first.
    counted: Option<VecDeque<Line>>,
    finished: bool,
    pace: Pace,
}

/// What the rows are.
enum Kind {
    Series,
    Measurements(MeasurementFilter),
    TagKeys,
    TagValues,
    FieldKeys,
    /// Counts for each measurement and group; `total`: of measurements, for each group.
    Counts {
        count: Count,
        dimensions: Vec<Bytes>,
    },
    /// One number for the database.
    Estimate(Count),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Series,
    Measurements,
    TagKeys,
    TagValues,
    Fields,
}

/// One row and the row set it belongs to.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: Option<Bytes>,
    tags: Vec<(Bytes, Bytes)>,
    row: Vec<Cell>,
}

/// Starts a SHOW statement that was normalised.
pub(super) async fn start<F: Fabric>(fabric: &F, statement: &Statement, context: &Context) -> Result<Show<F>, String> {
    let catalog = fabric.catalog();
    let scope = Scope { catalog: &catalog, context };
    let (mut kind, mut requests, show) = match statement {
        Statement::ShowMeasurements(show) => scope.measurements(show)?,
        Statement::ShowSeries(show) => scope.series(show)?,
        Statement::ShowTagKeys { show, .. } => scope.tag_keys(show)?,
        Statement::ShowTagValues { show, key } => scope.tag_values(show, key)?,
        Statement::ShowFieldKeys(show) => scope.field_keys(show)?,
        Statement::ShowCardinality(show) => scope.cardinality(show)?,
        other => return Err(format!("statement cannot be executed: {other}")),
    };
    match statement {
        Statement::ShowSeries(_) | Statement::ShowTagKeys { .. } | Statement::ShowTagValues { .. } => {
            find_fields(fabric, show.condition.as_ref(), &mut requests).await?;
        }
        Statement::ShowCardinality(statement) => {
            if let Kind::Counts { dimensions, .. } = &mut kind {
                find_fields(fabric, show.condition.as_ref(), &mut requests).await?;
                scope.add_dimensions(fabric, &statement.dimensions, &mut requests, dimensions).await?;
            }
        }
        _ => {}
    }
    let any = |request: &Request| Request {
        within: Within::Database,
        condition: None,
        ask: Ask::Measurements { tests: Vec::new() },
        ..request.clone()
    };
    let any: Vec<Request> = requests.iter().map(any).collect();
    if let (Statement::ShowTagValues { .. }, Some(op)) =
        (statement, show.condition.as_ref().and_then(condition::nameless))
        // Where there is a measurement to ask.
        && Pages::new(fabric, &any).next().await?.is_some()
    {
        return Err(format!("left side of '{}' must be a tag key", display::operator(op)));
    }
    let known = match kind {
        Kind::FieldKeys => Some(Pages::new(fabric, &any).measurements().await?),
        _ => None,
    };
    let by_group = |request: &Request| Request {
        condition: None,
        dimensions: Vec::new(),
        ask: Ask::FieldsByGroup,
        ..request.clone()
    };
    let counts_fields = matches!(kind, Kind::Counts { count: Count::Fields, .. });
    let fields: Vec<Request> = requests.iter().filter(|_| counts_fields).map(by_group).collect();
    Ok(Show {
        pages: Pages::new(fabric, &requests),
        fields: counts_fields.then(|| Pages::new(fabric, &fields)),
        known,
        kind,
        limit: show.limit,
        offset: show.offset,
        met: 0,
        measurement: None,
        ahead: None,
        counted: None,
        finished: false,
        pace: Pace::default(),
    })
}

type Started<'a> = (Kind, Vec<Request>, &'a ast::Show);

/// What statements are resolved in.
struct Scope<'a> {
    catalog: &'a Catalog,
    context: &'a Context,
}

impl Scope<'_> {
    fn measurements<'a>(&self, statement: &'a ShowMeasurements) -> Result<Started<'a>, String> {
        let show = &statement.show;
        if show.condition.as_ref().is_some_and(condition::has_time) {
            return Err("SHOW MEASUREMENTS doesn't support time in WHERE clause".to_owned());
        }
        let name = named(show)?;
        let filter = MeasurementFilter::new(show.condition.as_ref())?;
        let mut requests = Vec::new();
        if let Some(database) = self.catalog.database(name) {
            let mut request = request(database.id, Ask::Measurements { tests: filter.tests.clone() });
            request.measurements = statement.with.iter().map(pattern).collect();
            requests.push(request);
        }
        Ok((Kind::Measurements(filter), requests, show))
    }

    fn series<'a>(&self, show: &'a ast::Show) -> Result<Started<'a>, String> {
        named(show)?;
        let targets = self.targets(show)?;
        let (rest, range) = self.split(show.condition.as_ref())?;
        // Stock does not see a time on the right, and asks its index, if there is a shard for that time.
        let timed = show.condition.as_ref().is_some_and(condition::has_time);
        let mode = if timed { Mode::Select } else { Mode::Index };
        let filter = rest.map(|rest| condition::translate(&rest, mode)).transpose()?;
        let mut requests = Vec::new();
        for target in targets {
            let within = match range {
                // Time chooses among shard groups, not among points.
                Some(range) if timed => Within::Groups(target.policy, range),
                _ if self.has_groups(&target, range) => Within::Database,
                _ => continue,
            };
            requests.push(target.request(within, &filter, Ask::Series));
        }
        Ok((Kind::Series, requests, show))
    }

    fn tag_keys<'a>(&self, show: &'a ast::Show) -> Result<Started<'a>, String> {
        let request = |filter| (filter, Ask::TagKeys);
        let requests = self.over_database(show, |_, filter| request(filter))?;
        Ok((Kind::TagKeys, requests, show))
    }

    fn tag_values<'a>(&self, show: &'a ast::Show, key: &TagKeyFilter) -> Result<Started<'a>, String> {
        let requests = self.over_database(show, |rest, filter| {
            let mut keys = vec![condition::key_filter(key)];
            keys.extend(rest.and_then(|rest| condition::about(rest, "_tagKey")));
            let values = rest.and_then(|rest| condition::about(rest, "value"));
            (filter, Ask::TagValues { keys, values })
        })?;
        Ok((Kind::TagValues, requests, show))
    }

    /// A lookup in the whole database; sources give names only, and time only tells whether there is anything.
    fn over_database(
        &self,
        show: &ast::Show,
        ask: impl Fn(Option<&Expr>, Option<Condition>) -> (Option<Condition>, Ask),
    ) -> Result<Vec<Request>, String> {
        let database = self.database(named(show)?)?;
        let (rest, range) = self.split(show.condition.as_ref())?;
        let filter = rest.as_ref().and_then(condition::of_names);
        let filter = filter.map(|filter| condition::translate(&filter, Mode::Tags)).transpose()?;
        let filter = match (filter, rest.as_ref().and_then(condition::about_measurements)) {
            (Some(filter), Some(names)) => Some(Condition::And(Box::new(names), Box::new(filter))),
            (filter, names) => filter.or(names),
        };
        let (filter, ask) = ask(rest.as_ref(), filter);
        let range = range.unwrap_or(TimeRange { min: TIME_MIN, max: TIME_MAX });
        if !database.policies.iter().any(|policy| policy.groups_in(range).next().is_some()) {
            return Ok(Vec::new());
        }
        let measurements = show.sources.iter().filter_map(measurement).map(pattern).collect();
        Ok(vec![Request { measurements, condition: filter, ..request(database.id, ask) }])
    }

    fn field_keys<'a>(&self, show: &'a ast::Show) -> Result<Started<'a>, String> {
        named(show)?;
        let targets = self.targets(show)?;
        let requests = targets.iter().map(|target| target.request(Within::Policy(target.policy), &None, Ask::Fields));
        Ok((Kind::FieldKeys, requests.collect(), show))
    }

    fn cardinality<'a>(&self, statement: &'a ShowCardinality) -> Result<Started<'a>, String> {
        let show = &statement.show;
        let (count, title) = match &statement.of {
            CardinalityOf::Series => (Count::Series, "SHOW SERIES EXACT CARDINALITY"),
            CardinalityOf::Measurement => (Count::Measurements, "SHOW MEASUREMENT EXACT CARDINALITY"),
            CardinalityOf::TagKey => (Count::TagKeys, "SHOW TAG KEY EXACT CARDINALITY"),
            CardinalityOf::TagValues(_) => (Count::TagValues, ""),
            CardinalityOf::FieldKey => (Count::Fields, "SHOW FIELD KEY CARDINALITY"),
        };
        if self.is_estimate(statement) {
            let database = self.catalog.database(named(show)?);
            let ask = if count == Count::Series { Ask::Count } else { Ask::Measurements { tests: Vec::new() } };
            let requests = database.map(|database| request(database.id, ask)).into_iter().collect();
            return Ok((Kind::Estimate(count), requests, show));
        }
        if show.condition.as_ref().is_some_and(condition::has_time) && count != Count::TagValues {
            return Err(format!("{title} doesn't support time in WHERE clause"));
        }
        let targets = self.targets(show)?;
        let dimensions = dimensions(&statement.dimensions)?;
        // Stock looks for a field called time there and finds none.
        let (rest, range) = self.split(show.condition.as_ref())?;
        let mut filter = rest.as_ref().map(|rest| condition::translate(rest, Mode::Select)).transpose()?;
        if count == Count::TagValues {
            filter = filter.map(condition::of_present_tags);
        }
        let ask = match &statement.of {
            CardinalityOf::Series | CardinalityOf::Measurement => Ask::Count,
            CardinalityOf::TagKey => Ask::TagKeys,
            CardinalityOf::TagValues(key) => Ask::TagValues { keys: vec![condition::key_filter(key)], values: None },
            CardinalityOf::FieldKey => Ask::Groups,
        };
        let mut requests = Vec::new();
        for target in targets.iter().filter(|_| range.is_none()) {
            let request = target.request(Within::Policy(target.policy), &filter, ask.clone());
            requests.push(request);
        }
        Ok((Kind::Counts { count, dimensions }, requests, show))
    }

    /// Whether only the plain form was asked for, which counts the whole database.
    fn is_estimate(&self, statement: &ShowCardinality) -> bool {
        let show = &statement.show;
        let plain = show.sources.is_empty()
            && show.condition.is_none()
            && statement.dimensions.is_empty()
            && (show.limit, show.offset) == (0, 0);
        matches!(statement.of, CardinalityOf::Series | CardinalityOf::Measurement) && plain && !statement.exact
    }

    /// Adds the tags that `*` and regular expressions in GROUP BY stand for.
    async fn add_dimensions<F: Fabric>(
        &self,
        fabric: &F,
        exprs: &[Expr],
        requests: &mut [Request],
        dimensions: &mut Vec<Bytes>,
    ) -> Result<(), String> {
        let wild: Vec<&Expr> = exprs.iter().filter(|expr| !matches!(expr, Expr::VarRef { .. })).collect();
        let mut keys: BTreeSet<Bytes> = dimensions.drain(..).collect();
        for request in requests.iter().filter(|_| !wild.is_empty()) {
            let Within::Policy(policy) = request.within else { continue };
            let schemas = schema_of(fabric, request, policy).await?.measurements;
            keys.extend(schemas.into_values().flat_map(|schema| schema.tags).filter(|key| {
                wild.iter().any(|expr| match expr {
                    Expr::Regex(regex) => regex.compiled.is_match(key),
                    _ => true,
                })
            }));
        }
        dimensions.extend(keys);
        requests.iter_mut().for_each(|request| request.dimensions.clone_from(dimensions));
        Ok(())
    }

    fn database(&self, name: &str) -> Result<&Database, String> {
        self.catalog.database(name).map(|found| &**found).ok_or_else(|| format!("database not found: {name}"))
    }

    /// WHERE without time, and the time it allows, if it says.
    fn split(&self, condition: Option<&Expr>) -> Result<(Option<Expr>, Option<TimeRange>), String> {
        let Some(condition) = condition else { return Ok((None, None)) };
        let (rest, bounds) = split_condition(condition, self.context.now_ns, None)?;
        let said = bounds.min.is_some() || bounds.max.is_some();
        let range = TimeRange { min: bounds.min.unwrap_or(TIME_MIN), max: bounds.max.unwrap_or(TIME_MAX) };
        Ok((rest, said.then_some(range)))
    }

    /// Whether the policy has a shard group there.
    fn has_groups(&self, target: &Target, range: Option<TimeRange>) -> bool {
        let range = range.unwrap_or(TimeRange { min: TIME_MIN, max: TIME_MAX });
        let database = self.catalog.database_by_id(target.database);
        let mut policies = database.iter().flat_map(|database| &database.policies);
        policies.any(|policy| policy.id == target.policy && policy.groups_in(range).next().is_some())
    }

    /// Databases and policies that the sources name, with the measurements in each.
    fn targets(&self, show: &ast::Show) -> Result<Vec<Target>, String> {
        let own = show.database.as_deref().unwrap_or_default();
        let everything = Measurement { name: String::new(), is_target: true, ..Measurement::default() };
        let mut sources: Vec<Measurement> = show.sources.iter().filter_map(measurement).cloned().collect();
        let all = sources.is_empty();
        if all {
            sources.push(everything);
        }
        let mut targets: BTreeMap<(DatabaseId, PolicyId), Target> = BTreeMap::new();
        for mut source in sources {
            if source.database.is_empty() {
                named(show)?.clone_into(&mut source.database);
            }
            normalise_measurement(&mut source, self.catalog, own, &self.context.policy)?;
            let database = self.database(&source.database)?;
            let policy = database.policy(&source.policy);
            let policy = policy.ok_or_else(|| format!("retention policy not found: {}", source.policy))?;
            let target = targets.entry((database.id, policy.id)).or_insert_with(|| Target {
                database: database.id,
                policy: policy.id,
                measurements: Vec::new(),
            });
            if !all {
                target.measurements.push(pattern(&source));
            }
        }
        Ok(targets.into_values().collect())
    }
}

/// One policy and the measurements asked for in it; none: all.
struct Target {
    database: DatabaseId,
    policy: PolicyId,
    measurements: Vec<Pattern>,
}

impl Target {
    fn request(&self, within: Within, condition: &Option<Condition>, ask: Ask) -> Request {
        let (measurements, condition) = (self.measurements.clone(), condition.clone());
        Request { within, measurements, condition, ..request(self.database, ask) }
    }
}

pub(super) fn request(database: DatabaseId, ask: Ask) -> Request {
    Request {
        database,
        within: Within::Database,
        measurements: Vec::new(),
        condition: None,
        dimensions: Vec::new(),
        fields: Vec::new(),
        fields_pass: false,
        ask,
        after: None,
        limit: PAGE_ENTRIES,
    }
}

fn named(show: &ast::Show) -> Result<&str, String> {
    show.database.as_deref().filter(|name| !name.is_empty()).ok_or_else(|| "database name required".to_owned())
}

fn measurement(source: &Source) -> Option<&Measurement> {
    match source {
        Source::Measurement(measurement) => Some(measurement),
        Source::Subquery(_) => None,
    }
}

fn pattern(measurement: &Measurement) -> Pattern {
    match &measurement.regex {
        Some(regex) => Pattern::Regex(condition::pattern(regex)),
        None => Pattern::Name(bytes(&measurement.name)),
    }
}

/// The tags that GROUP BY names. Windows would be those since 1970, and the counts stand in the first.
fn dimensions(dimensions: &[Expr]) -> Result<Vec<Bytes>, String> {
    let mut keys = Vec::new();
    for dimension in dimensions {
        match dimension {
            Expr::VarRef { name, .. } if name.eq_ignore_ascii_case("time") => {
                return Err("time() is a function and expects at least one argument".to_owned());
            }
            Expr::VarRef { name, .. } => keys.push(bytes(name)),
            Expr::Wildcard(_) | Expr::Regex(_) => {}
            Expr::Call { .. } => return Err(format!("GROUP BY {dimension} is not supported for cardinalities")),
            _ => return Err("only time and tag dimensions allowed".to_owned()),
        }
    }
    Ok(keys)
}

/// Tells the owners which names in WHERE are fields of which measurements; each knows only those of its own series.
pub(super) async fn find_fields<F: Fabric>(
    fabric: &F,
    condition: Option<&Expr>,
    requests: &mut [Request],
) -> Result<(), String> {
    let Some(condition) = condition else { return Ok(()) };
    let mut names = BTreeSet::new();
    condition::names(condition, &mut names);
    for request in requests {
        let catalog = fabric.catalog();
        let Some(database) = catalog.database_by_id(request.database) else { continue };
        let policies = match request.within {
            Within::Database => database.policies.iter().map(|policy| policy.id).collect(),
            Within::Policy(policy) | Within::Groups(policy, _) => vec![policy],
        };
        let mut fields = BTreeSet::new();
        for policy in policies {
            for (measurement, schema) in schema_of(fabric, request, policy).await?.measurements {
                let here = names.iter().filter(|name| schema.fields.contains_key(*name));
                fields.extend(here.map(|name| (measurement.clone(), name.clone())));
            }
        }
        request.fields = fields.into_iter().collect();
        // Its index does not know fields, and stock lets them pass; a SELECT of tags has no values of them.
        request.fields_pass = request.within == Within::Database;
    }
    Ok(())
}

/// The schema of the measurements of a lookup in one policy.
async fn schema_of<F: Fabric>(fabric: &F, request: &Request, policy: PolicyId) -> Result<Schema, String> {
    let everything = [Pattern::Regex(String::new())];
    let patterns = if request.measurements.is_empty() { &everything[..] } else { &request.measurements };
    let mut found = Schema::default();
    for pattern in patterns {
        let measurements = match pattern.clone() {
            Pattern::Name(name) => MeasurementPattern::Name(name),
            Pattern::Regex(text) => MeasurementPattern::Regex(text),
        };
        let range = TimeRange::ALWAYS;
        found.merge(schema(fabric, SchemaRequest { database: request.database, policy, range, measurements }).await?);
    }
    Ok(found)
}

impl<F: Fabric> Show<F> {
    /// The next piece: rows of one row set, at most `row_max`.
    pub async fn next_piece(&mut self, row_max: usize) -> Result<Option<ResultPiece>, String> {
        if self.finished {
            return Ok(None);
        }
        let row_max = match self.kind {
            Kind::TagValues => TAG_VALUES_MAX,
            _ => row_max,
        };
        let mut current = match self.ahead.take() {
            Some(line) => Some(line),
            None => self.next_line().await?,
        };
        let Some(first) = current.take() else {
            self.finished = true;
            return Ok(Some(ResultPiece::default()));
        };
        let mut set = RowSet {
            name: first.name,
            tags: first.tags,
            columns: self.columns().iter().map(|column| bytes(column)).collect(),
            rows: vec![first.row],
            partial: false,
        };
        loop {
            self.ahead = self.next_line().await?;
            match self.ahead.take() {
                Some(line) if line.name == set.name && line.tags == set.tags => {
                    if set.rows.len() < row_max.max(1) {
                        set.rows.push(line.row);
                        continue;
                    }
                    set.partial = true;
                    self.ahead = Some(line);
                }
                other => self.ahead = other,
            }
            break;
        }
        self.finished = self.ahead.is_none();
        Ok(Some(ResultPiece { series: vec![set], partial: !self.finished, ..ResultPiece::default() }))
    }

    fn columns(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Series => &["key"],
            Kind::Measurements(_) => &["name"],
            Kind::TagKeys => &["tagKey"],
            Kind::TagValues => &["key", "value"],
            Kind::FieldKeys => &["fieldKey", "fieldType"],
            Kind::Counts { .. } => &["count"],
            Kind::Estimate(_) => &["cardinality estimation"],
        }
    }

    async fn next_line(&mut self) -> Result<Option<Line>, String> {
        self.pace.step(32).await;
        if matches!(self.kind, Kind::Counts { .. } | Kind::Estimate(_)) {
            if self.counted.is_none() {
                self.counted = Some(self.count().await?);
            }
            return Ok(self.counted.as_mut().and_then(VecDeque::pop_front));
        }
        while let Some(entry) = self.pages.next().await? {
            if let Kind::Measurements(filter) = &self.kind
                && !filter.passes(&entry.key.measurement, entry.number)
            {
                continue;
            }
            if self.known.as_ref().is_some_and(|known| !known.contains(&entry.key.measurement)) {
                continue;
            }
            let in_all = matches!(self.kind, Kind::Series | Kind::Measurements(_));
            if !in_all && self.measurement.as_ref() != Some(&entry.key.measurement) {
                self.measurement = Some(entry.key.measurement.clone());
                self.met = 0;
            }
            self.met += 1;
            let is_past = self.limit > 0 && self.met > self.offset.saturating_add(self.limit);
            if is_past && in_all {
                return Ok(None);
            }
            if self.met > self.offset && !is_past {
                return Ok(Some(self.line(entry)));
            }
        }
        Ok(None)
    }

    fn line(&self, entry: Entry) -> Line {
        let mut cells: Vec<Cell> = entry.key.item.iter().cloned().map(Cell::String).collect();
        let name = match &self.kind {
            Kind::Series => {
                let tags: Vec<(&[u8], &[u8])> =
                    entry.key.item.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect();
                cells = vec![Cell::String(key::encode_key(&entry.key.measurement, &tags).into())];
                None
            }
            Kind::Measurements(_) => {
                cells = vec![Cell::String(entry.key.measurement)];
                Some(bytes("measurements"))
            }
            _ => Some(entry.key.measurement),
        };
        Line { name, tags: Vec::new(), row: cells }
    }

    /// Names of fields by measurement and shard group: a series counts with the fields of the shard groups that it has
    /// data in, and an owner alone does not know all of those.
    async fn fields_by_group(&mut self) -> Result<FieldNames, String> {
        let mut fields = FieldNames::new();
        if let Some(pages) = &mut self.fields {
            while let Some(entry) = pages.next().await? {
                let mut item = entry.key.item.into_iter();
                if let (Some(group), Some(name)) = (item.next(), item.next()) {
                    fields.entry(entry.key.measurement).or_default().entry(group).or_default().push(name);
                }
            }
        }
        Ok(fields)
    }

    /// Counts up a cardinality. Only one number for each group is held, and of tag values that may repeat their hashes.
    async fn count(&mut self) -> Result<VecDeque<Line>, String> {
        let (count, dimensions) = match &self.kind {
            Kind::Counts { count, dimensions } => (*count, dimensions.clone()),
            Kind::Estimate(count) => (*count, Vec::new()),
            _ => return Ok(VecDeque::new()),
        };
        let is_estimate = matches!(self.kind, Kind::Estimate(_));
        let by_measurement = count != Count::Measurements && !is_estimate;
        let mut counts: BTreeMap<(Option<Bytes>, Vec<Bytes>), u64> = BTreeMap::new();
        let mut seen = Seen::default();
        let fields = self.fields_by_group().await?;
        while let Some(entry) = self.pages.next().await? {
            let item = |position: usize| entry.key.item.get(position).map(|text| &**text).unwrap_or_default();
            let more = match count {
                Count::Series => entry.number,
                Count::Measurements => 1,
                Count::TagKeys => seen.count_new(&entry.key, [item(0)]),
                Count::TagValues => seen.count_new(&entry.key, [item(1)]),
                Count::Fields => {
                    let names = fields.get(&entry.key.measurement).and_then(|groups| groups.get(item(0)));
                    seen.count_new(&entry.key, names.into_iter().flatten().map(|name| &**name))
                }
            };
            let name = by_measurement.then_some(entry.key.measurement);
            *counts.entry((name, entry.key.group)).or_default() += more;
            self.pace.step(32).await;
        }
        if is_estimate && counts.is_empty() {
            counts.insert((None, Vec::new()), 0);
        }
        // Each count is the only row of its series, so OFFSET leaves none and LIMIT all.
        let shown = counts.into_iter().filter(|_| self.offset == 0);
        let line = |((name, group), count): ((Option<Bytes>, Vec<Bytes>), u64)| Line {
            name,
            tags: dimensions.iter().cloned().zip(group).collect(),
            row: vec![Cell::Integer(count as i64)],
        };
        Ok(shown.map(line).collect())
    }
}

/// Names of fields by measurement and shard group.
type FieldNames = BTreeMap<Bytes, BTreeMap<Bytes, Vec<Bytes>>>;

/// What was counted in the current measurement and group: stock counts distinct texts, whatever key or type they have.
#[derive(Default)]
struct Seen {
    measurement: Bytes,
    group: Vec<Bytes>,
    hashes: HashSet<u64>,
}

impl Seen {
    /// How many of `texts` were not met yet in the measurement and group of `key`.
    fn count_new<'a>(&mut self, key: &Key, texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        if self.measurement != key.measurement || self.group != key.group {
            self.measurement.clone_from(&key.measurement);
            self.group.clone_from(&key.group);
            self.hashes.clear();
        }
        let hashes = texts.into_iter().map(rapidhash::v3::rapidhash_v3);
        hashes.filter(|hash| self.hashes.insert(*hash)).count() as u64
    }
}
