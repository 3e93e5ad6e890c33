//! The session: the commits that this client has made, as a token that clones share.
//!
//! A reply carries a token that continues the one with which its transaction began. Two
//! transactions at once continue the same token in two ways, and a replay starts a new one. So
//! tokens are merged, not replaced: the result names the newest commits of both, as many as a token
//! holds.

use std::sync::Mutex;

use aft_api::merge_sessions;

/// A client's session.
#[derive(Debug, Default)]
pub(crate) struct Session(Mutex<Option<String>>);

impl Session {
    pub(crate) fn token(&self) -> Option<String> {
        self.0.lock().expect("no code panics while it holds the session").clone()
    }

    pub(crate) fn forget(&self) {
        *self.0.lock().expect("no code panics while it holds the session") = None;
    }

    /// Merges the token that a commit returned into the session.
    pub(crate) fn add(&self, token: &str) {
        let mut held = self.0.lock().expect("no code panics while it holds the session");
        // A token that this client cannot read comes from a newer server: then the last one is
        // kept.
        let merged = held.as_deref().and_then(|held| merge_sessions(token, held).ok());
        *held = Some(merged.unwrap_or_else(|| token.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::Session;
    use aft_api::merge_sessions;

    #[test]
    fn all_clients_merge_alike() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
        let sessions = vectors["sessions"].as_array().unwrap();
        assert!(sessions.len() > 5);
        for vector in sessions {
            let text = |name: &str| vector[name].as_str().unwrap();
            for (first, second) in [("one", "other"), ("other", "one")] {
                let session = Session::default();
                session.add(text(first));
                session.add(text(second));
                assert_eq!(session.token().as_deref(), Some(text("merged")));
            }
        }
        for unreadable in vectors["unreadable"].as_array().unwrap() {
            assert!(merge_sessions(unreadable.as_str().unwrap(), "AgAAAAAAAAAA").is_err(), "{unreadable}");
        }
    }

    /// A token that cannot be read cannot be merged, so the last one is kept.
    #[test]
    fn a_newer_servers_token_replaces_the_session() {
        let session = Session::default();
        session.add("AgAAAAAAAAAA");
        session.add("Aw");
        assert_eq!(session.token().as_deref(), Some("Aw"));
    }
}
