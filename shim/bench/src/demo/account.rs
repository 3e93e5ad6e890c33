//! Accounts, which the functions read and write, and by which the auditors judge.
//!
//! Accounts come in pairs, `a` and `b`, and money moves only within a pair. So the sum of a pair
//! never changes, and each transfer writes both accounts. (Only in `balances` does money move
//! between any two accounts.) Each account lists the requests that were applied to it, so an effect
//! that is there twice, not at all, or on one side only, can be read off the list.

use serde::{Deserialize, Serialize};

/// The balance of a new account: more than a run can move out of one, so that no transfer is
/// rejected.
pub(crate) const OPENING_BALANCE: i64 = 1_000_000;
/// The number of the attempt that opened the accounts.
pub(crate) const OPENING_ATTEMPT: u64 = 0;

/// A side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    /// Returns the other side.
    pub(crate) fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    /// Returns an account's key.
    pub(crate) fn key(self, prefix: &str, pair: u32) -> String {
        let side = match self {
            Side::A => "a",
            Side::B => "b",
        };
        format!("{prefix}/pair-{pair}/{side}")
    }
}

/// The value of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// The balance.
    pub(crate) balance: i64,
    /// The requests that were applied, in order.
    pub(crate) applied: Vec<u64>,
    /// The attempt that wrote this version, and the transfer's other account.
    pub(crate) attempt: u64,
}

impl Account {
    /// Returns a new account.
    pub(crate) fn opening() -> Account {
        Account { balance: OPENING_BALANCE, applied: Vec::new(), attempt: OPENING_ATTEMPT }
    }

    /// Returns the account after `request` moved `amount` in (or out, if negative).
    pub(crate) fn apply(mut self, request: u64, amount: i64, attempt: u64) -> Account {
        self.balance += amount;
        self.applied.push(request);
        self.attempt = attempt;
        self
    }

    /// Encodes the account as JSON.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an account consists of numbers under string keys")
    }

    /// Decodes an account; `None` if `bytes` is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Account> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Returns the key of a function's entry in the ledger of an account: the second write of each
/// function.
pub(crate) fn ledger_key(account: &str, request: u64) -> String {
    format!("{account}/ledger/{request}")
}

#[cfg(test)]
mod tests {
    use super::{Account, OPENING_BALANCE, Side, ledger_key};

    #[test]
    fn an_account_keeps_what_was_applied() {
        let account = Account::opening().apply(7, -5, 1).apply(9, 2, 3);
        assert_eq!(account, Account { balance: OPENING_BALANCE - 3, applied: vec![7, 9], attempt: 3 });
        assert_eq!(Account::decode(&account.encode()), Some(account));
        assert_eq!(Account::decode(b"?"), None);
    }

    #[test]
    fn keys_name_the_pair_and_the_side() {
        assert_eq!(Side::A.key("bank", 3), "bank/pair-3/a");
        assert_eq!(ledger_key(&Side::A.other().key("bank", 3), 12), "bank/pair-3/b/ledger/12");
    }
}
