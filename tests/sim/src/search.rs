//! Exhaustive search of small worlds: depth first, over every order of steps, with a set of the
//! states seen.
//!
//! It runs in rounds that allow more and more *deviations* from a default order. In each state the
//! first step that the driver offers is the default; every other one costs a deviation. Most bugs
//! need few, so a search that is cut has still visited the most valuable paths.
//!
//! An end state is healed in a copy, which also makes the demands on it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::rc::Rc;

use crate::digest::Digest;
use crate::trace::Trace;
use crate::verdict::{Verdict, Violation, guarded};

/// A state of a small world, with the faults that may still happen. Its hash identifies it.
pub trait Search: Clone + Hash {
    /// A thing that may happen next.
    type Step: Clone;

    /// Returns every step that is possible; the first is the default.
    fn steps(&self) -> Vec<Self::Step>;

    /// Takes a step that [`Search::steps`] returned for this state.
    ///
    /// # Errors
    ///
    /// Returns the promise that the step broke.
    fn take(&mut self, step: &Self::Step) -> Verdict;

    /// Returns true in an end state, which is healed and checked. Steps may lead on from it.
    fn is_over(&self) -> bool;

    /// Heals an end state: ends all faults, lets every wait pass, and makes the demands.
    ///
    /// # Errors
    ///
    /// Returns the first demand that is not met.
    fn heal(&mut self) -> Verdict;

    /// Keeps the story in `trace` from here on. Must not change the hash.
    fn keep_story(&mut self, trace: Trace);
}

/// The result of a search.
#[derive(Debug, Clone)]
pub struct Explored {
    /// The number of states visited, over all rounds.
    pub states: usize,
    /// The number of end states, each of which was healed and checked.
    pub ends: usize,
    /// The number of deviations from the default order in the last round; 255 means no bound.
    /// The search visited every path with as many, unless it was cut.
    pub deviations: u8,
    /// True if no path was left out.
    pub whole: bool,
    /// The first violation.
    pub found: Option<Found>,
}

/// A violation that a search found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The violation.
    pub violation: Violation,
    /// The number of steps that lead to it.
    pub steps: usize,
    /// The story of these steps.
    pub story: Vec<String>,
}

/// The steps that lead to a state, newest first, shared between states.
struct Path<T>(Option<Rc<Link<T>>>);

struct Link<T> {
    step: T,
    before: Path<T>,
}

impl<T> Clone for Path<T> {
    fn clone(&self) -> Path<T> {
        Path(self.0.clone())
    }
}

impl<T> Path<T> {
    /// Returns the path that goes on from this one by `step`.
    fn then(&self, step: T) -> Path<T> {
        Path(Some(Rc::new(Link { step, before: self.clone() })))
    }

    /// Returns the steps, oldest first.
    fn steps(&self) -> Vec<&T> {
        let links = std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref());
        let mut steps: Vec<&T> = links.map(|link| &link.step).collect();
        steps.reverse();
        steps
    }
}

/// The states seen, each with the largest number of deviations that were left when it was visited.
type Seen = HashMap<u128, u8, BuildHasherDefault<DefaultHasher>>;

/// The number of rounds with a bound on deviations, before the one without.
const ROUNDS: u8 = 4;

/// Searches from `start`: first every path with one deviation from the default order, then with
/// two, and so on, until nothing was left out or `states_max` states were visited.
pub fn explore<S: Search>(start: &S, states_max: usize) -> Explored {
    let mut explored = Explored { states: 0, ends: 0, deviations: 0, whole: false, found: None };
    let mut healed = Seen::default();
    while !explored.whole && explored.found.is_none() && explored.states < states_max {
        // After a few bounded rounds, everything that is left.
        explored.deviations = if explored.deviations < ROUNDS { explored.deviations + 1 } else { u8::MAX };
        search(start, states_max, &mut explored, &mut healed);
    }
    explored
}

/// Runs one round: visits every path with at most `explored.deviations` deviations.
///
/// `healed` are the end states that earlier rounds have checked. Sets `explored.whole` if no step
/// was left out for want of deviations.
fn search<S: Search>(start: &S, states_max: usize, explored: &mut Explored, healed: &mut Seen) {
    let mut seen = Seen::default();
    let mut pruned = false;
    let mut stack: Vec<(S, Path<S::Step>, u8)> = vec![(start.clone(), Path(None), explored.deviations)];
    while let Some((state, path, left)) = stack.pop() {
        // Visiting a state again is of use only with more deviations left than before.
        let key = key(&state);
        if seen.get(&key).is_some_and(|before| *before >= left) {
            continue;
        }
        seen.insert(key, left);
        explored.states += 1;
        if explored.states >= states_max {
            return;
        }
        if state.is_over() && healed.insert(key, 0).is_none() {
            explored.ends += 1;
            let mut copy = state.clone();
            if let Err(violation) = guarded(|| copy.heal()) {
                explored.found = Some(retell(start, violation, &path, true));
                return;
            }
        }
        for (place, step) in state.steps().into_iter().enumerate() {
            // Every step but the default costs a deviation.
            let costs = u8::from(place > 0);
            if costs > left {
                pruned = true;
                continue;
            }
            let mut next = state.clone();
            let path = path.then(step.clone());
            if let Err(violation) = guarded(|| next.take(&step)) {
                explored.found = Some(retell(start, violation, &path, false));
                return;
            }
            stack.push((next, path, left - costs));
        }
    }
    explored.whole = !pruned;
}

/// Returns a hash that identifies a state: 128 bits, so that two states never share one in
/// practice.
fn key<S: Hash>(state: &S) -> u128 {
    let mut digest = Digest::new();
    state.hash(&mut digest);
    digest.finish128()
}

/// Repeats the steps of a path that led to `violation`, and keeps the story. With `healing` it
/// heals the state at the end.
fn retell<S: Search>(start: &S, violation: Violation, path: &Path<S::Step>, healing: bool) -> Found {
    let steps = path.steps();
    let trace = Trace::default();
    let mut state = start.clone();
    state.keep_story(trace.clone());
    // The last step breaks the promise again, unless healing does.
    let mut verdict = steps.iter().try_for_each(|step| guarded(|| state.take(step)));
    if healing && verdict.is_ok() {
        verdict = guarded(|| state.heal());
    }
    assert_eq!(verdict.as_ref().err(), Some(&violation), "the same steps lead to the same violation");
    Found { violation, steps: steps.len(), story: trace.lines() }
}

#[cfg(test)]
mod tests {
    use super::{Search, explore};
    use crate::trace::Trace;
    use crate::verdict::{Verdict, broken};

    /// A number that may be doubled or increased, up to a bound, and must not be `never`.
    #[derive(Clone, Hash)]
    struct Number {
        now: u32,
        never: u32,
    }

    impl Search for Number {
        type Step = u32;

        fn steps(&self) -> Vec<u32> {
            if self.now < 20 { vec![2 * self.now, self.now + 1] } else { Vec::new() }
        }

        fn take(&mut self, step: &u32) -> Verdict {
            self.now = *step;
            if self.now == self.never { broken("it is never so", self.now.to_string()) } else { Ok(()) }
        }

        fn is_over(&self) -> bool {
            self.now >= 20
        }

        fn heal(&mut self) -> Verdict {
            assert!(self.now != 39, "it is 39");
            Ok(())
        }

        fn keep_story(&mut self, _: Trace) {}
    }

    #[test]
    fn a_search_visits_everything_or_says_that_it_was_cut() {
        let whole = explore(&Number { now: 1, never: 0 }, 10_000);
        assert!(whole.whole && whole.found.is_none() && whole.ends > 0);
        let cut = explore(&Number { now: 1, never: 0 }, 10);
        assert!(!cut.whole && cut.states == 10);
    }

    #[test]
    fn a_violation_is_found_with_few_deviations() {
        // 1, 2, 3, 6, 12: one deviation.
        let explored = explore(&Number { now: 1, never: 12 }, 10_000);
        assert_eq!(explored.deviations, 1);
        assert_eq!(explored.found.expect("12 can be reached").steps, 4);
        assert!(explore(&Number { now: 1, never: 39 }, 10_000).found.is_none(), "39 cannot be reached");
    }
}
