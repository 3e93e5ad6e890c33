//! The store room: one call of the core to one call of the store, with its time-out, and the answer back.
//!
//! A call that runs out of time is dropped and counts as unanswered: the store may have taken it or not, and the core knows what to do
//! with that. Nothing is repeated here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aft_core::record::Record;
use aft_core::store::{Answer, Body, Call, Name, Tag};
use aft_format::{
    Ask, Listing, Scanning, decode_body, decode_committed, encode_commit, encode_name, encode_object,
};
use aft_store::{Error, Replaced, Store};
use tokio::time::timeout;

use crate::settings::StoreTimeouts;
use crate::stats::CallKind;

/// Returns the kind of a call.
pub(crate) fn kind_of(call: &Call) -> CallKind {
    match call {
        Call::Get(_) => CallKind::Get,
        Call::Fetch { .. } => CallKind::Fetch,
        Call::Put(..) => CallKind::Put,
        Call::Commit(_) => CallKind::Commit,
        Call::Replace(..) => CallKind::Replace,
        Call::Delete(_) => CallKind::Delete,
        Call::DeleteIf(..) => CallKind::DeleteIf,
        Call::List { .. } => CallKind::List,
        Call::Scan { .. } => CallKind::Scan,
    }
}

/// Returns the longest time that a call of this kind may take.
pub(crate) fn limit(kind: CallKind, timeouts: &StoreTimeouts) -> Duration {
    match kind {
        CallKind::Get | CallKind::Fetch | CallKind::List | CallKind::Scan => timeouts.read,
        CallKind::Put | CallKind::Commit | CallKind::Replace | CallKind::Delete | CallKind::DeleteIf => {
            timeouts.write
        }
        CallKind::PutPart | CallKind::GetPart => timeouts.part,
    }
}

/// Returns the record that this call would make, if it makes one: as an object of its own, or as a whole entry.
pub(crate) fn record_of(call: &Call) -> Option<Arc<Record>> {
    match call {
        Call::Commit(writes) => writes.record.clone(),
        Call::Put(Name::Version(..), Body::Record(record)) => Some(record.clone()),
        Call::Get(_)
        | Call::Fetch { .. }
        | Call::Put(..)
        | Call::Replace(..)
        | Call::Delete(_)
        | Call::DeleteIf(..)
        | Call::List { .. }
        | Call::Scan { .. } => None,
    }
}

/// Waits for a future that was not ready at once, at most for `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    store: &dyn Store,
    kind: CallKind,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let out_of_time =
        |_| Err(Error::NoAnswer(format!("{}: {} took longer than {limit:?}", store.url(), kind.as_str())));
    timeout(limit, future).await.unwrap_or_else(out_of_time)
}

/// Runs a call to its end, however long it takes.
pub(crate) async fn perform(store: Arc<dyn Store>, call: Call) -> Result<Answer, Error> {
    let store = &*store;
    Ok(match call {
        Call::Get(name) | Call::Fetch { at: name, .. } => Answer::Got(get(store, &name).await?),
        Call::Put(name, body) => {
            let (at, bytes) = encode_object(&name, &body);
            store.put(&at, bytes).await?;
            Answer::Done
        }
        Call::Commit(writes) => {
            Answer::Committed(decode_committed(store.commit(encode_commit(&writes)).await))
        }
        Call::Replace(name, tag, body) => {
            let (at, bytes) = encode_object(&name, &body);
            replaced(store.replace(&at, &aft_store::Tag(tag.0), bytes).await?)
        }
        Call::Delete(names) => {
            let names: Vec<aft_store::Name> = names.iter().map(encode_name).collect();
            store.delete(&names).await?;
            Answer::Done
        }
        Call::DeleteIf(name, tag) => {
            replaced(store.delete_if(&encode_name(&name), &aft_store::Tag(tag.0)).await?)
        }
        Call::List { group, after, limit } => {
            let mut listing = Listing::new(group, after.as_ref());
            loop {
                let page =
                    store.list(listing.space(), listing.group(), listing.after(), limit as usize).await?;
                if !listing.take(page) {
                    break listing.answer();
                }
            }
        }
        Call::Scan { scan, limit } => {
            let mut scanning = Scanning::new(&scan);
            loop {
                let goes_on = match scanning.ask() {
                    Ask::Nothing => false,
                    Ask::Names { space, prefix, after } => {
                        let page = store.scan(*space, prefix, after.as_ref(), limit as usize).await?;
                        scanning.take_names(page)
                    }
                    Ask::Groups { space, after } => {
                        let page = store.groups(*space, b"", after.as_deref(), limit as usize).await?;
                        scanning.take_groups(page)
                    }
                };
                if !goes_on {
                    break scanning.answer();
                }
            }
        }
    })
}

/// Gets a body and its tag. That a record names the request under whose hash it lies, `decode_body` has checked.
async fn get(store: &dyn Store, name: &Name) -> Result<Option<(Body, Tag)>, Error> {
    let Some((bytes, tag)) = store.get(&encode_name(name)).await? else { return Ok(None) };
    let body = decode_body(name, &bytes)?;
    if let (Name::Commit(hash), Body::Record(record)) = (name, &body) {
        assert!(record.hash == *hash, "the record of {} came back for {hash}", record.hash);
    }
    Ok(Some((body, Tag(tag.0))))
}

fn replaced(outcome: Replaced) -> Answer {
    match outcome {
        Replaced::Replaced => Answer::Replaced,
        Replaced::Changed => Answer::Changed,
    }
}
