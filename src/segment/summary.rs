//! The values of one column of one block in short: smallest, largest, first, last, and the sum of integers.
//! How they are coded is described in page.rs.

use crate::model::Column;
use crate::model::FieldType;
use crate::model::Values;
use crate::segment::codec;
use crate::stdx::varint;
use crate::stdx::varint::Reader;
use crate::stdx::wide::Work;
use crate::stdx::wide::wide;

/// The values of one column of one block, in short. `min` and `max` are the first of their kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes<T> {
    /// Smallest.
    pub min: T,
    /// Largest.
    pub max: T,
    /// Of the first row that has one.
    pub first: T,
    /// Of the last row that has one.
    pub last: T,
}

/// What is known of a column without reading it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Rows without a value.
    pub missing: u32,
    /// The values.
    pub values: SummaryValues,
}

/// By type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SummaryValues {
    /// Floats.
    Float(Extremes<f64>),
    /// Integers and their wrapping sum.
    Integer(Extremes<i64>, i64),
    /// Unsigned integers and their wrapping sum.
    Unsigned(Extremes<u64>, u64),
    /// Booleans.
    Boolean(Extremes<bool>),
    /// Nothing is kept of strings.
    String,
}

/// Smallest, largest, first and last of some values; `None` of none.
fn extremes<T: Copy + PartialOrd + Default>(column: &Column, values: &[T]) -> Option<Extremes<T>> {
    if column.valid.is_none() {
        return extremes_of_all(values);
    }
    let mut present = values.iter().enumerate().filter(|(row, _)| column.is_valid(*row)).map(|(_, value)| *value);
    let first = present.next()?;
    let start = Extremes { min: first, max: first, first, last: first };
    Some(present.fold(start, |so_far, value| Extremes { last: value, ..so_far.with(value) }))
}

/// Compared side by side, since each comparison waits for the one before.
const LANES: usize = 16;

fn extremes_of_all<T: Copy + PartialOrd + Default>(values: &[T]) -> Option<Extremes<T>> {
    let (&first, &last) = (values.first()?, values.last()?);
    let (min, max) = match values.last_chunk() {
        // Those that it has twice change nothing.
        Some(end) => wide(Lanes { first, rows: values.as_chunks().0, end }),
        None => values.iter().fold((first, first), |(min, max), &value| (smaller(value, min), larger(value, max))),
    };
    // Equal ones are the same but for the zeros of floats, of which the first counts.
    let first_of = |extreme: T| {
        let same = |value: &&T| **value == extreme;
        if extreme == T::default() { values.iter().find(same).copied().unwrap_or(extreme) } else { extreme }
    };
    Some(Extremes { min: first_of(min), max: first_of(max), first, last })
}

/// What [`extremes`] answers, and the sum, if all rows have a value and these are near each other.
fn near_extremes(column: &Column, values: &[i64]) -> Option<(Extremes<i64>, i64)> {
    if column.valid.is_some() {
        return None;
    }
    let (&first, &last) = (values.first()?, values.last()?);
    let codec::Near { min, max, sum } = codec::near(values)?;
    // Where they are on both sides of the end of the integers the smallest is not the nearest below.
    let (min, max) = (first.checked_add(min.into())?, first.checked_add(max.into())?);
    Some((Extremes { min, max, first, last }, sum))
}

/// Smallest and largest of some rows and the last one.
struct Lanes<'a, T> {
    first: T,
    rows: &'a [[T; LANES]],
    end: &'a [T; LANES],
}

impl<T: Copy + PartialOrd> Work for Lanes<'_, T> {
    type Answer = (T, T);

    #[inline(always)]
    fn run(self) -> (T, T) {
        let (mut mins, mut maxs) = ([self.first; LANES], [self.first; LANES]);
        for row in self.rows.iter().chain([self.end]) {
            for lane in 0..LANES {
                mins[lane] = smaller(row[lane], mins[lane]);
                maxs[lane] = larger(row[lane], maxs[lane]);
            }
        }
        let mut lanes = LANES;
        while lanes > 1 {
            lanes /= 2;
            for lane in 0..lanes {
                mins[lane] = smaller(mins[lane + lanes], mins[lane]);
                maxs[lane] = larger(maxs[lane + lanes], maxs[lane]);
            }
        }
        (mins[0], maxs[0])
    }
}

/// The second unless the first is smaller.
#[inline(always)]
fn smaller<T: PartialOrd>(value: T, min: T) -> T {
    if value < min { value } else { min }
}

#[inline(always)]
fn larger<T: PartialOrd>(value: T, max: T) -> T {
    if value > max { value } else { max }
}

impl<T: Copy + PartialOrd> Extremes<T> {
    fn with(self, value: T) -> Extremes<T> {
        Extremes { min: smaller(value, self.min), max: larger(value, self.max), ..self }
    }
}

/// The summary of a column; `None` when no row has a value.
pub fn summarize(column: &Column) -> Option<Summary> {
    let missing = column.valid.as_ref().map_or(0, |valid| valid.iter().filter(|valid| !**valid).count()) as u32;
    // Rows without a value hold zero and add nothing.
    let values = match &column.values {
        Values::Float(values) => SummaryValues::Float(extremes(column, values)?),
        Values::Integer(values) => match near_extremes(column, values) {
            Some((extremes, sum)) => SummaryValues::Integer(extremes, sum),
            None => {
                let sum = values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
                SummaryValues::Integer(extremes(column, values)?, sum)
            }
        },
        Values::Unsigned(values) => {
            let sum = wide(|| values.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value)));
            SummaryValues::Unsigned(extremes(column, values)?, sum)
        }
        Values::Boolean(values) => SummaryValues::Boolean(extremes(column, values)?),
        Values::String(_) => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

/// Instead of decimal places: the floats are not decimals.
pub const FLOAT_BITS: u8 = u8::MAX;

const FLOAT_BITS_BYTES: usize = 32;

/// A whole one. `rows` are those of the block, `hints` those of the column.
pub fn encode_summary(summary: &Summary, rows: u32, hints: &codec::Hints, out: &mut Vec<u8>) {
    varint::put(out, u64::from(summary.missing));
    let start = out.len();
    if let Some(places) = encode_numbers(summary, rows, hints, out) {
        out.insert(start, places);
    }
}

/// Answers the places of floats.
pub fn encode_numbers(summary: &Summary, rows: u32, hints: &codec::Hints, out: &mut Vec<u8>) -> Option<u8> {
    let count = i64::from(rows - summary.missing);
    match summary.values {
        SummaryValues::Float(Extremes { min, max, first, last }) => {
            let values = [min, max, first, last];
            if let Some((places, decimals)) = codec::decimals(hints, &values) {
                encode_four(decimals, out);
                return Some(places);
            }
            out.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
            return Some(FLOAT_BITS);
        }
        SummaryValues::Integer(extremes, sum) => encode_integers(extremes, sum, count, out),
        SummaryValues::Unsigned(extremes, sum) => {
            encode_integers(extremes.map(|value| value as i64), sum as i64, count, out);
        }
        SummaryValues::Boolean(Extremes { min, max, first, last }) => {
            out.push([min, max, first, last].iter().enumerate().map(|(bit, set)| u8::from(*set) << bit).sum());
        }
        SummaryValues::String => (),
    }
    None
}

fn encode_integers(Extremes { min, max, first, last }: Extremes<i64>, sum: i64, count: i64, out: &mut Vec<u8>) {
    encode_four([min, max, first, last], out);
    varint::put(out, sum.wrapping_sub(min.wrapping_mul(count)) as u64);
}

fn encode_four([min, others @ ..]: [i64; 4], out: &mut Vec<u8>) {
    varint::put_signed(out, min);
    others.iter().for_each(|value| varint::put(out, value.wrapping_sub(min) as u64));
}

fn decode_four(reader: &mut Reader<'_>) -> Option<Extremes<i64>> {
    let min = reader.signed()?;
    let mut next = || Some(min.wrapping_add(reader.varint()? as i64));
    Some(Extremes { min, max: next()?, first: next()?, last: next()? })
}

/// `rows` are those of the block.
pub fn decode_summary(reader: &mut Reader<'_>, field_type: FieldType, rows: u32) -> Option<Summary> {
    let missing = reader.varint_u32()?;
    let count = i64::from(rows.checked_sub(missing)?);
    let values = match field_type {
        FieldType::Float => SummaryValues::Float(match reader.u8()? {
            FLOAT_BITS => {
                let mut float = || Some(f64::from_bits(reader.u64()?));
                Extremes { min: float()?, max: float()?, first: float()?, last: float()? }
            }
            places => {
                let power = codec::power_of_ten(places)?;
                decode_four(reader)?.map(|decimal| decimal as f64 / power)
            }
        }),
        FieldType::Integer => {
            let extremes = decode_four(reader)?;
            SummaryValues::Integer(extremes, decode_sum(reader, extremes.min, count)?)
        }
        FieldType::Unsigned => {
            let extremes = decode_four(reader)?;
            let sum = decode_sum(reader, extremes.min, count)?;
            SummaryValues::Unsigned(extremes.map(|value| value as u64), sum as u64)
        }
        FieldType::Boolean => SummaryValues::Boolean(decode_booleans(reader)?),
        FieldType::String => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

/// A summary as it was in segments of version 2: numbers coded as a column, then the sum of integers.
pub fn decode_summary_2(reader: &mut Reader<'_>, field_type: FieldType) -> Option<Summary> {
    let missing = reader.varint_u32()?;
    let mut four = || codec::decode(field_type, reader.bytes()?, 4).ok();
    let values = match field_type {
        FieldType::Float | FieldType::Integer | FieldType::Unsigned => match four()? {
            Values::Float(values) => SummaryValues::Float(as_extremes(&values)?),
            Values::Integer(values) => SummaryValues::Integer(as_extremes(&values)?, reader.signed()?),
            Values::Unsigned(values) => SummaryValues::Unsigned(as_extremes(&values)?, reader.signed()? as u64),
            _ => return None,
        },
        FieldType::Boolean => SummaryValues::Boolean(decode_booleans(reader)?),
        FieldType::String => SummaryValues::String,
    };
    Some(Summary { missing, values })
}

fn as_extremes<T: Copy>(values: &[T]) -> Option<Extremes<T>> {
    let &[min, max, first, last] = values else { return None };
    Some(Extremes { min, max, first, last })
}

fn decode_booleans(reader: &mut Reader<'_>) -> Option<Extremes<bool>> {
    let bits = reader.u8()?;
    let bit = |index: u8| bits >> index & 1 == 1;
    Some(Extremes { min: bit(0), max: bit(1), first: bit(2), last: bit(3) })
}

/// Past a summary that is not wanted.
pub fn skip_summary(reader: &mut Reader<'_>, field_type: FieldType) -> Option<()> {
    reader.varint_u32()?;
    let places = if field_type == FieldType::Float { Some(reader.u8()?) } else { None };
    skip_numbers(reader, field_type, places)
}

pub fn skip_numbers(reader: &mut Reader<'_>, field_type: FieldType, places: Option<u8>) -> Option<()> {
    let count = match field_type {
        FieldType::Float if places == Some(FLOAT_BITS) => return reader.take(FLOAT_BITS_BYTES).map(drop),
        FieldType::Float => 4,
        FieldType::Integer | FieldType::Unsigned => 5,
        FieldType::Boolean => return reader.u8().map(drop),
        FieldType::String => 0,
    };
    (0..count).try_for_each(|_| reader.varint().map(drop))
}

fn decode_sum(reader: &mut Reader<'_>, min: i64, count: i64) -> Option<i64> {
    Some((reader.varint()? as i64).wrapping_add(min.wrapping_mul(count)))
}

impl<T> Extremes<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Extremes<U> {
        let Extremes { min, max, first, last } = self;
        Extremes { min: change(min), max: change(max), first: change(first), last: change(last) }
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column() -> impl Strategy<Value = Column> {
        let float = prop_oneof![
            (-3000_i32..3000).prop_map(|hundredths| f64::from(hundredths) / 100.0),
            any::<u64>().prop_map(f64::from_bits),
            Just(-0.0),
            Just(f64::MAX),
        ];
        let values = prop_oneof![
            prop::collection::vec(float, 1..90).prop_map(Values::Float),
            prop::collection::vec(-9_i64..9, 1..90).prop_map(Values::Integer),
            prop::collection::vec(any::<i64>(), 1..90).prop_map(Values::Integer),
            prop::collection::vec(any::<u64>(), 1..90).prop_map(Values::Unsigned),
            prop::collection::vec(any::<bool>(), 1..90).prop_map(Values::Boolean),
        ];
        (values, 0_usize..5).prop_map(|(values, gap)| {
            let count = values.len();
            // Row 0 has a value; rows without one hold zero, which matters to sums alone.
            let valid = (gap > 1).then(|| (0..count).map(|row| row % gap != 1).collect::<Vec<bool>>());
            Column { values, valid }
        })
    }

    /// Equal bits are equal, also those of NaN.
    pub fn bits(summary: Summary) -> String {
        match summary.values {
            SummaryValues::Float(extremes) => format!("{} {:x?}", summary.missing, extremes.map(f64::to_bits)),
            other => format!("{} {other:?}", summary.missing),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn summaries_read_back_bit_for_bit_and_can_be_skipped(columns in prop::collection::vec(column(), 1..6)) {
            let mut coded = Vec::new();
            for column in &columns {
                let summary = summarize(column).unwrap();
                encode_summary(&summary, column.values.len() as u32, &codec::Hints::default(), &mut coded);
            }
            let (mut read, mut skipped) = (Reader::new(&coded), Reader::new(&coded));
            for column in &columns {
                let (field_type, rows) = (column.values.field_type(), column.values.len() as u32);
                let found = decode_summary(&mut read, field_type, rows).unwrap();
                prop_assert_eq!(bits(found), bits(summarize(column).unwrap()));
                skip_summary(&mut skipped, field_type).unwrap();
                prop_assert_eq!(read.rest().len(), skipped.rest().len());
            }
            prop_assert!(read.is_empty());
        }

        #[test]
        fn of_equal_extremes_the_first_counts_with_gaps_and_without(
            values in proptest::collection::vec(
                prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(1.0), Just(-1.0), any::<f64>()],
                1..40,
            )
        ) {
            let bits = |extremes: Extremes<f64>| {
                let Extremes { min, max, first, last } = extremes;
                [min, max, first, last].map(f64::to_bits)
            };
            let whole = Column { values: Values::Float(values.clone()), valid: None };
            let gappy = Column { valid: Some(vec![true; values.len()]), ..whole.clone() };
            // The one with gaps goes value by value.
            prop_assert_eq!(extremes(&whole, &values).map(bits), extremes(&gappy, &values).map(bits));
        }

        #[test]
        fn integers_near_each_other_are_summed_up_as_any_also_at_the_end_of_the_integers(
            base in prop_oneof![Just(0), Just(i64::MAX), any::<i64>()],
            spread in prop_oneof![Just(9), Just(i64::from(i32::MAX)), Just(1 << 32)],
            steps in proptest::collection::vec(-1.0..1.0, 1..40),
        ) {
            let values: Vec<i64> =
                steps.iter().map(|step| base.wrapping_add((step * spread as f64) as i64)).collect();
            let whole = Column { values: Values::Integer(values), valid: None };
            let gappy = Column { valid: Some(vec![true; whole.values.len()]), ..whole.clone() };
            // The one with gaps goes value by value.
            prop_assert_eq!(summarize(&whole), summarize(&gappy));
        }
    }
}
