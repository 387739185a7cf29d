//! Request bodies taken out of their framing: a fixed length, or chunks.
//!
//! In:   the bytes received so far behind the head.
//! Out:  where the next body bytes lie among them; nothing is copied.
//!
//! ```text
//! chunk   = size [ ";" extension ] CRLF data CRLF
//! body    = *chunk "0" [ ";" extension ] CRLF *( trailer CRLF ) CRLF
//! ```
//!
//! Line ends are CRLF and nothing else: a peer that disagrees about bare line feeds is how requests get smuggled.

use super::head::Framing;

/// Longest line of a chunk's size with its extensions, and of all trailers together.
const CHUNK_LINE_BYTES_MAX: usize = 4096;
/// Framing bytes a peer may spend beyond one for each body byte, so that a body of one-byte chunks with long
/// extensions costs no more than its size.
const OVERHEAD_BYTES_MAX: u64 = 64 << 10;

/// The framing of a body is broken; the connection cannot be used any more. 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A chunk size that is no number, or is not followed by CRLF.
    #[error("invalid byte in chunk length")]
    ChunkSize,
    /// A chunk size of more than 60 bits.
    #[error("http chunk length too large")]
    ChunkTooLarge,
    /// Data of a chunk is not followed by CRLF.
    #[error("malformed chunked encoding")]
    ChunkEnd,
    /// Extensions or trailers longer than allowed.
    #[error("header line too long")]
    LineTooLong,
}

/// What one step found at the front of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Framing bytes to skip.
    pub skip: usize,
    /// Body bytes behind them.
    pub data: usize,
    /// The body ends behind these.
    pub done: bool,
}

/// Takes one body out of its framing.
#[derive(Debug)]
pub enum BodyDecoder {
    /// This many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
}

impl BodyDecoder {
    /// A decoder for a body framed like this.
    pub fn new(framing: Framing) -> BodyDecoder {
        match framing {
            Framing::Length(length) => BodyDecoder::Length(length),
            Framing::Chunked => BodyDecoder::Chunked(Chunked::default()),
        }
    }

    /// The next step over `input`; the caller takes `skip + data` bytes off its front. A step without bytes that is
    /// not `done` needs more input.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, FramingError> {
        match self {
            BodyDecoder::Length(left) => {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= data as u64;
                Ok(Step { skip: 0, data, done: *left == 0 })
            }
            BodyDecoder::Chunked(chunked) => chunked.step(input),
        }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        match self {
            BodyDecoder::Length(left) => *left == 0,
            BodyDecoder::Chunked(chunked) => chunked.state == ChunkState::Done,
        }
    }
}

/// Where a chunked body stands.
#[derive(Debug, Default)]
pub struct Chunked {
    state: ChunkState,
    /// Size of the chunk whose line is being read, then bytes of it left.
    left: u64,
    line_bytes: usize,
    overhead_bytes: u64,
    data_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    SizeStart,
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl Chunked {
    fn step(&mut self, input: &[u8]) -> Result<Step, FramingError> {
        let mut skip = 0;
        while self.state != ChunkState::Done {
            if self.state == ChunkState::Data {
                return Ok(self.data(&input[skip..], skip));
            }
            let Some(&byte) = input.get(skip) else { break };
            skip += 1;
            self.overhead_bytes += 1;
            if self.overhead_bytes > OVERHEAD_BYTES_MAX.saturating_add(self.data_bytes.saturating_mul(8)) {
                return Err(FramingError::LineTooLong);
            }
            self.state = self.framing_byte(byte)?;
        }
        Ok(Step { skip, data: 0, done: self.state == ChunkState::Done })
    }

    fn data(&mut self, input: &[u8], skip: usize) -> Step {
        let data = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.left -= data as u64;
        self.data_bytes += data as u64;
        if self.left == 0 {
            self.state = ChunkState::DataReturn;
        }
        Step { skip, data, done: false }
    }

    fn framing_byte(&mut self, byte: u8) -> Result<ChunkState, FramingError> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(FramingError::LineTooLong);
        }
        use ChunkState as State;
        Ok(match (self.state, byte) {
            (State::SizeStart | State::Size, byte) if byte.is_ascii_hexdigit() => {
                self.size_digit(byte)?;
                State::Size
            }
            (State::Size, b';' | b' ' | b'\t') => State::Extension,
            (State::Size | State::Extension, b'\r') => State::SizeLineFeed,
            (State::Extension, byte) if byte != b'\n' => State::Extension,
            (State::SizeLineFeed, b'\n') => {
                self.line_bytes = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => {
                self.line_bytes = 0;
                State::SizeStart
            }
            (State::DataReturn | State::DataLineFeed, _) => return Err(FramingError::ChunkEnd),
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            (State::TrailerStart | State::Trailer, byte) if byte != b'\n' => State::Trailer,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::LastLineFeed, b'\n') => State::Done,
            _ => return Err(FramingError::ChunkSize),
        })
    }

    fn size_digit(&mut self, byte: u8) -> Result<(), FramingError> {
        let digit = (byte as char).to_digit(16).map_or(0, u64::from);
        // 60 bits are enough for anything, and the sum cannot wrap.
        if self.left >> 56 != 0 {
            return Err(FramingError::ChunkTooLarge);
        }
        self.left = self.left << 4 | digit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `text` as it arrives in pieces that end at `cuts`; body and bytes left over.
    fn decode(framing: Framing, text: &[u8], cuts: &[usize]) -> Result<Option<(Vec<u8>, usize)>, FramingError> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut body, mut taken) = (Vec::new(), 0);
        for &end in cuts.iter().chain([&text.len()]) {
            loop {
                let step = decoder.step(&text[taken..end.max(taken)])?;
                body.extend_from_slice(&text[taken + step.skip..taken + step.skip + step.data]);
                taken += step.skip + step.data;
                if step.done {
                    assert!(decoder.is_done());
                    return Ok(Some((body, taken)));
                }
                if step.skip + step.data == 0 {
                    break;
                }
            }
        }
        Ok(None)
    }

    fn check(text: &str, expected: Result<Option<&str>, FramingError>) {
        let got = decode(Framing::Chunked, text.as_bytes(), &[]);
        let got = got.map(|done| done.map(|(body, _)| String::from_utf8(body).unwrap()));
        assert_eq!(got, expected.map(|body| body.map(str::to_owned)), "{text:?}");
    }

    #[test]
    fn chunks_are_joined_and_trailers_dropped() {
        check("3\r\nabc\r\n0\r\n\r\n", Ok(Some("abc")));
        check("3;x=y\r\nabc\r\nA \r\n0123456789\r\n00;q\r\nT: v\r\nU: w\r\n\r\n", Ok(Some("abc0123456789")));
        check("0\r\n\r\n", Ok(Some("")));
        check("3\r\nab", Ok(None));
    }

    #[test]
    fn broken_framing_is_refused() {
        check("x\r\n", Err(FramingError::ChunkSize));
        check("\r\n", Err(FramingError::ChunkSize));
        check("-1\r\n", Err(FramingError::ChunkSize));
        check("3\nabc\r\n0\r\n\r\n", Err(FramingError::ChunkSize));
        check("3;a\nabc", Err(FramingError::ChunkSize));
        check("3\r\nabcd", Err(FramingError::ChunkEnd));
        check("3\r\nabc\n", Err(FramingError::ChunkEnd));
        check("0\r\n\n", Err(FramingError::ChunkSize));
        check("fffffffffffffffff\r\n", Err(FramingError::ChunkTooLarge));
        check(&format!("1;{}\r\n", "x".repeat(5000)), Err(FramingError::LineTooLong));
        check(&format!("0\r\n{}", "a: b\r\n".repeat(1000)), Err(FramingError::LineTooLong));
        let wasteful = format!("1;{}\r\nx\r\n", "e".repeat(1000));
        check(&wasteful.repeat(100), Err(FramingError::LineTooLong));
    }

    #[test]
    fn bytes_behind_the_body_are_left_for_the_next_request() {
        let text = b"abcGET /";
        assert_eq!(decode(Framing::Length(3), text, &[1, 2]), Ok(Some((b"abc".to_vec(), 3))));
        assert_eq!(decode(Framing::Length(0), text, &[]), Ok(Some((Vec::new(), 0))));
        assert_eq!(decode(Framing::Chunked, b"1\r\na\r\n0\r\n\r\nGET", &[]), Ok(Some((b"a".to_vec(), 11))));
    }

    fn chunked(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut text = Vec::new();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            text.extend_from_slice(format!("{:x};a=b\r\n", part.len()).as_bytes());
            text.extend_from_slice(part);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        text
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            mut cuts in proptest::collection::vec(0_usize..400, 0..20),
        ) {
            let text = chunked(&parts);
            cuts.sort_unstable();
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(text.len()));
            prop_assert_eq!(decode(Framing::Chunked, &text, &cuts), Ok(Some((parts.concat(), text.len()))));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic_and_split_alike(
            text in proptest::collection::vec(
                prop_oneof![Just(b'1'), Just(b'\r'), Just(b'\n'), Just(b';'), any::<u8>()], 0..60,
            ),
            cut in 0_usize..60,
        ) {
            let whole = decode(Framing::Chunked, &text, &[]);
            prop_assert_eq!(decode(Framing::Chunked, &text, &[cut.min(text.len())]), whole);
        }
    }
}
