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
    /// Change a part of every plan. `--shrink` prints such changes.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Make the plan of a broken promise smaller, and print the changes.
    #[arg(long)]
    shrink: bool,
    /// Plant this bug of `shim/core/src/bug.rs` in the core.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
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
        let bug = self.bug.iter().map(|bug| ["--bug", bug]);
        let changes = self.set.iter().map(|change| ["--set", change]);
        list.extend(bug.chain(changes).flatten().map(str::to_owned));
        if self.shrink {
            list.push("--shrink".to_owned());
        }
        list
    }
}

/// Builds and runs the simulator with `arguments`.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let Arguments { seed, minutes, seeds, .. } = arguments;
    let list = arguments.list();
    if seed.or(*minutes).or(*seeds).is_none() {
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
