//! Bit packing at one width: the inner loop of every column.
//!
//! ```text
//! group   128 values in 2 * width words of 64 bits: value i is in lane i % 2 at place i / 2; a lane is `width` words
//!         of bits, low bits first; the words of the two lanes alternate
//! tail    the values after the last whole group: one row of bits, low bits first, padded to a byte
//! ```
//!
//! Two lanes, because both are then shifted by the same amount, which every 64-bit machine can do in one vector
//! instruction; a single row of bits cannot be unpacked so. The tail is one row so that a short column pays no padding.
//! Each width has its own copy of the loop, in which all shifts are constants.

/// Values of a group.
pub const GROUP: usize = 128;
const LANES: usize = 2;
const PLACES: usize = GROUP / LANES;
/// Words of a group at 64 bits, and one more a lane that is read past the end and masked away.
const WORDS: usize = LANES * (PLACES + 1);

/// Bytes of `count` values.
pub fn packed_bytes(count: usize, width: u32) -> usize {
    let width = width as usize;
    count / GROUP * (GROUP / 8 * width) + (count % GROUP * width).div_ceil(8)
}

/// The largest value of `width` bits.
pub fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

/// Appends `values`, all of which fit `width` bits.
pub fn pack<C: Copy + Into<u64>>(values: &[C], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (groups, tail) = values.as_chunks::<GROUP>();
    let pack_group = pack_of(width);
    let mut words = [0; WORDS];
    for group in groups {
        pack_group(group, &mut words, width);
        let start = out.len();
        out.resize(start + LANES * 8 * width as usize, 0);
        out[start..].as_chunks_mut().0.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
    }
    pack_tail(tail, width, out);
}

/// Fills `values` from bytes that are [`packed_bytes`] long.
pub fn unpack(bytes: &[u8], width: u32, values: &mut [u64]) {
    assert!(width <= 64, "a value has at most 64 bits");
    assert!(bytes.len() == packed_bytes(values.len(), width), "as many bytes as were packed");
    if width == 0 {
        return values.fill(0);
    }
    let (groups, tail) = values.as_chunks_mut::<GROUP>();
    let (group_bytes, tail_bytes) = bytes.split_at(packed_bytes(groups.len() * GROUP, width));
    let unpack_group = unpack_of(width);
    for (group, bytes) in groups.iter_mut().zip(group_bytes.chunks_exact(GROUP / 8 * width as usize)) {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        unpack_group(&words, group, width);
    }
    unpack_tail(tail_bytes, width, tail);
}

fn pack_tail<C: Copy + Into<u64>>(values: &[C], width: u32, out: &mut Vec<u8>) {
    let (mut word, mut filled) = (0_u64, 0);
    let mut push = |value: u64, width: u32| {
        word |= value << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= 64;
            word = if filled == 0 { 0 } else { value >> (width - filled) };
        }
    };
    // Four or eight at once while they fit: each push waits for the one before.
    let (fours, rest) = if width <= 16 { values.as_chunks::<4>() } else { (&[][..], values) };
    let (eights, fours) = if width <= 8 { fours.as_chunks::<2>() } else { (&[][..], fours) };
    for eight in eights {
        let [low, high] = eight.map(|four| join(four.map(Into::into), width));
        push(low | high << (4 * width), 8 * width);
    }
    for four in fours {
        push(join(four.map(Into::into), width), 4 * width);
    }
    for &value in rest {
        push(value.into(), width);
    }
    out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

fn unpack_tail(bytes: &[u8], width: u32, values: &mut [u64]) {
    // Nine bytes from any place of the tail can be read.
    let mut padded = [0; GROUP * 8 + 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    let mask = mask(width);
    let word = |at: usize| u64::from_le_bytes(padded[at..at + 8].try_into().expect("eight bytes"));
    let mut bit = 0;
    for value in values {
        let (at, shift) = (bit / 8, bit as u32 % 8);
        let low = word(at) >> shift;
        let high = if shift + width > 64 { u64::from(padded[at + 8]) << (64 - shift) } else { 0 };
        *value = (low | high) & mask;
        bit += width as usize;
    }
}

type PackGroup<C> = fn(&[C; GROUP], &mut [u64; WORDS], u32);
type UnpackGroup = fn(&[u64; WORDS], &mut [u64; GROUP], u32);

#[inline(always)]
fn pack_group<C: Copy + Into<u64>>(values: &[C; GROUP], words: &mut [u64; WORDS], width: u32) {
    let value = |place: usize, lane: usize| -> u64 { values[place * LANES + lane].into() };
    if width > 16 {
        return fill(PLACES, width, value, words);
    }
    // Four at once while they fit a word: only so are most shifts constants.
    let four = |index: usize, lane: usize| join(std::array::from_fn(|part| value(index * 4 + part, lane)), width);
    fill(PLACES / 4, 4 * width, four, words);
}

/// Fills the words of the lanes from `count` items of each.
#[inline(always)]
fn fill(count: usize, width: u32, item: impl Fn(usize, usize) -> u64, words: &mut [u64; WORDS]) {
    let mut filling = [0; LANES];
    for place in 0..count {
        let bit = place * width as usize;
        let (word, shift) = (bit / 64, bit as u32 % 64);
        for lane in 0..LANES {
            let item = item(place, lane);
            filling[lane] |= item << shift;
            words[word * LANES + lane] = filling[lane];
            if shift + width >= 64 {
                // Twice, since a shift by 64 is not one.
                filling[lane] = item >> (63 - shift) >> 1;
                words[(word + 1) * LANES + lane] = filling[lane];
            }
        }
    }
}

/// Four values of at most 16 bits, as one of four times the width.
#[inline(always)]
fn join([first, second, third, fourth]: [u64; 4], width: u32) -> u64 {
    first | second << width | (third | fourth << width) << (2 * width)
}

#[inline(always)]
fn unpack_group(words: &[u64; WORDS], values: &mut [u64; GROUP], width: u32) {
    let mask = mask(width);
    for place in 0..PLACES {
        let bit = place * width as usize;
        let (word, shift) = (bit / 64, bit as u32 % 64);
        for lane in 0..LANES {
            let low = words[word * LANES + lane] >> shift;
            let high = if shift + width > 64 { words[(word + 1) * LANES + lane] << (64 - shift) } else { 0 };
            values[place * LANES + lane] = (low | high) & mask;
        }
    }
}

/// Loops for the widths that columns have; wider ones are rare and share one with variable shifts.
macro_rules! by_width {
    ($width:expr, $generic:ident) => {
        by_width!(
            $width, $generic, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        )
    };
    ($width:expr, $generic:ident, $($known:literal)*) => {
        match $width {
            $($known => |from, into, _| $generic(from, into, $known),)*
            _ => |from, into, width| $generic(from, into, width),
        }
    };
}

fn pack_of<C: Copy + Into<u64>>(width: u32) -> PackGroup<C> {
    by_width!(width, pack_group)
}

fn unpack_of(width: u32) -> UnpackGroup {
    by_width!(width, unpack_group)
}
