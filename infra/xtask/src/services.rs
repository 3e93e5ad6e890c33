//! `cargo xtask services`: fetches the real servers that tests run against, and runs them by hand.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::step::{self, Outcome, Running};

/// The program's name, and that of its package.
const PROGRAM: &str = "aft-services";

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

/// Fetches the servers that the tests need, and returns true if all are there.
pub(crate) fn fetch() -> bool {
    let (build, fetch) = start_fetch();
    build.ok && fetch.is_some_and(|fetch| fetch.finish().ok)
}

/// Starts to fetch the servers that the tests need, and returns the steps: the build of the program
/// that fetches, and the fetch itself, unless that program was not built. Fetching is a step of its
/// own because no test downloads, and runs beside the caller's builds because much of it waits.
pub(crate) fn start_fetch() -> (Outcome, Option<Running>) {
    // With the features of the whole workspace, as the tests are built: what this program needs is
    // not compiled a second time for them.
    let mut command = step::cargo(["build", "--locked", "--workspace", "--bin", PROGRAM]);
    command.arg("--message-format=json-render-diagnostics");
    let mut built = None;
    let build = step::read_lines("Build the program that fetches services", command, |line| {
        built = executable(line).or(built.take());
    });
    let running = built.filter(|_| build.ok).map(|path| {
        let mut command = Command::new(path);
        command.arg("--fetch").current_dir(step::root());
        step::start("Fetch the services that tests run against", command)
    });
    (build, running)
}

fn program() -> Command {
    step::cargo(["run", "--locked", "--quiet", "--package", PROGRAM, "--"])
}

/// Returns the path of the program that fetches, if a line of cargo's JSON messages has it.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["target"]["name"] != PROGRAM {
        return None;
    }
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_its_message() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"aft-services"},
            "executable":"/r/target/debug/aft-services"}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/r/target/debug/aft-services")));
        for line in [
            "not JSON",
            r#"{"reason":"compiler-artifact","target":{"name":"aft_services"},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
    }
}
