//! Tests of the corpus. Each file under `corpus/` is in the folder named after the strongest level
//! that its history satisfies.
//!
//! Goal: every boundary between levels has a history, described in the file's first lines. Method:
//! the folder is the expectation; a line `# finds: KIND` requires that a violation of that kind is
//! reported.

use std::fs;
use std::path::{Path, PathBuf};

use aft_history::{CheckFileError, Level, Options, check, check_file, text};

const FOLDERS: [(&str, Level); 4] = [
    ("none", Level::None),
    ("read-committed", Level::ReadCommitted),
    ("read-atomic", Level::ReadAtomic),
    ("serializable", Level::Serializable),
];

/// Returns the options that check for every level.
fn options() -> Options {
    Options { serializable: true, ..Options::default() }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    files.sort();
    files
}

#[test]
fn each_history_has_the_level_of_its_folder() {
    let mut count = 0;
    for (folder, level) in FOLDERS {
        for path in files(folder) {
            let report = check_file(&path, &options()).unwrap();
            assert_eq!(report.level(), level, "{}\n{report}", path.display());
            assert_eq!(report.is_read_atomic(), level >= Level::ReadAtomic);
            let unasked = check_file(&path, &Options::default()).unwrap();
            assert_eq!(unasked.level(), level.min(Level::ReadAtomic), "{}\n{unasked}", path.display());
            count += 1;
        }
    }
    assert!(count >= 40, "only {count} histories");
}

#[test]
fn each_history_has_the_violation_that_its_file_names() {
    for (folder, level) in FOLDERS {
        for path in files(folder) {
            let story = fs::read_to_string(&path).unwrap();
            assert!(story.starts_with("# "), "{} has no description", path.display());
            let kind = story.lines().find_map(|line| line.strip_prefix("# finds: "));
            let report = check_file(&path, &options()).unwrap();
            let Some(kind) = kind else {
                assert_eq!(level, Level::Serializable, "{} has no line '# finds: KIND'", path.display());
                continue;
            };
            let found =
                report.violations().iter().any(|violation| format!("{violation:?}").starts_with(kind));
            assert!(found, "{}: no {kind} in\n{report}", path.display());
        }
    }
}

#[test]
fn a_history_without_a_commit_is_no_evidence() {
    let files = files("nothing");
    assert!(files.len() >= 2);
    for path in files {
        let found = check_file(&path, &options());
        assert!(matches!(found, Err(CheckFileError::Nothing { .. })), "{}: {found:?}", path.display());
        assert!(found.unwrap_err().to_string().contains("nothing to judge"));
    }
}

#[test]
fn stored_histories_survive_a_round_trip() {
    for (folder, _) in FOLDERS {
        for path in files(folder) {
            let history = text::parse(fs::read(&path).unwrap().as_slice()).unwrap();
            let mut written = Vec::new();
            text::write(&mut written, &history).unwrap();
            let again = text::parse(written.as_slice()).unwrap();
            let reports =
                [&history, &again].map(|history| check(history, &Options::default()).unwrap().to_string());
            assert_eq!(reports[0], reports[1], "{}", path.display());
        }
    }
}

/// Plain text is what public checkers read: every line is an operation, and the verdict is the same
/// for histories without stamps.
#[test]
fn plain_text_has_operations_only() {
    for (folder, level) in FOLDERS {
        for path in files(folder) {
            let history = text::parse(fs::read(&path).unwrap().as_slice()).unwrap();
            let mut plain = Vec::new();
            text::write_plain(&mut plain, &history).unwrap();
            let lines = String::from_utf8(plain.clone()).unwrap();
            assert!(lines.lines().all(|line| line.starts_with("w(") || line.starts_with("r(")));
            if history.transactions().iter().all(|transaction| transaction.stamp.is_none()) {
                let history = text::parse(plain.as_slice()).unwrap();
                let report = check(&history, &options()).unwrap();
                assert_eq!(report.level(), level, "{}\n{report}", path.display());
            }
        }
    }
}

#[test]
fn a_session_that_goes_back_is_found_on_request() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/serializable/session-goes-back.txt");
    let report = check_file(path, &Options { sessions: true, ..Options::default() }).unwrap();
    assert_eq!(report.level(), Level::ReadCommitted, "{report}");
    let told = report.violations()[0].to_string();
    assert_eq!(told, "own commit lost: T1 read k1 as absent, but its session had committed k1=10 of T0");
}
