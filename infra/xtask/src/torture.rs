//! `cargo xtask torture`: runs the end-to-end tests that kill loaded servers, stop them and set
//! their clocks, for a number of minutes against the release binary. It also runs the tests of the
//! first protocol's faults, with more commits.

use std::process::ExitCode;

use crate::step;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run each of the tests that have epochs for N minutes.
    #[arg(long, value_name = "N")]
    minutes: u64,
    /// Use the seed of an earlier run; the default is a fresh seed. It determines when servers are
    /// killed, but not how the operating system schedules them.
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
}

/// Builds the binary, and runs the tests against it.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let binary = step::target().join("release/aft");
    let build = step::run(
        "Build the binary aft in release",
        step::cargo(["build", "--release", "--locked", "--package", "aft"]),
    );
    let mut steps = vec![build];
    if steps[0].ok {
        let mut command = step::cargo(["test", "--locked", "--package", "aft-e2e", "--no-fail-fast"]);
        // Each test runs for the full time, so they run one after the other.
        command.args(["--test", "kill", "--test", "lives", "--test", "faults", "--", "--nocapture"]);
        command.arg("--test-threads=1");
        command.env("AFT_BIN", binary).env("AFT_TORTURE_MINUTES", arguments.minutes.to_string());
        if let Some(seed) = arguments.seed {
            command.env("AFT_TORTURE_SEED", seed.to_string());
        }
        steps.push(step::run("Torture", command));
    }
    println!();
    for step in &steps {
        println!("{}", step.line());
    }
    if steps.iter().all(|step| step.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
