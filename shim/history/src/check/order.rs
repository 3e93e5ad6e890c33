//! The check without a known order: it decides whether any order of versions explains the reads.
//!
//! Transactions are nodes, and an arc means "before, in every order". Arcs come from reads (a
//! writer comes before its readers), from [`constraints`](super::constraints), and from sessions on
//! request. Such an order exists if and only if the graph has no cycle. The virtual first
//! transaction is not in the graph: it comes before all others, so an arc into it is a cycle by
//! itself, and [`fracture`](super::fracture) has already reported it as a fracture.
//!
//! The graph of read committed has a part of these arcs, and those of repeated reads.

use std::collections::BTreeSet;

use super::constraints::{Constraint, Constraints};
use super::cycle::{self, Arc};
use super::index::Index;
use super::reads::Seen;
use crate::{Because, Cycle, Edge, Key, Level, Value, Version};

/// The fact that a transaction read a write of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) writer: u32,
    pub(crate) reader: u32,
    pub(crate) key: Key,
    pub(crate) value: Value,
}

/// The fact that a session had committed a write of a key, and a later transaction of the session
/// read another version of the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionSibling {
    pub(crate) reader: u32,
    /// The session's own last writer of the key.
    pub(crate) own: u32,
    pub(crate) own_value: Value,
    /// The version that was read; never version 0.
    pub(crate) read: Seen,
}

/// The reason for an arc: an index into one of the lists of [`Order`] or of the constraints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Read(usize),
    Constraint(usize),
    Session,
    SessionSibling(usize),
    Stamps,
}

/// See the file's head.
#[derive(Default)]
pub(crate) struct Order {
    /// One entry for each pair of a reader and a transaction that it read from.
    reads: Vec<Read>,
    /// Pairs of consecutive transactions of a session.
    sessions: Vec<(u32, u32)>,
    session_siblings: Vec<SessionSibling>,
    /// A reused buffer of `add_reads`.
    by_writer: Vec<(u32, Key, Value)>,
}

impl Order {
    /// Adds the rule that every writer comes before the reader.
    pub(crate) fn add_reads(&mut self, reader: usize, seen: &[Seen]) {
        let reader = u32::try_from(reader).expect("the number of transactions was checked");
        self.by_writer.clear();
        self.by_writer.extend(seen.iter().filter_map(|seen| Some((seen.writer?, seen.key, seen.value))));
        self.by_writer.sort_unstable();
        self.by_writer.dedup_by_key(|(writer, ..)| *writer);
        let reads = self.by_writer.iter().map(|&(writer, key, value)| Read { writer, reader, key, value });
        self.reads.extend(reads);
    }

    /// Adds the rule that one transaction comes before the next one of its session.
    pub(crate) fn add_session(&mut self, before: u32, after: u32) {
        self.sessions.push((before, after));
    }

    /// Adds the rule that a session's own write comes before the version that was read instead.
    pub(crate) fn add_session_sibling(&mut self, sibling: SessionSibling) {
        self.session_siblings.push(sibling);
    }

    /// Returns the pairs of consecutive transactions of a session.
    pub(crate) fn sessions(&self) -> &[(u32, u32)] {
        &self.sessions
    }

    /// Returns the pairs of a reader and a transaction that it read from.
    pub(crate) fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// Returns a shortest cycle for each strongly connected component: no order of versions
    /// explains the reads in it.
    pub(crate) fn cycles(&self, index: &Index<'_>, constraints: &Constraints) -> Vec<Cycle> {
        let found = cycle::search(index.len(), self.arcs(constraints, Level::ReadAtomic));
        let has_repeated = constraints.all().iter().any(|constraint| constraint.for_repeated);
        if found.cycles.is_empty() && !has_repeated {
            return Vec::new();
        }
        let weaker = cycle::search(index.len(), self.arcs(constraints, Level::ReadCommitted));
        // Breaking the weaker level is worse. Do not report the same component again for the
        // stronger level.
        let told: BTreeSet<u32> =
            weaker.cycles.iter().flatten().map(|arc| found.component[arc.from as usize]).collect();
        let untold =
            found.cycles.iter().filter(|arcs| !told.contains(&found.component[arcs[0].from as usize]));
        let explain = |arcs: &Vec<Arc<Why>>, breaks| Cycle {
            edges: arcs.iter().map(|arc| self.explain(index, constraints, arc)).collect(),
            breaks,
        };
        let weaker = weaker.cycles.iter().map(|arcs| explain(arcs, Level::ReadCommitted));
        weaker.chain(untold.map(|arcs| explain(arcs, Level::ReadAtomic))).collect()
    }

    /// Returns a shortest cycle for each component that is connected only by the stamps, at levels
    /// weaker than `broken`, the weakest level that is known to be broken.
    ///
    /// It is needed where constraints cannot be compared with stamps one by one, because some
    /// stamps are missing or sessions order transactions, too.
    pub(crate) fn stamp_cycles(
        &self,
        index: &Index<'_>,
        constraints: &Constraints,
        broken: Option<Level>,
    ) -> Vec<Cycle> {
        let stamps = stamp_arcs(index);
        if stamps.is_empty() || planted!(StampChainLost) {
            return Vec::new();
        }
        for level in [Level::ReadCommitted, Level::ReadAtomic] {
            if broken.is_some_and(|broken| broken <= level) {
                break;
            }
            let mut arcs = self.arcs(constraints, level);
            arcs.extend(&stamps);
            let found = cycle::search(index.len(), arcs);
            if !found.cycles.is_empty() {
                let explain = |arcs: &Vec<Arc<Why>>| Cycle {
                    edges: shorten(arcs).iter().map(|arc| self.explain(index, constraints, arc)).collect(),
                    breaks: level,
                };
                return found.cycles.iter().map(explain).collect();
            }
        }
        Vec::new()
    }

    /// Returns the arcs that a level requires.
    fn arcs(&self, constraints: &Constraints, level: Level) -> Vec<Arc<Why>> {
        let demanded = |constraint: &Constraint| match level {
            Level::Serializable | Level::ReadAtomic => !constraint.for_repeated,
            Level::ReadCommitted | Level::None => constraint.read_committed,
        };
        let reads = self.reads.iter().enumerate().filter(|_| !planted!(ReadEdgesLost));
        let reads = reads.map(|(at, read)| Arc { from: read.writer, to: read.reader, why: Why::Read(at) });
        let siblings = constraints.all().iter().enumerate().filter(|(_, constraint)| demanded(constraint));
        let siblings = siblings.filter_map(|(at, constraint)| {
            let to = constraint.read.writer?;
            Some(Arc { from: constraint.newer, to, why: Why::Constraint(at) })
        });
        let sessions = self.sessions.iter().map(|&(from, to)| Arc { from, to, why: Why::Session });
        let mut arcs: Vec<_> = reads.chain(siblings).chain(sessions).collect();
        if level == Level::ReadAtomic {
            arcs.extend(self.session_siblings.iter().enumerate().filter_map(|(at, sibling)| {
                let to = sibling.read.writer?;
                Some(Arc { from: sibling.own, to, why: Why::SessionSibling(at) })
            }));
        }
        arcs
    }

    /// Returns a step of a cycle that explains an arc in terms of the history.
    fn explain(&self, index: &Index<'_>, constraints: &Constraints, arc: &Arc<Why>) -> Edge {
        let because = match arc.why {
            Why::Read(at) => {
                let Read { writer, key, value, .. } = self.reads[at];
                Because::Read { version: index.version(key, value, Some(writer)) }
            }
            Why::Constraint(at) => {
                let constraint = &constraints.all()[at];
                let key = constraint.read.key;
                Because::Sibling {
                    reader: index.id(constraint.reader as usize),
                    seen: constraint.seen.version(index),
                    sibling: index.version(key, constraint.sibling, Some(constraint.newer)),
                    read: constraint.read.version(index),
                }
            }
            Why::Session => Because::Session { session: index.transaction(arc.to as usize).session },
            Why::Stamps => {
                let stamp = |at: u32| index.transaction(at as usize).stamp.expect("stamp arcs join stamps");
                Because::Stamps { before: stamp(arc.from), after: stamp(arc.to) }
            }
            Why::SessionSibling(at) => {
                let SessionSibling { reader, own, own_value, read } = self.session_siblings[at];
                let own: Version = index.version(read.key, own_value, Some(own));
                Because::SessionSibling { reader: index.id(reader as usize), own, read: read.version(index) }
            }
        };
        Edge { before: index.id(arc.from as usize), after: index.id(arc.to as usize), because }
    }
}

/// Returns a chain of arcs through all stamped commits. Of commits that share a stamp (which is
/// reported elsewhere) only one is in the chain.
fn stamp_arcs(index: &Index<'_>) -> Vec<Arc<Why>> {
    let places = (0_u32..).zip(index.transactions());
    let stamped = places.filter(|(at, _)| index.is_committed(*at as usize));
    let mut stamped: Vec<_> =
        stamped.filter_map(|(at, transaction)| Some((transaction.stamp?, at))).collect();
    stamped.sort_unstable();
    stamped.dedup_by_key(|(stamp, _)| *stamp);
    stamped
        .array_windows()
        .map(|[(_, from), (_, to)]| Arc { from: *from, to: *to, why: Why::Stamps })
        .collect()
}

/// Returns the same cycle with each run of steps along the chain of stamps replaced by one step.
fn shorten(arcs: &[Arc<Why>]) -> Vec<Arc<Why>> {
    let mut arcs = arcs.to_vec();
    // Begin with a step that is not of the chain, so that no run is split between the ends. Such a
    // step exists, because the chain of stamps alone has no cycle.
    let first = arcs.iter().position(|arc| arc.why != Why::Stamps).expect("the chain of stamps is no ring");
    arcs.rotate_left(first);
    arcs.dedup_by(|next, run| {
        let is_run = next.why == Why::Stamps && run.why == Why::Stamps;
        if is_run {
            run.to = next.to;
        }
        is_run
    });
    arcs
}
