//! The descriptors of this process: how many are left, and which are open below a directory.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// The kernel's list of this process's descriptors, as links to the files.
const OPEN: &str = "/proc/self/fd";

/// Checks that this process can open `count` more files at once.
///
/// # Errors
/// Returns the error of the first open that failed.
pub fn descriptors_left(count: usize) -> std::io::Result<()> {
    (0..count).map(|_| File::open("/dev/null")).collect::<std::io::Result<Vec<File>>>().map(drop)
}

/// Counts the files below `dir` that this process has open. Returns `None` if the system does not
/// say.
///
/// # Errors
/// Returns the error of the list of descriptors, which takes a descriptor itself.
pub fn open_files(dir: &Path) -> std::io::Result<Option<usize>> {
    let descriptors = match std::fs::read_dir(OPEN) {
        Ok(descriptors) => descriptors,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut count = 0;
    for descriptor in descriptors {
        // A descriptor that was closed meanwhile has no link any more.
        let Ok(path) = std::fs::read_link(descriptor?.path()) else { continue };
        count += usize::from(path.starts_with(dir));
    }
    Ok(Some(count))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{descriptors_left, open_files};

    #[test]
    fn open_files_are_counted() {
        descriptors_left(16).expect("a test has descriptors");
        let dir = tempfile::tempdir().expect("there is room");
        let dir = dir.path().canonicalize().expect("it exists");
        let Some(none) = open_files(&dir).expect("a test has descriptors") else { return };
        let file = File::create(dir.join("a file")).expect("there is room");
        let one = open_files(&dir).expect("a test has descriptors");
        assert_eq!((none, one), (0, Some(1)));
        drop(file);
        assert_eq!(open_files(&dir).expect("a test has descriptors"), Some(0));
    }
}
