//! Workloads, the load generator and the demo: what `aft bench` and `aft demo` run.
//!
//! * [`standard`] – the paper's standard transaction, against a server, a node in process, or straight against a store; latencies,
//!   anomalies, store requests per transaction.
//! * [`demo`] – bank transfers made of real processes that are killed, run twice and come back late; without the shim, then with it.
//! * [`exactly_once`] – requests that die halfway, plain, with an idempotency record and through the shim: double and half effects.
//! * [`svg`] – what plots share: axes with round ticks, their numbers, text in markup.
//! * [`Figures`], [`LatencyMs`] – what a run tells, the same in both.
//! * [`machine`] – what it was measured on, in a line.
//! * [`Error`] – why a run could not be carried out. What a run *finds* is in its report, not here.
//!
//! This crate reads no command line, no environment and no settings file; the binary does, and hands over plain options.

mod counting;
pub mod demo;
mod error;
pub mod exactly_once;
mod figures;
mod http;
mod latency;
mod machine;
pub mod standard;
pub mod svg;
mod zipf;

pub use error::Error;
pub use figures::{Anomalies, Figures};
pub use latency::LatencyMs;
pub use machine::describe as machine;
