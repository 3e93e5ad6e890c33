//! One sweep: its phases, and the pump that keeps a bounded number of calls in flight (protocol,
//! section 8).
//!
//! ```text
//!   begin ─► versions ─► window ─► commits ─┬─► move ─► blobs ─► finish
//!               ▲                           │
//!               └── next range of hashes ───┘        stopped: carry out what is decided ─► saving
//! ```
//!
//! A sweep is not a script, because it may run for hours over millions of names within bounded
//! memory. A phase ends when none of its jobs is waiting or in flight, so everything on which a
//! later phase rests has been answered: records are read when the deletions of entries are done,
//! and the mark moves when every put and every deletion of dead entries is done.
//!
//! The mark moves before blobs are removed: this does not depend on blobs, and a job that has too
//! little time for both makes more progress.

use crate::message::Note;
use crate::store::{Answer, Body, Call, Found, Name, Scan};

use super::super::base::calls::{Limit, Owner};
use super::super::base::state::State;
use super::super::serve::lock;
use super::flow::Job;
use super::progress::{Commits, Groups, Keys};
use super::state::{End, Phase, Sweep};
use super::{blobs, mark, notes, records, verify, versions};

/// Starts jobs as long as there is room, until everything waits for the store or the sweep has
/// ended.
pub(super) fn pump(sweep: &mut Sweep, state: &mut State) {
    loop {
        if sweep.ended().is_none() && is_overtaken(sweep, state) {
            sweep.end(End::overtaken());
        }
        if sweep.ended().is_some() {
            return;
        }
        while sweep.flow().has_room()
            && let Some(job) = next_job(sweep, state)
        {
            start(sweep, state, job);
        }
        if !sweep.flow().is_idle() {
            return;
        }
        // Everything that was decided is answered: the next phase may rest on it.
        advance(sweep, state);
    }
}

/// Returns true if another sweeper has moved the mark. Then this sweep's puts must stop, and
/// its move would fail.
fn is_overtaken(sweep: &Sweep, state: &State) -> bool {
    match sweep.phase {
        Phase::Versions(_) | Phase::Window(_) | Phase::Commits(_) => mark::has_moved(sweep.basis(), state),
        // Its own move may be what changed it.
        Phase::Move => !is_moving(sweep) && mark::has_moved(sweep.basis(), state),
        Phase::Begin | Phase::Blobs(_) | Phase::Finish | Phase::Saving => false,
    }
}

fn is_moving(sweep: &Sweep) -> bool {
    sweep.flow().is_under_way(|job| matches!(job, Job::Move | Job::SeeMoved))
        || matches!(sweep.flow().front(), Some(Job::SeeMoved))
}

/// Returns the next job to start.
fn next_job(sweep: &mut Sweep, state: &State) -> Option<Job> {
    match sweep.flow().front() {
        Some(Job::Enter(_)) if mark::must_recheck(state) => {
            // The put waits until the mark is read again.
            let is_asked = sweep.flow().is_under_way(|job| matches!(job, Job::Recheck));
            (!is_asked).then_some(Job::Recheck)
        }
        Some(_) => sweep.flow_mut().pop(),
        None => next_work(sweep, state.settings.delete_batch_len),
    }
}

/// Returns the next job when none is waiting: a full batch of deletions first, then new work.
fn next_work(sweep: &mut Sweep, batch_len: usize) -> Option<Job> {
    let batch = sweep.take_full_batch(batch_len);
    if batch.is_some() || sweep.is_stopping() {
        return batch;
    }
    match &sweep.phase {
        Phase::Versions(keys) => page_if(sweep, !keys.is_done()),
        Phase::Window(_) => sweep.window.pop().map(Job::Verify),
        Phase::Commits(commits) => page_if(sweep, !commits.is_done()),
        Phase::Blobs(groups) => page_if(sweep, !groups.is_done()),
        Phase::Begin | Phase::Move | Phase::Finish | Phase::Saving => None,
    }
}

/// Returns the job for the next page, unless one is in flight.
fn page_if(sweep: &Sweep, more: bool) -> Option<Job> {
    let is_asked = sweep.flow().is_under_way(|job| matches!(job, Job::Page));
    (more && !is_asked).then_some(Job::Page)
}

fn start(sweep: &mut Sweep, state: &mut State, job: Job) {
    let (call, limit) = call_of(sweep, state, &job);
    let place = sweep.flow_mut().start(job);
    state.call(Owner::Sweep(place), call, limit);
}

fn call_of(sweep: &Sweep, state: &State, job: &Job) -> (Call, Option<Limit>) {
    let call = match job {
        Job::Begin | Job::Recheck | Job::SeeMoved => Call::Get(Name::Format),
        Job::Confirm(format, tag) | Job::ConfirmMoved(format, tag) => mark::confirm_call(state, format, tag),
        Job::Notes => Call::Get(Name::Notes),
        Job::Damaged(after) => {
            Call::Scan { scan: Scan::Damaged { after: *after }, limit: state.settings.scan_page_len }
        }
        Job::Page => match &sweep.phase {
            Phase::Versions(keys) => versions::page_call(keys, state),
            Phase::Commits(commits) => records::page_call(commits, state),
            Phase::Blobs(groups) => blobs::page_call(groups, state),
            Phase::Begin | Phase::Window(_) | Phase::Move | Phase::Finish | Phase::Saving => {
                unreachable!("this phase lists nothing")
            }
        },
        Job::Verify(attempt) => Call::Get(Name::Commit(attempt.hash)),
        Job::Look(hash) => Call::Get(Name::Commit(*hash)),
        Job::LookForBlobs(group) => Call::Get(Name::Commit(group.hash)),
        Job::Enter(entering) => return (verify::enter_call(entering), mark::put_limit(state)),
        Job::Remove(removals) => verify::remove_call(removals),
        Job::LookAtLock(removal) => Call::Get(removal.entry.name(&removal.key)),
        Job::RemoveLock(removal, tag) => {
            lock::free_call(state, removal.entry.name(&removal.key), tag.clone())
        }
        Job::RemoveAborted(hash, tag) => Call::DeleteIf(Name::Commit(*hash), tag.clone()),
        Job::RemoveRecord(record, tag) => records::remove_call(state, record, tag),
        Job::RemoveUnnamed(records) => records::remove_unnamed_call(records),
        Job::NoteDamage(hash, what) => Call::Put(Name::Damaged(*hash), Body::Text(what.clone())),
        Job::Move => mark::move_call(sweep.basis(), state),
        Job::ListParts(group, after) => blobs::list_call(state, *group, after.clone()),
        Job::RemoveParts(names) => Call::Delete(names.clone()),
        Job::SaveNotes(notes) => Call::Put(Name::Notes, Body::Notes(notes.clone())),
        Job::RemoveNotes => Call::Delete(vec![Name::Notes]),
    };
    // Without a limit: calls are retried as long as the sweep lives, since what was decided
    // remains true.
    (call, None)
}

/// Takes the answer to a call of this sweep.
pub(super) fn answered(sweep: &mut Sweep, state: &mut State, place: u64, answer: Answer) {
    if sweep.ended().is_some() {
        return;
    }
    let Some(job) = sweep.flow_mut().finish(place) else { return };
    match job {
        Job::Begin => mark::begun(sweep, state, answer),
        Job::Confirm(..) => mark::confirmed(sweep, &answer),
        Job::Notes => sweep.notes_mut().take(state, answer),
        Job::Damaged(_) => damaged_listed(sweep, state, answer),
        Job::Recheck => mark::rechecked(sweep, state, answer),
        Job::Page => page_answered(sweep, state, answer),
        Job::Verify(attempt) => verify::answered(sweep, state, attempt, answer),
        Job::Look(hash) => records::looked(sweep, state, hash, answer),
        Job::Enter(entering) => verify::entered(sweep, state, entering, answer),
        Job::Remove(removals) => verify::removed(sweep, state, removals, &answer),
        Job::LookAtLock(removal) => verify::lock_looked_at(sweep, removal, answer),
        Job::RemoveLock(removal, _) => verify::removed(sweep, state, vec![removal], &answer),
        // If it failed or the object was changed, a later sweep decides.
        Job::RemoveAborted(..) => {}
        Job::RemoveRecord(record, _) => records::removed(state, &[record.stored_bytes()], &answer),
        Job::RemoveUnnamed(records) => {
            let bytes: Vec<u64> = records.into_iter().map(|(_, bytes)| bytes).collect();
            records::removed(state, &bytes, &answer);
        }
        Job::NoteDamage(..) => verify::damage_noted(sweep, &answer),
        Job::Move => mark::moved(sweep, &answer),
        Job::SeeMoved => mark::seen_moved(sweep, state, answer),
        // If it failed, the mark stays unconfirmed, and the next sweep notes a time.
        Job::ConfirmMoved(..) => {}
        Job::LookForBlobs(group) => blobs::looked(sweep, group, answer),
        Job::ListParts(group, _) => blobs::listed(sweep, state, group, answer),
        Job::RemoveParts(names) => blobs::removed(state, names.len(), &answer),
        Job::SaveNotes(_) | Job::RemoveNotes => {}
    }
}

fn page_answered(sweep: &mut Sweep, state: &mut State, answer: Answer) {
    match std::mem::replace(&mut sweep.phase, Phase::Begin) {
        Phase::Versions(keys) => versions::page_answered(sweep, state, keys, answer),
        Phase::Commits(commits) => records::page_answered(sweep, state, commits, answer),
        Phase::Blobs(groups) => blobs::page_answered(sweep, state, groups, answer),
        Phase::Begin | Phase::Window(_) | Phase::Move | Phase::Finish | Phase::Saving => {
            unreachable!("this phase lists nothing")
        }
    }
}

fn damaged_listed(sweep: &mut Sweep, state: &mut State, answer: Answer) {
    let Answer::Scanned { found: Found::Damaged(hashes), damaged, more, .. } = answer else {
        sweep.note_failure(state, &answer);
        return sweep.end(End::broken());
    };
    damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    let last = hashes.last().copied();
    sweep.damaged.extend(hashes);
    if more {
        sweep.push(Job::Damaged(Some(last.expect("an empty page is the last"))));
    }
}

/// Advances to the next phase, when no job is waiting or in flight.
fn advance(sweep: &mut Sweep, state: &State) {
    assert!(sweep.flow().is_idle(), "a phase ends when everything is answered");
    // Deletions that did not fill a batch belong to the phase that has just ended.
    if let Some(rest) = sweep.take_rest() {
        return sweep.push(rest);
    }
    if sweep.is_stopping() {
        return advance_to_the_stop(sweep, state.settings.record_bytes_max);
    }
    match &sweep.phase {
        Phase::Begin => notes::start(sweep, state),
        Phase::Versions(keys) => {
            assert!(keys.is_done(), "the next page would be asked for");
            sweep.phase = Phase::Window(keys.clone());
        }
        Phase::Window(_) => {
            assert!(sweep.window.is_empty(), "the next attempt would be verified");
            sweep.phase = Phase::Commits(Commits::new(sweep.met.range().from));
        }
        Phase::Commits(commits) => {
            assert!(commits.is_done(), "the next page would be asked for");
            sweep.phase = match sweep.met.next_range() {
                true => Phase::Versions(Keys::default()),
                false => Phase::Move,
            };
        }
        Phase::Move => advance_from_move(sweep),
        Phase::Blobs(groups) => {
            assert!(groups.is_done(), "the next page would be asked for");
            sweep.phase = Phase::Finish;
            if sweep.notes().are_there() {
                sweep.push(Job::RemoveNotes);
            }
        }
        Phase::Finish => sweep.end(End::whole()),
        // It was switched on again while the notes were in flight: the next sweep uses them.
        Phase::Saving => sweep.end(End::stopped()),
    }
}

fn advance_from_move(sweep: &mut Sweep) {
    if sweep.basis().target() > sweep.basis().mark() {
        sweep.push(Job::Move);
    } else {
        sweep.phase = Phase::Blobs(Groups::default());
    }
}

fn advance_to_the_stop(sweep: &mut Sweep, size_max: usize) {
    match &sweep.phase {
        // Notes do not contain the keys with unreadable entries, so the next sweep must list
        // everything again.
        Phase::Versions(_) | Phase::Window(_) | Phase::Commits(_) if sweep.has_unread() => {
            sweep.end(End::stopped());
        }
        Phase::Versions(_) | Phase::Window(_) | Phase::Commits(_) => match notes::of(sweep, size_max) {
            Some(notes) => {
                sweep.phase = Phase::Saving;
                sweep.push(Job::SaveNotes(notes));
            }
            None => sweep.end(End::stopped()),
        },
        // The work is done, and the move takes only a few short calls.
        Phase::Move => advance_from_move(sweep),
        Phase::Finish => sweep.end(End::whole()),
        Phase::Begin | Phase::Blobs(_) | Phase::Saving => sweep.end(End::stopped()),
    }
}
