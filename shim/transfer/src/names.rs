//! Keys as names in a directory. Any text may be a key; a name is a relative path that stays below
//! its directory, and from which the key can be read back.
//!
//! | in a key | in a name |
//! |---|---|
//! | a percent sign, control characters | `%` and two digits for each byte |
//! | a part between slashes that is empty, `.` or `..` | `%-`, `%2E`, `%2E%2E` |
//! | a part that is too long | folders in each other, whose names end in `%+` |
//! | a key that is also a folder of other keys | `%=` at its end |
//! | the names that an export uses itself | the first letter as `%` and two digits |

use std::collections::HashSet;
use std::fmt::Write as _;

/// The names that an export uses for itself, at the top of its directory.
pub(crate) const MANIFEST: &str = "aft-manifest.jsonl";
/// The manifest of an export that has not ended.
pub(crate) const PARTIAL: &str = "aft-manifest.partial.jsonl";
/// The folder of files that are being written.
pub(crate) const WRITING: &str = ".aft-export";
const RESERVED: [&str; 3] = [MANIFEST, PARTIAL, WRITING];

/// The longest part of a name, in bytes. File systems have at most 255, and a mark may follow.
const PART_BYTES_MAX: usize = 250;

/// The end of a folder whose name goes on in the next one.
const GOES_ON: &str = "%+";
/// The end of a file whose name would also be that of a folder.
const ALSO_A_FOLDER: &str = "%=";
/// The name of an empty part.
const EMPTY: &str = "%-";

/// Returns the names of keys in a directory, in the same order.
pub(crate) fn of_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = keys.map(of_key).collect();
    let folders: HashSet<String> =
        names.iter().flat_map(|name| name.match_indices('/').map(|(at, _)| name[..at].to_owned())).collect();
    for name in &mut names {
        if folders.contains(name) {
            name.push_str(ALSO_A_FOLDER);
        }
    }
    names
}

/// Returns the name of a key that is no folder of other keys.
fn of_key(key: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in key.split('/') {
        add_part(part, &mut parts);
    }
    if let Some(first) = parts.first_mut()
        && RESERVED.contains(&first.as_str())
    {
        *first = format!("%{:02X}{}", first.as_bytes()[0], &first[1..]);
    }
    parts.join("/")
}

/// Adds the names for a part of a key.
fn add_part(part: &str, to: &mut Vec<String>) {
    if part.is_empty() {
        return to.push(EMPTY.to_owned());
    }
    let all_dots = part == "." || part == "..";
    let mut name = String::new();
    for c in part.chars() {
        let mut written = String::new();
        if c == '%' || c.is_control() || all_dots {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                write!(written, "%{byte:02X}").expect("a string takes any text");
            }
        } else {
            written.push(c);
        }
        if name.len() + written.len() > PART_BYTES_MAX {
            to.push(std::mem::take(&mut name) + GOES_ON);
        }
        name.push_str(&written);
    }
    to.push(name);
}

/// Returns the name of a key in a bucket: the key itself, unless an export uses it.
pub(crate) fn in_bucket(key: &str) -> String {
    let is_ours = [MANIFEST, PARTIAL].contains(&key.trim_start_matches('%'));
    if is_ours { format!("%{key}") } else { key.to_owned() }
}

/// Returns true if a name stays below its directory, and is none of the export's own.
pub(crate) fn is_safe(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    !RESERVED.contains(&first) && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the key of a name.
    fn key_of(name: &str) -> Option<String> {
        let mut key: Vec<u8> = Vec::new();
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            let (part, goes_on) = match (part.strip_suffix(GOES_ON), part.strip_suffix(ALSO_A_FOLDER)) {
                (Some(part), _) => (part, true),
                (None, Some(part)) => (part, false),
                (None, None) => (part, false),
            };
            let part = if part == EMPTY { "" } else { part };
            key.extend(percent_encoding::percent_decode_str(part));
            if !goes_on && parts.peek().is_some() {
                key.push(b'/');
            }
        }
        String::from_utf8(key).ok()
    }

    #[test]
    fn names_are_safe_distinct_and_reversible() {
        let long = "ä%".repeat(300);
        let keys = [
            "a",
            "a/",
            "a/b",
            "a//b",
            "/a",
            "/",
            "//",
            ".",
            "..",
            "../../etc/passwd",
            "a/./b",
            "a/../b",
            "...",
            "%",
            "%2E",
            "%-",
            "%=",
            "a%=",
            "a%+/b",
            "a b+c",
            "\u{1}\n\u{7f}\u{85}",
            "日本/ключ/😀",
            MANIFEST,
            PARTIAL,
            "%61ft-manifest.jsonl",
            ".aft-export",
            ".aft-export/1",
            "C:\\x",
            "a\0b",
            &long,
        ];
        let names = of_keys(keys.into_iter());
        for (key, name) in keys.iter().zip(&names) {
            assert!(is_safe(name), "{key:?} is named {name:?}");
            assert_eq!(key_of(name).as_deref(), Some(*key), "{name:?}");
            assert!(name.split('/').all(|part| part.len() <= 255), "{name:?}");
            assert!(!name.chars().any(char::is_control), "{name:?}");
        }
        let distinct: HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        // No file has the name of another one's folder.
        let is_folder = |name: &str| names.iter().any(|other| other.starts_with(&format!("{name}/")));
        assert!(!names.iter().any(|name| is_folder(name)), "{names:?}");
        assert_eq!(of_keys(["a b/ä.txt"].into_iter()), ["a b/ä.txt"], "a plain key is its own name");
    }

    #[test]
    fn names_in_a_bucket_are_keys_but_for_our_own() {
        for (key, name) in [
            ("a//b", "a//b"),
            (MANIFEST, "%aft-manifest.jsonl"),
            ("%aft-manifest.jsonl", "%%aft-manifest.jsonl"),
            ("a/aft-manifest.jsonl", "a/aft-manifest.jsonl"),
        ] {
            assert_eq!(in_bucket(key), name);
        }
    }

    #[test]
    fn names_that_leave_the_directory_are_not_safe() {
        for name in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0", MANIFEST, WRITING] {
            assert!(!is_safe(name), "{name:?}");
        }
        assert!(!is_safe(".aft-export/1"));
        assert!(is_safe("a/aft-manifest.jsonl"));
    }
}
