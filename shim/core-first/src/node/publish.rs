//! Publishing: one version entry a key, so that a node which has never heard of the key finds the version (protocol, section 4).
//!
//! Not part of the commit: late, repeated, or done by another node it changes nothing, names being functions of the record. The one danger is a
//! publisher so late that the transaction has been collected meanwhile; so it works within a bound, and beyond it reads the record again.

use std::sync::Arc;

use crate::ids::{Key, TxnId};
use crate::message::{Committed, Header, Note};
use crate::record::VersionEntry;
use crate::store::{Answer, Body, Call, Name};

use super::script::{Pending, Run, failure};
use super::tasks::Purpose;
use super::transaction::CommitWaiter;
use super::{Node, Timer};

/// A commit of this node whose version entries are not all durable yet.
#[derive(Debug, Clone, Hash)]
pub(super) struct Unpublished {
    header: Arc<Header>,
    /// When it committed, by the monotonic clock; `None` of one that was found to have committed some time ago.
    since_mono: Option<u64>,
    /// Those whose acknowledgement waits for it.
    pub(super) waiters: Vec<(CommitWaiter, Committed)>,
}

/// The version entry of one key of a transaction.
pub(super) fn version_entry(header: &Header, key: &Key) -> VersionEntry {
    let at = header
        .writes
        .binary_search_by(|(other, _)| other.cmp(key))
        .expect("a version's key is in its write set");
    VersionEntry {
        txn: header.txn,
        hash: header.hash,
        meta: header.writes[at].1.clone(),
        cowritten: header.writes.len().try_into().expect("write sets are bounded"),
    }
}

/// The calls that enter all of a transaction's versions.
pub(super) fn entries(header: &Header) -> impl Iterator<Item = Call> {
    header
        .writes
        .iter()
        .map(|(key, _)| Call::Put(Name::Version(key.clone(), version_entry(header, key)), Body::Empty))
}

impl Node {
    /// How long a publisher may work after it was sure of the record.
    pub(super) fn publish_bound_ms(&self) -> u64 {
        self.settings.slack_ms - self.settings.skew_max_ms
    }

    pub(super) fn publish(&mut self, header: Arc<Header>, waiters: Vec<(CommitWaiter, Committed)>) {
        let since_mono = Some(self.now.mono_ms);
        self.start_publishing(Unpublished { header, since_mono, waiters });
    }

    /// Publishes a commit of this node that was found in the store.
    pub(super) fn publish_found(&mut self, header: Arc<Header>) {
        self.start_publishing(Unpublished { header, since_mono: None, waiters: Vec::new() });
    }

    fn start_publishing(&mut self, unpublished: Unpublished) {
        let txn = unpublished.header.txn;
        self.publishing.insert(txn, unpublished);
        self.publish_now(txn);
    }

    /// Starts the publisher of a commit that still waits for it.
    pub(super) fn publish_now(&mut self, txn: TxnId) {
        if self.publishing.contains_key(&txn) {
            let until = self.now.mono_ms + self.publish_bound_ms();
            self.start_task(Purpose::Publish(txn), Some(until));
        }
    }

    pub(super) fn publish_script(&mut self, run: &mut Run<'_>, txn: TxnId) -> Result<(), Pending> {
        let Some(unpublished) = self.publishing.get(&txn) else { return Ok(()) };
        let (header, since) = (unpublished.header.clone(), unpublished.since_mono);
        // The first publisher starts with the commit, so its calls end within the bound; a later one must be sure of the record again.
        if run.note_if(|| since.is_none_or(|since| self.now.mono_ms > since)) {
            let asked = run.note(|| self.now.mono_ms);
            match run.ask(|| Call::Get(Name::Commit(header.hash)))? {
                Answer::Got(Some((Body::Record(record), _)))
                    if record.txn == txn && record.full().is_some() =>
                {
                    if !run.note_if(|| self.now.mono_ms <= asked + self.publish_bound_ms()) {
                        self.publish_later(txn);
                        return Ok(());
                    }
                }
                Answer::Failed(_) => {
                    self.publish_later(txn);
                    return Ok(());
                }
                // Slim or gone: somebody published it, and it was collected since.
                _ => {
                    self.published(txn);
                    return Ok(());
                }
            }
        }
        let answers = run.ask_all(entries(&header))?;
        match failure(&answers) {
            Some(_) => self.publish_later(txn),
            None => self.published(txn),
        }
        Ok(())
    }

    fn publish_later(&mut self, txn: TxnId) {
        self.timers.insert((self.now.mono_ms + self.settings.retry_max_ms, Timer::Publish(txn)));
    }

    fn published(&mut self, txn: TxnId) {
        let Some(Unpublished { header, waiters, .. }) = self.publishing.remove(&txn) else { return };
        self.index.published(&header, self.now.mono_ms, self.calls.next_id());
        self.versions_entered(txn.attempt);
        self.note(Note::Published(txn));
        for (waiter, committed) in waiters {
            self.reply_committed(waiter, committed);
        }
    }
}
