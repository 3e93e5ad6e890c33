//! Goal: the reference store keeps to the contract. Method: the conformance suite, on fresh stores
//! and as a guest on a store that holds data, where it must leave nothing behind.

use std::sync::Arc;

use aft_store::{Name, Space, Store, conformance};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_to_the_contract() {
    for piece_bytes in [usize::MAX, 1_000] {
        let open = async || Arc::new(MemoryStore::new().in_pieces(piece_bytes)) as Arc<dyn Store>;
        conformance::run(open).await.assert_passed();
    }
}

#[tokio::test]
async fn a_probe_leaves_nothing_behind() {
    let store = MemoryStore::new();
    for space in Space::ALL {
        store.put(&Name::new(space, "a user's", "data"), Bytes::from("kept")).await.unwrap();
    }
    let before = store.objects();
    conformance::probe(Arc::new(store.clone())).await.assert_passed();
    conformance::race_probe(Arc::new(store.clone()), 40, 3).await.assert_passed();
    assert_eq!(store.objects(), before);
}
