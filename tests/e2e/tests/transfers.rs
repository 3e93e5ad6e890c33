//! Goal: serializable transfers between 1,000 accounts keep their sum while the server is killed again and again, and
//! what every client saw is what it would have seen one transaction after the other.
//! Method: movers and readers go on through the Rust client's `run`; each attempt is written down; the checker looks
//! for one order of all of them, with the versions that the server gave as stamps.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aft_client::{Client, Error, Ran, Request, Transaction};
use aft_e2e::server::{Server, local};
use aft_history::{
    History, KeyNames, Level, Options, Recorder, RequestId, Stamp, TransactionId, Value, check,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ACCOUNTS: u64 = 1_000;
/// Those that most transfers touch: movers and readers must meet.
const BUSY_ACCOUNTS: u64 = 12;
const BALANCE: u64 = 100;
const MOVERS: u64 = 8;
const KILLS: usize = 12;

/// The attempts of all clients, as they saw them.
#[derive(Default)]
struct Book {
    recorder: Recorder,
    names: KeyNames,
    /// The commits' places in order, by the server.
    versions: BTreeMap<TransactionId, (u64, u64)>,
    attempts: u64,
    requests: u64,
}

#[derive(Clone, Default)]
struct Shared {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
}

/// An attempt's value names the attempt beside the balance.
fn value_of(attempt: TransactionId) -> Value {
    Value(attempt.number().expect("a recorder numbers its transactions") + 1)
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with the book in hand")
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

    /// A request is known to have committed once: by the attempt that its result names, and no other.
    fn ended(&self, ran: &Ran, attempts: &[TransactionId]) {
        let winner = std::str::from_utf8(&ran.result).ok().and_then(|number| number.parse().ok());
        let winner = TransactionId::new(winner.expect("the result names the attempt"));
        assert!(attempts.contains(&winner), "{winner} is none of {attempts:?}");
        let mut book = self.book();
        attempts
            .iter()
            .filter(|attempt| **attempt != winner)
            .for_each(|attempt| book.recorder.abort(*attempt));
        book.recorder.commit(winner, None);
        book.requests += 1;
        if let Some(version) = &ran.version {
            let (time, _attempt) = version.split_once('-').expect("a time and an attempt");
            let (ms, counter) = time.split_once('.').expect("milliseconds and a counter");
            let place = (ms.parse().expect("a number"), counter.parse().expect("a number"));
            assert!(!book.versions.values().any(|other| *other == place), "one process gives each time once");
            book.versions.insert(winner, place);
        }
    }

    fn history(&self) -> History {
        let book = self.book();
        let mut order: Vec<_> = book.versions.iter().map(|(id, place)| (*place, *id)).collect();
        order.sort_unstable();
        let ranks: BTreeMap<_, _> = order.into_iter().map(|(_, id)| id).zip(1..).collect();
        let transactions = book.recorder.history().transactions().iter();
        let stamped = transactions.map(|transaction| aft_history::Transaction {
            stamp: ranks.get(&transaction.id).map(|rank| Stamp(*rank)),
            ..transaction.clone()
        });
        stamped.collect()
    }
}

fn name(account: u64) -> String {
    format!("account/{account:04}")
}

fn client(address: &str) -> Client {
    // A server that was killed is back within a second or so.
    Client::builder(&format!("http://{address}"))
        .attempts_max(10_000)
        .run_time_max(Duration::from_secs(120))
        .build()
        .expect("an address is a URL's")
}

/// The work of a request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Opens a hundred accounts from this one on.
    Open(u64),
    Transfer {
        from: u64,
        to: u64,
        amount: u64,
    },
    /// Reads the busy accounts and writes nothing: a reader, too, has its place in the order.
    Look,
}

impl Deed {
    fn transfer(rng: &mut StdRng) -> Deed {
        let mut draw = || match rng.random_bool(0.7) {
            true => rng.random_range(0..BUSY_ACCOUNTS),
            false => rng.random_range(0..ACCOUNTS),
        };
        let (from, to) = (draw(), draw());
        let to = if from == to { (to + 1) % ACCOUNTS } else { to };
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
                // Nobody overdraws: that rests on what the commit checks.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_between_a_thousand_accounts_keep_their_sum_under_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = local(directory.path());
    // The same address in every life, as a service has.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let address = free.expect("there is a free port").to_string();
    let start = || Server::start_with(&store, &["--listen", &address]);
    let mut server = start();
    let shared = Shared::default();
    for first in (0..ACCOUNTS).step_by(100) {
        run(client(&address), shared.clone(), first, Deed::Open(first)).await;
    }

    let mut workers = Vec::new();
    for worker in 0..MOVERS {
        let (client, shared) = (client(&address), shared.clone());
        let mut rng = StdRng::seed_from_u64(worker);
        workers.push(tokio::spawn(async move {
            let mut number = (worker + 1) << 32;
            while !shared.stop.load(Ordering::Relaxed) {
                let deed = if number % 8 == worker { Deed::Look } else { Deed::transfer(&mut rng) };
                run(client.clone(), shared.clone(), number, deed).await;
                number += 1;
            }
        }));
    }
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.random_range(300..1_200))).await;
        server.kill();
        server = start();
    }
    shared.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("every request gets through");
    }

    let reader = client(&address);
    let mut sum = 0;
    for account in 0..ACCOUNTS {
        let value = reader.get_fresh(name(account)).await.expect("the server answers");
        let bytes = value.expect("every account was opened").bytes;
        let balance = std::str::from_utf8(&bytes).expect("text").split(' ').next().expect("a balance");
        sum += balance.parse::<u64>().expect("a number");
    }
    assert_eq!(sum, ACCOUNTS * BALANCE, "transfers keep the sum");
    let options = Options { serializable: true, ..Options::default() };
    let report = check(&shared.history(), &options).expect("values name their writers");
    {
        let book = shared.book();
        println!("{} requests in {} attempts over {KILLS} kills\n{report}", book.requests, book.attempts);
        assert!(book.requests > 200, "only {} requests", book.requests);
    }
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.level(), Level::Serializable, "{report}");
    drop(server);
}
