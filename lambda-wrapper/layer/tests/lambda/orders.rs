//! Orders take effect once, and those that fail leave nothing: over each kind of store, and through
//! a shim.

use aft_lambda_host::Invoke;
use serde_json::{Value, json};

use crate::scene::{Scene, StoreKind};

async fn scenes(check: impl AsyncFn(&Scene)) {
    for kind in [StoreKind::Memory, StoreKind::Minio, StoreKind::DynamoDb, StoreKind::Shim] {
        let Some(scene) = Scene::start(kind, "shop.handler").await else { continue };
        check(&scene).await;
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_order_takes_effect_once() {
    scenes(async |scene| {
        scene.ok(json!({"action": "fill", "left": 5})).await;
        let order = |id: &str, request: &str| {
            Invoke::new("function", json!({"action": "order", "id": id}).to_string()).request_id(request)
        };
        assert_eq!(scene.answer(order("a", "r-1")).await, Ok(json!({"left": 4})));
        // The same request again gets the same answer, and the handler does not run.
        assert_eq!(scene.answer(order("a", "r-1")).await, Ok(json!({"left": 4})), "{scene:?}");
        assert_eq!(scene.answer(order("b", "r-2")).await, Ok(json!({"left": 3})), "{scene:?}");
        let seen = scene.ok(json!({"action": "look"})).await;
        assert_eq!(seen, json!({"stock": {"left": 3}, "orders": ["orders/a", "orders/b"]}), "{scene:?}");
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_fails_leaves_nothing() {
    scenes(async |scene| {
        scene.ok(json!({"action": "fill", "left": 5})).await;
        let order = |fail: &str| {
            let event = json!({"action": "order", "id": "a", "fail": fail}).to_string();
            Invoke::new("function", event).request_id("r-1")
        };
        let why = scene.answer(order("between")).await.unwrap_err();
        assert_eq!(why["errorType"], "RuntimeError", "{why}");
        if scene.is_shared() {
            for fail in ["exit", "hang"] {
                let why = scene.answer(order(fail)).await.unwrap_err();
                assert_ne!(why["errorType"], Value::Null, "{fail}: {why}");
            }
        }
        let seen = scene.ok(json!({"action": "look"})).await;
        assert_eq!(seen, json!({"stock": {"left": 5}, "orders": []}), "{scene:?}");
        // The retry of the request runs, and takes effect.
        let event = json!({"action": "order", "id": "a"}).to_string();
        let retry = Invoke::new("function", event).request_id("r-1");
        let why = scene.answer(retry).await;
        assert_eq!(why, Ok(json!({"left": 4})), "{scene:?}");
    })
    .await;
}
