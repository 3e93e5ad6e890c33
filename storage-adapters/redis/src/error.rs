//! Why a store cannot be opened.

/// Why a store cannot be opened. Each text names the store and the remedy; none holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error("{url}: {problem}; the form is redis://USER:PASSWORD@HOST:PORT/PREFIX?db=N")]
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server is none that keeps what it is given: the text says why, and what to do.
    #[error("{url}: {problem}")]
    Unfit {
        /// The store.
        url: String,
        /// What is wrong with the server.
        problem: String,
    },
    /// The server did not answer, or refused.
    #[error("{0}")]
    Store(#[from] aft_store::Error),
}
