//! Goal: every metric is called `aft_…` and is described, histograms have the unit of seconds, and
//! the hot path registers nothing. Method: a recorder that keeps the names.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use aft_store_memory::MemoryStore;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::client::{node, put, read, write};

/// A recorder that keeps the names it gets.
#[derive(Debug, Default)]
struct Names {
    described: Mutex<BTreeSet<String>>,
    registered: Mutex<Vec<(&'static str, String)>>,
}

impl Names {
    fn describe(&self, name: &KeyName) {
        self.described.lock().unwrap().insert(name.as_str().to_owned());
    }

    fn register(&self, kind: &'static str, key: &Key) {
        self.registered.lock().unwrap().push((kind, key.name().to_owned()));
    }
}

impl Recorder for Names {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        assert_eq!(unit, Some(Unit::Seconds), "{name:?}");
        self.describe(&name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register("_total", key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register("", key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register("_seconds", key);
        Histogram::noop()
    }
}

#[test]
fn names_are_registered_once_and_described() {
    let names = Arc::new(Names::default());
    metrics::with_local_recorder(&*names, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = node(Arc::new(MemoryStore::new()), |_| {}).await;
            let before = names.registered.lock().unwrap().len();
            write(&node, vec![put("k", "v")]).await.unwrap();
            read(&node, &["k"]).await.unwrap();
            assert_eq!(names.registered.lock().unwrap().len(), before, "the hot path registers nothing");
        });
    });
    let described = names.described.lock().unwrap();
    for (suffix, name) in names.registered.lock().unwrap().iter() {
        assert!(name.starts_with("aft_") && name.ends_with(suffix), "{name}");
        assert!(described.contains(name), "{name} is not described");
    }
    assert!(described.len() > 15);
}
