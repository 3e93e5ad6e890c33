//! A store in memory: the reference for the other adapters, and what the simulator and the tests run on.
//!
//! * [`MemoryStore`] – the store; a clone shares the objects.
//!
//! # Requests and cost
//! None: every call is one walk of a B-tree under an uncontended lock, completes on its first poll and never yields, so a
//! single-threaded simulator may call it in any order and stay deterministic. A transaction costs one create, one put and one put a key,
//! each well under a microsecond.
//!
//! # What it is not
//! Durable. What is acknowledged is gone with the process. It does not copy bodies either: a body that is a slice of a larger buffer keeps
//! that buffer alive.

mod objects;
mod store;

pub use store::MemoryStore;
