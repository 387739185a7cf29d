//! Reads a batch; nothing in it is trusted.

use crate::batch::Destination;
use crate::batch::HEADER_BYTES;
use crate::batch::SeriesRef;
use crate::batch::VERSION;
use crate::model::DatabaseId;
use crate::model::FieldType;
use crate::model::FieldValue;
use crate::model::GroupId;
use crate::model::PolicyId;
use crate::model::SeriesId;
use crate::model::Timestamp;
use crate::stdx::varint;

/// A batch does not follow the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed batch: {0}")]
pub struct BatchError(pub &'static str);

/// Measurement and fields of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout<'a> {
    /// The encoded layout: equal bytes mean equal layouts.
    pub encoded: &'a [u8],
    /// Measurement, as in the schema (unescaped).
    pub measurement: &'a [u8],
    /// Field names (unescaped) and types, in the order of the values.
    pub fields: Vec<(&'a [u8], FieldType)>,
}

/// A batch whose header, layouts and keys have been read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// Where the points belong.
    pub destination: Destination,
    /// Layouts by index.
    pub layouts: Vec<Layout<'a>>,
    /// Canonical keys by index.
    pub keys: Vec<&'a [u8]>,
    /// Rows.
    pub row_count: u32,
    rows: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads header, layouts and keys of an encoded batch.
    pub fn of(bytes: &'a [u8]) -> Result<Reader<'a>, BatchError> {
        let mut header = varint::Reader::new(bytes.get(..HEADER_BYTES).ok_or(BatchError("header cut short"))?);
        if header.u8() != Some(VERSION) {
            return Err(BatchError("unknown version"));
        }
        header.u8();
        let mut read = || -> Option<(Destination, [u32; 5])> {
            let destination = Destination {
                shard: header.u16()?,
                database: DatabaseId(header.u32()?),
                policy: PolicyId(header.u32()?),
                group: GroupId(header.u64()?),
            };
            Some((destination, [header.u32()?, header.u32()?, header.u32()?, header.u32()?, header.u32()?]))
        };
        let (destination, [row_count, layout_count, layout_bytes, key_count, key_bytes]) =
            read().ok_or(BatchError("header cut short"))?;
        let mut body = varint::Reader::new(&bytes[HEADER_BYTES..]);
        let layouts = body.take(layout_bytes as usize).ok_or(BatchError("layouts cut short"))?;
        let keys = body.take(key_bytes as usize).ok_or(BatchError("keys cut short"))?;
        Ok(Reader {
            destination,
            layouts: read_layouts(layouts, layout_count)?,
            keys: read_keys(keys, key_count)?,
            row_count,
            rows: body.rest(),
        })
    }

    /// Length of the encoded rows.
    pub(super) fn rows_bytes(&self) -> usize {
        self.rows.len()
    }

    /// The rows, from the first.
    pub fn rows(&self) -> Rows<'a> {
        Rows { rest: varint::Reader::new(self.rows), left: self.row_count, last_time: 0 }
    }
}

fn read_layouts(bytes: &[u8], count: u32) -> Result<Vec<Layout<'_>>, BatchError> {
    let mut reader = varint::Reader::new(bytes);
    let mut layouts = Vec::with_capacity((count as usize).min(bytes.len()));
    for _ in 0..count {
        let before = reader.rest();
        let (measurement, fields) = read_layout(&mut reader).ok_or(BatchError("bad layout"))?;
        let encoded = &before[..before.len() - reader.rest().len()];
        layouts.push(Layout { encoded, measurement, fields });
    }
    if reader.is_empty() { Ok(layouts) } else { Err(BatchError("layouts too long")) }
}

type LayoutParts<'a> = (&'a [u8], Vec<(&'a [u8], FieldType)>);

fn read_layout<'a>(reader: &mut varint::Reader<'a>) -> Option<LayoutParts<'a>> {
    let measurement = reader.bytes()?;
    let count = reader.varint_u32()? as usize;
    let mut fields = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        let field_type = FieldType::from_code(reader.u8()?)?;
        fields.push((reader.bytes()?, field_type));
    }
    Some((measurement, fields))
}

fn read_keys(bytes: &[u8], count: u32) -> Result<Vec<&[u8]>, BatchError> {
    let mut reader = varint::Reader::new(bytes);
    let mut keys = Vec::with_capacity((count as usize).min(bytes.len()));
    for _ in 0..count {
        keys.push(reader.bytes().ok_or(BatchError("bad key"))?);
    }
    if reader.is_empty() { Ok(keys) } else { Err(BatchError("keys too long")) }
}

/// A row before its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its series.
    pub series: SeriesRef,
    /// Index of its layout.
    pub layout: u32,
    /// Its time.
    pub time: Timestamp,
}

fn series_ref(number: u64) -> Option<SeriesRef> {
    let index = u32::try_from(number >> 1).ok()?;
    Some(if number & 1 == 0 { SeriesRef::Known(SeriesId(index)) } else { SeriesRef::New(index) })
}

/// Numbers read at once: they stay in the first-level cache.
const NUMBERS: usize = 1 << 10;

/// What a number takes on average where most take no more than that, see [`varint::Reader::many`].
const SHORT_BYTES: usize = 2;

/// Rows of integers, read at once.
#[derive(Debug, Default)]
pub struct IntegerRows {
    numbers: Vec<u64>,
    stride: usize,
}

impl IntegerRows {
    const SERIES: usize = 0;
    const LAYOUT: usize = 1;
    const TIME: usize = 2;
    const HEAD: usize = 3;

    /// Series and time of each row.
    pub fn heads(&self) -> impl Iterator<Item = (SeriesRef, Timestamp)> {
        let head = |row: &[u64]| Some((series_ref(row[Self::SERIES])?, row[Self::TIME] as i64));
        self.numbers.chunks_exact(self.stride).map_while(head)
    }

    /// The value that each row has for a field.
    pub fn values(&self, field: usize) -> impl Iterator<Item = i64> {
        let at = Self::HEAD + field;
        assert!(at < self.stride, "a field of the layout");
        self.numbers.chunks_exact(self.stride).map(move |row| varint::unzigzag(row[at]))
    }
}

/// Walks the rows: [`Rows::next_row`], then [`Rows::value`] for each field of its layout, and so on.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    rest: varint::Reader<'a>,
    left: u32,
    last_time: Timestamp,
}

impl<'a> Rows<'a> {
    /// The next row; `None` after the last.
    #[inline]
    pub fn next_row(&mut self) -> Result<Option<Row>, BatchError> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(BatchError("rows too long")) };
        }
        self.left -= 1;
        self.read_row().map(Some).ok_or(BatchError("bad row"))
    }

    #[inline]
    fn read_row(&mut self) -> Option<Row> {
        let [series, layout, step] = match self.rest.short() {
            Some(head) => head,
            None => [self.rest.varint()?, self.rest.varint()?, self.rest.varint()?],
        };
        let layout = u32::try_from(layout).ok()?;
        self.last_time = self.last_time.wrapping_add(varint::unzigzag(step));
        Some(Row { series: series_ref(series)?, layout, time: self.last_time })
    }

    /// Makes `into` the next rows of a batch with one layout, that of `fields` integers; how many they are. At the end,
    /// where numbers are too long for this to be faster, and where something is wrong with them, nothing is read: that
    /// is for reading them one by one.
    pub fn next_integer_rows(&mut self, fields: usize, into: &mut IntegerRows) -> usize {
        let IntegerRows { numbers, stride } = into;
        *stride = IntegerRows::HEAD + fields;
        let are_short = self.rest.rest().len() <= SHORT_BYTES * self.left as usize * *stride;
        let count = if are_short { (self.left as usize).min(NUMBERS / *stride) } else { 0 };
        numbers.resize(count * *stride, 0);
        let mut rows = Rows { left: self.left - count as u32, ..self.clone() };
        let is_read = rows.rest.many(numbers).is_some();
        let are_such = numbers.chunks_exact_mut(*stride).all(|row| {
            rows.last_time = rows.last_time.wrapping_add(varint::unzigzag(row[IntegerRows::TIME]));
            row[IntegerRows::TIME] = rows.last_time as u64;
            row[IntegerRows::SERIES] >> 33 == 0 && row[IntegerRows::LAYOUT] == 0
        });
        if !is_read || !are_such {
            return 0;
        }
        *self = rows;
        count
    }

    /// The next `count` values of the row, all of them integers or all floats, in the bits of their type; `put` is told
    /// the index of each.
    #[inline(always)]
    pub fn numbers(
        &mut self,
        field_type: FieldType,
        count: usize,
        mut put: impl FnMut(usize, u64),
    ) -> Result<(), BatchError> {
        let mut index = 0;
        if field_type == FieldType::Integer {
            while index + 4 <= count
                && let Some(four) = self.rest.short::<4>()
            {
                for (index, value) in (index..).zip(four) {
                    put(index, varint::unzigzag(value) as u64);
                }
                index += 4;
            }
        }
        (index..count).try_for_each(|index| self.bits(field_type).map(|bits| put(index, bits)))
    }

    /// The next value of the row in the bits of its type, if that is not string. Not a [`FieldValue`], which is copied
    /// in pieces.
    #[inline(always)]
    pub fn bits(&mut self, field_type: FieldType) -> Result<u64, BatchError> {
        let bits = match field_type {
            FieldType::Float => self.rest.u64(),
            FieldType::Integer => self.rest.signed().map(|integer| integer as u64),
            FieldType::Unsigned => self.rest.varint(),
            FieldType::Boolean => self.rest.u8().map(|byte| u64::from(byte != 0)),
            FieldType::String => None,
        };
        bits.ok_or(BatchError("bad value"))
    }

    /// The next value of the row, of the type its layout says.
    #[inline]
    pub fn value(&mut self, field_type: FieldType) -> Result<FieldValue<'a>, BatchError> {
        let value = match field_type {
            FieldType::Float => self.rest.u64().map(|bits| FieldValue::Float(f64::from_bits(bits))),
            FieldType::Integer => self.rest.signed().map(FieldValue::Integer),
            FieldType::Unsigned => self.rest.varint().map(FieldValue::Unsigned),
            FieldType::Boolean => self.rest.u8().map(|byte| FieldValue::Boolean(byte != 0)),
            FieldType::String => self.rest.bytes().map(FieldValue::String),
        };
        value.ok_or(BatchError("bad value"))
    }
}
