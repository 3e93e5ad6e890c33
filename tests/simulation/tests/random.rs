//! Goal: no seed breaks a promise, the same seed tells the same story, and a small commit costs two store requests.
//!
//! Method: `simulate` for a bounded number of seeds from a fixed one on (longer: `cargo xtask simulate --minutes N`); rare paths are counted, and a run
//! that never took one is no proof. Replay a seed with `cargo xtask simulate --seed X --trace`.

use std::collections::BTreeMap;

use aft_core::bug::Bug;
use aft_simulation::draw::{key, small_settings};
use aft_simulation::explore::{run_attempt, run_for};
use aft_simulation::script::{Action, Request, Step};
use aft_simulation::world::World;
use aft_simulation::{Options, simulate};

/// About half a minute in the dev profile on one core.
const SEEDS: u64 = 1_000;
const FIRST_SEED: u64 = 1;

#[test]
fn no_seed_breaks_a_promise() {
    println!("seeds {FIRST_SEED} to {}", FIRST_SEED + SEEDS - 1);
    let started = std::time::Instant::now();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut broken = Vec::new();
    for seed in FIRST_SEED..FIRST_SEED + SEEDS {
        let outcome = simulate(seed, &Options::default());
        broken.extend(outcome.violation.map(|violation| format!("seed {seed}: {violation}")));
        for (name, count) in outcome.counts {
            *counts.entry(name).or_default() += count;
        }
    }
    println!("{} ms, {counts:?}", started.elapsed().as_millis());
    assert!(broken.is_empty(), "{broken:#?}");
    for rare in [
        "collected",
        "orphans",
        "recovered",
        "replayed",
        "result gone",
        "key reused",
        "unknown",
        "lost",
        "node died",
        "in progress",
        "drained",
        "store unavailable",
        "damaged",
        "damage met",
        "invalid",
    ] {
        assert!(
            counts.get(rare).is_some_and(|count| *count > 0),
            "no seed came to {rare:?}: sharpen the draw"
        );
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [1, 2, 3, 17] {
        let options = Options { trace: true, ..Options::default() };
        let (one, two) = (simulate(seed, &options), simulate(seed, &options));
        assert!(one.trace.len() > 100, "seed {seed} tells little");
        assert_eq!(one.trace, two.trace, "seed {seed}");
    }
    let options = Options { bug: Some(Bug::DropLowerBound), trace: true };
    assert_eq!(simulate(5, &options).trace, simulate(5, &options).trace);
}

/// Section 4: a small commit is one round trip, the record and the intent in parallel, whatever the number of keys.
#[test]
fn a_small_commit_costs_two_store_requests() {
    for keys in [1, 2, 5] {
        let all: Vec<_> = (0..keys).map(key).collect();
        let program = vec![Step::Run(all.iter().cloned().map(Action::Put).collect()), Step::Commit];
        let request = Request { named: false, ..Request::new(0, program) };
        let mut world = World::new(small_settings(false), 1, vec![request], all);
        let attempt = world.new_attempt(0, 0, Vec::new());
        let mut flown = 0;
        while world.attempts[attempt].ended().is_none() {
            if world.client_ready(attempt) {
                world.client(attempt).expect("nothing is broken");
                flown = world.hosts[0].calls_made;
            }
            for id in world.flights.keys().copied().collect::<Vec<_>>() {
                if world.attempts[attempt].ended().is_none() {
                    world.land(id).expect("nothing is broken");
                    world.answer(id).expect("nothing is broken");
                }
            }
        }
        assert_eq!(flown, 2, "{keys} keys");
        run_for(&mut world, 10).expect("nothing is broken");
        assert_eq!(world.hosts[0].calls_made, 2 + u64::from(keys), "one version entry a key, later");
        let reader = world.new_attempt(0, 0, Vec::new());
        run_attempt(&mut world, reader).expect("nothing is broken");
    }
}
