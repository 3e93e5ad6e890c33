//! The mapping of names to keys of Redis, which are arbitrary bytes.
//!
//! ```text
//!   PREFIX/identity                           string: which store this is
//!   PREFIX/<space>/g                          sorted set: the groups of a space that have an item
//!   PREFIX/<space>/i/<group>                  sorted set: the items of a group
//!   PREFIX/<space>/o/<len>/<group>/<item>     string: one object; len: the group's
//!                                             length in bytes, four hex digits
//! ```
//!
//! All scores are 0, so that a sorted set is in the byte order of its members. The length
//! distinguishes (`a/b`, `c`) from (`a`, `b/c`). A prefix has no `/`, so that the keys of two
//! stores never overlap.

use aft_store::{Name, Space};
use bytes::{BufMut as _, Bytes, BytesMut};

/// The longest prefix, in bytes.
pub(crate) const PREFIX_BYTES_MAX: usize = 64;
const _: () = assert!(Name::GROUP_BYTES_MAX <= 0xffff);

/// The number of bytes before the body of a stored object: a format and a tag.
pub(crate) const HEAD_BYTES: usize = 1 + TAG_BYTES;
const TAG_BYTES: usize = 16;
/// The first byte of a stored object: its format.
const FORMAT: u8 = b'1';

/// The keys of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Layout {
        assert!(
            !prefix.is_empty() && prefix.len() <= PREFIX_BYTES_MAX && !prefix.contains('/'),
            "{prefix:?}"
        );
        Layout { prefix: prefix.to_owned() }
    }

    /// Returns the key of a space's index of groups.
    pub(crate) fn groups(&self, space: Space) -> Bytes {
        format!("{}/{}/g", self.prefix, space.as_str()).into()
    }

    /// Returns the key of the store's identity. No space has this name.
    pub(crate) fn identity(&self) -> Bytes {
        format!("{}/identity", self.prefix).into()
    }

    /// Returns the start of every key that [`Layout::items`] returns for a space.
    pub(crate) fn items_start(&self, space: Space) -> Bytes {
        format!("{}/{}/i/", self.prefix, space.as_str()).into()
    }

    /// Returns the key of a group's index of items.
    pub(crate) fn items(&self, space: Space, group: &[u8]) -> Bytes {
        [&self.items_start(space)[..], group].concat().into()
    }

    /// Returns the keys with which scripts write a name, in their order: the object, the items of
    /// the group, the groups of the space.
    pub(crate) fn keys(&self, name: &Name) -> [Bytes; 3] {
        [self.object(name), self.items(name.space, &name.group), self.groups(name.space)]
    }

    /// Returns the key of a name's object.
    pub(crate) fn object(&self, name: &Name) -> Bytes {
        let head = format!("{}/{}/o/{:04x}/", self.prefix, name.space.as_str(), name.group.len());
        [head.as_bytes(), &name.group[..], b"/", &name.item[..]].concat().into()
    }
}

/// Returns a format and a tag that no other content has: 128 random bits. A hash of the body would
/// not do, since two bodies with the same hash can be made on purpose.
pub(crate) fn fresh_head() -> [u8; HEAD_BYTES] {
    let mut head = [FORMAT; HEAD_BYTES];
    head[1..].copy_from_slice(&rand::random::<u128>().to_be_bytes());
    head
}

/// Returns the bytes to store for a body.
pub(crate) fn seal(body: &[u8]) -> Bytes {
    let mut stored = BytesMut::with_capacity(HEAD_BYTES + body.len());
    stored.put_slice(&fresh_head());
    stored.put_slice(body);
    stored.freeze()
}

/// Splits stored bytes into head and body; `None` if this store did not write them.
pub(crate) fn unseal(stored: Vec<u8>) -> Option<(Bytes, Bytes)> {
    if stored.len() < HEAD_BYTES || stored[0] != FORMAT {
        return None;
    }
    let mut head = Bytes::from(stored);
    let body = head.split_off(HEAD_BYTES);
    // A copy, so that the tag does not keep the body in memory.
    Some((Bytes::copy_from_slice(&head), body))
}

/// Returns the exclusive end of the range of members that start with `prefix`; `None` if no member
/// can come after them.
pub(crate) fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A parsed key.
    #[derive(Debug, PartialEq)]
    enum Meant {
        Identity,
        Groups(Space),
        Items(Space, Vec<u8>),
        Object(Name),
    }

    fn read(prefix: &str, key: &[u8]) -> Option<Meant> {
        let rest = key.strip_prefix(prefix.as_bytes())?.strip_prefix(b"/")?;
        if rest == b"identity" {
            return Some(Meant::Identity);
        }
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let space = Space::ALL.into_iter().find(|space| space.as_str().as_bytes() == &rest[..slash])?;
        match &rest[slash + 1..] {
            b"g" => Some(Meant::Groups(space)),
            [b'i', b'/', group @ ..] => Some(Meant::Items(space, group.to_vec())),
            [b'o', b'/', a, b, c, d, b'/', rest @ ..] => {
                let digits = [*a, *b, *c, *d];
                let len = usize::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
                let (group, rest) = rest.split_at_checked(len)?;
                let item = rest.strip_prefix(b"/")?;
                Some(Meant::Object(Name::new(space, group.to_vec(), item.to_vec())))
            }
            _ => None,
        }
    }

    /// Bytes with many that have a meaning in a key.
    fn part(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
        vec(
            prop_oneof![Just(b'/'), Just(b'g'), Just(b'i'), Just(b'o'), Just(b'0'), Just(b'1'), any::<u8>()],
            len,
        )
    }

    fn name() -> impl Strategy<Value = Name> {
        (0..Space::ALL.len(), part(1..=12), part(0..=12))
            .prop_map(|(space, group, item)| Name::new(Space::ALL[space], group, item))
    }

    fn prefix() -> impl Strategy<Value = String> {
        "[a-z0-9:._-]{1,8}"
    }

    proptest! {
        #[test]
        fn every_key_parses_to_its_meaning(prefix in prefix(), name in name()) {
            let layout = Layout::new(&prefix);
            let (space, group) = (name.space, name.group.to_vec());
            prop_assert_eq!(read(&prefix, &layout.identity()), Some(Meant::Identity));
            prop_assert_eq!(read(&prefix, &layout.groups(space)), Some(Meant::Groups(space)));
            prop_assert_eq!(read(&prefix, &layout.items(space, &group)), Some(Meant::Items(space, group)));
            prop_assert_eq!(read(&prefix, &layout.object(&name)), Some(Meant::Object(name)));
        }

        /// Goal: two stores on one server never share a key. (The test above parses keys with their
        /// prefix known.)
        #[test]
        fn keys_of_two_stores_never_collide(one in prefix(), two in prefix(), a in name(), b in name()) {
            let keys = |prefix: &str, name: &Name| {
                let layout = Layout::new(prefix);
                let Name { space, group, .. } = name;
                [layout.identity(), layout.groups(*space), layout.items(*space, group), layout.object(name)]
            };
            let (of_one, of_two) = (keys(&one, &a), keys(&two, &b));
            if one != two {
                prop_assert!(of_one.iter().all(|key| !of_two.contains(key)));
            }
        }

        #[test]
        fn the_range_of_a_prefix_holds_exactly_its_members(prefix in vec(prop_oneof![Just(0xff), any::<u8>()], 0..4), member in vec(any::<u8>(), 0..6)) {
            let starts = member.starts_with(&prefix);
            let within = member >= prefix && end_of(&prefix).is_none_or(|end| member < end);
            prop_assert_eq!(starts, within);
        }

        #[test]
        fn bodies_survive_sealing_and_unsealing(body in vec(any::<u8>(), 0..40)) {
            let stored = seal(&body);
            let (tag, read) = unseal(stored.to_vec()).expect("it was sealed");
            prop_assert_eq!(&read[..], &body[..]);
            prop_assert_eq!(&tag[..], &stored[..HEAD_BYTES]);
            prop_assert_ne!(seal(&body), stored);
        }
    }

    #[test]
    fn foreign_bytes_are_not_unsealed() {
        assert_eq!(unseal(Vec::new()), None);
        assert_eq!(unseal(vec![FORMAT; HEAD_BYTES - 1]), None);
        assert_eq!(unseal(vec![b'x'; 40]), None);
    }

    #[test]
    fn keys_are_as_documented() {
        let name = Name::new(Space::Version, "a/b", "c");
        let layout = Layout::new("aft");
        assert_eq!(layout.object(&name), "aft/version/o/0003/a/b/c");
        assert_eq!(layout.items(Space::Version, b"a/b"), "aft/version/i/a/b");
        assert_eq!(layout.groups(Space::Version), "aft/version/g");
        assert_eq!(layout.identity(), "aft/identity");
    }
}
