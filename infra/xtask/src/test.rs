//! `cargo xtask test`: builds the binary `aft` (the end-to-end tests start it), then runs every test of the workspace.

use std::process::ExitCode;

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
    let build = step::run("Build the binary aft", step::cargo(["build", "--locked", "--package", "aft"]));
    let mut steps = vec![build];
    if steps[0].ok {
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
    println!("{totals}");
    if steps.iter().all(|step| step.ok) && totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
