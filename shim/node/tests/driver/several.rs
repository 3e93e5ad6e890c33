//! Goal: several nodes of one process behind one handle act as one: they hear of each other's
//! commits, a request takes effect once, and they drain together. Method: three nodes on one memory
//! store.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use aft_core::message::{Batch, Begin, CommitArgs, Isolation, Op, Refusal};
use aft_core::settings::Levels;
use aft_node::{
    Begun, CallKind, Drained, Ended, NodeHandle, NodeSettings, StartError, State, fresh_begin, start_several,
};
use aft_store::Store;
use aft_store_memory::MemoryStore;
use futures::future::join_all;

use crate::client::{begin_named, commit, open, put, read, run, write};

const COUNT: usize = 3;

async fn nodes() -> NodeHandle {
    nodes_at(Isolation::ReadAtomic).await
}

/// Starts nodes on a store whose keys are all of one level.
async fn nodes_at(level: Isolation) -> NodeHandle {
    let store = Arc::new(MemoryStore::shared());
    let mut settings = NodeSettings::new(&store.capabilities());
    settings.core.levels = Levels::everywhere(level);
    start_several(store, settings, NonZeroUsize::new(COUNT).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_commit_on_one_node_is_read_on_all_at_once() {
    let nodes = nodes().await;
    // Each node has listed the key, and would use that listing for ten seconds.
    for _ in 0..10 * COUNT {
        assert_eq!(read(&nodes, &["k"]).await.unwrap(), [None]);
    }
    let before = nodes.stats();
    for round in 0..20 {
        let text = round.to_string();
        assert!(matches!(write(&nodes, vec![put("k", text.clone())]).await, Ok(Ended::Committed(_))));
        for _ in 0..5 * COUNT {
            assert_eq!(read(&nodes, &["k"]).await.unwrap(), [Some(text.clone().into())]);
        }
    }
    let after = nodes.stats();
    let listed = after.calls(CallKind::List) - before.calls(CallKind::List);
    let fetched = after.calls(CallKind::Fetch) - before.calls(CallKind::Fetch);
    assert_eq!(
        (listed, fetched),
        (0, 0),
        "no node asks the store for a version that another one has written"
    );
}

#[tokio::test]
async fn attempts_near_one_text_run_on_one_node() {
    let nodes = nodes().await;
    let places = |text: &str| {
        let attempts = std::iter::repeat_with(|| fresh_begin().attempt);
        let near = attempts.take(100).filter(|attempt| nodes.is_near(*attempt, text.as_bytes()));
        near.map(|attempt| usize::from(attempt.0[15]) % COUNT).collect::<std::collections::BTreeSet<_>>()
    };
    let mut all = std::collections::BTreeSet::new();
    for text in 0..50 {
        let of_text = places(&text.to_string());
        assert_eq!(of_text.len(), 1, "one text has one node");
        all.extend(of_text);
    }
    assert_eq!(all.len(), COUNT, "every node has its texts");
}

#[tokio::test]
async fn a_request_takes_effect_once_wherever_its_attempts_run() {
    let nodes = nodes().await;
    for request in 0..20 {
        let id = request.to_string();
        let attempts = (0..10).map(|_| async {
            let begin = Begin { wait_ms: 5_000, ..begin_named(&id) };
            match nodes.begin(Box::new(begin)).await? {
                Begun::Open { attempt, .. } => {
                    run(&nodes, attempt, vec![put("k", "v")]).await?;
                    commit(&nodes, attempt, "done").await
                }
                Begun::Replayed(replayed) => Ok(Ended::Replayed(replayed)),
                reply => panic!("{reply:?}"),
            }
        });
        let ends = join_all(attempts).await;
        let committed = ends.iter().filter(|end| matches!(end, Ok(Ended::Committed(_)))).count();
        assert_eq!(committed, 1, "{ends:?}");
    }
}

#[tokio::test]
async fn serializable_sums_on_several_nodes_lose_no_update() {
    let nodes = nodes_at(Isolation::Serializable).await;
    let clients = (0..8).map(|_| async {
        let mut added = 0;
        while added < 20 {
            let ops = vec![Op::Add(crate::client::key("count"), 1)];
            let batch = Batch { ops, commit: Some(CommitArgs::default()) };
            let isolation = Some(Isolation::Serializable);
            match nodes.begin(Box::new(Begin { batch, isolation, ..fresh_begin() })).await {
                Ok(Begun::Committed { .. }) => added += 1,
                Err(Refusal::Conflict(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => panic!("{other:?}"),
            }
        }
    });
    join_all(clients).await;
    assert_eq!(read(&nodes, &["count"]).await.unwrap(), [Some("160".into())]);
}

#[tokio::test]
async fn a_drain_ends_all_nodes() {
    let nodes = nodes().await;
    // Enough that each node probably has one; the result counts them together.
    for _ in 0..10 {
        open(&nodes, fresh_begin()).await.unwrap();
    }
    assert_eq!(nodes.stats().open_transactions, 10);
    assert_eq!(nodes.drain(Duration::from_millis(50)).await, Drained { cut_off: 10 });
    assert_eq!(nodes.ready(), State::Stopped);
    assert_eq!(open(&nodes, fresh_begin()).await, Err(Refusal::NotServing));
}

#[tokio::test]
async fn an_exclusive_store_rejects_a_second_node() {
    let store = Arc::new(MemoryStore::new());
    let settings = NodeSettings::new(&store.capabilities());
    let refused = start_several(store, settings, NonZeroUsize::new(2).unwrap()).await;
    assert!(matches!(refused, Err(StartError::Settings(why)) if why.contains("one process holds")));
}
