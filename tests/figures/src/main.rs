//! The paper's evaluation, as far as one machine can show it: `cargo xtask figures`.
//!
//! * [`data`] – what is measured, as it is written down.
//! * [`write`] – data.json, CSV, plots, page and the summary, made of it.

mod data;
mod write;

fn main() {}
