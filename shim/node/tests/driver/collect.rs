//! Goal: sweeps remove superseded versions and their records. Method: two keys are written fifty
//! times by a node that sweeps, with all times divided; one version of each and one record must
//! remain.

use std::sync::Arc;
use std::time::Duration;

use aft_store::Space;
use aft_store_memory::MemoryStore;
use bytes::Bytes;

use crate::client::{node, put, read, write};

const WRITES: usize = 50;

fn count(store: &MemoryStore, space: Space) -> usize {
    store.objects().iter().filter(|(name, _)| name.space == space).count()
}

#[tokio::test]
async fn superseded_versions_are_removed() {
    let store = MemoryStore::new();
    let node = node(Arc::new(store.clone()), |settings| {
        settings.maintain = true;
        settings.time_divisor = 1_000;
        // The longest timeout, since a busy machine may delay a write for a while.
        settings.core.timeout_default_ms = settings.core.timeout_max_ms;
        settings.core.sweep_interval_ms = 50_000;
        settings.core.retention_default_ms = 0;
    })
    .await;
    for n in 0..WRITES {
        // On a busy machine a transaction may miss its timeout, which is a thousandth here.
        let puts = || vec![put("k", n.to_string()), put("l", n.to_string())];
        while write(&node, puts()).await.is_err() {}
    }
    let only_the_newest = async {
        while count(&store, Space::Version) > 2 || count(&store, Space::Commit) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), only_the_newest).await;
    let left = Space::ALL.map(|space| (space.as_str(), count(&store, space)));
    assert!(in_time.is_ok(), "{left:?} {:?}", node.stats());
    let stats = node.stats();
    assert!(stats.entries_removed >= 2 * (WRITES as u64 - 1), "{stats:?}");
    // A lower bound: the names of entries alone, and records, are longer than these sizes.
    assert!(stats.bytes_reclaimed > 70 * stats.entries_removed + 160 * stats.records_removed, "{stats:?}");
    assert!(stats.records_removed >= WRITES as u64 - 1 && stats.marks_moved > 0, "{stats:?}");
    let last = (WRITES - 1).to_string();
    assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from(last))]));
}
