//! The Runtime API and the Extensions API, call by call: the runtime is a process that sleeps, and
//! the test makes its calls.

use std::net::SocketAddr;

use aft_lambda_host::{Function, Invoke, Invoked, Stage};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Answer, call};
use crate::support::{LIMIT, Scene, check_failed, start, until, within};

const RUNTIME: &str = "/2018-06-01/runtime";
const EXTENSION: &str = "/2020-01-01/extension";

/// Starts a host whose function's runtime does nothing.
async fn scene() -> Scene {
    let say = "echo api $AWS_LAMBDA_RUNTIME_API; exec sleep 1000";
    let mut function = Function::new("f", &["sh", "-c", say]);
    function.timeout = LIMIT;
    start(function).await
}

/// Invokes the function as `r-1`, while the test makes the runtime's calls at the API's address.
async fn invoke(scene: &Scene, calls: impl AsyncFnOnce(SocketAddr)) -> Invoked {
    let calls = async {
        let address =
            |line: String| line.strip_prefix("api ").map(|address| address.parse().expect("an address"));
        calls(until(|| scene.text().into_iter().find_map(address)).await).await;
    };
    let invoked = scene.host.invoke(Invoke::new("f", "{}").request_id("r-1"));
    let (invoked, ()) = within(async { tokio::join!(invoked, calls) }).await;
    invoked.expect("the function is invoked")
}

async fn get(api: SocketAddr, path: &str) -> Answer {
    call(api, "GET", path, &[], b"").await
}

async fn post(api: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let answer = call(api, "POST", path, headers, body).await;
    let kind = answer.json()["errorType"].as_str().unwrap_or_default().to_owned();
    (answer.status, kind)
}

fn rejected(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

#[tokio::test]
async fn calls_out_of_turn_are_rejected() {
    let scene = scene().await;
    let response = format!("{RUNTIME}/invocation/r-1/response");
    let transition = rejected(403, "InvalidStateTransition");
    let invoked = invoke(&scene, async |api| {
        assert_eq!(get(api, "/2018-06-01/ping").await.body, b"pong");
        assert_eq!(get(api, "/2018-06-01/unknown").await.status, 404);
        assert_eq!(post(api, &response, &[], b"1").await, transition, "there is no invocation");
        let next = get(api, &format!("{RUNTIME}/invocation/next")).await;
        assert_eq!((next.status, next.body.as_slice()), (200, &b"{}"[..]));
        let nonce = next.header("lambda-runtime-invocation-id").to_owned();
        assert_eq!(get(api, &format!("{RUNTIME}/invocation/next")).await.status, 403, "it is open");
        assert_eq!(post(api, &format!("{RUNTIME}/init/error"), &[], b"{}").await, transition);
        let other = format!("{RUNTIME}/invocation/r-2/response");
        assert_eq!(post(api, &other, &[], b"1").await, rejected(400, "InvalidRequestID"));
        let mode = [("lambda-runtime-function-response-mode", "loud")];
        let unknown = rejected(400, "InvalidFunctionResponseMode");
        assert_eq!(post(api, &response, &mode, b"1").await, unknown);
        let old = [("lambda-runtime-invocation-id", "another")];
        assert_eq!(post(api, &response, &old, b"1").await, rejected(400, "InvalidRequestID"));
        let own = [("lambda-runtime-invocation-id", nonce.as_str())];
        assert_eq!(post(api, &response, &own, b"1").await, rejected(202, ""));
        assert_eq!(post(api, &response, &own, b"2").await, transition, "a second response");
    })
    .await;
    assert_eq!(invoked.payload, "1");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error() {
    let scene = scene().await;
    let invoked = invoke(&scene, async |api| {
        assert_eq!(get(api, &format!("{RUNTIME}/invocation/next")).await.status, 200);
        let mut stream = TcpStream::connect(api).await.unwrap();
        let head = format!(
            "POST {RUNTIME}/invocation/r-1/response HTTP/1.1\r\nhost: l\r\ncontent-length: 10\r\n\r\n12"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // The answer, if there is one, and the end of the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    check_failed(&invoked, "Runtime.TruncatedResponse", "the runtime's response broke off");
}

#[tokio::test]
async fn extensions_are_known_by_their_identifier() {
    let scene = scene().await;
    let invoked = invoke(&scene, async |api| {
        let register = format!("{EXTENSION}/register");
        let name = ("lambda-extension-name", "inner");
        let invoke = br#"{"events": ["INVOKE"]}"#;
        let check = async |headers: &[(&str, &str)], body: &[u8], kind: &str| {
            assert_eq!(post(api, &register, headers, body).await, rejected(403, kind));
        };
        check(&[], invoke, "Extension.InvalidExtensionName").await;
        check(&[name], b"{", "InvalidRequestFormat").await;
        check(&[name], br#"{"events": ["SLEEP"]}"#, "Extension.InvalidEventType").await;
        check(&[name], br#"{"events": ["SHUTDOWN"]}"#, "Extension.InvalidEventType").await;
        let feature = ("lambda-extension-accept-feature", "accountId");
        let registered = call(api, "POST", &register, &[name, feature], invoke).await;
        let expect = json!({
            "functionName": "f", "functionVersion": "$LATEST", "handler": "handler.handler",
            "accountId": "123456789012",
        });
        assert_eq!((registered.status, registered.json()), (200, expect));
        let me = [("lambda-extension-identifier", registered.header("lambda-extension-identifier"))];

        let event = format!("{EXTENSION}/event/next");
        let missing = call(api, "GET", &event, &[], b"").await;
        assert_eq!(missing.json()["errorType"], "Extension.MissingExtensionIdentifier");
        let unknown = [("lambda-extension-identifier", "x")];
        let unknown = call(api, "GET", &event, &unknown, b"").await;
        assert_eq!(
            (unknown.status, unknown.json()["errorType"].as_str()),
            (403, Some("Extension.UnknownExtensionIdentifier"))
        );
        let telemetry = call(api, "PUT", "/2022-07-01/telemetry", &me, b"{}").await;
        assert_eq!(
            (telemetry.status, telemetry.json()["errorType"].as_str()),
            (202, Some("Telemetry.NotSupported"))
        );

        // Ready once both have asked for an event; then both get it.
        let runtime = format!("{RUNTIME}/invocation/next");
        let (runtime, event) = tokio::join!(get(api, &runtime), call(api, "GET", &event, &me, b""));
        let deadline = runtime.header("lambda-runtime-deadline-ms");
        assert_eq!(event.json()["deadlineMs"].to_string(), deadline);
        assert_eq!(event.json()["requestId"], "r-1");
        assert_eq!(event.json()["tracing"]["value"], runtime.header("lambda-runtime-trace-id"));
        let late = post(api, &register, &[("lambda-extension-name", "late")], invoke).await;
        assert_eq!(late, rejected(403, "Extension.RegistrationClosed"));
        let exit = format!("{EXTENSION}/exit/error");
        assert_eq!(post(api, &exit, &me, b"{}").await, rejected(403, "Extension.MissingHeader"));
        let kind = ("lambda-extension-function-error-type", "Extension.Overload");
        assert_eq!(post(api, &exit, &[me[0], kind], b"{}").await, rejected(202, ""));
    })
    .await;
    check_failed(&invoked, "Extension.Overload", "extension inner reported an error");
    scene.stages(Vec::<Stage>::new()).await;
}
