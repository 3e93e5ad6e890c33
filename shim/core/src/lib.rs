//! The AFT protocol as a pure state machine: no I/O, no clock, no randomness, no async, no serialisation, no logging.
//!
//! ```text
//!   Input ──► Node::step(now, input, &mut outputs) ──► Output
//! ```
//!
//! * [`message`] – what goes in and out: verbs and replies, store calls and answers, peer messages.
//! * [`ids`], [`record`], [`store`] – identifiers, durable objects, and what is asked of a store, as plain data.
//! * [`settings`] – every bound and time.
//! * [`Node`] – the state machine, one file a verb: `begin`, `run` (reads and writes), `list`, `commit`, `publish`, `maintain`, `collect`.
//!
//! The rules are those of the design's `protocol.md`; each file states its own and why it holds.

pub mod bug;
pub mod ids;
pub mod message;
mod node;
pub mod record;
pub mod settings;
pub mod store;

pub use node::Node;
