//! Answers lookups over the shards of one core.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use regex::bytes::Regex;
use roaring::RoaringBitmap;

use super::Ask;
use super::Entry;
use super::Key;
use super::Page;
use super::Pattern;
use super::Request;
use super::Within;
use super::condition::Compiled;
use super::condition::CompiledTest;
use super::group_item;
use crate::exec::view::PartitionInfo;
use crate::exec::view::View;
use crate::model::Bytes;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::series::Index;
use crate::series::MeasurementIndex;

/// Values or series that are passed over in the time that it takes to read the tags of one series, about. Passing over
/// a million to find a hundred took 15 ms.
const FEW: u64 = 32;

/// The next page of `request` over `views`.
pub async fn answer<V: View>(views: &[V], request: &Request) -> Result<Page, String> {
    let lookup = Lookup::compile(request)?;
    let mut pages = Vec::with_capacity(views.len());
    // Shards have about the same number of everything: what more one of them told would wait for the others in vain.
    let limit = (request.limit.max(1) as usize).div_ceil(views.len().max(1));
    for view in views {
        pages.push(lookup.page_of(view, limit));
        view.yield_now().await;
    }
    Ok(join(pages, request))
}

/// The series of `view` that a request is about, whatever it asks of them.
pub fn select<V: View>(view: &V, request: &Request) -> Result<RoaringBitmap, String> {
    let lookup = Lookup::compile(request)?;
    let scope = Scope { items: Vec::new(), partitions: None };
    let found = view.index(request.database, |index| {
        let wanted = index.measurements().filter(|measurement| lookup.wants_measurement(measurement.name()));
        let mut series = RoaringBitmap::new();
        wanted.for_each(|measurement| series |= lookup.series(measurement, &scope));
        series
    });
    Ok(found.unwrap_or_default())
}

/// Joins the pages of several shards: what all of them have told, in order.
fn join(pages: Vec<Page>, request: &Request) -> Page {
    let mut told = pages.iter().filter_map(|page| page.next.as_ref()).min().cloned();
    let mut entries: Vec<Entry> = pages.into_iter().flat_map(|page| page.entries).collect();
    entries.retain(|entry| told.as_ref().is_none_or(|told| entry.key <= *told));
    entries.sort_by(|left, right| left.key.cmp(&right.key));
    entries.dedup_by(|later, kept| {
        let same = later.key == kept.key;
        if same {
            kept.number = request.ask.join(kept.number, later.number);
        }
        same
    });
    let limit = request.limit.max(1) as usize;
    if entries.len() > limit {
        entries.truncate(limit);
        told = entries.last().map(|entry| entry.key.clone());
    }
    Page { entries, next: told }
}

/// A request with its regular expressions compiled.
struct Lookup<'a> {
    request: &'a Request,
    patterns: Vec<CompiledPattern<'a>>,
    condition: Option<Compiled>,
    tests: Vec<(&'a Bytes, CompiledTest)>,
    keys: Vec<Compiled>,
    values: Option<Compiled>,
}

enum CompiledPattern<'a> {
    Name(&'a Bytes),
    Regex(Regex),
}

impl<'a> Lookup<'a> {
    fn compile(request: &'a Request) -> Result<Lookup<'a>, String> {
        let patterns = request.measurements.iter().map(|pattern| {
            Ok(match pattern {
                Pattern::Name(name) => CompiledPattern::Name(name),
                Pattern::Regex(text) => CompiledPattern::Regex(Regex::new(text).map_err(|error| error.to_string())?),
            })
        });
        let mut lookup = Lookup {
            request,
            patterns: patterns.collect::<Result<_, String>>()?,
            condition: request.condition.as_ref().map(|condition| condition.compile()).transpose()?,
            tests: Vec::new(),
            keys: Vec::new(),
            values: None,
        };
        match &request.ask {
            Ask::Measurements { tests } => {
                if tests.len() > 32 {
                    return Err("too many tag comparisons in one condition".to_owned());
                }
                let tests = tests.iter().map(|(key, test)| Ok((key, test.compile()?)));
                lookup.tests = tests.collect::<Result<_, String>>()?;
            }
            Ask::TagValues { keys, values } => {
                lookup.keys = keys.iter().map(|key| key.compile()).collect::<Result<_, String>>()?;
                lookup.values = values.as_ref().map(|values| values.compile()).transpose()?;
            }
            _ => {}
        }
        Ok(lookup)
    }

    fn page_of<V: View>(&self, view: &V, limit: usize) -> Page {
        let partitions = match self.request.within {
            Within::Database => None,
            Within::Policy(policy) => Some(view.partitions(self.request.database, policy, TimeRange::ALWAYS)),
            Within::Groups(policy, range) => Some(view.partitions(self.request.database, policy, range)),
        };
        if partitions.as_ref().is_some_and(|partitions| partitions.is_empty()) {
            return Page::default();
        }
        let bare = match self.request.within {
            Within::Policy(policy) if self.is_about_fields_alone() => {
                view.measurements_without_series(self.request.database, policy, TimeRange::ALWAYS)
            }
            _ => Vec::new(),
        };
        // Fields are looked up outside of the index: the view may have one borrow for both.
        let mut page = Filling { entries: Vec::new(), limit };
        let mut name = self.request.after.as_ref().map(|after| after.measurement.clone());
        if name.is_none() {
            name = self.next_name(view, &bare, b"");
        }
        while let Some(current) = name.filter(|_| !page.is_full()) {
            if self.wants_measurement(&current) {
                self.fill_measurement(view, &current, partitions.as_deref(), &mut page);
            }
            name = self.next_name(view, &bare, &current);
        }
        let next = page.is_full().then(|| page.entries.last().map(|entry| entry.key.clone())).flatten();
        Page { entries: page.entries, next }
    }

    /// The measurement after `name`, of the index or among `bare`; the index is let go in between.
    fn next_name<V: View>(&self, view: &V, bare: &[Bytes], name: &[u8]) -> Option<Bytes> {
        let next = |index: &Index| index.measurements_after(name).next().map(|next| Bytes::from(next.name()));
        let indexed = view.index(self.request.database, next).flatten();
        let bare = bare.get(bare.partition_point(|bare| **bare <= *name)).cloned();
        indexed.into_iter().chain(bare).min()
    }

    fn wants_measurement(&self, name: &[u8]) -> bool {
        let matches = |pattern: &CompiledPattern<'_>| match pattern {
            CompiledPattern::Name(wanted) => ***wanted == *name,
            CompiledPattern::Regex(regex) => regex.is_match(name),
        };
        self.patterns.is_empty() || self.patterns.iter().any(matches)
    }

    fn fill_measurement<V: View>(
        &self,
        view: &V,
        name: &[u8],
        partitions: Option<&[PartitionInfo]>,
        page: &mut Filling,
    ) {
        let scope = Scope { items: self.items(view, name, partitions), partitions };
        if self.is_about_fields_alone() {
            let mut found = Sorted::new(self, page);
            scope.items.iter().flatten().for_each(|item| found.add(name, &[], item.clone(), 1));
            page.entries.extend(found.entries());
            return;
        }
        view.index(self.request.database, |index| {
            if let Some(measurement) = index.measurement(name) {
                self.fill(index, measurement, &scope, page);
            }
        });
    }

    fn field(&self, measurement: &[u8], name: &[u8]) -> Option<bool> {
        let order = |(of, field): &(Bytes, Bytes)| (&**of, &**field).cmp(&(measurement, name));
        self.request.fields.binary_search_by(order).is_ok().then_some(self.request.fields_pass)
    }

    /// What the series of each partition stand for: its fields, its id, or nothing when neither is asked for.
    fn items<V: View>(
        &self,
        view: &V,
        measurement: &[u8],
        partitions: Option<&[PartitionInfo]>,
    ) -> Vec<Vec<Vec<Bytes>>> {
        let Within::Policy(policy) = self.request.within else { return Vec::new() };
        let items_of = |partition: &PartitionInfo| -> Vec<Vec<Bytes>> {
            let fields = || view.fields(self.request.database, policy, measurement, partition.range).into_iter();
            match self.request.ask {
                Ask::Fields => fields().map(|(name, of)| vec![name, of.name().as_bytes().into()]).collect(),
                Ask::FieldsByGroup => fields().map(|(name, _)| vec![group_item(partition.group), name]).collect(),
                Ask::Groups => vec![vec![group_item(partition.group)]],
                _ => Vec::new(),
            }
        };
        partitions.unwrap_or_default().iter().map(items_of).collect()
    }

    fn fill(&self, index: &Index, measurement: &MeasurementIndex, scope: &Scope<'_>, page: &mut Filling) {
        let series = self.series(measurement, scope);
        if series.is_empty() {
            return;
        }
        let key = |item: Vec<Bytes>| key(measurement.name(), &[], item);
        match &self.request.ask {
            Ask::Series => self.fill_series(index, measurement, &series, page),
            Ask::Measurements { .. } => self.push(page, key(Vec::new()), self.bits(measurement)),
            _ if !self.request.dimensions.is_empty() || self.is_by_partition() => {
                self.fill_groups(index, measurement, &series, scope, page);
            }
            Ask::Count => self.push(page, key(Vec::new()), series.len()),
            Ask::TagKeys => {
                for (name, tag) in measurement.tag_keys() {
                    let is_there = if is_few(&series, tag.value_count() as u64) {
                        series.iter().any(|id| index.tag_of(SeriesId(id), name).is_some())
                    } else {
                        tag.values().any(|(_, postings)| postings.intersects(&series))
                    };
                    if is_there {
                        self.push(page, key(vec![name.into()]), 1);
                    }
                }
            }
            Ask::TagValues { .. } => self.fill_tag_values(index, measurement, &series, page),
            Ask::Fields | Ask::FieldsByGroup | Ask::Groups => {}
        }
    }

    fn series(&self, measurement: &MeasurementIndex, scope: &Scope<'_>) -> RoaringBitmap {
        let mut series = match &self.condition {
            Some(condition) => condition.series(measurement, &|name| self.field(measurement.name(), name)),
            None => measurement.series().clone(),
        };
        if let Some(partitions) = scope.partitions {
            let mut present = RoaringBitmap::new();
            for partition in partitions {
                present |= &partition.series & &series;
            }
            series = present;
        }
        series
    }

    fn fill_series(&self, index: &Index, measurement: &MeasurementIndex, series: &RoaringBitmap, page: &mut Filling) {
        let item = |id: u32| -> Vec<&[u8]> {
            index.tags_of(SeriesId(id)).into_iter().flatten().flat_map(|(name, value)| [name, value]).collect()
        };
        let mut few: Vec<u32> = Vec::new();
        let ordered = if is_few(series, measurement.series().len()) {
            few.extend(series);
            few.sort_by_cached_key(|&id| item(id));
            &few[..]
        } else {
            index.ordered(measurement)
        };
        let after = self.request.after.as_ref().filter(|after| *after.measurement == *measurement.name());
        let start = after.map_or(0, |after| {
            let after: Vec<&[u8]> = after.item.iter().map(|part| &**part).collect();
            ordered.partition_point(|&id| item(id) <= after)
        });
        for &id in ordered[start..].iter().filter(|&&id| series.contains(id)) {
            if page.is_full() {
                return;
            }
            let item = item(id).into_iter().map(Bytes::from).collect();
            page.entries.push(Entry { key: key(measurement.name(), &[], item), number: 1 });
        }
    }

    fn fill_tag_values(
        &self,
        index: &Index,
        measurement: &MeasurementIndex,
        series: &RoaringBitmap,
        page: &mut Filling,
    ) {
        let after = self.request.after.as_ref().filter(|after| *after.measurement == *measurement.name());
        let after = after.and_then(|after| Some((after.item.first()?, after.item.get(1)?)));
        for (name, tag) in measurement.tag_keys() {
            if !self.wants_key(name) || after.is_some_and(|(after, _)| *name < **after) {
                continue;
            }
            let after_value = after.filter(|(after, _)| ***after == *name).map(|(_, value)| &**value);
            let mut few: BTreeSet<&[u8]> = BTreeSet::new();
            let mut all = None;
            if is_few(series, tag.value_count() as u64) {
                let values = series.iter().filter_map(|id| index.tag_of(SeriesId(id), name));
                few.extend(values.filter(|value| after_value.is_none_or(|after| *value > after)));
            } else {
                all = Some(tag.values_after(after_value).filter(|(_, postings)| postings.intersects(series)));
            }
            for value in few.into_iter().chain(all.into_iter().flatten().map(|(value, _)| value)) {
                if page.is_full() {
                    return;
                }
                if self.wants_value(value) {
                    let item = vec![name.into(), value.into()];
                    page.entries.push(Entry { key: key(measurement.name(), &[], item), number: 1 });
                }
            }
        }
    }

    /// By series, since which group a value belongs to only the series tells; fields by partition, since each has its
    /// own.
    fn fill_groups(
        &self,
        index: &Index,
        measurement: &MeasurementIndex,
        series: &RoaringBitmap,
        scope: &Scope<'_>,
        page: &mut Filling,
    ) {
        let name = measurement.name();
        let mut found = Sorted::new(self, page);
        if self.is_by_partition() {
            for (partition, items) in scope.partitions.unwrap_or_default().iter().zip(&scope.items) {
                for group in self.groups(index, &(series & &partition.series)) {
                    items.iter().for_each(|item| found.add(name, &group, item.clone(), 1));
                }
            }
        } else {
            for id in series {
                let group = self.group_of(index, SeriesId(id));
                match &self.request.ask {
                    Ask::Count => found.add(name, &group, Vec::new(), 1),
                    ask => {
                        let with_value = matches!(ask, Ask::TagValues { .. });
                        for (tag, value) in index.tags_of(SeriesId(id)).into_iter().flatten() {
                            let wanted = !with_value || (self.wants_key(tag) && self.wants_value(value));
                            if wanted {
                                let value = with_value.then(|| Bytes::from(value));
                                let item = std::iter::once(Bytes::from(tag)).chain(value).collect();
                                found.add(name, &group, item, 1);
                            }
                        }
                    }
                }
            }
        }
        page.entries.extend(found.entries());
    }

    /// Whether fields are asked for whatever the series: those of a refused batch are known without a point, and those
    /// of deleted points as long as any shard has a series of the measurement.
    fn is_about_fields_alone(&self) -> bool {
        let request = self.request;
        let is_plain = request.condition.is_none() && request.dimensions.is_empty();
        matches!(request.ask, Ask::Fields | Ask::FieldsByGroup) && is_plain
    }

    /// Whether entries depend on the shard group that the data is in.
    fn is_by_partition(&self) -> bool {
        matches!(self.request.ask, Ask::Fields | Ask::FieldsByGroup | Ask::Groups)
    }

    /// The distinct groups of `series`.
    fn groups(&self, index: &Index, series: &RoaringBitmap) -> Vec<Vec<Bytes>> {
        if self.request.dimensions.is_empty() {
            return if series.is_empty() { Vec::new() } else { vec![Vec::new()] };
        }
        let mut groups: Vec<Vec<Bytes>> = series.iter().map(|id| self.group_of(index, SeriesId(id))).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn group_of(&self, index: &Index, id: SeriesId) -> Vec<Bytes> {
        let value = |key: &Bytes| index.tag_of(id, key).unwrap_or_default().into();
        self.request.dimensions.iter().map(value).collect()
    }

    /// Which tests the measurement knows the key of, and which it passes.
    fn bits(&self, measurement: &MeasurementIndex) -> u64 {
        let mut bits = 0;
        for (position, (key, test)) in self.tests.iter().enumerate() {
            if let Some(tag) = measurement.tag(key) {
                let passes = match test {
                    CompiledTest::Equal(value) => tag.value(value).is_some(),
                    CompiledTest::Match(_) => tag.values().any(|(value, _)| test.passes(value)),
                };
                bits |= (1 | u64::from(passes) << 1) << (2 * position);
            }
        }
        bits
    }

    fn wants_key(&self, name: &[u8]) -> bool {
        self.keys.iter().all(|key| key.passes(name))
    }

    fn wants_value(&self, value: &[u8]) -> bool {
        self.values.as_ref().is_none_or(|values| values.passes(value))
    }

    /// Adds an entry unless it was told already or there is no room.
    fn push(&self, page: &mut Filling, key: Key, number: u64) {
        if !page.is_full() && self.request.after.as_ref().is_none_or(|after| key > *after) {
            page.entries.push(Entry { key, number });
        }
    }
}

/// Whether it takes less to look at each of `series` than at `all` of something.
fn is_few(series: &RoaringBitmap, all: u64) -> bool {
    series.len() < all / FEW
}

fn key(measurement: &[u8], group: &[Bytes], item: Vec<Bytes>) -> Key {
    Key { measurement: measurement.into(), group: group.to_vec(), item }
}

/// Entries of one measurement that come in any order: the first ones that were not told before.
struct Sorted<'a> {
    after: Option<&'a Key>,
    room: usize,
    found: BTreeMap<Key, u64>,
}

impl<'a> Sorted<'a> {
    fn new(lookup: &Lookup<'a>, page: &Filling) -> Sorted<'a> {
        Sorted { after: lookup.request.after.as_ref(), room: page.limit - page.entries.len(), found: BTreeMap::new() }
    }

    fn add(&mut self, measurement: &[u8], group: &[Bytes], item: Vec<Bytes>, number: u64) {
        // Of many groups most stand behind the page: no key is made for those.
        let last = self.found.last_key_value().filter(|_| self.found.len() == self.room);
        if last.is_some_and(|(last, _)| (group, &item) > (&last.group, &last.item)) {
            return;
        }
        let key = key(measurement, group, item);
        if self.after.is_some_and(|after| key <= *after) {
            return;
        }
        *self.found.entry(key).or_default() += number;
        if self.found.len() > self.room {
            self.found.pop_last();
        }
    }

    fn entries(self) -> impl Iterator<Item = Entry> {
        self.found.into_iter().map(|(key, number)| Entry { key, number })
    }
}

/// What a measurement's entries depend on beside the index.
struct Scope<'a> {
    items: Vec<Vec<Vec<Bytes>>>,
    partitions: Option<&'a [PartitionInfo]>,
}

/// A page that is being filled, in order.
struct Filling {
    entries: Vec<Entry>,
    limit: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }
}
