//! The inner half of every door: what a caller may do, how much of it, and how its transactions are
//! opened, run and committed. The outer half is a protocol's: it parses calls, and gives every
//! [`Refused`] its error document.
//!
//! ```text
//!   a door ─► Desk::caller ─► Caller ─► Caller::key, Plan          rights, prefix, limits
//!                                 │
//!                                 ├──► Opening ─► Ready::run ─► Outcome       a transaction of its own
//!                                 ├──► Caller::run, commit, list, abort       a call on an open one
//!                                 └──► large::store, large::read              values part by part
//!                                                  │
//!                                                  ▼
//!                                             NodeHandle
//! ```
//!
//! * [`Desk`] – the node, the credentials and the bounds that all doors of a process share.
//!   [`Settings`] (`settings`) – each bound with its reason.
//! * [`Caller`] (`caller`) – a call's tenant at the desk: the one way to a key, to an opening and to
//!   memory for bodies. A handler that forgets to ask for a right has no key to read or write with.
//! * [`Meter`], [`Share`] (`share`) – the bound for all large bodies together.
//! * [`Plan`] (`plan`) – checked operations. [`Opening`], [`Ready`], [`Held`] (`opening`) – a
//!   transaction from its begin, and its abort if nobody hears of it.
//! * [`Outcome`], [`Reads`], [`ReadValue`] (`outcome`, `reads`) – the results.
//! * [`large`] – large values on their way in and out, in bounded memory.
//! * [`Refused`], [`Doubt`] (`refused`) – every reason for which a call is not carried out.
//!
//! # A client that goes away
//! loses nothing that was acknowledged. Its call is dropped where it waits: a verb that the node has
//! taken is carried out all the same, so a commit takes effect whole or not at all, and the request's
//! ID tells which; a transaction whose client never heard of it is aborted; one that is left open
//! ends by its deadline.
//!
//! What is not here: no HTTP type, no encoding, no protocol decision, no file of credentials.

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
pub use opening::{Asked, Held, Opening, Ready};
pub use outcome::Outcome;
pub use plan::Plan;
pub use reads::{Got, ReadValue, Reads, Version, attributes_of, value_of};
pub use refused::{Cause, Doubt, Refused, Result};
pub use settings::{NAME_BYTES_MAX, RESULT_BYTES_MAX, Settings};
pub use share::{Meter, Share, with_copies};

use std::sync::Arc;

use aft_access::{Access, Presented, Unauthorized};
use aft_node::NodeHandle;

use crate::share::Bodies;

/// The parts that all callers share: the node, the credentials, the bounds.
#[derive(Debug)]
pub struct Desk {
    node: NodeHandle,
    access: Arc<Access>,
    settings: Settings,
    bodies: Bodies,
}

impl Desk {
    /// Makes a desk before a node, for the callers that `access` lets in.
    pub fn new(node: NodeHandle, access: Arc<Access>, settings: Settings) -> Arc<Desk> {
        let bodies = Bodies::new(settings.bodies_bytes_max);
        Arc::new(Desk { node, access, settings, bodies })
    }

    /// Returns the node.
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Returns the bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the caller that makes a call, and counts the call against its limits. `presented` is
    /// not asked where everybody gets in.
    ///
    /// # Errors
    /// Returns [`Refused::Denied`] if the caller is not known, or over its rate.
    pub fn caller<'a>(
        self: &Arc<Desk>,
        presented: impl FnOnce() -> std::result::Result<Presented<'a>, Unauthorized>,
    ) -> Result<Caller> {
        if self.access.is_open() {
            return Ok(Caller::new(self.clone(), None));
        }
        let presented = presented().map_err(|why| Refused::Denied(why.into()))?;
        let tenant = self.access.tenant(presented)?;
        tenant.call()?;
        Ok(Caller::new(self.clone(), Some(tenant)))
    }
}
