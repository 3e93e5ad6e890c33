//! Several invocations at once in an environment, as on Lambda Managed Instances: the runtime's
//! workers are processes, each with a connection of its own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use aft_lambda_host::{Function, Invoke, InvokeError, OnTimeout, Stage};
use serde_json::json;

use crate::support::{check_failed, function, json, lines, program, start, within};

/// The time of invocations that time out.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns a function of which one environment handles this many invocations at once.
fn managed(max_concurrency: u32) -> Function {
    let mut function = function();
    function.max_concurrency = Some(max_concurrency);
    function.concurrency = 1;
    // Neither holds on managed instances.
    (function.freeze, function.on_timeout) = (true, OnTimeout::Kill);
    function
}

#[tokio::test]
async fn an_environment_handles_several_invocations_at_once() {
    let scene = start(managed(3)).await;
    let go = scene.file("go");
    let invoke =
        |id: &str| scene.host.invoke(Invoke::new("f", json!({ "wait": go }).to_string()).request_id(id));
    let story = async {
        let is_full =
            |list: &[aft_lambda_host::EnvironmentInfo]| list.len() == 1 && list[0].request_ids.len() == 3;
        let environment = within(scene.host.wait_for(is_full)).await.remove(0);
        assert_eq!((environment.stage, environment.is_stopped), (Stage::Busy, false));
        let throttled = scene.host.invoke(Invoke::new("f", "{}")).await;
        assert_eq!(throttled, Err(InvokeError::Throttled), "a fourth one has no place");
        fs::write(&go, "").unwrap();
    };
    // The second and the third one wait for the start of the first one's environment.
    let (one, two, three, ()) =
        within(async { tokio::join!(invoke("r-1"), invoke("r-2"), invoke("r-3"), story) }).await;
    let all = [one.unwrap(), two.unwrap(), three.unwrap()];
    for (at, invoked) in all.iter().enumerate() {
        let answer = json(invoked);
        let id = format!("r-{}", at + 1);
        assert_eq!((invoked.is_ok(), &invoked.request_id), (true, &id));
        assert_eq!(answer["headers"]["lambda-runtime-aws-request-id"], id, "each has its own answer");
        let variables = &answer["variables"];
        assert_eq!(variables["AWS_LAMBDA_MAX_CONCURRENCY"], "3");
        assert_eq!(variables["AWS_LAMBDA_INITIALIZATION_TYPE"], "lambda-managed-instances");
    }
    let pids: std::collections::BTreeSet<_> = all.iter().map(|one| json(one)["pid"].to_string()).collect();
    assert_eq!(pids.len(), 3, "each had a worker of its own: {pids:?}");
    let after = scene.invoke(json!({})).await;
    assert_eq!(after.environment, all[0].environment);
    let idle = scene.stages(vec![Stage::Idle]).await;
    assert!(!idle[0].is_stopped, "it is not frozen");
}

#[tokio::test]
async fn code_goes_on_after_a_timeout_beside_other_invocations() {
    let scene = start(managed(2)).await;
    let (go, status) = (scene.file("go"), scene.file("status"));
    let event = json!({ "wait": go, "status": status }).to_string();
    let failed = within(scene.host.invoke(Invoke::new("f", event).request_id("r").timeout(TIMEOUT)));
    let failed = failed.await.unwrap();
    check_failed(&failed, "Sandbox.Timedout", "Task timed out after 2.00 seconds");
    // Its retry runs in the same environment, while it still works.
    let retry = Invoke::new("f", json!({ "status": status }).to_string()).request_id("r");
    let retry = within(scene.host.invoke(retry)).await.unwrap();
    assert!(retry.is_ok() && retry.environment == failed.environment, "{retry:?}");
    assert_eq!(lines(&status, 1).await, ["202"]);
    fs::write(&go, "").unwrap();
    assert_eq!(lines(&status, 2).await, ["202", "410"], "its response comes too late");
    // Both workers are there again.
    let wait = scene.file("wait");
    let both = || scene.invoke(json!({ "wait": wait }));
    let story = async {
        within(scene.host.wait_for(|list| list.len() == 1 && list[0].request_ids.len() == 2)).await;
        fs::write(&wait, "").unwrap();
    };
    let (one, two, ()) = tokio::join!(both(), both(), story);
    assert!(one.is_ok() && two.is_ok());
}

#[tokio::test]
async fn a_request_runs_once_at_a_time_in_an_environment() {
    let mut function = managed(2);
    function.concurrency = 2;
    let scene = start(function).await;
    let go = scene.file("go");
    let event = json!({ "wait": go }).to_string();
    let invoke = || scene.host.invoke(Invoke::new("f", event.clone()).request_id("twice"));
    let story = async {
        scene.stages(vec![Stage::Busy, Stage::Busy]).await;
        fs::write(&go, "").unwrap();
    };
    let (one, other, ()) = within(async { tokio::join!(invoke(), invoke(), story) }).await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is_ok() && other.is_ok() && one.environment != other.environment);
}

#[tokio::test]
async fn a_worker_that_dies_gets_no_more_events() {
    let scene = start(managed(2)).await;
    // In its handler: the invocation ends with its time, and the environment goes on.
    let crash = Invoke::new("f", json!({ "exit": 3 }).to_string()).timeout(TIMEOUT);
    let crashed = within(scene.host.invoke(crash)).await.unwrap();
    check_failed(&crashed, "Sandbox.Timedout", "Task timed out after 2.00 seconds");
    let mut pids = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let invoked = scene.invoke(json!({})).await;
        assert!(invoked.is_ok() && invoked.environment == crashed.environment);
        pids.insert(json(&invoked)["pid"].to_string());
    }
    assert_eq!(pids.len(), 1, "one worker is left: {pids:?}");
}

#[tokio::test]
async fn a_worker_that_dies_while_it_waits_gets_no_more_events() {
    let scene = start(managed(2)).await;
    let pid = json(&scene.invoke(json!({})).await)["pid"].clone();
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    // It may come before the end of the connection was seen, and be lost.
    let first = Invoke::new("f", "{}").timeout(TIMEOUT);
    within(scene.host.invoke(first)).await.unwrap();
    for _ in 0..3 {
        let invoked = scene.invoke(json!({})).await;
        assert!(invoked.is_ok() && json(&invoked)["pid"] != pid, "{invoked:?}");
    }
    // Nor is it counted: the second of these waits for the worker that is left, before its time
    // begins.
    let go = scene.file("go");
    let one = scene.invoke(json!({ "wait": go }));
    let two = async {
        scene.stages(vec![Stage::Busy]).await;
        within(scene.host.invoke(Invoke::new("f", "{}").timeout(2 * TIMEOUT))).await.unwrap()
    };
    let story = async {
        tokio::time::sleep(3 * TIMEOUT).await;
        fs::write(&go, "").unwrap();
    };
    let (one, two, ()) = tokio::join!(one, two, story);
    assert!(one.is_ok() && two.is_ok(), "{two:?}");
}

#[tokio::test]
async fn extensions_register_for_the_end_alone() {
    for (events, expect) in [
        ("INVOKE SHUTDOWN", &["register 403 Extension.InvalidEventType"][..]),
        ("SHUTDOWN", &["register 200 f", "SHUTDOWN spindown"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log").display().to_string();
        let mut function = managed(2);
        function.extensions = vec![program("extension.py")];
        function.environment.insert("EXTENSION_LOG".into(), log.clone());
        function.environment.insert("EXTENSION_EVENTS".into(), events.into());
        let scene = start(function).await;
        let invoked = scene.invoke(json!({})).await;
        if events == "SHUTDOWN" {
            assert!(invoked.is_ok(), "{invoked:?}");
        } else {
            check_failed(&invoked, "Extension.Crash", "extension extension.py: exit status 6");
        }
        within(scene.host.stop()).await;
        assert_eq!(lines(&log, expect.len()).await[..expect.len()], *expect, "{events}");
    }
}
