//! The fast parser: lines of the plain shape from the index, every other line to the reference.
//!
//! A line is plain when it starts at its first byte, has no backslash, one space before the fields, at most one behind
//! them, quotes only around whole string values, and numbers of at most 19 digits without an exponent. Whatever is not
//! plain, wrong lines included, goes to the reference, so that meaning and texts have one source.

use crate::line::Field;
use crate::line::Options;
use crate::line::Point;
use crate::line::Sink;
use crate::line::number;
use crate::line::reference;
use crate::line::reference::Reference;
use crate::line::simd::CHUNK_BYTES;
use crate::line::simd::Index;
use crate::line::simd::Tier;
use crate::line::template::Memory;
use crate::model::FieldValue;
use crate::model::Timestamp;

/// Text indexed for one line after lines that were recalled.
const PROBE_BYTES: usize = 2 << 10;

/// Turns windows of a body into points. Made once for each core and kept: it learns, and its buffers are reused.
#[derive(Debug)]
pub struct Parser {
    options: Options,
    reference: Reference,
    index: Index,
    memory: Memory,
    is_learning: bool,
    fields: Vec<Field<'static>>,
}

/// A plain line that was read; its fields are in the caller's vector.
struct Plain {
    key_end: usize,
    line_end: usize,
    time: Timestamp,
}

impl Parser {
    /// A parser for requests with these options.
    pub fn new(options: Options) -> Parser {
        Parser::with_tier(options, Tier::best())
    }

    /// A parser that indexes with `tier` if the machine has it: for comparing tiers.
    pub fn with_tier(options: Options, tier: Tier) -> Parser {
        Parser {
            options,
            reference: Reference::default(),
            index: Index::new(tier),
            memory: Memory::default(),
            is_learning: true,
            fields: Vec::new(),
        }
    }

    /// A parser that forgets what it learned before it would know more than `keys_max` series: for tests.
    #[cfg(test)]
    fn with_keys_max(options: Options, keys_max: usize) -> Parser {
        Parser { memory: Memory::with_keys_max(keys_max), ..Parser::new(options) }
    }

    /// Stops or goes on remembering series. Without it no point has a slot.
    pub fn set_learning(&mut self, is_learning: bool) {
        self.is_learning = is_learning;
        if !is_learning {
            self.memory = Memory::default();
        }
    }

    /// How often all slots became void, see [`Sink::forget_slots`]: for caches that outlive the sink.
    pub fn slot_resets(&self) -> u64 {
        self.memory.resets()
    }

    /// Changes to the next request's options; what was learned stays.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// Parses the whole lines of `window`, and what is left of it when it is the `last` of the body; returns the bytes
    /// consumed. What is not consumed must start the next window, with more behind it. A window from which nothing is
    /// consumed holds a line longer than itself: the caller doubles it (so that the time stays linear) or gives up.
    pub fn parse(&mut self, window: &[u8], last: bool, sink: &mut impl Sink) -> usize {
        let mut fields = reference::recycle(std::mem::take(&mut self.fields));
        let consumed = self.parse_lines(window, last, &mut fields, sink);
        self.fields = reference::recycle(fields);
        consumed
    }

    fn parse_lines<'w>(
        &mut self,
        window: &'w [u8],
        last: bool,
        fields: &mut Vec<Field<'w>>,
        sink: &mut impl Sink,
    ) -> usize {
        let default_time = self.options.default_time();
        let mut place = Place::default();
        let mut at = 0;
        while at < window.len() {
            if let Some(line_bytes) = self.recall_line(&window[at..], default_time, fields, sink) {
                at += line_bytes + 1;
                continue;
            }
            if at >= place.end {
                // Rare misses must not index what will be recalled; a run of them shall not index piecemeal.
                place.refill(&mut self.index, window, at, if at == place.end { CHUNK_BYTES } else { PROBE_BYTES });
            }
            match self.index_line(window, &mut place, at, default_time, fields, sink) {
                Ok(line_end) => at = line_end + 1,
                Err(Cause::ChunkEnds)
                    if at > place.start || place.end - place.start < CHUNK_BYTES.min(window.len() - at) =>
                {
                    // The line may go on behind the chunk: look at it again as the first of the next.
                    place.refill(&mut self.index, window, at, CHUNK_BYTES);
                }
                Err(_) => {
                    let Some(end) = reference::line_end(window, at, last) else { return at };
                    self.reference.parse_block(&self.options, &window[at..end], sink);
                    at = end + 1;
                }
            }
        }
        // The last line may end without a line feed.
        at.min(window.len())
    }

    /// Reports the line that `text` starts with if it is as foreseen; returns its length.
    #[inline(always)]
    fn recall_line<'w>(
        &mut self,
        text: &'w [u8],
        default_time: Timestamp,
        fields: &mut Vec<Field<'w>>,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        let recalled = self.memory.recall(text, fields)?;
        let time = match recalled.units {
            Some(units) => reference::scale_time(units, self.options.precision_ns)?,
            None => default_time,
        };
        sink.point(&Point {
            line: &text[..recalled.line_bytes],
            raw_key: &text[..recalled.key_bytes],
            fields,
            time,
            slot: Some(recalled.slot),
            names: Some(recalled.names),
        });
        Some(recalled.line_bytes)
    }

    /// Reports the line at `at` if it is plain, and learns it; returns where it ends.
    #[inline]
    fn index_line<'w>(
        &mut self,
        window: &'w [u8],
        place: &mut Place,
        at: usize,
        default_time: Timestamp,
        fields: &mut Vec<Field<'w>>,
        sink: &mut impl Sink,
    ) -> Result<usize, Cause> {
        let chunk = &window[place.start..place.end];
        let offsets = self.index.offsets();
        place.advance(offsets, at);
        let mut cursor = Cursor { chunk, offsets, next: place.next };
        let line = PlainLine { start: at - place.start, options: &self.options, default_time };
        let Some(plain) = line.read(&mut cursor, fields) else {
            return Err(if cursor.is_at_end() { Cause::ChunkEnds } else { Cause::Odd });
        };
        (place.next, place.next_from) = (cursor.next, place.start + plain.line_end + 1);
        let raw_key = &chunk[line.start..plain.key_end];
        let slot = if self.is_learning { self.memory.learn(raw_key, fields, || sink.forget_slots()) } else { None };
        let line = &chunk[line.start..plain.line_end];
        sink.point(&Point { line, raw_key, fields, time: plain.time, slot, names: None });
        Ok(place.start + plain.line_end)
    }
}

/// Why a line could not be read from the index.
enum Cause {
    /// It is not plain.
    Odd,
    /// The chunk ends first, perhaps.
    ChunkEnds,
}

/// The chunk that is indexed, and how far its offsets are used up.
#[derive(Default)]
struct Place {
    start: usize,
    end: usize,
    next: usize,
    /// Position in the window that `next` belongs to.
    next_from: usize,
}

impl Place {
    fn refill(&mut self, index: &mut Index, window: &[u8], at: usize, bytes: usize) {
        let end = window.len().min(at + bytes);
        index.fill(&window[at..end]);
        *self = Place { start: at, end, next: 0, next_from: at };
    }

    /// Skips the offsets of lines that were read in another way.
    #[inline]
    fn advance(&mut self, offsets: &[u16], at: usize) {
        if at != self.next_from {
            let start = self.start;
            self.next += offsets[self.next..].partition_point(|&offset| start + usize::from(offset) < at);
            self.next_from = at;
        }
    }
}

/// Walks over the structural bytes of a chunk.
struct Cursor<'c, 'w> {
    chunk: &'w [u8],
    offsets: &'c [u16],
    next: usize,
}

impl Cursor<'_, '_> {
    /// The next structural byte and where it stands.
    #[inline(always)]
    fn step(&mut self) -> Option<(usize, u8)> {
        let at = usize::from(*self.offsets.get(self.next)?);
        self.next += 1;
        Some((at, *self.chunk.get(at)?))
    }

    fn is_at_end(&self) -> bool {
        self.next >= self.offsets.len()
    }
}

struct PlainLine<'o> {
    start: usize,
    options: &'o Options,
    default_time: Timestamp,
}

impl PlainLine<'_> {
    /// Reads the line if it is plain and ends in this chunk, with the cursor at its first structural byte.
    #[inline]
    fn read<'w>(&self, cursor: &mut Cursor<'_, 'w>, fields: &mut Vec<Field<'w>>) -> Option<Plain> {
        let key_end = self.key(cursor)?;
        fields.clear();
        let mut name_start = key_end + 1;
        // Stock skips blanks before the first field; a name may start with them elsewhere.
        if matches!(cursor.chunk.get(name_start), Some(b'\t' | 0)) {
            return None;
        }
        loop {
            let (name_end, b'=') = cursor.step()? else { return None };
            let name = cursor.chunk.get(name_start..name_end).filter(|name| !name.is_empty())?;
            let (end, delimiter) = push_value(cursor, name, name_end + 1, fields)?;
            match delimiter {
                b',' => name_start = end + 1,
                b' ' => return self.timed(cursor, key_end, end + 1),
                _ => return Some(Plain { key_end, line_end: end, time: self.default_time }),
            }
        }
    }

    /// Checks measurement and tags; returns where the space behind them stands.
    #[inline]
    fn key(&self, cursor: &mut Cursor<'_, '_>) -> Option<usize> {
        if matches!(cursor.chunk.get(self.start), None | Some(b'\t' | 0 | b'#')) {
            return None;
        }
        let (mut end, mut byte) = cursor.step()?;
        if end == self.start {
            return None;
        }
        while byte == b',' {
            let (key_end, b'=') = cursor.step()? else { return None };
            let (value_end, delimiter) = cursor.step()?;
            if key_end == end + 1 || value_end == key_end + 1 {
                return None;
            }
            (end, byte) = (value_end, delimiter);
        }
        (byte == b' ').then_some(end)
    }

    #[inline]
    fn timed(&self, cursor: &mut Cursor<'_, '_>, key_end: usize, start: usize) -> Option<Plain> {
        let (line_end, b'\n') = cursor.step()? else { return None };
        let units = plain_units(cursor.chunk.get(start..)?, line_end - start)?;
        let time = reference::scale_time(units, self.options.precision_ns)?;
        Some(Plain { key_end, line_end, time })
    }
}

/// Adds the value that starts at `start`; returns where it ends and the byte that ends it: comma, space or line feed.
#[inline(always)]
fn push_value<'w>(
    cursor: &mut Cursor<'_, 'w>,
    name: &'w [u8],
    start: usize,
    fields: &mut Vec<Field<'w>>,
) -> Option<(usize, u8)> {
    let (mut end, mut byte) = cursor.step()?;
    let text = cursor.chunk.get(start..)?;
    if matches!(text.first(), Some(b'0'..=b'9' | b'-' | b'.')) {
        push_number(name, text, end - start, fields)?;
    } else if byte != b'"' {
        let value = FieldValue::Boolean(reference::boolean(text.get(..end - start)?)?);
        fields.push(Field { name, value });
    } else {
        let close = string_end(cursor)?;
        let opened = end;
        (end, byte) = cursor.step()?;
        if opened != start || end != close + 1 {
            return None;
        }
        fields.push(Field { name, value: FieldValue::String(cursor.chunk.get(start + 1..close)?) });
    }
    matches!(byte, b',' | b' ' | b'\n').then_some((end, byte))
}

/// Where the quote that closes a string stands; `None` if the string has a backslash or no end.
#[inline]
fn string_end(cursor: &mut Cursor<'_, '_>) -> Option<usize> {
    loop {
        match cursor.step()? {
            (at, b'"') => return Some(at),
            (_, b'\\') => return None,
            _ => {}
        }
    }
}

/// The time that is the first `length` bytes of `text`.
#[inline(always)]
fn plain_units(text: &[u8], length: usize) -> Option<i64> {
    match number::leading_integer(text) {
        Some((negative, digits)) if usize::from(negative) + digits.count == length => digits.signed(negative),
        _ => number::plain_integer(text.get(..length)?),
    }
}

/// Adds the plain number that is the first `length` bytes of `text`.
#[inline(always)]
fn push_number<'w>(name: &'w [u8], text: &[u8], length: usize, fields: &mut Vec<Field<'w>>) -> Option<()> {
    // The bytes behind the number let it be loaded whole; at the end of a chunk there are none.
    match number::leading_number(text) {
        Some(number) if number.bytes == length => number.push(name, fields),
        Some(_) => return None,
        None => fields.push(Field { name, value: plain_number(text.get(..length)?)? }),
    }
    Some(())
}

#[cold]
fn plain_number<'w>(text: &[u8]) -> Option<FieldValue<'w>> {
    match text {
        [digits @ .., b'i'] => number::plain_integer(digits).map(FieldValue::Integer),
        _ => number::plain_float(text).map(FieldValue::Float),
    }
}

#[cfg(test)]
mod tests;
