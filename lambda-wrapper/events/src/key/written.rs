//! The text of request IDs: readable where it can be, and never the same for different parts.

use crate::hash::Parts;
use crate::scope::escape;

/// The longest request ID, in bytes. A longer one is replaced by its hash.
pub const REQUEST_ID_BYTES_MAX: usize = 256;

/// Makes the ID of a key that an expression selected.
pub(super) fn selected(parts: &[String]) -> String {
    match parts {
        [one] => id("key", &[one]),
        several => {
            // The number of parts is free, so none may contain the separator, not even the last.
            let parts: Vec<String> = several.iter().map(|part| escape(part).replace(':', "%3A")).collect();
            bounded("keys", &parts.join(":"))
        }
    }
}

/// Makes an ID of a fixed number of parts; only the last may contain the separator.
pub(super) fn id(prefix: &str, parts: &[&str]) -> String {
    assert!(!parts.is_empty(), "an ID has parts");
    let last = parts.len() - 1;
    let written = parts.iter().enumerate().map(|(at, part)| {
        let part = escape(part);
        if at == last { part } else { part.replace(':', "%3A") }
    });
    bounded(prefix, &written.collect::<Vec<_>>().join(":"))
}

/// Returns the ID of a batch: a hash over the IDs of its records, in order.
pub(super) fn batch(prefix: &str, ids: &[String]) -> String {
    assert!(ids.len() > 1, "a batch of one record has that record's ID");
    let mut parts = Parts::of("batch");
    ids.iter().for_each(|id| parts.add(id.as_bytes()));
    bounded(&format!("{prefix}-batch"), &parts.hex())
}

/// Puts the prefix before an ID, or before the hash of one that is too long. The character between
/// the two tells which: no readable ID equals a hash.
fn bounded(prefix: &str, written: &str) -> String {
    assert!(!prefix.contains([':', '#']) && prefix.len() <= 24, "prefixes are short fixed words");
    let id = if prefix.len() + 1 + written.len() <= REQUEST_ID_BYTES_MAX {
        format!("{prefix}:{written}")
    } else {
        let mut parts = Parts::of("request ID");
        parts.add(written.as_bytes());
        format!("{prefix}#{}", parts.hex())
    };
    assert!(
        id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()),
        "an ID fits everywhere"
    );
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(id("s3", &["a:b", "c"]), id("s3", &["a", "b:c"]));
        assert_ne!(id("s3", &["a%3Ab", "c"]), id("s3", &["a:b", "c"]));
        let list =
            |parts: &[&str]| selected(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_ne!(list(&["a:b"]), list(&["a", "b"]));
        assert_ne!(list(&["a", "b:c"]), list(&["a", "b", "c"]));
        assert_eq!(list(&["order 7"]), "key:order%207");
    }

    #[test]
    fn long_ids_are_hashed() {
        let long = id("key", &[&"x".repeat(252)]);
        assert_eq!(long, format!("key:{}", "x".repeat(252)));
        let longer = id("key", &[&"x".repeat(253)]);
        assert!(longer.starts_with("key#") && longer.len() == 68, "{longer}");
        assert_ne!(longer, id("key", &[&"x".repeat(254)]));
        // A caller that sends the hash as its key does not meet it.
        assert_ne!(id("key", &[longer.trim_start_matches("key")]), longer);
    }
}
