//! Why a run could not be carried out.

/// The outcome of setting up and carrying out a run.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a run has no report. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option, or a combination of options, makes no sense. The text names it and the remedy.
    #[error("{0}")]
    Options(String),
    /// The server could not be reached, or does not answer as the native API does.
    #[error("server {url}: {problem}")]
    Server {
        /// The server's URL.
        url: String,
        /// What happened, and what to check.
        problem: String,
    },
    /// A store refused or did not answer, outside of what the load generator counts as a failed transaction.
    #[error("store: {0}")]
    Store(#[from] aft_store::Error),
    /// The node in process could not start.
    #[error("node: {0}")]
    Node(String),
    /// What a run left could not be counted after it. The text names what, and why.
    #[error("audit: {0}; run it again when the store answers")]
    Audit(String),
    /// The run was told to end (Ctrl-C, or a request to terminate) and has ended its processes.
    #[error("interrupted")]
    Interrupted,
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// An error of the system, with what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
