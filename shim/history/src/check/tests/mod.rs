//! Tests of the checker.
//!
//! Goal: its verdict agrees with the definition on every history. Method: small random histories
//! (read atomic by construction, the same with a mistake added, or arbitrary) go to the checker and
//! to [`brute`], which shares no code with it and tries every order of versions. Then every bug in
//! [`planted`](super::planted) is planted in the checker, and the same comparison must find it.
//!
//! Histories are made from *recipes* that proptest shrinks. The seed is printed; it is fixed unless
//! the environment variable `AFT_HISTORY_SEED` is set.

mod agreement;
mod brute;
mod graph;
mod recipe;
mod witness;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The seed of the default run.
const SEED: u64 = 0xAF7;

/// Returns a runner and prints its seed, with which the run can be repeated.
fn runner(cases: u32) -> TestRunner {
    let given = std::env::var("AFT_HISTORY_SEED").ok();
    let seed = given.map_or(SEED, |given| given.parse().expect("AFT_HISTORY_SEED is a number"));
    println!("AFT_HISTORY_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
