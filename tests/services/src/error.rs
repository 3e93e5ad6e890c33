//! What can go wrong, each with what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::Service;
use crate::service::ALL;

/// Why a service cannot be had or does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that makes the service is not there, or is too old. Install it, or skip the service.
    #[error("{what}: {why}; {install}, or set AFT_SKIP_SERVICES={service}")]
    Tool {
        /// The service that wants it.
        service: Service,
        /// What was found, such as "go is not installed".
        what: String,
        /// What it is for.
        why: &'static str,
        /// What to install.
        install: &'static str,
    },
    /// A program that makes the service failed. What it said tells why.
    #[error("{service}: `{command}` {how}; it said:\n{said}")]
    ToolFailed {
        /// The service that it was making.
        service: Service,
        /// The command line.
        command: String,
        /// How it ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// Tests never download: fetch it first, or skip it.
    #[error(
        "{service} is not in {}: run `cargo xtask services --fetch {service}` first (`cargo xtask test` does), or set AFT_SKIP_SERVICES={service}",
        home.display()
    )]
    NotFetched {
        /// The service.
        service: Service,
        /// Where it was looked for.
        home: PathBuf,
    },
    /// Its process ended before it answered. What it said tells why.
    #[error("{service} ended at its start ({how}); it said:\n{said}")]
    Ended {
        /// The service.
        service: Service,
        /// How it ended.
        how: String,
        /// Its last lines.
        said: String,
    },
    /// It runs and does not answer. What it said may tell why.
    #[error("{service} does not answer at port {port} after {waited:?}; it said:\n{said}")]
    NotReady {
        /// The service.
        service: Service,
        /// Where it should listen.
        port: u16,
        /// How long it was waited for.
        waited: Duration,
        /// Its last lines.
        said: String,
    },
    /// A program did not print what it was waited for. What it said tells why.
    #[error("{program} {how} and has not said {words:?}; it said:\n{said}")]
    Silent {
        /// The program's name.
        program: String,
        /// The way in which it ended, or the time for which it was waited for.
        how: String,
        /// The text that it should have printed.
        words: String,
        /// Its last lines.
        said: String,
    },
    /// It refused a request of the harness.
    #[error("{service} refused to {what}: {how}")]
    Refused {
        /// The service.
        service: Service,
        /// What it was asked.
        what: String,
        /// What it answered.
        how: String,
    },
    /// No such service. The message names those that there are.
    #[error("there is no service named {name:?}; there are {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done, with its path.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an answer of the operating system.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        |source| Error::Io { what, source }
    }
}

fn names() -> String {
    ALL.map(|service| service.to_string()).join(", ")
}
