//! Goal: the ledger is exact, whatever happens to servers and to clients in all three languages.
//! Method: two servers on one store are killed with SIGKILL, frozen and thawed; clients hop between
//! them, fork after their first calls, are frozen themselves, and repeat requests. At the end every
//! request is looked up, and each balance must be the sum of the transfers that committed. A client
//! that was told `done` must find its request, and one that was told of any error but Unknown must
//! not.
//!
//! `AFT_TORTURE_MINUTES=30` runs it for so long.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aft_client::{Client, Error};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, send};
use aft_services::Service;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const ACCOUNTS: u64 = 12;
const BALANCE: i64 = 1_000;
/// The time without `AFT_TORTURE_MINUTES`.
const SECONDS: u64 = 25;
/// The time after the end in which workers finish their last transfers.
const END_TIME_MAX: Duration = Duration::from_secs(120);

/// A transfer, and how it ended; `None` if its worker never said.
#[derive(Debug, Clone)]
struct Transfer {
    source: u64,
    target: u64,
    amount: i64,
    how: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, Transfer>>>);

impl Book {
    fn take(&self, line: &Value) {
        let mut book = self.0.lock().expect("no thread panics while it holds the book");
        let number = |name: &str| line[name].as_u64().expect("a number");
        if let Some(id) = line["begins"].as_str() {
            let amount = i64::try_from(number("amount")).expect("it is small");
            let begun = Transfer { source: number("source"), target: number("target"), amount, how: None };
            assert!(book.insert(id.to_owned(), begun).is_none(), "{id} begins twice");
        } else {
            let id = line["ended"].as_str().unwrap_or_else(|| panic!("what is {line}?"));
            let transfer = book.get_mut(id).unwrap_or_else(|| panic!("{id} never began"));
            transfer.how = Some(line["how"].as_str().expect("an outcome").to_owned());
        }
    }
}

/// Starts a worker in another language, whose lines go to the book.
fn worker(
    program: &str,
    script: &str,
    arguments: &[String],
    book: &Book,
) -> (Child, tokio::task::JoinHandle<()>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledger").join(script);
    let mut child = Command::new(program)
        .arg(script)
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|why| panic!("{program} is missing: {why}"));
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let book = book.clone();
    let reader = tokio::spawn(async move {
        while let Some(line) = lines.next_line().await.expect("the pipe works") {
            book.take(&serde_json::from_str(&line).unwrap_or_else(|why| panic!("{line}: {why}")));
        }
    });
    (child, reader)
}

/// Transfers with the Rust client until the time is over, on the servers in turn.
async fn work(clients: Vec<Client>, name: String, until: Instant, book: Book) {
    let mut rng = StdRng::seed_from_u64(name.len() as u64);
    for nth in 0_usize.. {
        if Instant::now() >= until {
            return;
        }
        let (id, amount) = (format!("{name}-{nth}"), rng.random_range(1..5_i64));
        let source = rng.random_range(0..ACCOUNTS);
        let target = (source + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        book.take(&json!({"begins": &id, "source": source, "target": target, "amount": amount}));
        let here = &clients[nth % clients.len()];
        if let Some(session) = clients[(nth + 1) % clients.len()].session() {
            here.join_session(&session);
        }
        let ran = here
            .run(id.as_str(), |t| async move {
                for (account, by) in [(source, -amount), (target, amount)] {
                    let key = format!("account/{account}");
                    let value = t.get(&key).await?.expect("every account has a balance");
                    t.put(&key, (number(&value.bytes) + by).to_string()).await?;
                }
                Ok::<_, Error>("done")
            })
            .await;
        let how = match ran {
            Ok(_) => "done".to_owned(),
            Err(Error::Unknown(_)) => "Unknown".to_owned(),
            Err(other) => other.to_string(),
        };
        book.take(&json!({"ended": &id, "how": how}));
    }
}

fn number(bytes: &[u8]) -> i64 {
    String::from_utf8_lossy(bytes).parse().expect("accounts hold numbers")
}

/// Kills, freezes and thaws servers, and freezes workers, until the time is over.
async fn disturb(
    store: &RealStore,
    servers: &mut [Option<Server>; 2],
    places: [SocketAddr; 2],
    workers: &[u32],
    until: Instant,
) -> usize {
    let mut rng = StdRng::seed_from_u64(7);
    let mut kills = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(rng.random_range(300..1_500))).await;
        let which = rng.random_range(0..2);
        match rng.random_range(0..4) {
            0 | 1 => {
                servers[which].take().expect("it is alive").kill();
                kills += 1;
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..800))).await;
                servers[which] = Some(store.serve(&["--listen", &places[which].to_string()]));
            }
            2 => {
                let server = servers[which].as_ref().expect("it is alive");
                server.pause();
                tokio::time::sleep(Duration::from_millis(rng.random_range(100..3_000))).await;
                server.resume();
            }
            _ => {
                let Some(pid) = workers.get(rng.random_range(0..workers.len().max(1))) else { continue };
                send("STOP", *pid);
                tokio::time::sleep(Duration::from_millis(rng.random_range(100..3_000))).await;
                send("CONT", *pid);
            }
        }
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_exact_whatever_happens_to_clients_and_servers() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let minutes = std::env::var("AFT_TORTURE_MINUTES").ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = minutes.map_or(SECONDS, |minutes| 60 * minutes);
    let skipped = std::env::var("AFT_SKIP_SERVICES").unwrap_or_default();
    let is_skipped = |name: &str| skipped.split(',').any(|other| other.trim() == name);

    let mut servers = [Some(store.serve(&[])), Some(store.serve(&[]))];
    let places = [0, 1].map(|which: usize| servers[which].as_ref().expect("it is alive").address());
    let urls = places.map(|place| format!("http://{place}"));
    let client = |url: &str| {
        let builder = Client::builder(url).attempts_max(10_000).run_time_max(Duration::from_secs(20));
        builder.build().expect("it is a URL")
    };
    for account in 0..ACCOUNTS {
        let key = format!("account/{account}");
        client(&urls[0]).put(&key, BALANCE.to_string()).await.expect("an undisturbed server answers");
    }

    let book = Book::default();
    let until = Instant::now() + Duration::from_secs(seconds);
    let arguments = |name: &str| [urls.join(","), name.to_owned(), ACCOUNTS.to_string(), seconds.to_string()];
    let mut workers = Vec::new();
    if !is_skipped("python") {
        workers.push(worker("python3", "worker.py", &arguments("python"), &book));
    }
    if !is_skipped("node") {
        workers.push(worker("node", "worker.mjs", &arguments("node"), &book));
    }
    let tasks: Vec<_> = (0..2)
        .map(|task| {
            let clients = urls.iter().map(|url| client(url)).collect();
            tokio::spawn(work(clients, format!("rust-{task}"), until, book.clone()))
        })
        .collect();
    let pids: Vec<u32> = workers.iter().filter_map(|(child, _)| child.id()).collect();
    let kills = disturb(&store, &mut servers, places, &pids, until).await;

    // The last transfers end on servers that work.
    for (mut child, reader) in workers {
        let ended = tokio::time::timeout(END_TIME_MAX, child.wait()).await.expect("a worker ends");
        assert!(ended.expect("it can be waited for").success(), "a worker failed; see its error above");
        reader.await.expect("its lines are read");
    }
    for task in tasks {
        task.await.expect("no task panics");
    }

    let book = book.0.lock().expect("nothing panics").clone();
    let looked_up = client(&urls[1]);
    let mut balances: BTreeMap<u64, i64> = (0..ACCOUNTS).map(|account| (account, BALANCE)).collect();
    let (mut committed, mut failed, mut unknown) = (0, 0, 0);
    for (id, transfer) in &book {
        let found = looked_up.request(id.as_str()).await.expect("an undisturbed server answers").is_some();
        match transfer.how.as_deref() {
            Some("done") => assert!(found, "{id} is said to be done, and did not commit"),
            Some("Unknown") | None => unknown += 1,
            Some(how) => {
                assert!(!found, "{id} ended with {how}, and did commit");
                failed += 1;
            }
        }
        if found {
            committed += 1;
            *balances.get_mut(&transfer.source).expect("an account") -= transfer.amount;
            *balances.get_mut(&transfer.target).expect("an account") += transfer.amount;
        }
    }
    println!("{committed} committed, {failed} failed, {unknown} unknown, {kills} kills");
    for (account, expect) in balances {
        let value = looked_up.get(format!("account/{account}")).await.expect("an undisturbed server answers");
        let found = number(&value.expect("every account has a balance").bytes);
        assert_eq!(found, expect, "the balance of account {account}");
    }
    assert!(committed > 50 && kills > 0, "too little happened");
}
