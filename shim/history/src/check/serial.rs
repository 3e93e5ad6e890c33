//! The check for serializability, on request: it decides whether there is one order of all
//! committed transactions in which every read returns the newest write before it.
//!
//! The versions of a key are in the order of their writers' stamps, where these have stamps;
//! otherwise the order of transactions is free. Transactions are nodes, and an arc means "before,
//! in every such order":
//!
//! * a writer comes before its readers;
//! * of two stamped writers of a key, the one with the lower stamp comes first;
//! * a reader of a version comes before the transaction that replaced the version (the
//!   *anti-dependency*).
//!
//! A cycle is a violation, and a shortest one is its witness: for example, a lost update is a cycle
//! of two anti-dependencies.
//!
//! Without stamps, the transaction that replaced a version is not known. For a read of `w`'s
//! version by `r`, and another writer `x` of the key, either `x` comes before `w`, or `r` comes
//! before `x`. If the known arcs exclude one of these, the other becomes an arc; this is repeated
//! until nothing changes. The method is sound but incomplete, since the decision is NP-complete
//! (Papadimitriou 1979). So there are three verdicts, and *yes* is given only for an order that was
//! found and verified read by read.
//!
//! Cost: with stamps, sorting. Without stamps, a transitive closure of bits for each round, for at
//! most [`CLOSURE_LEN_MAX`] transactions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::cycle::{self, Arc};
use super::index::Index;
use super::reads::Seen;
use crate::{Because, Cycle, Edge, Key, Level, Serializability, Stamp, Value};

/// The maximum number of committed transactions for which alternatives are decided. A closure of
/// that number takes 2 MiB.
const CLOSURE_LEN_MAX: usize = 4096;
/// The maximum number of alternatives that are kept to be decided.
const OPEN_LEN_MAX: usize = 1 << 20;

/// A good read of a committed transaction.
#[derive(Clone, Copy, Debug)]
struct Read {
    reader: u32,
    key: Key,
    value: Value,
    /// The place of the writer; `None` for version 0.
    writer: Option<u32>,
}

/// An undecided alternative: `other` comes before the writer that was read, or after the reader.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The index of the read.
    read: usize,
    /// Another writer of the key.
    other: u32,
    /// The last value that `other` wrote to the key.
    value: Value,
}

/// The reason for an arc. If an arc has several, the smallest in this order is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// The later transaction read from the earlier one, in the read with this index.
    Read(usize),
    /// Both wrote this key, and the earlier one has the lower stamp.
    Versions(Key),
    /// The earlier transaction read a version that the later one replaced: the index of the read,
    /// and the value that the later one wrote.
    Replaced(usize, Value),
    /// A reader read the key from the later transaction, although the earlier one had written it
    /// and comes before the reader: the index of the read, and the value that the earlier one
    /// wrote.
    Hidden(usize, Value),
    /// The later transaction followed the earlier one in their session.
    Session,
}

/// The reads of committed transactions. See the file's head.
#[derive(Default)]
pub(crate) struct Serial {
    /// In the order of their readers.
    reads: Vec<Read>,
}

/// The writers of a key, each with the last value that it wrote, sorted by stamp; writers without a
/// stamp come last. Of writers that share a stamp (which is reported elsewhere) only one keeps it.
struct Writers {
    all: Vec<(Option<Stamp>, u32, Value)>,
    stamped_len: usize,
}

impl Serial {
    /// Adds the good reads of a committed transaction. Transactions come in the order of the
    /// history.
    pub(crate) fn add_reader(&mut self, reader: usize, seen: &[Seen]) {
        let reader = u32::try_from(reader).expect("the number of transactions was checked");
        assert!(self.reads.last().is_none_or(|last| last.reader < reader), "readers come in order");
        let read = |seen: &Seen| Read { reader, key: seen.key, value: seen.value, writer: seen.writer };
        self.reads.extend(seen.iter().filter(|seen| seen.is_first).map(read));
    }

    /// Checks a history that is read atomic. `sessions` are the pairs of consecutive transactions
    /// of a session. Returns the verdict, with shortest cycles if it is *no*.
    pub(crate) fn judge(&self, index: &Index<'_>, sessions: &[(u32, u32)]) -> (Serializability, Vec<Cycle>) {
        let writers = writers(index);
        let mut arcs = self.known_arcs(index, &writers);
        arcs.extend(sessions.iter().map(|&(from, to)| Arc { from, to, why: Why::Session }));
        // Decide what the known arcs imply, and look for a cycle among all arcs found.
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
        // No cycle: any order that agrees with the arcs is a candidate, and the reads decide. If no
        // alternative is open, every such order must explain them.
        let explains = self.explains(index, &order(index, &arcs));
        assert!(
            explains || !is_complete || planted!(AntiDependencyLost),
            "every alternative is decided, but the order that was found does not explain the reads"
        );
        (if explains { Serializability::Yes } else { Serializability::Unknown }, Vec::new())
    }

    /// Returns the arcs that follow directly from reads and stamps.
    fn known_arcs(&self, index: &Index<'_>, writers: &BTreeMap<Key, Writers>) -> Vec<Arc<Why>> {
        let mut arcs = Vec::new();
        // The stamped writers of each key, in a chain: the rest of their order is transitive.
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
            // The reader comes before the next writer by stamp; later ones follow that one in the
            // chain.
            let next = match read.writer {
                None => of_key.stamped().first(),
                Some(writer) => {
                    let place = of_key.place(index, writer);
                    place.and_then(|place| of_key.stamped().get(place + 1))
                }
            };
            // A reader of version 0 comes before every writer of the key, with or without a stamp.
            let unstamped = if read.writer.is_none() { of_key.unstamped() } else { &[] };
            for &(_, to, value) in next.into_iter().chain(unstamped) {
                if to != read.reader && !planted!(AntiDependencyLost) {
                    arcs.push(Arc { from: read.reader, to, why: Why::Replaced(at, value) });
                }
            }
        }
        arcs
    }

    /// Returns the alternatives that the stamps leave open, at most [`OPEN_LEN_MAX`] and one more.
    fn open(&self, index: &Index<'_>, writers: &BTreeMap<Key, Writers>) -> Vec<Open> {
        let mut open = Vec::new();
        for (at, read) in self.reads.iter().enumerate() {
            let (Some(writer), Some(of_key)) = (read.writer, writers.get(&read.key)) else { continue };
            let is_placed = of_key.place(index, writer).is_some();
            // Between two stamped writers the stamps decide.
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

    /// Decides alternatives one side of which the known arcs exclude, and adds an arc for the other
    /// side. Returns true if no alternative is left open.
    fn decide(&self, index: &Index<'_>, arcs: &mut Vec<Arc<Why>>, mut open: Vec<Open>) -> bool {
        while !open.is_empty() {
            let Some(closure) = Closure::new(index, arcs) else { return false };
            let known = arcs.len();
            open.retain(|&Open { read: at, other, value }| {
                let Read { reader, writer, .. } = self.reads[at];
                let writer = writer.expect("a read of version 0 needs no alternatives");
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
                    // If one side is known to hold, the alternative needs no arc.
                    !(before(other, writer) || before(reader, other))
                }
            });
            // New arcs may decide further alternatives; without new arcs another round is useless.
            if arcs.len() == known {
                break;
            }
        }
        open.is_empty()
    }

    /// Returns true if every read returns the newest write before its reader in the given order.
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

    /// Returns a step of a cycle that explains an arc in terms of the history.
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

    /// Returns the index of a writer among those with a stamp, if it has one.
    fn place(&self, index: &Index<'_>, writer: u32) -> Option<usize> {
        let stamp = index.transaction(writer as usize).stamp;
        stamp?;
        let place = self.stamped().partition_point(|of| of.0 < stamp);
        self.stamped().get(place).is_some_and(|of| of.1 == writer).then_some(place)
    }
}

/// Returns the committed writers of every key.
fn writers(index: &Index<'_>) -> BTreeMap<Key, Writers> {
    let mut writers: BTreeMap<Key, Writers> = BTreeMap::new();
    for (key, value, writer) in index.committed_versions() {
        let of_key = writers.entry(key).or_insert_with(|| Writers { all: Vec::new(), stamped_len: 0 });
        of_key.all.push((index.transaction(writer as usize).stamp, writer, value));
    }
    for Writers { all, stamped_len } in writers.values_mut() {
        // Let only the first of several writers with the same stamp keep it.
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

/// Returns the committed transactions in an order that agrees with the arcs, which have no cycle.
/// Where the arcs leave a choice, the order is that of the history.
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

/// The transitive closure of the arcs, as a matrix of bits.
struct Closure {
    /// The number of each transaction among the committed ones.
    number: Vec<usize>,
    /// The row of bits of each number: a bit is set for each transaction that can be reached.
    rows: Vec<Vec<u64>>,
}

impl Closure {
    /// Builds the closure. Returns `None` if there are too many transactions, or if the arcs have a
    /// cycle, which decides the check anyway.
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
        // Topological order; transactions on or behind a cycle are missing from it.
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
        // In reverse order, so that the rows of all successors are complete.
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

    /// Returns true if the arcs lead from `from` to `to`.
    fn leads(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.number[from as usize], self.number[to as usize]);
        self.rows[from][to / 64] >> (to % 64) & 1 == 1
    }
}
