//! Choosing versions: the paper's AtomicRead (section 3.2, Algorithm 1), with what a cold or lagging node needs besides (protocol, section 5).
//!
//! Rule. The version returned for `k` is the newest known one that is (1) not older than the newest version of `k` written by a transaction
//! whose write was read already, and (2) not written by a transaction that also wrote some `l` that was read at an older version.
//!
//! Why the read set stays atomic: by induction over reads. (1) keeps older reads valid for the new version's key, (2) keeps the new version's
//! cowritten keys valid for older reads; nothing else relates two reads.
//!
//! A choice enters the read set at once, so that several reads of one transaction can be under way; until the client is told of it, it may be taken
//! back, which only loosens what others were chosen under, and lets those choose anew that had settled on it. What is missing for a choice (a listing, a record, a marker) is asked for,
//! shared between operations, and the choice is made anew when it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, Key, RequestHash, TxnId};
use crate::message::{Batch, Found, Header, ListKeys, Refusal, Ticket};
use crate::record::{Kind, Meta, VersionEntry, Write};
use crate::store::{Answer, Body, Call, CallError, Group, Name};

use super::Node;
use super::begin::refusal_of;
use super::calls::Owner;
use super::index::{Knowledge, ListedPage, Source};
use super::transaction::ReadVersion;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OperationId(pub(super) u64);

/// How often an operation lists one key again because something was found gone or too old, before it gives up. Each round needs a collection at just
/// that moment, or a store that takes as long as a listing may be old.
const ROUNDS_MAX: u32 = 64;

/// Reads under way for one verb.
#[derive(Debug, Clone, Hash)]
pub(super) struct Operation {
    pub(super) ticket: Ticket,
    pub(super) attempt: AttemptId,
    pub(super) purpose: OperationPurpose,
    pub(super) wanted: BTreeMap<Key, Want>,
    /// Store calls are repeated until then, by the monotonic clock.
    pub(super) until_mono: u64,
    /// How often a key was listed again.
    rounds: BTreeMap<Key, u32>,
    /// Whether a key has a marker, and the number of the call that asked.
    markers: BTreeMap<Key, (bool, u64)>,
}

/// What the reads are for.
#[derive(Debug, Clone, Hash)]
pub(super) enum OperationPurpose {
    /// A batch, perhaps the one that came with its begin.
    Batch {
        /// The batch.
        batch: Batch,
        /// What each `Get` finds; `None`: in `wanted`.
        reads: Vec<(Key, Option<Found>)>,
        /// Reply as to a begin.
        begun: bool,
    },
    /// A listing, with the page of keys once it has come.
    List(ListKeys, Option<super::list::KeysPage>),
}

/// How far one key has come.
#[derive(Debug, Clone, Hash)]
pub(super) enum Want {
    /// No version is chosen yet.
    Choosing,
    /// The value of this version is asked for.
    Fetching(TxnId),
    /// Done. For a listing, without the value.
    Found(Found),
    /// Done; a listing needs no more than the read set now holds.
    Listed,
}

/// The outcome of one look at a key.
enum Choice {
    /// In the read set already, or just now.
    Version(Arc<Header>),
    Absent,
    /// Something was asked for.
    Missing,
    /// No compatible version remains.
    Gone,
    /// The read set has no room for it.
    Full,
}

impl Node {
    /// Starts reads for a verb. Keys in `wanted` are not in the write buffer.
    pub(super) fn start_operation(
        &mut self,
        ticket: Ticket,
        attempt: AttemptId,
        purpose: OperationPurpose,
        wanted: BTreeSet<Key>,
    ) {
        let id = OperationId(self.operation_ids);
        self.operation_ids += 1;
        wanted.iter().for_each(|key| self.index.pin(key));
        let operation = Operation {
            ticket,
            attempt,
            purpose,
            wanted: wanted.into_iter().map(|key| (key, Want::Choosing)).collect(),
            until_mono: self.now.mono_ms + self.settings.store_patience_ms,
            rounds: BTreeMap::new(),
            markers: BTreeMap::new(),
        };
        let transaction = self.transactions.get_mut(&attempt).expect("verbs are for open transactions");
        transaction.operations += 1;
        if let OperationPurpose::List(list, None) = &operation.purpose {
            let list = list.clone();
            self.operations.insert(id, operation);
            return self.ask_keys_page(id, &list);
        }
        self.advance(id, operation);
    }

    /// Takes every key as far as it goes, and finishes when all are done.
    pub(super) fn advance(&mut self, id: OperationId, mut operation: Operation) {
        loop {
            let choosing: Vec<Key> = operation
                .wanted
                .iter()
                .filter(|(_, want)| matches!(want, Want::Choosing))
                .map(|(key, _)| key.clone())
                .collect();
            for key in choosing {
                match self.choose(id, &operation, &key) {
                    Choice::Missing => {}
                    Choice::Gone => return self.operation_failed(operation, Refusal::SnapshotGone(key)),
                    Choice::Full => {
                        let refusal = super::run::too_many_reads(self.settings.read_set_len_max);
                        return self.operation_failed(operation, refusal);
                    }
                    Choice::Absent => {
                        let done = match &operation.purpose {
                            OperationPurpose::Batch { .. } => Want::Found(Found::Absent),
                            OperationPurpose::List(..) => Want::Listed,
                        };
                        operation.wanted.insert(key, done);
                    }
                    Choice::Version(header) => {
                        let want = self.want_value(id, &operation, &key, &header);
                        operation.wanted.insert(key, want);
                    }
                }
            }
            let done = operation.wanted.values().all(|want| matches!(want, Want::Found(_) | Want::Listed));
            if !done {
                self.operations.insert(id, operation);
                return;
            }
            if !self.more_keys(&mut operation) {
                break;
            }
        }
        self.operation_succeeded(operation);
    }

    fn want_value(
        &mut self,
        id: OperationId,
        operation: &Operation,
        key: &Key,
        header: &Arc<Header>,
    ) -> Want {
        if let OperationPurpose::List(..) = operation.purpose {
            return Want::Listed;
        }
        if meta_of(header, key).kind == Kind::Tombstone {
            return Want::Found(Found::Version(header.txn, Write::Tombstone));
        }
        let call = Call::Fetch { hash: header.hash, txn: header.txn, key: key.clone() };
        self.call(Owner::Fetch(id, key.clone()), call, Some(operation.until_mono));
        Want::Fetching(header.txn)
    }

    /// Protocol 5.1 to 5.6 for one key, as far as what is known allows.
    fn choose(&mut self, id: OperationId, operation: &Operation, key: &Key) -> Choice {
        let transaction = &self.transactions[&operation.attempt];
        if let Some(ReadVersion { header, .. }) = transaction.reads.get(key) {
            return header.clone().map_or(Choice::Absent, Choice::Version);
        }
        if transaction.listed_as_absent(key) {
            return Choice::Absent;
        }
        if transaction.reads.len() >= self.settings.read_set_len_max {
            return Choice::Full;
        }
        let rounds = operation.rounds.get(key).copied().unwrap_or_default();
        if rounds > ROUNDS_MAX {
            return Choice::Gone;
        }
        let bug = super::bug_of(&self.settings);
        let bug = |planted| bug == Some(planted);
        let bound = if bug(Bug::DropLowerBound) { None } else { transaction.lower_bound(key).cloned() };
        let since_call = if transaction.collected.is_any() { transaction.began_call } else { 0 };
        let seen = transaction.collected.newest_of(key);
        let now_mono = self.now.mono_ms;
        let entry = self.index.entry(key);
        let since_call = since_call.max(entry.not_before_call);
        let once = bug(Bug::ListAgainOnlyOnce) && !operation.rounds.is_empty();
        let fresh = entry.listing.as_ref().filter(|listing| {
            let young =
                self.settings.exclusive || now_mono - listing.asked_mono <= self.settings.recheck_after_ms;
            young && listing.asked_call >= since_call
        });
        let (more_after, basis_mono, basis_call) = match fresh {
            Some(listing) => (listing.more_after.as_deref().cloned(), listing.asked_mono, listing.asked_call),
            None if once => (None, now_mono, 0),
            None => {
                self.ask_listing(id, operation, key, None, since_call);
                return Choice::Missing;
            }
        };
        // Newest first: what is known of the key, and the bound itself, which counts even if the index has forgotten it.
        let exclusive = self.settings.exclusive;
        let mut candidates: Vec<(TxnId, Knowledge, bool)> = entry
            .versions
            .iter()
            .map(|known| (known.txn, known.knowledge.clone(), exclusive || known.shown_since(basis_call)))
            .take_while(|(txn, ..)| bound.as_ref().is_none_or(|bound| *txn >= bound.txn))
            .collect();
        if let Some(bound) = &bound {
            let dead = candidates
                .iter()
                .any(|(txn, knowledge, _)| *txn == bound.txn && matches!(knowledge, Knowledge::Dead));
            candidates.retain(|(txn, ..)| *txn != bound.txn);
            if !dead {
                candidates.push((bound.txn, Knowledge::Header(bound.clone()), true));
            }
        }
        let mut rejected = false;
        for (txn, knowledge, shown) in candidates {
            if let Some(more) = more_after.as_ref().filter(|more| txn < more.txn) {
                let more = more.clone();
                self.ask_listing(id, operation, key, Some(more), 0);
                return Choice::Missing;
            }
            match knowledge {
                Knowledge::Dead => {}
                Knowledge::Entry(version) => {
                    self.ask_record(id, operation, key, version.hash, version.txn, 0);
                    return Choice::Missing;
                }
                Knowledge::Header(header) => {
                    let transaction = self.transactions.get_mut(&operation.attempt).expect("looked up above");
                    if transaction.rejects(&header, bug) {
                        rejected = true;
                        continue;
                    }
                    // The fresh listing does not name it: it may have been collected since it was heard of, with the tombstone above it, and its value
                    // may still be in the cache.
                    if !shown {
                        self.ask_record(id, operation, key, header.hash, header.txn, basis_call);
                        return Choice::Missing;
                    }
                    // What its session has seen was collected because of what has just been rejected.
                    if rejected && seen.is_some_and(|seen| header.txn < seen) {
                        return Choice::Gone;
                    }
                    transaction.add_read(key.clone(), Some(header.clone()), basis_mono);
                    return Choice::Version(header);
                }
            }
        }
        if let Some(more) = more_after.filter(|more| bound.as_ref().is_none_or(|bound| more.txn > bound.txn))
        {
            self.ask_listing(id, operation, key, Some(more), 0);
            return Choice::Missing;
        }
        if bound.is_some() || (rejected && seen.is_some()) {
            return Choice::Gone;
        }
        if rejected {
            match operation.markers.get(key) {
                Some((present, asked_call)) if *asked_call > basis_call => {
                    if *present {
                        return Choice::Gone;
                    }
                }
                Some(_) | None => {
                    let call = Call::Get(Name::Marker(key.clone()));
                    self.call(Owner::Marker(id, key.clone()), call, Some(operation.until_mono));
                    return Choice::Missing;
                }
            }
        }
        let transaction = self.transactions.get_mut(&operation.attempt).expect("looked up above");
        transaction.add_read(key.clone(), None, basis_mono);
        Choice::Absent
    }

    fn ask_listing(
        &mut self,
        id: OperationId,
        operation: &Operation,
        key: &Key,
        after: Option<VersionEntry>,
        since_call: u64,
    ) {
        let owner = Owner::Listing(key.clone(), after.clone());
        let limit = self.settings.version_page_len;
        let call = || Call::List {
            group: Group::Versions(key.clone()),
            after: after.map(|entry| Name::Version(key.clone(), entry)),
            limit,
        };
        self.call_shared(owner, call, id, since_call, operation.until_mono);
    }

    fn ask_record(
        &mut self,
        id: OperationId,
        operation: &Operation,
        key: &Key,
        hash: RequestHash,
        txn: TxnId,
        since_call: u64,
    ) {
        let owner = Owner::Record(hash, txn, key.clone());
        // A get, not a fetch: the record is wanted, of which a cached value tells nothing.
        let call = || Call::Get(Name::Commit(hash));
        self.call_shared(owner, call, id, since_call, operation.until_mono);
    }

    pub(super) fn listing_answered(
        &mut self,
        key: &Key,
        after: Option<&VersionEntry>,
        asked: (u64, u64),
        answer: Answer,
        waiters: &BTreeSet<OperationId>,
    ) {
        let answer = match answer {
            Answer::Failed(CallError::Damaged(_)) if self.planted(Bug::TakeDamageForAbsence) => {
                Answer::Listed { names: Vec::new(), more: false }
            }
            answer => answer,
        };
        match answer {
            Answer::Listed { names, more } => {
                let entries: Vec<VersionEntry> = names
                    .into_iter()
                    .map(|name| match name {
                        Name::Version(listed, entry) => {
                            assert_eq!(listed, *key, "a listing names its own key");
                            entry
                        }
                        other => unreachable!("a listing of versions holds {other:?}"),
                    })
                    .collect();
                let bug = super::bug_of(&self.settings);
                let page = ListedPage {
                    entries: &entries,
                    after: after.map(|entry| entry.txn),
                    more,
                    asked_mono: asked.0,
                    asked_call: asked.1,
                    now_mono: self.now.mono_ms,
                    recheck_after_ms: self.settings.recheck_after_ms,
                };
                self.index.listed(key, page, |planted| bug == Some(planted));
                self.advance_all(waiters);
            }
            answer => self.fail_all(waiters, &answer),
        }
    }

    /// A commit record that a scan needs for its write set.
    pub(super) fn record_answered(
        &mut self,
        txn: TxnId,
        key: &Key,
        asked_call: u64,
        answer: Answer,
        waiters: &BTreeSet<OperationId>,
    ) {
        match answer {
            Answer::Got(got) => {
                match full_header(got, txn) {
                    Some(header) => self.learn(&Arc::new(header), Source::Read(asked_call), Some(key)),
                    None => {
                        self.index.dead(txn, key, self.calls.next_id());
                        for waiter in waiters {
                            if let Some(operation) = self.operations.get_mut(waiter) {
                                *operation.rounds.entry(key.clone()).or_default() += 1;
                            }
                        }
                    }
                }
                self.advance_all(waiters);
            }
            answer => self.fail_all(waiters, &answer),
        }
    }

    pub(super) fn marker_answered(&mut self, id: OperationId, key: Key, asked_call: u64, answer: Answer) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        match answer {
            Answer::Got(got) => {
                operation.markers.insert(key, (got.is_some(), asked_call));
                self.advance(id, operation);
            }
            answer => self.operation_failed(operation, refusal_of(&answer)),
        }
    }

    pub(super) fn fetch_answered(&mut self, id: OperationId, key: Key, answer: Answer) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        let Some(Want::Fetching(txn)) = operation.wanted.get(&key).cloned() else {
            unreachable!("a fetched key is being fetched")
        };
        let transaction = &self.transactions[&operation.attempt];
        let read = transaction
            .reads
            .get(&key)
            .filter(|read| read.header.as_ref().is_some_and(|header| header.txn == txn));
        let delivered = read.is_some_and(|read| read.delivered);
        // Another read of the key under way has found this version gone and chosen anew: follow it.
        let superseded = read.is_none();
        // What the choice rests on is judged by age after the fetch: a paused node must not serve what was collected meanwhile.
        let stale = !self.settings.exclusive
            && !delivered
            && read.is_some_and(|read| self.now.mono_ms - read.basis_mono > self.settings.recheck_after_ms);
        let write = match answer {
            Answer::Cached(write) => Some(write),
            Answer::Got(got) => match got {
                Some((Body::Record(record), _)) if record.txn == txn => {
                    if let Some(header) = Header::of(&record) {
                        self.learn(&Arc::new(header), Source::Heard, Some(&key));
                    }
                    record.write(&key).cloned()
                }
                Some(_) | None => None,
            },
            answer @ Answer::Failed(
                CallError::NoAnswer | CallError::Busy | CallError::Refused(_) | CallError::Damaged(_),
            ) => {
                return self.operation_failed(operation, refusal_of(&answer));
            }
            answer => unreachable!("a fetch is answered {answer:?}"),
        };
        match write {
            Some(write) if !stale && !superseded => {
                operation.wanted.insert(key, Want::Found(Found::Version(txn, write)));
            }
            Some(_) => {
                self.choose_again(&mut operation, &key, txn);
            }
            None => {
                self.index.dead(txn, &key, self.calls.next_id());
                if delivered {
                    return self.operation_failed(operation, Refusal::SnapshotGone(key));
                }
                self.choose_again(&mut operation, &key, txn);
            }
        }
        self.advance(id, operation);
    }

    fn choose_again(&mut self, operation: &mut Operation, key: &Key, txn: TxnId) {
        *operation.rounds.entry(key.clone()).or_default() += 1;
        operation.wanted.insert(key.clone(), Want::Choosing);
        let transaction =
            self.transactions.get_mut(&operation.attempt).expect("operations end with their transaction");
        let ours = transaction.reads.get(key).is_some_and(|read| {
            !read.delivered && read.header.as_ref().is_some_and(|header| header.txn == txn)
        });
        if ours {
            transaction.take_back(key);
            self.choose_anew(operation.attempt, key);
        }
    }

    /// A choice was taken back on which other operations of the transaction have settled: nobody was told of it, and nobody may be.
    fn choose_anew(&mut self, attempt: AttemptId, key: &Key) {
        if self.planted(Bug::DeliverTakenBack) {
            return;
        }
        let others = self.operations.values_mut().filter(|operation| operation.attempt == attempt);
        for want in others.filter_map(|operation| operation.wanted.get_mut(key)) {
            match want {
                // Something else of its operation is under way, so it is looked at again.
                Want::Found(_) | Want::Listed => *want = Want::Choosing,
                // Its own fetch will find that the read set has moved on.
                Want::Fetching(_) | Want::Choosing => {}
            }
        }
    }

    fn advance_all(&mut self, waiters: &BTreeSet<OperationId>) {
        for id in waiters {
            if let Some(operation) = self.operations.remove(id) {
                self.advance(*id, operation);
            }
        }
    }

    fn fail_all(&mut self, waiters: &BTreeSet<OperationId>, answer: &Answer) {
        for id in waiters {
            if let Some(operation) = self.operations.remove(id) {
                self.operation_failed(operation, refusal_of(answer));
            }
        }
    }

    pub(super) fn operation_failed(&mut self, operation: Operation, refusal: Refusal) {
        operation.wanted.keys().for_each(|key| self.index.unpin(key));
        self.refuse(operation.ticket, refusal);
        self.operation_done(operation.attempt);
    }

    /// Forgets a transaction's operations; the result are those to be told.
    pub(super) fn stop_operations_of(&mut self, attempt: AttemptId) -> Vec<Ticket> {
        let ids: Vec<OperationId> = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.attempt == attempt)
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter()
            .map(|id| {
                let operation = self.operations.remove(&id).expect("listed above");
                operation.wanted.keys().for_each(|key| self.index.unpin(key));
                operation.ticket
            })
            .collect()
    }

    fn operation_succeeded(&mut self, operation: Operation) {
        operation.wanted.keys().for_each(|key| self.index.unpin(key));
        let transaction =
            self.transactions.get_mut(&operation.attempt).expect("operations end with their transaction");
        for key in operation.wanted.keys() {
            if let Some(read) = transaction.reads.get_mut(key) {
                read.delivered = true;
            }
        }
        let Operation { ticket, attempt, purpose, wanted, .. } = operation;
        match purpose {
            OperationPurpose::Batch { batch, reads, begun } => {
                self.batch_read(ticket, attempt, batch, reads, wanted, begun)
            }
            OperationPurpose::List(list, page) => self.listed_keys(ticket, attempt, &list, page, wanted),
        }
    }
}

/// The meta of one key of a write set.
pub(super) fn meta_of<'a>(header: &'a Header, key: &Key) -> &'a Meta {
    let at = header
        .writes
        .binary_search_by(|(other, _)| other.cmp(key))
        .expect("a version's key is in its write set");
    &header.writes[at].1
}

fn full_header(got: Option<(Body, crate::store::Tag)>, txn: TxnId) -> Option<Header> {
    match got {
        Some((Body::Record(record), _)) if record.txn == txn => Header::of(&record),
        Some(_) | None => None,
    }
}

/// A hash that no request has: for cursors, where only the order counts.
pub(super) const NO_HASH: RequestHash = RequestHash([0; 32]);
