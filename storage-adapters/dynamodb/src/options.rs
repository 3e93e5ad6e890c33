//! How to open a store.

use std::fmt;

use crate::Prices;

/// How to open a [`DynamoDbStore`](crate::DynamoDbStore).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Of what requests consume.
    pub prices: Prices,
    /// Instead of what the usual provider chain gives.
    pub keys: Option<Keys>,
}

impl Options {
    /// With these keys instead of what the provider chain gives: for tests, whose environment is that of the whole process.
    pub fn with_keys(access: impl Into<String>, secret: impl Into<String>) -> Options {
        Options { keys: Some(Keys { access: access.into(), secret: secret.into() }), ..Options::default() }
    }
}

/// Credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Names them.
    pub access: String,
    /// Signs with them.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access", &self.access).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn no_form_shows_the_secret() {
        let shown = format!("{:?}", Options::with_keys("known", "hunter2"));
        assert!(shown.contains("known") && !shown.contains("hunter2"), "{shown}");
    }
}
