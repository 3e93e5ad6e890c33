//! `cargo xtask …`: the project's own commands, one file each.
//!
//! * [`test`] – every test, with a heading per step and a countable last line.
//! * [`ci`] – format, lints and [`test`].
//! * [`services`] – the real servers that tests run against: fetched, and run by hand.
//! * [`figures`] – the paper's evaluation, measured and drawn.
//! * [`simulate`] – the simulator in release: one seed, many seeds, or a time.
//! * [`torture`] – the end-to-end kill -9 loop for a time.
//!
//! [`step`] runs a child process, [`totals`] reads what test programs say. Nothing depends on this crate.

mod ci;
mod figures;
mod services;
mod simulate;
mod step;
mod test;
mod torture;
mod totals;

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
    /// What a change must pass: format, lints, every test.
    Ci,
    /// Fetch the real servers that tests run against, and run them until Ctrl-C.
    Services(services::Arguments),
    /// Measure the paper's figures against real servers, and write docs/figures/: some 40 minutes.
    Figures(figures::Arguments),
    /// Run the simulator in release.
    Simulate(simulate::Arguments),
    /// Kill a loaded server with SIGKILL over and over, and check what it promised.
    Torture(torture::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Ci => ci::run(),
        Task::Services(arguments) => services::run(&arguments),
        Task::Figures(arguments) => figures::run(&arguments),
        Task::Simulate(arguments) => simulate::run(&arguments),
        Task::Torture(arguments) => torture::run(&arguments),
    }
}
