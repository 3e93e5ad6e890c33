//! A store in memory: the reference for the other adapters, and what the simulator and the tests run on.
//!
//! * [`MemoryStore`] – the store; a clone shares the objects.
//!
//! # Requests and cost
//! None: every call walks B-trees under one uncontended lock, completes on its first poll and never
//! yields, so a single-threaded simulator may call it in any order and stay deterministic. A commit
//! holds the lock once, and writes every piece that fits the bound on bodies, or, if the record's
//! name is taken, nothing; each piece costs well under a microsecond. A page of a scan is one walk,
//! and brings the bodies along: they are shared, not copied.
//!
//! # What it is not
//! Durable. What is acknowledged is gone with the process. It does not copy bodies either: a body that is a slice of a larger buffer keeps
//! that buffer alive.

mod objects;
mod store;

pub use store::MemoryStore;
