//! A wall clock that the tests set, for the processes that they start.
//!
//! `libfaketime` sits between a process and the C library: it reads an offset from a file and adds
//! it to the wall clock. Monotonic clocks stay right, as they do when an operator or a time server
//! sets a clock. The offset may change while processes run.
//!
//! `AFT_SKIP_SERVICES=faketime` leaves these tests out; they then count as skipped.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binary::is_skipped;

/// The name in `AFT_SKIP_SERVICES`.
const NAME: &str = "faketime";

/// A wall clock that is off by an offset. Processes that use it must end before it is dropped.
#[derive(Debug)]
pub struct WallClock {
    library: String,
    /// Holds the file with the offset.
    directory: TempDir,
    file: String,
}

impl WallClock {
    /// Creates a clock that is right. Returns none if such tests are to be skipped.
    ///
    /// # Panics
    /// If the library is not installed; the message says what to do.
    pub fn or_skip() -> Option<WallClock> {
        if is_skipped(NAME) {
            return None;
        }
        let library = library().unwrap_or_else(|| {
            panic!(
                "libfaketime is missing: install it (Debian: apt-get install faketime), or set AFT_SKIP_SERVICES={NAME}"
            )
        });
        let directory = tempfile::tempdir().expect("a directory can be made");
        let file = directory.path().join("offset").display().to_string();
        let clock = WallClock { library: library.display().to_string(), directory, file };
        clock.set(0);
        Some(clock)
    }

    /// Sets the clock ahead of the right time by `ahead_s` seconds, or behind it if negative.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, ahead_s: i64) {
        // Written beside and renamed: a process may read the file now, and must not find it empty.
        let fresh = self.directory.path().join("fresh");
        std::fs::write(&fresh, format!("{ahead_s:+}")).expect("a file can be written");
        std::fs::rename(&fresh, &self.file).expect("a file can be renamed");
    }

    /// Returns the environment variables with which a process uses the clock.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// Removes the shared memory that the library keeps for a killed process: with it, the library
/// would not start another process that happens to get the same ID.
pub(crate) fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // Usually absent: few processes use the library.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

/// Finds the library, in its form for programs with threads, where Debian and others install it.
fn library() -> Option<PathBuf> {
    let under = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let folders = ["/usr/lib", "/usr/local/lib", "/usr/lib64"];
    let candidates = folders.iter().flat_map(|folder| [vec![PathBuf::from(folder)], under(folder)].concat());
    candidates.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file())
}
