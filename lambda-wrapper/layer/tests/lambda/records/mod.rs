//! Goal: each record of a batch takes effect once, whatever fails beside it and however the batches
//! of later deliveries are cut. Method: the events of queues and streams, delivered as their
//! services do, to a worker that appends the name of each task to two objects: one at its
//! beginning, one at its end.

pub(crate) mod events;
mod failures;
mod runtimes;
mod times;

use std::time::Duration;

use aft_lambda_host::{Function, Invoke};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::{Scene, StoreKind};

const STORES: [StoreKind; 3] = [StoreKind::Memory, StoreKind::Minio, StoreKind::DynamoDb];
/// Stores that outlive an environment.
const SHARED: [StoreKind; 2] = [StoreKind::Minio, StoreKind::DynamoDb];

fn reporting(function: &mut Function) {
    function.environment.insert("AFT_BATCH_ITEM_FAILURES".into(), "true".into());
}

/// Starts a worker whose event source mapping reports the failures of single records.
async fn worker(kind: StoreKind) -> Option<Scene> {
    Scene::with(kind, "worker.handler", reporting).await
}

fn task(id: &str) -> Value {
    json!({ "id": id })
}

/// A task that fails until it is healed.
struct Poison {
    directory: TempDir,
}

impl Poison {
    fn new() -> Poison {
        Poison { directory: tempfile::tempdir().expect("a directory for a mark") }
    }

    fn task(&self, id: &str, trouble: &str) -> Value {
        json!({ "id": id, "trouble": trouble, "healed": self.directory.path().join("healed") })
    }

    /// A task that waits for [`Poison::go`].
    fn pausing(&self, id: &str) -> Value {
        let path = |name: &str| self.directory.path().join(name);
        json!({ "id": id, "reached": path("reached"), "go": path("go") })
    }

    fn heal(&self) {
        std::fs::write(self.directory.path().join("healed"), "").expect("a file");
    }

    async fn reached(&self) {
        for _ in 0..2_000 {
            if self.directory.path().join("reached").exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the handler does not come to its pause");
    }

    fn go(&self) {
        std::fs::write(self.directory.path().join("go"), "").expect("a file");
    }
}

async fn deliver(scene: &Scene, event: &Value) -> Result<Value, Value> {
    scene.answer(Invoke::new("function", event.to_string())).await
}

/// Delivers a batch, and returns the names of the records that the answer says have failed.
async fn failures(scene: &Scene, event: &Value) -> Vec<String> {
    let answer = deliver(scene, event).await.unwrap_or_else(|why| panic!("{why}: {scene:?}"));
    let items = answer["batchItemFailures"].as_array().unwrap_or_else(|| panic!("{answer}: {scene:?}"));
    items.iter().map(|item| item["itemIdentifier"].as_str().expect("a name").to_owned()).collect()
}

/// Checks that these tasks have taken effect, each once, whole and in this order.
async fn assert_done(scene: &Scene, tasks: &[&str]) {
    assert_eq!(scene.ok(json!({})).await, json!([tasks, tasks]), "{scene:?}");
}

/// Checks that these tasks have taken effect, each once and whole, in any order.
async fn assert_done_in_any_order(scene: &Scene, tasks: &[&str]) {
    let seen = scene.ok(json!({})).await;
    let done = seen[1].as_array().unwrap_or_else(|| panic!("{seen}: {scene:?}"));
    let mut done: Vec<&str> = done.iter().filter_map(Value::as_str).collect();
    done.sort_unstable();
    assert!(done == tasks && seen[0] == seen[1], "{seen}: {scene:?}");
}

/// Checks how many times the handler ran for each task.
fn assert_runs(scene: &Scene, runs: &[(&str, usize)]) {
    for (id, times) in runs {
        assert_eq!(scene.logged(&format!("runs {id}")), *times, "{id}: {scene:?}");
    }
}
