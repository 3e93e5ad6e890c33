//! How to open a store.

use aft_store_aws::Keys;

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
    /// With these keys instead of what the provider chain gives: for tests, whose environment is
    /// that of the whole process.
    pub fn with_keys(access: impl Into<String>, secret: impl Into<String>) -> Options {
        Options { keys: Some(Keys { access: access.into(), secret: secret.into() }), ..Options::default() }
    }
}
