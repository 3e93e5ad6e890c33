//! Invocations, from a caller's request to its answer.
//!
//! * `kinds` – requests, answers and rejections. `perform` – the way of one invocation.
//! * `http` – the Invoke API. `queue` – events, which nobody waits for.

pub(crate) mod http;
pub(crate) mod kinds;
pub(crate) mod perform;
pub(crate) mod queue;

pub use kinds::{Delivery, Invoke, InvokeError, Invoked};
pub use queue::{EventEnd, Queued};
