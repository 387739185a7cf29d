//! Columns of values to bytes and back.
//!
//! In:   the values of one block of a column.
//! Out:  bytes, whose first says how they are coded; no count, which the block has.
//!
//! ```text
//! strings --entries, lengths--> integers --differences, runs--> frames --codes-----------> packed bits
//! floats  --decimals, bits----> integers                               --codes, cold data-> symbols of unlike length
//! ```
//!
//! An encoder chooses by statistics of the values, not by trying everything; how hard it tries is its [`Effort`], and
//! what it wrote says how to read it. A decoder trusts nothing: bytes that make no sense are [`CodecError`], never a
//! panic, and take no more room than the count and the bytes allow. benches/codec says what each shape of data takes,
//! tests/fuzz attacks the decoders.

// In data order: each uses only those below it.
mod text;
mod float;
mod integer;
mod frame;
mod dense;
mod ans;
mod pack;
mod bits;

use std::cell::Cell;

use crate::model::Bytes;
use crate::model::FieldType;
use crate::model::TimeRange;
use crate::model::Values;
use crate::stdx::wide::wide;

/// A column does not follow its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed column: {0}")]
pub struct CodecError(pub &'static str);

/// How hard an encoder tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A few nanoseconds a value, to write and to read: for what a flush writes.
    #[default]
    Hot,
    /// Also what takes longer to write and to read, where that saves [`DENSE_SAVES`]: for what is written once more and
    /// then stays.
    Cold,
}

/// What codes of unlike length must save, in percent: of a block, of a column, and of a segment that is written anew.
pub const DENSE_SAVES: u16 = 15;
/// One of so many blocks of a column is coded with either effort. Blocks of a column are mostly alike.
const LOOK_BLOCKS: u32 = 64;

/// What the blocks of a column so far taught for the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    effort: Effort,
    /// Decimal places of its floats.
    exponent: Option<u8>,
    /// How its integers, or those of its decimals, were cut.
    habit: Option<integer::Habit>,
    blocks: u32,
    bytes: u64,
    looked_at: Packing,
}

/// Bytes of columns, and what they would take if they were written with [`Effort::Cold`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    bytes: u64,
    packed_bytes: u64,
}

impl Packing {
    /// Adds another column.
    pub fn add(&mut self, other: Packing) {
        self.bytes += other.bytes;
        self.packed_bytes += other.packed_bytes;
    }

    /// What packing saves, in percent.
    pub fn saves(self) -> u16 {
        let saved = (self.bytes - self.packed_bytes) * 100;
        saved.checked_div(self.bytes).unwrap_or(0) as u16
    }
}

impl Hints {
    /// Of a column without a block yet.
    pub fn new(effort: Effort) -> Hints {
        Hints { effort, ..Hints::default() }
    }

    /// Of the whole column, as far as the blocks that were looked at tell.
    pub fn packing(&self) -> Packing {
        let Packing { bytes, packed_bytes } = self.looked_at;
        let share = packed_bytes as f64 / bytes.max(1) as f64;
        Packing { bytes: self.bytes, packed_bytes: (self.bytes as f64 * share) as u64 }
    }
}

/// Room for a column on its way to bits, kept from one to the next.
#[derive(Default)]
struct Room {
    integers: Vec<i64>,
    codes: Vec<u32>,
    exceptions: Vec<u32>,
}

thread_local! {
    /// Columns are coded one at a time.
    static ROOM: Cell<Room> = Cell::default();
}

/// Appends the values of one column.
pub fn encode(values: &Values, out: &mut Vec<u8>) {
    encode_with(&mut Hints::default(), values, out);
}

/// Appends the values of one block of a column; `hints` are those of the block before.
pub fn encode_with(hints: &mut Hints, values: &Values, out: &mut Vec<u8>) {
    let start = out.len();
    if hints.blocks.is_multiple_of(LOOK_BLOCKS) {
        encode_column(Effort::Hot, hints, values, out);
        let mut packed = Vec::new();
        encode_column(Effort::Cold, hints, values, &mut packed);
        let bytes = (out.len() - start) as u64;
        hints.looked_at.add(Packing { bytes, packed_bytes: bytes.min(packed.len() as u64) });
        if hints.effort == Effort::Cold && packed.len() < out.len() - start {
            out.truncate(start);
            out.extend_from_slice(&packed);
        }
    } else {
        // Trying in vain costs as much as packing: a cold column that does not promise enough is written as a hot one.
        let is_worth_it = hints.looked_at.saves() >= DENSE_SAVES;
        encode_column(if is_worth_it { hints.effort } else { Effort::Hot }, hints, values, out);
    }
    hints.blocks = hints.blocks.wrapping_add(1);
    hints.bytes += (out.len() - start) as u64;
}

fn encode_column(effort: Effort, hints: &mut Hints, values: &Values, out: &mut Vec<u8>) {
    let mut room = ROOM.take();
    match values {
        Values::Float(values) => float::encode(effort, hints, &mut room, values, out),
        Values::Integer(values) => integer::encode_next(effort, &mut hints.habit, &mut room, values, out),
        Values::Unsigned(values) => {
            let mut signed = std::mem::take(&mut room.integers);
            signed.clear();
            signed.extend(values.iter().map(|&value| value as i64));
            integer::encode_next(effort, &mut hints.habit, &mut room, &signed, out);
            room.integers = signed;
        }
        Values::Boolean(values) => bits::encode(values, out),
        Values::String(values) => text::encode(effort, values, out),
    }
    ROOM.set(room);
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

/// Appends timestamps, ascending, of which there is one: those of even steps take no bytes. Never packed: what jitters
/// does so evenly.
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let (first, last) = (times[0], times[times.len() - 1]);
    if even_step(TimeRange { min: first, max: last }, times.len()).is_some_and(|step| has_step(times, step)) {
        return;
    }
    let times: Vec<i64> = times.iter().map(|time| time.wrapping_sub(first)).collect();
    integer::encode(Effort::Hot, &times, out);
}

fn has_step(times: &[i64], step: u64) -> bool {
    let (earlier, later) = (&times[..times.len() - 1], &times[1..]);
    // Many at once, as vectors; times that jitter show it among the first.
    let mut parts = earlier.chunks(pack::GROUP).zip(later.chunks(pack::GROUP));
    parts.all(|(earlier, later)| {
        let differs = |(earlier, later): (&i64, &i64)| later.wrapping_sub(*earlier) as u64 ^ step;
        wide(|| earlier.iter().zip(later).map(differs).fold(0, |any, differs| any | differs)) == 0
    })
}

/// From one of `count` times to the next, if they can have the same distance from first to last.
fn even_step(range: TimeRange, count: usize) -> Option<u64> {
    let (span, steps) = (range.max.wrapping_sub(range.min) as u64, (count as u64).saturating_sub(1));
    if steps == 0 { (span == 0).then_some(0) } else { span.is_multiple_of(steps).then_some(span / steps) }
}

/// The `count` timestamps of a column; `range` is from the first to the last.
pub fn decode_times(bytes: &[u8], range: TimeRange, count: usize) -> Result<Vec<i64>, CodecError> {
    check_count(count)?;
    if bytes.is_empty() {
        let step = even_step(range, count).ok_or(CodecError("times of no even step"))?;
        return Ok((0..count as u64).map(|index| range.min.wrapping_add(step.wrapping_mul(index) as i64)).collect());
    }
    let mut times = integer::decode(bytes, count)?;
    times.iter_mut().for_each(|time| *time = time.wrapping_add(range.min));
    Ok(times)
}

/// Values as distances from the first of them, of 32 bits: such compare many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// The smallest distance, not above 0.
    pub min: i32,
    /// The largest, not below 0.
    pub max: i32,
    /// Of the values, wrapping.
    pub sum: i64,
}

/// How far values are apart, if that is less than 2^31, as with most columns. A distance may go across the end of the
/// integers.
pub fn near(values: &[i64]) -> Option<Near> {
    let origin = values.first().copied().unwrap_or(0);
    let (far, near) = wide(|| {
        let start = (0, Near { min: 0, max: 0, sum: 0 });
        values.iter().fold(start, |(far, Near { min, max, sum }), &value| {
            let distance = value.wrapping_sub(origin);
            let (min, max) = (min.min(distance as i32), max.max(distance as i32));
            (far | distance.wrapping_add(1 << 31) as u64, Near { min, max, sum: sum.wrapping_add(value) })
        })
    });
    (far >> u32::BITS == 0).then_some(near)
}

/// Four values as integers over a power of ten, which they are again when divided by it; and which power. `hints` are
/// those of their block.
pub fn decimals(hints: &Hints, values: &[f64; 4]) -> Option<(u8, [i64; 4])> {
    float::decimals(hints, values)
}

/// A power of ten that [`decimals`] may have taken.
pub fn power_of_ten(exponent: u8) -> Option<f64> {
    float::POWERS.get(usize::from(exponent)).copied()
}

/// Appends which rows have a value.
pub fn encode_valid(valid: &[bool], out: &mut Vec<u8>) {
    bits::encode(valid, out);
}

/// Which of `count` rows have a value.
pub fn decode_valid(bytes: &[u8], count: usize) -> Result<Vec<bool>, CodecError> {
    bits::decode(bytes, count)
}

/// What the codec of a coded column is called.
pub fn name(field_type: FieldType, coded: &[u8]) -> &'static str {
    match field_type {
        FieldType::Float => float::name(coded),
        FieldType::Integer | FieldType::Unsigned => integer::name(coded),
        FieldType::Boolean => name_in(&bits::NAMES, coded),
        FieldType::String => name_in(&text::NAMES, coded),
    }
}

/// As [`name`], of timestamps.
pub fn times_name(coded: &[u8]) -> &'static str {
    if coded.is_empty() { "even" } else { integer::name(coded) }
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
