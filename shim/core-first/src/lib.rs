//! The AFT protocol as a pure state machine: no I/O, no clock, no randomness, no async, no serialisation, no logging.
//!
//! ```text
//!   Input ──► Node::step(now, input, &mut outputs) ──► Output
//! ```
//!
//! * [`message`] – what goes in and out: verbs and replies, store calls and answers, peer messages.
//! * [`ids`], [`record`], [`store`] – identifiers, durable objects, and what is asked of a store, as plain data.
//! * [`settings`] – every bound and time.
//! * [`Node`] – the state machine. What clients wait for: `begin`, `run` (reads and writes), `reading` (which version a read gets), `list`,
//!   `commit`, `transaction` (what an open one read and would write). What nobody waits for: `publish`; `maintain`, which goes through what is
//!   stored, with `enter` (its first look at an intent: the versions enter the store's listing), `retire` (its second look: the intent goes),
//!   `supersede` (which transactions no reader needs any more), `collect` (those go), `pace` (how fast they go beside commits). Beneath all of
//!   them: `index` (what the node knows of committed versions), `calls` (store calls under way), `script` (flows of several calls as
//!   straight code), `tasks` (scripts under way).
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
