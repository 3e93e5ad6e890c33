//! Typed names to structured names of the store, and back.
//!
//! ```text
//! space    group                            item
//! commit   request hash                     (empty)
//! version  key                              2 · ~time · ~attempt · request hash · kind · size
//!                                             · etag length · etag · cowritten · whole
//!          key that is checked              2 · ~time · ~attempt, of the version that it follows
//! blob     attempt · request hash · time    2 · number · part
//! store    "format"                         (empty)
//! store    "notes"                          (empty)
//! store    "damaged"                        2 · request hash
//! store    "claim"                          (empty), beside parts of another store (`claim`)
//! ```
//!
//! Numbers are big-endian and of fixed size, so byte order is the order that
//! `aft_core::store::Name` documents; `~` inverts every bit, so that version entries come newest
//! first. Entries of one transaction (a store holds two of them under one key only if it is
//! damaged) come in the order of their fields, etags by length and then by bytes.
//!
//! The entry of a checked key is named by what it follows, so that one of two that follow the same
//! version has the name: all else is its body. Such items are shorter than all others.
//!
//! The leading 2 is the format number. The first version's items begin with 1, and it calls greater
//! numbers *newer*. Names that are looked up without a listing carry none: they are the same in
//! every version, so that the number in the body is found. Names carry no checksum: they are
//! compared as wholes, and a store that garbles names is lost.

use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, ENTRY_BYTES_BASE, ETAG_BYTES_MAX, Kind, Meta, VersionEntry};
use aft_core::store::{Group, Name};
use aft_store::Space;
use bytes::{BufMut, Bytes};

use crate::FORMAT;
use crate::fault::{Fault, check_format};

/// The group of the mark.
const MARK: &[u8] = b"format";
/// The group of a sweep's notes.
const NOTES: &[u8] = b"notes";
/// The group of notes on damage.
pub(crate) const DAMAGED: &[u8] = b"damaged";

/// The longest item: a version entry with the longest etag.
const ITEM_LEN_MAX: usize = 1 + 8 + 16 + 32 + 1 + 8 + 1 + ETAG_BYTES_MAX + 4 + 1;
/// The item of an entry of a checked key.
const SUCCESSOR_LEN: usize = 1 + 8 + 16;
const _: () = assert!(ITEM_LEN_MAX == ENTRY_BYTES_BASE + ETAG_BYTES_MAX);
const _: () = assert!(ITEM_LEN_MAX <= aft_store::Name::ITEM_BYTES_MAX);
const _: () = assert!(ETAG_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(Key::BYTES_MAX <= aft_store::Name::GROUP_BYTES_MAX);

/// Returns the store's name of an object.
pub fn encode_name(name: &Name) -> aft_store::Name {
    let (space, group) = match name {
        Name::Commit(hash) => (Space::Commit, Bytes::copy_from_slice(&hash.0)),
        Name::Version(key, _) | Name::Successor(key, _) => (Space::Version, key_group(key)),
        Name::Blob { group, .. } => (Space::Blob, blob_group(group)),
        Name::Format => (Space::Store, Bytes::from_static(MARK)),
        Name::Notes => (Space::Store, Bytes::from_static(NOTES)),
        Name::Damaged(_) => (Space::Store, Bytes::from_static(DAMAGED)),
    };
    aft_store::Name::new(space, group, encode_item(name))
}

/// Returns the item of a name within its group.
fn encode_item(name: &Name) -> Bytes {
    let mut item = Vec::with_capacity(ITEM_LEN_MAX);
    item.put_u8(FORMAT);
    match name {
        Name::Commit(_) | Name::Format | Name::Notes => return Bytes::new(),
        Name::Version(_, entry) => {
            assert!(entry.follows.is_none(), "the entry of a checked key has another name");
            return encode_entry(entry);
        }
        Name::Successor(_, before) => return encode_successor(before),
        Name::Blob { group: _, number, part } => {
            item.put_u32(*number);
            item.put_u32(*part);
        }
        Name::Damaged(hash) => item.put_slice(&hash.0),
    }
    item.into()
}

/// Returns the item of the entry of a checked key that follows this version.
pub(crate) fn encode_successor(before: &TxnId) -> Bytes {
    let mut item = Vec::with_capacity(SUCCESSOR_LEN);
    item.put_u8(FORMAT);
    item.put_u64(!before.time.0);
    item.extend(before.attempt.0.iter().map(|byte| !byte));
    assert_eq!(item.len(), SUCCESSOR_LEN, "such items are all of one length");
    item.into()
}

/// Returns the item of a version entry; of one of a checked key, the item that it would have if the
/// key were not checked.
///
/// # Panics
/// If the entry cannot be: the core makes entries from write sets.
pub(crate) fn encode_entry(entry: &VersionEntry) -> Bytes {
    assert_eq!(check_entry(entry), Ok(()), "{entry:?}");
    let etag = &entry.meta.etag;
    let mut item = Vec::with_capacity(ITEM_LEN_MAX);
    item.put_u8(FORMAT);
    item.put_u64(!entry.txn.time.0);
    item.extend(entry.txn.attempt.0.iter().map(|byte| !byte));
    item.put_slice(&entry.hash.0);
    item.put_u8(kind_byte(entry.meta.kind));
    item.put_u64(entry.meta.size);
    item.put_u8(etag.len() as u8);
    item.put_slice(etag);
    item.put_u32(entry.cowritten);
    item.put_u8(entry.whole.into());
    assert!(item.len() <= ITEM_LEN_MAX, "an item of {} bytes", item.len());
    item.into()
}

/// Checks that a transaction can have written this entry.
fn check_entry(entry: &VersionEntry) -> Result<(), Fault> {
    let Meta { kind, size, etag } = &entry.meta;
    if etag.len() > ETAG_BYTES_MAX {
        return Err(Fault::Broken("the etag is too long"));
    }
    if *kind == Kind::Tombstone && (*size > 0 || !etag.is_empty()) {
        return Err(Fault::Broken("a tombstone has neither size nor etag"));
    }
    if entry.cowritten == 0 {
        return Err(Fault::Broken("the entry belongs to no write set"));
    }
    if entry.whole && (entry.cowritten > 1 || *kind == Kind::Blob) {
        return Err(Fault::Broken("a whole entry is a transaction of one key without blobs"));
    }
    Ok(())
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Inline => 1,
        Kind::Tombstone => 2,
        Kind::Blob => 3,
    }
}

/// Returns the group of a key's version entries.
pub(crate) fn key_group(key: &Key) -> Bytes {
    Bytes::copy_from_slice(key.as_str().as_bytes())
}

/// Returns the group of an attempt's blobs.
pub(crate) fn blob_group(group: &BlobGroup) -> Bytes {
    let mut bytes = Vec::with_capacity(BLOB_GROUP_LEN);
    bytes.put_slice(&group.attempt.0);
    bytes.put_slice(&group.hash.0);
    bytes.put_u64(group.reserved_ms);
    assert_eq!(bytes.len(), BLOB_GROUP_LEN);
    bytes.into()
}

const BLOB_GROUP_LEN: usize = 16 + 32 + 8;

/// Returns the object that a name of the store means.
///
/// # Errors
/// [`Damaged`](aft_store::Error::Damaged) if it is no name that this project writes, or one of
/// another version's.
pub fn decode_name(name: &aft_store::Name) -> Result<Name, aft_store::Error> {
    parse_name(name.space, &name.group, &name.item).map_err(|fault| fault.at(name))
}

/// Parses a name from its parts.
pub(crate) fn parse_name(space: Space, group: &[u8], item: &[u8]) -> Result<Name, Fault> {
    match space {
        Space::Commit => {
            single(item)?;
            Ok(Name::Commit(RequestHash(of_group(group)?)))
        }
        Space::Version => {
            // The number first: a later version may have other groups.
            match item.len() {
                SUCCESSOR_LEN => {
                    let before = parse_successor(item)?;
                    Ok(Name::Successor(parse_key(group)?, before))
                }
                _ => {
                    let entry = parse_entry(item)?;
                    Ok(Name::Version(parse_key(group)?, entry))
                }
            }
        }
        Space::Blob => {
            let mut rest = Reader::of_item(item)?;
            let (number, part) = (rest.u32()?, rest.u32()?);
            rest.end()?;
            Ok(Name::Blob { group: parse_blob_group(group)?, number, part })
        }
        Space::Store if group == MARK => single(item).map(|()| Name::Format),
        Space::Store if group == NOTES => single(item).map(|()| Name::Notes),
        Space::Store if group == DAMAGED => {
            let mut rest = Reader::of_item(item)?;
            let hash = RequestHash(rest.take()?);
            rest.end()?;
            Ok(Name::Damaged(hash))
        }
        Space::Intent | Space::Collect | Space::Marker => Err(Fault::First),
        Space::Node | Space::Lease | Space::Store => {
            Err(Fault::Broken("no object of the protocol has this name"))
        }
    }
}

/// Parses the item of a name within a group that was asked for.
pub(crate) fn parse_item(group: &Group, item: &[u8]) -> Result<Name, Fault> {
    match group {
        Group::Versions(key) if item.len() == SUCCESSOR_LEN => {
            Ok(Name::Successor(key.clone(), parse_successor(item)?))
        }
        Group::Versions(key) => Ok(Name::Version(key.clone(), parse_entry(item)?)),
        Group::Blobs(group) => parse_name(Space::Blob, &blob_group(group), item),
    }
}

fn single(item: &[u8]) -> Result<(), Fault> {
    if item.is_empty() { Ok(()) } else { Err(Fault::Broken("the item of this name should be empty")) }
}

fn of_group<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Broken("the name's group is of the wrong length"))
}

pub(crate) fn parse_key(group: &[u8]) -> Result<Key, Fault> {
    let text = std::str::from_utf8(group).map_err(|_| Fault::Broken("the key is not UTF-8"))?;
    Key::parse(text).map_err(|_| Fault::Broken("the key is empty or too long"))
}

pub(crate) fn parse_blob_group(group: &[u8]) -> Result<BlobGroup, Fault> {
    // The first version's groups of blobs are attempts.
    if group.len() == 16 {
        return Err(Fault::First);
    }
    let bytes: [u8; BLOB_GROUP_LEN] = of_group(group)?;
    let mut rest = Reader(&bytes);
    let (attempt, hash) = (AttemptId(rest.take()?), RequestHash(rest.take()?));
    Ok(BlobGroup { attempt, hash, reserved_ms: rest.u64()? })
}

fn parse_successor(item: &[u8]) -> Result<TxnId, Fault> {
    let mut rest = Reader::of_item(item)?;
    let before = rest.txn()?;
    rest.end()?;
    Ok(before)
}

/// Parses the item of a version entry of a key that is not checked.
pub(crate) fn parse_entry(item: &[u8]) -> Result<VersionEntry, Fault> {
    let mut rest = Reader::of_item(item)?;
    let txn = rest.txn()?;
    let hash = RequestHash(rest.take()?);
    let kind = match rest.take()? {
        [1] => Kind::Inline,
        [2] => Kind::Tombstone,
        [3] => Kind::Blob,
        [_] => return Err(Fault::Broken("unknown kind of version")),
    };
    let size = rest.u64()?;
    let [etag_len] = rest.take()?;
    // A copy: a slice would hold the whole page for as long as the entry is known.
    let etag = Bytes::copy_from_slice(rest.slice(etag_len.into())?);
    let cowritten = rest.u32()?;
    let whole = match rest.take()? {
        [0] => false,
        [1] => true,
        [_] => return Err(Fault::Broken("unknown form of a version entry")),
    };
    rest.end()?;
    let meta = Meta { kind, size, etag };
    let entry = VersionEntry { txn, hash, meta, cowritten, whole, follows: None };
    check_entry(&entry)?;
    Ok(entry)
}

/// Takes fields of fixed size from the front of an item.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins behind the format number.
    fn of_item(item: &'a [u8]) -> Result<Reader<'a>, Fault> {
        let mut rest = Reader(item);
        let [format] = rest.take()?;
        check_format(format)?;
        Ok(rest)
    }

    fn txn(&mut self) -> Result<TxnId, Fault> {
        let time = Hlc(!self.u64()?);
        Ok(TxnId { time, attempt: AttemptId(self.take::<16>()?.map(|byte| !byte)) })
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (front, rest) =
            self.0.split_at_checked(len).ok_or(Fault::Broken("the name's item is truncated"))?;
        self.0 = rest;
        Ok(front)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.slice(N)?.try_into().expect("the slice is N bytes long"))
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.take().map(u64::from_be_bytes)
    }

    fn end(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Broken("the name's item is too long")) }
    }
}

/// Returns a name as text for people: identifiers in hexadecimal, keys as they are.
pub fn describe(name: &Name) -> String {
    match name {
        Name::Commit(hash) => format!("commit/{hash}"),
        Name::Version(key, entry) => format!("version/{}/{}", key.as_str().escape_debug(), entry.txn),
        Name::Successor(key, before) => {
            format!("version/{}/after {before}", key.as_str().escape_debug())
        }
        Name::Blob { group, number, part } => format!("blob/{}/{number}/{part}", group.attempt),
        Name::Format => "store/format".into(),
        Name::Notes => "store/notes".into(),
        Name::Damaged(hash) => format!("store/damaged/{hash}"),
    }
}
