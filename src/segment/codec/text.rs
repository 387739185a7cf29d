//! Strings.
//!
//! ```text
//! lz4, raw      lengths: integers, as bytes | all text, compressed or not
//! dictionary    entry count varint | entries: strings, as bytes | the entry of each row: integers
//! ```

use hashbrown::HashMap;

use crate::segment::codec::CodecError;
use crate::segment::codec::Effort;
use crate::segment::codec::Strings;
use crate::segment::codec::check_count;
use crate::segment::codec::integer;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

const LZ4: u8 = 0;
const RAW: u8 = 1;
const DICTIONARY: u8 = 2;
/// By mode.
pub const NAMES: [&str; 3] = ["lz4", "raw", "dictionary"];

/// Most bytes a decoder unpacks for one column; the writer closes a block before that.
const TEXT_BYTES_MAX: usize = 256 << 20;
/// LZ4 cannot make more of a byte than this.
const LZ4_RATIO_MAX: usize = 255;
/// A dictionary is for columns that name each of its entries so often.
const ENTRY_ROWS_MIN: usize = 3;

pub fn encode(effort: Effort, values: &Strings, out: &mut Vec<u8>) {
    match find_entries(values) {
        Some((entries, rows)) => {
            out.push(DICTIONARY);
            varint::put(out, entries.len() as u64);
            let mut coded = Vec::new();
            encode_plain(effort, &entries, &mut coded);
            varint::put_bytes(out, &coded);
            integer::encode(effort, &rows, out);
        }
        None => encode_plain(effort, &values.iter().map(|value| &**value).collect::<Vec<_>>(), out),
    }
}

/// The distinct values in order of appearance, and which of them each row is; `None` when they are too many.
fn find_entries(values: &Strings) -> Option<(Vec<&[u8]>, Vec<i64>)> {
    let entry_count_max = values.len() / ENTRY_ROWS_MIN;
    let mut known: HashMap<&[u8], i64> = HashMap::new();
    let mut entries: Vec<&[u8]> = Vec::new();
    let mut rows = Vec::with_capacity(values.len());
    for value in values {
        let entry = *known.entry(value).or_insert(entries.len() as i64);
        if entry as usize == entries.len() {
            entries.push(value);
        }
        if entries.len() > entry_count_max {
            return None;
        }
        rows.push(entry);
    }
    (!entries.is_empty()).then_some((entries, rows))
}

fn encode_plain(effort: Effort, values: &[&[u8]], out: &mut Vec<u8>) {
    let lengths: Vec<i64> = values.iter().map(|value| value.len() as i64).collect();
    let mut coded = Vec::new();
    integer::encode(effort, &lengths, &mut coded);
    let text = values.concat();
    let packed = lz4_flex::compress(&text);
    let (mode, body) = if packed.len() < text.len() { (LZ4, packed) } else { (RAW, text) };
    out.push(mode);
    varint::put_bytes(out, &coded);
    out.extend_from_slice(&body);
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Strings, CodecError> {
    check_count(count)?;
    match bytes.split_first() {
        Some((&DICTIONARY, body)) => decode_dictionary(body, count),
        _ => decode_plain(bytes, count),
    }
}

fn decode_dictionary(body: &[u8], count: usize) -> Result<Strings, CodecError> {
    let mut reader = Reader::new(body);
    let mut parts = || Some((usize::try_from(reader.varint()?).ok()?, reader.bytes()?));
    let (entry_count, coded) = parts().filter(|parts| parts.0 <= count).ok_or(CodecError("bad strings"))?;
    let entries = decode_plain(coded, entry_count)?;
    let rows = integer::decode(reader.rest(), count)?;
    let entry = |row: &i64| entries.get(usize::try_from(*row).ok()?);
    let total = rows.iter().try_fold(0_usize, |total, row| total.checked_add(entry(row)?.len()));
    if total.is_none_or(|total| total > TEXT_BYTES_MAX) {
        return Err(CodecError("bad strings"));
    }
    Ok(rows.iter().filter_map(entry).cloned().collect())
}

fn decode_plain(bytes: &[u8], count: usize) -> Result<Strings, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut parts = || Some((reader.u8()?, reader.bytes()?));
    let (mode, coded) = parts().ok_or(CodecError("no strings"))?;
    let lengths = integer::decode(coded, count)?;
    let mut total = 0_usize;
    for &length in &lengths {
        let length = usize::try_from(length).map_err(|_| CodecError("bad string length"))?;
        total = total.saturating_add(length);
    }
    // Both before any room is made: a few bad bytes must not ask for a lot of memory.
    if total > TEXT_BYTES_MAX || total > (reader.rest().len() + 1) * LZ4_RATIO_MAX {
        return Err(CodecError("strings too long"));
    }
    let unpacked;
    let text = match mode {
        LZ4 => {
            unpacked = lz4_flex::decompress(reader.rest(), total).map_err(|_| CodecError("bad strings"))?;
            &unpacked[..]
        }
        RAW => reader.rest(),
        _ => return Err(CodecError("bad strings")),
    };
    if text.len() != total {
        return Err(CodecError("bad strings"));
    }
    let mut rest = Reader::new(text);
    Ok(lengths.iter().map(|&length| rest.take(length as usize).unwrap_or_default().into()).collect())
}
