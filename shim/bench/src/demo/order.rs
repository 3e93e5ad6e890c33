//! What the demo and its processes say to each other: one order as the only argument, and lines on standard output.

use serde::{Deserialize, Serialize};

/// What a process is started for; its only argument, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Say that you are here.
    Ping,
    /// Become `aft` with these arguments. By way of this order, so that a server dies with the demo, however that ends.
    Become {
        /// The demo's process: if it is gone already, there is nothing to do.
        parent: u32,
        arguments: Vec<String>,
    },
    /// Carry out one function of a transfer.
    Function(Task),
}

/// One function of a transfer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Which.
    pub(crate) role: Role,
    /// `http://HOST:PORT`.
    pub(crate) server: String,
    /// The attempt's transaction; none without the shim.
    pub(crate) transaction: Option<String>,
    /// The request.
    pub(crate) request: u64,
    /// The attempt.
    pub(crate) attempt: u64,
    /// The key of the account that the money comes from.
    pub(crate) from: String,
    /// The key of the account that it goes to.
    pub(crate) to: String,
    /// How much.
    pub(crate) amount: i64,
    /// Where to stop and wait for a byte on standard input, or for the end.
    pub(crate) hold: Option<Hold>,
}

/// The functions of a transfer, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Takes the money from one account.
    Debit,
    /// Gives it to the other, and commits.
    Credit,
}

/// A point in a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hold {
    /// The balance was read, nothing written.
    Read,
    /// The new balance was written; the ledger entry was not.
    Wrote,
}

/// A line of a process's standard output, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// It stands at the point that its order named, and waits.
    Held,
    /// It read an account that its own attempt had written, and got another attempt's version.
    OwnWriteMissed,
    /// It is done.
    Ended(Ended),
}

/// How a function ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// It did its work; the last function of a transfer has committed too.
    Done,
    /// Another attempt of the request had committed: this one has no effect.
    Replayed,
    /// Nothing was committed; another attempt may succeed. With the code of the refusal.
    Retry(String),
    /// It may have committed.
    Unknown,
    /// It cannot succeed. With what happened.
    Failed(String),
}
