//! Timeouts, crashes, failed starts.

use std::fs;
use std::time::Duration;

use aft_lambda_host::{Config, Host, Invoke, Logs, OnTimeout, Stage};
use serde_json::json;

use crate::support::{check_failed, function, group_is_gone, json, lines, program, start, within};

/// The time of invocations that time out: enough for a look at them meanwhile.
const TIMEOUT: Duration = Duration::from_secs(4);
const TIMED_OUT: &str = " Error: Task timed out after 4.00 seconds";

#[tokio::test]
async fn a_timeout_kills_the_environment() {
    let scene = start(function()).await;
    let event = json!({ "wait": scene.file("never") });
    let invoke = Invoke::new("f", event.to_string()).request_id("r-1").timeout(TIMEOUT);
    let invoked = scene.host.invoke(invoke);
    let look = async { scene.stages(vec![Stage::Busy]).await[0].group };
    let (failed, group) = within(async { tokio::join!(invoked, look) }).await;
    let failed = failed.unwrap();
    let document = r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r-1 Error: Task timed out after 4.00 seconds"}"#;
    assert_eq!(failed.payload, document);
    assert!(scene.host.environments().is_empty(), "it is gone before the answer");
    group_is_gone(group).await;
    let after = scene.invoke(json!({})).await;
    assert!(after.is_ok() && after.environment != failed.environment);
}

#[tokio::test]
async fn a_zombie_runs_on_beside_the_next_environment() {
    let mut function = function();
    (function.on_timeout, function.concurrency) = (OnTimeout::Continue, 1);
    let scene = start(function).await;
    let (go, status) = (scene.file("go"), scene.file("status"));
    let event = json!({ "wait": go, "status": status }).to_string();
    let failed = within(scene.host.invoke(Invoke::new("f", event).timeout(TIMEOUT))).await.unwrap();
    check_failed(&failed, "Sandbox.Timedout", TIMED_OUT);
    // At a concurrency of 1: its invocation is over.
    let beside = scene.invoke(json!({})).await;
    assert!(beside.is_ok() && beside.environment != failed.environment);
    scene.stages(vec![Stage::TimedOut, Stage::Idle]).await;
    fs::write(&go, "").unwrap();
    assert_eq!(lines(&status, 1).await, ["410"], "its response comes too late");
    scene.stages(vec![Stage::Idle, Stage::Idle]).await;
}

#[tokio::test]
async fn a_frozen_invocation_times_out_and_its_zombie_wakes_later() {
    let mut function = function();
    function.on_timeout = OnTimeout::Continue;
    let scene = start(function).await;
    let (go, status) = (scene.file("go"), scene.file("status"));
    let event = json!({ "wait": go, "status": status }).to_string();
    let freeze = async {
        let busy = scene.stages(vec![Stage::Busy]).await;
        scene.host.freeze(&busy[0].id).unwrap();
        fs::write(&go, "").unwrap();
        busy[0].id.clone()
    };
    let (failed, id) =
        within(async { tokio::join!(scene.host.invoke(Invoke::new("f", event).timeout(TIMEOUT)), freeze) })
            .await;
    check_failed(&failed.unwrap(), "Sandbox.Timedout", TIMED_OUT);
    let beside = scene.invoke(json!({})).await;
    assert_ne!(beside.environment, id, "a frozen one gets no invocation");
    assert!(!fs::exists(&status).unwrap(), "it has not answered");
    scene.host.thaw(&id).unwrap();
    assert_eq!(lines(&status, 1).await, ["410"]);
}

#[tokio::test]
async fn a_crash_is_the_answer() {
    let scene = start(function()).await;
    let crashed = scene.invoke(json!({ "exit": 3 })).await;
    let message =
        format!("RequestId: {} Error: Runtime exited with error: exit status 3", crashed.request_id);
    check_failed(&crashed, "Runtime.ExitError", &message);
    let without = scene.invoke(json!({ "exit": 0 })).await;
    check_failed(&without, "Runtime.ExitError", "Runtime exited without providing a reason");
    let after = scene.invoke(json!({})).await;
    assert!(after.is_ok() && after.environment != crashed.environment);
}

#[tokio::test]
async fn a_killed_environment_is_a_crash() {
    let scene = start(function()).await;
    let event = json!({ "wait": scene.file("never") }).to_string();
    let kill = async {
        let busy = scene.stages(vec![Stage::Busy]).await;
        scene.host.kill(&busy[0].id).unwrap();
        busy[0].clone()
    };
    let (failed, killed) =
        within(async { tokio::join!(scene.host.invoke(Invoke::new("f", event)), kill) }).await;
    check_failed(&failed.unwrap(), "Runtime.ExitError", "signal: killed");
    group_is_gone(killed.group).await;
    scene.stages(Vec::new()).await;
    assert!(scene.host.kill(&killed.id).is_err(), "there is nothing to kill");
}

#[tokio::test]
async fn an_idle_environment_that_is_killed_is_replaced() {
    let scene = start(function()).await;
    let before = scene.invoke(json!({})).await;
    scene.host.kill(&before.environment).unwrap();
    let after = scene.invoke(json!({})).await;
    assert!(after.is_ok() && after.environment != before.environment);
}

#[tokio::test]
async fn a_crash_in_the_start_is_tried_once_more() {
    for (exits, is_ok) in [(1, true), (2, false)] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log").display().to_string();
        let mut function = function();
        function.environment.insert("INIT_LOG".into(), log.clone());
        function.environment.insert("INIT_EXITS".into(), exits.to_string());
        let scene = start(function).await;
        let invoked = scene.invoke(json!({})).await;
        assert_eq!(invoked.is_ok(), is_ok, "{invoked:?}");
        if !is_ok {
            check_failed(&invoked, "Runtime.ExitError", "Error: Runtime exited with error: exit status 7");
        }
        assert_eq!(lines(&log, 2).await, ["init", "init"]);
        assert_eq!(scene.host.environments().len(), usize::from(is_ok));
    }
}

#[tokio::test]
async fn an_error_in_the_start_is_the_answer() {
    let mut function = function();
    function.environment.insert("INIT_ERROR".into(), "no module named app".into());
    let scene = start(function).await;
    let invoked = scene.invoke(json!({})).await;
    check_failed(&invoked, "Runtime.ImportModuleError", "no module named app");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_the_answer() {
    let mut function = function();
    function.command = vec!["./no-such-program".to_owned()];
    let scene = start(function).await;
    let invoked = scene.invoke(json!({})).await;
    check_failed(&invoked, "Runtime.InvalidEntrypoint", "No such file or directory (os error 2)");
}

#[tokio::test]
async fn an_extension_that_crashes_in_the_start_is_the_answer() {
    let mut function = function();
    function.extensions = vec![program("extension.py")];
    function.environment.insert("EXTENSION_EXITS".into(), "1".into());
    let scene = start(function).await;
    let invoked = scene.invoke(json!({})).await;
    check_failed(&invoked, "Extension.Crash", "extension extension.py: exit status 5");
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_a_timeout() {
    let mut function = function();
    // It never calls the Runtime API.
    function.command = vec!["sleep".to_owned(), "1000".to_owned()];
    function.timeout = Duration::from_millis(300);
    let mut config = Config::of(vec![function]);
    config.init = Duration::from_millis(200);
    let host = Host::start(config, Logs::discard()).await.unwrap();
    let invoked = within(host.invoke(Invoke::new("f", ""))).await.unwrap();
    check_failed(&invoked, "Sandbox.Timedout", "Task timed out after 0.30 seconds");
    assert_eq!(json(&invoked)["errorType"], "Sandbox.Timedout");
    assert!(host.environments().is_empty());
}
