//! Goal: the clients in other languages pass their own tests. Method: each language's tests run as
//! a child process against a server that is started here. The cases on which all clients must agree
//! are in `shim/clients/vectors.json`, which the Rust client's unit tests read as well.
//!
//! `AFT_SKIP_SERVICES=python,node` leaves a language out; its test then counts as skipped.
//! `AFT_CLIENT_SEED` chooses the instants at which connections are cut.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aft_e2e::binary::{finish, is_skipped};
use aft_e2e::server::Server;

/// The time limit of a language's tests: far above the half minute that they take, on a machine
/// that is shared.
const TIME_MAX: Duration = Duration::from_secs(600);

fn folder(name: &str) -> PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/e2e lies two folders below the root").join("shim/clients").join(name)
}

/// Runs the tests of the client `name` against a server of their own. `at_least` is the oldest
/// version of `program`, `package` the package that installs it.
fn check(name: &str, program: &str, arguments: &[&str], at_least: &str, package: &str) {
    if is_skipped(name) {
        return;
    }
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(
        found,
        "{program} ({at_least} or newer) is missing: install it (Debian: apt-get install {package}), or set AFT_SKIP_SERVICES={name}"
    );
    let server = Server::start("memory:");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder(name))
        .env("AFT_URL", format!("http://{}", server.address()))
        .env("PYTHONPATH", "src")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = finish(&mut command, TIME_MAX);
    println!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(0), "the tests of shim/clients/{name} failed; see their output above");
}

#[test]
fn python() {
    check("python", "python3", &["-m", "unittest", "discover", "-s", "tests"], "3.9", "python3");
}

#[test]
fn node() {
    check("node", "node", &["--test"], "18", "nodejs");
}
