//! Commit: the creation of one record decides everything, and nothing remains to be done after the
//! answer (protocol, section 4).
//!
//! ```text
//!   prepare: the store's time, the keys' newest versions where they must be listed
//!            ─► take the commit time
//!   write:   create commit/<hash> ─┬─► all durable ─► its time has passed ─► acknowledge
//!            put version/<key>/…  ─┘
//!   Exists ─► read it: ours      ─► put the entries again, as above
//!                      another's ─► this attempt lost
//!                      gone      ─► its result is gone
//!   no answer until the deadline ─► unknown
//! ```
//!
//! A commit is atomic, because all keys and values are in the one record. It takes effect at most
//! once, because all attempts of a request use one name, and only one create of it succeeds. A
//! retried create that answers *Exists* may have found this attempt's own earlier try, so the
//! attempt's id decides, not the answer. It stays visible, because the acknowledgement waits for
//! every entry, and whether an entry counts depends only on its record.
//!
//! The later of two writes wins (protocol, section 9), because an acknowledgement waits until the
//! store's time has certainly passed the commit time. A later commit takes the upper bound of the
//! store's time, which is not before that; or, if the written keys were listed since it began, it
//! takes the lower bound, raised above the versions that they hold. The upper bound costs a wait
//! beside the round trip, and the lower bound costs the listings that the transaction has not made
//! already.

use std::sync::Arc;

use bytes::Bytes;

use crate::bug::Bug;
use crate::clock::{Bounds, Moment};
use crate::ids::{AttemptId, Hlc, Key, Session, TxnId};
use crate::message::{Committed, Conflict, Header, Refusal};
use crate::record::{Follows, Record, VersionEntry};
use crate::store::{Answer, Body, Call, CallError, Created, Group, Name, Pieces, Writes};

use super::super::base::calls::Owner;
use super::super::base::index::{Knowledge, Known, ListedPage};
use super::super::base::script::{Noted, Pending, Run, Wait};
use super::super::base::state::{Outcome, Purpose, State, TIME_TRIES_MAX, bug_of, refusal_of};
use super::super::base::timers::Timer;
use super::super::base::transaction::{CommitWaiter, Phase, Transaction};
use super::end::FoundBy;
use super::ending::Ending;
use super::{end, ending, level, lock, report, resolve};

/// The pause before the store's time is read again while it is not known, in milliseconds.
const TIME_RETRY_MS: u64 = 20;

/// Commits, as soon as no operation is in flight any more.
pub(in crate::node) fn commit(
    state: &mut State,
    attempt: AttemptId,
    result: Option<Bytes>,
    waiter: CommitWaiter,
    request: Option<crate::ids::RequestHash>,
) {
    crate::room!();
    let Some(transaction) = state.transactions.get_mut(&attempt) else {
        return resolve::commit_again(state, attempt, waiter, request);
    };
    let beside = bug_of(&state.settings) == Some(Bug::CommitBesideOperations);
    match &mut transaction.phase {
        Phase::Open if transaction.operations > 0 && !beside => {
            // The operations were requested before the commit, so they belong to it.
            transaction.close(result, waiter);
        }
        Phase::Open => prepare(state, attempt, result, vec![waiter]),
        // The client has sent the same commit again: both get the same outcome.
        Phase::Closing(_, waiters) => waiters.push(waiter),
        Phase::Preparing(_, waiters) | Phase::Committing(_, waiters) | Phase::Passing(_, waiters) => {
            waiters.push(waiter);
            set_patience(state, attempt);
        }
    }
}

/// Counts the end of an operation, and starts a commit that waited for the last one.
pub(in crate::node) fn operation_done(state: &mut State, attempt: AttemptId) {
    let Some(transaction) = state.transactions.get_mut(&attempt) else { return };
    assert!(transaction.operations > 0, "operations under way are counted");
    transaction.operations -= 1;
    let is_idle = transaction.operations == 0;
    state.transactions.weigh(attempt);
    let transaction = state.transactions.get_mut(&attempt).expect("looked up above");
    if is_idle && let Some((result, waiters)) = transaction.take_closing() {
        prepare(state, attempt, result, waiters);
    }
}

/// Sets the time-out of the waiters of a commit that have none yet.
fn set_patience(state: &mut State, attempt: AttemptId) {
    let until = state.clock.mono_ms().saturating_add(state.settings.commit_patience_ms);
    let transaction = state.transactions.get_mut(&attempt).expect("it is committing");
    let deadline_mono = transaction.deadline_mono;
    let waiters = transaction.waiters_mut().expect("it is committing");
    let new = waiters.iter_mut().filter(|waiter| waiter.until_mono == u64::MAX);
    new.for_each(|waiter| waiter.until_mono = until);
    assert!(waiters.iter().all(|waiter| waiter.until_mono <= until), "patience begins with the question");
    // If the deadline comes first, it answers all waiters.
    if until < deadline_mono {
        state.timers.set(until, Timer::CommitPatience(attempt));
    }
}

/// Answers the waiters whose wait for a commit's outcome has timed out. The commit may be stored,
/// so the answer is *unknown*; the commit itself goes on.
pub(in crate::node) fn patience_ends(state: &mut State, attempt: AttemptId) {
    let now_mono = state.clock.mono_ms();
    let Some(transaction) = state.transactions.get_mut(&attempt) else { return };
    let hash = transaction.hash;
    if matches!(transaction.phase, Phase::Closing(..)) {
        return;
    }
    let Some(waiters) = transaction.waiters_mut() else { return };
    let (impatient, left): (Vec<CommitWaiter>, Vec<CommitWaiter>) =
        std::mem::take(waiters).into_iter().partition(|waiter| waiter.until_mono <= now_mono);
    *waiters = left;
    assert!(waiters.iter().all(|waiter| waiter.until_mono > now_mono), "only the impatient hear of it now");
    impatient.into_iter().for_each(|waiter| state.refuse(waiter.ticket, Refusal::Unknown(hash)));
}

// Prepare: what must be known before a commit time is taken.

/// The source of the commit time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timing {
    /// The clock of the one process that holds the store.
    Own,
    /// The upper bound of the store's time, if the wait for it is short.
    Upper,
    /// The lower bound of the store's time, raised above the versions that the written keys hold.
    Lower,
}

fn timing(state: &State, attempt: AttemptId, bounds: Bounds) -> Timing {
    assert!(bounds.earliest_ms <= bounds.latest_ms, "bounds are in order");
    if state.settings.exclusive {
        Timing::Own
    } else if state.transactions[&attempt].locks {
        // With locks it follows the versions that it read, or does not commit.
        Timing::Lower
    } else if bounds.width_ms() > state.settings.commit_wait_max_ms
        || unseen_keys(state, attempt).next().is_none()
        || state.transactions[&attempt]
            .session_is_ahead_of(bounds.latest_ms.saturating_add(state.settings.skew_max_ms))
    {
        // The versions of the keys are known, or listing them is better than a long wait, or a time
        // that the session names is not trusted. After the lower bound there is hardly any wait.
        Timing::Lower
    } else {
        Timing::Upper
    }
}

/// Returns the keys of the write set that were not listed since the transaction began.
fn unseen_keys(state: &State, attempt: AttemptId) -> impl Iterator<Item = &Key> {
    let transaction = &state.transactions[&attempt];
    // Where one process holds the store, the index is complete for every key that was listed once,
    // and the process's clock is ahead of all its commits.
    let any_listing = state.settings.exclusive || state.planted(Bug::LowerTimeByOldListing);
    let since = if any_listing { 0 } else { transaction.began_call };
    let since = since.max(state.index.stale_before_call());
    let is_seen = move |key: &Key| {
        let listing = state.index.known(key).and_then(|entry| entry.listing());
        listing.is_some_and(|listing| listing.asked_call >= since)
    };
    transaction.buffer.keys().filter(move |key| !is_seen(key))
}

/// Returns the keys that must be listed before the commit time is taken.
fn keys_to_look_at(state: &State, attempt: AttemptId) -> Vec<Key> {
    if state.transactions[&attempt].locks {
        return Vec::new();
    }
    match state.clock.bounds().map(|bounds| timing(state, attempt, bounds)) {
        Some(Timing::Upper) => Vec::new(),
        // While the time is unknown, expect wide bounds.
        Some(Timing::Own | Timing::Lower) | None => unseen_keys(state, attempt).cloned().collect(),
    }
}

/// Returns the newest commit time that the index holds for the written keys: keys with a recent
/// listing are not listed again.
fn newest_known(state: &State, attempt: AttemptId) -> Hlc {
    let written = state.transactions[&attempt].buffer.keys();
    let listed = written.filter_map(|key| state.index.known(key)?.versions().first());
    listed.map(|known| known.txn.time).max().unwrap_or_default()
}

/// Returns true if a commit time can be taken. A guest may have been frozen with all its clocks, so
/// it needs an answer to a call that it made since the transaction began.
fn is_time_known(state: &State, attempt: AttemptId) -> bool {
    if state.planted(Bug::TimeBeforeFirstAnswer) {
        return true;
    }
    let since = state.transactions[&attempt].began_call;
    state.is_time_known(state.settings.guest.then_some(since))
}

fn prepare(state: &mut State, attempt: AttemptId, result: Option<Bytes>, waiters: Vec<CommitWaiter>) {
    let beside = state.planted(Bug::CommitBesideOperations);
    let transaction = state.transactions.get_mut(&attempt).expect("an open transaction");
    assert!(matches!(transaction.phase, Phase::Open), "a commit starts once");
    assert!(!waiters.is_empty(), "a commit has a waiter");
    assert!(transaction.operations == 0 || beside, "a commit starts when all operations are done");
    if transaction.buffer.is_empty() && !transaction.named && !transaction.is_serializable() {
        // Nothing is stored, but the client's next transactions must see what this one read.
        let session = after_reading(state, attempt);
        let committed = Committed { txn: None, session };
        end::end(state, attempt, Outcome::Committed(committed.clone()), None);
        return waiters.into_iter().for_each(|waiter| end::reply_committed(state, waiter, committed.clone()));
    }
    transaction.prepare(result, waiters);
    let deadline = transaction.deadline;
    set_patience(state, attempt);
    let transaction = &state.transactions[&attempt];
    let writes_locks = level::writes_under_locks(state, transaction);
    let locks = writes_locks || (transaction.is_serializable() && !state.settings.exclusive);
    let transaction = state.transactions.get_mut(&attempt).expect("looked up above");
    transaction.locks = locks;
    // The usual path: the time is known, and no key needs a listing.
    let stores = transaction.named || !transaction.buffer.is_empty();
    if stores && is_time_known(state, attempt) && keys_to_look_at(state, attempt).is_empty() {
        return take_time(state, attempt, Hlc::default());
    }
    // Report a known conflict before the keys are listed.
    if let Some(found) = conflict(state, attempt) {
        return end::conflict(state, attempt, &found, FoundBy::Node);
    }
    if !stores && !locks {
        return end::nothing_to_store(state, attempt, after_reading(state, attempt));
    }
    state.start_task(Purpose::Prepare(attempt), deadline);
}

/// Returns the conflict that a transaction has if it commits in this step.
fn conflict(state: &State, attempt: AttemptId) -> Option<Conflict> {
    let transaction = &state.transactions[&attempt];
    if !transaction.locks && !transaction.is_serializable() {
        return None;
    }
    if state.planted(Bug::CommitUnchecked) {
        return None;
    }
    let now_mono = state.clock.mono_ms();
    let reserved = state.checks.reserved_key(attempt, transaction.buffer.keys(), now_mono);
    let kept_free = reserved.map(|key| Conflict { key: Some(key.clone()), by: None });
    let bug = bug_of(&state.settings);
    transaction.conflict(&state.checks, |planted| bug == Some(planted)).or(kept_free)
}

/// Returns the client's session after a transaction that only read.
fn after_reading(state: &State, attempt: AttemptId) -> crate::ids::Session {
    let transaction = &state.transactions[&attempt];
    let mut session = transaction.session.clone();
    let Some(bounds) = state.clock.bounds() else {
        // Even so, the client has read through this node.
        session.add([], None, &state.settings, state.id);
        return session;
    };
    let reads = transaction.unsure_reads(bounds.latest_ms);
    let reads = reads.into_iter().filter(|entry| !state.is_entered(entry.hash, entry.txn));
    session.add(reads, Some(bounds), &state.settings, state.id);
    assert!(session.entries.len() <= Session::LEN_MAX, "a session's size is bounded");
    session
}

/// The ending of a commit's preparation.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Prepared {
    /// The pages of the listed keys, newest entries first, and the newest commit time of the
    /// others.
    Looked {
        asked_call: u64,
        asked: Moment,
        mark: TxnId,
        newest: Hlc,
        pages: Vec<(Key, Vec<VersionEntry>, bool)>,
    },
    /// The transaction stores nothing, and its reads were checked.
    Judged(Result<(), Conflict>),
    /// The store failed; nothing was sent.
    Failed(Refusal),
}

/// Learns the store's time, from any answer, and lists the written keys where necessary.
pub(in crate::node) fn prepare_script(
    run: &mut Run<'_>,
    state: &State,
    attempt: AttemptId,
) -> Result<Prepared, Pending> {
    let asking =
        run.once(|| Noted::Asking(state.calls.next_number(), state.clock.moment(), state.mark.known()));
    let Noted::Asking(asked_call, asked, mark) = asking else { unreachable!("the place of an instant") };
    // Read the mark, which is small and useful, because every answer carries the time. One answer
    // bounds it by the round trip and the resolution of the store's clock; several narrow it.
    for _ in 0..TIME_TRIES_MAX {
        if !run.once_if(|| !is_time_known(state, attempt)) {
            break;
        }
        match run.ask(|| Call::Get(Name::Format))? {
            // A damaged object is also an answer that carries the time.
            Answer::Got(_) | Answer::Failed(CallError::Damaged(_)) => {}
            answer => return Ok(Prepared::Failed(refusal_of(&answer))),
        }
    }
    // A transaction that stores nothing takes no commit time: its reads are checked now.
    let transaction = &state.transactions[&attempt];
    if transaction.locks && !transaction.named && transaction.buffer.is_empty() {
        return Ok(match lock::check_reads(run, state, attempt, None)? {
            Ok(()) => Prepared::Judged(Ok(())),
            Err(lock::Stop::Conflict(found) | lock::Stop::Held(found)) => Prepared::Judged(Err(found)),
            Err(lock::Stop::Lost | lock::Stop::Renamed) => {
                unreachable!("a transaction that only reads has no locks")
            }
            Err(lock::Stop::Failed(refusal)) => Prepared::Failed(refusal),
        });
    }
    // Which keys must be listed depends on the present bounds, so it is decided once. The newest
    // time of the other keys is noted as well, because the index may evict them during the listing.
    let noted = run.once(|| Noted::Keys(keys_to_look_at(state, attempt), newest_known(state, attempt)));
    let Noted::Keys(keys, newest) = noted else { unreachable!("the place of keys") };
    let limit = state.settings.version_page_len;
    let list = |key: &Key| Call::List { group: Group::Versions(key.clone()), after: None, limit };
    let places: Vec<usize> = keys.iter().map(|key| run.start(|| list(key))).collect();
    let answers = run.wait_all(&places)?;
    let mut pages = Vec::new();
    assert_eq!(answers.len(), keys.len(), "every key was looked at");
    for (key, answer) in keys.into_iter().zip(answers) {
        let Answer::Listed { names, more, .. } = answer else {
            return Ok(Prepared::Failed(refusal_of(&answer)));
        };
        let entries = names.into_iter().map(|name| match name {
            Name::Version(listed, entry) => {
                assert_eq!(listed, key, "a listing names its own key");
                entry
            }
            other => unreachable!("a listing of versions holds {other:?}"),
        });
        let entries = entries.collect();
        pages.push((key, entries, more));
    }
    Ok(Prepared::Looked { asked_call, asked, mark, newest, pages })
}

/// Carries a preparation's ending out.
pub(in crate::node) fn prepared(state: &mut State, attempt: AttemptId, ending: Prepared) {
    let (asked_call, asked, mark, mut newest, pages) = match ending {
        Prepared::Looked { asked_call, asked, mark, newest, pages } => {
            (asked_call, asked, mark, newest, pages)
        }
        Prepared::Failed(_) if state.transactions[&attempt].deadline.has_passed(&state.clock) => {
            return end::expire(state, attempt);
        }
        Prepared::Failed(refusal) => return end::reopen(state, attempt, &refusal),
        Prepared::Judged(Ok(())) => {
            return end::nothing_to_store(state, attempt, after_reading(state, attempt));
        }
        Prepared::Judged(Err(found)) => return end::conflict(state, attempt, &found, FoundBy::Store),
    };
    assert!(asked_call <= state.calls.next_number(), "the keys were asked before they are looked at");
    let bug = bug_of(&state.settings);
    // The commit time must be above every listed version.
    for (key, entries, more) in &pages {
        newest = entries.first().map_or(newest, |entry| newest.max(entry.txn.time));
        // Do not replace a listing that a read is using: with many commits per second the read
        // would never end. Where one process holds the store, a key is listed once, and that
        // listing is kept for good.
        let in_use = state.index.known(key).is_some_and(|entry| entry.is_in_use());
        if in_use && !state.settings.exclusive {
            continue;
        }
        let next_call = state.calls.next_number();
        let page = ListedPage { entries, after: None, more: *more, asked, asked_call, next_call, mark };
        state.index.listed(key, page, |planted| bug == Some(planted));
    }
    if !is_time_known(state, attempt) {
        let why = "the store's time is not known well enough to commit: its answers carry no time, or they disagree";
        return end::reopen(state, attempt, &Refusal::StoreUnavailable(why.into()));
    }
    let listed = pages.iter().filter_map(|(_, entries, _)| entries.first());
    assert!(listed.into_iter().all(|entry| entry.txn.time <= newest), "the newest entry was looked at");
    take_time(state, attempt, newest);
}

// The line: other commits of this node that take the same locks.

/// Returns the monotonic instant, in milliseconds, until which a commit waits for other commits
/// that write a key, if there are any. A commit that has been in flight for long is not waited for:
/// it may be broken.
pub(in crate::node) fn busy_until(state: &State, attempt: AttemptId, key: &Key) -> Option<u64> {
    let since_mono = state.checks.under_way_since(key, attempt)?;
    let until_mono = since_mono.saturating_add(state.settings.break_after_ms);
    (until_mono > state.clock.mono_ms()).then_some(until_mono)
}

/// Returns true if a commit may start now; else puts it in line.
fn is_turn(state: &mut State, attempt: AttemptId) -> bool {
    let transaction = &state.transactions[&attempt];
    if !transaction.locks || transaction.buffer.is_empty() {
        return true;
    }
    let keys = || transaction.buffer.keys();
    let busy_until = keys().filter_map(|key| busy_until(state, attempt, key)).max();
    if busy_until.is_none() && state.line.is_first(attempt, keys()) {
        state.leave_line(attempt);
        return true;
    }
    let keys = keys().cloned().collect();
    let before = state.line.enter(attempt, keys, busy_until);
    before.into_iter().for_each(|at| state.timers.cancel(at, Timer::Turn(attempt)));
    busy_until.into_iter().for_each(|at| state.timers.set(at, Timer::Turn(attempt)));
    false
}

/// Continues with a commit in line, if it is its turn.
pub(in crate::node) fn take_turn(state: &mut State, attempt: AttemptId) {
    if !state.line.contains(attempt) {
        return;
    }
    let Transaction { phase, deadline, .. } = &state.transactions[&attempt];
    assert!(matches!(phase, Phase::Preparing(..)), "a commit in line has sent nothing");
    if is_time_known(state, attempt) {
        return take_time(state, attempt, Hlc::default());
    }
    let deadline = *deadline;
    state.leave_line(attempt);
    state.start_task(Purpose::Prepare(attempt), deadline);
}

/// Returns the versions that the writes of a commit follow, in the order of keys. The write of a
/// key that was not returned to the client follows the newest version that this node knows.
fn followed(state: &State, attempt: AttemptId) -> Vec<TxnId> {
    let transaction = &state.transactions[&attempt];
    let newest = |key: &Key| {
        let versions = state.index.known(key)?.versions();
        let is_committed = |known: &&Known| matches!(known.knowledge, Knowledge::Header(_));
        let is_taken = |known: &&Known| is_committed(known) || state.planted(Bug::FollowUndecided);
        let known = versions.iter().find(is_taken).map(|known| known.txn)?;
        // An older version may be removed by now, and its successor, too.
        state.is_young(known).then_some(known)
    };
    let version = |key: &Key| {
        let read = &transaction.reads[key];
        let newest = newest(key).filter(|_| !read.delivered).unwrap_or(TxnId::ZERO);
        read.version().max(newest)
    };
    transaction.buffer.keys().map(version).collect()
}

/// Takes the commit time, above `newest`, and starts to write.
fn take_time(state: &mut State, attempt: AttemptId, newest: Hlc) {
    let transaction = &state.transactions[&attempt];
    assert!(matches!(transaction.phase, Phase::Preparing(..)), "the time of a commit is taken once");
    // The check must be in the step in which the time is taken, so that no commit comes between.
    if let Some(found) = conflict(state, attempt) {
        return end::conflict(state, attempt, &found, FoundBy::Node);
    }
    if !is_turn(state, attempt) {
        return;
    }
    let bounds = state.clock.bounds().expect("a commit time is taken when the store's time is known");
    // The time must be above everything that the transaction has seen, its keys' known versions and
    // the mark. Unconfirmed times of the session's token are trusted only as far as the store's
    // time.
    let believed_ms = bounds.latest_ms.saturating_add(state.settings.skew_max_ms);
    let listed = newest_known(state, attempt);
    let transaction = state.transactions.get_mut(&attempt).expect("looked up above");
    transaction.believed_ms = believed_ms;
    let after = transaction.newest_seen().max(newest).max(listed).max(state.mark.known().time);
    if after == Hlc(u64::MAX) {
        let what = "a version that the transaction read, or overwrites, has the last time there is: none can follow it";
        return end::reopen(state, attempt, &Refusal::Damaged(what.into()));
    }
    // Wide bounds made this commit list its keys: narrow them for the next one.
    if bounds.width_ms() > state.settings.commit_wait_max_ms {
        state.sharpen_time();
    }
    let at_ms = match timing(state, attempt, bounds) {
        Timing::Own | Timing::Upper => bounds.latest_ms,
        Timing::Lower => bounds.earliest_ms,
    };
    let time = state.clock.tick(after, at_ms);
    assert!(time > after, "a commit comes after all that it read, that its keys hold, and the mark");
    assert!(time.ms() >= bounds.earliest_ms, "a commit's time is not before the store's lower bound");
    let mark = state.mark.known();
    let checks_more = lock::checks_more(state, attempt);
    let versions = state.transactions[&attempt].locks.then(|| followed(state, attempt));
    let follows = versions.map(|versions| Follows { versions: versions.into(), checks_more });
    let transaction = state.transactions.get_mut(&attempt).expect("looked up above");
    let record = transaction.take_time(time, follows);
    assert!(record.txn > mark, "a commit is above every mark that the node knows");
    let deadline = transaction.deadline;
    // From now on the commit may be durable, so serializable transactions are checked against it.
    if state.settings.exclusive || record.follows.is_some() {
        let keys = record.writes.iter().map(|(key, _)| key.clone()).collect();
        state.checks.commit(record.txn, keys, state.clock.mono_ms());
    }
    state.start_task(Purpose::Commit(attempt), deadline);
}

// Write: the record and its entries.

/// Returns the record of a transaction that is committing.
pub(in crate::node) fn record_under_way(state: &State, attempt: AttemptId) -> Arc<Record> {
    let transaction = state.transactions.get(&attempt).expect("a commit's script ends with its transaction");
    let Phase::Committing(record, _) = &transaction.phase else { unreachable!("it is committing") };
    assert_eq!(record.txn.attempt, attempt, "a commit is its own attempt's");
    record.clone()
}

/// Writes a commit. Returns its record as it was written, and the ending.
pub(in crate::node) fn script(
    run: &mut Run<'_>,
    state: &State,
    record: &Arc<Record>,
) -> Result<(Arc<Record>, Ending), Pending> {
    if record.follows.is_some() {
        return lock::script(run, state, record);
    }
    let ending = write(run, state, record)?;
    Ok((record.clone(), ending))
}

/// Writes a commit whose entries are not locks, all of it at once.
fn write(run: &mut Run<'_>, state: &State, record: &Arc<Record>) -> Result<Ending, Pending> {
    if record.is_whole() {
        let put = || Call::Put(record.commit_name(), Body::Record(record.clone()));
        return Ok(match run.ask(put)? {
            Answer::Done => Ending::Durable,
            Answer::Failed(CallError::NoAnswer) => Ending::Unknown,
            answer => Ending::Reopen(refusal_of(&answer)),
        });
    }
    let entries = record.entries();
    let writes = || Writes { record: Some(record.clone()), entries: entries.clone() };
    let pieces = match run.ask(|| Call::Commit(writes()))? {
        Answer::Committed(pieces) => pieces,
        answer => unreachable!("a commit is answered {answer:?}"),
    };
    let Pieces { record: created, entries: put } = pieces;
    assert_eq!(put.len(), record.writes.len(), "every entry has an outcome");
    match created.expect("a record was to be created") {
        Ok(Created::Created) => Ok(ending::all_durable(state, put)),
        Ok(Created::Exists) if state.planted(Bug::TakeExistsForSuccess) => Ok(Ending::Durable),
        Ok(Created::Exists) => ending::exists(run, state, record),
        Err(CallError::NoAnswer) => Ok(Ending::Unknown),
        // The record was not created, and entries without a record never make a version.
        Err(error) => Ok(Ending::Reopen(refusal_of(&Answer::Failed(error)))),
    }
}

/// Carries a commit's ending out.
pub(in crate::node) fn carry_out(
    state: &mut State,
    attempt: AttemptId,
    (record, ending): (Arc<Record>, Ending),
) {
    let transaction = state.transactions.get_mut(&attempt).expect("a commit's script ends with it");
    transaction.was_written_as(record);
    let hash = transaction.hash;
    match ending {
        Ending::Durable => {
            transaction.pass();
            pass(state, attempt);
        }
        Ending::Lost(winner) => {
            assert_eq!(winner.hash, hash, "an attempt loses to another of its request");
            report::learn_told(state, &winner);
            remove_dead_entries(state, attempt);
            let transaction = &state.transactions[&attempt];
            let verdict = report::verdict(state, &winner, transaction.fingerprint, &transaction.session);
            end::lost(state, attempt, Some(winner), verdict);
        }
        Ending::LostUntold(refusal) => {
            // If the deadline passed before the winner could be reported, that is the reason, and
            // not a failure of the store.
            let is_late = transaction.deadline.has_passed(&state.clock);
            let refusal = if is_late { Refusal::Lost } else { refusal };
            remove_dead_entries(state, attempt);
            end::lost(state, attempt, None, Err(refusal));
        }
        Ending::LostLongAgo => end::lost(state, attempt, None, Err(Refusal::ResultGone)),
        Ending::Unknown => end::in_doubt(state, attempt, &Refusal::Unknown(hash)),
        Ending::Doubt(what) => end::in_doubt(state, attempt, &Refusal::UnknownDamaged(hash, what)),
        // Nothing took effect, and nothing more may be sent.
        Ending::Reopen(_) if transaction.deadline.has_passed(&state.clock) => end::expire(state, attempt),
        Ending::Reopen(refusal) => end::reopen(state, attempt, &refusal),
        Ending::Renamed => {
            // If the outcome stays unknown, a look-up reads the new name.
            let deadline = transaction.deadline;
            state.start_task(Purpose::Commit(attempt), deadline);
        }
        Ending::Conflict(found) => {
            remove_dead_entries(state, attempt);
            end::conflict(state, attempt, &found, FoundBy::Store);
        }
    }
}

/// Removes the entries of an attempt that has lost. This is optional, because a sweep would do it.
fn remove_dead_entries(state: &mut State, attempt: AttemptId) {
    let transaction = &state.transactions[&attempt];
    let Phase::Committing(record, _) = &transaction.phase else { unreachable!("it is committing") };
    let limit = transaction.deadline;
    if record.follows.is_some() {
        // Another transaction may have taken a name over, so each entry is read before it is freed.
        let record = record.clone();
        return state.start_task(Purpose::Release(record), limit);
    }
    let names: Vec<Name> = record.entries().into_iter().map(|(key, entry)| entry.name(&key)).collect();
    assert_eq!(names.len(), record.writes.len(), "an attempt has an entry at every key that it wrote");
    for batch in names.chunks(state.settings.delete_batch_len) {
        state.call(Owner::Nobody, Call::Delete(batch.to_vec()), Some(limit));
    }
}

// Pass: the store's time must be above the commit time before the commit is reported.

/// Acknowledges a durable commit if the store's time has passed its commit time; else waits.
pub(in crate::node) fn pass(state: &mut State, attempt: AttemptId) {
    let Some(transaction) = state.transactions.get(&attempt) else { return };
    let Phase::Passing(record, _) = &transaction.phase else { return };
    if transaction.deadline.has_passed(&state.clock) {
        return end::deadline(state, attempt);
    }
    let deadline = transaction.deadline;
    let wait_ms = match report::wait_for(state, record.txn) {
        // P10: a transaction that begins after this moment takes a later time.
        Wait::Over => return acknowledge(state, attempt),
        Wait::For(wait_ms) => {
            state.sharpen_time();
            wait_ms
        }
        Wait::Unknown => {
            state.call(Owner::Nobody, Call::Get(Name::Format), Some(deadline));
            TIME_RETRY_MS
        }
    };
    state.timers.set(state.clock.mono_ms() + wait_ms, Timer::CommitWait(attempt));
}

fn acknowledge(state: &mut State, attempt: AttemptId) {
    let transaction = state.transactions.get_mut(&attempt).expect("it passes");
    assert!(!transaction.deadline.has_passed(&state.clock), "no commit is acknowledged after its deadline");
    let phase = std::mem::replace(&mut transaction.phase, Phase::Open);
    let Phase::Passing(record, waiters) = phase else { unreachable!("only what is durable is acknowledged") };
    assert!(record.txn.time > transaction.newest_seen(), "a commit is above all that it read");
    assert_eq!(record.writes.len(), transaction.buffer.len(), "a commit has the whole buffer");
    for waiter in &waiters {
        state.timers.cancel(waiter.until_mono, Timer::CommitPatience(attempt));
    }
    let whole = record.is_whole();
    let seen_ms = state.clock.bounds().map_or(u64::MAX, |bounds| bounds.latest_ms);
    let reads = transaction.unsure_reads(seen_ms);
    let before = transaction.session.clone();
    let session = report::session_with(state, &before, &record, whole, &reads);
    assert!(session.newest() >= record.txn.time, "a session covers its client's own commit");
    let committed = Committed { txn: Some(record.txn), session };
    state.note_entered(&record);
    end::end(state, attempt, Outcome::Committed(committed.clone()), Some(record.clone()));
    if !record.writes.is_empty() {
        let header = Arc::new(Header::of(&record, whole));
        state.learn(&header, true, None);
        // A guest sends no tells: it may be frozen or stopped at any time.
        if !state.settings.guest {
            state.tell(header);
        }
    }
    waiters.into_iter().for_each(|waiter| end::reply_committed(state, waiter, committed.clone()));
}
