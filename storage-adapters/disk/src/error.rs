//! The reasons for which a directory is not opened. Each kind asks the operator for a different
//! action.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The reason for which a store's directory was not opened. No acknowledged data was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory holds something else. Choose another one, or an empty one.
    #[error("{} is not a store of this project: it holds {found:?} and no file {format_file}; choose an empty directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// A file or directory in it.
        found: String,
        /// The name of the file that a store would have.
        format_file: &'static str,
    },
    /// A newer version wrote the directory. Run that version, or a later one.
    #[error("{} was written by a newer version (its format file says {says:?}, this version reads {reads:?}); run the version that wrote it", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// The content of its format file.
        says: String,
        /// The content that this version reads.
        reads: String,
    },
    /// Another process has the directory open. Stop it, or choose another directory.
    #[error("another process holds the lock on {} (pid {pid}); stop it or choose another directory", dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The id of the process that holds it, as written in the lock file.
        pid: String,
    },
    /// Acknowledged data is damaged or missing. Restore the directory from a copy.
    #[error("{} is damaged: {what}", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// The damage, by file and place.
        what: String,
    },
    /// A call to the file system failed.
    #[error("{what}: {source}")]
    Io {
        /// The action that failed, and its path.
        what: String,
        /// The error of the file system.
        source: std::io::Error,
    },
}

impl OpenError {
    /// Returns the error for damage in `dir`. `what` names the file and the place.
    pub fn damaged(dir: &Path, what: impl Into<String>) -> OpenError {
        OpenError::Damaged { dir: dir.to_owned(), what: what.into() }
    }

    /// Returns a function for `map_err`, which adds the action `what` and its path.
    pub fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
        let what = format!("{what} {}", path.display());
        move |source| OpenError::Io { what, source }
    }
}

/// Returns true if an error of the file system ends without a change of the store: a full disk, a
/// used-up quota, or too few descriptors or too little memory for now.
pub fn passes(error: &std::io::Error) -> bool {
    let passing =
        [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn a_full_disk_passes_and_a_broken_one_does_not() {
        let error = |errno: rustix::io::Errno| std::io::Error::from(errno);
        assert!(passes(&error(rustix::io::Errno::NOSPC)) && passes(&error(rustix::io::Errno::MFILE)));
        assert!(!passes(&error(rustix::io::Errno::IO)) && !passes(&error(rustix::io::Errno::ROFS)));
        assert!(!passes(&std::io::ErrorKind::UnexpectedEof.into()));
    }
}
