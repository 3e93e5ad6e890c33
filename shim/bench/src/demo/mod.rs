//! Bank transfers made of real processes that are killed, run twice and come back late; without the shim, then with it.

pub mod function;
mod options;

pub use options::{OpenStore, Options};

use std::fmt;

use crate::error::Result;

/// Runs the demo: the work straight to the store, then through `aft serve`, both with the same seed. Draws progress on standard error
/// (if that is a terminal) and writes the HTML report; prints nothing else.
///
/// # Errors
/// If the store or the server cannot be started, or a file cannot be written.
pub async fn run(options: Options) -> Result<Outcome> {
    let _ = options;
    Err(crate::Error::Options("the demo is not wired yet".into()))
}

/// What both runs found. `Display` is the table for people; [`Outcome::json`] the object for programs.
#[derive(Debug, Clone)]
pub struct Outcome {
    shim_is_clean: bool,
}

impl Outcome {
    /// Whether the run through the shim kept every promise: the exit code's ground.
    pub fn shim_is_clean(&self) -> bool {
        self.shim_is_clean
    }

    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        String::new()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shim_is_clean)
    }
}
