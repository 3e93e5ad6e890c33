//! The backends that run a transaction's functions: a server, a node in this process, or the store
//! itself.
//!
//! A backend belongs to one client: it has at most one attempt in flight, and knows its state. It
//! reports how calls ended; `load` decides which are retried, and how often, for all backends.

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

/// The maximum number of repeated requests for a commit's outcome, after which it is counted as
/// unknown.
const COMMIT_AGAIN_MAX: u32 = 5;

/// Returns true if this rejection of a repeated commit proves that the first one had no effect.
/// Other rejections (a full queue, a node that drains) concern only the call itself.
fn proves_no_commit(code: &str) -> bool {
    ["lost", "snapshot_gone"].contains(&code)
}

/// One client's access to the target.
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

/// The work of a function, with the bytes to write.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    /// The keys and values to write first, in order.
    pub(crate) puts: Vec<(u32, Bytes)>,
    /// The keys to read after that, in order.
    pub(crate) gets: &'a [u32],
    /// True for the attempt's first function.
    pub(crate) first: bool,
    /// True for the attempt's last function, after which the attempt commits.
    pub(crate) last: bool,
}

/// The result of a function.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The reads, one for each `get`, in order. There are fewer only if the answer that held them
    /// was lost and the commit was confirmed later.
    pub(crate) reads: Vec<Seen>,
    /// The place of the attempt's writes in the order of versions, if it committed and the backend
    /// knows the place.
    pub(crate) committed: Option<Order>,
}

/// The reason why a function has no result. The attempt is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The code under which the failure is counted.
    pub(crate) code: &'static str,
    /// The possible effect of the attempt.
    pub(crate) effect: Effect,
    /// The delay before a retry that the other side asked for.
    pub(crate) retry_after_ms: Option<u64>,
}

/// The possible effect of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The attempt committed nothing; another one may succeed.
    NothingRetry,
    /// The attempt committed nothing, and another one would end the same way.
    Nothing,
    /// The attempt may have committed, and repeated requests did not show its outcome.
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

/// Returns a value as the detector takes it. `run` is this run; a value of any other origin counts
/// as absent.
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
