//! Goal: the configured faults are injected, can be switched off, and stay within the contract.
//! Method: the memory store inside, which shows what took effect; delays of a few milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_store::{
    Capabilities, Created, Error, GroupPage, ItemPage, Name, Replaced, Result, Space, Store, Tag, conformance,
};
use aft_store_faulty::{Call, Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

fn faulty(seed: u64, faults: Faults) -> FaultyStore<MemoryStore> {
    FaultyStore::new(Arc::new(MemoryStore::new()), seed, faults)
}

fn name(item: usize) -> Name {
    Name::new(Space::Version, "key", item.to_string())
}

/// Runs `calls` creates. Returns their answers, one letter for each.
async fn run(store: &FaultyStore<MemoryStore>, calls: usize) -> String {
    let mut told = String::new();
    for i in 0..calls {
        let letter = match store.create(&name(i), Bytes::from("x")).await {
            Ok(Created::Created) => 'c',
            Ok(Created::Exists) => 'e',
            Err(Error::NoAnswer(_)) => 'n',
            Err(Error::Busy(_)) => 'b',
            Err(error) => panic!("{error}"),
        };
        told.push(letter);
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_alone_keep_to_the_contract() {
    let make = async || {
        let faults = Faults::latency_only(Latency::Uniform { min_us: 0, max_us: 50 });
        Arc::new(faulty(1, faults)) as Arc<dyn Store>
    };
    conformance::run(make).await.assert_passed();
}

#[tokio::test]
async fn wraps_a_store_of_unknown_type() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let store: Arc<dyn Store> = Arc::new(FaultyStore::new(inner, 1, Faults::NONE));
    conformance::probe(store).await.assert_passed();
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let faults = Faults::all(0.1, Latency::None, Latency::None);
    let (one, two, other) = (faulty(7, faults), faulty(7, faults), faulty(8, faults));
    let told = run(&one, 200).await;
    assert_eq!(told, run(&two, 200).await);
    assert_ne!(told, run(&other, 200).await);
    for letter in ['c', 'e', 'n', 'b'] {
        assert!(told.contains(letter), "{letter} never came up in {told}");
    }
}

/// Checks `faults`, one fault that always happens: the answer, whether the effect is visible at
/// once, and whether it is after quiescing.
async fn check(faults: Faults, told: &str, at_once: bool, at_last: bool) {
    let there = async |store: &FaultyStore<MemoryStore>| {
        store.inner().get(&name(0)).await.expect("memory does not fail").is_some()
    };
    let store = faulty(3, faults);
    assert_eq!(run(&store, 1).await, told, "{faults:?}");
    assert_eq!(there(&store).await, at_once, "{faults:?} at once");
    store.quiesce().await;
    assert_eq!(there(&store).await, at_last, "{faults:?} at last");
    let counts = store.counts(Call::Create);
    assert_eq!((counts.calls, counts.faults()), (1, 1), "{counts:?}");
    assert_eq!(store.counts_total(), counts);
}

#[tokio::test]
async fn each_fault_has_its_documented_effect() {
    let late = Latency::fixed(5_000);
    check(Faults { no_answer_done: 1.0, ..Faults::NONE }, "n", true, true).await;
    check(Faults { no_answer_late: 1.0, late, ..Faults::NONE }, "n", false, true).await;
    check(Faults { no_answer_never: 1.0, ..Faults::NONE }, "n", false, false).await;
    check(Faults { busy: 1.0, ..Faults::NONE }, "b", false, false).await;
    check(Faults { twice: 1.0, ..Faults::NONE }, "e", true, true).await;
    check(Faults { again_late: 1.0, late, ..Faults::NONE }, "c", true, true).await;
}

#[tokio::test]
async fn an_answered_call_may_land_again() {
    let store = faulty(3, Faults { again_late: 1.0, late: Latency::fixed(5_000), ..Faults::NONE });
    store.put(&name(0), Bytes::from("x")).await.unwrap();
    store.heal();
    assert_eq!(store.capabilities().grace_ms, 5, "the grace time covers effects that are still pending");
    store.delete(&[name(0)]).await.unwrap();
    store.quiesce().await;
    assert!(store.get(&name(0)).await.unwrap().is_some(), "the late effect should come after the delete");
}

#[tokio::test]
async fn a_delete_may_be_partial() {
    let store = faulty(5, Faults { delete_partial: 1.0, ..Faults::NONE });
    let names: Vec<Name> = (0..20).map(name).collect();
    for name in &names {
        store.put(name, Bytes::new()).await.unwrap();
    }
    assert!(matches!(store.delete(&names).await, Err(Error::NoAnswer(_))));
    let left = store.list(Space::Version, b"key", None, 100).await.unwrap().items.len();
    assert!((1..20).contains(&left), "{left} of 20 are left");
    assert_eq!(store.counts(Call::Delete).delete_partial, 1);
    store.heal();
    store.delete(&names).await.unwrap();
    assert!(store.list(Space::Version, b"key", None, 100).await.unwrap().items.is_empty());
}

/// Checks a call that is not part of the seam: faults and delays are those of any other call.
#[tokio::test]
async fn calls_outside_the_seam_meet_the_same_faults() {
    let store = faulty(7, Faults { twice: 1.0, ..Faults::NONE });
    let inner = store.inner().clone();
    let create = move || {
        let inner = inner.clone();
        async move { inner.create(&name(0), Bytes::from("x")).await }
    };
    let again = store.around_write(&create).await;
    assert_eq!(again, Ok(Created::Exists), "the second of two executions is answered");
    store.set_faults(Faults { no_answer_done: 1.0, ..Faults::NONE });
    let read = store.around_read(store.inner().get(&name(0))).await;
    assert!(matches!(read, Err(Error::NoAnswer(_))), "{read:?}");
    assert_eq!((store.counts(Call::OtherWrite).twice, store.counts(Call::OtherRead).no_answer_done), (1, 1));
    store.set_faults(Faults::latency_only(Latency::fixed(3_000)));
    let start = Instant::now();
    store.around_read(store.inner().get(&name(0))).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(3));
}

#[tokio::test]
async fn a_delay_has_the_median_that_was_asked_for() {
    let store = faulty(9, Faults::latency_only(Latency::LogNormal { median_us: 4_000, p99_us: 8_000 }));
    let mut delays = Vec::new();
    for i in 0..60 {
        let start = Instant::now();
        store.get(&name(i)).await.unwrap();
        delays.push(start.elapsed());
    }
    delays.sort();
    let median = delays[delays.len() / 2];
    // The median of 60 draws is near the configured one; a busy machine adds to the delays.
    assert!(median > Duration::from_millis(3) && median < Duration::from_millis(30), "{median:?}");
}

/// Shows that a delay of half a millisecond does not become two. Otherwise the timer's steps would
/// hide the latencies of fast stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_delays_are_short() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), 1, Faults::latency_only(Latency::fixed(500)));
    let name = Name::new(Space::Commit, "a", "");
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        store.get(&name).await.expect("nothing fails");
        took.push(start.elapsed());
    }
    took.sort();
    assert!(took[0] >= Duration::from_micros(500), "{took:?}");
    // The fastest quarter is checked: a busy machine slows down others, but the timer's steps would
    // slow down all.
    assert!(took[12] < Duration::from_millis(1), "{took:?}");
}

/// Shows that a probe that does not clean up leaves objects only in spaces that no sweep reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_of_a_probe_are_in_no_space_that_nodes_scan() {
    // The probe is stopped in the middle, as by the death of its process, after some of its writes.
    let store = Arc::new(faulty(1, Faults::latency_only(Latency::fixed(2_000))));
    let probed =
        tokio::time::timeout(Duration::from_millis(50), conformance::race_probe(store.clone(), 8, 9));
    assert!(probed.await.is_err(), "the probe is over: give it less time");
    let left = store.inner().objects();
    for (name, _) in &left {
        let scanned = [Space::Commit, Space::Version, Space::Blob, Space::Store];
        assert!(!scanned.contains(&name.space), "{name}");
    }
    assert!(!left.is_empty(), "nothing was left behind, so nothing was tested");
}

/// A store in memory that enforces the deadline of puts, like a store that compares it with its own
/// time.
#[derive(Debug)]
struct Held {
    inner: MemoryStore,
    until: Option<Instant>,
}

#[async_trait::async_trait]
impl Store for Held {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn until(&self, deadline: Instant) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Held { inner: self.inner.clone(), until: Some(deadline) }))
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        match self.until {
            Some(until) if Instant::now() >= until => Err(Error::NoAnswer("too late".into())),
            Some(_) | None => self.inner.put(name, body).await,
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

#[tokio::test]
async fn a_deadline_of_the_store_inside_bounds_delayed_writes() {
    let faults = Faults::latency_only(Latency::fixed(20_000));
    let held = FaultyStore::new(Arc::new(Held { inner: MemoryStore::new(), until: None }), 3, faults);
    assert_eq!(
        held.capabilities().grace_ms,
        0,
        "no write takes effect after its deadline, however long its delay"
    );
    let soon =
        held.until(Instant::now() + Duration::from_millis(1)).expect("the store inside enforces deadlines");
    assert!(matches!(soon.put(&name(0), Bytes::from("x")).await, Err(Error::NoAnswer(_))));
    let later =
        held.until(Instant::now() + Duration::from_secs(60)).expect("the store inside enforces deadlines");
    later.put(&name(1), Bytes::from("x")).await.unwrap();
    assert!(held.inner().get(&name(0)).await.unwrap().is_none(), "the put came after its deadline");
    assert!(held.inner().get(&name(1)).await.unwrap().is_some(), "the put came before its deadline");
    let free = faulty(3, faults);
    assert!(free.until(Instant::now()).is_none(), "the store inside does not enforce deadlines");
    assert_eq!(free.capabilities().grace_ms, 20, "a write may take effect as late as the longest delay");
}
