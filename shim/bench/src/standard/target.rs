//! The target of the load: opens it, and leaves it as it was found.

use std::sync::Arc;
use std::time::Duration;

use aft_node::{NodeHandle, NodeSettings};
use aft_store::Store;
use bytes::Bytes;
use hyper::Method;

use crate::counting::{CountingStore, CountingTransactions};
use crate::error::{Error, Result};
use crate::http::{Connection, Server};
use crate::standard::backend::{
    Backend, DirectBackend, NodeBackend, ServerBackend, TransactionsBackend, clean_up,
};
use crate::standard::load::Client;
use crate::standard::requests::Counter;
use crate::standard::session::Floors;
use crate::standard::{Options, StoreTarget, Target, Token, Way};

/// The longest time for a node in this process to finish open transactions.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(30);

/// The bits for attempts of one run on a dataset: more attempts than there is time for. A write's
/// number (these bits, 15 for the run, 16 for the write) fits in 64 bits.
const ATTEMPTS_BITS: u32 = 32;

/// An open target.
#[derive(Debug)]
pub(crate) struct Opened {
    name: String,
    /// The ID of the run, which distinguishes its values and plain names from those of other runs.
    run: u64,
    /// The number of the run on its dataset.
    nth: u16,
    clients: usize,
    kind: Kind,
    counter: Counter,
}

#[derive(Debug)]
enum Kind {
    Servers { servers: Vec<Server>, sessions: bool },
    Node(NodeHandle),
    Direct { store: Arc<CountingStore>, at_once: bool },
    Transactions { store: Arc<CountingStore>, transactions: Arc<CountingTransactions> },
}

/// The clients of a run.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) run: u64,
    /// The number of the first attempt. No other run on the same dataset uses the numbers that
    /// follow.
    pub(crate) attempts_from: u64,
    pub(crate) clients: Vec<Client>,
}

impl Opened {
    /// Opens the target that `options` name.
    pub(crate) async fn open(options: &Options) -> Result<Opened> {
        let (name, kind, counter) = match &options.target {
            Target::Server { url } => {
                // Check that servers answer before the run starts, rather than count failures.
                let servers = vec![reach(url, options).await?];
                let kind = Kind::Servers { servers: servers.clone(), sessions: false };
                (url.clone(), kind, Counter::Servers(servers))
            }
            Target::Servers { urls, sessions } => {
                let mut servers = Vec::new();
                for url in urls {
                    servers.push(reach(url, options).await?);
                }
                let kind = Kind::Servers { servers: servers.clone(), sessions: *sessions };
                (urls.join(" "), kind, Counter::Servers(servers))
            }
            Target::Store(StoreTarget { store, transactions }) => {
                let counting = Arc::new(CountingStore::new(Arc::clone(store)));
                let counter = Counter::Store(Arc::clone(&counting));
                let kind = match options.way {
                    Way::Shim => Kind::Node(start(counting).await?),
                    Way::Direct => Kind::Direct { store: counting, at_once: false },
                    Way::DirectAtOnce => Kind::Direct { store: counting, at_once: true },
                    Way::Transactions => {
                        let Some(transactions) = transactions else { return Err(no_transactions(&**store)) };
                        let transactions = Arc::new(counting.transactions(Arc::clone(transactions)));
                        Kind::Transactions { store: counting, transactions }
                    }
                };
                (store.url(), kind, counter)
            }
        };
        // A random ID for a run of its own, so that the values of earlier runs count as absent.
        let run = options.dataset.map_or_else(rand::random, |dataset| dataset.id);
        let nth = options.dataset.map_or(0, |dataset| dataset.nth);
        Ok(Opened { name, run, nth, clients: options.clients, kind, counter })
    }

    /// Returns the URL of the store or of the servers.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the counter of requests to the store.
    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    /// Returns new clients.
    pub(crate) fn clients(&self) -> Clients {
        let backend = |nth: usize| match &self.kind {
            Kind::Servers { servers, sessions } => {
                // Clients start at different servers, to spread the load.
                let mut servers = servers.clone();
                let first = nth % servers.len();
                servers.rotate_left(first);
                let connections = servers.into_iter().map(Connection::new).collect();
                Backend::Server(ServerBackend::new(connections, *sessions, self.run))
            }
            Kind::Node(node) => Backend::Node(NodeBackend::new(node.clone(), self.run)),
            Kind::Direct { store, at_once } => {
                Backend::Direct(DirectBackend::new(Arc::clone(store) as _, self.run, *at_once))
            }
            Kind::Transactions { transactions, .. } => {
                Backend::Transactions(TransactionsBackend::new(Arc::clone(transactions) as _, self.run))
            }
        };
        let hops = matches!(&self.kind, Kind::Servers { servers, .. } if servers.len() > 1);
        let client = |nth| Client { backend: backend(nth), floors: hops.then(Floors::default) };
        let attempts_from = u64::from(self.nth) << ATTEMPTS_BITS;
        Clients { run: self.run, attempts_from, clients: (0..self.clients).map(client).collect() }
    }

    /// Drains a node in this process. Deletes what a direct run wrote, unless other runs use the
    /// same dataset.
    pub(crate) async fn close(&self, options: &Options) -> Result<()> {
        match &self.kind {
            Kind::Servers { .. } => {}
            Kind::Node(node) => {
                node.drain(DRAIN_MAX).await;
            }
            Kind::Direct { .. } | Kind::Transactions { .. } if options.dataset.is_some() => {}
            Kind::Direct { store, .. } | Kind::Transactions { store, .. } => {
                clean_up(&**store, self.run, options.workload.keys).await?;
            }
        }
        Ok(())
    }
}

/// Returns the error of a run with the transactions of a store that has none.
fn no_transactions(store: &dyn Store) -> Error {
    Error::Options(format!("{} has no transactions of its own", store.url()))
}

/// Returns the server at `url`, if it answers.
async fn reach(url: &str, options: &Options) -> Result<Server> {
    let server = Server::parse_with(url, options.token.as_ref().map(Token::as_str), options.tls.as_ref())?;
    let answer = Connection::new(server.clone()).call(Method::GET, "/healthz", None, Bytes::new()).await;
    match answer {
        Ok(answer) if answer.status.is_success() => Ok(server),
        Ok(answer) => {
            let problem =
                format!("/healthz answers {}; check that `aft serve` runs at this address", answer.status);
            Err(Error::Server { url: server.url.clone(), problem })
        }
        Err(why) => Err(Error::Server { url: server.url.clone(), problem: why.to_string() }),
    }
}

/// Starts a node in this process.
pub(crate) async fn start(store: Arc<dyn Store>) -> Result<NodeHandle> {
    let mut settings = NodeSettings::new(&store.capabilities());
    // A store that was slowed down artificially states a grace of about a second, and the node
    // requires a skew below it.
    let core = &mut settings.core;
    if core.grace_ms > 0 {
        core.skew_max_ms = core.skew_max_ms.min(core.grace_ms / 2);
    }
    aft_node::start(store, settings).await.map_err(|why| Error::Node(why.to_string()))
}
