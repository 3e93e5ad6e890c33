//! The transfers and their fates, drawn from the seed and the same in both runs.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::demo::account::Side;
use crate::demo::order::{Hold, Role};
use crate::demo::platform::Job;

/// A request to move money within a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The request's number, from 1.
    pub(crate) request: u64,
    pub(crate) pair: u32,
    pub(crate) from: Side,
    pub(crate) amount: i64,
    pub(crate) fate: Fate,
}

/// A request to move money between any two accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    /// The request's number, from 1.
    pub(crate) request: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) amount: i64,
    pub(crate) fate: Fate,
}

/// The fault that the platform injects into a request's first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No fault.
    Spared,
    /// A function is killed at a point, and the request is retried.
    Killed(Role, Hold),
    /// The request is delivered twice at the same time.
    Twice,
    /// A function is paused at a point. Its attempt is abandoned and the request is retried; once
    /// the retry is done, the function continues.
    Late(Role, Hold),
}

impl Transfer {
    /// Returns the job for the platform, which carries out the jobs of one pair one after the
    /// other.
    pub(crate) fn job(&self, prefix: &str) -> Job {
        Job {
            request: self.request,
            queue: self.pair,
            from: self.from.key(prefix, self.pair),
            to: self.from.other().key(prefix, self.pair),
            amount: self.amount,
            fate: self.fate,
        }
    }
}

/// The percentage of requests that are killed, delivered twice, and late. That is far more than on
/// a real platform, so that a short demo shows every fault.
const KILLED: u32 = 12;
const TWICE: u32 = 8;
const LATE: u32 = 6;
const _: () = assert!(KILLED + TWICE + LATE < 50, "most requests are spared");

/// The largest amount of one transfer.
const AMOUNT_MAX: i64 = 100;

/// Draws the transfers of a run, in order.
pub(crate) fn transfers(requests: u64, pairs: u32, seed: u64) -> Vec<Transfer> {
    let mut random = StdRng::seed_from_u64(seed);
    (1..=requests).map(|request| transfer(request, pairs, &mut random)).collect()
}

fn transfer(request: u64, pairs: u32, random: &mut StdRng) -> Transfer {
    Transfer {
        request,
        pair: random.random_range(0..pairs),
        from: if random.random_bool(0.5) { Side::A } else { Side::B },
        amount: random.random_range(1..=AMOUNT_MAX),
        fate: fate(random),
    }
}

/// Draws `requests` moves between `accounts` accounts (at least two), in order.
pub(crate) fn moves(requests: u64, accounts: u32, seed: u64) -> Vec<Move> {
    assert!(accounts >= 2, "money moves between two accounts");
    let mut random = StdRng::seed_from_u64(seed);
    let draw = |request| {
        let from = random.random_range(0..accounts);
        let to = (from + random.random_range(1..accounts)) % accounts;
        let amount = random.random_range(1..=AMOUNT_MAX);
        Move { request, from, to, amount, fate: fate(&mut random) }
    };
    (1..=requests).map(draw).collect()
}

fn fate(random: &mut StdRng) -> Fate {
    let role = if random.random_bool(0.5) { Role::Debit } else { Role::Credit };
    let draw = random.random_range(0..100);
    if draw < KILLED {
        // Between the function's two writes, which leaves its work half done.
        Fate::Killed(role, Hold::Wrote)
    } else if draw < KILLED + TWICE {
        Fate::Twice
    } else if draw < KILLED + TWICE + LATE {
        // Before the function's writes, which then come after those of the retry.
        Fate::Late(role, Hold::Read)
    } else {
        Fate::Spared
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, moves, transfers};

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(transfers(100, 8, 1), transfers(100, 8, 1));
        assert_ne!(transfers(100, 8, 1), transfers(100, 8, 2));
    }

    #[test]
    fn every_fate_occurs() {
        let all = transfers(600, 16, 1);
        let count = |is: fn(&Fate) -> bool| all.iter().filter(|transfer| is(&transfer.fate)).count();
        assert!((40..110).contains(&count(|fate| matches!(fate, Fate::Killed(..)))));
        assert!((20..80).contains(&count(|fate| matches!(fate, Fate::Twice))));
        assert!((15..65).contains(&count(|fate| matches!(fate, Fate::Late(..)))));
        assert!(all.iter().all(|transfer| transfer.pair < 16 && transfer.amount > 0));
    }

    #[test]
    fn moves_are_between_two_accounts() {
        let all = moves(500, 3, 1);
        assert_eq!(all, moves(500, 3, 1));
        assert!(all.iter().all(|one| one.from != one.to && one.from < 3 && one.to < 3 && one.amount > 0));
        let between = |from, to| all.iter().filter(|one| (one.from, one.to) == (from, to)).count();
        assert!((40..130).contains(&between(2, 0)) && (40..130).contains(&between(0, 1)));
    }
}
