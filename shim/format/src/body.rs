//! Typed bodies to bytes, and back.
//!
//! Decoding parses: keys are keys and in strict order, lengths are right, kinds are known, and the
//! body is the one that its name says. Every fault names the object.

use std::sync::Arc;

use aft_core::record::{Record, VersionEntry};
use aft_core::store::{Body, Name};
use bytes::{BufMut, Bytes};
use prost::Message;

use crate::fault::Fault;
use crate::frame::{self, Gone, Kind};
use crate::messages;
use crate::name::{describe, encode_entry, encode_name, parse_entry};
use crate::notes::{decode_format, decode_notes, encode_format, encode_notes};
use crate::record::{decode_aborted, decode_record, decode_stub, encode_aborted, encode_record, encode_stub};

/// Returns the store's name and the bytes of an object.
///
/// # Panics
/// If the body cannot lie under the name, or breaks its invariants.
pub fn encode_object(name: &Name, body: &Body) -> (aft_store::Name, Bytes) {
    let at = encode_name(name);
    let bytes = match (name, body) {
        (Name::Commit(hash), Body::Record(record)) => {
            assert_eq!(record.hash, *hash, "a record lies under its own hash");
            assert!(!record.is_whole(), "a transaction of one whole entry has no record of its own");
            seal(&at, Kind::Record, &encode_record(record))
        }
        (Name::Commit(hash), Body::Stub(stub)) => {
            assert_eq!(stub.hash, *hash, "a stub lies under its own hash");
            seal(&at, Kind::Stub, &encode_stub(stub))
        }
        (Name::Version(_, entry), Body::Record(record)) if entry.whole => {
            assert_eq!(check_whole(name, record), Ok(()), "{}", describe(name));
            seal(&at, Kind::Record, &encode_record(record))
        }
        (Name::Version(_, entry), Body::Empty) if !entry.whole => Bytes::new(),
        (Name::Successor(_, before), Body::Entry(entry)) => {
            assert_eq!(
                entry.follows,
                Some(*before),
                "{}: an entry follows what its name says",
                describe(name)
            );
            assert!(!entry.whole, "the body of a whole entry is its record");
            seal(&at, Kind::Entry, &messages::Lock { item: encode_entry(entry) })
        }
        (Name::Successor(..), Body::Record(record)) => {
            assert_eq!(check_successor(name, record), Ok(()), "{}", describe(name));
            seal(&at, Kind::Record, &encode_record(record))
        }
        (Name::Successor(..), Body::Free) => seal(&at, Kind::Free, &messages::Free {}),
        (Name::Commit(hash), Body::Aborted(aborted)) => {
            assert_eq!(aborted.hash, *hash, "what excludes attempts lies under their own hash");
            seal(&at, Kind::Aborted, &encode_aborted(aborted))
        }
        (Name::Blob { .. }, Body::Part(bytes)) => return encode_part(name, std::slice::from_ref(bytes)),
        (Name::Format, Body::Format(format)) => seal(&at, Kind::Format, &encode_format(format)),
        (Name::Damaged(_), Body::Text(text)) => seal(&at, Kind::Text, &messages::Text { text: text.clone() }),
        (Name::Notes, Body::Notes(notes)) => seal(&at, Kind::Notes, &encode_notes(notes)),
        (
            Name::Commit(_)
            | Name::Version(..)
            | Name::Successor(..)
            | Name::Blob { .. }
            | Name::Format
            | Name::Damaged(_)
            | Name::Notes,
            _,
        ) => panic!("{} cannot hold {}", describe(name), kind_of(body)),
    };
    (at, bytes)
}

/// Returns the store's name and the bytes of a part of a large value that comes in pieces: as
/// [`encode_object`] of the whole part, with one copy less.
///
/// # Panics
/// If the name is no blob's.
pub fn encode_part(name: &Name, pieces: &[Bytes]) -> (aft_store::Name, Bytes) {
    assert!(matches!(name, Name::Blob { .. }), "a part for {}", describe(name));
    let at = encode_name(name);
    let len = pieces.iter().map(Bytes::len).sum();
    let write = |body: &mut bytes::BytesMut| pieces.iter().for_each(|piece| body.put_slice(piece));
    let bytes = frame::seal(&at, Kind::Part, len, write);
    (at, bytes)
}

fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::Record(_) => "a record",
        Body::Stub(_) => "a stub",
        Body::Aborted(_) => "attempts that may not commit",
        Body::Entry(_) => "an entry",
        Body::Free => "what counts as none",
        Body::Part(_) => "a part",
        Body::Format(_) => "a mark",
        Body::Text(_) => "a text",
        Body::Notes(_) => "notes",
        Body::Empty => "an empty body",
    }
}

fn seal(at: &aft_store::Name, kind: Kind, message: &impl Message) -> Bytes {
    frame::seal(at, kind, message.encoded_len(), |body| message.encode(body).expect("the buffer grows"))
}

/// Returns the body of an object. Inline values and parts are slices of `bytes`.
///
/// # Errors
/// [`Damaged`](aft_store::Error::Damaged), naming the object, if the bytes are not what was written
/// there or are of another version's format.
pub fn decode_body(name: &Name, bytes: &Bytes) -> Result<Body, aft_store::Error> {
    parse_body(name, bytes).map_err(|fault| fault.at(&describe(name)))
}

pub(crate) fn parse_body(name: &Name, bytes: &Bytes) -> Result<Body, Fault> {
    if matches!(name, Name::Version(_, VersionEntry { whole: false, .. })) {
        return if bytes.is_empty() {
            Ok(Body::Empty)
        } else {
            Err(Fault::Broken("the body should be empty"))
        };
    }
    let (kind, payload) = frame::open(&encode_name(name), bytes)?;
    match (name, kind) {
        (Name::Commit(hash), Kind::Record) => {
            let record = decode_record(message(payload)?)?;
            if record.hash != *hash {
                return Err(Fault::Broken("the record names another request"));
            }
            // An entry of it would be whole, and the entry alone would be the commit.
            if record.is_whole() {
                return Err(Fault::Broken(
                    "the transaction is one whole entry, and has no record of its own",
                ));
            }
            Ok(Body::Record(Arc::new(record)))
        }
        (Name::Commit(hash), Kind::Stub) => {
            let stub = decode_stub(&message(payload)?)?;
            if stub.hash != *hash {
                return Err(Fault::Broken("the stub names another request"));
            }
            Ok(Body::Stub(stub))
        }
        (Name::Commit(hash), Kind::Aborted) => {
            let aborted = decode_aborted(&message(payload)?)?;
            if aborted.hash != *hash {
                return Err(Fault::Broken("it names another request"));
            }
            Ok(Body::Aborted(Arc::new(aborted)))
        }
        (Name::Successor(_, before), Kind::Entry) => {
            let messages::Lock { item } = message(payload)?;
            let entry = VersionEntry { follows: Some(*before), ..parse_entry(&item)? };
            if entry.whole || *before >= entry.txn {
                return Err(Fault::Broken("the entry cannot have this name"));
            }
            Ok(Body::Entry(entry))
        }
        (Name::Successor(..), Kind::Record) => {
            let record = decode_record(message(payload)?)?;
            check_successor(name, &record)?;
            Ok(Body::Record(Arc::new(record)))
        }
        (Name::Successor(..), Kind::Free) => {
            let messages::Free {} = message(payload)?;
            Ok(Body::Free)
        }
        (Name::Version(..), Kind::Record) => {
            let record = decode_record(message(payload)?)?;
            check_whole(name, &record)?;
            Ok(Body::Record(Arc::new(record)))
        }
        (Name::Blob { .. }, Kind::Part) => Ok(Body::Part(payload)),
        (Name::Format, Kind::Format) => Ok(Body::Format(Arc::new(decode_format(message(payload)?)?))),
        (Name::Damaged(_), Kind::Text) => {
            let messages::Text { text } = message(payload)?;
            Ok(Body::Text(text))
        }
        (Name::Notes, Kind::Notes) => Ok(Body::Notes(Arc::new(decode_notes(message(payload)?)?))),
        (
            Name::Commit(_)
            | Name::Version(..)
            | Name::Successor(..)
            | Name::Blob { .. }
            | Name::Format
            | Name::Damaged(_)
            | Name::Notes,
            _,
        ) => Err(Fault::Broken("the body is of another kind")),
    }
}

/// Checks that a record is the body of this whole entry: of its one key, by the same transaction,
/// without a request ID.
fn check_whole(name: &Name, record: &Record) -> Result<(), Fault> {
    let Name::Version(key, entry) = name else { panic!("{} is no version entry", describe(name)) };
    assert!(entry.whole, "the entry's body is empty");
    if (record.txn, record.hash) != (entry.txn, entry.hash) {
        return Err(Fault::Broken("the record names another transaction"));
    }
    if record.named || record.result.is_some() || record.large_result.is_some() {
        return Err(Fault::Broken("the transaction needs a record of its own"));
    }
    match &record.writes[..] {
        [(of, write)] if of == key && write.meta() == entry.meta => Ok(()),
        [_] => Err(Fault::Broken("the record holds another version")),
        _ => Err(Fault::Broken("a whole entry's record has one key")),
    }
}

/// Checks that a record is the body of a whole entry under this name: of its one key, following
/// what the name says.
fn check_successor(name: &Name, record: &Record) -> Result<(), Fault> {
    let Name::Successor(key, before) = name else { panic!("{} follows nothing", describe(name)) };
    let follows = record.follows.as_ref().map(|follows| &follows.versions[..]);
    match &record.writes[..] {
        [(of, _)] if of == key && record.is_whole() && follows == Some(&[*before]) => Ok(()),
        _ => Err(Fault::Broken("the record is not that of a whole entry under this name")),
    }
}

fn message<M: Message + Default>(payload: Bytes) -> Result<M, Fault> {
    M::decode(payload).map_err(|_| Fault::Broken("the body is no message of this format"))
}

/// A part of a large value whose body comes in pieces. The last piece is held back until all of
/// them have been found right: a reader that gets the whole part has what was written.
#[derive(Debug)]
pub struct PartInPieces {
    name: Name,
    opening: frame::Opening,
}

impl PartInPieces {
    /// Opens a part of which earlier tries passed on `before`.
    ///
    /// # Panics
    /// If the name is no blob's.
    pub fn new(name: Name, before: Gone) -> PartInPieces {
        assert!(matches!(name, Name::Blob { .. }), "a part of {}", describe(&name));
        PartInPieces { opening: frame::Opening::new(encode_name(&name), Kind::Part, before), name }
    }

    /// Takes the body's next piece, and returns bytes of the part that may be passed on: empty if
    /// there are none yet.
    ///
    /// # Errors
    /// [`Damaged`](aft_store::Error::Damaged), naming the object.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, aft_store::Error> {
        self.opening.push(piece).map_err(|fault| fault.at(&describe(&self.name)))
    }

    /// Returns the amount passed on, in earlier tries and in this one.
    pub fn gone(&self) -> Gone {
        self.opening.gone()
    }

    /// Returns the last bytes of the part.
    ///
    /// # Errors
    /// [`Damaged`](aft_store::Error::Damaged), naming the object, if the part is not what was
    /// written.
    pub fn end(&mut self) -> Result<Bytes, aft_store::Error> {
        self.opening.end().map_err(|fault| fault.at(&describe(&self.name)))
    }
}

#[cfg(test)]
mod tests {
    //! Below the checksum: messages that are sealed with care and hold nonsense.

    use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
    use aft_core::record::{self as core, Meta};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::record::encode_txn;

    const COMMIT: Name = Name::Commit(RequestHash([7; 32]));

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

    fn sealed(name: &Name, kind: Kind, message: &impl Message) -> Bytes {
        seal(&encode_name(name), kind, message)
    }

    fn refuse(name: &Name, kind: Kind, message: &impl Message, expect: &str) {
        let error = decode_body(name, &sealed(name, kind, message)).expect_err(expect).to_string();
        assert!(error.contains(expect) && error.contains(&describe(name)), "{error}");
    }

    fn check(change: impl FnOnce(&mut messages::Record), expect: &str) {
        let mut message = record();
        change(&mut message);
        refuse(&COMMIT, Kind::Record, &message, expect);
    }

    #[test]
    fn nonsense_in_a_record_is_damage() {
        assert!(decode_body(&COMMIT, &sealed(&COMMIT, Kind::Record, &record())).is_ok());
        check(|record| record.writes.swap(0, 1), "keys out of order");
        check(|record| record.writes[1].key = "a".into(), "keys out of order");
        check(|record| record.writes[0].key = String::new(), "a key is empty");
        check(|record| record.writes[0].key = "k".repeat(Key::BYTES_MAX + 1), "a key is empty or too long");
        check(|record| record.writes[0].kind = 0, "unknown kind");
        check(|record| record.writes[0].kind = 9, "unknown kind");
        check(|record| record.writes[0].kind = 3, "not where its kind says");
        check(|record| record.writes[1].blob = Some(messages::Blob::default()), "not where its kind says");
        check(|record| record.writes[0].etag = vec![0; 49].into(), "an etag is too long");
        check(|record| record.writes.clear(), "unnamed request has no writes");
        // A sweep would put its entry, whole and without a body.
        check(|record| record.writes.truncate(1), "one whole entry");
        check(|record| record.hash = vec![8; 32].into(), "names another request");
        check(|record| record.attempt = Bytes::new(), "wrong length");
        check(|record| record.fingerprint = Some(Bytes::new()), "wrong length");
        check(|record| record.large_result = Some(messages::LargeResult::default()), "has no place");
        let both = |record: &mut messages::Record| {
            record.result = Some(Bytes::new());
            let blob = Some(messages::Blob::default());
            record.large_result = Some(messages::LargeResult { blob, size: 1 });
        };
        check(both, "two results");
    }

    fn whole() -> (Name, messages::Record) {
        let txn = TxnId { time: Hlc(0), attempt: AttemptId([1; 16]) };
        let meta = Meta { kind: core::Kind::Inline, size: 0, etag: Bytes::new() };
        let hash = RequestHash([7; 32]);
        let entry = core::VersionEntry { txn, hash, meta, cowritten: 1, whole: true, follows: None };
        let mut record = record();
        record.writes.truncate(1);
        (Name::Version(Key::parse("a").unwrap(), entry), record)
    }

    #[test]
    fn a_whole_entry_holds_its_own_record() {
        let check = |change: &dyn Fn(&mut messages::Record), expect: &str| {
            let (name, mut message) = whole();
            change(&mut message);
            refuse(&name, Kind::Record, &message, expect);
        };
        let (name, message) = whole();
        assert!(decode_body(&name, &sealed(&name, Kind::Record, &message)).is_ok());
        check(&|record| record.time = 1, "another transaction");
        check(&|record| record.attempt = vec![2; 16].into(), "another transaction");
        check(&|record| record.hash = vec![8; 32].into(), "another transaction");
        check(&|record| record.named = true, "needs a record of its own");
        check(&|record| record.result = Some(Bytes::new()), "needs a record of its own");
        check(&|record| record.writes[0].key = "b".into(), "another version");
        check(&|record| record.writes[0].size = 1, "another version");
        check(&|record| record.writes[0].kind = 2, "another version");
        check(
            &|record| record.writes.push(messages::Write { key: "b".into(), kind: 2, ..Default::default() }),
            "one key",
        );
        refuse(&name, Kind::Stub, &messages::Stub::default(), "another kind");
        let Name::Version(key, entry) = name else { panic!("the name is an entry's") };
        let slim = Name::Version(key, core::VersionEntry { whole: false, ..entry });
        refuse(&slim, Kind::Record, &message, "should be empty");
    }

    #[test]
    fn nonsense_in_other_bodies_is_damage() {
        let zero = Some(encode_txn(&TxnId::ZERO));
        let one = Some(encode_txn(&TxnId::at(Hlc(1))));
        let stub = messages::Stub { txn: zero.clone(), hash: vec![8; 32].into() };
        refuse(&COMMIT, Kind::Stub, &stub, "names another request");
        refuse(&COMMIT, Kind::Stub, &messages::Stub { txn: None, ..stub }, "is missing");
        refuse(&COMMIT, Kind::Part, &messages::Stub::default(), "another kind");
        let above = messages::Format { mark: zero.clone(), settled: one.clone(), ..Default::default() };
        refuse(&Name::Format, Kind::Format, &above, "above the mark");
        refuse(&Name::Format, Kind::Format, &messages::Format::default(), "is missing");
        let phase = Some(messages::Phase::Commits(messages::CommitsPhase { after: None }));
        let notes = messages::Notes { mark: zero, target: one, phase, hashes_to: 1, ..Default::default() };
        assert!(decode_body(&Name::Notes, &sealed(&Name::Notes, Kind::Notes, &notes)).is_ok());
        let refuse_notes = |change: &dyn Fn(&mut messages::Notes), expect: &str| {
            let mut notes = notes.clone();
            change(&mut notes);
            refuse(&Name::Notes, Kind::Notes, &notes, expect);
        };
        refuse_notes(&|notes| notes.phase = None, "no phase");
        refuse_notes(&|notes| notes.target = None, "is missing");
        refuse_notes(&|notes| std::mem::swap(&mut notes.mark, &mut notes.target), "below the mark");
        refuse_notes(&|notes| notes.met = vec![2, 1], "out of order");
        refuse_notes(&|notes| notes.hashes_to = 0, "range of hashes");
        refuse_notes(&|notes| notes.hashes_to = (1 << 16) + 1, "range of hashes");
    }

    proptest! {
        #[test]
        fn arbitrary_messages_do_not_panic(payload in vec(any::<u8>(), 0..120)) {
            let (entry, _) = whole();
            let damaged = Name::Damaged(RequestHash([7; 32]));
            for name in [COMMIT, entry, Name::Format, Name::Notes, damaged] {
                for kind in [Kind::Record, Kind::Stub, Kind::Part, Kind::Format, Kind::Text, Kind::Notes] {
                    let at = encode_name(&name);
                    let body = frame::seal(&at, kind, payload.len(), |body| body.put_slice(&payload));
                    let _ = decode_body(&name, &body);
                }
            }
        }

        #[test]
        fn changed_messages_do_not_panic(at: usize, bits in 1_u8.., to: usize) {
            let mut payload = record().encode_to_vec();
            let (at, to) = (at % payload.len(), 1 + to % payload.len());
            payload[at] ^= bits;
            payload.truncate(to);
            let name = encode_name(&COMMIT);
            let body = frame::seal(&name, Kind::Record, payload.len(), |body| body.put_slice(&payload));
            let _ = decode_body(&COMMIT, &body);
        }
    }
}
