//! Bodies taken apart: JSON and MessagePack to one kind of tree, CSV to cells, gzip and snappy to bytes.

use std::io::Read;

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Extension(i8, Vec<u8>),
    List(Vec<Datum>),
    Map(Vec<(String, Datum)>),
}

impl Datum {
    pub fn get(&self, key: &str) -> Option<&Datum> {
        let Datum::Map(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn list(&self) -> Option<&[Datum]> {
        if let Datum::List(items) = self { Some(items) } else { None }
    }
}

/// All JSON documents of a body: a chunked answer has several.
pub fn json(bytes: &[u8]) -> Result<Vec<Datum>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    serde_json::Deserializer::from_str(text)
        .into_iter::<serde_json::Value>()
        .map(|value| value.map(from_json).map_err(|error| error.to_string()))
        .collect()
}

fn from_json(value: serde_json::Value) -> Datum {
    use serde_json::Value;
    match value {
        Value::Null => Datum::Null,
        Value::Bool(value) => Datum::Bool(value),
        Value::Number(number) => {
            // Kept as written: an integer is compared exactly, whatever its length.
            let text = number.to_string();
            match text.parse::<i128>() {
                Ok(value) => Datum::Integer(value),
                Err(_) => Datum::Float(text.parse().unwrap_or(f64::NAN)),
            }
        }
        Value::String(text) => Datum::Text(text),
        Value::Array(items) => Datum::List(items.into_iter().map(from_json).collect()),
        Value::Object(map) => Datum::Map(map.into_iter().map(|(key, value)| (key, from_json(value))).collect()),
    }
}

/// All MessagePack values of a body.
pub fn msgpack(bytes: &[u8]) -> Result<Vec<Datum>, String> {
    let mut rest = bytes;
    let mut values = Vec::new();
    while !rest.is_empty() {
        values.push(unpack(&mut rest)?);
    }
    Ok(values)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or("msgpack: short")?;
    *rest = left;
    Ok(taken)
}

fn unsigned(rest: &mut &[u8], width: usize) -> Result<u64, String> {
    Ok(take(rest, width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn signed(rest: &mut &[u8], width: usize) -> Result<i64, String> {
    let shift = 64 - 8 * width as u32;
    Ok((unsigned(rest, width)? << shift).cast_signed() >> shift)
}

fn unpack(rest: &mut &[u8]) -> Result<Datum, String> {
    let kind = take(rest, 1)?[0];
    let width = |first: u8| 1_usize << (kind - first);
    Ok(match kind {
        0x00..=0x7f => Datum::Integer(i128::from(kind)),
        0x80..=0x8f => unpack_map(rest, usize::from(kind & 15))?,
        0x90..=0x9f => unpack_list(rest, usize::from(kind & 15))?,
        0xa0..=0xbf => text(take(rest, usize::from(kind & 31))?),
        0xc0 => Datum::Null,
        0xc2 | 0xc3 => Datum::Bool(kind == 0xc3),
        0xc4..=0xc6 => {
            let length = unsigned(rest, width(0xc4))? as usize;
            Datum::Bytes(take(rest, length)?.to_vec())
        }
        0xc7..=0xc9 => {
            let length = unsigned(rest, width(0xc7))? as usize;
            extension(rest, length)?
        }
        0xca => Datum::Float(f64::from(f32::from_bits(unsigned(rest, 4)? as u32))),
        0xcb => Datum::Float(f64::from_bits(unsigned(rest, 8)?)),
        0xcc..=0xcf => Datum::Integer(i128::from(unsigned(rest, width(0xcc))?)),
        0xd0..=0xd3 => Datum::Integer(i128::from(signed(rest, width(0xd0))?)),
        0xd4..=0xd8 => extension(rest, width(0xd4))?,
        0xd9..=0xdb => {
            let length = unsigned(rest, width(0xd9))? as usize;
            text(take(rest, length)?)
        }
        0xdc | 0xdd => {
            let count = unsigned(rest, 2 * width(0xdc))? as usize;
            unpack_list(rest, count)?
        }
        0xde | 0xdf => {
            let count = unsigned(rest, 2 * width(0xde))? as usize;
            unpack_map(rest, count)?
        }
        0xe0..=0xff => Datum::Integer(i128::from(kind.cast_signed())),
        0xc1 => return Err("msgpack: byte 0xc1".to_owned()),
    })
}

fn text(bytes: &[u8]) -> Datum {
    Datum::Text(String::from_utf8_lossy(bytes).into_owned())
}

fn extension(rest: &mut &[u8], length: usize) -> Result<Datum, String> {
    let code = take(rest, 1)?[0].cast_signed();
    Ok(Datum::Extension(code, take(rest, length)?.to_vec()))
}

fn unpack_list(rest: &mut &[u8], count: usize) -> Result<Datum, String> {
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(unpack(rest)?);
    }
    Ok(Datum::List(items))
}

fn unpack_map(rest: &mut &[u8], count: usize) -> Result<Datum, String> {
    let mut pairs = Vec::new();
    for _ in 0..count {
        let key = match unpack(rest)? {
            Datum::Text(text) => text,
            other => format!("{other:?}"),
        };
        pairs.push((key, unpack(rest)?));
    }
    Ok(Datum::Map(pairs))
}

/// Rows of cells. A quote counts at the start of a cell only; two inside a quoted cell are one.
pub fn csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row: Vec<String> = Vec::new();
    let mut cell = String::new();
    let mut letters = text.chars().peekable();
    let mut is_quoted = false;
    let mut is_open = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            _ if is_quoted => cell.push(letter),
            '"' if cell.is_empty() => (is_quoted, is_open) = (true, true),
            ',' => {
                row.push(std::mem::take(&mut cell));
                is_open = true;
            }
            '\r' if letters.peek() == Some(&'\n') => (),
            '\n' => {
                if is_open || !cell.is_empty() {
                    row.push(std::mem::take(&mut cell));
                }
                rows.push(std::mem::take(&mut row));
                is_open = false;
            }
            _ => cell.push(letter),
        }
    }
    if is_open || !cell.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// Unpacks a gzip body.
pub fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut body).map_err(|error| error.to_string())?;
    Ok(body)
}

/// Unpacks a snappy block.
pub fn unsnappy(bytes: &[u8]) -> Result<Vec<u8>, String> {
    const SHORT: &str = "snappy: short";
    let mut rest = bytes;
    let mut next = |count: usize| -> Result<&[u8], String> {
        let (taken, left) = rest.split_at_checked(count).ok_or(SHORT)?;
        rest = left;
        Ok(taken)
    };
    let little = |bytes: &[u8]| bytes.iter().rev().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
    let mut length = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = next(1)?[0];
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let mut body: Vec<u8> = Vec::new();
    while let Ok(&[tag]) = next(1) {
        let upper = usize::from(tag >> 2);
        let (copy_length, distance) = match tag & 3 {
            0 => {
                let literal = if upper < 60 { upper } else { little(next(upper - 59)?) };
                body.extend_from_slice(next(literal + 1)?);
                continue;
            }
            1 => ((upper & 7) + 4, usize::from(tag >> 5) << 8 | usize::from(next(1)?[0])),
            2 => (upper + 1, little(next(2)?)),
            _ => (upper + 1, little(next(4)?)),
        };
        if distance == 0 || distance > body.len() {
            return Err("snappy: bad copy".to_owned());
        }
        for _ in 0..copy_length {
            body.push(body[body.len() - distance]);
        }
    }
    if body.len() == length { Ok(body) } else { Err("snappy: length".to_owned()) }
}

/// Facts that the rest relies on; the target has no test harness, so `main` asks for them.
pub fn self_check() {
    assert_eq!(csv("a,b\n\"x,\"\"y\",\n\n1,2"), [vec!["a", "b"], vec!["x,\"y", ""], vec![], vec!["1", "2"]]);
    assert_eq!(
        msgpack(b"\x82\xa1a\x93\x01\xff\xcd\x01\x00\xa1b\xd4\x05\x07"),
        Ok(vec![Datum::Map(vec![
            ("a".to_owned(), Datum::List(vec![Datum::Integer(1), Datum::Integer(-1), Datum::Integer(256)])),
            ("b".to_owned(), Datum::Extension(5, vec![7])),
        ])])
    );
    assert_eq!(unsnappy(b"\x08\x04ab\x01\x02\x04cd"), Ok(b"abababcd".to_vec()));
    assert_eq!(unsnappy(b"\x09\x04ab\x01\x02\x04cd"), Err("snappy: length".to_owned()));
    assert_eq!(unsnappy(b"\x08\x04ab\x09\x02"), Ok(b"abababab".to_vec()));
    assert_eq!(json(b"{\"a\":1}\n{\"b\":1e3}").map(|documents| documents.len()), Ok(2));
}
