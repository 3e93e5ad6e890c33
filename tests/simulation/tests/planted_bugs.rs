//! Goal: the tests are tested: every planted bug of the protocol's section 16 that breaks a promise
//! is found, and it is said how fast. Stories find the others
//! (`shim/core/tests/stories/planted.rs`).
//!
//! Method: with each bug in turn, some seeds from a fixed one on until one breaks a promise, and that seed is clean without the bug; if none does, the
//! small worlds, until one breaks; then more seeds. That the worlds are clean without a bug is what `small_worlds` tests.

use aft_core::bug::{Bug, Finder};
use aft_simulation::explore::explore;
use aft_simulation::{Options, scenario, simulate};

/// Seeds tried for one bug before the small worlds: a few seconds.
const SEEDS_FIRST: u64 = 250;
/// Seeds tried for one bug: about a minute for one that is not found.
const SEEDS_MAX: u64 = 5_000;
/// States searched in one world for one bug.
const STATES_MAX: usize = 3_000;

/// A seed counts only if it is clean without the bug.
fn by_seeds(bug: Bug, mut seeds: impl Iterator<Item = u64>) -> Option<(u64, String)> {
    seeds.find_map(|seed| {
        let violation = simulate(seed, &Options { bug: Some(bug), trace: false }).violation?;
        let clean = simulate(seed, &Options::default()).violation.is_none();
        clean.then(|| (seed, violation.rule.to_owned()))
    })
}

fn by_worlds(bug: Bug) -> Option<(&'static str, usize, String)> {
    scenario::all(Some(bug)).into_iter().find_map(|mut scenario| {
        scenario.states_max = STATES_MAX;
        let explored = explore(&scenario);
        let (violation, _) = explored.violation?;
        Some((scenario.name, explored.states, violation.rule.to_owned()))
    })
}

#[test]
fn every_planted_bug_is_found() {
    std::panic::set_hook(Box::new(|_| {})); // assertions of the core are findings here
    let mut missed = Vec::new();
    println!("{:<34} {:>6}  rule broken", "bug", "seeds");
    for bug in Bug::found_by(Finder::Simulation) {
        let name = format!("{bug:?}");
        let deep = std::env::var("AFT_SIM_DEEP").is_ok();
        let mut seeds = by_seeds(bug, 1..=SEEDS_FIRST);
        let world = if seeds.is_none() || deep { by_worlds(bug) } else { None };
        if seeds.is_none() && (world.is_none() || deep) {
            seeds = by_seeds(bug, SEEDS_FIRST + 1..=SEEDS_MAX);
        }
        match &seeds {
            Some((seeds, rule)) => println!("{name:<34} {seeds:>6}  {rule}"),
            None => println!("{name:<34} {:>6}", "-"),
        }
        if let Some((world, states, rule)) = &world {
            println!("{:<34} {states:>6}  states of \"{world}\": {rule}", "");
        }
        if seeds.is_none() && world.is_none() {
            missed.push(name);
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
