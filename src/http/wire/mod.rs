//! HTTP/1.1 without I/O: bytes in, values out. Nothing here reads a socket, so all of it can be fed any bytes at all.

pub mod body;
pub mod gzip;
pub mod head;
pub mod multipart;
pub mod query_string;
pub mod response;
