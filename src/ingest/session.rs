//! One write request: its lines to rows of batches while the body arrives, then all batches to their owners.
//!
//! Parsing does not wait. When a line needs what only another core knows (a shard group that is not there yet, the type
//! of a field met for the first time), the rest of the window is only searched for more of the kind, all of it is asked
//! at once, and parsing goes on from that line: rows stay in the order of the lines.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;
use hashbrown::HashSet;

use crate::batch::Batch;
use crate::batch::BatchBuilder;
use crate::batch::Destination;
use crate::batch::SeriesRef;
use crate::ingest::PolicyState;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::ingest::Written;
use crate::ingest::admit::Admitted;
use crate::ingest::admit::admit;
use crate::ingest::cache::Layout;
use crate::ingest::cache::PolicyCache;
use crate::ingest::owners::Claim;
use crate::ingest::owners::Owners;
use crate::ingest::owners::Target;
use crate::limits::BATCH_BYTES_MAX;
use crate::line;
use crate::line::Errors;
use crate::line::LineError;
use crate::line::Point;
use crate::line::Sink;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::GroupId;
use crate::model::SeriesId;
use crate::model::Timestamp;
use crate::stdx::budget::Taken;

/// Rounds of asking for one window. Two are the rule: groups, then fields of the new groups.
const ASK_ROUNDS_MAX: usize = 64;

/// A write request whose body is arriving.
#[derive(Debug)]
pub struct Session<O: Owners> {
    owners: O,
    params: WriteParams,
    target: Rc<Target>,
    /// What its counter of forgotten ids was when the request began.
    forgets: u64,
    /// Why no point can be stored: the policy does not exist. Said only when the body held a point, as in stock.
    refused: Option<WriteError>,
    policy: Rc<RefCell<PolicyState>>,
    rows: Rows,
    errors: Errors,
}

/// The batches of a request, and what was refused.
#[derive(Debug, Default)]
struct Rows {
    /// Of the cache, when its series numbers were last used.
    generation: u64,
    /// By shard group, in the order met, and shard.
    groups: Vec<(GroupId, Vec<Option<Open>>)>,
    /// The group met last.
    last_group: usize,
    closed: Vec<Closed>,
    /// Fields that this request made, by shard group and measurement.
    made: HashSet<(GroupId, Bytes, Bytes)>,
    /// Shard groups for which a field that this request made has come with a second type: no point is stored there,
    /// only its series and fields become known, as in stock.
    conflicts: HashSet<GroupId>,
    written: Written,
    parsed: u64,
    dropped: u64,
    first_refusal: Option<Vec<u8>>,
    /// Points beyond retention: neither counted nor named beside a refusal of another kind, as in stock.
    expired: u64,
}

/// A batch being built.
#[derive(Debug)]
struct Open {
    builder: BatchBuilder,
    /// Index in the batch of each (schema, layout) of the cache.
    layouts: HashMap<(u32, usize), u32>,
    last_layout: Option<((u32, usize), u32)>,
    /// Index in the batch of each series without an id.
    keys: HashMap<u32, u32>,
    /// Cache number of each key of the batch, and how many points of the request came before it.
    key_series: Vec<u32>,
    key_lines: Vec<u64>,
    generation: u64,
}

/// A finished batch.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) shard: u16,
    pub(super) group: GroupId,
    pub(super) batch: Batch,
    pub(super) key_series: Vec<u32>,
    pub(super) key_lines: Vec<u64>,
    generation: u64,
}

/// What other cores must be asked before parsing can go on.
#[derive(Debug, Default)]
struct Missing {
    /// Where in the window the first line stands that cannot be taken yet.
    at: usize,
    times: Vec<Timestamp>,
    /// Of each layout once.
    claims: Vec<Claim>,
    claimed: HashSet<Claim>,
    /// What the claims ask for, by shard group and measurement.
    asked: HashMap<(GroupId, Bytes), HashMap<Bytes, FieldType>>,
    /// Where a claim asks for another type than one before it: as in stock nothing behind that makes a field.
    broken: HashSet<GroupId>,
}

impl<O: Owners> Session<O> {
    pub(super) fn new(
        owners: O,
        params: WriteParams,
        target: Rc<Target>,
        forgets: u64,
        policy: Rc<RefCell<PolicyState>>,
    ) -> Session<O> {
        let (rows, errors) = (Rows::default(), Errors::default());
        Session { owners, params, target, forgets, refused: None, policy, rows, errors }
    }

    /// A session that parses, and then answers `error`.
    pub(super) fn refused(owners: O, params: WriteParams, error: WriteError) -> Session<O> {
        Session { refused: Some(error), ..Session::new(owners, params, Rc::default(), 0, Rc::default()) }
    }

    /// What the clock says from now on: the time of points without one.
    pub fn set_now(&mut self, now_ns: Timestamp) {
        self.params.now_ns = now_ns;
    }

    /// Takes whole lines from the front of `window` and says how many bytes they were; with `last` all of it. 0
    /// without `last` means that the first line is longer than the window.
    pub async fn feed(&mut self, window: &[u8], last: bool) -> Result<usize, WriteError> {
        let mut start = 0;
        for _ in 0..ASK_ROUNDS_MAX {
            let (taken, missing) = self.parse(&window[start..], last);
            let Some(missing) = missing else { return Ok(start + taken) };
            start += missing.at;
            self.ask(missing).await?;
        }
        Err(WriteError::Overloaded("the schema of the database changes too fast".to_owned()))
    }

    /// Parses a window; what is missing, if parsing had to stop for it.
    fn parse(&mut self, window: &[u8], last: bool) -> (usize, Option<Missing>) {
        let mut policy = self.policy.borrow_mut();
        let PolicyState { cache, parser } = &mut *policy;
        parser.set_options(line::Options { precision_ns: self.params.precision_ns, now_ns: self.params.now_ns });
        if self.refused.is_some() {
            let mut count = Count { rows: &mut self.rows, errors: &mut self.errors };
            return (parser.parse(window, last, &mut count), None);
        }
        if self.rows.generation != cache.generation {
            self.rows.close_all();
            self.rows.generation = cache.generation;
        }
        let retained_from = match self.target.duration_ns {
            0 => Timestamp::MIN,
            duration => self.params.now_ns.saturating_sub(duration),
        };
        let mut walk = Walk {
            window,
            shard_count: self.owners.shard_count(),
            retained_from,
            target: &self.target,
            cache,
            rows: &mut self.rows,
            errors: &mut self.errors,
            missing: None,
        };
        let taken = parser.parse(window, last, &mut walk);
        (taken, walk.missing)
    }

    async fn ask(&mut self, missing: Missing) -> Result<(), WriteError> {
        if !missing.times.is_empty() {
            self.owners.create_groups(self.target.database, self.target.policy, missing.times).await?;
            self.target = self.owners.target(&self.params.database, &self.params.policy)?;
        }
        if missing.claims.is_empty() {
            return Ok(());
        }
        let types = self.owners.claim(missing.claims.clone()).await?;
        let mut policy = self.policy.borrow_mut();
        for (claim, types) in missing.claims.iter().zip(types) {
            for (field, held) in claim.fields.iter().zip(types) {
                // Not of the new fields of a point that another of its fields refuses.
                let Some(held) = held else { continue };
                if held.is_new {
                    self.rows.made.insert((claim.group, claim.measurement.clone(), field.0.clone()));
                }
                policy.cache.schema_of(claim.group, &claim.measurement).types.insert(field.0.clone(), held.field_type);
            }
        }
        Ok(())
    }

    /// Sends all batches to their owners and waits until they are durable and visible.
    pub async fn finish(mut self) -> Result<Written, WriteError> {
        // A body of bad lines alone is told so; one of comments, or of nothing, is not.
        if (self.rows.parsed > 0 || self.errors.is_empty())
            && let Some(error) = self.refused
        {
            return Err(error);
        }
        self.rows.close_all();
        let mut admitted = admit(&self.owners, &self.target, &mut self.rows.closed).await?;
        self.rows.take_back(&mut admitted);
        let mut by_core: Vec<Vec<Closed>> = Vec::new();
        by_core.resize_with(usize::from(self.owners.core_count()), Vec::new);
        for mut closed in self.rows.closed.drain(..) {
            if self.rows.conflicts.contains(&closed.group) {
                let empty = closed.batch.without_rows();
                closed.batch = empty.map_err(|error| WriteError::Storage(error.to_string()))?;
            }
            by_core[usize::from(closed.shard % self.owners.core_count())].push(closed);
        }
        let sent = by_core.into_iter().zip(admitted.room).enumerate().filter(|(_, (batches, _))| !batches.is_empty());
        let stores: Vec<_> = sent
            .map(|(core, (batches, room))| {
                Box::pin(store(&self.owners, &self.policy, core as u16, batches, self.forgets, room))
            })
            .collect();
        join_all(stores).await?;
        self.answer()
    }

    /// What the client is told once everything good is stored.
    fn answer(self) -> Result<Written, WriteError> {
        let Rows { written, parsed, dropped, first_refusal, expired, conflicts, .. } = self.rows;
        if !conflicts.is_empty() {
            return Err(WriteError::FieldTypeConflict);
        }
        if let Some(reason) = first_refusal {
            return Err(partial(&reason, dropped, written));
        }
        if expired > 0 {
            return Err(partial(b"points beyond retention policy", expired, written));
        }
        if self.errors.is_empty() {
            return Ok(written);
        }
        let reasons = self.errors.into_text();
        if parsed == 0 {
            return Err(WriteError::Parse(reasons.into()));
        }
        Err(partial(&reasons, 0, written))
    }
}

fn partial(reasons: &[u8], dropped: u64, written: Written) -> WriteError {
    let text = [b"partial write: ", reasons, format!(" dropped={dropped}").as_bytes()].concat();
    WriteError::Partial { text: text.into(), dropped, written }
}

/// Sends batches to one core and keeps the ids it answers.
async fn store<O: Owners>(
    owners: &O,
    policy: &Rc<RefCell<PolicyState>>,
    core: u16,
    closed: Vec<Closed>,
    forgets: u64,
    room: Taken,
) -> Result<(), WriteError> {
    let (batches, keys): (Vec<_>, Vec<_>) =
        closed.into_iter().map(|closed| (closed.batch, (closed.generation, closed.key_series))).unzip();
    let assigned: Vec<Vec<SeriesId>> = owners.write(core, batches, forgets, room).await?;
    let mut policy = policy.borrow_mut();
    for ((generation, series), ids) in keys.into_iter().zip(assigned) {
        for (series, id) in series.into_iter().zip(ids) {
            policy.cache.learn(generation, series, id);
        }
    }
    Ok(())
}

/// Waits for all; the first error in order, after all have ended.
async fn join_all<F: Future<Output = Result<(), WriteError>> + Unpin>(futures: Vec<F>) -> Result<(), WriteError> {
    let mut outcomes: Vec<Option<Result<(), WriteError>>> = futures.iter().map(|_| None).collect();
    let mut futures = futures;
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let std::task::Poll::Ready(result) = std::pin::Pin::new(future).poll(context)
            {
                *outcome = Some(result);
            }
        }
        if outcomes.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

impl Rows {
    fn close_all(&mut self) {
        let open = self.groups.drain(..).flat_map(|(_, shards)| shards).flatten();
        self.closed.extend(open.map(Open::close));
    }

    /// The batches of a shard group, by shard.
    #[inline]
    fn shards(&mut self, group: GroupId, shard_count: u16) -> &mut Vec<Option<Open>> {
        if self.groups.get(self.last_group).is_none_or(|known| known.0 != group) {
            self.last_group = self.groups.iter().position(|known| known.0 == group).unwrap_or_else(|| {
                let shards = std::iter::repeat_with(|| None).take(usize::from(shard_count)).collect();
                self.groups.push((group, shards));
                self.groups.len() - 1
            });
        }
        &mut self.groups[self.last_group].1
    }

    /// Points of keys that may not become series are not written. Their reason comes before all others, as in stock.
    fn take_back(&mut self, admitted: &mut Admitted) {
        self.dropped += admitted.points;
        self.written.points -= admitted.points;
        self.written.values -= admitted.values;
        self.first_refusal = admitted.reason.take().or(self.first_refusal.take());
    }

    fn refuse(&mut self, reason: impl FnOnce() -> Vec<u8>) {
        self.dropped += 1;
        self.first_refusal.get_or_insert_with(reason);
    }
}

impl Open {
    fn new(destination: Destination, generation: u64) -> Open {
        Open {
            builder: BatchBuilder::new(destination),
            layouts: HashMap::new(),
            last_layout: None,
            keys: HashMap::new(),
            key_series: Vec::new(),
            key_lines: Vec::new(),
            generation,
        }
    }

    fn close(self) -> Closed {
        let Destination { shard, group, .. } = self.builder.destination();
        Closed {
            shard,
            group,
            batch: self.builder.finish(),
            key_series: self.key_series,
            key_lines: self.key_lines,
            generation: self.generation,
        }
    }

    /// The batch's name for a series; `line` counts the points of the request.
    #[inline]
    fn series_ref(&mut self, number: u32, cache: &PolicyCache, raw_key: &[u8], line: u64) -> SeriesRef {
        if let Some(id) = cache.series(number).id() {
            return SeriesRef::Known(id);
        }
        let Open { builder, keys, key_series, key_lines, .. } = self;
        SeriesRef::New(*keys.entry(number).or_insert_with(|| {
            key_series.push(number);
            key_lines.push(line);
            builder.key(&cache.canonical(number, raw_key))
        }))
    }

    /// The batch's number of a layout; `number` is (schema, layout) in the cache.
    #[inline]
    fn layout<'a>(&mut self, number: (u32, usize), measurement: impl FnOnce() -> &'a Bytes, layout: &Layout) -> u32 {
        if let Some((last, index)) = self.last_layout
            && last == number
        {
            return index;
        }
        let builder = &mut self.builder;
        let index = *self.layouts.entry(number).or_insert_with(|| builder.layout(measurement(), layout.fields()));
        self.last_layout = Some((number, index));
        index
    }
}

/// Parses and stores nothing.
struct Count<'a> {
    rows: &'a mut Rows,
    errors: &'a mut Errors,
}

impl Sink for Count<'_> {
    fn point(&mut self, point: &Point<'_>) {
        match line::canonical(point.raw_key) {
            Ok(_) => self.rows.parsed += 1,
            Err(reason) => self.errors.push(&LineError { line: point.line, reason: &reason }),
        }
    }

    fn error(&mut self, error: &LineError<'_>) {
        self.errors.push(error);
    }
}

/// One pass over a window.
struct Walk<'a> {
    window: &'a [u8],
    shard_count: u16,
    /// Earlier points are beyond retention.
    retained_from: Timestamp,
    target: &'a Target,
    cache: &'a mut PolicyCache,
    rows: &'a mut Rows,
    errors: &'a mut Errors,
    /// Set once a line could not be taken: the rest is searched, not taken.
    missing: Option<Missing>,
}

/// Why a point cannot be taken now.
enum Hindrance {
    /// It cannot at all.
    Refused(Vec<u8>),
    /// It is beyond retention.
    Expired,
    /// It gives a field that this request made another type.
    Conflict(GroupId),
    /// Others must be asked first.
    NoGroup,
    NoTypes,
}

impl Sink for Walk<'_> {
    #[inline]
    fn point(&mut self, point: &Point<'_>) {
        let number = match self.cache.find(point.raw_key, point.slot) {
            Some(number) => number,
            None => match self.cache.insert(point.raw_key, point.slot, self.shard_count) {
                Ok(number) => number,
                Err(reason) => return self.error(&LineError { line: point.line, reason: &reason }),
            },
        };
        if self.missing.is_some() {
            self.search(number, point);
            return;
        }
        match self.take(number, point) {
            Ok(()) => self.rows.parsed += 1,
            Err(Hindrance::Refused(reason)) => {
                self.rows.parsed += 1;
                self.rows.refuse(|| reason);
            }
            Err(Hindrance::Expired) => {
                self.rows.parsed += 1;
                self.rows.expired += 1;
            }
            Err(Hindrance::Conflict(group)) => {
                self.rows.parsed += 1;
                self.rows.conflicts.insert(group);
            }
            Err(Hindrance::NoGroup | Hindrance::NoTypes) => {
                // Borrowed from the window as sent, so its address says where the line is.
                let at = point.raw_key.as_ptr() as usize - self.window.as_ptr() as usize;
                self.missing = Some(Missing { at, ..Missing::default() });
                self.search(number, point);
            }
        }
    }

    fn error(&mut self, error: &LineError<'_>) {
        if self.missing.is_none() {
            self.errors.push(error);
        }
    }

    fn forget_slots(&mut self) {
        self.cache.forget_slots();
    }
}

impl Walk<'_> {
    /// Makes the point a row of its batch.
    #[inline]
    fn take(&mut self, number: u32, point: &Point<'_>) -> Result<(), Hindrance> {
        if point.time < self.retained_from {
            return Err(Hindrance::Expired);
        }
        let (measurement, shard) = {
            let series = self.cache.series(number);
            if series.has_time_tag {
                return Err(Hindrance::Refused(self.time_tag_text(series.measurement)));
            }
            (series.measurement, series.shard)
        };
        let group = self.group(point.time).ok_or(Hindrance::NoGroup)?;
        let schema_number = self.cache.schema_number(group, measurement);
        let layout_number = match self.layout(group, schema_number, measurement, point) {
            Err(hindrance @ (Hindrance::Refused(_) | Hindrance::Conflict(_))) => {
                self.name_series(number, point.raw_key, group, shard);
                return Err(hindrance);
            }
            layout => layout?,
        };
        let cache = &*self.cache;
        let line = self.rows.parsed;
        let slot = &mut self.rows.shards(group, self.shard_count)[usize::from(shard)];
        let destination = Destination { shard, database: self.target.database, policy: self.target.policy, group };
        let open = slot.get_or_insert_with(|| Open::new(destination, cache.generation));
        let series_ref = open.series_ref(number, cache, point.raw_key, line);
        let layout = cache.schema(schema_number).layout(layout_number);
        let layout_index = open.layout((schema_number, layout_number), || cache.measurement_name(measurement), layout);
        open.builder.row(series_ref, layout_index, point.time);
        if layout.is_plain {
            open.builder.values(point.fields.iter().map(|field| field.value));
        } else {
            open.builder.values(layout.stored.iter().map(|&index| point.fields[index as usize].value));
        }
        let full = open.builder.bytes() >= BATCH_BYTES_MAX;
        if full && let Some(full) = slot.take() {
            self.rows.closed.push(full.close());
        }
        self.rows.written.points += 1;
        self.rows.written.values += layout.stored.len() as u64;
        Ok(())
    }

    /// The series of a point that is refused for its fields exists all the same, as in stock.
    fn name_series(&mut self, number: u32, raw_key: &[u8], group: GroupId, shard: u16) {
        if self.cache.series(number).id().is_some() {
            return;
        }
        let destination = Destination { shard, database: self.target.database, policy: self.target.policy, group };
        let line = self.rows.parsed;
        let slot = &mut self.rows.shards(group, self.shard_count)[usize::from(shard)];
        let open = slot.get_or_insert_with(|| Open::new(destination, self.cache.generation));
        open.series_ref(number, self.cache, raw_key, line);
        if open.builder.bytes() >= BATCH_BYTES_MAX
            && let Some(full) = slot.take()
        {
            self.rows.closed.push(full.close());
        }
    }

    #[inline]
    fn group(&self, time: Timestamp) -> Option<GroupId> {
        let groups = &self.target.groups;
        let index = groups.partition_point(|(_, range)| range.max < time);
        groups.get(index).filter(|(_, range)| range.contains(time)).map(|group| group.0)
    }

    /// The number of the point's layout; made if the schema knows all its fields.
    #[inline]
    fn layout(
        &mut self,
        group: GroupId,
        schema_number: u32,
        measurement: u32,
        point: &Point<'_>,
    ) -> Result<usize, Hindrance> {
        if let Some(number) = self.cache.schema_mut(schema_number).find(point.fields, point.names) {
            return Ok(number);
        }
        let schema = self.cache.schema(schema_number);
        let mut conflict = false;
        for (field, known) in conflicting(&schema.types, point) {
            let measurement = self.cache.measurement_name(measurement);
            if !self.rows.made.contains(&(group, measurement.clone(), field.name.into())) {
                return Err(Hindrance::Refused(type_conflict(field, measurement, known)));
            }
            conflict = true;
        }
        if conflict || self.rows.conflicts.contains(&group) {
            return Err(Hindrance::Conflict(group));
        }
        let mut stored = point.fields.iter().filter(|field| field.name != b"time");
        if stored.any(|field| !schema.types.contains_key(field.name)) {
            return Err(Hindrance::NoTypes);
        }
        let layout = Layout::new(point.fields);
        if layout.stored.is_empty() {
            let measurement = self.cache.measurement_name(measurement);
            let text =
                [b"invalid field name: input field \"time\" on measurement \"", &**measurement, b"\" is invalid"];
            return Err(Hindrance::Refused(text.concat()));
        }
        Ok(self.cache.schema_mut(schema_number).add(layout))
    }

    fn time_tag_text(&self, measurement: u32) -> Vec<u8> {
        let measurement = self.cache.measurement_name(measurement);
        [b"invalid tag key: input tag \"time\" on measurement \"", &**measurement, b"\" is invalid"].concat()
    }

    /// Notes what a line needs that is not known here.
    fn search(&mut self, number: u32, point: &Point<'_>) {
        let series = self.cache.series(number);
        if point.time < self.retained_from || series.has_time_tag {
            return;
        }
        let measurement = series.measurement;
        let Some(group) = self.group(point.time) else {
            let missing = self.missing.get_or_insert_default();
            if missing.times.last() != Some(&point.time) {
                missing.times.push(point.time);
            }
            return;
        };
        let schema = self.cache.schema_number(group, measurement);
        let schema = self.cache.schema(schema);
        // A point that will be refused gives no field its type.
        if self.rows.conflicts.contains(&group) || conflicting(&schema.types, point).next().is_some() {
            return;
        }
        let mut unknown: Vec<(Bytes, FieldType)> = Vec::new();
        for field in point.fields {
            let is_asked = |asked: &(Bytes, FieldType)| *asked.0 == *field.name;
            // Of a field that comes twice the first decides.
            if field.name != b"time" && !schema.types.contains_key(field.name) && !unknown.iter().any(is_asked) {
                unknown.push((field.name.into(), field.value.field_type()));
            }
        }
        if !unknown.is_empty() {
            let name = self.cache.measurement_name(measurement).clone();
            let missing = self.missing.get_or_insert_default();
            missing.claim(self.target, group, name, unknown);
        }
    }
}

impl Missing {
    fn claim(&mut self, target: &Target, group: GroupId, measurement: Bytes, mut fields: Vec<(Bytes, FieldType)>) {
        if self.broken.contains(&group) {
            return;
        }
        let (database, policy) = (target.database, target.policy);
        let asked = self.asked.entry((group, measurement.clone())).or_default();
        let is_other = |(name, asks): &(Bytes, FieldType)| asked.get(name).is_some_and(|known| known != asks);
        if let Some(first) = fields.iter().position(is_other) {
            self.broken.insert(group);
            fields.truncate(first);
        }
        if fields.is_empty() {
            return;
        }
        asked.extend(fields.iter().cloned());
        let claim = Claim { database, policy, group, measurement, fields };
        // In the order of the lines: the earliest point of the batch fixes the type.
        if self.claimed.insert(claim.clone()) {
            self.claims.push(claim);
        }
    }
}

/// The fields of a point that have another type already, with that type.
fn conflicting<'a>(
    types: &'a HashMap<Bytes, FieldType>,
    point: &'a Point<'_>,
) -> impl Iterator<Item = (&'a line::Field<'a>, FieldType)> {
    point.fields.iter().filter(|field| field.name != b"time").filter_map(|field| {
        let known = *types.get(field.name)?;
        (known != field.value.field_type()).then_some((field, known))
    })
}

fn type_conflict(field: &line::Field<'_>, measurement: &[u8], known: FieldType) -> Vec<u8> {
    let types = format!("\" is type {}, already exists as type {known}", field.value.field_type());
    let text: [&[u8]; 5] =
        [b"field type conflict: input field \"", field.name, b"\" on measurement \"", measurement, types.as_bytes()];
    text.concat()
}
