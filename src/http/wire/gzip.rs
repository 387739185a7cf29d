//! gzip request bodies, unpacked while they arrive, with the errors Go's reader gives: clients see their texts.
//!
//! ```text
//! body   = 1*member
//! member = header(10) [extra] [name 0] [comment 0] [crc16] deflate-data crc32 size32
//! ```

use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

/// A gzip body cannot be unpacked. 400, nothing stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// Nothing at all came.
    #[error("EOF")]
    Empty,
    /// It stops in the middle.
    #[error("unexpected EOF")]
    Truncated,
    /// Not gzip.
    #[error("gzip: invalid header")]
    Header,
    /// Checksum or size disagree.
    #[error("gzip: invalid checksum")]
    Checksum,
    /// The compressed data is damaged.
    #[error("flate: corrupt input before offset {0}")]
    Corrupt(u64),
}

const FIXED_HEADER_BYTES: usize = 10;
/// Go's reader holds names and comments in 512 bytes, the closing zero included.
const HEADER_TEXT_BYTES_MAX: usize = 512;

/// Unpacks one body, which may have several members.
#[derive(Debug)]
pub struct Gunzip {
    state: State,
    inflate: Decompress,
    crc: crc32fast::Hasher,
    size: u32,
    /// Header or trailer bytes of the open member.
    pending: Vec<u8>,
    members: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Data,
    Trailer,
}

impl Default for Gunzip {
    fn default() -> Gunzip {
        Gunzip {
            state: State::Header,
            inflate: Decompress::new(false),
            crc: crc32fast::Hasher::new(),
            size: 0,
            pending: Vec::new(),
            members: 0,
        }
    }
}

impl Gunzip {
    /// Starts over with the next body.
    pub fn reset(&mut self) {
        self.state = State::Header;
        self.pending.clear();
        self.members = 0;
    }

    /// Unpacks from `input` into `output`; returns bytes taken and bytes given. When `output` was filled, more may be
    /// waiting even if all of `input` was taken.
    pub fn unpack(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), GzipError> {
        let (mut taken, mut given) = (0, 0);
        loop {
            let before = (taken, given, self.state);
            match self.state {
                State::Header => taken += self.header(&input[taken..])?,
                State::Data => {
                    let (used, made) = self.data(&input[taken..], &mut output[given..])?;
                    taken += used;
                    given += made;
                }
                State::Trailer => taken += self.trailer(&input[taken..])?,
            }
            if (taken, given, self.state) == before {
                return Ok((taken, given));
            }
        }
    }

    /// The input is over; was the body?
    pub fn finish(&self) -> Result<(), GzipError> {
        match (self.state, self.pending.is_empty()) {
            (State::Header, true) if self.members == 0 => Err(GzipError::Empty),
            (State::Header, true) => Ok(()),
            _ => Err(GzipError::Truncated),
        }
    }

    fn header(&mut self, input: &[u8]) -> Result<usize, GzipError> {
        let mut taken = 0;
        while taken < input.len() {
            // In small steps: a header is short, what follows it is not.
            let step = &input[taken..input.len().min(taken + 64)];
            let known = self.pending.len();
            self.pending.extend_from_slice(step);
            if let Some(length) = header_length(&self.pending)? {
                self.pending.clear();
                self.begin_member();
                return Ok(taken + length - known);
            }
            taken += step.len();
        }
        Ok(taken)
    }

    fn begin_member(&mut self) {
        self.members += 1;
        self.inflate.reset(false);
        self.crc = crc32fast::Hasher::new();
        self.size = 0;
        self.state = State::Data;
    }

    fn data(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), GzipError> {
        if output.is_empty() {
            return Ok((0, 0));
        }
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, output, FlushDecompress::None);
        let taken = (self.inflate.total_in() - before.0) as usize;
        let given = (self.inflate.total_out() - before.1) as usize;
        self.crc.update(&output[..given]);
        self.size = self.size.wrapping_add(given as u32);
        match status {
            Ok(Status::StreamEnd) => self.state = State::Trailer,
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => return Err(GzipError::Corrupt(self.inflate.total_in())),
        }
        Ok((taken, given))
    }

    fn trailer(&mut self, input: &[u8]) -> Result<usize, GzipError> {
        let taken = input.len().min(8 - self.pending.len());
        self.pending.extend_from_slice(&input[..taken]);
        if let Ok(trailer) = <[u8; 8]>::try_from(&self.pending[..]) {
            let expected = (u64::from(self.size) << 32) | u64::from(self.crc.clone().finalize());
            if u64::from_le_bytes(trailer) != expected {
                return Err(GzipError::Checksum);
            }
            self.pending.clear();
            self.state = State::Header;
        }
        Ok(taken)
    }
}

/// Length of the member header at the front of `bytes`; `None` when it is not complete.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, GzipError> {
    let Some(fixed) = bytes.get(..FIXED_HEADER_BYTES) else { return Ok(None) };
    if fixed[..3] != [0x1f, 0x8b, 8] {
        return Err(GzipError::Header);
    }
    let flags = fixed[3];
    let mut at = FIXED_HEADER_BYTES;
    if flags & 4 != 0 {
        let Some(length) = bytes.get(at..at + 2) else { return Ok(None) };
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(text) = bytes.get(at..) else { return Ok(None) };
            match memchr::memchr(0, &text[..text.len().min(HEADER_TEXT_BYTES_MAX)]) {
                Some(length) => at += length + 1,
                None if text.len() >= HEADER_TEXT_BYTES_MAX => return Err(GzipError::Header),
                None => return Ok(None),
            }
        }
    }
    if flags & 2 != 0 {
        let Some(crc) = bytes.get(at..at + 2) else { return Ok(None) };
        if crc32fast::hash(&bytes[..at]) as u16 != u16::from_le_bytes([crc[0], crc[1]]) {
            return Err(GzipError::Header);
        }
        at += 2;
    }
    Ok((bytes.len() >= at).then_some(at))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::GzBuilder;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn pack(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacks input that arrives in pieces of `input_step` bytes into buffers of `output_step`.
    fn unpack(packed: &[u8], input_step: usize, output_step: usize) -> Result<Vec<u8>, GzipError> {
        let mut gunzip = Gunzip::default();
        let mut data = Vec::new();
        for piece in packed.chunks(input_step) {
            let mut taken = 0;
            loop {
                let mut output = vec![0; output_step];
                let (used, made) = gunzip.unpack(&piece[taken..], &mut output)?;
                taken += used;
                data.extend_from_slice(&output[..made]);
                if made < output_step && taken == piece.len() {
                    break;
                }
            }
        }
        gunzip.finish()?;
        Ok(data)
    }

    fn check(packed: &[u8], expected: Result<&[u8], GzipError>) {
        assert_eq!(unpack(packed, 1 << 20, 1 << 16), expected.map(<[u8]>::to_vec));
        assert_eq!(unpack(packed, 1, 3), expected.map(<[u8]>::to_vec));
    }

    #[test]
    fn members_are_joined() {
        check(&pack(b"one "), Ok(b"one "));
        check(&[pack(b"one "), pack(b""), pack(b"two")].concat(), Ok(b"one two"));
    }

    #[test]
    fn errors_have_gos_texts() {
        check(b"", Err(GzipError::Empty));
        check(b"not gzip", Err(GzipError::Truncated));
        check(b"cpu value=1 1", Err(GzipError::Header));
        let packed = pack(b"hello hello hello");
        check(&packed[..5], Err(GzipError::Truncated));
        check(&packed[..packed.len() - 1], Err(GzipError::Truncated));
        check(&packed[..packed.len() - 9], Err(GzipError::Truncated));
        let mut bad = packed.clone();
        *bad.last_mut().unwrap() ^= 1;
        check(&bad, Err(GzipError::Checksum));
        check(&[packed.clone(), b"x".to_vec()].concat(), Err(GzipError::Truncated));
        check(&[packed, b"trailing junk".to_vec()].concat(), Err(GzipError::Header));
        let mut damaged = pack(b"hello")[..10].to_vec();
        damaged.extend_from_slice(&[0xff; 20]);
        assert!(matches!(unpack(&damaged, 100, 100), Err(GzipError::Corrupt(_))));
        assert_eq!(GzipError::Empty.to_string(), "EOF");
        assert_eq!(GzipError::Truncated.to_string(), "unexpected EOF");
        assert_eq!(GzipError::Header.to_string(), "gzip: invalid header");
    }

    #[test]
    fn optional_header_parts_are_skipped() {
        let mut encoder = GzBuilder::new()
            .filename("a name")
            .comment("a comment")
            .extra(vec![7; 300])
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"data").unwrap();
        let packed = encoder.finish().unwrap();
        check(&packed, Ok(b"data"));
        let long = GzBuilder::new().filename("n".repeat(600)).write(Vec::new(), Compression::fast()).finish().unwrap();
        check(&long, Err(GzipError::Header));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_data(
            data in proptest::collection::vec(0_u8..4, 0..3000),
            input_step in 1_usize..200, output_step in 1_usize..200,
        ) {
            prop_assert_eq!(unpack(&pack(&data), input_step, output_step), Ok(data));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), flags: u8) {
            let _ = unpack(&bytes, 7, 50);
            let mut packed = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0];
            packed.extend_from_slice(&bytes);
            let _ = unpack(&packed, 13, 50);
        }
    }
}
