//! The reasons why a store cannot be opened.

/// The reasons why a store cannot be opened. Each text names the store and the remedy; none holds a
/// secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error(
        "store \"{url}\": {problem}; the form is redis://USER:PASSWORD@HOST:PORT/PREFIX?db=N, or rediss://…&ca=FILE with TLS"
    )]
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// The mistake in it.
        problem: String,
    },
    /// The server cannot keep a store, or would lose its data.
    #[error("{url}: {problem}")]
    Unfit {
        /// The store's URL.
        url: String,
        /// The problem with the server, and the remedy.
        problem: String,
    },
    /// The server did not answer, or rejected a request.
    #[error("{0}")]
    Store(#[from] aft_store::Error),
}
