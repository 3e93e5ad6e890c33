//! The errors of this crate, each with what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::Service;
use crate::service::ALL;

/// The reason why a service cannot be fetched, started or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that is needed to make the service is missing or too old. Install it, or skip the
    /// service.
    #[error("{what}: {why}; {install}, or set AFT_SKIP_SERVICES={service}")]
    Tool {
        /// The service that needs it.
        service: Service,
        /// The finding, such as "go is not installed".
        what: String,
        /// The program's purpose.
        why: &'static str,
        /// The command or the packages that install it.
        install: &'static str,
    },
    /// A program that makes the service failed. Its output shows why.
    #[error("{service}: `{command}` {how}; it said:\n{said}")]
    ToolFailed {
        /// The service that it was making.
        service: Service,
        /// The command line.
        command: String,
        /// The way in which it ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// The service was not fetched. Tests never download: fetch it first, or skip it.
    #[error(
        "{service} is not in {}: run `cargo xtask services --fetch {service}` first (`cargo xtask test` does), or set AFT_SKIP_SERVICES={service}",
        home.display()
    )]
    NotFetched {
        /// The service.
        service: Service,
        /// The directory in which it was looked for.
        home: PathBuf,
    },
    /// The service's process ended before it answered. Its output shows why.
    #[error("{service} ended at its start ({how}); it said:\n{said}")]
    Ended {
        /// The service.
        service: Service,
        /// The way in which it ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// The service's process runs and does not answer. Its output may show why.
    #[error("{service} does not answer at port {port} after {waited:?}; it said:\n{said}")]
    NotReady {
        /// The service.
        service: Service,
        /// The port at which it should listen.
        port: u16,
        /// The time after which the wait was ended.
        waited: Duration,
        /// Its last lines.
        said: String,
    },
    /// A program did not print the expected text. Its output shows why.
    #[error("{program} {how} and has not said {words:?}; it said:\n{said}")]
    Silent {
        /// The program's name.
        program: String,
        /// The way in which it ended, or the time for which it has run.
        how: String,
        /// The text that it should have printed.
        words: String,
        /// Its last lines.
        said: String,
    },
    /// The service rejected a request of the test harness.
    #[error("{service} refused to {what}: {how}")]
    Refused {
        /// The service.
        service: Service,
        /// The request, such as "make the bucket aft".
        what: String,
        /// The answer.
        how: String,
    },
    /// There is no service of this name. The message lists those that exist.
    #[error("there is no service named {name:?}; there are {}", names())]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// A call of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// The action that failed, with its path.
        what: String,
        /// The operating system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an error of the operating system, with the action that failed.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        |source| Error::Io { what, source }
    }
}

fn names() -> String {
    ALL.map(|service| service.to_string()).join(", ")
}
