//! Records that fail: the others take effect, and a redelivery runs the failed ones only.

use aft_lambda_host::Function;
use serde_json::Value;

use super::events::{dynamodb_streams, fifo, kinesis, sqs};
use super::{Poison, STORES, assert_done, assert_runs, deliver, failures, task, worker};
use crate::scene::{Scene, StoreKind};

#[tokio::test]
async fn a_poison_record_fails_alone() {
    for kind in STORES {
        let Some(scene) = worker(kind).await else { continue };
        let poison = Poison::new();
        let c = poison.task("c", "raise");
        let batch = sqs(&[task("a"), task("b"), c.clone(), task("d"), task("e")]);
        assert_eq!(failures(&scene, &batch).await, ["c"], "{scene:?}");
        assert_done(&scene, &["a", "b", "d", "e"]).await;
        let summary: Value = serde_json::from_str(&scene.last_logged("aft batch")).expect("a line of JSON");
        let count = |name: &str| summary[name].as_u64().expect("a number");
        let names = ["records", "committed", "already_committed", "failed", "not_run"];
        assert_eq!(names.map(count), [5, 4, 0, 1, 0], "{summary}");

        // It comes again with two that have committed: the handler does not see those.
        assert_eq!(failures(&scene, &sqs(&[task("e"), c.clone(), task("a")])).await, ["c"], "{scene:?}");
        assert_runs(&scene, &[("a", 1), ("b", 1), ("c", 2), ("d", 1), ("e", 1)]);
        // Batches are cut differently.
        poison.heal();
        assert!(failures(&scene, &sqs(&[task("d")])).await.is_empty(), "{scene:?}");
        assert!(failures(&scene, &sqs(&[task("b"), c, task("f"), task("e")])).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["a", "b", "d", "e", "c", "f"]).await;
        assert_runs(&scene, &[("a", 1), ("b", 1), ("c", 3), ("d", 1), ("e", 1), ("f", 1)]);
        assert_eq!(scene.logged("records 1"), 8, "one record an event: {scene:?}");
        scene.stop().await;
    }
}

#[tokio::test]
async fn without_reports_the_batch_throws_and_only_the_failed_record_runs_again() {
    for kind in STORES {
        let Some(scene) = Scene::start(kind, "worker.handler").await else { continue };
        let poison = Poison::new();
        let batch = sqs(&[task("a"), poison.task("b", "raise"), task("c")]);
        let why = deliver(&scene, &batch).await.expect_err("a record failed");
        assert_eq!(why["errorType"], "Aft.RecordsFailed", "{why}");
        let message = why["errorMessage"].as_str().expect("a message");
        assert!(message.contains("1 of 3") && message.contains("ValueError: cannot do b"), "{message}");
        assert_done(&scene, &["a", "c"]).await;
        poison.heal();
        assert!(failures(&scene, &batch).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["a", "c", "b"]).await;
        assert_runs(&scene, &[("a", 1), ("b", 2), ("c", 1)]);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_group_of_a_fifo_queue_keeps_its_order() {
    for kind in STORES {
        let Some(scene) = worker(kind).await else { continue };
        let poison = Poison::new();
        let batch = fifo(&[
            ("x", task("x1")),
            ("y", task("y1")),
            ("x", poison.task("x2", "raise")),
            ("x", task("x3")),
            ("y", task("y2")),
        ]);
        assert_eq!(failures(&scene, &batch).await, ["x2", "x3"], "{scene:?}");
        assert_done(&scene, &["x1", "y1", "y2"]).await;
        assert_runs(&scene, &[("x3", 0)]);
        poison.heal();
        let again = fifo(&[("x", poison.task("x2", "raise")), ("x", task("x3")), ("x", task("x4"))]);
        assert!(failures(&scene, &again).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["x1", "y1", "y2", "x2", "x3", "x4"]).await;
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_stream_stops_at_the_first_failure() {
    for (kind, stream) in [
        (StoreKind::Memory, kinesis as fn(&[Value]) -> Value),
        (StoreKind::DynamoDb, kinesis),
        (StoreKind::Memory, dynamodb_streams),
        (StoreKind::Minio, dynamodb_streams),
    ] {
        let Some(scene) = worker(kind).await else { continue };
        let poison = Poison::new();
        let tasks = [task("1"), task("2"), poison.task("3", "raise"), task("4"), task("5")];
        assert_eq!(failures(&scene, &stream(&tasks)).await, ["3"], "{scene:?}");
        assert_done(&scene, &["1", "2"]).await;
        assert_runs(&scene, &[("4", 0), ("5", 0)]);
        poison.heal();
        // The shard goes on at the record that failed, or before it after a bisection.
        assert!(failures(&scene, &stream(&tasks[1..4])).await.is_empty(), "{scene:?}");
        assert!(failures(&scene, &stream(&tasks[3..])).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["1", "2", "3", "4", "5"]).await;
        assert_runs(&scene, &[("1", 1), ("2", 1), ("3", 2), ("4", 1), ("5", 1)]);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_record_that_the_handler_reports_leaves_nothing() {
    for kind in STORES {
        let Some(scene) = worker(kind).await else { continue };
        let poison = Poison::new();
        let batch = sqs(&[task("a"), poison.task("b", "report"), task("c")]);
        assert_eq!(failures(&scene, &batch).await, ["b"], "{scene:?}");
        assert_done(&scene, &["a", "c"]).await;
        poison.heal();
        assert!(failures(&scene, &sqs(&[poison.task("b", "report")])).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["a", "c", "b"]).await;
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_setting_makes_one_transaction_of_a_batch() {
    let whole = |function: &mut Function| {
        function.environment.insert("AFT_RECORDS".into(), "batch".into());
    };
    let Some(scene) = Scene::with(StoreKind::Memory, "worker.handler", whole).await else { return };
    let poison = Poison::new();
    let batch = sqs(&[task("a"), poison.task("b", "raise")]);
    let why = deliver(&scene, &batch).await.expect_err("the handler raises");
    assert_eq!(why["errorType"], "ValueError", "{why}");
    assert_done(&scene, &[]).await;
    poison.heal();
    assert!(failures(&scene, &batch).await.is_empty(), "{scene:?}");
    assert_done(&scene, &["a", "b"]).await;
    assert_eq!((scene.logged("records 2"), scene.logged("records 1")), (2, 0), "{scene:?}");
    scene.stop().await;
}
