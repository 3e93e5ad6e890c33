//! Functions without protection: one after the other, each directly against the store.

use std::sync::Arc;

use aft_store::{Name, Space, Store};
use async_trait::async_trait;

use crate::exactly_once::counter::{Counter, Counts, Values, decode};
use crate::exactly_once::way::{Answer, Attempt, Claim, Failed, Way};
use crate::standard::backend::refused_by_store;

/// The number of names deleted in one call.
const DELETE_LEN_MAX: usize = 100;

/// The counters of one run, under plain names.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) store: Arc<dyn Store>,
    /// The prefix of the run's names.
    prefix: String,
    values: Values,
}

impl Plain {
    pub(crate) fn new(store: Arc<dyn Store>, prefix: String, values: Values) -> Plain {
        Plain { store, prefix, values }
    }

    /// Returns the name of an item of a request. It is in [`Space::Node`], apart from the objects
    /// of the protocol.
    pub(crate) fn name(&self, request: u64, item: &str) -> Name {
        Name::new(Space::Node, format!("{}/{request:010}/{item}", self.prefix), "")
    }

    /// Deletes these `items` of each of the requests `0..requests`.
    pub(crate) async fn clean_up(&self, requests: u64, items: &[&str]) -> aft_store::Result<()> {
        let names = (0..requests).flat_map(|request| items.iter().map(move |item| self.name(request, item)));
        let names: Vec<Name> = names.collect();
        for some in names.chunks(DELETE_LEN_MAX) {
            self.store.delete(some).await?;
        }
        Ok(())
    }

    async fn count(&self, request: u64, counter: Counter) -> Answer<u64> {
        match self.store.get(&self.name(request, counter.as_str())).await.map_err(failed)? {
            None => Ok(0),
            Some((bytes, _)) => decode(&bytes).ok_or(Failed("damaged")),
        }
    }
}

/// Returns the failure of a function whose call failed. What the function wrote before remains.
pub(crate) fn failed(why: aft_store::Error) -> Failed {
    Failed(refused_by_store(why).code)
}

#[async_trait]
impl Way for Plain {
    async fn claim(&self, _: &Attempt) -> Answer<Claim> {
        Ok(Claim::Work)
    }

    async fn read(&self, attempt: &Attempt, counter: Counter) -> Answer<u64> {
        self.count(attempt.request, counter).await
    }

    async fn write(&self, attempt: &Attempt, counter: Counter, count: u64) -> Answer<()> {
        let name = self.name(attempt.request, counter.as_str());
        self.store.put(&name, self.values.encode(count)).await.map_err(failed)
    }

    async fn finish(&self, _: &Attempt) -> Answer<()> {
        Ok(())
    }

    async fn look(&self, request: u64) -> Answer<Counts> {
        let a = self.count(request, Counter::A).await?;
        let b = self.count(request, Counter::B).await?;
        Ok(Counts { a, b })
    }
}
