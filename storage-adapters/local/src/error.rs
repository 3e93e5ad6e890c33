//! Why a directory was not opened. Each kind is a different thing for an operator to do.

use std::path::{Path, PathBuf};

/// Why [`LocalStore::open`](crate::LocalStore::open) refused. Nothing in the directory was changed, unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory holds something else. Choose another one, or an empty one.
    #[error("{} is not a store of this project: it holds {found:?} and no file {}; choose an empty directory", dir.display(), crate::home::FORMAT_FILE)]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Something that it holds.
        found: String,
    },
    /// A newer version wrote the directory. Run that version, or a later one.
    #[error("{} was written by a newer version (its format file says {says:?}, this version reads \"{}\"); run the version that wrote it", dir.display(), crate::home::FORMAT)]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// What its format file says.
        says: String,
    },
    /// Another process has the directory open. Stop it, or choose another directory.
    #[error("{} is in use by the process {pid}; one process a directory", dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, as it wrote it into the lock file.
        pid: String,
    },
    /// Acknowledged data is damaged or missing. Restore the directory from a copy.
    #[error("{} is damaged: {what}", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is damaged, by file and place.
        what: String,
    },
    /// The file system did not do what it was asked.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on which path.
        what: String,
        /// The file system's answer.
        source: std::io::Error,
    },
}

impl OpenError {
    pub(crate) fn damaged(dir: &Path, what: impl Into<String>) -> OpenError {
        OpenError::Damaged { dir: dir.to_owned(), what: what.into() }
    }

    /// For `map_err`: says what was tried.
    pub(crate) fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
        let what = format!("{what} {}", path.display());
        move |source| OpenError::Io { what, source }
    }
}
