//! Goal: an empty store is made once; a store that cannot be read is rejected, or served without
//! its mark; times and levels belong to the store. Method: nodes on memory stores that are empty,
//! damaged, slow, or hold foreign objects.

use std::sync::Arc;
use std::time::Duration;

use aft_core::message::{Begin, Isolation, Refusal};
use aft_core::settings::Levels;
use aft_format::{Race, Times};
use aft_node::{
    NewStore, NodeSettings, Opened, StartError, change_levels, change_times, fresh_begin, open_store,
    read_description, start,
};
use aft_store::{Name, Space, Store};
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

use crate::client::{open as begin, put, read, run, write};
use crate::trouble::{Trouble, TroubledStore};

const LIMIT: Duration = Duration::from_secs(5);

fn times(store: &dyn Store) -> Times {
    Times::of(&NodeSettings::new(&store.capabilities()).core)
}

fn new(store: &dyn Store) -> NewStore {
    NewStore { race: Race::NotProbed, times: times(store), levels: Levels::default() }
}

async fn open(store: &dyn Store) -> Result<Opened, StartError> {
    open_store(store, &new(store), LIMIT).await
}

/// Returns the names in the space `store`, which hold the description and the mark.
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

/// Sixteen nodes start at once on an empty store: at most one makes it (the call of the maker may
/// have lost its answer), and all agree on its identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_one_store() {
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
async fn a_store_of_the_first_version_is_rejected() {
    let store = MemoryStore::new();
    store.put(&Name::new(Space::Intent, "28333", "x"), Bytes::new()).await.unwrap();
    let Err(StartError::Refused(why)) = open(&store).await else { panic!("it was opened") };
    assert!(why.contains("first version") && why.contains("new prefix"), "{why}");
    assert!(of_store(&store).is_empty());
    let settings = NodeSettings::new(&store.capabilities());
    assert!(matches!(start(Arc::new(store), settings).await, Err(StartError::Refused(_))));
}

/// Overwrites the mark, or deletes it.
async fn harm(store: &MemoryStore, mark: &Name, damage: Option<&Bytes>) {
    match damage {
        Some(body) => store.put(mark, body.clone()).await.unwrap(),
        None => store.delete(std::slice::from_ref(mark)).await.unwrap(),
    }
}

/// A damaged mark ends the collection of garbage, but not the service: young versions are read, and
/// keys are written.
#[tokio::test]
async fn a_store_without_its_mark_is_served() {
    let store = MemoryStore::new();
    let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
    write(&node, vec![put("k", "v"), put("l", "w")]).await.unwrap();
    let mark = of_store(&store).pop().unwrap();
    for damage in [Some(Bytes::from_static(b"\x21\x01garbage")), None] {
        harm(&store, &mark, damage.as_ref()).await;
        let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
        let Opened::Unmarked(why) = node.opened() else { panic!("{damage:?}: {:?}", node.opened()) };
        assert!(why.contains("restore") && why.starts_with("memory:"), "{why}");
        assert_eq!(node.stats().mark_age_s, None);
        assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from_static(b"v"))]));
        write(&node, vec![put("k", "v"), put("m", "w")]).await.unwrap();
    }
}

/// A shared store loses the levels of its keys with its description: keys are read, and nothing is
/// written.
#[tokio::test]
async fn a_shared_store_without_its_levels_is_read_and_not_written() {
    let store = MemoryStore::shared();
    let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
    write(&node, vec![put("k", "v")]).await.unwrap();
    let mark = of_store(&store).pop().unwrap();
    for damage in [Some(Bytes::from_static(b"\x21\x01garbage")), None] {
        harm(&store, &mark, damage.as_ref()).await;
        let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
        assert_eq!(read(&node, &["k"]).await, Ok(vec![Some(Bytes::from_static(b"v"))]), "{damage:?}");
        let outcome = write(&node, vec![put("k", "w")]).await;
        let Err(Refusal::Damaged(why)) = outcome else { panic!("{damage:?}: {outcome:?}") };
        assert!(why.contains("store/format") && why.contains("restore it"), "{why}");
        // A serializable transaction cannot be checked, so it is not opened.
        let serializable = Begin { isolation: Some(Isolation::Serializable), ..fresh_begin() };
        let outcome = begin(&node, serializable).await;
        assert!(matches!(outcome, Err(Refusal::Damaged(_))), "{damage:?}: {outcome:?}");
    }
    // A node that started before still knows the levels, and goes on.
    write(&node, vec![put("k", "w")]).await.unwrap();
}

async fn levels_of(store: &MemoryStore) -> Levels {
    read_description(store, LIMIT).await.unwrap().expect("the store is there").1.levels
}

/// A node takes the levels from the store; those of its settings are for a store that it makes.
#[tokio::test]
async fn a_node_takes_the_levels_of_an_existing_store() {
    let store = MemoryStore::shared();
    assert_eq!(read_description(&store, LIMIT).await, Ok(None));
    let with = async |levels: &Levels| {
        let levels = levels.clone();
        crate::client::node(Arc::new(store.clone()), |settings| settings.core.levels = levels).await
    };
    let serializable = Levels::everywhere(Isolation::Serializable);
    let maker = with(&serializable).await;
    assert_eq!(levels_of(&store).await, serializable);
    for node in [maker, with(&Levels::default()).await] {
        let read_atomic = Begin { isolation: Some(Isolation::ReadAtomic), ..fresh_begin() };
        let attempt = begin(&node, read_atomic).await.unwrap();
        let outcome = run(&node, attempt, vec![put("k", "v")]).await;
        let Err(Refusal::Invalid(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.contains("serializable"), "{why}");
        write(&node, vec![put("k", "v")]).await.unwrap();
    }
}

/// The level of a prefix can only be changed while no key under it has versions.
#[tokio::test]
async fn a_prefix_that_holds_keys_keeps_its_level() {
    let store = MemoryStore::shared();
    let change = async |changes: &[(&str, Isolation)]| {
        let changes: Vec<_> = changes.iter().map(|(prefix, level)| ((*prefix).to_owned(), *level)).collect();
        change_levels(&store, &changes, LIMIT).await
    };
    let (serializable, read_atomic) = (Isolation::Serializable, Isolation::ReadAtomic);
    let Err(StartError::Refused(why)) = change(&[("", serializable)]).await else { panic!("none is there") };
    assert!(why.contains("no store/format"), "{why}");

    let node = crate::client::node(Arc::new(store.clone()), |_| {}).await;
    write(&node, vec![put("shop/stock", "v")]).await.unwrap();
    change(&[("cart/", serializable)]).await.expect("it holds nothing");
    // Other prefixes: one that sorts before the key, and one that the key is a prefix of.
    change(&[("shop/a", serializable), ("shop/stock2", serializable)]).await.expect("they hold nothing");
    for prefix in ["", "shop", "shop/stock"] {
        let before = levels_of(&store).await;
        let Err(StartError::Refused(why)) = change(&[(prefix, serializable)]).await else {
            panic!("{prefix:?} was changed")
        };
        assert!(why.contains("\"shop/stock\"") && why.contains("read_atomic"), "{why}");
        assert_eq!(levels_of(&store).await, before);
    }
    // A change that changes the level of no key is accepted.
    let mut levels = levels_of(&store).await;
    for prefix in ["shop/", "shop/stock"] {
        levels.set(prefix.to_owned(), read_atomic);
        for _ in 0..2 {
            assert_eq!(change(&[(prefix, read_atomic)]).await.as_ref(), Ok(&levels));
        }
    }
    // Keys under a longer prefix with a level of its own keep theirs.
    levels.set("shop/".to_owned(), serializable);
    assert_eq!(change(&[("shop/", serializable)]).await, Ok(levels.clone()));
    assert_eq!(levels_of(&store).await, levels);

    let alone = MemoryStore::new();
    open(&alone).await.unwrap();
    let outcome = change_levels(&alone, &[(String::new(), serializable)], LIMIT).await;
    assert!(
        matches!(&outcome, Err(StartError::Refused(why)) if why.contains("every transaction")),
        "{outcome:?}"
    );
}

/// A call that is not answered is repeated for a while; one that is rejected is not.
#[tokio::test]
async fn opening_repeats_calls_without_an_answer() {
    let store = TroubledStore::new(MemoryStore::new());
    store.set(Trouble::Refuse);
    let Err(StartError::Unavailable(why)) = open(&store).await else { panic!("it was opened") };
    assert!(why.contains("planted"), "{why}");
    store.set(Trouble::Hang);
    let limit = Duration::from_millis(5);
    let outcome = open_store(&store, &new(&store), limit).await;
    let Err(StartError::Unavailable(why)) = outcome else { panic!("it was opened") };
    assert!(why.contains("troubled: does not answer"), "{why}");
    let later = tokio::spawn({
        let store = store.clone();
        async move { open_store(&store, &new(&store), limit).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.set(Trouble::None);
    assert!(matches!(later.await.unwrap(), Ok(Opened::Marked { is_new: true, .. })));
}

/// Looking for data takes one scan of each of eight spaces. Only a scan without an answer is
/// repeated.
#[tokio::test]
async fn a_look_repeats_the_call_that_failed_and_no_other() {
    let store = TroubledStore::new(MemoryStore::new());
    store.set(Trouble::EveryOtherScan);
    let opened = open(&store).await;
    assert!(matches!(opened, Ok(Opened::Marked { is_new: true, .. })), "{opened:?}");
    // Each of the eight scans but the first is sent twice.
    assert_eq!(store.scans(), 15);
}

/// A node whose times differ from the store's in a harmful way does not start, until the store's
/// times are changed.
#[tokio::test]
async fn nodes_on_a_store_share_their_times() {
    let store = MemoryStore::shared();
    let with = async |timeout_max_ms, recheck_after_ms, maintain| {
        let mut settings = NodeSettings::new(&store.capabilities());
        settings.core.timeout_max_ms = timeout_max_ms;
        settings.core.timeout_default_ms = settings.core.timeout_default_ms.min(timeout_max_ms);
        settings.core.recheck_after_ms = recheck_after_ms;
        settings.maintain = maintain;
        start(Arc::new(store.clone()), settings).await
    };
    let refused = async |timeout_max_ms, recheck_after_ms, maintain, words: &[&str]| {
        let outcome = with(timeout_max_ms, recheck_after_ms, maintain).await;
        let Err(StartError::Refused(why)) = outcome else { panic!("it started: {outcome:?}") };
        for word in words {
            assert!(why.contains(word), "{word} is missing in {why}");
        }
    };
    let first = with(50_000, 10_000, false).await.expect("it makes the store");
    with(50_000, 10_000, true).await.expect("it has the same times");
    let both = [
        "memory:",
        "node.timeout_max_ms",
        "60000 ms on this node",
        "50000 ms on the store",
        "--change-times",
    ];
    refused(60_000, 10_000, false, &both).await;
    refused(40_000, 10_000, false, &["40000 ms on this node", "not wait"]).await;
    refused(50_000, 20_000, false, &["node.recheck_after_ms", "outlast"]).await;
    // A node that lists more often than the others need not wait for them, unless it sweeps.
    refused(50_000, 5_000, true, &["node.recheck_after_ms", "not wait"]).await;
    let eager = with(50_000, 5_000, false).await.expect("it sweeps nothing");
    eager.maintain(true).await;

    let changed = Times { timeout_max_ms: 60_000, ..times(&store) };
    let before = change_times(&store, changed, LIMIT).await.expect("the store answers");
    assert_eq!(before.map(|times| times.timeout_max_ms), Some(50_000));
    assert_eq!(change_times(&store, changed, LIMIT).await, Ok(Some(changed)));
    refused(50_000, 10_000, false, &["50000 ms on this node", "60000 ms on the store"]).await;
    with(60_000, 10_000, true).await.expect("it has the new times");
    drop((first, eager));
}

/// A process that holds a store alone shares no times with other nodes, so it may change its own.
#[tokio::test]
async fn an_exclusive_store_takes_other_times() {
    let store = MemoryStore::new();
    for timeout_max_ms in [50_000, 60_000, 40_000] {
        let node = crate::client::node(Arc::new(store.clone()), |settings| {
            settings.core.timeout_default_ms = 10_000;
            settings.core.timeout_max_ms = timeout_max_ms;
            settings.maintain = true;
        });
        write(&node.await, vec![put("k", "v")]).await.unwrap();
    }
}
