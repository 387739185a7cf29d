//! Booleans, one bit each, low bits first; all alike take one byte.

use crate::segment::codec::CodecError;
use crate::segment::codec::check_count;

const ALL_FALSE: u8 = 0;
const ALL_TRUE: u8 = 1;
const BITMAP: u8 = 2;
/// By mode.
pub const NAMES: [&str; 3] = ["all false", "all true", "bitmap"];

pub fn encode(values: &[bool], out: &mut Vec<u8>) {
    if values.iter().all(|&value| !value) {
        return out.push(ALL_FALSE);
    }
    if values.iter().all(|&value| value) {
        return out.push(ALL_TRUE);
    }
    out.push(BITMAP);
    for eight in values.chunks(8) {
        out.push(eight.iter().enumerate().fold(0, |byte, (bit, &value)| byte | u8::from(value) << bit));
    }
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Vec<bool>, CodecError> {
    check_count(count)?;
    let (&mode, body) = bytes.split_first().ok_or(CodecError("no bits"))?;
    match mode {
        ALL_FALSE => Ok(vec![false; count]),
        ALL_TRUE => Ok(vec![true; count]),
        BITMAP if body.len() == count.div_ceil(8) => {
            Ok((0..count).map(|index| body[index / 8] & 1 << (index % 8) != 0).collect())
        }
        _ => Err(CodecError("bad bits")),
    }
}
