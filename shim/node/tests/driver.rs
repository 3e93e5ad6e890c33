//! Goal: the driver keeps the core's promises in the real world of tasks, queues, timeouts and
//! faulty stores. Method: real nodes on the memory store, with faults, hangs, panics and cancelled
//! callers. Each test that draws random numbers prints its seed first.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

#[path = "driver/bank.rs"]
mod bank;
#[path = "driver/claiming.rs"]
mod claiming;
#[path = "driver/client.rs"]
mod client;
#[path = "driver/collect.rs"]
mod collect;
#[path = "driver/limits.rs"]
mod limits;
#[path = "driver/metrics_names.rs"]
mod metrics_names;
#[path = "driver/opening.rs"]
mod opening;
#[path = "driver/reports.rs"]
mod reports;
#[path = "driver/requests.rs"]
mod requests;
#[path = "driver/several.rs"]
mod several;
#[path = "driver/stops.rs"]
mod stops;
#[path = "driver/trouble.rs"]
mod trouble;
#[path = "driver/values.rs"]
mod values;
