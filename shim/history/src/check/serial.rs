//! Serializability, if asked for: is there one order of all committed transactions in which every read returns the
//! newest write before it?
//!
//! The order of versions of a key is that of its writers' stamps, where they have stamps; the order of transactions
//! is free otherwise. Transactions are nodes, an arc says "before in every such order":
//!
//! * a writer comes before its readers;
//! * of two stamped writers of a key, the one with the lower stamp comes first;
//! * a reader of a version comes before whoever replaced it (the *anti-dependency*).
//!
//! A cycle is a violation, and a shortest one is its witness: a lost update is a cycle of two anti-dependencies.
//!
//! Without stamps it is not known who replaced a version. For a read of `w`'s version and another writer `x` of the
//! key, either `x` comes before `w` or the reader before `x`. Where the arcs so far exclude the one, the other is an
//! arc; this is repeated until nothing changes. It is sound, and what is left open can be open for good: deciding it
//! is NP-complete (Papadimitriou 1979). So there are three verdicts. *Yes* is given only for an order that was found
//! and tried out, read by read.
//!
//! Cost: with stamps, sorting. Without, a transitive closure for each round, in bits; that is done for up to
//! [`CLOSURE_LEN_MAX`] transactions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::cycle::{self, Arc};
use super::index::Index;
use super::reads::Seen;
use crate::{Because, Cycle, Edge, Key, Level, Serializability, Stamp, Value};

/// The most committed transactions for which is worked out who must have replaced what; a closure of so many takes
/// 2 MiB.
const CLOSURE_LEN_MAX: usize = 4096;
/// The most alternatives that are kept to be decided.
const OPEN_LEN_MAX: usize = 1 << 20;

/// A good read of a committed transaction.
#[derive(Clone, Copy, Debug)]
struct Read {
    reader: u32,
    key: Key,
    value: Value,
    /// `None`: version 0.
    writer: Option<u32>,
}

/// Either `other` comes before the writer that was read, or the reader before `other`.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The place of the read.
    read: usize,
    /// Another writer of the key.
    other: u32,
    /// The value that this one left in the key.
    value: Value,
}

/// The reason for an arc. The order is that of preference, where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// The later one read the earlier one: the place of the read.
    Read(usize),
    /// Both wrote this key.
    Versions(Key),
    /// The earlier one read a version that the later one replaced: the place of the read, and what the later one
    /// wrote.
    Replaced(usize, Value),
    /// The later one was read although the earlier one had written the key, and came before the reader.
    Hidden(usize, Value),
    /// The one followed the other in their session.
    Session,
}

/// The reads of committed transactions. See the file's head.
#[derive(Default)]
pub(crate) struct Serial {
    /// In the order of their readers.
    reads: Vec<Read>,
}

/// The writers of a key, each with what it left there, by stamp; those without a stamp come last. Of those that share
/// a stamp (which is reported elsewhere) one has it here.
struct Writers {
    all: Vec<(Option<Stamp>, u32, Value)>,
    stamped_len: usize,
}

impl Serial {
    /// Adds the good reads of a committed transaction. Transactions come in the order of the history.
    pub(crate) fn add_reader(&mut self, reader: usize, seen: &[Seen]) {
        let reader = u32::try_from(reader).expect("the number of transactions was checked");
        assert!(self.reads.last().is_none_or(|last| last.reader < reader), "readers come in order");
        let read = |seen: &Seen| Read { reader, key: seen.key, value: seen.value, writer: seen.writer };
        self.reads.extend(seen.iter().filter(|seen| seen.is_first).map(read));
    }

    /// Judges a history that is read atomic. `sessions` are pairs of transactions that followed each other.
    pub(crate) fn judge(&self, index: &Index<'_>, sessions: &[(u32, u32)]) -> (Serializability, Vec<Cycle>) {
        let writers = writers(index);
        let mut arcs = self.known_arcs(index, &writers);
        arcs.extend(sessions.iter().map(|&(from, to)| Arc { from, to, why: Why::Session }));
        let open = self.open(index, &writers);
        let is_complete = open.len() <= OPEN_LEN_MAX && self.decide(index, &mut arcs, open);
        let found = cycle::search(index.len(), arcs.clone());
        if !found.cycles.is_empty() {
            let explain = |arcs: &Vec<Arc<Why>>| Cycle {
                edges: arcs.iter().map(|arc| self.explain(index, arc)).collect(),
                breaks: Level::Serializable,
            };
            return (Serializability::No, found.cycles.iter().map(explain).collect());
        }
        let explains = self.explains(index, &order(index, &arcs));
        assert!(
            explains || !is_complete || planted!(AntiDependencyLost),
            "all is decided, and no order does"
        );
        (if explains { Serializability::Yes } else { Serializability::Unknown }, Vec::new())
    }

    /// The arcs that need no deduction.
    fn known_arcs(&self, index: &Index<'_>, writers: &BTreeMap<Key, Writers>) -> Vec<Arc<Why>> {
        let mut arcs = Vec::new();
        for (&key, of_key) in writers {
            let chain = of_key.stamped().array_windows();
            arcs.extend(chain.map(|[(_, from, _), (_, to, _)]| Arc {
                from: *from,
                to: *to,
                why: Why::Versions(key),
            }));
        }
        for (at, read) in self.reads.iter().enumerate() {
            if let Some(from) = read.writer {
                arcs.push(Arc { from, to: read.reader, why: Why::Read(at) });
            }
            let Some(of_key) = writers.get(&read.key) else { continue };
            // The next one by stamp; those that follow it are behind it in the chain.
            let next = match read.writer {
                None => of_key.stamped().first(),
                Some(writer) => {
                    let place = of_key.place(index, writer);
                    place.and_then(|place| of_key.stamped().get(place + 1))
                }
            };
            let unstamped = if read.writer.is_none() { of_key.unstamped() } else { &[] };
            for &(_, to, value) in next.into_iter().chain(unstamped) {
                if to != read.reader && !planted!(AntiDependencyLost) {
                    arcs.push(Arc { from: read.reader, to, why: Why::Replaced(at, value) });
                }
            }
        }
        arcs
    }

    /// The alternatives that stamps leave open; one more than [`OPEN_LEN_MAX`] at most.
    fn open(&self, index: &Index<'_>, writers: &BTreeMap<Key, Writers>) -> Vec<Open> {
        let mut open = Vec::new();
        for (at, read) in self.reads.iter().enumerate() {
            let (Some(writer), Some(of_key)) = (read.writer, writers.get(&read.key)) else { continue };
            let is_placed = of_key.place(index, writer).is_some();
            let others = if is_placed { of_key.unstamped() } else { &of_key.all };
            for &(_, other, value) in others {
                if other != writer && other != read.reader {
                    open.push(Open { read: at, other, value });
                }
                if open.len() > OPEN_LEN_MAX {
                    return open;
                }
            }
        }
        open
    }

    /// Adds arcs for alternatives of which one is excluded. Returns true if none is left open.
    fn decide(&self, index: &Index<'_>, arcs: &mut Vec<Arc<Why>>, mut open: Vec<Open>) -> bool {
        while !open.is_empty() {
            let Some(closure) = Closure::new(index, arcs) else { return false };
            let known = arcs.len();
            open.retain(|&Open { read: at, other, value }| {
                let Read { reader, writer, .. } = self.reads[at];
                let writer = writer.expect("what replaces version 0 is known");
                let before = |from, to| closure.leads(from, to);
                if before(writer, other) {
                    if !planted!(AntiDependencyLost) {
                        arcs.push(Arc { from: reader, to: other, why: Why::Replaced(at, value) });
                    }
                    false
                } else if before(other, reader) {
                    arcs.push(Arc { from: other, to: writer, why: Why::Hidden(at, value) });
                    false
                } else {
                    // Whichever is known holds already.
                    !(before(other, writer) || before(reader, other))
                }
            });
            if arcs.len() == known {
                break;
            }
        }
        open.is_empty()
    }

    /// Tries an order out: does every read return the newest write before its reader?
    fn explains(&self, index: &Index<'_>, order: &[u32]) -> bool {
        let mut newest: BTreeMap<Key, u32> = BTreeMap::new();
        order.iter().all(|&at| {
            let start = self.reads.partition_point(|read| read.reader < at);
            let reads = self.reads[start..].iter().take_while(|read| read.reader == at);
            let holds = reads.into_iter().all(|read| newest.get(&read.key).copied() == read.writer);
            newest.extend(index.write_set(at as usize).iter().map(|(key, _)| (*key, at)));
            holds
        })
    }

    /// An arc, in words that need no graph.
    fn explain(&self, index: &Index<'_>, arc: &Arc<Why>) -> Edge {
        let version = |read: Read| index.version(read.key, read.value, read.writer);
        let because = match arc.why {
            Why::Read(at) => Because::Read { version: version(self.reads[at]) },
            Why::Versions(_) => {
                let stamp =
                    |at: u32| index.transaction(at as usize).stamp.expect("versions are ordered by stamps");
                Because::Stamps { before: stamp(arc.from), after: stamp(arc.to) }
            }
            Why::Replaced(at, value) => {
                let read = self.reads[at];
                let newer = index.version(read.key, value, Some(arc.to));
                Because::Replaced { read: version(read), newer }
            }
            Why::Hidden(at, value) => {
                let read = self.reads[at];
                let older = index.version(read.key, value, Some(arc.from));
                Because::Hidden { reader: index.id(read.reader as usize), read: version(read), older }
            }
            Why::Session => Because::Session { session: index.transaction(arc.to as usize).session },
        };
        Edge { before: index.id(arc.from as usize), after: index.id(arc.to as usize), because }
    }
}

impl Writers {
    fn stamped(&self) -> &[(Option<Stamp>, u32, Value)] {
        &self.all[..self.stamped_len]
    }

    fn unstamped(&self) -> &[(Option<Stamp>, u32, Value)] {
        &self.all[self.stamped_len..]
    }

    /// The place of a writer among those with a stamp.
    fn place(&self, index: &Index<'_>, writer: u32) -> Option<usize> {
        let stamp = index.transaction(writer as usize).stamp;
        stamp?;
        let place = self.stamped().partition_point(|of| of.0 < stamp);
        self.stamped().get(place).is_some_and(|of| of.1 == writer).then_some(place)
    }
}

/// The committed writers of every key.
fn writers(index: &Index<'_>) -> BTreeMap<Key, Writers> {
    let mut writers: BTreeMap<Key, Writers> = BTreeMap::new();
    for (key, value, writer) in index.committed_versions() {
        let of_key = writers.entry(key).or_insert_with(|| Writers { all: Vec::new(), stamped_len: 0 });
        of_key.all.push((index.transaction(writer as usize).stamp, writer, value));
    }
    for Writers { all, stamped_len } in writers.values_mut() {
        all.sort_unstable();
        let mut taken = None;
        for of in all.iter_mut() {
            of.0 = of.0.filter(|stamp| taken != Some(*stamp));
            taken = of.0.or(taken);
        }
        all.sort_unstable_by_key(|&(stamp, writer, _)| (stamp.is_none(), stamp, writer));
        *stamped_len = all.partition_point(|of| of.0.is_some());
    }
    writers
}

/// The committed transactions in an order that keeps to the arcs, which have no cycle; by the history otherwise.
fn order(index: &Index<'_>, arcs: &[Arc<Why>]) -> Vec<u32> {
    let mut before = vec![0_u32; index.len()];
    let mut out: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for arc in arcs {
        before[arc.to as usize] += 1;
        out.entry(arc.from).or_default().push(arc.to);
    }
    let committed = (0_u32..).zip(before.iter()).take(index.len());
    let first = committed.filter(|&(at, before)| index.is_committed(at as usize) && *before == 0);
    let mut free: BinaryHeap<Reverse<u32>> = first.map(|(at, _)| Reverse(at)).collect();
    let mut order = Vec::new();
    while let Some(Reverse(at)) = free.pop() {
        order.push(at);
        for &to in out.get(&at).into_iter().flatten() {
            before[to as usize] -= 1;
            if before[to as usize] == 0 {
                free.push(Reverse(to));
            }
        }
    }
    let committed_len = (0..index.len()).filter(|at| index.is_committed(*at)).count();
    assert_eq!(order.len(), committed_len, "arcs without a cycle leave a place for everybody");
    order
}

/// The transactions to which each one leads, in bits.
struct Closure {
    /// The number of each transaction among the committed ones.
    number: Vec<usize>,
    /// For each number: a row of bits, of what it leads to.
    rows: Vec<Vec<u64>>,
}

impl Closure {
    /// `None` if there are too many transactions, or if there is a cycle, which tells more.
    fn new(index: &Index<'_>, arcs: &[Arc<Why>]) -> Option<Closure> {
        let mut number = vec![usize::MAX; index.len()];
        let committed: Vec<usize> = (0..index.len()).filter(|at| index.is_committed(*at)).collect();
        if committed.len() > CLOSURE_LEN_MAX {
            return None;
        }
        committed.iter().enumerate().for_each(|(nth, at)| number[*at] = nth);
        let mut out = vec![Vec::new(); committed.len()];
        let mut into = vec![0_u32; committed.len()];
        for arc in arcs {
            out[number[arc.from as usize]].push(number[arc.to as usize]);
            into[number[arc.to as usize]] += 1;
        }
        let mut sorted: Vec<usize> = (0..committed.len()).filter(|nth| into[*nth] == 0).collect();
        let mut next = 0;
        while let Some(&from) = sorted.get(next) {
            next += 1;
            for &to in &out[from] {
                into[to] -= 1;
                if into[to] == 0 {
                    sorted.push(to);
                }
            }
        }
        if sorted.len() < committed.len() {
            return None;
        }
        let mut rows = vec![Vec::new(); committed.len()];
        for &from in sorted.iter().rev() {
            let mut row = vec![0; committed.len().div_ceil(64)];
            for &to in &out[from] {
                row[to / 64] |= 1 << (to % 64);
                row.iter_mut().zip(&rows[to]).for_each(|(bits, more)| *bits |= more);
            }
            rows[from] = row;
        }
        Some(Closure { number, rows })
    }

    /// Returns true if there is a way from one transaction to the other.
    fn leads(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.number[from as usize], self.number[to as usize]);
        self.rows[from][to / 64] >> (to % 64) & 1 == 1
    }
}
