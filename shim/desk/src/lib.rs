//! The inner half of every door: the rights and limits of a caller, and its transactions from
//! opening to commit. The outer half belongs to a protocol: it parses calls, and maps every
//! [`Refused`] to an error document.
//!
//! ```text
//!   a door ─► Desk::caller ─► Caller ─► Caller::key, Plan          rights, prefix, limits
//!                                 │
//!                                 ├──► Opening ─► Ready::run ─► Outcome   a transaction of its own
//!                                 ├──► Caller::run, commit, list, abort   a call on an open one
//!                                 └──► large::store, large::read          values part by part
//!                                                  │
//!                                                  ▼
//!                                             NodeHandle
//! ```
//!
//! * [`Desk`] – the node, the credentials and the bounds that all doors of a process share.
//!   [`Settings`] (`settings`) – each bound with its reason.
//! * [`Caller`] (`caller`) – a call's tenant at the desk: the only way to a key, to an opening and
//!   to memory for bodies. A handler that does not check a right gets no key to read or write.
//! * [`Meter`], [`Share`] (`share`) – the bound for all large bodies together.
//! * [`Plan`] (`plan`) – checked operations. [`Opening`], [`Ready`], [`Held`] (`opening`) – a
//!   transaction from its begin, and its abort if its client never learns of it.
//! * [`Outcome`], [`Reads`], [`ReadValue`] (`outcome`, `reads`) – the results.
//! * [`large`] – uploads and downloads of large values, in bounded memory.
//! * [`Refused`], [`Doubt`] (`refused`) – every reason why a call is rejected or fails.
//!
//! # Clients that disconnect
//! A client that disconnects loses nothing that was acknowledged. Its call is dropped where it
//! waits. A verb that the node has already taken is still carried out, so a commit takes effect as
//! a whole or not at all, and a look-up by the request's ID returns which. A transaction whose
//! client never learned of it is aborted. One that is left open ends at its deadline.
//!
//! This crate has no HTTP type, no encoding, no protocol decision and no credentials file.

mod caller;
pub mod large;
mod opening;
mod outcome;
mod plan;
mod reads;
mod refused;
mod settings;
mod share;

pub use caller::Caller;
pub use opening::{Asked, Held, Open, Opened, Opening, Ready};
pub use outcome::Outcome;
pub use plan::Plan;
pub use reads::{Got, ReadValue, Reads, Version, attributes_of, value_of};
pub use refused::{Cause, Doubt, Refused, Result};
pub use settings::{NAME_BYTES_MAX, RESULT_BYTES_MAX, Settings};
pub use share::{Meter, Share, with_copies};

use std::sync::Arc;

use aft_access::{Access, Presented, Secret, Unauthorized};
use aft_node::NodeHandle;

use crate::share::Bodies;

/// The parts that all callers share: the node, the credentials and the bounds.
#[derive(Debug)]
pub struct Desk {
    node: NodeHandle,
    access: Arc<Access>,
    settings: Settings,
    bodies: Bodies,
}

impl Desk {
    /// Makes a desk in front of `node`, for the callers that `access` admits.
    pub fn new(node: NodeHandle, access: Arc<Access>, settings: Settings) -> Arc<Desk> {
        let bodies = Bodies::new(settings.bodies_bytes_max);
        Arc::new(Desk { node, access, settings, bodies })
    }

    /// Returns the node.
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Returns true if there are no credentials: every caller has every right.
    pub fn is_open(&self) -> bool {
        self.access.is_open()
    }

    /// Returns the server itself as a caller, with every right: for what it does by itself.
    pub fn server(self: &Arc<Desk>) -> Caller {
        Caller::new(self.clone(), None)
    }

    /// Returns the secret of an access key, to verify a signature; `None` if there is no such key.
    pub fn secret_of(&self, access_key: &str) -> Option<Secret> {
        if self.access.is_open() { None } else { self.access.secret_of(access_key) }
    }

    /// Returns the bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the caller that makes a call, and counts the call against its limits. `presented` is
    /// not evaluated if there are no credentials.
    ///
    /// # Errors
    /// Returns [`Refused::Denied`] if the caller is not known, or exceeds its rate.
    pub fn caller<'a>(
        self: &Arc<Desk>,
        presented: impl FnOnce() -> std::result::Result<Presented<'a>, Unauthorized>,
    ) -> Result<Caller> {
        aft_core::room!();
        if self.access.is_open() {
            return Ok(Caller::new(self.clone(), None));
        }
        let presented = presented().map_err(|why| Refused::Denied(why.into()))?;
        let tenant = self.access.tenant(presented)?;
        tenant.call()?;
        Ok(Caller::new(self.clone(), Some(tenant)))
    }
}
