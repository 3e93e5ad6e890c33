//! The tenant of a call at the desk.

use std::sync::Arc;
use std::time::Duration;

use aft_access::{Credential, Denied, Load, Right, Tenant};
use aft_core::ids::{AttemptId, Key, RequestHash};
use aft_core::message::{ListKeys, Refusal};
use aft_core::record::Record;
use aft_format::{TransactionToken, own_hash, own_hash_of, request_hash};
use aft_node::{NodeHandle, Page, fresh_attempt};

use crate::Desk;
use crate::plan::Plan;
use crate::refused::{Refused, Result};
use crate::settings::{NAME_BYTES_MAX, Settings, TENANT};
use crate::share::{Meter, Share};

/// The desk as one tenant sees it. Keys, openings, memory for bodies and look-ups go through it.
#[derive(Debug, Clone)]
pub struct Caller {
    desk: Arc<Desk>,
    /// The tenant; `None` without credentials: then every caller is the tenant `local`, with every
    /// right.
    tenant: Option<Arc<Tenant>>,
}

impl Caller {
    pub(crate) fn new(desk: Arc<Desk>, tenant: Option<Arc<Tenant>>) -> Caller {
        Caller { desk, tenant }
    }

    /// Returns the node.
    pub fn node(&self) -> &NodeHandle {
        self.desk.node()
    }

    /// Returns the bounds.
    pub fn settings(&self) -> &Settings {
        self.desk.settings()
    }

    /// Returns the caller's credential; `None` if the server has no credentials.
    pub fn credential(&self) -> Option<&Credential> {
        self.tenant.as_ref().map(|tenant| tenant.credential())
    }

    /// Checks that the caller has `right`.
    ///
    /// # Errors
    /// Returns [`Denied::Right`] if the credential lacks it.
    pub fn need(&self, right: Right) -> Result<()> {
        match self.credential() {
            Some(credential) if !credential.rights.allow(right) => {
                Err(Denied::Right { name: credential.name.clone(), right }.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the caller may open a transaction: it needs the right to read or to write.
    ///
    /// # Errors
    /// Returns [`Denied::Right`] if the credential has neither.
    pub fn need_to_open(&self) -> Result<()> {
        self.need(Right::Read).or_else(|_| self.need(Right::Write))
    }

    /// Parses a key, and checks that the caller may use it with `right`.
    ///
    /// # Errors
    /// Returns [`Refused::Key`] if `text` is not a valid key, and [`Denied`] if the caller lacks
    /// the right or the key is outside its prefix.
    pub fn key(&self, text: &str, right: Right) -> Result<Key> {
        self.need(right)?;
        let key = Key::parse(text).map_err(Refused::no_key)?;
        match self.credential() {
            Some(credential) if !text.starts_with(credential.prefix.as_str()) => {
                Err(outside(credential, text))
            }
            Some(_) | None => Ok(key),
        }
    }

    /// Returns the part of a listing's prefix that the caller may see.
    ///
    /// # Errors
    /// Returns [`Denied`] if the caller may see no key with this prefix, or has no right to read.
    pub fn listed(&self, prefix: &str) -> Result<String> {
        self.need(Right::Read)?;
        match self.credential() {
            // A prefix above the caller's own is narrowed to it.
            Some(credential) if credential.prefix.starts_with(prefix) => Ok(credential.prefix.clone()),
            Some(credential) if !prefix.starts_with(&credential.prefix) => Err(outside(credential, prefix)),
            Some(_) | None => Ok(prefix.to_owned()),
        }
    }

    /// Lists keys in an open transaction. The prefix comes from [`Caller::listed`].
    ///
    /// # Errors
    /// Returns the node's refusal, or [`Denied::Limit`] if the listed keys would exceed the memory
    /// of the tenant's open transactions.
    pub async fn list(&self, attempt: AttemptId, keys: ListKeys) -> Result<Page> {
        let page = self.node().list(attempt, keys).await?;
        if let Some(tenant) = &self.tenant {
            let mut load = Load::default();
            page.keys.iter().for_each(|listed| load.add(listed.key.as_str().len(), 0));
            tenant.load(attempt.0, load)?;
        }
        Ok(page)
    }

    fn name(&self) -> &str {
        self.credential().map_or(TENANT, |credential| &credential.name)
    }

    /// Returns the hash of a request of this caller.
    pub fn request_hash(&self, scope: &str, id: &str) -> RequestHash {
        request_hash(self.name(), scope, id)
    }

    /// Returns the hash of the request of an attempt of this caller that was opened without a name.
    pub fn own_hash(&self, attempt: AttemptId) -> RequestHash {
        match &self.tenant {
            Some(tenant) => own_hash_of(&tenant.credential().name, attempt),
            None => own_hash(attempt),
        }
    }

    /// Returns the commit record of a transaction's request. The hash contains the tenant, so a
    /// transaction of another tenant leads to no record. If the request has an ID, only the node on
    /// which the transaction was open knows it.
    ///
    /// # Errors
    /// Returns [`Refusal::NotFound`] if no commit is known; else the node's refusal.
    pub async fn look_up_transaction(
        &self,
        token: &TransactionToken,
    ) -> std::result::Result<Arc<Record>, Refusal> {
        let own = self.own_hash(token.attempt);
        match token.node == self.node().id() && self.opened(&token.attempt) {
            true => self.node().look_up_of(token.attempt, own).await,
            false => self.node().look_up(own).await,
        }
    }

    /// Draws a new attempt of this caller. Attempts with the same `text` run on the same node of
    /// this process.
    pub(crate) fn fresh_attempt_near(&self, text: Option<&[u8]>) -> AttemptId {
        loop {
            // A random attempt is near any node of the process with the same probability, so this
            // takes as many draws as there are nodes, on average.
            let attempt = self.fresh_attempt();
            if text.is_none_or(|text| self.node().is_near(attempt, text)) {
                return attempt;
            }
        }
    }

    fn fresh_attempt(&self) -> AttemptId {
        match &self.tenant {
            Some(tenant) => AttemptId(self.desk.access.seal(fresh_attempt().0, tenant)),
            None => fresh_attempt(),
        }
    }

    /// Returns true if this caller opened `attempt`, which is an attempt of this process.
    fn opened(&self, attempt: &AttemptId) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| self.desk.access.is_of(&attempt.0, tenant))
    }

    /// Returns true if a transaction is open on this node, or was.
    ///
    /// # Errors
    /// Returns [`Refusal::NotFound`] if it is another tenant's.
    pub fn is_here(&self, token: &TransactionToken) -> Result<bool> {
        aft_core::room!();
        let here = token.node == self.node().id();
        if here && !self.opened(&token.attempt) {
            return Err(Refusal::NotFound.into());
        }
        Ok(here)
    }

    /// Checks that a transaction is, or was, open on this node.
    ///
    /// # Errors
    /// Returns [`Refused::Elsewhere`] if it is not, and otherwise the errors of
    /// [`Caller::is_here`].
    pub fn need_here(&self, token: &TransactionToken) -> Result<()> {
        if self.is_here(token)? { Ok(()) } else { Err(Refused::Elsewhere(*token)) }
    }

    /// Takes a place for a transaction that is being opened.
    pub(crate) fn enter(&self, attempt: AttemptId) -> Result<Place> {
        if let Some(tenant) = &self.tenant {
            tenant.enter(attempt.0)?;
        }
        Ok(Place { tenant: self.tenant.clone(), attempt })
    }

    /// Takes memory for the operations of an open transaction.
    pub(crate) fn load(&self, attempt: AttemptId, plan: &Plan) -> Result<()> {
        match &self.tenant {
            Some(tenant) => Ok(tenant.load(attempt.0, plan.load())?),
            None => Ok(()),
        }
    }

    /// Gives back the place of a transaction that has ended.
    pub(crate) fn leave(&self, attempt: AttemptId) {
        if let Some(tenant) = &self.tenant {
            tenant.leave(attempt.0);
        }
    }

    /// Returns the meter that counts the caller's bytes against its limits.
    pub fn meter(&self) -> Meter {
        Meter::new(self.desk.bodies.clone(), self.tenant.clone())
    }

    /// Takes the share of a body of `bytes`; a small one needs none.
    ///
    /// # Errors
    /// Returns the errors of [`Meter::share`].
    pub fn share(&self, bytes: usize) -> Result<Option<Share>> {
        self.meter().share(bytes)
    }

    /// Counts bytes of a reply.
    pub fn charge(&self, bytes: usize) {
        self.meter().charge(bytes);
    }
}

/// Checks the length of a request ID, a scope or a fingerprint's text.
pub(crate) fn check_name(what: &'static str, text: &str) -> Result<()> {
    match text.len() {
        ..=NAME_BYTES_MAX => Ok(()),
        actual => Err(Refused::TooLong { what, limit: NAME_BYTES_MAX, actual }),
    }
}

/// Returns the refusal of a key, or of a listing's prefix, that is outside the credential's prefix.
fn outside(credential: &Credential, key: &str) -> Refused {
    let Credential { name, prefix, .. } = credential;
    Denied::Prefix { name: name.clone(), prefix: prefix.clone(), key: key.to_owned() }.into()
}

/// A place among a tenant's open transactions. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tenant: Option<Arc<Tenant>>,
    attempt: AttemptId,
}

impl Place {
    /// Keeps the place for at most `remaining`: the call is over, and the transaction stays open.
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
