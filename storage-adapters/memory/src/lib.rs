//! A store in memory: the reference for the other adapters, and the store under the simulator and
//! the tests.
//!
//! * [`MemoryStore`] – the store; a clone shares the objects.
//!
//! # Requests and cost
//! There are no requests: every call walks B-trees under one uncontended lock, completes on its
//! first poll and never yields. So a single-threaded simulator may call the store in any order and
//! stay deterministic. A commit takes the lock once, and writes every piece that fits the bound on
//! bodies, or nothing if the record's name is taken; each piece costs well under a microsecond. A
//! page of a scan is one walk and includes the bodies, which are shared, not copied.
//!
//! # What it is not
//! It is not durable: acknowledged writes are lost when the process ends. And it does not copy
//! bodies: a body that is a slice of a larger buffer keeps that buffer alive.

mod objects;
mod store;

pub use store::MemoryStore;
