//! Typed names to structured names of the store, and back.
//!
//! ```text
//! space    group            item: format version (1 byte), then
//! commit   request hash     (nothing at all)
//! intent   minute           time · attempt · nonce (node · count) · request hash
//! version  key              ~time · ~attempt · request hash · kind · size · etag length · etag · cowritten
//! blob     attempt          number · part
//! collect  minute           time · attempt · nonce (node · count)
//! marker   key              (nothing at all)
//! node     "entered"        (nothing at all)
//! node     "horizon"        (nothing at all)
//! ```
//!
//! Numbers are big-endian and of fixed size, so byte order is the order that `aft_core::store::Name` documents; `~` inverts every bit, so
//! that version entries come newest first. Names carry no checksum: they are compared as wholes, and a store that garbles names is lost.

use aft_core::ids::{AttemptId, Hlc, Key, NodeId, Nonce, RequestHash, TxnId};
use aft_core::record::{CollectName, ETAG_BYTES_MAX, Intent, Kind, Meta, VersionEntry};
use aft_core::store::{Group, Name};
use aft_store::Space;
use bytes::{BufMut, Bytes};

use super::cursor::encode_group;
use super::fault::{Fault, check_format};

/// The format of items that this program writes.
const FORMAT: u8 = 1;

/// The group of the mark up to which intents are entered.
const ENTERED: &[u8] = b"entered";

/// The group of the youngest horizon that a maintainer has collected by.
const HORIZON: &[u8] = b"horizon";

/// The longest item: a version entry with the longest etag.
const ITEM_LEN_MAX: usize = 1 + 8 + 16 + 32 + 1 + 8 + 1 + ETAG_BYTES_MAX + 4;
const _: () = assert!(ITEM_LEN_MAX <= aft_store::Name::ITEM_BYTES_MAX);
const _: () = assert!(ETAG_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(Key::BYTES_MAX <= aft_store::Name::GROUP_BYTES_MAX);

/// The store's name of an object.
pub fn encode_name(name: &Name) -> aft_store::Name {
    let (space, group) = match name {
        Name::Commit(hash) => (Space::Commit, Bytes::copy_from_slice(&hash.0)),
        Name::Entered => (Space::Node, Bytes::from_static(ENTERED)),
        Name::Horizon => (Space::Node, Bytes::from_static(HORIZON)),
        Name::Marker(key) => (Space::Marker, Bytes::copy_from_slice(key.as_str().as_bytes())),
        Name::Intent(intent) => encode_group(&Group::Intents(intent.minute)),
        Name::Version(key, _) => encode_group(&Group::Versions(key.clone())),
        Name::Blob { attempt, .. } => encode_group(&Group::Blobs(*attempt)),
        Name::Collect(collect) => encode_group(&Group::Collects(collect.minute)),
    };
    aft_store::Name::new(space, group, encode_item(name))
}

/// The item within its group.
pub(crate) fn encode_item(name: &Name) -> Bytes {
    let mut item = Vec::with_capacity(ITEM_LEN_MAX);
    item.put_u8(FORMAT);
    match name {
        Name::Commit(_) | Name::Marker(_) | Name::Entered | Name::Horizon => return Bytes::new(),
        Name::Intent(intent) => {
            put_attempt(&mut item, intent.time, intent.attempt, intent.nonce);
            item.put_slice(&intent.hash.0);
        }
        Name::Version(_, entry) => put_version(&mut item, entry),
        Name::Blob { attempt: _, number, part } => {
            item.put_u32(*number);
            item.put_u32(*part);
        }
        Name::Collect(collect) => put_attempt(&mut item, collect.time, collect.attempt, collect.nonce),
    }
    item.into()
}

fn put_attempt(item: &mut Vec<u8>, time: Hlc, attempt: AttemptId, nonce: Nonce) {
    item.put_u64(time.0);
    item.put_slice(&attempt.0);
    item.put_u64(nonce.node.0);
    item.put_u64(nonce.count);
}

fn put_version(item: &mut Vec<u8>, entry: &VersionEntry) {
    let etag = &entry.meta.etag;
    assert!(etag.len() <= ETAG_BYTES_MAX, "etag of {} bytes", etag.len());
    item.put_u64(!entry.txn.time.0);
    item.extend(entry.txn.attempt.0.iter().map(|byte| !byte));
    item.put_slice(&entry.hash.0);
    item.put_u8(kind_byte(entry.meta.kind));
    item.put_u64(entry.meta.size);
    item.put_u8(etag.len() as u8);
    item.put_slice(etag);
    item.put_u32(entry.cowritten);
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Inline => 1,
        Kind::Tombstone => 2,
        Kind::Blob => 3,
    }
}

/// The object that a name of the store stands for.
///
/// # Errors
/// [`Damaged`](aft_store::Error::Damaged) if it is no name that this project writes, or one of a newer format.
pub fn decode_name(name: &aft_store::Name) -> Result<Name, aft_store::Error> {
    let item = match name.space {
        Space::Commit => single(name).and_then(|()| Ok(Name::Commit(RequestHash(array(&name.group)?)))),
        Space::Marker => single(name).and_then(|()| Ok(Name::Marker(parse_key(&name.group)?))),
        Space::Intent => parse_minute(&name.group).and_then(|at| parse_item(&Group::Intents(at), &name.item)),
        Space::Collect => {
            parse_minute(&name.group).and_then(|at| parse_item(&Group::Collects(at), &name.item))
        }
        Space::Version => {
            parse_key(&name.group).and_then(|key| parse_item(&Group::Versions(key), &name.item))
        }
        Space::Blob => array(&name.group).and_then(|id| parse_item(&Group::Blobs(AttemptId(id)), &name.item)),
        Space::Node if name.group == ENTERED => single(name).map(|()| Name::Entered),
        Space::Node if name.group == HORIZON => single(name).map(|()| Name::Horizon),
        Space::Node | Space::Lease | Space::Store => {
            Err(Fault::Broken("no object of the protocol stands in this space"))
        }
    };
    item.map_err(|fault| fault.at(name))
}

/// The object that an item of a listing stands for.
///
/// # Errors
/// As [`decode_name`].
pub fn decode_item(group: &Group, item: &Bytes) -> Result<Name, aft_store::Error> {
    parse_item(group, item).map_err(|fault| {
        let (space, group) = encode_group(group);
        fault.at(&format_args!("{}/{}/{}", space.as_str(), group.escape_ascii(), item.escape_ascii()))
    })
}

fn single(name: &aft_store::Name) -> Result<(), Fault> {
    if name.item.is_empty() { Ok(()) } else { Err(Fault::Broken("the item of this name should be empty")) }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Broken("the name's group is of the wrong length"))
}

pub(crate) fn parse_key(group: &[u8]) -> Result<Key, Fault> {
    let text = std::str::from_utf8(group).map_err(|_| Fault::Broken("the key is not UTF-8"))?;
    Key::parse(text).map_err(|_| Fault::Broken("the key is empty or too long"))
}

pub(crate) fn parse_minute(group: &[u8]) -> Result<u32, Fault> {
    array(group).map(u32::from_be_bytes)
}

fn parse_item(group: &Group, item: &Bytes) -> Result<Name, Fault> {
    let mut rest = Reader(item);
    let [format] = rest.take()?;
    check_format(format, FORMAT)?;
    let name = match group {
        Group::Intents(minute) => {
            let (time, attempt, nonce) = take_attempt(&mut rest)?;
            let hash = RequestHash(rest.take()?);
            Name::Intent(Intent { minute: *minute, time, attempt, nonce, hash })
        }
        Group::Collects(minute) => {
            let (time, attempt, nonce) = take_attempt(&mut rest)?;
            Name::Collect(CollectName { minute: *minute, time, attempt, nonce })
        }
        Group::Versions(key) => Name::Version(key.clone(), take_version(&mut rest)?),
        Group::Blobs(attempt) => {
            let (number, part) = (rest.u32()?, rest.u32()?);
            Name::Blob { attempt: *attempt, number, part }
        }
    };
    if rest.0.is_empty() { Ok(name) } else { Err(Fault::Broken("the name's item is too long")) }
}

fn take_attempt(rest: &mut Reader<'_>) -> Result<(Hlc, AttemptId, Nonce), Fault> {
    let (time, attempt) = (Hlc(rest.u64()?), AttemptId(rest.take()?));
    let nonce = Nonce { node: NodeId(rest.u64()?), count: rest.u64()? };
    Ok((time, attempt, nonce))
}

fn take_version(rest: &mut Reader<'_>) -> Result<VersionEntry, Fault> {
    let time = Hlc(!rest.u64()?);
    let attempt = AttemptId(rest.take::<16>()?.map(|byte| !byte));
    let hash = RequestHash(rest.take()?);
    let kind = match rest.take()? {
        [1] => Kind::Inline,
        [2] => Kind::Tombstone,
        [3] => Kind::Blob,
        [_] => return Err(Fault::Broken("unknown kind of version")),
    };
    let size = rest.u64()?;
    let [etag_len] = rest.take()?;
    if usize::from(etag_len) > ETAG_BYTES_MAX {
        return Err(Fault::Broken("the etag is too long"));
    }
    let etag = Bytes::copy_from_slice(rest.slice(etag_len.into())?);
    let cowritten = rest.u32()?;
    Ok(VersionEntry { txn: TxnId { time, attempt }, hash, meta: Meta { kind, size, etag }, cowritten })
}

/// Takes fixed-size fields from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn slice(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (front, rest) =
            self.0.split_at_checked(len).ok_or(Fault::Broken("the name's item is cut short"))?;
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
}
