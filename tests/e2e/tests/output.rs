//! Goal: a command whose output cannot be written says so by its exit status, and does not panic.
//! Method: give it /dev/full as standard output, or a pipe that nobody reads.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

use aft_e2e::binary::command;

/// Runs `aft` with a standard output that cannot be written, and returns its exit code and standard
/// error.
fn run_onto(stdout: impl Into<Stdio>, arguments: &[&str]) -> (Option<i32>, String) {
    let child = command(arguments).stdout(stdout).spawn().expect("the program starts");
    let ended = child.wait_with_output().expect("it ends");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has it").into()
}

/// Returns the writing end of a pipe whose reader has left.
fn closed() -> Stdio {
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().expect("true is there");
    let pipe = reader.stdin.take().expect("piped");
    reader.wait().expect("it ends");
    pipe.into()
}

#[test]
fn output_that_cannot_be_written_ends_a_command_with_a_status() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (history, credentials, report) = (path("history.txt"), path("credentials.toml"), path("report.html"));
    std::fs::write(&history, "w(1,1,0,0)\nr(1,1,1,1)\n").expect("a file can be written");
    let store = format!("local:{}", path("store"));
    let made = command(&["store", "init", &store]).status().expect("the program starts");
    assert!(made.success());
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["settings"],
        &["check", &history],
        &["store", "init", &store],
        &["store", "show", &store],
        &["store", "show", &store, "--json"],
        &["store", "probe", "memory:"],
        &["maintain", &store, "--once"],
        &["credentials", "token"],
        &["credentials", "add", "shop", "--prefix", "shop/", "--allow", "read", &credentials],
        &["bench", "standard", "--store", "memory:", "--transactions", "10", "--keys", "10"],
        &["bench", "exactly-once", "--store", "memory:", "--requests", "5", "--crashes", "0"],
        &["demo", "--requests", "4", "--store", "memory:", "--report", &report],
    ] {
        for (what, stdout) in [("full", full()), ("closed", closed())] {
            let (code, stderr) = run_onto(stdout, arguments);
            assert_eq!(code, Some(2), "{arguments:?} with a {what} output: {stderr}");
            assert!(!stderr.contains("panicked") && stderr.contains("standard output"), "{stderr}");
        }
    }
    // A token that nobody has seen must not be one that opens something.
    assert!(!Path::new(&credentials).exists(), "no credential was added");
}
