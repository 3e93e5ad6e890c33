//! `cargo xtask services`: fetches the real servers that tests run against, and runs them by hand.

use std::process::{Command, ExitCode};

use crate::step::{self, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only fetch the servers that are missing; start none.
    #[arg(long)]
    fetch: bool,
    /// The servers to fetch and run. The default is those of the everyday tests (minio, moto,
    /// redis, dynamodb) that `AFT_SKIP_SERVICES` does not name. The others are ceph, for long
    /// tests, and etcd, restate and powertools, which the figures compare AFT with.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Replaces this process with the program that runs the servers. Ctrl-C then reaches only that
/// program, and the shell waits until it has stopped the servers.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let mut command = program();
    if arguments.fetch {
        command.arg("--fetch");
    }
    command.args(&arguments.services);
    step::replace("Services", command)
}

/// Fetches the servers that the tests need. This is a step of its own because no test downloads.
pub(crate) fn fetch() -> Outcome {
    let mut command = program();
    command.arg("--fetch");
    step::run("Fetch the services that tests run against", command)
}

fn program() -> Command {
    step::cargo(["run", "--locked", "--quiet", "--package", "aft-services", "--"])
}
