//! What runs a transaction's functions: a server, a node in process, or the store itself.
//!
//! A backend is one client's: it has at most one attempt under way, and knows where that attempt stands. It reports how calls ended; what is
//! tried again, and how often, is decided in `load`, in one place for all.

mod direct;
mod node;
mod server;
mod transactions;

pub(crate) use direct::{DirectBackend, clean_up, refused as refused_by_store};
pub(crate) use node::{NodeBackend, inline, refused as refused_by_node};
pub(crate) use server::ServerBackend;
pub(crate) use transactions::TransactionsBackend;

use bytes::Bytes;

use crate::standard::detect::{Order, Seen};
use crate::standard::value::{self, Metadata};

/// How often a commit whose outcome is not known is asked for again, before it is counted as unknown.
const COMMIT_AGAIN_MAX: u32 = 5;

/// Whether a refusal of a repeated commit proves that the first one did nothing. Others (a full queue, a node that drains) speak of the
/// call alone.
fn proves_no_commit(code: &str) -> bool {
    ["lost", "snapshot_gone"].contains(&code)
}

/// One client's way to run transactions.
#[derive(Debug)]
pub(crate) enum Backend {
    /// A server's native API.
    Server(ServerBackend),
    /// A node in this process.
    Node(NodeBackend),
    /// The store itself, without the shim.
    Direct(DirectBackend),
    /// The store's own transactions.
    Transactions(TransactionsBackend),
}

/// A function's work, with the bytes to write.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    /// Written first, in order.
    pub(crate) puts: Vec<(u32, Bytes)>,
    /// Read then, in order.
    pub(crate) gets: &'a [u32],
    /// Whether it is the attempt's first function.
    pub(crate) first: bool,
    /// Whether it is the attempt's last, after which the attempt commits.
    pub(crate) last: bool,
}

/// What a function came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// One for each `get`, in order; fewer only if the answer that held them was lost and the commit confirmed later.
    pub(crate) reads: Vec<Seen>,
    /// The place of the attempt's writes in the order of versions, if it committed and the backend knows.
    pub(crate) committed: Option<Order>,
}

/// Why a function has no result. The attempt is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The code, as it is counted.
    pub(crate) code: &'static str,
    /// What may have happened.
    pub(crate) effect: Effect,
    /// When to try again, if the other side said so.
    pub(crate) retry_after_ms: Option<u64>,
}

/// What an attempt that did not end well may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing was committed; another attempt may succeed.
    NothingRetry,
    /// Nothing was committed, and another attempt would end the same way.
    Nothing,
    /// It may have committed, and asking again did not tell.
    Unknown,
}

impl Refused {
    pub(crate) fn new(code: &'static str, effect: Effect) -> Refused {
        Refused { code, effect, retry_after_ms: None }
    }
}

impl Backend {
    /// Runs one function.
    pub(crate) async fn run(&mut self, work: Work<'_>) -> Result<Ran, Refused> {
        match self {
            Backend::Server(server) => server.run(work).await,
            Backend::Node(node) => node.run(work).await,
            Backend::Direct(direct) => direct.run(work).await,
            Backend::Transactions(transactions) => transactions.run(work).await,
        }
    }
}

/// A value as the detector takes it. `run` is this run; a value of another run, or of somebody else, counts as the initial state.
fn seen(run: u64, order: impl FnOnce(&Metadata) -> Order, bytes: &[u8]) -> Seen {
    match value::decode(bytes) {
        Some(metadata) if metadata.run == run => {
            Seen { order: order(&metadata), number: metadata.number, write_set: metadata.write_set }
        }
        Some(_) | None => Seen::ABSENT,
    }
}

#[cfg(test)]
mod tests;
