//! The requests that the layer makes to the store: as many as docs/lambda.md says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Scene, StoreKind};

/// Returns the requests and the dollars a million in the summary of the last invocation.
fn spent_by_last(scene: &Scene) -> (u64, f64) {
    let line = scene.last_logged("aft invocation");
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
    let requests = line["store_requests"].as_u64();
    let dollars = line["store_dollars_per_million"].as_f64();
    requests.zip(dollars).unwrap_or_else(|| panic!("{line}"))
}

/// The longest time between two invocations in which the layer keeps its node.
const PAUSE: Duration = Duration::from_secs(1);

/// Invokes the handler with `event`, and returns what its invocation spent. An invocation after a
/// pause has a new node, which sends one request more: such a one is repeated.
async fn spent(scene: &Scene, event: &Value) -> (u64, f64) {
    for _ in 0..20 {
        let last = Instant::now();
        scene.ok(json!({"action": "nothing"})).await;
        scene.ok(event.clone()).await;
        if last.elapsed() < PAUSE {
            return spent_by_last(scene);
        }
    }
    panic!("two invocations always take {PAUSE:?}: {scene:?}");
}

#[tokio::test]
async fn requests_are_as_few_as_the_page_says() {
    // Nothing: the look-up and the record. A put: its entry as well, and a listing of the key,
    // which has an entry to be read where the store checks it; elsewhere the listing is left out
    // when the store's time is known well, as it is after an answer at the turn of a second. A get:
    // a listing and, where the store checks the key, the entry and the record, since the entry may
    // have changed hands.
    let checked = [("nothing", 2..=2), ("put", 5..=5), ("get", 5..=5), ("change", 6..=6)];
    let atomic = [("nothing", 2..=2), ("put", 3..=4), ("get", 3..=3), ("change", 4..=4)];
    for (kind, expected) in [
        (StoreKind::DynamoDb, &checked),
        (StoreKind::Minio, &checked),
        (StoreKind::DynamoDbReadAtomic, &atomic),
        (StoreKind::MinioReadAtomic, &atomic),
    ] {
        let Some(scene) = Scene::start(kind, "odd.handler").await else { continue };
        scene.ok(json!({"action": "put", "key": "a"})).await;
        for (action, expected) in expected {
            let event = json!({"action": action, "key": "a", "body": "1"});
            let (requests, dollars) = spent(&scene, &event).await;
            println!("{kind:?} {action}: {requests} requests, ${dollars} a million");
            assert!(expected.contains(&requests), "{kind:?} {action} {requests}: {scene:?}");
        }
        scene.stop().await;
    }
}
