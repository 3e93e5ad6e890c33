//! The mark in a sweep: the places on which the sweep rests, the target of its verification, and
//! the move of the mark (protocol, sections 8 and 9).
//!
//! ```text
//!                 removed from                 verified          untouched
//!   ──────────────── settled ──────── mark ───────────── target ───────────►  TxnId
//! ```
//!
//! Every transaction at or below the target was over when the sweep began: no call of it can take
//! effect any more. So what the sweep finds about it remains true. When every such transaction has
//! an entry at all of its keys, or has no entry, the mark may move to the target.
//!
//! **It moves in two steps.** A call without an answer may land up to `grace` later. A time that
//! the sender included would be long before the mark is in its place, and a settling wait that
//! counts from it would end too early. So the first step puts the mark without a time. When it is
//! answered, the mark is read, and a second step notes the time at which it was seen in its place.
//! Any sweep that finds a mark without a time notes one.
//!
//! **A mark that has not settled is not moved.** Otherwise several sweepers would move it again and
//! again before it settles: three that sweep hourly, with an hour to settle, would never remove
//! anything.
//!
//! **If one process holds the store** and no call takes effect after its answer, the target does
//! not rest on a clock, because the node knows its own attempts. The sweep takes a commit time for
//! itself; all commit times that are given out later are above it. Those that were given out
//! earlier and have not ended belong to open transactions that are committing, or to calls in
//! flight of transactions that have ended meanwhile: the target is below the oldest of them.
//! Attempts of earlier processes are over. The mark has settled when every transaction that was
//! open as it moved has ended, and every write that was made before: later transactions rest on
//! listings that were made with the new mark known, and puts of other attempts' entries rest on
//! that mark. After a start the mark has settled at once, because no transaction of an earlier
//! process is open. Since the mark moves at the end of a sweep, it first moves after a whole sweep.

use std::sync::Arc;

use crate::bug::Bug;
use crate::clock::Bounds;
use crate::ids::{Hlc, TxnId};
use crate::message::Note;
use crate::record::Format;
use crate::store::{Answer, Body, Call, Name, Tag};

use super::super::base::calls::{Age, Limit};
use super::super::base::mark::{Seen, settled_for_sweeps};
use super::super::base::state::State;
use super::super::base::transaction::Phase as Progress;
use super::basis::{Basis, Settling};
use super::flow::Job;
use super::state::{End, Phase, Sweep};

/// The pause before a sweep begins again that did not know the store's time well enough, in
/// milliseconds.
const TIME_RETRY_MS: u64 = 1_000;

/// Returns true if this process moves the mark alone, and the mark that it read last has not
/// settled.
pub(super) fn is_unsettled_alone(state: &State) -> bool {
    let unsettled = |seen: &Seen| seen.settled < seen.format.mark;
    state.settings.moves_mark_alone() && state.mark.last().is_some_and(unsettled)
}

// Begin.

/// Takes the first read of the mark.
pub(super) fn begun(sweep: &mut Sweep, state: &mut State, answer: Answer) {
    let Some((format, tag)) = format_of(sweep, state, answer) else { return };
    // Every answer carries the store's time. While it is unknown or too inexact, nothing is
    // collected.
    let known = state.clock.bounds().filter(|now| now.width_ms() <= state.settings.skew_max_ms);
    let Some(now) = known else { return sweep.end(End::not_yet(TIME_RETRY_MS)) };
    let alone = state.settings.moves_mark_alone();
    if format.moved_ms.is_none() && !alone {
        // A sweep moved the mark and did not note a time. The mark is in its place now, so a time
        // can be noted.
        return sweep.push(Job::Confirm(format, tag));
    }
    let settled = if alone {
        state.mark.last().expect("it was just read").settled
    } else {
        settled_for_sweeps(&format, now, &state.settings)
    };
    let target = target(state, &format, settled, now);
    let settled = if state.planted(Bug::RemoveUpToTheMark) { format.mark } else { settled };
    assert!(settled <= format.mark && format.mark <= target, "settled, mark and target are in order");
    sweep.set_basis(state, Basis::new(settled, format.mark, target, now.earliest_ms));
    sweep.push(Job::Notes);
    sweep.push(Job::Damaged(None));
}

/// Takes the outcome of noting the time of a mark, which this node or another one has done.
pub(super) fn confirmed(sweep: &mut Sweep, answer: &Answer) {
    match answer {
        Answer::Replaced | Answer::Changed => sweep.push(Job::Begin),
        _ => sweep.end(End::broken()),
    }
}

/// Returns the mark of an answer, or ends the sweep if there is none.
fn format_of(sweep: &mut Sweep, state: &mut State, answer: Answer) -> Option<(Arc<Format>, Tag)> {
    match answer {
        Answer::Got(Some((Body::Format(format), tag))) => return Some((format, tag)),
        Answer::Got(None) => {
            let what = "the store's format object is missing: nothing is collected until it is repaired";
            state.note(Note::Damaged(what.into()));
        }
        answer => sweep.note_failure(state, &answer),
    }
    sweep.end(End::broken());
    None
}

/// Returns the place up to which the sweep verifies.
fn target(state: &mut State, format: &Format, settled: TxnId, now: Bounds) -> TxnId {
    if settled < format.mark {
        return format.mark;
    }
    let target = if state.settings.moves_mark_alone() {
        target_alone(state, format, now)
    } else {
        TxnId::at(Hlc::from_ms(now.earliest_ms.saturating_sub(lag_ms(state))))
    };
    target.max(format.mark)
}

/// Returns the distance of the target from the store's time, in milliseconds: an attempt whose
/// commit time is older is over. With the planted bug: 0.
fn lag_ms(state: &State) -> u64 {
    if state.planted(Bug::MarkPassesOpenAttempts) { 0 } else { state.settings.target_lag_ms() }
}

/// Returns the place below every attempt that may still take effect. With the planted bug, no
/// attempt is waited for.
fn target_alone(state: &mut State, format: &Format, now: Bounds) -> TxnId {
    let own = TxnId::at(state.clock.tick(format.mark.time, now.latest_ms)).just_below();
    let committing = state.transactions.values().filter_map(|transaction| match &transaction.phase {
        Progress::Committing(record, _) | Progress::Passing(record, _) => Some(record.txn),
        // Its commit time is not taken yet, and will be above the sweep's own.
        Progress::Open | Progress::Closing(..) | Progress::Preparing(..) => None,
    });
    let oldest = committing.chain(state.calls.commits()).min();
    let oldest = oldest.filter(|_| !state.planted(Bug::MarkPassesOpenAttempts));
    oldest.map_or(own, |oldest| own.min(oldest.just_below()))
}

/// Returns the milliseconds until the mark, as it was last read, can have settled by the store's
/// time.
pub(super) fn settles_in_ms(state: &State) -> u64 {
    if state.settings.moves_mark_alone() {
        return 0;
    }
    let (Some(seen), Some(now)) = (state.mark.last(), state.clock.bounds()) else { return 0 };
    // The mark that this node has just moved was read before its time was noted; use the present.
    let moved_ms = seen.format.moved_ms.unwrap_or(now.latest_ms);
    (moved_ms + state.settings.settle_after_ms()).saturating_sub(now.earliest_ms)
}

// Puts rest on a mark that was read recently, and has not changed since the sweep began.

/// Returns the mark as it was last read, if a put may still rest on it for half of the limit.
fn recent(state: &State) -> Option<&Seen> {
    let limit_ms = state.settings.put_limit_ms;
    state.mark.last().filter(|seen| state.clock.age_at_most_ms(&seen.asked) <= limit_ms / 2)
}

/// Returns true if the mark must be read again before entries are put. With the planted bug: never.
pub(super) fn must_recheck(state: &State) -> bool {
    recent(state).is_none() && !state.planted(Bug::RepairOnOldMark)
}

/// Returns the limit of a put. With the planted bug: none.
pub(super) fn put_limit(state: &State) -> Option<Limit> {
    if state.planted(Bug::RepairOnOldMark) {
        return None;
    }
    let seen = recent(state).expect("a put starts after the mark was read");
    Some(Limit { from: seen.asked, ms: state.settings.put_limit_ms, age: Age::AtMost })
}

/// Takes the mark that was read again. The state has already learned it.
pub(super) fn rechecked(sweep: &mut Sweep, state: &mut State, answer: Answer) {
    // The pump checks whether the mark has moved before it starts anything.
    let _ = format_of(sweep, state, answer);
}

/// Returns true if another sweep has moved the mark since this one began.
pub(super) fn has_moved(basis: &Basis, state: &State) -> bool {
    state.mark.known() != basis.mark()
}

// Move.

/// Returns the call that moves the mark, by tag and without a time. With the planted bugs: without
/// a tag, or with the time of sending.
pub(super) fn move_call(basis: &Basis, state: &State) -> Call {
    let seen = state.mark.last().expect("it was read when the sweep began");
    let before = &seen.format;
    assert_eq!(before.mark, basis.mark(), "the mark is as it was when the sweep began");
    assert!(basis.target() > basis.mark(), "the mark never goes back");
    let now_ms = state.clock.bounds().map(|now| now.latest_ms);
    let from_sending = state.planted(Bug::SettleFromSending);
    let format = Format {
        mark: basis.target(),
        moved_ms: now_ms.filter(|_| from_sending),
        // Only a mark that has settled is moved.
        settled: before.mark,
        about: before.about.clone(),
    };
    format.check_invariants();
    let body = Body::Format(Arc::new(format));
    if state.planted(Bug::MarkWithoutTag) {
        return Call::Put(Name::Format, body);
    }
    Call::Replace(Name::Format, seen.tag.clone(), body)
}

/// Takes the answer to the first step. Either this node or another one has moved the mark. A try
/// without an answer may have landed before a try that found a changed tag, so the mark itself must
/// be read.
pub(super) fn moved(sweep: &mut Sweep, answer: &Answer) {
    match answer {
        Answer::Replaced | Answer::Changed | Answer::Done => sweep.push(Job::SeeMoved),
        _ => sweep.end(End::broken()),
    }
}

/// Takes the mark that was read after the move, and notes the time at which it was seen.
pub(super) fn seen_moved(sweep: &mut Sweep, state: &mut State, answer: Answer) {
    let Some((format, tag)) = format_of(sweep, state, answer) else { return };
    if format.mark != sweep.basis().target() {
        return sweep.end(End::overtaken());
    }
    state.note(Note::MarkMoved(format.mark));
    sweep.settling = state.settings.moves_mark_alone().then(|| Settling::new(state));
    // Without the store's time the mark stays unconfirmed: the next sweep notes one.
    if format.moved_ms.is_none() && state.clock.bounds().is_some() {
        sweep.push(Job::ConfirmMoved(format, tag));
    }
    sweep.phase = Phase::Blobs(Default::default());
}

/// Returns the call that notes the time at which a mark was seen in its place. This instant is
/// after the read, and so after the move.
pub(super) fn confirm_call(state: &State, format: &Format, tag: &Tag) -> Call {
    let now = state.clock.bounds().expect("a time is noted when it is known");
    assert!(format.moved_ms.is_none(), "a mark's time is noted once");
    let format = Format { moved_ms: Some(now.latest_ms), ..format.clone() };
    Call::Replace(Name::Format, tag.clone(), Body::Format(Arc::new(format)))
}
