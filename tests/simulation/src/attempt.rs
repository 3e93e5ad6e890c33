//! Attempts: executions of a request's program, and what their clients know.
//!
//! Every attempt of a request runs the same program on the same keys, but writes values that name the attempt, so that each read identifies its
//! writer with no help from the system.
//!
//! Several verbs of one attempt may be under way. A batch takes effect when it is replied to, so what the transaction has written is known at every
//! instant. One batch is not replied to when it takes effect: the one that carries the commit. Its writes are *carried*.

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

/// Blobs have this many parts: more than one, so that half a blob exists.
pub const BLOB_PARTS: u32 = 2;
/// The bytes of every part of a blob: its content does not matter here.
pub const BLOB_PART_BYTES: u32 = 4;
/// Verbs that one attempt has under way at most.
const IN_FLIGHT_MAX: usize = 4;
/// How often a commit is sent at most.
const COMMITS_MAX: u32 = 8;

/// What a transaction has seen of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A version.
    Version(TxnId),
    /// No version.
    Absent,
    /// A listing left it out: it is absent, or its version is a tombstone.
    Unlisted,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Its opening has not been sent.
    Unbegun,
    /// It may send its next verb.
    Ready,
    /// It waits for this reply.
    Waiting(Ticket),
    /// It stores the parts of a blob.
    Parts {
        /// For this key, or for the result.
        key: Option<Key>,
        /// The group of the attempt's blobs.
        group: BlobGroup,
        /// The blob.
        number: u32,
        /// The part that is next.
        next: u32,
    },
    /// It will send nothing more.
    Ended(Ended),
}

/// How an attempt ended, as its client knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Acknowledged.
    Committed(Option<TxnId>),
    /// Another attempt had won.
    Replayed(TxnId),
    /// Refused.
    Refused(Refusal),
    /// Aborted by its own program.
    Aborted,
    /// Its node died before it replied.
    NodeDied,
}

impl Ended {
    /// Of several replies, the one that says most about the transaction.
    fn rank(&self) -> u8 {
        match self {
            Ended::Committed(_) | Ended::Replayed(_) => 3,
            Ended::Aborted => 2,
            Ended::Refused(Refusal::Unknown(_) | Refusal::UnknownDamaged(..)) | Ended::NodeDied => 1,
            Ended::Refused(_) => 0,
        }
    }
}

/// A verb on its way: what its reply is held against.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sent {
    /// When.
    pub at_ms: u64,
    /// The keys of the gets in the batch, each with the transaction's own write of it at that point.
    pub gets: Vec<(Key, Option<Write>)>,
    /// What the batch writes.
    pub writes: BTreeMap<Key, Write>,
    /// The batch's conditions.
    pub checks: Vec<(Key, Condition)>,
    /// The sums of the batch, in order, each with the number that it had written there before.
    pub adds: Vec<(Key, i64, Option<i64>)>,
    /// The number that the batch adds to each key that it has not written since.
    pub sums: BTreeMap<Key, Sum>,
    /// A page of a listing, and how many more are wanted.
    pub list: Option<(ListKeys, u32)>,
    /// This verb commits.
    pub commits: bool,
    /// It is a batch that carries the commit.
    pub carries: bool,
    /// A blob was asked for: for this key, or for the result.
    pub blob: Option<Option<Key>>,
    /// This verb aborts.
    pub aborts: bool,
    /// This verb opens the transaction.
    pub begins: bool,
    /// A commit or an abort had been sent before.
    pub late: bool,
    /// The node had been told to drain before.
    pub draining: bool,
    /// What the node had shown of every key before it was sent, and since when it knew it.
    pub shown: BTreeMap<Key, (TxnId, u64)>,
    /// The transaction whose commit record the request's name held when it was sent.
    pub record_before: Option<TxnId>,
}

/// One execution of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Its transaction.
    pub id: AttemptId,
    /// The number of its request.
    pub request: usize,
    /// The host that it goes to.
    pub host: usize,
    /// The life of the host on which it began.
    pub node: Option<NodeId>,
    /// The next step of the program.
    pub at: usize,
    /// Pages to be asked for before the next step.
    pub pages: VecDeque<(ListKeys, u32)>,
    /// How far it is.
    pub progress: Progress,
    /// What its client has seen before, as the token says it.
    pub session: Session,
    /// The newest version of each key that its client has committed, or was told that its request had, before.
    pub known: BTreeMap<Key, TxnId>,
    /// What its client may pass on, once it committed or was replayed to.
    pub session_after: Session,
    /// It began fresh: by its own wish, or its host's nature.
    pub fresh: bool,
    /// The newest version of each key that somebody knew to have committed when it began.
    pub told_before: BTreeMap<Key, TxnId>,
    /// The same for its conditions, if it has any: with the bytes of a value that its record has.
    pub told_values: BTreeMap<Key, (TxnId, Option<Bytes>)>,
    /// When it began, its node knew the mark that the store held.
    pub mark_known: bool,
    /// The least mark that any listing can carry on which it rests.
    pub mark_least: TxnId,
    /// Its host was paused without any sign, and had not heard the store's time since when the attempt began, or after it.
    pub blind: bool,
    /// What it has seen so far.
    pub read: BTreeMap<Key, Seen>,
    /// Keys of its own writes that stood in a listed page: the node chose a committed version for each beside the others, which its client was not told.
    pub unseen: BTreeSet<Key>,
    /// What it has written so far.
    pub writes: BTreeMap<Key, Write>,
    /// What the batch writes that carries the commit.
    pub carried: BTreeMap<Key, Write>,
    /// The conditions of batches that took effect.
    pub checks: Vec<(Key, Condition)>,
    /// The conditions of the batch that carries the commit.
    pub carried_checks: Vec<(Key, Condition)>,
    /// What that batch adds; `carried` has a place for each.
    pub sums: BTreeMap<Key, Sum>,
    /// Writes of a refused batch that carried the commit: entries of it may still land, and count for nothing.
    pub dropped: BTreeMap<Key, Write>,
    /// Keys that other batches have written since that one was sent.
    pub overtaken: BTreeSet<Key>,
    /// The last blob that it gave as its result.
    pub large_result: Option<LargeResult>,
    /// How many writes it made: names its values.
    pub write_count: u32,
    /// How often its commit was sent.
    pub commits: u32,
    /// Conflicts in a row that its request has met before.
    pub conflicts: u32,
    /// Its abort was sent.
    pub abort_sent: bool,
    /// When its opening was sent.
    pub begun_ms: u64,
    /// How long its host stood still before its transaction was opened: a begin that waits for another attempt looks its request up afterwards, and
    /// its time counts from then on.
    pub stood_ms: u64,
    /// Its transaction may be open on its node.
    pub open: bool,
    /// Its transaction was opened for certain, and has not ended.
    pub opened: bool,
    /// Its node has said that it committed nothing, whether its client has heard of it or not.
    pub gave_up: bool,
    /// When the oldest verb was sent whose choices may be held in the read set although its client was not told of them all: it was refused, or its
    /// page was cut.
    pub held_ms: Option<u64>,
    /// The verbs under way.
    pub in_flight: BTreeMap<Ticket, Sent>,
    /// A commit was told that its outcome is not known: no later refusal makes it known.
    pub in_doubt: Option<Refusal>,
    /// The batch that carried the commit was refused for want of a store: its writes may have taken effect.
    pub carried_in_doubt: bool,
    /// How it ends, once nothing is under way.
    pub outcome: Option<Ended>,
}

/// Returns true if a write may be a sum.
fn is_sum(meta: &Meta) -> bool {
    meta.kind == Kind::Inline && (1..=SUM_BYTES_MAX as u64).contains(&meta.size)
}

/// The attempt's number, from its id.
pub fn attempt_number(id: AttemptId) -> usize {
    u32::from_be_bytes([id.0[12], id.0[13], id.0[14], id.0[15]]) as usize
}

/// The id of an attempt, in the layout of a UUIDv7: milliseconds first.
pub fn attempt_id(ms: u64, number: usize) -> AttemptId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id[6] = 0x70;
    id[8] = 0x80;
    id[12..].copy_from_slice(&(number as u32).to_be_bytes());
    AttemptId(id)
}

impl Attempt {
    /// A new attempt, not yet begun.
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

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.progress {
            Progress::Ended(ended) => Some(ended),
            Progress::Unbegun | Progress::Ready | Progress::Waiting(_) | Progress::Parts { .. } => None,
        }
    }

    /// What it has come to, unless a reply has said more.
    pub(crate) fn conclude(&mut self, ended: Ended) {
        if self.outcome.as_ref().is_none_or(|before| before.rank() < ended.rank()) {
            self.outcome = Some(ended);
        }
        self.keep_doubt();
    }

    /// A commit's doubt outlasts what other verbs were told, before it or after.
    pub(crate) fn keep_doubt(&mut self) {
        if let (Some(Ended::Refused(_) | Ended::NodeDied), Some(unknown)) = (&self.outcome, &self.in_doubt) {
            self.outcome = Some(Ended::Refused(unknown.clone()));
        }
    }

    /// Returns the true time at which its transaction's time is over at the latest, by clocks that are right.
    pub fn deadline_ms(&self, request: &Request, settings: &Settings) -> u64 {
        let wait_ms = if request.waits() { request.wait_ms.min(settings.timeout_max_ms) } else { 0 };
        self.least_deadline_ms(request, settings) + wait_ms + self.stood_ms
    }

    /// Returns when its transaction ends at the latest if it was opened at once.
    pub fn least_deadline_ms(&self, request: &Request, settings: &Settings) -> u64 {
        let timeout_ms =
            request.timeout_ms.unwrap_or(settings.timeout_default_ms).min(settings.timeout_max_ms);
        self.begun_ms + timeout_ms
    }

    /// The result that its record carries.
    pub fn result(&self) -> Bytes {
        Bytes::from(format!("result {}", attempt_number(self.id)))
    }

    /// A batch took effect.
    pub(crate) fn wrote(&mut self, writes: BTreeMap<Key, Write>) {
        self.overtaken.extend(writes.keys().cloned());
        self.writes.extend(writes);
    }

    /// Every key that it may have written.
    pub fn written(&self) -> BTreeSet<&Key> {
        self.writes.keys().chain(self.carried.keys()).collect()
    }

    /// Whether a commit record with these writes holds all that took effect, and nothing else.
    pub(crate) fn explains(&self, record: &BTreeMap<Key, Write>) -> bool {
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

    /// The batch that carries the commit was refused: its writes took no effect, unless it was its commit that the store refused.
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
            | Refusal::Invalid(_) => {
                self.dropped.append(&mut self.carried);
                self.carried_checks.clear();
            }
        }
    }

    /// Returns true if it may have asked for an entry of a key that says this of the value.
    pub(crate) fn may_enter(&self, key: &Key, meta: &Meta) -> bool {
        let metas = [self.carried.get(key), self.writes.get(key), self.dropped.get(key)];
        let written = metas.into_iter().flatten().any(|write| write.meta() == *meta);
        written || (self.sums.contains_key(key) && is_sum(meta))
    }

    /// Its client was not told of all that this verb may have chosen.
    pub(crate) fn holds(&mut self, sent: &Sent) {
        self.held_ms = Some(self.held_ms.map_or(sent.at_ms, |before| before.min(sent.at_ms)));
    }

    /// Whether the read set may hold more than its client was told.
    pub(crate) fn holds_more(&self) -> bool {
        self.held_ms.is_some() || !self.in_flight.is_empty()
    }

    /// When the oldest of the verbs was sent that may have chosen what this one is replied.
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

    /// The value of a finished blob.
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
                        // Its own sum of before: the answers tell.
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

    /// The batch at the program's current place, if one is there, and moves on.
    fn batch(&mut self, request: &Request, with_commit: bool, sent: &mut Sent) -> Batch {
        let Some(Step::Run(actions)) = request.program.get(self.at) else { return Batch::default() };
        let ops = self.ops(actions, sent);
        self.at += 1;
        let commits = with_commit && request.program.get(self.at) == Some(&Step::Commit);
        if commits {
            self.at += usize::from(!request.twice);
            self.commits += 1;
            sent.commits = true;
            sent.carries = true;
            self.carried = std::mem::take(&mut sent.writes);
            self.carried_checks.clone_from(&sent.checks);
            self.sums.clone_from(&sent.sums);
            self.overtaken.clear();
        }
        Batch { ops, commit: commits.then(|| self.commit_args(request)) }
    }

    fn commit_args(&self, request: &Request) -> CommitArgs {
        let inline = request.named && self.large_result.is_none();
        // Who repeats a commit says which request it is of.
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

    /// The next verb, with what its reply is held against. `None` after the last step.
    pub(crate) fn next_verb(&mut self, request: &Request, now_ms: u64) -> Option<(Verb, Sent)> {
        let mut sent = Sent { at_ms: now_ms, late: self.commits > 0 || self.abort_sent, ..Sent::default() };
        if self.progress == Progress::Unbegun {
            return Some((self.begin(request, &mut sent), sent));
        }
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
                (None, Location::Inline(_)) => unreachable!("a blob's value is one"),
            };
            self.at += 1;
            return Some((Verb::Run(self.id, Batch { ops: vec![op], commit: None }), sent));
        }
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

    /// Whether the next verb is sent before this one is replied to.
    pub(crate) fn goes_on_beside(&self, request: &Request, sent: &Sent) -> bool {
        let first_of_two = sent.commits && request.twice && self.commits == 1;
        let parallel = request.parallel && sent.blob.is_none() && !sent.commits && !sent.aborts;
        !sent.begins && (parallel || first_of_two) && self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// Takes the program back to its commit, if the client insists and the refusal allows it.
    pub(crate) fn commits_again(&mut self, request: &Request, refusal: &Refusal) -> bool {
        let allowed = match refusal {
            // A batch that carries the commit may have been refused before or after its writes took effect.
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
            | Refusal::Invalid(_) => false,
        };
        let again = request.stubborn && allowed && self.commits < COMMITS_MAX;
        if again {
            self.at = request.program.len() - 1;
        }
        again
    }
}
