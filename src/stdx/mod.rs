//! What std lacks: no domain words.

pub mod bitset;
pub mod notify;
pub mod pdqsort;
#[cfg(test)]
pub mod seeded;
pub mod spread;
pub mod varint;
