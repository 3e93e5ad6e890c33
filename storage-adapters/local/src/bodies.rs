//! Bodies that are too large for the tree: one file each, beside it.
//!
//! A large value in the tree would be written to the journal, to a table, and again by every
//! compaction. A file is written once.
//!
//! 1. The body is written under a number that was never used, and synced, and so is the directory.
//! 2. Then the entry that refers to it is committed. From that moment on the body exists.
//! 3. When an entry is removed, its file is removed after the commit of the removal.
//!
//! A crash between 1 and 2, or within 3, leaves a file without an entry, which the next open
//! removes. No temporary name and no rename is needed, since the entry decides.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aft_disk::{OpenError, sync_dir, xxh64};
use bytes::Bytes;

use crate::value::FileRef;

/// The directory of bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    dir: PathBuf,
    /// The number of the next file. Greater than every number in use.
    next: AtomicU64,
}

/// A written body that no entry refers to yet. Its file is removed if this is dropped without
/// [`NewFile::keep`].
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) file: FileRef,
    path: PathBuf,
    keep: bool,
}

impl NewFile {
    /// Keeps the file, since an entry refers to it or may do so.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        // The file only takes up space, until the next open removes it.
        tracing::warn!(path = %path.display(), %error, "cannot remove the file of a body that is no longer in use; the next open will try again");
    }
}

fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}.body"))
}

impl Bodies {
    /// Opens the directory, and removes the files for which `in_use` returns false.
    pub(crate) fn open(
        dir: PathBuf,
        in_use: impl Fn(u64) -> Result<bool, OpenError>,
    ) -> Result<Bodies, OpenError> {
        let mut next = 1;
        for entry in std::fs::read_dir(&dir).map_err(OpenError::io("cannot list", &dir))? {
            let path = entry.map_err(OpenError::io("cannot list", &dir))?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".body"));
            let Some(id) = id.and_then(|id| u64::from_str_radix(id, 16).ok()) else { continue };
            next = next.max(id + 1);
            if !in_use(id)? {
                remove(&path);
            }
        }
        Ok(Bodies { dir, next: AtomicU64::new(next) })
    }

    /// Writes a body to a new file, and makes it durable.
    pub(crate) fn write(&self, body: &Bytes) -> std::io::Result<NewFile> {
        let id = self.next.fetch_add(1, Ordering::AcqRel);
        let path = path(&self.dir, id);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let new = NewFile {
            file: FileRef { id, len: body.len() as u64, checksum: xxh64(body, id) },
            path,
            keep: false,
        };
        file.write_all(body)?;
        file.sync_data()?;
        sync_dir(&self.dir)?;
        Ok(new)
    }

    /// Reads the body in a file. Returns `None` if the file does not exist, and a text if the body
    /// is damaged.
    pub(crate) fn read(&self, file: FileRef) -> std::io::Result<Option<Result<Bytes, String>>> {
        let path = path(&self.dir, file.id);
        let body = match std::fs::read(&path) {
            Ok(body) => Bytes::from(body),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if body.len() as u64 != file.len || xxh64(&body, file.id) != file.checksum {
            return Ok(Some(Err(format!("the file {} does not match its checksum", path.display()))));
        }
        Ok(Some(Ok(body)))
    }

    /// Removes the file of an entry that was removed.
    pub(crate) fn remove(&self, id: u64) {
        remove(&path(&self.dir, id));
    }
}
