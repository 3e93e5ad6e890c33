//! Why a store cannot be opened.

use aft_store_aws::Mistake;

/// Why a store cannot be opened. Each text names the store and the remedy; none holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error("{url}: {problem}; the form is dynamodb://TABLE/PREFIX?endpoint=URL&region=R")]
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
        /// The store.
        url: String,
        /// What the chain says.
        why: String,
    },
    /// Neither the URL nor the environment names a region.
    #[error("{0}: no region; write region=… in the URL, or set AWS_REGION")]
    NoRegion(String),
    /// The table is not there; the text says how to make it.
    #[error("{0}")]
    NoTable(String),
    /// There is a table of this name that is none of ours.
    #[error(
        "{url}: the table has {found}, and this store needs {wanted}; name another table, and make it with: aft store init URL"
    )]
    OtherTable {
        /// The store.
        url: String,
        /// Its key.
        found: String,
        /// What its key should be.
        wanted: &'static str,
    },
    /// The table does not come to serve.
    #[error("{url}: the table is {status}; wait until it is ACTIVE")]
    NotActive {
        /// The store.
        url: String,
        /// What it is, in DynamoDB's words.
        status: String,
    },
    /// The server did not answer, or refused.
    #[error("{0}")]
    Store(aft_store::Error),
}

impl From<aft_store::Error> for OpenError {
    fn from(error: aft_store::Error) -> OpenError {
        OpenError::Store(error)
    }
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
