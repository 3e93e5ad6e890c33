//! The session: what this client has committed, as a token that clones share.
//!
//! Replies carry tokens that continue the one which their transaction began with. Two transactions at once continue the same token in two ways, and a
//! replay starts a new one; so tokens are merged, not replaced: the union of their commits, the newest first, as many as a token holds.

use std::sync::Mutex;

use aft_wire::durable::merge_sessions;

/// A client's session.
#[derive(Debug, Default)]
pub(crate) struct Session(Mutex<Option<String>>);

impl Session {
    pub(crate) fn token(&self) -> Option<String> {
        self.0.lock().expect("nobody panics with the session in hand").clone()
    }

    /// Adds what a commit gave.
    pub(crate) fn add(&self, token: &str) {
        let mut held = self.0.lock().expect("nobody panics with the session in hand");
        // A token that this client cannot read is of a newer server: then the last one counts.
        let merged = held.as_deref().and_then(|held| merge_sessions(token, held).ok());
        *held = Some(merged.unwrap_or_else(|| token.to_owned()));
    }
}
