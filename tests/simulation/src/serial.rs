//! Serializable transactions: each read the newest versions, and there is an order in which all
//! could have run one after the other (protocol, section 13).
//!
//! On an exclusive store that order is the order of commit times. On a shared store it may be any
//! order. There the transactions of checked keys form a graph, with an edge from each transaction
//! to those that must come after it: because of a read or a write of a key, or because one was
//! reported before the other began. The graph must not have a cycle.

use std::collections::BTreeMap;

use aft_core::ids::{AttemptId, Key, NodeId, TxnId};
use aft_core::record::{Record, Write};
use aft_sim::verdict::{Verdict, broken};

use crate::attempt::{Attempt, Seen};
use crate::audit::{Audit, Scene};

impl Audit {
    /// Judges the order of serializable transactions when `record` lands. On an exclusive store it
    /// is the order of commit times: each has read the newest version of every key before its own
    /// time. The new commit may be earlier in that order than some that landed before it, so those
    /// are judged again.
    pub(crate) fn judge_serial(&self, record: &Record, attempt: &Attempt, scene: Scene<'_>) -> Verdict {
        if !scene.settings.exclusive {
            return self.judge_order(record.txn.attempt, scene);
        }
        if scene.requests[attempt.request].checked {
            self.judge_reads(record.txn, attempt)?;
        }
        let writer = (attempt.node, record);
        for later in self.commits.values() {
            let txn = later.record.txn;
            let Some(reader) = scene.attempt(txn.attempt) else { continue };
            if scene.requests[reader.request].checked {
                let mut reads = reader.read.iter();
                reads.try_for_each(|(key, seen)| {
                    self.judge_overtaking((later.life, txn), key, *seen, writer)
                })?;
            }
        }
        Ok(())
    }

    /// Judges the reads of a serializable transaction, as far as its client has been told of them.
    pub(crate) fn judge_reads(&self, reader: TxnId, attempt: &Attempt) -> Verdict {
        for (key, seen) in &attempt.read {
            for commit in self.commits.values() {
                self.judge_overtaking((attempt.node, reader), key, *seen, (commit.life, &commit.record))?;
            }
        }
        Ok(())
    }

    /// Judges a serializable reader with one writer, which must not come between the version that
    /// was read and the reader. Commit times increase within one life of the process that holds the
    /// store. After a clock was set back, those of a later life may be below those of an earlier
    /// one, so lives are compared first.
    fn judge_overtaking(
        &self,
        (life, reader): (Option<NodeId>, TxnId),
        key: &Key,
        seen: Seen,
        (writers_life, writer): (Option<NodeId>, &Record),
    ) -> Verdict {
        let is_other = writer.txn.attempt != reader.attempt;
        let is_between = is_other && (writers_life, writer.txn) < (life, reader);
        let is_newer = match (seen, writer.write(key)) {
            (_, None) => false,
            (Seen::Version(version), Some(_)) => version < writer.txn,
            // It is no newer version if the key was deleted after it; the tombstone may be gone.
            (Seen::Absent | Seen::Unlisted, Some(Write::Put(_))) => !self.is_deleted(key, writer.txn, reader),
            (Seen::Absent | Seen::Unlisted, Some(Write::Tombstone)) => false,
        };
        if is_between && is_newer {
            return broken(
                "section 13: a serializable transaction read what was newest before it",
                format!("{reader} read {key} as {seen:?}, which is older than {}", writer.txn),
            );
        }
        Ok(())
    }

    /// Returns true if `key` was deleted after `writer` and before `reader`.
    fn is_deleted(&self, key: &Key, writer: TxnId, reader: TxnId) -> bool {
        self.tombstones_since(key, writer).any(|deletion| deletion.txn < reader)
    }

    /// Judges a serializable transaction that only read and whose commit was sent at `asked_ms`: it
    /// did not miss a version that had landed before.
    pub(crate) fn judge_read_only(&self, attempt: &Attempt, asked_ms: u64) -> Verdict {
        for (key, seen) in &attempt.read {
            let Seen::Version(version) = seen else { continue };
            let newer = self.commits.values().find(|commit| {
                commit.record.txn > *version
                    && commit.landed_ms < asked_ms
                    && commit.record.write(key).is_some()
            });
            if let Some(newer) = newer {
                return broken(
                    "section 13: a serializable transaction read what was newest before it",
                    format!("{} read {key} at {version}, not at {}", attempt.id, newer.record.txn),
                );
            }
        }
        Ok(())
    }

    /// Judges that there is an order of the transaction `of` and all others of checked keys that
    /// have committed: the graph of the transactions that must come before others has no cycle
    /// through it.
    ///
    /// Searches the graph from `of` and back to it, and remembers for each transaction how it was
    /// reached, so that a violation can name the whole cycle.
    pub(crate) fn judge_order(&self, of: AttemptId, scene: Scene<'_>) -> Verdict {
        let nodes = self.nodes(scene);
        if !nodes.contains_key(&of) {
            return Ok(());
        }
        let versions = self.versions(&nodes);
        let mut seen: BTreeMap<AttemptId, (AttemptId, String)> = BTreeMap::new();
        let mut waiting = vec![of];
        while let Some(from) = waiting.pop() {
            for (to, why) in after(from, &nodes, &versions) {
                if seen.contains_key(&to) {
                    continue;
                }
                seen.insert(to, (from, why));
                if to != of {
                    waiting.push(to);
                    continue;
                }
                // A cycle: walk back along it to name its edges.
                let mut story = Vec::new();
                let mut at = of;
                while story.is_empty() || at != of {
                    let (before, why) = &seen[&at];
                    story.push(why.clone());
                    at = *before;
                }
                story.reverse();
                return broken(
                    "section 13: serializable transactions could have run one after the other",
                    story.join("; "),
                );
            }
        }
        Ok(())
    }

    /// Returns the committed transactions of checked keys: those with a record, and those that only
    /// read.
    fn nodes<'a>(&'a self, scene: Scene<'a>) -> BTreeMap<AttemptId, Node<'a>> {
        let mut nodes = BTreeMap::new();
        for commit in self.commits.values().filter(|commit| commit.record.follows.is_some()) {
            let txn = commit.record.txn;
            let Some(attempt) = scene.attempt(txn.attempt) else { continue };
            let node = Node {
                attempt,
                reads: locked_reads(attempt, scene),
                record: Some(&commit.record),
                landed_ms: commit.landed_ms,
                told_ms: commit.told_ms,
            };
            nodes.insert(txn.attempt, node);
        }
        for (reader, told_ms) in &self.readers {
            let Some(attempt) = scene.attempt(*reader) else { continue };
            let reads = locked_reads(attempt, scene);
            let (landed_ms, told_ms) = (*told_ms, Some(*told_ms));
            nodes.insert(*reader, Node { attempt, reads, record: None, landed_ms, told_ms });
        }
        nodes
    }

    /// Returns the versions of each checked key, oldest first, with their writes.
    fn versions<'a>(&self, nodes: &BTreeMap<AttemptId, Node<'a>>) -> Versions<'a> {
        let mut versions: Versions<'a> = BTreeMap::new();
        for record in nodes.values().filter_map(|node| node.record) {
            for (key, write) in record.writes.iter() {
                versions.entry(key).or_default().insert(record.txn, write);
            }
        }
        versions
    }
}

type Versions<'a> = BTreeMap<&'a Key, BTreeMap<TxnId, &'a Write>>;

/// A transaction in the graph.
struct Node<'a> {
    attempt: &'a Attempt,
    reads: Vec<(&'a Key, Seen)>,
    record: Option<&'a Record>,
    /// The latest time at which it may have committed.
    landed_ms: u64,
    /// The time at which it was first reported.
    told_ms: Option<u64>,
}

/// Returns the reads of checked keys by an attempt.
fn locked_reads<'a>(attempt: &'a Attempt, scene: Scene<'a>) -> Vec<(&'a Key, Seen)> {
    let reads = attempt.read.iter().filter(|(key, _)| scene.settings.locks(key));
    reads.map(|(key, seen)| (key, *seen)).collect()
}

/// Returns the transactions that must come after `from`, each with the reason.
fn after(
    from: AttemptId,
    nodes: &BTreeMap<AttemptId, Node<'_>>,
    versions: &Versions<'_>,
) -> Vec<(AttemptId, String)> {
    let node = &nodes[&from];
    let mut all = Vec::new();
    let mut next = |key: &Key, after: TxnId, why: &str| {
        let later = versions
            .get(key)
            .and_then(|of| of.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded)).next());
        if let Some((txn, _)) = later
            && txn.attempt != from
        {
            all.push((txn.attempt, format!("{from} {why} {key} before {}", txn.attempt)));
        }
    };
    // After what it wrote or read comes the next version of the same key.
    for (key, _) in node.record.iter().flat_map(|record| record.writes.iter()) {
        next(key, node.record.expect("it has writes").txn, "wrote");
    }
    for (key, seen) in &node.reads {
        match seen {
            Seen::Version(version) => next(key, *version, "read"),
            // A condition says only that there was no value: the deletion may have landed in the
            // same millisecond as the commit.
            Seen::Absent | Seen::Unlisted => {
                let until_ms = node.landed_ms + u64::from(*seen == Seen::Unlisted);
                // The key may have been absent several times: the last one before the commit
                // counts.
                let of = versions.get(key);
                let own = node.record.map(|record| record.txn);
                let deletions = of.into_iter().flatten().filter(|(txn, write)| {
                    let landed = nodes[&txn.attempt].landed_ms < until_ms;
                    landed && own != Some(**txn) && ***write == Write::Tombstone
                });
                let last = deletions.map(|(txn, _)| *txn).max().unwrap_or(TxnId::ZERO);
                next(key, last, "read the absence of");
            }
        }
    }
    // After it come its readers, and all that began after it was reported.
    for (other, reader) in nodes.iter().filter(|(other, _)| **other != from) {
        let reads_own = |record: &Record| {
            reader.reads.iter().any(|(_, seen)| matches!(seen, Seen::Version(txn) if *txn == record.txn))
        };
        if node.record.is_some_and(reads_own) {
            all.push((*other, format!("{other} read what {from} wrote")));
        }
        if node.told_ms.is_some_and(|told_ms| told_ms < reader.attempt.begun_ms) {
            all.push((*other, format!("{from} was reported before {other} began")));
        }
    }
    all
}
