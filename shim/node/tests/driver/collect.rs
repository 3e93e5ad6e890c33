//! Garbage goes: the maintainer of a running node, with all times divided, leaves one version of a key that was written fifty times.
//! The slim records go at the next whole minute after their retention, which is not waited for here: minutes are not divided.

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
async fn superseded_versions_go() {
    let store = MemoryStore::new();
    let node = node(Arc::new(store.clone()), |settings| settings.time_divisor = 1_000).await;
    for n in 0..WRITES {
        write(&node, vec![put("k", n.to_string())]).await.unwrap();
    }
    let only_the_newest = async {
        while count(&store, Space::Version) + count(&store, Space::Intent) > 1
            || node.stats().collected + 1 < WRITES as u64
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), only_the_newest).await;
    let left = Space::ALL.map(|space| (space.as_str(), count(&store, space)));
    assert!(in_time.is_ok(), "{left:?} {:?}", node.stats());
    let last = (WRITES - 1).to_string();
    assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from(last))]));
}
