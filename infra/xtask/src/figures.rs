//! `cargo xtask figures`: runs the paper's evaluation on this machine and writes `docs/figures/`
//! and the summary in `docs/benchmarks.md`.

use std::process::ExitCode;

use crate::step::{self, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Options for the program; `cargo xtask figures -- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// Fetches the servers, builds in release mode, and measures. The binary `aft` is built as well:
/// the measuring program starts it where AFT is compared with other servers.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let measures_nothing = arguments.options.iter().any(|option| option == "--render" || option == "--help");
    if !measures_nothing && !crate::services::fetch() {
        return ExitCode::FAILURE;
    }
    if !measures_nothing {
        let aft = step::cargo(["build", "--locked", "--package", "aft", "--release"]);
        if let Outcome { ok: false, .. } = step::run("Build aft", aft) {
            return ExitCode::FAILURE;
        }
    }
    let mut command = step::cargo(["run", "--locked", "--package", "aft-figures"]);
    if !measures_nothing {
        command.arg("--release");
    }
    command.arg("--");
    command.args(&arguments.options);
    step::replace("Figures", command)
}
