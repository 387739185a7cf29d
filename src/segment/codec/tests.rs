use proptest::prelude::*;

use super::*;

fn check(values: &Values) -> usize {
    let mut bytes = Vec::new();
    encode(values, &mut bytes);
    let decoded = decode(values.field_type(), &bytes, values.len()).unwrap();
    match (values, &decoded) {
        // Bit for bit: NaN payloads and -0.0 survive.
        (Values::Float(left), Values::Float(right)) => {
            assert!(left.iter().map(|value| value.to_bits()).eq(right.iter().map(|value| value.to_bits())));
        }
        _ => assert_eq!(values, &decoded),
    }
    bytes.len()
}

#[test]
fn a_regular_series_costs_next_to_nothing() {
    let times = (0..1000).map(|index| 1_700_000_000_000_000_000 + index * 10_000_000_000).collect();
    assert!(check(&Values::Integer(times)) < 20);
}

#[test]
fn a_walk_of_small_steps_costs_its_steps() {
    let walk = (0..1000).map(|index: i64| 50 + (index % 3)).collect();
    assert!(check(&Values::Integer(walk)) < 300);
}

#[test]
fn the_extremes_survive() {
    for values in [vec![], vec![i64::MIN], vec![i64::MIN, i64::MAX, 0, -1], vec![i64::MAX; 9]] {
        check(&Values::Integer(values));
    }
    check(&Values::Unsigned(vec![u64::MAX, 0, 1 << 63]));
    check(&Values::Float(vec![-0.0, f64::NAN, f64::from_bits(0x7ff8_0000_0000_0001), f64::INFINITY, 5e-324, 1e300]));
    check(&Values::Float(vec![1.0, 2.0, 9_007_199_254_740_993.0]));
    check(&Values::Boolean(vec![true, false, true, true, false, false, false, true, true]));
    check(&Values::String(vec![Bytes::default(), b"a\0\xff".to_vec().into()]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_column_reads_back(
        integers in proptest::collection::vec(any::<i64>(), 0..200),
        shift in 0_u32..64,
        floats in proptest::collection::vec(any::<u64>(), 0..100),
        strings in proptest::collection::vec("[a-c]{0,5}", 0..100),
        booleans in proptest::collection::vec(any::<bool>(), 0..100),
    ) {
        check(&Values::Integer(integers.iter().map(|value| value >> shift).collect()));
        check(&Values::Unsigned(integers.iter().map(|value| (*value as u64) >> shift).collect()));
        check(&Values::Float(floats.into_iter().map(f64::from_bits).collect()));
        check(&Values::String(strings.into_iter().map(|text| text.into_bytes().into()).collect()));
        check(&Values::Boolean(booleans));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0_usize..40) {
        for code in 0..5 {
            let _ = decode(FieldType::from_code(code).unwrap(), &bytes, count);
        }
    }
}
