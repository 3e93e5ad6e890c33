//! The settings of a run of the standard transaction.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aft_api::OPS_LEN_MAX;
use aft_store::Store;
use rustls::ClientConfig;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::standard::load::WRITES_MAX;
use crate::transactions::Transactions;
use crate::zipf::KEYS_MAX;

/// The settings of a run of the standard transaction. The default is the paper's figure 3: 10
/// clients, 1,000 keys, Zipf exponent 1.0, 10,000 transactions, closed loop.
#[derive(Debug, Clone)]
pub struct Options {
    /// The target of the load.
    pub target: Target,
    /// The way in which functions access the target.
    pub way: Way,
    /// The shape of a transaction and of the data.
    pub workload: Workload,
    /// The length of the measurement.
    pub length: Length,
    /// The time that the load runs before the measurement starts. `None`: 1 second if the length is
    /// a time, no warm-up if it is a number.
    pub warm_up: Option<Duration>,
    /// The times at which transactions start.
    pub pace: Pace,
    /// The number of clients. Each has one connection and at most one transaction in flight.
    pub clients: usize,
    /// The seed that draws keys and values. `None`: a random one, which the report shows.
    pub seed: Option<u64>,
    /// The file to which the history (warm-up and preparation included) is written, in the stable
    /// text format. The history is kept in memory until the end of the run: some 300 bytes per
    /// transaction.
    pub history: Option<PathBuf>,
    /// The bearer token for the server.
    pub token: Option<Token>,
    /// The configuration of connections to servers at `https://` URLs.
    pub tls: Option<Arc<ClientConfig>>,
    /// The keys that several runs share. `None`: the run has its own, and deletes what it wrote
    /// without the shim.
    pub dataset: Option<Dataset>,
    /// The command line, for the report. This crate does not read it itself.
    pub command: Option<String>,
    /// True to draw progress on standard error, if that is a terminal.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            target: Target::Server { url: "http://127.0.0.1:7400".into() },
            way: Way::Shim,
            workload: Workload::default(),
            length: Length::Transactions(10_000),
            warm_up: None,
            pace: Pace::Closed,
            clients: 10,
            seed: None,
            history: None,
            token: None,
            tls: None,
            dataset: None,
            command: None,
            progress: false,
        }
    }
}

/// A bearer token, which is sent to the server only and never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Returns the token with this text.
    pub fn new(text: String) -> Token {
        Token(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A way in which a transaction's functions access the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The functions run through AFT.
    Shim,
    /// Without AFT: every function writes and reads directly against the store, under plain names,
    /// as it goes. Only for [`Target::Store`].
    Direct,
    /// Like `Direct`, but all writes of a function are in flight at once, and then all of its
    /// reads.
    DirectAtOnce,
    /// With the store's own transactions, as the paper ran them: one for the reads of each
    /// function, and one for all writes at the end. Only for a [`Target::Store`] that has them.
    Transactions,
}

impl Way {
    /// Returns true for the ways without the shim.
    pub fn is_direct(self) -> bool {
        self != Way::Shim
    }

    /// Returns the name of the way in tables.
    pub fn name(self) -> &'static str {
        match self {
            Way::Shim => "shim",
            Way::Direct => "direct",
            Way::DirectAtOnce => "direct, at once",
            Way::Transactions => "the store's transactions",
        }
    }
}

/// Keys that several runs share: each run finds the values of the runs before, and recognises them
/// as this load's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset {
    /// The ID in its values, which distinguishes them from all others.
    pub id: u64,
    /// The number of the run on this dataset: below 32,768, and used only once.
    pub nth: u16,
}

/// The preparation of the keys before the load, which is not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepare {
    /// Write every key once, so that reads find values.
    Write,
    /// Read every key once, so that a node that has just started knows them.
    Read,
    /// Do nothing.
    Nothing,
}

/// The target of a load.
#[derive(Debug, Clone)]
pub enum Target {
    /// A server's native API.
    Server {
        /// The server's URL, `http://HOST:PORT` or `https://HOST:PORT`.
        url: String,
    },
    /// Several servers of one store. A client moves to the next one after each transaction.
    Servers {
        /// The servers' URLs, each as of one server; at least two.
        urls: Vec<String>,
        /// True if clients carry their session from server to server, so that each sees what it has
        /// committed and read. Otherwise they may read stale versions.
        sessions: bool,
    },
    /// A node in this process over this store; without the shim, the store itself.
    Store(StoreTarget),
}

/// A store as the target of a load.
#[derive(Debug, Clone)]
pub struct StoreTarget {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The store's own transactions, for [`Way::Transactions`]. `None` if it has none.
    pub transactions: Option<Arc<dyn Transactions>>,
}

impl From<Arc<dyn Store>> for StoreTarget {
    /// Returns a target without transactions of its own.
    fn from(store: Arc<dyn Store>) -> StoreTarget {
        StoreTarget { store, transactions: None }
    }
}

/// The shape of a transaction and of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The number of functions in a transaction; each costs one call to a server.
    pub functions: usize,
    /// The number of reads in a function, after its writes.
    pub reads: usize,
    /// The number of writes in a function.
    pub writes: usize,
    /// The size of a value in bytes, the detector's metadata included.
    pub value_bytes: usize,
    /// The number of keys.
    pub keys: usize,
    /// The exponent of the Zipf distribution of keys, from 0 (uniform) to 3.
    pub zipf: f64,
    /// The preparation of the keys before the load.
    pub prepare: Prepare,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            functions: 2,
            reads: 2,
            writes: 1,
            value_bytes: 4096,
            keys: 1_000,
            zipf: 1.0,
            prepare: Prepare::Write,
        }
    }
}

/// The length of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// A number of transactions.
    Transactions(u64),
    /// A period of time.
    For(Duration),
}

/// The times at which transactions start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each client starts its next transaction when its last one has ended, as in the paper.
    /// Latency counts from the start.
    Closed,
    /// Transactions are due at a fixed rate, even if earlier ones have not ended. Latency counts
    /// from the time when a transaction was *due*, so that a stall is not hidden by the clients
    /// that it blocked.
    Open {
        /// Transactions per second, over all clients.
        per_s: f64,
    },
}

/// The maximum size of a value in bytes. Each client holds the values of a transaction in memory,
/// and larger ones would only measure copying.
const VALUE_BYTES_MAX: usize = 64 << 20;

impl Options {
    /// Checks the settings beyond what their types guarantee.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::Options(text.to_owned()));
        // The target and the way.
        if self.way.is_direct() && matches!(self.target, Target::Server { .. } | Target::Servers { .. }) {
            return wrong("a direct run accesses the store itself: give a store URL, not a server's");
        }
        if matches!(&self.target, Target::Servers { urls, .. } if urls.len() < 2) {
            return wrong(
                "clients move between servers only if there are at least two: give another server's URL",
            );
        }
        // The load.
        if self.clients == 0 {
            return wrong("the run needs at least one client");
        }
        if let Pace::Open { per_s } = self.pace
            && !(per_s.is_finite() && per_s > 0.0)
        {
            return wrong("the rate must be a positive number of transactions per second");
        }
        // The shape. A function is one call, which bounds its operations, and the numbers of writes
        // bound a transaction's writes.
        let w = &self.workload;
        if w.functions == 0 || w.reads + w.writes == 0 {
            return wrong(
                "a transaction needs at least one function, and a function at least one read or write",
            );
        }
        if w.functions.saturating_mul(w.writes) > WRITES_MAX || w.reads + w.writes > OPS_LEN_MAX {
            return wrong(
                "a transaction can have at most 1,000 writes, and a function at most 1,000 operations",
            );
        }
        if w.value_bytes > VALUE_BYTES_MAX {
            return wrong("a value can have at most 64 MiB");
        }
        if !(1..=KEYS_MAX).contains(&w.keys) {
            return wrong("the number of keys must be between 1 and 10,000,000");
        }
        if self.dataset.is_some_and(|dataset| dataset.nth >= 1 << 15) {
            return wrong("the number of a run on a dataset must be below 32,768");
        }
        if !(0.0..=3.0).contains(&w.zipf) {
            return wrong("the zipf exponent must be between 0 and 3");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Dataset, Options, Pace, Target, Way, Workload};

    fn check(change: impl FnOnce(&mut Options), says: &str) {
        let mut options = Options::default();
        options.check().unwrap();
        change(&mut options);
        let text = options.check().unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn invalid_options_are_rejected() {
        check(|options| options.way = Way::Direct, "store URL");
        check(|options| options.dataset = Some(Dataset { id: 1, nth: 1 << 15 }), "dataset");
        check(|options| options.clients = 0, "client");
        let one = Target::Servers { urls: vec!["http://127.0.0.1:7400".into()], sessions: true };
        check(|options| options.target = one, "two");
        check(|options| options.pace = Pace::Open { per_s: f64::NAN }, "rate");
        check(|options| options.pace = Pace::Open { per_s: 0.0 }, "rate");
        check(|options| options.workload.functions = 0, "function");
        check(|options| options.workload.keys = 0, "keys");
        check(|options| options.workload.value_bytes = usize::MAX, "64 MiB");
        check(|options| options.workload.zipf = 3.5, "zipf");
        check(|options| options.workload.writes = 501, "writes");
        let idle = Workload { reads: 0, writes: 0, ..Workload::default() };
        check(|options| options.workload = idle, "read or write");
        assert!(matches!(Options::default().target, Target::Server { .. }));
    }
}
