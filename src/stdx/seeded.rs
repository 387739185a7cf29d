//! Random tests that can be run again: each prints its seed, and `PROPTEST_RNG_SEED=<seed>` replays it.

use std::hash::BuildHasher;
use std::hash::RandomState;

use proptest::test_runner::Config;
use proptest::test_runner::RngSeed;

/// A run of `cases` cases from a fresh seed, or from the one the environment names. A test that fails shows its seed.
pub fn cases(cases: u32) -> Config {
    let mut config = Config { failure_persistence: None, cases, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(0));
    }
    if let RngSeed::Fixed(seed) = config.rng_seed {
        println!("PROPTEST_RNG_SEED={seed}");
    }
    config
}
