//! The storage seam: the interface between the shim and a store.
//!
//! * [`Store`] – the trait that every adapter implements, with its contract.
//! * [`Name`], [`Space`], [`Tag`] – structured names and opaque version tags.
//! * [`Capabilities`] – the features and limits of an adapter. [`Costs`] – the number and the price
//!   of its requests.
//! * [`Writes`], [`Committed`] – the writes of one commit, made in one call, and their outcome.
//!   [`ScanPage`] – names across groups, listed in one call. [`Heads`] – the first of each common
//!   prefix alone; [`Picking`] – picks them.
//! * [`Damage`] – objects among the names that cannot be read as names.
//! * [`TimeHeard`] – the store's own time, as carried by one of its answers.
//! * [`unescaped`] – decodes the %-escapes in a part of a store's URL.
//! * [`Error`] – a few kinds, which differ in whether the call may have taken effect.
//! * `conformance` (feature) – the suite that every adapter's tests and `aft store probe` run.
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
pub use scan::Picking;
pub use store::{
    BODIES_AT_ONCE, Capabilities, Committed, Costs, Created, GroupPage, Heads, ItemPage, PART_BYTES_BEYOND,
    Position, Replaced, Requests, ScanPage, Scanned, Store, TIMES_KEPT_MAX, Tag, TimeHeard, Units, Writes,
};
pub use url::unescaped;
