//! The caller of a call, an argument of every handler of the API.

use std::ops::Deref;
use std::sync::Arc;

use aft_access::Right;
use aft_core::ids::Key;
use aft_net::Peer;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::auth::presented;
use crate::body::Budget;
use crate::failure::{Failure, Result};
use crate::path;
use crate::router::Door;

/// A tenant at the desk, and the door at which it calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    desk: aft_desk::Caller,
    door: Arc<Door>,
}

impl FromRequestParts<Arc<Door>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Parts, door: &Arc<Door>) -> Result<Caller> {
        aft_core::room!();
        let desk = door.desk.caller(|| presented(&head.headers, head.extensions.get::<Peer>()))?;
        Ok(Caller { desk, door: door.clone() })
    }
}

impl Deref for Caller {
    type Target = aft_desk::Caller;

    fn deref(&self) -> &aft_desk::Caller {
        &self.desk
    }
}

impl Caller {
    /// Returns the door.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Parses a percent-encoded key in a path, and checks that the caller may use it with `right`.
    pub(crate) fn key_in_path(&self, encoded: &str, right: Right) -> Result<Key> {
        Ok(self.key(&path::decode(encoded, "the key", false)?, right)?)
    }

    /// Checks that the caller may see the requests of all tenants.
    pub(crate) fn need_to_see_all(&self) -> Result<()> {
        self.need(Right::Admin)?;
        match self.credential() {
            Some(credential) if !credential.prefix.is_empty() => Err(Failure::forbidden(
                "prefix",
                format!(
                    "by=hash finds the requests of all tenants, so it needs an admin credential with the empty prefix, and {:?} has the prefix {:?}: look the request up by its ID, or by its transaction (by=transaction)",
                    credential.name, credential.prefix
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the memory for this caller's bodies.
    pub(crate) fn budget(&self) -> Budget {
        Budget(self.meter())
    }
}
