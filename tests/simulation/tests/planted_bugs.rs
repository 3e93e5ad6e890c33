//! Goal: the simulator finds every planted bug of the protocol's section 16 that breaks a promise;
//! and it prints how soon. Stories find the other bugs (`shim/core/tests/stories/planted.rs`).
//!
//! Method: for each bug, look first where it was found last time (`planted_bugs.txt`), in a world
//! or with a seed that is clean without the bug. If it is not found there any more, or if
//! AFT_SIM_DEEP is set, search: run some seeds from a fixed one on, until one breaks a promise that
//! is clean without the bug; if none does, search the small worlds, until one breaks a promise;
//! then run more seeds. With AFT_SIM_RECORD the file is written again. `small_worlds` tests that
//! the worlds are clean without a bug.

use aft_core::bug::{Bug, Finder};
use aft_simulation::explore::{Scenario, explore};
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

/// Returns the first of small worlds with a bug in which a promise breaks, with the number of
/// states searched and the rule that was broken.
fn by_worlds(worlds: impl IntoIterator<Item = Scenario>) -> Option<(&'static str, usize, String)> {
    worlds.into_iter().find_map(|mut scenario| {
        scenario.states_max = STATES_MAX;
        let explored = explore(&scenario);
        let found = explored.found?;
        Some((scenario.name, explored.states, found.violation.rule.to_owned()))
    })
}

/// The places at which the bugs were found, one line each: the bug, and `seed` with a number or
/// `world` with its name.
const FOUND: &str = include_str!("planted_bugs.txt");

/// A place at which a bug breaks a promise.
enum Place {
    /// A random run, by its seed.
    Seed(u64),
    /// A small world, by its name.
    World(String),
}

impl Place {
    fn parse(text: &str) -> Place {
        match text.split_once(' ') {
            Some(("seed", seed)) => Place::Seed(seed.parse().expect("a seed is a number")),
            Some(("world", name)) => Place::World(name.to_owned()),
            _ => panic!("{text:?} is neither a seed nor a world"),
        }
    }

    /// Returns the rule that the bug breaks there, if it still does.
    fn breaks(&self, bug: Bug) -> Option<String> {
        match self {
            Place::Seed(seed) => by_seeds(bug, std::iter::once(*seed)).map(|(_, rule)| rule),
            Place::World(name) => {
                let world = scenario::all(Some(bug)).into_iter().find(|world| world.name == name)?;
                by_worlds([world]).map(|(_, _, rule)| rule)
            }
        }
    }
}

/// Returns the place at which a bug was found last time.
fn last_place(bug: Bug) -> Option<Place> {
    let name = format!("{bug:?} ");
    FOUND.lines().find_map(|line| line.strip_prefix(&name)).map(Place::parse)
}

#[test]
fn every_planted_bug_is_found() {
    // Assertions of the core are findings here: no need to print their panics.
    std::panic::set_hook(Box::new(|_| {}));
    // A deep run always tries both seeds and worlds, to compare them.
    let deep = std::env::var("AFT_SIM_DEEP").is_ok();
    let record = std::env::var("AFT_SIM_RECORD").is_ok();
    let (mut missed, mut places) = (Vec::new(), String::new());
    println!("{:<34} {:>6}  rule broken", "bug", "seeds");
    for bug in Bug::found_by(Finder::Simulation) {
        let name = format!("{bug:?}");
        if !deep
            && !record
            && let Some(rule) = last_place(bug).and_then(|place| place.breaks(bug))
        {
            println!("{name:<34} {:>6}  {rule}", "");
            continue;
        }
        let mut seeds = by_seeds(bug, 1..=SEEDS_FIRST);
        let world = if seeds.is_none() || deep { by_worlds(scenario::all(Some(bug))) } else { None };
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
        match (&seeds, &world) {
            (Some((seed, _)), _) => places.push_str(&format!("{name} seed {seed}\n")),
            (None, Some((world, ..))) => places.push_str(&format!("{name} world {world}\n")),
            (None, None) => missed.push(name),
        }
    }
    if record {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted_bugs.txt");
        std::fs::write(path, &places).expect("the file can be written");
    } else if !deep && !places.is_empty() {
        println!("these were found elsewhere: update planted_bugs.txt\n{places}");
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "neither seeds nor small worlds found the planted bugs {missed:?}");
}
