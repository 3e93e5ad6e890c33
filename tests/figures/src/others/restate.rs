//! The comparison with Restate: a transfer between two accounts under a request ID, done once, by a
//! function in Node.
//!
//! ```text
//!   load ─HTTP/1.1─► Restate's ingress ─HTTP/2─► restate.mjs     state and journal in Restate
//!   load ─HTTP/1.1─► function.mjs ─HTTP/1.1─► aft serve --store local:   record and versions
//! ```
//!
//! Each side is its server and one process of Node, all with their default settings.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use aft_client::{Client, Isolation, Op, Request};
use aft_services::{Home, Program, Server, Service};
use futures::future::try_join_all;
use hyper::StatusCode;
use indicatif::ProgressBar;
use tempfile::TempDir;

use crate::data::{Cell, Seen};
use crate::measure::Choice;
use crate::others::ground::{self, AftServer};
use crate::others::http::Connection;
use crate::others::load::{self, Length};
use crate::others::transfers::{ACCOUNTS, Account, Bank, Clerk, OPENING, Transfer, again, audit};
use crate::others::{LEVELS, ROUNDS, Rounds, ways};
use crate::site::Failed;

pub(crate) const RESTATE: &str = "Restate";
pub(crate) const TRANSFERS: &str = "restate-transfers";
/// The points of the figure.
pub(crate) const CLIENTS: [usize; 3] = [1, 16, 64];

pub(crate) const ABOUT: &str = "A transfer between two of 1,000 accounts under a request ID, closed loop.\n\
    On both sides the function is in Node, a process of its own that is invoked over HTTP.\n\
    Restate: accounts are virtual objects with their state in Restate, and a service calls withdraw and deposit; one node\n\
    with its default settings, whose log is fsynced.\n\
    AFT: the function opens a transaction with the request's ID, reads both accounts, writes both and commits, on\n\
    `aft serve` with a local: store and its default settings, whose log is fsynced.\n\
    At the end all balances and moves are added up, and a sample of the requests is sent again.\n\
    Half done are writes to an account that are missing (lost updates, which read atomic permits).";

const STORE: &str = "local";
const WARM_UP_S: f64 = 1.0;
const TIME_S: f64 = 4.0;
/// The time that a process of Node may take until it serves.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// The number of connections that read Restate's accounts.
const READERS: u32 = 16;
/// The number of keys that one call reads.
const PAGE: u32 = 100;

const RESTATE_SCRIPT: &str = include_str!("restate.mjs");
const FUNCTION_SCRIPT: &str = include_str!("function.mjs");

/// Both sides of the comparison.
struct Place {
    restate: Server,
    aft: AftServer,
    /// The functions: Restate's first, then one for each of [`LEVELS`].
    functions: Vec<Function>,
    _folder: TempDir,
}

/// A process of Node.
struct Function {
    host: String,
    _program: Program,
}

/// Measures the figure.
///
/// # Errors
/// Returns an error if a server or a function cannot be started, or if no transfer ended well.
pub(crate) async fn run(choice: &Choice, bar: &ProgressBar) -> Result<Vec<(&'static str, Cell)>, Failed> {
    let place = Place::start().await?;
    let length = Length {
        warm_up: Duration::from_secs_f64(WARM_UP_S * choice.scale),
        time: Duration::from_secs_f64(TIME_S * choice.scale),
    };
    let mut rounds = Rounds::default();
    let mut nth = 0;
    for clients in CLIENTS {
        for round in 0..ROUNDS {
            for side in ways(round, RESTATE) {
                bar.set_message(format!("{TRANSFERS} {} {clients}", side.way));
                nth += 1;
                let name = format!("run-{nth}");
                let seen = place.measure(side.level, clients, &name, choice.seed, length).await;
                let seen = seen.map_err(|why| format!("{}: {why}", side.way))?;
                rounds.add(TRANSFERS, STORE, side.way, clients, seen);
                bar.inc(1);
            }
        }
    }
    Ok(rounds.cells)
}

impl Place {
    async fn start() -> Result<Place, Failed> {
        let folder = ground::folder()?;
        let url = format!("local:{}", folder.path().join("data").display());
        let aft = AftServer::start(&url, &[], folder.path()).await?;
        let restate = tokio::task::spawn_blocking(|| Service::Restate.start()).await;
        let restate = restate.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;

        let cannot = |why| format!("cannot write {}: {why}", folder.path().display());
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).map_err(cannot);
        write("restate.mjs", RESTATE_SCRIPT)?;
        write("function.mjs", FUNCTION_SCRIPT)?;
        // Node looks for imported packages here.
        let packages = Home::from_environment().of(Service::Restate).join("node_modules");
        symlink(packages, folder.path().join("node_modules")).map_err(cannot)?;

        let opening = OPENING.to_string();
        let mut functions = vec![Function::start("restate.mjs", &[&opening], folder.path()).await?];
        let client = client_of_node();
        for (_, level, prefix) in LEVELS {
            let arguments = [&client, &aft.url, level_name(level), prefix, &opening];
            functions.push(Function::start("function.mjs", &arguments, folder.path()).await?);
        }
        let place = Place { restate, aft, functions, _folder: folder };
        place.register().await?;
        Ok(place)
    }

    /// Registers the function's address with Restate.
    async fn register(&self) -> Result<(), Failed> {
        let socket = self.restate.data().join("one/admin.sock");
        let mut admin = Connection::open_unix(&socket).await?;
        let uri = format!("{{\"uri\": \"http://{}\"}}", self.functions[0].host);
        let answer = admin.send("POST", "/deployments", &[], uri).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(format!(
                "Restate rejected the function: {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )),
        }
    }

    /// Runs a load on one side, and checks it against the sums of its accounts.
    async fn measure(
        &self,
        level: Option<(Isolation, &'static str)>,
        clients: usize,
        name: &str,
        seed: u64,
        length: Length,
    ) -> Result<Seen, Failed> {
        let before = self.total(level).await?;
        let mut clerks = Vec::new();
        for client in 0..clients {
            let (host, path) = match level {
                None => (self.ingress(), "/bank/transfer"),
                Some(level) => (self.function(level).to_owned(), "/transfer"),
            };
            let bank = Caller { connection: None, host, path };
            clerks.push(Clerk::new(bank, format!("{name}-{client}"), seed ^ client as u64));
        }
        let (seen, clerks) = load::closed(clerks, length).await?;
        let accounts = again(clerks).await;
        Ok(audit(seen, accounts, before, self.total(level).await?))
    }

    fn ingress(&self) -> String {
        format!("127.0.0.1:{}", self.restate.port())
    }

    fn function(&self, level: (Isolation, &'static str)) -> &str {
        let nth = LEVELS.iter().position(|(_, of, _)| *of == level.0).expect("it is one of the levels");
        &self.functions[1 + nth].host
    }

    /// Returns the sum of all accounts of one side.
    async fn total(&self, level: Option<(Isolation, &'static str)>) -> Result<Account, Failed> {
        let accounts = match level {
            None => self.accounts_of_restate().await?,
            Some((level, prefix)) => accounts_of_aft(&self.aft.url, level, prefix).await?,
        };
        Ok(accounts.into_iter().fold(Account::default(), Account::plus))
    }

    async fn accounts_of_restate(&self) -> Result<Vec<Account>, Failed> {
        let reader = |first: u32| async move {
            let mut connection = Connection::open(&self.ingress()).await?;
            let mut accounts = Vec::new();
            for account in (first..ACCOUNTS).step_by(READERS as usize) {
                let path = format!("/account/{account:04}/show");
                let answer = connection.send("POST", &path, &[], String::new()).await?;
                let read = serde_json::from_slice(&answer.body);
                accounts.push(read.map_err(|why| {
                    format!("{path}: {}: {why}: {}", answer.status, String::from_utf8_lossy(&answer.body))
                })?);
            }
            Ok::<Vec<Account>, Failed>(accounts)
        };
        Ok(try_join_all((0..READERS).map(reader)).await?.concat())
    }
}

async fn accounts_of_aft(url: &str, level: Isolation, prefix: &str) -> Result<Vec<Account>, Failed> {
    let client = Client::new(url).map_err(|why| why.to_string())?;
    let mut accounts = Vec::new();
    for first in (0..ACCOUNTS).step_by(PAGE as usize) {
        let gets = (first..first + PAGE).map(|account| Op::get(format!("{prefix}{account:04}")));
        let request = Request::unnamed().isolation(level);
        let executed = client.execute(request, gets.collect(), "").await.map_err(|why| why.to_string())?;
        for read in executed.reads {
            accounts.push(match read.value {
                None => Account::NEW,
                Some(value) => serde_json::from_slice(&value).map_err(|why| why.to_string())?,
            });
        }
    }
    assert_eq!(accounts.len(), ACCOUNTS as usize, "one result for every get");
    Ok(accounts)
}

/// Returns a level's name as the clients write it.
pub(crate) fn level_name(level: Isolation) -> &'static str {
    match level {
        Isolation::ReadAtomic => "read_atomic",
        Isolation::Serializable => "serializable",
        Isolation::Unspecified => unreachable!("each way names its level"),
    }
}

/// Returns the path of this repository's client for Node.
fn client_of_node() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.expect("tests/figures lies two folders below the root");
    root.join("shim/clients/node/index.mjs").display().to_string()
}

impl Function {
    async fn start(script: &str, arguments: &[&str], folder: &Path) -> Result<Function, Failed> {
        let path = folder.join(script).display().to_string();
        let arguments: Vec<String> =
            std::iter::once(path).chain(arguments.iter().map(|text| (*text).to_owned())).collect();
        let folder = folder.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            // Production settings: otherwise the SDK logs a line for each step.
            let environment = [("NODE_ENV", "production"), ("RESTATE_LOGGING", "ERROR")];
            let mut program = Program::start(
                Path::new("/usr/bin/env"),
                &[&["node"], &arguments[..]].concat(),
                &environment,
                &folder,
            )
            .map_err(|why| why.to_string())?;
            let port = program.says("serves at port ", START_TIME_MAX).map_err(|why| why.to_string())?;
            Ok(Function { host: format!("127.0.0.1:{}", port.trim()), _program: program })
        });
        started.await.map_err(|why| why.to_string())?
    }
}

/// A client of a function over HTTP, with a connection of its own.
struct Caller {
    connection: Option<Connection>,
    host: String,
    path: &'static str,
}

impl Bank for Caller {
    async fn ask(&mut self, transfer: &Transfer) -> Result<(String, u64), String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.host).await?,
        };
        let json = serde_json::to_string(transfer).expect("texts and a number");
        let headers = [("idempotency-key", transfer.id.as_str())];
        // A connection that broke is dropped here, and the next call opens a new one.
        let answer = connection.send("POST", self.path, &headers, json).await?;
        self.connection = Some(connection);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status != StatusCode::OK {
            return Err(format!("{}: {body}", answer.status));
        }
        let attempts = answer.headers.get("attempts").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((body, attempts.unwrap_or(1)))
    }
}
