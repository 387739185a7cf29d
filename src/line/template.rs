//! Lines that look as they did last time: collectors send the same series with the same fields in the same order.
//!
//! Owns:  raw keys met on plain lines, numbered by [`KeySlot`]; for each the key that followed it last, and its layout.
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

use hashbrown::HashTable;

use crate::line::Field;
use crate::line::KeySlot;
use crate::line::number;
use crate::line::reference;
use crate::model::FieldValue;

/// Keys remembered; then all are forgotten. A million series between two resets make learning cheap on average.
const KEYS_MAX: usize = 1 << 20;
/// Bytes of keys remembered; about 60 for each.
const KEY_BYTES_MAX: usize = 64 << 20;
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
#[derive(Debug, Default)]
pub struct Memory {
    keys: Vec<Key>,
    key_bytes: Vec<u8>,
    by_key: HashTable<u32>,
    layouts: Vec<Layout>,
    by_names: HashTable<u16>,
    previous: Option<u32>,
    resets: u64,
}

#[derive(Clone, Copy, Debug)]
struct Key {
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
    /// Bytes of the key.
    pub key_bytes: usize,
    /// Bytes before the line feed.
    pub line_bytes: usize,
    /// The time as sent, if any.
    pub units: Option<i64>,
}

impl Memory {
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
            let (value, value_bytes) = value(rest.get(piece.text.len()..)?)?;
            fields.push(Field { name: rest.get(1..piece.text.len() - 1)?, value });
            at += piece.text.len() + value_bytes;
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
        self.previous = Some(slot);
        Some(Recalled { slot: KeySlot(slot), key_bytes, line_bytes: at, units })
    }

    /// Remembers a plain line; `forget` is called if that makes all slots void.
    pub fn learn(&mut self, raw_key: &[u8], fields: &[Field<'_>], forget: impl FnOnce()) -> Option<KeySlot> {
        if raw_key.len() > KEY_BYTES_EACH_MAX || fields.len() > LAYOUT_FIELDS_MAX {
            return None;
        }
        let is_full = self.keys.len() >= KEYS_MAX
            || self.key_bytes.len() + raw_key.len() > KEY_BYTES_MAX
            || self.layouts.len() >= LAYOUTS_MAX;
        if is_full {
            self.reset();
            forget();
        }
        let slot = self.slot_of(raw_key);
        let known = self.layouts.get(usize::from(self.keys[slot as usize].layout));
        if !known.is_some_and(|layout| layout.has_names(fields)) {
            self.keys[slot as usize].layout = self.layout_of(fields);
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

    fn slot_of(&mut self, raw_key: &[u8]) -> u32 {
        let hash = rapidhash::v3::rapidhash_v3(raw_key);
        if let Some(&slot) = self.by_key.find(hash, |&slot| self.raw(&self.keys[slot as usize]) == raw_key) {
            return slot;
        }
        let slot = self.keys.len() as u32;
        let start = self.key_bytes.len() as u32;
        self.key_bytes.extend_from_slice(raw_key);
        self.keys.push(Key { start, length: raw_key.len() as u16, layout: u16::MAX, follower: slot });
        let (keys, key_bytes) = (&self.keys, &self.key_bytes);
        self.by_key.insert_unique(hash, slot, |&slot| {
            let key = &keys[slot as usize];
            rapidhash::v3::rapidhash_v3(&key_bytes[key.start as usize..][..usize::from(key.length)])
        });
        slot
    }

    fn layout_of(&mut self, fields: &[Field<'_>]) -> u16 {
        let mut joined = Vec::new();
        for field in fields {
            joined.extend_from_slice(field.name);
            joined.push(b'=');
        }
        let hash = rapidhash::v3::rapidhash_v3(&joined);
        if let Some(&layout) = self.by_names.find(hash, |&at| self.layouts[usize::from(at)].has_names(fields)) {
            return layout;
        }
        let layout = self.layouts.len() as u16;
        self.layouts.push(Layout::new(fields));
        // The names are looked at again only when the table grows.
        let layouts = &self.layouts;
        self.by_names
            .insert_unique(hash, layout, |&at| rapidhash::v3::rapidhash_v3(&layouts[usize::from(at)].joined()));
        layout
    }

    fn reset(&mut self) {
        self.keys.clear();
        self.key_bytes.clear();
        self.by_key.clear();
        self.layouts.clear();
        self.by_names.clear();
        self.previous = None;
        self.resets += 1;
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

/// The plain value that `text` starts with, and its length. What follows it is for the caller to check.
#[inline(always)]
fn value(text: &[u8]) -> Option<(FieldValue<'_>, usize)> {
    match text.first()? {
        b'0'..=b'9' | b'-' | b'.' => number::leading_number(text),
        b'"' => {
            let length = memchr::memchr2(b'"', b'\\', text.get(1..)?)?;
            let content = text.get(1..1 + length)?;
            (text[1 + length] == b'"').then_some((FieldValue::String(content), length + 2))
        }
        _ => {
            let length = text.iter().take(6).position(|byte| matches!(byte, b',' | b' ' | b'\n'))?;
            Some((FieldValue::Boolean(reference::boolean(&text[..length])?), length))
        }
    }
}
