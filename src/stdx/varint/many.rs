//! Many values one after the other, most of them of one byte or two: eight bytes of them at a time.
//!
//! ```text
//! window   the byte before, and eight bytes       each ends a value, or says that more follow
//! lane     one for each value that ends in the eight: its low byte, and its high byte if it has two
//! ```
//!
//! Where the lanes come from is in a table, by the top bits of the nine bytes. A window begins eight bytes behind the
//! one before, wherever values end, so that the processor works on several of them at once. A longer value is read by
//! itself, and the next window begins behind it.

use crate::stdx::varint::Reader;
#[cfg(target_arch = "x86_64")]
use crate::stdx::wide::has_both;

impl Reader<'_> {
    /// Makes `into` the next values; where they are not there nothing is read, and what `into` holds means nothing.
    pub fn many(&mut self, into: &mut [u64]) -> Option<()> {
        let mut reader = *self;
        let filled = reader.windows(into)?;
        for value in &mut into[filled..] {
            *value = reader.varint()?;
        }
        *self = reader;
        Some(())
    }

    /// Reads values as long as a whole window is left of them; how many.
    fn windows(&mut self, into: &mut [u64]) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if has_both() {
            // SAFETY: the machine has AVX2.
            return unsafe { x86::windows(self, into) };
        }
        let _ = into;
        Some(0)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Reader;
    use crate::stdx::varint::TWO_BYTES_END;

    /// Bytes of a window that are new in it.
    const STEP: usize = 8;
    /// In a table of lanes: no byte, but zero.
    const NONE: u8 = 0x80;

    /// Where in a window the low and the high byte of each value are, by which of its bytes say that more follow.
    static LANES: [[u8; 16]; 1 << (STEP + 1)] = {
        let mut table = [[NONE; 16]; 1 << (STEP + 1)];
        let mut tops = 0;
        while tops < table.len() {
            let (mut lane, mut end) = (0, 1);
            while end <= STEP {
                if tops >> end & 1 == 0 {
                    let is_long = tops >> (end - 1) & 1 == 1;
                    table[tops][2 * lane] = if is_long { end - 1 } else { end } as u8;
                    table[tops][2 * lane + 1] = if is_long { end as u8 } else { NONE };
                    lane += 1;
                }
                end += 1;
            }
            tops += 1;
        }
        table
    };

    /// Reads values while there are windows and room for all that may end in one; how many. `None` if one makes no
    /// sense.
    ///
    /// # Safety
    /// The machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn windows(reader: &mut Reader<'_>, into: &mut [u64]) -> Option<usize> {
        let bytes = reader.rest;
        let mut filled = 0;
        // The end of the last value read by itself: what begins there has no byte in the window before.
        let mut at = 0;
        let mut is_fresh = true;
        while filled + STEP <= into.len() {
            if is_fresh {
                // A window begins behind a byte; and where one value is long, the next may well be too.
                reader.rest = &bytes[at..];
                into[filled] = reader.varint()?;
                filled += 1;
                is_fresh = into[filled - 1] >= TWO_BYTES_END;
                at = bytes.len() - reader.rest.len();
                continue;
            }
            let Some(window) = bytes[at - 1..].first_chunk::<16>() else { break };
            // SAFETY: a window has 16 bytes, and a row of the table too.
            let window = unsafe { _mm_loadu_si128(window.as_ptr().cast()) };
            let tops = _mm_movemask_epi8(window) as usize & (LANES.len() - 1);
            // SAFETY: as above.
            let lanes = unsafe { _mm_loadu_si128(LANES[tops].as_ptr().cast()) };
            let lanes = _mm_shuffle_epi8(window, lanes);
            let low = _mm_and_si128(lanes, _mm_set1_epi16(0x7f));
            let high = _mm_and_si128(_mm_srli_epi16::<1>(lanes), _mm_set1_epi16(0x3f80));
            let values = _mm_or_si128(low, high);
            let room = &mut into[filled..filled + STEP];
            // SAFETY: the room has eight values, each store writes four.
            unsafe {
                let (first, last) = room.split_at_mut(STEP / 2);
                _mm256_storeu_si256(first.as_mut_ptr().cast(), _mm256_cvtepu16_epi64(values));
                let values = _mm_unpackhi_epi64(values, values);
                _mm256_storeu_si256(last.as_mut_ptr().cast(), _mm256_cvtepu16_epi64(values));
            }
            let longer = tops & tops >> 1;
            if longer == 0 {
                filled += STEP - (tops >> 1).count_ones() as usize;
                at += STEP;
                continue;
            }
            // Those before it count.
            let start = longer.trailing_zeros() as usize;
            let before = (1_usize << start >> 1).saturating_sub(1);
            filled += (!(tops >> 1) & before).count_ones() as usize;
            at = at - 1 + start;
            is_fresh = true;
        }
        if !is_fresh {
            // The last byte read may begin a value.
            at -= usize::from(bytes[at - 1] >= 0x80);
        }
        reader.rest = &bytes[at..];
        Some(filled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stdx::varint::put;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn many_values_are_those_one_by_one(
            values in proptest::collection::vec(
                prop_oneof![8 => 0_u64..300, 8 => 0_u64..20_000, 1 => any::<u64>()], 0..100),
            behind in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            values.iter().for_each(|&value| put(&mut bytes, value));
            let end = bytes.len();
            bytes.extend(&behind);
            let mut reader = Reader::new(&bytes);
            let mut found = vec![7; values.len()];
            prop_assert_eq!(reader.many(&mut found), Some(()));
            prop_assert_eq!((&found, reader.rest()), (&values, &bytes[end..]));
        }

        #[test]
        fn of_any_bytes_many_values_are_those_one_by_one(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x80), 0_u8..0x80], 0..60),
            count in 0_usize..40,
        ) {
            let (mut reader, mut single) = (Reader::new(&bytes), Reader::new(&bytes));
            let expected: Option<Vec<u64>> = (0..count).map(|_| single.varint()).collect();
            let mut found = vec![7; count];
            let rest = if expected.is_some() { single.rest() } else { &bytes[..] };
            prop_assert_eq!(reader.many(&mut found).map(|()| found), expected);
            prop_assert_eq!(reader.rest(), rest);
        }
    }
}
