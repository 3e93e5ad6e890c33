//! Goal: serializable transfers between many accounts keep their sum while servers are killed again
//! and again, and all observations of the clients fit one serial order. Method: movers and readers
//! run through the Rust client's `run`, on one server of a directory or on two that share a store;
//! each attempt is recorded; the checker looks for one order of all of them, with the servers'
//! versions as stamps.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aft_client::{Client, Error, Op, Ran, Request, Transaction};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, local};
use aft_e2e::versions::Versions;
use aft_history::{History, KeyNames, Level, Options, Recorder, RequestId, TransactionId, Value, check};
use aft_services::Service;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The accounts that most transfers touch: few, so that movers and readers conflict.
const BUSY_ACCOUNTS: u64 = 12;
const BALANCE: u64 = 100;
const MOVERS: u64 = 8;

/// The attempts of all clients, with what each of them saw.
#[derive(Default)]
struct Book {
    recorder: Recorder,
    names: KeyNames,
    versions: Versions,
    attempts: u64,
    requests: u64,
}

#[derive(Clone, Default)]
struct Shared {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
}

/// Returns the value of an attempt: it is written beside the balance, and names the attempt.
fn value_of(attempt: TransactionId) -> Value {
    Value(attempt.number().expect("a recorder numbers its transactions") + 1)
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no thread panics while it holds the lock")
    }

    fn begin(&self, request: u64) -> TransactionId {
        let mut book = self.book();
        let attempt = book.recorder.begin();
        book.recorder.request(attempt, RequestId(request));
        book.attempts += 1;
        attempt
    }

    async fn read(&self, t: &Transaction, attempt: TransactionId, account: u64) -> Result<u64, Error> {
        let name = name(account);
        let bytes = t.get(&name).await?.expect("every account was opened").bytes;
        let text = std::str::from_utf8(&bytes).expect("tests write text");
        let (balance, value) = text.split_once(' ').expect("a balance and a value");
        let value: u64 = value.parse().expect("a number");
        let book = &mut *self.book();
        book.recorder.read(attempt, book.names.key(&name), value);
        Ok(balance.parse().expect("a number"))
    }

    async fn write(
        &self,
        t: &Transaction,
        attempt: TransactionId,
        account: u64,
        balance: u64,
    ) -> Result<(), Error> {
        let (name, value) = (name(account), value_of(attempt));
        {
            let book = &mut *self.book();
            book.recorder.write(attempt, book.names.key(&name), value);
        }
        t.put(&name, format!("{balance} {}", value.0)).await
    }

    /// Records that a request has committed once: by the attempt that its result names, and no
    /// other.
    fn ended(&self, ran: &Ran, attempts: &[TransactionId]) {
        let winner = std::str::from_utf8(&ran.result).ok().and_then(|number| number.parse().ok());
        let winner = TransactionId::new(winner.expect("the result names the attempt"));
        assert!(attempts.contains(&winner), "{winner} is not among the attempts {attempts:?}");
        let mut book = self.book();
        attempts
            .iter()
            .filter(|attempt| **attempt != winner)
            .for_each(|attempt| book.recorder.abort(*attempt));
        book.recorder.commit(winner, None);
        book.requests += 1;
        if let Some(version) = &ran.version {
            book.versions.insert(winner, version);
        }
    }

    fn history(&self) -> History {
        let book = self.book();
        book.versions.stamped(book.recorder.history())
    }
}

fn name(account: u64) -> String {
    format!("account/{account:04}")
}

fn client(address: &str) -> Client {
    // Many attempts: a server that was killed is back within a second or so.
    Client::builder(&format!("http://{address}"))
        .attempts_max(10_000)
        .run_time_max(Duration::from_secs(120))
        .build()
        .expect("an address is a URL's")
}

/// The work of a request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Opens a hundred accounts, from this one on.
    Open(u64),
    Transfer {
        from: u64,
        to: u64,
        amount: u64,
    },
    /// Reads the busy accounts and writes nothing: a reader has its place in the serial order, too.
    Look,
}

impl Deed {
    fn transfer(rng: &mut StdRng, accounts: u64) -> Deed {
        let mut draw = || match rng.random_bool(0.7) {
            true => rng.random_range(0..BUSY_ACCOUNTS),
            false => rng.random_range(0..accounts),
        };
        let (from, to) = (draw(), draw());
        let to = if from == to { (to + 1) % accounts } else { to };
        Deed::Transfer { from, to, amount: rng.random_range(1..20) }
    }

    async fn attempt(self, shared: &Shared, t: &Transaction, attempt: TransactionId) -> Result<(), Error> {
        match self {
            Deed::Open(first) => {
                for account in first..first + 100 {
                    shared.write(t, attempt, account, BALANCE).await?;
                }
            }
            Deed::Transfer { from, to, amount } => {
                let has = shared.read(t, attempt, from).await?;
                let gets = shared.read(t, attempt, to).await?;
                // No account is overdrawn: this check rests on the reads that the commit checks.
                let amount = has.min(amount);
                shared.write(t, attempt, from, has - amount).await?;
                shared.write(t, attempt, to, gets + amount).await?;
            }
            Deed::Look => {
                for account in 0..BUSY_ACCOUNTS {
                    shared.read(t, attempt, account).await?;
                }
            }
        }
        Ok(())
    }
}

/// Runs one request until it has committed.
async fn run(client: Client, shared: Shared, number: u64, deed: Deed) {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let request = Request::named(format!("request-{number}"));
    let ran = client.run(request, |t| {
        let (shared, attempts) = (shared.clone(), attempts.clone());
        async move {
            let attempt = shared.begin(number);
            attempts.lock().expect("no panic").push(attempt);
            deed.attempt(&shared, &t, attempt).await?;
            Ok::<_, Error>(attempt.number().expect("it has a number").to_string())
        }
    });
    let ran = ran.await.unwrap_or_else(|why| panic!("{deed:?}, request {number}: {why}"));
    shared.ended(&ran, &attempts.lock().expect("no panic"));
}

/// The size of a test.
#[derive(Debug, Clone, Copy)]
struct Size {
    accounts: u64,
    servers: usize,
    kills: usize,
}

/// Moves money while the servers of one store are killed, each in turn, and checks the history of
/// all clients. `start` starts a server that listens at an address.
async fn keep_the_sum(start: impl Fn(&str) -> Server, size: Size) -> Shared {
    let Size { accounts, servers, kills } = size;
    // A restarted server has the same address, as a service has.
    let begun = Instant::now();
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let listeners: Vec<TcpListener> = (0..servers).map(|_| free()).collect();
    let addresses = listeners.iter().map(|listener| listener.local_addr().expect("it is bound").to_string());
    let addresses: Vec<String> = addresses.collect();
    drop(listeners);
    let mut servers: Vec<Server> = addresses.iter().map(|address| start(address)).collect();
    let clients: Vec<Client> = addresses.iter().map(|address| client(address)).collect();
    let shared = Shared::default();
    // All accounts exist before any transfer, so that no read finds one absent.
    for first in (0..accounts).step_by(100) {
        run(clients[0].clone(), shared.clone(), first, Deed::Open(first)).await;
    }

    let mut workers = Vec::new();
    for (worker, client) in (0..MOVERS).zip(clients.iter().cycle()) {
        let (client, shared) = (client.with_own_session(), shared.clone());
        let mut rng = StdRng::seed_from_u64(worker);
        workers.push(tokio::spawn(async move {
            let mut number = (worker + 1) << 32;
            while !shared.stop.load(Ordering::Relaxed) {
                // Every eighth request only reads, so that readers take part in the serial order.
                let deed = if number % 8 == worker { Deed::Look } else { Deed::transfer(&mut rng, accounts) };
                run(client.clone(), shared.clone(), number, deed).await;
                number += 1;
            }
        }));
    }
    let mut rng = StdRng::seed_from_u64(1);
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.random_range(300..900))).await;
        let at = kill % addresses.len();
        servers.remove(at).kill();
        servers.insert(at, start(&addresses[at]));
    }
    shared.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("every request gets through");
    }

    // All workers have ended: the sums and the history are final.
    for client in &clients {
        assert_eq!(sum(client, accounts).await, accounts * BALANCE, "transfers keep the sum");
    }
    let options = Options { serializable: true, ..Options::default() };
    let report = check(&shared.history(), &options).expect("values name their writers");
    {
        let book = shared.book();
        println!(
            "{} requests in {} attempts over {kills} kills, in {:?}\n{report}",
            book.requests,
            book.attempts,
            begun.elapsed()
        );
        // A store that takes 10 ms for a call does some twenty between two kills.
        let least = 10 * u64::try_from(kills).expect("a small number");
        assert!(book.requests > least, "only {} requests", book.requests);
    }
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.level(), Level::Serializable, "{report}");
    shared
}

/// Returns the sum of all accounts, read in one transaction.
async fn sum(client: &Client, accounts: u64) -> u64 {
    let ops = (0..accounts).map(|account| Op::get(name(account))).collect();
    let executed = client.execute(Request::unnamed(), ops, "").await.expect("the server answers");
    let balances = executed.reads.iter().map(|read| {
        let bytes = read.value.as_ref().expect("every account was opened");
        let balance = std::str::from_utf8(bytes).expect("text").split(' ').next().expect("a balance");
        balance.parse::<u64>().expect("a number")
    });
    balances.sum()
}

/// Runs the test on two servers that share a store, at such a store's default level.
async fn keep_the_sum_on_two(service: Service, accounts: u64, kills: usize) {
    let Some(store) = RealStore::start(service) else { return };
    let start = |address: &str| store.serve(&["--listen", address]);
    keep_the_sum(start, Size { accounts, servers: 2, kills }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_between_a_thousand_accounts_keep_their_sum_under_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = local(directory.path());
    let start = |address: &str| Server::start_with(&store, &["--listen", address]);
    let shared = keep_the_sum(start, Size { accounts: 1_000, servers: 1, kills: 12 }).await;
    let book = shared.book();
    let times: BTreeSet<_> = book.versions.iter().map(aft_e2e::versions::Version::time).collect();
    assert_eq!(times.len(), book.versions.iter().count(), "one process gives each time once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_on_two_servers_of_redis_keep_their_sum_under_kill_9() {
    keep_the_sum_on_two(Service::Redis, 1_000, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_on_two_servers_of_minio_keep_their_sum_under_kill_9() {
    // Fewer accounts: reading each takes three calls.
    keep_the_sum_on_two(Service::Minio, 100, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_on_two_servers_of_dynamodb_keep_their_sum_under_kill_9() {
    keep_the_sum_on_two(Service::DynamoDb, 100, 6).await;
}
