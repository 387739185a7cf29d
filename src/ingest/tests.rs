use std::collections::BTreeMap;
use std::collections::BTreeSet;

use futures_lite::future::block_on;

use super::*;
use crate::batch::Batch;
use crate::batch::SeriesRef;
use crate::ingest::owners::Claim;
use crate::ingest::owners::Target;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::FieldValue;
use crate::model::GroupId;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Timestamp;
use crate::series::Held;
use crate::series::SchemaRegistry;
use crate::series::key::parse_key;
use crate::shard::TagAnswer;
use crate::shard::TagAsk;
use crate::stdx::budget::Counter;
use crate::stdx::budget::Taken;

const GROUP_NS: i64 = 1000;
const SHARDS: u16 = 4;

/// Two cores and one policy of 1000 ns shard groups, in memory.
#[derive(Clone, Default)]
struct Fake {
    state: Rc<RefCell<FakeState>>,
}

#[derive(Default)]
struct FakeState {
    groups: Vec<(GroupId, TimeRange)>,
    duration_ns: i64,
    schema: SchemaRegistry,
    series: BTreeMap<(u16, Vec<u8>), u32>,
    /// (key, time) to fields.
    points: BTreeMap<(String, i64), BTreeMap<String, String>>,
    keys_sent: usize,
    /// Where the senders of batches say that the counter of forgotten ids stood.
    told: Vec<u64>,
    claims: usize,
    fails: bool,
    limits: Limits,
    counted: Counter,
    forgets: Counter,
}

impl Owners for Fake {
    fn shard_count(&self) -> u16 {
        SHARDS
    }

    fn core_count(&self) -> u16 {
        2
    }

    fn target(&self, database: &str, policy: &str) -> Result<Rc<Target>, WriteError> {
        if database != "db" {
            return Err(WriteError::DatabaseNotFound(database.to_owned()));
        }
        if policy == "none" {
            return Err(WriteError::PolicyNotFound(policy.to_owned()));
        }
        let state = self.state.borrow();
        let groups = state.groups.clone();
        let duration_ns = state.duration_ns;
        let (series, forgets) = (state.counted.clone(), state.forgets.clone());
        Ok(Rc::new(Target { database: DatabaseId(1), policy: PolicyId(1), duration_ns, groups, series, forgets }))
    }

    async fn create_groups(&self, _: DatabaseId, _: PolicyId, times: Vec<Timestamp>) -> Result<(), WriteError> {
        let groups = &mut self.state.borrow_mut().groups;
        for time in times {
            let number = time.div_euclid(GROUP_NS);
            let range = TimeRange { min: number * GROUP_NS, max: (number + 1) * GROUP_NS - 1 };
            if groups.iter().all(|group| group.1 != range) {
                groups.push((GroupId(number as u64), range));
            }
        }
        groups.sort_by_key(|group| group.1.min);
        Ok(())
    }

    async fn claim(&self, claims: Vec<Claim>) -> Result<Vec<Vec<Option<Held>>>, WriteError> {
        let state = &mut *self.state.borrow_mut();
        state.claims += claims.len();
        let claim = |claim: &Claim| {
            let fields: Vec<(&[u8], FieldType)> = claim.fields.iter().map(|field| (&*field.0, field.1)).collect();
            state.schema.claim(claim.database, claim.policy, claim.group, &claim.measurement, &fields)
        };
        Ok(claims.iter().map(claim).collect())
    }

    fn limits(&self) -> Limits {
        self.state.borrow().limits
    }

    async fn known_series(&self, core: u16, _: DatabaseId, keys: Vec<(u16, Bytes)>) -> Result<Vec<bool>, WriteError> {
        assert!(keys.iter().all(|(shard, _)| shard % 2 == core));
        let state = self.state.borrow();
        Ok(keys.into_iter().map(|(shard, key)| state.series.contains_key(&(shard, key.to_vec()))).collect())
    }

    async fn tag_values(&self, core: u16, _: DatabaseId, asks: Vec<TagAsk>) -> Result<Vec<TagAnswer>, WriteError> {
        let state = self.state.borrow();
        let answer = |ask: TagAsk| {
            let own = state.series.keys().filter(|(shard, _)| shard % 2 == core);
            let parts = own.map(|(_, key)| parse_key(key).unwrap()).filter(|parts| *parts.0 == *ask.measurement);
            let tags = parts.flat_map(|parts| parts.1).filter(|(key, _)| **key == *ask.key);
            let values: BTreeSet<Vec<u8>> = tags.map(|(_, value)| value).collect();
            TagAnswer {
                known: ask.values.iter().map(|value| values.contains(&**value)).collect(),
                count: values.len() as u64,
                values: values.iter().filter(|_| ask.listed).map(|value| rapidhash::v3::rapidhash_v3(value)).collect(),
            }
        };
        Ok(asks.into_iter().map(answer).collect())
    }

    async fn write(
        &self,
        core: u16,
        batches: Vec<Batch>,
        forgets: u64,
        mut room: Taken,
    ) -> Result<Vec<Vec<SeriesId>>, WriteError> {
        let state = &mut *self.state.borrow_mut();
        state.told.push(forgets);
        if state.fails {
            return Err(WriteError::Storage("no disk".to_owned()));
        }
        let before = state.series.len();
        let ids = batches.iter().map(|batch| state.take(core, batch)).collect();
        if state.limits.series_max > 0 {
            room.keep((state.series.len() - before) as u64);
        }
        Ok(ids)
    }
}

impl FakeState {
    fn take(&mut self, core: u16, batch: &Batch) -> Vec<SeriesId> {
        let reader = batch.read().unwrap();
        let shard = reader.destination.shard;
        assert_eq!(shard % 2, core);
        self.keys_sent += reader.keys.len();
        let mut ids = Vec::new();
        for key in &reader.keys {
            assert_eq!(shard_of(key, SHARDS), shard);
            let next = self.series.len() as u32;
            ids.push(SeriesId(*self.series.entry((shard, key.to_vec())).or_insert(next)));
        }
        let mut rows = reader.rows();
        while let Some(row) = rows.next_row().unwrap() {
            let id = match row.series {
                SeriesRef::Known(id) => id,
                SeriesRef::New(index) => ids[index as usize],
            };
            let key = self.series.iter().find(|entry| *entry.1 == id.0).unwrap().0.1.clone();
            assert_eq!(row.time.div_euclid(GROUP_NS), reader.destination.group.0 as i64);
            let fields = self.points.entry((String::from_utf8(key).unwrap(), row.time)).or_default();
            for (name, field_type) in &reader.layouts[row.layout as usize].fields {
                let value = match rows.value(*field_type).unwrap() {
                    FieldValue::Float(value) => format!("{value:?}"),
                    FieldValue::Integer(value) => format!("{value}i"),
                    FieldValue::Unsigned(value) => format!("{value}u"),
                    FieldValue::Boolean(value) => format!("{value}"),
                    FieldValue::String(value) => format!("{:?}", String::from_utf8_lossy(value)),
                };
                fields.insert(String::from_utf8_lossy(name).into_owned(), value);
            }
        }
        ids
    }
}

struct Setup {
    fake: Fake,
    ingest: Ingest<Fake>,
}

impl Setup {
    fn new() -> Setup {
        let fake = Fake::default();
        Setup { ingest: Ingest::new(fake.clone()), fake }
    }

    /// Writes `body` in windows of `window` bytes.
    fn write_in(&self, body: &str, window: usize) -> Result<Written, WriteError> {
        let params = WriteParams { database: "db".to_owned(), policy: String::new(), precision_ns: 1, now_ns: 5_000 };
        block_on(async {
            let mut session = self.ingest.begin(params)?;
            let (mut start, mut end) = (0, 0);
            while end < body.len() {
                end = body.len().min(end + window);
                start += session.feed(&body.as_bytes()[start..end], end == body.len()).await?;
            }
            session.finish().await
        })
    }

    fn write(&self, body: &str) -> Result<Written, WriteError> {
        self.write_in(body, usize::MAX / 2)
    }

    fn points(&self) -> String {
        let state = self.fake.state.borrow();
        let point = |((key, time), fields): (&(String, i64), &BTreeMap<String, String>)| {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{key} {} {time}\n", fields.join(","))
        };
        state.points.iter().map(point).collect()
    }
}

fn partial(reason: &str, dropped: u64, written: (u64, u64)) -> Result<Written, WriteError> {
    let written = Written { points: written.0, values: written.1 };
    Err(WriteError::Partial {
        text: format!("partial write: {reason} dropped={dropped}").into_bytes().into(),
        dropped,
        written,
    })
}

const BODY: &str =
    "m,b=2,a=1 x=1i,s=\"q r\" 1\nm,a=1,b=2 x=2i 1\n\n# note\nm x=1i,y=t 1500\nother v=1.5 20\nm x=3i 1501\n";

#[test]
fn points_reach_their_owners_whatever_the_windows() {
    let expected = "m x=1i,y=true 1500\nm x=3i 1501\nm,a=1,b=2 s=\"q r\",x=2i 1\nother v=1.5 20\n";
    for window in [BODY.len(), 64, 30] {
        let setup = Setup::new();
        assert_eq!(setup.write_in(BODY, window), Ok(Written { points: 5, values: 7 }));
        assert_eq!(setup.points(), expected, "windows of {window}");
    }
}

#[test]
fn a_key_is_sent_until_its_owner_has_given_it_an_id() {
    let setup = Setup::new();
    setup.write(BODY).unwrap();
    let sent = setup.fake.state.borrow().keys_sent;
    let claims = setup.fake.state.borrow().claims;
    setup.write(BODY).unwrap();
    assert_eq!(setup.fake.state.borrow().keys_sent, sent);
    assert_eq!(setup.fake.state.borrow().claims, claims);
}

#[test]
fn ids_told_before_the_counter_of_forgotten_ones_stepped_are_not_sent() {
    let setup = Setup::new();
    setup.write(BODY).unwrap();
    let sent = setup.fake.state.borrow().keys_sent;
    setup.fake.state.borrow().forgets.add(1);
    setup.fake.state.borrow_mut().told.clear();
    setup.write(BODY).unwrap();
    assert_eq!(setup.fake.state.borrow().keys_sent, 2 * sent);
    setup.write(BODY).unwrap();
    assert_eq!(setup.fake.state.borrow().keys_sent, 2 * sent);
    assert!(setup.fake.state.borrow().told.iter().all(|told| *told == 1));
}

#[test]
fn the_first_type_of_a_field_holds_in_its_shard_group_and_conflicting_points_are_dropped_whole() {
    let setup = Setup::new();
    setup.write("m x=1 1").unwrap();
    let conflict =
        "field type conflict: input field \"x\" on measurement \"m\" is type integer, already exists as type float";
    assert_eq!(setup.write("m x=2i,z=1 2\nm x=3 3\nm x=4i 4"), partial(conflict, 2, (1, 1)));
    assert_eq!(setup.points(), "m x=1.0 1\nm x=3.0 3\n");
    assert_eq!(setup.write("m x=5i 1001"), Ok(Written { points: 1, values: 1 }));
}

#[test]
fn a_field_made_with_two_types_refuses_its_shard_group_and_keeps_the_first_type() {
    let setup = Setup::new();
    for body in ["m x=1 1\nm x=2i 2\nm y=1 1003", "n v=1,v=\"s\" 1"] {
        assert_eq!(setup.write(body), Err(WriteError::FieldTypeConflict));
    }
    assert_eq!(setup.points(), "m y=1.0 1003\n");
    let conflict =
        "field type conflict: input field \"x\" on measurement \"m\" is type integer, already exists as type float";
    assert_eq!(setup.write("m x=2i 2"), partial(conflict, 1, (0, 0)));
}

#[test]
fn fields_behind_the_first_conflict_of_a_shard_group_are_not_made() {
    for (window, second, expected) in [(usize::MAX / 2, "before=1i,", "before x"), (24, "", "x")] {
        let setup = Setup::new();
        let rest = "x=2i,behind=1i 2\nm later=1i 3\nn other=1i 4\nm later=1i 1003\n";
        let body = ["m x=1 1\nm ", second, rest].concat();
        assert_eq!(setup.write_in(&body, window), Err(WriteError::FieldTypeConflict));
        let state = setup.fake.state.borrow();
        let made = |group, measurement: &[u8]| {
            let fields = state.schema.fields(DatabaseId(1), PolicyId(1), GroupId(group), measurement);
            fields.into_iter().flatten().map(|(name, _)| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!([made(0, b"m"), made(0, b"n"), made(1, b"m")], [expected, "", "later"]);
    }
}

#[test]
fn a_refused_point_gives_no_field_its_type() {
    for window in [usize::MAX / 2, 16] {
        let setup = Setup::new();
        setup.write("m x=1 1").unwrap();
        let conflict =
            "field type conflict: input field \"x\" on measurement \"m\" is type integer, already exists as type float";
        assert_eq!(setup.write_in("m z=1,x=2i 2\nm z=3i 3\n", window), partial(conflict, 1, (1, 1)));
        assert_eq!(setup.points(), "m x=1.0 1\nm z=3i 3\n");
    }
}

#[test]
fn good_lines_are_stored_and_bad_ones_reported() {
    let setup = Setup::new();
    let reason = "unable to parse 'm': missing fields\nunable to parse 'm,t=1,t=2 x=1': duplicate tags";
    assert_eq!(setup.write("m\nm x=1 1\nm,t=1,t=2 x=1"), partial(reason, 0, (1, 1)));
    assert_eq!(setup.write("m"), Err(WriteError::Parse(b"unable to parse 'm': missing fields"[..].into())));
    assert_eq!(setup.write("# only a comment\n"), Ok(Written::default()));
}

#[test]
fn a_field_or_tag_called_time_is_treated_as_stock_does() {
    let setup = Setup::new();
    assert_eq!(setup.write("m time=1,x=2 7"), Ok(Written { points: 1, values: 1 }));
    let reason = "invalid field name: input field \"time\" on measurement \"m\" is invalid";
    assert_eq!(setup.write("m time=1 8"), partial(reason, 1, (0, 0)));
    let reason = "invalid tag key: input tag \"time\" on measurement \"m\" is invalid";
    assert_eq!(setup.write("m,time=1 x=1 8\nm x=9,x=3 9"), partial(reason, 1, (1, 1)));
    assert_eq!(setup.points(), "m x=2.0 7\nm x=3.0 9\n");
}

#[test]
fn points_beyond_retention_are_dropped() {
    let setup = Setup::new();
    setup.fake.state.borrow_mut().duration_ns = 3_000;
    assert_eq!(setup.write("m x=1 1999\nm x=1 2000"), partial("points beyond retention policy", 1, (1, 1)));
    let conflict = "field type conflict: input field \"x\" on measurement \"m\" is type string, \
                    already exists as type float";
    assert_eq!(setup.write("m x=1 1999\nm x=\"a\" 2000"), partial(conflict, 1, (0, 0)));
}

#[test]
fn an_error_of_an_owner_is_the_answer_and_a_database_must_exist() {
    let setup = Setup::new();
    setup.fake.state.borrow_mut().fails = true;
    assert_eq!(setup.write("m x=1 1\nbad"), Err(WriteError::Storage("no disk".to_owned())));
    let params = WriteParams { database: "none".to_owned(), ..WriteParams::default() };
    assert_eq!(setup.ingest.begin(params).err(), Some(WriteError::DatabaseNotFound("none".to_owned())));
}

#[test]
fn a_missing_policy_is_the_answer_unless_all_lines_are_bad() {
    let setup = Setup::new();
    let write = |body: &str| {
        let params =
            WriteParams { database: "db".to_owned(), policy: "none".to_owned(), precision_ns: 1, now_ns: 5_000 };
        block_on(async {
            let mut session = setup.ingest.begin(params)?;
            assert_eq!(session.feed(body.as_bytes(), true).await?, body.len());
            session.finish().await
        })
    };
    for body in ["", "# only a comment\n"] {
        assert_eq!(write(body), Err(WriteError::PolicyNotFound("none".to_owned())));
    }
    assert_eq!(write("m"), Err(WriteError::Parse(b"unable to parse 'm': missing fields"[..].into())));
    assert_eq!(write("m\nm x=1 1"), Err(WriteError::PolicyNotFound("none".to_owned())));
    assert_eq!(setup.points(), "");
}

/// As seen from stock: SHOW SERIES lists them.
#[test]
fn the_series_of_a_point_refused_for_its_fields_exists_all_the_same() {
    let setup = Setup::new();
    setup.write("m,h=a v=1 1").unwrap();
    for refused in ["m,h=b v=1i 1", "m,h=c time=1 1", "m,h=d w=1,w=2i 1", "m,time=e v=1 1"] {
        assert!(setup.write(refused).is_err(), "{refused}");
    }
    let state = setup.fake.state.borrow();
    let mut keys: Vec<String> = state.series.keys().map(|(_, key)| String::from_utf8_lossy(key).into_owned()).collect();
    keys.sort();
    assert_eq!(keys, ["m,h=a", "m,h=b", "m,h=c", "m,h=d"]);
    drop(state);
    assert_eq!(setup.points(), "m,h=a v=1.0 1\n");
}

#[test]
fn a_tag_named_time_is_refused_also_where_no_shard_group_is() {
    let reason = "invalid tag key: input tag \"time\" on measurement \"m\" is invalid";
    assert_eq!(Setup::new().write("m,time=a v=1 1"), partial(reason, 1, (0, 0)));
}

#[test]
fn a_point_refused_by_a_type_its_core_has_not_met_gives_no_field_its_type() {
    let setup = Setup::new();
    setup.write("m x=1 1").unwrap();
    // Another core, or this one after a restart: it knows nothing of x.
    let other = Setup { fake: setup.fake.clone(), ingest: Ingest::new(setup.fake.clone()) };
    let conflict =
        "field type conflict: input field \"x\" on measurement \"m\" is type integer, already exists as type float";
    assert_eq!(other.write("m z=1,x=2i 2\nm z=3i 3\n"), partial(conflict, 1, (1, 1)));
    assert_eq!(other.points(), "m x=1.0 1\nm z=3i 3\n");
}

fn limited(series_max: u64, values_max: u64) -> Setup {
    let setup = Setup::new();
    setup.fake.state.borrow_mut().limits = Limits { series_max, values_max };
    setup
}

#[test]
fn new_series_over_the_limit_are_refused_together_and_points_of_others_are_stored() {
    let setup = limited(2, 0);
    let refused = |dropped, written| partial("max-series-per-database limit exceeded: (2)", dropped, written);
    assert_eq!(setup.write("a v=1 1\nb v=1 1\nc v=1,w=2 1\n"), refused(3, (0, 0)));
    assert_eq!(setup.write("a v=1 1\n"), Ok(Written { points: 1, values: 1 }));
    // As in stock each point of a new series wants room.
    assert_eq!(setup.write("b v=1 1\nb v=1 2\na v=2 2\n"), refused(2, (1, 1)));
    assert_eq!(setup.write("b v=1 1\na v=3 3\n"), Ok(Written { points: 2, values: 2 }));
    assert_eq!(setup.write("c v=1 1\nb v=4 4\na v=4 1004\nd v=1 1004"), refused(2, (2, 2)));
    assert_eq!(setup.points(), "a v=1.0 1\na v=2.0 2\na v=3.0 3\na v=4.0 1004\nb v=1.0 1\nb v=4.0 4\n");
    assert_eq!(setup.fake.state.borrow().counted.get(), 2);
}

#[test]
fn room_for_series_that_were_not_made_comes_back() {
    let setup = limited(1, 0);
    setup.fake.state.borrow_mut().fails = true;
    assert_eq!(setup.write("a v=1 1"), Err(WriteError::Storage("no disk".to_owned())));
    setup.fake.state.borrow_mut().fails = false;
    assert_eq!(setup.write("b v=1 1"), Ok(Written { points: 1, values: 1 }));
}

#[test]
fn tag_values_are_counted_before_the_request_and_over_all_cores() {
    let setup = limited(0, 3);
    // h has two values on many shards: not more than two.
    let lines: String = (0..20).map(|i| format!("m,h={},x=y v={i} 1\nn{i},h=a v=1 1\n", i % 2)).collect();
    assert_eq!(setup.write(&lines).map(|written| written.points), Ok(40));
    // One request may overshoot.
    assert_eq!(setup.write("m,h=2 v=1 1\nm,h=3 v=1 1\n"), Ok(Written { points: 2, values: 2 }));
    let reason = "max-values-per-tag limit exceeded (4/3): measurement=\"m\" tag=\"h\" value=\"5\"";
    assert_eq!(setup.write("m,h=5 v=1 1\nm,h=4 v=1 1\nm,h=4 v=1 2\nm,h=1 v=9 9\n"), partial(reason, 3, (1, 1)));
    // Its values are there.
    assert_eq!(setup.write("m,h=1,x=y,z=a v=1 1\n"), Ok(Written { points: 1, values: 1 }));
    assert!(setup.points().contains("m,h=1 v=9.0 9\n"));
}
