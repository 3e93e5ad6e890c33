//! Typed bodies to bytes, and back.
//!
//! Decoding parses: keys are keys and in strict order, lengths are right, kinds are known, and the record or collect entry is the one
//! that its name says. Values are not copied: they are slices of the body (whoever keeps one for long copies it).

use std::sync::Arc;

use aft_core::ids::{AttemptId, Fingerprint, Hlc, Key, NodeId, Nonce, RequestHash, TxnId};
use aft_core::record as core;
use aft_core::store::Body;
use aft_store::{Name, Space};
use bytes::{BufMut, Bytes};
use prost::Message;

use super::fault::Fault;
use super::frame::{Gone, Sum};
use super::{frame, messages, name};

/// The bytes of a body under a name.
///
/// # Panics
/// If the name's space holds bodies of another kind.
pub fn encode_body(name: &Name, body: &Body) -> Bytes {
    let space = match body {
        Body::Record(_) => Space::Commit,
        Body::Collect(_) => Space::Collect,
        Body::Marker(_) => Space::Marker,
        Body::Time(_) => Space::Node,
        Body::Part(_) => Space::Blob,
        Body::Empty if name.space == Space::Intent => Space::Intent,
        Body::Empty => Space::Version,
    };
    assert!(name.space == space, "a body of {} for {name}", space.as_str());
    match body {
        Body::Record(record) => seal(name, &encode_record(record)),
        Body::Collect(entry) => seal(name, &encode_collect(entry)),
        Body::Marker(nonce) => seal(name, &messages::Marker { node: nonce.node.0, count: nonce.count }),
        Body::Time(time) => seal(name, &messages::Time { time: time.0 }),
        Body::Part(bytes) => encode_part(name, std::slice::from_ref(bytes)),
        Body::Empty => Bytes::new(),
    }
}

/// The body of a part of a large value, whose bytes come in pieces: as [`encode_body`] of the whole, with one copy less.
///
/// # Panics
/// If the name is no blob's.
pub fn encode_part(name: &Name, pieces: &[Bytes]) -> Bytes {
    assert!(name.space == Space::Blob, "a part for {name}");
    let len = pieces.iter().map(Bytes::len).sum();
    frame::seal(name, Sum::Xxh3, len, |body| pieces.iter().for_each(|piece| body.put_slice(piece)))
}

fn seal(name: &Name, message: &impl Message) -> Bytes {
    frame::seal(name, Sum::Sha256, message.encoded_len(), |body| {
        message.encode(body).expect("the buffer grows")
    })
}

/// The body that stands under a name.
///
/// # Errors
/// [`Damaged`](aft_store::Error::Damaged), naming the object, if the bytes are not what was written there or are of a newer format.
pub fn decode_body(name: &Name, bytes: &Bytes) -> Result<Body, aft_store::Error> {
    parse_body(name, bytes).map_err(|fault| fault.at(name))
}

/// A part of a large value, whose body comes in pieces. The last piece of its bytes is held back until all of them have been found right: whoever gets the whole
/// part has what was written.
#[derive(Debug)]
pub struct PartInPieces {
    name: Name,
    opening: frame::Opening,
}

impl PartInPieces {
    /// The part under this name, of which so much has gone on in earlier tries.
    pub fn new(name: Name, before: Gone) -> PartInPieces {
        PartInPieces { opening: frame::Opening::new(name.clone(), before), name }
    }

    /// Takes the body's next piece, and gives bytes of the part that may go on: empty if there are none yet.
    ///
    /// # Errors
    /// [`Damaged`](aft_store::Error::Damaged), naming the object.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, aft_store::Error> {
        self.opening.push(piece).map_err(|fault| fault.at(&self.name))
    }

    /// What has gone on, in earlier tries and in this one.
    pub fn gone(&self) -> Gone {
        self.opening.gone()
    }

    /// The last bytes of the part.
    ///
    /// # Errors
    /// [`Damaged`](aft_store::Error::Damaged), naming the object, if the part is not what was written.
    pub fn end(&mut self) -> Result<Bytes, aft_store::Error> {
        self.opening.end().map_err(|fault| fault.at(&self.name))
    }
}

fn parse_body(name: &Name, bytes: &Bytes) -> Result<Body, Fault> {
    match name.space {
        Space::Commit => {
            let record = decode_record(open(name, bytes)?)?;
            if record.hash.0 != name.group[..] {
                return Err(Fault::Broken("the record names another request"));
            }
            Ok(Body::Record(Arc::new(record)))
        }
        Space::Collect => {
            let entry = decode_collect(open(name, bytes)?)?;
            match name::decode_name(name) {
                Ok(aft_core::store::Name::Collect(of))
                    if entry.transactions.first().is_some_and(|first| first.txn.attempt == of.attempt) =>
                {
                    Ok(Body::Collect(Arc::new(entry)))
                }
                Ok(_) | Err(_) => Err(Fault::Broken("the collect entry names another attempt")),
            }
        }
        Space::Marker => {
            let messages::Marker { node, count } = open(name, bytes)?;
            Ok(Body::Marker(Nonce { node: NodeId(node), count }))
        }
        Space::Blob => Ok(Body::Part(frame::open(name, bytes)?)),
        Space::Intent | Space::Version if bytes.is_empty() => Ok(Body::Empty),
        Space::Intent | Space::Version => Err(Fault::Broken("the body should be empty")),
        Space::Node => {
            let messages::Time { time } = open(name, bytes)?;
            Ok(Body::Time(Hlc(time)))
        }
        Space::Lease | Space::Store => Err(Fault::Broken("no object of the protocol stands in this space")),
    }
}

fn open<M: Message + Default>(name: &Name, bytes: &Bytes) -> Result<M, Fault> {
    M::decode(frame::open(name, bytes)?).map_err(|_| Fault::Broken("the body is no message of this format"))
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn array<const N: usize>(bytes: &Bytes) -> Result<[u8; N], Fault> {
    bytes[..].try_into().map_err(|_| Fault::Broken("an identifier is of the wrong length"))
}

fn key(text: &str) -> Result<Key, Fault> {
    Key::parse(text).map_err(|_| Fault::Broken("a key is empty or too long"))
}

fn in_order<T>(items: &[T], key: impl Fn(&T) -> &Key) -> Result<(), Fault> {
    if items.is_sorted_by(|a, b| key(a) < key(b)) { Ok(()) } else { Err(Fault::Broken("keys out of order")) }
}

fn etag(bytes: Bytes) -> Result<Bytes, Fault> {
    if bytes.len() <= core::ETAG_BYTES_MAX { Ok(bytes) } else { Err(Fault::Broken("an etag is too long")) }
}

fn encode_record(record: &core::Record) -> messages::Record {
    let (slim, writes, slim_keys) = match &record.writes {
        core::Writes::Full(writes) => (false, writes.iter().map(encode_write).collect(), Vec::new()),
        core::Writes::Slim(keys) => (true, Vec::new(), keys.iter().map(Key::to_string).collect()),
    };
    messages::Record {
        time: record.txn.time.0,
        attempt: copy(&record.txn.attempt.0),
        hash: copy(&record.hash.0),
        named: record.named,
        fingerprint: record.fingerprint.map(|of| copy(&of.0)),
        retention_ms: record.retention_ms,
        result: record.result.clone(),
        slim,
        writes,
        slim_keys,
        blobs: record.blobs,
        large_result: record
            .large_result
            .as_ref()
            .map(|result| messages::LargeResult { blob: Some(encode_blob(&result.blob)), size: result.size }),
    }
}

fn encode_write((key, write): &(Key, core::Write)) -> messages::Write {
    let kind = encode_kind(write.meta().kind).into();
    let key = key.to_string();
    match write {
        core::Write::Tombstone => messages::Write { key, kind, ..messages::Write::default() },
        core::Write::Put(value) => {
            let (inline, blob) = match &value.location {
                core::Location::Inline(bytes) => (bytes.clone(), None),
                core::Location::Blob(blob) => (Bytes::new(), Some(encode_blob(blob))),
            };
            let (size, etag, attributes) = (value.size, value.etag.clone(), value.attributes.clone());
            messages::Write { key, kind, inline, blob, size, etag, attributes }
        }
    }
}

fn encode_blob(blob: &core::BlobRef) -> messages::Blob {
    messages::Blob {
        attempt: copy(&blob.attempt.0),
        number: blob.number,
        parts: blob.parts,
        part_bytes: blob.part_bytes,
    }
}

fn encode_kind(kind: core::Kind) -> messages::Kind {
    match kind {
        core::Kind::Inline => messages::Kind::Inline,
        core::Kind::Tombstone => messages::Kind::Tombstone,
        core::Kind::Blob => messages::Kind::Blob,
    }
}

fn encode_collect(entry: &core::CollectEntry) -> messages::Collect {
    let stage = match entry.stage {
        core::Stage::Pieces => messages::Stage::Pieces,
        core::Stage::Header => messages::Stage::Header,
        core::Stage::Markers => messages::Stage::Markers,
    };
    let transactions = entry.transactions.iter().map(encode_superseded).collect();
    messages::Collect { stage: stage.into(), horizon: entry.horizon.0, transactions }
}

fn encode_superseded(entry: &core::Superseded) -> messages::Superseded {
    let write = |(key, meta): &(Key, core::Meta)| messages::CollectWrite {
        key: key.to_string(),
        kind: encode_kind(meta.kind).into(),
        size: meta.size,
        etag: meta.etag.clone(),
    };
    messages::Superseded {
        time: entry.txn.time.0,
        attempt: copy(&entry.txn.attempt.0),
        hash: copy(&entry.hash.0),
        writes: entry.writes.iter().map(write).collect(),
        blobs: entry.blobs.iter().map(|&(number, parts)| messages::CollectBlob { number, parts }).collect(),
        result_blob: entry.result_blob.map(|(number, parts)| messages::CollectBlob { number, parts }),
        retention_ms: entry.retention_ms,
    }
}

fn decode_record(from: messages::Record) -> Result<core::Record, Fault> {
    let writes = if from.slim {
        let keys = from.slim_keys.iter().map(|text| key(text)).collect::<Result<Vec<Key>, Fault>>()?;
        in_order(&keys, |key| key)?;
        core::Writes::Slim(keys.into())
    } else {
        let writes = from.writes.into_iter().map(decode_write).collect::<Result<Vec<_>, Fault>>()?;
        in_order(&writes, |(key, _)| key)?;
        core::Writes::Full(writes.into())
    };
    Ok(core::Record {
        txn: TxnId { time: Hlc(from.time), attempt: AttemptId(array(&from.attempt)?) },
        hash: RequestHash(array(&from.hash)?),
        named: from.named,
        fingerprint: from.fingerprint.map(|of| array(&of).map(Fingerprint)).transpose()?,
        retention_ms: from.retention_ms,
        result: from.result,
        large_result: from.large_result.map(|result| decode_large_result(&result)).transpose()?,
        blobs: from.blobs,
        writes,
    })
}

fn decode_large_result(from: &messages::LargeResult) -> Result<core::LargeResult, Fault> {
    let blob = from.blob.as_ref().ok_or(Fault::Broken("a large result has no place"))?;
    Ok(core::LargeResult { blob: decode_blob(blob)?, size: from.size })
}

fn decode_write(from: messages::Write) -> Result<(Key, core::Write), Fault> {
    let kind = decode_kind(from.kind())?;
    let key = key(&from.key)?;
    let location = match (kind, from.blob) {
        (core::Kind::Tombstone, None) => return Ok((key, core::Write::Tombstone)),
        (core::Kind::Inline, None) => core::Location::Inline(from.inline),
        (core::Kind::Blob, Some(blob)) => core::Location::Blob(decode_blob(&blob)?),
        (core::Kind::Tombstone | core::Kind::Inline, Some(_)) | (core::Kind::Blob, None) => {
            return Err(Fault::Broken("a value is not where its kind says"));
        }
    };
    let value =
        core::Value { location, size: from.size, etag: etag(from.etag)?, attributes: from.attributes };
    Ok((key, core::Write::Put(value)))
}

fn decode_blob(from: &messages::Blob) -> Result<core::BlobRef, Fault> {
    Ok(core::BlobRef {
        attempt: AttemptId(array(&from.attempt)?),
        number: from.number,
        parts: from.parts,
        part_bytes: from.part_bytes,
    })
}

fn decode_kind(kind: messages::Kind) -> Result<core::Kind, Fault> {
    match kind {
        messages::Kind::None => Err(Fault::Broken("unknown kind of version")),
        messages::Kind::Inline => Ok(core::Kind::Inline),
        messages::Kind::Tombstone => Ok(core::Kind::Tombstone),
        messages::Kind::Blob => Ok(core::Kind::Blob),
    }
}

fn decode_collect(from: messages::Collect) -> Result<core::CollectEntry, Fault> {
    let stage = match from.stage() {
        messages::Stage::None => return Err(Fault::Broken("unknown stage of a collection")),
        messages::Stage::Pieces => core::Stage::Pieces,
        messages::Stage::Header => core::Stage::Header,
        messages::Stage::Markers => core::Stage::Markers,
    };
    let transactions = from.transactions.into_iter().map(decode_superseded).collect::<Result<_, Fault>>()?;
    Ok(core::CollectEntry { stage, horizon: Hlc(from.horizon), transactions })
}

fn decode_superseded(from: messages::Superseded) -> Result<core::Superseded, Fault> {
    let write = |from: messages::CollectWrite| {
        let kind = decode_kind(from.kind())?;
        Ok((key(&from.key)?, core::Meta { kind, size: from.size, etag: etag(from.etag)? }))
    };
    let writes = from.writes.into_iter().map(write).collect::<Result<Vec<_>, Fault>>()?;
    in_order(&writes, |(key, _)| key)?;
    Ok(core::Superseded {
        txn: TxnId { time: Hlc(from.time), attempt: AttemptId(array(&from.attempt)?) },
        hash: RequestHash(array(&from.hash)?),
        writes: writes.into(),
        blobs: from.blobs.iter().map(|blob| (blob.number, blob.parts)).collect(),
        result_blob: from.result_blob.map(|blob| (blob.number, blob.parts)),
        retention_ms: from.retention_ms,
    })
}

#[cfg(test)]
mod tests {
    //! Below the checksum: messages that are sealed with care and hold nonsense.

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn commit_name() -> Name {
        Name::new(Space::Commit, vec![7; 32], Bytes::new())
    }

    fn record() -> messages::Record {
        let write = |key: &str, kind: messages::Kind| messages::Write {
            key: key.to_owned(),
            kind: kind.into(),
            ..messages::Write::default()
        };
        messages::Record {
            attempt: vec![1; 16].into(),
            hash: vec![7; 32].into(),
            fingerprint: Some(vec![2; 32].into()),
            writes: vec![write("a", messages::Kind::Inline), write("b", messages::Kind::Tombstone)],
            ..messages::Record::default()
        }
    }

    fn check(change: impl FnOnce(&mut messages::Record), expect: &str) {
        let mut message = record();
        change(&mut message);
        let name = commit_name();
        let error = decode_body(&name, &seal(&name, &message)).expect_err(expect);
        assert!(error.to_string().contains(expect), "{error}");
    }

    #[test]
    fn nonsense_is_damage() {
        let name = commit_name();
        assert!(decode_body(&name, &seal(&name, &record())).is_ok());
        check(|record| record.writes.swap(0, 1), "keys out of order");
        check(|record| record.writes[1].key = "a".into(), "keys out of order");
        check(|record| record.writes[0].key = String::new(), "a key is empty");
        check(|record| record.writes[0].kind = 0, "unknown kind");
        check(|record| record.writes[0].kind = 9, "unknown kind");
        check(|record| record.writes[0].kind = 3, "not where its kind says");
        check(|record| record.writes[0].etag = vec![0; 49].into(), "an etag is too long");
        check(|record| record.hash = vec![8; 32].into(), "names another request");
        check(|record| record.attempt = Bytes::new(), "wrong length");
        check(|record| record.fingerprint = Some(Bytes::new()), "wrong length");
    }

    proptest! {
        #[test]
        fn arbitrary_messages_do_not_panic(payload in vec(any::<u8>(), 0..120)) {
            for space in [Space::Commit, Space::Collect, Space::Marker, Space::Blob] {
                let name = Name::new(space, vec![7; 32], Bytes::new());
                let _ = decode_body(&name, &frame::seal(&name, Sum::Sha256, payload.len(), |body| body.put_slice(&payload)));
            }
        }

        #[test]
        fn changed_messages_do_not_panic(at: usize, bits in 1_u8.., to: usize) {
            let name = commit_name();
            let mut payload = record().encode_to_vec();
            let (at, to) = (at % payload.len(), 1 + to % payload.len());
            payload[at] ^= bits;
            payload.truncate(to);
            let _ = decode_body(&name, &frame::seal(&name, Sum::Sha256, payload.len(), |body| body.put_slice(&payload)));
        }
    }
}
