//! The store room: one call of the core to one call of the store, with its time-out, and the answer back.
//!
//! A call that runs out of time is dropped and counts as unanswered: the store may have taken it or not, and the core knows what to do
//! with that. Nothing is repeated here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aft_core::record::Record;
use aft_core::store::{Answer, Body, Call, CallError, Groups, Name, Tag};
use aft_store::{Created, Error, Replaced, Space, Store};
use aft_wire::durable;
use tokio::time::timeout;

use crate::settings::StoreTimeouts;
use crate::stats::CallKind;

/// What kind of call it is.
pub(crate) fn kind_of(call: &Call) -> CallKind {
    match call {
        Call::Get(_) => CallKind::Get,
        Call::Fetch { .. } => CallKind::Fetch,
        Call::Put(..) => CallKind::Put,
        Call::Create(..) => CallKind::Create,
        Call::Replace(..) => CallKind::Replace,
        Call::Delete(_) => CallKind::Delete,
        Call::DeleteIf(..) => CallKind::DeleteIf,
        Call::List { .. } => CallKind::List,
        Call::Groups { .. } => CallKind::Groups,
    }
}

/// How long a call of this kind may take.
pub(crate) fn limit(kind: CallKind, timeouts: &StoreTimeouts) -> Duration {
    match kind {
        CallKind::Get | CallKind::Fetch | CallKind::List | CallKind::Groups => timeouts.read,
        CallKind::Put | CallKind::Create | CallKind::Replace | CallKind::Delete | CallKind::DeleteIf => {
            timeouts.write
        }
        CallKind::PutPart | CallKind::GetPart => timeouts.part,
    }
}

/// The record that this call would make, if it makes one.
pub(crate) fn record_of(call: &Call) -> Option<Arc<Record>> {
    match call {
        Call::Create(Name::Commit(_), Body::Record(record)) => Some(record.clone()),
        Call::Get(_)
        | Call::Fetch { .. }
        | Call::Put(..)
        | Call::Create(..)
        | Call::Replace(..)
        | Call::Delete(_)
        | Call::DeleteIf(..)
        | Call::List { .. }
        | Call::Groups { .. } => None,
    }
}

/// The outcome of a future that was not ready at once, within its time.
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

/// What the core is told of an error.
pub(crate) fn call_error(error: Error) -> CallError {
    match error {
        Error::NoAnswer(_) => CallError::NoAnswer,
        Error::Busy(_) => CallError::Busy,
        Error::Refused(text) => CallError::Refused(text),
        Error::Damaged(text) => CallError::Damaged(text),
    }
}

/// Runs a call to its end, however long it takes.
pub(crate) async fn perform(store: Arc<dyn Store>, call: Call) -> Result<Answer, Error> {
    let store = &*store;
    Ok(match call {
        Call::Get(name) => Answer::Got(get(store, &name).await?),
        Call::Fetch { hash, txn: _, key: _ } => Answer::Got(get(store, &Name::Commit(hash)).await?),
        Call::Put(name, body) => {
            let name = durable::encode_name(&name);
            store.put(&name, durable::encode_body(&name, &body)).await?;
            Answer::Done
        }
        Call::Create(name, body) => {
            let name = durable::encode_name(&name);
            match store.create(&name, durable::encode_body(&name, &body)).await? {
                Created::Created => Answer::Created,
                Created::Exists => Answer::Exists,
            }
        }
        Call::Replace(name, tag, body) => {
            let name = durable::encode_name(&name);
            let body = durable::encode_body(&name, &body);
            replaced(store.replace(&name, &aft_store::Tag(tag.0), body).await?)
        }
        Call::Delete(names) => {
            let names: Vec<aft_store::Name> = names.iter().map(durable::encode_name).collect();
            store.delete(&names).await?;
            Answer::Done
        }
        Call::DeleteIf(name, tag) => {
            replaced(store.delete_if(&durable::encode_name(&name), &aft_store::Tag(tag.0)).await?)
        }
        Call::List { group, after, limit } => {
            let (space, at) = durable::encode_group(&group);
            let after = after.map(|name| durable::encode_after(&group, &name));
            let page = store.list(space, &at, after.as_deref(), limit as usize).await?;
            let names = page.items.iter().map(|item| durable::decode_item(&group, item));
            Answer::Listed { names: names.collect::<Result<_, Error>>()?, more: page.more }
        }
        Call::Groups { groups, limit } => enumerate(store, &groups, limit).await?,
    })
}

/// A body and its tag. That a record names the request under whose hash it stands, `decode_body` has checked.
async fn get(store: &dyn Store, name: &Name) -> Result<Option<(Body, Tag)>, Error> {
    let at = durable::encode_name(name);
    let Some((bytes, tag)) = store.get(&at).await? else { return Ok(None) };
    let body = durable::decode_body(&at, &bytes)?;
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

async fn enumerate(store: &dyn Store, groups: &Groups, limit: u32) -> Result<Answer, Error> {
    let Some(at) = durable::encode_groups(groups) else {
        return Ok(Answer::Keys { keys: Vec::new(), more: false });
    };
    let page = store.groups(at.space, &at.prefix, at.after.as_deref(), limit as usize).await?;
    let minutes = |space| durable::decode_minutes(space, &page.groups);
    Ok(match groups {
        Groups::Keys { .. } => Answer::Keys { keys: durable::decode_keys(&page.groups)?, more: page.more },
        Groups::IntentMinutes { .. } => Answer::Minutes { minutes: minutes(Space::Intent)?, more: page.more },
        Groups::CollectMinutes { .. } => {
            Answer::Minutes { minutes: minutes(Space::Collect)?, more: page.more }
        }
    })
}
