use proptest::prelude::*;

use super::*;
use crate::model::FieldType;
use crate::model::FieldValue;

fn destination() -> Destination {
    Destination { shard: 3, database: DatabaseId(7), policy: PolicyId(9), group: GroupId(1 << 40) }
}

fn sample() -> Batch {
    let mut builder = BatchBuilder::new(destination());
    let fields: [(&[u8], FieldType); 5] = [
        (b"f", FieldType::Float),
        (b"i", FieldType::Integer),
        (b"u", FieldType::Unsigned),
        (b"b", FieldType::Boolean),
        (b"s", FieldType::String),
    ];
    let layout = builder.layout(b"m", fields.into_iter());
    let key = builder.key(b"m,h=a");
    for (series, time) in [(SeriesRef::New(key), 5), (SeriesRef::Known(SeriesId(900)), -3)] {
        builder.row(series, layout, time);
        builder.value(FieldValue::Float(-0.0));
        builder.value(FieldValue::Integer(i64::MIN));
        builder.value(FieldValue::Unsigned(u64::MAX));
        builder.value(FieldValue::Boolean(true));
        builder.value(FieldValue::String(b"x\0y"));
    }
    builder.finish()
}

#[test]
fn what_was_built_reads_back() {
    let batch = sample();
    let reader = batch.read().unwrap();
    assert_eq!(reader.destination, destination());
    assert_eq!(reader.keys, [b"m,h=a"]);
    assert_eq!(reader.layouts.len(), 1);
    assert_eq!(reader.layouts[0].measurement, b"m");
    let mut rows = reader.rows();
    for (series, time) in [(SeriesRef::New(0), 5), (SeriesRef::Known(SeriesId(900)), -3)] {
        assert_eq!(rows.next_row().unwrap(), Some(Row { series, layout: 0, time }));
        let values: Vec<_> = reader.layouts[0].fields.iter().map(|field| rows.value(field.1).unwrap()).collect();
        assert_eq!(values[0], FieldValue::Float(-0.0));
        assert_eq!(values[1], FieldValue::Integer(i64::MIN));
        assert_eq!(values[2], FieldValue::Unsigned(u64::MAX));
        assert_eq!(values[3], FieldValue::Boolean(true));
        assert_eq!(values[4], FieldValue::String(b"x\0y"));
    }
    assert_eq!(rows.next_row().unwrap(), None);
}

/// Reads everything there is, whatever comes.
fn read_all(bytes: &[u8]) -> Result<(), BatchError> {
    let batch = Batch::from_bytes(bytes.to_vec());
    let reader = batch.read()?;
    let mut rows = reader.rows();
    while let Some(row) = rows.next_row()? {
        let layout = reader.layouts.get(row.layout as usize).ok_or(BatchError("no such layout"))?;
        for field in &layout.fields {
            rows.value(field.1)?;
        }
    }
    Ok(())
}

#[test]
fn every_cut_is_refused() {
    let batch = sample();
    for end in 0..batch.bytes().len() {
        assert!(read_all(&batch.bytes()[..end]).is_err(), "cut at {end}");
    }
    assert!(read_all(batch.bytes()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(at in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = sample().bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read_all(&bytes);
    }
}

#[test]
fn a_batch_without_its_rows_keeps_series_and_fields() {
    let batch = sample().without_rows().unwrap();
    let reader = batch.read().unwrap();
    assert_eq!((reader.destination, reader.row_count), (destination(), 0));
    assert_eq!((&reader.keys[..], reader.layouts.len()), (&[&b"m,h=a"[..]][..], 1));
    assert_eq!(reader.rows().next_row().unwrap(), None);
}

#[test]
fn points_of_refused_keys_go_with_what_only_they_used() {
    let mut builder = BatchBuilder::new(destination());
    let layout =
        |builder: &mut BatchBuilder, name: &[u8]| builder.layout(name, [(&b"v"[..], FieldType::Integer)].into_iter());
    let layouts = [layout(&mut builder, b"m"), layout(&mut builder, b"n")];
    let keys = [builder.key(b"m"), builder.key(b"n"), builder.key(b"m,a=b")];
    let rows = [(SeriesRef::New(keys[0]), 0), (SeriesRef::New(keys[1]), 1), (SeriesRef::Known(SeriesId(4)), 1)];
    for (time, (series, layout)) in rows.into_iter().chain([(SeriesRef::New(keys[2]), 0)]).enumerate() {
        builder.row(series, layouts[layout], time as i64);
        builder.value(FieldValue::Integer(time as i64));
    }
    let kept = builder.finish().without_keys(&[true, false, false]).unwrap();
    let reader = kept.read().unwrap();
    assert_eq!((&reader.keys[..], reader.row_count), (&[&b"n"[..], b"m,a=b"][..], 3));
    let names: Vec<&[u8]> = reader.layouts.iter().map(|layout| layout.measurement).collect();
    assert_eq!(names, [b"n", b"m"]);
    let mut rows = reader.rows();
    let expected = [(SeriesRef::New(0), 0, 1), (SeriesRef::Known(SeriesId(4)), 0, 2), (SeriesRef::New(1), 1, 3)];
    for (series, layout, time) in expected {
        assert_eq!(rows.next_row().unwrap(), Some(Row { series, layout, time }));
        assert_eq!(rows.value(FieldType::Integer).unwrap(), FieldValue::Integer(time));
    }
    assert_eq!(rows.next_row().unwrap(), None);
}

#[test]
fn rows_of_short_integers_are_read_many_at_once() {
    let rows = |value: i64, count: i64| {
        let mut builder = BatchBuilder::new(destination());
        let layout = builder.layout(b"m", [(&b"i"[..], FieldType::Integer), (b"j", FieldType::Integer)].into_iter());
        for time in 0..count {
            builder.row(SeriesRef::Known(SeriesId(7)), layout, time);
            builder.values([value, -time].map(FieldValue::Integer).into_iter());
        }
        let batch = builder.finish();
        let mut read = batch.read().unwrap().rows();
        let mut at_once = IntegerRows::default();
        let heads = |at_once: &IntegerRows| at_once.heads().collect::<Vec<_>>();
        let values = |at_once: &IntegerRows| at_once.values(0).zip(at_once.values(1)).collect::<Vec<_>>();
        let mut found = Vec::new();
        while read.next_integer_rows(2, &mut at_once) > 0 {
            found.extend(heads(&at_once).into_iter().zip(values(&at_once)));
        }
        let whole: Vec<_> = (0..count).map(|time| ((SeriesRef::Known(SeriesId(7)), time), (value, -time))).collect();
        (found, whole)
    };
    let (found, whole) = rows(-5000, 1000);
    assert_eq!(found, whole);
    assert_eq!(rows(1 << 50, 1000).0, []);
}
