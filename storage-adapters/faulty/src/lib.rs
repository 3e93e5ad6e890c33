//! A store that delays, drops, duplicates and lands late: a decorator around any other.
//!
//! * [`FaultyStore`] – the decorator; a clone shares faults, counts and what is still to land.
//! * [`Faults`] – what to inject, as plain data; can be changed and switched off while it runs.
//! * [`Latency`] – distributions of delays, with profiles of well-known stores for benchmarks.
//! * [`Call`], [`Counts`] – what was injected, per call class.
//!
//! Everything injected is something that a real store may do under the contract of [`aft_store::Store`]; nothing more. So a caller that
//! fails on it has a bug. Of a commit each piece may meet a fate of its own.
//!
//! # Requests and cost
//! Those of the store inside, plus the injected repetitions; [`Counts`] has both.
//!
//! # What it is not
//! A broken store. Planted bugs (a create that lets two writers win) are in the tests of the conformance suite.

mod commit;
mod faults;
mod store;

pub use faults::{Call, Counts, Faults, Latency};
pub use store::FaultyStore;
