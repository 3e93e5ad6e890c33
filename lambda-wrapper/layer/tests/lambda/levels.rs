//! A store whose description changes under a function that runs.

use aft_core::message::Isolation;
use serde_json::json;

use crate::scene::{Scene, StoreKind};

#[tokio::test]
async fn a_function_goes_on_after_the_levels_of_the_store_were_changed() {
    let Some(mut scene) = Scene::start(StoreKind::Minio, "odd.handler").await else { return };
    scene.ok(json!({"action": "put", "key": "a", "body": "1"})).await;
    scene.change_level("other/", Isolation::ReadAtomic).await;
    // After a pause the node is another one, which finds other levels than those it was started
    // with, and stops. What it was doing fails, and the next event finds a node that knows them.
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        let event = json!({"action": "put", "key": "b", "body": "2"}).to_string();
        outcomes.push(scene.answer(aft_lambda_host::Invoke::new("function", event)).await.is_ok());
    }
    assert_eq!(outcomes.last(), Some(&true), "{outcomes:?}: {scene:?}");
    assert_eq!(scene.ok(json!({"action": "get", "key": "a"})).await, "1", "{scene:?}");
    assert_eq!(scene.ok(json!({"action": "get", "key": "b"})).await, "2", "{scene:?}");
    scene.stop().await;
}
