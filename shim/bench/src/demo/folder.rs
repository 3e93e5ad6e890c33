//! A directory for one demo, which goes with it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A fresh directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A directory that nobody else can enter, in the system's place for temporary files.
    pub(crate) fn create() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("aft-demo-{:016x}", rand::random::<u64>()));
        let failed = Error::io(format!("creating the directory {}", path.display()));
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Folder { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever cannot be removed lies where the system cleans up.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
