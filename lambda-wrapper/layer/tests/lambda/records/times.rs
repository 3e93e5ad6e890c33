//! Batches without enough time, without a runtime, without a store, and beside each other.

use std::time::Duration;

use aft_lambda_host::Function;
use serde_json::{Value, json};

use super::events::sqs;
use super::{
    Poison, SHARED, assert_done, assert_done_in_any_order, assert_runs, deliver, failures, reporting, task,
    worker,
};
use crate::scene::{Scene, StoreKind};

/// The most deliveries of a batch: a service that gives up would hide a fault.
const DELIVERIES_MAX: usize = 10;

#[tokio::test]
async fn records_that_do_not_fit_into_the_time_come_again() {
    for kind in [StoreKind::Memory, StoreKind::DynamoDb] {
        let Some(scene) = worker(kind).await else { continue };
        let ids = ["a", "b", "c", "d", "e"];
        // The first one is the longest, so the others surely end in the time that is left for each.
        let slow = |id: &&str| json!({ "id": id, "seconds": if *id == "a" { 2.0 } else { 1.0 } });
        let mut left: Vec<String> = ids.map(String::from).to_vec();
        let mut deliveries = 0;
        while !left.is_empty() {
            let tasks: Vec<Value> =
                ids.iter().filter(|id| left.iter().any(|of| of == *id)).map(slow).collect();
            let failed = failures(&scene, &sqs(&tasks)).await;
            assert!(failed.len() < left.len(), "each delivery leads on: {failed:?}: {scene:?}");
            left = failed;
            deliveries += 1;
        }
        assert!(deliveries > 1, "they do not fit into six seconds: {scene:?}");
        assert_done(&scene, &ids).await;
        assert_runs(&scene, &ids.map(|id| (id, 1)));
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_handler_that_exits_costs_a_delivery() {
    for kind in SHARED {
        let Some(scene) = worker(kind).await else { continue };
        let poison = Poison::new();
        let batch = sqs(&[task("a"), poison.task("b", "exit"), task("c")]);
        let why = deliver(&scene, &batch).await.expect_err("the runtime ended");
        assert!(why.to_string().contains("Runtime.ExitError"), "{why}");
        assert_done(&scene, &["a"]).await;
        poison.heal();
        assert!(failures(&scene, &batch).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["a", "b", "c"]).await;
        assert_runs(&scene, &[("a", 1), ("b", 2), ("c", 1)]);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_record_whose_commit_comes_too_late_comes_again() {
    // Another environment has to start meanwhile.
    let patient = |function: &mut Function| {
        reporting(function);
        function.timeout = Duration::from_secs(30);
    };
    for kind in SHARED {
        let Some(scene) = Scene::with(kind, "worker.handler", patient).await else { continue };
        let pause = Poison::new();
        let batch = sqs(&[task("a"), pause.pausing("b"), task("c")]);
        // Another environment writes what the second record has read.
        let other = async {
            pause.reached().await;
            assert!(failures(&scene, &sqs(&[task("x")])).await.is_empty(), "{scene:?}");
            pause.go();
        };
        let (failed, ()) = tokio::join!(failures(&scene, &batch), other);
        assert_eq!(failed, ["b"], "{scene:?}");
        assert!(failures(&scene, &batch).await.is_empty(), "{scene:?}");
        assert_done(&scene, &["a", "x", "c", "b"]).await;
        assert_runs(&scene, &[("a", 1), ("b", 2), ("c", 1), ("x", 1)]);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_record_whose_commit_has_no_answer_is_found_by_its_redelivery() {
    let Some(mut scene) = worker(StoreKind::Minio).await else { return };
    let pause = Poison::new();
    let batch = sqs(&[task("a"), pause.pausing("b"), task("c")]);
    let server = scene.take_server();
    let paused = async {
        pause.reached().await;
        let paused = tokio::task::spawn_blocking(move || {
            let mut server = server;
            server.pause();
            server
        });
        let server = paused.await.expect("a server can be paused");
        pause.go();
        server
    };
    // The batch is answered within its time all the same.
    let (failed, mut server) = tokio::join!(failures(&scene, &batch), paused);
    assert_eq!(failed, ["b", "c"], "{scene:?}");
    server.resume();
    scene.give_server(server);
    // The store may take the commit in doubt only now, and so before that of the redelivery: the
    // delivery after that finds it.
    let mut deliveries = 0;
    while !failures(&scene, &batch).await.is_empty() {
        deliveries += 1;
        assert!(deliveries < DELIVERIES_MAX, "{scene:?}");
    }
    assert_done_in_any_order(&scene, &["a", "b", "c"]).await;
    assert_runs(&scene, &[("a", 1)]);
    scene.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_delivered_twice_at_once_takes_effect_once() {
    for kind in SHARED {
        let Some(scene) = worker(kind).await else { continue };
        let batch = sqs(&[task("a"), task("b"), task("c")]);
        let other = sqs(&[task("c"), task("b"), task("a")]);
        let (mut one, mut two) = tokio::join!(failures(&scene, &batch), failures(&scene, &other));
        for _ in 0..DELIVERIES_MAX {
            if one.is_empty() && two.is_empty() {
                break;
            }
            (one, two) = (failures(&scene, &batch).await, failures(&scene, &other).await);
        }
        assert!(one.is_empty() && two.is_empty(), "{one:?} {two:?}: {scene:?}");
        assert_done_in_any_order(&scene, &["a", "b", "c"]).await;
        scene.stop().await;
    }
}
