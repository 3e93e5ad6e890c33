//! Goal: a store made of two keeps the contract as one. Method: the conformance suite over two
//! stores in memory, with equal abilities and with those of DynamoDB and S3.

use std::sync::Arc;

use aft_store::{Capabilities, Space, Store, conformance};
use aft_store_memory::MemoryStore;
use aft_store_split::SplitStore;

async fn check(records: impl Fn() -> MemoryStore, blobs: impl Fn() -> MemoryStore) {
    let make = async || Arc::new(SplitStore::new(Arc::new(records()), Arc::new(blobs()))) as Arc<dyn Store>;
    let report = conformance::run(make).await;
    println!("{report}");
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_equal_stores_keep_the_contract() {
    check(MemoryStore::new, MemoryStore::new).await;
}

/// The parts are larger than the largest record, and one of the stores cannot delete by tag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_of_unequal_abilities_keep_the_contract() {
    let base = MemoryStore::shared().capabilities();
    let small = Capabilities { body_bytes_max: 400_000, blob_part_bytes: 256 << 10, grace_ms: 1, ..base };
    let large = Capabilities { delete_if: false, ..base };
    check(
        || MemoryStore::shared().with_capabilities(small.clone()),
        || MemoryStore::shared().with_capabilities(large.clone()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_leaves_nothing_behind() {
    let (records, blobs) = (MemoryStore::shared(), MemoryStore::shared());
    let store = SplitStore::new(Arc::new(records.clone()), Arc::new(blobs.clone()));
    conformance::probe(Arc::new(store.clone())).await.assert_passed();
    for space in Space::ALL {
        assert!(store.groups(space, b"", None, 1).await.unwrap().groups.is_empty(), "{space:?}");
    }
    assert!(records.objects().is_empty() && blobs.objects().is_empty());
}
