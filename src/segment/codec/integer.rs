//! Integers and timestamps. Four ways, the smallest is taken:
//!
//! ```text
//! step    first signed, step signed: each value is the one before plus the step (a regular series; one value)
//! delta   scale varint, width u8, first signed, base signed, packed (difference to the one before / scale - base)
//! offset  scale varint, width u8, base signed, packed (value - base) / scale
//! raw     8 bytes each
//! ```
//!
//! All arithmetic wraps, so every sequence of 64-bit values has a delta form. The scale is the greatest common divisor
//! of what is packed (10 s steps in nanoseconds shrink by ten billion).

use crate::segment::codec::CodecError;
use crate::segment::codec::check_count;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

const STEP: u8 = 0;
const DELTA: u8 = 1;
const OFFSET: u8 = 2;
const RAW: u8 = 3;

pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = values.split_first() else {
        return out.push(RAW);
    };
    let deltas: Vec<i64> = values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let step = deltas.first().copied().unwrap_or(0);
    if deltas.iter().all(|&delta| delta == step) {
        out.push(STEP);
        varint::put_signed(out, first);
        return varint::put_signed(out, step);
    }
    debug_assert!(!rest.is_empty());
    let delta = Packing::of(&deltas);
    let offset = Packing::of(values);
    let delta_bits = delta.width as usize * deltas.len();
    let offset_bits = offset.width as usize * values.len();
    if delta_bits.min(offset_bits) >= 64 * values.len() {
        out.push(RAW);
        return values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
    if delta_bits < offset_bits {
        out.push(DELTA);
        varint::put_signed(out, first);
        delta.write(&deltas, out);
    } else {
        out.push(OFFSET);
        offset.write(values, out);
    }
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Vec<i64>, CodecError> {
    check_count(count)?;
    let (&mode, body) = bytes.split_first().ok_or(CodecError("no integers"))?;
    let mut reader = Reader::new(body);
    let values = match mode {
        STEP => step(&mut reader, count),
        DELTA => delta(&mut reader, count),
        OFFSET => unpack(&mut reader, count),
        RAW => raw(&mut reader, count),
        _ => None,
    };
    values.filter(|_| reader.is_empty()).ok_or(CodecError("bad integers"))
}

fn step(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let (first, step) = (reader.signed()?, reader.signed()?);
    Some((0..count as i64).map(|index| first.wrapping_add(step.wrapping_mul(index))).collect())
}

fn delta(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let mut value = reader.signed()?;
    let deltas = unpack(reader, count.checked_sub(1)?)?;
    let mut values = Vec::with_capacity(count);
    values.push(value);
    for delta in deltas {
        value = value.wrapping_add(delta);
        values.push(value);
    }
    Some(values)
}

fn raw(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let bytes = reader.take(count.checked_mul(8)?)?;
    Some(bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes"))).collect())
}

/// How a sequence is packed: `(value - base) / scale` in `width` bits.
struct Packing {
    base: i64,
    scale: u64,
    width: u32,
}

impl Packing {
    fn of(values: &[i64]) -> Packing {
        let base = values.iter().copied().min().unwrap_or(0);
        let scale = values.iter().fold(0, |divisor, &value| {
            if divisor == 1 { 1 } else { greatest_common_divisor(value.wrapping_sub(base) as u64, divisor) }
        });
        let scale = scale.max(1);
        let largest = values.iter().map(|&value| value.wrapping_sub(base) as u64).max().unwrap_or(0) / scale;
        Packing { base, scale, width: 64 - largest.leading_zeros() }
    }

    fn write(&self, values: &[i64], out: &mut Vec<u8>) {
        varint::put(out, self.scale);
        out.push(self.width as u8);
        varint::put_signed(out, self.base);
        let mut accumulator = 0_u128;
        let mut bits = 0;
        for &value in values {
            let packed = value.wrapping_sub(self.base) as u64;
            let packed = if self.scale == 1 { packed } else { packed / self.scale };
            accumulator |= u128::from(packed) << bits;
            bits += self.width;
            while bits >= 8 {
                out.push(accumulator as u8);
                accumulator >>= 8;
                bits -= 8;
            }
        }
        if bits > 0 {
            out.push(accumulator as u8);
        }
    }
}

fn unpack(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let scale = reader.varint()?;
    let width = u32::from(reader.u8()?);
    let base = reader.signed()?;
    if width > 64 {
        return None;
    }
    let bytes = reader.take((count * width as usize).div_ceil(8))?;
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let value = |index: usize| {
        let bit = index * width as usize;
        // Up to 9 bytes hold a value; the tail of the slice is padded with zeros.
        let mut window = [0; 16];
        let start = bit / 8;
        let taken = bytes.len().min(start + 9) - start;
        window[..taken].copy_from_slice(&bytes[start..start + taken]);
        let packed = (u128::from_le_bytes(window) >> (bit % 8)) as u64 & mask;
        base.wrapping_add(packed.wrapping_mul(scale) as i64)
    };
    Some((0..count).map(value).collect())
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}
