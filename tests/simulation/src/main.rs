//! `aft-simulation`: runs seeds, or replays one with its trace.
//!
//! ```text
//! aft-simulation --seed X [--trace]      one seed; with its story
//! aft-simulation --seeds N [--seed X]    N seeds from X on
//! aft-simulation --minutes N [--seed X]  seeds from X on for N minutes
//!                [--set NAME=VALUE]      with a part of every plan changed
//!                [--shrink]              makes the plan of a broken promise smaller
//!                [--bug NAME]            with a fault planted in the core
//! ```
//! Exit code 1 if a promise was broken; the seed and how to replay it are printed.

use std::process::ExitCode;

fn main() -> ExitCode {
    aft_sim::command::command::<aft_simulation::Shim>()
}
