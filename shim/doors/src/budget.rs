//! How much of each open transaction's room in its commit record is spent.
//!
//! The node refuses a transaction whose inline values are too many bytes together; a door that knows what was spent puts the next large
//! value into a blob instead. This is advice: what is forgotten here costs at most such a refusal.

use std::collections::HashMap;
use std::sync::Mutex;

use aft_core::ids::AttemptId;

/// Transactions that are remembered, twice over: a node has at most 10,000 open ones.
const GENERATION_LEN_MAX: usize = 10_000;

/// Inline bytes by open transaction. Two generations: when the younger is full, the older is forgotten, so that transactions that
/// ended unheard (by their deadline) do not stay.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<[HashMap<AttemptId, usize>; 2]>);

impl Budgets {
    pub(crate) fn spent(&self, attempt: AttemptId) -> usize {
        let generations = self.0.lock().expect("nobody panics with the budgets in hand");
        generations.iter().find_map(|spent| spent.get(&attempt)).copied().unwrap_or_default()
    }

    pub(crate) fn spend(&self, attempt: AttemptId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut generations = self.0.lock().expect("nobody panics with the budgets in hand");
        let [young, old] = &mut *generations;
        let before = old.remove(&attempt).or_else(|| young.get(&attempt).copied()).unwrap_or_default();
        if young.len() >= GENERATION_LEN_MAX {
            *old = std::mem::take(young);
        }
        young.insert(attempt, before + bytes);
    }

    pub(crate) fn ended(&self, attempt: AttemptId) {
        let mut generations = self.0.lock().expect("nobody panics with the budgets in hand");
        for spent in &mut *generations {
            spent.remove(&attempt);
        }
    }
}
