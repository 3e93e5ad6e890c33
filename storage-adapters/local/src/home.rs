//! The directory: whose it is, who holds it, and what it acknowledged.
//!
//! ```text
//! AFT-STORE   "AFT-STORE 1"; written when all the rest is there
//! LOCK        flocked by the process that has it open, whose id it holds
//! ACKED       the number of the newest acknowledged batch, at least as far as the last write-back
//! DAMAGED     why it was refused, where looking again would no longer show it
//! tree/       the LSM tree and its journals
//! bodies/     bodies too large for the tree, a file each
//! ```
//!
//! `ACKED` is overwritten in place after every sync and before the acknowledgement, and not synced itself: that would double the cost of a
//! commit. So it survives the death of the process exactly, and a power cut with the state of the last write-back (seconds ago). It is never
//! ahead of the journal. A journal that ends before it has lost acknowledged batches.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::OpenError;
use crate::checksum::xxh64;

pub(crate) const FORMAT_FILE: &str = "AFT-STORE";
/// What the format file says. The number is durable.
pub(crate) const FORMAT: &str = "AFT-STORE 1";
const FORMAT_INITIALISING: &str = "AFT-STORE 1 initialising";
const LOCK_FILE: &str = "LOCK";
const ACKED_FILE: &str = "ACKED";
const DAMAGED_FILE: &str = "DAMAGED";

/// A directory that this process holds, until dropped.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    /// Whether the store in it is still to be made.
    pub(crate) is_new: bool,
    /// Releases the directory when it is closed, which happens last.
    _lock: File,
}

impl Home {
    /// Takes the directory, making it if there is none.
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
            // An earlier try may have died half way. Nothing was acknowledged before the format file says that all is there.
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

    /// States that all parts of the store are there and durable.
    pub(crate) fn is_made(&self) -> Result<(), OpenError> {
        self.write_format(FORMAT)
    }

    /// Refuses if an earlier look found damage.
    pub(crate) fn refuse_if_known_damaged(&self) -> Result<(), OpenError> {
        let path = self.dir.join(DAMAGED_FILE);
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(OpenError::io("cannot read", &path)(error)),
            Ok(what) => {
                let remedy = "restore a copy, or remove the file DAMAGED to go on with what is left";
                Err(OpenError::damaged(&self.dir, format!("{} ({remedy})", what.trim())))
            }
        }
    }

    /// Keeps a finding for the next try to open, which might not see it again.
    pub(crate) fn note_damage(&self, what: &str) -> OpenError {
        let path = self.dir.join(DAMAGED_FILE);
        if let Err(error) = std::fs::write(&path, what) {
            tracing::warn!(path = %path.display(), %error, "cannot note that the store is damaged");
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

/// What the format file says, or that the directory is empty.
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
        if !["AFT-STORE.new", LOCK_FILE].contains(&found.as_str()) {
            return Err(OpenError::Foreign { dir: dir.to_owned(), found });
        }
    }
    Ok(None)
}

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

/// The number of the newest acknowledged batch, as a file.
#[derive(Debug)]
pub(crate) struct Acked {
    file: File,
}

impl Acked {
    const BYTES: usize = 16;

    /// Opens the mark; with the number that it held, if there was one.
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
                tracing::warn!(path = %path.display(), "no mark of what was acknowledged: a lost end of the journal would go unseen this time");
            }
            return Ok((Acked { file }, None));
        }
        let number = bytes.first_chunk::<8>().map(|number| u64::from_le_bytes(*number));
        match number.filter(|&number| bytes == Acked::encode(number)) {
            Some(number) => Ok((Acked { file }, Some(number))),
            None => {
                let what = format!(
                    "the file {ACKED_FILE} does not match its checksum (remove it to go on without it)"
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

    /// States that the batch with this number, and all before, are durable and about to be acknowledged.
    pub(crate) fn advance(&self, number: u64) -> std::io::Result<()> {
        self.file.write_all_at(&Acked::encode(number), 0)
    }

    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}
