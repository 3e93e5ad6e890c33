//! A store that injects faults: a decorator that delays, drops, repeats or postpones the calls to
//! any other store.
//!
//! * [`FaultyStore`] – the decorator; a clone shares the faults, the counts and the effects that
//!   are still pending.
//! * [`Faults`] – the faults to inject, as plain data; they can be changed and switched off at any
//!   time.
//! * [`Latency`] – distributions of delays, with profiles of well-known stores for benchmarks.
//! * [`Call`], [`Counts`] – the faults that were injected, by class of call.
//!
//! Every injected fault is something that a real store may do under the contract of
//! [`aft_store::Store`]. So a caller that fails on one has a bug. Each piece of a commit may have a
//! fault of its own.
//!
//! # Requests and cost
//! Those of the store inside, plus the injected repetitions; [`Counts`] counts both.
//!
//! # What it is not
//! It is not a broken store. Planted bugs (a create that lets two writers win) are in the tests of
//! the conformance suite.

mod commit;
mod faults;
mod store;

pub use faults::{Call, Counts, Faults, Latency};
pub use store::FaultyStore;
