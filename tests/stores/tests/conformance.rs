//! Goal: the store on S3 keeps the contract on real servers, races of 32 writers included, and
//! leaves nothing behind. Method: the conformance suite with a fresh prefix for each check, and the
//! probe that `aft store probe` runs in a store in use; scans of awkward names compared with groups
//! and lists; the server's time compared with this machine's.
//!
//! moto checks the condition first and writes afterwards, in threads: now and then two creates
//! succeed (2 of 32, in about one run of the suite in four). The race probe rejects such a server;
//! here it gets no races, and no probe.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aft_services::Service;
use aft_store::conformance;
use aft_store::{Space, Store};
use aft_store_tests::{Bucket, check_crowded_scans, check_scans, check_times, moto_stands_in_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract_on_minio() {
    check(Service::Minio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract_on_moto() {
    if !moto_stands_in_for(Service::Minio) {
        return;
    }
    let Some(bucket) = Bucket::start(Service::Moto) else { return };
    let report = conformance::run_without_races(async || bucket.fresh().await).await;
    println!("{report}");
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo xtask services --fetch ceph && cargo test --locked -p aft-store-tests --test conformance -- --ignored --nocapture"]
async fn the_store_keeps_the_contract_on_ceph() {
    check(Service::Ceph).await;
}

async fn check(service: Service) {
    let Some(bucket) = Bucket::start(service) else { return };
    let report = conformance::run(async || bucket.fresh().await).await;
    println!("{report}");
    report.assert_passed();

    // The longest prefix that is allowed, so that the longest names reach the limit of a key.
    let store = bucket.open(&bucket.url(&"p".repeat(128))).await.expect("the server runs");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_and_times_are_right_on_minio() {
    scans_and_times(Service::Minio, &[Space::Version, Space::Blob]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_and_times_are_right_on_moto() {
    if !moto_stands_in_for(Service::Minio) {
        return;
    }
    scans_and_times(Service::Moto, &[Space::Version]).await;
}

async fn scans_and_times(service: Service, spaces: &[Space]) {
    let Some(bucket) = Bucket::start(service) else { return };
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        u64::try_from(since.as_millis()).expect("it is not the far future")
    };
    check_times(&*bucket.fresh().await).await;
    check_crowded_scans(&*bucket.fresh().await).await;
    for &space in spaces {
        let start = now();
        let found = check_scans(&*bucket.fresh().await, space).await;
        for one in found {
            let written = one.written_ms.expect("a listing says it");
            // Some servers report whole seconds.
            assert!(start - 1_000 <= written && written <= now(), "{written} after {start}: {one:?}");
            assert_eq!(one.body, None);
        }
    }
}
