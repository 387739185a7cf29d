//! What std lacks: no domain words.

pub mod bitset;
pub mod budget;
pub mod notify;
#[cfg(test)]
pub mod seeded;
pub mod varint;
