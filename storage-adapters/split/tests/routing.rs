//! Goal: each name lies in the store of its space, calls over both stores answer in the order of
//! their names, and each ability is the one of the store that it depends on. Method: two stores in
//! memory that are looked into, with costs, times and deadlines of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_store::{
    Capabilities, Costs, Created, Error, GroupPage, ItemPage, Name, Replaced, Requests, Result, Space, Store,
    Tag, TimeHeard, Units, Writes,
};
use aft_store_memory::MemoryStore;
use aft_store_split::SplitStore;
use async_trait::async_trait;
use bytes::Bytes;

/// A store in memory with abilities as they are set.
#[derive(Debug, Clone)]
struct Half {
    inner: MemoryStore,
    url: &'static str,
    capabilities: Capabilities,
    costs: Option<Costs>,
    times: Vec<TimeHeard>,
    holds_deadlines: bool,
    ended: Option<&'static str>,
}

fn half(url: &'static str) -> Half {
    let inner = MemoryStore::shared();
    let capabilities = inner.capabilities();
    let (costs, times) = (None, Vec::new());
    Half { inner, url, capabilities, costs, times, holds_deadlines: false, ended: None }
}

#[async_trait]
impl Store for Half {
    fn url(&self) -> String {
        self.url.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn ended(&self) -> Option<String> {
        self.ended.map(str::to_owned)
    }

    fn costs(&self) -> Option<Costs> {
        self.costs.clone()
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        self.times.clone()
    }

    fn until(&self, _: Instant) -> Option<Arc<dyn Store>> {
        self.holds_deadlines.then(|| Arc::new(self.clone()) as Arc<dyn Store>)
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        match body == "broken" {
            true => Err(Error::Busy(name.to_string())),
            false => self.inner.put(name, body).await,
        }
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        self.inner.create(name, body).await
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.inner.replace(name, tag, body).await
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        self.inner.delete(names).await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        self.inner.delete_if(name, tag).await
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        self.inner.list(space, group, after, limit).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        self.inner.groups(space, prefix, after, limit).await
    }
}

fn split(records: &Half, blobs: &Half) -> SplitStore {
    SplitStore::new(Arc::new(records.clone()), Arc::new(blobs.clone()))
}

fn name(space: Space, item: &'static str) -> Name {
    Name::new(space, "group", item)
}

fn items(half: &Half) -> Vec<(Space, Bytes)> {
    half.inner.objects().into_iter().map(|(name, _)| (name.space, name.item)).collect()
}

#[tokio::test]
async fn each_space_lies_in_its_store() {
    let (records, blobs) = (half("records:"), half("blobs:"));
    let store = split(&records, &blobs);
    for space in Space::ALL {
        let (put, created) = (name(space, "put"), name(space, "created"));
        store.put(&put, "x".into()).await.unwrap();
        assert_eq!(store.create(&created, "1".into()).await, Ok(Created::Created));
        let (_, tag) = store.get(&created).await.unwrap().expect("it was created");
        assert_eq!(store.replace(&created, &tag, "2".into()).await, Ok(Replaced::Replaced));
        let mut pieces = Vec::new();
        store.get_pieces(&created, &mut |piece| pieces.push(piece)).await.unwrap();
        assert_eq!(pieces, ["2"]);
        assert_eq!(store.list(space, b"group", None, 9).await.unwrap().items, ["created", "put"]);
        assert_eq!(store.groups(space, b"", None, 9).await.unwrap().groups, ["group"]);
        assert_eq!(store.scan(space, b"", None, 9).await.unwrap().names.len(), 2);
        let (_, tag) = store.get(&created).await.unwrap().expect("it was replaced");
        assert_eq!(store.delete_if(&created, &tag).await, Ok(Replaced::Replaced));
    }
    let others = Space::ALL.into_iter().filter(|space| *space != Space::Blob);
    assert_eq!(items(&records), others.map(|space| (space, "put".into())).collect::<Vec<_>>());
    assert_eq!(items(&blobs), [(Space::Blob, "put".into())]);
}

#[tokio::test]
async fn a_call_over_both_stores_answers_in_order() {
    let (records, blobs) = (half("records:"), half("blobs:"));
    let store = split(&records, &blobs);
    let piece = |space, item, body: &'static str| (name(space, item), Bytes::from(body));
    for in_blobs in [false, true] {
        let home = if in_blobs { Space::Blob } else { Space::Commit };
        let item = if in_blobs { "one" } else { "other" };
        let puts = vec![
            piece(Space::Blob, "a", "part"),
            piece(Space::Version, "b", "broken"),
            piece(Space::Version, "c", "entry"),
            piece(Space::Blob, "d", "broken"),
        ];
        let create = Some(piece(home, item, "record"));
        let committed = store.commit(Writes { create, puts }).await;
        assert_eq!(committed.created, Some(Ok(Created::Created)));
        let [Ok(()), Err(Error::Busy(b)), Ok(()), Err(Error::Busy(d))] = &committed.puts[..] else {
            panic!("{committed:?}")
        };
        assert_eq!((b.as_str(), d.as_str()), ("version/group/b", "blob/group/d"));
    }
    let names = [
        name(Space::Version, "c"),
        name(Space::Blob, "a"),
        name(Space::Blob, "d"),
        name(Space::Commit, "other"),
    ];
    let bodies = store.get_bodies(&names).await.unwrap();
    assert_eq!(bodies, [Some("entry".into()), Some("part".into()), None, Some("record".into())]);
    store.delete(&names).await.unwrap();
    assert_eq!((items(&records), items(&blobs)), (vec![], vec![(Space::Blob, "one".into())]));
    // Nothing is asked of a store that has no part in a call.
    assert_eq!(store.commit(Writes::default()).await.puts, []);
    store.delete(&[]).await.unwrap();
}

#[test]
fn each_ability_is_that_of_the_store_it_depends_on() {
    let (mut records, mut blobs) = (half("records:?x=1"), half("blobs:?endpoint=e&region=r"));
    let base = records.capabilities.clone();
    records.capabilities = Capabilities {
        grace_ms: 5,
        body_bytes_max: 400,
        blob_part_bytes: 25,
        durability: "stored here",
        ..base
    };
    blobs.capabilities = Capabilities {
        delete_if: false,
        grace_ms: 7,
        body_bytes_max: 9_000,
        blob_part_bytes: 8_000,
        durability: "stored there",
        ..base
    };
    let now = Instant::now();
    records.times = vec![TimeHeard { sent: now, received: now, at_ms: 1, span_ms: 1 }];
    blobs.times = vec![TimeHeard { sent: now, received: now, at_ms: 2, span_ms: 1 }];
    let store = split(&records, &blobs);
    let expect = Capabilities {
        delete_if: false,
        exclusive: false,
        grace_ms: 7,
        body_bytes_max: 400,
        blob_part_bytes: 8_000,
        durability: "stored here; parts of large values: stored there",
    };
    assert_eq!(store.capabilities(), expect);
    assert_eq!(store.times_heard(), records.times);
    assert_eq!(store.url(), "records:?x=1&blobs=blobs:?endpoint=e%26region=r");
    assert_eq!(store.blobs_place().as_deref(), Some("blobs:?endpoint=e"));
    assert_eq!(store.ended(), None);
    blobs.ended = Some("full");
    assert_eq!(split(&records, &blobs).ended().as_deref(), Some("full"));
}

#[test]
fn deadlines_are_held_only_if_both_stores_hold_them() {
    let deadline = Instant::now() + Duration::from_secs(1);
    for (of_records, of_blobs) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut records, mut blobs) = (half("records:"), half("blobs:"));
        (records.holds_deadlines, blobs.holds_deadlines) = (of_records, of_blobs);
        let held = split(&records, &blobs).until(deadline);
        assert_eq!(held.is_some(), of_records && of_blobs);
        assert!(held.is_none_or(|held| held.blobs_place().as_deref() == Some("blobs:")));
    }
}

#[test]
fn costs_are_summed_by_class() {
    let (mut records, mut blobs) = (half("records:"), half("blobs:"));
    assert_eq!(split(&records, &blobs).costs(), None);
    let costs = |class, count, dollars| Costs {
        requests: vec![Requests { class, count }, Requests { class: "delete", count: 1 }],
        consumed: vec![Units { unit: "units", amount: 0.5 }],
        bytes_sent: 10,
        bytes_received: 20,
        dollars,
    };
    records.costs = Some(costs("put", 2, 1.0));
    assert_eq!(split(&records, &blobs).costs(), records.costs);
    blobs.costs = Some(costs("get", 3, 0.25));
    let both = split(&records, &blobs).costs().expect("both charge");
    let counts: Vec<_> = both.requests.iter().map(|of| (of.class, of.count)).collect();
    assert_eq!(counts, [("put", 2), ("delete", 2), ("get", 3)]);
    assert_eq!(both.consumed, [Units { unit: "units", amount: 1.0 }]);
    assert_eq!((both.bytes_sent, both.bytes_received, both.dollars), (20, 40, 1.25));
}

#[test]
#[should_panic(expected = "one process holds")]
fn a_store_of_one_process_and_one_of_several_are_rejected() {
    SplitStore::new(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::shared()));
}
