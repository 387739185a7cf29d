//! Floats, bit for bit.
//!
//! ```text
//! 0        decimal: exponent u8 | exception count varint | [gaps between exceptions: frame | their bits, 8 bytes each]
//!          | integers                                     value = integer / 10^exponent, correctly rounded
//! 1        bits: the bits as integers, in the order of the floats
//! 2 and on decimal: integers; the exponent is what is above 2, and there are no exceptions
//! ```
//!
//! Decimal is ALP's idea: floats that people and sensors send are decimals of few digits, so they are integers over a
//! power of ten. Dividing instead of multiplying by an inverse needs one exponent where ALP has a pair, and reads back
//! every decimal of up to 15 digits; trailing zeros are the integers' common divisor. -0.0, NaN and the like are
//! exceptions.
//!
//! Bits is what is left: equal values become runs, near ones share their high bits in differences, floats that were
//! 32-bit have a common divisor. That is what Gorilla finds too, in a form that needs no loop over single bits.

use crate::segment::codec::CodecError;
use crate::segment::codec::Effort;
use crate::segment::codec::Hints;
use crate::segment::codec::Room;
use crate::segment::codec::check_count;
use crate::segment::codec::frame;
use crate::segment::codec::frame::Frame;
use crate::segment::codec::integer;
use crate::segment::codec::sample;
use crate::stdx::varint;
use crate::stdx::varint::Reader;
use crate::stdx::wide::wide;

const DECIMAL: u8 = 0;
const BITS: u8 = 1;
/// The mode of decimals with exponent 0 and no exceptions; in segments of version 3 those are of the mode above.
const ALL_DECIMAL: u8 = 2;
/// Decimal and bits; the same where the integers are dense.
const NAMES: [&str; 2] = ["decimal", "bits"];
const DENSE_NAMES: [&str; 2] = ["decimal-dense", "bits-dense"];

/// Powers of ten that a float holds exactly.
pub const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// 1.5 * 2^52: added to a number below 2^51, the integer nearest to it stands in the low bits.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// 2^51.
const INTEGER_END: f64 = 2_251_799_813_685_248.0;
/// Those of a float that say which power of two it begins with.
const EXPONENT_BITS: u64 = 0x7ff << 52;
/// 2^-53: of that power of two, half of what neighbours are apart.
const HALF_STEP: f64 = f64::EPSILON / 2.0;
/// One exception costs about as much as eight small integers.
const EXCEPTION_SHARE: usize = 8;

pub fn encode(effort: Effort, hints: &mut Hints, room: &mut Room, values: &[f64], out: &mut Vec<u8>) {
    let mut integers = std::mem::take(&mut room.integers);
    encode_in(effort, hints, room, &mut integers, values, out);
    room.integers = integers;
}

fn encode_in(
    effort: Effort,
    hints: &mut Hints,
    room: &mut Room,
    integers: &mut Vec<i64>,
    values: &[f64],
    out: &mut Vec<u8>,
) {
    // Mostly all are decimals with as many places as in the block before.
    if let Some(exponent) = hints.exponent {
        integers.resize(values.len(), 0);
        let power = POWERS[exponent as usize];
        if wide(|| all_integers(values, power, integers)) {
            return write_decimal(effort, hints, room, exponent, integers, out);
        }
    }
    if let Some(exponent) = find_exponent(hints, values)
        && encode_decimal(effort, hints, room, values, exponent, out)
    {
        return hints.exponent = Some(exponent);
    }
    hints.exponent = None;
    out.push(BITS);
    let ordered: Vec<i64> = values.iter().map(|value| in_order(value.to_bits() as i64)).collect();
    integer::encode_next(effort, &mut hints.habit, room, &ordered, out);
}

/// The integers of all values; whether all read back.
#[inline(always)]
fn all_integers(values: &[f64], power: f64, integers: &mut [i64]) -> bool {
    let mut missed = 0;
    for (integer, &value) in integers.iter_mut().zip(values) {
        *integer = as_integer(value, power);
        missed |= u64::from(!surely_reads_back(value, power));
    }
    missed == 0
}

/// Bits of floats compare as integers once those of negative ones are turned round; its own inverse.
fn in_order(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Out of range answers some integer; it does not count as read back.
#[inline(always)]
fn as_integer(value: f64, power: f64) -> i64 {
    // Rounds to even, since at this size a float has no room for a fraction; no instruction for it is everywhere.
    (value * power + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i64
}

fn integers(values: &[f64], power: f64) -> Vec<i64> {
    values.iter().map(|&value| as_integer(value, power)).collect()
}

/// Whether the integer of a value gives the value, bit for bit. Without a conversion from integer to float, which is no
/// vector instruction on most machines.
#[inline(always)]
fn reads_back(value: f64, power: f64) -> bool {
    let rounded = (value * power + ROUNDING) - ROUNDING;
    (rounded.abs() < INTEGER_END) & ((rounded / power).to_bits() == value.to_bits())
}

/// As [`reads_back`], without the division that takes longer than all else; where it says yes that does too.
///
/// The integer over the power rounds to the value if it is less than half a step of the value's neighbours away. Times
/// the power: `integer - value * power`, exact when multiplied and subtracted at once, is less than half a step times
/// the power. That holds below powers of two too, where the neighbour is half as far: these times a power of ten up to
/// 10^22 are integers, or further from one than that.
#[inline(always)]
fn surely_reads_back(value: f64, power: f64) -> bool {
    let rounded = (value * power + ROUNDING) - ROUNDING;
    let missed_by = value.mul_add(power, -rounded).abs();
    let half_step = f64::from_bits(value.to_bits() & EXPONENT_BITS) * (power * HALF_STEP);
    // A zero has no steps; the negative one reads back as the other.
    (rounded.abs() < INTEGER_END) & ((missed_by < half_step) | (value.to_bits() == 0))
}

/// How many values do not read back.
fn missed(values: &[f64], power: f64) -> usize {
    values.iter().map(|&value| u64::from(!reads_back(value, power))).sum::<u64>() as usize
}

/// The exponent of the block before when it still does, else the smallest that misses the fewest of a sample.
fn find_exponent(hints: &Hints, values: &[f64]) -> Option<u8> {
    // No more than so many are counted.
    let missed = |exponent: u8, end: usize| {
        let power = POWERS[exponent as usize];
        sample(values.len()).filter(|&index| !reads_back(values[index], power)).take(end).count()
    };
    if let Some(exponent) = hints.exponent
        && missed(exponent, 1) == 0
    {
        return Some(exponent);
    }
    let mut best = (sample(values.len()).count() / EXCEPTION_SHARE + 1, None);
    for exponent in 0..POWERS.len() as u8 {
        let count = missed(exponent, best.0);
        if count < best.0 {
            best = (count, Some(exponent));
        }
        if count == 0 {
            break;
        }
    }
    best.1
}

/// All of `values` as decimals, if they are.
pub fn decimals(hints: &Hints, values: &[f64; 4]) -> Option<(u8, [i64; 4])> {
    let exponent = find_exponent(hints, values)?;
    let power = POWERS[exponent as usize];
    (missed(values, power) == 0).then(|| (exponent, values.map(|value| as_integer(value, power))))
}

fn encode_decimal(
    effort: Effort,
    hints: &mut Hints,
    room: &mut Room,
    values: &[f64],
    exponent: u8,
    out: &mut Vec<u8>,
) -> bool {
    let power = POWERS[exponent as usize];
    let mut integers = integers(values, power);
    let mut places = vec![0_u32; values.len()];
    let mut count = 0;
    for (index, &value) in values.iter().enumerate() {
        places[count] = index as u32;
        count += usize::from(!reads_back(value, power));
    }
    let places = &places[..count];
    if count > values.len() / EXCEPTION_SHARE + 1 {
        return false;
    }
    if count == 0 {
        write_decimal(effort, hints, room, exponent, &integers, out);
        return true;
    }
    out.push(DECIMAL);
    out.push(exponent);
    varint::put(out, count as u64);
    hide_exceptions(&mut integers, places);
    let next = |index: usize| if index == 0 { 0 } else { places[index - 1] + 1 };
    let gaps: Vec<i64> = (0..count).map(|index| i64::from(places[index] - next(index))).collect();
    Frame::of(&gaps).write(out);
    out.extend(places.iter().flat_map(|&place| values[place as usize].to_bits().to_le_bytes()));
    integer::encode(effort, &integers, out);
    true
}

/// No exceptions.
fn write_decimal(
    effort: Effort,
    hints: &mut Hints,
    room: &mut Room,
    exponent: u8,
    integers: &[i64],
    out: &mut Vec<u8>,
) {
    out.push(ALL_DECIMAL + exponent);
    integer::encode_next(effort, &mut hints.habit, room, integers, out);
}

/// Exceptions repeat a neighbour, so that they cost nothing among the integers.
fn hide_exceptions(integers: &mut [i64], places: &[u32]) {
    let mut next = 0;
    let first =
        (0..).zip(places).find(|(index, place)| *index != **place).map_or(places.len() as u32, |(index, _)| index);
    let mut neighbour = integers.get(first as usize).copied().unwrap_or(0);
    for &place in places {
        let place = place as usize;
        if place > next {
            neighbour = integers[place - 1];
        }
        integers[place] = neighbour;
        next = place + 1;
    }
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Vec<f64>, CodecError> {
    check_count(count)?;
    let (&mode, body) = bytes.split_first().ok_or(CodecError("no floats"))?;
    match mode {
        DECIMAL => decode_decimal(body, count),
        BITS => {
            let float = |bits: i64| f64::from_bits(in_order(bits) as u64);
            Ok(integer::decode(body, count)?.into_iter().map(float).collect())
        }
        _ => {
            let power = POWERS.get(usize::from(mode - ALL_DECIMAL)).ok_or(CodecError("bad floats"))?;
            Ok(quotients(&integer::decode(body, count)?, *power))
        }
    }
}

fn quotients(integers: &[i64], power: f64) -> Vec<f64> {
    integers.iter().map(|&integer| integer as f64 / power).collect()
}

/// What coded floats are called.
pub fn name(coded: &[u8]) -> &'static str {
    let (mode, integers) = match coded {
        // Only columns without exceptions are looked through: theirs would have to be read.
        [DECIMAL, _, _, rest @ ..] => (DECIMAL, rest),
        [BITS, rest @ ..] => (BITS, rest),
        [_, rest @ ..] => (DECIMAL, rest),
        [] => return "unknown",
    };
    let names = if integer::name(integers).ends_with("dense") { &DENSE_NAMES } else { &NAMES };
    names[usize::from(mode)]
}

fn decode_decimal(body: &[u8], count: usize) -> Result<Vec<f64>, CodecError> {
    let mut reader = Reader::new(body);
    let mut head = || {
        let power = *POWERS.get(usize::from(reader.u8()?))?;
        let exception_count = usize::try_from(reader.varint()?).ok().filter(|&exceptions| exceptions <= count)?;
        let gaps = if exception_count == 0 { Vec::new() } else { frame::read(&mut reader, exception_count)? };
        Some((power, gaps, reader.take(exception_count * 8)?))
    };
    let (power, gaps, bits) = head().ok_or(CodecError("bad floats"))?;
    let mut values = quotients(&integer::decode(reader.rest(), count)?, power);
    let mut next = 0_usize;
    for (&gap, bits) in gaps.iter().zip(bits.as_chunks::<8>().0) {
        let place = usize::try_from(gap).ok().and_then(|gap| next.checked_add(gap));
        let value = place.and_then(|place| values.get_mut(place)).ok_or(CodecError("bad floats"))?;
        *value = f64::from_bits(u64::from_le_bytes(*bits));
        next += gap as usize + 1;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: f64) {
        for power in POWERS {
            assert_eq!(surely_reads_back(value, power), reads_back(value, power), "{value:e} * {power:e}");
        }
    }

    #[test]
    fn the_ends_of_the_floats_read_back_or_not_whether_or_not_divided() {
        for value in [0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, INTEGER_END, 0.1, 1e-22] {
            (-3..=3).for_each(|steps| check(f64::from_bits(value.to_bits().wrapping_add_signed(steps))));
            check(-value);
        }
        (-1074..1024).for_each(|exponent| check(2.0_f64.powi(exponent)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn values_read_back_or_not_whether_or_not_divided(
            integer in prop_oneof![-1000_i64..1000, -(1_i64 << 52)..1 << 52],
            places in 0_usize..POWERS.len(),
            steps in -2_i64..3,
            any in any::<u64>(),
        ) {
            check(f64::from_bits(any));
            check(f64::from_bits((integer as f64 / POWERS[places]).to_bits().wrapping_add_signed(steps)));
        }
    }
}
