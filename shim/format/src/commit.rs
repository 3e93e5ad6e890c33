//! One commit to a store's call, and its outcomes back.

use aft_core::store::{Body, CallError, Created, Name, Pieces, Writes};
use aft_store::{Committed, Error};

use crate::body::encode_object;

/// Returns all that a commit writes, with names and bytes.
///
/// # Panics
/// If an entry is whole: such an entry is the commit, and is put by itself.
pub fn encode_commit(writes: &Writes) -> aft_store::Writes {
    let create = writes.record.as_ref().map(|record| {
        let name = Name::Commit(record.hash);
        encode_object(&name, &Body::Record(record.clone()))
    });
    let put = |(key, entry): &(aft_core::ids::Key, aft_core::record::VersionEntry)| {
        assert!(!entry.whole, "a whole entry is put by itself");
        encode_object(&entry.name(key), &entry.body())
    };
    aft_store::Writes { create, puts: writes.entries.iter().map(put).collect() }
}

/// Returns the pieces of a commit's answer.
pub fn decode_committed(committed: Committed) -> Pieces {
    Pieces {
        record: committed.created.map(|outcome| outcome.map(created).map_err(call_error)),
        entries: committed.puts.into_iter().map(|outcome| outcome.map_err(call_error)).collect(),
    }
}

/// Returns the outcome of a create.
pub(crate) fn created(outcome: aft_store::Created) -> Created {
    match outcome {
        aft_store::Created::Created => Created::Created,
        aft_store::Created::Exists => Created::Exists,
    }
}

/// Returns an error as the core hears of it.
pub fn call_error(error: Error) -> CallError {
    match error {
        Error::NoAnswer(_) => CallError::NoAnswer,
        Error::Busy(_) => CallError::Busy,
        Error::Refused(text) => CallError::Refused(text),
        Error::Damaged(text) => CallError::Damaged(text),
    }
}
