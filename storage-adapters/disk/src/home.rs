//! The directory: its format, its lock, and damage that is known.
//!
//! ```text
//! NAME        "NAME 1": the format's name and version; written when all the rest is complete
//! LOCK        holds the id and the flock of the process that has the directory open
//! ACKED       the number of the newest acknowledged batch (module `acked`)
//! DAMAGED     damage found at an open, if a later open might not find it again
//! ...         the store's own parts
//! ```
//!
//! The directory is made so that only its owner can enter it, and these files so that only their
//! owner can read them. A directory that was there keeps its mode: it belongs to the operator.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::OpenError;
use crate::acked::ACKED_FILE;

const LOCK_FILE: &str = "LOCK";
const DAMAGED_FILE: &str = "DAMAGED";
/// The modes of directories and files that only their owner can use.
const PRIVATE_DIR: u32 = 0o700;
pub(crate) const PRIVATE_FILE: u32 = 0o600;
/// The word after the format in the format file of a store that is still being made.
const INITIALISING: &str = "initialising";

/// The names in a store's directory. They are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The name of the format, which is the name of the format file and the first word in it.
    pub name: &'static str,
    /// The version of the format, the second word. Directories with another version are not opened.
    pub version: u32,
    /// The directories that hold the store's parts. Those of a store that was never complete are
    /// removed when it is made again.
    pub parts: &'static [&'static str],
}

impl Layout {
    /// Returns the content of the format file of a complete store.
    fn format(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Returns the name under which the format file is written before it is renamed.
    fn temporary(&self) -> String {
        format!("{}.new", self.name)
    }

    /// Asserts that the names are single words, and differ from those of this crate's own files.
    fn check_invariants(&self) {
        let (name, parts) = (self.name, self.parts);
        assert!(!name.is_empty() && !name.contains([' ', '/']), "format name {name:?} is not one word");
        for part in parts.iter().chain([&name]) {
            let taken = [LOCK_FILE, DAMAGED_FILE, ACKED_FILE].contains(part) || *part == self.temporary();
            assert!(!taken, "the name {part} in a layout has another use");
        }
        let plain =
            |part: &&str| !part.is_empty() && !part.contains('/') && **part != *".." && **part != *".";
        assert!(parts.iter().all(plain), "parts {parts:?} are not directories in the store's own");
        assert!(!parts.contains(&name), "{name} is the format file and cannot be a part");
    }
}

/// A directory that this process holds, until this is dropped.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    layout: Layout,
    is_new: AtomicBool,
    /// The lock on the directory, released when this is closed.
    lock: File,
}

impl Home {
    /// Locks the directory, and makes it if it does not exist. If it holds no complete store
    /// ([`Home::is_new`]), removes the parts that an interrupted creation has left; the caller then
    /// makes them, and calls [`Home::mark_complete`].
    ///
    /// # Errors
    /// Returns [`OpenError::Foreign`] if the directory holds something else, [`OpenError::Newer`]
    /// if its format has another version, [`OpenError::Held`] if another process (or another `Home`
    /// of this one) holds it, and [`OpenError::Io`] if it cannot be made, read or locked. Each says
    /// what to do.
    ///
    /// # Panics
    /// Panics if the names in `layout` collide with each other or with those of this crate's own
    /// files.
    pub fn take(dir: &Path, layout: Layout) -> Result<Home, OpenError> {
        layout.check_invariants();
        if dir.is_file() {
            let what = format!("{} is a file; name a directory", dir.display());
            return Err(OpenError::Io { what, source: std::io::ErrorKind::NotADirectory.into() });
        }
        make_private_dir(dir).map_err(OpenError::io("cannot make the directory", dir))?;
        let dir = dir.canonicalize().map_err(OpenError::io("cannot resolve", dir))?;
        let says = read_format(&dir, &layout)?;
        let lock = lock(&dir)?;
        let format = layout.format();
        let is_new = match says {
            None => true,
            Some(says) if says == format => false,
            Some(says) if says == format!("{format} {INITIALISING}") => true,
            Some(says) if says.starts_with(&format!("{} ", layout.name)) => {
                return Err(OpenError::Newer { dir, says, reads: format });
            }
            Some(says) => {
                let found = format!("{}: {says}", layout.name);
                return Err(OpenError::Foreign { dir, found, format_file: layout.name });
            }
        };
        let home = Home { dir, layout, is_new: AtomicBool::new(is_new), lock };
        if is_new {
            // An earlier try may have died half way; its parts are removed. Nothing is acknowledged
            // before the format file is complete.
            home.write_format(&format!("{format} {INITIALISING}"))?;
            for part in layout.parts {
                let part = home.part(part);
                if part.exists() {
                    std::fs::remove_dir_all(&part).map_err(OpenError::io("cannot remove", &part))?;
                }
            }
        }
        Ok(home)
    }

    /// Checks that the directory is still the one that this holds: that nobody has removed, moved
    /// or replaced it. Takes a microsecond or two.
    ///
    /// # Errors
    /// Returns the reason, with the remedy, if it is not.
    pub fn check_in_place(&self) -> Result<(), String> {
        let held = self.lock.metadata();
        let there = std::fs::metadata(self.dir.join(LOCK_FILE));
        let is_same = matches!((&held, &there), (Ok(held), Ok(there))
            if (held.dev(), held.ino()) == (there.dev(), there.ino()));
        match is_same {
            true => Ok(()),
            false => Err(format!(
                "the directory {} was removed, moved or replaced while it was in use: bring it back, and restart",
                self.dir.display()
            )),
        }
    }

    /// Returns the directory's absolute path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns true while the directory holds no complete store: the caller makes one, and calls
    /// [`Home::mark_complete`].
    pub fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Acquire)
    }

    /// Returns the path of one of the layout's parts.
    ///
    /// # Panics
    /// Panics if the layout does not name the part.
    pub fn part(&self, part: &str) -> PathBuf {
        assert!(self.layout.parts.contains(&part), "{part} is not in {:?}", self.layout);
        self.dir.join(part)
    }

    /// Records that all parts of a new store are complete and durable.
    ///
    /// # Errors
    /// Returns [`OpenError::Io`] if the format file cannot be written. The next open then starts
    /// over.
    ///
    /// # Panics
    /// Panics if the store was complete before.
    pub fn mark_complete(&self) -> Result<(), OpenError> {
        assert!(self.is_new(), "{} holds a complete store", self.dir.display());
        self.write_format(&self.layout.format())?;
        self.is_new.store(false, Ordering::Release);
        Ok(())
    }

    /// Returns an error if an earlier open found damage.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] with what [`Home::note_damage`] recorded, and
    /// [`OpenError::Io`] if the record cannot be read. The message says what to do.
    pub fn refuse_if_known_damaged(&self) -> Result<(), OpenError> {
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
    pub fn note_damage(&self, what: &str) -> OpenError {
        let path = self.dir.join(DAMAGED_FILE);
        if let Err(error) = write_private(&path, what.as_bytes()) {
            tracing::warn!(path = %path.display(), %error, "cannot record that the store is damaged");
        }
        OpenError::damaged(&self.dir, what)
    }

    fn write_format(&self, says: &str) -> Result<(), OpenError> {
        let (temporary, path) = (self.dir.join(self.layout.temporary()), self.dir.join(self.layout.name));
        let write = || {
            write_private(&temporary, format!("{says}\n").as_bytes())?;
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
fn read_format(dir: &Path, layout: &Layout) -> Result<Option<String>, OpenError> {
    let path = dir.join(layout.name);
    match std::fs::read_to_string(&path) {
        Ok(text) => return Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::io("cannot read", &path)(error)),
    }
    for entry in std::fs::read_dir(dir).map_err(OpenError::io("cannot list", dir))? {
        let entry = entry.map_err(OpenError::io("cannot list", dir))?;
        let found = entry.file_name().to_string_lossy().into_owned();
        // An earlier open that died early leaves these two files.
        if found != layout.temporary() && found != LOCK_FILE {
            return Err(OpenError::Foreign { dir: dir.to_owned(), found, format_file: layout.name });
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
        .mode(PRIVATE_FILE)
        .open(&path)
        .map_err(OpenError::io("cannot open", &path))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(OpenError::io("cannot read", &path))?;
        return Err(OpenError::Held { dir: dir.to_owned(), pid: pid.trim().to_owned() });
    }
    let pid = format!("{}\n", std::process::id());
    // Written over the one before, which takes no room: a store can be opened on a full disk.
    let write = || {
        file.write_all_at(pid.as_bytes(), 0)?;
        file.set_len(pid.len() as u64)
    };
    write().map_err(OpenError::io("cannot write", &path))?;
    Ok(file)
}

/// Makes a directory that only its owner can enter, if it does not exist. Directories above it are
/// made as usual.
///
/// # Errors
/// Returns the error of the file system.
pub fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    if let Some(above) = dir.parent() {
        std::fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(PRIVATE_DIR).create(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// Writes a file that only its owner can read, and syncs it.
///
/// # Errors
/// Returns the error of the file system. The file may be there, in part.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = private_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a file that only its owner can read, or empties it if it exists.
fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(path)
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// Returns the error of the file system. New files in the directory may be lost in a power cut
/// then.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::{Home, Layout};
    use crate::OpenError;

    pub(crate) const LAYOUT: Layout = Layout { name: "SOME-STORE", version: 2, parts: &["tree", "files"] };

    #[test]
    fn a_store_is_new_until_it_is_complete() {
        let dir = tempfile::tempdir().expect("there is room");
        let dir = dir.path().join("made/by/the/call");
        let home = Home::take(&dir, LAYOUT).expect("nobody holds it");
        assert!(home.is_new());
        assert_eq!(
            fs::read_to_string(dir.join("SOME-STORE")).expect("written"),
            "SOME-STORE 2 initialising\n"
        );
        fs::create_dir(home.part("tree")).expect("there is room");
        fs::write(home.part("tree").join("0.jnl"), "half made").expect("there is room");
        drop(home);

        let again = Home::take(&dir, LAYOUT).expect("nobody holds it");
        assert!(again.is_new() && !again.part("tree").exists(), "the half-made part is removed");
        fs::create_dir(again.part("tree")).expect("there is room");
        again.mark_complete().expect("there is room");
        assert!(!again.is_new(), "it is complete for this holder as well");
        drop(again);

        let complete = Home::take(&dir, LAYOUT).expect("nobody holds it");
        assert!(!complete.is_new() && complete.part("tree").exists());
        assert_eq!(fs::read_to_string(dir.join("SOME-STORE")).expect("written"), "SOME-STORE 2\n");
    }

    #[test]
    fn a_directory_that_was_removed_moved_or_replaced_is_noticed() {
        let above = tempfile::tempdir().expect("there is room");
        let (dir, other) = (above.path().join("store"), above.path().join("other"));
        let home = Home::take(&dir, LAYOUT).expect("nobody holds it");
        assert_eq!(home.check_in_place(), Ok(()));
        fs::rename(&dir, &other).expect("both are ours");
        let why = home.check_in_place().expect_err("it was moved");
        assert!(why.contains("removed, moved or replaced") && why.contains("store"), "{why}");
        let replaced = Home::take(&dir, LAYOUT).expect("nobody holds the new one");
        assert!(home.check_in_place().is_err() && replaced.check_in_place().is_ok());
        drop(replaced);
        fs::remove_dir_all(&dir).expect("it is ours");
        fs::rename(&other, &dir).expect("both are ours");
        assert_eq!(home.check_in_place(), Ok(()), "it is back");
        fs::remove_dir_all(&dir).expect("it is ours");
        assert!(home.check_in_place().is_err());
    }

    #[test]
    fn a_second_holder_is_rejected() {
        let dir = tempfile::tempdir().expect("there is room");
        let home = Home::take(dir.path(), LAYOUT).expect("nobody holds it");
        let held = Home::take(dir.path(), LAYOUT).expect_err("it is held");
        let own = std::process::id().to_string();
        assert!(matches!(&held, OpenError::Held { pid, .. } if *pid == own), "{held}");
        drop(home);
        Home::take(dir.path(), LAYOUT).expect("it is free again");
    }

    #[test]
    fn other_directories_are_rejected_and_unchanged() {
        let dir = tempfile::tempdir().expect("there is room");
        fs::write(dir.path().join("thesis.tex"), "important").expect("there is room");
        let foreign = Home::take(dir.path(), LAYOUT).expect_err("it is somebody else's");
        assert!(matches!(&foreign, OpenError::Foreign { found, .. } if found == "thesis.tex"), "{foreign}");
        assert!(foreign.to_string().contains("no file SOME-STORE"), "{foreign}");
        assert_eq!(fs::read_dir(dir.path()).expect("it exists").count(), 1);

        // The file has the name of a format file, but says something else.
        fs::write(dir.path().join("SOME-STORE"), "a list of stores").expect("there is room");
        let foreign = Home::take(dir.path(), LAYOUT).expect_err("it is somebody else's");
        assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");

        fs::write(dir.path().join("SOME-STORE"), "SOME-STORE 3\n").expect("there is room");
        let newer = Home::take(dir.path(), LAYOUT).expect_err("it has another version");
        assert!(
            matches!(&newer, OpenError::Newer { says, reads, .. } if says == "SOME-STORE 3" && reads == "SOME-STORE 2"),
            "{newer}"
        );

        let file = Home::take(&dir.path().join("thesis.tex"), LAYOUT).expect_err("it is a file");
        assert!(file.to_string().contains("name a directory"), "{file}");
    }

    #[test]
    fn noted_damage_is_reported_until_the_note_is_removed() {
        let dir = tempfile::tempdir().expect("there is room");
        let home = Home::take(dir.path(), LAYOUT).expect("nobody holds it");
        home.refuse_if_known_damaged().expect("nothing is known");
        let noted = home.note_damage("batch 7 is missing");
        assert!(matches!(&noted, OpenError::Damaged { what, .. } if what == "batch 7 is missing"), "{noted}");
        let known = home.refuse_if_known_damaged().expect_err("it is known").to_string();
        assert!(known.contains("batch 7 is missing") && known.contains("remove the file DAMAGED"), "{known}");
        fs::remove_file(dir.path().join("DAMAGED")).expect("it exists");
        home.refuse_if_known_damaged().expect("nothing is known any more");
    }

    #[test]
    #[should_panic(expected = "the name LOCK in a layout has another use")]
    fn a_layout_must_not_use_the_names_of_this_crate() {
        let dir = tempfile::tempdir().expect("there is room");
        drop(Home::take(dir.path(), Layout { parts: &["LOCK"], ..LAYOUT }));
    }
}
