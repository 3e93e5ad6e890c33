//! The session: what this client has committed, as a token that clones share.
//!
//! Replies carry tokens that continue the one which their transaction began with. Two transactions at once continue the same token in two ways, and a
//! replay starts a new one; so tokens are merged, not replaced: the union of their commits, the newest first, as many as a token holds.

use std::sync::Mutex;

use aft_format::merge_sessions;

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

#[cfg(test)]
mod tests {
    use super::Session;
    use aft_format::merge_sessions;

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

    /// Then there is nothing to merge: the last token counts.
    #[test]
    fn a_newer_servers_token_is_carried_as_it_is() {
        let session = Session::default();
        session.add("AgAAAAAAAAAA");
        session.add("Aw");
        assert_eq!(session.token().as_deref(), Some("Aw"));
    }
}
