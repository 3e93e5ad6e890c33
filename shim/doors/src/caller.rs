//! Who makes a call: what every handler of the API works with.
//!
//! A [`Caller`] is the doors as one tenant sees them. Keys, openings, shares of the bound for bodies and look-ups go through it, so that a handler
//! which forgets to ask for a right has no key to read or write with.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aft_access::{Credential, Denied, Load, Right, Tenant};
use aft_core::ids::{AttemptId, Key, RequestHash};
use aft_format::{own_hash, own_hash_of, request_hash};
use aft_net::Peer;
use aft_node::fresh_attempt;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::auth::presented;
use crate::failure::{Failure, Result};
use crate::path;
use crate::router::Doors;
use crate::settings::TENANT;
use crate::share::{Meter, Share};

/// The doors, and who is at them.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    doors: Arc<Doors>,
    /// `None` without credentials: everybody is the tenant `local`, and may do everything.
    tenant: Option<Arc<Tenant>>,
}

impl FromRequestParts<Arc<Doors>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Parts, doors: &Arc<Doors>) -> Result<Caller> {
        let tenant = if doors.access.is_open() {
            None
        } else {
            let presented = presented(&head.headers, head.extensions.get::<Peer>()).map_err(Denied::from)?;
            let tenant = doors.access.tenant(presented)?;
            tenant.call()?;
            Some(tenant)
        };
        Ok(Caller { doors: doors.clone(), tenant })
    }
}

impl Deref for Caller {
    type Target = Doors;

    fn deref(&self) -> &Doors {
        &self.doors
    }
}

impl Caller {
    /// The doors, for what outlives the call.
    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }

    fn credential(&self) -> Option<&Credential> {
        self.tenant.as_ref().map(|tenant| tenant.credential())
    }

    /// Demands a right.
    pub(crate) fn need(&self, right: Right) -> Result<()> {
        match self.credential() {
            Some(credential) if !credential.rights.allow(right) => {
                Err(Denied::Right { name: credential.name.clone(), right }.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Demands what it takes to open a transaction.
    pub(crate) fn need_to_open(&self) -> Result<()> {
        self.need(Right::Read).or_else(|_| self.need(Right::Write))
    }

    /// Demands what it takes to see any tenant's request.
    pub(crate) fn need_to_see_all(&self) -> Result<()> {
        self.need(Right::Admin)?;
        match self.credential() {
            Some(credential) if !credential.prefix.is_empty() => Err(Failure::forbidden(
                "prefix",
                format!(
                    "by=hash finds the requests of all tenants, and takes an admin credential with the empty prefix; {:?} has {:?}: look a request up by its ID, or by its transaction (by=transaction)",
                    credential.name, credential.prefix
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A key that the caller may use so.
    pub(crate) fn key(&self, text: &str, right: Right) -> Result<Key> {
        self.need(right)?;
        let key = path::parse_key(text)?;
        match self.credential() {
            Some(credential) if !text.starts_with(credential.prefix.as_str()) => {
                Err(outside(credential, text))
            }
            Some(_) | None => Ok(key),
        }
    }

    /// A key in a path, percent-encoded, that the caller may use so.
    pub(crate) fn key_in_path(&self, encoded: &str, right: Right) -> Result<Key> {
        self.key(&path::decode(encoded, "the key", false)?, right)
    }

    /// The part of a listing's prefix that the caller may see.
    pub(crate) fn listed(&self, asked: &str) -> Result<String> {
        self.need(Right::Read)?;
        match self.credential() {
            Some(credential) if credential.prefix.starts_with(asked) => Ok(credential.prefix.clone()),
            Some(credential) if !asked.starts_with(&credential.prefix) => Err(outside(credential, asked)),
            Some(_) | None => Ok(asked.to_owned()),
        }
    }

    fn name(&self) -> &str {
        self.credential().map_or(TENANT, |credential| &credential.name)
    }

    /// The name of a request of this caller's.
    pub(crate) fn request_hash(&self, scope: &str, id: &str) -> RequestHash {
        request_hash(self.name(), scope, id)
    }

    /// The name of the request of an attempt of this caller's, if it was opened without one.
    pub(crate) fn own_hash(&self, attempt: AttemptId) -> RequestHash {
        match &self.tenant {
            Some(tenant) => own_hash_of(&tenant.credential().name, attempt),
            None => own_hash(attempt),
        }
    }

    /// Makes a name for a new attempt, which is this caller's. Attempts near the same text run on the same node of this process.
    pub(crate) fn fresh_attempt_near(&self, text: Option<&[u8]>) -> AttemptId {
        loop {
            // Chance gives each node its share: as many draws as there are nodes, on average.
            let attempt = self.fresh_attempt();
            if text.is_none_or(|text| self.node.is_near(attempt, text)) {
                return attempt;
            }
        }
    }

    fn fresh_attempt(&self) -> AttemptId {
        match &self.tenant {
            Some(tenant) => AttemptId(self.access.seal(fresh_attempt().0, tenant)),
            None => fresh_attempt(),
        }
    }

    /// Whether an attempt of this process is this caller's.
    pub(crate) fn opened(&self, attempt: &AttemptId) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| self.access.is_of(&attempt.0, tenant))
    }

    /// A place for a transaction that is being opened.
    pub(crate) fn enter(&self, attempt: AttemptId) -> Result<Place> {
        if let Some(tenant) = &self.tenant {
            tenant.enter(attempt.0)?;
        }
        Ok(Place { tenant: self.tenant.clone(), attempt })
    }

    /// Room for operations of an open transaction.
    pub(crate) fn load(&self, attempt: AttemptId, load: impl FnOnce() -> Load) -> Result<()> {
        match &self.tenant {
            Some(tenant) => Ok(tenant.load(attempt.0, load())?),
            None => Ok(()),
        }
    }

    /// A transaction has ended.
    pub(crate) fn leave(&self, attempt: AttemptId) {
        if let Some(tenant) = &self.tenant {
            tenant.leave(attempt.0);
        }
    }

    /// What counts the caller's bytes, and holds them against its limits.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(self.doors.bodies.clone(), self.tenant.clone())
    }

    /// The share of a body of so many bytes; a small one needs none.
    pub(crate) fn share(&self, bytes: usize) -> Result<Option<Share>> {
        self.meter().share(bytes)
    }

    /// Counts bytes of a reply.
    pub(crate) fn charge(&self, bytes: usize) {
        self.meter().charge(bytes);
    }
}

/// The refusal of a key, or of a listing's prefix, that is not the credential's.
fn outside(credential: &Credential, key: &str) -> Failure {
    let Credential { name, prefix, .. } = credential;
    Denied::Prefix { name: name.clone(), prefix: prefix.clone(), key: key.to_owned() }.into()
}

/// A place among a tenant's open transactions. Given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tenant: Option<Arc<Tenant>>,
    attempt: AttemptId,
}

impl Place {
    /// The call is over, and the transaction stays open for so long at most.
    pub(crate) fn stay(mut self, remaining: Duration) {
        if let Some(tenant) = self.tenant.take() {
            tenant.stay(self.attempt.0, remaining);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(tenant) = &self.tenant {
            tenant.leave(self.attempt.0);
        }
    }
}
