//! Goal: requests take effect exactly once, and reads are atomic, under faults of the store.
//! Method: transfers between pairs of accounts. Each pair has one client, so that the read-atomic
//! level loses no update. Each transfer is a request that its client repeats until it is answered,
//! and sometimes earlier: abandoned attempts go on as zombies beside the next one, and calls in
//! flight are dropped. Exactly once then means that the balances are exact; read atomic means that
//! every read of a pair, at any time, sees its sum unchanged.

use std::sync::Arc;
use std::time::Duration;

use aft_core::message::{Begin, Op, Refusal};
use aft_node::{Begun, NodeHandle};
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::client::{self, begin_named, inline, key, node, put, read};

const PAIRS: usize = 12;
const TRANSFERS: usize = 40;
const BALANCE: i64 = 1_000_000;

fn names(pair: usize) -> [String; 2] {
    [format!("pair/{pair}/a"), format!("pair/{pair}/b")]
}

fn number(bytes: &Option<Bytes>) -> i64 {
    bytes.as_ref().map_or(BALANCE, |bytes| i64::from_be_bytes(bytes[..].try_into().unwrap()))
}

fn encoded(balance: i64) -> Bytes {
    Bytes::copy_from_slice(&balance.to_be_bytes())
}

/// Runs one attempt of a transfer. Returns `Ok` if this attempt or an earlier one has committed.
async fn attempt(
    node: NodeHandle,
    id: String,
    pair: usize,
    amount: i64,
    pause: Duration,
) -> Result<(), Refusal> {
    let (node, id) = (&node, &id);
    let begin = Box::new(Begin { overlap: true, ..begin_named(id) });
    let attempt = match node.begin(begin).await? {
        Begun::Open { attempt, .. } => attempt,
        Begun::Replayed(_) => return Ok(()),
        begun => panic!("begin was answered with {begun:?}"),
    };
    let [a, b] = names(pair);
    let reads = client::run(node, attempt, vec![Op::Get(key(&a)), Op::Get(key(&b))]).await?;
    let (from, to) = (number(&inline(&reads[0])), number(&inline(&reads[1])));
    assert_eq!(from + to, 2 * BALANCE, "the read of pair {pair} was not atomic");
    let puts = vec![put(&a, encoded(from - amount)), put(&b, encoded(to + amount))];
    client::run(node, attempt, puts).await?;
    tokio::time::sleep(pause).await;
    client::commit(node, attempt, id).await.map(|_| ())
}

/// Repeats a request until it has committed. One attempt in ten is left running as a zombie, and
/// one in ten is cancelled at a random moment.
async fn transfer(node: &NodeHandle, id: &str, pair: usize, amount: i64, rng: &mut StdRng) {
    loop {
        let pause = Duration::from_micros(if rng.random_bool(0.1) { rng.random_range(0..20_000) } else { 0 });
        let attempt = attempt(node.clone(), id.to_owned(), pair, amount, pause);
        let patience = Duration::from_micros(rng.random_range(0..10_000));
        let outcome = match rng.random_range(0..10) {
            0 => {
                tokio::spawn(attempt);
                tokio::time::sleep(patience).await;
                continue;
            }
            1 => match tokio::time::timeout(patience, attempt).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            },
            _ => attempt.await,
        };
        match outcome {
            Ok(()) => return,
            Err(
                Refusal::SnapshotGone(_)
                | Refusal::Conflict(_)
                | Refusal::Overloaded(_)
                | Refusal::Lost
                | Refusal::StoreUnavailable(_)
                | Refusal::InProgress { .. }
                | Refusal::Unknown(_),
            ) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(refusal) => panic!("{id}: {refusal:?}"),
        }
    }
}

async fn balances(node: &NodeHandle, pair: usize) -> Result<(i64, i64), Refusal> {
    let [a, b] = names(pair);
    let found = read(node, &[&a, &b]).await?;
    Ok((number(&found[0]), number(&found[1])))
}

async fn watch(node: NodeHandle, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let pair = rng.random_range(0..PAIRS);
        if let Ok((a, b)) = balances(&node, pair).await {
            assert_eq!(a + b, 2 * BALANCE, "the read of pair {pair} was not atomic");
        }
        tokio::task::yield_now().await;
    }
}

async fn check(faults: Faults, seed: u64) {
    println!("seed {seed}");
    let store = FaultyStore::new(Arc::new(MemoryStore::shared()), seed, faults);
    let serving = node(Arc::new(store.clone()), |settings| {
        settings.core.grace_ms = 3_600_000;
        settings.core.timeout_default_ms = 1_000;
        settings.maintain = true;
    })
    .await;
    let watchers: Vec<_> = (0..2).map(|n| tokio::spawn(watch(serving.clone(), seed + n))).collect();
    let clients: Vec<_> = (0..PAIRS)
        .map(|pair| {
            let (node, mut rng) = (serving.clone(), StdRng::seed_from_u64(seed ^ (pair as u64) << 32));
            tokio::spawn(async move {
                let mut moved = 0;
                for n in 0..TRANSFERS {
                    let amount = rng.random_range(1..100);
                    transfer(&node, &format!("{pair}-{n}"), pair, amount, &mut rng).await;
                    moved += amount;
                }
                moved
            })
        })
        .collect();
    let mut moved = Vec::new();
    for client in clients {
        moved.push(client.await.unwrap());
    }
    for watcher in watchers {
        watcher.abort();
        assert!(watcher.await.unwrap_err().is_cancelled(), "a watcher panicked");
    }
    store.heal();
    store.quiesce().await;
    let stats = serving.stats();
    println!("{stats:?}");
    assert!(stats.replayed > 0, "no zombie ever committed first");
    exact(&serving, &moved).await;
    let since = std::time::Instant::now();
    let drained = serving.drain(Duration::from_secs(20)).await;
    println!("drained in {:?}", since.elapsed());
    assert_eq!(drained.cut_off, 0);
    // A new node, with nothing cached, reads the same balances from the store.
    let cold = node(Arc::new(store.clone()), |settings| settings.core.grace_ms = 3_600_000).await;
    exact(&cold, &moved).await;
}

async fn exact(node: &NodeHandle, moved: &[i64]) {
    for (pair, moved) in moved.iter().enumerate() {
        assert_eq!(balances(node, pair).await.unwrap(), (BALANCE - moved, BALANCE + moved), "pair {pair}");
    }
}

#[tokio::test]
async fn balances_are_exact_without_faults() {
    check(Faults::NONE, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balances_are_exact_under_faults() {
    let latency = Latency::Uniform { min_us: 0, max_us: 2_000 };
    let late = Latency::Uniform { min_us: 0, max_us: 100_000 };
    for seed in 10..13 {
        check(Faults::all(0.03, latency, late), seed).await;
    }
}
