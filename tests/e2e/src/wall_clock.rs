//! A wall clock of the tests' own, for processes that they start.
//!
//! `libfaketime` comes between a process and the C library: it reads an offset from a file and adds
//! it to the wall clock. Monotonic clocks stay as they are, as they do where an operator or a time
//! server sets a clock. The offset may change while processes run.
//!
//! `AFT_SKIP_SERVICES=faketime` leaves these tests out, and says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

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
    /// Makes a clock that is right; none if such tests are to be skipped.
    ///
    /// # Panics
    /// If the library is not installed, with what to do about it.
    pub fn or_skip() -> Option<WallClock> {
        if is_skipped() {
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

    /// Sets it to be this many seconds ahead of the right time, or behind it.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, ahead_s: i64) {
        // Renamed into its place: a process may read it now, and must not find it empty.
        let fresh = self.directory.path().join("fresh");
        std::fs::write(&fresh, format!("{ahead_s:+}")).expect("a file can be written");
        std::fs::rename(&fresh, &self.file).expect("a file can be renamed");
    }

    /// The environment that a process needs to use it.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// Removes what the library keeps for a process that was killed: it refuses to start another one
/// that happens to get the same number.
pub(crate) fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // Not there, as a rule: few processes use the library.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

fn is_skipped() -> bool {
    let skipped = std::env::var("AFT_SKIP_SERVICES").unwrap_or_default();
    let skipped = skipped.split(',').any(|name| name.trim() == NAME);
    if skipped {
        let thread = std::thread::current();
        let line = format!("skipped: {}: {NAME} (AFT_SKIP_SERVICES)\n", thread.name().unwrap_or("a test"));
        let mut out = std::io::stdout().lock();
        // Not `println!`, which the test program keeps to itself while the test passes;
        // `cargo xtask test` counts the line.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
    skipped
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
