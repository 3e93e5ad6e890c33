//! The files of the repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that are made, not written.
const MADE: &[&str] =
    &["target", "node_modules", ".git", "figures", "__pycache__", "corpus", "golden", "build"];

/// A text file.
pub(crate) struct Source {
    /// Its path from the root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("infra/xtask lies two folders below the root")
}

/// Reads every file with one of these extensions.
pub(crate) fn sources(extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    walk(root(), extensions, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "there are files");
    found
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            let is_crate_of_figures = path.ends_with("tests/figures");
            if !MADE.contains(&name) || is_crate_of_figures {
                walk(&path, extensions, found);
            }
        } else if path.extension().is_some_and(|of| extensions.iter().any(|known| of == *known)) {
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            let path = path.strip_prefix(root()).expect("it lies below the root").display().to_string();
            found.push(Source { path, text });
        }
    }
}

/// Reads the files with one of these extensions that git has or would add: not those that it
/// ignores. Reads every file if the tree is not git's, as after a download.
pub(crate) fn in_git(extensions: &[&str]) -> Vec<Source> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root()).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let known: BTreeSet<&str> = listed.iter().flat_map(|paths| paths.split_terminator('\0')).collect();
    let mut found = sources(extensions);
    found.retain(|source| known.is_empty() || known.contains(source.path.as_str()));
    found
}

/// Returns the part of a source file before its unit tests.
pub(crate) fn production(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim_start().starts_with("mod "))
        {
            break;
        }
        kept.push(line);
    }
    kept.join("\n")
}
