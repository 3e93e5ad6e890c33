//! A store that counts the calls to another: what a transaction costs, by call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aft_store::{Capabilities, Created, GroupPage, ItemPage, Name, Replaced, Result, Space, Store, Tag};
use async_trait::async_trait;
use bytes::Bytes;

/// Calls of one moment, by their names in the trait. Calls that were never made are left out.
pub(crate) type Calls = BTreeMap<String, u64>;

/// Counts every call, then passes it on.
#[derive(Debug)]
pub(crate) struct CountingStore {
    inner: Arc<dyn Store>,
    counts: [AtomicU64; CALLS.len()],
}

/// The trait's calls that go to the store.
const CALLS: [&str; 8] = ["get", "put", "create", "replace", "delete", "delete_if", "list", "groups"];

#[derive(Debug, Clone, Copy)]
enum Call {
    Get,
    Put,
    Create,
    Replace,
    Delete,
    DeleteIf,
    List,
    Groups,
}

impl CountingStore {
    /// Counts from now on.
    pub(crate) fn new(inner: Arc<dyn Store>) -> CountingStore {
        CountingStore { inner, counts: Default::default() }
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Calls {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        CALLS.iter().zip(counts).filter(|(_, n)| *n > 0).map(|(call, n)| ((*call).to_owned(), n)).collect()
    }

    fn count(&self, call: Call) -> &dyn Store {
        self.counts[call as usize].fetch_add(1, Ordering::Relaxed);
        &*self.inner
    }
}

/// What was called between two moments.
pub(crate) fn calls_between(before: &Calls, after: &Calls) -> Calls {
    let earlier = |call: &str| before.get(call).copied().unwrap_or_default();
    let grown = after.iter().map(|(call, count)| (call.clone(), count.saturating_sub(earlier(call))));
    grown.filter(|(_, count)| *count > 0).collect()
}

#[async_trait]
impl Store for CountingStore {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.count(Call::Get).get(name).await
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.count(Call::Put).put(name, body).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        self.count(Call::Create).create(name, body).await
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.count(Call::Replace).replace(name, tag, body).await
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        self.count(Call::Delete).delete(names).await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        self.count(Call::DeleteIf).delete_if(name, tag).await
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        self.count(Call::List).list(space, group, after, limit).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        self.count(Call::Groups).groups(space, prefix, after, limit).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aft_store::{Name, Space, Store};
    use aft_store_memory::MemoryStore;

    use super::{CALLS, Call, CountingStore, calls_between};

    #[test]
    fn names_stand_at_their_numbers() {
        assert_eq!(CALLS[Call::Get as usize], "get");
        assert_eq!(CALLS[Call::DeleteIf as usize], "delete_if");
        assert_eq!(CALLS[Call::Groups as usize], "groups");
    }

    #[tokio::test]
    async fn counts_what_goes_through() {
        let store = CountingStore::new(Arc::new(MemoryStore::new()));
        let name = Name::new(Space::Commit, "a", "");
        store.put(&name, "x".into()).await.unwrap();
        let before = store.calls();
        store.put(&name, "y".into()).await.unwrap();
        store.get(&name).await.unwrap();
        let after = store.calls();
        let expected = [("get".to_owned(), 1), ("put".to_owned(), 1)];
        assert_eq!(calls_between(&before, &after), expected.into_iter().collect());
        assert_eq!(after["put"], 2);
    }
}
