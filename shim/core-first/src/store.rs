//! What the core asks of a store, with typed names and bodies. The driver maps them to `aft-store` through `aft-wire`; the simulator keeps
//! them as they are. The rules are those of `aft_store::Store` (protocol, section 9).

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{AttemptId, Hlc, Key, Nonce, RequestHash, TxnId};
use crate::record::{CollectEntry, CollectName, Intent, Record, VersionEntry, Write};

/// A store call under way, unique in one life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// The typed name of a stored object.
///
/// The order within a group is the order of listings: version entries newest first, intents and collect entries by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A commit record.
    Commit(RequestHash),
    /// An intent; it has no body.
    Intent(Intent),
    /// A version entry of a key; it has no body.
    Version(Key, VersionEntry),
    /// One part of a blob.
    Blob {
        /// The attempt that wrote it.
        attempt: AttemptId,
        /// Which of its blobs.
        number: u32,
        /// Which part.
        part: u32,
    },
    /// A collect entry.
    Collect(CollectName),
    /// A key's marker.
    Marker(Key),
    /// The mark up to which intents are entered, where one node holds the store alone.
    Entered,
    /// The youngest horizon that a maintainer has collected by, where several nodes may.
    Horizon,
}

/// The typed body of a stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// Of a commit record.
    Record(Arc<Record>),
    /// Of a collect entry.
    Collect(Arc<CollectEntry>),
    /// Of a marker: fresh at every put, so that its tag is.
    Marker(Nonce),
    /// Of the mark: all transactions of intents up to this time are entered, or will never commit. Of the horizon: nothing younger was collected.
    Time(Hlc),
    /// Of a part of a blob.
    Part(Bytes),
    /// Of intents and version entries, whose names say all.
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
    /// The intents of a minute, oldest first.
    Intents(u32),
    /// The collect entries of a minute, oldest first.
    Collects(u32),
    /// The blob parts of an attempt.
    Blobs(AttemptId),
}

/// Groups that can be enumerated, in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Groups {
    /// The keys that have version entries and this prefix, after a key. The cursor is any string in key order, exclusive.
    Keys {
        /// The prefix; may be empty.
        prefix: String,
        /// Exclusive.
        after: Option<String>,
    },
    /// The minutes that have intents.
    IntentMinutes {
        /// Exclusive.
        after: Option<u32>,
    },
    /// The minutes that have collect entries.
    CollectMinutes {
        /// Exclusive.
        after: Option<u32>,
    },
}

/// One call to the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Answered by [`Answer::Got`].
    Get(Name),
    /// The bytes of one version: a [`Call::Get`] of the commit record, which a value cache may spare. Answered by [`Answer::Cached`] or
    /// [`Answer::Got`].
    Fetch {
        /// Where the record stands.
        hash: RequestHash,
        /// The version wanted.
        txn: TxnId,
        /// The key wanted.
        key: Key,
    },
    /// Answered by [`Answer::Done`].
    Put(Name, Body),
    /// Answered by [`Answer::Created`] or [`Answer::Exists`].
    Create(Name, Body),
    /// Answered by [`Answer::Replaced`] or [`Answer::Changed`].
    Replace(Name, Tag, Body),
    /// Answered by [`Answer::Done`].
    Delete(Vec<Name>),
    /// Answered by [`Answer::Replaced`] or [`Answer::Changed`].
    DeleteIf(Name, Tag),
    /// Answered by [`Answer::Listed`].
    List {
        /// What to list.
        group: Group,
        /// Exclusive.
        after: Option<Name>,
        /// At most so many names; at least 1.
        limit: u32,
    },
    /// Answered by [`Answer::Keys`] or [`Answer::Minutes`].
    Groups {
        /// What to enumerate.
        groups: Groups,
        /// At most so many; at least 1.
        limit: u32,
    },
}

/// What the store answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// To `Get` and `Fetch`: the body and its tag, or nothing under that name.
    Got(Option<(Body, Tag)>),
    /// To `Fetch`: what the value cache held for this version of this key. Committed values only.
    Cached(Write),
    /// To `Put` and `Delete`: acknowledged.
    Done,
    /// To `Create`: the name is ours.
    Created,
    /// To `Create`: the name existed.
    Exists,
    /// To `Replace` and `DeleteIf`.
    Replaced,
    /// To `Replace` and `DeleteIf`: the name holds something else, or nothing.
    Changed,
    /// To `List`.
    Listed {
        /// In order.
        names: Vec<Name>,
        /// More may follow.
        more: bool,
    },
    /// To `Groups` of keys.
    Keys {
        /// In order.
        keys: Vec<Key>,
        /// More may follow.
        more: bool,
    },
    /// To `Groups` of minutes.
    Minutes {
        /// In order.
        minutes: Vec<u32>,
        /// More may follow.
        more: bool,
    },
    /// No result.
    Failed(CallError),
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallError {
    /// It may take effect now, later, or never. Worth repeating.
    NoAnswer,
    /// It took no effect; the store asks for less. Worth repeating after a while.
    Busy,
    /// It took no effect, and will not as it stands. The text names the store, the call and the remedy.
    Refused(String),
    /// What the store holds there is not what was written. The text names what is damaged.
    Damaged(String),
}
