//! The check of a file, for `aft check FILE`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{Malformed, Options, check};
use crate::text::{self, ParseError};
use crate::{Counts, History, Report};

/// The reason why a file could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckFileError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The text is not a history.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line and the problem.
        source: ParseError,
    },
    /// The history is not well formed.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The rule of logging that the history breaks.
        source: Malformed,
    },
    /// The history shows nothing: no transaction committed, and no read is to be checked. A load
    /// whose every transaction failed must not pass for one that kept its promises.
    #[error(
        "{}: there is nothing to judge: none of its {transactions} transactions committed; record a load that \
         commits",
        path.display()
    )]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The number of transactions, all of which aborted or are unknown.
        transactions: u64,
    },
}

/// Checks a file that holds a history in the [text format](crate::text). The history must fit in
/// memory.
///
/// # Errors
///
/// Returns an error if the file cannot be read, does not hold a well-formed history, or holds one
/// that shows nothing. Violations are not errors: see [`Report::is_read_atomic`].
pub fn check_file(path: impl AsRef<Path>, options: &Options) -> Result<Report, CheckFileError> {
    let history = read_file(&path)?;
    let path = || path.as_ref().to_owned();
    let report =
        check(&history, options).map_err(|source| CheckFileError::Malformed { path: path(), source })?;
    let &Counts { committed, unknown_read, reads_checked, .. } = report.counts();
    if committed + unknown_read + reads_checked == 0 && report.is_clean() {
        let transactions = history.transactions().len() as u64;
        return Err(CheckFileError::Nothing { path: path(), transactions });
    }
    Ok(report)
}

/// Reads a file that holds a history in the [text format](crate::text). The history must fit in
/// memory.
///
/// # Errors
///
/// Returns an error if the file cannot be read, or does not hold a history.
pub fn read_file(path: impl AsRef<Path>) -> Result<History, CheckFileError> {
    let path = || path.as_ref().to_owned();
    let file = File::open(path()).map_err(|source| CheckFileError::Open { path: path(), source })?;
    text::parse(BufReader::new(file)).map_err(|source| CheckFileError::Parse { path: path(), source })
}
