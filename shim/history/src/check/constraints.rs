//! What every order of versions must satisfy, from one reader's reads.
//!
//! Rule: a reader saw `A` (read anything from it), and read `l` from `B`; `A` wrote `l`, too, and is not `B`. Then
//! `B` is newer than `A`, or the reader should have got `A`'s `l`. Version 0 is nobody's successor, so `B` cannot be
//! the virtual first transaction at all.
//!
//! For read committed the rule binds only reads that come after `A` was first seen; for read atomic all of them.
//! This is the axiom of Biswas and Enea (OOPSLA 2019), and cases 1 and 2 of the paper's Algorithm 1.
//!
//! Of a key that was read in several versions, read atomic takes the first (the rest is reported as
//! non-repeatable), and read committed the first that is not `A`'s after `A` was seen: the versions after that one
//! are bound by the rule for `B`, and so on.

use super::index::Index;
use super::reads::Seen;
use crate::{Direction, Value};

/// `A` (the writer of `seen`) must come before `B` (the writer of `read`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constraint {
    /// Who read.
    pub(crate) reader: u32,
    /// The newer transaction, `A`: its place.
    pub(crate) newer: u32,
    /// How `A` was seen first.
    pub(crate) seen: Seen,
    /// What `A` left in the key of `read`.
    pub(crate) sibling: Value,
    /// What was read instead.
    pub(crate) read: Seen,
    /// Whether read committed demands it; read atomic may not (see `for_repeated`).
    pub(crate) read_committed: bool,
    /// Whether it comes only from a repeated read that returned another version, which read atomic reports already.
    pub(crate) for_repeated: bool,
}

impl Constraint {
    /// Which of the two was read first.
    pub(crate) const fn direction(&self) -> Direction {
        if self.read_committed { Direction::NewerFirst } else { Direction::OlderFirst }
    }
}

/// The constraints of all readers.
#[derive(Default)]
pub(crate) struct Constraints {
    all: Vec<Constraint>,
    /// Scratch: the reads by writer.
    by_writer: Vec<Seen>,
}

impl Constraints {
    pub(crate) fn all(&self) -> &[Constraint] {
        &self.all
    }

    /// Adds what one reader's good reads (sorted by key, then by time) demand.
    pub(crate) fn add_reader(&mut self, index: &Index<'_>, reader: usize, seen: &[Seen]) {
        let reader = u32::try_from(reader).expect("the number of transactions was checked");
        let mut by_writer = std::mem::take(&mut self.by_writer);
        by_writer.clear();
        by_writer.extend(seen.iter().filter(|seen| seen.writer.is_some()));
        by_writer.sort_unstable_by_key(|seen| (seen.writer, seen.first));
        let keys = seen.chunk_by(|a, b| a.key == b.key).count();
        for of_writer in by_writer.chunk_by(|a, b| a.writer == b.writer) {
            let newer = of_writer[0].writer.expect("version 0 was filtered out");
            let saw = Saw {
                reader,
                newer,
                seen: of_writer[0],
                only_repeated: of_writer.iter().all(|seen| !seen.is_first),
            };
            let write_set = index.write_set(newer as usize);
            // The smaller of the two sets leads, the other one is searched.
            if write_set.len() <= keys {
                for (key, sibling) in write_set {
                    let start = seen.partition_point(|seen| seen.key < *key);
                    let len = seen[start..].partition_point(|seen| seen.key == *key);
                    self.add_key(&saw, *sibling, &seen[start..start + len]);
                }
            } else {
                for of_key in seen.chunk_by(|a, b| a.key == b.key) {
                    if let Some(sibling) = index.last_write(newer as usize, of_key[0].key) {
                        self.add_key(&saw, sibling, of_key);
                    }
                }
            }
        }
        self.by_writer = by_writer;
    }

    /// Adds what follows for one key that the reader read (in these versions) and `A` wrote.
    fn add_key(&mut self, saw: &Saw, sibling: Value, runs: &[Seen]) {
        let [first, ..] = runs else { return };
        if planted!(OneSiblingOnly) && first.key > saw.seen.key {
            return;
        }
        let other = |run: &&Seen| run.writer != Some(saw.newer);
        // Neighbouring runs differ, so this looks at two runs at most.
        let later = runs.partition_point(|run| run.last < saw.seen.first);
        let later = runs[later..].iter().find(other);
        let binds_first = !saw.only_repeated && other(&first);
        let first_is_later = later.is_some_and(|later| later.writer == first.writer);
        let constraint = |read: Seen, read_committed, for_repeated| Constraint {
            reader: saw.reader,
            newer: saw.newer,
            seen: saw.seen,
            sibling,
            read,
            read_committed,
            for_repeated,
        };
        if binds_first {
            self.push(constraint(*first, first_is_later, false));
        }
        if let Some(later) = later
            && !(binds_first && first_is_later)
        {
            self.push(constraint(*later, true, true));
        }
    }

    fn push(&mut self, constraint: Constraint) {
        let lost = match constraint.direction() {
            Direction::NewerFirst => planted!(LowerBoundLost),
            Direction::OlderFirst => planted!(UpperBoundLost),
        };
        if !lost {
            self.all.push(constraint);
        }
    }
}

/// That a reader saw a transaction.
struct Saw {
    reader: u32,
    newer: u32,
    /// The first read from it.
    seen: Seen,
    /// Whether nothing was read from it but in repeated reads that had returned another version before.
    only_repeated: bool,
}
