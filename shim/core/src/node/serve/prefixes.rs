//! The common prefixes of a listing with a delimiter (protocol, section 5): one visible key below a
//! prefix settles it, so that versions are chosen for few of its keys.
//!
//! The keys that a page shows below each prefix are wanted in order, in waves: the first of each
//! prefix, then two of each that has shown none, then four. So the waves of a page are few, however
//! many keys were deleted below a prefix, and the prefixes of a page wait side by side.
//!
//! Nothing is said of the other keys below a settled prefix: they are not in the read set, and the
//! listed range is cut around them.
//!
//! ```text
//!              a/1   a/2  a/3    b    c/1   c/2  c/3
//!   wanted      ×                ×     ×     ×           c/1 is deleted, so c/2 was wanted, too
//!   listed  ─────┤            ├───────────────┤       ├────
//! ```
//!
//! That is enough, because the listing says of a settled prefix only that a key below it exists.
//! That key is in the read set at the version that shows it, and later reads must fit to it. If the
//! others counted as absent, a later read of one of them would miss what was committed; and keys
//! between the prefixes that did not count as absent could appear when they are read again.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::bug::Bug;
use crate::ids::Key;
use crate::message::{ListKeys, ListedKey};
use crate::record::{Kind, VersionEntry, Write};
use crate::store::Place;

use super::super::base::read::{Below, Operation, Page, Purpose, Want};
use super::super::base::read_set::ListedRange;
use super::super::base::state::{State, bug_of};
use super::super::base::transaction::Transaction;

/// Returns the common prefix below which a listing rolls a key up; `None` if it shows the key.
pub(super) fn common_prefix<'a>(list: &ListKeys, key: &'a str) -> Option<&'a str> {
    assert!(key.starts_with(&list.prefix), "a listing keeps to its prefix");
    let delimiter = list.delimiter.as_deref()?;
    let rest = &key[list.prefix.len()..];
    let cut = list.prefix.len() + rest.find(delimiter)? + delimiter.len();
    Some(&key[..cut])
}

/// Keeps a key of a page and its entries until they are wanted. Returns the entries if the key is
/// not below a common prefix, and so is wanted now.
pub(super) fn want_later(
    operation: &mut Operation,
    key: &Key,
    entries: Vec<VersionEntry>,
) -> Option<Vec<VersionEntry>> {
    let Purpose::List(list, listing) = &mut operation.purpose else { unreachable!("a listing has pages") };
    let Some(prefix) = common_prefix(list, key.as_str()) else { return Some(entries) };
    let page = listing.page.as_mut().expect("a page has come");
    assert!(page.range.contains(key.as_str()), "a page shows keys of its range");
    let below = page.below.entry(prefix.to_owned()).or_default();
    below.later.insert(key.clone(), entries);
    below.count_shown(key);
    None
}

/// Counts a key of a page whose entries cannot be read, and that is wanted for that.
pub(super) fn count_shown(operation: &mut Operation, key: &Key) {
    let Purpose::List(list, listing) = &mut operation.purpose else { unreachable!("a listing has pages") };
    let Some(prefix) = common_prefix(list, key.as_str()) else { return };
    let page = listing.page.as_mut().expect("a page has come");
    page.below.entry(prefix.to_owned()).or_default().count_shown(key);
}

impl Below {
    fn count_shown(&mut self, key: &Key) {
        self.shown += 1;
        self.end = self.end.take().max(Some(key.clone()));
    }

    /// Returns true if the page may leave keys out behind the last one that it shows.
    fn leaves_out(&self, heads: Option<u32>) -> bool {
        heads.is_some_and(|heads| self.shown >= heads)
    }
}

/// Ends the page below the first common prefix of which it shows no visible key while it may leave
/// others out: the next page shows more of them.
pub(super) fn end_at_unsettled(state: &State, operation: &mut Operation) {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&operation.attempt];
    let Purpose::List(_, listing) = &mut operation.purpose else { return };
    let Some(page) = &mut listing.page else { return };
    let is_open = |of: &(&String, &Below)| {
        of.1.leaves_out(page.heads)
            && !is_settled((of.0, of.1), &page.range, &operation.wanted, transaction, bug)
    };
    let Some((prefix, below)) = page.below.iter().find(is_open) else { return };
    let end = below.end.as_ref().expect("a page leaves out keys behind one that it shows");
    assert!(page.range.contains(end.as_str()), "a page ends at a key of its range");
    page.range.through = Some(end.as_str().to_owned());
    page.is_cut = true;
    listing.next = Some(Place { key: end.as_str().to_owned(), entry: None });
    let prefix = prefix.clone();
    page.below.retain(|other, _| *other <= prefix);
}

/// Returns the next keys below each common prefix of the page that is not settled, with the entries
/// that the page shows of them. There are none for a batch.
pub(super) fn next_keys(state: &State, operation: &mut Operation) -> Vec<(Key, Vec<VersionEntry>)> {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&operation.attempt];
    let mut next = Vec::new();
    let Purpose::List(_, listing) = &mut operation.purpose else { return next };
    let heads = listing.heads as usize;
    let Some(Page { range, below, .. }) = &mut listing.page else { return next };
    for (prefix, below) in below.iter_mut().filter(|(_, below)| !below.later.is_empty()) {
        if is_settled((prefix, below), range, &operation.wanted, transaction, bug) {
            continue;
        }
        // Where a page was ended early, as many keys are wanted as the next one shows at least.
        let goes_on = range.after.as_deref().is_some_and(|after| after.starts_with(prefix.as_str()));
        below.wave = (below.wave * 2).max(if goes_on { heads } else { 1 });
        for _ in 0..below.wave {
            let Some((key, entries)) = below.later.pop_first() else { break };
            below.last = below.last.take().max(Some(key.clone()));
            next.push((key, entries));
        }
    }
    next
}

/// Keeps a key that the page does not show and that is known from elsewhere, until the next keys
/// are wanted. Returns false if it is wanted now: it is not below a prefix, or below a settled one.
pub(super) fn want_known_later(state: &State, operation: &mut Operation, key: &Key) -> bool {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&operation.attempt];
    let Purpose::List(list, listing) = &mut operation.purpose else { unreachable!("a listing has pages") };
    let Page { range, below, .. } = listing.page.as_mut().expect("a page has come");
    let Some(prefix) = common_prefix(list, key.as_str()) else { return false };
    let of_prefix = below.entry(prefix.to_owned()).or_default();
    let is_later = !is_settled((prefix, of_prefix), range, &operation.wanted, transaction, bug);
    if is_later {
        of_prefix.later.insert(key.clone(), Vec::new());
    }
    is_later
}

/// Returns true if a key that was wanted below a prefix exists for the transaction.
fn is_settled(
    (prefix, below): (&str, &Below),
    range: &ListedRange,
    wanted: &BTreeMap<Key, Want>,
    transaction: &Transaction,
    bug: Option<Bug>,
) -> bool {
    let Some(last) = &below.last else { return false };
    let of_prefix = (Bound::Included(prefix), Bound::Included(last.as_str()));
    let mut chosen = wanted.range::<str, _>(of_prefix).map(|(key, _)| key);
    chosen.any(|key| range.contains(key.as_str()) && shown(transaction, key).is_some())
        || bug == Some(Bug::SettleByHiddenKey)
}

/// Returns the common prefixes of a page below which keys were skipped.
pub(super) fn settled<'a>(
    page: &'a Page,
    wanted: &BTreeMap<Key, Want>,
    transaction: &Transaction,
    bug: Option<Bug>,
) -> Vec<&'a String> {
    let skips = |below: &Below| !below.later.is_empty() || below.leaves_out(page.heads);
    let skips = page.below.iter().filter(|(_, below)| skips(below));
    let is_settled = |of: &(&String, &Below)| is_settled((of.0, of.1), &page.range, wanted, transaction, bug);
    skips.filter(is_settled).map(|(prefix, _)| prefix).collect()
}

/// Returns the ranges of a page of which the listing says that other keys are absent: its range
/// without the rest of each settled prefix.
pub(super) fn listed_ranges(
    page: &Page,
    wanted: &BTreeMap<Key, Want>,
    transaction: &Transaction,
    bug: Option<Bug>,
) -> Vec<ListedRange> {
    let mut rest = page.range.clone();
    let mut ranges = Vec::new();
    for prefix in settled(page, wanted, transaction, bug) {
        let Below { later, last, .. } = &page.below[prefix];
        let last = last.as_ref().expect("a key has settled the prefix").as_str();
        // The rest begins behind all keys with the prefix, which the text after them may not be.
        let behind = after_all_with(prefix);
        let behind = later.keys().next_back().map_or(&*behind, |key| behind.as_str().max(key.as_str()));
        ranges.push(ListedRange { through: Some(last.to_owned()), ..rest.clone() });
        rest.after = Some(behind.to_owned());
        if rest.through.as_deref().is_some_and(|through| through <= behind) {
            // The page ends below the prefix.
            return ranges;
        }
    }
    ranges.push(rest);
    ranges
}

/// Returns a text after every key that starts with `prefix`, except keys that continue it only with
/// the greatest characters.
pub(super) fn after_all_with(prefix: &str) -> String {
    let room = Key::BYTES_MAX.saturating_sub(prefix.len());
    let mut text = prefix.to_owned();
    text.extend(std::iter::repeat_n(char::MAX, room / char::MAX.len_utf8()));
    assert!(text.starts_with(prefix) && text.len() <= Key::BYTES_MAX.max(prefix.len()), "a cursor fits");
    text
}

/// Returns a key's line, if the key exists for the transaction.
pub(super) fn shown(transaction: &Transaction, key: &Key) -> Option<ListedKey> {
    let version = transaction.reads.get(key).and_then(|read| read.header.as_ref());
    let (txn, meta) = match (transaction.buffer.get(key), version) {
        (Some(Write::Tombstone), _) | (None, None) => return None,
        (Some(write @ Write::Put(_)), _) => (None, write.meta()),
        (None, Some(header)) => {
            let meta = header.meta(key).expect("a version's key is in its write set");
            (Some(header.txn), meta.clone())
        }
    };
    (meta.kind != Kind::Tombstone).then(|| ListedKey { key: key.clone(), txn, meta })
}
