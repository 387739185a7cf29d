//! Floats: as integers when all are integers of moderate size (then coded like integers), else their bits as LZ4, or
//! plain when that does not pay.

use crate::segment::codec::CodecError;
use crate::segment::codec::check_count;
use crate::segment::codec::integer;

const AS_INTEGERS: u8 = 0;
const LZ4: u8 = 1;
const RAW: u8 = 2;

/// Integers beyond this do not fit a float exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    if let Some(integers) = as_integers(values) {
        out.push(AS_INTEGERS);
        return integer::encode(&integers, out);
    }
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
    let packed = lz4_flex::compress(&raw);
    let (mode, body) = if packed.len() < raw.len() { (LZ4, packed) } else { (RAW, raw) };
    out.push(mode);
    out.extend_from_slice(&body);
}

/// Bit for bit, so -0.0 and NaN do not qualify.
fn as_integers(values: &[f64]) -> Option<Vec<i64>> {
    values
        .iter()
        .map(|&value| {
            let integer = value as i64;
            (value.abs() <= EXACT_MAX && (integer as f64).to_bits() == value.to_bits()).then_some(integer)
        })
        .collect()
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Vec<f64>, CodecError> {
    check_count(count)?;
    let (&mode, body) = bytes.split_first().ok_or(CodecError("no floats"))?;
    match mode {
        AS_INTEGERS => Ok(integer::decode(body, count)?.into_iter().map(|value| value as f64).collect()),
        LZ4 => {
            let raw = lz4_flex::decompress(body, count * 8).map_err(|_| CodecError("bad floats"))?;
            from_bits(&raw, count)
        }
        RAW => from_bits(body, count),
        _ => Err(CodecError("bad floats")),
    }
}

fn from_bits(raw: &[u8], count: usize) -> Result<Vec<f64>, CodecError> {
    if raw.len() != count * 8 {
        return Err(CodecError("bad floats"));
    }
    let value = |bytes: &[u8]| f64::from_bits(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
    Ok(raw.chunks_exact(8).map(value).collect())
}
