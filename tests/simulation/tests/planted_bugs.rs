//! Goal: the tests are tested: every planted bug of the design's section 11 is found, and it is said how fast.
//!
//! Method: with each bug in turn, seeds from a fixed one on until one breaks a promise, at most so many, and that seed is clean without the bug; if none
//! does, the small worlds, until one breaks. That those are clean without a bug is what `small_worlds` tests.

use aft_core::bug::Bug;
use aft_simulation::explore::explore;
use aft_simulation::{Options, scenario, simulate};

/// Seeds tried for one bug: about half a minute for one that is not found by seeds.
const SEEDS_MAX: u64 = 2_500;
/// States searched in one world for one bug.
const STATES_MAX: usize = 3_000;

/// A seed counts only if it is clean without the bug.
fn by_seeds(bug: Bug) -> Option<(u64, String)> {
    (1..=SEEDS_MAX).find_map(|seed| {
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
    for bug in Bug::ALL {
        let name = format!("{bug:?}");
        let seeds = by_seeds(bug);
        match &seeds {
            Some((seeds, rule)) => println!("{name:<34} {seeds:>6}  {rule}"),
            None => println!("{name:<34} {:>6}", "-"),
        }
        let world =
            if seeds.is_none() || std::env::var("AFT_SIM_DEEP").is_ok() { by_worlds(bug) } else { None };
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
