//! Store calls: carries one call of the core to the store, with a timeout, and brings the answer
//! back.
//!
//! A call that times out is dropped and counts as unanswered: the store may have carried it out or
//! not, and the core decides what follows from that. Nothing is repeated here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aft_core::record::Record;
use aft_core::store::{Answer, Body, Call, Name};
use aft_store::{Error, Store};
use tokio::time::timeout;

use crate::settings::StoreTimeouts;
use crate::stats::CallKind;

/// Returns the kind of a call.
pub(crate) fn kind_of(call: &Call) -> CallKind {
    match call {
        Call::Get(_) => CallKind::Get,
        Call::Fetch { .. } => CallKind::Fetch,
        Call::Put(..) => CallKind::Put,
        Call::Create(..) => CallKind::Create,
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
        CallKind::Put
        | CallKind::Create
        | CallKind::Commit
        | CallKind::Replace
        | CallKind::Delete
        | CallKind::DeleteIf => timeouts.write,
        CallKind::PutPart | CallKind::GetPart => timeouts.part,
    }
}

/// Returns the record that this call would create, if it creates one: as an object of its own, or
/// as a whole entry.
pub(crate) fn record_of(call: &Call) -> Option<Arc<Record>> {
    match call {
        Call::Commit(writes) => writes.record.clone(),
        Call::Put(Name::Version(..), Body::Record(record)) => Some(record.clone()),
        Call::Create(_, Body::Record(record)) | Call::Replace(_, _, Body::Record(record)) => {
            Some(record.clone())
        }
        Call::Get(_)
        | Call::Fetch { .. }
        | Call::Put(..)
        | Call::Create(..)
        | Call::Replace(..)
        | Call::Delete(_)
        | Call::DeleteIf(..)
        | Call::List { .. }
        | Call::Scan { .. } => None,
    }
}

/// Waits for `future`, for at most `limit`; then returns [`Error::NoAnswer`].
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
    aft_format::perform(&*store, call).await
}
