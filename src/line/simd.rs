//! Positions of the bytes that shape a line, many bytes at a time.
//!
//! In:    up to [`CHUNK_BYTES`] of text.
//! Out:   where its line feeds, spaces, commas, `=`, `"` and `\` stand, in order, as 16-bit offsets.
//!
//! Three tiers with one result: AVX-512 with VBMI2 (compress writes the offsets of 64 bytes at once), AVX2 (masks, then
//! one bit at a time), and a table for every other machine. Chosen once, when a parser is made. In TSBS text every
//! eighth byte is structural, so searches that hop from match to match (memchr3) spend their time in calls.

/// Text indexed at a time: its offsets fit 16 bits, and text and index together stay in the first two cache levels.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Bytes that become one mask.
const BLOCK_BYTES: usize = 64;

const _: () = assert!(CHUNK_BYTES <= 1 << 16 && CHUNK_BYTES.is_multiple_of(BLOCK_BYTES));

/// How an index is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A table, one byte at a time.
    Scalar,
    /// 32 bytes at a time.
    Avx2,
    /// 64 bytes at a time.
    Avx512,
}

impl Tier {
    /// The tiers this machine can run, slowest first.
    pub fn available() -> Vec<Tier> {
        [Tier::Scalar, Tier::Avx2, Tier::Avx512].into_iter().filter(|tier| tier.is_available()).collect()
    }

    /// The fastest tier this machine can run.
    pub fn best() -> Tier {
        [Tier::Avx512, Tier::Avx2].into_iter().find(|tier| tier.is_available()).unwrap_or(Tier::Scalar)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Tier::Scalar => true,
            Tier::Avx2 => std::is_x86_feature_detected!("avx2"),
            Tier::Avx512 => {
                std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512vbmi2")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Tier::Scalar
    }
}

/// The offsets of one chunk.
#[derive(Debug)]
pub struct Index {
    tier: Tier,
    offsets: Box<[u16]>,
    count: usize,
}

impl Index {
    /// An empty index that `tier` will fill; a tier this machine lacks is replaced by the best it has.
    pub fn new(tier: Tier) -> Index {
        let tier = if tier.is_available() { tier } else { Tier::best() };
        // Room for a whole block behind the last offset, as blocks are written whole.
        Index { tier, offsets: vec![0; CHUNK_BYTES + BLOCK_BYTES].into(), count: 0 }
    }

    /// Offsets found by the last [`Index::fill`].
    #[inline]
    pub fn offsets(&self) -> &[u16] {
        &self.offsets[..self.count]
    }

    /// Indexes `text`, of which no more than [`CHUNK_BYTES`] are looked at.
    pub fn fill(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(CHUNK_BYTES)];
        self.count = match self.tier {
            Tier::Scalar => scalar(text, 0, &mut self.offsets, 0),
            // SAFETY: `new` keeps a tier only if this machine has its features.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { x86::avx2(text, &mut self.offsets) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { x86::avx512(text, &mut self.offsets) },
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 => scalar(text, 0, &mut self.offsets, 0),
        };
    }
}

/// Whether a byte shapes a line.
const STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"\n ,=\"\\";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};

/// The twin that defines the index: continues one of `count` offsets with those from `start` on.
fn scalar(text: &[u8], start: usize, offsets: &mut [u16], mut count: usize) -> usize {
    for (at, &byte) in text.iter().enumerate().skip(start) {
        // Written always and counted when structural: a branch here would be mispredicted at every eighth byte.
        offsets[count] = at as u16;
        count += usize::from(STRUCTURAL[usize::from(byte)]);
    }
    count
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::BLOCK_BYTES;
    use super::CHUNK_BYTES;
    use super::scalar;
    use std::arch::x86_64::*;

    /// By its low four bits, the only structural byte that has them; zero where there is none. A byte equals its entry
    /// exactly if it is structural, but for the backslash, which shares its bits with the comma.
    const BY_LOW_BITS: [u8; 16] = [b' ', 0, b'"', 0, 0, 0, 0, 0, 0, 0, b'\n', 0, b',', b'=', 0, 0];

    /// Indexes `text` 64 bytes at a time; returns the number of offsets.
    ///
    /// # Safety
    /// The machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(text: &[u8], offsets: &mut [u16]) -> usize {
        assert!(text.len() <= CHUNK_BYTES && offsets.len() >= CHUNK_BYTES + BLOCK_BYTES);
        // SAFETY: the table has 16 bytes.
        let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(BY_LOW_BITS.as_ptr().cast()) });
        let backslash = _mm256_set1_epi8(b'\\' as i8);
        let mask = |half: &[u8; 32]| {
            // SAFETY: a half block has 32 bytes.
            let bytes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
            let expected = _mm256_shuffle_epi8(table, bytes);
            let found = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, expected), _mm256_cmpeq_epi8(bytes, backslash));
            u64::from(_mm256_movemask_epi8(found) as u32)
        };
        let (halves, _) = text.as_chunks::<32>();
        let (blocks, _) = halves.as_chunks::<2>();
        let mut count = 0;
        for (block_index, [low, high]) in blocks.iter().enumerate() {
            let mut bits = mask(low) | mask(high) << 32;
            let base = (block_index * BLOCK_BYTES) as u16;
            let found = bits.count_ones() as usize;
            // Eight at a time whether there are as many or not: few branches, all foreseeable.
            let block: &mut [u16; BLOCK_BYTES] =
                (&mut offsets[count..count + BLOCK_BYTES]).try_into().expect("a block long");
            let (eights, _) = block.as_chunks_mut::<8>();
            for eight in eights.iter_mut().take(found.div_ceil(8)) {
                for offset in eight {
                    *offset = base.wrapping_add(bits.trailing_zeros() as u16);
                    bits &= bits.wrapping_sub(1);
                }
            }
            count += found;
        }
        scalar(text, blocks.len() * BLOCK_BYTES, offsets, count)
    }

    /// Indexes `text` 64 bytes at a time; returns the number of offsets.
    ///
    /// # Safety
    /// The machine has AVX-512 F, BW and VBMI2.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
    pub(super) unsafe fn avx512(text: &[u8], offsets: &mut [u16]) -> usize {
        assert!(text.len() <= CHUNK_BYTES && offsets.len() >= CHUNK_BYTES + BLOCK_BYTES);
        // SAFETY: the table has 16 bytes.
        let table = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(BY_LOW_BITS.as_ptr().cast()) });
        let backslash = _mm512_set1_epi8(b'\\' as i8);
        let counting: [u8; BLOCK_BYTES] = std::array::from_fn(|at| at as u8);
        // SAFETY: the array has 64 bytes.
        let counting = unsafe { _mm512_loadu_si512(counting.as_ptr().cast()) };
        let (blocks, _) = text.as_chunks::<BLOCK_BYTES>();
        let mut count = 0;
        for (block_index, block) in blocks.iter().enumerate() {
            // SAFETY: a block has 64 bytes.
            let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
            let expected = _mm512_shuffle_epi8(table, bytes);
            let bits = _mm512_cmpeq_epi8_mask(bytes, expected) | _mm512_cmpeq_epi8_mask(bytes, backslash);
            let packed = _mm512_maskz_compress_epi8(bits, counting);
            let base = _mm512_set1_epi16((block_index * BLOCK_BYTES) as i16);
            let found = bits.count_ones() as usize;
            // `count` is at most the bytes seen so far, so a whole block of room is left behind it.
            let room = &mut offsets[count..count + BLOCK_BYTES];
            let low = _mm512_add_epi16(base, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(packed)));
            // SAFETY: the room has 64 offsets of 16 bits, the store writes the first 32.
            unsafe { _mm512_storeu_si512(room.as_mut_ptr().cast(), low) };
            if found > BLOCK_BYTES / 2 {
                let high = _mm512_add_epi16(base, _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64::<1>(packed)));
                // SAFETY: as above, the last 32.
                unsafe { _mm512_storeu_si512(room[BLOCK_BYTES / 2..].as_mut_ptr().cast(), high) };
            }
            count += found;
        }
        scalar(text, blocks.len() * BLOCK_BYTES, offsets, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::seeded::cases;
    use proptest::prelude::*;

    fn offsets(tier: Tier, text: &[u8]) -> Vec<u16> {
        let mut index = Index::new(tier);
        index.fill(text);
        index.offsets().to_vec()
    }

    #[test]
    fn full_chunk_of_structural_bytes_fits() {
        for tier in Tier::available() {
            let found = offsets(tier, &vec![b','; CHUNK_BYTES + 100]);
            assert_eq!(found, (0..CHUNK_BYTES).map(|at| at as u16).collect::<Vec<_>>(), "{tier:?}");
        }
    }

    #[test]
    fn each_byte_value_is_classified_alike() {
        let text: Vec<u8> = (0..=255).collect();
        for tier in Tier::available() {
            let found = offsets(tier, &text);
            assert_eq!(found, [10, 32, 34, 44, 61, 92], "{tier:?}");
        }
    }

    proptest! {
        #![proptest_config(cases(512))]

        #[test]
        fn every_tier_equals_the_scalar_one(
            text in prop::collection::vec(
                prop_oneof![prop::sample::select(b"\n ,=\"\\".to_vec()), any::<u8>()], 0..400),
            start in 0_usize..70,
        ) {
            let text = &text[start.min(text.len())..];
            let expected: Vec<u16> =
                (0..text.len()).filter(|&at| b"\n ,=\"\\".contains(&text[at])).map(|at| at as u16).collect();
            for tier in Tier::available() {
                prop_assert_eq!(&offsets(tier, text), &expected);
            }
        }
    }
}
