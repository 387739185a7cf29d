//! The rows of a chunk by series and time.

use std::ops::Range;

/// Moves a row, on average, after which rows count as out of order.
const SORT_MOVES: usize = 4;

/// Rows by position: first those of the first series, by time, and so on.
#[derive(Debug, Default)]
pub struct Order {
    /// The chunk's series, ascending.
    series: Vec<u32>,
    /// The position at which each series begins, and the end.
    starts: Vec<u32>,
    /// The row at each position; empty once the rows themselves are in order.
    rows: Vec<u32>,
}

impl Order {
    /// Sorts the rows of a chunk, which have these times, and series and sequences.
    pub fn of(times: &[u64], series: &[u64]) -> Order {
        let series: Vec<u32> = series.iter().map(|word| (word >> 32) as u32).collect();
        let (Some(&min), Some(&max)) = (series.iter().min(), series.iter().max()) else {
            return Order { starts: vec![0], ..Order::default() };
        };
        // Series ids of a chunk are mostly dense, then counting beats comparing.
        let span = (max - min) as usize + 1;
        let mut order =
            if span <= 4 * series.len() { Order::counted(&series, min, span) } else { Order::sorted(&series) };
        let time = |row: u32| times[row as usize] as i64;
        // A chunk that never goes back in time, as most do not, has each series in order of time too.
        if !times.is_sorted_by_key(|&time| time as i64) {
            for bounds in order.starts.windows(2) {
                // In order of arrival until now; the sort is stable, so of equal times the later arrival stays behind.
                sort(&mut order.rows[bounds[0] as usize..bounds[1] as usize], |&row| time(row));
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

    /// The positions of the series at `index` of [`Order::series`].
    pub fn positions_at(&self, index: usize) -> Range<usize> {
        self.starts[index] as usize..self.starts[index + 1] as usize
    }

    /// The positions of a series.
    pub fn positions_of(&self, series: u32) -> Range<usize> {
        let Some(guess) = self.series.first().and_then(|first| series.checked_sub(*first)) else { return 0..0 };
        // Where ids have no gaps; else it is before that.
        let guess = guess as usize;
        if self.series.get(guess) == Some(&series) {
            return self.positions_at(guess);
        }
        let before = &self.series[..guess.min(self.series.len())];
        before.binary_search(&series).map_or(0..0, |index| self.positions_at(index))
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        (self.series.len() + self.starts.len() + self.rows.len()) * size_of::<u32>()
    }

    /// The row at a position.
    pub fn row(&self, position: usize) -> usize {
        self.rows.get(position).map_or(position, |&row| row as usize)
    }

    /// The row at each position; empty once the rows are in order.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The same for rows that have been put in this order.
    pub fn of_ordered_rows(self) -> Order {
        Order { rows: Vec::new(), ..self }
    }
}

/// Stable, for what is mostly nearly in order: writers that go side by side are not far apart.
pub fn sort<T: Copy, K: Ord>(rows: &mut [T], key: impl Fn(&T) -> K) {
    let mut moves_left = rows.len() * SORT_MOVES;
    for next in 1..rows.len() {
        let row = rows[next];
        let mut place = next;
        while place > 0 && key(&rows[place - 1]) > key(&row) {
            rows[place] = rows[place - 1];
            place -= 1;
        }
        rows[place] = row;
        match moves_left.checked_sub(next - place) {
            Some(left) => moves_left = left,
            None => return rows.sort_by_key(key),
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
            let times: Vec<u64> = points.iter().map(|point| point.1 as u64).collect();
            let series: Vec<u64> =
                (0..).zip(&points).map(|(row, point)| u64::from(point.0 * spread) << 32 | row).collect();
            let order = Order::of(&times, &series);
            let mut expected: Vec<(u32, i64, u32)> =
                points.iter().enumerate().map(|(row, &(series, time))| (series * spread, time, row as u32)).collect();
            expected.sort();
            let mut found = Vec::new();
            for (index, &series) in order.series().iter().enumerate() {
                prop_assert_eq!(order.positions_of(series), order.positions_at(index));
                let rows = order.positions_at(index).map(|position| order.row(position));
                found.extend(rows.map(|row| (series, points[row].1, row as u32)));
            }
            prop_assert_eq!(found, expected);
            prop_assert!(order.positions_of(u32::MAX).is_empty());
        }
    }
}
