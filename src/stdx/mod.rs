//! What std lacks: no domain words.

pub mod bitset;
pub mod notify;
#[cfg(test)]
pub mod seeded;
pub mod spread;
pub mod varint;
