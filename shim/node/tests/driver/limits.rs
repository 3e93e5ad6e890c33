//! Goal: the bounds on the queue and on store calls hold, and callers that go away leave nothing
//! behind. Method: nodes with small bounds on slow memory stores, and callers that are cancelled.

use std::sync::Arc;
use std::time::Duration;

use aft_core::message::{Bound, Refusal};
use aft_node::fresh_begin;
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::client::{node, open, put, read, run, write};

/// The loop does not run between the calls of one poll, so all calls beyond the queue's length are
/// rejected. Afterwards the node serves as before.
#[tokio::test]
async fn calls_beyond_a_full_queue_are_rejected() {
    let node = node(Arc::new(MemoryStore::new()), |settings| settings.queue_len_max = 8).await;
    let outcomes = join_all((0..100).map(|_| open(&node, fresh_begin()))).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(Refusal::Overloaded(Bound::VerbQueue))))
        .count();
    assert_eq!(refused, 92);
    assert_eq!(node.stats().queue_full, 92);
    write(&node, vec![put("k", "v")]).await.unwrap();
}

#[tokio::test]
async fn store_calls_beyond_the_bound_wait_in_order() {
    let slow = Faults::latency_only(Latency::fixed(2_000));
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), 1, slow);
    let node = node(Arc::new(store), |settings| {
        settings.store_calls_max = 2;
        settings.core.grace_ms = 0;
    })
    .await;
    let keys: Vec<String> = (0..40).map(|n| format!("k/{n}")).collect();
    let all = keys.iter().map(|key| write(&node, vec![put(key, "v")]));
    let most = async {
        let mut most = (0, 0);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let stats = node.stats();
            most = (stats.store_calls_open.max(most.0), stats.store_calls_waiting.max(most.1));
        }
        most
    };
    let (outcomes, (open, waiting)) = futures::join!(join_all(all), most);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(open, 2);
    assert!(waiting > 10, "{waiting} calls waited");
}

/// Callers go away at any moment. A transaction whose caller never got the reply is not left open,
/// and the node is not harmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_calls_leave_no_transaction_open() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let slow = Faults::latency_only(Latency::Uniform { min_us: 0, max_us: 1_000 });
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), seed, slow);
    let node = node(Arc::new(store), |settings| settings.core.grace_ms = 0).await;
    let mut callers = Vec::new();
    for n in 0..300 {
        let (node, patience) = (node.clone(), Duration::from_micros(rng.random_range(0..3_000)));
        callers.push(tokio::spawn(async move {
            let whole = async {
                let attempt = open(&node, fresh_begin()).await?;
                run(&node, attempt, vec![put(&format!("k/{n}"), "v")]).await?;
                read(&node, &["k/1"]).await?;
                node.abort(attempt).await
            };
            let _ = tokio::time::timeout(patience, whole).await;
        }));
    }
    // These begins are dropped before the loop runs.
    let mut unheard = 0;
    for _ in 0..100 {
        let ask = node.begin(Box::new(fresh_begin()));
        unheard += u64::from(futures::FutureExt::now_or_never(ask).is_none());
    }
    for caller in callers {
        caller.await.unwrap();
    }
    // Callers that got their transaction and left may have left it open; it ends at its deadline.
    // The transactions whose reply was never read must be gone.
    let gone = async {
        while node.stats().aborted < unheard {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("unheard transactions are aborted");
    write(&node, vec![put("k", "v")]).await.unwrap();
}

/// A begin whose reply is never read is aborted at once, not at its deadline.
#[tokio::test]
async fn a_begin_whose_caller_is_gone_is_aborted() {
    let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
    assert!(futures::FutureExt::now_or_never(node.begin(Box::new(fresh_begin()))).is_none());
    write(&node, vec![put("k", "v")]).await.unwrap();
    read(&node, &["k"]).await.unwrap();
    tokio::task::yield_now().await;
    let stats = node.stats();
    assert_eq!(stats.open_transactions, 0, "{stats:?}");
}
