//! Limits on new series: which keys of a request may become series, as stock decides it.
//!
//! In:    the finished batches of a request.
//! Out:   the same without the points of refused keys, room for the series that are made, and what was refused.
//!
//! Only keys whose ids this core does not know are looked at; their owners are asked which of them are new. As in
//! stock, tag values are counted before the request, so that one request may overshoot `max-values-per-tag`, and the
//! points of new keys in one shard group find room under `max-series-per-database` together or not at all. Unlike in
//! stock, points of series that are there already are stored beside refused ones.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;

use crate::batch::SeriesRef;
use crate::ingest::WriteError;
use crate::ingest::owners::Owners;
use crate::ingest::owners::Target;
use crate::ingest::session::Closed;
use crate::model::Bytes;
use crate::model::GroupId;
use crate::series::key;
use crate::shard::TagAsk;
use crate::stdx::budget::Budget;
use crate::stdx::budget::Taken;

/// Limits of each database; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `max-series-per-database`.
    pub series_max: u64,
    /// `max-values-per-tag`.
    pub values_max: u64,
}

/// What became of the new keys of a request.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// For the new series of each core.
    pub room: Vec<Taken>,
    /// Why some were refused.
    pub reason: Option<Vec<u8>>,
    /// Points and values of those.
    pub points: u64,
    pub values: u64,
}

/// A key without a known id in one batch.
#[derive(Debug)]
struct Candidate {
    batch: usize,
    index: usize,
    shard: u16,
    key: Bytes,
    /// Where the request names it first.
    line: u64,
    points: u64,
    values: u64,
    is_refused: bool,
}

/// Takes the keys that may not become series out of the batches.
pub(super) async fn admit<O: Owners>(
    owners: &O,
    target: &Target,
    closed: &mut Vec<Closed>,
) -> Result<Admitted, WriteError> {
    let limits = owners.limits();
    let mut admitted = Admitted::default();
    admitted.room.resize_with(usize::from(owners.core_count()), Taken::default);
    if limits == Limits::default() || closed.iter().all(|closed| closed.key_series.is_empty()) {
        return Ok(admitted);
    }
    let candidates = candidates(closed)?;
    let mut groups = new_keys(owners, target, closed, candidates).await?;
    if limits.values_max > 0 && !groups.is_empty() {
        let tags = Tags::ask(owners, target, &groups, limits.values_max).await?;
        let candidates = groups.values_mut().flatten();
        candidates.for_each(|candidate| tags.judge(candidate, limits.values_max, &mut admitted.reason));
    }
    if limits.series_max > 0 {
        find_room(target, &mut groups, limits.series_max, &mut admitted);
    }
    remove_refused(closed, groups.into_values().flatten(), &mut admitted)?;
    Ok(admitted)
}

fn candidates(closed: &[Closed]) -> Result<Vec<Candidate>, WriteError> {
    let mut candidates = Vec::new();
    for (batch, closed) in closed.iter().enumerate().filter(|(_, closed)| !closed.key_series.is_empty()) {
        let first = candidates.len();
        let reader = closed.batch.read().map_err(malformed)?;
        candidates.extend(reader.keys.iter().enumerate().map(|(index, key)| Candidate {
            batch,
            index,
            shard: closed.shard,
            key: Bytes::from(*key),
            line: closed.key_lines[index],
            points: 0,
            values: 0,
            is_refused: false,
        }));
        let mut rows = reader.rows();
        while let Some(row) = rows.next_row().map_err(malformed)? {
            let Some(layout) = reader.layouts.get(row.layout as usize) else { break };
            if let SeriesRef::New(index) = row.series
                && let Some(candidate) = candidates.get_mut(first + index as usize)
            {
                candidate.points += 1;
                candidate.values += layout.fields.len() as u64;
            }
            for (_, field_type) in &layout.fields {
                rows.value(*field_type).map_err(malformed)?;
            }
        }
    }
    Ok(candidates)
}

/// Those that are no series yet, by shard group and in the order of the lines.
async fn new_keys<O: Owners>(
    owners: &O,
    target: &Target,
    closed: &[Closed],
    mut candidates: Vec<Candidate>,
) -> Result<BTreeMap<GroupId, Vec<Candidate>>, WriteError> {
    candidates.sort_by_key(|candidate| candidate.line);
    let mut groups: BTreeMap<GroupId, Vec<Candidate>> = BTreeMap::new();
    for core in 0..owners.core_count() {
        let (own, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.shard % owners.core_count() == core);
        candidates = others;
        if own.is_empty() {
            continue;
        }
        let keys = own.iter().map(|candidate| (candidate.shard, candidate.key.clone())).collect();
        let known = owners.known_series(core, target.database, keys).await?;
        let new = own.into_iter().zip(known).filter(|(_, known)| !known);
        new.for_each(|(candidate, _)| groups.entry(closed[candidate.batch].group).or_default().push(candidate));
    }
    groups.values_mut().for_each(|group| group.sort_by_key(|candidate| candidate.line));
    Ok(groups)
}

/// What all cores have of the tags of new keys, by measurement and tag key.
#[derive(Default)]
struct Tags(BTreeMap<(Bytes, Bytes), Tag>);

#[derive(Default)]
struct Tag {
    /// Values of new keys, and which of them are there already.
    values: BTreeMap<Bytes, bool>,
    /// How many there are.
    count: u64,
}

impl Tags {
    async fn ask<O: Owners>(
        owners: &O,
        target: &Target,
        groups: &BTreeMap<GroupId, Vec<Candidate>>,
        values_max: u64,
    ) -> Result<Tags, WriteError> {
        let mut tags = Tags::default();
        for candidate in groups.values().flatten() {
            let (measurement, parts) = key::parse_key(&candidate.key).unwrap_or_default();
            for (key, value) in parts {
                let tag = tags.0.entry((measurement.as_slice().into(), key.into())).or_default();
                tag.values.insert(value.into(), false);
            }
        }
        let asks = tags.0.iter().map(|((measurement, key), tag)| TagAsk {
            measurement: measurement.clone(),
            key: key.clone(),
            values: tag.values.keys().cloned().collect(),
            listed: false,
        });
        let asks: Vec<TagAsk> = asks.collect();
        for core in 0..owners.core_count() {
            for (tag, answer) in tags.0.values_mut().zip(owners.tag_values(core, target.database, asks.clone()).await?)
            {
                tag.count += answer.count;
                tag.values.values_mut().zip(answer.known).for_each(|(known, here)| *known |= here);
            }
        }
        tags.count_exactly(owners, target, values_max).await?;
        Ok(tags)
    }

    /// A value that several shards have was counted by each: where that matters, all values are told apart.
    async fn count_exactly<O: Owners>(
        &mut self,
        owners: &O,
        target: &Target,
        values_max: u64,
    ) -> Result<(), WriteError> {
        let near = |tag: &Tag| tag.count >= values_max && tag.values.values().any(|known| !known);
        let mut near: Vec<_> = self.0.iter_mut().filter(|(_, tag)| near(tag)).collect();
        if near.is_empty() {
            return Ok(());
        }
        let asks = near.iter().map(|((measurement, key), _)| TagAsk {
            measurement: measurement.clone(),
            key: key.clone(),
            values: Vec::new(),
            listed: true,
        });
        let asks: Vec<TagAsk> = asks.collect();
        let mut found = vec![BTreeSet::new(); near.len()];
        for core in 0..owners.core_count() {
            let answers = owners.tag_values(core, target.database, asks.clone()).await?;
            found.iter_mut().zip(answers).for_each(|(found, answer)| found.extend(answer.values));
        }
        near.iter_mut().zip(found).for_each(|((_, tag), found)| tag.count = found.len() as u64);
        Ok(())
    }

    fn judge(&self, candidate: &mut Candidate, values_max: u64, reason: &mut Option<Vec<u8>>) {
        let (measurement, parts) = key::parse_key(&candidate.key).unwrap_or_default();
        for (key, value) in parts {
            let Some(tag) = self.0.get(&(measurement.as_slice().into(), key.as_slice().into())) else { continue };
            let is_known = tag.values.get(value.as_slice()).copied().unwrap_or(false);
            if is_known || tag.count < values_max {
                continue;
            }
            candidate.is_refused = true;
            reason.get_or_insert_with(|| {
                let (measurement, key, value) = (go_quoted(&measurement), go_quoted(&key), go_quoted(&value));
                let counts = format!("max-values-per-tag limit exceeded ({}/{values_max}): ", tag.count);
                format!("{counts}measurement={measurement} tag={key} value={value}").into_bytes()
            });
            return;
        }
    }
}

/// Takes room for the new series of each shard group, or refuses all of them.
fn find_room(
    target: &Target,
    groups: &mut BTreeMap<GroupId, Vec<Candidate>>,
    series_max: u64,
    admitted: &mut Admitted,
) {
    let budget = Budget::new(target.series.clone(), series_max);
    let core_count = admitted.room.len();
    let mut made: HashSet<(u16, Bytes)> = HashSet::new();
    for group in groups.values_mut() {
        let is_new = |candidate: &&mut Candidate| {
            !candidate.is_refused && !made.contains(&(candidate.shard, candidate.key.clone()))
        };
        let mut new: Vec<&mut Candidate> = group.iter_mut().filter(is_new).collect();
        let keys: HashSet<(u16, Bytes)> =
            new.iter().map(|candidate| (candidate.shard, candidate.key.clone())).collect();
        // Stock counts a new key once for each of its points.
        let points = new.iter().map(|candidate| candidate.points).sum();
        match budget.take_of(keys.len() as u64, points) {
            Ok(mut taken) => {
                for (core, room) in admitted.room.iter_mut().enumerate() {
                    let here = keys.iter().filter(|(shard, _)| usize::from(*shard) % core_count == core);
                    let mut part = taken.split(here.count() as u64);
                    part.join(std::mem::take(room));
                    *room = part;
                }
                made.extend(keys);
            }
            Err(_) => {
                new.iter_mut().for_each(|candidate| candidate.is_refused = true);
                let text = format!("max-series-per-database limit exceeded: ({series_max})");
                admitted.reason = Some(text.into_bytes());
            }
        }
    }
}

fn remove_refused(
    closed: &mut Vec<Closed>,
    candidates: impl Iterator<Item = Candidate>,
    admitted: &mut Admitted,
) -> Result<(), WriteError> {
    let mut refused: Vec<Vec<bool>> = closed.iter().map(|closed| vec![false; closed.key_series.len()]).collect();
    for candidate in candidates.filter(|candidate| candidate.is_refused) {
        refused[candidate.batch][candidate.index] = true;
        admitted.points += candidate.points;
        admitted.values += candidate.values;
    }
    for (closed, refused) in closed.iter_mut().zip(&refused).filter(|(_, refused)| refused.contains(&true)) {
        closed.batch = closed.batch.without_keys(refused).map_err(malformed)?;
        let mut keep = refused.iter().map(|refused| !refused);
        closed.key_series.retain(|_| keep.next().unwrap_or(true));
    }
    let mut refused = refused.iter();
    closed.retain(|closed| {
        let touched = refused.next().is_some_and(|refused| refused.contains(&true));
        !touched || closed.batch.read().is_ok_and(|reader| reader.row_count > 0)
    });
    Ok(())
}

fn malformed(error: crate::batch::BatchError) -> WriteError {
    WriteError::Storage(error.to_string())
}

/// A text in Go's quotes.
fn go_quoted(text: &[u8]) -> String {
    let mut quoted = String::from('"');
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => quoted.extend(['\\', letter]),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{b}' => quoted.push_str("\\v"),
                '\0'..' ' | '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(letter))),
                letter if letter.is_control() || (letter.is_whitespace() && letter != ' ') => {
                    quoted.push_str(&format!("\\u{:04x}", u32::from(letter)));
                }
                letter => quoted.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted.push_str(&format!("\\x{byte:02x}")));
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        let cases: [(&[u8], &str); 4] = [
            (b"host", "\"host\""),
            (b"a \"b\"\\", r#""a \"b\"\\""#),
            ("sch\u{f6}n\n".as_bytes(), "\"sch\u{f6}n\\n\""),
            (b"\xff\x01", r#""\xff\x01""#),
        ];
        for (text, quoted) in cases {
            assert_eq!(go_quoted(text), quoted);
        }
    }
}
