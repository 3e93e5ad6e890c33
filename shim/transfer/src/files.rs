//! A directory with the objects of an export, or with files to import. Nothing outside it is read
//! or written: no name leads out of it, and no symbolic link is followed.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::Failed;
use crate::names::{MANIFEST, PARTIAL, WRITING, is_safe};

/// The bytes of a file that are read at once.
const READ_BYTES: usize = 1 << 20;

/// A directory.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    /// The number of the next file that is written.
    next: AtomicU64,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    pub(crate) size: u64,
    pub(crate) modified: Option<SystemTime>,
}

impl FoundFile {
    fn of(metadata: &Metadata) -> FoundFile {
        FoundFile { size: metadata.len(), modified: metadata.modified().ok() }
    }

    /// Returns true if the file was last changed in the second of this time.
    pub(crate) fn is_of(&self, modified_ms: u64) -> bool {
        let modified = self.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        modified.is_some_and(|since| since.as_secs() == modified_ms / 1_000)
    }
}

/// The contents of a directory.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// The files by their names, in order.
    pub(crate) files: Vec<(String, FoundFile)>,
    /// The names of what is neither a file nor a folder.
    pub(crate) others: Vec<String>,
}

/// A file that is being written, under another name.
#[derive(Debug)]
pub(crate) struct Writing {
    file: File,
    path: PathBuf,
}

impl Files {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// Returns an error if it does not.
    pub(crate) fn open(root: &Path) -> Result<Files, Failed> {
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => Ok(Files { root: root.to_owned(), next: AtomicU64::new(0) }),
            Ok(_) => Err(format!("{} is not a directory", root.display())),
            Err(why) => Err(format!("cannot open the directory {}: {why}", root.display())),
        }
    }

    /// Opens a directory to write in, and makes it if it does not exist. Removes what an
    /// interrupted export was writing.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
    pub(crate) fn make(root: &Path) -> Result<Files, Failed> {
        let writing = root.join(WRITING);
        let failed = |why: std::io::Error| format!("cannot write in the directory {}: {why}", root.display());
        std::fs::create_dir_all(root).map_err(failed)?;
        match std::fs::symlink_metadata(&writing) {
            Err(why) if why.kind() == ErrorKind::NotFound => std::fs::create_dir(&writing).map_err(failed)?,
            Ok(found) if found.is_dir() => {
                for entry in std::fs::read_dir(&writing).map_err(failed)? {
                    let path = entry.map_err(failed)?.path();
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    // The names of files that are being written are numbers.
                    if name.bytes().all(|byte| byte.is_ascii_digit()) {
                        std::fs::remove_file(&path).map_err(failed)?;
                    }
                }
            }
            Ok(_) => return Err(format!("{} is in the way: move it elsewhere", writing.display())),
            Err(why) => return Err(failed(why)),
        }
        Files::open(root)
    }

    /// Returns the path of a name, none of whose folders is a symbolic link.
    fn path(&self, name: &str) -> Result<PathBuf, Failed> {
        assert!(is_safe(name), "{name:?} was checked");
        let mut path = self.root.clone();
        let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            path.push(folder);
            if std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
                return Err(format!("{} is a symbolic link, and none is followed", path.display()));
            }
        }
        path.push(last);
        Ok(path)
    }

    /// Returns the manifest; `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if it cannot be read.
    pub(crate) fn manifest(&self, partial: bool) -> Result<Option<String>, Failed> {
        let path = self.root.join(if partial { PARTIAL } else { MANIFEST });
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
            Err(why) => Err(format!("cannot read {}: {why}", path.display())),
        }
    }

    /// Writes the manifest in one step, and removes the other one: the partial one if this is
    /// whole, and the whole one if this is partial.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub(crate) async fn set_manifest(&self, text: &str, partial: bool) -> Result<(), Failed> {
        let (name, other) = if partial { (PARTIAL, MANIFEST) } else { (MANIFEST, PARTIAL) };
        let failed = |why: std::io::Error| format!("cannot write {}: {why}", self.root.join(name).display());
        let mut writing = self.begin().await?;
        writing.file.write_all(text.as_bytes()).await.map_err(failed)?;
        writing.file.sync_all().await.map_err(failed)?;
        if !partial {
            // Every file is on the disk before the manifest says so: one call instead of one for
            // each file.
            let root = std::fs::File::open(&self.root).map_err(failed)?;
            rustix::fs::syncfs(&root).map_err(|why| failed(why.into()))?;
        }
        std::fs::rename(&writing.path, self.root.join(name)).map_err(failed)?;
        match std::fs::remove_file(self.root.join(other)) {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(failed(why)),
            _ => Ok(()),
        }
    }

    /// Adds a line to the partial manifest.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub(crate) fn add_to_partial(&self, line: &str) -> Result<(), Failed> {
        use std::io::Write as _;
        let path = self.root.join(PARTIAL);
        let file = std::fs::OpenOptions::new().append(true).open(&path);
        let added = file.and_then(|mut file| file.write_all(line.as_bytes()));
        added.map_err(|why| format!("cannot write {}: {why}", path.display()))
    }

    /// Ends an export: removes the folder of files that are being written.
    pub(crate) fn end(&self) {
        // It is made again when it is needed.
        let _ = std::fs::remove_dir(self.root.join(WRITING));
    }

    /// Looks at a name; `None` if there is nothing.
    ///
    /// # Errors
    /// Returns an error if it leads through a symbolic link.
    pub(crate) fn look(&self, name: &str) -> Result<Option<FoundFile>, Failed> {
        let found = std::fs::symlink_metadata(self.path(name)?);
        Ok(found.ok().filter(Metadata::is_file).map(|metadata| FoundFile::of(&metadata)))
    }

    /// Returns true if there is anything under a name, or if a part of it is a file.
    ///
    /// # Errors
    /// Returns an error if it leads through a symbolic link.
    pub(crate) fn is_taken(&self, name: &str) -> Result<bool, Failed> {
        match std::fs::symlink_metadata(self.path(name)?) {
            Ok(_) => Ok(true),
            Err(why) => Ok(why.kind() == ErrorKind::NotADirectory),
        }
    }

    /// Begins to write a file.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
    pub(crate) async fn begin(&self) -> Result<Writing, Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(WRITING).join(number.to_string());
        let file =
            File::create(&path).await.map_err(|why| format!("cannot write {}: {why}", path.display()))?;
        Ok(Writing { file, path })
    }

    /// Gives a file that was written its name and its time.
    ///
    /// # Errors
    /// Returns an error if that is not possible.
    pub(crate) async fn finish(&self, writing: Writing, name: &str, modified_ms: u64) -> Result<(), Failed> {
        let to = self.path(name)?;
        let failed = |why: std::io::Error| format!("cannot write {}: {why}", to.display());
        let Writing { mut file, path } = writing;
        file.flush().await.map_err(failed)?;
        let file = file.into_std().await;
        file.set_modified(UNIX_EPOCH + Duration::from_millis(modified_ms)).map_err(failed)?;
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::rename(&path, &to).map_err(failed)
    }

    /// Removes a file, and the folders that are empty then.
    ///
    /// # Errors
    /// Returns an error if it cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failed> {
        let path = self.path(name)?;
        match std::fs::remove_file(&path) {
            Err(why) if !matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(format!("cannot remove {}: {why}", path.display()));
            }
            _ => {}
        }
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in folders {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Returns bytes of a file, from a place on.
    ///
    /// # Errors
    /// Returns an error if it cannot be opened.
    pub(crate) async fn read(
        &self,
        name: &str,
        from: u64,
        size: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, Failed> {
        let path = self.path(name)?;
        let failed = move |why: std::io::Error| format!("cannot read {}: {why}", path.display());
        let file = File::open(self.path(name)?).await;
        let mut file = file.map_err(&failed)?;
        file.seek(std::io::SeekFrom::Start(from)).await.map_err(&failed)?;
        let file = file.take(size);
        Ok(unfold(Some((file, failed)), |state| async {
            let (mut file, failed) = state?;
            let mut buffer = Vec::new();
            let mut piece = (&mut file).take(READ_BYTES as u64);
            match piece.read_to_end(&mut buffer).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(Bytes::from(buffer)), Some((file, failed)))),
                Err(why) => Some((Err(failed(why)), None)),
            }
        })
        .boxed())
    }

    /// Returns the names of everything in the directory and below.
    ///
    /// # Errors
    /// Returns an error if a folder cannot be read, or a name is not UTF-8.
    pub(crate) fn walk(&self) -> Result<Walked, Failed> {
        let Walked { mut files, mut others } = Walked::default();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let path = self.root.join(&folder);
            let failed = |why: std::io::Error| format!("cannot read {}: {why}", path.display());
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else {
                    return Err(format!("{}: a key is UTF-8, and this name is not", entry.path().display()));
                };
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let metadata = entry.metadata().map_err(failed)?;
                match (metadata.is_file(), metadata.is_dir()) {
                    (true, _) => files.push((name, FoundFile::of(&metadata))),
                    (_, true) => folders.push(name),
                    _ => others.push(name),
                }
            }
        }
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Walked { files, others })
    }
}

impl Writing {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// Returns an error if the disk does not take them.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let written = self.file.write_all(bytes).await;
        written.map_err(|why| format!("cannot write {}: {why}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_appears_whole_and_goes_with_its_folders() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::make(directory.path()).unwrap();
        let mut writing = files.begin().await.unwrap();
        writing.write(b"hello").await.unwrap();
        assert_eq!(files.look("a/b/c").unwrap(), None);
        files.finish(writing, "a/b/c", 1_700_000_000_123).await.unwrap();
        let found = files.look("a/b/c").unwrap().unwrap();
        assert!(found.size == 5 && found.is_of(1_700_000_000_999) && !found.is_of(1_700_000_001_000));
        let bytes: Vec<_> = files.read("a/b/c", 1, 3).await.unwrap().collect().await;
        assert_eq!(bytes, [Ok(Bytes::from_static(b"ell"))]);
        assert!(files.is_taken("a/b/c/d").unwrap() && files.is_taken("a/b").unwrap());
        std::fs::write(directory.path().join("a/foreign"), "x").unwrap();
        files.remove("a/b/c").unwrap();
        assert!(!directory.path().join("a/b").exists() && directory.path().join("a/foreign").exists());
    }

    #[tokio::test]
    async fn no_symbolic_link_is_followed() {
        let (outside, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = Files::make(directory.path()).unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("a")).unwrap();
        let mut writing = files.begin().await.unwrap();
        writing.write(b"x").await.unwrap();
        let why = files.finish(writing, "a/b", 0).await.unwrap_err();
        assert!(why.contains("symbolic link"), "{why}");
        assert!(files.remove("a/b").is_err() && files.look("a/b").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        let Walked { files: found, others } = files.walk().unwrap();
        assert!(others == ["a"] && found.iter().all(|(name, _)| name.starts_with(WRITING)), "{found:?}");
    }
}
