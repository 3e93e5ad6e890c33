//! The calls of the native API, one file for each kind.

mod call;
mod conditional;
mod content;
mod idempotency;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod one_operation;
mod outcome;
pub(crate) mod requests;
pub(crate) mod results;
pub(crate) mod status;
pub(crate) mod transactions;
mod values;
