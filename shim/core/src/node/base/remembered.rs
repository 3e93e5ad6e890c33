//! A bounded map of recent items.

use std::collections::{BTreeMap, VecDeque};

/// A bounded map from which the oldest item is evicted first.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Remembered<K, V> {
    map: BTreeMap<K, V>,
    /// Every key of the map once, oldest first.
    order: VecDeque<K>,
    len_max: usize,
}

impl<K: Ord + Clone, V> Remembered<K, V> {
    pub(in crate::node) fn new(len_max: usize) -> Remembered<K, V> {
        Remembered { map: BTreeMap::new(), order: VecDeque::new(), len_max }
    }

    /// Inserts an item, or replaces that with the same key.
    pub(in crate::node) fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.len_max {
            let oldest = self.order.pop_front().expect("it is longer than its bound");
            let evicted = self.map.remove(&oldest);
            assert!(evicted.is_some(), "every key in the order is in the map");
        }
        assert_eq!(self.map.len(), self.order.len(), "every key has one place in the order");
        assert!(self.map.len() <= self.len_max, "memory is bounded");
    }

    /// Panics if an invariant is broken.
    pub(in crate::node) fn check_invariants(&self) {
        assert_eq!(self.map.len(), self.order.len(), "every key has one place in the order");
        assert!(self.order.len() <= self.len_max, "memory is bounded");
        assert!(self.order.iter().all(|key| self.map.contains_key(key)), "the order is of what is kept");
    }

    pub(in crate::node) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(in crate::node) fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }
}
