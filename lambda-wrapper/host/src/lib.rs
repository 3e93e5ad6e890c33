//! A local AWS Lambda, for tests, demos and development: functions run as ordinary processes on
//! this machine, behind the APIs that they find on Lambda.
//!
//! ```text
//!   SDK, CLI ──► Invoke API ──┐
//!                             ├─► pool of a function ──► environment ◄── Runtime API
//!   Host::invoke, Host::send ─┘   (concurrency)          (one process        Extensions API
//!                 (queue, retries)                        group)
//! ```
//!
//! * [`Host`] (`host`) – starts, invokes, and the faults that tests cause.
//! * [`Config`], [`Function`] (`config`) – a `functions.toml`, or the same in Rust.
//! * [`Invoke`], [`Invoked`] (`invoke`) – the way of one invocation, events with their `retries`,
//!   the Invoke API. `pool`, `choice` – the environments of a function. `arn` – names.
//! * `environment` – one environment: its start, its end, its output. `process` – its process
//!   group. `variables` – the variables of its processes. `api` – the APIs that they call.
//! * `machine` – the states of an environment as a pure state machine. `watched` holds it.
//! * [`Logs`] (`logs`) – the lines that processes write. `ids` – identifiers and clocks.
//!
//! It is no sandbox: functions have the rights of the process that starts them. It knows nothing of
//! the rest of this project.

mod api;
mod arn;
mod choice;
mod config;
mod environment;
mod host;
mod ids;
mod invoke;
mod logs;
mod machine;
mod pool;
mod process;
mod retries;
mod variables;
mod watched;

pub use bytes::Bytes;

pub use config::{Config, ConfigError, Function, OnTimeout};
pub use environment::EnvironmentId;
pub use host::{EnvironmentInfo, Host, NoSuchEnvironment, StartError};
pub use invoke::{Delivery, EventEnd, Invoke, InvokeError, Invoked, Queued};
pub use logs::{Line, Logs, Source};
pub use machine::Stage;
