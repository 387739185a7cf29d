//! Lines that look as they did last time: collectors send the same series with the same fields in the same order.
//!
//! Owns:  raw keys met on plain lines, numbered by [`KeySlot`]; for each the key that followed it last, and its layout.
//!        A few are kept at first sight, more of them only when they come back.
//! In:    plain lines that the index parser read ([`Memory::learn`]).
//! Out:   the same reading of a line without looking for its structure ([`Memory::recall`]).
//!
//! ```text
//! key of the line before ──follower──► cpu,host=b,region=x usage_user=58i,usage_system=2i 1451606400000000000
//!                                      compared whole     └ piece ┘ number └── piece ──┘ number   number
//! ```
//!
//! Recalling compares the key in one go and then alternates pieces of the layout with values, so the 200 bytes that
//! repeat are neither searched nor hashed. Anything unexpected is a miss, and the index parser reads the line.

use std::hash::BuildHasher;
use std::hash::RandomState;

use hashbrown::HashTable;
use rapidhash::v3::RapidSecrets;
use rapidhash::v3::rapidhash_v3_seeded;

use crate::line::Field;
use crate::line::KeySlot;
use crate::line::NamesSlot;
use crate::line::number;
use crate::line::reference;
use crate::model::FieldValue;
use crate::stdx::spread::spread;

/// Keys remembered; then all are forgotten. A million series between two resets make learning cheap on average.
const KEYS_MAX: usize = 1 << 20;
/// Bytes of keys remembered; about 60 for each. Reserved whole once they are more than a little: memory that is not
/// touched costs nothing, and a growing vector would be copied, all of it, while a request waits.
const KEY_BYTES_MAX: usize = 64 << 20;
const KEY_BYTES_FEW: usize = 1 << 20;
/// Keys that filled the memory without being recalled come in no order, or are more than there is room for. Only a few
/// are remembered then, and all the room is tried again every so many times.
const UNUSED_RESETS: u32 = 64;
/// Longer keys are not worth their room.
const KEY_BYTES_EACH_MAX: usize = 4 << 10;
/// Field layouts remembered; a collector has some dozen. Their number fits 16 bits.
const LAYOUTS_MAX: usize = 1 << 12;
/// Bytes of a piece compared in one go.
const HEAD_BYTES: usize = 16;
/// Fields of a layout; lines with more are left to the index.
const LAYOUT_FIELDS_MAX: usize = 256;

const _: () = assert!(KEY_BYTES_MAX <= u32::MAX as usize && KEY_BYTES_EACH_MAX <= u16::MAX as usize);
const _: () = assert!(KEYS_MAX <= u32::MAX as usize && LAYOUTS_MAX <= u16::MAX as usize);

/// What a parser remembers.
#[derive(Debug)]
pub struct Memory {
    keys_max: usize,
    /// Differ from process to process, so that no client can choose keys that collide.
    secrets: RapidSecrets,
    keys: Vec<Key>,
    key_bytes: Vec<u8>,
    by_key: HashTable<u32>,
    layouts: Vec<Layout>,
    by_names: HashTable<u16>,
    previous: Option<u32>,
    key_bytes_max: usize,
    once: Once,
    /// Lines since the last reset.
    recalled: u64,
    resets: u64,
    /// How many of the last resets forgot keys that had not been used.
    unused_resets: u32,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    /// Half of it, so that a table that grows reads no key.
    hash: u32,
    start: u32,
    length: u16,
    layout: u16,
    /// Slot of the key that came after this one last time; itself at first.
    follower: u32,
}

#[derive(Debug)]
struct Layout {
    pieces: Box<[Piece]>,
}

/// `,name=` or, for the first field, ` name=`.
#[derive(Debug)]
struct Piece {
    text: Box<[u8]>,
    /// The first 16 bytes and which of them count, so that most pieces are one load and one comparison.
    head: u128,
    head_mask: u128,
}

/// A line as recalled or read: the places of its parts, counted from where the line starts.
#[derive(Clone, Copy, Debug)]
pub struct Recalled {
    /// Whose key it is.
    pub slot: KeySlot,
    /// Which names its fields have.
    pub names: NamesSlot,
    /// Bytes of the key.
    pub key_bytes: usize,
    /// Bytes before the line feed.
    pub line_bytes: usize,
    /// The time as sent, if any.
    pub units: Option<i64>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::with_keys_max(KEYS_MAX)
    }
}

impl Memory {
    /// An empty memory that forgets everything before it would hold more than `keys_max` keys.
    pub fn with_keys_max(keys_max: usize) -> Memory {
        Memory {
            keys_max,
            secrets: RapidSecrets::seed(RandomState::new().hash_one(0)),
            keys: Vec::new(),
            key_bytes: Vec::new(),
            by_key: HashTable::new(),
            layouts: Vec::new(),
            by_names: HashTable::new(),
            previous: None,
            key_bytes_max: KEY_BYTES_MAX,
            once: Once::default(),
            recalled: 0,
            resets: 0,
            unused_resets: 0,
        }
    }

    /// How often everything was forgotten.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Reads the first line of `text`, if it is what came here last time but for its values.
    #[inline]
    pub fn recall<'w>(&mut self, text: &'w [u8], fields: &mut Vec<Field<'w>>) -> Option<Recalled> {
        let slot = self.keys.get(self.previous? as usize)?.follower;
        let key = self.keys.get(slot as usize)?;
        let key_bytes = usize::from(key.length);
        if text.get(..key_bytes)? != self.raw(key) {
            return None;
        }
        fields.clear();
        let mut at = key_bytes;
        for piece in &self.layouts.get(usize::from(key.layout))?.pieces {
            let rest = text.get(at..)?;
            if !piece.starts(rest) {
                return None;
            }
            let name = rest.get(1..piece.text.len() - 1)?;
            at += piece.text.len() + push_value(name, rest.get(piece.text.len()..)?, fields)?;
        }
        let units = match text.get(at)? {
            b' ' => {
                let (negative, digits) = number::leading_integer(text.get(at + 1..)?)?;
                at += 1 + usize::from(negative) + digits.count;
                Some(digits.signed(negative)?)
            }
            _ => None,
        };
        if text.get(at) != Some(&b'\n') {
            return None;
        }
        let names = NamesSlot(key.layout);
        self.previous = Some(slot);
        self.recalled += 1;
        Some(Recalled { slot: KeySlot(slot), names, key_bytes, line_bytes: at, units })
    }

    /// Remembers a plain line; `forget` is called if that makes all slots void.
    pub fn learn(&mut self, raw_key: &[u8], fields: &[Field<'_>], forget: impl FnOnce()) -> Option<KeySlot> {
        if raw_key.len() > KEY_BYTES_EACH_MAX || fields.len() > LAYOUT_FIELDS_MAX {
            return None;
        }
        let hash = rapidhash_v3_seeded(raw_key, &self.secrets);
        let known = self.find(hash, raw_key);
        let key_bytes = self.key_bytes.len() + raw_key.len();
        if known.is_none() && key_bytes > KEY_BYTES_FEW && !self.once.was_met(hash, raw_key.len()) {
            return None;
        }
        let is_full =
            self.keys.len() >= self.keys_max || key_bytes > self.key_bytes_max || self.layouts.len() >= LAYOUTS_MAX;
        if is_full {
            self.reset();
            forget();
        }
        let slot = known.filter(|_| !is_full).unwrap_or_else(|| self.add(hash, raw_key));
        if !self.is_layout(self.keys[slot as usize].layout, fields) {
            // A new series most likely has the fields of the one before it.
            let before = self.previous.map(|previous| self.keys[previous as usize].layout);
            let before = before.filter(|layout| self.is_layout(*layout, fields));
            self.keys[slot as usize].layout = before.unwrap_or_else(|| self.layout_of(fields));
        }
        if let Some(previous) = self.previous {
            self.keys[previous as usize].follower = slot;
        }
        self.previous = Some(slot);
        Some(KeySlot(slot))
    }

    fn raw(&self, key: &Key) -> &[u8] {
        let start = key.start as usize;
        &self.key_bytes[start..start + usize::from(key.length)]
    }

    fn is_layout(&self, layout: u16, fields: &[Field<'_>]) -> bool {
        self.layouts.get(usize::from(layout)).is_some_and(|layout| layout.has_names(fields))
    }

    fn find(&self, hash: u64, raw_key: &[u8]) -> Option<u32> {
        let hash = hash as u32;
        let is_it = |&slot: &u32| {
            let key = &self.keys[slot as usize];
            key.hash == hash && self.raw(key) == raw_key
        };
        self.by_key.find(spread(hash), is_it).copied()
    }

    fn add(&mut self, hash: u64, raw_key: &[u8]) -> u32 {
        let hash = hash as u32;
        let slot = self.keys.len() as u32;
        let start = self.key_bytes.len() as u32;
        if self.key_bytes.len() + raw_key.len() > KEY_BYTES_FEW {
            self.key_bytes.reserve_exact(self.key_bytes_max - self.key_bytes.len());
        }
        self.key_bytes.extend_from_slice(raw_key);
        self.keys.push(Key { hash, start, length: raw_key.len() as u16, layout: u16::MAX, follower: slot });
        let keys = &self.keys;
        self.by_key.insert_unique(spread(hash), slot, |&slot| spread(keys[slot as usize].hash));
        slot
    }

    fn layout_of(&mut self, fields: &[Field<'_>]) -> u16 {
        let mut joined = Vec::new();
        for field in fields {
            joined.extend_from_slice(field.name);
            joined.push(b'=');
        }
        let hash = rapidhash_v3_seeded(&joined, &self.secrets);
        if let Some(&layout) = self.by_names.find(hash, |&at| self.layouts[usize::from(at)].has_names(fields)) {
            return layout;
        }
        let layout = self.layouts.len() as u16;
        self.layouts.push(Layout::new(fields));
        // The names are looked at again only when the table grows.
        let (layouts, secrets) = (&self.layouts, &self.secrets);
        self.by_names
            .insert_unique(hash, layout, |&at| rapidhash_v3_seeded(&layouts[usize::from(at)].joined(), secrets));
        layout
    }

    fn reset(&mut self) {
        let is_used = self.recalled >= self.keys.len() as u64;
        self.unused_resets = if is_used { 0 } else { self.unused_resets + 1 };
        if self.unused_resets.is_multiple_of(UNUSED_RESETS) {
            self.key_bytes_max = KEY_BYTES_MAX;
        } else if self.key_bytes_max > KEY_BYTES_FEW {
            self.key_bytes_max = KEY_BYTES_FEW;
            (self.keys, self.key_bytes, self.by_key) = (Vec::new(), Vec::new(), HashTable::new());
        }
        self.keys.clear();
        self.key_bytes.clear();
        self.by_key.clear();
        self.layouts.clear();
        self.by_names.clear();
        self.previous = None;
        self.recalled = 0;
        self.resets += 1;
    }
}

/// Which keys were met once, as far as two bits of a word can tell: a stream of new series, each met once, must not
/// take the room of all keys. It forgets what it has seen when those keys would have filled the memory: keys that come
/// back later than that would not be recalled either.
#[derive(Debug, Default)]
struct Once {
    /// [`ONCE_WORDS`], or none while only a few keys are remembered.
    words: Vec<u64>,
    keys: usize,
    key_bytes: usize,
}

/// A MiB. With [`KEYS_MAX`] keys in it one in twenty others seems to be too.
const ONCE_WORDS: usize = 1 << 17;

impl Once {
    /// Whether the key was met before; from now on it was.
    fn was_met(&mut self, hash: u64, key_bytes: usize) -> bool {
        if self.keys >= KEYS_MAX || self.key_bytes + key_bytes > KEY_BYTES_MAX {
            *self = Once::default();
        }
        self.words.resize(ONCE_WORDS, 0);
        let bits = 1 << (hash & 63) | 1 << (hash >> 6 & 63);
        let word = &mut self.words[(hash >> 12) as usize % ONCE_WORDS];
        let was_met = *word & bits == bits;
        if !was_met {
            *word |= bits;
            self.keys += 1;
            self.key_bytes += key_bytes;
        }
        was_met
    }
}

impl Layout {
    fn new(fields: &[Field<'_>]) -> Layout {
        let piece = |(index, field): (usize, &Field<'_>)| {
            let separator: &[u8] = if index == 0 { b" " } else { b"," };
            Piece::new(&[separator, field.name, b"="].concat())
        };
        Layout { pieces: fields.iter().enumerate().map(piece).collect() }
    }

    fn has_names(&self, fields: &[Field<'_>]) -> bool {
        let is_same = |(piece, field): (&Piece, &Field<'_>)| piece.name() == field.name;
        self.pieces.len() == fields.len() && self.pieces.iter().zip(fields).all(is_same)
    }

    fn joined(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| &piece.text[1..]).copied().collect()
    }
}

impl Piece {
    fn new(text: &[u8]) -> Piece {
        let head = &text[..text.len().min(HEAD_BYTES)];
        let mut bytes = [0; HEAD_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        let mut mask = [0; HEAD_BYTES];
        mask[..head.len()].fill(0xFF);
        Piece { text: text.into(), head: u128::from_le_bytes(bytes), head_mask: u128::from_le_bytes(mask) }
    }

    /// Whether `text` starts with the piece; false when it is too short to be loaded whole.
    #[inline(always)]
    fn starts(&self, text: &[u8]) -> bool {
        let Some((head, rest)) = text.split_first_chunk::<HEAD_BYTES>() else { return false };
        if (u128::from_le_bytes(*head) ^ self.head) & self.head_mask != 0 {
            return false;
        }
        self.text.len() <= HEAD_BYTES || rest.starts_with(&self.text[HEAD_BYTES..])
    }

    /// The field's name.
    fn name(&self) -> &[u8] {
        &self.text[1..self.text.len() - 1]
    }
}

/// Adds the plain value that `text` starts with; returns its length. What follows it is for the caller to check.
#[inline(always)]
fn push_value<'w>(name: &'w [u8], text: &'w [u8], fields: &mut Vec<Field<'w>>) -> Option<usize> {
    if let b'0'..=b'9' | b'-' | b'.' = text.first()? {
        let number = number::leading_number(text)?;
        number.push(name, fields);
        return Some(number.bytes);
    }
    let (value, bytes) = other_value(text)?;
    fields.push(Field { name, value });
    Some(bytes)
}

fn other_value(text: &[u8]) -> Option<(FieldValue<'_>, usize)> {
    if let Some(content) = text.strip_prefix(b"\"") {
        let length = memchr::memchr2(b'"', b'\\', content)?;
        return (content[length] == b'"').then_some((FieldValue::String(&content[..length]), length + 2));
    }
    let length = text.iter().take(6).position(|byte| matches!(byte, b',' | b' ' | b'\n'))?;
    Some((FieldValue::Boolean(reference::boolean(&text[..length])?), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Field<'_> {
        Field { name: name.as_bytes(), value: FieldValue::Integer(0) }
    }

    fn learn(memory: &mut Memory, key: &str, names: &[&str]) -> u32 {
        let fields: Vec<_> = names.iter().map(|name| field(name)).collect();
        memory.learn(key.as_bytes(), &fields, || ()).unwrap().0
    }

    /// What recalling `line` gives, with room behind it as in a window.
    fn recall(memory: &mut Memory, line: &str) -> Option<(u32, String, Option<i64>)> {
        let text = format!("{line}{}", " ".repeat(64));
        let mut fields = Vec::new();
        let recalled = memory.recall(text.as_bytes(), &mut fields)?;
        assert_eq!(recalled.line_bytes, line.len() - 1);
        let values = fields.iter().map(|field| format!("{}={:?}", field.name.escape_ascii(), field.value));
        Some((recalled.slot.0, values.collect::<Vec<_>>().join(" "), recalled.units))
    }

    #[test]
    fn line_is_recalled_where_it_came_last_time() {
        let mut memory = Memory::default();
        let (a, b) = (learn(&mut memory, "a", &["v"]), learn(&mut memory, "b,t=1", &["v", "a_name_of_over_16_bytes"]));
        assert_eq!(recall(&mut memory, "a v=1i 5\n"), None, "nothing came after b yet");
        assert_eq!(learn(&mut memory, "a", &["v"]), a);
        let line = "b,t=1 v=-12i,a_name_of_over_16_bytes=\"x, y\" -7\n";
        let values = "v=Integer(-12) a_name_of_over_16_bytes=String([120, 44, 32, 121])".to_string();
        assert_eq!(recall(&mut memory, line), Some((b, values, Some(-7))));
        assert_eq!(recall(&mut memory, "a v=2.5\n"), Some((a, "v=Float(2.5)".to_string(), None)));
    }

    #[test]
    fn line_that_differs_is_a_miss() {
        for line in [
            "m,t=2 v=1i 5\n",
            "m,t=1,u=1 v=1i 5\n",
            "m,t=1 w=1i 5\n",
            "m,t=1 v=1i,w=1i 5\n",
            "m,t=1 v=1u 5\n",
            "m,t=1 v=1e5 5\n",
            "m,t=1 v=. 5\n",
            "m,t=1 v=i 5\n",
            "m,t=1 v=1i 5 \n",
            "m,t=1 v=1i  5\n",
            "m,t=1 v=1i \n",
            "m,t=1 v=1i 5\r\n",
            "m,t=1 v=\"a\\\"\" 5\n",
            "m,t=1 v=\"a\"b 5\n",
            "m,t=1 v=yes 5\n",
            "m,t=1 v= 5\n",
            "m,t=1 v=99999999999999999999i 5\n",
            "m,t=1 v=9999999999999999999i 5\n",
            "m,t=1  v=1i 5\n",
            "#,t=1 v=1i 5\n",
        ] {
            let mut memory = Memory::default();
            let slot = learn(&mut memory, "m,t=1", &["v"]);
            assert_eq!(recall(&mut memory, line), None, "{line}");
            assert!(recall(&mut memory, "m,t=1 v=1i 5\n").is_some_and(|found| found.0 == slot), "{line}");
        }
    }

    #[test]
    fn text_that_ends_early_is_a_miss() {
        let mut memory = Memory::default();
        learn(&mut memory, "m,t=1", &["v"]);
        let line = "m,t=1 v=123456789i 1500000000000000000\n";
        for length in 0..line.len() {
            assert!(memory.recall(&line.as_bytes()[..length], &mut Vec::new()).is_none(), "{length}");
        }
    }

    #[test]
    fn full_memory_forgets_everything_and_says_so() {
        let mut memory = Memory::with_keys_max(2);
        learn(&mut memory, "a", &["v"]);
        learn(&mut memory, "b", &["v"]);
        let mut forgot = false;
        let slot = memory.learn(b"c", &[field("v")], || forgot = true);
        assert_eq!((slot, forgot, memory.resets()), (Some(KeySlot(0)), true, 1));
        assert_eq!(recall(&mut memory, "a v=1i 5\n"), None);
    }

    #[test]
    fn keys_that_are_not_met_again_lose_their_room_and_get_it_back() {
        let mut memory = Memory::with_keys_max(2);
        let mut fill = |is_used: bool| {
            for key in ["a", "b"] {
                learn(&mut memory, key, &["v"]);
                if is_used {
                    learn(&mut memory, key, &["v"]);
                    assert!(recall(&mut memory, &format!("{key} v=1i 5\n")).is_some());
                }
            }
            memory.reset();
            memory.key_bytes_max
        };
        assert_eq!(fill(true), KEY_BYTES_MAX);
        let room: Vec<bool> = (0..UNUSED_RESETS).map(|_| fill(false) == KEY_BYTES_MAX).collect();
        assert!(room[..room.len() - 1].iter().all(|all| !all) && room[room.len() - 1], "{room:?}");
        fill(false);
        assert_eq!(fill(true), KEY_BYTES_MAX);
    }

    #[test]
    fn keys_of_a_stream_of_new_series_are_remembered_only_when_they_come_back() {
        let mut memory = Memory::default();
        let key = |number: usize| format!("m,host={number:0>1000}");
        let mut learn = |number: usize| memory.learn(key(number).as_bytes(), &[field("v")], || panic!("no room"));
        // Some are remembered at once; more than there is room for pass without filling it.
        assert!(learn(0).is_some());
        let remembered = (1..100_000).filter(|&number| learn(number).is_some()).count();
        assert!(remembered < 2 * KEY_BYTES_FEW / 1000, "{remembered}");
        assert_eq!((learn(100_000), learn(0)), (None, Some(KeySlot(0))));
        let slot = learn(100_000);
        assert!(slot.is_some());
        assert_eq!(learn(100_000), slot);
        learn(0);
        let line = format!("{} v=1i 5\n", key(100_000));
        assert_eq!(recall(&mut memory, &line).map(|found| KeySlot(found.0)), slot);
    }

    #[test]
    fn oversized_keys_and_layouts_are_not_remembered() {
        let mut memory = Memory::default();
        assert_eq!(memory.learn(&vec![b'k'; KEY_BYTES_EACH_MAX + 1], &[field("v")], || ()), None);
        assert_eq!(memory.learn(b"k", &[field("v"); LAYOUT_FIELDS_MAX + 1], || ()), None);
    }
}
