//! The choice of a version: the paper's AtomicRead (section 3.2, Algorithm 1), extended for a store
//! whose entries are hints and whose superseded versions are removed (protocol, section 5).
//!
//! Rule. The version of `k` is the newest committed one that is (1) not older than the newest
//! version of `k` written by a transaction whose write was read already, and (2) not written by a
//! transaction that also wrote some `l` that was read at an older version.
//!
//! The read set stays atomic by induction over reads: (1) keeps older reads valid for the new
//! version's key, (2) keeps the new version's cowritten keys valid for older reads; nothing else
//! relates two reads.
//!
//! The mark judges a missing record or entry: above the mark it was not put yet, or never will be;
//! at or below it, it existed and was removed. So the same absence means *skip it* or *the listing
//! is out of date*, and the mark that decides must be read after the absence was seen. Young
//! versions are above every mark, so they need no read of the mark.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{Key, TxnId};
use crate::message::Header;
use crate::record::VersionEntry;
use crate::store::{Call, Group, Name};

use super::super::base::calls::Owner;
use super::super::base::ids::OperationId;
use super::super::base::index::{Knowledge, Known, Listing, Stray};
use super::super::base::mark::Seen;
use super::super::base::read::{Met, Operation};
use super::super::base::read_set::{Basis, ReadVersion};
use super::super::base::state::{State, bug_of};
use super::super::base::transaction::{Checked, Rejection};

/// The number of times that an operation lists one key again because something was removed or
/// entered since. Each round needs a removal at just that moment.
const ROUNDS_MAX: u32 = 64;

/// The number of records that are requested ahead on the way down to an older version.
const RECORDS_AHEAD: usize = 16;

/// The outcome of one try to choose a version.
#[derive(Debug)]
pub(in crate::node) enum Choice {
    /// A version is chosen, and is in the read set now.
    Version(Arc<Header>),
    /// The key is absent, and in the read set or a listed range as such.
    Absent,
    /// A listing, a record or the mark is missing, and was requested.
    Missing,
    /// The listing was out of date, and another one was requested.
    ListedAgain,
    /// No compatible version remains.
    Gone,
    /// The read set has no room for the key.
    Full,
    /// The store's listing of the key keeps contradicting itself; the text describes it.
    Damaged(String),
}

/// The judgement of one candidate.
enum Judgement {
    /// The candidate is the version to read.
    Take(Arc<Header>),
    /// The candidate is not a version: undecided, dead, or collected at this key.
    Skip,
    /// The candidate is a version, but not compatible with the read set.
    Passed,
    /// The candidate is not compatible with the read set, and older versions may be removed.
    Gone,
    /// A listing, a record or the mark is missing, and was requested.
    Missing,
    /// The listing is out of date.
    ListAgain,
    /// The candidate's record is missing, although by the mark it must exist.
    Lost,
}

/// One try to choose a version, based on one listing.
struct Look<'a> {
    state: &'a mut State,
    id: OperationId,
    operation: &'a Operation,
    key: &'a Key,
    listing: Listing,
}

/// Chooses the version of one key, or requests what is missing for that (protocol, section 5, steps
/// 1 to 7).
pub(in crate::node) fn choose(
    state: &mut State,
    id: OperationId,
    operation: &Operation,
    key: &Key,
) -> Choice {
    crate::room!();
    let transaction = &state.transactions[&operation.attempt];
    assert!(operation.wanted.contains_key(key), "a version is chosen for a key that is wanted");
    // A key read twice gives the same version.
    if let Some(ReadVersion { header, .. }) = transaction.reads.get(key) {
        return header.clone().map_or(Choice::Absent, Choice::Version);
    }
    if let Some(mark) = transaction.listed_as_absent(key) {
        if state.settings.locks(key) {
            // A later write of the key must follow this absence, so it enters the read set; and the
            // client has been told of it, so the write cannot follow another version instead.
            let transaction = state.transactions.get_mut(&operation.attempt).expect("looked up above");
            let basis = Basis { mark, newest: state.settings.exclusive };
            transaction.add_read(key.clone(), None, basis, Vec::new());
            transaction.reads.get_mut(key).expect("added above").delivered = true;
        }
        return Choice::Absent;
    }
    if transaction.reads.len() >= state.settings.read_set_len_max {
        return Choice::Full;
    }
    // Bound the tries: an operation ends if the listing of a key was out of date too often, or if
    // the value of its chosen version was gone twice.
    let met = operation.met.get(key).copied().unwrap_or_default();
    if met.rounds > ROUNDS_MAX {
        return Choice::Damaged(missing_records(key));
    }
    if met.values_gone > 1 {
        return Choice::Gone;
    }
    if first_look(state, id, operation) {
        return Choice::Missing;
    }
    match usable_listing(state, operation, key) {
        // All candidates are judged on this one listing, and on marks that are read after it.
        Ok(listing) => Look { state, id, operation, key, listing }.choose(met),
        Err(since) => {
            ask_listing(state, id, operation, key, None, since);
            Choice::Missing
        }
    }
}

fn missing_records(key: &Key) -> String {
    format!("the entries of {key} name records that are not there")
}

/// Returns true, and lets the operation wait, if the node has not read the mark yet: a listing is
/// more useful if the mark is known before it.
pub(in crate::node) fn first_look(state: &mut State, id: OperationId, operation: &Operation) -> bool {
    if state.mark.was_looked_at() {
        return false;
    }
    let call = || Call::Get(Name::Format);
    state.call_shared(Owner::FirstMark, call, Some(id), 0, operation.limit);
    true
}

/// Returns true, and lets the operation wait, if a commit in flight writes one of the keys and the
/// transaction is checked: it would read a version that is about to be overwritten, and get a
/// conflict. Then none of the keys may be chosen, because a version that is chosen while another
/// key waits may be overwritten meanwhile.
///
/// After many conflicts it also reserves the keys.
pub(in crate::node) fn awaits_commits(
    state: &mut State,
    id: OperationId,
    operation: &Operation,
    keys: &[Key],
) -> bool {
    let attempt = operation.attempt;
    let transaction = &state.transactions[&attempt];
    let Some(Checked { conflicts, .. }) = transaction.checked else { return false };
    if !transaction.is_serializable() {
        // Its level depends on the keys that it writes. It may write none, and then the wait would
        // be useless.
        return false;
    }
    let is_new =
        |key: &&Key| !transaction.reads.contains_key(*key) && transaction.listed_as_absent(key).is_none();
    let keys: Vec<&Key> = keys.iter().filter(is_new).collect();
    for key in &keys {
        state.checks.reserve(key, attempt, conflicts, state.clock.mono_ms());
    }
    // A key that is only written waits in line, and its write follows the newest version then.
    let waits_in_line = |key: &Key| {
        let is_listed = state.index.known(key).is_some_and(|entry| entry.listing().is_some());
        is_listed && operation.is_only_written(key)
    };
    let waits = keys.iter().any(|key| state.checks.is_under_way(key, attempt) && !waits_in_line(key));
    if waits {
        state.checks.wait(id);
    }
    waits
}

/// Returns the node's last listing of a key if this operation may use it; else the number of the
/// first call whose listing it may use.
fn usable_listing(state: &mut State, operation: &Operation, key: &Key) -> Result<Listing, u64> {
    let transaction = &state.transactions[&operation.attempt];
    // The listing must be asked after the begin of a fresh transaction, after the last pause of the
    // process, and after the last listing that was found out of date.
    let fresh = transaction.fresh && !state.planted(Bug::FreshByOldListing);
    let since = if fresh { transaction.began_call } else { 0 };
    let since = since.max(state.index.stale_before_call());
    let entry = state.index.entry(key);
    let since = since.max(entry.not_before_call());
    let Some(listing) = entry.listing().cloned() else { return Err(since) };
    let is_current = if state.settings.exclusive {
        // Listings do not expire where one process holds the store. But one from before the mark
        // moved cannot explain an absence.
        listing.mark >= state.mark.known()
    } else {
        state.clock.age_at_most_ms(&listing.asked) < state.settings.recheck_after_ms
    };
    // A listing made since the operation began is young enough for it, even if its answer took
    // long.
    let young = is_current || listing.asked_call >= operation.began_call;
    assert!(listing.asked_call < listing.answered_call, "a listing is answered after it was asked");
    if listing.asked_call < since {
        return Err(since);
    }
    // Below a settled mark versions are removed, which this older listing cannot explain. Without a
    // new listing, a retried request would be rejected for the same reason.
    let settled = state.mark.last().map_or(TxnId::ZERO, |seen| seen.settled);
    if listing.mark < settled && listing.asked_call < operation.began_call {
        return Err(operation.began_call);
    }
    assert!(!fresh || listing.asked_call >= transaction.began_call, "a fresh listing is asked since then");
    if young { Ok(listing) } else { Err(since.max(operation.began_call)) }
}

fn ask_listing(
    state: &mut State,
    id: OperationId,
    operation: &Operation,
    key: &Key,
    after: Option<VersionEntry>,
    since: u64,
) {
    assert!(since <= state.calls.next_number(), "a listing is asked by the next call at the latest");
    let owner = Owner::Listing(key.clone(), after.clone());
    // Most reads need only the newest entries, so the first page is small. A read that continues
    // looks for an old version of a hot key, which gets new versions meanwhile: use large pages.
    let limit = if after.is_some() { state.settings.scan_page_len } else { state.settings.version_page_len };
    let call = || Call::List {
        group: Group::Versions(key.clone()),
        after: after.map(|entry| Name::Version(key.clone(), entry)),
        limit,
    };
    state.call_shared(owner, call, Some(id), since, operation.limit);
}

impl Look<'_> {
    fn choose(mut self, met: Met) -> Choice {
        let transaction = &self.state.transactions[&self.operation.attempt];
        let bound = transaction.lower_bound(self.key).cloned();
        let bound = bound.filter(|_| !self.state.planted(Bug::DropLowerBound));
        // `rejected` is set once a version was skipped because it is not compatible.
        let mut rejected = false;
        let mut at = 0;
        while let Some(known) = self.candidate(at, bound.as_ref()) {
            at += 1;
            // The candidate is below the last page: versions between may be missing.
            if let Some(more) = self.listing.more_after.clone().filter(|more| known.txn < more.txn) {
                return self.next_page(*more);
            }
            match self.judge(&known) {
                Judgement::Take(header) => return self.take(header, rejected),
                Judgement::Skip => {}
                Judgement::Passed => rejected = true,
                Judgement::Gone => return Choice::Gone,
                Judgement::Missing => {
                    if rejected {
                        self.ask_records_below(at, bound.as_ref());
                    }
                    return Choice::Missing;
                }
                Judgement::ListAgain => return self.list_again(),
                Judgement::Lost => return Choice::Damaged(missing_records(self.key)),
            }
            if rejected && self.state.planted(Bug::AbsentAfterRejection) {
                return self.absent(rejected);
            }
        }
        // All known candidates are used up. Older ones may follow, unless the bound excludes them.
        if let Some(more) = self.listing.more_after.clone()
            && bound.as_ref().is_none_or(|bound| more.txn > bound.txn)
        {
            return self.next_page(*more);
        }
        // No version is left. If none was rejected or required, the key is absent: the listing
        // shows every version but those above every mark, and the transaction need not see these.
        if bound.is_none() && !rejected && met.values_gone == 0 {
            return self.absent(rejected);
        }
        // Otherwise an older version may have been removed that should be read now, or the lower
        // bound itself was removed. Absence can be concluded only if nothing was removed behind the
        // listings on which this transaction rests.
        let Some(nothing_removed) = self.nothing_removed(met) else { return Choice::Missing };
        let explained = match &bound {
            // The key was deleted after the bound, by a tombstone that was collected, too. Rejected
            // versions are above the settled mark, so nothing was removed because of them, and they
            // came after the deletion.
            Some(bound) => bound.txn <= self.listing.mark,
            // All rejected versions are above the settled mark: the key had no version before them.
            None => true,
        };
        let believed = nothing_removed || self.state.planted(Bug::BelieveAbsenceThoughMarkMoved);
        if believed && explained { self.absent(rejected) } else { Choice::Gone }
    }

    /// Returns the candidate at index `at`, newest first, down to the lower bound. Candidates are
    /// all listed entries, all transactions whose record is known, and the lower bound itself,
    /// which counts even if the index has forgotten it. They are returned one by one, because most
    /// reads take the first, and a hot key has dozens.
    fn candidate(&mut self, at: usize, bound: Option<&Arc<Header>>) -> Option<Known> {
        let versions = self.state.index.entry(self.key).versions();
        let before = at.checked_sub(1).map(|before| versions.get(before).map(|known| known.txn));
        let known = versions.get(at);
        let in_order = known.zip(before.flatten()).is_none_or(|(known, before)| before > known.txn);
        assert!(in_order, "candidates come newest first, each once");
        let Some(bound) = bound else { return known.cloned() };
        match known {
            Some(known) if known.txn > bound.txn => Some(known.clone()),
            Some(known) if known.txn == bound.txn => {
                let mut known = known.clone();
                known.decide(bound);
                Some(known)
            }
            // The index does not hold the bound: it is the last candidate, after all newer ones.
            Some(_) | None => {
                let is_behind_all = before.is_none_or(|before| before.is_some_and(|txn| txn > bound.txn));
                is_behind_all.then(|| Known::unlisted(bound))
            }
        }
    }

    fn judge(&mut self, known: &Known) -> Judgement {
        // An entry is a hint, so its record decides. If the listing does not show a known version,
        // the reason for that is found before the version is compared with the read set.
        let listed = known.is_listed_by(self.listing.asked_call);
        match &known.knowledge {
            Knowledge::Entry(entry) => self.judge_hint(known, entry),
            Knowledge::Header(header) => {
                if !listed {
                    match self.judge_unlisted(header) {
                        Judgement::Take(_) => {}
                        other => return other,
                    }
                }
                self.judge_version(header)
            }
        }
    }

    /// Judges a listed entry whose record is not known: the record decides.
    fn judge_hint(&mut self, known: &Known, entry: &VersionEntry) -> Judgement {
        if self.state.planted(Bug::TakeHintForVersion) {
            let meta = [(self.key.clone(), entry.meta.clone())];
            let header = Header {
                txn: entry.txn,
                hash: entry.hash,
                writes: Arc::from(meta),
                follows: entry.follows.map(|before| Arc::from([before])),
                whole: entry.whole,
            };
            return self.judge_version(&Arc::new(header));
        }
        if known.was_undecided() && self.state.planted(Bug::UndecidedNeverAskedAgain) {
            return Judgement::Skip;
        }
        // The record must be read after this listing: a record that was absent before may exist
        // now.
        let Some(found_none) = known.undecided_since(self.listing.asked_call) else {
            self.ask_record(entry);
            return Judgement::Missing;
        };
        // The mark cannot have reached it, so it is undecided.
        if self.state.is_young(entry.txn) || self.state.planted(Bug::SkipListedWithoutRecord) {
            return Judgement::Skip;
        }
        match known.stray(self.listing.asked_call) {
            // The mark passed the entry although it is dead, because its record could not be read.
            Some(Stray::Dead) => return Judgement::Skip,
            Some(Stray::Lost) => return Judgement::Lost,
            None => {}
        }
        // The entry is old and has no record: it never committed, or its record was removed after
        // this listing. The mark must be read after the get that found nothing, or a removal
        // between the two would be missed.
        let since = if self.state.planted(Bug::ReadMarkBeforeGet) { 0 } else { found_none };
        let Some(seen) = self.mark_since(since) else { return Judgement::Missing };
        assert!(seen.asked_call >= since, "a mark that explains an absence was read after it");
        if seen.format.mark < entry.txn { Judgement::Skip } else { Judgement::ListAgain }
    }

    /// Judges a transaction whose record is known, although the listing shows no entry of it at
    /// this key. Returns [`Judgement::Take`] if it is nevertheless a version.
    fn judge_unlisted(&mut self, header: &Arc<Header>) -> Judgement {
        if self.state.is_young(header.txn) || self.state.planted(Bug::IndexWhateverTheMark) {
            return Judgement::Take(header.clone());
        }
        if header.txn <= self.listing.mark {
            // It had an entry here before the listing was made, so it was collected.
            return Judgement::Skip;
        }
        // Above a mark that is read after the listing, the entry was not put yet. Otherwise it may
        // have been put and collected since: a new listing decides.
        let Some(seen) = self.mark_since(self.listing.answered_call) else { return Judgement::Missing };
        if seen.format.mark < header.txn { Judgement::Take(header.clone()) } else { Judgement::ListAgain }
    }

    /// Judges a version by its compatibility with the read set.
    fn judge_version(&mut self, header: &Arc<Header>) -> Judgement {
        assert!(header.meta(self.key).is_some(), "a version's key is in its write set");
        let bug = bug_of(&self.state.settings);
        let transaction = self.state.transactions.get_mut(&self.operation.attempt);
        let transaction = transaction.expect("an operation's transaction is open");
        let rejected = match transaction.rejection(self.key, header, |planted| bug == Some(planted)) {
            Rejection::None => false,
            Rejection::Rejected => true,
            Rejection::UnlessDeleted => {
                let met = self.operation.met.get(self.key).copied().unwrap_or_default();
                let Some(nothing_removed) = self.nothing_removed(met) else { return Judgement::Missing };
                !nothing_removed
            }
        };
        if !rejected {
            return Judgement::Take(header.clone());
        }
        if self.state.is_young(header.txn) || self.state.planted(Bug::OlderVersionAfterRejection) {
            return Judgement::Passed;
        }
        // Below a version that is at or below the settled mark, older versions may be removed, also
        // only some of them: nothing older may be read.
        let Some(seen) = self.mark_since(self.listing.answered_call) else { return Judgement::Missing };
        if header.txn <= seen.settled { Judgement::Gone } else { Judgement::Passed }
    }

    /// Returns true if nothing was removed behind this transaction's reads and this listing,
    /// because the settled mark is not above the mark of any of them. Returns `None`, and requests
    /// the mark, if it is not known well enough.
    fn nothing_removed(&mut self, met: Met) -> Option<bool> {
        let since = self.listing.answered_call.max(met.mark_since);
        let settled = self.mark_since(since)?.settled;
        let transaction = &self.state.transactions[&self.operation.attempt];
        let least = transaction.least_mark().map_or(self.listing.mark, |mark| mark.min(self.listing.mark));
        assert!(least <= self.listing.mark, "the listing in use counts as well");
        Some(settled <= least)
    }

    /// Returns the mark if it was read by call `since` or a later one; else requests it.
    fn mark_since(&mut self, since: u64) -> Option<Seen> {
        let since = if self.state.planted(Bug::ReadMarkBeforeListing) { 0 } else { since };
        if let Some(seen) = self.state.mark.since(since) {
            return Some(seen.clone());
        }
        let call = || Call::Get(Name::Format);
        self.state.call_shared(Owner::Mark, call, Some(self.id), since, self.operation.limit);
        None
    }

    /// Requests the records of the next candidates, too. Below a version that is not compatible,
    /// the next ones most often are not either, and reading them one after the other could take
    /// longer than new versions take to arrive.
    fn ask_records_below(&mut self, at: usize, bound: Option<&Arc<Header>>) {
        let listing = self.listing.asked_call;
        let versions = self.state.index.entry(self.key).versions();
        let below = versions.iter().skip(at).take(RECORDS_AHEAD);
        let below = below.take_while(|known| bound.is_none_or(|bound| known.txn > bound.txn));
        let unknown = below.filter_map(|known| match &known.knowledge {
            Knowledge::Entry(entry) if known.undecided_since(listing).is_none() => Some((**entry).clone()),
            Knowledge::Entry(_) | Knowledge::Header(_) => None,
        });
        let unknown: Vec<VersionEntry> = unknown.collect();
        unknown.iter().for_each(|entry| self.ask_record(entry));
    }

    fn ask_record(&mut self, entry: &VersionEntry) {
        let at = match entry.whole {
            true => entry.name(self.key),
            false => Name::Commit(entry.hash),
        };
        let owner = Owner::Record(at.clone(), entry.txn);
        // A get, not a fetch, because a cached value does not contain the record. It must be made
        // after the listing that showed the entry.
        let since = self.listing.asked_call;
        self.state.call_shared(owner, || Call::Get(at), Some(self.id), since, self.operation.limit);
    }

    fn next_page(&mut self, more: VersionEntry) -> Choice {
        let shown = self.listing.more_after.as_deref();
        assert_eq!(shown.map(|shown| shown.txn), Some(more.txn), "a listing goes on where it ended");
        ask_listing(self.state, self.id, self.operation, self.key, Some(more), self.listing.asked_call);
        Choice::Missing
    }

    fn list_again(&mut self) -> Choice {
        let next_call = self.state.calls.next_number();
        self.state.index.list_again(self.key, next_call);
        ask_listing(self.state, self.id, self.operation, self.key, None, next_call);
        Choice::ListedAgain
    }

    fn take(self, header: Arc<Header>, rejected: bool) -> Choice {
        let (strays, basis) = (self.strays(Some(header.txn)), self.basis(rejected));
        // The basis contains the mark of the listing, which later distinguishes a deletion from an
        // absence.
        let transaction =
            self.state.transactions.get_mut(&self.operation.attempt).expect("looked up at the start");
        transaction.add_read(self.key.clone(), Some(header.clone()), basis, strays);
        Choice::Version(header)
    }

    fn absent(self, rejected: bool) -> Choice {
        let careless = bug_of(&self.state.settings).is_some();
        let (strays, basis) = (self.strays(None), self.basis(rejected));
        let transaction =
            self.state.transactions.get_mut(&self.operation.attempt).expect("looked up at the start");
        // A lower bound above the mark will still get its entry, so the key cannot be deleted.
        let bound = transaction.lower_bound(self.key).map(|bound| bound.txn);
        let explained = bound.is_none_or(|bound| bound <= self.listing.mark);
        assert!(explained || careless, "a key is absent below its lower bound only if it was deleted");
        transaction.add_read(self.key.clone(), None, basis, strays);
        Choice::Absent
    }

    /// Returns the basis of the choice. `rejected` is true if a newer version was skipped.
    fn basis(&self, rejected: bool) -> Basis {
        let began_call = self.state.transactions[&self.operation.attempt].began_call;
        // Listings do not expire where one process holds the store.
        let is_fresh = self.state.settings.exclusive || self.listing.asked_call >= began_call;
        Basis { mark: self.listing.mark, newest: is_fresh && !rejected }
    }

    /// Returns the undecided entries of a checked key above the chosen version that do not follow
    /// it. An entry that follows it needs no check here: the next write of the key takes the same
    /// name and finds it.
    fn strays(&self, chosen: Option<TxnId>) -> Vec<VersionEntry> {
        if !self.state.settings.locks(self.key) || self.state.planted(Bug::ForgetStrays) {
            return Vec::new();
        }
        let follows = chosen.unwrap_or(TxnId::ZERO);
        let versions = self.state.index.known(self.key).map_or(&[][..], |entry| entry.versions());
        let above = versions.iter().take_while(|known| chosen.is_none_or(|chosen| known.txn > chosen));
        let entries = above.filter_map(|known| match &known.knowledge {
            Knowledge::Entry(entry) => Some((**entry).clone()),
            Knowledge::Header(_) => None,
        });
        entries.filter(|entry| entry.follows != Some(follows)).collect()
    }
}
