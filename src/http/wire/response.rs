//! Response bytes: the head, chunks, gzip.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Text of a status code.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// Appends `HTTP/1.1 200 OK` and a line end; a client of 1.0 gets its own version, as from Go's server.
pub fn status_line(status: u16, is_http_11: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if is_http_11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    number(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends one header field; line ends inside the value become spaces, so that no value can start another field.
pub fn header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

/// Appends a decimal number.
pub fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `data` as one chunk; nothing for no data, because an empty chunk ends the body.
pub fn chunk(data: &[u8], out: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Packs a response body as it is made.
#[derive(Debug)]
pub struct GzipWriter(GzEncoder<Vec<u8>>);

impl Default for GzipWriter {
    fn default() -> GzipWriter {
        // Rows compress well at any level; the fastest costs a fraction of the others.
        GzipWriter(GzEncoder::new(Vec::new(), Compression::fast()))
    }
}

impl GzipWriter {
    /// Packs `data`; with `flush` the reader can unpack all of it from what [`GzipWriter::take`] gives next.
    pub fn write(&mut self, data: &[u8], flush: bool) {
        // Writing to a Vec cannot fail.
        let _ = self.0.write_all(data);
        if flush {
            let _ = self.0.flush();
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self) {
        let _ = self.0.try_finish();
    }

    /// The packed bytes so far; [`GzipWriter::taken`] says that they were used.
    pub fn take(&self) -> &[u8] {
        self.0.get_ref()
    }

    /// Forgets the bytes of [`GzipWriter::take`].
    pub fn taken(&mut self) {
        self.0.get_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::gzip::Gunzip;

    #[test]
    fn a_head_is_written_as_expected() {
        let mut out = Vec::new();
        status_line(204, true, &mut out);
        header("X-Influxdb-Error", b"a\r\nb: c", &mut out);
        assert_eq!(out, b"HTTP/1.1 204 No Content\r\nX-Influxdb-Error: a  b: c\r\n");
    }

    #[test]
    fn an_empty_chunk_is_not_written() {
        let mut out = Vec::new();
        chunk(b"", &mut out);
        chunk(&[b'x'; 26], &mut out);
        assert_eq!(out, [b"1a\r\n", &[b'x'; 26][..], b"\r\n"].concat());
    }

    #[test]
    fn flushed_gzip_can_be_read_before_the_end() {
        let mut writer = GzipWriter::default();
        let mut gunzip = Gunzip::default();
        let mut output = [0; 100];
        for part in [&b"first"[..], b"second"] {
            writer.write(part, true);
            let (taken, given) = gunzip.unpack(writer.take(), &mut output).unwrap();
            assert_eq!(taken, writer.take().len());
            assert_eq!(&output[..given], part);
            writer.taken();
        }
        writer.finish();
        gunzip.unpack(writer.take(), &mut output).unwrap();
        gunzip.finish().unwrap();
    }
}
