//! `cargo xtask ci`: the checks that a change must pass.

use std::process::{Command, ExitCode, Stdio};

use crate::{step, test};

/// Runs the format check, the lints, the check of dependencies and every test; a step that fails
/// does not stop the others.
pub(crate) fn run() -> ExitCode {
    let format = step::run("Check the format", step::cargo(["fmt", "--all", "--", "--check"]));
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let lints = step::run("Check the lints", step::cargo(lints));
    // The Lambda layer without the node is a build of its own.
    let proxy =
        ["clippy", "--package", "aft-layer", "--no-default-features", "--locked", "--", "-D", "warnings"];
    let proxy = step::run("Check the lints of the layer without the node", step::cargo(proxy));
    let mut steps = vec![format, lints, proxy];
    // The tests hold licences, sources and second versions against deny.toml without the tool. It
    // adds advisories, if it is installed and their data can be fetched.
    if is_there(step::cargo(["deny", "--version"])) {
        if is_there(step::cargo(["deny", "fetch", "db"])) {
            let advisories = step::cargo(["deny", "--workspace", "check", "advisories"]);
            steps.push(step::run("Check the advisories", advisories));
        } else {
            println!("advisories are not checked: their data cannot be fetched");
        }
    } else {
        println!("advisories are not checked: cargo install cargo-deny");
    }
    let (tests, totals) = test::steps();
    steps.extend(tests);
    test::finish(&steps, totals)
}

/// Returns true if a command succeeds; its output is not shown.
fn is_there(mut command: Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
