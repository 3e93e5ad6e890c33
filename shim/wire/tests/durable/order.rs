//! Byte order of encoded names is the order that `aft_core::store::Name` documents.

use std::cmp::Reverse;

use aft_core::record::{CollectName, Intent, VersionEntry};
use aft_core::store::Name;
use aft_wire::durable::encode_name;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate;

fn item(name: Name) -> Bytes {
    encode_name(&name).item
}

proptest! {
    /// Newest first; of two entries of one transaction (which are never both written) nothing is said.
    #[test]
    fn versions_come_newest_first(key in generate::key(), mut entries in vec(generate::version(), 2..8)) {
        entries.sort_by_key(|entry| Reverse(entry.txn));
        entries.dedup_by_key(|entry| entry.txn);
        let items: Vec<Bytes> = entries.into_iter().map(|entry: VersionEntry| item(Name::Version(key.clone(), entry))).collect();
        prop_assert!(items.is_sorted());
    }

    #[test]
    fn intents_come_by_time(mut intents in vec(generate::intent(), 2..8)) {
        intents.iter_mut().for_each(|intent| intent.minute = 5);
        intents.sort();
        let items: Vec<Bytes> = intents.into_iter().map(|intent: Intent| item(Name::Intent(intent))).collect();
        prop_assert!(items.is_sorted());
    }

    #[test]
    fn collect_entries_come_by_time(mut names in vec(generate::collect_name(), 2..8)) {
        names.iter_mut().for_each(|name| name.minute = 5);
        names.sort();
        let items: Vec<Bytes> = names.into_iter().map(|name: CollectName| item(Name::Collect(name))).collect();
        prop_assert!(items.is_sorted());
    }

    #[test]
    fn blob_parts_come_by_number_and_part(attempt in generate::attempt(), mut parts: Vec<(u32, u32)>) {
        parts.sort();
        let items: Vec<Bytes> =
            parts.into_iter().map(|(number, part)| item(Name::Blob { attempt, number, part })).collect();
        prop_assert!(items.is_sorted());
    }

    #[test]
    fn minutes_and_keys_come_in_order(a in generate::intent(), b in generate::intent(), k in generate::key(), l in generate::key(), of in generate::version()) {
        let (x, y) = (encode_name(&Name::Intent(a)).group, encode_name(&Name::Intent(b)).group);
        prop_assert_eq!(a.minute.cmp(&b.minute), x.cmp(&y));
        let (x, y) = (encode_name(&Name::Version(k.clone(), of.clone())).group, encode_name(&Name::Version(l.clone(), of)).group);
        prop_assert_eq!(k.cmp(&l), x.cmp(&y));
    }
}
