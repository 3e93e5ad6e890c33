//! What a run of the standard transaction is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aft_api::OPS_LEN_MAX;
use aft_store::Store;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::standard::load::WRITES_MAX;
use crate::zipf::KEYS_MAX;

/// Everything that a run of the standard transaction is told. The default is the paper's figure 3: 10 clients, 1,000 keys, zipf 1.0,
/// 10,000 transactions, closed loop.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the load is driven against.
    pub target: Target,
    /// How the work is done.
    pub way: Way,
    /// The shape of a transaction and of the data.
    pub workload: Workload,
    /// How much is measured.
    pub length: Length,
    /// How long the load runs before the measurement starts. `None`: 1 second if the length is a time, nothing if it is a number.
    pub warm_up: Option<Duration>,
    /// When transactions start.
    pub pace: Pace,
    /// Clients; each has one connection and at most one transaction under way.
    pub clients: usize,
    /// Chooses keys and values. `None`: a fresh one, which the report names.
    pub seed: Option<u64>,
    /// Writes the history (warm-up and preparation included) to this file, in the stable text format. It is kept in memory until the run
    /// is over: some 300 bytes a transaction.
    pub history: Option<PathBuf>,
    /// A bearer token for the server.
    pub token: Option<Token>,
    /// Keys that stay from run to run. `None`: this run has its own, and deletes what it wrote without the shim.
    pub dataset: Option<Dataset>,
    /// What was typed, for the report: this crate does not read the command line.
    pub command: Option<String>,
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
            dataset: None,
            command: None,
        }
    }
}

/// A bearer token: shown to nobody but the server.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token with this text.
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

/// How a transaction's functions reach the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Through AFT.
    Shim,
    /// Without it: every function writes and reads straight at the store, under plain names, as it goes. Only for [`Target::Store`].
    Direct,
    /// The same, but a function's writes are under way all at once, and then its reads.
    DirectAtOnce,
    /// By the store's own transactions, as the paper ran them: one for the reads of each function, and one for all writes at the end. Only for a
    /// [`Target::Store`] that has them.
    Transactions,
}

impl Way {
    /// Whether the shim is left out.
    pub fn is_direct(self) -> bool {
        self != Way::Shim
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Way::Shim => "shim",
            Way::Direct => "direct",
            Way::DirectAtOnce => "direct, at once",
            Way::Transactions => "the store's transactions",
        }
    }
}

/// Keys that several runs share: what one wrote the next finds, and knows for this load's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset {
    /// Tells its values apart from everybody else's.
    pub id: u64,
    /// Which run on it this is: below 32,768, and no number twice.
    pub nth: u16,
}

/// What happens to the keys before the load. Not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepare {
    /// Every key is written once, so that reads find values.
    Write,
    /// Every key is read once, so that a node that has just started knows them.
    Read,
    /// Nothing.
    Nothing,
}

/// What a load is driven against.
#[derive(Debug, Clone)]
pub enum Target {
    /// A server's native API.
    Server {
        /// `http://HOST:PORT`.
        url: String,
    },
    /// Several servers of one store. A client goes on to the next one after each transaction.
    Servers {
        /// `http://HOST:PORT` each; at least two.
        urls: Vec<String>,
        /// Clients carry their session from server to server, so that each sees what it has committed and read. Without it they fall behind.
        sessions: bool,
    },
    /// A node in this process over this store; or, without the shim, the store itself.
    Store(Arc<dyn Store>),
}

/// The shape of a transaction and of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Functions in a transaction; each costs one call to a server.
    pub functions: usize,
    /// Reads in a function, after its writes.
    pub reads: usize,
    /// Writes in a function.
    pub writes: usize,
    /// The size of a value in bytes, the detector's metadata included.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: usize,
    /// The exponent of the law by which keys are chosen: 0 (all alike) to 3.
    pub zipf: f64,
    /// What happens to the keys before the load.
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

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many transactions.
    Transactions(u64),
    /// For so long.
    For(Duration),
}

/// When transactions start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each client starts its next transaction when its last one has ended (the paper's way). Latency counts from the start.
    Closed,
    /// Transactions are due at a fixed rate, whether earlier ones have ended or not. Latency counts from when a transaction was *due*, so
    /// that a stall is not hidden by the clients that it held up.
    Open {
        /// Transactions a second, over all clients.
        per_s: f64,
    },
}

/// Every client holds a transaction's values; larger ones are no load but a copy.
const VALUE_BYTES_MAX: usize = 64 << 20;

impl Options {
    /// Checks what the types do not say.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::Options(text.to_owned()));
        if self.way.is_direct() && matches!(self.target, Target::Server { .. } | Target::Servers { .. }) {
            return wrong("a direct run goes straight to a store: give a store URL, not a server's");
        }
        if matches!(&self.target, Target::Servers { urls, .. } if urls.len() < 2) {
            return wrong("clients go from server to server only where there are two");
        }
        if self.clients == 0 {
            return wrong("at least one client is needed");
        }
        if let Pace::Open { per_s } = self.pace
            && !(per_s.is_finite() && per_s > 0.0)
        {
            return wrong("the rate is a positive number of transactions a second");
        }
        let w = &self.workload;
        if w.functions == 0 || w.reads + w.writes == 0 {
            return wrong(
                "a transaction has at least one function, and a function at least one read or write",
            );
        }
        if w.functions.saturating_mul(w.writes) > WRITES_MAX || w.reads + w.writes > OPS_LEN_MAX {
            return wrong("a transaction has at most 1,000 writes, and a function at most 1,000 operations");
        }
        if w.value_bytes > VALUE_BYTES_MAX {
            return wrong("a value has at most 64 MiB");
        }
        if !(1..=KEYS_MAX).contains(&w.keys) {
            return wrong("the number of keys is between 1 and 10,000,000");
        }
        if self.dataset.is_some_and(|dataset| dataset.nth >= 1 << 15) {
            return wrong("the runs on one dataset have numbers below 32,768");
        }
        if !(0.0..=3.0).contains(&w.zipf) {
            return wrong("the zipf exponent is between 0 and 3");
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
    fn nonsense_is_refused() {
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
