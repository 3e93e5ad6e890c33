//! Goal: the simulator finds every planted bug of the protocol's section 16 that breaks a promise;
//! and it prints how soon. Stories find the other bugs (`shim/core/tests/stories/planted.rs`).
//!
//! Method: for each bug, run some seeds from a fixed one on, until one breaks a promise that is
//! clean without the bug. If none does, search the small worlds, until one breaks a promise; then
//! run more seeds. `small_worlds` tests that the worlds are clean without a bug.

use aft_core::bug::{Bug, Finder};
use aft_simulation::explore::explore;
use aft_simulation::{Options, scenario, simulate};

/// The number of seeds tried for one bug before the small worlds: a few seconds.
const SEEDS_FIRST: u64 = 250;
/// The number of seeds tried for one bug in all: about a minute for one that is not found.
const SEEDS_MAX: u64 = 5_000;
/// The number of states searched in one world for one bug.
const STATES_MAX: usize = 3_000;

/// Returns the first seed that breaks a promise with the bug and none without it, with the rule
/// that was broken.
fn by_seeds(bug: Bug, mut seeds: impl Iterator<Item = u64>) -> Option<(u64, String)> {
    seeds.find_map(|seed| {
        let violation = simulate(seed, &Options { bug: Some(bug), trace: false }).violation?;
        let clean = simulate(seed, &Options::default()).violation.is_none();
        clean.then(|| (seed, violation.rule.to_owned()))
    })
}

/// Returns the first small world in which the bug breaks a promise, with the number of states
/// searched and the rule that was broken.
fn by_worlds(bug: Bug) -> Option<(&'static str, usize, String)> {
    scenario::all(Some(bug)).into_iter().find_map(|mut scenario| {
        scenario.states_max = STATES_MAX;
        let explored = explore(&scenario);
        let found = explored.found?;
        Some((scenario.name, explored.states, found.violation.rule.to_owned()))
    })
}

#[test]
fn every_planted_bug_is_found() {
    // Assertions of the core are findings here: no need to print their panics.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    println!("{:<34} {:>6}  rule broken", "bug", "seeds");
    for bug in Bug::found_by(Finder::Simulation) {
        let name = format!("{bug:?}");
        // A deep run always tries both seeds and worlds, to compare them.
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
    assert!(missed.is_empty(), "neither seeds nor small worlds found the planted bugs {missed:?}");
}
