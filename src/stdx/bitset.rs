//! A growing set of small numbers, one bit each.

/// A set of `u32`, dense from 0.
#[derive(Clone, Debug, Default)]
pub struct BitSet {
    words: Vec<u64>,
    count: u32,
}

impl BitSet {
    /// Adds `value`; whether it was new.
    #[inline]
    pub fn insert(&mut self, value: u32) -> bool {
        let word = (value / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1_u64 << (value % 64);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(new);
        new
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u32) -> bool {
        self.words.get((value / 64) as usize).is_some_and(|word| word & (1 << (value % 64)) != 0)
    }

    /// How many are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// All of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(index as u32 * 64 + bit)
            })
        })
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_inserted_once_and_in_order() {
        let mut set = BitSet::default();
        assert!(set.insert(200) && set.insert(3) && set.insert(64) && !set.insert(3));
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 200]);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(100_000));
        assert_eq!(set.count(), 3);
    }
}
