//! Strings: their lengths as integers, then all bytes as LZ4, or plain when that does not pay.

use crate::segment::codec::CodecError;
use crate::segment::codec::Strings;
use crate::segment::codec::check_count;
use crate::segment::codec::integer;
use crate::stdx::varint;
use crate::stdx::varint::Reader;

const LZ4: u8 = 0;
const RAW: u8 = 1;

/// Most bytes a decoder unpacks for one column; the writer closes a block before that.
const TEXT_BYTES_MAX: usize = 256 << 20;

pub fn encode(values: &Strings, out: &mut Vec<u8>) {
    let lengths: Vec<i64> = values.iter().map(|value| value.len() as i64).collect();
    let mut coded = Vec::new();
    integer::encode(&lengths, &mut coded);
    let text = values.concat();
    let packed = lz4_flex::compress(&text);
    let (mode, body) = if packed.len() < text.len() { (LZ4, packed) } else { (RAW, text) };
    out.push(mode);
    varint::put_bytes(out, &coded);
    out.extend_from_slice(&body);
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Strings, CodecError> {
    check_count(count)?;
    let mut reader = Reader::new(bytes);
    let mut parts = || Some((reader.u8()?, reader.bytes()?));
    let (mode, coded) = parts().ok_or(CodecError("no strings"))?;
    let lengths = integer::decode(coded, count)?;
    let mut total = 0_usize;
    for &length in &lengths {
        let length = usize::try_from(length).map_err(|_| CodecError("bad string length"))?;
        total = total.saturating_add(length);
    }
    if total > TEXT_BYTES_MAX {
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
