//! What is listed, and from where: groups and cursors of the core to those of the store, and pages back.

use aft_core::ids::Key;
use aft_core::store::{Group, Groups, Name};
use aft_store::Space;
use bytes::Bytes;

use super::name::{encode_item, parse_key, parse_minute};

/// A group of the store.
pub fn encode_group(group: &Group) -> (Space, Bytes) {
    match group {
        Group::Versions(key) => (Space::Version, Bytes::copy_from_slice(key.as_str().as_bytes())),
        Group::Intents(minute) => (Space::Intent, minute_bytes(*minute)),
        Group::Collects(minute) => (Space::Collect, minute_bytes(*minute)),
        Group::Blobs(attempt) => (Space::Blob, Bytes::copy_from_slice(&attempt.0)),
    }
}

/// The item after which a listing goes on, exclusive.
///
/// # Panics
/// If the name is not one of the group: cursors are names that the listing of that group returned.
pub fn encode_after(group: &Group, after: &Name) -> Bytes {
    let fits = match (group, after) {
        (Group::Versions(key), Name::Version(of, _)) => key == of,
        (Group::Intents(minute), Name::Intent(of)) => *minute == of.minute,
        (Group::Collects(minute), Name::Collect(of)) => *minute == of.minute,
        (Group::Blobs(attempt), Name::Blob { attempt: of, .. }) => attempt == of,
        (Group::Versions(_) | Group::Intents(_) | Group::Collects(_) | Group::Blobs(_), _) => false,
    };
    assert!(fits, "cursor {after:?} is not of {group:?}");
    encode_item(after)
}

/// Which groups of the store to enumerate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupsAt {
    /// Of which space.
    pub space: Space,
    /// Their prefix.
    pub prefix: Bytes,
    /// Exclusive.
    pub after: Option<Bytes>,
}

/// Which groups of the store to enumerate; `None` if the prefix is longer than any key, so that there are none.
pub fn encode_groups(groups: &Groups) -> Option<GroupsAt> {
    let minutes = |space, after: &Option<u32>| {
        Some(GroupsAt { space, prefix: Bytes::new(), after: after.map(minute_bytes) })
    };
    match groups {
        Groups::IntentMinutes { after } => minutes(Space::Intent, after),
        Groups::CollectMinutes { after } => minutes(Space::Collect, after),
        Groups::Keys { prefix, .. } if prefix.len() > Key::BYTES_MAX => None,
        Groups::Keys { prefix, after } => Some(GroupsAt {
            space: Space::Version,
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            after: after.as_deref().map(key_cursor),
        }),
    }
}

/// A cursor may be any string; one that is longer than every key is cut to the longest key's length. That changes nothing: a key that
/// follows the cut form is not longer than it, so it differs from it at a byte that both have.
fn key_cursor(after: &str) -> Bytes {
    let bytes = after.as_bytes();
    Bytes::copy_from_slice(&bytes[..bytes.len().min(Key::BYTES_MAX)])
}

fn minute_bytes(minute: u32) -> Bytes {
    Bytes::copy_from_slice(&minute.to_be_bytes())
}

/// The keys of a page of version groups.
///
/// # Errors
/// [`Damaged`](aft_store::Error::Damaged) if one is no key.
pub fn decode_keys(groups: &[Bytes]) -> Result<Vec<Key>, aft_store::Error> {
    decode(Space::Version, groups, parse_key)
}

/// The minutes of a page of intent or collect groups.
///
/// # Errors
/// [`Damaged`](aft_store::Error::Damaged) if one is no minute.
pub fn decode_minutes(space: Space, groups: &[Bytes]) -> Result<Vec<u32>, aft_store::Error> {
    decode(space, groups, parse_minute)
}

fn decode<T>(
    space: Space,
    groups: &[Bytes],
    parse: impl Fn(&[u8]) -> Result<T, super::fault::Fault>,
) -> Result<Vec<T>, aft_store::Error> {
    let one = |group: &Bytes| {
        parse(group).map_err(|fault| fault.at(&format_args!("{}/{}", space.as_str(), group.escape_ascii())))
    };
    groups.iter().map(one).collect()
}
