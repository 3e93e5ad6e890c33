//! The calls of S3 that handlers make besides the plain ones, within an invocation.

use serde_json::json;

use crate::scene::{Scene, StoreKind};

#[tokio::test]
async fn uploads_conditions_and_listings_work_within_an_invocation() {
    for kind in [StoreKind::Memory, StoreKind::DynamoDb, StoreKind::Minio, StoreKind::Split, StoreKind::Shim]
    {
        let Some(scene) = Scene::start(kind, "odd.handler").await else { continue };
        for (event, answer) in [
            (json!({"action": "upload", "key": "large"}), json!(9 << 20)),
            (json!({"action": "claim", "key": "lock", "id": "one"}), json!("claimed")),
            (json!({"action": "claim", "key": "lock", "id": "two"}), json!("PreconditionFailed")),
            (json!({"action": "get", "key": "lock"}), json!("one")),
            (json!({"action": "put", "key": "in/a", "body": "1"}), json!("put")),
            (json!({"action": "put", "key": "in/b", "body": "2"}), json!("put")),
            (json!({"action": "report"}), json!(["1", "2"])),
            (json!({"action": "get", "key": "report"}), json!("1+2")),
        ] {
            assert_eq!(scene.ok(event).await, answer, "{scene:?}");
        }
        scene.stop().await;
    }
}
