//! Goal: whole runs, small ones, have the shape that they should. Method: straight at the memory store, which nothing protects, and through
//! a node in process.

use std::sync::Arc;
use std::time::Duration;

use aft_store::Store;
use aft_store_memory::MemoryStore;

use super::{Anomalies, Length, Options, Pace, Target, Workload, run};

fn options(store: &MemoryStore, direct: bool) -> Options {
    Options {
        target: Target::Store(Arc::new(store.clone()) as Arc<dyn Store>),
        direct,
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
    let report = run(options(&store, true)).await.unwrap();
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
    let report = run(Options { history: Some(file.clone()), ..options(&store, false) }).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(report.figures.transactions, 500);
    assert_eq!(report.figures.anomalies, Anomalies::default());
    assert!(report.is_clean());
    assert!(report.figures.requests_per_transaction["create"] >= 1.0);
    let history = aft_history::text::parse(text.as_bytes()).unwrap();
    let verdict = aft_history::check(&history, &aft_history::Options::default()).unwrap();
    assert!(verdict.is_read_atomic(), "{verdict}");
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate() {
    let store = MemoryStore::new();
    let pace = Pace::Open { per_s: 500.0 };
    let length = Length::For(Duration::from_millis(400));
    let report = run(Options { pace, length, warm_up: Some(Duration::ZERO), ..options(&store, true) }).await;
    assert_eq!(report.unwrap().figures.transactions, 200);
}

#[tokio::test]
async fn a_direct_run_needs_a_store() {
    let wrong = Options { direct: true, ..Options::default() };
    assert!(run(wrong).await.unwrap_err().to_string().contains("store URL"));
}
