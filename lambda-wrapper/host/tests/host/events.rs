//! Events: retries, duplicates, and throttling.

use std::fs;

use aft_lambda_host::{Config, Delivery, Function, Invoke, Stage};
use serde_json::json;

use crate::support::{Scene, check_failed, function, lines, start_with, until, within};

async fn scene(function: Function) -> Scene {
    let mut config = Config::of(vec![function]);
    // The pauses are 10 ms and 20 ms.
    config.pause_divisor = 6_000;
    start_with(config).await
}

#[tokio::test]
async fn an_event_is_retried_with_its_request_id() {
    let scene = scene(function()).await;
    let log = scene.file("log");
    let event = json!({ "log": log, "fail_below": 3 }).to_string();
    let mut queued = scene.host.send(Invoke::new("f", event), Delivery::Once).unwrap();
    let end = within(queued.end()).await.unwrap();
    assert_eq!((end.attempts, end.throttled), (3, 0));
    assert!(end.last.unwrap().is_ok());
    let id = queued.request_id.as_str();
    assert_eq!(lines(&log, 3).await, [id, id, id]);
    assert!(within(queued.end()).await.is_none(), "it was delivered once");
}

#[tokio::test]
async fn an_event_without_retries_left_is_dropped() {
    let mut function = function();
    function.retries = 1;
    let scene = scene(function).await;
    let event = Invoke::new("f", json!({ "fail": "always" }).to_string()).request_id("e-1");
    let mut queued = scene.host.send(event, Delivery::Once).unwrap();
    let end = within(queued.end()).await.unwrap();
    assert_eq!(end.attempts, 2);
    check_failed(&end.last.unwrap(), "ValueError", "always");
    let dropped = "the event e-1 is dropped after 2 attempts: it has no retries left";
    assert!(scene.text().iter().any(|line| line == dropped));
}

#[tokio::test]
async fn a_crash_is_retried_too() {
    let mut function = function();
    function.retries = 1;
    let scene = scene(function).await;
    let log = scene.file("log");
    let event = json!({ "log": log, "exit": 1 }).to_string();
    let mut queued = scene.host.send(Invoke::new("f", event), Delivery::Once).unwrap();
    assert_eq!(within(queued.end()).await.unwrap().attempts, 2);
    assert_eq!(lines(&log, 2).await.len(), 2);
}

#[tokio::test]
async fn a_throttled_event_waits_for_its_turn() {
    let mut function = function();
    (function.concurrency, function.retries) = (1, 0);
    let scene = scene(function).await;
    let go = scene.file("go");
    let blocking = scene.host.invoke(Invoke::new("f", json!({ "wait": go }).to_string()));
    let story = async {
        scene.stages(vec![Stage::Busy]).await;
        let mut queued = scene.host.send(Invoke::new("f", "{}"), Delivery::Once).unwrap();
        let is_throttled = |line: &String| line.contains("was throttled; it is retried after");
        until(|| scene.text().iter().any(is_throttled).then_some(())).await;
        fs::write(&go, "").unwrap();
        queued.end().await.unwrap()
    };
    let (blocking, end) = within(async { tokio::join!(blocking, story) }).await;
    assert!(blocking.unwrap().is_ok());
    assert!(end.last.unwrap().is_ok());
    assert!(end.throttled > 0);
    assert_eq!(end.attempts, 1, "throttling uses up no retry");
}

#[tokio::test]
async fn a_duplicate_runs_at_the_same_time_with_the_same_request_id() {
    let scene = scene(function()).await;
    let (log, go) = (scene.file("log"), scene.file("go"));
    let event = json!({ "log": log, "wait": go }).to_string();
    let mut queued = scene.host.send(Invoke::new("f", event), Delivery::TwiceAtOnce).unwrap();
    scene.stages(vec![Stage::Busy, Stage::Busy]).await;
    let id = queued.request_id.as_str();
    assert_eq!(lines(&log, 2).await, [id, id]);
    fs::write(&go, "").unwrap();
    let one = within(queued.end()).await.unwrap().last.unwrap();
    let other = within(queued.end()).await.unwrap().last.unwrap();
    assert!(one.is_ok() && other.is_ok() && one.environment != other.environment);
}

#[tokio::test]
async fn a_duplicate_may_come_afterwards() {
    let scene = scene(function()).await;
    let log = scene.file("log");
    let event = json!({ "log": log }).to_string();
    let mut queued = scene.host.send(Invoke::new("f", event), Delivery::TwiceInTurn).unwrap();
    for _ in 0..2 {
        assert!(within(queued.end()).await.unwrap().last.unwrap().is_ok());
    }
    let id = queued.request_id.as_str();
    assert_eq!(lines(&log, 2).await, [id, id]);
    assert_eq!(scene.host.environments().len(), 1);
}
