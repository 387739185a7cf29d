//! Codes of a frame by how often they come: for cold data, where they take a good deal less room so.
//!
//! ```text
//! head u8 = symbols - 1, and 128 if the last one says "exception" | symbols: see ans.rs | low bits, packed
//! ```
//!
//! A code is its symbol, or where codes are many its symbol followed by some low bits that are as good as random.

use crate::segment::codec::ans;
use crate::segment::codec::ans::Model;
use crate::segment::codec::pack::mask;
use crate::segment::codec::pack::pack;
use crate::segment::codec::pack::packed_bytes;
use crate::segment::codec::pack::unpack;
use crate::stdx::varint::Reader;

/// Codes that differ in a symbol: bits of the widest window, without its low ones.
const SYMBOL_BITS: u32 = 5;
const SYMBOLS: usize = 1 << SYMBOL_BITS;
const _: () = assert!(SYMBOLS < ans::SYMBOLS_MAX);
const EXCEPTION_FLAG: u8 = 128;
/// Frames of fewer codes are left as they are.
pub const COUNT_MIN: usize = 32;
/// The widest window and low bits, far from what wraps.
pub const LOW_BITS_MAX: u32 = 48;

/// How to write the codes of a frame.
#[derive(Clone, Debug)]
pub struct Dense {
    /// The smallest quotient with a symbol.
    pub start: u64,
    /// Low bits of a code.
    pub low_bits: u32,
    /// What all will take, about: each exception as much as the whole range.
    pub bits: usize,
    exception_count: usize,
    symbol_count: usize,
    model: Model,
}

impl Dense {
    /// Looks at quotients up to `range`, most of which are `width` bits above `start`; `None` for those that are too
    /// long.
    pub fn of(quotients: &[u64], range: u64, start: u64, width: u32) -> Option<Dense> {
        if quotients.len() < COUNT_MIN || width > LOW_BITS_MAX {
            return None;
        }
        let size = 1_u64 << width;
        // A window may begin below the smallest.
        let start = if start > range { 0 } else { start };
        // Most are in the window, but not all: what lies round it, near or far, has symbols too.
        let sides = [size / 2, size * 3 / 2].into_iter();
        let all = sides.filter_map(|side| {
            let first = start.saturating_sub(side);
            Dense::between(quotients, range, first, range.min(first.saturating_add(size + 2 * side - 1)))
        });
        all.min_by_key(|dense| dense.bits)
    }

    /// Symbols for what is between `first` and `last`.
    fn between(quotients: &[u64], range: u64, first: u64, last: u64) -> Option<Dense> {
        let low_bits = (u64::BITS - (last - first).leading_zeros()).saturating_sub(SYMBOL_BITS);
        let counts = counts(quotients, first, low_bits);
        let (mut symbols, exceptions) = (&counts[..SYMBOLS], counts[SYMBOLS]);
        let skipped = symbols.iter().position(|&count| count > 0)?;
        symbols = &symbols[skipped..];
        let symbol_count = symbols.iter().rposition(|&count| count > 0)? + 1;
        let mut counts = symbols[..symbol_count].to_vec();
        counts.extend((exceptions > 0).then_some(exceptions));
        let model = Model::of(&counts);
        Some(Dense {
            start: first + ((skipped as u64) << low_bits),
            low_bits,
            bits: 8
                + model.bits(&counts)
                + quotients.len() * low_bits as usize
                + exceptions as usize * (u64::BITS - range.leading_zeros()) as usize,
            exception_count: exceptions as usize,
            symbol_count,
            model,
        })
    }

    /// Appends the codes; answers the exceptions, each as far from the start as it is.
    pub fn write(&self, quotients: &[u64], out: &mut Vec<u8>) -> Vec<i64> {
        let mut exceptions = Vec::with_capacity(self.exception_count);
        let mut symbols = Vec::with_capacity(quotients.len());
        for quotient in quotients {
            let code = quotient.wrapping_sub(self.start);
            let symbol = (code >> self.low_bits).min(self.symbol_count as u64);
            symbols.push(symbol as u8);
            if symbol == self.symbol_count as u64 {
                exceptions.push(code as i64);
            }
        }
        let has_exceptions = !exceptions.is_empty();
        let last = self.symbol_count - 1 + usize::from(has_exceptions);
        out.push(last as u8 | if has_exceptions { EXCEPTION_FLAG } else { 0 });
        self.model.write(&symbols, out);
        let low = mask(self.low_bits);
        let low: Vec<u64> = quotients.iter().map(|quotient| quotient.wrapping_sub(self.start) & low).collect();
        pack(&low, self.low_bits, out);
        exceptions
    }
}

/// How often each symbol comes, and last how many quotients have none.
fn counts(quotients: &[u64], first: u64, low_bits: u32) -> [u32; SYMBOLS + 1] {
    // Two tables, so that equal neighbours do not wait for each other.
    let mut tables = [[0; SYMBOLS + 1]; 2];
    let symbol = |quotient: u64| (quotient.wrapping_sub(first) >> low_bits).min(SYMBOLS as u64) as usize;
    let (pairs, rest) = quotients.as_chunks::<2>();
    for pair in pairs {
        tables[0][symbol(pair[0])] += 1;
        tables[1][symbol(pair[1])] += 1;
    }
    rest.iter().for_each(|&quotient| tables[0][symbol(quotient)] += 1);
    std::array::from_fn(|symbol| tables[0][symbol] + tables[1][symbol])
}

/// The `count` codes, and the places of the exceptions among them.
pub fn read(reader: &mut Reader<'_>, count: usize, low_bits: u32) -> Option<(Vec<u64>, Vec<u32>)> {
    let head = reader.u8()?;
    let last = head & !EXCEPTION_FLAG;
    let symbols = ans::read(reader, usize::from(last) + 1, count)?;
    let mut places = Vec::new();
    if head & EXCEPTION_FLAG != 0 {
        let is_exception = |(place, &symbol): (usize, &u8)| (symbol == last).then_some(place as u32);
        places.extend(symbols.iter().enumerate().filter_map(is_exception));
    }
    let mut codes = vec![0; count];
    unpack(reader.take(packed_bytes(count, low_bits))?, low_bits, &mut codes);
    codes.iter_mut().zip(symbols).for_each(|(code, symbol)| *code |= u64::from(symbol) << low_bits);
    Some((codes, places))
}
