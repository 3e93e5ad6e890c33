//! The messages between the demo and its processes: one order as the only argument, then lines on
//! standard output.

use serde::{Deserialize, Serialize};

/// The order that a process is started for: its only argument, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Report success at once.
    Ping,
    /// Become `aft` with these arguments. Started through this order, a server dies with the demo,
    /// for whatever reason the demo ends.
    Become {
        /// The process ID of the demo. If it is gone already, there is nothing to do.
        parent: u32,
        arguments: Vec<String>,
    },
    /// Carry out one function of a transfer.
    Function(Task),
}

/// One function of a transfer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The function to carry out.
    pub(crate) role: Role,
    /// The server's URL, `http://HOST:PORT`.
    pub(crate) server: String,
    /// The attempt's transaction. `None` without the shim.
    pub(crate) transaction: Option<String>,
    /// The request's number.
    pub(crate) request: u64,
    /// The attempt's number.
    pub(crate) attempt: u64,
    /// The key of the account that the money comes from.
    pub(crate) from: String,
    /// The key of the account that the money goes to.
    pub(crate) to: String,
    /// The amount of money.
    pub(crate) amount: i64,
    /// The point at which to stop and wait for a byte on standard input, or for its end.
    pub(crate) hold: Option<Hold>,
}

/// The functions of a transfer, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Takes the money from one account.
    Debit,
    /// Adds the money to the other account, and commits.
    Credit,
}

/// A point in a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hold {
    /// The balance was read, and nothing written yet.
    Read,
    /// The new balance was written, but not the ledger entry.
    Wrote,
}

/// A line of a process's standard output, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// The function holds at the point that its order names, and waits.
    Held,
    /// The function read an account that its own attempt had written, and got another attempt's
    /// version.
    OwnWriteMissed,
    /// The function has ended.
    Ended(Ended),
}

/// The outcome of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// The function did its work. The last function of a transfer has committed as well.
    Done,
    /// Another attempt of the request has committed, so this one has no effect.
    Replayed,
    /// The attempt committed nothing, and another may succeed. Holds the error's code.
    Retry(String),
    /// The outcome is unknown: the attempt may have committed.
    Unknown,
    /// The attempt committed nothing, and another cannot succeed. Holds the reason.
    Failed(String),
}
