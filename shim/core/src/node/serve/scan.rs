//! The scan of a listing: it requests pages, and makes each of them a listing of every key in its
//! range. Reads continue with the keys that it wants.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::ids::Key;
use crate::message::ListKeys;
use crate::record::VersionEntry;
use crate::store::{Call, Heads, Scan};

use super::super::base::calls::Owner;
use super::super::base::ids::OperationId;
use super::super::base::index::ListedPage;
use super::super::base::read::{Listing, Operation, Purpose, Want};
use super::super::base::state::{State, bug_of};
use super::prefixes::{listed_ranges, next_keys, want_known_later};

/// The factor by which a page shows more keys of each common prefix than the one before, if that
/// showed no visible key of one.
pub(super) const HEADS_GROWTH: u32 = 4;
/// The most keys of each common prefix to which a page is limited. With more, all names of the page
/// cost little more.
const HEADS_MAX: u32 = 64;

/// Returns true if a listing has not requested its first page.
pub(in crate::node) fn must_ask_first_page(operation: &Operation) -> bool {
    matches!(&operation.purpose, Purpose::List(_, listing) if !listing.is_asked)
}

/// Requests the next page of a listing's scan.
pub(in crate::node) fn ask_page(state: &mut State, id: OperationId) {
    let page_len = match &state.operations.get(id).expect("a listing under way").purpose {
        Purpose::List(list, _) => page_len(state, list),
        Purpose::Batch { .. } => unreachable!("only a listing asks for pages"),
    };
    assert!((1..=state.settings.scan_page_len).contains(&page_len), "a page has some names");
    let operation = state.operations.get_mut(id).expect("looked up above");
    let Purpose::List(list, listing) = &mut operation.purpose else {
        unreachable!("only a listing asks for pages")
    };
    assert!(listing.page.is_none(), "a page is read before the next one is asked for");
    assert!(listing.is_asked || operation.wanted.is_empty(), "no key is wanted before the first page");
    listing.is_asked = true;
    let (prefix, after, limit) = (list.prefix.clone(), listing.next.clone(), operation.limit);
    let scan = Scan::Versions { prefix, after, heads: heads(list, listing) };
    state.call(Owner::Scan(id), Call::Scan { scan, limit: page_len }, Some(limit));
}

/// Returns the number of names of a page that should be the last. Most keys have one or two
/// entries; where they have more, more pages are needed.
fn page_len(state: &State, list: &ListKeys) -> u32 {
    list.limit.saturating_mul(2).saturating_add(8).min(state.settings.scan_page_len)
}

/// Returns the keys to which the next page of a listing is limited: one of each common prefix, and
/// more while none of them is visible.
pub(super) fn heads(list: &ListKeys, listing: &Listing) -> Option<Heads> {
    let delimiter = list.delimiter.clone().filter(|_| listing.heads <= HEADS_MAX)?;
    Some(Heads { delimiter, each: listing.heads })
}

/// Passes a key's part of a page to the index, as a listing of the key.
pub(super) fn show(state: &mut State, operation: &Operation, key: &Key, entries: &[VersionEntry]) {
    let Purpose::List(_, listing) = &operation.purpose else { unreachable!("only a listing has pages") };
    let page = listing.page.as_ref().expect("a page has come");
    assert!(page.range.contains(key.as_str()), "a page shows keys of its range");
    // Older entries of the page's last key may be on the next page. They are listed by key if a
    // read needs them.
    let is_last = page.range.through.as_deref() == Some(key.as_str());
    let listed = ListedPage {
        entries,
        after: None,
        more: is_last && !entries.is_empty(),
        asked: page.asked,
        asked_call: page.asked_call,
        next_call: state.calls.next_number(),
        mark: page.range.mark,
    };
    let bug = bug_of(&state.settings);
    state.index.listed(key, listed, |planted| bug == Some(planted));
}

/// Adds a key to those that the operation reads. Returns true if it is new.
pub(super) fn want(state: &mut State, operation: &mut Operation, key: &Key) -> bool {
    if operation.wanted.contains_key(key) {
        return false;
    }
    state.index.pin(key);
    operation.wanted.insert(key.clone(), Want::Choosing);
    true
}

/// Adds the keys of the page's listed ranges that are known from elsewhere. Returns true if any was
/// new, which is never the case for a batch.
pub(in crate::node) fn merge_known_keys(state: &mut State, operation: &mut Operation) -> bool {
    let Purpose::List(_, listing) = &operation.purpose else { return false };
    let Some(page) = &listing.page else { return false };
    let transaction = &state.transactions[&operation.attempt];
    let mut new: BTreeSet<Key> = BTreeSet::new();
    for range in listed_ranges(page, &operation.wanted, transaction, bug_of(&state.settings)) {
        let known = state.index.keys_in(&range.prefix, range.after.as_deref());
        let known = known.take_while(|key| range.contains(key.as_str()));
        // Only the keys of the range are looked at: a listing of common prefixes has many ranges.
        let after = range.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let until = range.through.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let read = transaction.reads.range::<str, _>((after, until)).map(|(key, _)| key);
        let bound = transaction.bounds_in_order((after, until)).chain(read);
        let bound = bound.filter(|key| range.contains(key.as_str()));
        // The transaction may have to see these even if the page does not show them: a commit may
        // have only some of its entries yet.
        new.extend(known.chain(bound).filter(|key| !operation.wanted.contains_key(*key)).cloned());
    }
    // The page does not show these keys, so they had no entries then.
    for key in &new {
        if !want_known_later(state, operation, key) {
            want(state, operation, key);
            show(state, operation, key, &[]);
        }
    }
    !new.is_empty()
}

/// Wants the next keys below each common prefix that is not settled. Returns true if there were
/// any, which is never the case for a batch.
pub(in crate::node) fn want_next(state: &mut State, operation: &mut Operation) -> bool {
    let next = next_keys(state, operation);
    for (key, entries) in &next {
        want(state, operation, key);
        show(state, operation, key, entries);
    }
    !next.is_empty()
}
