//! `cargo xtask ci`: the checks that a change must pass.

use std::process::ExitCode;

use crate::{step, test};

/// Runs the format check, the lints and every test; a step that fails does not stop the others.
pub(crate) fn run() -> ExitCode {
    let format = step::run("Check the format", step::cargo(["fmt", "--all", "--", "--check"]));
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let lints = step::run("Check the lints", step::cargo(lints));
    let (tests, totals) = test::steps();
    let steps: Vec<_> = [format, lints].into_iter().chain(tests).collect();
    test::finish(&steps, totals)
}
