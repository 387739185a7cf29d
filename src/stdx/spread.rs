//! Half a hash beside each entry of a table: enough to find it, and a table that grows reads nothing else.

/// 64 well-mixed bits out of 32: a table takes its tag from the top, its place from the bottom.
#[inline]
pub fn spread(hash: u32) -> u64 {
    let wide = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    wide ^ (wide >> 32)
}
