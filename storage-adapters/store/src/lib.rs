//! The storage seam: what the shim asks of a store, and nothing more.
//!
//! * [`Store`] – the trait that every adapter implements, with its contract.
//! * [`Name`], [`Space`], [`Tag`] – structured names and opaque version tags.
//! * [`Capabilities`] – what an adapter can do and what it costs to wait for it. [`Costs`] – what its requests cost.
//! * [`Writes`], [`Committed`] – what one commit writes, in one call. [`ScanPage`] – names across groups, in one call.
//! * [`Damage`] – what lies among the names and cannot be read as one.
//! * [`TimeHeard`] – the store's own time, as its answers carried it.
//! * [`unescaped`] – a part of a store's URL.
//! * [`Error`] – few kinds, told apart by what may have happened to the call.
//! * `conformance` (feature) – one suite that every adapter's tests and `aft store probe` run.
//!
//! This crate does not know what a transaction is, and adapters take no protocol decisions.

mod damage;
mod error;
mod name;
mod scan;
mod store;
mod url;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use damage::Damage;
pub use error::{Error, Result};
pub use name::{Name, Space};
pub use store::{
    BODIES_AT_ONCE, Capabilities, Committed, Costs, Created, GroupPage, ItemPage, Position, Replaced,
    Requests, ScanPage, Scanned, Store, TIMES_KEPT_MAX, Tag, TimeHeard, Units, Writes,
};
pub use url::unescaped;
