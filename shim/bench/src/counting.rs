//! Decorators that count the calls to a store, for the cost of a transaction by call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use aft_store::{
    Capabilities, Committed, Costs, Created, GroupPage, Heads, ItemPage, Name, Position, Replaced, Result,
    ScanPage, Space, Store, Tag, TimeHeard, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;

use crate::transactions::Transactions;

/// Numbers of calls, by the method's name in its trait. Calls that were never made are left out.
pub(crate) type Calls = BTreeMap<String, u64>;

/// The requests to a store up to a moment, or between two.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Asked {
    pub(crate) calls: Calls,
    /// The price of the requests in US dollars, if the store charges for them.
    pub(crate) dollars: Option<f64>,
    /// The billing units that they consumed, if the store charges by units.
    pub(crate) units: BTreeMap<String, f64>,
}

impl Asked {
    /// Returns the difference from `before` to `self`. It is empty if any count has fallen: the
    /// server was restarted, and its counts from before are lost.
    pub(crate) fn since(&self, before: &Asked) -> Asked {
        let fell = |now: Option<&u64>, then: &u64| now.is_none_or(|now| now < then);
        if before.calls.iter().any(|(call, then)| fell(self.calls.get(call), then)) {
            return Asked::default();
        }
        let dollars = self.dollars.map(|now| now - before.dollars.unwrap_or_default());
        let units = self
            .units
            .iter()
            .map(|(unit, now)| (unit.clone(), now - before.units.get(unit).copied().unwrap_or_default()));
        Asked { calls: calls_between(&before.calls, &self.calls), dollars, units: units.collect() }
    }

    /// Returns the calls per transaction, by call.
    pub(crate) fn per_transaction(&self, transactions: u64) -> BTreeMap<String, f64> {
        let per_transaction =
            |(call, count): (&String, &u64)| (call.clone(), share(*count as f64, transactions));
        self.calls.iter().map(per_transaction).collect()
    }

    /// Returns the billing units per transaction, by unit.
    pub(crate) fn units_per_transaction(&self, transactions: u64) -> BTreeMap<String, f64> {
        self.units.iter().map(|(unit, amount)| (unit.clone(), share(*amount, transactions))).collect()
    }

    /// Returns the price in US dollars per million transactions, if the store charges.
    pub(crate) fn cost_per_million(&self, transactions: u64) -> Option<f64> {
        self.dollars.map(|dollars| share(dollars * 1e6, transactions))
    }
}

fn share(of: f64, transactions: u64) -> f64 {
    of / transactions.max(1) as f64
}

/// A decorator that counts each call, then passes it on.
#[derive(Debug)]
pub(crate) struct CountingStore {
    inner: Arc<dyn Store>,
    /// Shared with the stores that [`Store::until`] returns, and with [`CountingTransactions`].
    counts: Arc<Counts>,
}

/// A decorator that counts each of the store's own transactions, then passes it on.
#[derive(Debug)]
pub(crate) struct CountingTransactions {
    inner: Arc<dyn Transactions>,
    /// The counts of the [`CountingStore`].
    counts: Arc<Counts>,
}

/// The number of calls of each kind, indexed by [`Call`].
type Counts = [AtomicU64; CALLS.len()];

/// The names of the methods of [`Store`] and [`Transactions`] that send requests to the store, in
/// the order of [`Call`].
const CALLS: [&str; 12] = [
    "get",
    "put",
    "create",
    "replace",
    "delete",
    "delete_if",
    "list",
    "groups",
    "commit",
    "scan",
    "transact_get",
    "transact_put",
];

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
    Commit,
    Scan,
    TransactGet,
    TransactPut,
}

impl CountingStore {
    /// Wraps `inner`, with all counts at 0.
    pub(crate) fn new(inner: Arc<dyn Store>) -> CountingStore {
        CountingStore { inner, counts: Default::default() }
    }

    /// Wraps `inner`, the transactions of the same store. Their calls are counted with those of the
    /// store.
    pub(crate) fn transactions(&self, inner: Arc<dyn Transactions>) -> CountingTransactions {
        CountingTransactions { inner, counts: Arc::clone(&self.counts) }
    }

    /// Returns the calls so far and their costs.
    pub(crate) fn asked(&self) -> Asked {
        let costs = self.inner.costs();
        let units = costs.iter().flat_map(|costs| &costs.consumed);
        Asked {
            calls: self.calls(),
            dollars: costs.as_ref().map(|costs| costs.dollars),
            units: units.map(|of| (of.unit.to_owned(), of.amount)).collect(),
        }
    }

    /// Returns the calls so far.
    fn calls(&self) -> Calls {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        CALLS.iter().zip(counts).filter(|(_, n)| *n > 0).map(|(call, n)| ((*call).to_owned(), n)).collect()
    }

    fn count(&self, call: Call) -> &dyn Store {
        self.counts[call as usize].fetch_add(1, Ordering::Relaxed);
        &*self.inner
    }
}

/// Returns the calls made between two moments.
fn calls_between(before: &Calls, after: &Calls) -> Calls {
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

    fn ended(&self) -> Option<String> {
        self.inner.ended()
    }

    fn costs(&self) -> Option<Costs> {
        self.inner.costs()
    }

    fn blobs_place(&self) -> Option<String> {
        self.inner.blobs_place()
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        self.inner.times_heard()
    }

    fn until(&self, deadline: Instant) -> Option<Arc<dyn Store>> {
        let inner = self.inner.until(deadline)?;
        Some(Arc::new(CountingStore { inner, counts: Arc::clone(&self.counts) }))
    }

    async fn commit(&self, writes: Writes) -> Committed {
        self.count(Call::Commit).commit(writes).await
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        self.count(Call::Scan).scan(space, prefix, after, limit).await
    }

    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        self.count(Call::Scan).scan_heads(space, prefix, after, heads, limit).await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.count(Call::Get).get(name).await
    }

    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        self.count(Call::Get).get_pieces(name, take).await
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

impl CountingTransactions {
    fn count(&self, call: Call) -> &dyn Transactions {
        self.counts[call as usize].fetch_add(1, Ordering::Relaxed);
        &*self.inner
    }
}

#[async_trait]
impl Transactions for CountingTransactions {
    async fn transact_get(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        self.count(Call::TransactGet).transact_get(names).await
    }

    async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()> {
        self.count(Call::TransactPut).transact_put(bodies).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aft_store::{Committed, Created, Name, Space, Store, Writes};
    use aft_store_memory::MemoryStore;
    use bytes::Bytes;

    use super::{Asked, CALLS, Call, Calls, CountingStore, calls_between};

    #[test]
    fn each_call_indexes_its_name() {
        assert_eq!(CALLS[Call::Get as usize], "get");
        assert_eq!(CALLS[Call::DeleteIf as usize], "delete_if");
        assert_eq!(CALLS[Call::Groups as usize], "groups");
        assert_eq!(CALLS[Call::Commit as usize], "commit");
        assert_eq!(CALLS[Call::Scan as usize], "scan");
        assert_eq!(CALLS[Call::TransactPut as usize], "transact_put");
    }

    #[test]
    fn costs_are_shared_among_transactions() {
        let asked = |put, dollars| Asked {
            calls: [("put".to_owned(), put)].into(),
            dollars,
            units: [("write_units".to_owned(), put as f64 / 2.0)].into(),
        };
        let between = asked(30, Some(0.5)).since(&asked(10, Some(0.1)));
        assert_eq!(between.units_per_transaction(10)["write_units"], 1.0);
        assert_eq!(between.per_transaction(10)["put"], 2.0);
        assert!((between.cost_per_million(10).unwrap() - 40_000.0).abs() < 1e-6);
        assert_eq!(asked(1, None).since(&asked(0, None)).cost_per_million(10), None);
        // A count that has fallen means that the server was restarted.
        assert_eq!(asked(9, Some(0.05)).since(&asked(10, Some(0.1))), Asked::default());
        assert_eq!(Asked::default().since(&asked(10, Some(0.1))), Asked::default());
    }

    #[tokio::test]
    async fn each_call_is_counted_under_its_name() {
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

    /// A commit and a scan each count as one call, in this store and in the counting store inside
    /// it.
    #[tokio::test]
    async fn commits_and_scans_go_through_as_one_call() {
        let inner = Arc::new(CountingStore::new(Arc::new(MemoryStore::new())));
        let store = CountingStore::new(inner.clone());
        let record = (Name::new(Space::Commit, "request", ""), Bytes::from("record"));
        let entry = |key: &str| (Name::new(Space::Version, key.to_owned(), "attempt"), Bytes::new());
        let writes = Writes { create: Some(record), puts: vec![entry("a"), entry("b")] };
        let committed = store.commit(writes).await;
        assert_eq!(committed, Committed { created: Some(Ok(Created::Created)), puts: vec![Ok(()); 2] });
        let page = store.scan(Space::Version, b"", None, 10).await.unwrap();
        assert_eq!(page.names.len(), 2);
        assert!(store.times_heard().is_empty(), "memory has no time of its own");
        let expected: Calls = [("commit".to_owned(), 1), ("scan".to_owned(), 1)].into();
        assert_eq!(store.calls(), expected);
        assert_eq!(inner.calls(), expected);
    }
}
