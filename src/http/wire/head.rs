//! The head of a request: request line and header fields, and how its body is framed.
//!
//! In:   the bytes received so far.
//! Out:  a [`RequestHead`] that owns a copy of them (the receive buffer is needed for the body), or a refusal.
//!
//! Anything about which two parsers could disagree where a request ends is refused: a Content-Length that is no plain
//! number or comes twice with different values, folded lines, other transfer codings. Beside `chunked` a Content-Length
//! counts for nothing, and the connection ends after the answer (RFC 9112, 6.1).

use std::ops::Range;

/// Header fields a usual request has room for without an allocation.
const HEADERS_USUAL: usize = 64;
/// Header fields of one request.
pub const HEADERS_MAX: usize = 4096;

/// A request is refused before anything reads its path. Each variant is one status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP, or ambiguous. 400.
    #[error("400 Bad Request: {0}")]
    Malformed(&'static str),
    /// The head is longer than allowed. 431.
    #[error("431 Request Header Fields Too Large")]
    TooLarge,
    /// Neither HTTP/1.0 nor 1.1. 505.
    #[error("505 HTTP Version Not Supported: unsupported protocol version")]
    Version,
    /// A transfer coding other than chunked. 501.
    #[error("501 Not Implemented: unsupported transfer encoding")]
    TransferCoding,
}

impl HeadError {
    /// The status it is answered with.
    pub fn status(&self) -> u16 {
        match self {
            HeadError::Malformed(_) => 400,
            HeadError::TooLarge => 431,
            HeadError::Version => 505,
            HeadError::TransferCoding => 501,
        }
    }
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes; 0 is no body.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// A parsed request head. Reused from request to request of one connection.
#[derive(Debug, Default)]
pub struct RequestHead {
    bytes: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    path: Vec<u8>,
    query: Range<usize>,
    minor_version: u8,
    framing: Option<Framing>,
}

impl RequestHead {
    /// Parses a head from the front of `input`; says how long it is, or `None` when it is not complete.
    pub fn parse(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        let mut usual = [httparse::EMPTY_HEADER; HEADERS_USUAL];
        match self.parse_fields(input, &mut usual) {
            Err(HeadError::TooLarge) => self.parse_fields(input, &mut vec![httparse::EMPTY_HEADER; HEADERS_MAX]),
            outcome => outcome,
        }
    }

    fn parse_fields<'i>(
        &mut self,
        input: &'i [u8],
        headers: &mut [httparse::Header<'i>],
    ) -> Result<Option<usize>, HeadError> {
        let mut request = httparse::Request::new(headers);
        let length = match request.parse(input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::Version) if names_version(input) => return Err(HeadError::Version),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(_) => return Err(HeadError::Malformed("malformed HTTP request")),
        };
        let place = |part: &[u8]| {
            // httparse hands out slices of `input` only.
            let start = part.as_ptr().addr() - input.as_ptr().addr();
            start..start + part.len()
        };
        self.bytes.clear();
        self.bytes.extend_from_slice(&input[..length]);
        self.method = place(request.method.unwrap_or_default().as_bytes());
        self.target = place(request.path.unwrap_or_default().as_bytes());
        self.minor_version = request.version.unwrap_or(1);
        self.headers.clear();
        for header in request.headers.iter() {
            self.headers.push((place(header.name.as_bytes()), place(header.value)));
        }
        self.split_target()?;
        self.framing = Some(self.find_framing()?);
        let mut hosts = self.header_values("host");
        if hosts.next().is_none() && self.minor_version == 1 {
            return Err(HeadError::Malformed("missing required Host header"));
        }
        if hosts.next().is_some() {
            return Err(HeadError::Malformed("too many Host headers"));
        }
        Ok(Some(length))
    }

    /// Splits the target into decoded path and raw query; an absolute address loses its scheme and host.
    fn split_target(&mut self) -> Result<(), HeadError> {
        let target = &self.bytes[self.target.clone()];
        let mut start = 0;
        for scheme in ["http://", "https://"] {
            if target.len() >= scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes()) {
                let authority = &target[scheme.len()..];
                let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(authority.len());
                start = scheme.len() + end;
            }
        }
        let rest = &target[start..];
        let rest = &rest[..memchr::memchr(b'#', rest).unwrap_or(rest.len())];
        let mark = memchr::memchr(b'?', rest);
        let path = &rest[..mark.unwrap_or(rest.len())];
        let offset = self.target.start + start;
        self.query = mark.map_or(0..0, |mark| offset + mark + 1..offset + rest.len());
        self.path.clear();
        if !super::query_string::percent_decode(path, false, &mut self.path) {
            return Err(HeadError::Malformed("malformed URL"));
        }
        Ok(())
    }

    fn find_framing(&self) -> Result<Framing, HeadError> {
        let mut codings = self.header_values("transfer-encoding");
        let coding = codings.next();
        if let Some(coding) = coding {
            if self.minor_version == 0 || codings.next().is_some() {
                return Err(HeadError::Malformed("bad Transfer-Encoding"));
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferCoding);
            }
            return Ok(Framing::Chunked);
        }
        let mut lengths = self.header_values("content-length");
        let Some(length) = lengths.next() else { return Ok(Framing::Length(0)) };
        if lengths.any(|other| other != length) {
            return Err(HeadError::Malformed("repeated Content-Length"));
        }
        parse_length(length).map(Framing::Length).ok_or(HeadError::Malformed("bad Content-Length"))
    }

    /// `GET`, `POST`, ...
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// Path and query as sent.
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The path, percent-decoded.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The part of the target behind `?`, as sent.
    pub fn query(&self) -> &[u8] {
        &self.bytes[self.query.clone()]
    }

    /// Whether the request is HTTP/1.1 rather than 1.0.
    pub fn is_http_11(&self) -> bool {
        self.minor_version == 1
    }

    /// Where the body ends.
    pub fn framing(&self) -> Framing {
        self.framing.unwrap_or(Framing::Length(0))
    }

    /// The first value of a header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// The first value of a header as text, empty when absent or no UTF-8.
    pub fn header_text(&self, name: &str) -> &str {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// All values of a header.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| self.bytes[key.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| self.bytes[value.clone()].trim_ascii())
    }

    /// Whether a comma-separated header holds `token`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.header_values(name).any(|value| value.split(|byte| *byte == b',').any(|part| is_token(part, token)))
    }

    /// Whether the connection stays open after this request.
    pub fn keeps_alive(&self) -> bool {
        let framed_twice = self.framing() == Framing::Chunked && self.header("content-length").is_some();
        if framed_twice || self.has_token("connection", "close") {
            return false;
        }
        self.is_http_11() || self.has_token("connection", "keep-alive")
    }

    fn text(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }
}

fn is_token(part: &[u8], token: &str) -> bool {
    part.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
}

/// Whether a request line ends in a version of HTTP, be it one that is not served.
fn names_version(input: &[u8]) -> bool {
    let line = input.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.nth(2).and_then(|word| word.strip_prefix(b"HTTP/"));
    matches!(version, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// A plain decimal number: no sign, no blanks, no overflow.
fn parse_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Finds the end of a head in bytes that arrive piece by piece, looking at each byte once.
#[derive(Debug, Default)]
pub struct HeadEnd {
    seen: usize,
}

impl HeadEnd {
    /// Whether an empty line ends within `input`, which starts with what earlier calls saw.
    pub fn find(&mut self, input: &[u8]) -> bool {
        let mut from = self.seen.saturating_sub(2);
        self.seen = input.len();
        while let Some(at) = memchr::memchr(b'\n', input.get(from..).unwrap_or_default()) {
            match &input[from + at + 1..] {
                [b'\n', ..] | [b'\r', b'\n', ..] => return true,
                _ => from += at + 1,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<RequestHead, HeadError> {
        let mut head = RequestHead::default();
        let length = head.parse(text.as_bytes())?.expect("complete");
        assert_eq!(length, text.len());
        Ok(head)
    }

    fn framing(headers: &str) -> Result<Framing, HeadError> {
        parse(&format!("POST /write HTTP/1.1\r\nHost: h\r\n{headers}\r\n")).map(|head| head.framing())
    }

    #[test]
    fn a_request_line_is_split_into_its_parts() {
        let head = parse("GET /a%20b?q=1&x=%zz HTTP/1.1\r\nHost: h\r\nX-A:  v \r\n\r\n").unwrap();
        assert_eq!(head.method(), "GET");
        assert_eq!(head.path(), b"/a b");
        assert_eq!(head.query(), b"q=1&x=%zz");
        assert_eq!(head.header_text("x-a"), "v");
        assert!(head.keeps_alive());
    }

    #[test]
    fn an_absolute_address_loses_its_host() {
        let head = parse("GET http://h:1/query?db=x HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!((head.path(), head.query()), (&b"/query"[..], &b"db=x"[..]));
    }

    #[test]
    fn http_10_closes_unless_asked_not_to() {
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keeps_alive());
        assert!(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().keeps_alive());
        assert!(!parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n").unwrap().keeps_alive());
    }

    #[test]
    fn framing_headers_are_taken_literally() {
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("content-length: 12\r\nContent-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("Transfer-Encoding: gzip\r\n"), Err(HeadError::TransferCoding));
        for bad in [
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length:\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "A: b\r\n folded\r\n",
            "A : b\r\n",
        ] {
            assert!(matches!(framing(bad), Err(HeadError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
        let head = parse("POST /write HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        assert_eq!(head.framing(), Framing::Chunked);
        assert!(!head.keeps_alive());
    }

    #[test]
    fn a_head_may_have_many_fields() {
        let head = parse(&format!("GET / HTTP/1.1\r\nHost: h\r\n{}X: last\r\n\r\n", "a: b\r\n".repeat(3000))).unwrap();
        assert_eq!(head.header_text("x"), "last");
    }

    #[test]
    fn refusals_have_their_status() {
        assert_eq!(parse("GET / HTTP/2.0\r\n\r\n").unwrap_err().status(), 505);
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").unwrap_err().status(), 400);
        assert_eq!(parse("GET / HTTP/1.1\r\nHost: h\r\nhost: i\r\n\r\n").unwrap_err().status(), 400);
        assert_eq!(parse("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n").unwrap_err().status(), 400);
        assert_eq!(parse("GET / FOO\r\nHost: h\r\n\r\n").unwrap_err().status(), 400);
        assert_eq!(parse("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap_err().status(), 400);
        assert_eq!(parse("\x16\x03\x01 \r\n\r\n").unwrap_err().status(), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(&many).unwrap_err().status(), 431);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = RequestHead::default().parse(&bytes);
            let mut text = b"POST /a?b HTTP/1.1\r\nHost: x\r\n".to_vec();
            text.extend_from_slice(&bytes);
            text.extend_from_slice(b"\r\n\r\n");
            let _ = RequestHead::default().parse(&text);
        }

        #[test]
        fn the_end_of_a_head_is_found_however_it_arrives(cuts in proptest::collection::vec(0_usize..47, 0..8)) {
            let text = b"GET /ping HTTP/1.1\r\nHost: example.org\r\nA: b\r\n\r\n";
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut end = HeadEnd::default();
            for cut in cuts {
                prop_assert!(!end.find(&text[..cut]));
                prop_assert_eq!(RequestHead::default().parse(&text[..cut]), Ok(None));
            }
            prop_assert!(end.find(text));
        }
    }
}
