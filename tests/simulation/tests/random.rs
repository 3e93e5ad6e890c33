//! Goal: no seed breaks a promise, the same seed gives the same story, and a commit makes as many
//! writes as the protocol says.
//!
//! Method: `simulate` a bounded number of seeds from a fixed one on (for more, run `cargo xtask
//! simulate --minutes N`). Rare paths are counted, and the test fails if no seed took one, since it
//! would prove nothing about it. Replay a seed with `cargo xtask simulate --seed X --trace`.

use std::collections::BTreeMap;

use aft_core::bug::Bug;
use aft_core::ids::Session;
use aft_core::message::Input;
use aft_simulation::draw::{key, small_settings};
use aft_simulation::explore::run_attempt;
use aft_simulation::hosts::Role;
use aft_simulation::script::{Action, Request, Step};
use aft_simulation::world::World;
use aft_simulation::{Options, simulate};

/// The number of seeds: about a minute in the dev profile on one core.
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
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    println!("beside {} commits, {} transactions met SnapshotGone", of("committed"), of("snapshot gone"));
    for rare in [
        "ahead of time",
        "clocks disagree",
        "condition failed",
        "conditions held",
        "damage met",
        "damaged",
        "drained",
        "entries removed",
        "entries repaired",
        "in progress",
        "invalid",
        "key reused",
        "lost",
        "marks moved",
        "node died",
        "parts removed",
        "records removed",
        "replayed",
        "result gone",
        "snapshot gone",
        "store unavailable",
        "sums answered",
        "sweeps",
        "sweeps cut short",
        "thawed",
        "unknown",
    ] {
        assert!(
            counts.get(rare).is_some_and(|count| *count > 0),
            "no seed took the path {rare:?}; change src/draw.rs so that it is more common"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_story() {
    for seed in [1, 2, 3, 17] {
        let options = Options { trace: true, ..Options::default() };
        let (one, two) = (simulate(seed, &options), simulate(seed, &options));
        assert!(one.trace.len() > 100, "the story of seed {seed} has 100 lines or fewer");
        assert_eq!(one.trace, two.trace, "seed {seed}");
    }
    let options = Options { bug: Some(Bug::DropLowerBound), trace: true };
    assert_eq!(simulate(5, &options).trace, simulate(5, &options).trace);
}

/// Goal (sections 3 and 12): a commit of n keys makes n + 1 writes in one call; of one key without
/// a request ID, one write. Method: count the parts of the store calls in a world without faults.
#[test]
fn a_commit_makes_a_write_for_each_key_and_one_for_the_record() {
    let check = |named: bool, keys: u32, writes: usize| {
        let all: Vec<_> = (0..keys).map(key).collect();
        let program = vec![Step::Run(all.iter().cloned().map(Action::Put).collect()), Step::Commit];
        let read = Request {
            named: false,
            ..Request::new(0, vec![Step::Run(vec![Action::Get(key(0))]), Step::Commit])
        };
        let request = Request { named, ..Request::new(1, program) };
        let mut world = World::new(small_settings(false), &[Role::Member], vec![read, request], all);
        // A first transaction, so that the node knows the store's time.
        let warm = world.new_attempt(0, 0, Session::default());
        run_attempt(&mut world, warm).expect("nothing is broken");
        let attempt = world.new_attempt(1, 0, Session::default());
        let mut written = 0;
        while world.attempts[attempt].ended().is_none() {
            if world.client_ready(attempt) {
                world.client(attempt).expect("nothing is broken");
            }
            for id in world.flights.iter().map(|(id, _)| id).collect::<Vec<_>>() {
                written += world.flights[id].parts.iter().filter(|part| part.call.is_write()).count();
                world.land_rest(id).expect("nothing is broken");
                world.answer(id).expect("nothing is broken");
            }
            world.now_ms += 1;
            world.step(0, Input::Wake).expect("nothing is broken");
        }
        assert_eq!(written, writes, "named: {named}, {keys} keys");
    };
    check(false, 1, 1);
    check(true, 1, 2);
    check(false, 2, 3);
    check(true, 5, 6);
}
