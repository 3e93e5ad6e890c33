//! Goal: the store on S3 keeps to the contract on real servers, races of 32 writers included, and leaves nothing behind. Method: the
//! conformance suite on a fresh prefix for each check, and the probe that `aft store probe` runs as a guest.

use std::sync::Arc;

use aft_services::Service;
use aft_store::{Space, Store, conformance};
use aft_store_tests::Bucket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_minio() {
    check(Service::Minio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_moto() {
    check(Service::Moto).await;
}

async fn check(service: Service) {
    let Some(bucket) = Bucket::start(service) else { return };
    let report = conformance::run(async || bucket.fresh().await).await;
    println!("{report}");
    report.assert_passed();

    // The longest prefix that there may be, so that the longest names meet the limit of a key.
    let store = bucket.open(&bucket.url(&"p".repeat(128))).await.expect("the server runs");
    println!("{store:?}");
    let report = conformance::probe(store.clone()).await;
    println!("{report}");
    report.assert_passed();
    leaves_nothing(store).await;
}

async fn leaves_nothing(store: Arc<dyn Store>) {
    for space in Space::ALL {
        let page = store.groups(space, b"", None, 10).await.expect("the server runs");
        assert!(page.groups.is_empty(), "{space:?}: {page:?}");
    }
}
