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
        let mut keys: Vec<(u32, u32)> = rows
            .chunks_exact(stride)
            .enumerate()
            .map(|(row, words)| ((words[SERIES] >> 32) as u32, row as u32))
            .collect();
        sort_by_series(&mut keys);
        let mut order = Order { rows: keys.iter().map(|key| key.1).collect(), ..Order::default() };
        for (index, key) in keys.iter().enumerate() {
            if order.series.last() != Some(&key.0) {
                order.series.push(key.0);
                order.starts.push(index as u32);
            }
        }
        order.starts.push(keys.len() as u32);
        let time = |row: u32| rows[row as usize * stride + TIME] as i64;
        for bounds in order.starts.windows(2) {
            let rows = &mut order.rows[bounds[0] as usize..bounds[1] as usize];
            // Rows of a series are in order of arrival, which mostly is the order of time; the sort is stable, so
            // among equal times the later arrival stays behind.
            if !rows.is_sorted_by_key(|&row| time(row)) {
                rows.sort_by_key(|&row| time(row));
            }
        }
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

/// Stable by series. Series ids of a chunk are mostly dense, then counting beats comparing.
fn sort_by_series(keys: &mut Vec<(u32, u32)>) {
    let (Some(min), Some(max)) = (keys.iter().map(|key| key.0).min(), keys.iter().map(|key| key.0).max()) else {
        return;
    };
    let span = (max - min) as usize + 1;
    if span > 4 * keys.len() {
        keys.sort();
        return;
    }
    let mut next = vec![0_u32; span + 1];
    for key in keys.iter() {
        next[(key.0 - min) as usize + 1] += 1;
    }
    for index in 1..next.len() {
        next[index] += next[index - 1];
    }
    let mut sorted = vec![(0, 0); keys.len()];
    for key in keys.iter() {
        let slot = &mut next[(key.0 - min) as usize];
        sorted[*slot as usize] = *key;
        *slot += 1;
    }
    *keys = sorted;
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
