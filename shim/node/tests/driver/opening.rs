//! Opening: a store is made where nothing lies, and is refused or served without its mark where it cannot be read.

use std::sync::Arc;
use std::time::Duration;

use aft_format::Race;
use aft_node::{NodeSettings, Opened, StartError, open_store, start};
use aft_store::{Name, Space, Store};
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

use crate::client::{put, read, write};
use crate::trouble::{Trouble, TroubledStore};

const LIMIT: Duration = Duration::from_secs(5);

async fn open(store: &dyn Store) -> Result<Opened, StartError> {
    open_store(store, Race::NotProbed, LIMIT).await
}

fn of_store(store: &MemoryStore) -> Vec<Name> {
    let names = store.objects().into_iter().map(|(name, _)| name);
    names.filter(|name| name.space == Space::Store).collect()
}

#[tokio::test]
async fn an_empty_store_is_made_once() {
    let store = MemoryStore::new();
    let Ok(Opened::Marked { about, is_new: true, .. }) = open(&store).await else { panic!("not made") };
    assert_eq!((about.race, about.abilities.exclusive), (Race::NotProbed, true));
    let again = open(&store).await;
    let Ok(Opened::Marked { about: same, is_new: false, .. }) = again else { panic!("{again:?}") };
    assert_eq!(same, about);
    assert_eq!(of_store(&store).len(), 1);
}

/// Of many nodes that start at once on an empty store, one makes it, and all agree on what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_makers_has_one_winner() {
    let latency = Latency::Uniform { min_us: 0, max_us: 2_000 };
    let store = FaultyStore::new(Arc::new(MemoryStore::shared()), 1, Faults::all(0.005, latency, latency));
    let makers = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { open(&store).await.unwrap() })
    });
    let opened: Vec<_> = makers.collect();
    let mut identities = Vec::new();
    let mut made = 0;
    for maker in opened {
        let opened = maker.await.unwrap();
        let Opened::Marked { about, is_new, .. } = opened else { panic!("{opened:?}") };
        identities.push(about.identity);
        made += usize::from(is_new);
    }
    identities.dedup();
    assert_eq!(identities.len(), 1);
    assert!(made <= 1, "{made} nodes made one store");
}

#[tokio::test]
async fn a_store_of_the_first_version_is_refused() {
    let store = MemoryStore::new();
    store.put(&Name::new(Space::Intent, "28333", "x"), Bytes::new()).await.unwrap();
    let Err(StartError::Refused(why)) = open(&store).await else { panic!("it was opened") };
    assert!(why.contains("first version") && why.contains("new prefix"), "{why}");
    assert!(of_store(&store).is_empty());
    let settings = NodeSettings::new(&store.capabilities());
    assert!(matches!(start(Arc::new(store), settings).await, Err(StartError::Refused(_))));
}

/// Damage of the mark ends collecting, not service: what is young is read and written.
#[tokio::test]
async fn a_store_without_its_mark_is_served() {
    let store = MemoryStore::new();
    let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
    write(&node, vec![put("k", "v"), put("l", "w")]).await.unwrap();
    let mark = of_store(&store).pop().unwrap();
    for damage in [Some(Bytes::from_static(b"\x21\x01garbage")), None] {
        match &damage {
            Some(body) => store.put(&mark, body.clone()).await.unwrap(),
            None => store.delete(std::slice::from_ref(&mark)).await.unwrap(),
        }
        let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
        let Opened::Unmarked(why) = node.opened() else { panic!("{damage:?}: {:?}", node.opened()) };
        assert!(why.contains("restore") && why.starts_with("memory:"), "{why}");
        assert_eq!(node.stats().mark_age_s, None);
        assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from_static(b"v"))]));
        write(&node, vec![put("k", "v"), put("m", "w")]).await.unwrap();
    }
}

/// A store that does not answer is asked again for a while; one that refuses is not.
#[tokio::test]
async fn a_store_that_does_not_answer() {
    let store = TroubledStore::new(MemoryStore::new());
    store.set(Trouble::Refuse);
    let Err(StartError::Unavailable(why)) = open(&store).await else { panic!("it was opened") };
    assert!(why.contains("planted"), "{why}");
    store.set(Trouble::Hang);
    let limit = Duration::from_millis(5);
    let outcome = open_store(&store, Race::NotProbed, limit).await;
    let Err(StartError::Unavailable(why)) = outcome else { panic!("it was opened") };
    assert!(why.contains("troubled: does not answer"), "{why}");
    let later = tokio::spawn({
        let store = store.clone();
        async move { open_store(&store, Race::NotProbed, limit).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.set(Trouble::None);
    assert!(matches!(later.await.unwrap(), Ok(Opened::Marked { is_new: true, .. })));
}

/// A look goes through eight spaces; a scan that is not answered is repeated, and no other.
#[tokio::test]
async fn a_look_repeats_the_call_that_failed_and_no_other() {
    let store = TroubledStore::new(MemoryStore::new());
    store.set(Trouble::EveryOtherScan);
    let opened = open(&store).await;
    assert!(matches!(opened, Ok(Opened::Marked { is_new: true, .. })), "{opened:?}");
    // Each of the eight but the first is asked for twice.
    assert_eq!(store.scans(), 15);
}
