//! Commit records and stubs to messages, and back.
//!
//! A record's blobs belong to its attempt and request, so their places hold neither; only the time
//! of the reservation, which the names of the parts need. Values are not copied when they are
//! decoded: they are slices of the body, and code that keeps one for long copies it.

use aft_core::ids::{AttemptId, Fingerprint, Hlc, Key, RequestHash, TxnId};
use aft_core::record::{
    Aborted, BlobGroup, BlobRef, ETAG_BYTES_MAX, Follows, Kind, LargeResult, Location, Record, Stub, Value,
    Write,
};
use bytes::Bytes;

use crate::fault::Fault;
use crate::messages;

/// Returns the message of a record.
///
/// # Panics
/// If the record breaks its invariants.
pub(crate) fn encode_record(record: &Record) -> messages::Record {
    record.check_invariants();
    let large_result = record.large_result.map(|LargeResult { blob, size }| {
        assert_eq!(blob.group.attempt, record.txn.attempt, "the result is the attempt's own");
        assert_eq!(blob.group.hash, record.hash, "the result leads to its record");
        messages::LargeResult { blob: Some(encode_blob(&blob)), size }
    });
    let follows = |at: usize| {
        let before = record.follows.as_ref().map(|follows| follows.versions[at]);
        before.filter(|before| *before != TxnId::ZERO).map(|before| encode_txn(&before))
    };
    messages::Record {
        time: record.txn.time.0,
        attempt: copy(&record.txn.attempt.0),
        hash: copy(&record.hash.0),
        named: record.named,
        fingerprint: record.fingerprint.map(|of| copy(&of.0)),
        retention_ms: record.retention_ms,
        result: record.result.clone(),
        large_result,
        writes: record
            .writes
            .iter()
            .enumerate()
            .map(|(at, write)| encode_write(write, follows(at)))
            .collect(),
        locks: record.follows.is_some(),
        checks_more: record.follows.as_ref().is_some_and(|follows| follows.checks_more),
    }
}

fn encode_write((key, write): &(Key, Write), follows: Option<messages::Txn>) -> messages::Write {
    let kind = encode_kind(write.meta().kind).into();
    let key = key.to_string();
    match write {
        Write::Tombstone => messages::Write { key, kind, follows, ..messages::Write::default() },
        Write::Put(value) => {
            let (inline, blob) = match &value.location {
                Location::Inline(bytes) => (bytes.clone(), None),
                Location::Blob(blob) => (Bytes::new(), Some(encode_blob(blob))),
            };
            let (size, etag, attributes) = (value.size, value.etag.clone(), value.attributes.clone());
            assert!(etag.len() <= ETAG_BYTES_MAX, "an etag of {} bytes", etag.len());
            messages::Write { key, kind, inline, blob, size, etag, attributes, follows }
        }
    }
}

fn encode_blob(blob: &BlobRef) -> messages::Blob {
    messages::Blob {
        number: blob.number,
        parts: blob.parts,
        part_bytes: blob.part_bytes,
        reserved_ms: blob.group.reserved_ms,
    }
}

fn encode_kind(kind: Kind) -> messages::Kind {
    match kind {
        Kind::Inline => messages::Kind::Inline,
        Kind::Tombstone => messages::Kind::Tombstone,
        Kind::Blob => messages::Kind::Blob,
    }
}

/// Parses a record. The caller compares it with its name.
pub(crate) fn decode_record(from: messages::Record) -> Result<Record, Fault> {
    let txn = TxnId { time: Hlc(from.time), attempt: AttemptId(array(&from.attempt)?) };
    let hash = RequestHash(array(&from.hash)?);
    let owner = Owner { attempt: txn.attempt, hash };
    let follows = decode_follows(&from, txn)?;
    let writes = from.writes.into_iter().map(|write| decode_write(owner, write));
    let writes = writes.collect::<Result<Vec<_>, Fault>>()?;
    if !writes.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(Fault::Broken("keys out of order"));
    }
    if from.result.is_some() && from.large_result.is_some() {
        return Err(Fault::Broken("the record has two results"));
    }
    if !from.named && writes.is_empty() {
        return Err(Fault::Broken("the record of an unnamed request has no writes"));
    }
    let record = Record {
        txn,
        hash,
        named: from.named,
        fingerprint: from.fingerprint.map(|of| array(&of).map(Fingerprint)).transpose()?,
        retention_ms: from.retention_ms,
        result: from.result,
        large_result: from.large_result.map(|result| decode_large_result(owner, result)).transpose()?,
        writes: writes.into(),
        follows,
    };
    record.check_invariants();
    Ok(record)
}

/// Parses what the writes of a record follow.
fn decode_follows(from: &messages::Record, txn: TxnId) -> Result<Option<Follows>, Fault> {
    let names_any = from.writes.iter().any(|write| write.follows.is_some());
    if !from.locks {
        return match names_any || from.checks_more {
            true => Err(Fault::Broken("a write follows a version, though its key is not checked")),
            false => Ok(None),
        };
    }
    let version = |write: &messages::Write| match &write.follows {
        None => Ok(TxnId::ZERO),
        Some(before) => decode_txn(Some(before)),
    };
    let versions: Vec<TxnId> = from.writes.iter().map(version).collect::<Result<_, Fault>>()?;
    if versions.iter().any(|before| *before >= txn) {
        return Err(Fault::Broken("a write follows a version that comes after it"));
    }
    Ok(Some(Follows { versions: versions.into(), checks_more: from.checks_more }))
}

/// The attempt and request to which a record's blobs belong.
#[derive(Clone, Copy)]
struct Owner {
    attempt: AttemptId,
    hash: RequestHash,
}

fn decode_large_result(owner: Owner, from: messages::LargeResult) -> Result<LargeResult, Fault> {
    let blob = from.blob.ok_or(Fault::Broken("a large result has no place"))?;
    Ok(LargeResult { blob: decode_blob(owner, blob), size: from.size })
}

fn decode_write(owner: Owner, from: messages::Write) -> Result<(Key, Write), Fault> {
    let kind = decode_kind(from.kind())?;
    let key = key(&from.key)?;
    let location = match (kind, from.blob) {
        (Kind::Tombstone, None) => return Ok((key, Write::Tombstone)),
        (Kind::Inline, None) => Location::Inline(from.inline),
        (Kind::Blob, Some(blob)) => Location::Blob(decode_blob(owner, blob)),
        (Kind::Tombstone | Kind::Inline, Some(_)) | (Kind::Blob, None) => {
            return Err(Fault::Broken("a value is not where its kind says"));
        }
    };
    if from.etag.len() > ETAG_BYTES_MAX {
        return Err(Fault::Broken("an etag is too long"));
    }
    let value = Value { location, size: from.size, etag: from.etag, attributes: from.attributes };
    Ok((key, Write::Put(value)))
}

fn decode_blob(owner: Owner, from: messages::Blob) -> BlobRef {
    let group = BlobGroup { attempt: owner.attempt, hash: owner.hash, reserved_ms: from.reserved_ms };
    BlobRef { group, number: from.number, parts: from.parts, part_bytes: from.part_bytes }
}

fn decode_kind(kind: messages::Kind) -> Result<Kind, Fault> {
    match kind {
        messages::Kind::None => Err(Fault::Broken("unknown kind of version")),
        messages::Kind::Inline => Ok(Kind::Inline),
        messages::Kind::Tombstone => Ok(Kind::Tombstone),
        messages::Kind::Blob => Ok(Kind::Blob),
    }
}

pub(crate) fn encode_stub(stub: &Stub) -> messages::Stub {
    messages::Stub { txn: Some(encode_txn(&stub.txn)), hash: copy(&stub.hash.0) }
}

/// Parses a stub. The caller compares it with its name.
pub(crate) fn decode_stub(from: &messages::Stub) -> Result<Stub, Fault> {
    Ok(Stub { txn: decode_txn(from.txn.as_ref())?, hash: RequestHash(array(&from.hash)?) })
}

pub(crate) fn encode_aborted(aborted: &Aborted) -> messages::Aborted {
    aborted.check_invariants();
    let attempts = aborted.attempts.iter().map(|attempt| copy(&attempt.0)).collect();
    messages::Aborted { hash: copy(&aborted.hash.0), attempts, at_ms: aborted.at_ms }
}

/// Parses attempts that may not commit. The caller compares them with their name.
pub(crate) fn decode_aborted(from: &messages::Aborted) -> Result<Aborted, Fault> {
    let attempts = from.attempts.iter().map(|attempt| array(attempt).map(AttemptId));
    let attempts: Vec<AttemptId> = attempts.collect::<Result<_, Fault>>()?;
    if attempts.is_empty() || !attempts.is_sorted_by(|a, b| a < b) {
        return Err(Fault::Broken("attempts out of order, or none"));
    }
    Ok(Aborted { hash: RequestHash(array(&from.hash)?), attempts, at_ms: from.at_ms })
}

pub(crate) fn encode_txn(txn: &TxnId) -> messages::Txn {
    messages::Txn { time: txn.time.0, attempt: copy(&txn.attempt.0) }
}

pub(crate) fn decode_txn(from: Option<&messages::Txn>) -> Result<TxnId, Fault> {
    let from = from.ok_or(Fault::Broken("a place in the order of transactions is missing"))?;
    Ok(TxnId { time: Hlc(from.time), attempt: AttemptId(array(&from.attempt)?) })
}

pub(crate) fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(crate) fn array<const N: usize>(bytes: &Bytes) -> Result<[u8; N], Fault> {
    bytes[..].try_into().map_err(|_| Fault::Broken("an identifier is of the wrong length"))
}

pub(crate) fn key(text: &str) -> Result<Key, Fault> {
    Key::parse(text).map_err(|_| Fault::Broken("a key is empty or too long"))
}
