//! Attempts: executions of a request's program, and the knowledge of their clients.
//!
//! Every attempt of a request runs the same program on the same keys, but writes values that name
//! the attempt, so that each read identifies its writer without help from the system.
//!
//! Several verbs of one attempt may be in flight. A batch takes effect when it is replied to, so
//! the writes of the transaction are known at every instant. The exception is the batch that
//! carries the commit: it takes effect before its reply. Its writes are *carried*.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aft_core::ids::{AttemptId, Key, NodeId, Session, TxnId};
use aft_core::message::{
    Batch, Begin, CommitArgs, Condition, Isolation, ListKeys, Op, Refusal, Ticket, Verb,
};
use aft_core::record::{BlobGroup, BlobRef, Kind, LargeResult, Location, Meta, SUM_BYTES_MAX, Value, Write};
use aft_core::settings::Settings;
use bytes::Bytes;

use crate::conditional::{Base, Sum, number_left, sum_to_come};
use crate::script::{Action, Request, Step};

/// The number of parts of a blob: more than one, so that a blob can be half stored.
pub const BLOB_PARTS: u32 = 2;
/// The number of bytes of each part of a blob. Small, as the content does not matter here.
pub const BLOB_PART_BYTES: u32 = 4;
/// The largest number of verbs that one attempt has in flight.
const IN_FLIGHT_MAX: usize = 4;
/// The largest number of times that a commit is sent.
const COMMITS_MAX: u32 = 8;

/// The observation that a transaction made of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A version.
    Version(TxnId),
    /// No version.
    Absent,
    /// A listing left it out: it is absent, or its version is a tombstone.
    Unlisted,
}

/// The progress of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Its begin has not been sent.
    Unbegun,
    /// Ready to send its next verb.
    Ready,
    /// Waiting for this reply.
    Waiting(Ticket),
    /// Storing the parts of a blob.
    Parts {
        /// The key that the blob is for; `None` for the request's result.
        key: Option<Key>,
        /// The group of the attempt's blobs.
        group: BlobGroup,
        /// The number of the blob in its group.
        number: u32,
        /// The next part to store.
        next: u32,
    },
    /// Ended: sends no further verbs.
    Ended(Ended),
}

/// The end of an attempt, as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Its commit was acknowledged; without a TxnId if nothing was stored.
    Committed(Option<TxnId>),
    /// Another attempt had committed, as this transaction.
    Replayed(TxnId),
    /// Rejected.
    Refused(Refusal),
    /// Aborted by its own program.
    Aborted,
    /// Its node died before it replied.
    NodeDied,
}

impl Ended {
    /// Returns how much this says about the transaction: of several replies, the one with the
    /// highest rank counts.
    fn rank(&self) -> u8 {
        match self {
            Ended::Committed(_) | Ended::Replayed(_) => 3,
            Ended::Aborted => 2,
            Ended::Refused(Refusal::Unknown(_) | Refusal::UnknownDamaged(..)) | Ended::NodeDied => 1,
            Ended::Refused(_) => 0,
        }
    }
}

/// A verb in flight, with what its reply is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sent {
    /// The true time at which it was sent.
    pub at_ms: u64,
    /// The keys of the gets in the batch, each with the transaction's own write of it at that
    /// point.
    pub gets: Vec<(Key, Option<Write>)>,
    /// The writes of the batch.
    pub writes: BTreeMap<Key, Write>,
    /// The batch's conditions.
    pub checks: Vec<(Key, Condition)>,
    /// The sums of the batch, in order: key, number added, and the number that the transaction
    /// itself had written there before.
    pub adds: Vec<(Key, i64, Option<i64>)>,
    /// The total that the batch adds to each key, counted from its last write of the key.
    pub sums: BTreeMap<Key, Sum>,
    /// The page of a listing that it asks for, and the number of pages wanted after it.
    pub list: Option<(ListKeys, u32)>,
    /// This verb commits.
    pub commits: bool,
    /// This verb is a batch that carries the commit.
    pub carries: bool,
    /// This verb reserves a blob: for this key, or, if the inner option is `None`, for the result.
    pub blob: Option<Option<Key>>,
    /// This verb aborts.
    pub aborts: bool,
    /// This verb opens the transaction.
    pub begins: bool,
    /// A commit or an abort had been sent before.
    pub late: bool,
    /// The node had been asked to drain before.
    pub draining: bool,
    /// The newest transaction at each key that the node had shown before this verb was sent, and
    /// the time since when the node knew it.
    pub shown: BTreeMap<Key, (TxnId, u64)>,
    /// The transaction whose commit record was under the request's name when it was sent.
    pub record_before: Option<TxnId>,
}

/// An execution of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The identity of its transaction.
    pub id: AttemptId,
    /// The number of its request.
    pub request: usize,
    /// The host that it goes to.
    pub host: usize,
    /// The node on which it began: one life of its host.
    pub node: Option<NodeId>,
    /// The index of the next step of the program.
    pub at: usize,
    /// The pages to ask for before the next step.
    pub pages: VecDeque<(ListKeys, u32)>,
    /// Its progress.
    pub progress: Progress,
    /// The session token that its client presents.
    pub session: Session,
    /// The newest version of each key that the client knows, from before, to have been committed by
    /// it or by another attempt of its request.
    pub known: BTreeMap<Key, TxnId>,
    /// The session token that its client holds after a commit or a replay.
    pub session_after: Session,
    /// True if it began fresh: because it asked to, or because its host is a guest.
    pub fresh: bool,
    /// The newest version of each key that had been reported as committed when it began.
    pub told_before: BTreeMap<Key, TxnId>,
    /// The same, kept only if it has conditions or sums, with the bytes of each value that is in
    /// its record.
    pub told_values: BTreeMap<Key, (TxnId, Option<Bytes>)>,
    /// True if its node knew the mark that the store held when it began.
    pub mark_known: bool,
    /// The lowest mark that any listing may carry that it reads from.
    pub mark_least: TxnId,
    /// Its host went through a pause that no clock showed: during the attempt, or before it without
    /// having heard the store's time since.
    pub blind: bool,
    /// The observations that it has made so far.
    pub read: BTreeMap<Key, Seen>,
    /// Keys for which the node chose a committed version that the client was not told, such as keys
    /// of its own writes within a listed page. The choice still rules out versions of other keys.
    pub unseen: BTreeSet<Key>,
    /// The keys below each common prefix that a listing showed.
    pub prefixes: BTreeSet<BTreeSet<Key>>,
    /// Its writes that have taken effect so far.
    pub writes: BTreeMap<Key, Write>,
    /// The writes of the batch that carries the commit.
    pub carried: BTreeMap<Key, Write>,
    /// The conditions of batches that took effect.
    pub checks: Vec<(Key, Condition)>,
    /// The conditions of the batch that carries the commit.
    pub carried_checks: Vec<(Key, Condition)>,
    /// The sums of that batch; `carried` has a placeholder for each.
    pub sums: BTreeMap<Key, Sum>,
    /// The writes of a rejected batch that carried the commit: its entries may still land, but are
    /// dead.
    pub dropped: BTreeMap<Key, Write>,
    /// Keys that other batches have written since that one was sent.
    pub overtaken: BTreeSet<Key>,
    /// The last blob that it put as its result.
    pub large_result: Option<LargeResult>,
    /// The number of writes that it made, from which its values get their names.
    pub write_count: u32,
    /// The number of times that its commit was sent.
    pub commits: u32,
    /// The number of conflicts in a row that earlier attempts of its request met.
    pub conflicts: u32,
    /// Its abort was sent.
    pub abort_sent: bool,
    /// The true time at which its begin was sent.
    pub begun_ms: u64,
    /// The time for which its host was paused before its transaction was opened. It moves the
    /// deadline: a begin that waits for another attempt looks its request up afterwards, and its
    /// timeout counts from then on.
    pub stood_ms: u64,
    /// Its transaction may be open on its node.
    pub open: bool,
    /// Its transaction was opened for certain, and has not ended.
    pub opened: bool,
    /// Its node has noted that it did not commit, even if its client has not heard so.
    pub gave_up: bool,
    /// The time at which the oldest verb was sent of those whose choices may be in the read set
    /// without the client knowing all of them: the verb was rejected, or its page was cut short.
    pub held_ms: Option<u64>,
    /// The verbs in flight.
    pub in_flight: BTreeMap<Ticket, Sent>,
    /// The reply to a commit that its outcome is unknown. No later rejection makes it known.
    pub in_doubt: Option<Refusal>,
    /// The batch that carried the commit failed with the store: its writes may have taken effect.
    pub carried_in_doubt: bool,
    /// Its end, which holds once nothing is in flight.
    pub outcome: Option<Ended>,
}

/// Returns true if `meta` may describe the value of a sum.
fn is_sum(meta: &Meta) -> bool {
    meta.kind == Kind::Inline && (1..=SUM_BYTES_MAX as u64).contains(&meta.size)
}

/// Returns the number of an attempt, which its id contains.
pub fn attempt_number(id: AttemptId) -> usize {
    u32::from_be_bytes([id.0[12], id.0[13], id.0[14], id.0[15]]) as usize
}

/// Returns the id of an attempt, in the layout of a UUIDv7: milliseconds first, its number last.
pub fn attempt_id(ms: u64, number: usize) -> AttemptId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id[6] = 0x70;
    id[8] = 0x80;
    id[12..].copy_from_slice(&(number as u32).to_be_bytes());
    AttemptId(id)
}

impl Attempt {
    /// Returns a new attempt that has not begun.
    pub fn new(id: AttemptId, request: usize, host: usize, session: Session) -> Attempt {
        Attempt {
            id,
            request,
            host,
            node: None,
            at: 0,
            pages: VecDeque::new(),
            progress: Progress::Unbegun,
            session,
            known: BTreeMap::new(),
            session_after: Session::default(),
            fresh: false,
            told_before: BTreeMap::new(),
            told_values: BTreeMap::new(),
            mark_known: false,
            mark_least: TxnId::ZERO,
            blind: false,
            read: BTreeMap::new(),
            unseen: BTreeSet::new(),
            prefixes: BTreeSet::new(),
            writes: BTreeMap::new(),
            carried: BTreeMap::new(),
            checks: Vec::new(),
            carried_checks: Vec::new(),
            sums: BTreeMap::new(),
            dropped: BTreeMap::new(),
            overtaken: BTreeSet::new(),
            large_result: None,
            write_count: 0,
            commits: 0,
            conflicts: 0,
            abort_sent: false,
            begun_ms: 0,
            stood_ms: 0,
            open: false,
            opened: false,
            gave_up: false,
            held_ms: None,
            in_flight: BTreeMap::new(),
            in_doubt: None,
            carried_in_doubt: false,
            outcome: None,
        }
    }

    /// Returns its end, if it has ended.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.progress {
            Progress::Ended(ended) => Some(ended),
            Progress::Unbegun | Progress::Ready | Progress::Waiting(_) | Progress::Parts { .. } => None,
        }
    }

    /// Sets the outcome, unless an earlier reply said more about the transaction.
    pub(crate) fn conclude(&mut self, ended: Ended) {
        if self.outcome.as_ref().is_none_or(|before| before.rank() < ended.rank()) {
            self.outcome = Some(ended);
        }
        self.keep_doubt();
    }

    /// Keeps the outcome unknown if a commit's was: the rejection of another verb, before or after
    /// it, does not settle it.
    pub(crate) fn keep_doubt(&mut self) {
        if let (Some(Ended::Refused(_) | Ended::NodeDied), Some(unknown)) = (&self.outcome, &self.in_doubt) {
            self.outcome = Some(Ended::Refused(unknown.clone()));
        }
    }

    /// Returns the latest true time at which its transaction ends, by correct clocks.
    pub fn deadline_ms(&self, request: &Request, settings: &Settings) -> u64 {
        let wait_ms = if request.waits() { request.wait_ms.min(settings.timeout_max_ms) } else { 0 };
        self.least_deadline_ms(request, settings) + wait_ms + self.stood_ms
    }

    /// Returns the latest true time at which its transaction ends if it was opened at once, without
    /// waiting for another attempt.
    pub fn least_deadline_ms(&self, request: &Request, settings: &Settings) -> u64 {
        let timeout_ms =
            request.timeout_ms.unwrap_or(settings.timeout_default_ms).min(settings.timeout_max_ms);
        self.begun_ms + timeout_ms
    }

    /// Returns the result that its record carries.
    pub fn result(&self) -> Bytes {
        Bytes::from(format!("result {}", attempt_number(self.id)))
    }

    /// Adds the writes of a batch that took effect.
    pub(crate) fn wrote(&mut self, writes: BTreeMap<Key, Write>) {
        self.overtaken.extend(writes.keys().cloned());
        self.writes.extend(writes);
    }

    /// Returns every key that it may have written.
    pub fn written(&self) -> BTreeSet<&Key> {
        self.writes.keys().chain(self.carried.keys()).collect()
    }

    /// Returns true if the writes of `record` are all that took effect, and nothing else.
    pub(crate) fn explains(&self, record: &BTreeMap<Key, Write>) -> bool {
        // A batch that failed with the store may have taken no effect, while a later commit did.
        let without = self.carried_in_doubt && *record == self.writes;
        let with = record.keys().eq(self.written())
            && record.iter().all(|(key, write)| match (self.carried.get(key), self.writes.get(key)) {
                (Some(carried), written) => {
                    let sum = self.sums.contains_key(key) && is_sum(&write.meta());
                    sum || write == carried || (self.overtaken.contains(key) && Some(write) == written)
                }
                (None, written) => Some(write) == written,
            });
        with || without
    }

    /// Handles the rejection of the batch that carries the commit. Its writes took no effect,
    /// unless it was the commit in it that failed with the store.
    pub(crate) fn carrier_refused(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Unknown(_) | Refusal::UnknownDamaged(..) | Refusal::NotServing => {}
            Refusal::StoreUnavailable(_) | Refusal::Damaged(_) => self.carried_in_doubt = true,
            Refusal::SnapshotGone(_)
            | Refusal::Conflict(_)
            | Refusal::ConditionFailed(_)
            | Refusal::Overloaded(_)
            | Refusal::Lost
            | Refusal::InProgress { .. }
            | Refusal::KeyReused
            | Refusal::ResultGone
            | Refusal::NotFound
            | Refusal::Ended
            | Refusal::TooLarge(_)
            | Refusal::Invalid(_)
            | Refusal::SessionLost(_) => {
                self.dropped.append(&mut self.carried);
                self.carried_checks.clear();
            }
        }
    }

    /// Returns true if it may have asked for an entry of `key` that describes its value as `meta`.
    pub(crate) fn may_enter(&self, key: &Key, meta: &Meta) -> bool {
        let metas = [self.carried.get(key), self.writes.get(key), self.dropped.get(key)];
        let written = metas.into_iter().flatten().any(|write| write.meta() == *meta);
        written || (self.sums.contains_key(key) && is_sum(meta))
    }

    /// Notes that the verb may have chosen versions that the client was not told.
    pub(crate) fn holds(&mut self, sent: &Sent) {
        self.held_ms = Some(self.held_ms.map_or(sent.at_ms, |before| before.min(sent.at_ms)));
    }

    /// Returns true if the node's read set may hold more than the client was told.
    pub(crate) fn holds_more(&self) -> bool {
        self.held_ms.is_some() || !self.in_flight.is_empty()
    }

    /// Returns the time at which the oldest verb was sent that may have made the choices in the
    /// reply to `sent`: another verb in flight may have made them earlier.
    pub(crate) fn basis_ms(&self, sent: &Sent) -> u64 {
        let under_way = self.in_flight.values().map(|sent| sent.at_ms);
        under_way.chain(self.held_ms).fold(sent.at_ms, u64::min)
    }

    fn inline(&mut self) -> Value {
        self.write_count += 1;
        // A number, so that it can be added to.
        let number = 1_000 * (attempt_number(self.id) + 1) + self.write_count as usize;
        let text = Bytes::from(number.to_string());
        Value {
            size: text.len() as u64,
            etag: text.clone(),
            location: Location::Inline(text),
            attributes: Bytes::new(),
        }
    }

    /// Returns the value that refers to a finished blob.
    fn blob(&mut self, group: BlobGroup, number: u32) -> Value {
        self.write_count += 1;
        Value {
            location: Location::Blob(BlobRef {
                group,
                number,
                parts: BLOB_PARTS,
                part_bytes: BLOB_PART_BYTES,
            }),
            size: u64::from(BLOB_PARTS * BLOB_PART_BYTES),
            etag: Bytes::from(format!("{}.{}", attempt_number(self.id), self.write_count)),
            attributes: Bytes::new(),
        }
    }

    /// Turns actions into operations, and notes in `sent` what the reply is to be compared with.
    fn ops(&mut self, actions: &[Action], sent: &mut Sent) -> Vec<Op> {
        let mut ops = Vec::with_capacity(actions.len());
        for action in actions {
            ops.push(match action {
                Action::Get(key) => {
                    let own = sent.writes.get(key).or_else(|| self.writes.get(key)).cloned();
                    sent.gets.push((key.clone(), own));
                    Op::Get(key.clone())
                }
                Action::Put(key) => {
                    let value = self.inline();
                    sent.sums.remove(key);
                    sent.writes.insert(key.clone(), Write::Put(value.clone()));
                    Op::Put(key.clone(), value)
                }
                Action::Delete(key) => {
                    sent.sums.remove(key);
                    sent.writes.insert(key.clone(), Write::Tombstone);
                    Op::Delete(key.clone())
                }
                Action::Check(key, guard) => {
                    let condition = guard.condition(self.told_values.get(key));
                    sent.checks.push((key.clone(), condition.clone()));
                    Op::Check(key.clone(), condition)
                }
                Action::Add(key, by) => {
                    let own = match sent.sums.get(key) {
                        // It follows an earlier sum of the batch, and the replies say what that
                        // came to.
                        Some(_) => None,
                        None => sent.writes.get(key).or_else(|| self.writes.get(key)),
                    };
                    let number = own.and_then(|own| number_left(Some(own)));
                    sent.adds.push((key.clone(), *by, number));
                    let base = if own.is_some() { Base::Own(number) } else { Base::Committed };
                    sent.sums.entry(key.clone()).or_insert(Sum { base, by: 0 }).by += by;
                    sent.writes.insert(key.clone(), sum_to_come());
                    Op::Add(key.clone(), *by)
                }
            });
        }
        ops
    }

    /// Returns the batch at the program's current step and moves on. If the step is not a batch,
    /// returns an empty one.
    fn batch(&mut self, request: &Request, with_commit: bool, sent: &mut Sent) -> Batch {
        let Some(Step::Run(actions)) = request.program.get(self.at) else { return Batch::default() };
        let ops = self.ops(actions, sent);
        self.at += 1;
        let commits = with_commit && request.program.get(self.at) == Some(&Step::Commit);
        if commits {
            // A commit that is sent twice leaves the commit step for the second time.
            self.at += usize::from(!request.twice);
            self.commits += 1;
            sent.commits = true;
            sent.carries = true;
            // The writes are known only when the reply comes: until then they are carried.
            self.carried = std::mem::take(&mut sent.writes);
            self.carried_checks.clone_from(&sent.checks);
            self.sums.clone_from(&sent.sums);
            self.overtaken.clear();
        }
        Batch { ops, commit: commits.then(|| self.commit_args(request)) }
    }

    fn commit_args(&self, request: &Request) -> CommitArgs {
        let inline = request.named && self.large_result.is_none();
        // A repeated commit names its request: a node that has forgotten the attempt looks there.
        let request = (self.commits > 1).then(|| request.hash_for(self.id));
        CommitArgs { result: inline.then(|| self.result()), request }
    }

    fn begin(&mut self, request: &Request, sent: &mut Sent) -> Verb {
        sent.begins = true;
        self.begun_ms = sent.at_ms;
        let batch = if request.eager { self.batch(request, true, sent) } else { Batch::default() };
        Verb::Begin(Box::new(Begin {
            attempt: self.id,
            hash: request.hash_for(self.id),
            named: request.named,
            fingerprint: request.fingerprint(),
            timeout_ms: request.timeout_ms,
            wait_ms: request.wait_ms,
            overlap: request.overlap,
            session: self.session.clone(),
            fresh: request.fresh,
            retention_ms: request.retention_ms,
            isolation: request.checked.then_some(Isolation::Serializable),
            conflicts: self.conflicts,
            batch,
        }))
    }

    /// Returns the next verb, with what its reply is compared with; `None` after the last step.
    pub(crate) fn next_verb(&mut self, request: &Request, now_ms: u64) -> Option<(Verb, Sent)> {
        let mut sent = Sent { at_ms: now_ms, late: self.commits > 0 || self.abort_sent, ..Sent::default() };
        if self.progress == Progress::Unbegun {
            return Some((self.begin(request, &mut sent), sent));
        }
        // All parts of a blob are stored: put it.
        if let Progress::Parts { key, group, number, .. } = self.progress.clone() {
            let value = self.blob(group, number);
            let op = match (key, &value.location) {
                (Some(key), _) => {
                    sent.writes.insert(key.clone(), Write::Put(value.clone()));
                    Op::Put(key, value)
                }
                (None, Location::Blob(blob)) => {
                    self.large_result = Some(LargeResult { blob: *blob, size: value.size });
                    Op::Result(LargeResult { blob: *blob, size: value.size })
                }
                (None, Location::Inline(_)) => unreachable!("the value of a blob is located in a blob"),
            };
            self.at += 1;
            return Some((Verb::Run(self.id, Batch { ops: vec![op], commit: None }), sent));
        }
        // Further pages of a listing come before the next step, unless the transaction is ending.
        if !sent.late
            && let Some(page) = self.pages.pop_front()
        {
            let verb = Verb::List(self.id, page.0.clone());
            sent.list = Some(page);
            return Some((verb, sent));
        }
        let verb = match request.program.get(self.at)? {
            Step::Run(_) => Verb::Run(self.id, self.batch(request, request.eager, &mut sent)),
            Step::List { prefix, limit, pages, delimiter } => {
                self.at += 1;
                let list = ListKeys {
                    prefix: prefix.clone(),
                    after: None,
                    limit: *limit,
                    delimiter: delimiter.clone(),
                };
                sent.list = Some((list.clone(), pages - 1));
                Verb::List(self.id, list)
            }
            Step::Blob(key) => {
                sent.blob = Some(key.clone());
                Verb::ReserveBlob(self.id)
            }
            Step::Commit => {
                self.commits += 1;
                // The first of two commits leaves the program at this step.
                if self.commits > 1 || !request.twice {
                    self.at += 1;
                }
                sent.commits = true;
                Verb::Commit(self.id, self.commit_args(request))
            }
            Step::Abort => {
                self.at += 1;
                self.abort_sent = true;
                sent.aborts = true;
                Verb::Abort(self.id)
            }
        };
        Some((verb, sent))
    }

    /// Returns true if the next verb is sent before this one was replied to.
    pub(crate) fn goes_on_beside(&self, request: &Request, sent: &Sent) -> bool {
        let first_of_two = sent.commits && request.twice && self.commits == 1;
        let parallel = request.parallel && sent.blob.is_none() && !sent.commits && !sent.aborts;
        !sent.begins && (parallel || first_of_two) && self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// Takes the program back to its commit, and returns true, if the client is stubborn and the
    /// rejection allows another try.
    pub(crate) fn commits_again(&mut self, request: &Request, refusal: &Refusal) -> bool {
        let allowed = match refusal {
            // A batch that carries the commit may have failed before its writes took effect, and
            // then a commit alone would leave them out.
            Refusal::StoreUnavailable(_) | Refusal::Damaged(_) => {
                self.carried.is_empty() && self.carried_checks.is_empty()
            }
            Refusal::Unknown(_) | Refusal::UnknownDamaged(..) => true,
            Refusal::NotServing => self.in_doubt.is_some(),
            Refusal::SnapshotGone(_)
            | Refusal::Conflict(_)
            | Refusal::ConditionFailed(_)
            | Refusal::Overloaded(_)
            | Refusal::Lost
            | Refusal::InProgress { .. }
            | Refusal::KeyReused
            | Refusal::ResultGone
            | Refusal::NotFound
            | Refusal::Ended
            | Refusal::TooLarge(_)
            | Refusal::Invalid(_)
            | Refusal::SessionLost(_) => false,
        };
        let again = request.stubborn && allowed && self.commits < COMMITS_MAX;
        if again {
            self.at = request.program.len() - 1;
        }
        again
    }
}
