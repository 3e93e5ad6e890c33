//! Freezes, extensions, and the ends of environments and hosts.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use aft_lambda_host::{Config, EnvironmentInfo, Invoke, Stage};
use serde_json::json;

use crate::support::{
    LIMIT, function, group_is_gone, group_states, lines, program, start, start_with, until, within,
};

/// The name of the test that a killed host runs in.
const KILLED: &str = "life::a_host_that_waits_to_be_killed";
/// The variable with the file in which it writes its group.
const GROUP_FILE: &str = "AFT_LAMBDA_HOST_TEST_GROUP";

#[tokio::test]
async fn an_idle_environment_is_frozen_until_its_next_event() {
    let mut function = function();
    function.freeze = true;
    let scene = start(function).await;
    let file = scene.file("count");
    let count = || fs::read_to_string(&file).ok().and_then(|text| text.parse::<u64>().ok());
    let is_frozen = |list: &[EnvironmentInfo]| list.iter().all(|one| one.is_stopped) && list.len() == 1;

    // The function leaves a thread behind, which counts.
    let first = scene.invoke(json!({ "count": file })).await;
    let group = within(scene.host.wait_for(is_frozen)).await[0].group;
    until(|| group_states(group).values().all(|&state| state == 'T').then_some(())).await;
    let before = count();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(count(), before, "a frozen thread makes no progress");

    let go = scene.file("go");
    let second = scene.host.invoke(Invoke::new("f", json!({ "wait": go }).to_string()));
    let progress = async {
        until(|| (count() > before).then_some(())).await;
        fs::write(&go, "").unwrap();
    };
    let (second, ()) = within(async { tokio::join!(second, progress) }).await;
    assert_eq!(second.unwrap().environment, first.environment);
    within(scene.host.wait_for(is_frozen)).await;
    scene.host.stop().await;
    group_is_gone(group).await;
}

#[tokio::test]
async fn an_extension_gets_its_events_and_the_runtime_ends_first() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").display().to_string();
    for freeze in [false, true] {
        let _ = fs::remove_file(&log);
        let mut function = function();
        function.freeze = freeze;
        function.extensions = vec![program("extension.py")];
        function.environment.insert("EXTENSION_LOG".into(), log.clone());
        function.environment.insert("TERM_LOG".into(), log.clone());
        let scene = start(function).await;
        for id in ["r-1", "r-2"] {
            let invoke = Invoke::new("f", "{}").request_id(id);
            assert!(within(scene.host.invoke(invoke)).await.unwrap().is_ok());
        }
        let [environment] = &scene.stages(vec![Stage::Idle]).await[..] else { panic!("there are others") };
        within(scene.host.stop()).await;
        let expect = ["register 200 f", "INVOKE r-1", "INVOKE r-2", "runtime SIGTERM", "SHUTDOWN spindown"];
        assert_eq!(lines(&log, 5).await, expect, "freeze: {freeze}");
        group_is_gone(environment.group).await;
    }
}

#[tokio::test]
async fn an_extension_that_does_not_end_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").display().to_string();
    let mut function = function();
    function.extensions = vec![program("extension.py")];
    function.environment.insert("EXTENSION_LOG".into(), log.clone());
    function.environment.insert("EXTENSION_IS_STUBBORN".into(), "1".into());
    let mut config = Config::of(vec![function]);
    config.shutdown = Duration::from_millis(300);
    let scene = start_with(config).await;
    assert!(scene.invoke(json!({})).await.is_ok());
    let group = scene.stages(vec![Stage::Idle]).await[0].group;
    let lines = std::sync::Arc::clone(&scene.lines);
    within(scene.host.stop()).await;
    group_is_gone(group).await;
    let said =
        lines.lock().unwrap().iter().any(|line| line.text.contains("SIGKILL: an extension has not ended"));
    assert!(said);
}

#[tokio::test]
async fn a_timeout_tells_the_extension() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").display().to_string();
    let mut function = function();
    function.extensions = vec![program("extension.py")];
    function.environment.insert("EXTENSION_LOG".into(), log.clone());
    let scene = start(function).await;
    let never = scene.file("never");
    let invoke = Invoke::new("f", json!({ "wait": never }).to_string()).request_id("r-1");
    let failed = scene.host.invoke(invoke.timeout(Duration::from_secs(2)));
    assert!(!within(failed).await.unwrap().is_ok());
    assert_eq!(lines(&log, 3).await, ["register 200 f", "INVOKE r-1", "SHUTDOWN timeout"]);
}

#[tokio::test]
async fn an_idle_environment_is_reaped() {
    let mut config = Config::of(vec![function()]);
    config.idle = Duration::from_millis(100);
    let scene = start_with(config).await;
    assert!(scene.invoke(json!({})).await.is_ok());
    scene.stages(Vec::new()).await;
    assert!(scene.invoke(json!({})).await.is_ok(), "another one is started");
}

#[tokio::test]
async fn output_and_the_hosts_own_lines_are_passed_on() {
    let scene = start(function()).await;
    let invoked = scene.invoke(json!({ "print": "a line of the function" })).await;
    let has = |text: &str| scene.text().iter().any(|line| line.contains(text)).then_some(());
    until(|| has("a line of the function")).await;
    until(|| has(&format!("START RequestId: {} Version: $LATEST", invoked.request_id))).await;
    until(|| has("REPORT RequestId")).await;
}

#[tokio::test]
async fn a_dropped_host_leaves_no_process() {
    let scene = start(function()).await;
    let event = json!({ "wait": scene.file("never") }).to_string();
    let group = {
        let mut invoked = std::pin::pin!(scene.host.invoke(Invoke::new("f", event)));
        tokio::select! {
            _ = &mut invoked => panic!("it waits"),
            busy = scene.stages(vec![Stage::Busy]) => busy[0].group,
        }
    };
    assert!(group_states(group).len() >= 2, "the leader and the runtime");
    drop(scene);
    group_is_gone(group).await;
}

/// A host without a chance to clean up: the leaders of its groups do it, also in groups that are
/// stopped.
#[tokio::test]
async fn a_killed_host_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("group");
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", KILLED, "--ignored", "--nocapture"])
        .env(GROUP_FILE, &file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let group: i32 = lines(&file.display().to_string(), 1).await[0].parse().unwrap();
    until(|| group_states(group).values().all(|&state| state == 'T').then_some(())).await;
    assert!(group_states(group).len() >= 3, "the leader, the runtime and its child");
    host.kill().unwrap();
    host.wait().unwrap();
    group_is_gone(group).await;
}

/// The other half of the test above.
#[tokio::test]
#[ignore = "it is run by another test, which kills it"]
async fn a_host_that_waits_to_be_killed() {
    let Some(file) = std::env::var_os(GROUP_FILE) else { return };
    let mut function = function();
    function.freeze = true;
    // Neither the end of the connection nor the kernel's SIGHUP for a stopped group ends this one.
    let runtime = function.command.join(" ");
    function.command =
        ["sh", "-c", &format!("trap '' HUP; sleep 1000 & exec {runtime}")].map(str::to_owned).into();
    let scene = start(function).await;
    assert!(scene.invoke(json!({})).await.is_ok());
    let frozen = within(scene.host.wait_for(|list| list.iter().all(|one| one.is_stopped))).await;
    fs::write(file, format!("{}\n", frozen[0].group)).unwrap();
    tokio::time::sleep(LIMIT).await;
}
