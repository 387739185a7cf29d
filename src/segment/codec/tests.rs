use proptest::prelude::*;

use super::*;
use crate::segment::codec::frame::Frame;
use crate::stdx::seeded;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

/// Reads back what was written, hot and cold, bit for bit, and answers the size of the hot form.
fn check(values: &Values) -> usize {
    let hot = check_with(Effort::Hot, values);
    assert!(check_with(Effort::Cold, values) <= hot);
    hot
}

fn check_with(effort: Effort, values: &Values) -> usize {
    let mut bytes = Vec::new();
    encode_with(&mut Hints::new(effort), values, &mut bytes);
    let decoded = decode(values.field_type(), &bytes, values.len()).unwrap();
    assert_same(values, &decoded);
    bytes.len()
}

fn assert_same(left: &Values, right: &Values) {
    match (left, right) {
        // Bit for bit: NaN payloads and -0.0 survive.
        (Values::Float(left), Values::Float(right)) => {
            assert!(left.iter().map(|value| value.to_bits()).eq(right.iter().map(|value| value.to_bits())));
        }
        _ => assert_eq!(left, right),
    }
}

fn check_integers(values: Vec<i64>) -> usize {
    check(&Values::Unsigned(values.iter().map(|&value| value as u64).collect()));
    check(&Values::Integer(values))
}

/// Small and repeatable, for data whose size is asserted.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound) as i64
    }

    /// About normal, deviation 1.
    fn bell(&mut self) -> f64 {
        (self.below(1000) + self.below(1000) + self.below(1000)) as f64 / 500.0 - 3.0
    }
}

/// Packing and symbols as their descriptions say it, bit by bit.
mod naive {
    /// The symbols of `bytes`, by counting slots.
    pub fn symbols(bytes: &[u8], symbol_count: usize, count: usize) -> Vec<u8> {
        let weights = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];
        let weight = |symbol: usize| weights[usize::from(bytes[symbol / 2] >> (symbol % 2 * 4) & 15)];
        let total: usize = (0..symbol_count).map(weight).sum();
        let mut shares: Vec<usize> = (0..symbol_count).map(|symbol| weight(symbol) * 256 / total).collect();
        for (symbol, share) in shares.iter_mut().enumerate() {
            *share = if weight(symbol) > 0 { (*share).max(1) } else { 0 };
        }
        while shares.iter().sum::<usize>() != 256 {
            let largest = *shares.iter().max().unwrap();
            let at = shares.iter().rposition(|share| *share == largest).unwrap();
            shares[at] = if shares.iter().sum::<usize>() > 256 { largest - 1 } else { largest + 1 };
        }
        let mut owners = [0; 256];
        let in_turn = shares.iter().enumerate().flat_map(|(symbol, share)| vec![symbol; *share]);
        in_turn.enumerate().for_each(|(turn, symbol)| owners[turn * 163 % 256] = symbol);
        let number = |slot: usize| {
            let owner = owners[slot];
            shares[owner] + owners[..slot].iter().filter(|other| **other == owner).count()
        };
        let body = &bytes[symbol_count.div_ceil(2)..];
        let mut states = [usize::from(body[0]), usize::from(body[1])];
        let mut bits = body[2..].iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        let mut symbols = Vec::new();
        for index in 0..count {
            let state = &mut states[index % 2];
            symbols.push(owners[*state] as u8);
            if index + 2 < count {
                // The bits that are read are those of the slot that comes, so its turn is now.
                let (mut whole, mut read) = (number(*state), Vec::new());
                while whole < 256 {
                    whole *= 2;
                    read.push(bits.next().unwrap());
                }
                *state = whole - 256 + read.iter().rev().fold(0, |low, bit| low * 2 + usize::from(*bit));
            }
        }
        symbols
    }

    /// Which bit of the packed bytes is bit `bit` of value `index`.
    fn place(count: usize, index: usize, width: usize, bit: usize) -> usize {
        let whole = count / 128 * 128;
        if index >= whole {
            return whole * width + (index - whole) * width + bit;
        }
        let (group, index) = (index / 128, index % 128);
        let (lane, bit) = (index % 2, index / 2 * width + bit);
        group * 128 * width + (bit / 64 * 2 + lane) * 64 + bit % 64
    }

    pub fn pack(values: &[u64], width: usize) -> Vec<u8> {
        let mut bytes = vec![0; values.len() / 128 * 16 * width + (values.len() % 128 * width).div_ceil(8)];
        for (index, value) in values.iter().enumerate() {
            for bit in (0..width).filter(|bit| value >> bit & 1 == 1) {
                let place = place(values.len(), index, width, bit);
                bytes[place / 8] |= 1 << (place % 8);
            }
        }
        bytes
    }

    /// The greatest common divisor by trial, for small values.
    pub fn quotients(values: &[u64]) -> (u64, Vec<u64>) {
        let largest = values.iter().copied().max().unwrap_or(0);
        let divisor = (1..=largest).rev().find(|divisor| values.iter().all(|value| value % divisor == 0)).unwrap_or(1);
        (divisor, values.iter().map(|value| value / divisor).collect())
    }
}

#[test]
fn a_regular_series_costs_next_to_nothing() {
    assert!(check_integers((0..1000).map(|index| 1_700_000_000_000_000_000 + index * 10_000_000_000).collect()) < 20);
}

#[test]
fn times_that_jitter_by_milliseconds_cost_their_jitter() {
    let mut random = Random(1);
    let time = |index: i64| 1_700_000_000_000_000_000 + index * 10_000_000_000 + random.below(11) * 1_000_000;
    assert!(check_integers((0..500).map(time).collect()) < 500 * 5 / 8 + 20);
}

#[test]
fn a_gap_in_regular_times_costs_a_few_bytes() {
    let time = |index: i64| 1_700_000_000_000_000_000 + (index + index / 100 * 7) * 10_000_000_000;
    assert!(check_integers((0..500).map(time).collect()) < 40);
}

#[test]
fn a_random_walk_costs_about_its_entropy() {
    let mut random = Random(2);
    let mut level = 50.0;
    let mut walk = |_| {
        level += random.bell();
        level as i64
    };
    let bytes = check_integers((0..2000).map(&mut walk).collect());
    assert!(bytes * 8 < 2000 * 27 / 10, "{bytes}");
}

#[test]
fn a_few_outliers_do_not_widen_the_rest() {
    let mut random = Random(3);
    let outlier = |index: i64| if index % 200 == 77 { i64::MAX - index * index } else { 40 };
    let values = (0..1000).map(|index| outlier(index) - random.below(8)).collect();
    let bytes = check_integers(values);
    assert!(bytes < 1000 * 3 / 8 + 100, "{bytes}");
    let below = (0..1000).map(|index| if index % 300 == 5 { i64::MIN } else { random.below(1 << 20) }).collect();
    assert!(check_integers(below) < 1000 * 21 / 8 + 100);
}

/// Bits of a value on average, if each comes by chance as often as it does.
fn entropy(values: impl Iterator<Item = i64>) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_insert(0_u32) += 1);
    let total = f64::from(counts.values().sum::<u32>());
    counts.values().map(|&count| f64::from(count) / total * (total / f64::from(count)).log2()).sum()
}

#[test]
fn dense_steps_cost_hardly_more_than_their_entropy() {
    let mut random = Random(6);
    for (count, deviation) in [(250, 1.0), (500, 0.6), (500, 40.0), (2000, 1.0)] {
        let mut level = 5000.0;
        let mut walk = |_| {
            level += random.bell() * deviation;
            level as i64
        };
        let values: Vec<i64> = (0..=count).map(&mut walk).collect();
        let steps: Vec<i64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let entropy = entropy(steps.iter().copied());
        let mut dense = Vec::new();
        assert!(Frame::of(&steps).write_dense(0, &mut dense));
        assert_eq!(frame::read(&mut Reader::new(&dense), steps.len()), Some(steps));
        let bits = dense.len() * 8;
        // Short columns of many different steps cannot say how often each came: what is compared with is too little.
        let head = if deviation > 10.0 { 800.0 } else { 120.0 };
        assert!((bits as f64) < f64::from(count) * entropy * 1.02 + head, "{bits} for {count} of {entropy}");
    }
}

#[test]
fn what_comes_seldom_and_far_off_is_an_exception_of_a_cold_column() {
    let mut random = Random(7);
    let skewed = |random: &mut Random| if random.below(5) > 1 { 0 } else { random.below(5) };
    let mut values: Vec<i64> = (0..500).map(|_| skewed(&mut random)).collect();
    values[3] = i64::MIN;
    values[400] = 1 << 50;
    let mut bytes = Vec::new();
    encode_with(&mut Hints::new(Effort::Cold), &Values::Integer(values.clone()), &mut bytes);
    assert_eq!(name(FieldType::Integer, &bytes), "offset-dense");
    assert!(bytes.len() < 500 * 7 / 4 / 8 + 50, "{}", bytes.len());
    check_integers(values);
}

#[test]
fn a_dense_column_is_called_so() {
    let mut random = Random(8);
    let mut level = 0;
    let mut walk = |_| {
        level += [0, 0, 0, 0, 1, -1, 2, -3][random.below(8) as usize];
        level
    };
    let values: Vec<i64> = (0..500).map(&mut walk).collect();
    let floats = Values::Float(values.iter().map(|&value| value as f64 / 100.0).collect());
    for (values, hot, cold) in [(floats, "decimal", "decimal-dense"), (Values::Integer(values), "delta", "delta-dense")]
    {
        for (effort, expected) in [(Effort::Hot, hot), (Effort::Cold, cold)] {
            let mut bytes = Vec::new();
            encode_with(&mut Hints::new(effort), &values, &mut bytes);
            assert_eq!(name(values.field_type(), &bytes), expected);
        }
    }
}

#[test]
fn decimals_without_exceptions_take_one_byte_more_than_their_integers() {
    for (places, power) in [(0, 1.0), (2, 100.0), (9, 1e9)] {
        let integers: Vec<i64> = (0..500).map(|index| index * index % 1009).collect();
        let floats = Values::Float(integers.iter().map(|&integer| integer as f64 / power).collect());
        let (mut coded, mut bytes) = (Vec::new(), Vec::new());
        encode(&floats, &mut coded);
        encode(&Values::Integer(integers), &mut bytes);
        assert_eq!(coded[0], 2 + places);
        assert_eq!(coded[1..], bytes);
        assert_eq!(name(FieldType::Float, &coded), "decimal");
        // As version 3 has them.
        let earlier = [&[0, places, 0], &bytes[..]].concat();
        assert_same(&floats, &decode(FieldType::Float, &earlier, 500).unwrap());
        assert_eq!(name(FieldType::Float, &earlier), "decimal");
    }
}

#[test]
fn floats_of_a_mode_that_no_power_has_are_refused() {
    let mut bytes = Vec::new();
    encode(&Values::Integer((0..10).collect()), &mut bytes);
    for mode in 0..=u8::MAX {
        let decoded = decode(FieldType::Float, &[&[mode], &bytes[..]].concat(), 10);
        assert_eq!(decoded.is_ok(), (1..25).contains(&mode), "{mode}");
    }
}

fn check_times(times: &[i64]) -> usize {
    let mut bytes = Vec::new();
    encode_times(times, &mut bytes);
    let range = TimeRange { min: times[0], max: times[times.len() - 1] };
    assert_eq!(decode_times(&bytes, range, times.len()).unwrap(), times);
    bytes.len()
}

#[test]
fn times_of_even_steps_take_no_bytes() {
    for times in [&[7][..], &[i64::MIN, i64::MAX], &[i64::MIN, -1, i64::MAX - 1], &[-20, -10, 0, 10], &[5, 5]] {
        assert_eq!(check_times(times), 0);
    }
    assert!(check_times(&[0, 10, 30]) > 0);
    assert!(check_times(&[i64::MIN, 0, i64::MAX]) > 0);
    assert!(decode_times(&[], TimeRange { min: 0, max: 10 }, 4).is_err());
    assert!(decode_times(&[], TimeRange { min: 0, max: 10 }, 1).is_err());
}

#[test]
fn runs_cost_their_number() {
    assert!(check_integers((0..2000).map(|index| index / 100 * 7919 % 1013).collect()) < 50);
}

#[test]
fn a_walk_in_hundredths_costs_its_hundredths() {
    let mut random = Random(4);
    let mut level = 5000.0;
    let mut walk = |_| {
        level += random.bell();
        level as i64
    };
    let hundredths: Vec<i64> = (0..500).map(&mut walk).collect();
    let floats = check(&Values::Float(hundredths.iter().map(|&value| value as f64 / 100.0).collect()));
    assert!(floats <= check_integers(hundredths) + 4);
}

#[test]
fn a_few_strange_floats_do_not_spoil_a_column() {
    let mut values: Vec<f64> = (0..500).map(|index| f64::from(index % 16) / 10.0).collect();
    values[0] = -0.0;
    values[1] = f64::from_bits(0x7ff8_dead_beef_0001);
    values[77] = 1.0 / 3.0;
    values[499] = f64::NEG_INFINITY;
    assert!(check(&Values::Float(values)) < 330);
}

#[test]
fn full_entropy_costs_little_more_than_its_bits() {
    let mut random = Random(5);
    let mut draw = || random.below(1 << 31) << 33 ^ random.below(1 << 31) << 16 ^ random.below(1 << 31);
    let values: Vec<i64> = (0..1000).map(|_| draw()).collect();
    let bytes = check(&Values::Float(values.iter().map(|&bits| f64::from_bits(bits as u64)).collect()));
    assert!(bytes < 8 * 1000 + 16, "{bytes}");
    assert!(check_integers(values) < 8 * 1000 + 16);
}

#[test]
fn few_kinds_of_string_cost_their_number() {
    let text = |index: usize| -> Bytes { format!("a state of some length {}", index * 7 % 4).into_bytes().into() };
    assert!(check(&Values::String((0..1000).map(text).collect())) < 1000 / 4 + 100);
    assert!(check(&Values::String(vec![b"the same".to_vec().into(); 1000])) < 30);
}

#[test]
fn what_blocks_teach_each_other_costs_little_where_they_differ() {
    let mut random = Random(5);
    let mut hints = Hints::default();
    let (mut taught, mut alone) = (0, 0);
    for number in 0..200 {
        let (deviation, jump) = ([1.0, 0.2, 30.0][number / 40 % 3], 1_000_000 * i64::from(number % 50 == 7));
        let mut level = 50.0;
        let mut next = || {
            level += random.bell() * deviation;
            level as i64 + random.below(40) / 39 * jump
        };
        let values = Values::Integer((0..300).map(|_| next()).collect());
        let mut bytes = Vec::new();
        encode_with(&mut hints, &values, &mut bytes);
        assert_same(&decode(FieldType::Integer, &bytes, 300).unwrap(), &values);
        taught += bytes.len();
        alone += check(&values);
    }
    assert!(taught <= alone + alone / 20, "{taught} bytes, {alone} alone");
}

#[test]
fn a_wide_habit_meets_near_values_below_its_base() {
    for width in 28..40 {
        let mut hints = Hints::default();
        let mut random = Random(11);
        let far = |random: &mut Random| {
            if random.below(20) == 0 { i64::MAX - random.below(1 << 30) } else { random.below(1 << 31) << width >> 31 }
        };
        let blocks = [(0..300).map(|_| far(&mut random)).collect(), (0..300).map(|index| -(index % 7) - 1).collect()];
        for values in blocks.map(|values: Vec<i64>| Values::Integer(values)) {
            let mut bytes = Vec::new();
            encode_with(&mut hints, &values, &mut bytes);
            assert_same(&values, &decode(FieldType::Integer, &bytes, 300).unwrap());
        }
    }
}

#[test]
fn exceptions_of_a_block_read_back_whatever_those_of_the_block_before_were() {
    for far in [1_i64 << 20, 1 << 29, 1 << 31, 1 << 33, 1 << 62] {
        let mut hints = Hints::default();
        let mut random = Random(13);
        for number in 0..40 {
            // Enough of them to be a frame of their own, far away in each other block; some are between.
            let distance = 500 + if number % 2 == 0 { far } else { 0 };
            let mut next = || match random.below(20) {
                0..4 => distance + random.below(90),
                4 => random.below(distance as u64),
                _ => random.below(3),
            };
            let values = Values::Integer((0..300).map(|_| next()).collect());
            let mut bytes = Vec::new();
            encode_with(&mut hints, &values, &mut bytes);
            assert_same(&values, &decode(FieldType::Integer, &bytes, 300).unwrap());
        }
    }
}

#[test]
fn hints_of_another_column_do_no_harm() {
    let mut hints = Hints::default();
    for values in [vec![0.125; 40], vec![1e300, 0.1], vec![12.5, 7.25, 1e22], vec![], vec![f64::NAN; 3]] {
        let values = Values::Float(values);
        let mut bytes = Vec::new();
        encode_with(&mut hints, &values, &mut bytes);
        assert_same(&values, &decode(FieldType::Float, &bytes, values.len()).unwrap());
    }
}

#[test]
fn the_extremes_survive() {
    for values in [
        vec![],
        vec![i64::MIN],
        vec![0, 1],
        vec![7, 7, 8],
        vec![i64::MIN, i64::MAX, 0, -1],
        vec![i64::MAX; 9],
        [i64::MIN, i64::MAX].repeat(300),
    ] {
        check_integers(values);
    }
    check(&Values::Float(vec![-0.0, f64::NAN, f64::from_bits(0x7ff8_0000_0000_0001), f64::INFINITY, 5e-324, 1e300]));
    check(&Values::Float(vec![1.0, 2.0, 9_007_199_254_740_993.0]));
    check(&Values::Float(vec![-0.0; 300]));
    check(&Values::Float(vec![]));
    check(&Values::Boolean(vec![true, false, true, true, false, false, false, true, true]));
    check(&Values::String(vec![Bytes::default(), b"a\0\xff".to_vec().into()]));
    check(&Values::String(vec![]));
}

/// Values of one of the shapes that the forms are made for, with outliers.
fn shaped() -> impl Strategy<Value = Vec<i64>> {
    let steps = proptest::collection::vec((any::<i64>(), 0_u32..1000), 0..700);
    (steps, 0_u32..64, 0_u8..4, 1_i64..2000, 0_u32..1000).prop_map(|(steps, shift, shape, scale, plain)| {
        let (mut value, mut step) = (0_i64, 0_i64);
        let next = |(random, chance): (i64, u32)| {
            let small = if chance > plain { random } else { (random >> shift).wrapping_mul(scale) };
            match shape {
                0 => return small,
                1 => value = value.wrapping_add(small),
                2 => value = if chance % 16 == 0 { small } else { value },
                _ => {
                    step = step.wrapping_add(small);
                    value = value.wrapping_add(step);
                }
            }
            value
        };
        steps.into_iter().map(next).collect()
    })
}

proptest! {
    #![proptest_config(seeded::cases(400))]

    #[test]
    fn packing_is_what_the_naive_twin_does(
        values in proptest::collection::vec(any::<u64>(), 0..400),
        width in 0_u32..=64,
    ) {
        let values: Vec<u64> = values.iter().map(|value| value & pack::mask(width)).collect();
        let mut packed = Vec::new();
        pack::pack(&values, width, &mut packed);
        prop_assert_eq!(&packed, &naive::pack(&values, width as usize));
        prop_assert_eq!(packed.len(), pack::packed_bytes(values.len(), width));
        let mut unpacked = vec![1; values.len()];
        pack::unpack(&packed, width, &mut unpacked);
        prop_assert_eq!(unpacked, values);
    }

    #[test]
    fn blocks_of_a_column_read_back_and_so_do_four_of_them_as_decimals(
        blocks in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![
                    20 => (-5000_i32..5000).prop_map(|hundredths| f64::from(hundredths) / 100.0),
                    1 => prop_oneof![Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), any::<f64>()],
                    1 => (-3_i64..3).prop_map(|more| ((1_i64 << 51) + more) as f64),
                ],
                1..40,
            ),
            1..6,
        ),
    ) {
        let mut hints = Hints::default();
        for block in blocks {
            let mut bytes = Vec::new();
            let values = Values::Float(block.clone());
            encode_with(&mut hints, &values, &mut bytes);
            assert_same(&decode(FieldType::Float, &bytes, block.len()).unwrap(), &values);
            let Some(few) = block.first_chunk::<4>() else { continue };
            if let Some((places, four)) = decimals(&hints, few) {
                let power = power_of_ten(places).unwrap();
                let again = four.map(|integer| integer as f64 / power);
                assert_same(&Values::Float(again.to_vec()), &Values::Float(few.to_vec()));
            }
        }
    }

    #[test]
    fn the_scale_is_the_greatest_common_divisor(
        values in proptest::collection::vec(0_u64..40, 1..40),
        scale in 1_u64..30,
    ) {
        let values: Vec<u64> = values.iter().map(|value| value * scale).collect();
        let (divisor, quotients) = naive::quotients(&values);
        prop_assert_eq!(frame::common_divisor(&values), divisor);
        let division = frame::Divisor::new(divisor);
        prop_assert!(values.iter().map(|&value| division.quotient(value)).eq(quotients));
    }

    #[test]
    fn symbols_are_what_the_naive_twin_reads(
        symbols in (1_u8..=64).prop_flat_map(|count| proptest::collection::vec((0..count, 0..count), 1..600)),
        is_skewed in any::<bool>(),
    ) {
        let symbols: Vec<u8> =
            symbols.into_iter().map(|(one, other)| if is_skewed { one.min(other) / 2 } else { one }).collect();
        let mut counts = vec![0; usize::from(symbols.iter().copied().max().unwrap_or(0)) + 1];
        symbols.iter().for_each(|&symbol| counts[usize::from(symbol)] += 1);
        let mut bytes = Vec::new();
        ans::Model::of(&counts).write(&symbols, &mut bytes);
        prop_assert_eq!(&naive::symbols(&bytes, counts.len(), symbols.len()), &symbols);
        let mut reader = varint::Reader::new(&bytes);
        prop_assert_eq!(ans::read(&mut reader, counts.len(), symbols.len()), Some(symbols));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn all_times_read_back(steps in proptest::collection::vec(0_u32..4, 0..100), scale in 1_i64..i64::MAX / 400) {
        let mut time = -scale;
        let step = |step: u32| {
            time += i64::from(step) * scale;
            time
        };
        let times: Vec<i64> = std::iter::once(0).chain(steps).map(step).collect();
        check_times(&times);
    }

    #[test]
    fn every_shape_of_integers_reads_back_block_by_block(values in shaped(), others in shaped(), count in 64_usize..300) {
        let mut hints = Hints::default();
        for block in values.chunks(count).chain(others.chunks(count)) {
            let values = Values::Integer(block.to_vec());
            let mut bytes = Vec::new();
            encode_with(&mut hints, &values, &mut bytes);
            assert_same(&decode(FieldType::Integer, &bytes, block.len()).unwrap(), &values);
        }
    }

    #[test]
    fn what_a_habit_is_not_made_for_reads_back(
        far in prop_oneof![
            Just(0), Just(1 << 29), Just(1 << 30), Just((1 << 31) - 1), Just(1 << 31), Just(1 << 32), Just(1 << 62),
            Just(i64::MAX), any::<i64>(),
        ],
        blocks in proptest::collection::vec(
            (0_u64..u64::MAX, 64_usize..200, 1_u64..40, proptest::collection::vec((0_usize..200, -3_i64..4), 0..9)),
            2..6,
        ),
        jumps in any::<bool>(),
    ) {
        let mut hints = Hints::default();
        for (seed, count, noise, outliers) in blocks {
            let mut random = Random(seed);
            let mut level = 0_i64;
            let mut next = || {
                let step = random.below(noise) - noise as i64 / 2;
                level = if jumps { step } else { level.wrapping_add(step) };
                level
            };
            let mut values: Vec<i64> = (0..count).map(|_| next()).collect();
            for (index, times) in outliers {
                values[index % count] = values[index % count].wrapping_add(far.wrapping_mul(times));
            }
            let unsigned = values.iter().map(|&value| value as u64).collect();
            for values in [Values::Unsigned(unsigned), Values::Integer(values)] {
                let mut bytes = Vec::new();
                encode_with(&mut hints, &values, &mut bytes);
                assert_same(&decode(values.field_type(), &bytes, count).unwrap(), &values);
            }
        }
    }

    #[test]
    fn codes_of_32_bits_are_packed_as_those_of_64(
        values in proptest::collection::vec(any::<u32>(), 0..400),
        width in 0_u32..=32,
    ) {
        let narrow: Vec<u32> = values.iter().map(|value| value & pack::mask(width) as u32).collect();
        let wide: Vec<u64> = narrow.iter().map(|&value| value.into()).collect();
        let mut packed = [Vec::new(), Vec::new()];
        pack::pack(&narrow, width, &mut packed[0]);
        pack::pack(&wide, width, &mut packed[1]);
        prop_assert_eq!(&packed[0], &packed[1]);
    }

    #[test]
    fn every_shape_of_integers_reads_back(values in shaped()) {
        check_integers(values);
    }

    #[test]
    fn every_shape_of_floats_reads_back(values in shaped(), places in 0_usize..20, strange in any::<u64>()) {
        let power = 10_f64.powi(places as i32);
        check(&Values::Float(values.iter().map(|&bits| f64::from_bits(bits as u64)).collect()));
        let mut floats: Vec<f64> = values.iter().map(|&value| value as f64 / power).collect();
        check(&Values::Float(floats.clone()));
        for index in (0..floats.len()).step_by(1 + strange as usize % 97) {
            floats[index] = f64::from_bits(strange.rotate_left(index as u32));
        }
        check(&Values::Float(floats));
    }

    #[test]
    fn every_column_reads_back(
        floats in proptest::collection::vec(any::<u64>(), 0..100),
        strings in proptest::collection::vec("[a-c]{0,5}", 0..100),
        kinds in proptest::collection::vec("[a-c]{0,1}", 0..100),
        booleans in proptest::collection::vec(any::<bool>(), 0..300),
    ) {
        check(&Values::Float(floats.into_iter().map(f64::from_bits).collect()));
        check(&Values::String(strings.into_iter().map(|text| text.into_bytes().into()).collect()));
        check(&Values::String(kinds.into_iter().map(|text| text.into_bytes().into()).collect()));
        let mut bytes = Vec::new();
        encode_valid(&booleans, &mut bytes);
        prop_assert_eq!(decode_valid(&bytes, booleans.len()).unwrap(), booleans);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0_usize..40) {
        for code in 0..5 {
            let _ = decode(FieldType::from_code(code).unwrap(), &bytes, count);
        }
    }
}
