//! Goal: runs that name no level lose no update, and a request that meets one conflict after the
//! other commits in the end. Method: many clients on few keys of a real server, through the Rust
//! client's `run`; then the sum of the acknowledged results is compared with the stored value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_api::{Begin, Code};
use aft_client::{Begun, Client, Error, Isolation, Op, Request};
use aft_e2e::client::CallError;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;

const CLIENTS: usize = 10;
/// Orders per client: all together, ten more than there is stock for.
const ORDERS: usize = 11;
const ACCOUNTS: u64 = 5;

/// Creates a client with more attempts than the default: the clients of these tests do nothing but
/// conflict with each other.
fn client(server: &Server) -> Client {
    Client::builder(&format!("http://{}", server.address()))
        .attempts_max(1_000)
        .build()
        .expect("an address is a URL's")
}

fn number(value: Option<aft_client::Value>) -> u64 {
    value.map_or(0, |value| String::from_utf8_lossy(&value.bytes).parse().expect("tests write numbers"))
}

/// Sells one unit, as README.md does, and counts the attempts. Returns true if it was sold, and the
/// attempts that the run reported.
async fn sell(client: &Client, attempts: &AtomicU64) -> Result<(bool, u32), Error> {
    let ran = client
        .run(Request::unnamed(), |t| async move {
            attempts.fetch_add(1, Ordering::Relaxed);
            let left = number(t.get("stock").await?);
            if left == 0 {
                return Ok::<_, Error>("sold out");
            }
            t.put("stock", (left - 1).to_string()).await?;
            Ok("sold")
        })
        .await?;
    Ok((ran.result == "sold", ran.attempts))
}

/// Lets ten clients place 110 orders for a stock of a hundred, on the servers of one store in turn.
async fn count_down(store: &str, servers: &[Server], client: fn(&Server) -> Client) {
    let mut turns = servers.iter().cycle();
    let mut client = || client(turns.next().expect("there is a server"));
    let first = client();
    first.put("stock", "100").await.expect("an undisturbed server answers");
    let begun = Instant::now();
    let attempts = Arc::new(AtomicU64::new(0));
    let sellers = (0..CLIENTS).map(|_| {
        let (client, attempts) = (client(), attempts.clone());
        tokio::spawn(async move {
            let mut orders = Vec::new();
            for _ in 0..ORDERS {
                orders.push(sell(&client, &attempts).await.expect("a request gets through"));
            }
            orders
        })
    });
    let mut orders = Vec::new();
    for seller in sellers.collect::<Vec<_>>() {
        orders.extend(seller.await.expect("a seller does not panic"));
    }
    // No unit was sold twice, and none was lost.
    let left = number(first.get_fresh("stock").await.expect("an undisturbed server answers"));
    let sold = orders.iter().filter(|(sold, _)| *sold).count();
    assert_eq!((sold, left), (100, 0), "the whole stock is sold, each unit once");
    let attempts = attempts.load(Ordering::Relaxed);
    let told: u64 = orders.iter().map(|(_, attempts)| u64::from(*attempts)).sum();
    assert_eq!(told, attempts, "each run reports its attempts");
    let took = begun.elapsed();
    let most = orders.iter().map(|(_, attempts)| attempts).max();
    println!(
        "{store}: {attempts} attempts for {} orders, at most {most:?} for one, in {took:?}",
        orders.len()
    );
}

/// Lets ten clients increment one counter together and elect one of them again and again, on the
/// servers of one store in turn.
async fn add_and_elect(store: &str, servers: &[Server]) {
    const TERMS: usize = 10;
    let mut turns = servers.iter().cycle();
    let candidates = (0..CLIENTS).map(|candidate| {
        let client = client(turns.next().expect("there is a server"));
        tokio::spawn(async move {
            let (mut sums, mut won) = (Vec::new(), Vec::new());
            for term in 0..TERMS {
                sums.push(
                    client.add("count", 1).await.expect("a request gets through").expect("its answer came"),
                );
                // Only the first candidate of a term finds its leader absent.
                let elect = Op::put(format!("leader/{term}"), candidate.to_string()).if_absent();
                match client.put_if(elect).await {
                    Ok(_) => won.push(term),
                    Err(error) => assert!(error.is_condition_failed(), "{error}"),
                }
            }
            (sums, won)
        })
    });
    let (mut sums, mut won) = (Vec::new(), Vec::new());
    for candidate in candidates.collect::<Vec<_>>() {
        let (its_sums, its_terms) = candidate.await.expect("a candidate does not panic");
        sums.extend(its_sums);
        won.extend(its_terms);
    }
    sums.sort_unstable();
    assert_eq!(
        sums,
        (1..=(CLIENTS * TERMS) as i64).collect::<Vec<_>>(),
        "{store}: each increment counts once"
    );
    won.sort_unstable();
    assert_eq!(won, (0..TERMS).collect::<Vec<_>>(), "{store}: each term has one leader");
}

/// Creates a client with the default settings.
fn usual(server: &Server) -> Client {
    Client::new(&format!("http://{}", server.address())).expect("an address is a URL's")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clients_count_down_one_key() {
    let memory = [Server::start("memory:")];
    count_down("memory:", &memory, usual).await;
    add_and_elect("memory:", &memory).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let local = format!("local:{}", directory.path().display());
    let local_server = [Server::start(&local)];
    count_down(&local, &local_server, usual).await;
    add_and_elect(&local, &local_server).await;
}

/// Runs both tests on two servers that share a store.
async fn count_down_on_two(service: Service) {
    let Some(store) = RealStore::start(service) else { return };
    let servers = [store.serve(&[]), store.serve(&[])];
    count_down(&store.url(), &servers, client).await;
    add_and_elect(&store.url(), &servers).await;
}

/// Runs both tests on one server with three nodes, which are peers of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clients_of_three_nodes_in_one_process_count_down_one_key() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let server = [store.serve(&["--nodes", "3"])];
    count_down(&store.url(), &server, client).await;
    add_and_elect(&store.url(), &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clients_on_two_servers_of_redis_count_down_one_key() {
    count_down_on_two(Service::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clients_on_two_servers_of_minio_count_down_one_key() {
    count_down_on_two(Service::Minio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clients_on_two_servers_of_dynamodb_count_down_one_key() {
    count_down_on_two(Service::DynamoDb).await;
}

/// Moves money between accounts, and reads them all at the same time: every reader that commits has
/// seen the whole sum.
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
                let ran = client.run(Request::unnamed(), |t| {
                    let (from, to) = (from.clone(), to.clone());
                    async move {
                        let (has, gets) = (number(t.get(&from).await?), number(t.get(&to).await?));
                        // No account is overdrawn: this check rests on the reads that the commit
                        // checks.
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
        let ran = first.run(Request::unnamed(), |t| async move {
            let mut all = 0;
            for account in 0..ACCOUNTS {
                all += number(t.get(format!("account/{account}")).await?);
            }
            // Stored per attempt: one that will be rejected may have read accounts of different
            // times.
            sum.store(all, Ordering::Relaxed);
            Ok::<_, Error>("")
        });
        ran.await.expect("a reader gets through");
        assert_eq!(
            sum.load(Ordering::Relaxed),
            ACCOUNTS * 100,
            "the reads of a committed transaction add up"
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

/// Runs a slow request against quick ones. It would conflict for ever, and after five conflicts it
/// has priority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_commits_against_ten_contenders() {
    let server = Server::start("memory:");
    let stop = Arc::new(AtomicBool::new(false));
    let contenders = (0..CLIENTS).map(|_| {
        let (client, stop) = (client(&server), stop.clone());
        tokio::spawn(async move {
            let mut sold = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let ran = client.run(Request::unnamed(), |t| async move {
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
    let ran = slow.run(Request::unnamed(), |t| {
        attempts += 1;
        async move {
            let count = number(t.get("hot").await?);
            // Ten times as long as the others take.
            tokio::time::sleep(Duration::from_millis(100)).await;
            t.put("hot", (count + 1_000_000).to_string()).await?;
            Ok::<_, Error>("")
        }
    });
    ran.await.expect("the slow request commits");
    println!("the slow request took {:?} and {attempts} attempts", begun.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut sold = 1_000_000;
    for contender in contenders {
        sold += contender.await.expect("a contender does not panic");
    }
    // Other requests may have had five conflicts before it, and so go first.
    assert!(attempts <= 2 * CLIENTS, "expected five conflicts and few more, not {attempts} attempts");
    let count = number(slow.get_fresh("hot").await.expect("an undisturbed server answers"));
    assert_eq!(count, sold, "nothing is lost");
}

/// Runs a request that writes what it has read. In its first attempt only, another client writes
/// the key in between. Returns the number of attempts.
async fn overtaken(client: &Client, request: Request) -> Result<u32, Error> {
    let calls = AtomicU64::new(0);
    let calls = &calls;
    let ran = client.run(request, |t| async move {
        let count = number(t.get("key").await?);
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            client.put("key", "7").await?;
        }
        t.put("key", (count + 1).to_string()).await?;
        Ok::<_, Error>("")
    });
    ran.await.map(|ran| ran.attempts)
}

#[tokio::test]
async fn a_request_chooses_its_level() {
    let server = Server::start("memory:");
    let client = client(&server);
    for (request, attempts) in [
        (Request::unnamed(), 2),
        (Request::named("r"), 2),
        (Request::unnamed().isolation(Isolation::Serializable), 2),
        (Request::unnamed().isolation(Isolation::ReadAtomic), 1),
        (Request::unnamed().isolation(Isolation::Unspecified), 1),
    ] {
        let told = overtaken(&client, request.clone()).await.expect("a request gets through");
        assert_eq!(told, attempts, "{request:?}");
    }
    let once = Client::builder(&format!("http://{}", server.address())).attempts_max(1).build();
    let why = overtaken(&once.expect("an address is a URL's"), Request::unnamed()).await;
    assert!(matches!(&why, Err(why @ Error::Retry(_)) if why.code() == Some(Code::Conflict)), "{why:?}");
    // A transaction that is begun by hand has the store's level.
    for (request, stands) in
        [(Request::unnamed(), true), (Request::unnamed().isolation(Isolation::Serializable), false)]
    {
        let Ok(Begun::Open(t)) = client.begin(request).await else { panic!("undisturbed, and not replayed") };
        t.get("key").await.expect("an undisturbed server answers");
        client.put("key", "8").await.expect("an undisturbed server answers");
        t.put("key", "9").await.expect("it takes writes");
        assert_eq!(t.commit("").await.is_ok(), stands);
    }
    let executed = client.execute(Request::unnamed(), vec![Op::get("key"), Op::put("key", "10")], "").await;
    let executed = executed.expect("an undisturbed server answers");
    assert_eq!((executed.reads.len(), executed.ran.attempts), (1, 1));
}

#[tokio::test]
async fn a_conflict_names_the_key() {
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
