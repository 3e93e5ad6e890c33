//! Opening a store: a first look at the server, which turns each mistake of configuration into a
//! message.
//!
//! ```text
//!   connect, AUTH, SELECT, TIME    the server is there, is a Redis, and accepts the password
//!   a look (`look`)                it is new enough, no cluster or replica, and does not evict;
//!                                  what does an acknowledgement mean?
//!   SET identity NX                the store gets an identity, if it has none
//!   SCRIPT LOAD                    scripts are allowed
//! ```
//!
//! These are about fifteen requests. Only that of the identity writes, once in a store's life.
//! Whether writes are atomic is tested by the race probe, which `aft serve` runs first.

use crate::link::Link;
use crate::location::Location;
use crate::look::Fsync;
use crate::{OpenError, Options};

/// The server's configuration at the opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The time at which the server fsyncs writes.
    pub(crate) fsync: Fsync,
    /// Warnings for an operator.
    pub(crate) cautions: Vec<String>,
}

/// Connects to the server at `url`, checks that it can keep a store, gives the store an identity if
/// it has none, and loads the scripts.
pub(crate) async fn open(url: &str, options: &Options) -> Result<(Link, Facts), OpenError> {
    let mut location = Location::parse(url)?;
    if location.password.is_none() {
        location.password.clone_from(&options.password);
    }
    let link = Link::new(location, options.look_every)?;
    let asked = link.asked("open", &"the server");
    let seen = link.first_look(&asked).await?;
    seen.check().map_err(|problem| OpenError::Unfit { url: link.url().to_owned(), problem })?;
    let facts = Facts { fsync: seen.fsync, cautions: seen.cautions(link.url()) };
    link.settle(&asked, seen).await?;
    link.load_all(&asked).await?;
    Ok((link, facts))
}
