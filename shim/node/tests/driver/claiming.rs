//! Goal: a store whose parts of large values lie in another one has their place to itself, and is
//! opened with that place or not at all. Method: stores in memory, made and opened in every wrong
//! way, by several callers at once, and from descriptions as a crash would leave them.

use std::sync::Arc;
use std::time::Duration;

use aft_core::message::Op;
use aft_core::store::{Body, Name as CoreName};
use aft_format::{About, Blobs, Claim, Race, Times, encode_object};
use aft_node::{
    NewStore, NodeSettings, Opened, StartError, change_times, fresh_begin, init_split, open_store,
    read_description, start,
};
use aft_store::{Space, Store};
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use aft_store_split::SplitStore;
use bytes::Bytes;

use crate::client::{commit, key, node, open, put, run};

const LIMIT: Duration = Duration::from_secs(5);
/// Above what a node writes into a record.
const LARGE_BYTES: usize = 9_000_000;

fn new(store: &dyn Store) -> NewStore {
    let core = NodeSettings::new(&store.capabilities()).core;
    NewStore { race: Race::NotProbed, times: Times::of(&core), levels: core.levels.clone() }
}

/// A table and the places of parts that it may have. The second place has another URL.
struct Scene {
    records: MemoryStore,
    blobs: MemoryStore,
    elsewhere: FaultyStore<MemoryStore>,
}

impl Scene {
    fn new() -> Scene {
        let elsewhere = FaultyStore::new(Arc::new(MemoryStore::shared()), 1, Faults::NONE);
        Scene { records: MemoryStore::shared(), blobs: MemoryStore::shared(), elsewhere }
    }

    fn store(&self) -> SplitStore {
        SplitStore::new(Arc::new(self.records.clone()), Arc::new(self.blobs.clone()))
    }

    fn other(&self) -> SplitStore {
        SplitStore::new(Arc::new(self.records.clone()), Arc::new(self.elsewhere.clone()))
    }

    async fn init(&self) -> Result<Opened, StartError> {
        let store = self.store();
        init_split(&store, &self.blobs, &new(&store), LIMIT).await
    }

    async fn init_other(&self) -> Result<Opened, StartError> {
        let store = self.other();
        init_split(&store, &self.elsewhere, &new(&store), LIMIT).await
    }

    /// Returns the description as it is stored.
    async fn about(&self) -> Option<About> {
        let name = aft_format::encode_name(&CoreName::Format);
        let (body, _) = self.records.get(&name).await.unwrap()?;
        match aft_format::decode_body(&CoreName::Format, &body).unwrap() {
            Body::Format(format) => Some(About::decode(&format.about).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Writes a description, as an earlier call that was interrupted has left it.
    async fn leave(&self, place: &str) -> About {
        let store = self.store();
        let new = new(&store);
        let about = About::new([9; 16], &store.capabilities(), Race::NotProbed, "aft", 1, new.times);
        let about = about.with_blobs(Blobs { place: place.to_owned(), claimed: false });
        let (name, body) = encode_object(&CoreName::Format, &Body::Format(about.to_format().into()));
        self.records.put(&name, body).await.unwrap();
        about
    }
}

async fn claim_in(blobs: &dyn Store) -> Option<Claim> {
    let (body, _) = blobs.get(&Claim::name()).await.unwrap()?;
    Some(Claim::decode(&body).unwrap())
}

fn identity(opened: &Opened) -> [u8; 16] {
    match opened {
        Opened::Marked { about, .. } => about.identity,
        Opened::Unmarked(why) => panic!("{why}"),
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, StartError>, words: &[&str]) {
    let Err(StartError::Refused(why)) = &outcome else { panic!("{outcome:?}") };
    words.iter().for_each(|word| assert!(why.contains(word), "{word:?} is missing in: {why}"));
}

#[tokio::test]
async fn large_values_go_to_the_place_that_the_store_has_claimed() {
    let scene = Scene::new();
    let made = scene.init().await.unwrap();
    assert!(matches!(made, Opened::Marked { is_new: true, .. }), "{made:?}");
    let again = scene.init().await.unwrap();
    assert!(matches!(again, Opened::Marked { is_new: false, .. }), "{again:?}");
    assert_eq!(identity(&made), identity(&again));
    let claim = claim_in(&scene.blobs).await.expect("it was claimed");
    assert_eq!((claim.identity, claim.store.as_str()), (identity(&made), "memory:?blobs=memory:"));

    let node = node(Arc::new(scene.store()), |_| {}).await;
    let large: Bytes = (0..LARGE_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let attempt = open(&node, fresh_begin()).await.unwrap();
    run(&node, attempt, vec![put("large", large.clone()), put("small", "s")]).await.unwrap();
    commit(&node, attempt, "").await.unwrap();
    let of = |store: &MemoryStore, space| {
        store.objects().into_iter().filter(|(name, _)| name.space == space).count()
    };
    assert_eq!((of(&scene.records, Space::Blob), of(&scene.blobs, Space::Blob)), (0, 2), "two parts");
    assert_eq!(scene.blobs.objects().len(), 3, "the parts and the claim");
    let attempt = open(&node, fresh_begin()).await.unwrap();
    let reads = run(&node, attempt, vec![Op::Get(key("large"))]).await.unwrap();
    let aft_core::message::Found::Version(_, aft_core::record::Write::Put(value)) = &reads[0].found else {
        panic!("{reads:?}")
    };
    assert_eq!(node.read_value(&key("large"), value).await, Ok(large));
}

#[tokio::test]
async fn a_store_is_opened_with_its_own_place_or_not_at_all() {
    let scene = Scene::new();
    scene.init().await.unwrap();
    let (alone, other) = (&scene.records, scene.other());
    let words = ["lie in memory:", "add blobs=memory: to it"];
    assert_refused(open_store(alone, &new(alone), LIMIT).await, &words);
    assert_refused(read_description(alone, LIMIT).await, &words);
    assert_refused(change_times(alone, new(alone).times, LIMIT).await, &words);
    assert_refused(start(Arc::new(alone.clone()), NodeSettings::new(&alone.capabilities())).await, &words);
    let words = ["into faulty:memory:", "lie in memory:", "write blobs=memory:"];
    assert_refused(open_store(&other, &new(&other), LIMIT).await, &words);
    assert_refused(read_description(&other, LIMIT).await, &words);
    assert_refused(scene.init_other().await, &words);
    assert_eq!(claim_in(&scene.elsewhere).await, None, "a call that is rejected claims nothing");
    let store = scene.store();
    assert!(read_description(&store, LIMIT).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_has_its_parts_itself_gets_no_other_place() {
    let scene = Scene::new();
    open_store(&scene.records, &new(&scene.records), LIMIT).await.unwrap();
    let before = scene.records.objects();
    let words = ["memory:", "without blobs=", "leave blobs= out"];
    let store = scene.store();
    assert_refused(open_store(&store, &new(&store), LIMIT).await, &words);
    assert_refused(scene.init().await, &words);
    assert_eq!(scene.records.objects(), before);
    assert!(scene.blobs.objects().is_empty());
}

#[tokio::test]
async fn a_place_has_one_store() {
    let scene = Scene::new();
    scene.init().await.unwrap();
    let second = Scene { records: MemoryStore::shared(), ..Scene::new() };
    let second = Scene { blobs: scene.blobs.clone(), ..second };
    let words = ["of memory:?blobs=memory:", "another prefix", "gone for good"];
    assert_refused(second.init().await, &words);
    assert!(second.records.objects().is_empty(), "nothing was made");
    // Nor a store that would keep everything there.
    let own = open_store(&scene.blobs, &new(&scene.blobs), LIMIT).await;
    assert_refused(own, &["another store, memory:?blobs=memory:", "another prefix"]);
    // A description that was left without a claim does not get a place that another store has.
    second.leave("memory:").await;
    assert_refused(second.init().await, &words);
    let store = second.store();
    assert_refused(read_description(&store, LIMIT).await, &["interrupted", "aft store init"]);
}

#[tokio::test]
async fn a_place_with_data_of_a_store_is_rejected() {
    let scene = Scene::new();
    open_store(&scene.blobs, &new(&scene.blobs), LIMIT).await.unwrap();
    assert_refused(scene.init().await, &["memory:", "data of a store (store/format)", "another prefix"]);
    assert!(scene.records.objects().is_empty(), "nothing was made");
    scene.leave("memory:").await;
    assert_refused(scene.init().await, &["data of a store"]);
}

/// Nodes make other stores that they find empty. This one they do not: its place must be claimed.
#[tokio::test]
async fn only_init_makes_a_store_of_two() {
    let scene = Scene::new();
    let store = scene.store();
    let words = ["there is no store here", "aft store init"];
    assert_refused(open_store(&store, &new(&store), LIMIT).await, &words);
    assert_refused(start(Arc::new(store.clone()), NodeSettings::new(&store.capabilities())).await, &words);
    assert_eq!(read_description(&store, LIMIT).await, Ok(None));
    assert!(scene.records.objects().is_empty() && scene.blobs.objects().is_empty());
}

#[tokio::test]
async fn an_interrupted_init_is_completed() {
    // After the first step; with the claim as well; with another place.
    for (place, has_claim) in [("memory:", false), ("memory:", true), ("faulty:memory:", false)] {
        let scene = Scene::new();
        let about = scene.leave(place).await;
        if has_claim {
            let (store, program) = ("memory:".into(), "aft".into());
            let claim = Claim { identity: about.identity, store, program, made_ms: 1 };
            scene.blobs.put(&Claim::name(), claim.encode()).await.unwrap();
        }
        let store = scene.store();
        let refused = open_store(&store, &new(&store), LIMIT).await;
        assert_refused(refused, &[if place == "memory:" { "interrupted" } else { "lie in faulty:memory:" }]);
        let made = scene.init().await.unwrap();
        assert_eq!(identity(&made), about.identity);
        assert_eq!(
            scene.about().await.unwrap().blobs,
            Some(Blobs { place: "memory:".into(), claimed: true })
        );
        assert_eq!(claim_in(&scene.blobs).await.map(|claim| claim.identity), Some(about.identity));
        open_store(&store, &new(&store), LIMIT).await.unwrap();
    }
}

/// Eight callers make one store with one of two places, over stores that lose answers: all that
/// name the place that it gets succeed, and all others are rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_once_make_one_store_with_one_place() {
    for seed in 0..20 {
        let scene = Scene::new();
        let latency = Latency::Uniform { min_us: 0, max_us: 2_000 };
        let faults = Faults::all(0.01, latency, latency);
        let records = FaultyStore::new(Arc::new(scene.records.clone()), seed, faults);
        let blobs = FaultyStore::new(Arc::new(scene.blobs.clone()), seed + 1_000, faults);
        scene.elsewhere.set_faults(faults);
        let callers = (0..8).map(|at| {
            let records = records.clone();
            let other = FaultyStore::new(Arc::new(scene.elsewhere.clone()), seed, Faults::NONE);
            let parts: Arc<dyn Store> = if at % 2 == 0 { Arc::new(blobs.clone()) } else { Arc::new(other) };
            tokio::spawn(async move {
                let store = SplitStore::new(Arc::new(records), parts.clone());
                init_split(&store, &*parts, &new(&store), LIMIT).await
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut outcomes = Vec::new();
        for caller in callers {
            outcomes.push(caller.await.unwrap());
        }
        let about = scene.about().await.expect("one of them made it");
        let place = about.blobs.expect("it has a place");
        assert!(place.claimed, "{outcomes:?}");
        let (has, has_not): (&dyn Store, &dyn Store) = match place.place.as_str() {
            "faulty:memory:" => (&scene.blobs, &**scene.elsewhere.inner()),
            _ => (&**scene.elsewhere.inner(), &scene.blobs),
        };
        assert_eq!(claim_in(has).await.map(|claim| claim.identity), Some(about.identity));
        let mut won = 0;
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let named = if at % 2 == 0 { "faulty:memory:" } else { "faulty:faulty:memory:" };
            match outcome {
                Ok(opened) => {
                    assert_eq!(named, place.place);
                    assert_eq!(identity(&opened), about.identity);
                    won += 1;
                }
                Err(StartError::Unavailable(_)) => {}
                Err(error) => assert_ne!(named, place.place, "{error}"),
            }
        }
        assert!(won > 0, "nobody made it");
        // A claim that was left behind is of this store, so that nobody else can take the place.
        let left = claim_in(has_not).await;
        assert!(left.is_none_or(|claim| claim.identity == about.identity));
    }
}
