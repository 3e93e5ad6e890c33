//! The conclusions of the auditors, drawn from accounts alone: this code does not know which run it
//! judges.
//!
//! * During a run, an auditor reads both accounts of a pair, in one transaction where there are
//!   transactions. A request that is listed in one account and not (or less often) in the other is
//!   a transfer seen half done. Two accounts last written by different attempts are a fractured
//!   read, because every attempt writes both.
//! * At the end, when every process has ended, each acknowledged request must be listed once in
//!   each account of its pair, and the sum of the money must be unchanged.

use std::collections::{BTreeMap, BTreeSet};

use crate::demo::account::{Account, OPENING_BALANCE};
use crate::demo::transfer::{Move, Transfer};

/// The findings of one audit of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// The numbers of requests that were applied to one side and not to the other.
    pub(crate) half_done: Vec<u64>,
    /// True if the two sides were written by different attempts.
    pub(crate) fractured: bool,
    /// The sum of the pair minus the sum that it should have.
    pub(crate) money_off: i64,
}

/// Audits the two accounts of a pair.
pub(crate) fn look(a: &Account, b: &Account) -> Look {
    let mut sides: BTreeMap<u64, i64> = BTreeMap::new();
    for request in &a.applied {
        *sides.entry(*request).or_default() += 1;
    }
    for request in &b.applied {
        *sides.entry(*request).or_default() -= 1;
    }
    let half_done =
        sides.into_iter().filter(|(_, balance)| *balance != 0).map(|(request, _)| request).collect();
    Look {
        half_done,
        fractured: a.attempt != b.attempt,
        money_off: a.balance + b.balance - 2 * OPENING_BALANCE,
    }
}

/// The findings at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Final {
    /// Requests that were applied more than once, on any side.
    pub(crate) double_effects: u64,
    /// Acknowledged requests that are missing, on any side.
    pub(crate) lost_effects: u64,
    /// The numbers of requests that stayed half done.
    pub(crate) half_done: BTreeSet<u64>,
    /// The total surplus of the pairs that have too much.
    pub(crate) money_created: i64,
    /// The total shortfall of the pairs that have too little.
    pub(crate) money_lost: i64,
}

/// Judges the end of a run. `pairs` holds the accounts in the order of the pairs' numbers, and
/// `acknowledged` the transfers that were acknowledged.
pub(crate) fn judge(pairs: &[(Account, Account)], acknowledged: &[Transfer]) -> Final {
    let mut end = Final::default();
    // For each pair: how often each request is listed on side a, and on side b.
    let mut counts: Vec<BTreeMap<u64, (u64, u64)>> = vec![BTreeMap::new(); pairs.len()];
    for ((a, b), counts) in pairs.iter().zip(&mut counts) {
        a.applied.iter().for_each(|request| counts.entry(*request).or_default().0 += 1);
        b.applied.iter().for_each(|request| counts.entry(*request).or_default().1 += 1);
        let look = look(a, b);
        end.half_done.extend(look.half_done);
        end.money_created += look.money_off.max(0);
        end.money_lost += (-look.money_off).max(0);
    }
    let listed = counts.iter().flat_map(BTreeMap::values);
    end.double_effects = listed.filter(|(a, b)| *a > 1 || *b > 1).count() as u64;
    let is_missing = |transfer: &&Transfer| {
        let (a, b) = counts[transfer.pair as usize].get(&transfer.request).copied().unwrap_or_default();
        a == 0 || b == 0
    };
    end.lost_effects = acknowledged.iter().filter(is_missing).count() as u64;
    end
}

/// The findings at the end, where money moves between any two accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Books {
    /// The sum of all balances.
    pub(crate) sum: i64,
    /// Acknowledged requests that are missing in one of their accounts, or in both.
    pub(crate) overwritten: u64,
    /// Requests that an account lists more than once.
    pub(crate) double_effects: u64,
}

/// Judges the end of a run. `accounts` is in the order of the accounts' numbers, and `acknowledged`
/// holds the moves that were acknowledged.
pub(crate) fn judge_books(accounts: &[Account], acknowledged: &[Move]) -> Books {
    let lists = |account: u32, request: u64| accounts[account as usize].applied.contains(&request);
    let is_missing = |one: &&Move| !lists(one.from, one.request) || !lists(one.to, one.request);
    let mut doubled: BTreeSet<u64> = BTreeSet::new();
    for account in accounts {
        let mut seen = BTreeSet::new();
        doubled.extend(account.applied.iter().copied().filter(|request| !seen.insert(*request)));
    }
    Books {
        sum: accounts.iter().map(|account| account.balance).sum(),
        overwritten: acknowledged.iter().filter(is_missing).count() as u64,
        double_effects: doubled.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::{Books, Final, judge, judge_books, look};
    use crate::demo::account::{Account, OPENING_BALANCE, Side};
    use crate::demo::transfer::{Move, Transfer};

    /// Returns an account after `requests` of 10 each, last written by `attempt`.
    fn account(sign: i64, requests: &[u64], attempt: u64) -> Account {
        requests
            .iter()
            .fold(Account::opening(), |account, request| account.apply(*request, sign * 10, attempt))
    }

    fn transfer(request: u64) -> Transfer {
        Transfer { request, pair: 0, from: Side::A, amount: 10 }
    }

    /// Checks the audit of a pair where `a` pays and `b` receives 10 per request.
    fn check(a: (&[u64], u64), b: (&[u64], u64), half_done: &[u64], fractured: bool, money_off: i64) {
        let seen = look(&account(-1, a.0, a.1), &account(1, b.0, b.1));
        assert_eq!((&seen.half_done[..], seen.fractured, seen.money_off), (half_done, fractured, money_off));
    }

    #[test]
    fn an_audit_finds_half_done_and_fractured_transfers() {
        check((&[], 0), (&[], 0), &[], false, 0);
        check((&[1, 2], 5), (&[1, 2], 5), &[], false, 0);
        // Debited, not yet credited.
        check((&[1, 2], 6), (&[1], 5), &[2], true, -10);
        // Two attempts of one request, each with one side: the sum is right, but the read is
        // fractured.
        check((&[1], 5), (&[1], 6), &[], true, 0);
        // Debited twice.
        check((&[1, 1], 6), (&[1], 6), &[1], false, -10);
        // A late write replaced a newer one.
        check((&[1], 5), (&[1, 2], 6), &[2], true, 10);
    }

    fn check_end(a: &[u64], b: &[u64], acknowledged: &[u64], expect: Final) {
        let pairs = [(account(-1, a, 1), account(1, b, 1))];
        let transfers: Vec<_> = acknowledged.iter().map(|request| transfer(*request)).collect();
        assert_eq!(judge(&pairs, &transfers), expect);
    }

    #[test]
    fn the_end_shows_double_and_lost_effects() {
        check_end(&[1, 2], &[1, 2], &[1, 2], Final::default());
        // Applied twice on both sides: the sum is right, but the payer paid twice.
        check_end(&[1, 1], &[1, 1], &[1], Final { double_effects: 1, ..Final::default() });
        let lost = Final { lost_effects: 1, half_done: [2].into(), money_lost: 10, ..Final::default() };
        check_end(&[1, 2], &[1], &[1, 2], lost);
        let created = Final { lost_effects: 1, half_done: [2].into(), money_created: 10, ..Final::default() };
        check_end(&[1], &[1, 2], &[1, 2], created);
        check_end(&[], &[], &[1], Final { lost_effects: 1, ..Final::default() });
        // Not acknowledged, but whole: both outcomes are allowed.
        check_end(&[3], &[3], &[], Final::default());
        check_end(&[], &[], &[], Final::default());
    }

    #[test]
    fn gains_and_losses_of_pairs_do_not_cancel() {
        let short = (account(-1, &[1, 1], 1), account(1, &[1], 1));
        let over = (account(-1, &[], 1), account(1, &[2], 1));
        let end = judge(&[short, over], &[]);
        assert_eq!((end.money_created, end.money_lost, end.double_effects), (10, 10, 1));
    }

    /// Checks the findings for three accounts. Request 1 moves 5 from account 0 to 1, request 2
    /// moves 7 from 1 to 2.
    fn check_books(applied: [&[(u64, i64)]; 3], off: i64, overwritten: u64, double_effects: u64) {
        let after = |account: Account, (request, amount): &(u64, i64)| account.apply(*request, *amount, 1);
        let accounts = applied.map(|applied| applied.iter().fold(Account::opening(), after));
        let one = |request, from, to, amount| Move { request, from, to, amount };
        let sum = 3 * OPENING_BALANCE + off;
        let books = judge_books(&accounts, &[one(1, 0, 1, 5), one(2, 1, 2, 7)]);
        assert_eq!(books, Books { sum, overwritten, double_effects });
    }

    #[test]
    fn overwritten_and_doubled_moves_are_counted() {
        check_books([&[(1, -5)], &[(1, 5), (2, -7)], &[(2, 7)]], 0, 0, 0);
        // Both requests read account 1 as it was opened, and the later write replaced the earlier
        // one.
        check_books([&[(1, -5)], &[(2, -7)], &[(2, 7)]], -5, 1, 0);
        check_books([&[(1, -5)], &[(1, 5)], &[(2, 7)]], 7, 1, 0);
        // Both sides of a transfer are missing: the sum is right, but the transfer is lost.
        check_books([&[], &[(2, -7)], &[(2, 7)]], 0, 1, 0);
        check_books([&[(1, -5), (1, -5)], &[(1, 5), (1, 5), (2, -7)], &[(2, 7)]], 0, 0, 1);
    }
}
