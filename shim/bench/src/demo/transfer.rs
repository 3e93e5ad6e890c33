//! The transfers, drawn from the seed and the same in both runs.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::demo::account::Side;
use crate::demo::bank::Job;

/// A request to move money within a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The request's number, from 1.
    pub(crate) request: u64,
    pub(crate) pair: u32,
    pub(crate) from: Side,
    pub(crate) amount: i64,
}

/// A request to move money between any two accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    /// The request's number, from 1.
    pub(crate) request: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) amount: i64,
}

impl Transfer {
    /// Returns the job of the bank, which carries out the jobs of one pair one after the
    /// other.
    pub(crate) fn job(&self, prefix: &str) -> Job {
        Job {
            request: self.request,
            queue: self.pair,
            from: self.from.key(prefix, self.pair),
            to: self.from.other().key(prefix, self.pair),
            amount: self.amount,
        }
    }
}

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
        Move { request, from, to, amount }
    };
    (1..=requests).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::{moves, transfers};

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(transfers(100, 8, 1), transfers(100, 8, 1));
        assert_ne!(transfers(100, 8, 1), transfers(100, 8, 2));
    }

    #[test]
    fn transfers_are_within_all_pairs() {
        let all = transfers(600, 16, 1);
        assert!(all.iter().all(|transfer| transfer.pair < 16 && transfer.amount > 0));
        for pair in 0..16 {
            assert!((15..65).contains(&all.iter().filter(|transfer| transfer.pair == pair).count()));
        }
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
