//! The requests that the layer makes to the store: as many as docs/lambda.md says.

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

#[tokio::test]
async fn requests_are_as_few_as_the_page_says() {
    // Nothing: the look-up and the record. A put: its entry as well, and a listing of the key,
    // which has an entry to be read where the store checks it. A get: a listing and, where the
    // store checks the key, the entry and the record, since the entry may have changed hands.
    let checked = [("nothing", 2), ("put", 5), ("get", 5), ("change", 6)];
    let atomic = [("nothing", 2), ("put", 4), ("get", 3), ("change", 4)];
    for (kind, expected) in [
        (StoreKind::DynamoDb, checked),
        (StoreKind::Minio, checked),
        (StoreKind::DynamoDbReadAtomic, atomic),
        (StoreKind::MinioReadAtomic, atomic),
    ] {
        let Some(scene) = Scene::start(kind, "odd.handler").await else { continue };
        scene.ok(json!({"action": "put", "key": "a"})).await;
        let mut seen = Vec::new();
        for (action, _) in expected {
            scene.ok(json!({"action": action, "key": "a", "body": "1"})).await;
            let (requests, dollars) = spent_by_last(&scene);
            println!("{kind:?} {action}: {requests} requests, ${dollars} a million");
            seen.push((action, requests));
        }
        assert_eq!(seen, expected, "{kind:?}: {scene:?}");
        scene.stop().await;
    }
}
