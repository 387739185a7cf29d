//! What std lacks: no domain words.

pub mod bitset;
pub mod notify;
pub mod varint;
