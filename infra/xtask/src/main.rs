//! `cargo xtask …`: the project's own commands, one file each.
//!
//! * [`test`] – every test, with a heading per step and the totals on the last line.
//! * [`ci`] – format, lints and [`test`].
//! * [`services`] – fetches the real servers that tests run against, and runs them by hand.
//! * [`figures`] – measures and draws the paper's evaluation.
//! * [`layer`] – builds the Lambda layer for Amazon Linux, as zips ([`zip`]).
//! * [`simulate`] – the simulator in release mode: one seed, many seeds, or a number of minutes.
//! * [`torture`] – the end-to-end `kill -9` loop, for a number of minutes.
//!
//! [`step`] runs a child process, [`programs`] runs test programs, and [`totals`] reads the results
//! that they print.
//! Nothing depends on this crate.

mod ci;
mod figures;
mod layer;
mod programs;
mod services;
mod simulate;
mod step;
mod test;
mod torture;
mod totals;
mod zip;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test. The last line is `N passed, N failed`, with `, N skipped` if any was.
    Test,
    /// Run what a change must pass: format, lints, every test.
    Ci,
    /// Fetch the real servers that tests run against, and run them until Ctrl-C.
    Services(services::Arguments),
    /// Measure the paper's figures against real servers and write docs/figures/ (about 40 minutes).
    Figures(figures::Arguments),
    /// Build the Lambda layer for Amazon Linux, as zips (about ten minutes an architecture).
    Layer(layer::Arguments),
    /// Run the simulator, built in release mode.
    Simulate(simulate::Arguments),
    /// Kill a loaded server with SIGKILL again and again, and check that it keeps its promises.
    Torture(torture::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Ci => ci::run(),
        Task::Services(arguments) => services::run(&arguments),
        Task::Figures(arguments) => figures::run(&arguments),
        Task::Layer(arguments) => layer::run(&arguments),
        Task::Simulate(arguments) => simulate::run(&arguments),
        Task::Torture(arguments) => torture::run(&arguments),
    }
}
