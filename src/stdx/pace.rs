//! Long computations that let the other tasks of their core run now and then.

use std::cmp::Ordering;

/// Steps between two yields; one is some tens of nanoseconds of work.
const STEPS: usize = 1 << 14;

/// How much was done since the last yield.
#[derive(Debug, Default)]
pub struct Pace {
    done: usize,
}

impl Pace {
    /// Counts `steps`, and yields when it is time.
    pub async fn step(&mut self, steps: usize) {
        self.done += steps;
        if self.done >= STEPS {
            self.done = 0;
            futures_lite::future::yield_now().await;
        }
    }

    /// Drops items with what they own, which takes long for many.
    pub async fn drop_all<T>(&mut self, items: Vec<T>) {
        let mut items = items.into_iter();
        while items.len() > 0 {
            items.by_ref().take(STEPS / 16).for_each(drop);
            self.step(STEPS / 4).await;
        }
    }

    /// Sorts `items`; equal ones keep their order.
    pub async fn sort_by<T>(&mut self, items: Vec<T>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
        const RUN: usize = 1024;
        // Sorted ones are common, and are left alone.
        let mut sorted = 1;
        while sorted < items.len() && order(&items[sorted - 1], &items[sorted]).is_le() {
            sorted += 1;
            self.step(1).await;
        }
        if sorted >= items.len() {
            return items;
        }
        let mut runs = Vec::with_capacity(items.len().div_ceil(RUN));
        let mut items = items.into_iter();
        while items.len() > 0 {
            let mut run: Vec<T> = items.by_ref().take(RUN).collect();
            run.sort_by(&order);
            self.step(run.len() * 10).await;
            runs.push(run);
        }
        while runs.len() > 1 {
            let mut longer = Vec::with_capacity(runs.len().div_ceil(2));
            let mut pairs = runs.into_iter();
            while let Some(left) = pairs.next() {
                longer.push(match pairs.next() {
                    Some(right) => self.merge(left, right, &order).await,
                    None => left,
                });
            }
            runs = longer;
        }
        runs.pop().unwrap_or_default()
    }

    async fn merge<T>(&mut self, left: Vec<T>, right: Vec<T>, order: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
            let next = if order(first, second).is_le() { left.next() } else { right.next() };
            merged.extend(next);
            self.step(1).await;
        }
        merged.extend(left);
        merged.extend(right);
        merged
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    fn polls<F: Future>(future: F) -> (F::Output, usize) {
        let mut count = 0;
        let mut future = std::pin::pin!(future);
        let output = block_on(std::future::poll_fn(|context| {
            count += 1;
            future.as_mut().poll(context)
        }));
        (output, count)
    }

    #[test]
    fn many_items_are_sorted_as_by_std_in_many_turns() {
        for count in [0, 1, 2, 1023, 1024, 1025, 100_000_u64] {
            let items: Vec<(u64, u64)> =
                (0..count).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55, index)).collect();
            let by_key = |left: &(u64, u64), right: &(u64, u64)| left.0.cmp(&right.0);
            let mut expected = items.clone();
            expected.sort_by(by_key);
            let (sorted, turns) = polls(async { Pace::default().sort_by(items, by_key).await });
            assert_eq!(sorted, expected);
            assert!(turns > count as usize / STEPS, "{turns}");
            let again = block_on(async { Pace::default().sort_by(sorted, by_key).await });
            assert_eq!(again, expected);
        }
    }

    #[test]
    fn many_items_are_dropped_in_many_turns() {
        let shared = std::rc::Rc::new(());
        let items = vec![std::rc::Rc::clone(&shared); 10 * STEPS];
        let ((), turns) = polls(async { Pace::default().drop_all(items).await });
        assert!(turns > 10, "{turns}");
        assert_eq!(std::rc::Rc::strong_count(&shared), 1);
    }
}
