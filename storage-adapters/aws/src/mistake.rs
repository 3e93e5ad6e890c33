//! The reasons why requests cannot be sent.

/// The reasons why requests to a store cannot be sent. Each adapter turns them into messages of its
/// own, which name its form of the URL. None holds a secret.
#[derive(Debug)]
pub enum Mistake {
    /// The URL is wrong.
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// The mistake in it.
        problem: String,
    },
    /// The provider chain has no credentials.
    NoCredentials {
        /// The store's URL.
        url: String,
        /// The error that the chain reported.
        why: String,
    },
    /// Neither the URL nor the environment names a region. Holds the store's URL.
    NoRegion(String),
}
