//! Goal: the commands that people and programs call keep their names, their exit codes and the
//! fields of their JSON. Method: run the binary to its end, and check its output.

use std::process::Command;
use std::time::{Duration, Instant};

use aft_e2e::binary::{Ran, aft, command, finish, is_skipped, run, run_in};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;
use serde_json::Value;

#[test]
fn every_command_has_help() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["bench", "--help"],
        &["bench", "exactly-once", "--help"],
        &["demo", "--help"],
        &["check", "--help"],
        &["import", "--help"],
        &["export", "--help"],
        &["store", "init", "--help"],
        &["store", "show", "--help"],
    ] {
        let ran = run(command);
        assert!(ran.code == Some(0) && ran.stdout.contains("Usage"), "{command:?}: {ran:#?}");
    }
    let ran = run(&["no-such-command"]);
    assert!(ran.code.is_some_and(|code| code != 0) && ran.stderr.contains("no-such-command"), "{ran:#?}");
}

/// Runs `aft check` on a history.
fn check(history: &str) -> Ran {
    check_with(history, &[])
}

fn check_with(history: &str, more: &[&str]) -> Ran {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("history.txt");
    std::fs::write(&file, history).expect("a file can be written");
    run(&[&["check", file.to_str().expect("names of temporary files are text")], more].concat())
}

#[test]
fn check_separates_good_histories_from_bad_ones() {
    let good = check("w(1,1,0,0)\nw(2,1,0,0)\nr(1,1,1,1)\nr(2,1,1,1)\nr(3,0,1,1)\n");
    assert_eq!(good.code, Some(0), "{good:#?}");
    // T1 reads key 1 as T0 wrote it, and key 2 as it was before T0.
    let fractured = check("w(1,1,0,0)\nw(2,1,0,0)\nr(1,1,1,1)\nr(2,0,1,1)\n");
    assert_eq!(fractured.code, Some(1), "{fractured:#?}");
    // Transaction -1 did not commit.
    let dirty = check("w(1,1,0,-1)\nr(1,1,1,1)\n");
    assert_eq!(dirty.code, Some(1), "{dirty:#?}");
}

#[test]
fn check_serializable_looks_for_one_order_of_all_transactions() {
    let in_turn = "r(1,0,0,0)\nw(1,1,0,0)\nr(1,1,1,1)\nw(1,2,1,1)\n";
    let ran = check_with(in_turn, &["--serializable"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("serializable: yes"), "{ran:#?}");
    // Both transactions found no value, and both wrote: read atomic, and an update is lost.
    let lost = "r(1,0,0,0)\nw(1,1,0,0)\nr(1,0,1,1)\nw(1,2,1,1)\n";
    assert_eq!(check(lost).code, Some(0));
    let ran = check_with(lost, &["--serializable"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("serializable: no"), "{ran:#?}");
}

/// The form is that of Plume and PolySI: `w(key,value,session,transaction)` a line, and nothing
/// else.
#[test]
fn check_writes_a_history_for_other_checkers() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (file, plain) = (path("history.txt"), path("plain.txt"));
    let history =
        "# A comment.\n#@ stamp 0 7\nw(1,1,0,0)\nw(2,9,3,-1)\n#@ unknown 4\nw(3,5,4,4)\nr(1,1,1,1)\n";
    std::fs::write(&file, history).expect("a file can be written");
    let ran = run(&["check", &file, "--plain", &plain]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let mut lines: Vec<_> = std::fs::read_to_string(&plain).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    // Nobody read what the unknown one wrote, so other checkers take it as aborted.
    assert_eq!(lines, ["r(1,1,1,1)", "w(1,1,0,0)", "w(2,9,3,-1)", "w(3,5,4,-1)"]);
    run(&["check", &file, "--plain", &file]).assert_refused(&["the history itself"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), history);
    run(&["check", &file, "--plain", "/no/such/dir/x"]).assert_refused(&["cannot write", "/no/such/dir/x"]);
    run(&["check", &file, "--plain", "/dev/full"]).assert_refused(&["cannot write", "/dev/full"]);
}

#[test]
fn check_rejects_a_file_that_is_not_a_history() {
    check("w(1,1,0,0)\nhello\n").assert_refused(&["hello", "line 2"]);
    check("r(1,0,0,0)\nw(1,0,1,1)\n").assert_refused(&[
        "history.txt: line 2",
        "value 0 is written to k1",
        "reserved",
    ]);
    for nothing in ["", "# a comment\n", "w(1,1,0,-1)\n"] {
        let ran = check(nothing);
        ran.assert_refused(&["nothing to judge"]);
        assert!(ran.code == Some(2) && ran.stdout.is_empty(), "{ran:#?}");
    }
    run(&["check", "/nowhere/history.txt"]).assert_refused(&["/nowhere/history.txt"]);
}

/// Checks the fields of `aft bench --json` on which programs rely.
fn assert_figures(figures: &Value, transactions: u64) {
    assert_eq!(figures["transactions"], transactions, "{figures:#}");
    assert!(figures["attempts"].as_u64().is_some_and(|attempts| attempts >= transactions), "{figures:#}");
    for path in [
        "/transactions_per_s",
        "/latency_ms/p50",
        "/latency_ms/p95",
        "/latency_ms/p99",
        "/latency_ms/max",
        "/seed",
    ] {
        assert!(figures.pointer(path).is_some_and(Value::is_number), "{path}: {figures:#}");
    }
    for path in ["/anomalies/own_write", "/anomalies/fractured"] {
        assert!(figures.pointer(path).is_some_and(Value::is_u64), "{path}: {figures:#}");
    }
    for path in ["/requests_per_transaction", "/errors", "/store", "/workload", "/direct"] {
        assert!(figures.pointer(path).is_some(), "{path}: {figures:#}");
    }
}

fn bench(more: &[&str]) -> Value {
    let arguments: Vec<_> =
        ["bench", "standard", "--transactions", "500", "--json"].iter().chain(more).copied().collect();
    run(&arguments).json()
}

#[test]
fn bench_through_the_shim_has_no_anomalies() {
    let figures = bench(&["--store", "memory:", "--seed", "7"]);
    assert_figures(&figures, 500);
    assert_eq!((&figures["direct"], &figures["seed"]), (&Value::Bool(false), &Value::from(7)), "{figures:#}");
    assert_eq!(figures["anomalies"], serde_json::json!({"own_write": 0, "fractured": 0}), "{figures:#}");
}

#[test]
fn bench_runs_straight_against_a_store() {
    let figures = bench(&["--store", "memory:", "--direct"]);
    assert_figures(&figures, 500);
    assert_eq!(figures["direct"], true, "{figures:#}");
}

/// Drives a server with clients, and lets `aft check` judge the history of what they saw.
#[test]
fn bench_drives_a_server_and_writes_a_history() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let server = Server::on(&directory.path().join("store"));
    let history = directory.path().join("history.txt");
    let history = history.to_str().expect("names of temporary files are text");
    let url = format!("http://{}", server.address());
    let figures = bench(&["--store", &url, "--history", history]);
    assert_figures(&figures, 500);
    assert_eq!(figures["anomalies"], serde_json::json!({"own_write": 0, "fractured": 0}), "{figures:#}");
    let ran = run(&["check", history]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

/// A server that is killed in the middle of a measurement of a minute: the figures until then are
/// printed soon, and the exit status and the message say that they are not the whole.
#[test]
fn bench_keeps_its_figures_when_the_server_goes_away() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let server = Server::on(&directory.path().join("store"));
    let url = format!("http://{}", server.address());
    let bench = command(&["bench", "standard", "--store", &url, "--seconds", "60", "--keys", "20", "--json"])
        .spawn()
        .expect("the program starts");
    // The preparation and the warm-up take a second or two.
    std::thread::sleep(Duration::from_secs(4));
    server.kill();
    let since = Instant::now();
    let ended = bench.wait_with_output().expect("it ends");
    assert!(since.elapsed() < Duration::from_secs(30), "it ended {:?} after the server", since.elapsed());
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&url) && stderr.contains("went away"), "{stderr}");
    let figures: Value = serde_json::from_slice(&ended.stdout).expect("the figures are printed");
    let number = |path: &str| figures.pointer(path).and_then(Value::as_f64).expect("a number");
    assert!(number("/transactions") > 10.0 && number("/errors/cannot_connect") > 0.0, "{figures:#}");
    // The rate is that of the time in which the server was there.
    assert!(number("/transactions_per_s") > number("/transactions") / 6.0, "{figures:#}");
}

/// Runs a bench on a terminal, and without one. Python opens the terminal.
#[test]
fn bench_shows_progress_on_a_terminal_only() {
    let arguments = ["bench", "standard", "--store", "memory:", "--seconds", "1", "--keys", "20"];
    let ran = run(&arguments);
    assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{ran:#?}");
    if is_skipped("python") {
        return;
    }
    let code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut python = Command::new("python3");
    python
        .args(["-c", code])
        .arg(aft())
        .args(arguments)
        .env("TERM", "xterm")
        .current_dir(std::env::temp_dir());
    let ran = finish(&mut python, Duration::from_secs(60));
    assert!(ran.code == Some(0) && ran.stdout.contains("shim: measuring"), "{ran:#?}");
}

/// Sweeps three times: the first moves the mark, the second removes what lies below it.
#[test]
fn maintain_reports_what_it_reclaims() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = format!("local:{}", directory.path().join("store").display());
    bench(&["--store", &store, "--keys", "20"]);
    let sweep = || {
        let ran = run(&["maintain", &store, "--once"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let line = ran.stdout.lines().find(|line| line.starts_with("removed: "));
        let line = line.unwrap_or_else(|| panic!("nothing is reported: {ran:#?}"));
        let number = |after: &str, before: &str| {
            let (_, rest) = line.split_once(after).expect(line);
            rest.split_once(before).expect(line).0.parse::<u64>().expect(line)
        };
        [number("removed: ", " superseded versions"), number("about ", " bytes")]
    };
    assert_eq!(sweep(), [0, 0], "nothing is below the mark");
    let [versions, bytes] = sweep();
    // 500 transactions and the preparation over 20 keys; each name is longer than 80 bytes.
    assert!(versions >= 500 && bytes >= 80 * versions, "{versions} versions, {bytes} bytes");
    assert_eq!(sweep(), [0, 0], "everything was removed before");
}

#[test]
fn maintain_rejects_a_directory_without_a_store() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = format!("local:{}", directory.path().join("misspelt").display());
    run(&["maintain", &store, "--once"]).assert_refused(&["misspelt", "no store here", "aft store init"]);
    assert!(!directory.path().join("misspelt").exists(), "nothing was made");
}

#[test]
fn maintain_makes_no_store_on_a_server() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let url = format!("{}-misspelt", store.url());
    for command in [&["maintain", &url, "--once"][..], &["store", "show", &url], &["maintain", &url]] {
        run_in(command, &store.environment()).assert_refused(&["misspelt: there is no store", "store init"]);
    }
}

#[test]
fn a_store_in_memory_has_nothing_to_show() {
    for command in [&["store", "show", "memory:"][..], &["maintain", "memory:", "--once"]] {
        run(command).assert_refused(&["lives in the process", "/readyz"]);
    }
}

#[test]
fn effects_are_exactly_once_through_the_shim_and_not_without_it() {
    let figures = run(&[
        "bench",
        "exactly-once",
        "--store",
        "memory:",
        "--requests",
        "200",
        "--crashes",
        "0.4",
        "--seed",
        "7",
        "--function-timeout",
        "0.3",
        "--retry-delay",
        "0.4",
        "--json",
    ])
    .json();
    let of = |run: &str, field: &str| {
        let path = format!("/runs/{run}/{field}");
        figures.pointer(&path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {figures:#}"))
    };
    // Crashes and retries leave no fault through the shim, and both kinds of fault without it.
    for field in ["double_effects", "half_effects", "halves_seen", "lost_effects"] {
        assert_eq!(of("aft", field), 0, "{field}: {figures:#}");
    }
    for run in ["plain", "record"] {
        assert!(of(run, "double_effects") > 0 && of(run, "half_effects") > 0, "{run}: {figures:#}");
    }
    // Otherwise the run has shown nothing.
    assert!(of("aft", "crashes") > 0 && of("aft", "acknowledged") > 100, "{figures:#}");
}

#[test]
fn exactly_once_rejects_a_server_and_bad_settings() {
    let with = |more: &[&str]| run(&[&["bench", "exactly-once", "--store"], more].concat());
    with(&["http://127.0.0.1:7400"]).assert_refused(&["server", "name the store"]);
    with(&["memory:", "--crashes", "1.5"]).assert_refused(&["crashes", "between 0 and 1"]);
}

#[test]
fn the_demo_shows_both_sides() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let report = directory.path().join("report.html");
    let report = report.to_str().expect("names of temporary files are text");
    let figures = run(&["demo", "--requests", "60", "--seed", "1", "--json", "--report", report]).json();
    let (direct, shim) = (faults(&figures["runs"]["direct"]), faults(&figures["runs"]["shim"]));
    assert_eq!(shim, 0, "through the shim: {figures:#}");
    assert!(direct > 0, "straight to the store: {figures:#}");
    both_levels(&figures, 12);
}

#[test]
fn the_demo_rejects_a_report_that_cannot_be_written_before_it_runs() {
    let demo = |report: &str| run(&["demo", "--requests", "4", "--store", "memory:", "--report", report]);
    let ran = demo("/no/such/dir/x.html");
    ran.assert_refused(&["/no/such/dir/x.html", "no directory", "--report"]);
    assert!(ran.code == Some(2) && ran.stdout.is_empty(), "{ran:#?}");
    // One that fails at the end does not take the figures with it.
    let ran = demo("/dev/full");
    assert!(ran.code == Some(2) && ran.stdout.contains("half done"), "{ran:#?}");
    assert!(ran.stderr.contains("/dev/full") && ran.stdout.contains("not written"), "{ran:#?}");
}

#[test]
fn the_demo_shows_both_levels_on_redis_and_removes_its_store() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let report = directory.path().join("report.html");
    let report = report.to_str().expect("names of temporary files are text");
    let url = store.url();
    let demo = ["demo", "--requests", "200", "--seed", "3", "--store", &url, "--json", "--report", report];
    let figures = run_in(&demo, &store.environment()).json();
    assert_eq!(faults(&figures["runs"]["shim"]), 0, "{figures:#}");
    both_levels(&figures, 40);
    // Forty transfers between sixteen accounts by eight workers must conflict.
    let count = |level: &str, field: &str| figures["balances"][level][field].as_u64().expect("a number");
    assert!(count("read_atomic", "overwritten") > 0, "{figures:#}");
    assert!(count("serializable", "conflicts") > 0, "{figures:#}");
    let page = std::fs::read_to_string(report).expect("the report is there");
    assert!(page.contains("<th>read_atomic</th><th>serializable</th>"), "{page}");
    let beside = figures["balances"]["store"].as_str().expect("a URL");
    let shown = run_in(&["store", "show", beside], &store.environment());
    shown.assert_refused(&[beside, "there is no store here"]);
}

#[test]
fn the_demo_shows_both_levels_in_memory() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let report = directory.path().join("report.html");
    let report = report.to_str().expect("names of temporary files are text");
    let demo =
        ["demo", "--requests", "30", "--seed", "5", "--store", "memory:", "--json", "--report", report];
    both_levels(&run(&demo).json(), 6);
}

/// Checks the balances: at both levels every transfer was acknowledged, and at `serializable` the
/// sums are exact.
fn both_levels(figures: &Value, transfers: u64) {
    for level in ["read_atomic", "serializable"] {
        let of = &figures["balances"][level];
        assert_eq!(of["transfers"], transfers, "{figures:#}");
        assert_eq!(of["acknowledged"], transfers, "{figures:#}");
        assert_eq!(of["double_effects"], 0, "{figures:#}");
    }
    let serializable = &figures["balances"]["serializable"];
    assert_eq!(serializable["sum_after"], serializable["sum_before"], "{figures:#}");
    assert_eq!(serializable["overwritten"], 0, "{figures:#}");
    assert_eq!(serializable["audits_off"], 0, "{figures:#}");
}

/// Returns the number of faults in a run.
fn faults(run: &Value) -> u64 {
    ["/anomalies/own_write", "/anomalies/fractured", "/half_done", "/double_effects", "/lost_effects"]
        .iter()
        .map(|path| run.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {run:#}")))
        .sum()
}
