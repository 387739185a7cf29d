//! Symbols of a small alphabet, each in as many bits as it is rare: a tabled asymmetric numeral system (tANS).
//!
//! ```text
//! weights, 4 bits each, low first | state u8, state u8 | bits, low first, padded to a byte
//! ```
//!
//! A state is one of 256 slots. Each symbol owns a share of the slots, by its weight, spread over all of them; the
//! slots of a symbol that has `f` are numbered `x` = f to 2f - 1 in their order. Slot `x` of a symbol stands for those
//! 256 + s whose leading bits are `x`, of all states s. So a decoder that is in a slot knows the symbol, reads the bits
//! that `x` lacks to the nine of 256 + s, and goes on to slot s. Two states take turns, so that one is looked up while
//! the other waits; the last symbol of each reads nothing.
//!
//! The encoder goes from the last symbol to the first: to have symbol `a` before state s it emits the low bits of
//! 256 + s that leave a number of a slot of `a`.

use crate::stdx::varint::Reader;

/// Most symbols of an alphabet.
pub const SYMBOLS_MAX: usize = 64;

const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
/// From one slot of a symbol to the next; odd, so that all slots are met, and no simple fraction of them.
const STRIDE: usize = 163;
/// What four bits say. Steps of a third or a half: what rounding loses is about a hundredth of a bit a symbol.
const WEIGHTS: [u16; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];
const WEIGHT_MAX: u64 = WEIGHTS[WEIGHTS.len() - 1] as u64;
const STATES: usize = 2;
/// Symbols that take one read of eight bytes, of which seven bits may be used up before.
const SYMBOLS_A_READ: usize = 4;
const _: () = assert!(SYMBOLS_A_READ * SLOT_BITS as usize + 7 <= 64);

/// How many slots each symbol has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Index into [`WEIGHTS`], of each symbol.
    levels: Vec<u8>,
    shares: [u16; SYMBOLS_MAX],
}

impl Model {
    /// Fits how often each symbol comes; some symbol comes, and there are at most [`SYMBOLS_MAX`].
    pub fn of(counts: &[u32]) -> Model {
        let largest = u64::from(counts.iter().copied().max().unwrap_or(0));
        let level = |&count: &u32| {
            // The nearest by ratio; what comes has a slot.
            let square = (u64::from(count) * WEIGHT_MAX).pow(2);
            let is_below = |pair: &[u16]| u64::from(pair[0]) * u64::from(pair[1]) * largest * largest <= square;
            let above = WEIGHTS[1..].windows(2).take_while(|pair| is_below(pair)).count();
            if count == 0 { 0 } else { above as u8 + 1 }
        };
        Model::of_levels(counts.iter().map(level).collect()).expect("some symbol comes")
    }

    /// `None` when no symbol has a weight, or there are too many symbols.
    fn of_levels(levels: Vec<u8>) -> Option<Model> {
        let weight = |level: &u8| usize::from(WEIGHTS[usize::from(level & 15)]);
        let total: usize = levels.iter().map(weight).sum();
        if total == 0 || levels.len() > SYMBOLS_MAX {
            return None;
        }
        let mut shares = [0; SYMBOLS_MAX];
        for (share, level) in shares.iter_mut().zip(&levels) {
            let weight = weight(level);
            *share = (weight * SLOTS / total).max(usize::from(weight > 0)) as u16;
        }
        // What rounding left over goes to the largest, and what it took too much comes from there.
        let largest = |shares: &[u16; SYMBOLS_MAX]| (0..SYMBOLS_MAX).max_by_key(|&symbol| shares[symbol]).unwrap_or(0);
        let given = |shares: &[u16; SYMBOLS_MAX]| shares.iter().map(|&share| usize::from(share)).sum::<usize>();
        while given(&shares) > SLOTS {
            shares[largest(&shares)] -= 1;
        }
        shares[largest(&shares)] += (SLOTS - given(&shares)) as u16;
        Some(Model { levels, shares })
    }

    /// What symbols that come so often take, head included.
    pub fn bits(&self, counts: &[u32]) -> usize {
        let bits = counts.iter().zip(&self.shares).filter(|(count, _)| **count > 0);
        let bits = bits.map(|(&count, &share)| f64::from(count) * (SLOT_BITS as f64 - f64::from(share).log2()));
        bits.sum::<f64>() as usize + self.levels.len() * 4 + STATES * 8
    }

    /// The symbol of each slot.
    fn spread(&self) -> [u8; SLOTS] {
        let mut symbols = [0; SLOTS];
        let mut slot = 0;
        for (symbol, &share) in self.shares.iter().enumerate() {
            for _ in 0..share {
                symbols[slot % SLOTS] = symbol as u8;
                slot += STRIDE;
            }
        }
        symbols
    }

    /// Appends `symbols`, all of which have a share.
    pub fn write(&self, symbols: &[u8], out: &mut Vec<u8>) {
        out.extend(self.levels.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4));
        // The slots of each symbol, by their number, from `starts` on.
        let mut starts = [0_u16; SYMBOLS_MAX];
        for symbol in 1..SYMBOLS_MAX {
            starts[symbol] = starts[symbol - 1] + self.shares[symbol - 1];
        }
        let (mut slots, mut next) = ([0_u8; SLOTS], starts);
        for (slot, &symbol) in self.spread().iter().enumerate() {
            let next = &mut next[usize::from(symbol)];
            slots[usize::from(*next)] = slot as u8;
            *next += 1;
        }
        let mut states = [0_u8; STATES];
        // Length and bits of each step, last first.
        let mut steps = Vec::with_capacity(symbols.len());
        for (index, &symbol) in symbols.iter().enumerate().rev() {
            let (share, start) = (self.shares[usize::from(symbol)], starts[usize::from(symbol)]);
            let state = &mut states[index % STATES];
            if index + STATES >= symbols.len() {
                *state = slots[usize::from(start)];
                continue;
            }
            let whole = SLOTS as u16 + u16::from(*state);
            let mut length = whole.ilog2() - share.ilog2();
            length -= u32::from(whole >> length < share);
            steps.push((length as u8, (whole & ((1 << length) - 1)) as u8));
            *state = slots[usize::from(start + (whole >> length) - share)];
        }
        out.extend_from_slice(&states);
        let (mut word, mut filled) = (0_u64, 0);
        for &(length, bits) in steps.iter().rev() {
            word |= u64::from(bits) << filled;
            filled += u32::from(length);
            if filled >= 32 {
                out.extend_from_slice(&(word as u32).to_le_bytes());
                (word, filled) = (word >> 32, filled - 32);
            }
        }
        out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
    }
}

/// What a decoder does in a slot; four bytes, so that it is one load.
#[derive(Clone, Copy, Default)]
#[repr(align(4))]
struct Step {
    symbol: u8,
    bits: u8,
    /// Where it goes on, plus the bits it reads.
    next: u8,
}

/// The `count` symbols of an alphabet of `symbol_count`.
pub fn read(reader: &mut Reader<'_>, symbol_count: usize, count: usize) -> Option<Vec<u8>> {
    let levels = reader.take(symbol_count.div_ceil(2))?;
    let levels = levels.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(symbol_count).collect();
    let steps = steps(&Model::of_levels(levels)?);
    let states = [reader.u8()?, reader.u8()?];
    let mut symbols = vec![0; count];
    // A symbol takes at most a byte; behind the end any word can be read.
    let rest = reader.rest();
    let mut bytes = rest[..rest.len().min(count)].to_vec();
    bytes.extend_from_slice(&[0; 8]);
    let bits = decode(&steps, states, &bytes, &mut symbols)?;
    reader.take(bits.div_ceil(8))?;
    Some(symbols)
}

fn steps(model: &Model) -> [Step; SLOTS] {
    let mut numbers = model.shares;
    let mut steps = [Step::default(); SLOTS];
    for (step, symbol) in steps.iter_mut().zip(model.spread()) {
        let number = &mut numbers[usize::from(symbol) % SYMBOLS_MAX];
        let bits = SLOT_BITS - number.ilog2();
        *step = Step { symbol, bits: bits as u8, next: (*number << bits) as u8 };
        *number += 1;
    }
    steps
}

/// Fills `symbols`; answers how many bits of `bytes` that took.
fn decode(steps: &[Step; SLOTS], states: [u8; STATES], bytes: &[u8], symbols: &mut [u8]) -> Option<usize> {
    let mut current = states.map(|state| steps[usize::from(state)]);
    let (first, others) = symbols.split_at_mut(symbols.len().min(STATES));
    first.iter_mut().zip(&current).for_each(|(symbol, step)| *symbol = step.symbol);
    let mut bit = 0;
    for symbols in others.chunks_mut(SYMBOLS_A_READ) {
        let word = bytes.get(bit / 8..)?.first_chunk::<8>()?;
        let mut word = u64::from_le_bytes(*word) >> (bit % 8);
        for (index, symbol) in symbols.iter_mut().enumerate() {
            let step = &mut current[index % STATES];
            let bits = u32::from(step.bits);
            let state = step.next.wrapping_add((word & ((1 << bits) - 1)) as u8);
            word >>= bits;
            bit += bits as usize;
            *step = steps[usize::from(state)];
            *symbol = step.symbol;
        }
    }
    Some(bit)
}
