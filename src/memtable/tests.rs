use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::batch::BatchBuilder;
use crate::batch::Destination;
use crate::batch::SeriesRef;
use crate::model::DatabaseId;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::TimeRange;
use crate::model::Values;

/// Words of a full chunk: sixteen rows of one field.
const CHUNK: usize = 48;
const EVERYTHING: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };

/// A point of the test: series, time, and values of `i` and `s` where it has them.
type TestPoint = (u32, i64, Option<i64>, Option<String>);

fn fill(points: &[TestPoint]) -> Memtable {
    let mut memtable = Memtable::new(CHUNK);
    for (series, time, integer, string) in points {
        let destination = Destination { shard: 0, database: DatabaseId(1), policy: PolicyId(1), group: GroupId(1) };
        let mut builder = BatchBuilder::new(destination);
        let mut fields: Vec<(&[u8], FieldType)> = Vec::new();
        if integer.is_some() {
            fields.push((b"i", FieldType::Integer));
        }
        if string.is_some() {
            fields.push((b"s", FieldType::String));
        }
        let layout = builder.layout(b"m", fields.into_iter());
        builder.row(SeriesRef::Known(SeriesId(*series)), layout, *time);
        if let Some(integer) = integer {
            builder.value(FieldValue::Integer(*integer));
        }
        if let Some(string) = string {
            builder.value(FieldValue::String(string.as_bytes()));
        }
        memtable.apply(&builder.finish().read().unwrap(), &[]).unwrap();
    }
    memtable
}

type Model = BTreeMap<(u32, i64), (Option<i64>, Option<String>)>;

fn model(points: &[TestPoint]) -> Model {
    let mut model = Model::new();
    for (series, time, integer, string) in points {
        let entry = model.entry((*series, *time)).or_default();
        entry.0 = integer.or(entry.0);
        entry.1 = string.clone().or(entry.1.take());
    }
    model
}

fn unblock(series: u32, block: &crate::model::RowBlock, into: &mut Model) {
    for (row, &time) in block.times.iter().enumerate() {
        let valid = |column: usize| block.columns[column].as_ref().filter(|column| column.is_valid(row));
        let integer = valid(0).map(|column| match &column.values {
            Values::Integer(values) => values[row],
            other => panic!("{other:?}"),
        });
        let string = valid(1).map(|column| match &column.values {
            Values::String(values) => String::from_utf8(values[row].to_vec()).unwrap(),
            other => panic!("{other:?}"),
        });
        into.insert((series, time), (integer, string));
    }
}

fn fields() -> Vec<Bytes> {
    vec![b"i".to_vec().into(), b"s".to_vec().into()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_of_a_series_are_joined_and_the_last_write_wins(
        points in proptest::collection::vec(
            (0_u32..4, -3_i64..9, any::<Option<i8>>(), proptest::option::of("[a-c]{0,3}")),
            0..80,
        )
    ) {
        let points: Vec<TestPoint> = points
            .into_iter()
            .map(|(series, time, integer, string)| (series, time, integer.map(i64::from), string))
            .filter(|point| point.2.is_some() || point.3.is_some())
            .collect();
        let memtable = fill(&points);
        let mut read = Model::new();
        let mut flushed = Model::new();
        for series in 0..4 {
            unblock(series, &memtable.read(series, &fields(), EVERYTHING), &mut read);
        }
        prop_assert_eq!(&read, &model(&points));
        let mut cursor = FlushCursor::new(&memtable);
        while let Some(rows) = cursor.next(&memtable) {
            prop_assert_eq!(&**rows.measurement, b"m");
            let order: Vec<_> =
                fields().iter().map(|name| rows.fields.iter().position(|field| field.0 == *name)).collect();
            let columns = order.iter().map(|index| index.and_then(|index| rows.block.columns[index].clone())).collect();
            unblock(rows.series, &crate::model::RowBlock { times: rows.block.times.clone(), columns }, &mut flushed);
        }
        prop_assert_eq!(flushed, model(&points));
    }
}

#[test]
fn a_range_is_inclusive_and_a_row_without_the_field_is_left_out() {
    let memtable = fill(&[(1, 5, Some(1), None), (1, 6, None, Some("x".into())), (1, 7, Some(2), None)]);
    let block = memtable.read(1, &[b"i".to_vec().into()], TimeRange { min: 5, max: 7 });
    assert_eq!(block.times, [5, 7]);
    let block = memtable.read(1, &[b"i".to_vec().into()], TimeRange { min: 6, max: 6 });
    assert!(block.times.is_empty());
    assert_eq!(memtable.time_range(), Some((5, 7)));
}

#[test]
fn full_chunks_take_less_memory_than_the_one_that_grows() {
    let points: Vec<TestPoint> = (0..129).map(|time| (1, time * 10_000_000_000, Some(time % 7), None)).collect();
    let bytes = |count: usize| fill(&points[..count]).bytes();
    // Sixteen rows a chunk, three words a row.
    assert_eq!(bytes(16) - bytes(1), 15 * 24);
    let sealed = bytes(129) - bytes(113);
    assert!((1..16 * 24).contains(&sealed), "{sealed} bytes");
    assert_eq!(fill(&points).read(1, &fields()[..1], EVERYTHING).times.len(), 129);
}

#[test]
fn a_deletion_takes_what_came_before_and_leaves_what_came_after() {
    let mut memtable =
        fill(&[(1, 5, Some(1), None), (1, 6, Some(2), None), (2, 5, Some(3), None), (3, 5, Some(4), None)]);
    let some: Rc<RoaringBitmap> = Rc::new([1, 3].into_iter().collect());
    memtable.delete(&some, TimeRange { min: 0, max: 5 });
    let fields = [Bytes::from(&b"i"[..])];
    let times = |memtable: &Memtable, series| memtable.read(series, &fields, EVERYTHING).times;
    assert_eq!((times(&memtable, 1), times(&memtable, 2), times(&memtable, 3)), (vec![6], vec![5], vec![]));
    assert!(memtable.has_points(1) && memtable.has_points(2) && !memtable.has_points(3));
    let mut cursor = FlushCursor::new(&memtable);
    let flushed: Vec<u32> = std::iter::from_fn(|| cursor.next(&memtable).map(|rows| rows.series)).collect();
    assert_eq!(flushed, [1, 2]);
}

#[test]
fn forgotten_fields_come_back_with_the_next_row_only() {
    let mut memtable = fill(&[(1, 5, Some(1), None)]);
    memtable.forget(b"other");
    assert_eq!(memtable.fields().count(), 1);
    memtable.forget(b"m");
    assert_eq!(memtable.fields().count(), 0);
}

/// A batch of rows of two integers.
fn integers(rows: &[(SeriesRef, i64, [i64; 2])]) -> Vec<u8> {
    let destination = Destination { shard: 0, database: DatabaseId(1), policy: PolicyId(1), group: GroupId(1) };
    let mut builder = BatchBuilder::new(destination);
    let fields: [(&[u8], FieldType); 2] = [(b"i", FieldType::Integer), (b"j", FieldType::Integer)];
    let layout = builder.layout(b"m", fields.into_iter());
    for &(series, time, values) in rows {
        builder.row(series, layout, time);
        values.iter().for_each(|&value| builder.value(FieldValue::Integer(value)));
    }
    builder.finish().bytes().to_vec()
}

/// The twin of [`Memtable::apply`].
fn apply_row_by_row(memtable: &mut Memtable, batch: &Reader<'_>, assigned: &[SeriesId]) -> Result<(), BatchError> {
    let arenas: Vec<u32> = batch.layouts.iter().map(|layout| memtable.arena(layout)).collect();
    let mut rows = batch.rows();
    while let Some(time) = memtable.take_row(&mut rows, &arenas, assigned)? {
        let times = memtable.times.unwrap_or(TimeRange::NEVER);
        memtable.times = Some(TimeRange { min: times.min.min(time), max: times.max.max(time) });
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers_taken_at_once_are_those_taken_row_by_row(
        rows in proptest::collection::vec(
            (0_u32..3, any::<bool>(), 0_i64..300, prop::bool::weighted(0.02), [-200_i64..200, -8_500_i64..8_500]), 1..600),
        changed in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let row = |&(series, is_new, time, is_far, values): &(u32, bool, i64, bool, [i64; 2])| {
            let series = if is_new { SeriesRef::New(series) } else { SeriesRef::Known(SeriesId(series)) };
            (series, if is_far { time << 40 } else { time }, values)
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        let mut bytes = integers(&rows);
        if let Some((at, byte)) = &changed {
            let head = integers(&[]).len();
            let at = head + at.index(bytes.len() - head);
            bytes[at] = *byte;
        }
        let batch = Reader::of(&bytes).unwrap();
        // Of three keys that rows may name two are there.
        let assigned = [SeriesId(5), SeriesId(0)];
        let (mut at_once, mut single) = (Memtable::new(CHUNK), Memtable::new(CHUNK));
        prop_assert_eq!(at_once.apply(&batch, &assigned), apply_row_by_row(&mut single, &batch, &assigned));
        let held = |memtable: &Memtable| {
            let fields = [Bytes::from(&b"i"[..]), Bytes::from(&b"j"[..])];
            let series: Vec<u32> = memtable.series().iter().collect();
            let blocks: Vec<_> = series.iter().map(|&one| memtable.read(one, &fields, EVERYTHING)).collect();
            (memtable.row_count(), memtable.time_range(), memtable.bytes(), series, blocks)
        };
        prop_assert_eq!(held(&at_once), held(&single));
    }
}
