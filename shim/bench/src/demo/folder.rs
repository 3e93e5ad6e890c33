//! A temporary directory for one demo, which is removed at the end.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A new directory, which is removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates a directory that only this user can enter, in the system's directory for temporary
    /// files.
    pub(crate) fn create() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("aft-demo-{:016x}", rand::random::<u64>()));
        let failed = Error::io(format!("cannot create the directory {}", path.display()));
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Folder { path })
    }

    /// Returns the directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Errors are ignored: the system cleans up its temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
