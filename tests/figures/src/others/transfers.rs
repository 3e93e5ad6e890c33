//! A transfer between two accounts under a request ID, and the check of a run of transfers.
//!
//! Each account holds a balance and the number of transfers that moved it. After a run in which `n`
//! requests were acknowledged, the sum of the moves must have grown by `2 n`, and the sum of the
//! balances must be unchanged. A sample of the requests is then sent again; each must get the same
//! answer as before and have no effect.

use std::future::Future;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::data::Seen;
use crate::others::load::Caller;

pub(crate) const ACCOUNTS: u32 = 1_000;
/// The balance of an account before its first transfer: more than a run can take from it.
pub(crate) const OPENING: i64 = 1_000_000;
/// The number of times that a failing request is sent, like a caller that wants it done.
const SENDINGS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// The interval of the sample: one in this number of each client's requests is sent again at the
/// end.
const AGAIN_EVERY: u64 = 97;
/// The greatest number of requests in a client's sample.
const AGAIN_MAX: usize = 10;

/// The state of one account, or the sum of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: i64,
    pub(crate) moves: i64,
}

impl Account {
    /// An account that no transfer has moved yet.
    pub(crate) const NEW: Account = Account { balance: OPENING, moves: 0 };

    pub(crate) fn plus(self, other: Account) -> Account {
        Account { balance: self.balance + other.balance, moves: self.moves + other.moves }
    }
}

/// A request for a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Transfer {
    #[serde(skip)]
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) amount: i64,
}

/// The product under test, which executes transfers.
pub(crate) trait Bank: Send + 'static {
    /// Sends a request once, and returns the answer and the attempts that the product needed.
    ///
    /// # Errors
    /// Returns a code or a short text if no answer said that the transfer was done.
    fn ask(&mut self, transfer: &Transfer) -> impl Future<Output = Result<(String, u64), String>> + Send;
}

/// A client that makes transfers.
#[derive(Debug)]
pub(crate) struct Clerk<B> {
    bank: B,
    /// The prefix of request IDs; no two clerks have the same.
    name: String,
    rng: StdRng,
    nth: u64,
    acknowledged: u64,
    /// Requests that will be sent again, with their answers.
    sample: Vec<(Transfer, String)>,
}

impl<B: Bank> Clerk<B> {
    pub(crate) fn new(bank: B, name: String, seed: u64) -> Clerk<B> {
        let rng = StdRng::seed_from_u64(seed);
        Clerk { bank, name, rng, nth: 0, acknowledged: 0, sample: Vec::new() }
    }

    fn draw(&mut self) -> Transfer {
        self.nth += 1;
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        Transfer {
            id: format!("{}-{}", self.name, self.nth),
            from: format!("{from:04}"),
            to: format!("{to:04}"),
            amount: self.rng.random_range(1..10),
        }
    }

    /// Sends the sample again, and returns the number of requests that got another answer.
    async fn again(&mut self) -> u64 {
        let mut wrong = 0;
        for (transfer, answer) in std::mem::take(&mut self.sample) {
            let same = self.bank.ask(&transfer).await.is_ok_and(|(again, _)| again == answer);
            wrong += u64::from(!same);
        }
        wrong
    }
}

impl<B: Bank> Caller for Clerk<B> {
    async fn call(&mut self) -> Result<u64, String> {
        // The same request ID every time: a request that failed may have had its effect.
        let transfer = self.draw();
        let mut sendings = 0;
        loop {
            sendings += 1;
            match self.bank.ask(&transfer).await {
                Ok((answer, attempts)) => {
                    self.acknowledged += 1;
                    if self.nth % AGAIN_EVERY == 1 && self.sample.len() < AGAIN_MAX {
                        self.sample.push((transfer, answer));
                    }
                    return Ok(attempts + u64::from(sendings) - 1);
                }
                Err(code) if sendings == SENDINGS_MAX => return Err(code),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// The counts that a run is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accounts {
    /// Requests that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Requests of the sample that got another answer when they were sent again.
    pub(crate) answered_again: u64,
}

/// Sends the samples of all clerks again, and returns the sums of their counts.
pub(crate) async fn again<B: Bank>(clerks: Vec<Clerk<B>>) -> Accounts {
    let mut accounts = Accounts::default();
    for mut clerk in clerks {
        accounts.acknowledged += clerk.acknowledged;
        accounts.answered_again += clerk.again().await;
    }
    accounts
}

/// Checks a run against the sums of all accounts before it and after its sample was sent again, and
/// enters the wrong effects in `seen`. Writes to an account that happened twice count as double,
/// and missing ones as half done. A changed sum of balances counts as one half if every move was
/// counted.
pub(crate) fn audit(mut seen: Seen, accounts: Accounts, before: Account, after: Account) -> Seen {
    // Each transfer moves two accounts.
    let expected = 2 * i64::try_from(accounts.acknowledged).expect("requests of some seconds");
    let moved = after.moves - before.moves;
    seen.double = accounts.answered_again.max((moved - expected).max(0).unsigned_abs());
    seen.half = (expected - moved).max(0).unsigned_abs();
    if after.balance != before.balance && moved == expected {
        seen.half += 1;
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::others::load::{self, Length};

    /// The accounts, and the answers by request.
    type State = (BTreeMap<String, Account>, BTreeMap<String, String>);

    /// A bank in memory, with faults that can be turned on.
    #[derive(Debug, Clone, Default)]
    struct Ledger {
        state: Arc<Mutex<State>>,
        forgets_requests: bool,
        loses_deposits: bool,
        loses_money: bool,
    }

    impl Ledger {
        fn total(&self) -> Account {
            let state = self.state.lock().expect("nobody panics with it");
            let missing = i64::from(ACCOUNTS) - state.0.len() as i64;
            let new = Account { balance: missing * OPENING, moves: 0 };
            state.0.values().fold(new, |all, one| all.plus(*one))
        }
    }

    impl Bank for Ledger {
        async fn ask(&mut self, transfer: &Transfer) -> Result<(String, u64), String> {
            tokio::time::sleep(Duration::from_micros(200)).await;
            let mut state = self.state.lock().expect("nobody panics with it");
            let (accounts, answers) = &mut *state;
            if let Some(answer) = answers.get(&transfer.id).filter(|_| !self.forgets_requests) {
                return Ok((answer.clone(), 1));
            }
            let from = accounts.entry(transfer.from.clone()).or_insert(Account::NEW);
            *from = from.plus(Account { balance: -transfer.amount, moves: 1 });
            let answer = from.balance.to_string();
            if !self.loses_deposits {
                let amount = if self.loses_money { 0 } else { transfer.amount };
                let to = accounts.entry(transfer.to.clone()).or_insert(Account::NEW);
                *to = to.plus(Account { balance: amount, moves: 1 });
            }
            answers.insert(transfer.id.clone(), answer.clone());
            Ok((answer, 1))
        }
    }

    async fn audited(ledger: Ledger) -> Seen {
        let length = Length { warm_up: Duration::from_millis(20), time: Duration::from_millis(80) };
        let clerk = |nth: u64| Clerk::new(ledger.clone(), format!("one-{nth}"), nth);
        let before = ledger.total();
        let (seen, clerks) = load::closed((0..3).map(clerk).collect(), length).await.expect("it runs");
        let accounts = again(clerks).await;
        assert!(accounts.acknowledged >= seen.transactions && seen.transactions > 3, "{seen:?}");
        audit(seen, accounts, before, ledger.total())
    }

    #[tokio::test]
    async fn a_bank_without_faults_passes() {
        let seen = audited(Ledger::default()).await;
        assert_eq!((seen.double, seen.half), (0, 0));
    }

    #[tokio::test]
    async fn each_fault_is_found() {
        let seen = audited(Ledger { forgets_requests: true, ..Ledger::default() }).await;
        assert!(seen.double >= 3 && seen.half == 0, "{seen:?}");
        let seen = audited(Ledger { loses_deposits: true, ..Ledger::default() }).await;
        assert!(seen.half >= seen.transactions && seen.double == 0, "{seen:?}");
        let seen = audited(Ledger { loses_money: true, ..Ledger::default() }).await;
        assert_eq!((seen.double, seen.half), (0, 1));
    }
}
