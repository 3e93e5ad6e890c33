//! Transfers between accounts, while everything that fails in functions fails: deliveries are
//! duplicated, handlers raise, exit, hang and time out, environments are killed and frozen at any
//! instant, zombies go on. Auditors in other environments add the accounts up all the while.
//!
//! At the end every request has taken effect exactly once, and no auditor has seen a half. The same
//! run without the layer counts the damage.
//!
//! `AFT_TORTURE_REQUESTS` sets the number of requests, and `AFT_TORTURE_SEED` the seed:
//!
//! ```sh
//! AFT_TORTURE_REQUESTS=2000 cargo test -p aft-layer --test lambda torture -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aft_lambda_host::{Function, Invoke, OnTimeout};
use futures::stream::{self, StreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::scene::{Scene, StoreKind};

const ACCOUNTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const BALANCE: i64 = 1_000;
/// The number of requests in the everyday tests.
const REQUESTS: usize = 12;
/// The number of requests under way at once.
const AT_ONCE: usize = 3;
/// The most deliveries of one request: a source that gives up would hide a fault.
const DELIVERIES_MAX: usize = 60;

/// The number of each kind of damage, and of what led to it.
#[derive(Debug, Default)]
struct Counts {
    deliveries: AtomicUsize,
    failed: AtomicUsize,
    kills: AtomicUsize,
    freezes: AtomicUsize,
    audits: AtomicUsize,
    /// Audits that saw another sum.
    halves: AtomicUsize,
}

fn bank(function: &mut Function) {
    function.timeout = Duration::from_secs(5);
    function.concurrency = 6;
    function.on_timeout = OnTimeout::Continue;
    function.environment.insert("AFT_S3_BUCKETS".into(), "bank".into());
}

fn transfer(id: &str, random: &mut StdRng) -> Value {
    let from = random.random_range(0..ACCOUNTS.len());
    let to = (from + random.random_range(1..ACCOUNTS.len())) % ACCOUNTS.len();
    let amount = random.random_range(1..50);
    let mut event =
        json!({"action": "transfer", "id": id, "from": ACCOUNTS[from], "to": ACCOUNTS[to], "amount": amount});
    for place in ["before", "between", "after"] {
        let kind = match random.random_range(0..20) {
            0 => "raise",
            1 => "exit",
            2 => "hang",
            3 => "wait",
            _ => continue,
        };
        event[place] = json!(kind);
    }
    event
}

/// Delivers a request until a delivery succeeds, and sometimes twice at once or once more.
async fn deliver(scene: &Scene, event: &Value, seed: u64, counts: &Counts) {
    let mut random = StdRng::seed_from_u64(seed);
    let id = event["id"].as_str().expect("a request has an ID");
    let once = async || {
        counts.deliveries.fetch_add(1, Ordering::Relaxed);
        match scene.host().invoke(Invoke::new("function", event.to_string()).request_id(id)).await {
            Ok(invoked) if invoked.is_ok() => {
                let answer: Value =
                    serde_json::from_slice(&invoked.payload).expect("the handler answers in JSON");
                assert_eq!(answer["id"], id, "it is the answer to this request: {scene:?}");
                true
            }
            // Its function has failed, or there was no environment for it.
            Ok(_) | Err(_) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
                false
            }
        }
    };
    for _ in 0..DELIVERIES_MAX {
        let done = match random.random_range(0..4) {
            0 => {
                let (one, other) = tokio::join!(once(), once());
                one || other
            }
            _ => once().await,
        };
        if done {
            if random.random_range(0..4) == 0 {
                once().await;
            }
            return;
        }
    }
    panic!("the request {id} did not succeed in {DELIVERIES_MAX} deliveries: {scene:?}");
}

/// Kills and freezes environments at any instant, until `over`.
async fn faults(scene: &Scene, seed: u64, over: &AtomicBool, counts: &Counts) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut frozen = Vec::new();
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..2_500))).await;
        let now = Instant::now();
        frozen.retain(|(environment, until)| {
            let stays = *until > now;
            if !stays {
                // It may be gone.
                let _ = scene.host().thaw(environment);
            }
            stays
        });
        let environments = scene.host().environments();
        if environments.is_empty() {
            continue;
        }
        let environment = environments[random.random_range(0..environments.len())].id.clone();
        if random.random_range(0..3) == 0 {
            counts.kills.fetch_add(1, Ordering::Relaxed);
            let _ = scene.host().kill(&environment);
        } else if scene.host().freeze(&environment).is_ok() {
            counts.freezes.fetch_add(1, Ordering::Relaxed);
            // Longer than every deadline, sometimes.
            let pause = Duration::from_millis(random.random_range(50..8_000));
            frozen.push((environment, now + pause));
        }
    }
    for (environment, _) in frozen {
        let _ = scene.host().thaw(&environment);
    }
}

/// Adds the accounts up, until `over`.
async fn audit(scene: &Scene, over: &AtomicBool, counts: &Counts) {
    while !over.load(Ordering::Relaxed) {
        if let Some(balances) = balances(scene).await {
            counts.audits.fetch_add(1, Ordering::Relaxed);
            if balances.values().sum::<i64>() != BALANCE * ACCOUNTS.len() as i64 {
                counts.halves.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn balances(scene: &Scene) -> Option<BTreeMap<String, i64>> {
    let event = json!({"action": "audit", "accounts": ACCOUNTS}).to_string();
    let invoked = scene.host().invoke(Invoke::new("function", event)).await.ok()?;
    match invoked.is_ok() {
        true => serde_json::from_slice(&invoked.payload).ok(),
        false => None,
    }
}

/// Repeats a call until it succeeds.
async fn until_ok(scene: &Scene, event: Value) -> Value {
    for _ in 0..DELIVERIES_MAX {
        if let Ok(answer) = scene.answer(Invoke::new("function", event.to_string())).await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{event} does not succeed: {scene:?}");
}

/// The end of a run: the damage.
#[derive(Debug)]
struct Damage {
    /// Accounts whose balance is not what the requests make it.
    wrong_accounts: usize,
    halves: usize,
}

async fn run(scene: &Scene) -> Damage {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let (requests, seed) =
        (number("AFT_TORTURE_REQUESTS").unwrap_or(REQUESTS), number("AFT_TORTURE_SEED").unwrap_or(1));
    let mut random = StdRng::seed_from_u64(seed as u64);
    until_ok(scene, json!({"action": "open", "accounts": ACCOUNTS, "balance": BALANCE})).await;
    let events: Vec<Value> =
        (0..requests).map(|at| transfer(&format!("t-{seed}-{at}"), &mut random)).collect();
    let (counts, over) = (Counts::default(), AtomicBool::new(false));
    let since = Instant::now();
    let work = async {
        let deliveries = events
            .iter()
            .enumerate()
            .map(|(at, event)| deliver(scene, event, (seed * 7_919 + at) as u64, &counts));
        stream::iter(deliveries).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(work, faults(scene, seed as u64 + 1, &over, &counts), audit(scene, &over, &counts));
    // Zombies come to their end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut expected: BTreeMap<String, i64> =
        ACCOUNTS.iter().map(|account| ((*account).to_owned(), BALANCE)).collect();
    for event in &events {
        let amount = event["amount"].as_i64().expect("an amount");
        let account = |end: &str| event[end].as_str().expect("an account").to_owned();
        *expected.entry(account("from")).or_default() -= amount;
        *expected.entry(account("to")).or_default() += amount;
    }
    let mut found = None;
    for _ in 0..DELIVERIES_MAX {
        found = balances(scene).await;
        if found.is_some() {
            break;
        }
    }
    let found = found.expect("an audit at the end succeeds");
    let wrong_accounts =
        expected.iter().filter(|(account, balance)| found.get(*account) != Some(balance)).count();
    println!("{requests} requests in {:.0?}: {counts:?}, {wrong_accounts} wrong accounts", since.elapsed());
    // A run in which nothing happened shows nothing.
    for happened in [&counts.failed, &counts.audits, &counts.kills, &counts.freezes] {
        assert!(happened.load(Ordering::Relaxed) > 0, "{counts:?}");
    }
    Damage { wrong_accounts, halves: counts.halves.into_inner() }
}

async fn with_the_layer(kind: StoreKind) {
    let Some(scene) = Scene::with(kind, "bank.handler", bank).await else { return };
    let damage = run(&scene).await;
    assert_eq!((damage.wrong_accounts, damage.halves), (0, 0), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn every_request_takes_effect_once_over_minio() {
    with_the_layer(StoreKind::Minio).await;
}

#[tokio::test]
async fn every_request_takes_effect_once_over_dynamodb() {
    with_the_layer(StoreKind::DynamoDb).await;
}

#[tokio::test]
#[ignore = "shows what the layer prevents: cargo test -p aft-layer --test lambda -- --ignored without_the_layer --nocapture"]
async fn without_the_layer_there_is_damage() {
    let Some(scene) = Scene::with(StoreKind::PlainMinio, "bank.handler", bank).await else { return };
    let damage = run(&scene).await;
    assert!(damage.wrong_accounts > 0 && damage.halves > 0, "{damage:?}");
    scene.stop().await;
}
