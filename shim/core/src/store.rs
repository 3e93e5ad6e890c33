//! Calls to a store, with typed names and bodies. The driver maps them to `aft-store` through
//! `aft-format`; the simulator keeps them as they are. The rules are those of `aft_store::Store`
//! (protocol, section 10).

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{Key, RequestHash, TxnId};
pub use crate::record::Place;
use crate::record::{Aborted, BlobGroup, Format, Record, Stub, VersionEntry, Write};
use crate::sweep::Notes;

/// A store call in flight, unique in one life of a node. Later calls have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// The typed name of a stored object. The order within a group is the order of listings: version
/// entries newest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A commit record, a stub, or the list of attempts that may not create a record.
    Commit(RequestHash),
    /// A version entry of a key. It has no body unless it is whole. Answers and cursors of listings
    /// and scans use it for entries of checked keys, too.
    Version(Key, VersionEntry),
    /// The version entry of a checked key that follows this version ([`TxnId::ZERO`]: absence). Its
    /// body is an entry, or a record if the entry is whole.
    Successor(Key, TxnId),
    /// One part of a blob.
    Blob {
        /// The attempt that wrote it.
        group: BlobGroup,
        /// Its number among the attempt's blobs.
        number: u32,
        /// The part's number.
        part: u32,
    },
    /// The mark and what belongs to it.
    Format,
    /// A note that the record under this hash cannot be read.
    Damaged(RequestHash),
    /// The notes of a sweep that stopped.
    Notes,
}

/// The typed body of a stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// The body of a commit record or a whole entry.
    Record(Arc<Record>),
    /// The remainder of a removed commit record, where the store cannot delete by tag.
    Stub(Stub),
    /// The attempts of a request that may not commit, where none has committed.
    Aborted(Arc<Aborted>),
    /// The version entry of a checked key.
    Entry(VersionEntry),
    /// The remainder of a removed version entry of a checked key, where the store cannot delete by
    /// tag. It counts as absent.
    Free,
    /// The bytes of a part of a blob.
    Part(Bytes),
    /// The mark and what belongs to it.
    Format(Arc<Format>),
    /// The text of a note on damage.
    Text(String),
    /// The notes of a sweep.
    Notes(Arc<Notes>),
    /// The empty body of a version entry that is not whole: its name contains everything.
    Empty,
}

/// The store's opaque token for one content of one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub Bytes);

/// A group of names that can be listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The version entries of a key, newest first.
    Versions(Key),
    /// The blob parts of an attempt.
    Blobs(BlobGroup),
}

/// A range of names across groups, in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scan {
    /// The version entries of all keys with a prefix.
    Versions {
        /// The prefix; may be empty.
        prefix: String,
        /// The place after which the scan begins, exclusive.
        after: Option<Place>,
        /// The keys to which it is limited, if it may leave others out.
        heads: Option<Heads>,
    },
    /// Commit records.
    Commits {
        /// The place after which the scan begins, exclusive.
        after: Option<RequestHash>,
    },
    /// The attempts that have blobs.
    Blobs {
        /// The place after which the scan begins, exclusive.
        after: Option<BlobGroup>,
    },
    /// Notes on damage.
    Damaged {
        /// The place after which the scan begins, exclusive.
        after: Option<RequestHash>,
    },
}

/// The objects that one commit writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writes {
    /// The record, to be created if absent; `None` to put only the entries.
    pub record: Option<Arc<Record>>,
    /// The entries, to be put at the same time.
    pub entries: Vec<(Key, VersionEntry)>,
}

/// One call to the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Gets an object. Answered by [`Answer::Got`].
    Get(Name),
    /// Gets the bytes of one version: a [`Call::Get`] of the object that holds it, unless a value
    /// cache has it. Answered by [`Answer::Cached`] or [`Answer::Got`].
    Fetch {
        /// A commit record or a whole entry.
        at: Name,
        /// The version wanted.
        txn: TxnId,
        /// The key wanted.
        key: Key,
    },
    /// Writes an object, whether the name is taken or not. Answered by [`Answer::Done`].
    Put(Name, Body),
    /// Writes an object if the name is free. Answered by [`Answer::Created`].
    Create(Name, Body),
    /// Creates a record and puts entries. Answered by [`Answer::Committed`].
    Commit(Writes),
    /// Replaces an object if its tag matches. Answered by [`Answer::Replaced`] or
    /// [`Answer::Changed`].
    Replace(Name, Tag, Body),
    /// Deletes objects; absent ones are no error. Answered by [`Answer::Done`].
    Delete(Vec<Name>),
    /// Deletes an object if its tag matches. Answered by [`Answer::Replaced`] or
    /// [`Answer::Changed`].
    DeleteIf(Name, Tag),
    /// Lists the names of a group. Answered by [`Answer::Listed`].
    List {
        /// The group.
        group: Group,
        /// The name of the group after which the listing begins, exclusive.
        after: Option<Name>,
        /// The greatest number of names; at least 1.
        limit: u32,
    },
    /// Lists names across groups. Answered by [`Answer::Scanned`].
    Scan {
        /// The range of names.
        scan: Scan,
        /// The greatest number of names; at least 1.
        limit: u32,
    },
}

/// The first keys below each common prefix. A key's common prefix goes through the first delimiter
/// behind the scan's prefix.
///
/// A page that is limited to them shows every key without a common prefix. Of those behind its
/// start with the same one it shows at least the first `each`, and may leave others out behind the
/// last that it shows; if it shows fewer, there are no others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heads {
    /// The delimiter, which is not empty.
    pub delimiter: String,
    /// The number of keys of each common prefix; at least 1.
    pub each: u32,
}

/// The outcome of the create of a commit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Created {
    /// The name was free and now holds the record.
    Created,
    /// The name was taken.
    Exists,
}

/// The parts of a commit's answer, each with its own outcome.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pieces {
    /// The outcome of the record; `None` if none was to be created.
    pub record: Option<Result<Created, CallError>>,
    /// The outcome of each entry, in order. If the record already existed, these allow no
    /// conclusion.
    pub entries: Vec<Result<(), CallError>>,
}

/// A commit record as a scan found it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FoundRecord {
    /// Its name.
    pub hash: RequestHash,
    /// Its body, where the listing includes it.
    pub body: Option<Body>,
    /// The store's own time of its last write, in milliseconds, where the listing says so.
    pub written_ms: Option<u64>,
}

/// A page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Found {
    /// Version entries, by key, newest first.
    Versions(Vec<(Key, VersionEntry)>),
    /// Commit records, in order.
    Commits(Vec<FoundRecord>),
    /// Attempts that have blobs, in order.
    Blobs(Vec<BlobGroup>),
    /// Notes on damage, in order.
    Damaged(Vec<RequestHash>),
}

/// An answer of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The body and its tag, or `None` if nothing has the name; to `Get` and `Fetch`.
    Got(Option<(Body, Tag)>),
    /// The requested version from the value cache, which holds only committed values; to `Fetch`.
    Cached(Write),
    /// The acknowledgement of a `Put` or `Delete`.
    Done,
    /// The outcome of a `Create`.
    Created(Created),
    /// The outcomes of a `Commit`, piece by piece.
    Committed(Pieces),
    /// The acknowledgement of a `Replace` or `DeleteIf`.
    Replaced,
    /// The rejection of a `Replace` or `DeleteIf`: the name holds something else, or nothing.
    Changed,
    /// A page of a `List`.
    Listed {
        /// Names in order.
        names: Vec<Name>,
        /// Names that could not be read, as text.
        damaged: Vec<String>,
        /// True if more may follow; never with no names.
        more: bool,
    },
    /// A page of a `Scan`.
    Scanned {
        /// Names in order, of the kind that was requested.
        found: Found,
        /// Names and bodies that could not be read, as text.
        damaged: Vec<String>,
        /// Keys that have an entry whose body could not be read, so that `found` is incomplete.
        unread: Vec<Key>,
        /// True if more may follow; never with nothing found.
        more: bool,
    },
    /// No result.
    Failed(CallError),
}

/// The reason why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallError {
    /// No answer came: the call may take effect now, within the store's grace, or never. Retry it.
    NoAnswer,
    /// The store is overloaded, and the call took no effect. Retry it after a pause.
    Busy,
    /// The store rejected the call, which took no effect and would be rejected again. The text
    /// names the store, the call and the remedy.
    Refused(String),
    /// The stored object is damaged or foreign. The text names it.
    Damaged(String),
    /// The driver did not send the call, because its time had passed. It took no effect.
    Expired,
}

impl VersionEntry {
    /// Returns the entry's name under a key.
    pub fn name(&self, key: &Key) -> Name {
        match self.follows {
            Some(before) => Name::Successor(key.clone(), before),
            None => Name::Version(key.clone(), self.clone()),
        }
    }

    /// Returns the entry that is stored in the body of a checked key's entry, or `None` if the body
    /// counts as absent.
    ///
    /// # Panics
    /// Panics if the body is of another kind, which the driver excludes when it parses it.
    pub fn of_lock(body: &Body) -> Option<VersionEntry> {
        match body {
            Body::Entry(entry) => Some(entry.clone()),
            Body::Record(record) => {
                assert!(record.is_whole(), "only a whole entry has a record for its body");
                record.entries().pop().map(|(_, entry)| entry)
            }
            Body::Free => None,
            other => panic!("the entry of a checked key is {other:?}"),
        }
    }

    /// Returns the body to store under the entry's name.
    ///
    /// # Panics
    /// Panics if the entry is whole: then its body is its record.
    pub fn body(&self) -> Body {
        assert!(!self.whole, "the body of a whole entry is its record");
        match self.follows {
            Some(_) => Body::Entry(self.clone()),
            None => Body::Empty,
        }
    }
}

impl Record {
    /// Returns the name of the object that is the commit.
    pub fn commit_name(&self) -> Name {
        if !self.is_whole() {
            return Name::Commit(self.hash);
        }
        let (key, entry) = self.entries().pop().expect("a whole entry has a key");
        assert!(entry.whole && entry.txn == self.txn, "a whole entry is the commit");
        entry.name(&key)
    }
}

impl Writes {
    /// Asserts what holds for every commit that a node sends.
    fn check_invariants(&self) {
        assert!(self.record.is_some() || !self.entries.is_empty(), "a commit writes something");
        // Entries of another attempt come from a record that was read, which may be foreign.
        let Some(record) = &self.record else { return };
        assert!(!record.is_whole(), "a whole entry needs no record");
        for (key, entry) in &self.entries {
            assert!(!entry.whole, "a whole entry is put alone");
            assert!(entry.follows.is_none(), "an entry that is a lock is created before the record");
            assert_eq!(entry.txn, record.txn, "the entry at {key} is the record's");
            assert_eq!(entry.hash, record.hash, "the entry at {key} leads to the record");
        }
    }
}

impl Call {
    /// Asserts what holds for every call of a node, independently of the store's contents.
    pub fn check_invariants(&self) {
        match self {
            Call::Get(_) => {}
            Call::Fetch { at: Name::Version(of, entry), txn, key } => {
                assert!(entry.whole, "only a whole entry has a value");
                assert_eq!((of, entry.txn), (key, *txn), "a whole entry holds its own version");
            }
            Call::Fetch { at: Name::Successor(of, before), txn, key } => {
                assert!(of == key && before < txn, "a whole entry holds its own version");
            }
            Call::Fetch { at, .. } => {
                assert!(matches!(at, Name::Commit(_)), "a value is in a record or a whole entry");
            }
            Call::Put(Name::Version(_, entry), body) => {
                let has_record = matches!(body, Body::Record(record) if record.txn == entry.txn);
                assert_eq!(entry.whole, has_record, "a whole entry has its record as its body");
                assert!(entry.follows.is_none(), "an entry that is a lock is never put over another");
            }
            Call::Create(name, body) => {
                let fits = match (name, body) {
                    (Name::Successor(_, before), Body::Entry(entry)) => entry.follows == Some(*before),
                    (Name::Successor(_, before), Body::Record(record)) => record.txn > *before,
                    (Name::Commit(hash), Body::Record(record)) => record.hash == *hash,
                    (Name::Commit(hash), Body::Aborted(aborted)) => aborted.hash == *hash,
                    (_, _) => false,
                };
                assert!(fits, "{name:?} is not created with {body:?}");
            }
            Call::Put(name, _) => {
                let is_put = !matches!(name, Name::Commit(_) | Name::Successor(..));
                assert!(is_put, "a record is created, never put over another");
            }
            Call::Commit(writes) => writes.check_invariants(),
            Call::Replace(name, ..) | Call::DeleteIf(name, _) => {
                let by_tag = matches!(name, Name::Format | Name::Commit(_) | Name::Successor(..));
                assert!(by_tag, "only the mark, records and locks change by tag");
            }
            Call::Delete(names) => {
                assert!(!names.is_empty(), "a deletion names something");
                let is_reused = |name: &Name| matches!(name, Name::Successor(_, TxnId::ZERO));
                assert!(!names.iter().any(is_reused), "a name that is used again goes by tag");
            }
            Call::List { group, after, limit } => {
                assert!(*limit > 0, "a page has a name at least");
                let is_of_group = match (group, after) {
                    (_, None) => true,
                    (Group::Versions(key), Some(Name::Version(of, _))) => key == of,
                    (Group::Blobs(group), Some(Name::Blob { group: of, .. })) => group == of,
                    (Group::Versions(_) | Group::Blobs(_), Some(_)) => false,
                };
                assert!(is_of_group, "a listing goes on within its group");
            }
            Call::Scan { scan, limit } => {
                assert!(*limit > 0, "a page has a name at least");
                let Scan::Versions { heads: Some(heads), .. } = scan else { return };
                assert!(!heads.delimiter.is_empty() && heads.each > 0, "a common prefix has a head");
            }
        }
    }

    /// Returns true if the call can change the store.
    pub fn is_write(&self) -> bool {
        match self {
            Call::Put(..)
            | Call::Create(..)
            | Call::Commit(_)
            | Call::Replace(..)
            | Call::Delete(_)
            | Call::DeleteIf(..) => true,
            Call::Get(_) | Call::Fetch { .. } | Call::List { .. } | Call::Scan { .. } => false,
        }
    }
}
