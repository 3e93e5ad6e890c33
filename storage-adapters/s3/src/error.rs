//! The reasons why a store cannot be opened.

use aft_store_aws::Mistake;

/// The reasons why a store cannot be opened. Each text names the store and the remedy; none holds a
/// secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error("store \"{url}\": {problem}; the form is s3://BUCKET/PREFIX?endpoint=URL&region=R")]
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// The mistake in it.
        problem: String,
    },
    /// The provider chain has no credentials.
    #[error(
        "{url}: no credentials ({why}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
    )]
    NoCredentials {
        /// The store's URL.
        url: String,
        /// The error that the chain reported.
        why: String,
    },
    /// Neither the URL nor the environment names a region.
    #[error("{0}: no region; write region=… in the URL, or set AWS_REGION")]
    NoRegion(String),
    /// The bucket does not exist; the text says how to create it.
    #[error("{0}")]
    NoBucket(String),
    /// A new store would lie among other objects, or within or around another store; the text names
    /// them.
    #[error("{0}")]
    Occupied(String),
    /// The server did not answer, or rejected a request.
    #[error("{0}")]
    Store(aft_store::Error),
}

impl From<Mistake> for OpenError {
    fn from(mistake: Mistake) -> OpenError {
        match mistake {
            Mistake::Url { url, problem } => OpenError::Url { url, problem },
            Mistake::NoCredentials { url, why } => OpenError::NoCredentials { url, why },
            Mistake::NoRegion(url) => OpenError::NoRegion(url),
        }
    }
}
