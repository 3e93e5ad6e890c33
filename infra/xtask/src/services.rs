//! `cargo xtask services`: the real servers that tests run against, fetched, and run by hand.

use std::process::{Command, ExitCode};

use crate::step::{self, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only fetch them, if they are not there yet.
    #[arg(long)]
    fetch: bool,
    /// Which ones; without names those of the everyday tests (minio, moto, redis, dynamodb) that `AFT_SKIP_SERVICES` does not name. There is also ceph, for long tests, and etcd, restate and powertools, which figures compare with.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs it. The program takes this one's place, so that Ctrl-C reaches it alone and the shell waits until it has stopped them.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let mut command = program();
    if arguments.fetch {
        command.arg("--fetch");
    }
    command.args(&arguments.services);
    step::replace("Services", command)
}

/// Brings what the tests need: a step of its own, since no test downloads.
pub(crate) fn fetch() -> Outcome {
    let mut command = program();
    command.arg("--fetch");
    step::run("Fetch the services that tests run against", command)
}

fn program() -> Command {
    step::cargo(["run", "--locked", "--quiet", "--package", "aft-services", "--"])
}
