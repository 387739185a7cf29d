//! HTTP/1.1 over a raw socket, as plain as a client can be: what is sent and what came back are bytes.
//!
//! Owns:  one connection, kept alive between requests.
//! In:    a request in parts. Out: the whole answer, with chunked bodies joined.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Error;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Result;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

/// A hung server fails the test instead of hanging it too.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// One answer, its body unchunked but still as encoded (gzip stays gzip).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// First header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A client of one server; reconnects when the server has closed the kept connection.
pub struct Client {
    address: SocketAddr,
    open: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, open: None }
    }

    /// Sends one request and reads its answer. A kept connection that turns out closed is replaced once.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let reused = self.open.is_some();
        match self.attempt(method, target, headers, body) {
            Err(_) if reused => self.attempt(method, target, headers, body),
            outcome => outcome,
        }
    }

    fn attempt(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        let mut message = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (key, value) in headers {
            message.push_str(&format!("{key}: {value}\r\n"));
        }
        let has_length = headers.iter().any(|(key, _)| key.eq_ignore_ascii_case("content-length"));
        if !has_length && (body.is_some() || ["POST", "PUT", "PATCH"].contains(&method)) {
            message.push_str(&format!("Content-Length: {}\r\n", body.unwrap_or_default().len()));
        }
        message.push_str("\r\n");
        let mut bytes = message.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        // A server may refuse a body before it has read it all: the answer tells more than the broken pipe.
        let sent = stream.get_mut().write_all(&bytes);
        let answer = match (read_answer(&mut stream, method), sent) {
            (Err(_), Err(error)) => return Err(error),
            (answer, _) => answer?,
        };
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.open = (!closes).then_some(stream);
        Ok(answer)
    }
}

/// Opens a connection on which nothing waits for ever.
pub fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
    Ok(BufReader::with_capacity(64 << 10, stream))
}

/// Reads one answer to a request with `method`; interim (1xx) answers are passed over.
pub fn read_answer(stream: &mut impl BufRead, method: &str) -> Result<Answer> {
    loop {
        let line = read_line(stream)?;
        let status: u16 = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| malformed(format!("status line {line:?}")))?;
        let mut answer = Answer { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            let (key, value) = line.split_once(':').ok_or_else(|| malformed(format!("header line {line:?}")))?;
            answer.headers.push((key.to_owned(), value.trim().to_owned()));
        }
        if (100..200).contains(&status) {
            continue;
        }
        if method != "HEAD" && status != 204 && status != 304 {
            answer.body = read_body(stream, &answer)?;
        }
        return Ok(answer);
    }
}

fn read_body(stream: &mut impl BufRead, answer: &Answer) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(stream)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                while !read_line(stream)?.is_empty() {}
                return Ok(body);
            }
            read_exactly(stream, size, &mut body)?;
            read_line(stream)?;
        }
    }
    match answer.header("content-length") {
        Some(length) => {
            let length = length.parse().map_err(|_| malformed(format!("content-length {length:?}")))?;
            read_exactly(stream, length, &mut body)?;
        }
        None => {
            stream.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

fn read_exactly(stream: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<()> {
    let read = stream.take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(malformed(format!("body ends after {read} of {length} bytes"))) }
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    // Latin-1, as HTTP has it: any byte is a letter.
    Ok(line.into_iter().map(char::from).collect())
}

fn malformed(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
