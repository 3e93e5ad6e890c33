//! Goal: a condition that lasts is logged once, although it is counted each time.
//! Method: a subscriber that keeps warnings and errors, and stores with such conditions.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aft_core::ids::{AttemptId, Hlc, TxnId};
use aft_core::message::{Isolation, Refusal};
use aft_core::record::{Location, Record, Value, Write};
use aft_core::store::{Body, Name};
use aft_format::{Times, encode_object, own_hash};
use aft_node::{NodeSettings, change_levels, change_times, fresh_begin};
use aft_store::{Space, Store};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::client::{key, node, open, read};

const DAY_MS: u64 = 86_400_000;

/// A subscriber that keeps warnings and errors as text.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn with(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Values<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Writes a version of each key, and of one more key beside it, as a program whose clock is a day
/// ahead would.
async fn write_ahead(store: &MemoryStore, keys: &[&str]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = Hlc::from_ms(now.as_millis() as u64 + DAY_MS);
    for (number, at) in keys.iter().enumerate() {
        let attempt = AttemptId([number as u8 + 1; 16]);
        let location = Location::Inline(Bytes::from_static(b"ahead"));
        let value = Value { location, size: 5, etag: Bytes::new(), attributes: Bytes::new() };
        let record = Record {
            txn: TxnId { time, attempt },
            hash: own_hash(attempt),
            named: false,
            fingerprint: None,
            retention_ms: 0,
            result: None,
            large_result: None,
            follows: None,
            writes: [(key(at), Write::Put(value)), (key(&format!("{at} too")), Write::Tombstone)].into(),
        };
        for (key, entry) in record.entries() {
            let (name, body) = encode_object(&Name::Version(key, entry), &Body::Empty);
            store.put(&name, body).await.unwrap();
        }
        let (name, body) = encode_object(&Name::Commit(record.hash), &Body::Record(record.into()));
        store.put(&name, body).await.unwrap();
    }
}

#[tokio::test]
async fn versions_ahead_of_time_are_logged_once() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let keys = ["a", "b", "c", "d", "e", "f"];
    let store = MemoryStore::new();
    let node = node(Arc::new(store.clone()), |_| {}).await;
    write_ahead(&store, &keys).await;
    for key in keys {
        assert_eq!(read(&node, &[key]).await, Ok(vec![Some(Bytes::from_static(b"ahead"))]));
    }
    assert_eq!(lines.with("ahead of the store's time"), 1, "{lines:?}");
}

/// Every read of the keys of a record that cannot be read reports the same damage.
#[tokio::test]
async fn each_damaged_object_is_logged_once() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let store = MemoryStore::new();
    write_ahead(&store, &["a", "b"]).await;
    for (name, _) in store.objects().into_iter().filter(|(name, _)| name.space == Space::Commit) {
        store.put(&name, Bytes::from_static(b"\x21\x01garbage")).await.unwrap();
    }
    let node = node(Arc::new(store.clone()), |_| {}).await;
    for _ in 0..5 {
        for key in ["a", "b"] {
            assert!(read(&node, &[key]).await.is_err());
        }
    }
    assert_eq!(lines.with("cannot be read"), 2, "{lines:?}");
}

/// All nodes of a store must know the same levels: a node that started with others stops.
#[tokio::test]
async fn changed_levels_are_logged_and_stop_the_node() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let store = MemoryStore::shared();
    let node = node(Arc::new(store.clone()), |settings| {
        settings.maintain = true;
        settings.core.sweep_interval_ms = 1;
        // A sweep waits for 72 s until a mark settles.
        settings.time_divisor = 100;
    })
    .await;
    let changes = [("cart/".to_owned(), Isolation::Serializable)];
    change_levels(&store, &changes, Duration::from_secs(5)).await.unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while lines.with("description of itself") == 0 {
        assert!(Instant::now() < until, "{:?}: {lines:?}", node.stats());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(lines.with("levels_before=all keys read_atomic"), 1, "{lines:?}");
    assert_eq!(lines.with("levels_now=\"cart/\" serializable, all other keys read_atomic"), 1, "{lines:?}");
    tokio::time::timeout(Duration::from_secs(10), node.stopped()).await.expect("it does not go on");
    assert_eq!(lines.with("so the node stops"), 1, "{lines:?}");
    assert!(matches!(open(&node, fresh_begin()).await, Err(Refusal::NotServing)));
}

/// A node that goes on logs one warning for each change of the store's description.
#[tokio::test]
async fn each_change_of_the_description_is_logged_once() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let store = MemoryStore::new();
    let node = node(Arc::new(store.clone()), |settings| {
        settings.maintain = true;
        settings.core.sweep_interval_ms = 1;
    })
    .await;
    let swept = async |more: u64| {
        let before = node.stats().sweeps;
        while node.stats().sweeps < before + more {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    swept(3).await;
    assert_eq!(lines.with("description of itself"), 0, "{lines:?}");
    let times = NodeSettings::new(&store.capabilities()).times().unwrap();
    for (number, timeout_max_ms) in [70_000, 80_000].into_iter().enumerate() {
        let changed = Times { timeout_max_ms, ..times };
        change_times(&store, changed, Duration::from_secs(5)).await.unwrap();
        swept(5).await;
        assert_eq!(lines.with("description of itself"), number + 1, "{lines:?}");
        assert_eq!(lines.with(&format!("times_now=\"deadlines to {timeout_max_ms} ms")), 1, "{lines:?}");
    }
}
