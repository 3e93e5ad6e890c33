//! The mapping of names to the keys of objects.
//!
//! ```text
//! PREFIX/version/orders-2F17!/-0Lk…        a version entry of the user key orders/17
//! PREFIX/commit/6iR…!/-                     a commit record: the empty item is "-"
//! └root─┘└space┘└──group───┘└item┘
//! ```
//!
//! Encoded groups and items ([`Encoding`]) are cut into segments, since some servers store a
//! segment as a file name:
//!
//! * A segment holds [`SEGMENT_CHARS`] characters. The last segment of a group ends in `!`. Every
//!   other one, of groups and of items, ends in `+`, except for the last of an item; so no key is
//!   another one's directory. In byte order, `!` comes before `+`, and both come before every
//!   character of an encoding: a group comes before those that extend it, and all of its items come
//!   in between. So the keys of a space are in the order of (group, item).
//! * After [`GROUP_SEGMENTS_MAX`] full segments, the rest of a longer group is replaced by the
//!   group's digest: `…+/…+/…+/DIGEST!/item`. Such groups are alone in their directory, which is in
//!   its place in the order; within it, they are not in order. Their objects begin with the whole
//!   group ([`seal`], [`unseal`]), so that a digest can be resolved to its group. (A digest is
//!   never compared with anything but digests.)
//!
//! A key has at most [`KEY_BYTES_MAX`] bytes, and a segment at most [`SEGMENT_CHARS`] + 1; no
//! segment is empty, `.` or `..`.

use aft_store::{Name, Space};
use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use crate::sortable::Encoding;

/// The number of characters in a full segment: well below the 255 bytes of a file name, and such
/// that the longest name fits in a key.
const SEGMENT_CHARS: usize = 160;
/// The number of full segments of a group before the rest is hashed.
pub(crate) const GROUP_SEGMENTS_MAX: usize = 3;
/// The length of the longest encoded group that is not hashed.
const GROUP_CHARS_MAX: usize = SEGMENT_CHARS * GROUP_SEGMENTS_MAX;
/// The longest key that S3 takes.
const KEY_BYTES_MAX: usize = 1_024;
/// The longest prefix that a store's URL may name.
pub(crate) const PREFIX_BYTES_MAX: usize = 128;

/// The length of the longest name of a space: `version` and `collect`.
const SPACE_CHARS_MAX: usize = 7;
/// The length of a SHA-256 digest in base64 without padding.
const DIGEST_CHARS: usize = 43;
/// The length of the longest item in base64 without padding.
const ITEM_CHARS: usize = (Name::ITEM_BYTES_MAX * 4).div_ceil(3);
/// The length of the longest item's text: with the ends of its segments.
const ITEM_TEXT_CHARS: usize = ITEM_CHARS + (ITEM_CHARS - 1) / SEGMENT_CHARS * 2;
const _: () = assert!(
    PREFIX_BYTES_MAX
        + 1
        + SPACE_CHARS_MAX
        + 1
        + GROUP_CHARS_MAX
        + GROUP_SEGMENTS_MAX * 2
        + DIGEST_CHARS
        + 2
        + ITEM_TEXT_CHARS
        <= KEY_BYTES_MAX
);

/// The end of a group's last segment.
const LAST: char = '!';
/// The text that follows the group in every key of a store.
pub(crate) const GROUP_END: &str = "!/";
/// The end of every other segment.
const MORE: char = '+';
/// The text of the empty item; a single character is not valid base64.
const EMPTY: &str = "-";

/// The size of the group's length in front of a sealed body.
const SEAL_LEN_BYTES: usize = 2;
/// The largest number of bytes that [`seal`] puts in front of a body.
pub(crate) const SEAL_BYTES_MAX: usize = SEAL_LEN_BYTES + Name::GROUP_BYTES_MAX;
const _: () = assert!(Name::GROUP_BYTES_MAX <= u16::MAX as usize);

/// The place of a store's names in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The prefix of all keys: empty, or ends in `/`.
    root: String,
}

/// An entry of a directory of groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A group with its bytes, or `None` if its name ends in a digest.
    Group(Option<Bytes>),
    /// A directory of the groups that share its segments.
    Directory,
}

/// A name, as far as its key shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The whole name.
    Whole { group: Bytes, item: Bytes },
    /// A name whose group ends in a digest: the full segments before the digest, the length in
    /// bytes of the key's part that all keys of the group share, and the item.
    Hashed { full: Vec<String>, digest_len: usize, item: Bytes },
}

/// A position in the tree of a space's groups: an encoded group, cut into segments.
#[derive(Debug)]
pub(crate) struct Path {
    /// The full segments that another segment follows.
    pub(crate) full: Vec<String>,
    /// The last segment, or a part of it; after [`GROUP_SEGMENTS_MAX`] full ones, all of the rest.
    pub(crate) last: String,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Layout {
        assert!(prefix.len() <= PREFIX_BYTES_MAX, "prefix of {} bytes", prefix.len());
        Layout { root: if prefix.is_empty() { String::new() } else { format!("{prefix}/") } }
    }

    /// Returns the key `name` outside of every space.
    pub(crate) fn aside(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// Returns the key of a name's object.
    pub(crate) fn key(&self, name: &Name) -> String {
        let mut key = self.group(name.space, &name.group);
        key.push_str(&item(&name.item));
        assert!(key.len() <= KEY_BYTES_MAX, "key of {} bytes", key.len());
        key
    }

    /// Parses a key of a space; `None` if AFT does not write such a key.
    pub(crate) fn read(&self, space: Space, key: &str) -> Option<Read> {
        let path = key.strip_prefix(&self.directory(space, &[]))?;
        let (encoded, text) = path.split_once(GROUP_END)?;
        let item = decode_item(text)?;
        let mut full: Vec<String> = encoded.split("+/").map(str::to_owned).collect();
        let last = full.pop().expect("a split has a last part");
        if full.iter().any(|segment| segment.len() != SEGMENT_CHARS) {
            return None;
        }
        match entry(space, &full, &format!("{last}{LAST}"))? {
            Entry::Group(Some(group)) => Some(Read::Whole { group, item }),
            Entry::Group(None) => Some(Read::Hashed { full, digest_len: key.len() - text.len(), item }),
            Entry::Directory => None,
        }
    }

    /// Returns the directory of a group, with which all of its keys start.
    pub(crate) fn group(&self, space: Space, group: &[u8]) -> String {
        let path = Path::new(&encoding(space).encode(group));
        let mut dir = self.directory(space, &path.full);
        match is_hashed(space, group) {
            false => dir.push_str(&path.last),
            true => dir.push_str(&Encoding::Dense.encode(&Sha256::digest(group))),
        }
        dir.push(LAST);
        dir.push('/');
        dir
    }

    /// Returns the directory below these full segments.
    pub(crate) fn directory(&self, space: Space, full: &[String]) -> String {
        let mut dir = format!("{}{}/", self.root, space.as_str());
        for segment in full {
            dir.push_str(segment);
            dir.push(MORE);
            dir.push('/');
        }
        dir
    }
}

impl Path {
    pub(crate) fn new(encoded: &str) -> Path {
        let mut full = Vec::new();
        let mut last = encoded;
        while full.len() < GROUP_SEGMENTS_MAX && last.len() > SEGMENT_CHARS {
            let (segment, rest) = last.split_at(SEGMENT_CHARS);
            full.push(segment.to_owned());
            last = rest;
        }
        Path { full, last: last.to_owned() }
    }

    /// Returns the path of a group.
    pub(crate) fn of(space: Space, group: &[u8]) -> Path {
        Path::new(&encoding(space).encode(group))
    }

    /// Returns the path that the paths of all groups with this prefix start with. Other groups may
    /// match it too.
    pub(crate) fn of_prefix(space: Space, prefix: &[u8]) -> Path {
        Path::new(&encoding(space).encode_prefix(prefix))
    }
}

/// Returns the first key after all keys of the group whose last segment is `last`.
pub(crate) fn after_group(directory: &str, last: &str) -> String {
    past(&format!("{directory}{last}{LAST}/"))
}

/// Returns the first key after all keys of the directory below the full segment `segment`.
pub(crate) fn after_directory(directory: &str, segment: &str) -> String {
    past(&format!("{directory}{segment}{MORE}/"))
}

/// Returns the first key after all keys that start with `directory`, which ends in `/`: the same
/// with `0`, which follows `/` in byte order.
pub(crate) fn past(directory: &str) -> String {
    let start = directory.strip_suffix('/').expect("directories end in /");
    format!("{start}0")
}

/// Returns true if the end of this group's name is a digest.
pub(crate) fn is_hashed(space: Space, group: &[u8]) -> bool {
    encoding(space).encode(group).len() > GROUP_CHARS_MAX
}

/// Parses the segment `segment` in the directory below `full`; `None` if AFT does not write such a
/// segment.
pub(crate) fn entry(space: Space, full: &[String], segment: &str) -> Option<Entry> {
    if let Some(start) = segment.strip_suffix(MORE) {
        let whole = start.len() == SEGMENT_CHARS && full.len() < GROUP_SEGMENTS_MAX;
        return whole.then_some(Entry::Directory);
    }
    let end = segment.strip_suffix(LAST)?;
    if full.len() == GROUP_SEGMENTS_MAX {
        return (end.len() == DIGEST_CHARS).then_some(Entry::Group(None));
    }
    let encoded = format!("{}{end}", full.concat());
    let group = encoding(space).decode(&encoded)?;
    let known = !end.is_empty() && group.len() <= Name::GROUP_BYTES_MAX && end.len() <= SEGMENT_CHARS;
    (known && !group.is_empty()).then(|| Entry::Group(Some(group.into())))
}

/// Returns the text of an item, which is the end of its key.
pub(crate) fn item(item: &[u8]) -> String {
    if item.is_empty() {
        return EMPTY.to_owned();
    }
    let encoded = Encoding::Dense.encode(item);
    let mut rest = encoded.as_str();
    let mut text = String::with_capacity(ITEM_TEXT_CHARS);
    while rest.len() > SEGMENT_CHARS {
        let (segment, after) = rest.split_at(SEGMENT_CHARS);
        text.push_str(segment);
        text.push(MORE);
        text.push('/');
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Parses the item at the end of a key; `None` if AFT does not write such a text.
pub(crate) fn decode_item(text: &str) -> Option<Bytes> {
    if text == EMPTY {
        return Some(Bytes::new());
    }
    let decoded = Encoding::Dense.decode(&text.replace("+/", ""))?;
    let known = !decoded.is_empty() && decoded.len() <= Name::ITEM_BYTES_MAX && item(&decoded) == text;
    known.then(|| decoded.into())
}

fn encoding(space: Space) -> Encoding {
    match space {
        // The groups of these spaces are user keys.
        Space::Version | Space::Marker => Encoding::Readable,
        Space::Commit
        | Space::Intent
        | Space::Blob
        | Space::Collect
        | Space::Node
        | Space::Lease
        | Space::Store => Encoding::Dense,
    }
}

/// Returns the body as it is stored: with the whole group in front if its name ends in a digest.
pub(crate) fn seal(name: &Name, body: Bytes) -> Bytes {
    if !is_hashed(name.space, &name.group) {
        return body;
    }
    let mut sealed = BytesMut::with_capacity(SEAL_LEN_BYTES + name.group.len() + body.len());
    sealed.put_u16(u16::try_from(name.group.len()).expect("a name's group is bounded"));
    sealed.put_slice(&name.group);
    sealed.put_slice(&body);
    sealed.freeze()
}

/// Splits a stored body into the group and the body that [`seal`] put together; `None` if it is not
/// such a body.
pub(crate) fn unseal(mut stored: Bytes) -> Option<(Bytes, Bytes)> {
    if stored.len() < SEAL_LEN_BYTES {
        return None;
    }
    let len = stored.split_to(SEAL_LEN_BYTES);
    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    if len > stored.len() || len > Name::GROUP_BYTES_MAX {
        return None;
    }
    let group = stored.split_to(len);
    Some((group, stored))
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
        let check = |space, group: &[u8], item: &[u8], key: &str| {
            assert_eq!(layout.key(&name(space, group, item)), key);
        };
        check(Space::Version, b"orders/17", b"\x01\x02", "shop/eu/version/orders-2F17!/-F7");
        check(Space::Marker, b"a", b"", "shop/eu/marker/a!/-");
        check(Space::Commit, b"\x00\x00\x00", b"", "shop/eu/commit/----!/-");
        assert_eq!(Layout::new("").key(&name(Space::Node, b"\xff", b"")), "node/zk!/-");
    }

    #[test]
    fn long_groups_are_cut_and_then_hashed() {
        let layout = Layout::new("p");
        let group = |len| layout.group(Space::Version, "a".repeat(len).as_bytes());
        let full = "a".repeat(160);
        assert_eq!(group(160), format!("p/version/{full}!/"));
        assert_eq!(group(161), format!("p/version/{full}+/a!/"));
        assert_eq!(group(480), format!("p/version/{full}+/{full}+/{full}!/"));
        let hashed = group(481);
        let digest = hashed.strip_prefix(&format!("p/version/{full}+/{full}+/{full}+/")).unwrap();
        assert_eq!(digest.len(), DIGEST_CHARS + 2);
        assert!(is_hashed(Space::Version, &[b'a'; 481]) && !is_hashed(Space::Version, &[b'a'; 480]));
    }

    #[test]
    fn foreign_keys_are_not_parsed() {
        let full = ["a".repeat(160), "b".repeat(160), "c".repeat(160)];
        for (depth, segment) in [
            (0, "x"),
            (0, "x+"),
            (0, "!"),
            (0, "a b!"),
            (0, "-!"),
            (3, "aaa!"),
            (0, "a!!"),
            (3, &format!("{}+", full[0])),
        ] {
            assert_eq!(entry(Space::Version, &full[..depth], segment), None, "{segment}");
        }
        assert_eq!(entry(Space::Version, &[], &format!("{}+", full[0])), Some(Entry::Directory));
        assert_eq!(entry(Space::Version, &[], "a-2F!"), Some(Entry::Group(Some("a/".into()))));
        for text in ["", "a", "-/-", "+/", "--+/--", "x.txt"] {
            assert_eq!(decode_item(text), None, "{text}");
        }
    }

    #[test]
    fn a_sealed_body_holds_its_group() {
        let long = name(Space::Version, &[b'k'; 500], b"i");
        let sealed = seal(&long, Bytes::from("body"));
        assert_eq!(unseal(sealed.clone()), Some((long.group, Bytes::from("body"))));
        assert_eq!(unseal(sealed.slice(..100)), None);
        assert_eq!(unseal(Bytes::from("x")), None);
        assert_eq!(seal(&name(Space::Version, b"k", b"i"), Bytes::from("body")), "body");
    }

    fn space() -> impl Strategy<Value = Space> {
        prop::sample::select(Space::ALL.to_vec())
    }

    /// Bytes that often share a long start, with lengths around those at which the layout changes.
    fn long(max: usize) -> impl Strategy<Value = Vec<u8>> {
        let fill = prop::sample::select(vec![b'a', b'/', 0, 0xff]);
        let len = prop_oneof![
            0..20_usize,
            100..130_usize,
            150..170_usize,
            310..330_usize,
            350..370_usize,
            470..490_usize,
            0..=max
        ];
        (fill, len, prop::collection::vec(any::<u8>(), 0..4)).prop_map(move |(fill, len, end)| {
            let mut bytes = vec![fill; len];
            bytes.extend(end);
            bytes.truncate(max);
            bytes
        })
    }

    fn group() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![prop::collection::vec(any::<u8>(), 1..12), long(Name::GROUP_BYTES_MAX)]
            .prop_filter("groups are not empty", |group| !group.is_empty())
    }

    fn item_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![prop::collection::vec(any::<u8>(), 0..6), long(Name::ITEM_BYTES_MAX)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn names_survive_encoding_and_decoding(space in space(), group in group(), item in item_bytes()) {
            let layout = Layout::new("some/prefix");
            let key = layout.key(&name(space, &group, &item));
            let path = Path::of(space, &group);
            let rest = key.strip_prefix(&layout.directory(space, &path.full)).expect("in its directory");
            let (segment, text) = rest.split_once('/').expect("a group and an item");
            let expected = (!is_hashed(space, &group)).then(|| Bytes::from(group));
            prop_assert_eq!(entry(space, &path.full, segment), Some(Entry::Group(expected)));
            prop_assert_eq!(decode_item(text), Some(Bytes::from(item)));
        }

        #[test]
        fn keys_are_parsed(space in space(), group in group(), item in item_bytes()) {
            let layout = Layout::new("some/prefix");
            let key = layout.key(&name(space, &group, &item));
            let expect = match is_hashed(space, &group) {
                false => Read::Whole { group: group.clone().into(), item: item.into() },
                true => Read::Hashed {
                    full: Path::of(space, &group).full,
                    digest_len: layout.group(space, &group).len(),
                    item: item.into(),
                },
            };
            prop_assert_eq!(layout.read(space, &key), Some(expect));
            // Neither a directory's key nor another space's keys are parsed.
            prop_assert_eq!(layout.read(space, &layout.group(space, &group)), None);
            let other = if space == Space::Version { Space::Commit } else { Space::Version };
            prop_assert_eq!(layout.read(other, &key), None);
        }

        #[test]
        fn keys_are_in_the_order_of_names(
            space in space(),
            (a, b) in (group(), group()),
            (i, j) in (item_bytes(), item_bytes()),
        ) {
            let layout = Layout::new("");
            let (one, other) = (name(space, &a, &i), name(space, &b, &j));
            let both_hashed = is_hashed(space, &a) && is_hashed(space, &b);
            if !both_hashed || a == b || Path::of(space, &a).full != Path::of(space, &b).full {
                prop_assert_eq!(one.cmp(&other), layout.key(&one).cmp(&layout.key(&other)));
            }
            // No key of one group is mistaken for one of another.
            prop_assert!(a == b || !layout.key(&one).starts_with(&layout.group(space, &b)));
        }

        #[test]
        fn keys_of_later_groups_come_past_all_keys_of_a_group(
            space in space(),
            (a, b) in (group(), group()),
            i in item_bytes(),
        ) {
            let layout = Layout::new("p");
            let past_a = past(&layout.group(space, &a));
            let key = layout.key(&name(space, &b, &i));
            if !is_hashed(space, &a) {
                prop_assert_eq!(b > a, key > past_a, "{} {}", key, past_a);
            }
        }

        #[test]
        fn limits_are_kept(space in space(), group in group(), item in item_bytes()) {
            let layout = Layout::new(&"p".repeat(PREFIX_BYTES_MAX));
            let key = layout.key(&name(space, &group, &item));
            prop_assert!(key.len() <= KEY_BYTES_MAX);
            for segment in key.split('/') {
                prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                prop_assert!(segment.len() <= 200, "{}", segment);
            }
        }

        #[test]
        fn the_path_of_a_prefix_leads_to_all_groups_with_it(
            space in space(),
            group in group(),
            cut in any::<prop::sample::Index>(),
        ) {
            let layout = Layout::new("p");
            let path = Path::of_prefix(space, &group[..cut.index(group.len() + 1)]);
            let at = layout.directory(space, &path.full);
            let shown = layout.group(space, &group);
            prop_assert!(shown.starts_with(&at));
            if path.full.len() < GROUP_SEGMENTS_MAX {
                prop_assert!(shown[at.len()..].starts_with(&path.last), "{} {}", shown, path.last);
            }
        }
    }
}
