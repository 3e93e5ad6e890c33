//! Checks a file: what `aft check FILE` does.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{Malformed, Options, check};
use crate::Report;
use crate::text::{self, ParseError};

/// Why a file got no verdict.
#[derive(Debug, thiserror::Error)]
pub enum CheckFileError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a history.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: ParseError,
    },
    /// The history breaks the rules of logging.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which rule.
        source: Malformed,
    },
}

/// Checks a history in the [text format](crate::text), of any size that fits in memory.
///
/// # Errors
///
/// If the file cannot be read or holds no history. A bad history is no error: see [`Report::is_read_atomic`].
pub fn check_file(path: impl AsRef<Path>, options: &Options) -> Result<Report, CheckFileError> {
    let path = || path.as_ref().to_owned();
    let file = File::open(path()).map_err(|source| CheckFileError::Open { path: path(), source })?;
    let history =
        text::parse(BufReader::new(file)).map_err(|source| CheckFileError::Parse { path: path(), source })?;
    check(&history, options).map_err(|source| CheckFileError::Malformed { path: path(), source })
}
