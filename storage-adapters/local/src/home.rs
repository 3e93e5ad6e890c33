//! The directory: its format, its lock, and the number of its newest acknowledged batch.
//!
//! ```text
//! AFT-STORE   "AFT-STORE 1"; written when all the rest is complete
//! LOCK        holds the id and the flock of the process that has the directory open
//! ACKED       the number of the newest acknowledged batch, at least as far as the last write-back
//! DAMAGED     damage found at an open, if a later open might not find it again
//! tree/       the LSM tree and its journals
//! bodies/     bodies too large for the tree, a file each
//! ```
//!
//! `ACKED` is overwritten in place after every sync and before the acknowledgement. It is not
//! synced itself, which would double the cost of a commit. So after the death of the process it is
//! exact, and after a power cut it has the state of the last write-back, seconds ago. It is never
//! ahead of the journal: if a journal ends before it, acknowledged batches are lost.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::OpenError;
use crate::checksum::xxh64;

pub(crate) const FORMAT_FILE: &str = "AFT-STORE";
/// The content of the format file. The number is durable.
pub(crate) const FORMAT: &str = "AFT-STORE 1";
const FORMAT_INITIALISING: &str = "AFT-STORE 1 initialising";
const LOCK_FILE: &str = "LOCK";
const ACKED_FILE: &str = "ACKED";
const DAMAGED_FILE: &str = "DAMAGED";

/// A directory that this process holds, until this is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    /// True if the store in it is still to be made.
    pub(crate) is_new: bool,
    /// The lock on the directory: released when this is closed, after everything else.
    _lock: File,
}

impl Home {
    /// Locks the directory, and makes it if it does not exist.
    pub(crate) fn take(dir: &Path) -> Result<Home, OpenError> {
        if dir.is_file() {
            let what = format!("{} is a file; name a directory", dir.display());
            return Err(OpenError::Io { what, source: std::io::ErrorKind::NotADirectory.into() });
        }
        std::fs::create_dir_all(dir).map_err(OpenError::io("cannot make the directory", dir))?;
        let dir = dir.canonicalize().map_err(OpenError::io("cannot resolve", dir))?;
        let format = read_format(&dir)?;
        let lock = lock(&dir)?;
        let is_new = match format.as_deref() {
            Some(FORMAT) => false,
            None | Some(FORMAT_INITIALISING) => true,
            Some(says) if says.starts_with("AFT-STORE ") => {
                return Err(OpenError::Newer { dir, says: says.to_owned() });
            }
            Some(says) => return Err(OpenError::Foreign { dir, found: format!("{FORMAT_FILE}: {says}") }),
        };
        let home = Home { dir, is_new, _lock: lock };
        if is_new {
            // An earlier try may have died half way; its parts are removed. Nothing is acknowledged
            // before the format file is complete.
            home.write_format(FORMAT_INITIALISING)?;
            for part in [home.tree_dir(), home.bodies_dir()] {
                if part.exists() {
                    std::fs::remove_dir_all(&part).map_err(OpenError::io("cannot remove", &part))?;
                }
            }
            std::fs::create_dir(home.bodies_dir())
                .map_err(OpenError::io("cannot make", &home.bodies_dir()))?;
        }
        Ok(home)
    }

    pub(crate) fn tree_dir(&self) -> PathBuf {
        self.dir.join("tree")
    }

    pub(crate) fn bodies_dir(&self) -> PathBuf {
        self.dir.join("bodies")
    }

    /// Records that all parts of the store are complete and durable.
    pub(crate) fn is_made(&self) -> Result<(), OpenError> {
        self.write_format(FORMAT)
    }

    /// Returns an error if an earlier open found damage.
    pub(crate) fn refuse_if_known_damaged(&self) -> Result<(), OpenError> {
        let path = self.dir.join(DAMAGED_FILE);
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(OpenError::io("cannot read", &path)(error)),
            Ok(what) => {
                let remedy =
                    "restore the directory from a copy, or remove the file DAMAGED to open what is left";
                Err(OpenError::damaged(&self.dir, format!("{} ({remedy})", what.trim())))
            }
        }
    }

    /// Records damage for the next open, which might not find it again. Returns the error to
    /// report.
    pub(crate) fn note_damage(&self, what: &str) -> OpenError {
        let path = self.dir.join(DAMAGED_FILE);
        if let Err(error) = std::fs::write(&path, what) {
            tracing::warn!(path = %path.display(), %error, "cannot record that the store is damaged");
        }
        OpenError::damaged(&self.dir, what)
    }

    fn write_format(&self, says: &str) -> Result<(), OpenError> {
        let (temporary, path) = (self.dir.join("AFT-STORE.new"), self.dir.join(FORMAT_FILE));
        let write = || {
            let mut file = File::create(&temporary)?;
            writeln!(file, "{says}")?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            sync_dir(&self.dir)
        };
        write().map_err(OpenError::io("cannot write", &path))
    }
}

/// Returns the content of the format file, or `None` if the directory is empty.
///
/// # Errors
/// Returns [`OpenError::Foreign`] if there is no such file, but others are.
fn read_format(dir: &Path) -> Result<Option<String>, OpenError> {
    let path = dir.join(FORMAT_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => return Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::io("cannot read", &path)(error)),
    }
    for entry in std::fs::read_dir(dir).map_err(OpenError::io("cannot list", dir))? {
        let entry = entry.map_err(OpenError::io("cannot list", dir))?;
        let found = entry.file_name().to_string_lossy().into_owned();
        // An earlier open that died early leaves these two files.
        if !["AFT-STORE.new", LOCK_FILE].contains(&found.as_str()) {
            return Err(OpenError::Foreign { dir: dir.to_owned(), found });
        }
    }
    Ok(None)
}

/// Locks the directory, and writes this process's id into the lock file.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(OpenError::io("cannot open", &path))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(OpenError::io("cannot read", &path))?;
        return Err(OpenError::Held { dir: dir.to_owned(), pid: pid.trim().to_owned() });
    }
    let write = || {
        file.set_len(0)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
    };
    write().map_err(OpenError::io("cannot write", &path))?;
    Ok(file)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The file with the number of the newest acknowledged batch.
#[derive(Debug)]
pub(crate) struct Acked {
    file: File,
}

impl Acked {
    const BYTES: usize = 16;

    /// Opens the file, and returns it with the number that it holds, if there is one.
    pub(crate) fn open(home: &Home) -> Result<(Acked, Option<u64>), OpenError> {
        let path = home.dir.join(ACKED_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io("cannot open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(OpenError::io("cannot read", &path))?;
        if bytes.is_empty() {
            if !home.is_new {
                tracing::warn!(path = %path.display(), "the file ACKED is missing or empty: this time, a lost end of the journal is not noticed");
            }
            return Ok((Acked { file }, None));
        }
        let number = bytes.first_chunk::<8>().map(|number| u64::from_le_bytes(*number));
        match number.filter(|&number| bytes == Acked::encode(number)) {
            Some(number) => Ok((Acked { file }, Some(number))),
            None => {
                let what = format!(
                    "the file {ACKED_FILE} does not match its checksum (remove it to open the store without this check)"
                );
                Err(OpenError::damaged(&home.dir, what))
            }
        }
    }

    fn encode(number: u64) -> [u8; Acked::BYTES] {
        let mut bytes = [0; Acked::BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&xxh64(&number.to_le_bytes(), 0).to_le_bytes());
        bytes
    }

    /// Records that the batch with this number, and all before it, are durable and about to be
    /// acknowledged.
    pub(crate) fn advance(&self, number: u64) -> std::io::Result<()> {
        self.file.write_all_at(&Acked::encode(number), 0)
    }

    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}
