//! Histories, which record what clients saw, and a checker that decides whether the promises allow
//! them.
//!
//! * [`History`], [`Transaction`], [`Operation`] – an event log whose values identify their writer,
//!   so that a read identifies a version with no help from the system under test.
//! * [`Recorder`], [`KeyNames`] – ways to record a history while transactions run.
//! * [`text`] – the text format, which public isolation checkers read too. [`read_file`] reads it.
//! * [`check()`], [`check_file`] – the checker. It returns a [`Report`] with a [`Level`] and typed
//!   [`Violation`]s, each with a witness that a person can follow. The module `check` describes the
//!   method.
//! * [`check_durable`] – checks, after all faults have healed, that every acknowledged write is
//!   still there.
//!
//! This crate depends on no other crate of this repository, and judges the history of any store.

mod check;
mod history;
mod ids;
mod key_names;
mod recorder;
mod report;
pub mod text;
mod transaction;
mod violation;

pub use check::{
    CheckFileError, Durability, Loss, Malformed, Options, Readers, check, check_durable, check_file,
    read_file,
};
pub use history::History;
pub use ids::{Key, RequestId, SessionId, Stamp, TransactionId, Value};
pub use key_names::KeyNames;
pub use recorder::Recorder;
pub use report::{Counts, Level, Report, Serializability, Staleness, Stamps};
pub use transaction::{Operation, Outcome, Transaction};
pub use violation::{Because, Cycle, Direction, Edge, Promise, Version, Violation};
