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
//! Why that is enough: the listing says of a settled prefix only that a key below it exists. That
//! key is in the read set at the version that shows it, and later reads must fit to it. If the
//! others counted as absent, a later read of one of them would miss what was committed; and keys
//! between the prefixes that did not count as absent could appear when they are read again.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::bug::Bug;
use crate::ids::Key;
use crate::message::ListKeys;
use crate::record::VersionEntry;

use super::super::base::read::{Below, Operation, Page, Purpose, Want};
use super::super::base::read_set::ListedRange;
use super::super::base::state::{State, bug_of};
use super::super::base::transaction::Transaction;
use super::list::shown;
use super::scan;

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
    None
}

/// Wants the next keys below each common prefix of the page that is not settled. Returns true if
/// there were any, which is never the case for a batch.
pub(super) fn want_next(state: &mut State, operation: &mut Operation) -> bool {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&operation.attempt];
    let Purpose::List(_, listing) = &mut operation.purpose else { return false };
    let Some(Page { range, below, .. }) = &mut listing.page else { return false };
    let mut next: Vec<(Key, Vec<VersionEntry>)> = Vec::new();
    for (prefix, below) in below.iter_mut().filter(|(_, below)| !below.later.is_empty()) {
        if is_settled((prefix, below), range, &operation.wanted, transaction, bug) {
            continue;
        }
        below.wave = (below.wave * 2).max(1);
        for _ in 0..below.wave {
            let Some((key, entries)) = below.later.pop_first() else { break };
            below.last = below.last.take().max(Some(key.clone()));
            next.push((key, entries));
        }
    }
    for (key, entries) in &next {
        scan::want(state, operation, key);
        scan::show(state, operation, key, entries);
    }
    !next.is_empty()
}

/// Wants a key that the page does not show and that is known from elsewhere: with the next ones if
/// it is below a prefix that is not settled, else now.
pub(super) fn want_known(state: &mut State, operation: &mut Operation, key: &Key) {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&operation.attempt];
    let Purpose::List(list, listing) = &mut operation.purpose else { unreachable!("a listing has pages") };
    let Page { range, below, .. } = listing.page.as_mut().expect("a page has come");
    if let Some(prefix) = common_prefix(list, key.as_str()) {
        let of_prefix = below.entry(prefix.to_owned()).or_default();
        if !is_settled((prefix, of_prefix), range, &operation.wanted, transaction, bug) {
            of_prefix.later.insert(key.clone(), Vec::new());
            return;
        }
    }
    scan::want(state, operation, key);
    scan::show(state, operation, key, &[]);
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
    let skips = page.below.iter().filter(|(_, below)| !below.later.is_empty());
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
