//! `cargo xtask test`: fetches the real servers that tests run against and builds the binary `aft` (the end-to-end tests start both), then runs
//! every test of the workspace.

use std::process::ExitCode;

use crate::services;
use crate::step::{self, Outcome};
use crate::totals::Totals;

/// Runs it; the last line printed is the totals.
pub(crate) fn run() -> ExitCode {
    let (steps, totals) = steps();
    finish(&steps, totals)
}

/// The steps, and what the test programs counted.
pub(crate) fn steps() -> (Vec<Outcome>, Totals) {
    let mut totals = Totals::default();
    // Should that fail, the tests that need a service fail too and say why; the others still tell what they find.
    let fetch = services::fetch();
    let build = step::run("Build the binary aft", step::cargo(["build", "--locked", "--package", "aft"]));
    let built = build.ok;
    let mut steps = vec![fetch, build];
    if built {
        // One failing program must not hide the others: all of them run.
        let command = step::cargo(["test", "--workspace", "--locked", "--no-fail-fast"]);
        steps.push(step::run_lines("Run every test", command, |line| totals.read(line)));
    }
    // A program that did not compile, or died without a result, fails without a count of its own.
    if steps.iter().any(|step| !step.ok) && totals.failed == 0 {
        totals.failed = 1;
    }
    (steps, totals)
}

/// Prints the summary and the totals, and gives the exit code.
pub(crate) fn finish(steps: &[Outcome], totals: Totals) -> ExitCode {
    println!("\n=== Summary");
    for step in steps {
        println!("{}", step.line());
    }
    for left_out in totals.left_out() {
        println!("{:>8}  {left_out}", "skipped");
    }
    println!("{totals}");
    if steps.iter().all(|step| step.ok) && totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
