//! Columns of values to bytes and back.
//!
//! In:   the values of one block of a column.
//! Out:  bytes, whose first says how they are coded; no count, which the block has.
//!
//! ```text
//! strings --entries, lengths--> integers --differences, runs--> frames --codes--> packed bits
//! floats  --decimals, bits----> integers
//! ```
//!
//! An encoder chooses by statistics of the values, not by trying everything. A decoder trusts nothing: bytes that make
//! no sense are [`CodecError`], never a panic, and take no more room than the count and the bytes allow. benches/codec
//! says what each shape of data takes, tests/fuzz attacks the decoders.

// In data order: each uses only those below it.
mod text;
mod float;
mod integer;
mod frame;
mod pack;
mod bits;

use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::Values;

/// A column does not follow its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed column: {0}")]
pub struct CodecError(pub &'static str);

/// What one block of a column taught for the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// Decimal places of its floats.
    exponent: Option<u8>,
    /// How its integers, or those of its decimals, were cut.
    habit: Option<integer::Habit>,
}

/// Appends the values of one column.
pub fn encode(values: &Values, out: &mut Vec<u8>) {
    encode_with(&mut Hints::default(), values, out);
}

/// Appends the values of one block of a column; `hints` are those of the block before.
pub fn encode_with(hints: &mut Hints, values: &Values, out: &mut Vec<u8>) {
    match values {
        Values::Float(values) => float::encode(hints, values, out),
        Values::Integer(values) => integer::encode_next(&mut hints.habit, values, out),
        Values::Unsigned(values) => {
            let signed: Vec<i64> = values.iter().map(|&value| value as i64).collect();
            integer::encode_next(&mut hints.habit, &signed, out);
        }
        Values::Boolean(values) => bits::encode(values, out),
        Values::String(values) => text::encode(values, out),
    }
}

/// Appends a handful of integers in no order, to be read as any column of them.
pub fn encode_few_integers(values: &[i64], out: &mut Vec<u8>) {
    integer::encode_few(values, out);
}

/// Appends a handful of floats in no order, to be read as any column of them; `hints` are those of their block.
pub fn encode_few_floats(hints: Hints, values: &[f64], out: &mut Vec<u8>) {
    float::encode_few(hints, values, out);
}

/// The `count` values of a column of `field_type`.
pub fn decode(field_type: FieldType, bytes: &[u8], count: usize) -> Result<Values, CodecError> {
    Ok(match field_type {
        FieldType::Float => Values::Float(float::decode(bytes, count)?),
        FieldType::Integer => Values::Integer(integer::decode(bytes, count)?),
        FieldType::Unsigned => {
            Values::Unsigned(integer::decode(bytes, count)?.into_iter().map(|value| value as u64).collect())
        }
        FieldType::Boolean => Values::Boolean(bits::decode(bytes, count)?),
        FieldType::String => Values::String(text::decode(bytes, count)?),
    })
}

/// Appends timestamps.
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    integer::encode(times, out);
}

/// The `count` timestamps of a column.
pub fn decode_times(bytes: &[u8], count: usize) -> Result<Vec<i64>, CodecError> {
    integer::decode(bytes, count)
}

/// Appends which rows have a value.
pub fn encode_valid(valid: &[bool], out: &mut Vec<u8>) {
    bits::encode(valid, out);
}

/// Which of `count` rows have a value.
pub fn decode_valid(bytes: &[u8], count: usize) -> Result<Vec<bool>, CodecError> {
    bits::decode(bytes, count)
}

/// What the codec of a coded column is called; the first byte tells.
pub fn name(field_type: FieldType, coded: &[u8]) -> &'static str {
    let names = match field_type {
        FieldType::Float => &float::NAMES[..],
        FieldType::Integer | FieldType::Unsigned => &integer::NAMES,
        FieldType::Boolean => &bits::NAMES,
        FieldType::String => &text::NAMES,
    };
    name_in(names, coded)
}

/// As [`name`], of timestamps.
pub fn times_name(coded: &[u8]) -> &'static str {
    name_in(&integer::NAMES, coded)
}

fn name_in(names: &[&'static str], coded: &[u8]) -> &'static str {
    coded.first().and_then(|&mode| names.get(usize::from(mode)).copied()).unwrap_or("unknown")
}

/// Largest column a decoder makes room for before it has seen the bytes behind it.
const COUNT_MAX: usize = 1 << 20;

fn check_count(count: usize) -> Result<(), CodecError> {
    if count > COUNT_MAX { Err(CodecError("more values than a block may hold")) } else { Ok(()) }
}

/// Values looked at where all would take too long.
const SAMPLE_COUNT: usize = 32;

/// Places spread over `count` values.
fn sample(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by((count / SAMPLE_COUNT).max(1)).take(SAMPLE_COUNT)
}

/// Values of strings, kept apart for the length check above.
type Strings = Vec<Bytes>;

#[cfg(test)]
mod tests;
