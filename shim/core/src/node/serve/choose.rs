//! Choosing a version: the paper's AtomicRead (section 3.2, Algorithm 1), with what a store needs
//! whose entries are hints and whose superseded versions go (protocol, section 5).
//!
//! Rule. The version of `k` is the newest committed one that is (1) not older than the newest
//! version of `k` written by a transaction whose write was read already, and (2) not written by a
//! transaction that also wrote some `l` that was read at an older version.
//!
//! Why the read set stays atomic: by induction over reads. (1) keeps older reads valid for the new
//! version's key, (2) keeps the new version's cowritten keys valid for older reads; nothing else
//! relates two reads.
//!
//! Why a missing record or entry is judged by the mark: above the mark it was not put yet, or never
//! will be; at or below it, it was there and is removed. So the same absence means *skip it* or
//! *the listing is out of date*, and the mark that tells must be read after the absence was seen.
//! Young versions are above every mark, which spares the look.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{Key, TxnId};
use crate::message::Header;
use crate::record::VersionEntry;
use crate::store::{Call, Group, Name};

use super::super::base::calls::Owner;
use super::super::base::index::{Knowledge, Known, Listing, Stray};
use super::super::base::mark::Seen;
use super::super::base::read::{Met, Operation, OperationId};
use super::super::base::state::{State, bug_of};
use super::super::base::transaction::{Basis, Checked, ReadVersion, Rejection};
use super::read;

/// The number of times that an operation lists one key again because something was removed or
/// entered since. Each round needs a removal at just that moment.
const ROUNDS_MAX: u32 = 64;

/// The records that are asked for ahead on the way down to an older version.
const RECORDS_AHEAD: usize = 16;

/// The outcome of one look at a key.
#[derive(Debug)]
pub(in crate::node) enum Choice {
    /// The version in the read set, since earlier or just now.
    Version(Arc<Header>),
    /// Absent, in the read set already, or just now.
    Absent,
    /// A listing, a record or the mark is missing; it was asked for.
    Missing,
    /// The listing was out of date; another one was asked for.
    ListedAgain,
    /// No compatible version remains.
    Gone,
    /// The read set has no room for it.
    Full,
    /// The store's listing of the key contradicts itself again and again; the text says how.
    Damaged(String),
}

/// The judgement of one candidate.
enum Judgement {
    /// The version to read.
    Take(Arc<Header>),
    /// It is no version: undecided, dead, or collected at this key.
    Skip,
    /// It is one, and does not go with what was read.
    Passed,
    /// It does not go with what was read, and what was below it may be gone.
    Gone,
    /// A listing, a record or the mark is missing; it was asked for.
    Missing,
    /// The listing is out of date.
    ListAgain,
    /// Its record is missing, though the mark says that it was there.
    Lost,
}

/// One look at a key, on the listing that it rests on.
struct Look<'a> {
    state: &'a mut State,
    id: OperationId,
    operation: &'a Operation,
    key: &'a Key,
    listing: Listing,
}

/// Chooses the version of one key, as far as what is known allows (protocol 5.1 to 5.7).
pub(in crate::node) fn choose(
    state: &mut State,
    id: OperationId,
    operation: &Operation,
    key: &Key,
) -> Choice {
    let transaction = &state.transactions[&operation.attempt];
    assert!(operation.wanted.contains_key(key), "a version is chosen for a key that is wanted");
    // A key read twice gives the same version.
    if let Some(ReadVersion { header, .. }) = transaction.reads.get(key) {
        return header.clone().map_or(Choice::Absent, Choice::Version);
    }
    if let Some(mark) = transaction.listed_as_absent(key) {
        if state.settings.locks(key) {
            // A write of it follows what was read.
            let transaction = state.transactions.get_mut(&operation.attempt).expect("looked up above");
            let basis = Basis { mark, newest: state.settings.exclusive };
            transaction.add_read(key.clone(), None, basis, Vec::new());
        }
        return Choice::Absent;
    }
    if transaction.reads.len() >= state.settings.read_set_len_max {
        return Choice::Full;
    }
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
        // Everything else is judged on this one listing, and on marks that are asked after it.
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

/// Waits for the node's first look at the mark. Returns true if it is under way: a listing should
/// be asked with the mark known.
pub(in crate::node) fn first_look(state: &mut State, id: OperationId, operation: &Operation) -> bool {
    if state.mark.was_looked_at() {
        return false;
    }
    let call = || Call::Get(Name::Format);
    state.call_shared(Owner::FirstMark, call, Some(id), 0, operation.limit);
    true
}

/// Waits for the end of commits that are under way, where the transaction is checked: it would read
/// what is about to be overwritten, and meet a conflict. Returns true if there is one, and then none
/// of the keys is chosen: what is chosen while another key waits may be overwritten meanwhile.
///
/// After many conflicts it keeps the keys free as well.
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
        // It may only read, and then it would wait for nothing.
        return false;
    }
    let is_new =
        |key: &&Key| !transaction.reads.contains_key(*key) && transaction.listed_as_absent(key).is_none();
    let keys: Vec<&Key> = keys.iter().filter(is_new).collect();
    for key in &keys {
        state.checks.reserve(key, attempt, conflicts, state.clock.mono_ms());
    }
    // What is only written waits in line, and follows what is there then.
    let waits_in_line = |key: &Key| {
        let is_listed = state.index.known(key).is_some_and(|entry| entry.listing().is_some());
        is_listed && read::is_only_written(operation, key)
    };
    let waits = keys.iter().any(|key| state.checks.is_under_way(key, attempt) && !waits_in_line(key));
    if waits {
        state.checks.wait(id);
    }
    waits
}

/// Returns the node's last listing of a key if this operation may rest on it; else the call by
/// which, or later, it must be asked.
fn usable_listing(state: &mut State, operation: &Operation, key: &Key) -> Result<Listing, u64> {
    let transaction = &state.transactions[&operation.attempt];
    let fresh = transaction.fresh && !state.planted(Bug::FreshByOldListing);
    let since = if fresh { transaction.began_call } else { 0 };
    let since = since.max(state.index.stale_before_call());
    let entry = state.index.entry(key);
    let since = since.max(entry.not_before_call());
    let Some(listing) = entry.listing().cloned() else { return Err(since) };
    let is_current = if state.settings.exclusive {
        // No listing ages where one process holds the store. But one from before the mark moved
        // explains no absence.
        listing.mark >= state.mark.known()
    } else {
        state.clock.age_at_most_ms(&listing.asked) < state.settings.recheck_after_ms
    };
    // A listing asked since the operation began is young enough for it, however long its answer
    // took.
    let young = is_current || listing.asked_call >= operation.began_call;
    assert!(listing.asked_call < listing.answered_call, "a listing is answered after it was asked");
    if listing.asked_call < since {
        return Err(since);
    }
    // The node knows of a settled mark that this listing cannot explain: a retry would meet the
    // same refusal.
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
    // Most reads need the newest entries. Who goes on looks for an old version of a hot key, and new
    // ones come meanwhile: it should not take many pages.
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
        let mut rejected = false;
        let mut at = 0;
        while let Some(known) = self.candidate(at, bound.as_ref()) {
            at += 1;
            // The listing goes no further down than this yet.
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
        if let Some(more) = self.listing.more_after.clone()
            && bound.as_ref().is_none_or(|bound| more.txn > bound.txn)
        {
            return self.next_page(*more);
        }
        // No version is left. Nothing speaks against absence: the listing shows everything that is
        // not above every mark.
        if bound.is_none() && !rejected && met.values_gone == 0 {
            return self.absent(rejected);
        }
        // Otherwise something hides below what was rejected, or the lower bound itself has gone:
        // only if nothing was removed behind what this transaction rests on does the listing tell
        // why.
        let Some(nothing_removed) = self.nothing_removed(met) else { return Choice::Missing };
        let explained = match &bound {
            // The key was deleted since, by a tombstone that has gone as well. What was rejected is
            // above the settled mark, so it superseded nothing, and came after that.
            Some(bound) => bound.txn <= self.listing.mark,
            // Everything rejected is above the settled mark: the key had no version before.
            None => true,
        };
        let believed = nothing_removed || self.state.planted(Bug::BelieveAbsenceThoughMarkMoved);
        if believed && explained { self.absent(rejected) } else { Choice::Gone }
    }

    /// Returns the candidate at a place of their order, newest first, down to the lower bound: every
    /// listed entry, every transaction whose record is known, and the lower bound itself, which
    /// counts even if the index has forgotten it. One at a time: most reads take the first, and a hot
    /// key has dozens.
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
            // The bound stands behind all that is above it, and is the last.
            Some(_) | None => {
                let is_behind_all = before.is_none_or(|before| before.is_some_and(|txn| txn > bound.txn));
                is_behind_all.then(|| Known::unlisted(bound))
            }
        }
    }

    fn judge(&mut self, known: &Known) -> Judgement {
        // An entry is a hint, so its record decides first. A version that the listing does not show
        // is explained before it is compared with what was read.
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

    /// A listed entry whose record is not known: the record decides.
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
        let Some(found_none) = known.undecided_since(self.listing.asked_call) else {
            self.ask_record(entry);
            return Judgement::Missing;
        };
        if self.state.is_young(entry.txn) || self.state.planted(Bug::SkipListedWithoutRecord) {
            return Judgement::Skip;
        }
        match known.stray(self.listing.asked_call) {
            // The mark passed it while the record could not be read.
            Some(Stray::Dead) => return Judgement::Skip,
            Some(Stray::Lost) => return Judgement::Lost,
            None => {}
        }
        // Old, and without a record: never committed, or its record was removed after this listing.
        // The mark must be read after the get that found nothing, or a removal between the two
        // would go unseen.
        let since = if self.state.planted(Bug::ReadMarkBeforeGet) { 0 } else { found_none };
        let Some(seen) = self.mark_since(since) else { return Judgement::Missing };
        assert!(seen.asked_call >= since, "a mark that explains an absence was read after it");
        if seen.format.mark < entry.txn { Judgement::Skip } else { Judgement::ListAgain }
    }

    /// A transaction whose record is known, though the listing shows no entry of it at this key:
    /// [`Judgement::Take`] if it is a version all the same.
    fn judge_unlisted(&mut self, header: &Arc<Header>) -> Judgement {
        if self.state.is_young(header.txn) || self.state.planted(Bug::IndexWhateverTheMark) {
            return Judgement::Take(header.clone());
        }
        if header.txn <= self.listing.mark {
            // It had an entry here before the listing was asked.
            return Judgement::Skip;
        }
        let Some(seen) = self.mark_since(self.listing.answered_call) else { return Judgement::Missing };
        if seen.format.mark < header.txn { Judgement::Take(header.clone()) } else { Judgement::ListAgain }
    }

    /// A version: does it go with everything that was read?
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
        // What was below a version at or below the settled mark may be removed, in part: nothing
        // may be read past it.
        let Some(seen) = self.mark_since(self.listing.answered_call) else { return Judgement::Missing };
        if header.txn <= seen.settled { Judgement::Gone } else { Judgement::Passed }
    }

    /// Returns true if nothing was removed behind this transaction's reads and this listing: all
    /// that can have been removed was entered before each of them was asked. `None`: the mark is
    /// asked for.
    fn nothing_removed(&mut self, met: Met) -> Option<bool> {
        let since = self.listing.answered_call.max(met.mark_since);
        let settled = self.mark_since(since)?.settled;
        let transaction = &self.state.transactions[&self.operation.attempt];
        let least = transaction.least_mark().map_or(self.listing.mark, |mark| mark.min(self.listing.mark));
        assert!(least <= self.listing.mark, "the listing in use counts as well");
        Some(settled <= least)
    }

    /// Returns the mark if it was asked by this call or a later one; else asks for it.
    fn mark_since(&mut self, since: u64) -> Option<Seen> {
        let since = if self.state.planted(Bug::ReadMarkBeforeListing) { 0 } else { since };
        if let Some(seen) = self.state.mark.since(since) {
            return Some(seen.clone());
        }
        let call = || Call::Get(Name::Format);
        self.state.call_shared(Owner::Mark, call, Some(self.id), since, self.operation.limit);
        None
    }

    /// Asks for the records of the next candidates as well: what comes below a version that does not
    /// go with what was read most often does not either, and one after the other would take longer
    /// than new ones take to come.
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
        // A get, not a fetch: the record is wanted, of which a cached value tells nothing. It must
        // be asked after the listing that showed the entry.
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
        // The mark of the listing goes along: it later tells a deletion from an absence.
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
        // A lower bound above the mark has an entry to come, so the key cannot be gone.
        let bound = transaction.lower_bound(self.key).map(|bound| bound.txn);
        let explained = bound.is_none_or(|bound| bound <= self.listing.mark);
        assert!(explained || careless, "a key is absent below its lower bound only if it was deleted");
        transaction.add_read(self.key.clone(), None, basis, strays);
        Choice::Absent
    }

    /// Returns what the choice rests on. `rejected` says that a newer version was passed over.
    fn basis(&self, rejected: bool) -> Basis {
        let began_call = self.state.transactions[&self.operation.attempt].began_call;
        // No listing ages where one process holds the store.
        let is_fresh = self.state.settings.exclusive || self.listing.asked_call >= began_call;
        Basis { mark: self.listing.mark, newest: is_fresh && !rejected }
    }

    /// Returns the undecided entries of a checked key above the version chosen that do not follow
    /// it. Whoever writes the key next meets the one that does under the name that it takes itself.
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
