//! The requests that the layer makes to the store: as many as docs/lambda.md says.

use serde_json::{Value, json};

use crate::scene::{Scene, StoreKind};

/// Returns the number of requests in the summary of the last invocation.
fn requests_of_last(scene: &Scene) -> u64 {
    let line = scene.last_logged("aft invocation");
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
    line["store_requests"].as_u64().unwrap_or_else(|| panic!("{line}"))
}

#[tokio::test]
async fn requests_are_as_few_as_the_page_says() {
    for kind in [StoreKind::DynamoDb, StoreKind::Minio] {
        let Some(scene) = Scene::start(kind, "odd.handler").await else { continue };
        scene.ok(json!({"action": "put", "key": "warm"})).await;
        let mut seen = Vec::new();
        for event in [
            json!({"action": "nothing"}),
            json!({"action": "put", "key": "a", "body": "1"}),
            json!({"action": "get", "key": "a"}),
            json!({"action": "get", "key": "a"}),
            json!({"action": "change", "key": "a"}),
            json!({"action": "get", "key": "none"}),
        ] {
            scene.ok(event.clone()).await;
            seen.push((event["action"].as_str().expect("an action").to_owned(), requests_of_last(&scene)));
        }
        println!("{kind:?}: {seen:?}");
        scene.stop().await;
    }
}
