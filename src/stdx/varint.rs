//! Variable-length integers: seven bits a byte, low bits first, the top bit says that more follow.

mod many;

/// Appends `value`, 1 to 10 bytes.
#[inline]
pub fn put(out: &mut Vec<u8>, value: u64) {
    if value >= TWO_BYTES_END {
        return put_long(out, value);
    }
    let (bytes, length) = short_bytes(value);
    out.extend_from_slice(&bytes);
    out.truncate(out.len() - bytes.len() + length);
}

/// Most bytes of a value.
pub const BYTES_MAX: usize = 10;

/// Writes `value` at the front of `room`, which has [`BYTES_MAX`] bytes or more; how many it takes. For many values
/// into room made for all of them: they cost less than with [`put`].
#[inline(always)]
pub fn write(room: &mut [u8], value: u64) -> usize {
    if value >= TWO_BYTES_END {
        return write_long(room, value);
    }
    let (bytes, length) = short_bytes(value);
    room[..bytes.len()].copy_from_slice(&bytes);
    length
}

/// Larger values take more than two bytes.
const TWO_BYTES_END: u64 = 1 << 14;

/// A smaller value in two bytes, and how many of these count: one or two cannot be foretold for most columns, so there
/// is no branch on that.
#[inline(always)]
fn short_bytes(value: u64) -> ([u8; 2], usize) {
    let is_long = u64::from(value >= 0x80);
    let bytes = value & 0x7f | is_long << 7 | value >> 7 << 8;
    ((bytes as u16).to_le_bytes(), 1 + is_long as usize)
}

fn put_long(out: &mut Vec<u8>, value: u64) {
    let mut room = [0; BYTES_MAX];
    let length = write_long(&mut room, value);
    out.extend_from_slice(&room[..length]);
}

fn write_long(room: &mut [u8], mut value: u64) -> usize {
    let mut length = 0;
    while value >= 0x80 {
        room[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    room[length] = value as u8;
    length + 1
}

/// Appends a signed value, small in either direction in few bytes.
#[inline]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Maps 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The top bit of each byte.
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The low seven bits of each byte, joined: neighbours, then pairs, then fours.
fn without_tops(word: u64) -> u64 {
    let pairs = word & 0x007f_007f_007f_007f | word >> 1 & 0x3f80_3f80_3f80_3f80;
    let fours = pairs & 0x0000_3fff_0000_3fff | pairs >> 2 & 0x0fff_c000_0fff_c000;
    fours & 0x0fff_ffff | fours >> 4 & 0x00ff_ffff_f000_0000
}

/// Reads from the front of a slice; every method answers `None` when the bytes run out or make no sense.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// See [`put`].
    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        if let Some((&[first, second], _)) = self.rest.split_first_chunk::<2>()
            && first & second < 0x80
        {
            // As in `put`, without a branch on which of both it is.
            let is_long = first >> 7;
            self.rest = &self.rest[1 + usize::from(is_long)..];
            return Some(u64::from(first & 0x7f) | u64::from(second * is_long) << 7);
        }
        self.varint_long()
    }

    /// The next few values, if none takes more than two bytes; else, and near the end, nothing is read. Which bytes end
    /// a value is seen for all at once, so that no value waits for the one before.
    #[inline]
    pub fn short<const COUNT: usize>(&mut self) -> Option<[u64; COUNT]> {
        const { assert!(COUNT <= 4, "so many values of two bytes are in a word") };
        let word = u64::from_le_bytes(*self.rest.first_chunk()?);
        let tops = word & TOPS;
        let (mut ends, mut read, mut start, mut is_cut) = (tops ^ TOPS, 0, 0, false);
        let mut values = [0; COUNT];
        for value in &mut values {
            is_cut |= ends == 0;
            let through = ends ^ ends.wrapping_sub(1);
            let bytes = (word & through & !read).wrapping_shr(start);
            *value = bytes & 0x7f | bytes >> 1 & 0x3f80;
            (read, start) = (through, ends.trailing_zeros() + 1);
            ends &= ends.wrapping_sub(1);
        }
        let is_long = tops & tops >> 8 & read != 0;
        if is_cut || is_long {
            return None;
        }
        self.rest = &self.rest[start as usize / 8..];
        Some(values)
    }

    fn varint_long(&mut self) -> Option<u64> {
        if let Some((bytes, _)) = self.rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*bytes);
            let ends = !word & TOPS;
            if ends != 0 {
                let bits = ends.trailing_zeros() + 1;
                self.rest = &self.rest[bits as usize / 8..];
                return Some(without_tops(word & u64::MAX >> (64 - bits)));
            }
        }
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Some(value);
            }
        }
        None
    }

    /// See [`put_signed`].
    #[inline]
    pub fn signed(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }

    /// A varint that fits 32 bits.
    #[inline]
    pub fn varint_u32(&mut self) -> Option<u32> {
        self.varint().and_then(|value| u32::try_from(value).ok())
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// See [`put_bytes`].
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.varint()?).ok()?;
        self.take(count)
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_value_reads_back(values in proptest::collection::vec(any::<u64>(), 0..20), shift in 0_u32..64) {
            let mut bytes = Vec::new();
            for value in &values {
                put(&mut bytes, value >> shift);
                let mut room = [7; BYTES_MAX];
                let length = write(&mut room, zigzag((value >> shift) as i64));
                bytes.extend(&room[..length]);
            }
            let mut reader = Reader::new(&bytes);
            for value in &values {
                prop_assert_eq!(reader.varint(), Some(value >> shift));
                prop_assert_eq!(reader.signed(), Some((value >> shift) as i64));
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn short_values_at_once_are_those_one_by_one(
            values in proptest::collection::vec(prop_oneof![0_u64..200, 0_u64..20_000], 4),
            behind in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut bytes = Vec::new();
            values.iter().for_each(|&value| put(&mut bytes, value));
            let short_bytes = bytes.len();
            bytes.extend(behind);
            let mut reader = Reader::new(&bytes);
            let is_short = values.iter().all(|&value| value < TWO_BYTES_END);
            match reader.short::<4>() {
                Some(four) => {
                    prop_assert!(is_short);
                    prop_assert_eq!((&four[..], reader.rest()), (&values[..], &bytes[short_bytes..]));
                }
                None => {
                    prop_assert!(!is_short || bytes.len() < 8);
                    prop_assert_eq!(reader.rest(), &bytes[..]);
                }
            }
        }

        #[test]
        fn short_values_of_any_bytes_are_those_one_by_one(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let (mut reader, mut single) = (Reader::new(&bytes), Reader::new(&bytes));
            if let Some(three) = reader.short::<3>() {
                prop_assert_eq!(three.map(Some), [(); 3].map(|()| single.varint()));
                prop_assert_eq!(reader.rest(), single.rest());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_some() && reader.bytes().is_some() && reader.u64().is_some() {}
        }
    }

    #[test]
    fn every_length_reads_back_with_much_and_with_nothing_behind_it() {
        for length in 1..=9 {
            for value in [1 << (7 * length - 7), (1 << (7 * length)) - 1] {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                assert_eq!(bytes.len(), length, "{value}");
                for behind in [0, 1, 8] {
                    bytes.resize(length + behind, 0xff);
                    let mut reader = Reader::new(&bytes);
                    assert_eq!((reader.varint(), reader.rest().len()), (Some(value), behind));
                }
            }
        }
    }

    #[test]
    fn a_varint_past_64_bits_is_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).varint(), None);
        assert_eq!(Reader::new(&[0xff; 9]).varint(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).varint(), Some(u64::MAX));
    }
}
