//! Answers, errors, sizes, streams, concurrency.

use std::fs;

use aft_lambda_host::{Invoke, InvokeError, Stage};
use serde_json::json;

use crate::support::{check_failed, function, json, lines, program, start, within};

#[tokio::test]
async fn invocations_in_turn_share_an_environment() {
    let scene = start(function()).await;
    let mut nonces = Vec::new();
    let mut pids = Vec::new();
    for turn in 0..3 {
        let invoked = scene.invoke(json!({ "turn": turn })).await;
        let answer = json(&invoked);
        let headers = &answer["headers"];
        assert_eq!(answer["event"]["turn"], turn);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["lambda-runtime-aws-request-id"], invoked.request_id);
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:f";
        assert_eq!(headers["lambda-runtime-invoked-function-arn"], arn);
        assert!(headers["lambda-runtime-trace-id"].as_str().unwrap().starts_with("Root=1-"));
        assert!(headers["lambda-runtime-deadline-ms"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        nonces.push(headers["lambda-runtime-invocation-id"].to_string());
        pids.push(answer["pid"].to_string());
    }
    nonces.dedup();
    pids.dedup();
    assert_eq!((nonces.len(), pids.len()), (3, 1), "{nonces:?} {pids:?}");
    assert_eq!(scene.host.environments().len(), 1);
}

#[tokio::test]
async fn variables_are_lambdas_and_the_functions_own() {
    let mut function = function();
    function.environment.insert("MINE".into(), "own".into());
    function.wrapper = Some(program("wrapper.sh"));
    let wrapper = program("wrapper.sh").display().to_string();
    let scene = start(function).await;
    let variables = json(&scene.invoke(json!({})).await)["variables"].clone();
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/f"),
        ("AWS_LAMBDA_EXEC_WRAPPER", &wrapper),
        ("_HANDLER", "handler.handler"),
        ("MINE", "own"),
        ("ADDED", "by-the-wrapper"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    assert!(variables.get("HOME").is_none(), "nothing is inherited");
}

#[tokio::test]
async fn an_error_of_the_handler_is_the_answer() {
    let scene = start(function()).await;
    let failed = scene.invoke(json!({ "fail": "no stock" })).await;
    check_failed(&failed, "ValueError", "no stock");
    let after = scene.invoke(json!({})).await;
    assert!(after.is_ok() && after.environment == failed.environment, "the environment goes on");
}

#[tokio::test]
async fn a_response_has_at_most_six_mib() {
    const MIB_6: usize = 6 << 20;
    let scene = start(function()).await;
    let status = scene.file("status");
    let whole = scene.invoke(json!({ "bytes": MIB_6, "status": status })).await;
    assert!(whole.is_ok() && whole.payload.len() == MIB_6);
    let over = scene.invoke(json!({ "bytes": MIB_6 + 101, "status": status })).await;
    let message = "exceeded maximum allowed payload size (6291556 bytes).";
    check_failed(&over, "Function.ResponseSizeTooLarge", message);
    assert_eq!(lines(&status, 2).await, ["202", "413"]);
    let after = scene.invoke(json!({})).await;
    assert_eq!(after.environment, over.environment, "the runtime goes on");
}

#[tokio::test]
async fn a_stream_arrives_whole_or_with_the_error_behind_it() {
    let scene = start(function()).await;
    let streamed = scene.invoke(json!({ "stream": ["one ", "two ", "three"] })).await;
    assert!(streamed.is_ok());
    assert_eq!(
        (&*streamed.payload, streamed.content_type.as_deref()),
        (&b"one two three"[..], Some("text/plain"))
    );
    let broken = scene.invoke(json!({ "stream": ["one "], "broken": "the rest is lost" })).await;
    check_failed(&broken, "Late", "the rest is lost");
}

#[tokio::test]
async fn invocations_at_once_get_environments_up_to_the_limit() {
    let mut function = function();
    function.concurrency = 2;
    let scene = start(function).await;
    let go = scene.file("go");
    let event = json!({ "wait": go }).to_string();
    // Both have the same request ID, as duplicates do.
    let invoke = || scene.host.invoke(Invoke::new("f", event.clone()).request_id("twice"));
    let story = async {
        scene.stages(vec![Stage::Busy, Stage::Busy]).await;
        let throttled = scene.host.invoke(Invoke::new("f", "{}")).await;
        assert_eq!(throttled, Err(InvokeError::Throttled));
        fs::write(&go, "").unwrap();
    };
    let (one, other, ()) = within(async { tokio::join!(invoke(), invoke(), story) }).await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is_ok() && other.is_ok());
    assert_ne!(one.environment, other.environment);
    assert_eq!((one.request_id.as_str(), other.request_id.as_str()), ("twice", "twice"));
    let nonce = |invoked| json(invoked)["headers"]["lambda-runtime-invocation-id"].clone();
    assert_ne!(nonce(&one), nonce(&other), "attempts differ in their nonce alone");
}

#[tokio::test]
async fn an_invocation_goes_on_without_its_caller() {
    let scene = start(function()).await;
    let (go, log) = (scene.file("go"), scene.file("log"));
    let event = json!({ "wait": go, "status": log }).to_string();
    {
        let mut invoked = std::pin::pin!(scene.host.invoke(Invoke::new("f", event)));
        tokio::select! {
            _ = &mut invoked => panic!("it waits"),
            _ = scene.stages(vec![Stage::Busy]) => {}
        }
    }
    fs::write(&go, "").unwrap();
    assert_eq!(lines(&log, 1).await, ["202"]);
    scene.stages(vec![Stage::Idle]).await;
}
