//! Several invocations at once in one environment, as on Lambda Managed Instances: with AWS's
//! runtime client for Python, whose workers are processes, and with a runtime whose workers are
//! threads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use aft_lambda_host::{Delivery, Function, Invoke};
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::records::events::sqs;
use crate::scene::{Scene, StoreKind};

/// The workers of the environment.
const WORKERS: u32 = 8;
/// The time of invocations that are to end.
const LONG: Duration = Duration::from_secs(120);
/// The time of invocations that time out.
const SHORT: Duration = Duration::from_secs(3);

fn managed(function: &mut Function) {
    function.max_concurrency = Some(WORKERS);
    function.concurrency = 1;
    function.timeout = LONG;
}

async fn scene(kind: StoreKind) -> Option<Scene> {
    Scene::with(kind, "managed.handler", managed).await
}

fn invoke(event: &Value) -> Invoke {
    Invoke::new("function", event.to_string())
}

async fn get(scene: &Scene, key: &str) -> Value {
    scene.ok(json!({"action": "get", "key": key})).await
}

/// A folder in which handlers and a test leave files for each other.
struct Signals(tempfile::TempDir);

impl Signals {
    fn new() -> Signals {
        Signals(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pause(&self, id: &str) -> Value {
        let file = |name: &str| self.path(&format!("{name}-{id}")).display().to_string();
        json!({"action": "pause", "id": id, "reached": file("reached"), "go": file("go")})
    }

    async fn reached(&self, id: &str) {
        let name = format!("reached-{id}");
        until(&format!("the handler of {id} comes to its pause"), || !self.read(&name).is_empty()).await;
    }

    /// Returns the text of a file; nothing if there is none yet.
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn go(&self, name: &str) {
        std::fs::write(self.path(&format!("go-{name}")), "").expect("a file");
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in two minutes it was not so: {what}");
}

/// The objects of an invocation that fails must not be there, and all others must: an object in the
/// transaction of another invocation would share its fate. The log counts the writes of each.
#[tokio::test]
async fn each_call_belongs_to_the_invocation_that_made_it() {
    const INVOCATIONS: usize = 240;
    for kind in [StoreKind::Memory, StoreKind::Shim] {
        let Some(scene) = scene(kind).await else { return };
        let meeting = tempfile::tempdir().expect("a folder");
        let fails = |at: usize| at % 3 == 1;
        let has_child = |at: usize| at.is_multiple_of(24);
        let one = async |at: usize| {
            let id = format!("{at}");
            let mut event = json!({"action": "write", "id": id, "fail": fails(at), "child": has_child(at)});
            if at < WORKERS as usize {
                // The first ones all run at the same time.
                event["meet"] = json!(meeting.path());
                event["count"] = json!(WORKERS);
            }
            (at, scene.answer(invoke(&event)).await)
        };
        let invocations = if kind == StoreKind::Shim { 48 } else { INVOCATIONS };
        let answers: Vec<_> =
            stream::iter(0..invocations).map(one).buffer_unordered(WORKERS as usize).collect().await;
        let mut workers = BTreeSet::new();
        for (at, answer) in &answers {
            match answer {
                Ok(answer) => {
                    assert!(!fails(*at), "{at}: {answer}");
                    assert_eq!(answer["ways"], 3 + usize::from(has_child(*at)));
                    workers.insert(answer["pid"].to_string());
                }
                Err(why) => {
                    assert!(
                        fails(*at) && why["errorMessage"] == "as the event says",
                        "{at}: {why}: {scene:?}"
                    );
                }
            }
        }
        assert!(workers.len() > 1, "several workers ran: {workers:?}");
        assert_eq!(scene.host().environments().len(), 1, "in one environment");
        // The log: as many writes in each invocation as it has made.
        for (outcome, expect) in [
            ("committed", (0..invocations).filter(|at| !fails(*at)).count()),
            ("aborted: the handler failed", (0..invocations).filter(|at| fails(*at)).count()),
        ] {
            let lines = scene.lines("\"message\":\"aft invocation\"");
            let lines: Vec<Value> =
                lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
            let of: Vec<&Value> = lines.iter().filter(|line| line["outcome"] == outcome).collect();
            assert_eq!(of.len(), expect, "{outcome}: {scene:?}");
            assert!(
                of.iter().all(|line| line["writes"].as_u64().is_some_and(|writes| (3..5).contains(&writes)))
            );
            let writes: u64 = of.iter().filter_map(|line| line["writes"].as_u64()).sum();
            let is = |at: &usize| fails(*at) == (outcome != "committed");
            let made = (0..invocations).filter(is).map(|at| 3 + usize::from(has_child(at))).sum::<usize>();
            assert_eq!(writes, made as u64, "{outcome}");
        }
        for at in (0..invocations).step_by(6).flat_map(|at| [at, at + 1]) {
            for way in ["sdk", "silent", "url"] {
                let expect = if fails(at) { Value::Null } else { json!(at.to_string()) };
                assert_eq!(get(&scene, &format!("{way}/{at}")).await, expect, "{way}/{at}: {scene:?}");
            }
        }
        assert_eq!(get(&scene, "child/0").await, "0", "{scene:?}");
        scene.stop().await;
    }
}

/// Sends a PUT to the S3 endpoint from this process, and returns the answer.
async fn put_from_outside(endpoint: &str, key: &str) -> String {
    let address = endpoint.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).await.expect("the endpoint listens");
    let head =
        format!("PUT /shop/{key} HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer in UTF-8");
    answer
}

#[tokio::test]
async fn a_call_from_elsewhere_does_not_write() {
    let Some(scene) = scene(StoreKind::Memory).await else { return };
    let endpoint = scene.ok(json!({"action": "endpoint"})).await;
    let endpoint = endpoint.as_str().expect("a URL");
    let none = put_from_outside(endpoint, "elsewhere").await;
    assert!(none.starts_with("HTTP/1.1 400") && none.contains("no handler ran"), "{none}");
    let signals = Signals::new();
    let only = async {
        signals.reached("one").await;
        let only = put_from_outside(endpoint, "elsewhere").await;
        assert!(only.starts_with("HTTP/1.1 400") && only.contains("neither the handler's"), "{only}");
        let several = async {
            signals.reached("two").await;
            let several = put_from_outside(endpoint, "elsewhere").await;
            assert!(
                several.starts_with("HTTP/1.1 400") && several.contains("several handlers run"),
                "{several}"
            );
            assert!(several.contains("X-Amzn-Trace-Id"), "{several}");
            signals.go("two");
            signals.go("one");
        };
        tokio::join!(scene.ok(signals.pause("two")), several).0
    };
    let (one, two) = tokio::join!(scene.ok(signals.pause("one")), only);
    let written = json!({"sdk": "written", "silent": "written", "url": "written"});
    assert_eq!((&one, &two), (&written, &written));
    for (key, expect) in [("elsewhere", Value::Null), ("silent/one", json!("one")), ("url/two", json!("two"))]
    {
        assert_eq!(get(&scene, key).await, expect, "{key}: {scene:?}");
    }
    assert!(scene.has_logged("a write of S3 was rejected"), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn code_that_goes_on_after_its_timeout_writes_in_vain() {
    let Some(scene) = scene(StoreKind::Memory).await else { return };
    let signals = Signals::new();
    let event = signals.pause("late");
    let why = scene.answer(invoke(&event).request_id("r").timeout(SHORT)).await;
    assert!(why.clone().is_err_and(|why| why.to_string().contains("timed out")), "{why:?}");
    // The retry of the same request runs beside it, in the same environment, and commits.
    let mut retry = event.clone();
    retry["go"] = json!("/");
    let written = json!({"sdk": "written", "silent": "written", "url": "written"});
    assert_eq!(scene.answer(invoke(&retry).request_id("r")).await, Ok(written), "{scene:?}");
    for way in ["sdk", "silent", "url"] {
        assert_eq!(get(&scene, &format!("{way}/late")).await, "late");
    }
    // Another one that never commits, since nobody retries it.
    let lost = signals.pause("lost");
    scene.answer(invoke(&lost).timeout(SHORT)).await.expect_err("it times out");
    for id in ["late", "lost"] {
        signals.go(id);
        let words = format!("after the pause {id} ");
        let count = if id == "late" { 2 } else { 1 };
        until(&words, || scene.lines(&words).len() == count).await;
        let said = scene.last_logged(&words);
        assert!(!said.contains("written"), "{said}: {scene:?}");
    }
    for key in ["first/lost", "sdk/lost", "silent/lost", "url/lost"] {
        assert_eq!(get(&scene, key).await, Value::Null, "{key}: {scene:?}");
    }
    // All workers are there again, and one environment was enough.
    let meeting = tempfile::tempdir().expect("a folder");
    let one = async |at: u32| {
        let event =
            json!({"action": "write", "id": format!("after-{at}"), "meet": meeting.path(), "count": WORKERS});
        scene.ok(event).await["pid"].to_string()
    };
    let pids: BTreeSet<String> =
        stream::iter(0..WORKERS).map(one).buffer_unordered(WORKERS as usize).collect().await;
    assert_eq!((pids.len(), scene.host().environments().len()), (WORKERS as usize, 1), "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn a_thread_that_was_left_behind_in_a_worker_does_not_write() {
    let Some(scene) = scene(StoreKind::Memory).await else { return };
    let signals = Signals::new();
    let leak = json!({"action": "leak", "go": signals.path("go-leak").display().to_string()});
    let worker = scene.ok(leak).await.to_string();
    // The only invocation runs in another worker. Chance gives it one, so it is tried repeatedly.
    for turn in 0.. {
        assert!(turn < 100, "every invocation runs in the worker {worker}: {scene:?}");
        let id = format!("beside-{turn}");
        let story = async {
            signals.reached(&id).await;
            let is_beside = signals.read(&format!("reached-{id}")) != worker;
            if is_beside {
                signals.go("leak");
                until("the thread writes", || scene.has_logged("left behind")).await;
            }
            signals.go(&id);
            is_beside
        };
        if tokio::join!(scene.ok(signals.pause(&id)), story).1 {
            break;
        }
    }
    let said = scene.last_logged("left behind");
    assert!(said.ends_with(r#"["InvalidRequest", "InvalidRequest"]"#), "{said}: {scene:?}");
    assert!(scene.has_logged("the call came after its handler had returned"), "{scene:?}");
    assert_eq!(get(&scene, "late").await, Value::Null, "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn deliveries_of_one_request_at_once_take_effect_once() {
    // In one environment: the event itself names its request.
    let named = |function: &mut Function| {
        managed(function);
        function.environment.insert("AFT_REQUEST_ID".into(), "id".into());
    };
    let Some(scene) = Scene::with(StoreKind::Memory, "managed.handler", named).await else { return };
    let meeting = tempfile::tempdir().expect("a folder");
    let event = json!({"action": "count", "id": "a", "meet": meeting.path(), "count": 4});
    let answers: Vec<_> =
        stream::iter(0..4).map(|_| scene.ok(event.clone())).buffer_unordered(4).collect().await;
    assert_eq!(
        answers.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(),
        1,
        "one answer: {answers:?}"
    );
    assert_eq!(std::fs::read_dir(meeting.path()).expect("it is there").count(), 4, "all of them ran");
    assert_eq!(get(&scene, "number").await, "1", "{scene:?}");
    assert_eq!(scene.ok(event).await, answers[0], "the kept answer");
    scene.stop().await;

    // Lambda's own duplicates go to two environments.
    let two = |function: &mut Function| {
        managed(function);
        function.max_concurrency = Some(2);
        function.concurrency = 2;
    };
    let Some(scene) = Scene::with(StoreKind::Minio, "managed.handler", two).await else { return };
    let meeting = tempfile::tempdir().expect("a folder");
    let event = json!({"action": "count", "id": "a", "meet": meeting.path(), "count": 2});
    let mut queued = scene.host().send(invoke(&event), Delivery::TwiceAtOnce).expect("it is taken");
    for _ in 0..2 {
        let end = queued.end().await.expect("each delivery ends");
        assert!(end.last.as_ref().is_ok_and(|invoked| invoked.is_ok()), "{end:?}: {scene:?}");
    }
    assert_eq!(get(&scene, "number").await, "1", "{scene:?}");
    scene.stop().await;
}

#[tokio::test]
async fn batches_at_once_do_not_mix() {
    let reporting = |function: &mut Function| {
        managed(function);
        function.environment.insert("AFT_BATCH_ITEM_FAILURES".into(), "true".into());
    };
    let Some(scene) = Scene::with(StoreKind::Memory, "managed.handler", reporting).await else { return };
    const RECORDS: usize = 4;
    let id = |batch: usize, at: usize| format!("{batch}-{at}");
    let fails = |batch: usize, at: usize| (batch + at).is_multiple_of(3);
    let deliver = async |batch: usize| {
        let task = |at| json!({"id": id(batch, at), "fail": fails(batch, at)});
        let event = sqs(&(0..RECORDS).map(task).collect::<Vec<_>>());
        (batch, scene.ok(event).await)
    };
    let batches: Vec<usize> = (0..WORKERS as usize).collect();
    // Each is delivered twice, some of them at the same time.
    for _ in 0..2 {
        let deliveries = batches.iter().chain(&batches[..2]).copied();
        let answers: Vec<_> =
            stream::iter(deliveries).map(deliver).buffer_unordered(WORKERS as usize).collect().await;
        for (batch, answer) in answers {
            let failed = (0..RECORDS).filter(|at| fails(batch, *at));
            let failed: Vec<_> = failed.map(|at| json!({"itemIdentifier": id(batch, at)})).collect();
            assert_eq!(answer, json!({"batchItemFailures": failed}), "{batch}: {scene:?}");
        }
    }
    for batch in batches {
        for at in 0..RECORDS {
            let expect = if fails(batch, at) { Value::Null } else { json!(id(batch, at)) };
            assert_eq!(get(&scene, &format!("silent/{}", id(batch, at))).await, expect, "{scene:?}");
        }
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_worker_that_ends_takes_no_event_and_no_write_with_it() {
    let Some(scene) = scene(StoreKind::Memory).await else { return };
    // In its handler, and while it waits for an event.
    scene.answer(invoke(&json!({"action": "exit"})).timeout(SHORT)).await.expect_err("it times out");
    let pid = scene.ok(json!({"action": "pid"})).await;
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    // One event may come before the end of the worker's connection was seen, and be lost.
    let _ = scene.answer(invoke(&json!({"action": "pid"})).timeout(SHORT)).await;
    for _ in 0..3 * WORKERS {
        assert_ne!(scene.ok(json!({"action": "pid"})).await, pid);
    }
    assert_eq!(get(&scene, "exit").await, Value::Null);
    scene.stop().await;
}

#[tokio::test]
async fn threads_of_one_process_are_told_apart_by_the_trace_id_alone() {
    let threads = |function: &mut Function| {
        managed(function);
        function.max_concurrency = Some(2);
        function.command[1..].clone_from_slice(&["-u".into(), "threads.py".into(), String::new()]);
        function.command.pop();
    };
    let Some(scene) = Scene::with(StoreKind::Memory, "threads", threads).await else { return };
    // While one runs, the process has only this one.
    let alone = scene.ok(json!({"action": "alone", "key": "a"})).await;
    assert_eq!(alone[0], 200, "{alone}: {scene:?}");
    let write = |key: &str| scene.ok(json!({"action": "write", "key": key}));
    let (one, two) = tokio::join!(write("one"), write("two"));
    for (key, answer) in [("one", one), ("two", two)] {
        assert_eq!((&answer[0][0], &answer[2]), (&json!(200), &json!([200, key])), "{answer}: {scene:?}");
        assert_eq!(answer[1][0], 400, "{answer}");
        assert!(
            answer[1][1].as_str().is_some_and(|text| text.contains("does not say whose it is")),
            "{answer}"
        );
        assert_eq!(answer[3][0], 404, "a read sees what was committed last: {answer}");
        for (way, status) in [("named", 200), ("unnamed", 404)] {
            let read = scene.ok(json!({"action": "read", "key": format!("{way}/{key}")})).await;
            assert_eq!(read[0], status, "{way}/{key}: {read}");
        }
    }
    scene.stop().await;
}
