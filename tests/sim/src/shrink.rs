//! Shrinking: makes the plan of a run smaller while it breaks the same rule, so that its story is
//! short.
//!
//! Plans are shrunk, not random numbers. Each purpose has a stream of its own, and a chance of 0
//! draws too, so a fault that is set to 0 leaves most other draws in place.

use std::collections::BTreeSet;

use crate::run::{Outcome, Simulate, simulate_plan};
use crate::verdict::{ASSERTION, Violation};

/// A plan that can be made smaller.
pub trait Shrink: Clone {
    /// Returns changes that make the plan smaller, each as `name=value`, the most promising first.
    fn changes(&self) -> Vec<String>;

    /// Makes a change.
    ///
    /// # Errors
    ///
    /// Returns the message for the user if the plan has no part of this name, or not this value.
    fn change(&mut self, change: &str) -> Result<(), String>;
}

/// The result of shrinking.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The changes that make the smallest plan that was found.
    pub changes: Vec<String>,
    /// The number of plans that were run.
    pub tries: u32,
    /// The outcome of the smallest plan, with its story.
    pub outcome: Outcome,
}

/// Shrinks the plan of a seed, which leads to `violation`, with `tries_max` runs at most.
pub fn shrink<S: Simulate>(seed: u64, plan: &S::Plan, violation: &Violation, tries_max: u32) -> Shrunk {
    let mut plan = plan.clone();
    let mut kept: Vec<String> = Vec::new();
    let mut rejected = BTreeSet::new();
    let mut tries = 0;
    // Rejected changes are tried again after others were kept, as a smaller plan may not need what
    // the larger one needed.
    let mut kept_any = false;
    while tries < tries_max {
        let Some(change) = plan.changes().into_iter().find(|change| !rejected.contains(change)) else {
            if !std::mem::take(&mut kept_any) {
                break;
            }
            rejected.clear();
            continue;
        };
        let mut smaller = plan.clone();
        smaller.change(&change).expect("a plan's own changes can be made");
        tries += 1;
        let outcome = simulate_plan::<S>(seed, smaller.clone(), false);
        if outcome.violation.is_some_and(|found| breaks_the_same(&found, violation)) {
            plan = smaller;
            kept.retain(|earlier| name(earlier) != name(&change));
            kept.push(change);
            kept_any = true;
        } else {
            rejected.insert(change);
        }
    }
    let outcome = simulate_plan::<S>(seed, plan, true);
    let still = outcome.violation.as_ref().is_some_and(|found| breaks_the_same(found, violation));
    assert!(still, "the same plan and seed lead to the same violation: {violation}");
    Shrunk { changes: kept, tries, outcome }
}

/// Returns the part of a plan that a change is for.
fn name(change: &str) -> &str {
    change.split_once('=').map_or(change, |(name, _)| name)
}

/// Returns true if two violations are of the same rule. Assertions have one rule in common, so the
/// first line of their messages must be the same too.
fn breaks_the_same(one: &Violation, other: &Violation) -> bool {
    one.rule == other.rule && (one.rule != ASSERTION || one.text.lines().next() == other.text.lines().next())
}
