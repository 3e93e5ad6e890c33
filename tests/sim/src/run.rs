//! Runs: what one seed means to a driver, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::random::Random;
use crate::shrink::Shrink;
use crate::trace::Trace;
use crate::verdict::{Verdict, Violation, guarded};

/// Counts of what happened in a run, by name.
pub type Counts = BTreeMap<&'static str, u64>;

/// A driver that runs seeds.
pub trait Simulate {
    /// The plan of a run: everything that is drawn before it begins.
    type Plan: Shrink + Debug;
    /// The options of the driver itself.
    type Options: Clone + Debug + Default;

    /// The command that runs this driver's seeds, for messages.
    const COMMAND: &'static str;
    /// The driver's own arguments, for messages.
    const ARGUMENTS: &'static str;

    /// Draws the plan of a seed, whose root of random streams is `random`.
    fn draw(random: &Random, options: &Self::Options) -> Self::Plan;

    /// Runs a plan. `random` is the same root again: each purpose takes a branch.
    fn run(plan: Self::Plan, random: &Random, trace: Option<Trace>) -> (Verdict, Counts);

    /// Reads one of the driver's own arguments into `options`, and returns true. `value` gives the
    /// word after it. Returns false for an argument that is not the driver's.
    ///
    /// # Errors
    ///
    /// Returns the message for the user if the argument is wrong.
    fn argument(
        options: &mut Self::Options,
        name: &str,
        value: &mut dyn FnMut() -> Option<String>,
    ) -> Result<bool, String>;
}

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first promise that was broken, if any.
    pub violation: Option<Violation>,
    /// Counts of what happened; empty after a panic.
    pub counts: Counts,
    /// The story; empty unless it was kept.
    pub trace: Vec<String>,
}

/// Runs a seed.
pub fn simulate<S: Simulate>(seed: u64, options: &S::Options, trace: bool) -> Outcome {
    let plan = S::draw(&Random::new(seed), options);
    simulate_plan::<S>(seed, plan, trace)
}

/// Runs a plan with the random streams of a seed.
pub fn simulate_plan<S: Simulate>(seed: u64, plan: S::Plan, trace: bool) -> Outcome {
    let trace = trace.then(Trace::default);
    if let Some(trace) = &trace {
        trace.push(format!("seed {seed}: {plan:?}"));
    }
    let kept = trace.clone();
    let ran = guarded(move || Ok(S::run(plan, &Random::new(seed), kept)));
    // After a panic there is nothing to count.
    let (violation, counts) = match ran {
        Ok((verdict, counts)) => (verdict.err(), counts),
        Err(violation) => (Some(violation), Counts::new()),
    };
    Outcome { seed, violation, counts, trace: trace.map(|trace| trace.lines()).unwrap_or_default() }
}
