//! Commits of keys that the store checks: entries are locks, and the record decides (protocol,
//! section 13).
//!
//! ```text
//!   lock:   create version/<key>/<version it follows>
//!           └─► taken? ─► committed: conflict
//!                         dead:      take it over
//!                         undecided: wait a little, then break it
//!   check:  the followers of versions that were only read ─► none, or dead
//!   decide: create commit/<hash> ─► acknowledge
//! ```
//!
//! Rule. Two transactions that follow the same version of a key want the same name, and only one of
//! them gets it. Keys that were only read are checked after every lock is held and before the
//! record is created. So there is a moment, when the last lock was taken, at which all versions
//! that were read or followed were the newest. This moment is the transaction's place in the order.
//!
//! An undecided holder is *broken*: `commit/<its hash>` is created as *aborted*, naming its
//! attempt. Only one of the creates of a record and of this object succeeds, so a holder cannot be
//! broken and commit.
//!
//! Waiting: a transaction waits only if it holds no lock, or is older than the holder. So of
//! transactions that wait in a circle at least one ends with a conflict. A holder whose commit
//! began long ago is not waited for: an older transaction breaks it after `break_after_ms`, a
//! younger one after three times that, so that two transactions do not break each other. A
//! transaction with little time left does not wait either: a conflict is a certain outcome, but at
//! the deadline the outcome would be unknown.
//!
//! The collection of a deletion frees its name. So a transaction that follows an old deletion
//! checks, under its lock, that the deletion still exists: if not, other transactions may have
//! started from absence meanwhile.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, Key, TxnId};
use crate::message::{Conflict, Header, Refusal};
use crate::record::{Aborted, Kind, Record, VersionEntry};
use crate::store::{Answer, Body, Call, CallError, Created, Name, Tag};

use super::super::base::script::{Noted, Pending, Run};
use super::super::base::state::{State, refusal_of};
use super::ending::{Ending, exists_as, replace_aborted};

/// The number of tries to take a name over or to decide on a holder. Each further try needs another
/// transaction that intervened.
const ROUNDS_MAX: usize = 64;

/// The factor by which a transaction waits longer for an older holder.
const YOUNGER_WAITS: u64 = 3;

/// The divisor that gives the part of a transaction's timeout that must be left when it waits for a
/// holder.
const RESERVE: u64 = 8;

/// The first pause before a holder is read again, in milliseconds; pauses double.
const PAUSE_MIN_MS: u64 = 8;
/// The longest pause, in milliseconds.
const PAUSE_MAX_MS: u64 = 128;

/// The reason why a commit does not continue.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Stop {
    /// Another transaction came first.
    Conflict(Conflict),
    /// An undecided transaction holds the lock, and may not be waited for.
    Held(Conflict),
    /// Another attempt of the same request has committed.
    Lost,
    /// The record now follows another version, so its entry, which is the commit, has another name.
    Renamed,
    /// The store failed, or holds a damaged object.
    Failed(Refusal),
}

/// The transaction that wants a lock, or checks that there is none.
#[derive(Debug, Clone, Copy)]
struct Who {
    /// Its transaction; `None` if it only reads.
    txn: Option<TxnId>,
    /// True if it holds locks.
    holds: bool,
}

impl Who {
    /// Returns true if it may wait for a holder.
    fn may_wait(&self, holder: TxnId) -> bool {
        !self.holds || self.txn.is_none_or(|own| own < holder)
    }

    /// Returns the age, in milliseconds, from which it breaks a holder. Of two transactions that
    /// wait for each other the younger waits longer, so that they do not break each other.
    fn patience_ms(&self, state: &State, holder: TxnId) -> u64 {
        let is_older = self.txn.is_some_and(|own| own < holder);
        state.settings.break_after_ms * if is_older { 1 } else { YOUNGER_WAITS }
    }
}

/// Returns true if a transaction has time for a pause and for the steps after it. If it waited
/// until its deadline, its outcome would be unknown.
fn has_time(run: &mut Run<'_>, state: &State, attempt: AttemptId, pause_ms: u64) -> bool {
    run.once_if(|| {
        let deadline = &state.transactions[&attempt].deadline;
        deadline.remaining_ms(&state.clock) > pause_ms + deadline.ms / RESERVE
    })
}

/// Returns true if something is checked between a transaction's entries and its record.
pub(in crate::node) fn checks_more(state: &State, attempt: AttemptId) -> bool {
    let transaction = &state.transactions[&attempt];
    if !transaction.locks {
        return false;
    }
    transaction.reads.iter().any(|(key, read)| {
        let is_read_only = state.settings.locks(key) && !transaction.buffer.contains_key(key);
        is_read_only || !read.strays.is_empty() || collectable(state, key, read.header.as_deref()).is_some()
    })
}

/// Returns the name of a deletion's entry that may be collected while the transaction is open.
fn collectable(state: &State, key: &Key, read: Option<&Header>) -> Option<Name> {
    let header = read?;
    let meta = header.meta(key).expect("a version's key is in its write set");
    let is_old = meta.kind == Kind::Tombstone && !state.is_young(header.txn);
    is_old.then(|| header.entry(key).name(key))
}

/// Writes a commit whose entries are locks. Returns its record, whose writes may now follow other
/// versions, and the ending.
pub(in crate::node) fn script(
    run: &mut Run<'_>,
    state: &State,
    record: &Arc<Record>,
) -> Result<(Arc<Record>, Ending), Pending> {
    let late = state.planted(Bug::CheckBeforeLocking);
    if late && let Err(stop) = check_reads(run, state, record.txn.attempt, Some(record))? {
        return Ok((record.clone(), ending_of(stop)));
    }
    let mut record = record.clone();
    if let Some(ending) = take_locks(run, state, &mut record)? {
        return Ok((record, ending));
    }
    // The only entry is the commit, and nothing else is to be checked.
    if record.is_whole() {
        return Ok((record, Ending::Durable));
    }
    // All locks are held: what was read is now checked, and stays so until the record decides.
    if !late && let Err(stop) = check_reads(run, state, record.txn.attempt, Some(&record))? {
        return Ok((record, ending_of(stop)));
    }
    let ending = decide(run, state, &record)?;
    Ok((record, ending))
}

/// Takes every lock of a commit: first all at once, and then, one by one, those that others hold.
/// Returns `None` if all locks are held.
fn take_locks(run: &mut Run<'_>, state: &State, record: &mut Arc<Record>) -> Result<Option<Ending>, Pending> {
    let entries = record.entries();
    let create = |(key, entry): &(Key, VersionEntry)| Call::Create(entry.name(key), body(record, entry));
    let places: Vec<usize> = entries.iter().map(|entry| run.start(|| create(entry))).collect();
    let answers = run.wait_all(&places)?;
    let is_held = |answer: &Answer| matches!(answer, Answer::Created(Created::Created));
    let who = Who { txn: Some(record.txn), holds: answers.iter().any(is_held) };
    for (at, answer) in answers.into_iter().enumerate() {
        // True if this entry may have been written by a try without an answer.
        let mut maybe = answer == Answer::Failed(CallError::NoAnswer);
        match answer {
            Answer::Created(Created::Created) => continue,
            Answer::Created(Created::Exists) | Answer::Failed(CallError::NoAnswer) => {}
            answer => return Ok(Some(Ending::Reopen(refusal_of(&answer)))),
        }
        match take_over(run, state, record, (at, &mut maybe), who)? {
            Ok(()) => {}
            // The record decides whether the winner is this attempt or another one.
            Err(Stop::Lost) => {
                let found = run.ask(|| Call::Get(Name::Commit(record.hash)))?;
                return exists_as(run, state, record, found).map(Some);
            }
            Err(Stop::Renamed) => return Ok(Some(Ending::Renamed)),
            Err(Stop::Conflict(found)) => return Ok(Some(Ending::Conflict(found))),
            // A whole entry is the commit: if it was sent, it may still land when the name becomes
            // free, so the outcome is unknown.
            Err(Stop::Held(_)) if record.is_whole() => return Ok(Some(Ending::Unknown)),
            Err(Stop::Failed(_)) if maybe && record.is_whole() => return Ok(Some(Ending::Unknown)),
            Err(stop) => return Ok(Some(ending_of(stop))),
        }
    }
    Ok(None)
}

/// Changes the version that one write of a record follows. It works in place once the script owns
/// the record, because a large commit may need it for each of its keys.
fn follow(record: &mut Arc<Record>, at: usize, before: TxnId) {
    let record = Arc::make_mut(record);
    assert!(before < record.txn, "a version comes after what it follows");
    let follows = record.follows.as_mut().expect("an entry that is a lock follows a version");
    let versions = Arc::make_mut(&mut follows.versions);
    assert!(versions[at] < before, "it goes on to a newer version");
    versions[at] = before;
}

fn ending_of(stop: Stop) -> Ending {
    match stop {
        Stop::Conflict(found) | Stop::Held(found) => Ending::Conflict(found),
        Stop::Lost | Stop::Renamed => unreachable!("only of a lock"),
        Stop::Failed(refusal) => Ending::Reopen(refusal),
    }
}

/// Returns the body of an entry.
fn body(record: &Arc<Record>, entry: &VersionEntry) -> Body {
    if entry.whole { Body::Record(record.clone()) } else { entry.body() }
}

/// The state of another transaction's entry.
#[derive(Debug, PartialEq)]
enum Holder {
    /// The entry is a version.
    Committed,
    /// The entry is not a version, and never will be.
    Dead,
    /// The entry was undecided when its record was read.
    Undecided,
}

/// Takes the lock of the write at index `at`, whose name another transaction may hold. `maybe` is
/// true if a write of this entry had no answer, and is updated.
///
/// The write of a key that the client has not read may follow a version that was committed
/// meanwhile, if that version has an earlier time than the transaction.
fn take_over(
    run: &mut Run<'_>,
    state: &State,
    record: &mut Arc<Record>,
    (at, maybe): (usize, &mut bool),
    who: Who,
) -> Result<Result<(), Stop>, Pending> {
    let attempt = record.txn.attempt;
    let is_blind =
        |key: &Key| state.transactions[&attempt].reads.get(key).is_some_and(|read| !read.delivered);
    let mut pause_ms = PAUSE_MIN_MS;
    for _ in 0..ROUNDS_MAX {
        // 1. Read the holder of the name. Its name changes when the record follows another version.
        let (key, entry) = record.entry(at);
        let name = entry.name(&key);
        let (held, tag) = match run.ask(|| Call::Get(name.clone()))? {
            Answer::Got(Some(held)) => held,
            // The holder released it, or the record now follows another version.
            Answer::Got(None) => match run.ask(|| Call::Create(name.clone(), body(record, &entry)))? {
                Answer::Created(Created::Created) => return Ok(Ok(())),
                Answer::Created(Created::Exists) => continue,
                Answer::Failed(CallError::NoAnswer) => {
                    *maybe = true;
                    continue;
                }
                answer => return Ok(Err(Stop::Failed(refusal_of(&answer)))),
            },
            answer => return Ok(Err(Stop::Failed(refusal_of(&answer)))),
        };
        // 2. Decide what the holder is.
        let (by, holder) = match &held {
            Body::Entry(held) if held.txn == record.txn => return Ok(Ok(())),
            Body::Record(held) if held.txn == record.txn => return Ok(Ok(())),
            // This attempt's own entry, from an earlier try to commit that took no effect.
            Body::Entry(held) if held.txn.attempt == attempt => (held.txn, Ok(Holder::Dead)),
            // A whole entry is a commit.
            Body::Record(held) => (held.txn, Ok(Holder::Committed)),
            Body::Free => (TxnId::ZERO, Ok(Holder::Dead)),
            Body::Entry(held) => match look(run, state, held, who)? {
                Ok(Holder::Committed) if held.hash == record.hash => return Ok(Err(Stop::Lost)),
                holder => (held.txn, holder),
            },
            other => return Ok(Err(Stop::Failed(misplaced(&name, other)))),
        };
        // 3. Follow a committed holder, wait for an undecided one, or continue with a dead one.
        match holder {
            Ok(Holder::Dead) => {}
            Ok(Holder::Committed) if is_blind(&key) && by < record.txn => {
                // The name is taken for good, so this transaction's entry cannot land under it.
                *maybe = false;
                follow(record, at, by);
                match record.is_whole() {
                    true => return Ok(Err(Stop::Renamed)),
                    false => continue,
                }
            }
            Ok(Holder::Committed) => return Ok(Err(conflict(&key, Some(by)))),
            Ok(Holder::Undecided) if who.may_wait(by) && has_time(run, state, attempt, pause_ms) => {
                run.pause(pause_ms)?;
                pause_ms = (2 * pause_ms).min(PAUSE_MAX_MS);
                continue;
            }
            Ok(Holder::Undecided) => return Ok(Err(held_by(&key, Some(by)))),
            Err(refusal) => return Ok(Err(Stop::Failed(refusal))),
        }
        // 4. Replace the dead entry, by tag: another transaction may do so at the same time.
        let mut tag = tag;
        if state.planted(Bug::TakeOverWithoutTag)
            && let Answer::Got(Some((_, now))) = run.ask(|| Call::Get(name.clone()))?
        {
            tag = now;
        }
        match run.ask(|| Call::Replace(name.clone(), tag.clone(), body(record, &entry)))? {
            Answer::Replaced => return Ok(Ok(())),
            Answer::Changed => {}
            Answer::Failed(CallError::NoAnswer) => *maybe = true,
            answer => return Ok(Err(Stop::Failed(refusal_of(&answer)))),
        }
    }
    let (key, _) = record.entry(at);
    Ok(Err(held_by(&key, None)))
}

fn conflict(key: &Key, by: Option<TxnId>) -> Stop {
    Stop::Conflict(Conflict { key: Some(key.clone()), by })
}

fn held_by(key: &Key, by: Option<TxnId>) -> Stop {
    Stop::Held(Conflict { key: Some(key.clone()), by })
}

fn misplaced(name: &Name, body: &Body) -> Refusal {
    Refusal::Damaged(format!("a body of another kind under the name of a version entry, {name:?}: {body:?}"))
}

/// Returns the state of the holder of a name, according to its record. An undecided holder that is
/// old is broken.
fn look(
    run: &mut Run<'_>,
    state: &State,
    holder: &VersionEntry,
    who: Who,
) -> Result<Result<Holder, Refusal>, Pending> {
    assert!(who.txn != Some(holder.txn), "a transaction does not wait for itself");
    let name = Name::Commit(holder.hash);
    for _ in 0..ROUNDS_MAX {
        // The object under the record's name decides, if there is one and it concerns this attempt.
        let aborted = match run.ask(|| Call::Get(name.clone()))? {
            Answer::Got(Some((Body::Record(record), _))) => return Ok(Ok(decided(record.txn == holder.txn))),
            Answer::Got(Some((Body::Stub(stub), _))) => return Ok(Ok(decided(stub.txn == holder.txn))),
            Answer::Got(Some((Body::Aborted(aborted), _)))
                if aborted.excludes(holder.txn.attempt) || state.planted(Bug::DeadByAnyExclusion) =>
            {
                return Ok(Ok(Holder::Dead));
            }
            Answer::Got(Some((Body::Aborted(aborted), tag))) => Some((aborted, tag)),
            Answer::Got(None) if state.planted(Bug::DeadWithoutRecord) => return Ok(Ok(Holder::Dead)),
            Answer::Got(None) => None,
            answer => return Ok(Err(refusal_of(&answer))),
        };
        // Undecided. If it is old enough, exclude its attempt, by creating the object or by adding
        // the attempt to those that are excluded already.
        let Noted::BrokenAt(at_ms) = run.once(|| Noted::BrokenAt(may_break(state, holder.txn, who))) else {
            unreachable!("the place of a time")
        };
        let Some(at_ms) = at_ms else { return Ok(Ok(Holder::Undecided)) };
        let attempt = holder.txn.attempt;
        let broken = match &aborted {
            None => {
                let aborted = || Body::Aborted(Arc::new(Aborted::new(holder.hash, attempt, at_ms)));
                run.ask(|| Call::Create(name.clone(), aborted()))?
            }
            Some((before, tag)) => {
                let more = || Body::Aborted(Arc::new(before.with(attempt, at_ms)));
                run.ask(|| Call::Replace(name.clone(), tag.clone(), more()))?
            }
        };
        match broken {
            Answer::Created(Created::Created) | Answer::Replaced => return Ok(Ok(Holder::Dead)),
            // The holder has committed, another transaction has broken it, or the outcome is
            // unknown: read the object again.
            Answer::Created(Created::Exists) | Answer::Changed | Answer::Failed(CallError::NoAnswer) => {}
            answer => return Ok(Err(refusal_of(&answer))),
        }
    }
    Ok(Ok(Holder::Undecided))
}

fn decided(is_its: bool) -> Holder {
    if is_its { Holder::Committed } else { Holder::Dead }
}

/// Returns the upper bound of the store's time, in milliseconds, if the holder may be broken. Its
/// age is computed from the lower bound. While the time is unknown, no holder may be broken.
fn may_break(state: &State, holder: TxnId, who: Who) -> Option<u64> {
    let now = state.clock.bounds()?;
    let age_ms = now.earliest_ms.saturating_sub(holder.time.ms());
    (age_ms >= who.patience_ms(state, holder)).then_some(now.latest_ms)
}

/// Checks that the versions that a transaction read, and does not overwrite, are still the newest.
/// `record` is that of its commit, whose locks are held, if it writes anything.
pub(in crate::node) fn check_reads(
    run: &mut Run<'_>,
    state: &State,
    attempt: AttemptId,
    record: Option<&Arc<Record>>,
) -> Result<Result<(), Stop>, Pending> {
    let transaction = &state.transactions[&attempt];
    assert!(transaction.locks, "reads are checked in the store only if entries are locks");
    let who =
        Who { txn: record.map(|record| record.txn), holds: record.is_some_and(|r| !r.writes.is_empty()) };
    let read = || transaction.reads.iter().filter(|(key, _)| state.settings.locks(key));
    let only_read = read().filter(|(key, _)| !transaction.buffer.contains_key(*key));
    // A newer version of a key would be under the name that follows the version read.
    let followers: Vec<(&Key, Name)> =
        only_read.map(|(key, read)| (key, Name::Successor(key.clone(), read.version()))).collect();
    // Deletions that may have been collected. The age is noted once for all runs of the script: a
    // deletion does not get younger.
    let mut deletions: Vec<(&Key, Name, TxnId)> = Vec::new();
    for (key, read) in read() {
        let is_old = run.once_if(|| collectable(state, key, read.header.as_deref()).is_some());
        if is_old && !state.planted(Bug::TrustOldDeletions) {
            let header = read.header.as_deref().expect("only a version is old");
            deletions.push((key, header.entry(key).name(key), header.txn));
        }
    }
    // Read everything now: each condition must hold at the moment when the last lock was taken.
    let places: Vec<usize> =
        followers.iter().map(|(_, name)| run.start(|| Call::Get(name.clone()))).collect();
    let still: Vec<usize> =
        deletions.iter().map(|(_, name, _)| run.start(|| Call::Get(name.clone()))).collect();
    let answers = run.wait_all(&[&places[..], &still].concat())?;
    for ((key, _, txn), answer) in deletions.iter().zip(&answers[places.len()..]) {
        match answer {
            Answer::Got(Some((Body::Entry(entry), _))) if entry.txn == *txn => {}
            Answer::Got(Some((Body::Record(record), _))) if record.txn == *txn => {}
            Answer::Got(_) => return Ok(Err(conflict(key, None))),
            answer => return Ok(Err(Stop::Failed(refusal_of(answer)))),
        }
    }
    for ((key, name), answer) in followers.into_iter().zip(answers) {
        if let Err(stop) = no_follower(run, state, attempt, (key, name, Some(answer)), who)? {
            return Ok(Err(stop));
        }
    }
    // Undecided entries that the reads skipped must not have committed either.
    let strays: Vec<(&Key, &VersionEntry)> =
        read().flat_map(|(key, read)| read.strays.iter().map(move |stray| (key, stray))).collect();
    for (key, stray) in strays {
        if let Err(stop) = no_follower(run, state, attempt, (key, stray.name(key), None), who)? {
            return Ok(Err(stop));
        }
    }
    Ok(Ok(()))
}

/// Checks that there is no version under a name, and that an entry that is there now will not
/// become one. `first` is the answer to the first read of the name, if that was made.
fn no_follower(
    run: &mut Run<'_>,
    state: &State,
    attempt: AttemptId,
    (key, name, mut first): (&Key, Name, Option<Answer>),
    who: Who,
) -> Result<Result<(), Stop>, Pending> {
    let mut pause_ms = PAUSE_MIN_MS;
    for _ in 0..ROUNDS_MAX {
        let answer = match first.take() {
            Some(answer) => answer,
            None => run.ask(|| Call::Get(name.clone()))?,
        };
        // No entry, or an undecided one whose record decides. A whole entry is a commit.
        let holder = match answer {
            Answer::Got(None | Some((Body::Free, _))) => return Ok(Ok(())),
            Answer::Got(Some((Body::Entry(holder), _))) => holder,
            Answer::Got(Some((Body::Record(held), _))) => return Ok(Err(conflict(key, Some(held.txn)))),
            Answer::Got(Some((other, _))) => return Ok(Err(Stop::Failed(misplaced(&name, &other)))),
            answer => return Ok(Err(Stop::Failed(refusal_of(&answer)))),
        };
        // Its own entry, of this or an earlier try to commit.
        if who.txn.is_some_and(|own| own.attempt == holder.txn.attempt) {
            return Ok(Ok(()));
        }
        match look(run, state, &holder, who)? {
            Ok(Holder::Dead) => return Ok(Ok(())),
            Ok(Holder::Undecided) if who.may_wait(holder.txn) && has_time(run, state, attempt, pause_ms) => {
                run.pause(pause_ms)?;
                pause_ms = (2 * pause_ms).min(PAUSE_MAX_MS);
            }
            Ok(Holder::Committed) => return Ok(Err(conflict(key, Some(holder.txn)))),
            Ok(Holder::Undecided) => return Ok(Err(held_by(key, Some(holder.txn)))),
            Err(refusal) => return Ok(Err(Stop::Failed(refusal))),
        }
    }
    Ok(Err(held_by(key, None)))
}

/// Creates the record, with which the transaction is committed. Every entry is already durable.
fn decide(run: &mut Run<'_>, state: &State, record: &Arc<Record>) -> Result<Ending, Pending> {
    let name = Name::Commit(record.hash);
    // True if a create or a replacement may have taken effect.
    let mut maybe = false;
    for _ in 0..ROUNDS_MAX {
        match run.ask(|| Call::Create(name.clone(), Body::Record(record.clone())))? {
            Answer::Created(Created::Created) => return Ok(Ending::Durable),
            Answer::Created(Created::Exists) => {}
            // The record may exist or not, perhaps by an earlier try of this call.
            Answer::Failed(CallError::NoAnswer) => maybe = true,
            // Rejected. If no earlier try may have taken effect, the entries are dead.
            _ if maybe => return Ok(Ending::Unknown),
            answer => return Ok(Ending::Reopen(refusal_of(&answer))),
        }
        match run.ask(|| Call::Get(name.clone()))? {
            // The object that existed was removed meanwhile: try again.
            Answer::Got(None) => {}
            Answer::Got(Some((Body::Aborted(aborted), tag))) => {
                match replace_aborted(run, state, record, &aborted, tag)? {
                    Some(Ending::Reopen(_)) if maybe => return Ok(Ending::Unknown),
                    Some(ending) => return Ok(ending),
                    None => maybe = true,
                }
            }
            found => return exists_as(run, state, record, found),
        }
    }
    Ok(Ending::Unknown)
}

/// Releases the locks of a commit that took no effect, because others would wait for them.
pub(in crate::node) fn release(run: &mut Run<'_>, state: &State, record: &Record) -> Result<(), Pending> {
    let names: Vec<Name> = record.entries().iter().map(|(key, entry)| entry.name(key)).collect();
    let places: Vec<usize> = names.iter().map(|name| run.start(|| Call::Get(name.clone()))).collect();
    let answers = run.wait_all(&places)?;
    for (name, answer) in names.into_iter().zip(answers) {
        if let Answer::Got(Some((Body::Entry(entry), tag))) = answer
            && entry.txn == record.txn
        {
            run.start(|| free_call(state, name, tag));
        }
    }
    Ok(())
}

/// Returns the call that frees a name whose entry is dead, or superseded.
pub(in crate::node) fn free_call(state: &State, name: Name, tag: Tag) -> Call {
    assert!(matches!(name, Name::Successor(..)), "only locks are given up");
    if state.settings.delete_if { Call::DeleteIf(name, tag) } else { Call::Replace(name, tag, Body::Free) }
}
