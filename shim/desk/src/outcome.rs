//! The outcome of a call on a transaction.

use aft_core::message::{Committed, Replayed};
use aft_format::TransactionToken;

use crate::reads::Reads;

/// The outcome of an opening, a batch or a commit.
#[derive(Debug)]
pub enum Outcome {
    /// A transaction is open.
    Open {
        /// Its token.
        token: TransactionToken,
        /// The rest of its time, in milliseconds.
        remaining_ms: u64,
        /// The values that the operations read.
        reads: Reads,
    },
    /// The operations ran; the transaction stays open.
    Ran {
        /// The values that the operations read.
        reads: Reads,
    },
    /// The transaction committed.
    Committed {
        /// The commit.
        committed: Committed,
        /// The values that the operations read, or the sums that they wrote.
        reads: Reads,
    },
    /// Another attempt of the request had committed.
    Replayed(Replayed),
}
