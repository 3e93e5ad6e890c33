//! `cargo xtask simulate`: runs the simulator, built in release mode.

use std::process::ExitCode;

use crate::step;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Replay this seed; with `--seeds` or `--minutes`, start at this seed.
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
    /// Print every event of the replayed seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run seeds for N minutes.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// Run N seeds.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
}

impl Arguments {
    /// Returns the arguments in the form that the simulator's own program takes.
    fn list(&self) -> Vec<String> {
        let mut list = Vec::new();
        for (name, value) in [("--seed", self.seed), ("--minutes", self.minutes), ("--seeds", self.seeds)] {
            if let Some(value) = value {
                list.extend([name.to_owned(), value.to_string()]);
            }
        }
        if self.trace {
            list.push("--trace".to_owned());
        }
        list
    }
}

/// Builds and runs the simulator with `arguments`.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let list = arguments.list();
    if list.is_empty() {
        eprintln!("nothing to run: pass --seed X [--trace], --seeds N, or --minutes N");
        return ExitCode::from(2);
    }
    let mut command =
        step::cargo(["run", "--release", "--locked", "--quiet", "--package", "aft-simulation", "--"]);
    command.args(list);
    let outcome = step::run("Simulate", command);
    println!("\n{}", outcome.line());
    if outcome.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
