//! Begin: the beginning of exactly-once execution (protocol, section 6).
//!
//! Rule: before a named request runs, its commit record is looked up; if it exists, nothing runs.
//! Two attempts may still run at once, on one node or on two: the creation of the record decides.
//! To wait for an attempt that is open on this node only saves work.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, RequestHash, Session, SessionEntry, TxnId};
use crate::message::{Begin, Bound, Header, Isolation, Note, Refusal, Reply, Ticket};
use crate::record::Record;
use crate::store::{Answer, Body, Call, CallError, Name};

use super::super::base::calls::{Age, Limit};
use super::super::base::requests::Waiter;
use super::super::base::script::{Noted, Pending, Run};
use super::super::base::state::{Purpose, State, Work, refusal_of};
use super::super::base::timers::Timer;
use super::super::base::transaction::{Began, Checked, Transaction};
use super::{batch, report};

/// The number of consecutive conflicts after which a request's attempts are fresh, on a store whose
/// listings expire. Before that, only the keys that it read are listed again.
const FRESH_FROM_CONFLICTS: u32 = 5;

/// The ending of a begin's script.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Ending {
    /// Open the transaction.
    Open {
        /// The commits that the session has seen and that were found.
        floor: Vec<Arc<Header>>,
        /// True if one was not found, so that the transaction must be fresh instead.
        fresh: bool,
    },
    /// The request has committed.
    Replay(Arc<Record>),
    /// Reject the begin.
    Refuse(Refusal),
}

/// Begins a transaction.
pub(in crate::node) fn begin(state: &mut State, ticket: Ticket, begin: Box<Begin>) {
    if let Err(refusal) = check(state, &begin) {
        return state.refuse(ticket, refusal);
    }
    let began = Began { at: state.clock.moment(), call: state.calls.next_number() };
    state.refresh_mark();
    // An unnamed request whose session names only known commits needs no call: its fresh UUID
    // cannot have committed, and the index has the headers for the floor.
    let known: Option<Vec<Arc<Header>>> =
        begin.session.entries.iter().map(|entry| state.index.header(entry.txn).cloned()).collect();
    match known {
        Some(floor) if !begin.named => open(state, ticket, (begin, began), floor, false),
        Some(_) | None => {
            let patience = state.patience();
            state.start_task(Purpose::Begin(ticket, begin, began), patience);
        }
    }
}

/// Rejects an attempt that was opened before.
fn check_attempt(state: &State, attempt: AttemptId) -> Result<(), Refusal> {
    if state.transactions.contains_key(&attempt) || state.ended.contains(&attempt) {
        return Err(Refusal::Invalid(format!(
            "attempt {attempt} was opened before: every attempt has a fresh id"
        )));
    }
    Ok(())
}

fn check(state: &State, begin: &Begin) -> Result<(), Refusal> {
    if state.draining && !state.planted(Bug::BeginWhileDraining) {
        return Err(Refusal::NotServing);
    }
    // Reject new transactions at half of the bound, so that the open ones have room to end.
    if state.transactions.len() >= state.settings.transactions_max
        || state.transactions.bytes() >= state.settings.transactions_bytes_max / 2
    {
        return Err(Refusal::Overloaded(Bound::Transactions));
    }
    check_attempt(state, begin.attempt)?;
    if begin.session.entries.len() > Session::LEN_MAX {
        return Err(Refusal::Invalid(format!(
            "the session token names {} commits, at most {} are allowed",
            begin.session.entries.len(),
            Session::LEN_MAX
        )));
    }
    Ok(())
}

/// A commit that a session has seen.
enum Seen {
    /// The commit's write set is known.
    Known(Arc<Header>),
    /// The commit has no record under its request's name. A fresh transaction sees it.
    Whole,
    /// The commit's record was requested, at this place of the script.
    Asked(usize),
}

/// Looks the request and the session up.
pub(in crate::node) fn script(run: &mut Run<'_>, state: &State, begin: &Begin) -> Result<Ending, Pending> {
    // Request everything at once: the request's record, and the unknown records of the session.
    let request = begin.named.then(|| run.start(|| Call::Get(Name::Commit(begin.hash))));
    let mut session: Vec<(SessionEntry, Seen)> = Vec::new();
    for entry in &begin.session.entries {
        let Noted::Header(known) = run.once(|| Noted::Header(state.index.header(entry.txn).cloned())) else {
            unreachable!("the place of a header")
        };
        let seen = match known {
            Some(header) => {
                assert_eq!(header.txn, entry.txn, "a header is known under its own name");
                Seen::Known(header)
            }
            // The token does not contain the entry's name, so it cannot be read. A fresh
            // transaction lists the key and finds the entry, because it was acknowledged.
            None if entry.whole => Seen::Whole,
            None => Seen::Asked(run.start(|| Call::Get(Name::Commit(entry.hash)))),
        };
        session.push((*entry, seen));
    }
    // The request comes first: if it has committed, nothing else of the begin matters.
    if let Some(request) = request {
        match run.wait(request)? {
            // No attempt has committed; if earlier ones were excluded, this one takes their place.
            Answer::Got(None | Some((Body::Aborted(_), _))) => {}
            Answer::Got(Some((Body::Record(record), _))) => {
                return Ok(match report::may_report(run, state, &record)? {
                    Ok(()) => Ending::Replay(record),
                    Err(error) => Ending::Refuse(refusal_of(&Answer::Failed(error))),
                });
            }
            Answer::Got(Some((Body::Stub(_), _))) => return Ok(Ending::Refuse(Refusal::ResultGone)),
            answer => return Ok(Ending::Refuse(refusal_of(&answer))),
        }
    }
    // The commits of the session become lower bounds. Those that cannot be read are covered by a
    // fresh transaction.
    let mut floor = Vec::new();
    let mut fresh = false;
    let mut newest_missing = None;
    for (entry, seen) in session {
        let place = match seen {
            Seen::Known(header) => {
                floor.push(header);
                continue;
            }
            Seen::Whole => {
                fresh = true;
                continue;
            }
            Seen::Asked(place) => place,
        };
        match run.wait(place)? {
            Answer::Got(Some((Body::Record(record), _))) if record.txn == entry.txn => {
                floor.push(Arc::new(Header::of(&record, false)));
            }
            // Its record was removed, or the store has lost it: the mark decides below.
            Answer::Got(_) => {
                fresh = true;
                newest_missing = newest_missing.max(Some(entry.txn));
            }
            answer => return Ok(Ending::Refuse(refusal_of(&answer))),
        }
    }
    assert!(floor.len() <= begin.session.entries.len(), "the floor is of the session");
    assert!(
        fresh || floor.len() == begin.session.entries.len(),
        "a commit that is not in the floor makes the transaction fresh"
    );
    if let Some(txn) = newest_missing
        && let Some(refusal) = lost(run, state, txn)?
    {
        return Ok(Ending::Refuse(refusal));
    }
    Ok(Ending::Open { floor, fresh })
}

/// Returns the refusal of a session that names a commit whose record is missing, if nothing can
/// have removed the record: sweeps remove only records that are past their retention, which is
/// never less than the minimum, and at or below the mark. The mark is read after the record was
/// missed, or a removal between the two would count as a loss.
///
/// An older token proves nothing. Nor does anything if neither the store's time nor the mark is
/// known. A fresh transaction covers both.
fn lost(run: &mut Run<'_>, state: &State, txn: TxnId) -> Result<Option<Refusal>, Pending> {
    let is_kept = run.once_if(|| {
        // The latest time that it may be, so that the commit is not taken for younger than it is.
        let age_ms = state.clock.bounds().map(|bounds| bounds.latest_ms.saturating_sub(txn.time.ms()));
        age_ms.is_some_and(|age_ms| age_ms < state.settings.retention_min_ms())
    });
    if is_kept {
        return Ok(Some(Refusal::SessionLost(txn)));
    }
    let is_above_mark = match run.ask(|| Call::Get(Name::Format))? {
        Answer::Got(Some((Body::Format(format), _))) => format.mark < txn,
        Answer::Got(_) | Answer::Failed(CallError::Damaged(_)) => false,
        answer => return Ok(Some(refusal_of(&answer))),
    };
    let lost = is_above_mark || run.once_if(|| state.planted(Bug::SessionLostWhateverTheMark));
    Ok(lost.then_some(Refusal::SessionLost(txn)))
}

/// Carries a begin's ending out.
pub(in crate::node) fn carry_out(
    state: &mut State,
    ticket: Ticket,
    (begin, began): (Box<Begin>, Began),
    ending: Ending,
) {
    match ending {
        Ending::Open { floor, fresh } => {
            floor.iter().for_each(|header| state.learn(header, false, None));
            open(state, ticket, (begin, began), floor, fresh);
        }
        Ending::Replay(record) => {
            report::learn_told(state, &record);
            match report::verdict(state, &record, begin.fingerprint, &begin.session) {
                Ok(replayed) => state.reply(ticket, Reply::Replayed(replayed)),
                Err(refusal) => state.refuse(ticket, refusal),
            }
        }
        Ending::Refuse(refusal) => {
            if let Refusal::SessionLost(txn) = refusal {
                state.note(Note::SessionLost(txn));
            }
            state.refuse(ticket, refusal);
        }
    }
}

/// Opens the transaction, or waits for an open attempt of the request. The timeout counts from
/// `began`, before the look-up, because the retention of a record must outlast every attempt that
/// began before the record existed.
fn open(
    state: &mut State,
    ticket: Ticket,
    (mut begin, began): (Box<Begin>, Began),
    floor: Vec<Arc<Header>>,
    fresh: bool,
) {
    let now_mono = state.clock.mono_ms();
    // The same attempt may have begun twice during the look-up.
    if let Err(refusal) = check_attempt(state, begin.attempt) {
        return state.refuse(ticket, refusal);
    }
    // Waiting only saves work. If the caller does not want it, both attempts run, and only one of
    // them can create the record.
    if !state.requests.attempts(begin.hash).is_empty() && !begin.overlap {
        let retry_after_ms = open_remaining_ms(state, begin.hash);
        if begin.wait_ms == 0 {
            return state.refuse(ticket, Refusal::InProgress { retry_after_ms });
        }
        if state.requests.waiters(begin.hash) >= state.settings.waiters_max {
            return state.refuse(ticket, Refusal::Overloaded(Bound::Waiters));
        }
        let until_mono = now_mono + begin.wait_ms.min(state.settings.timeout_max_ms);
        assert!(until_mono > now_mono, "a begin that waits has time to");
        state.timers.set(until_mono, Timer::WaiterGivesUp(begin.hash, ticket));
        let hash = begin.hash;
        return state.requests.wait(hash, Waiter { ticket, begin, until_mono });
    }
    let timeout_ms =
        begin.timeout_ms.unwrap_or(state.settings.timeout_default_ms).clamp(1, state.settings.timeout_max_ms);
    let deadline = Limit { from: began.at, ms: timeout_ms, age: Age::AtMost };
    if deadline.has_passed(&state.clock) {
        return state.refuse(ticket, Refusal::Lost);
    }
    let deadline_mono = now_mono + deadline.remaining_ms(&state.clock);
    assert!(deadline_mono > now_mono, "a transaction opens before its deadline");
    assert!(deadline_mono <= now_mono + state.settings.timeout_max_ms, "a deadline is bounded");
    let wish = match begin.retention_ms {
        Some(wish) => wish,
        None if begin.named => state.settings.retention_default_ms,
        None => 0,
    };
    // With a shorter retention, the record could be removed while an attempt that began before the
    // record existed is still open, and the request would take effect twice.
    let retention_ms = wish.clamp(state.settings.retention_min_ms(), state.settings.retention_max_ms);
    assert!(retention_ms > 2 * state.settings.over_after_ms(), "a record outlasts attempts before it");
    begin.choose_level();
    // The listings that its attempts use may be made for other transactions, before each attempt,
    // and be too old each time: after several conflicts, make the attempts fresh.
    let checked = begin.isolation == Some(Isolation::Serializable) && !state.settings.exclusive;
    let fresh =
        fresh || begin.fresh || state.settings.guest || (checked && begin.conflicts >= FRESH_FROM_CONFLICTS);
    let fresh = fresh || is_covered_by_fresh(state, &begin.session);
    let mut transaction =
        Transaction::new(&begin, retention_ms, (deadline, deadline_mono), fresh, began.call);
    floor.into_iter().for_each(|header| transaction.add_floor(header));
    let attempt = begin.attempt;
    // A transaction without a requested level may write keys that the store checks.
    let may_lock = begin.isolation.is_none() && state.settings.locks_any();
    if begin.isolation == Some(Isolation::Serializable) || may_lock {
        let check_began = state.checks.open(attempt);
        transaction.checked = Some(Checked { began: check_began, conflicts: begin.conflicts });
    }
    state.timers.set(deadline_mono, Timer::Deadline(attempt));
    state.transactions.insert(attempt, transaction);
    state.transactions.weigh(attempt);
    state.requests.open(begin.hash, attempt);
    // Its batch runs like any later one; only the form of the reply differs.
    batch::start(state, ticket, attempt, begin.batch, true);
}

/// Returns true if the client's transactions must still be fresh to cover its session.
fn is_covered_by_fresh(state: &State, session: &Session) -> bool {
    // While the store's time is unknown, that period counts as not over.
    let now_ms = state.clock.bounds().map_or(0, |bounds| bounds.earliest_ms);
    let node = if state.planted(Bug::KnowWhatOthersShowed) { session.through } else { state.id };
    now_ms < session.fresh_until_ms && !session.is_known_to(node, now_ms)
}

/// Returns the milliseconds until every open attempt of a request has ended, at most.
fn open_remaining_ms(state: &State, hash: RequestHash) -> u64 {
    let attempts = state.requests.attempts(hash).iter();
    let remaining = attempts.map(|attempt| state.transactions[attempt].deadline.remaining_ms(&state.clock));
    let longest = remaining.max().unwrap_or(0);
    assert!(longest <= state.settings.timeout_max_ms, "a deadline is bounded");
    longest
}

/// Answers a begin whose wait has timed out.
pub(in crate::node) fn waiter_gives_up(state: &mut State, hash: RequestHash, ticket: Ticket) {
    let Some(waiter) = state.requests.give_up(hash, ticket) else { return };
    assert_eq!(waiter.ticket, ticket, "a waiter gives up for itself");
    assert!(waiter.until_mono <= state.clock.mono_ms(), "a waiter does not time out early");
    let retry_after_ms = open_remaining_ms(state, hash);
    state.refuse(waiter.ticket, Refusal::InProgress { retry_after_ms });
}

/// Answers the begins that waited for an attempt that has ended, or lets them try again.
pub(in crate::node) fn request_ended(
    state: &mut State,
    hash: RequestHash,
    attempt: AttemptId,
    record: Option<Arc<Record>>,
) {
    let is_its = record.as_ref().is_none_or(|record| record.hash == hash);
    assert!(is_its, "a request is decided by its own record");
    let waiters = state.requests.close(hash, attempt, record.is_some());
    for Waiter { ticket, mut begin, until_mono } in waiters {
        if state.planted(Bug::ForgetWaiters) && record.is_none() {
            continue;
        }
        state.timers.cancel(until_mono, Timer::WaiterGivesUp(hash, ticket));
        match &record {
            Some(record) => {
                let any = state.planted(Bug::ReplayToAnyWaiter);
                let fingerprint = begin.fingerprint.filter(|_| !any);
                match report::verdict(state, record, fingerprint, &begin.session) {
                    Ok(replayed) => state.reply(ticket, Reply::Replayed(replayed)),
                    Err(refusal) => state.refuse(ticket, refusal),
                }
            }
            // No record is known: it may begin, unless another waiter opens an attempt first.
            None => {
                begin.wait_ms = until_mono.saturating_sub(state.clock.mono_ms());
                state.defer(Work::Begin(ticket, begin));
            }
        }
    }
}
