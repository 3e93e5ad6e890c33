//! Settings for opening a store.

use std::fmt;
use std::time::Duration;

/// The default and the longest pause between looks: a change of the server's settings is noticed
/// within a minute, at a cost of five requests a minute.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The settings of a [`RedisStore`](crate::RedisStore).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The password, if the URL has none.
    pub password: Option<String>,
    /// The time for which a look at the server's settings is valid; at most a minute, which is the
    /// default.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { password: None, look_every: LOOK_EVERY }
    }
}

impl Options {
    /// Returns options with this password, for a URL that has none.
    pub fn with_password(password: impl Into<String>) -> Options {
        Options { password: Some(password.into()), ..Options::default() }
    }

    /// Returns these options, with a look at the server every `look_every`.
    ///
    /// # Panics
    /// Panics if `look_every` is more than a minute.
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
    fn debug_output_hides_the_password() {
        let shown = format!("{:?}", Options::with_password("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
