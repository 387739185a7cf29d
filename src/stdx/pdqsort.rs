//! Pattern-defeating quicksort, step for step as Go's `sort.Sort`: equal items lie as that leaves them.
//!
//! InfluxDB sorts points by value alone and then shows the time of one of them, so the places of equals are part of its
//! answers. Another unstable sort, or a stable one, gives another point. The algorithm is Orson Peters' pdqsort
//! (<https://arxiv.org/abs/2106.05123>); its constants here are Go's.

use crate::stdx::pace::Pace;

/// Up to so many items are sorted by insertion.
const INSERTION_MAX: usize = 12;
/// From so many on the pivot is a median of medians, and a nearly sorted range is worth mending.
const LONG: usize = 50;
/// Mended places of a nearly sorted range, before it counts as unsorted.
const MENDS_MAX: usize = 5;
/// Swaps that choosing the pivot of a descending range takes.
const PIVOT_SWAPS_MAX: usize = 12;

/// Sorts `items` at the given pace; `less` is a strict order.
pub async fn sort_by<T>(items: &mut [T], less: impl Fn(&T, &T) -> bool, pace: &mut Pace) {
    let end = items.len();
    let depth = usize::BITS - end.leading_zeros();
    let mut sorter = Sorter { items, less, pace };
    // Ranges to be sorted, each in its final place.
    let mut ranges = vec![(0, end, depth)];
    while let Some((start, end, depth)) = ranges.pop() {
        sorter.quicksort(start, end, depth, &mut ranges).await;
    }
}

struct Sorter<'a, T, F> {
    items: &'a mut [T],
    less: F,
    pace: &'a mut Pace,
}

impl<T, F: Fn(&T, &T) -> bool> Sorter<'_, T, F> {
    fn less(&self, left: usize, right: usize) -> bool {
        (self.less)(&self.items[left], &self.items[right])
    }

    /// `depth`: unbalanced cuts that are still allowed. The shorter side of each cut is left to `ranges`.
    async fn quicksort(&mut self, start: usize, end: usize, depth: u32, ranges: &mut Vec<(usize, usize, u32)>) {
        let (mut start, mut end, mut depth) = (start, end, depth);
        let (mut balanced, mut untouched) = (true, true);
        loop {
            let length = end - start;
            if length <= INSERTION_MAX {
                self.pace.step(length).await;
                return self.insertion(start, end);
            }
            if depth == 0 {
                return self.heapsort(start, end).await;
            }
            if !balanced {
                self.scatter(start, end);
                depth -= 1;
            }
            let (mut pivot, swaps) = self.pivot(start, end);
            let descending = swaps == PIVOT_SWAPS_MAX;
            if descending {
                self.items[start..end].reverse();
                pivot = (end - 1) - (pivot - start);
            }
            if balanced && untouched && (descending || swaps == 0) && self.mend(start, end).await {
                return;
            }
            // Not larger than what stands before the range: the pivot is its smallest, and goes with its equals.
            if start > 0 && !self.less(start - 1, pivot) {
                start = self.cut_equal(start, end, pivot).await;
                continue;
            }
            let middle;
            (middle, untouched) = self.cut(start, end, pivot).await;
            let (left, right) = (middle - start, end - middle);
            balanced = left.min(right) >= length / 8;
            if left < right {
                ranges.push((start, middle, depth));
                start = middle + 1;
            } else {
                ranges.push((middle + 1, end, depth));
                end = middle;
            }
        }
    }

    fn insertion(&mut self, start: usize, end: usize) {
        for from in start + 1..end {
            self.move_down(from, start);
        }
    }

    /// Swaps the item at `from` with its left neighbours as long as it is less, down to `lowest`.
    fn move_down(&mut self, from: usize, lowest: usize) {
        let mut at = from;
        while at > lowest && self.less(at, at - 1) {
            self.items.swap(at, at - 1);
            at -= 1;
        }
    }

    async fn heapsort(&mut self, start: usize, end: usize) {
        let length = end - start;
        for root in (0..=(length - 1) / 2).rev() {
            self.sink(start, root, length);
            self.pace.step(16).await;
        }
        for last in (0..length).rev() {
            self.items.swap(start, start + last);
            self.sink(start, 0, last);
            self.pace.step(16).await;
        }
    }

    fn sink(&mut self, start: usize, mut root: usize, length: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= length {
                return;
            }
            if child + 1 < length && self.less(start + child, start + child + 1) {
                child += 1;
            }
            if !self.less(start + root, start + child) {
                return;
            }
            self.items.swap(start + root, start + child);
            root = child;
        }
    }

    /// The pivot's place, and how many swaps would have put the looked at items in order.
    fn pivot(&self, start: usize, end: usize) -> (usize, usize) {
        let quarter = (end - start) / 4;
        let mut swaps = 0;
        let mut places = [start + quarter, start + 2 * quarter, start + 3 * quarter];
        if end - start >= LONG {
            places = places.map(|place| self.median([place - 1, place, place + 1], &mut swaps));
        }
        (self.median(places, &mut swaps), swaps)
    }

    fn median(&self, places: [usize; 3], swaps: &mut usize) -> usize {
        let [mut low, mut middle, mut high] = places;
        let mut order = |left: &mut usize, right: &mut usize| {
            if self.less(*right, *left) {
                *swaps += 1;
                std::mem::swap(left, right);
            }
        };
        order(&mut low, &mut middle);
        order(&mut middle, &mut high);
        order(&mut low, &mut middle);
        middle
    }

    /// Puts smaller items left of the pivot; its place, and whether that moved nothing.
    async fn cut(&mut self, start: usize, end: usize, pivot: usize) -> (usize, bool) {
        self.items.swap(start, pivot);
        let (mut left, mut right) = (start + 1, end - 1);
        let mut untouched = true;
        loop {
            while left <= right && self.less(left, start) {
                left += 1;
                self.pace.step(1).await;
            }
            while left <= right && !self.less(right, start) {
                right -= 1;
                self.pace.step(1).await;
            }
            if left > right {
                break;
            }
            self.items.swap(left, right);
            (left, right, untouched) = (left + 1, right - 1, false);
        }
        self.items.swap(right, start);
        (right, untouched)
    }

    /// Puts what equals the pivot to the left; where the rest begins.
    async fn cut_equal(&mut self, start: usize, end: usize, pivot: usize) -> usize {
        self.items.swap(start, pivot);
        let (mut left, mut right) = (start + 1, end - 1);
        loop {
            while left <= right && !self.less(start, left) {
                left += 1;
                self.pace.step(1).await;
            }
            while left <= right && self.less(start, right) {
                right -= 1;
                self.pace.step(1).await;
            }
            if left > right {
                return left;
            }
            self.items.swap(left, right);
            (left, right) = (left + 1, right - 1);
        }
    }

    /// Sorts a range that is nearly sorted; whether it was.
    async fn mend(&mut self, start: usize, end: usize) -> bool {
        let mut at = start + 1;
        for _ in 0..MENDS_MAX {
            while at < end && !self.less(at, at - 1) {
                at += 1;
                self.pace.step(1).await;
            }
            if at == end {
                return true;
            }
            if end - start < LONG {
                return false;
            }
            self.items.swap(at, at - 1);
            if at - start >= 2 {
                // Down to the first item of all, not of the range; what stands before the range is never larger.
                self.move_down(at - 1, 0);
            }
            let mut up = at + 1;
            while up < end && self.less(up, up - 1) {
                self.items.swap(up, up - 1);
                up += 1;
                self.pace.step(1).await;
            }
        }
        false
    }

    /// Swaps three items of the middle with others, to break the pattern that made the last cut uneven.
    fn scatter(&mut self, start: usize, end: usize) {
        let length = end - start;
        let mask = (1_u64 << (u64::BITS - (length as u64).leading_zeros())) - 1;
        let mut random = length as u64;
        let middle = start + length / 4 * 2;
        for place in middle - 1..=middle + 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut other = (random & mask) as usize;
            if other >= length {
                other -= length;
            }
            self.items.swap(place, start + other);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    /// Keys made from a seed, the shape choosing how they lie; item indexes after sorting, hashed.
    fn check(length: usize, keys: u64, shape: u32, expected: u64) {
        let mut items: Vec<(u64, usize)> = (0..length).map(|index| (key(index as u64, keys, shape), index)).collect();
        block_on(async { sort_by(&mut items, |left, right| left.0 < right.0, &mut Pace::default()).await });
        assert!(items.is_sorted_by_key(|item| item.0));
        let hash = |hash: u64, item: &(u64, usize)| (hash ^ item.1 as u64).wrapping_mul(0x100_0000_01b3);
        assert_eq!(items.iter().fold(0xcbf2_9ce4_8422_2325, hash), expected, "{length} {keys} {shape}");
    }

    fn key(index: u64, keys: u64, shape: u32) -> u64 {
        let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match shape {
            0 => (mixed >> 33) % keys,
            1 => index / keys,
            2 => 1_000_000 - index / keys,
            3 => index % keys,
            // Sorted but for some.
            _ if (mixed >> 33).is_multiple_of(40) => 0,
            _ => index,
        }
    }

    /// Seen from `sort.Sort` of Go 1.26.
    #[test]
    fn equal_items_lie_as_go_leaves_them() {
        check(12, 3, 0, 0x5976_bce5_a921_26d3);
        check(13, 3, 0, 0xa8ea_bd3c_1a64_eb0b);
        check(40, 5, 0, 0x81e8_2247_eb80_9817);
        check(60, 7, 0, 0x3cbb_e11f_cb85_5d91);
        check(72, 23, 0, 0x7c6e_6cb1_3da0_d10b);
        check(300, 4, 0, 0xb336_a375_5981_c1c7);
        check(1000, 50, 0, 0xae10_4f85_f0d3_d257);
        check(5000, 5000, 0, 0x08be_5d35_0363_84ef);
        check(5000, 3, 0, 0xf922_bd11_1ddc_05dd);
        check(30, 3, 1, 0x0e70_7b5c_91a8_4776);
        check(200, 3, 1, 0x43cf_a802_3695_d3bd);
        check(30, 3, 2, 0x841d_b7dc_fec5_275e);
        check(200, 4, 2, 0x8944_a3e0_a04c_c9d1);
        check(49, 7, 3, 0xff8c_1c0e_0f05_f2f1);
        check(200, 7, 3, 0x6a4b_c567_4a5f_b4d3);
        check(2000, 31, 3, 0x55d1_359a_9d12_0c99);
        check(100, 1, 4, 0xeafc_cf66_c1fc_288d);
        check(3000, 1, 4, 0xe2b7_eacc_419b_8aab);
    }
}
