//! Loops over values in the widest vectors of the machine: the build is for every x86-64, whose vectors hold two values
//! and neither compare them nor take the smaller one.
//!
//! [`wide`] has its work compiled twice. That works as far as the compiler puts the work into it: for plain loops;
//! long ones are functions with `inline(always)`.

/// What `work` makes of `given`, in a loop that calls nothing.
#[inline(always)]
pub fn wide<T, R>(given: T, work: impl FnOnce(T) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2.
        return unsafe { with_avx2(given, work) };
    }
    work(given)
}

/// # Safety
/// The machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn with_avx2<T, R>(given: T, work: impl FnOnce(T) -> R) -> R {
    work(given)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn either_form_of_a_loop_answers_the_same(mut values in proptest::collection::vec(any::<i64>(), 0..100)) {
            let work = |values: &mut [i64]| {
                values.iter_mut().fold((0, i64::MAX), |(sum, min), value| {
                    *value = value.wrapping_sub(7);
                    (value.wrapping_add(sum), min.min(*value))
                })
            };
            let mut twin = values.clone();
            prop_assert_eq!(wide(&mut values[..], work), work(&mut twin));
            prop_assert_eq!(values, twin);
        }
    }
}
