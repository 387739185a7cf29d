//! Some series of one database as the series log holds them: a few bytes each, and quick to take into an index.
//!
//! Series with the same measurement and tag keys share a shape, which has each tag value once. Little-endian; `bytes`
//! is a varint length and content; texts are escaped as in the canonical key:
//!
//! ```text
//! block    length of the rest before LZ4, u32 | LZ4 of: shape ... to the end
//! shape    measurement bytes | tags varint, each: name bytes
//!          series varint, each: id signed (from the one before) | 1 u8 when dormant, else 0
//!          for each tag: distinct values varint, each: bytes
//!                        each series: 0: the next value that no series before had; n: value n - 1      (varint)
//! ```
//!
//! A million series with ten tags take about 13 bytes each.

use hashbrown::HashMap;

use crate::limits::KEY_BYTES_MAX;
use crate::model::SeriesId;
use crate::series::key;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

/// A block is closed when its keys have so many bytes: memory of one step.
const TEXT_BYTES: usize = 1 << 20;
/// Longest block before LZ4 that is read: one key beyond [`TEXT_BYTES`], and numbers that take no more than the texts.
const UNPACKED_BYTES_MAX: usize = 2 * (TEXT_BYTES + KEY_BYTES_MAX);
/// Most series of a block.
pub const SERIES_MAX: usize = 4096;

/// One series of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: SeriesId,
    /// Whether it had no point when the block was written.
    pub is_dormant: bool,
}

/// Series of one measurement with the same tag keys.
#[derive(Debug)]
pub struct Shape<'a> {
    /// Escaped.
    pub measurement: &'a [u8],
    /// In the order of the key.
    pub columns: Vec<Column<'a>>,
    /// The series.
    pub members: Vec<Member>,
}

/// One tag of a shape.
#[derive(Debug, Default)]
pub struct Column<'a> {
    /// Escaped.
    pub name: &'a [u8],
    /// Distinct values, escaped.
    pub values: Vec<&'a [u8]>,
    /// For each series the number of its value.
    pub rows: Vec<u32>,
}

impl Shape<'_> {
    /// The canonical key of one of its series takes the place of what is in `out`.
    pub fn write_key(&self, row: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.measurement);
        for column in &self.columns {
            out.push(b',');
            out.extend_from_slice(column.name);
            out.push(b'=');
            out.extend_from_slice(column.values[column.rows[row] as usize]);
        }
    }
}

/// Collects series for a block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    keys: Vec<u8>,
    members: Vec<(Member, usize)>,
}

impl BlockBuilder {
    /// Adds a series with its canonical key.
    pub fn add(&mut self, member: Member, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.members.push((member, self.keys.len()));
    }

    /// Whether it should be closed before more is added.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= TEXT_BYTES || self.members.len() >= SERIES_MAX
    }

    /// The block; `None` when nothing was added. It is empty again.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let BlockBuilder { keys, members } = std::mem::take(self);
        if members.is_empty() {
            return None;
        }
        let mut plain = Vec::with_capacity(keys.len() / 4);
        shapes_of(&keys, &members).iter().for_each(|shape| put_shape(shape, &mut plain));
        let mut block = (plain.len() as u32).to_le_bytes().to_vec();
        block.extend_from_slice(&lz4_flex::compress(&plain));
        Some(block)
    }
}

fn shapes_of<'a>(keys: &'a [u8], members: &[(Member, usize)]) -> Vec<Shape<'a>> {
    let mut shapes: Vec<Shape<'a>> = Vec::new();
    let mut by_names: HashMap<Vec<&[u8]>, usize> = HashMap::new();
    let mut numbers: HashMap<(usize, usize, &[u8]), u32> = HashMap::new();
    let mut start = 0;
    for &(member, end) in members {
        let parts = key::parts_of(&keys[start..end]);
        let (measurement, tags) = parts.expect("keys of an index are canonical");
        start = end;
        let names: Vec<&[u8]> = [measurement].into_iter().chain(tags.iter().map(|tag| tag.0)).collect();
        let shape = *by_names.entry(names).or_insert_with(|| {
            let columns = tags.iter().map(|tag| Column { name: tag.0, ..Column::default() }).collect();
            shapes.push(Shape { measurement, columns, members: Vec::new() });
            shapes.len() - 1
        });
        shapes[shape].members.push(member);
        for (place, (column, tag)) in shapes[shape].columns.iter_mut().zip(&tags).enumerate() {
            let number = *numbers.entry((shape, place, tag.1)).or_insert_with(|| {
                column.values.push(tag.1);
                column.values.len() as u32 - 1
            });
            column.rows.push(number);
        }
    }
    shapes
}

fn put_shape(shape: &Shape<'_>, out: &mut Vec<u8>) {
    varint::put_bytes(out, shape.measurement);
    varint::put(out, shape.columns.len() as u64);
    shape.columns.iter().for_each(|column| varint::put_bytes(out, column.name));
    varint::put(out, shape.members.len() as u64);
    let mut before = 0;
    for Member { id, is_dormant } in &shape.members {
        varint::put_signed(out, i64::from(id.0) - before);
        out.push(u8::from(*is_dormant));
        before = i64::from(id.0);
    }
    for column in &shape.columns {
        varint::put(out, column.values.len() as u64);
        column.values.iter().for_each(|value| varint::put_bytes(out, value));
        let mut met = 0;
        for &number in &column.rows {
            let is_new = number == met;
            met += u32::from(is_new);
            varint::put(out, if is_new { 0 } else { u64::from(number) + 1 });
        }
    }
}

/// The rest of a block after its length, unpacked; `None` when it is no block.
pub fn unpack(block: &[u8]) -> Option<Vec<u8>> {
    let (length, packed) = block.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let plain = (length <= UNPACKED_BYTES_MAX).then(|| lz4_flex::decompress(packed, length).ok())??;
    (plain.len() == length).then_some(plain)
}

/// The shapes of an unpacked block; `None` when it does not follow the format. Keys are not checked.
pub fn shapes(plain: &[u8]) -> Option<Vec<Shape<'_>>> {
    let mut reader = Reader::new(plain);
    let mut shapes = Vec::new();
    while !reader.is_empty() {
        shapes.push(read_shape(&mut reader)?);
    }
    Some(shapes)
}

fn read_shape<'a>(reader: &mut Reader<'a>) -> Option<Shape<'a>> {
    let measurement = reader.bytes()?;
    let mut columns = Vec::new();
    for _ in 0..reader.varint()? {
        columns.push(Column { name: reader.bytes()?, ..Column::default() });
    }
    let mut members = Vec::new();
    let mut before = 0_i64;
    for _ in 0..reader.varint()? {
        before = before.checked_add(reader.signed()?)?;
        let is_dormant = reader.u8()? != 0;
        members.push(Member { id: SeriesId(u32::try_from(before).ok()?), is_dormant });
    }
    for column in &mut columns {
        for _ in 0..reader.varint()? {
            column.values.push(reader.bytes()?);
        }
        let mut met = 0;
        for _ in &members {
            let number = match reader.varint_u32()? {
                0 => {
                    met += 1;
                    met - 1
                }
                number => number - 1,
            };
            column.rows.push(number);
            ((number as usize) < column.values.len()).then_some(())?;
        }
    }
    Some(Shape { measurement, columns, members })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stdx::seeded::cases;

    fn block(series: &[(u32, bool, Vec<u8>)]) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for (id, is_dormant, key) in series {
            builder.add(Member { id: SeriesId(*id), is_dormant: *is_dormant }, key);
        }
        builder.take().unwrap_or_default()
    }

    /// What a block holds, by id.
    fn read(block: &[u8]) -> Option<Vec<(u32, bool, Vec<u8>)>> {
        let plain = unpack(block)?;
        let mut found = Vec::new();
        let mut key = Vec::new();
        for shape in shapes(&plain)? {
            for (row, member) in shape.members.iter().enumerate() {
                shape.write_key(row, &mut key);
                found.push((member.id.0, member.is_dormant, key.clone()));
            }
        }
        found.sort();
        Some(found)
    }

    proptest! {
        #![proptest_config(cases(512))]

        #[test]
        fn series_come_back_whatever_their_keys_are(
            series in prop::collection::btree_map(
                any::<u32>(),
                (any::<bool>(), 0..3_usize, 0..3_usize, "[a ,=]{1,3}"),
                1..40,
            ),
        ) {
            let key = |&(_, measurement, tags, ref text): &(bool, usize, usize, String)| {
                let names = [&b"a"[..], b"b\\"].into_iter().take(tags);
                let tags: Vec<_> = names.map(|name| (name, text.as_bytes())).collect();
                key::encode_key([&b"m"[..], b"a b", b"c\\"][measurement], &tags)
            };
            let series: Vec<_> = series.iter().map(|(id, facts)| (*id, facts.0, key(facts))).collect();
            prop_assert_eq!(read(&block(&series)), Some(series));
        }

        #[test]
        fn arbitrary_bytes_never_panic(plain in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = shapes(&plain);
            let _ = unpack(&plain);
        }
    }

    #[test]
    fn a_block_that_is_cut_or_claims_too_much_is_none() {
        let whole = block(&[(1, false, b"m,h=a".to_vec()), (2, false, b"m,h=b".to_vec())]);
        assert!((0..whole.len()).all(|end| read(&whole[..end]).is_none()));
        let mut long = whole.clone();
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpack(&long).is_none());
        assert!(BlockBuilder::default().take().is_none());
    }

    #[test]
    fn ten_tags_take_less_than_sixteen_bytes_a_series() {
        let mut series = Vec::new();
        for id in 0..SERIES_MAX as u32 {
            let few =
                |name: &str, count: u32| format!("{name}={name}_{}", id.wrapping_mul(2_654_435_761) >> 7 & (count - 1));
            let tags = [
                few("arch", 2),
                few("datacenter", 32),
                format!("hostname=host_{id}"),
                few("os", 4),
                few("rack", 128),
                few("region", 8),
                few("service", 16),
                few("service_environment", 2),
                few("service_version", 2),
                few("team", 4),
            ];
            series.push((id, false, format!("cpu,{}", tags.join(",")).into_bytes()));
        }
        let bytes = block(&series).len() / series.len();
        assert!(bytes < 16, "{bytes}");
    }
}
