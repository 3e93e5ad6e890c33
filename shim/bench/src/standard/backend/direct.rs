//! The backend without the shim: every write goes directly to the store and is visible at once
//! under a plain name, and nothing holds a transaction together.
//!
//! The names are in [`Space::Node`], apart from the objects of the protocol. They are deleted after
//! the run.

use std::sync::Arc;

use aft_store::{Name, Space, Store};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Effect, Ran, Refused, Work, seen};
use crate::standard::detect::{Order, Seen};
use crate::standard::load::WRITES_MAX;

/// The number of names deleted in one call.
const DELETE_LEN_MAX: u32 = 100;

/// One client's access to the store.
#[derive(Debug)]
pub(crate) struct DirectBackend {
    store: Arc<dyn Store>,
    run: u64,
    /// True if all writes of a function are in flight at once, and then all of its reads.
    at_once: bool,
}

impl DirectBackend {
    pub(crate) fn new(store: Arc<dyn Store>, run: u64, at_once: bool) -> DirectBackend {
        DirectBackend { store, run, at_once }
    }

    pub(crate) async fn run(&mut self, work: Work<'_>) -> Result<Ran, Refused> {
        let under_way = if self.at_once { WRITES_MAX } else { 1 };
        // All writes end before the reads begin, as in every backend.
        let puts: Vec<_> = work.puts.into_iter().map(|(key, value)| self.put(key, value)).collect();
        stream::iter(puts).buffered(under_way).try_collect::<()>().await.map_err(refused)?;
        let gets: Vec<_> = work.gets.iter().map(|key| self.get(*key)).collect();
        let reads = stream::iter(gets).buffered(under_way).try_collect().await.map_err(refused)?;
        Ok(Ran { reads, committed: None })
    }

    fn put(&self, key: u32, value: Bytes) -> impl Future<Output = aft_store::Result<()>> + use<> {
        let (store, name) = (Arc::clone(&self.store), name(self.run, key));
        async move { store.put(&name, value).await }
    }

    fn get(&self, key: u32) -> impl Future<Output = aft_store::Result<Seen>> + use<> {
        let (store, run) = (Arc::clone(&self.store), self.run);
        async move {
            let got = store.get(&name(run, key)).await?;
            Ok(got.map_or(Seen::ABSENT, |(bytes, _)| plain(run, &bytes)))
        }
    }
}

/// Returns a value that was written without the shim. Plain writes have no order of their own, so
/// the clocks of their writers decide, as in the paper.
pub(super) fn plain(run: u64, bytes: &[u8]) -> Seen {
    seen(run, |of| Order::new(of.time_ns, u128::from(of.attempt)), bytes)
}

pub(super) fn name(run: u64, key: u32) -> Name {
    Name::new(Space::Node, format!("bench-direct/{run:016x}/{key:08}"), "")
}

/// Returns the failure of a plain function whose call failed. What the function wrote before
/// remains.
pub(crate) fn refused(why: aft_store::Error) -> Refused {
    match why {
        aft_store::Error::NoAnswer(_) => Refused::new("no_answer", Effect::NothingRetry),
        aft_store::Error::Busy(_) => Refused::new("busy", Effect::NothingRetry),
        aft_store::Error::Refused(_) => Refused::new("refused", Effect::Nothing),
        aft_store::Error::Damaged(_) => Refused::new("damaged", Effect::Nothing),
    }
}

/// Deletes the objects of a run with this number of `keys`.
pub(crate) async fn clean_up(store: &dyn Store, run: u64, keys: usize) -> aft_store::Result<()> {
    let keys = u32::try_from(keys).expect("options bound the keys");
    for first in (0..keys).step_by(DELETE_LEN_MAX as usize) {
        let names: Vec<Name> =
            (first..first.saturating_add(DELETE_LEN_MAX).min(keys)).map(|key| name(run, key)).collect();
        store.delete(&names).await?;
    }
    Ok(())
}
