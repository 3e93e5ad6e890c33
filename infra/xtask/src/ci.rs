//! `cargo xtask ci`: what a change must pass.

use std::process::ExitCode;

use crate::{step, test};

/// Runs it; every step runs, whatever the others said.
pub(crate) fn run() -> ExitCode {
    let format = step::run("Check the format", step::cargo(["fmt", "--all", "--", "--check"]));
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let lints = step::run("Check the lints", step::cargo(lints));
    let (tests, totals) = test::steps();
    let steps: Vec<_> = [format, lints].into_iter().chain(tests).collect();
    test::finish(&steps, totals)
}
