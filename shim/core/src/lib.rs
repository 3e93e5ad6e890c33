//! The AFT protocol as a pure state machine: no I/O, no clock, no randomness, no async, no
//! serialisation, no logging.
//!
//! ```text
//!   Input ──► Node::step(now, input, &mut outputs) ──► Output
//! ```
//!
//! * [`message`] – inputs and outputs: verbs and replies, store calls and answers, tells of peers.
//! * [`ids`], [`record`], [`store`], [`sweep`] – identifiers, durable objects, store calls and a
//!   sweep's notes, as plain data.
//! * [`clock`] – the store's time, and ages.
//! * [`settings`] – every bound and time.
//! * `isolation` – the levels, which [`message`] exports; `session` – how a session grows.
//! * [`Node`] – the state machine. `node/base` holds its owners of state, `node/serve` the verbs
//!   for which clients wait, and `node/upkeep` the background work.
//!
//! The rules are those of `docs/protocol.md`; each file names its own and why it holds.

/// Marks this file for the trace of rooms that a call passes.
#[cfg(feature = "rooms")]
#[macro_export]
macro_rules! room {
    () => {
        $crate::rooms::pass(file!())
    };
}
/// Marks this file for the trace of rooms that a call passes. Nothing without the feature `rooms`.
#[cfg(not(feature = "rooms"))]
#[macro_export]
macro_rules! room {
    () => {};
}

pub mod bug;
pub mod clock;
pub mod ids;
mod isolation;
pub mod message;
mod node;
pub mod record;
#[cfg(feature = "rooms")]
pub mod rooms;
mod session;
pub mod settings;
pub mod store;
pub mod sweep;

pub use node::Node;
