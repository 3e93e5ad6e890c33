//! The native API's calls, one file a kind.

mod call;
mod conditional;
mod content;
mod idempotency;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod one_operation;
mod opening;
mod outcome;
pub(crate) mod requests;
pub(crate) mod results;
pub(crate) mod status;
pub(crate) mod transactions;
mod values;
