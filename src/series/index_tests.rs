use std::collections::BTreeMap;
use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::*;
use crate::series::TagIndex;
use crate::series::block;

/// Small deterministic generator; a failing seed is printed by the test that uses it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

type Tags = BTreeMap<Vec<u8>, Vec<u8>>;

/// The same facts, kept in the plainest way.
#[derive(Default)]
struct Twin(BTreeMap<u32, (Vec<u8>, Tags)>);

impl Twin {
    fn select(&self, measurement: &[u8], keep: impl Fn(&Tags) -> bool) -> BTreeSet<u32> {
        let all = self.0.iter().filter(|(_, (name, tags))| name == measurement && keep(tags));
        all.map(|(&id, _)| id).collect()
    }
}

fn key_of(measurement: &[u8], tags: &Tags) -> Vec<u8> {
    let tags: Vec<(&[u8], &[u8])> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    key::encode_key(measurement, &tags)
}

fn random_series(random: &mut Random) -> (Vec<u8>, Tags) {
    let names: [&[u8]; 3] = [b"cpu", b"a b,c=d", b"disk"];
    let keys: [&[u8]; 4] = [b"host", b"region", b"k =,", b"z"];
    let mut tags = Tags::new();
    for name in keys {
        if random.below(3) > 0 {
            let value = format!("v {},={}", random.below(2), random.below(40));
            tags.insert(name.to_vec(), value.into_bytes());
        }
    }
    (names[random.below(3) as usize].to_vec(), tags)
}

fn set(bitmap: RoaringBitmap) -> BTreeSet<u32> {
    bitmap.iter().collect()
}

fn compare(index: &Index, twin: &Twin) {
    assert_eq!(index.len(), twin.0.len());
    let names: BTreeSet<&[u8]> = twin.0.values().map(|(name, _)| &**name).collect();
    assert!(index.measurements().map(MeasurementIndex::name).eq(names.iter().copied()));
    for (&id, (name, tags)) in &twin.0 {
        let key = key_of(name, tags);
        assert_eq!(index.lookup(&key), Some(SeriesId(id)));
        assert_eq!(index.key(SeriesId(id)), Some(key));
        let expected = tags.iter().map(|(name, value)| (&**name, &**value));
        assert!(index.tags_of(SeriesId(id)).expect("it is there").eq(expected));
    }
    for name in names {
        let measurement = index.measurement(name).expect("it has series");
        let value: &[u8] = b"v 1,=7";
        for tag in [&b"host"[..], b"k =,", b"nowhere"] {
            let has = |tags: &Tags, value: &[u8]| tags.get(tag).map_or(&b""[..], |found| found) == value;
            let short = |value: &[u8]| value.len().is_multiple_of(2);
            let text = |tags: &Tags| tags.get(tag).cloned().unwrap_or_default();
            assert_eq!(set(measurement.equal(tag, value)), twin.select(name, |tags| has(tags, value)));
            assert_eq!(set(measurement.not_equal(tag, value)), twin.select(name, |tags| !has(tags, value)));
            assert_eq!(set(measurement.equal(tag, b"")), twin.select(name, |tags| has(tags, b"")));
            assert_eq!(set(measurement.having(tag)), twin.select(name, |tags| tags.contains_key(tag)));
            assert_eq!(set(measurement.matching(tag, short)), twin.select(name, |tags| short(&text(tags))));
            let both = |tags: &Tags| tags.contains_key(tag) && tags.get(tag) == tags.get(&b"region"[..]);
            assert_eq!(set(measurement.same(tag, b"region")), twin.select(name, both));
            assert_eq!(set(measurement.same(b"region", tag)), twin.select(name, both));
            let values: BTreeSet<Vec<u8>> =
                twin.0.values().filter(|(of, _)| of == name).filter_map(|(_, tags)| tags.get(tag).cloned()).collect();
            let sorted: Option<Vec<Vec<u8>>> =
                measurement.tag(tag).map(|tag| tag.values_after(None).map(|(text, _)| text.to_vec()).collect());
            assert_eq!(sorted.unwrap_or_default(), values.iter().cloned().collect::<Vec<_>>());
        }
        let ordered: Vec<&Tags> = index.ordered(measurement).iter().map(|id| &twin.0[id].1).collect();
        assert!(ordered.is_sorted_by_key(|tags| tags.iter().collect::<Vec<_>>()));
        assert_eq!(ordered.len() as u64, measurement.series().len());
    }
}

#[test]
fn agrees_with_a_naive_twin_through_inserts_and_removals() {
    for seed in 1..20_u64 {
        println!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut index, mut twin, mut next) = (Index::default(), Twin::default(), 0_u32);
        for step in 0..300 {
            let (name, tags) = random_series(&mut random);
            let known = twin.0.iter().find(|(_, series)| series.0 == name && series.1 == tags).map(|(&id, _)| id);
            let removing = random.below(100) < if step < 200 { 20 } else { 80 };
            if removing && let Some((&id, _)) = twin.0.iter().nth(random.below(1 + twin.0.len() as u64) as usize) {
                twin.0.remove(&id);
                assert!(index.remove(SeriesId(id)));
                assert!(!index.remove(SeriesId(id)));
            } else if known.is_some() {
                assert_eq!(index.insert(SeriesId(u32::MAX), &key_of(&name, &tags)), Err(InsertError::Exists));
            } else {
                next += 1 + random.below(400) as u32;
                assert_eq!(index.lookup(&key_of(&name, &tags)), None);
                index.insert(SeriesId(next), &key_of(&name, &tags)).expect("new");
                twin.0.insert(next, (name, tags));
            }
            if step % 50 == 49 {
                compare(&index, &twin);
            }
        }
        for id in twin.0.keys().copied().collect::<Vec<_>>() {
            assert!(index.remove(SeriesId(id)));
        }
        compare(&index, &Twin::default());
    }
}

#[test]
fn keys_that_are_not_canonical_leave_no_trace() {
    let mut index = Index::default();
    for text in ["", "m,b=1,a=2", "m,a=", "m x"] {
        assert_eq!(index.insert(SeriesId(1), text.as_bytes()), Err(InsertError::Key(KeyError)));
    }
    assert!(index.is_empty() && index.measurements().next().is_none());
    index.insert(SeriesId(1), b"m").expect("new");
    assert_eq!(index.insert(SeriesId(1), b"n"), Err(InsertError::Exists));
    assert_eq!(index.measurements().count(), 1);
}

#[test]
fn records_survive_being_copied_when_most_are_gone() {
    let mut index = Index::default();
    let key = |id: u32| format!("m,host=host_{id},rack={}", id % 7).into_bytes();
    for id in 0..40_000 {
        index.insert(SeriesId(id), &key(id)).expect("new");
    }
    let full = index.records.bytes();
    for id in 0..39_000 {
        assert!(index.remove(SeriesId(id)));
    }
    for id in 39_000..40_000 {
        assert_eq!(index.lookup(&key(id)), Some(SeriesId(id)));
        assert_eq!(index.key(SeriesId(id)), Some(key(id)));
    }
    assert!(index.records.bytes() < full / 2, "what died was given back");
}

#[test]
fn ten_tags_cost_less_than_150_bytes() {
    let mut index = Index::default();
    let count = 50_000_u32;
    for id in 0..count {
        let text = format!(
            "cpu,arch=x86,datacenter=eu-central-1{},hostname=host_{id},os=Ubuntu15.10,rack={},region=eu-central-1,\
             service={},service_environment=test,service_version={},team=SF",
            id % 3,
            id % 100,
            id % 20,
            id % 2
        );
        index.insert(SeriesId(id), text.as_bytes()).expect("new");
    }
    let each = index.bytes() / count as usize;
    println!("{each} bytes a series");
    assert!(each < 150, "{each} bytes a series");
}

#[test]
fn series_that_come_and_go_leave_no_room_behind() {
    let mut index = Index::default();
    let mut held = Vec::new();
    for round in 0..20_u32 {
        let ids = round * 10_000..(round + 1) * 10_000;
        for id in ids.clone() {
            index.insert(SeriesId(id), format!("cpu,host=h{id}").as_bytes()).expect("new");
        }
        ids.for_each(|id| assert!(index.remove(SeriesId(id))));
        held.push(index.bytes());
    }
    // Places of ids that nobody has any more would take eight bytes each.
    assert!(held[19] - held[1] < 18 * 10_000 * 2, "{held:?}");
}

/// Series of a block, as an index takes them in.
fn block_of(series: &[(u32, bool, Vec<u8>)]) -> Vec<u8> {
    let mut builder = block::BlockBuilder::default();
    for (id, is_dormant, key) in series {
        builder.add(Member { id: SeriesId(*id), is_dormant: *is_dormant }, key);
    }
    block::unpack(&builder.take().expect("there are some")).expect("it is a block")
}

#[test]
fn blocks_make_the_index_that_series_make_one_by_one() {
    for seed in 1..40 {
        let mut random = Random(seed);
        let (mut index, mut twin) = (Index::default(), Index::default());
        let mut next = 0;
        for _ in 0..6 {
            let mut series = Vec::new();
            for _ in 0..random.below(80) + 1 {
                let (measurement, tags) = random_series(&mut random);
                // Some keys come again with a newer id, some ids are named twice.
                let id = if next > 0 && random.below(9) == 0 { next - 1 } else { next };
                next = id + 1;
                series.push((id, random.below(7) == 0, key_of(&measurement, &tags)));
            }
            series.dedup_by_key(|series| series.0);
            for shape in block::shapes(&block_of(&series)).expect("it is a block") {
                index.restore(&shape).expect("the keys are canonical");
                for (row, member) in shape.members.iter().enumerate().filter(|(_, member)| !member.is_dormant) {
                    let mut key = Vec::new();
                    shape.write_key(row, &mut key);
                    match twin.lookup(&key) {
                        _ if twin.key(member.id).is_some() => continue,
                        Some(known) if known > member.id => continue,
                        Some(known) => assert!(twin.remove(known)),
                        None => {}
                    }
                    twin.insert(member.id, &key).expect("neither is there");
                }
            }
            assert_eq!(index.len(), twin.len(), "seed {seed}");
            assert!(index.ids_from(SeriesId(0)).eq(twin.ids_from(SeriesId(0))), "seed {seed}");
            for id in twin.ids_from(SeriesId(0)) {
                let key = twin.key(id).expect("it has one");
                assert_eq!((index.key(id), index.lookup(&key)), (Some(key.clone()), Some(id)), "seed {seed}");
            }
            for (one, other) in index.measurements().zip(twin.measurements()) {
                assert_eq!((one.name(), one.series()), (other.name(), other.series()), "seed {seed}");
                for ((name, one), (other_name, other)) in one.tag_keys().zip(other.tag_keys()) {
                    assert_eq!((name, one.series_count()), (other_name, other.series_count()), "seed {seed}");
                    assert_eq!(one.value_count(), other.value_count(), "seed {seed}");
                    let sets = |tag: &TagIndex| -> Vec<(Vec<u8>, RoaringBitmap)> {
                        tag.values_after(None).map(|(value, series)| (value.to_vec(), series.to_bitmap())).collect()
                    };
                    assert_eq!(sets(one), sets(other), "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn a_shape_that_no_key_has_changes_nothing() {
    for (measurement, names, value) in [
        (&b"m"[..], [&b"b"[..], b"a"], &b"v"[..]),
        (b"m", [b"a", b"a"], b"v"),
        (b"", [b"a", b"b"], b"v"),
        (b"m", [b"a", b"b"], b""),
        (b"m", [b"a", b"b"], b"v,w"),
        (b"m x", [b"a", b"b"], b"v"),
    ] {
        let column = |name| block::Column { name, values: vec![value], rows: vec![0] };
        let members = vec![Member { id: SeriesId(1), is_dormant: false }];
        let shape = Shape { measurement, columns: names.map(column).into(), members };
        let mut index = Index::default();
        assert!(index.restore(&shape).is_err());
        assert!(index.is_empty() && index.measurements().count() == 0);
    }
}

#[test]
fn a_regular_expression_is_asked_once_for_each_value_of_the_tag_however_many_series_there_are() {
    let mut index = Index::default();
    let series = 20_000;
    for id in 0..series {
        let key = format!("cpu,host=h{},os=o{},region=r{}", id, id % 3, id % 7);
        index.insert(SeriesId(id), key.as_bytes()).expect("new");
    }
    let cpu = index.measurement(b"cpu").expect("it has series");
    // How often it was asked, and how many series were found.
    let ask = |key: &[u8]| {
        let mut asked = 0;
        let is_match = |value: &[u8]| {
            asked += 1;
            value == b"r1"
        };
        let found = cpu.matching(key, is_match);
        (asked, found.len())
    };
    // Seven values, and the empty one of series without the tag.
    let with = (0..series).filter(|id| id % 7 == 1).count() as u64;
    assert_eq!(ask(b"region"), (8, with));
    assert_eq!(ask(b"nosuch"), (1, 0));
    assert_eq!(ask(b"host"), (series + 1, 0));
}
