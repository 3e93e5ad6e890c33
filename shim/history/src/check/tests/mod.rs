//! The checker, checked.
//!
//! Goal: its verdict is the definition's, on every history. Method: small random histories (some read atomic by
//! construction, some of these spoilt, some wild) go to the checker and to [`brute`], which shares no code with it and
//! tries every order of versions. Then every bug in [`planted`](super::planted) is put into the checker, and the same
//! comparison must notice.
//!
//! Histories are made from *recipes* that proptest shrinks; the seed is printed, and fixed unless the environment
//! variable `AFT_HISTORY_SEED` says otherwise.

mod agreement;
mod brute;
mod graph;
mod recipe;
mod witness;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The seed of the default run.
const SEED: u64 = 0xAF7;

/// A runner with a seed that is printed and can be given again.
fn runner(cases: u32) -> TestRunner {
    let given = std::env::var("AFT_HISTORY_SEED").ok();
    let seed = given.map_or(SEED, |given| given.parse().expect("AFT_HISTORY_SEED is a number"));
    println!("AFT_HISTORY_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
