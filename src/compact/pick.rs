//! Which segments of a partition to merge: a pure choice.

use std::ops::Range;

/// Segments of one size class that are merged together: each point is written once for each factor of this.
const FANOUT: usize = 8;
/// Smaller segments are all of the first size class.
const SMALL_BYTES: u64 = 256 << 10;
/// Merging stops here: larger files save nothing, and a merge of them holds its space for long.
const LARGE_BYTES: u64 = 4 << 30;
/// A segment of which this share is deleted is rewritten alone.
const DEAD_SHARE: f64 = 0.3;
/// A cold partition is rewritten for deleted points of this share, and its oldest segment is merged with the rest when
/// it is at most so many times as large.
const COLD_DEAD_SHARE: f64 = 0.01;
const COLD_RATIO: u64 = 2;

/// What the choice sees of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// File size.
    pub bytes: u64,
    /// Share of it that deletions hide, about; 0 when none does.
    pub dead: f64,
    /// Packing it promises to save enough; never true of what is packed.
    pub is_packable: bool,
    /// Cannot be merged: damaged.
    pub is_fixed: bool,
}

/// The segments to merge next; oldest first in `segments`. A merge leaves fewer segments, fewer dead points or fewer
/// that can be packed, so that picking comes to an end when nothing is added.
///
/// `is_cold`: no flush added one for long. What is written then is packed.
pub fn pick(segments: &[Candidate], is_cold: bool) -> Option<Range<usize>> {
    let stretches = stretches(segments);
    stretches.iter().find_map(|stretch| pick_dead(segments, stretch, is_cold)).or_else(|| {
        let of_a_size = stretches.iter().filter_map(|stretch| pick_of_a_size(segments, stretch));
        of_a_size
            .min_by_key(|range| bytes(segments, range))
            .or_else(|| stretches.iter().find_map(|stretch| if is_cold { pick_cold(segments, stretch) } else { None }))
    })
}

/// Where segments that may be merged follow each other.
fn stretches(segments: &[Candidate]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut stretches = Vec::new();
    for part in segments.split(|segment| segment.is_fixed) {
        stretches.push(start..start + part.len());
        start += part.len() + 1;
    }
    stretches
}

fn pick_dead(segments: &[Candidate], stretch: &Range<usize>, is_cold: bool) -> Option<Range<usize>> {
    let share = if is_cold { COLD_DEAD_SHARE } else { DEAD_SHARE };
    let index = stretch.clone().find(|&index| segments[index].dead >= share)?;
    Some(index..index + 1)
}

/// The smallest size class with enough segments: those, and the smaller ones between them.
fn pick_of_a_size(segments: &[Candidate], stretch: &Range<usize>) -> Option<Range<usize>> {
    let class = |index: usize| size_class(segments[index].bytes);
    let classes = stretch.clone().map(class).max()?;
    (0..=classes).find_map(|wanted| {
        let mut start = stretch.start;
        for end in stretch.clone() {
            if class(end) > wanted {
                start = end + 1;
                continue;
            }
            while bytes(segments, &(start..end + 1)) > LARGE_BYTES {
                start += 1;
            }
            let of_class = (start..end + 1).filter(|&index| class(index) == wanted).count();
            if of_class >= FANOUT {
                return Some(start..end + 1);
            }
        }
        None
    })
}

/// The most segments, up to the newest, that are worth it; then those to be packed, one by one.
fn pick_cold(segments: &[Candidate], stretch: &Range<usize>) -> Option<Range<usize>> {
    let merged = stretch.clone().find_map(|start| {
        let rest = bytes(segments, &(start + 1..stretch.end));
        let first = segments[start].bytes;
        let is_worth_it = rest > 0 && first <= rest * COLD_RATIO && first + rest <= LARGE_BYTES;
        is_worth_it.then_some(start..stretch.end)
    });
    merged.or_else(|| {
        let index = stretch.clone().find(|&index| segments[index].is_packable)?;
        Some(index..index + 1)
    })
}

fn size_class(bytes: u64) -> u32 {
    (bytes / SMALL_BYTES).max(1).ilog(FANOUT as u64)
}

fn bytes(segments: &[Candidate], range: &Range<usize>) -> u64 {
    segments[range.clone()].iter().map(|segment| segment.bytes).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stdx::seeded;

    fn of(sizes: &[u64]) -> Vec<Candidate> {
        sizes.iter().map(|&size| Candidate { bytes: size * SMALL_BYTES, ..Candidate::default() }).collect()
    }

    #[test]
    fn eight_of_a_size_are_merged_and_seven_wait() {
        assert_eq!(pick(&of(&[64, 8, 1, 1, 1, 1, 1, 1, 1]), false), None);
        assert_eq!(pick(&of(&[64, 8, 1, 1, 1, 1, 1, 1, 1, 1]), false), Some(2..10));
        assert_eq!(pick(&of(&[8, 8, 8, 8, 8, 1, 8, 8, 8, 1]), false), Some(0..9));
    }

    #[test]
    fn a_cold_partition_becomes_one_segment_unless_little_is_new() {
        assert_eq!(pick(&of(&[16, 8, 8, 1]), true), Some(0..4));
        assert_eq!(pick(&of(&[1000, 2, 1]), true), Some(1..3));
        assert_eq!(pick(&of(&[1000, 3]), true), None);
    }

    #[test]
    fn in_a_cold_partition_each_segment_that_is_worth_it_is_packed_once() {
        let mut segments = of(&[1000, 30, 3]);
        segments[0].is_packable = true;
        segments[2].is_packable = true;
        assert_eq!(pick(&segments, false), None);
        assert_eq!(pick(&segments, true), Some(0..1));
        segments[0].is_packable = false;
        assert_eq!(pick(&segments, true), Some(2..3));
        segments[2].is_packable = false;
        assert_eq!(pick(&segments, true), None);
    }

    #[test]
    fn much_deleted_space_comes_back_alone_and_a_damaged_segment_stays() {
        let mut segments = of(&[64, 8, 8]);
        segments[1].dead = 0.5;
        assert_eq!(pick(&segments, false), Some(1..2));
        segments[1].is_fixed = true;
        assert_eq!(pick(&segments, true), None);
    }

    /// Flushes of one size with some late small ones: what is written by merges stays a small multiple.
    #[test]
    fn endless_flushes_are_rewritten_a_few_times_and_segments_stay_few() {
        proptest!(seeded::cases(50), |(sizes in prop::collection::vec(1_u64..2_000_000, 1..1500))| {
            let mut segments: Vec<Candidate> = Vec::new();
            let (mut flushed, mut rewritten) = (0, 0);
            for &bytes in &sizes {
                segments.push(Candidate { bytes, ..Candidate::default() });
                flushed += bytes;
                let mut merges = 0;
                while let Some(range) = pick(&segments, false) {
                    let merged = super::bytes(&segments, &range);
                    prop_assert!(range.len() >= 2);
                    rewritten += merged;
                    segments.splice(range, [Candidate { bytes: merged, ..Candidate::default() }]);
                    merges += 1;
                    prop_assert!(merges < 10);
                }
            }
            prop_assert!(rewritten <= flushed * 4, "{flushed} bytes became {rewritten}");
            prop_assert!(segments.len() <= 7 * 5, "{} segments stay", segments.len());
            let mut merges = 0;
            while let Some(range) = pick(&segments, true) {
                let merged = super::bytes(&segments, &range);
                segments.splice(range, [Candidate { bytes: merged, ..Candidate::default() }]);
                merges += 1;
                prop_assert!(merges <= 40);
            }
            prop_assert!(segments.len() <= 8, "{} cold segments", segments.len());
        });
    }
}
