//! Settings for opening a store.

use std::fmt;
use std::time::Duration;

/// A change of the server's settings is noticed within a minute, at five requests a minute.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The settings of a [`RedisStore`](crate::RedisStore).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The password, if the URL has none.
    pub password: Option<String>,
    /// The time for which a look at the server's settings is believed; at most a minute, which is
    /// the default.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { password: None, look_every: LOOK_EVERY }
    }
}

impl Options {
    /// With this password for a URL that has none.
    pub fn with_password(password: impl Into<String>) -> Options {
        Options { password: Some(password.into()), ..Options::default() }
    }

    /// With a look at the server this often.
    ///
    /// # Panics
    /// If that is more seldom than once a minute.
    pub fn looking_every(self, look_every: Duration) -> Options {
        assert!(look_every <= LOOK_EVERY, "{look_every:?}: a change must be noticed within a minute");
        Options { look_every, ..self }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn no_form_shows_the_password() {
        let shown = format!("{:?}", Options::with_password("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
