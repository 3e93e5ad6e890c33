//! The encoding of names as keys of the tree.
//!
//! ```text
//! space (1 byte) │ group, 0x00 written as 0x00 0xff │ 0x00 0x00 │ item, unescaped
//! ```
//!
//! The byte order of keys is the order of (space, group, item): the end mark 0x00 0x00 sorts before
//! everything that may continue a group, even before an escaped zero (0x00 0xff). So all items of a
//! group are neighbours. With 0x00 0x01 in place of the end mark, a key is a position after all
//! items of a group and before the next group. So one seek leads from group to group, however many
//! items lie between them.
//!
//! The store's own keys start with 0x00, which is not a space.

use aft_store::{Name, Space};
use bytes::Bytes;

const END: [u8; 2] = [0x00, 0x00];
const AFTER_END: [u8; 2] = [0x00, 0x01];
const ESCAPED_ZERO: [u8; 2] = [0x00, 0xff];

/// The key of the newest link of the commit chain.
pub(crate) const CHAIN: [u8; 1] = [0x00];
/// The prefix of the keys that say which body files are in use.
pub(crate) const FILES: [u8; 2] = [0x00, b'f'];

/// The longest key, in bytes: the longest group, with every byte escaped, and the longest item.
const KEY_BYTES_MAX: usize = 1 + 2 * Name::GROUP_BYTES_MAX + END.len() + Name::ITEM_BYTES_MAX;
// The journal of the tree has 16 bits for the length of a key.
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// Returns the key of a name.
pub(crate) fn of(name: &Name) -> Vec<u8> {
    let mut key = group_start(name.space, &name.group);
    key.extend_from_slice(&name.item);
    key
}

/// Returns the name whose key this is, or `None` if it is not the key of a name.
pub(crate) fn name(key: &[u8]) -> Option<Name> {
    let (group, item) = parts(key)?;
    let space = Space::ALL.into_iter().find(|&space| space as u8 == key[0])?;
    let fits =
        !group.is_empty() && group.len() <= Name::GROUP_BYTES_MAX && item.len() <= Name::ITEM_BYTES_MAX;
    fits.then(|| Name::new(space, group, Bytes::copy_from_slice(item)))
}

/// Returns the group and the item in the key of a name, or `None` if the key is malformed.
pub(crate) fn parts(key: &[u8]) -> Option<(Bytes, &[u8])> {
    let (_, mut rest) = key.split_first()?;
    let mut group = Vec::with_capacity(rest.len());
    loop {
        let zero = rest.iter().position(|&byte| byte == 0)?;
        group.extend_from_slice(&rest[..zero]);
        let (mark, after) = rest[zero..].split_first_chunk::<2>()?;
        rest = after;
        match *mark {
            END => return Some((group.into(), rest)),
            ESCAPED_ZERO => group.push(0),
            _ => return None,
        }
    }
}

/// Returns the prefix of the keys of a group's items. An item appended to it makes the item's key.
pub(crate) fn group_start(space: Space, group: &[u8]) -> Vec<u8> {
    let mut key = groups_start(space, group);
    key.extend_from_slice(&END);
    key
}

/// Returns a position after all items of a group and before every later group.
pub(crate) fn group_end(space: Space, group: &[u8]) -> Vec<u8> {
    let mut key = groups_start(space, group);
    key.extend_from_slice(&AFTER_END);
    key
}

/// Returns the prefix of the keys of all groups that start with `prefix`, and of no other keys.
pub(crate) fn groups_start(space: Space, prefix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + prefix.len() + END.len() + 32);
    key.push(space as u8);
    for (i, piece) in prefix.split(|&byte| byte == 0).enumerate() {
        if i > 0 {
            key.extend_from_slice(&ESCAPED_ZERO);
        }
        key.extend_from_slice(piece);
    }
    key
}

/// Returns a position after the keys of all groups that start with `prefix`, and before every later
/// key.
pub(crate) fn groups_end(space: Space, prefix: &[u8]) -> Vec<u8> {
    let mut key = groups_start(space, prefix);
    // The next byte string that does not start with this one: trailing 0xff have no successor and
    // are dropped, and the byte before them is increased by one. A byte is always left, since the
    // space is never 0xff.
    while key.pop_if(|last| *last == 0xff).is_some() {}
    *key.last_mut().expect("a space is never 0xff") += 1;
    key
}

/// Returns the key that says that the body file `id` is in use.
pub(crate) fn file(id: u64) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&FILES);
    key[2..].copy_from_slice(&id.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Generates bytes in which awkward values are frequent.
    fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0x00), Just(0x01), Just(0xfe), Just(0xff), Just(b'/'), any::<u8>()];
        prop::collection::vec(byte, len)
    }

    fn names() -> impl Strategy<Value = Name> {
        let space = prop::sample::select(&Space::ALL[..]);
        (space, bytes(1..6), bytes(0..5)).prop_map(|(space, group, item)| Name::new(space, group, item))
    }

    proptest! {
        #[test]
        fn names_round_trip(one in names()) {
            prop_assert_eq!(name(&of(&one)), Some(one));
        }

        #[test]
        fn order_is_kept(one in names(), other in names()) {
            prop_assert_eq!(of(&one).cmp(&of(&other)), one.cmp(&other));
        }

        #[test]
        fn a_group_lies_between_its_start_and_its_end(one in names(), group in bytes(1..6)) {
            let (start, end) = (group_start(one.space, &group), group_end(one.space, &group));
            let key = of(&one);
            prop_assert_eq!(key >= start && key < end, one.group == group);
        }

        #[test]
        fn a_prefix_starts_the_keys_of_its_groups(one in names(), prefix in bytes(0..4)) {
            let starts = of(&one).starts_with(&groups_start(one.space, &prefix));
            prop_assert_eq!(starts, one.group.starts_with(&prefix));
        }

        #[test]
        fn a_prefix_lies_between_its_start_and_its_end(one in names(), prefix in bytes(0..4)) {
            let (start, end) = (groups_start(one.space, &prefix), groups_end(one.space, &prefix));
            let key = of(&one);
            prop_assert_eq!(key >= start && key < end, one.group.starts_with(&prefix));
        }

        #[test]
        fn arbitrary_keys_do_not_panic(key in bytes(0..12)) {
            if let Some(name) = name(&key) {
                prop_assert_eq!(of(&name), key);
            }
        }
    }

    #[test]
    fn the_longest_name_fits() {
        let name = Name::new(Space::Commit, vec![0; Name::GROUP_BYTES_MAX], vec![0; Name::ITEM_BYTES_MAX]);
        assert_eq!(of(&name).len(), KEY_BYTES_MAX);
        assert_eq!(super::name(&of(&name)), Some(name));
    }
}
