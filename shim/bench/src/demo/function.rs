//! A function of the demo's platform: a process of its own, started by the demo as `aft demo-function ORDER`.

use std::process::ExitCode;

/// Carries out one order: the hidden subcommand `demo-function`, whose single positional argument is passed on as it stands.
pub async fn run(order: &str) -> ExitCode {
    let _ = order;
    ExitCode::FAILURE
}
