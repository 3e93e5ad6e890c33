//! The layer's conformance cases: what Lambda, runtimes and handlers do seldom, each with what has
//! to come of it.

use std::time::Duration;

use aft_lambda_host::{Function, Invoke, OnTimeout};
use aft_services::Server;
use serde_json::{Value, json};

use crate::scene::{Scene, StoreKind};

fn invoke(event: &Value) -> Invoke {
    Invoke::new("function", event.to_string())
}

/// Makes a function one with the runtime that has no library.
fn raw(function: &mut Function) {
    function.command[1..].clone_from_slice(&["-u".into(), "raw.py".into(), String::new()]);
    function.command.pop();
}

async fn raw_scene() -> Option<Scene> {
    Scene::with(StoreKind::Memory, "raw", raw).await
}

#[tokio::test]
async fn large_events_and_responses_come_through_and_are_kept() {
    let Some(scene) = Scene::start(StoreKind::Minio, "odd.handler").await else { return };
    let event = json!({"action": "echo", "key": "a", "bytes": 5 << 20, "padding": "y".repeat(5 << 20)});
    let first = scene.answer(invoke(&event).request_id("large")).await.expect("it fits");
    assert_eq!(first["padding"].as_str().map(str::len), Some(5 << 20));
    assert_eq!(
        scene.answer(invoke(&event).request_id("large")).await,
        Ok(first),
        "the kept answer is the same"
    );
    // A response that Lambda does not take: nothing of its invocation takes effect.
    let event = json!({"action": "echo", "key": "b", "bytes": (6 << 20) + 200});
    let why = scene.answer(invoke(&event).request_id("too-large")).await.expect_err("it is too large");
    assert!(why.to_string().contains("TooLarge") || why.to_string().contains("exceeded"), "{why}");
    assert_eq!(scene.ok(json!({"action": "get", "key": "b"})).await, Value::Null, "{scene:?}");
    assert_eq!(scene.ok(json!({"action": "get", "key": "a"})).await, json!(""), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn streams_come_through_and_failed_ones_leave_nothing() {
    let Some(scene) = raw_scene().await else { return };
    let whole: Vec<u8> = (0..80_u32).flat_map(|piece| vec![(piece % 251) as u8; 65_536]).collect();
    for _ in 0..2 {
        // The second time it is the kept one.
        let event = json!({"action": "stream", "pieces": 80});
        let invoked = scene.host().invoke(invoke(&event).request_id("stream")).await.expect("it is invoked");
        assert!(invoked.is_ok() && invoked.payload == whole, "{} bytes: {scene:?}", invoked.payload.len());
    }
    assert_eq!(scene.ok(json!({"action": "read", "key": "streamed"})).await, json!([200, "x"]));
    scene.stop().await;

    let Some(scene) = raw_scene().await else { return };
    let event = json!({"action": "stream", "pieces": 3, "fails": true});
    let invoked = scene.host().invoke(invoke(&event)).await.expect("it is invoked");
    assert!(!invoked.is_ok(), "{invoked:?}");
    let read = scene.ok(json!({"action": "read", "key": "streamed"})).await;
    assert_eq!(read[0], 404, "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn unknown_calls_and_headers_pass() {
    let Some(scene) = raw_scene().await else { return };
    let ping = scene.ok(json!({"action": "ping"})).await;
    assert_eq!(ping[0], 200, "{ping}");
    let headers = scene.ok(json!({"action": "headers"})).await;
    for name in [
        "lambda-runtime-deadline-ms",
        "lambda-runtime-invocation-id",
        "lambda-runtime-trace-id",
        "content-type",
    ] {
        assert!(headers[name].is_string(), "{name} is missing in {headers}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn calls_outside_of_an_invocation_do_not_write() {
    let Some(scene) = raw_scene().await else { return };
    let at_start = scene.ok(json!({"action": "start"})).await;
    assert_eq!(at_start[0], 400, "{at_start}");
    assert!(at_start[1].as_str().is_some_and(|text| text.contains("no handler ran")), "{at_start}");
    assert_eq!(scene.ok(json!({"action": "twice"})).await, "one");
    for (key, status) in [("at-start", 404), ("twice", 200), ("between", 404)] {
        let read = scene.ok(json!({"action": "read", "key": key})).await;
        assert_eq!(read[0], status, "{key}: {scene:?}");
    }
    assert!(scene.has_logged("late 400 second 202"), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_thread_that_was_left_behind_does_not_write() {
    let Some(scene) = Scene::with(StoreKind::Memory, "odd.handler", |function| function.freeze = false).await
    else {
        return;
    };
    assert_eq!(scene.ok(json!({"action": "leak"})).await, "answered");
    let mut looks = 0;
    while !scene.has_logged("the late write failed") {
        looks += 1;
        assert!(looks < 200, "{scene:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(scene.ok(json!({"action": "get", "key": "late"})).await, Value::Null);
    scene.stop().await;
}

#[tokio::test]
async fn an_empty_object_does_not_stall_the_next_call() {
    let Some(scene) = Scene::start(StoreKind::Memory, "odd.handler").await else { return };
    let seconds = scene.ok(json!({"action": "two_puts"})).await;
    // A connection that botocore poisons stalls for a minute.
    assert!(seconds.as_f64().is_some_and(|seconds| seconds < 5.0), "{seconds}: {scene:?}");
    assert_eq!(scene.ok(json!({"action": "get", "key": "full"})).await, "full");
    scene.stop().await;
}

#[tokio::test]
async fn a_presigned_url_is_warned_of() {
    let Some(scene) = Scene::start(StoreKind::Memory, "odd.handler").await else { return };
    let url = scene.ok(json!({"action": "presign"})).await;
    assert!(url.as_str().is_some_and(|url| url.starts_with("http://127.0.0.1:")), "{url}");
    assert!(scene.has_logged("presigned"), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn two_layers_behind_each_other_work() {
    let stacked = |function: &mut Function| {
        raw(function);
        let layer = env!("CARGO_BIN_EXE_aft-layer").to_owned();
        function.command.splice(..0, [layer, "run".to_owned(), "--".to_owned()]);
    };
    let Some(scene) = Scene::with(StoreKind::Memory, "raw", stacked).await else { return };
    assert_eq!(scene.ok(json!({"action": "twice"})).await, "one", "{scene:?}");
    let read = scene.ok(json!({"action": "read", "key": "twice"})).await;
    assert_eq!(read, json!([200, "x"]), "{scene:?}");
    scene.stop().await;
}

/// The files by which a handler and a test wait for each other.
struct Signals {
    directory: tempfile::TempDir,
}

impl Signals {
    fn new() -> Signals {
        Signals { directory: tempfile::tempdir().expect("a directory for signals") }
    }

    fn event(&self, id: &str) -> Value {
        let path = |name: &str| self.directory.path().join(format!("{name}-{id}")).display().to_string();
        json!({"action": "pause", "id": id, "reached": path("reached"), "go": path("go")})
    }

    async fn reached(&self, id: &str) {
        let path = self.directory.path().join(format!("reached-{id}"));
        for _ in 0..2_000 {
            if path.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the handler of {id} does not come to its pause");
    }

    fn go(&self, id: &str) {
        std::fs::write(self.directory.path().join(format!("go-{id}")), "").expect("a file");
    }
}

/// Reads both keys that a pausing handler writes.
async fn both(scene: &Scene) -> [Value; 2] {
    let get = |key: &'static str| scene.ok(json!({"action": "get", "key": key}));
    [get("first").await, get("second").await]
}

/// Stops the store between a handler's last write and the commit, so that the commit has no answer:
/// the invocation has no response, and the source retries it. Whether the commit was carried out or
/// not, the request takes effect once.
#[tokio::test]
async fn a_request_whose_commit_has_no_answer_takes_effect_once() {
    let Some(mut scene) = Scene::start(StoreKind::Minio, "odd.handler").await else { return };
    let signals = Signals::new();
    let mut event = signals.event("x");
    event["action"] = "pause_and_change".into();
    event["key"] = "sum".into();
    let request = || invoke(&event).request_id("in-doubt");
    let server = scene.take_server();
    let stopped = async {
        signals.reached("x").await;
        let stopped = tokio::task::spawn_blocking(move || {
            let mut server = server;
            server.pause();
            server
        });
        let server = stopped.await.expect("a server can be paused");
        signals.go("x");
        server
    };
    let (answer, mut server) = tokio::join!(scene.answer(request()), stopped);
    assert!(answer.is_err(), "a commit without an answer was reported as a success: {answer:?}: {scene:?}");
    server.resume();
    scene.give_server(server);
    let mut deliveries = 0;
    while scene.answer(request()).await.is_err() {
        deliveries += 1;
        assert!(deliveries < 10, "{scene:?}");
    }
    assert_eq!(scene.ok(json!({"action": "get", "key": "sum"})).await, json!("1"), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_zombie_writes_in_vain() {
    let zombies = |function: &mut Function| {
        function.on_timeout = OnTimeout::Continue;
        function.timeout = Duration::from_secs(4);
    };
    let Some(scene) = Scene::with(StoreKind::Minio, "odd.handler", zombies).await else { return };
    let signals = Signals::new();
    // The first attempt times out in its pause, and goes on behind Lambda's back.
    let mut event = signals.event("zombie");
    let why = scene.answer(invoke(&event).request_id("r")).await.expect_err("it times out");
    assert!(why.to_string().contains("timed out"), "{why}");
    // The retry of the same request runs in another environment.
    event["go"] = json!("/");
    assert_eq!(scene.answer(invoke(&event).request_id("r")).await, Ok(json!("zombie")), "{scene:?}");
    let event = json!({"action": "put", "key": "second", "body": "later"});
    scene.ok(event).await;
    signals.go("zombie");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(both(&scene).await, ["zombie", "later"], "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_function_that_is_frozen_beyond_its_deadline_leaves_nothing() {
    let frozen = |function: &mut Function| {
        function.on_timeout = OnTimeout::Continue;
        function.timeout = Duration::from_secs(4);
    };
    let Some(mut scene) = Scene::with(StoreKind::Minio, "odd.handler", frozen).await else { return };
    let signals = Signals::new();
    let event = signals.event("frozen");
    let frozen_one = async {
        signals.reached("frozen").await;
        let environments = scene.host().environments();
        let environment =
            environments.iter().find(|one| !one.request_ids.is_empty()).expect("it runs").id.clone();
        scene.host().freeze(&environment).expect("it is there");
        environment
    };
    let (answer, environment) = tokio::join!(scene.answer(invoke(&event).request_id("r")), frozen_one);
    answer.expect_err("it times out");
    assert_eq!(both(&scene).await, [Value::Null, Value::Null], "{scene:?}");
    // Connections of before the freeze are dead when it goes on.
    scene.server().kill();
    scene.server().restart().expect("its data is there");
    signals.go("frozen");
    scene.host().thaw(&environment).expect("it is there");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(both(&scene).await, [Value::Null, Value::Null], "{scene:?}");
    assert_eq!(scene.answer(invoke(&event).request_id("r")).await, Ok(json!("frozen")), "{scene:?}");
    assert_eq!(both(&scene).await, ["frozen", "frozen"], "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn an_idle_function_works_after_its_connections_have_died() {
    let Some(mut scene) = Scene::start(StoreKind::Minio, "odd.handler").await else { return };
    for round in 0..3 {
        let body = format!("round {round}");
        scene.ok(json!({"action": "put", "key": "a", "body": body})).await;
        assert_eq!(scene.ok(json!({"action": "get", "key": "a"})).await, json!(body), "{scene:?}");
        scene.server().kill();
        scene.server().restart().expect("its data is there");
        // Longer than what counts as a pause: the process is frozen meanwhile.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    let environments = scene.host().environments();
    assert_eq!(environments.len(), 1, "one environment was thawed each time: {environments:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_store_that_stops_within_an_invocation_leaves_nothing_behind() {
    let Some(mut scene) = Scene::start(StoreKind::Minio, "odd.handler").await else { return };
    let signals = Signals::new();
    let event = signals.event("doubt");
    scene.ok(json!({"action": "get", "key": "first"})).await;
    // The store is paused from a thread of its own, while the invocation waits for its answer.
    let server = scene.take_server();
    let paused = async {
        signals.reached("doubt").await;
        let server = pause(server).await;
        signals.go("doubt");
        server
    };
    let (answer, mut server) = tokio::join!(scene.answer(invoke(&event).request_id("r")), paused);
    // From there on the store took no request to its end.
    answer.expect_err("it times out");
    server.resume();
    scene.give_server(server);
    let again = scene.answer(invoke(&signals.event("doubt")).request_id("r")).await;
    assert_eq!(again, Ok(json!("doubt")), "{scene:?}");
    assert_eq!(both(&scene).await, ["doubt", "doubt"], "{scene:?}");
    scene.stop().await;
}

/// Stops a server at whatever it does.
async fn pause(mut server: Server) -> Server {
    let paused = tokio::task::spawn_blocking(move || {
        server.pause();
        server
    });
    paused.await.expect("a server can be paused")
}
