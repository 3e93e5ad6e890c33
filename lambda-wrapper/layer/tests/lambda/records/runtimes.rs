//! Runtimes that do seldom things with records: only the batch is answered, whatever they do.

use aft_lambda_host::Function;
use serde_json::{Value, json};

use super::events::sqs;
use super::{failures, reporting};
use crate::scene::{Scene, StoreKind};

/// Makes a function one with the runtime that has no library.
fn raw(function: &mut Function) {
    reporting(function);
    function.command[1..].clone_from_slice(&["-u".into(), "raw.py".into(), String::new()]);
    function.command.pop();
}

/// Makes a batch for the runtime without a library, whose records hold events.
fn raw_batch(actions: &[&str]) -> Value {
    let tasks =
        actions.iter().enumerate().map(|(at, action)| json!({ "id": format!("{at}"), "action": action }));
    sqs(&tasks.collect::<Vec<_>>())
}

#[tokio::test]
async fn only_the_batch_is_answered() {
    let Some(scene) = Scene::with(StoreKind::Memory, "raw", raw).await else { return };
    // This runtime answers each record twice, and writes between the two.
    let event = raw_batch(&["twice", "twice", "nothing"]);
    assert!(failures(&scene, &event).await.is_empty(), "{scene:?}");
    assert_eq!(scene.logged("late 400 second 202"), 2, "{scene:?}");
    for (key, status) in [("twice", 200), ("between", 404)] {
        let read = scene.ok(json!({"action": "read", "key": key})).await;
        assert_eq!(read[0], status, "{key}: {scene:?}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_record_without_an_answer_fails_alone() {
    let Some(scene) = Scene::with(StoreKind::Memory, "raw", raw).await else { return };
    assert_eq!(failures(&scene, &raw_batch(&["nothing", "silent", "nothing"])).await, ["1"], "{scene:?}");
    let read = scene.ok(json!({"action": "read", "key": "silent"})).await;
    assert_eq!(read[0], 404, "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn records_have_the_headers_of_their_batch() {
    let Some(scene) = Scene::with(StoreKind::Memory, "raw", raw).await else { return };
    assert!(failures(&scene, &raw_batch(&["show", "show"])).await.is_empty(), "{scene:?}");
    let mut shown: Vec<Value> = Vec::new();
    for line in scene.lines("headers {") {
        shown.push(serde_json::from_str(line.trim_start_matches("headers ")).expect("it is JSON"));
    }
    let [one, two] = shown.as_slice() else { panic!("{shown:?}: {scene:?}") };
    for name in ["lambda-runtime-aws-request-id", "lambda-runtime-deadline-ms", "lambda-runtime-trace-id"] {
        assert!(one[name].is_string() && one[name] == two[name], "{name}: {shown:?}");
    }
    let name = "lambda-runtime-invocation-id";
    assert!(one[name].is_string() && two[name].is_string() && one[name] != two[name], "{shown:?}");
    scene.stop().await;
}
