//! The paper's standard transaction as a load: two functions, each one write and two reads of 4 KiB, keys by a zipf law.

mod options;
mod report;

pub use options::{Length, Options, Pace, Target, Workload};
pub use report::Report;

use crate::error::Result;

/// Runs the load and measures it. Prints nothing.
///
/// # Errors
/// If the options contradict each other, or the target cannot be reached at all. Transactions that fail are counted in the report.
pub async fn run(options: Options) -> Result<Report> {
    options.check()?;
    Err(crate::Error::Options("the load generator is not wired yet".into()))
}
