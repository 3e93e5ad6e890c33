//! Detection of anomalies in what one transaction saw, counted as in the paper (section 6.1.2,
//! table 2).
//!
//! * *Own write*: the transaction read a key that it had written before, and got another write.
//! * *Fractured*: a version `k_i` was read together with a version `l_j` of a key `l` that `i`
//!   wrote as well, and `j` is older than `i`. With `k = l` this is a read that did not repeat. An
//!   absent key counts as the oldest version of all.
//!
//! A transaction counts at most once for each kind. Reads of keys that the transaction had written
//! itself can only be own-write anomalies.
//!
//! The order of versions is the one that the shim reports. Directly against a store, where writes
//! have no order, it is that of the writers' start times, as in the paper. The write set always
//! comes from inside the value.

/// A place in the order of versions; [`Order::ABSENT`] is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Order {
    time: u64,
    tie: u128,
}

impl Order {
    /// The place of a key without a value.
    pub(crate) const ABSENT: Order = Order { time: 0, tie: 0 };

    /// Returns the place of a version made at `time`, with ties broken by its writer's name.
    pub(crate) const fn new(time: u64, tie: u128) -> Order {
        Order { time, tie }
    }
}

/// A version as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The version's place in the order of versions.
    pub(crate) order: Order,
    /// The number of the write; 0 if the key had no value.
    pub(crate) number: u64,
    /// The keys that its writer wrote, ascending; empty if the key had no value.
    pub(crate) write_set: Vec<u32>,
}

impl Seen {
    /// A key without a value.
    pub(crate) const ABSENT: Seen = Seen { order: Order::ABSENT, number: 0, write_set: Vec::new() };
}

/// The anomalies that a transaction saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Found {
    pub(crate) own_write: bool,
    pub(crate) fractured: bool,
}

/// A detector that follows one attempt.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    /// The key and number of each write, in program order.
    written: Vec<(u32, u64)>,
    /// The reads of keys that the attempt had not written before.
    read: Vec<(u32, Seen)>,
    own_write: bool,
}

impl Detector {
    /// Records a write of the attempt.
    pub(crate) fn write(&mut self, key: u32, number: u64) {
        self.written.push((key, number));
    }

    /// Records a read of the attempt.
    pub(crate) fn read(&mut self, key: u32, seen: Seen) {
        match self.written.iter().rev().find(|(written, _)| *written == key) {
            Some((_, number)) => self.own_write |= *number != seen.number,
            None => self.read.push((key, seen)),
        }
    }

    /// Returns the reads of keys that the attempt had not written itself.
    pub(crate) fn reads(&self) -> &[(u32, Seen)] {
        &self.read
    }

    /// Returns the anomalies found so far.
    pub(crate) fn found(&self) -> Found {
        Found { own_write: self.own_write, fractured: self.fractured() }
    }

    fn fractured(&self) -> bool {
        self.read.iter().any(|(_, newer)| {
            self.read
                .iter()
                .any(|(key, older)| older.order < newer.order && newer.write_set.binary_search(key).is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Detector, Found, Order, Seen};

    const K: u32 = 1;
    const L: u32 = 2;
    const M: u32 = 3;

    /// A write of a key with a number; a read of the version with that number and write set; or a
    /// read of an absent key.
    enum Step {
        Write(u32, u64),
        Read(u32, u64, &'static [u32]),
        Absent(u32),
    }
    use Step::{Absent, Read, Write};

    fn check(steps: &[Step], own_write: bool, fractured: bool) {
        let mut detector = Detector::default();
        for step in steps {
            match step {
                Write(key, number) => detector.write(*key, *number),
                Read(key, number, write_set) => detector.read(
                    *key,
                    Seen { order: Order::new(*number, 0), number: *number, write_set: write_set.to_vec() },
                ),
                Absent(key) => detector.read(*key, Seen::ABSENT),
            }
        }
        assert_eq!(detector.found(), Found { own_write, fractured });
    }

    #[test]
    fn consistent_reads_are_no_anomaly() {
        check(&[], false, false);
        check(&[Read(K, 5, &[K, L]), Read(L, 5, &[K, L])], false, false);
        // A newer l beside an older k is allowed, unless that l was written together with a newer
        // k.
        check(&[Read(K, 5, &[K, L]), Read(L, 6, &[L])], false, false);
        check(&[Read(K, 5, &[K]), Read(L, 4, &[L]), Absent(M)], false, false);
        check(&[Read(K, 5, &[K, L]), Read(K, 5, &[K, L])], false, false);
        check(&[Write(K, 9), Read(K, 9, &[K])], false, false);
        check(&[Write(K, 9), Write(K, 10), Read(K, 10, &[K])], false, false);
    }

    #[test]
    fn a_read_that_misses_an_own_write_is_found() {
        check(&[Write(K, 9), Read(K, 5, &[K])], true, false);
        check(&[Write(K, 9), Absent(K)], true, false);
        check(&[Write(K, 9), Write(K, 10), Read(K, 9, &[K])], true, false);
        // The read came before the write: no anomaly.
        check(&[Read(K, 5, &[K]), Write(K, 9), Read(K, 9, &[K])], false, false);
    }

    #[test]
    fn fractured_and_unrepeatable_reads_are_found() {
        check(&[Read(K, 5, &[K, L]), Read(L, 4, &[L])], false, true);
        check(&[Read(L, 4, &[L]), Read(K, 5, &[K, L])], false, true);
        check(&[Read(K, 5, &[K, L]), Absent(L)], false, true);
        check(&[Absent(L), Read(K, 5, &[K, L])], false, true);
        // A read that does not repeat.
        check(&[Read(K, 5, &[K]), Read(K, 6, &[K])], false, true);
        check(&[Write(M, 9), Read(M, 3, &[M]), Read(K, 5, &[K, L]), Read(L, 4, &[L])], true, true);
    }
}
