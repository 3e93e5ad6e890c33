//! Workloads, the load generator and the demo: what `aft bench` and `aft demo` run.
//!
//! * [`standard`] – the paper's standard transaction, run against a server, against a node in this
//!   process, or directly against a store. It reports latencies, anomalies, and store requests per
//!   transaction.
//! * [`demo`] – bank transfers by real processes that are killed, run twice, and finish late; first
//!   without the shim, then with it.
//! * [`exactly_once`] – requests whose functions die halfway, run plainly, with an idempotency
//!   record, and through the shim. It counts double and half effects.
//! * [`Transactions`] – a store's own transactions, which [`standard`] compares the shim with.
//! * `platform` – the simulated serverless platform of [`demo`] and [`exactly_once`]: attempts that
//!   die or are late, requests that are delivered twice, retries.
//! * `progress` – bars on a terminal while a run lasts.
//! * [`svg`] – shared parts of plots: axes with round ticks, their labels, escaped text.
//! * [`Figures`], [`LatencyMs`] – the results of a run, with the same fields for [`standard`] and
//!   [`demo`].
//! * [`machine`] – the machine that a run was measured on, in one line.
//! * [`Error`] – the reason why a run could not be carried out. The faults that a run *finds* are
//!   in its report, not here.
//!
//! This crate reads no command line, environment or settings file. The binary does, and passes
//! plain options.

mod counting;
pub mod demo;
mod error;
pub mod exactly_once;
mod figures;
mod http;
mod latency;
mod machine;
mod platform;
mod progress;
pub mod standard;
pub mod svg;
mod transactions;
mod zipf;

pub use error::{Ended, Error};
pub use figures::{Anomalies, Figures};
pub use latency::LatencyMs;
pub use machine::describe as machine;
pub use transactions::Transactions;
