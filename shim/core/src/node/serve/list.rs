//! Listings of keys that are read atomic (protocol, section 5): a version is chosen for every key
//! of the range by the rules of single reads, and the range itself enters the read set, so that a
//! key that was not listed counts as read absent.
//!
//! A page of a scan serves as a listing of every key in its range: of the keys that it shows, with
//! their entries, and of all others, which have no entries. So a listing costs requests per page,
//! not per key. The page may miss versions that this transaction must see, because a commit may
//! have only some of its entries yet. So keys of the range that are known from the index, the read
//! set or the floor are added; learning their records may add further keys, until none is new.

use std::collections::{BTreeMap, BTreeSet};

use crate::bug::Bug;
use crate::ids::{AttemptId, Key};
use crate::message::{Bound, ListKeys, ListedKey, Note, Refusal, Reply, Ticket};
use crate::record::VersionEntry;
use crate::store::{Answer, Found, Place};

use super::super::base::calls::Waiting;
use super::super::base::ids::OperationId;
use super::super::base::read::{Listing, Operation, Page, Purpose, Want};
use super::super::base::read_set::ListedRange;
use super::super::base::state::{State, Work, bug_of, refusal_of};
use super::super::base::transaction::{Phase, Transaction};
use super::prefixes::{after_all_with, common_prefix, shown};
use super::{end, level, prefixes, read, scan};

/// The greatest number of listed ranges of one transaction. The pages of one listing count as one,
/// but for what is behind a common prefix whose other keys were skipped. A range that is listed
/// again counts once.
const RANGES_MAX: usize = 10_000;

/// Starts a listing.
pub(in crate::node) fn list(state: &mut State, ticket: Ticket, attempt: AttemptId, list: ListKeys) {
    let Some(transaction) = state.transactions.get(&attempt) else {
        return end::refuse_ended(state, ticket, attempt);
    };
    if !matches!(transaction.phase, Phase::Open) {
        return state.refuse(ticket, Refusal::Ended);
    }
    if let Err(refusal) = check(state, attempt, &list) {
        return state.refuse(ticket, refusal);
    }
    let from_the_start = state.planted(Bug::ListFromTheStart);
    let after = list.after.clone().filter(|_| !from_the_start);
    let next = after.map(|key| Place { key, entry: None });
    let listing = Box::new(Listing {
        next,
        page: None,
        is_asked: false,
        settled: BTreeSet::new(),
        found: 0,
        last: None,
        heads: 1,
    });
    read::start(state, ticket, attempt, Purpose::List(list, listing), BTreeSet::new());
}

fn check(state: &State, attempt: AttemptId, list: &ListKeys) -> Result<(), Refusal> {
    let transaction = &state.transactions[&attempt];
    if transaction.operations >= state.settings.operations_in_transaction_max {
        return Err(Refusal::Overloaded(Bound::OperationsInTransaction));
    }
    if state.transactions.bytes() >= state.settings.transactions_bytes_max {
        return Err(Refusal::Overloaded(Bound::Transactions));
    }
    level::check_listing(state, attempt)?;
    if list.limit == 0 {
        return Err(Refusal::Invalid("a listing's limit is at least 1".into()));
    }
    if list.delimiter.as_ref().is_some_and(String::is_empty) {
        return Err(Refusal::Invalid(
            "a listing's delimiter is not empty: leave it out to list every key".into(),
        ));
    }
    let texts = [Some(&list.prefix), list.after.as_ref(), list.delimiter.as_ref()];
    let longest = texts.into_iter().flatten().map(String::len).max().unwrap_or(0);
    if longest > Key::BYTES_MAX {
        return Err(Refusal::Invalid(format!(
            "a listing's prefix, cursor and delimiter have at most {} bytes, as keys do; this one has {longest}",
            Key::BYTES_MAX
        )));
    }
    if transaction.ranges.len() >= RANGES_MAX {
        return Err(Refusal::Invalid(format!(
            "the transaction has listed {RANGES_MAX} ranges, and each read looks at all of them: split the request"
        )));
    }
    Ok(())
}

/// Takes a page of a listing's scan.
pub(in crate::node) fn page_answered(state: &mut State, id: OperationId, waiting: &Waiting, answer: Answer) {
    let Some(mut operation) = state.operations.take(id) else { return };
    let Answer::Scanned { found: Found::Versions(names), damaged, unread, more } = answer else {
        return read::fail(state, operation, refusal_of(&answer));
    };
    damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    assert!(!more || !names.is_empty(), "an empty page is the last");
    let Purpose::List(list, listing) = &mut operation.purpose else {
        unreachable!("only a listing asks for pages")
    };
    assert!(
        names.iter().all(|(key, _)| key.as_str().starts_with(&list.prefix)),
        "a scan keeps to its prefix"
    );
    assert!(names.is_sorted_by(|(a, _), (b, _)| a <= b), "a scan goes in the order of keys");
    let is_behind = |key: &Key| listing.next.as_ref().is_none_or(|place| *key.as_str() > *place.key);
    assert!(names.first().is_none_or(|(key, _)| is_behind(key)), "a page goes on behind the last one");
    assert!(listing.page.is_none(), "one page at a time");
    // The page covers the range through its last key, or through the end if no page follows.
    let last = names.last().map(|(key, _)| key.clone()).filter(|_| more);
    let range = ListedRange {
        prefix: list.prefix.clone(),
        after: listing.next.as_ref().map(|place| place.key.clone()),
        through: last.as_ref().map(|key| key.as_str().to_owned()),
        mark: waiting.mark,
    };
    listing.next = last.as_ref().map(|key| Place { key: key.as_str().to_owned(), entry: None });
    let covered = range.clone();
    let (asked, asked_call) = (waiting.asked, waiting.asked_call);
    let heads = scan::heads(list, listing).map(|heads| heads.each);
    let below = BTreeMap::new();
    listing.page = Some(Page { range, asked, asked_call, heads, below, is_cut: false });
    let mut by_key: BTreeMap<Key, Vec<VersionEntry>> = BTreeMap::new();
    for (key, entry) in names {
        by_key.entry(key).or_default().push(entry);
    }
    // The page is incomplete for a key with an unreadable entry. Such a key is listed by itself,
    // which reports the damage.
    for key in unread.iter().filter(|key| covered.contains(key.as_str())) {
        by_key.remove(key);
        prefixes::count_shown(&mut operation, key);
        scan::want(state, &mut operation, key);
    }
    for (key, entries) in by_key {
        assert!(!entries.is_empty(), "a key is shown by its entries");
        let Some(entries) = prefixes::want_later(&mut operation, &key, entries) else { continue };
        scan::want(state, &mut operation, &key);
        scan::show(state, &operation, &key, &entries);
    }
    // With a delimiter it is not known yet which keys of the range matter.
    if matches!(&operation.purpose, Purpose::List(list, _) if list.delimiter.is_none()) {
        scan::merge_known_keys(state, &mut operation);
    }
    state.operations.put_back(id, operation);
    state.defer(Work::Operation(id));
}

/// Continues a listing when every key of its page has its version: the range enters the read set,
/// and the listing is answered or requests the next page.
pub(in crate::node) fn page_read(state: &mut State, mut operation: Operation) {
    let Purpose::List(list, listing) = &mut operation.purpose else { unreachable!("a listing") };
    let page = listing.page.take().expect("a page was read");
    assert!(operation.wanted.values().all(Want::is_done), "every key of a page has its version");
    let bug = bug_of(&state.settings);
    let transaction =
        state.transactions.get_mut(&operation.attempt).expect("operations end with their transaction");
    let settled = prefixes::settled(&page, &operation.wanted, transaction, bug);
    listing.settled.extend(settled.into_iter().cloned());
    listing.heads = if page.is_cut { listing.heads.saturating_mul(scan::HEADS_GROWTH) } else { 1 };
    let mut ranges = prefixes::listed_ranges(&page, &operation.wanted, transaction, bug);
    match bug {
        Some(Bug::BelieveSkippedAbsent) => ranges = vec![page.range.clone()],
        Some(Bug::ForgetRangesBesidePrefixes) if !page.below.is_empty() => ranges.clear(),
        Some(Bug::ForgetLaterRanges) if list.after.is_some() => ranges.clear(),
        _ => {}
    }
    let through = page.range.through.clone();
    let limit = list.limit as usize;
    // The lines of this page alone tell whether more pages are needed: to roll all pages up after
    // each of them would take a time that grows with their square.
    let lines = match &through {
        Some(_) => roll_up(transaction, list, &operation.wanted, &page.range, listing),
        None => Vec::new(),
    };
    if through.is_some() && listing.found + lines.len() <= limit {
        listing.found += lines.len();
        listing.last = match lines.last() {
            Some(Item::Prefix(prefix)) => Some(prefix.clone()),
            Some(Item::Key(_)) => None,
            None => listing.last.take(),
        };
        ranges.into_iter().for_each(|range| transaction.add_range(range));
        skip(list, listing, through.as_deref());
        let id = state.operations.add(operation);
        return scan::ask_page(state, id);
    }
    let all = ListedRange {
        prefix: list.prefix.clone(),
        after: list.after.clone(),
        through: through.clone(),
        mark: crate::ids::TxnId::ZERO,
    };
    let whole = Listing { last: None, ..(**listing).clone() };
    let found = roll_up(transaction, list, &operation.wanted, &all, &whole);
    assert!(found.len() <= limit + 1, "at most one line more than the limit shows that there are more");
    assert!(found.is_sorted_by(|a, b| a.text() < b.text()), "lines come in order, each once");
    let is_full = found.len() > limit;
    let next = if is_full { Some(found[limit - 1].text().to_owned()) } else { None };
    // Only the part that is returned counts as listed, although all keys of the page were read.
    let ranges = ranges.into_iter().filter_map(|range| match &next {
        Some(next) => range.up_to(next),
        None => Some(range),
    });
    ranges.for_each(|range| transaction.add_range(range));
    if !is_full && through.is_some() {
        // Another batch of the transaction has deleted keys that earlier pages had counted.
        listing.found = found.len();
        listing.last = match found.last() {
            Some(Item::Prefix(prefix)) => Some(prefix.clone()),
            Some(Item::Key(_)) | None => None,
        };
        skip(list, listing, through.as_deref());
        let id = state.operations.add(operation);
        return scan::ask_page(state, id);
    }
    read::deliver(state, &operation);
    let Purpose::List(list, _) = operation.purpose else { unreachable!("a listing") };
    let mut keys = Vec::new();
    let mut prefixes = Vec::new();
    for item in found.into_iter().take(list.limit as usize) {
        match item {
            Item::Key(key) => keys.push(key),
            Item::Prefix(prefix) => prefixes.push(prefix),
        }
    }
    let next = next.or(through).map(|next| match prefixes.last() {
        Some(prefix) if next.starts_with(prefix.as_str()) => after_all_with(prefix),
        Some(_) | None => next,
    });
    assert!(keys.len() + prefixes.len() <= limit, "a listing keeps to its limit");
    let shows = |key: &ListedKey| key.key.as_str().starts_with(&list.prefix);
    assert!(keys.iter().all(shows), "a listing keeps to its prefix");
    state.reply(operation.ticket, Reply::Listed { keys, prefixes, next });
    state.defer(Work::OperationDone(operation.attempt));
}

/// Skips the other keys below the common prefix at which a page ends, if a key below it was found.
fn skip(list: &ListKeys, listing: &mut Listing, through: Option<&str>) {
    let Some(prefix) = through.and_then(|through| common_prefix(list, through)) else { return };
    if listing.settled.contains(prefix) || listing.last.as_deref() == Some(prefix) {
        listing.next = Some(Place { key: after_all_with(prefix), entry: None });
        listing.settled.insert(prefix.to_owned());
    }
}

/// One line of a listing.
#[derive(Debug)]
enum Item {
    Key(ListedKey),
    Prefix(String),
}

impl Item {
    fn text(&self) -> &str {
        match self {
            Item::Key(listed) => listed.key.as_str(),
            Item::Prefix(prefix) => prefix,
        }
    }
}

/// Returns the lines of a listing within a range, in order, at most one more than its limit: the
/// keys that exist for the transaction, rolled up by the delimiter.
///
/// A prefix that is settled is always shown: a key with it was found before, and no others were
/// looked at, even if another batch has deleted that key since. The listing's last prefix
/// belongs to what was shown before the range.
fn roll_up(
    transaction: &Transaction,
    list: &ListKeys,
    wanted: &BTreeMap<Key, Want>,
    range: &ListedRange,
    listing: &Listing,
) -> Vec<Item> {
    let after = range.after.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
    let until = range.through.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
    let of_range = wanted.range::<str, _>((after, until)).map(|(key, _)| key);
    // The transaction's own writes are part of the listing.
    let own = transaction.buffer.range::<str, _>((after, until)).map(|(key, _)| key);
    let all: BTreeSet<&Key> = of_range.chain(own).collect();
    let mut items: Vec<Item> = Vec::new();
    for key in all.into_iter().filter(|key| range.contains(key.as_str())) {
        if items.len() > list.limit as usize {
            break;
        }
        match (common_prefix(list, key.as_str()), shown(transaction, key)) {
            (None, Some(listed)) => items.push(Item::Key(listed)),
            (None, None) => {}
            (Some(prefix), None) if !listing.settled.contains(prefix) => {}
            (Some(prefix), _) => {
                let known = match items.last() {
                    Some(Item::Prefix(last)) => last == prefix,
                    Some(Item::Key(_)) => false,
                    None => listing.last.as_deref() == Some(prefix),
                };
                // If the cursor is within a common prefix, an earlier page returned the prefix.
                let earlier = list.after.as_deref().is_some_and(|after| after.starts_with(prefix));
                if !known && !earlier {
                    items.push(Item::Prefix(prefix.to_owned()));
                }
            }
        }
    }
    items
}
