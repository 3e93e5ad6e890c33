//! The Invoke API, as SDKs see it.

use std::net::SocketAddr;

use aft_lambda_host::Stage;
use serde_json::json;

use crate::client::{Answer, call};
use crate::support::{function, lines, start};

async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    call(address, "POST", path, headers, body).await
}

fn path(function: &str) -> String {
    format!("/2015-03-31/functions/{function}/invocations")
}

#[tokio::test]
async fn an_invocation_is_answered_as_by_lambda() {
    let scene = start(function()).await;
    let address = scene.host.address();
    let context = ("x-amz-client-context", "eyJjdXN0b20iOnsiYSI6MX19");
    let headers = [context, ("x-amzn-requestid", "mine"), ("x-amz-log-type", "Tail")];
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af%3Alive";
    for name in ["f", arn, "f?Qualifier=live"] {
        let path = path(name).replace("?Qualifier=live/invocations", "/invocations?Qualifier=live");
        let answer = post(address, &path, &headers, b"{\"a\": 1}").await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(answer.json()["event"]["a"], 1);
        let got = &answer.json()["headers"];
        assert_eq!(got["lambda-runtime-client-context"], r#"{"custom":{"a":1}}"#);
        assert_eq!(got["lambda-runtime-aws-request-id"], "mine");
        assert_eq!(answer.header("x-amzn-requestid"), "mine");
        assert_eq!(answer.header("x-amz-executed-version"), "$LATEST");
        assert!(answer.headers.contains_key("x-amz-log-result"));
        assert!(!answer.headers.contains_key("x-amz-function-error"));
    }
    let failed = post(address, &path("f"), &[], b"{\"fail\": \"no\"}").await;
    assert_eq!((failed.status, failed.header("x-amz-function-error")), (200, "Unhandled"));
    assert_eq!(failed.json()["errorMessage"], "no");
}

#[tokio::test]
async fn rejections_have_the_types_of_lambda() {
    let scene = start(function()).await;
    let address = scene.host.address();
    let check = async |function: &str, headers: &[(&str, &str)], body: &[u8], status: u16, kind: &str| {
        let answer = post(address, &path(function), headers, body).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, kind), "{answer:?}");
        assert_eq!(answer.json()["Type"], "User");
        assert!(answer.json()["Message"].is_string());
    };
    check("g", &[], b"{}", 404, "ResourceNotFoundException").await;
    check("f", &[], b"{", 400, "InvalidRequestContentException").await;
    check("f", &[], &vec![b' '; (6 << 20) + 1], 413, "RequestTooLargeException").await;
    let context = ("x-amz-client-context", "!");
    check("f", &[context], b"{}", 400, "InvalidRequestContentException").await;
    let kind = ("x-amz-invocation-type", "Sometimes");
    check("f", &[kind], b"{}", 400, "InvalidParameterValueException").await;
    let event = ("x-amz-invocation-type", "Event");
    check("f", &[event], &vec![b' '; (1 << 20) + 1], 413, "RequestTooLargeException").await;
    assert!(scene.host.environments().is_empty(), "nothing was started");
}

#[tokio::test]
async fn throttling_is_429() {
    let mut function = function();
    function.concurrency = 1;
    let scene = start(function).await;
    let address = scene.host.address();
    let go = scene.file("go");
    let event = json!({ "wait": go }).to_string();
    let target = path("f");
    let story = async {
        scene.stages(vec![Stage::Busy]).await;
        let answer = post(address, &target, &[], b"{}").await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (429, "TooManyRequestsException"));
        assert_eq!(answer.json()["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
        std::fs::write(&go, "").unwrap();
    };
    let (first, ()) = tokio::join!(post(address, &target, &[], event.as_bytes()), story);
    assert_eq!(first.status, 200);
}

#[tokio::test]
async fn events_are_taken_and_dry_runs_do_nothing() {
    let scene = start(function()).await;
    let address = scene.host.address();
    let log = scene.file("log");
    let event = json!({ "log": log }).to_string();
    let dry = [("x-amz-invocation-type", "DryRun")];
    let answer = post(address, &path("f"), &dry, event.as_bytes()).await;
    assert_eq!(answer.status, 204);
    let headers = [("x-amz-invocation-type", "Event"), ("x-amzn-requestid", "e-1")];
    let answer = post(address, &path("f"), &headers, event.as_bytes()).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert_eq!(lines(&log, 1).await, ["e-1"], "only the event has run");
}
