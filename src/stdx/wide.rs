//! Loops over values in the widest vectors of the machine: the build is for every x86-64, whose vectors hold two values
//! and neither compare them nor take the smaller one.
//!
//! [`wide`] has its work compiled twice. That works as far as the compiler puts the work into it: always that of a
//! [`Work`] whose `run` is `inline(always)`, and that of a closure if it is short; nothing that they call.

#[cfg(target_arch = "x86_64")]
use std::sync::atomic::AtomicU8;
#[cfg(target_arch = "x86_64")]
use std::sync::atomic::Ordering;

/// A loop that calls nothing: a closure, or what is too long for one.
pub trait Work {
    /// What comes of it.
    type Answer;

    /// Does it.
    fn run(self) -> Self::Answer;
}

impl<R, F: FnOnce() -> R> Work for F {
    type Answer = R;

    #[inline(always)]
    fn run(self) -> R {
        self()
    }
}

/// Does some work.
#[inline(always)]
pub fn wide<W: Work>(work: W) -> W::Answer {
    #[cfg(target_arch = "x86_64")]
    if has_both() {
        // SAFETY: the machine has both.
        return unsafe { with_both(work) };
    }
    work.run()
}

/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn with_both<W: Work>(work: W) -> W::Answer {
    work.run()
}

/// Whether the machine has AVX2 and FMA. Asked once: a loop is often no longer than the questions.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn has_both() -> bool {
    match HAS_BOTH.load(Ordering::Relaxed) {
        UNKNOWN => ask(),
        answer => answer == YES,
    }
}

#[cfg(target_arch = "x86_64")]
static HAS_BOTH: AtomicU8 = AtomicU8::new(UNKNOWN);
#[cfg(target_arch = "x86_64")]
const UNKNOWN: u8 = 0;
#[cfg(target_arch = "x86_64")]
const NO: u8 = 1;
#[cfg(target_arch = "x86_64")]
const YES: u8 = 2;

#[cfg(target_arch = "x86_64")]
#[cold]
fn ask() -> bool {
    let has_both = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
    HAS_BOTH.store(if has_both { YES } else { NO }, Ordering::Relaxed);
    has_both
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Shift<'a>(&'a mut [i64]);

    impl Work for Shift<'_> {
        type Answer = (i64, i64);

        #[inline(always)]
        fn run(self) -> (i64, i64) {
            self.0.iter_mut().fold((0, i64::MAX), |(sum, min), value| {
                *value = value.wrapping_sub(7);
                (value.wrapping_add(sum), min.min(*value))
            })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn either_form_of_a_loop_answers_the_same(mut values in proptest::collection::vec(any::<i64>(), 0..100)) {
            let (mut plain, mut closed) = (values.clone(), values.clone());
            let expected = Shift(&mut plain).run();
            prop_assert_eq!(wide(Shift(&mut values)), expected);
            prop_assert_eq!(wide(|| Shift(&mut closed).run()), expected);
            prop_assert_eq!((&values, &closed), (&plain, &plain));
        }
    }
}
