//! Histories and their checker: what clients saw, written down, and whether the promises allow it.
//!
//! * [`History`], [`Transaction`], [`Operation`] – an event log whose values name their writer, so that a read
//!   identifies a version with no help from the system under test.
//! * [`Recorder`], [`KeyNames`] – ways to write a history down as it happens.
//! * [`text`] – the text format, which public isolation checkers read too.
//! * [`check()`], [`check_file`] – the checker: a [`Report`] with a [`Level`] and typed [`Violation`]s, each with a
//!   witness that a person can follow. How it decides is told in the module `check`.
//! * [`check_durable`] – after healing: is every acknowledged write still there?
//!
//! This crate knows nothing of the shim: it depends on no other crate of the house, and judges any store whose
//! history it is given.

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
};
pub use history::History;
pub use ids::{Key, RequestId, SessionId, Stamp, TransactionId, Value};
pub use key_names::KeyNames;
pub use recorder::Recorder;
pub use report::{Counts, Level, Report, Serializability, Staleness, Stamps};
pub use transaction::{Operation, Outcome, Transaction};
pub use violation::{Because, Cycle, Direction, Edge, Promise, Version, Violation};
