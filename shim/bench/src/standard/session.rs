//! The versions that one client must not fall behind: those that it has committed or read, on any
//! server.
//!
//! A session is promised what its transactions committed and read (section 1 of the protocol). A
//! version that was read brings in the whole write set of its transaction, which its value names.
//! Versions only count when the transaction that read them has committed: its answer gives the
//! client the session that covers them.
//!
//! The keys belong to this run alone: a value of another run counts as absent, and so as older than
//! any other.

use std::collections::HashMap;

use crate::standard::detect::{Order, Seen};

/// The newest version of each key that a client has seen.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    least: HashMap<u32, Order>,
}

impl Floors {
    /// Returns true if a read is older than what the session has seen of its key.
    pub(crate) fn is_broken(&self, reads: &[(u32, Seen)]) -> bool {
        reads.iter().any(|(key, seen)| self.least.get(key).is_some_and(|least| seen.order < *least))
    }

    /// Adds the reads of a transaction that committed.
    pub(crate) fn read(&mut self, reads: &[(u32, Seen)]) {
        for (key, seen) in reads {
            let cowritten = seen.write_set.iter().filter(|other| *other != key);
            cowritten.chain([key]).for_each(|key| self.raise(*key, seen.order));
        }
    }

    /// Adds the writes of a transaction that committed.
    pub(crate) fn wrote(&mut self, write_set: &[u32], order: Order) {
        write_set.iter().for_each(|key| self.raise(*key, order));
    }

    fn raise(&mut self, key: u32, to: Order) {
        let least = self.least.entry(key).or_insert(Order::ABSENT);
        *least = to.max(*least);
    }
}

#[cfg(test)]
mod tests {
    use super::Floors;
    use crate::standard::detect::{Order, Seen};

    const K: u32 = 1;
    const L: u32 = 2;

    fn read(key: u32, time: u64, write_set: &[u32]) -> (u32, Seen) {
        (key, Seen { order: Order::new(time, 0), number: time, write_set: write_set.to_vec() })
    }

    fn check(floors: &Floors, of: (u32, Seen), broken: bool) {
        assert_eq!(floors.is_broken(std::slice::from_ref(&of)), broken, "{of:?} after {floors:?}");
    }

    #[test]
    fn a_session_sees_what_it_wrote() {
        let mut floors = Floors::default();
        check(&floors, (K, Seen::ABSENT), false);
        floors.wrote(&[K], Order::new(5, 0));
        check(&floors, (K, Seen::ABSENT), true);
        check(&floors, read(K, 4, &[K]), true);
        check(&floors, read(K, 5, &[K]), false);
        check(&floors, read(K, 6, &[K]), false);
        check(&floors, read(L, 1, &[L]), false);
    }

    #[test]
    fn a_session_sees_what_it_read_and_the_writes_committed_with_it() {
        let mut floors = Floors::default();
        floors.read(&[read(K, 5, &[K, L])]);
        check(&floors, read(K, 4, &[K]), true);
        check(&floors, read(L, 4, &[L]), true);
        check(&floors, read(L, 5, &[K, L]), false);
        // Reading an older version does not lower the floor.
        floors.read(&[read(K, 3, &[K])]);
        check(&floors, read(K, 4, &[K]), true);
        floors.read(&[(K, Seen::ABSENT)]);
        check(&floors, read(K, 5, &[K]), false);
    }
}
