//! What std lacks: no domain words.

pub mod bitset;
pub mod budget;
pub mod join;
pub mod notify;
pub mod pace;
pub mod pdqsort;
#[cfg(test)]
pub mod seeded;
pub mod spread;
pub mod varint;
pub mod wide;
