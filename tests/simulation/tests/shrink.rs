//! Goal: a plan that breaks a promise shrinks to a smaller one that breaks the same, and the
//! printed changes lead to it again. Method: plant a bug, and shrink the first seed that finds it.

use aft_core::bug::Bug;
use aft_sim::random::Random;
use aft_sim::run::{Simulate, simulate, simulate_plan};
use aft_sim::shrink::{Shrink, shrink};
use aft_simulation::Shim;
use aft_simulation::draw::{Faults, Plan};

const BUG: Option<Bug> = Some(Bug::DropLowerBound);
/// The number of seeds within which one finds the bug.
const SEEDS_MAX: u64 = 250;
/// The number of runs to shrink with.
const TRIES_MAX: u32 = 200;

/// Returns the number of faults that may happen.
fn faults(plan: &Plan) -> usize {
    let Faults { no_answer, busy, refused, damaged, spoil, queued, slow, crash, .. } = plan.faults;
    let Faults { vanish, tell_lost, tell_twice, tell_late, forsake, disturb_every_ms, cached, .. } =
        plan.faults;
    let of_calls = [no_answer, busy, refused, damaged, spoil, queued, slow, cached];
    let others = [crash, vanish, tell_lost, tell_twice, tell_late, forsake, disturb_every_ms];
    of_calls.into_iter().chain(others).filter(|chance| *chance > 0).count()
}

#[test]
fn a_smaller_plan_breaks_the_same_promise() {
    std::panic::set_hook(Box::new(|_| {}));
    let found = (1..=SEEDS_MAX).find_map(|seed| Some((seed, simulate::<Shim>(seed, &BUG, false).violation?)));
    let (seed, violation) = found.expect("a seed finds the bug");
    let plan = Shim::draw(&Random::new(seed), &BUG);
    let shrunk = shrink::<Shim>(seed, &plan, &violation, TRIES_MAX);
    let _ = std::panic::take_hook();
    println!("seed {seed}: {} after {} tries", shrunk.changes.join(" "), shrunk.tries);
    assert_eq!(shrunk.outcome.violation.as_ref().map(|violation| violation.rule), Some(violation.rule));
    assert!(shrunk.outcome.trace.len() > 1, "the smallest plan's story was kept");
    let mut smaller = plan.clone();
    shrunk.changes.iter().for_each(|change| smaller.change(change).expect("it was printed"));
    assert!(smaller.requests < plan.requests, "{} of {} requests", smaller.requests, plan.requests);
    assert!(faults(&smaller) < faults(&plan), "{} of {} faults", faults(&smaller), faults(&plan));
    let again = simulate_plan::<Shim>(seed, smaller, false);
    assert_eq!(again.violation, shrunk.outcome.violation);
}

#[test]
fn a_change_that_no_plan_has_is_rejected() {
    let mut plan = Shim::draw(&Random::new(1), &None);
    for wrong in ["requests", "requests=0", "requests=few", "faults.crashes=0", "clock_grain_ms=0", "hosts=0"]
    {
        assert!(plan.change(wrong).is_err(), "{wrong}");
    }
}
