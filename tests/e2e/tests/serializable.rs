//! Goal: with serializable transactions no update is lost, and a request that loses again and again gets through.
//! Method: many clients on few keys of a real server, through the Rust client's `run`; then the sum of what they were told against what is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_client::{Client, Error, Request};
use aft_e2e::client::CallError;
use aft_e2e::server::Server;
use aft_wire::http::{Begin, Code, Isolation};

const CLIENTS: usize = 10;
const ORDERS: usize = 10;
const ACCOUNTS: u64 = 5;

/// More attempts than the default: the clients of these tests do nothing but get in each other's way.
fn client(server: &Server) -> Client {
    Client::builder(&format!("http://{}", server.address()))
        .attempts_max(1_000)
        .build()
        .expect("an address is a URL's")
}

fn number(value: Option<aft_client::Value>) -> u64 {
    value.map_or(0, |value| String::from_utf8_lossy(&value.bytes).parse().expect("tests write numbers"))
}

/// Sells one, and counts the attempts that it takes.
async fn sell(client: &Client, attempts: &AtomicU64) -> Result<u32, Error> {
    let ran = client
        .run(Request::unnamed().serializable(), |t| async move {
            attempts.fetch_add(1, Ordering::Relaxed);
            let stock = number(t.get("stock").await?);
            t.put("stock", (stock - 1).to_string()).await?;
            Ok::<_, Error>("")
        })
        .await?;
    Ok(ran.attempts)
}

async fn count_down(store: &str) {
    let server = Server::start(store);
    let first = client(&server);
    first.put("stock", "100").await.expect("an undisturbed server answers");
    let attempts = Arc::new(AtomicU64::new(0));
    let sellers = (0..CLIENTS).map(|_| {
        let (client, attempts) = (client(&server), attempts.clone());
        tokio::spawn(async move {
            let mut told = 0;
            for _ in 0..ORDERS {
                told += u64::from(sell(&client, &attempts).await.expect("a request gets through"));
            }
            told
        })
    });
    let mut told = 0;
    for seller in sellers.collect::<Vec<_>>() {
        told += seller.await.expect("a seller does not panic");
    }
    let left = number(first.get_fresh("stock").await.expect("an undisturbed server answers"));
    assert_eq!(left, 100 - (CLIENTS * ORDERS) as u64, "of 100, each order takes one");
    let attempts = attempts.load(Ordering::Relaxed);
    assert_eq!(told, attempts, "each run tells its attempts");
    println!("{store}: {attempts} attempts for {} orders", CLIENTS * ORDERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clients_count_down_one_key() {
    count_down("memory:").await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    count_down(&format!("local:{}", directory.path().display())).await;
}

/// Moves money between accounts, and reads them all as often: every reader that commits has seen the whole sum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_keep_their_sum_and_every_reader_sees_it() {
    let server = Server::start("memory:");
    let first = client(&server);
    for account in 0..ACCOUNTS {
        first.put(format!("account/{account}"), "100").await.expect("an undisturbed server answers");
    }
    let movers = (0..4_u64).map(|mover| {
        let client = client(&server);
        tokio::spawn(async move {
            for step in 0..50 {
                let (from, to) = ((mover + step) % ACCOUNTS, (mover + 3 * step + 1) % ACCOUNTS);
                if from == to {
                    continue;
                }
                let (from, to) = (format!("account/{from}"), format!("account/{to}"));
                let ran = client.run(Request::unnamed().serializable(), |t| {
                    let (from, to) = (from.clone(), to.clone());
                    async move {
                        let (has, gets) = (number(t.get(&from).await?), number(t.get(&to).await?));
                        // Nobody overdraws: the check rests on what the commit checks.
                        let amount = has.min(7);
                        t.put(&from, (has - amount).to_string()).await?;
                        t.put(&to, (gets + amount).to_string()).await?;
                        Ok::<_, Error>("")
                    }
                });
                ran.await.expect("a transfer gets through");
            }
        })
    });
    let movers: Vec<_> = movers.collect();
    let mut reads = 0;
    while !movers.iter().all(tokio::task::JoinHandle::is_finished) {
        let sum = AtomicU64::new(0);
        let sum = &sum;
        let ran = first.run(Request::unnamed().serializable(), |t| async move {
            let mut all = 0;
            for account in 0..ACCOUNTS {
                all += number(t.get(format!("account/{account}")).await?);
            }
            // An attempt that will be refused may have seen accounts of different times.
            sum.store(all, Ordering::Relaxed);
            Ok::<_, Error>("")
        });
        ran.await.expect("a reader gets through");
        assert_eq!(
            sum.load(Ordering::Relaxed),
            ACCOUNTS * 100,
            "what a transaction read that committed adds up"
        );
        reads += 1;
    }
    for mover in movers {
        mover.await.expect("a mover does not panic");
    }
    println!("{reads} reads of all accounts");
    let mut sum = 0;
    for account in 0..ACCOUNTS {
        let value = first.get_fresh(format!("account/{account}")).await;
        sum += number(value.expect("an undisturbed server answers"));
    }
    assert_eq!(sum, ACCOUNTS * 100, "transfers keep the sum");
}

/// A slow request would lose to quick ones for ever: after five conflicts it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_gets_through_under_ten_contenders() {
    let server = Server::start("memory:");
    let stop = Arc::new(AtomicBool::new(false));
    let contenders = (0..CLIENTS).map(|_| {
        let (client, stop) = (client(&server), stop.clone());
        tokio::spawn(async move {
            let mut sold = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let ran = client.run(Request::unnamed().serializable(), |t| async move {
                    let count = number(t.get("hot").await?);
                    t.put("hot", (count + 1).to_string()).await?;
                    Ok::<_, Error>("")
                });
                sold += u64::from(ran.await.is_ok());
            }
            sold
        })
    });
    let contenders: Vec<_> = contenders.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let slow = client(&server);
    let mut attempts = 0;
    let ran = slow.run(Request::unnamed().serializable(), |t| {
        attempts += 1;
        async move {
            let count = number(t.get("hot").await?);
            // Ten times as long as anybody else takes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            t.put("hot", (count + 1_000_000).to_string()).await?;
            Ok::<_, Error>("")
        }
    });
    ran.await.expect("the slow one gets through");
    println!("the slow one took {:?} and {attempts} attempts", begun.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut sold = 1_000_000;
    for contender in contenders {
        sold += contender.await.expect("a contender does not panic");
    }
    // Others may have lost five times before it.
    assert!(attempts <= 2 * CLIENTS, "five conflicts, and not many more: {attempts}");
    let count = number(slow.get_fresh("hot").await.expect("an undisturbed server answers"));
    assert_eq!(count, sold, "nothing is lost");
}

#[tokio::test]
async fn a_conflict_names_the_key_and_who_came_first() {
    let server = Server::start("memory:");
    let client = aft_e2e::client::Client::new(server.address());
    let begin = Begin { isolation: Isolation::Serializable as i32, ..Begin::default() };
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let reply = client.begin(&begin).await.expect("an undisturbed server answers");
        let token = reply.transaction.expect("an open transaction has a token");
        client.list(&token, "k", 10).await.expect("it lists");
        client.put(&token, "key", "v").await.expect("it takes writes");
        tokens.push(token);
    }
    let won = client.commit(&tokens[0], &Default::default()).await.expect("the first commits");
    for _ in 0..2 {
        match client.commit(&tokens[1], &Default::default()).await {
            Err(CallError::Refused(problem)) => {
                assert_eq!(problem.code, Code::Conflict);
                let version = won.version.clone().expect("it stored something");
                assert!(problem.detail.contains("\"key\""), "{}", problem.detail);
                println!("{version}: {}", problem.detail);
            }
            other => panic!("{other:?}"),
        }
    }
}
