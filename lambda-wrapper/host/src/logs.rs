//! The lines that processes and the host itself write.

use std::fmt;
use std::sync::Arc;

/// The origin of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output of the runtime or an extension.
    Stdout,
    /// Standard error of the runtime or an extension.
    Stderr,
    /// The host: `START`, `END` and `REPORT` of invocations, and the ends of environments.
    Platform,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The function's name.
    pub function: String,
    /// The environment's name: the end of its log stream.
    pub environment: String,
    /// `runtime`, the file name of an extension, or `host`.
    pub process: String,
    /// The stream that it was written to.
    pub source: Source,
    /// Its text, without the line end. Bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The receiver of every line.
///
/// It is called from the host's tasks and must not block.
#[derive(Clone)]
pub struct Logs(Arc<dyn Fn(Line) + Send + Sync>);

impl Logs {
    /// Returns a receiver that calls `each` with every line.
    pub fn new(each: impl Fn(Line) + Send + Sync + 'static) -> Self {
        Self(Arc::new(each))
    }

    /// Returns a receiver that drops every line.
    #[must_use]
    pub fn discard() -> Self {
        Self::new(drop)
    }

    pub(crate) fn line(&self, line: Line) {
        (self.0)(line);
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Logs")
    }
}
