//! Constraints that the reads of a transaction impose on every order of versions.
//!
//! Rule: if a reader saw `A` (read anything from it) and read `l` from `B`, and `A` wrote `l` too
//! and is not `B`, then `B` is newer than `A`; otherwise the reader should have got `A`'s `l`.
//! Version 0 is newer than nothing, so `B` cannot be the virtual first transaction at all.
//!
//! For read committed the rule applies only to reads after `A` was first seen; for read atomic it
//! applies to all reads. This is the axiom of Biswas and Enea (OOPSLA 2019), and cases 1 and 2 of
//! the paper's Algorithm 1.
//!
//! If a key was read in several versions, read atomic takes the first (the others are reported as
//! non-repeatable), and read committed takes the first that is not `A`'s after `A` was seen: the
//! rule for `B` covers the versions after that one, and so on.

use super::index::Index;
use super::reads::Seen;
use crate::{Direction, Value};

/// `A` (the writer of `seen`) must come before `B` (the writer of `read`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constraint {
    /// The place of the reader in the history.
    pub(crate) reader: u32,
    /// The place of `A`, which is newer than `read` if the constraint is broken.
    pub(crate) newer: u32,
    /// The read by which the reader first saw `A`.
    pub(crate) seen: Seen,
    /// The value that `A` left in the key of `read`.
    pub(crate) sibling: Value,
    /// The version that was read instead.
    pub(crate) read: Seen,
    /// True if read committed requires it. Read atomic may not (see `for_repeated`).
    pub(crate) read_committed: bool,
    /// True if it comes only from a repeated read that returned another version, which is already
    /// reported as a violation of read atomic.
    pub(crate) for_repeated: bool,
}

impl Constraint {
    /// Returns the order in which `seen` and `read` were read.
    pub(crate) const fn direction(&self) -> Direction {
        if self.read_committed { Direction::NewerFirst } else { Direction::OlderFirst }
    }
}

/// The constraints of all readers.
#[derive(Default)]
pub(crate) struct Constraints {
    all: Vec<Constraint>,
    /// A reused buffer of the reads, sorted by writer.
    by_writer: Vec<Seen>,
}

impl Constraints {
    pub(crate) fn all(&self) -> &[Constraint] {
        &self.all
    }

    /// Adds the constraints from one reader's good reads, sorted by key, then by time.
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
            // Iterate over the smaller of the two sets and search the other: a large reader of many
            // writers, or a large writer with many readers, must not cost the product of the sizes.
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

    /// Adds the constraints for one key that `A` wrote. `runs` are the reader's reads of the key.
    fn add_key(&mut self, saw: &Saw, sibling: Value, runs: &[Seen]) {
        let [first, ..] = runs else { return };
        if planted!(OneSiblingOnly) && first.key > saw.seen.key {
            return;
        }
        let other = |run: &&Seen| run.writer != Some(saw.newer);
        // Read committed: the first read of another version after `A` was seen. Adjacent runs
        // have different writers, so this looks at two runs at most.
        let later = runs.partition_point(|run| run.last < saw.seen.first);
        let later = runs[later..].iter().find(other);
        // Read atomic: the first version that was read of the key, before or after `A` was seen.
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
        // Do not add the same version twice.
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

/// The fact that a reader saw a transaction.
struct Saw {
    reader: u32,
    newer: u32,
    /// The first read from it.
    seen: Seen,
    /// True if all reads from it are repeated reads of keys that had returned another version
    /// before.
    only_repeated: bool,
}
