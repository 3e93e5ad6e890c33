//! The options for opening a store.

use aft_store_aws::Keys;

use crate::Prices;

/// The options for opening a [`DynamoDbStore`](crate::DynamoDbStore).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// The prices of the capacity that requests consume, for the reported costs.
    pub prices: Prices,
    /// The credentials to use instead of those of the usual provider chain.
    pub keys: Option<Keys>,
}

impl Options {
    /// Returns options with these keys instead of the provider chain's credentials. This is for
    /// tests, which share their environment with the whole process.
    pub fn with_keys(access: impl Into<String>, secret: impl Into<String>) -> Options {
        Options { keys: Some(Keys { access: access.into(), secret: secret.into() }), ..Options::default() }
    }
}
