//! The meaning of "acknowledged" on two stores, as one text.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The texts that were made so far, by those of the two stores. A text lives as long as the
/// process, as those of all stores do, and each store has only a few: so the number of pairs is
/// bounded, and each is made once, however often a store is opened.
static TEXTS: Mutex<BTreeMap<(&str, &str), &str>> = Mutex::new(BTreeMap::new());

/// Returns the text for a store of records and a store of parts that mean `records` and `blobs`.
pub(crate) fn of(records: &'static str, blobs: &'static str) -> &'static str {
    if records == blobs {
        return records;
    }
    let mut texts = TEXTS.lock().expect("nothing panics while it holds the texts");
    texts
        .entry((records, blobs))
        .or_insert_with(|| Box::leak(format!("{records}; parts of large values: {blobs}").into_boxed_str()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_is_made_once() {
        assert_eq!(super::of("fsynced", "fsynced"), "fsynced");
        let text = super::of("stored here", "stored there");
        assert_eq!(text, "stored here; parts of large values: stored there");
        assert!(std::ptr::eq(text, super::of("stored here", "stored there")));
    }
}
