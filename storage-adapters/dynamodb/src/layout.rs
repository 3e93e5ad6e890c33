//! The mapping of names to the keys of items.
//!
//! ```text
//! p (string)             s (bytes)
//! PREFIX/version/5       orders/17 00 01 <item>              a version entry of the key orders/17
//! PREFIX/commit/2        <hash> 00 01                        a commit record: the item is empty
//! PREFIX/version/0       <start> 00 03 <digest> <item>       of a group too long for a sort key
//! ```
//!
//! * A space is spread over [`PARTITIONS`] partitions, since one takes a thousand writes a second.
//!   A group lies in one of them, chosen by its digest: so listing one group is one query, and
//!   listing all groups is a merge. The exception is spaces whose groups are minutes: everything
//!   that is written now goes to one group, so its items are spread as well
//!   ([`Layout::partitions_of`]).
//! * A sort key is the group, with its zero bytes written as `00 FF`, then `00 01`, then the item
//!   unchanged. So keys are in the order of (group, item), and all of a group's items come before
//!   those of every group that extends it.
//! * A sort key has at most 1,024 bytes. A group that takes more than [`GROUP_BYTES_MAX`] is cut
//!   there, and `00 03` and its digest replace the rest. Such groups are in their place in the
//!   order, behind the group that equals their start; those with the same start are not sorted.
//!   Their items keep the whole group in an attribute. (A digest is never compared with anything
//!   but digests.)

use aft_store::{Name, Space};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The number of partitions of a space. It is part of the format: with another number, existing
/// items would not be found.
pub(crate) const PARTITIONS: usize = 8;
/// The length of the longest sort key that DynamoDB takes.
const SORT_BYTES_MAX: usize = 1_024;
/// The length of a SHA-256 digest.
const DIGEST_BYTES: usize = 32;
/// The length of the longest encoded group that is not cut.
const GROUP_BYTES_MAX: usize = SORT_BYTES_MAX - Name::ITEM_BYTES_MAX - DIGEST_BYTES - END_BYTES;
/// The longest prefix that a store's URL may name.
pub(crate) const PREFIX_BYTES_MAX: usize = 128;

/// The length of a group's end: a zero byte, then [`WHOLE`] or [`CUT`].
const END_BYTES: usize = 2;
/// The end of a whole group, after a zero byte.
const WHOLE: u8 = 0x01;
/// The end of the start of a cut group, after a zero byte; the digest follows.
const CUT: u8 = 0x03;
/// The byte that follows a zero byte that belongs to the group.
const ZERO: u8 = 0xFF;

/// The place of a store's names in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The prefix of all partition keys: empty, or ends in `/`.
    root: String,
}

/// The key of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) partition: String,
    pub(crate) sort: Vec<u8>,
    /// The whole group, if the sort key does not hold it.
    pub(crate) group: Option<Bytes>,
}

/// A parsed sort key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// A whole group and an item.
    Whole { group: Vec<u8>, item: &'a [u8] },
    /// A cut group: the part of the key that all groups with the same start share, the part that
    /// all items of this group share, and the item.
    Cut { bucket: &'a [u8], start: &'a [u8], item: &'a [u8] },
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Layout {
        assert!(prefix.len() <= PREFIX_BYTES_MAX, "prefix of {} bytes", prefix.len());
        Layout { root: if prefix.is_empty() { String::new() } else { format!("{prefix}/") } }
    }

    /// Returns the partition `name` outside of every space.
    pub(crate) fn aside(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// Returns the place of a name's item.
    pub(crate) fn place(&self, name: &Name) -> Place {
        let number = match spreads_items(name.space) {
            true => number(&[&name.group, &name.item]),
            false => number(&[&name.group]),
        };
        let mut sort = start(&name.group);
        sort.extend_from_slice(&name.item);
        assert!(sort.len() <= SORT_BYTES_MAX, "a sort key of {} bytes", sort.len());
        let group = is_cut(&name.group).then(|| name.group.clone());
        Place { partition: self.partition(name.space, number), sort, group }
    }

    /// Returns the partitions that hold items of a group.
    pub(crate) fn partitions_of(&self, space: Space, group: &[u8]) -> Vec<String> {
        match spreads_items(space) {
            true => self.partitions(space),
            false => vec![self.partition(space, number(&[group]))],
        }
    }

    /// Returns all partitions of a space.
    pub(crate) fn partitions(&self, space: Space) -> Vec<String> {
        (0..PARTITIONS).map(|number| self.partition(space, number)).collect()
    }

    fn partition(&self, space: Space, number: usize) -> String {
        format!("{}{}/{number}", self.root, space.as_str())
    }
}

/// Returns true if a space's groups are minutes: then one group takes everything that is written in
/// a minute, and its items are spread over the partitions.
fn spreads_items(space: Space) -> bool {
    match space {
        Space::Intent | Space::Collect => true,
        Space::Commit
        | Space::Version
        | Space::Blob
        | Space::Marker
        | Space::Node
        | Space::Lease
        | Space::Store => false,
    }
}

/// Returns the number of the partition for these parts of a name.
fn number(parts: &[&[u8]]) -> usize {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    usize::from(hasher.finalize()[0]) % PARTITIONS
}

/// Encodes as much of a group as fits in a sort key; also returns true if that is all of it.
fn encode(group: &[u8]) -> (Vec<u8>, bool) {
    let mut encoded = Vec::with_capacity(group.len() + END_BYTES);
    for &byte in group {
        let len = if byte == 0 { 2 } else { 1 };
        if encoded.len() + len > GROUP_BYTES_MAX {
            return (encoded, false);
        }
        encoded.push(byte);
        if byte == 0 {
            encoded.push(ZERO);
        }
    }
    (encoded, true)
}

/// Returns true if this group does not fit in a sort key.
pub(crate) fn is_cut(group: &[u8]) -> bool {
    !encode(group).1
}

/// Returns the start of the sort keys of a group's items; no other sort keys have it.
pub(crate) fn start(group: &[u8]) -> Vec<u8> {
    let (mut start, whole) = encode(group);
    start.extend_from_slice(&[0, if whole { WHOLE } else { CUT }]);
    if !whole {
        start.extend_from_slice(&Sha256::digest(group));
    }
    start
}

/// Returns the sort key from which to look for groups after this one. If this one is cut, groups
/// with the same start come from there on, also lower ones.
pub(crate) fn after_group(group: &[u8]) -> Vec<u8> {
    match encode(group) {
        (_, true) => past(&start(group)),
        (mut bucket, false) => {
            bucket.extend_from_slice(&[0, CUT]);
            bucket
        }
    }
}

/// Returns the start of the sort keys of all groups with this prefix. If the prefix is so long that
/// it is cut, other groups may have it too.
pub(crate) fn prefix_start(prefix: &[u8]) -> Vec<u8> {
    let (mut start, whole) = encode(prefix);
    if !whole {
        start.extend_from_slice(&[0, CUT]);
    }
    start
}

/// Returns the first sort key after all that start with `start`. No item has it.
pub(crate) fn past(start: &[u8]) -> Vec<u8> {
    let mut past = start.to_vec();
    while let Some(last) = past.pop() {
        if last < u8::MAX {
            past.push(last + 1);
            return past;
        }
    }
    // All bytes are 0xFF, and no sort key comes after them, since every sort key has a zero byte.
    vec![u8::MAX; SORT_BYTES_MAX]
}

/// Returns the first sort key after `sort`. For a key of full length that is the first one that
/// does not start with it: nothing lies in between.
pub(crate) fn after(sort: &[u8]) -> Vec<u8> {
    assert!(sort.len() <= SORT_BYTES_MAX, "a sort key of {} bytes", sort.len());
    if sort.len() == SORT_BYTES_MAX {
        return past(sort);
    }
    [sort, &[0]].concat()
}

/// Returns the sort key from which to look for items of a group after `item`, which need not exist.
pub(crate) fn after_item(group: &[u8], item: &[u8]) -> Vec<u8> {
    // An `item` that is longer than any stored one comes after all items that equal its start.
    after(&[&start(group), &item[..item.len().min(Name::ITEM_BYTES_MAX)]].concat())
}

/// Parses a sort key; `None` if AFT does not write such a key.
pub(crate) fn read(sort: &[u8]) -> Option<Told<'_>> {
    let mut group = Vec::with_capacity(sort.len());
    let mut at = 0;
    loop {
        match (*sort.get(at)?, sort.get(at + 1)) {
            (0, Some(&ZERO)) => {
                group.push(0);
                at += 2;
            }
            (0, Some(&WHOLE)) => {
                let item = &sort[at + END_BYTES..];
                let known = !group.is_empty() && at <= GROUP_BYTES_MAX && item.len() <= Name::ITEM_BYTES_MAX;
                return known.then_some(Told::Whole { group, item });
            }
            (0, Some(&CUT)) => {
                let digest = at + END_BYTES;
                let (start, item) = sort.split_at_checked(digest + DIGEST_BYTES)?;
                // A group is cut only if it fills the key, or lacks one byte since an encoded zero
                // byte did not fit.
                let known = (GROUP_BYTES_MAX - 1..=GROUP_BYTES_MAX).contains(&at);
                let known = known && item.len() <= Name::ITEM_BYTES_MAX;
                return known.then_some(Told::Cut { bucket: &sort[..digest], start, item });
            }
            (0, _) => return None,
            (byte, _) => {
                group.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(space: Space, group: &[u8], item: &[u8]) -> Name {
        Name::new(space, Bytes::copy_from_slice(group), Bytes::copy_from_slice(item))
    }

    #[test]
    fn keys_have_their_documented_form() {
        let layout = Layout::new("shop/eu");
        let check = |space, group: &[u8], item: &[u8], partition: &str, sort: &[u8]| {
            let place = layout.place(&name(space, group, item));
            assert_eq!((place.partition.as_str(), place.sort.as_slice()), (partition, sort));
            assert_eq!(place.group, None);
        };
        // The numbers of the partitions are part of the format.
        check(Space::Version, b"orders/17", b"\x01\x02", "shop/eu/version/5", b"orders/17\x00\x01\x01\x02");
        check(Space::Commit, b"\x00\x00a", b"", "shop/eu/commit/2", b"\x00\xFF\x00\xFFa\x00\x01");
        check(Space::Intent, b"minute", b"1", "shop/eu/intent/3", b"minute\x00\x011");
        assert_eq!(Layout::new("").partitions(Space::Node)[7], "node/7");
    }

    #[test]
    fn items_of_a_minute_are_spread_over_the_partitions() {
        let layout = Layout::new("p");
        let used = |space| {
            let places = (0..200_u8).map(|i| layout.place(&name(space, b"11:59", &[i])).partition);
            let used: Vec<String> = places.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            assert_eq!(used, layout.partitions_of(space, b"11:59"));
            used.len()
        };
        assert_eq!((used(Space::Intent), used(Space::Collect)), (PARTITIONS, PARTITIONS));
        assert_eq!((used(Space::Version), used(Space::Blob)), (1, 1));
    }

    #[test]
    fn long_groups_are_cut() {
        let longest = [b'a'; GROUP_BYTES_MAX];
        assert_eq!(start(&longest).len(), GROUP_BYTES_MAX + 2);
        let longer = [b'a'; GROUP_BYTES_MAX + 1];
        let start_of_longer = start(&longer);
        assert_eq!(start_of_longer[..GROUP_BYTES_MAX + 2], [&longest[..], &[0, CUT]].concat());
        assert_eq!(start_of_longer.len(), GROUP_BYTES_MAX + 2 + DIGEST_BYTES);
        // An encoded zero byte is never cut in two.
        let zeros = [0; GROUP_BYTES_MAX / 2 + 1];
        assert_eq!(start(&zeros).len() - 2 - DIGEST_BYTES, GROUP_BYTES_MAX / 2 * 2);
        let place = Layout::new("").place(&name(Space::Version, &longer, b""));
        assert_eq!(place.group.as_deref(), Some(&longer[..]));
    }

    #[test]
    fn foreign_keys_are_not_parsed() {
        for sort in [&b""[..], b"a", b"a\x00", b"a\x00\x02", b"\x00\x01i", b"a\x00\x00", b"a\x00\x03digest"] {
            assert_eq!(read(sort), None, "{}", sort.escape_ascii());
        }
        assert_eq!(read(b"a\x00\x01"), Some(Told::Whole { group: b"a".to_vec(), item: b"" }));
    }

    fn space() -> impl Strategy<Value = Space> {
        prop::sample::select(Space::ALL.to_vec())
    }

    /// Bytes that often share a long start, with lengths around those at which the layout changes.
    fn long(max: usize) -> impl Strategy<Value = Vec<u8>> {
        let fill = prop::sample::select(vec![b'a', 1, 0, 0xff]);
        let len = prop_oneof![
            0..20_usize,
            GROUP_BYTES_MAX / 2 - 4..GROUP_BYTES_MAX / 2 + 4,
            GROUP_BYTES_MAX - 6..GROUP_BYTES_MAX + 4,
            0..=max
        ];
        (fill, len, prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..5)).prop_map(
            move |(fill, len, end)| {
                let mut bytes = vec![fill; len];
                bytes.extend(end);
                bytes.truncate(max);
                bytes
            },
        )
    }

    fn group() -> impl Strategy<Value = Vec<u8>> {
        let few = prop::collection::vec(prop_oneof![0..4_u8, Just(0xff), any::<u8>()], 1..8);
        prop_oneof![few, long(Name::GROUP_BYTES_MAX)]
            .prop_filter("groups are not empty", |group| !group.is_empty())
    }

    fn item() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(prop_oneof![0..4_u8, Just(0xff), any::<u8>()], 0..6),
            long(Name::ITEM_BYTES_MAX)
        ]
    }

    /// Returns true if the keys of two groups are in the groups' order, which digests are not.
    fn ordered(a: &[u8], b: &[u8]) -> bool {
        let bucket = |group: &[u8]| is_cut(group).then(|| encode(group).0);
        a == b || bucket(a).is_none() || bucket(a) != bucket(b)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn names_survive_encoding_and_decoding(space in space(), group in group(), item in item()) {
            let place = Layout::new("some/prefix").place(&name(space, &group, &item));
            prop_assert!(place.sort.len() <= SORT_BYTES_MAX);
            prop_assert!(Layout::new("some/prefix").partitions_of(space, &group).contains(&place.partition));
            match read(&place.sort) {
                Some(Told::Whole { group: told, item: with }) => {
                    prop_assert_eq!((told, with, place.group), (group, &item[..], None));
                }
                Some(Told::Cut { bucket, start: own, item: with }) => {
                    prop_assert_eq!((own, with), (&start(&group)[..], &item[..]));
                    prop_assert!(own.starts_with(bucket));
                    prop_assert_eq!(after_group(&group), bucket);
                    prop_assert_eq!(place.group.as_deref(), Some(&group[..]));
                }
                None => prop_assert!(false, "not read"),
            }
        }

        #[test]
        fn keys_are_in_the_order_of_names(
            space in space(),
            (a, b) in (group(), group()),
            (i, j) in (item(), item()),
        ) {
            let layout = Layout::new("");
            let (one, other) = (name(space, &a, &i), name(space, &b, &j));
            let (at, there) = (layout.place(&one).sort, layout.place(&other).sort);
            if ordered(&a, &b) {
                prop_assert_eq!(one.cmp(&other), at.cmp(&there));
            }
            prop_assert_eq!(a == b, there.starts_with(&start(&a)));
            // No item lies at the end of a group's range, which queries include.
            prop_assert!(there != past(&start(&a)));
        }

        #[test]
        fn continuing_after_an_item_skips_it_and_nothing_else(
            space in space(),
            (a, b) in (group(), group()),
            (i, j) in (item(), item()),
        ) {
            let place = |group: &[u8], item: &[u8]| Layout::new("").place(&name(space, group, item)).sort;
            let from = after_item(&a, &i);
            prop_assert!(from.len() <= SORT_BYTES_MAX);
            for (group, item) in [(&a, &i), (&a, &j), (&b, &j)] {
                prop_assert_eq!(place(group, item) > place(&a, &i), place(group, item) >= from.clone());
            }
        }

        #[test]
        fn continuing_after_a_group_skips_it_and_nothing_else(
            space in space(),
            (a, b) in (group(), group()),
            i in item(),
        ) {
            let sort = Layout::new("").place(&name(space, &b, &i)).sort;
            let from = after_group(&a);
            if !is_cut(&a) {
                prop_assert_eq!(b > a, sort >= from);
            } else if b > a {
                prop_assert!(sort >= from);
            }
        }

        #[test]
        fn the_range_of_a_prefix_holds_all_groups_with_it(
            group in group(),
            other in group(),
            cut in any::<prop::sample::Index>(),
        ) {
            let prefix = &group[..cut.index(group.len() + 1)];
            let (from, to) = (prefix_start(prefix), past(&prefix_start(prefix)));
            for group in [&group, &other] {
                let sort = start(group);
                let within = sort >= from && sort <= to;
                prop_assert!(within || !group.starts_with(prefix));
                // A cut prefix also matches other groups, which only the whole group distinguishes.
                prop_assert!(!within || group.starts_with(prefix) || is_cut(prefix));
            }
        }
    }
}
