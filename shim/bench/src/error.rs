//! The reasons why a run could not be carried out.

/// The result of setting up or carrying out a run.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// The reason why a run has no report. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option, or a combination of options, is invalid. The text names it and says how to fix
    /// it.
    #[error("{0}")]
    Options(String),
    /// The server could not be reached, or its answers are not those of the native API.
    #[error("server {url}: {problem}")]
    Server {
        /// The server's URL.
        url: String,
        /// The problem, and what to check.
        problem: String,
    },
    /// A store returned an error or did not answer, in a call that is not part of a measured
    /// transaction.
    #[error("store: {0}")]
    Store(#[from] aft_store::Error),
    /// The node in this process could not start.
    #[error("node: {0}")]
    Node(String),
    /// The effects that a run left in the store could not be counted. The text says which, and why.
    #[error("audit: {0}; run it again when the store answers")]
    Audit(String),
    /// The run did not come to its end. The text says why, and what to do.
    #[error("{0}")]
    Stopped(String),
    /// A run of several parts stopped after some of them had ended.
    #[error("{why}")]
    Unfinished {
        /// The figures of the parts that had ended.
        ended: Ended,
        /// The reason why the others have none.
        why: Box<Error>,
    },
    /// The run was interrupted (SIGINT or SIGTERM), and has ended its processes.
    #[error("interrupted")]
    Interrupted,
    /// An operation on a file or a process failed.
    #[error("{what}: {source}")]
    Io {
        /// The failure in words: "cannot …".
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The figures of a run that stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Tables for people.
    pub text: String,
    /// The object for programs, as that of the whole run without what is missing.
    pub json: String,
}

impl Error {
    /// Returns a function that wraps a system error in [`Error::Io`]. `what` begins with "cannot".
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
