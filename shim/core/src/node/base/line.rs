//! The queue (*line*) of commits that want a lock which another commit of this node is taking.
//!
//! If two commits of one node tried to take the same lock at once, that would cost a read of the
//! holder, a pause, and often one of the commits. In the line the second one costs nothing: it
//! starts when the first has ended, and follows the version that the first wrote.
//!
//! Rule. A commit starts when it is the first in line at each of its keys, and no other commit
//! writes one of them. It takes all its keys at once and waits only before it has any lock, so
//! there is no deadlock; and commits of one key do not overtake a commit of many keys.

use std::collections::BTreeMap;

use crate::ids::{AttemptId, Key};

/// A commit's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    number: u64,
    keys: Vec<Key>,
    /// The monotonic instant of its timer, if one is set.
    looks_mono: Option<u64>,
}

/// The waiting commits, in the order of their arrival.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Line {
    /// The number of the next place.
    next: u64,
    places: BTreeMap<AttemptId, Place>,
    /// The places at each key, by number.
    at: BTreeMap<Key, BTreeMap<u64, AttemptId>>,
}

impl Line {
    /// Returns true if no other attempt is first in line at one of the keys.
    pub(in crate::node) fn is_first<'a>(
        &self,
        attempt: AttemptId,
        mut keys: impl Iterator<Item = &'a Key>,
    ) -> bool {
        keys.all(|key| self.first(key).is_none_or(|first| first == attempt))
    }

    fn first(&self, key: &Key) -> Option<AttemptId> {
        self.at.get(key)?.values().next().copied()
    }

    /// Puts an attempt in line at its keys, if it is not in line yet. `looks_mono` is the instant
    /// for which its timer is set. Returns the instant for which its timer was set before.
    pub(in crate::node) fn enter(
        &mut self,
        attempt: AttemptId,
        keys: Vec<Key>,
        looks_mono: Option<u64>,
    ) -> Option<u64> {
        assert!(!keys.is_empty(), "a commit in line wants a key");
        let number = self.next;
        let place = self.places.entry(attempt).or_insert_with(|| {
            self.next += 1;
            for key in &keys {
                self.at.entry(key.clone()).or_default().insert(number, attempt);
            }
            Place { number, keys, looks_mono: None }
        });
        std::mem::replace(&mut place.looks_mono, looks_mono)
    }

    /// Takes an attempt out of the line. Returns the instant of its timer, if one is set, and the
    /// attempts that are now first at its keys.
    pub(in crate::node) fn leave(&mut self, attempt: AttemptId) -> (Option<u64>, Vec<AttemptId>) {
        let Some(Place { number, keys, looks_mono }) = self.places.remove(&attempt) else {
            return (None, Vec::new());
        };
        for key in &keys {
            let at = self.at.get_mut(key).expect("a place is at each of its keys");
            let was = at.remove(&number);
            assert_eq!(was, Some(attempt), "a place is its attempt's");
            if at.is_empty() {
                self.at.remove(key);
            }
        }
        (looks_mono, self.first_at(&keys))
    }

    /// Returns the attempts that are first in line at one of the keys, in the order of the line.
    pub(in crate::node) fn first_at(&self, keys: &[Key]) -> Vec<AttemptId> {
        let places = keys.iter().filter_map(|key| self.at.get(key)?.first_key_value());
        let firsts: BTreeMap<u64, AttemptId> = places.map(|(number, first)| (*number, *first)).collect();
        firsts.into_values().collect()
    }

    /// Returns true if an attempt is in line.
    pub(in crate::node) fn contains(&self, attempt: AttemptId) -> bool {
        self.places.contains_key(&attempt)
    }

    /// Panics if an invariant is broken, or if nothing would wake a waiting commit. `waits` returns
    /// true if the attempt waits for another commit that writes the key; `has_timer` returns true
    /// if the attempt's timer is set for the instant.
    pub(in crate::node) fn check_invariants(
        &self,
        waits: impl Fn(AttemptId, &Key) -> bool,
        has_timer: impl Fn(AttemptId, u64) -> bool,
    ) {
        let places: usize = self.places.values().map(|place| place.keys.len()).sum();
        assert_eq!(self.at.values().map(BTreeMap::len).sum::<usize>(), places, "a place is at its keys");
        assert!(self.at.values().all(|at| !at.is_empty()), "a key without a line is forgotten");
        for (attempt, place) in &self.places {
            assert!(place.number < self.next, "a place has a number that was given out");
            let is_behind = |key: &Key| self.first(key) != Some(*attempt);
            let is_kept = |key: &Key| is_behind(key) || waits(*attempt, key);
            assert!(place.keys.iter().any(is_kept), "a commit in line waits for another one");
            let is_busy = place.keys.iter().any(|key| waits(*attempt, key));
            let is_timed = place.looks_mono.is_some_and(|at| has_timer(*attempt, at));
            assert!(
                is_timed || !is_busy || place.keys.iter().any(is_behind),
                "the first commit in line has a timer"
            );
        }
    }
}
