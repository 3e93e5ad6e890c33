//! Opening: a first look at the server that turns each mistake into a sentence.
//!
//! ```text
//!   URL ─► connect, AUTH, SELECT, TIME ─► a look (`look`) ─► SET identity NX, if it has none ─► SCRIPT LOAD
//!          is it there, a Redis, ours?    old, clustered,    which store is it?                may it run scripts?
//!                                         a replica, evicting?
//!                                         what does an acknowledgement mean?
//! ```
//!
//! Some fifteen requests, of which the identity alone writes, once in a store's life. That writes
//! decide atomically is the race probe's business, which `aft serve` runs first.

use crate::link::Link;
use crate::location::Location;
use crate::look::Fsync;
use crate::{OpenError, Options};

/// The server's configuration at the opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) fsync: Fsync,
    /// Warnings for an operator.
    pub(crate) cautions: Vec<String>,
}

pub(crate) async fn open(url: &str, options: &Options) -> Result<(Link, Facts), OpenError> {
    let mut location = Location::parse(url)?;
    if location.password.is_none() {
        location.password.clone_from(&options.password);
    }
    let link = Link::new(location, options.look_every)?;
    let asked = link.asked("open", &"the server");
    let seen = link.first_look(&asked).await?;
    seen.check().map_err(|problem| OpenError::Unfit { url: link.url.clone(), problem })?;
    let facts = Facts { fsync: seen.fsync, cautions: seen.cautions(&link.url) };
    link.settle(&asked, seen).await?;
    link.load_all(&asked).await?;
    Ok((link, facts))
}
