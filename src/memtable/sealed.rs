//! A full chunk put in order: column after column, each in as few bytes a row as its values need.
//!
//! ```text
//! value = base + (code << shift), wrapping      codes of a column all have 0, 1, 2, 4 or 8 bytes
//! ```
//!
//! Values of a few thousand rows are mostly near each other, so that a column takes an eighth of what it took in words:
//! a memtable holds more rows, and a flush, which visits all chunks for each series, finds them in the cache. Codes are
//! the bits in which the values differ, found in one pass of the cheapest vector instructions there are; extremes and
//! common divisors would take less room and more time.

use std::ops::Range;

use crate::memtable::order::Order;
use crate::model::FieldType;
use crate::stdx::wide::wide;

/// The rows of a chunk. Of the word that names series and sequence only the sequence is left: the order has the series.
#[derive(Debug)]
pub struct Sealed {
    columns: Box<[Codes]>,
}

/// Signed values near 0 differ in all bits; with this added they do not cross the end of any number of bytes.
const SIGNED_BIAS: u64 = 0x5555_5555_5555_5555;

#[derive(Debug)]
struct Codes {
    base: u64,
    shift: u32,
    codes: Width,
}

/// Codes, and behind them [`STEP`] more that mean nothing.
#[derive(Debug)]
enum Width {
    /// All values are the base.
    Same,
    One(Box<[u8]>),
    Two(Box<[u16]>),
    Four(Box<[u32]>),
    Eight(Box<[u64]>),
}

impl Sealed {
    /// Of the columns of a chunk: time, series and sequence, and one of each type.
    pub fn of<'a>(
        mut columns: impl Iterator<Item = &'a [u64]>,
        types: impl Iterator<Item = FieldType>,
        order: &Order,
    ) -> Sealed {
        let rows = order.rows();
        let times = columns.next().map(|times| Codes::of(times, rows, 0, u64::MAX));
        let sequences = columns.next().map(|words| Codes::of(words, rows, 0, u32::MAX.into()));
        let values = columns.zip(types).map(|(column, field_type)| {
            let bias = if field_type == FieldType::Integer { SIGNED_BIAS } else { 0 };
            Codes::of(column, rows, bias, u64::MAX)
        });
        Sealed { columns: times.into_iter().chain(sequences).chain(values).collect() }
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| size_of::<Codes>() + column.codes.bytes()).sum()
    }

    /// A word of the row at a position of the order.
    pub fn word(&self, position: usize, slot: usize) -> u64 {
        let Codes { base, shift, codes } = &self.columns[slot];
        base.wrapping_add(codes.at(position) << shift)
    }

    /// A word of each row at some positions, and up to [`STEP`] others behind them.
    #[inline(always)]
    pub fn copy<T: Word>(&self, slot: usize, positions: Range<usize>, into: &mut [T]) {
        let Codes { base, shift, codes } = &self.columns[slot];
        match codes {
            Width::Same => into[..positions.len()].fill(T::of(*base)),
            Width::One(codes) => copy(codes, positions, *base, *shift, into),
            Width::Two(codes) => copy(codes, positions, *base, *shift, into),
            Width::Four(codes) => copy(codes, positions, *base, *shift, into),
            Width::Eight(codes) => copy(codes, positions, *base, *shift, into),
        }
    }
}

/// Codes taken at once: most pieces are short, and the rest of a loop over vectors would cost as much as the loop.
pub const STEP: usize = 8;

#[inline(always)]
fn copy<C: Copy + Into<u64>, T: Word>(codes: &[C], positions: Range<usize>, base: u64, shift: u32, into: &mut [T]) {
    let steps = positions.len().div_ceil(STEP);
    let (codes, into) = (&codes[positions.start..][..steps * STEP], &mut into[..steps * STEP]);
    for (into, codes) in into.as_chunks_mut::<STEP>().0.iter_mut().zip(codes.as_chunks::<STEP>().0) {
        *into = codes.map(|code| T::of(base.wrapping_add(code.into() << shift)));
    }
}

/// What a word of a row stands for.
pub trait Word: Copy + Default {
    fn of(word: u64) -> Self;
}

impl Word for u64 {
    fn of(word: u64) -> u64 {
        word
    }
}

impl Word for i64 {
    fn of(word: u64) -> i64 {
        word as i64
    }
}

impl Word for f64 {
    fn of(word: u64) -> f64 {
        f64::from_bits(word)
    }
}

impl Word for bool {
    fn of(word: u64) -> bool {
        word != 0
    }
}

impl Codes {
    /// Of those bits of the values that `kept` has, in the order of `rows`.
    fn of(values: &[u64], rows: &[u32], bias: u64, kept: u64) -> Codes {
        let first = values[0].wrapping_add(bias);
        let differ = |all, value: &u64| all | (value.wrapping_add(bias) ^ first);
        let differing = wide(|| values.iter().fold(0, differ)) & kept;
        let shift = if differing == 0 { 0 } else { differing.trailing_zeros() };
        let mask = u64::MAX.unbounded_shr(differing.leading_zeros()) >> shift << shift;
        let codes = rows.iter().map(|&row| (values[row as usize].wrapping_add(bias) & mask) >> shift);
        Codes { base: (first & kept & !mask).wrapping_sub(bias), shift, codes: Width::of(codes, mask >> shift) }
    }
}

impl Width {
    /// No code is larger than `max`.
    fn of(codes: impl Iterator<Item = u64>, max: u64) -> Width {
        let codes = codes.chain([0; STEP]);
        match max {
            0 => Width::Same,
            1..0x100 => Width::One(codes.map(|code| code as u8).collect()),
            0x100..0x1_0000 => Width::Two(codes.map(|code| code as u16).collect()),
            0x1_0000..0x1_0000_0000 => Width::Four(codes.map(|code| code as u32).collect()),
            _ => Width::Eight(codes.collect()),
        }
    }

    fn at(&self, position: usize) -> u64 {
        match self {
            Width::Same => 0,
            Width::One(codes) => codes[position].into(),
            Width::Two(codes) => codes[position].into(),
            Width::Four(codes) => codes[position].into(),
            Width::Eight(codes) => codes[position],
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Width::Same => 0,
            Width::One(codes) => size_of_val(&**codes),
            Width::Two(codes) => size_of_val(&**codes),
            Width::Four(codes) => size_of_val(&**codes),
            Width::Eight(codes) => size_of_val(&**codes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_column() -> impl Strategy<Value = Vec<u64>> {
        let near = (any::<u64>(), prop_oneof![Just(1_u64), Just(200), Just(50_000), Just(1 << 31), Just(1 << 40)]);
        let near = near.prop_flat_map(|(base, span)| {
            proptest::collection::vec((0..span).prop_map(move |offset| base.wrapping_add(offset)), 1..100)
        });
        prop_oneof![near, proptest::collection::vec(any::<u64>(), 1..100)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn codes_stand_for_the_values(
            values in any_column(),
            scale in prop_oneof![Just(1_u64), Just(1 << 45), Just(10_000_000_000)],
            is_signed in any::<bool>(),
        ) {
            let values: Vec<u64> = values.iter().map(|value| value.wrapping_mul(scale)).collect();
            let rows: Vec<u32> = (0..values.len() as u32).rev().collect();
            let bias = if is_signed { SIGNED_BIAS } else { 0 };
            let columns =
                [Codes::of(&values, &rows, bias, u64::MAX), Codes::of(&values, &rows, 0, u32::MAX.into())];
            let sealed = Sealed { columns: Box::new(columns) };
            for (slot, kept) in [u64::MAX, u32::MAX.into()].into_iter().enumerate() {
                let expected: Vec<u64> = values.iter().rev().map(|value| value & kept).collect();
                let positions = values.len() / 3..values.len();
                let mut some = vec![7_u64; positions.len() + STEP];
                sealed.copy(slot, positions.clone(), &mut some);
                prop_assert_eq!(&some[..positions.len()], &expected[positions]);
                prop_assert!((0..values.len()).all(|position| sealed.word(position, slot) == expected[position]));
            }
        }
    }

    #[test]
    fn codes_take_the_bytes_in_which_values_differ() {
        let bytes = |values: &[u64], is_signed| {
            let rows: Vec<u32> = (0..values.len() as u32).collect();
            Codes::of(values, &rows, if is_signed { SIGNED_BIAS } else { 0 }, u64::MAX).codes.bytes()
        };
        let rows = |count: usize| count + STEP;
        assert_eq!(bytes(&[5; 3], false), 0);
        assert_eq!(bytes(&[-80_i64 as u64, 160], true), rows(2));
        assert_eq!(bytes(&[-20_000_i64 as u64, 40_000], true), 2 * rows(2));
        assert_eq!(bytes(&[1_000_000_000, 2_000_000_000], false), 4 * rows(2));
        assert_eq!(bytes(&[1.0_f64.to_bits(), 1.5_f64.to_bits(), 3.75_f64.to_bits()], false), 2 * rows(3));
    }
}
