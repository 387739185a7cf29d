//! The rows of a chunk by series and time.

use crate::memtable::SERIES;
use crate::memtable::TIME;

/// See the module.
#[derive(Debug, Default)]
pub struct Order {
    /// The chunk's series, ascending.
    series: Vec<u32>,
    /// Where each series' rows begin in `rows`, and the end.
    starts: Vec<u32>,
    /// Row numbers.
    rows: Vec<u32>,
}

impl Order {
    /// Sorts the rows of a chunk; `rows` holds `stride` words for each.
    pub fn of(rows: &[u64], stride: usize) -> Order {
        let series: Vec<u32> = rows.chunks_exact(stride).map(|words| (words[SERIES] >> 32) as u32).collect();
        let (Some(&min), Some(&max)) = (series.iter().min(), series.iter().max()) else {
            return Order { starts: vec![0], ..Order::default() };
        };
        // Series ids of a chunk are mostly dense, then counting beats comparing.
        let span = (max - min) as usize + 1;
        let mut order =
            if span <= 4 * series.len() { Order::counted(&series, min, span) } else { Order::sorted(&series) };
        let time = |row: u32| rows[row as usize * stride + TIME] as i64;
        let times = rows.chunks_exact(stride).map(|words| words[TIME] as i64);
        // A chunk that never goes back in time, as most do not, has each series in order of time too.
        if !times.is_sorted() {
            for bounds in order.starts.windows(2) {
                // Rows of a series are in order of arrival; the sort is stable, so among equal times the later arrival
                // stays behind.
                let rows = &mut order.rows[bounds[0] as usize..bounds[1] as usize];
                if !rows.is_sorted_by_key(|&row| time(row)) {
                    rows.sort_by_key(|&row| time(row));
                }
            }
        }
        order
    }

    /// By series, then arrival; all series are less than `span` from `min`.
    fn counted(all: &[u32], min: u32, span: usize) -> Order {
        // Of each series first how many rows it has, then where its next one goes.
        let mut next = vec![0_u32; span];
        for series in all {
            next[(series - min) as usize] += 1;
        }
        let mut order = Order { rows: vec![0; all.len()], ..Order::default() };
        let mut start = 0;
        for (offset, next) in next.iter_mut().enumerate() {
            let count = std::mem::replace(next, start);
            if count > 0 {
                order.series.push(min + offset as u32);
                order.starts.push(start);
                start += count;
            }
        }
        order.starts.push(start);
        for (row, series) in all.iter().enumerate() {
            let next = &mut next[(series - min) as usize];
            order.rows[*next as usize] = row as u32;
            *next += 1;
        }
        order
    }

    /// By series, then arrival.
    fn sorted(all: &[u32]) -> Order {
        let mut keys: Vec<(u32, u32)> = all.iter().copied().zip(0..).collect();
        keys.sort_unstable();
        let mut order = Order { rows: keys.iter().map(|key| key.1).collect(), ..Order::default() };
        for (index, (series, _)) in keys.iter().enumerate() {
            if order.series.last() != Some(series) {
                order.series.push(*series);
                order.starts.push(index as u32);
            }
        }
        order.starts.push(keys.len() as u32);
        order
    }

    /// The series of the chunk, ascending.
    pub fn series(&self) -> &[u32] {
        &self.series
    }

    /// The rows of the series at `index` of [`Order::series`].
    pub fn rows_at(&self, index: usize) -> &[u32] {
        &self.rows[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The rows of a series.
    pub fn rows_of(&self, series: u32) -> &[u32] {
        match self.series.binary_search(&series) {
            Ok(index) => self.rows_at(index),
            Err(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn equals_a_stable_sort(
            points in proptest::collection::vec((0_u32..50, -5_i64..5), 0..200),
            spread in 1_u32..2000,
        ) {
            let stride = 3;
            let words: Vec<u64> = points
                .iter()
                .enumerate()
                .flat_map(|(row, &(series, time))| [time as u64, u64::from(series * spread) << 32 | row as u64, 0])
                .collect();
            let order = Order::of(&words, stride);
            let mut expected: Vec<(u32, i64, u32)> =
                points.iter().enumerate().map(|(row, &(series, time))| (series * spread, time, row as u32)).collect();
            expected.sort();
            let mut found = Vec::new();
            for (index, &series) in order.series().iter().enumerate() {
                prop_assert_eq!(order.rows_of(series), order.rows_at(index));
                found.extend(order.rows_at(index).iter().map(|&row| (series, points[row as usize].1, row)));
            }
            prop_assert_eq!(found, expected);
            prop_assert!(order.rows_of(u32::MAX).is_empty());
        }
    }
}
