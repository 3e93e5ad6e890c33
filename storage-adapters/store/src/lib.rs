//! The storage seam: what the shim asks of a store, and nothing more.
//!
//! * [`Store`] – the trait that every adapter implements, with its contract.
//! * [`Name`], [`Space`], [`Tag`] – structured names and opaque version tags.
//! * [`Capabilities`] – what an adapter can do and what it costs to wait for it. [`Costs`] – what its requests cost.
//! * [`unescaped`] – a part of a store's URL.
//! * [`Error`] – few kinds, told apart by what may have happened to the call.
//! * `conformance` (feature) – one suite that every adapter's tests and `aft store probe` run.
//!
//! This crate does not know what a transaction is, and adapters take no protocol decisions.

mod error;
mod name;
mod store;
mod url;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use error::{Error, Result};
pub use name::{Name, Space};
pub use store::{Capabilities, Costs, Created, GroupPage, ItemPage, Replaced, Requests, Store, Tag, Units};
pub use url::unescaped;
