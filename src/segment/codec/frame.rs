//! A frame: a short range of integers in few bits each, with exceptions.
//!
//! ```text
//! kind u8 | scale varint | base signed | body                     value = base + scale * code, wrapping
//! plain     packed codes
//! escaped   packed codes, the largest of which says "exception" | exceptions: frame
//! listed    count varint | gaps between exceptions: frame | exceptions: frame | packed codes, 0 at exceptions
//! dense     codes, see dense.rs | exceptions: frame, if any
//! ```
//!
//! `kind` is the width of a code (0 to 64; dense: its low bits) plus 0, 65, 130 or 195. Escapes suit many exceptions
//! (they cost their value and one code), lists few. Small steps such as a random walk's are mostly -1, 0 and 1: two
//! bits with escapes, not three. Dense is for cold data.
//!
//! The window of codes is chosen by counting, never by trying: exactly when the range is short, else by the bit lengths
//! of the distances to the smallest and to a middle value. The scale is the greatest common divisor.

use crate::segment::codec::Near;
use crate::segment::codec::Room;
use crate::segment::codec::dense;
use crate::segment::codec::dense::Dense;
use crate::segment::codec::near;
use crate::segment::codec::pack::mask;
use crate::segment::codec::pack::pack;
use crate::segment::codec::pack::packed_bytes;
use crate::segment::codec::pack::unpack;
use crate::segment::codec::sample;
use crate::stdx::varint;
use crate::stdx::varint::Reader;
use crate::stdx::wide::wide;

const KIND_STEP: u32 = 65;
const KIND_DENSE: u32 = 3;
/// Exceptions of exceptions, so often.
const DEPTH_MAX: u32 = 2;
/// Fewer values are not worth a look at their distribution.
const WINDOW_COUNT_MIN: usize = 16;
/// A range so short is counted value by value.
const COUNTED_RANGE: usize = 64;
/// A longer range of fewer values is not measured.
pub const MEASURED_COUNT_MIN: usize = 32;
/// In a longer range so many values, evenly spread, are measured: all would cost more than the rest of the encoder.
const MEASURED_COUNT: usize = 128;
/// So few exceptions of a cut are not looked at for a window.
const PLAIN_EXCEPTIONS_END: usize = WINDOW_COUNT_MIN;
/// What a nested frame costs beyond its codes.
const NESTED_BITS: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Escaped,
    Listed,
}

/// Codes are `quotient - start`, those from `limit` on are exceptions.
#[derive(Clone, Copy, Debug)]
struct Window {
    kind: Kind,
    width: u32,
    start: u64,
    bits: usize,
}

/// Values before they are written: `base + scale * quotient`, and how to pack the quotients.
pub struct Frame {
    base: i64,
    scale: u64,
    quotients: Vec<u64>,
    /// No quotient is larger.
    range: u64,
    window: Window,
}

/// How a frame and its exceptions were cut, for the next one of the same column.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    own: Level,
    /// That of the exceptions, if they have been looked at.
    exceptions: Option<Level>,
}

/// How a frame was cut.
#[derive(Clone, Copy, Debug)]
struct Level {
    base: i64,
    kind: Kind,
    width: u32,
    /// Exceptions of [`SHARE_PARTS`] values.
    share: usize,
}

/// Parts in which shares of the values are counted.
pub const SHARE_PARTS: usize = 256;
/// A share that differs by more is another one.
pub const SHARE_SLACK: usize = SHARE_PARTS / 8;

impl Cut {
    /// Appends `count` values as a frame, if it suits them as well as those that it was made for.
    pub fn write(
        &mut self,
        room: &mut Room,
        count: usize,
        values: impl Iterator<Item = i64> + Clone,
        out: &mut Vec<u8>,
    ) -> bool {
        // Plain frames are cut anew, so any value near the others is a start.
        let base = if self.own.kind == Kind::Plain { values.clone().next().unwrap_or(0) } else { self.own.base };
        let distances = values.map(|value| value.wrapping_sub(base));
        let Room { codes, exceptions, .. } = room;
        codes.resize(count, 0);
        let far = wide(|| {
            let mut far = 0;
            for (code, distance) in codes.iter_mut().zip(distances.clone()) {
                *code = distance as u32;
                far |= distance.wrapping_add(1 << 30) as u64;
            }
            far
        });
        // In wider windows what is below the base would not be an exception.
        if far < 1 << 31 && self.own.width < u32::BITS {
            return self.write_codes(base, codes, exceptions, out);
        }
        let mut codes: Vec<u64> = distances.map(|distance| distance as u64).collect();
        self.write_codes(base, &mut codes, &mut Vec::new(), out)
    }

    /// As [`Cut::write`]; `codes` are the distances to `base`, `exceptions` room for some.
    fn write_codes<C: Code>(&mut self, base: i64, codes: &mut [C], exceptions: &mut Vec<C>, out: &mut Vec<u8>) -> bool {
        let nested = |exceptions: &mut [C], out: &mut Vec<u8>| write_exceptions(&mut self.exceptions, exceptions, out);
        self.own.write(base, codes, exceptions, nested, out)
    }
}

impl Level {
    /// Appends `codes`, the distances to `base`, as a frame, if it suits them; `nested` writes the exceptions.
    fn write<C: Code>(
        self,
        base: i64,
        codes: &mut [C],
        exceptions: &mut Vec<C>,
        nested: impl FnOnce(&mut [C], &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> bool {
        match self.kind {
            Kind::Plain => self.write_plain(base, codes, out),
            _ => self.write_window(codes, exceptions, nested, out),
        }
    }

    fn write_plain<C: Code>(self, base: i64, codes: &mut [C], out: &mut Vec<u8>) -> bool {
        let (min, max) = wide(|| centre(codes));
        let width = bit_length(max.minus(min).into());
        // Wider ones may suit a window, which is not looked for here.
        if !(width..=width + 1).contains(&self.width) {
            return false;
        }
        wide(|| codes.iter_mut().for_each(|code| *code = code.minus(min)));
        put_head(Kind::Plain as u32, width, 1, base.wrapping_add(min.minus(C::HALF).signed()), out);
        pack(codes, width, out);
        true
    }

    fn write_window<C: Code>(
        self,
        codes: &mut [C],
        exceptions: &mut Vec<C>,
        nested: impl FnOnce(&mut [C], &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> bool {
        let Level { base, kind, width, .. } = self;
        let exceptions_max = codes.len() * (self.share + SHARE_SLACK) / SHARE_PARTS;
        let (code_max, mark) = (C::of(code_max(kind, width)), C::of(mark(kind, width)));
        let mut places = Vec::new();
        exceptions.clear();
        for (first, part) in (0..).step_by(PART).zip(codes.chunks_mut(PART)) {
            let mut bits = wide(|| bits_where(part, |code| code > code_max));
            while bits != 0 {
                let place = bits.trailing_zeros();
                exceptions.push(part[place as usize]);
                if kind == Kind::Listed {
                    places.push(first + place);
                }
                bits &= bits - 1;
            }
            wide(|| part.iter_mut().for_each(|code| *code = if *code > code_max { mark } else { *code }));
        }
        if exceptions.len() > exceptions_max {
            return false;
        }
        put_head(kind as u32, width, 1, base, out);
        if kind == Kind::Listed {
            varint::put(out, places.len() as u64);
            Frame::plain(&gaps(&places)).write(out);
            nested(exceptions, out);
            pack(codes, width, out);
        } else {
            pack(codes, width, out);
            nested(exceptions, out);
        }
        true
    }
}

/// Appends the exceptions of a cut, in the way of those before if they are alike; few ones take no longer than needed.
fn write_exceptions<C: Code>(known: &mut Option<Level>, exceptions: &mut [C], out: &mut Vec<u8>) {
    if exceptions.len() < PLAIN_EXCEPTIONS_END {
        return write_few(exceptions, out);
    }
    if let Some(level) = known.filter(C::suits) {
        let base = if level.kind == Kind::Plain { 0 } else { level.base };
        let mut codes: Vec<C> = exceptions.iter().map(|code| code.minus(C::of(base as u64))).collect();
        if level.write(base, &mut codes, &mut Vec::new(), write_few, out) {
            return;
        }
    }
    let exceptions: Vec<i64> = exceptions.iter().map(|code| code.signed()).collect();
    *known = Frame::nested(&exceptions, 1).write_nested(1, out).map(|cut| cut.own);
}

/// Appends a few exceptions, which mostly have no scale, as a plain frame.
fn write_few<C: Code>(exceptions: &mut [C], out: &mut Vec<u8>) {
    let (min, max) = centre(exceptions);
    exceptions.iter_mut().for_each(|code| *code = code.minus(min));
    let (base, range) = (min.minus(C::HALF).signed(), max.minus(min));
    if exceptions.iter().any(|&code| code.into() == 1) {
        put_head(Kind::Plain as u32, bit_length(range.into()), 1, base, out);
        return pack(exceptions, bit_length(range.into()), out);
    }
    let exceptions: Vec<i64> = exceptions.iter().map(|&code| base.wrapping_add(code.into() as i64)).collect();
    Frame::plain(&exceptions).write(out);
}

/// Adds half of the codes to each, so that negative ones are below the others; answers the smallest and the largest.
#[inline(always)]
fn centre<C: Code>(codes: &mut [C]) -> (C, C) {
    let (mut min, mut max) = (C::HALF.minus(C::of(1)).plus(C::HALF), C::of(0));
    for code in codes {
        *code = code.plus(C::HALF);
        (min, max) = (min.min(*code), max.max(*code));
    }
    (min, max)
}

/// Whether it is within a quarter of the 32-bit numbers of 0. So are codes of that size: their difference is one too.
fn is_near(distance: i64) -> bool {
    distance.wrapping_add(1 << 30) as u64 >> 31 == 0
}

/// Codes of either size: most columns are within 32 bits of any value, which are twice as many in a vector, and compare
/// there on every machine.
trait Code: Copy + Ord + Into<u64> {
    /// Half of them are smaller.
    const HALF: Self;
    /// Whether no distance of codes to the base of a level is too far for one, and no code of its window too wide.
    fn suits(level: &Level) -> bool;
    /// Its low bits.
    fn of(code: u64) -> Self;
    fn signed(self) -> i64;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
}

impl Code for u32 {
    const HALF: u32 = 1 << 31;

    fn suits(level: &Level) -> bool {
        is_near(level.base) && level.width < u32::BITS
    }

    fn of(code: u64) -> u32 {
        code as u32
    }

    fn signed(self) -> i64 {
        i64::from(self as i32)
    }

    fn plus(self, other: u32) -> u32 {
        self.wrapping_add(other)
    }

    fn minus(self, other: u32) -> u32 {
        self.wrapping_sub(other)
    }
}

impl Code for u64 {
    const HALF: u64 = 1 << 63;

    fn suits(_: &Level) -> bool {
        true
    }

    fn of(code: u64) -> u64 {
        code
    }

    fn signed(self) -> i64 {
        self as i64
    }

    fn plus(self, other: u64) -> u64 {
        self.wrapping_add(other)
    }

    fn minus(self, other: u64) -> u64 {
        self.wrapping_sub(other)
    }
}

/// Codes whose places are found at once.
const PART: usize = 64;

/// Where among at most [`PART`] codes it holds, a bit each.
#[inline(always)]
fn bits_where<C: Code>(codes: &[C], holds: impl Fn(C) -> bool) -> u64 {
    // Bytes first, which become vectors; then the eight low bits of eight bytes at a time go to the top byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut flags = [0_u8; PART];
    flags.iter_mut().zip(codes).for_each(|(flag, &code)| *flag = u8::from(holds(code)));
    let eights = flags.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56);
    (0..).step_by(8).zip(eights).fold(0, |bits, (shift, eight)| bits | eight << shift)
}

impl Frame {
    /// Looks at the values.
    pub fn of(values: &[i64]) -> Frame {
        Frame::nested(values, 0)
    }

    /// Looks at the values; no exceptions.
    pub fn plain(values: &[i64]) -> Frame {
        Frame::nested(values, DEPTH_MAX)
    }

    fn nested(values: &[i64], depth: u32) -> Frame {
        let (base, largest) = bounds(values);
        let mut quotients: Vec<u64> = values.iter().map(|&value| value.wrapping_sub(base) as u64).collect();
        let scale = common_divisor(&quotients);
        if scale > 1 {
            let divisor = Divisor::new(scale);
            quotients.iter_mut().for_each(|quotient| *quotient = divisor.quotient(*quotient));
        }
        let range = largest.wrapping_sub(base) as u64 / scale;
        let plain = Window {
            kind: Kind::Plain,
            width: bit_length(range),
            start: 0,
            bits: quotients.len() * bit_length(range) as usize,
        };
        let window = if depth >= DEPTH_MAX || quotients.len() < WINDOW_COUNT_MIN || range == 0 {
            plain
        } else if range < COUNTED_RANGE as u64 {
            counted_window(&quotients, plain)
        } else if quotients.len() < MEASURED_COUNT_MIN {
            plain
        } else {
            measured_window(&quotients, plain)
        };
        Frame { base, scale, quotients, range, window }
    }

    /// What it will take, about.
    pub fn bytes(&self) -> usize {
        self.window.bits.div_ceil(8)
    }

    /// Appends it with codes as long as they are rare, if that is likely to save so many percent; whether it did.
    pub fn write_dense(&self, saves: usize, out: &mut Vec<u8>) -> bool {
        let Window { start, width, bits, .. } = self.window;
        let dense = Dense::of(&self.quotients, self.range, start, width);
        let Some(dense) = dense.filter(|dense| dense.bits * 100 <= bits * (100 - saves)) else { return false };
        self.write_head(KIND_DENSE, dense.low_bits, dense.start, out);
        let exceptions = dense.write(&self.quotients, out);
        if !exceptions.is_empty() {
            Frame::nested(&exceptions, 1).write_nested(1, out);
        }
        true
    }

    /// Appends it; how it was cut, if others can be cut so.
    pub fn write(self, out: &mut Vec<u8>) -> Option<Cut> {
        self.write_nested(0, out)
    }

    fn write_nested(mut self, depth: u32, out: &mut Vec<u8>) -> Option<Cut> {
        let Window { kind, width, start, .. } = self.window;
        let base = self.base.wrapping_add(start as i64);
        let cut = |share, exceptions| Cut { own: Level { base, kind, width, share }, exceptions };
        let has_cut = self.scale == 1;
        self.write_head(kind as u32, width, start, out);
        if kind == Kind::Plain {
            pack(&self.quotients, width, out);
            return has_cut.then(|| cut(0, None));
        }
        self.quotients.iter_mut().for_each(|quotient| *quotient = quotient.wrapping_sub(start));
        let code_max = code_max(kind, width);
        let places = places_where(&self.quotients, |code| code > code_max);
        let exceptions = take_exceptions(&mut self.quotients, &places, mark(kind, width));
        let nested = Frame::nested(&exceptions, depth + 1);
        let nested = if kind == Kind::Listed {
            varint::put(out, places.len() as u64);
            Frame::plain(&gaps(&places)).write(out);
            let nested = nested.write_nested(depth + 1, out);
            pack(&self.quotients, width, out);
            nested
        } else {
            pack(&self.quotients, width, out);
            nested.write_nested(depth + 1, out)
        };
        let share = (places.len() * SHARE_PARTS).div_ceil(self.quotients.len());
        has_cut.then(|| cut(share, nested.map(|nested| nested.own)))
    }

    fn write_head(&self, kind: u32, width: u32, start: u64, out: &mut Vec<u8>) {
        let base = self.base.wrapping_add(start.wrapping_mul(self.scale) as i64);
        put_head(kind, width, self.scale, base, out);
    }
}

fn put_head(kind: u32, width: u32, scale: u64, base: i64, out: &mut Vec<u8>) {
    out.push((width + KIND_STEP * kind) as u8);
    varint::put(out, scale);
    varint::put_signed(out, base);
}

/// The largest code that stands for a value.
fn code_max(kind: Kind, width: u32) -> u64 {
    match kind {
        Kind::Escaped => mask(width) - 1,
        Kind::Plain | Kind::Listed => mask(width),
    }
}

/// What stands for an exception among the codes.
fn mark(kind: Kind, width: u32) -> u64 {
    if kind == Kind::Escaped { mask(width) } else { 0 }
}

/// Bits of `values` in a frame of no exceptions.
pub fn plain_bits(values: &[i64]) -> usize {
    let (base, largest) = bounds(values);
    values.len() * bit_length(largest.wrapping_sub(base) as u64) as usize
}

/// The smallest and the largest, or across the end of the integers where all are near it; 0 of none.
fn bounds(values: &[i64]) -> (i64, i64) {
    let origin = values.first().copied().unwrap_or(0);
    if let Some(Near { min, max, .. }) = near(values) {
        return (origin.wrapping_add(i64::from(min)), origin.wrapping_add(i64::from(max)));
    }
    (values.iter().copied().min().unwrap_or(0), values.iter().copied().max().unwrap_or(0))
}

/// Puts `mark` in the place of each exception; answers the exceptions.
fn take_exceptions(codes: &mut [u64], places: &[u32], mark: u64) -> Vec<i64> {
    places.iter().map(|&place| std::mem::replace(&mut codes[place as usize], mark) as i64).collect()
}

fn places_where(codes: &[u64], holds: impl Fn(u64) -> bool) -> Vec<u32> {
    let mut places = vec![0; codes.len()];
    let mut count = 0;
    for (index, &code) in codes.iter().enumerate() {
        // Without a branch: which they are cannot be foretold.
        places[count] = index as u32;
        count += usize::from(holds(code));
    }
    places.truncate(count);
    places
}

/// How many codes are before each place, from the place before.
fn gaps(places: &[u32]) -> Vec<i64> {
    let ends = [0].into_iter().chain(places.iter().map(|place| place + 1));
    places.iter().zip(ends).map(|(place, end)| i64::from(place - end)).collect()
}

/// The best window when every quotient is below [`COUNTED_RANGE`].
fn counted_window(quotients: &[u64], plain: Window) -> Window {
    // Four tables, so that equal neighbours do not wait for each other.
    let mut tables = [[0_u32; COUNTED_RANGE]; 4];
    let (fours, rest) = quotients.as_chunks::<4>();
    for four in fours {
        for (table, &quotient) in tables.iter_mut().zip(four) {
            table[quotient as usize % COUNTED_RANGE] += 1;
        }
    }
    for &quotient in rest {
        tables[0][quotient as usize % COUNTED_RANGE] += 1;
    }
    // below[i]: how many quotients are less than i. Signed, since such maxima are vector instructions everywhere.
    let mut below = [0_i32; COUNTED_RANGE + 1];
    let mut commonest = 0;
    let range = 1 << plain.width;
    for index in 0..range {
        let count = tables.iter().map(|table| table[index]).sum::<u32>() as i32;
        below[index + 1] = below[index] + count;
        commonest = commonest.max(count);
    }
    let mut best = plain;
    for width in 0..plain.width {
        for (kind, codes) in [(Kind::Escaped, (1_usize << width) - 1), (Kind::Listed, 1 << width)] {
            let exceptions_min = quotients.len().saturating_sub(commonest as usize * codes);
            let bits_min = quotients.len() * width as usize + exceptions_min * plain.width as usize + NESTED_BITS;
            if codes == 0 || bits_min >= best.bits {
                continue;
            }
            let inside = || below[codes..=range].iter().zip(&below).map(|(end, start)| end - start);
            let covered = inside().max().unwrap_or(0);
            let candidate = better(best, quotients.len(), covered as usize, kind, width, plain.width, 0);
            if candidate.bits < best.bits {
                let start = inside().position(|count| count == covered).unwrap_or(0) as u64;
                best = Window { start, ..candidate };
            }
        }
    }
    best
}

/// A good window for longer ranges.
fn measured_window(quotients: &[u64], plain: Window) -> Window {
    let mut sampled = sample(quotients.len()).map(|index| quotients[index]).collect::<Vec<_>>();
    let half = sampled.len() / 2;
    let middle = *sampled.select_nth_unstable(half).1;
    let mut lengths = [[0_u32; 65]; 2];
    let step = quotients.len().div_ceil(MEASURED_COUNT);
    for &quotient in quotients.iter().step_by(step) {
        lengths[0][bit_length(quotient) as usize] += 1;
        lengths[1][bit_length(varint::zigzag(quotient.wrapping_sub(middle) as i64)) as usize] += 1;
    }
    let mut best = plain;
    let mut covered = [0_usize; 2];
    for width in 0..plain.width {
        let starts = [0, middle.wrapping_sub(mask(width).div_ceil(2))];
        for ((covered, lengths), start) in covered.iter_mut().zip(&lengths).zip(starts) {
            *covered = (*covered + lengths[width as usize] as usize * step).min(quotients.len());
            if width > 0 {
                // The last code marks an escape; its values have their share of the longest ones.
                let edge = (lengths[width as usize] as usize * step).div_ceil(1 << (width - 1)).min(*covered);
                best = better(best, quotients.len(), *covered - edge, Kind::Escaped, width, plain.width, start);
            }
            best = better(best, quotients.len(), *covered, Kind::Listed, width, plain.width, start);
        }
    }
    best
}

fn better(best: Window, count: usize, covered: usize, kind: Kind, width: u32, wide: u32, start: u64) -> Window {
    let exceptions = count - covered;
    let place_bits = match kind {
        Kind::Plain | Kind::Escaped => 0,
        Kind::Listed => exceptions * (bit_length((count / exceptions.max(1)) as u64) as usize + 1) + NESTED_BITS + 8,
    };
    let bits = count * width as usize + exceptions * wide as usize + NESTED_BITS + place_bits;
    if bits < best.bits { Window { kind, width, start, bits } } else { best }
}

/// The `count` values of a frame.
pub fn read(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    read_nested(reader, count, 0)
}

fn read_nested(reader: &mut Reader<'_>, count: usize, depth: u32) -> Option<Vec<i64>> {
    let kind = u32::from(reader.u8()?);
    let (kind, width) = (kind / KIND_STEP, kind % KIND_STEP);
    let scale = reader.varint()?;
    let base = reader.signed()?;
    if kind > 0 && depth >= DEPTH_MAX {
        return None;
    }
    let value = |code: u64| base.wrapping_add(code.wrapping_mul(scale) as i64);
    match kind {
        0 => Some(values(codes(reader, count, width)?, base, scale)),
        1 => {
            let codes = codes(reader, count, width)?;
            let places = places_where(&codes, |code| code == mask(width));
            let mut values = values(codes, base, scale);
            let exceptions = read_nested(reader, places.len(), depth + 1)?;
            for (&place, &exception) in places.iter().zip(&exceptions) {
                values[place as usize] = value(exception as u64);
            }
            Some(values)
        }
        2 => {
            let exception_count = usize::try_from(reader.varint()?).ok().filter(|&exceptions| exceptions <= count)?;
            let gaps = read_nested(reader, exception_count, DEPTH_MAX)?;
            let exceptions = read_nested(reader, exception_count, depth + 1)?;
            let mut values = values(codes(reader, count, width)?, base, scale);
            let mut next = 0_usize;
            for (&gap, &exception) in gaps.iter().zip(&exceptions) {
                let place = next.checked_add(usize::try_from(gap).ok()?)?;
                *values.get_mut(place)? = value(exception as u64);
                next = place + 1;
            }
            Some(values)
        }
        KIND_DENSE if width <= dense::LOW_BITS_MAX => {
            let (codes, places) = dense::read(reader, count, width)?;
            let mut values = values(codes, base, scale);
            if !places.is_empty() {
                let exceptions = read_nested(reader, places.len(), depth + 1)?;
                for (&place, &exception) in places.iter().zip(&exceptions) {
                    values[place as usize] = value(exception as u64);
                }
            }
            Some(values)
        }
        _ => None,
    }
}

/// Whether a frame is a dense one, by its first byte.
pub fn is_dense(kind: u8) -> bool {
    u32::from(kind) >= KIND_STEP * KIND_DENSE
}

fn codes(reader: &mut Reader<'_>, count: usize, width: u32) -> Option<Vec<u64>> {
    let bytes = reader.take(packed_bytes(count, width))?;
    let mut codes = vec![0; count];
    unpack(bytes, width, &mut codes);
    Some(codes)
}

fn values(codes: Vec<u64>, base: i64, scale: u64) -> Vec<i64> {
    // The common scale apart: a 64-bit product is no vector instruction everywhere.
    if scale == 1 {
        return codes.into_iter().map(|code| base.wrapping_add(code as i64)).collect();
    }
    codes.into_iter().map(|code| base.wrapping_add(code.wrapping_mul(scale) as i64)).collect()
}

/// Bits a value needs.
pub fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Division without remainder, by multiplication: a division takes longer than all else done with a value.
pub struct Divisor {
    shift: u32,
    inverse: u64,
    quotient_max: u64,
}

impl Divisor {
    pub fn new(divisor: u64) -> Divisor {
        let shift = divisor.trailing_zeros();
        let odd = divisor >> shift;
        // Newton: each round doubles the bits that are right, from three.
        let inverse =
            (0..5).fold(odd, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse))));
        Divisor { shift, inverse, quotient_max: u64::MAX / divisor }
    }

    /// `value` over the divisor, which divides it.
    pub fn quotient(&self, value: u64) -> u64 {
        (value >> self.shift).wrapping_mul(self.inverse)
    }

    fn divides(&self, value: u64) -> bool {
        value & ((1 << self.shift) - 1) == 0 && self.quotient(value) <= self.quotient_max
    }
}

/// The greatest common divisor; 1 when all are 0.
pub fn common_divisor(values: &[u64]) -> u64 {
    // The first few settle it for most columns, often without a division.
    if values.iter().take(16).any(|&value| value == 1) {
        return 1;
    }
    let mut divisor = 0;
    let mut rest = values.iter();
    for &value in rest.by_ref().take(8) {
        divisor = greatest_common_divisor(value, divisor);
        if divisor == 1 {
            return 1;
        }
    }
    let mut test = Divisor::new(divisor.max(1));
    for &value in rest {
        if divisor == 1 {
            break;
        }
        if divisor == 0 || !test.divides(value) {
            divisor = greatest_common_divisor(value, divisor);
            test = Divisor::new(divisor.max(1));
        }
    }
    divisor.max(1)
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}
