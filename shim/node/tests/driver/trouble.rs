//! Goal: a node survives a store that hangs, rejects calls or is damaged, and its callers get
//! answers in time. Method: a store that hangs, panics or fails on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aft_core::message::{Begin, Op, Refusal};
use aft_node::{StoreTimeouts, fresh_begin};
use aft_store::{
    Capabilities, Committed, Created, Error, GroupPage, ItemPage, Name, Position, Replaced, Result, ScanPage,
    Space, Store, Tag, TimeHeard, Writes,
};
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

use crate::client::{begin_named, commit, hash, key, node, open, put, read, run, write};

/// The trouble that every call of the store meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    None,
    Hang,
    Panic,
    Refuse,
    Damage,
    /// Every second scan gets no answer; other calls work.
    EveryOtherScan,
}

/// A memory store that fails on command. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct TroubledStore {
    inner: MemoryStore,
    trouble: Arc<AtomicU8>,
    /// The number of further reads in pieces that break off.
    breaks: Arc<AtomicUsize>,
    scans: Arc<AtomicUsize>,
}

impl TroubledStore {
    pub(crate) fn new(inner: MemoryStore) -> TroubledStore {
        TroubledStore { inner, trouble: Arc::default(), breaks: Arc::default(), scans: Arc::default() }
    }

    pub(crate) fn set(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::SeqCst);
    }

    /// Makes the next `times` reads in pieces break off.
    pub(crate) fn break_off(&self, times: usize) {
        self.breaks.store(times, Ordering::SeqCst);
    }

    /// Returns the number of scans so far.
    pub(crate) fn scans(&self) -> usize {
        self.scans.load(Ordering::SeqCst)
    }

    /// Returns the number of clones that exist.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.trouble)
    }

    async fn meet(&self) -> Result<()> {
        match self.trouble.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => std::future::pending().await,
            2 => panic!("a planted panic"),
            3 => Err(Error::Refused("planted".into())),
            5 => Ok(()),
            _ => Err(Error::Damaged("planted".into())),
        }
    }
}

#[async_trait]
impl Store for TroubledStore {
    fn url(&self) -> String {
        "troubled:".into()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        self.inner.times_heard()
    }

    async fn commit(&self, writes: Writes) -> Committed {
        match self.meet().await {
            Ok(()) => self.inner.commit(writes).await,
            Err(error) => Committed::failed(&writes, &error),
        }
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        self.meet().await?;
        let is_second = self.scans.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        if is_second && self.trouble.load(Ordering::SeqCst) == Trouble::EveryOtherScan as u8 {
            return Err(Error::NoAnswer("planted".into()));
        }
        self.inner.scan(space, prefix, after, limit).await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.meet().await?;
        self.inner.get(name).await
    }

    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        self.meet().await?;
        let Some((body, tag)) = self.inner.get(name).await? else { return Ok(None) };
        let left = self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        // The sizes of the pieces differ at each try, and a later try does not always come further.
        let (piece_bytes, most) = match left {
            Ok(left) => (700 * (left - 1) + 3, body.len() / (1 + left % 2) - 1),
            Err(_) => (1_500, body.len()),
        };
        for piece in body[..most].chunks(piece_bytes) {
            take(body.slice_ref(piece));
        }
        if left.is_ok() { Err(Error::NoAnswer("it broke off".into())) } else { Ok(Some(tag)) }
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.meet().await?;
        self.inner.put(name, body).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        self.meet().await?;
        self.inner.create(name, body).await
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.meet().await?;
        self.inner.replace(name, tag, body).await
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        self.meet().await?;
        self.inner.delete(names).await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        self.meet().await?;
        self.inner.delete_if(name, tag).await
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        self.meet().await?;
        self.inner.list(space, group, after, limit).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        self.meet().await?;
        self.inner.groups(space, prefix, after, limit).await
    }
}

const QUICK: StoreTimeouts = StoreTimeouts {
    read: Duration::from_millis(30),
    write: Duration::from_millis(30),
    part: Duration::from_millis(30),
};

/// A store that hangs costs callers their timeouts, and no more. The node serves when the store
/// answers again.
#[tokio::test]
async fn a_store_that_hangs_costs_only_time() {
    let store = TroubledStore::new(MemoryStore::new());
    let node = node(Arc::new(store.clone()), |settings| settings.timeouts = QUICK).await;
    write(&node, vec![put("k", "v")]).await.unwrap();
    let attempt = open(&node, Begin { timeout_ms: Some(200), ..begin_named("r") }).await.unwrap();
    run(&node, attempt, vec![put("k", "w")]).await.unwrap();
    store.set(Trouble::Hang);
    let since = Instant::now();
    let outcome = commit(&node, attempt, "").await;
    assert_eq!(outcome, Err(Refusal::Unknown(hash("r"))));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert_eq!(node.stats().unknown, 1);
    let since = Instant::now();
    let attempt = open(&node, Begin { timeout_ms: Some(200), ..fresh_begin() }).await.unwrap();
    let outcome = run(&node, attempt, vec![Op::Get(key("never heard of"))]).await;
    assert!(matches!(outcome, Err(Refusal::StoreUnavailable(_) | Refusal::Lost)), "{outcome:?}");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    store.set(Trouble::None);
    let again = open(&node, begin_named("r")).await.unwrap();
    run(&node, again, vec![put("k", "w")]).await.unwrap();
    commit(&node, again, "").await.unwrap();
    assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from_static(b"w"))]));
}

#[tokio::test]
async fn rejected_calls_and_damage_are_answered_and_counted() {
    let store = TroubledStore::new(MemoryStore::new());
    let node = node(Arc::new(store.clone()), |_| {}).await;
    for (trouble, n) in [(Trouble::Refuse, 1), (Trouble::Damage, 2)] {
        store.set(trouble);
        let attempt = open(&node, Begin { timeout_ms: Some(200), ..fresh_begin() }).await.unwrap();
        let outcome = run(&node, attempt, vec![Op::Get(key(&format!("k{n}")))]).await;
        let expected = match trouble {
            Trouble::Refuse => matches!(outcome, Err(Refusal::StoreUnavailable(_))),
            _ => matches!(outcome, Err(Refusal::Damaged(_))),
        };
        assert!(expected, "{trouble:?}: {outcome:?}");
        store.set(Trouble::None);
        let _ = node.abort(attempt).await;
    }
    assert!(node.stats().store_errors >= 2);
    write(&node, vec![put("k", "v")]).await.unwrap();
}
