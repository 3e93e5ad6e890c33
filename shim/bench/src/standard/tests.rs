//! Goal: small complete runs have the expected results. Method: runs directly against the memory
//! store, which nothing protects, and through a node in this process.

use std::sync::Arc;
use std::time::Duration;

use aft_store::{Name, Store};
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Anomalies, Dataset, Length, Options, Pace, Prepare, StoreTarget, Target, Way, Workload, compare, run,
};
use crate::transactions::Transactions;

#[derive(Debug)]
struct MemoryTransactions(MemoryStore);

#[async_trait]
impl Transactions for MemoryTransactions {
    async fn transact_get(&self, names: &[Name]) -> aft_store::Result<Vec<Option<Bytes>>> {
        Ok(self.0.transact_get(names))
    }

    async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> aft_store::Result<()> {
        self.0.transact_put(bodies)
    }
}

fn options(store: &MemoryStore, way: Way) -> Options {
    let transactions = (way == Way::Transactions)
        .then(|| Arc::new(MemoryTransactions(store.clone())) as Arc<dyn Transactions>);
    Options {
        target: Target::Store(StoreTarget { store: Arc::new(store.clone()), transactions }),
        way,
        workload: Workload { keys: 50, value_bytes: 128, ..Workload::default() },
        length: Length::Transactions(500),
        clients: 4,
        seed: Some(7),
        ..Options::default()
    }
}

#[tokio::test]
async fn a_direct_run_counts_its_requests_and_cleans_up() {
    let store = MemoryStore::new();
    let report = run(options(&store, Way::Direct)).await.unwrap();
    let figures = &report.figures;
    assert_eq!((figures.transactions, figures.attempts, figures.seed), (500, 500, 7));
    assert_eq!(figures.requests_per_transaction["put"], 2.0);
    assert_eq!(figures.requests_per_transaction["get"], 4.0);
    assert!(figures.errors.is_empty());
    assert!(store.objects().is_empty());
}

#[tokio::test]
async fn a_run_through_a_node_has_no_anomalies() {
    let store = MemoryStore::new();
    let file = std::env::temp_dir().join(format!("aft-bench-history-{}", std::process::id()));
    let report = run(Options { history: Some(file.clone()), ..options(&store, Way::Shim) }).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(report.figures.transactions, 500);
    assert_eq!(report.figures.anomalies, Anomalies::default());
    assert!(report.is_clean());
    // A commit of one key is one put.
    let requests = &report.figures.requests_per_transaction;
    assert!(requests["commit"] + requests["put"] >= 1.0 && requests["commit"] > 0.5, "{requests:?}");
    let history = aft_history::text::parse(text.as_bytes()).unwrap();
    let verdict = aft_history::check(&history, &aft_history::Options::default()).unwrap();
    assert!(verdict.is_read_atomic(), "{verdict}");
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate() {
    let store = MemoryStore::new();
    let pace = Pace::Open { per_s: 500.0 };
    let length = Length::For(Duration::from_millis(400));
    let report =
        run(Options { pace, length, warm_up: Some(Duration::ZERO), ..options(&store, Way::Direct) }).await;
    assert_eq!(report.unwrap().figures.transactions, 200);
}

#[tokio::test]
async fn a_direct_run_needs_a_store() {
    let wrong = Options { way: Way::Direct, ..Options::default() };
    assert!(run(wrong).await.unwrap_err().to_string().contains("store URL"));
}

#[tokio::test]
async fn direct_at_once_makes_the_same_requests() {
    let store = MemoryStore::new();
    let report = run(options(&store, Way::DirectAtOnce)).await.unwrap();
    assert_eq!(report.figures.requests_per_transaction["put"], 2.0);
    assert_eq!(report.figures.requests_per_transaction["get"], 4.0);
}

/// Each transaction needs two store transactions for reads and one for writes, except that a
/// function that reads only its own request's writes needs none for reads.
#[tokio::test]
async fn the_stores_transactions_read_and_write_in_batches() {
    let store = MemoryStore::new();
    let report = run(options(&store, Way::Transactions)).await.unwrap();
    let requests = &report.figures.requests_per_transaction;
    assert_eq!((requests["transact_put"], requests.get("put"), requests.get("get")), (1.0, None, None));
    assert!((1.9..=2.0).contains(&requests["transact_get"]), "{requests:?}");
    assert_eq!(report.figures.anomalies.own_write, 0);
    assert!(store.objects().is_empty());
}

#[tokio::test]
async fn a_store_without_transactions_runs_without_them() {
    let store = MemoryStore::new();
    let without = Options {
        target: Target::Store(StoreTarget::from(Arc::new(store.clone()) as Arc<dyn Store>)),
        length: Length::Transactions(50),
        ..options(&store, Way::Transactions)
    };
    let why = run(without.clone()).await.unwrap_err().to_string();
    assert!(why.contains("memory: has no transactions of its own"), "{why}");
    let ways = |compared: super::Comparison| compared.without.iter().map(|(way, _)| *way).collect::<Vec<_>>();
    assert_eq!(ways(compare(without).await.unwrap()), [Way::Direct]);
    let with = Options { length: Length::Transactions(50), ..options(&store, Way::Transactions) };
    assert_eq!(ways(compare(with).await.unwrap()), [Way::Direct, Way::Transactions]);
}

#[tokio::test]
async fn runs_share_a_dataset() {
    let store = MemoryStore::new();
    let shared = |way, nth, prepare| Options {
        dataset: Some(Dataset { id: 5, nth }),
        workload: Workload { keys: 50, value_bytes: 128, prepare, ..Workload::default() },
        ..options(&store, way)
    };
    run(shared(Way::Direct, 0, Prepare::Write)).await.unwrap();
    assert_eq!(store.objects().len(), 50);
    let reads = |options: Options| Workload { writes: 0, ..options.workload };
    let next = shared(Way::Direct, 1, Prepare::Nothing);
    run(Options { workload: reads(next.clone()), ..next }).await.unwrap();
    assert_eq!(store.objects().len(), 50, "nothing was deleted, since another run may come");

    run(shared(Way::Shim, 0, Prepare::Write)).await.unwrap();
    let next = shared(Way::Shim, 1, Prepare::Read);
    let warm = run(Options { workload: reads(next.clone()), ..next }).await.unwrap();
    assert_eq!(warm.figures.requests_per_transaction.get("get"), None, "every key was read before");
    let cold = Options { clients: 1, ..shared(Way::Shim, 2, Prepare::Nothing) };
    let cold = run(Options { workload: reads(cold.clone()), ..cold }).await.unwrap();
    assert!(cold.figures.requests_per_transaction["get"] > 0.0);
}
