//! `cargo xtask test`: fetches the real servers that tests run against and, at the same time,
//! builds the binary `aft` (the end-to-end tests start both) and the tests; then runs every test of
//! the workspace.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::step::{self, Outcome, Running};
use crate::totals::Totals;
use crate::{programs, services};

/// Runs every test; the last line printed is the totals.
pub(crate) fn run() -> ExitCode {
    let (steps, totals) = steps();
    finish(&steps, totals)
}

/// Runs the steps, and returns them with the totals of the test programs.
pub(crate) fn steps() -> (Vec<Outcome>, Totals) {
    let mut totals = Totals::default();
    let (build_fetch, fetch) = services::start_fetch();
    let build = step::run("Build the binary aft", step::cargo(["build", "--locked", "--package", "aft"]));
    let built = build.ok;
    let mut steps = vec![build_fetch, build];
    let mut programs = Vec::new();
    if built {
        let (build, built) = programs::build();
        steps.push(build);
        programs = built;
    }
    // If this failed, the tests that need a service fail too and say why; the other tests still
    // run.
    steps.extend(fetch.map(Running::finish));
    if built {
        steps.push(programs::run(programs, &mut totals));
        let examples = step::cargo(["test", "--workspace", "--locked", "--no-fail-fast", "--doc", "--quiet"]);
        steps.push(step::read_lines("Run the examples in docs", examples, |line| {
            // A closed terminal is no reason to stop the tests: the exit status still reports the
            // result.
            let _ = writeln!(io::stdout(), "{line}");
            totals.read(line);
        }));
    }
    // A program that did not compile, or that died without a result line, has counted no failure:
    // count one, so that the totals never claim success.
    if steps.iter().any(|step| !step.ok) && totals.failed == 0 {
        totals.failed = 1;
    }
    (steps, totals)
}

/// Prints the summary and the totals, and returns the exit code.
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
