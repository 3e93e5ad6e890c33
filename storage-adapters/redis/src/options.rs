//! How to open a store.

use std::fmt;

/// How to open a [`RedisStore`](crate::RedisStore).
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The password, if the URL has none.
    pub password: Option<String>,
}

impl Options {
    /// With this password for a URL that has none.
    pub fn with_password(password: impl Into<String>) -> Options {
        Options { password: Some(password.into()) }
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
