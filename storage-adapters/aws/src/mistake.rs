//! Why there is nothing to send requests with.

/// Why there is nothing to send requests with. Each adapter has a sentence for each, with its own form of the URL; none holds a secret.
#[derive(Debug)]
pub enum Mistake {
    /// The URL is wrong.
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The provider chain has no credentials.
    NoCredentials {
        /// The store.
        url: String,
        /// What the chain says.
        why: String,
    },
    /// Neither the URL nor the environment names a region. Holds the store's URL.
    NoRegion(String),
}
