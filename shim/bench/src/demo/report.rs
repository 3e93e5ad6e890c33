//! The file of the HTML report. It is opened before the demo runs, so that a path that cannot be
//! written is rejected before anything has taken its time.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file that can be written. Until it is, an existing file keeps its contents, and a file that
/// was made for the report is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    /// True if the file did not exist before, and is still empty.
    is_new: bool,
}

impl ReportFile {
    /// Opens the file at `path`, and makes it if it does not exist.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, as in a directory that does not exist.
    pub(crate) fn open(path: PathBuf) -> Result<ReportFile> {
        let failed = |why| {
            let place = path.parent().filter(|place| !place.as_os_str().is_empty() && !place.exists());
            match place {
                Some(place) => Error::Options(format!(
                    "cannot write the report {}: there is no directory {}; make it, or name another file \
                     with --report",
                    path.display(),
                    place.display()
                )),
                None => Error::io(format!("cannot write the report {}", path.display()))(why),
            }
        };
        // Of several demos with one seed, only the one that makes the file may remove it.
        let new = OpenOptions::new().write(true).create_new(true).open(&path);
        let is_new = match new {
            Ok(_) => true,
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).open(&path).map_err(failed)?;
                false
            }
            Err(why) => return Err(failed(why)),
        };
        Ok(ReportFile { path, is_new })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the contents of the file.
    ///
    /// # Errors
    /// Returns a sentence for people if that fails, as on a full disk.
    pub(crate) fn write(mut self, page: &str) -> std::result::Result<(), String> {
        std::fs::write(&self.path, page)
            .map_err(|why| format!("cannot write the report {}: {why}", self.path.display()))?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if self.is_new {
            // It is ours and holds no report. If it cannot be removed, an empty file stays.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReportFile;
    use crate::demo::folder::Folder;

    #[test]
    fn a_report_replaces_its_file_only_when_it_is_written() {
        let folder = Folder::create().unwrap();
        let path = folder.path().join("report.html");
        drop(ReportFile::open(path.clone()).unwrap());
        assert!(!path.exists(), "an empty file of ours is removed");
        ReportFile::open(path.clone()).unwrap().write("one").unwrap();
        drop(ReportFile::open(path.clone()).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        ReportFile::open(path.clone()).unwrap().write("2").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_rejected() {
        let why = ReportFile::open("/no/such/dir/x.html".into()).unwrap_err().to_string();
        assert!(why.contains("/no/such/dir/x.html") && why.contains("no directory /no/such/dir"), "{why}");
        let folder = Folder::create().unwrap();
        let why = ReportFile::open(folder.path().to_owned()).unwrap_err().to_string();
        assert!(why.contains("cannot write the report"), "{why}");
        let why = ReportFile::open("/dev/full".into()).unwrap().write("page").unwrap_err();
        assert!(why.contains("/dev/full") && std::path::Path::new("/dev/full").exists(), "{why}");
    }
}
