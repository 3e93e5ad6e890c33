//! Listing keys, read atomically (protocol, section 5): a version is chosen for every key of the range by the rules of single reads, and the range
//! itself enters the read set, so that a key which was not listed counts as read absent.
//!
//! The store's page of keys lags behind what this transaction may have to see: a half-published transaction has only some of its version entries. So
//! keys of the range that are known from the index, the read set or the floor are merged in; learning their records may add more; until none is new.

use std::collections::{BTreeMap, BTreeSet};

use crate::bug::Bug;
use crate::ids::{AttemptId, Key};
use crate::message::{Bound, ListKeys, ListedKey, Refusal, Reply, Ticket};
use crate::record::{Kind, Write};
use crate::store::{Answer, Call, Groups};

use super::Node;
use super::begin::refusal_of;
use super::calls::Owner;
use super::reading::{Operation, OperationId, OperationPurpose, Want, meta_of};
use super::transaction::{ListedRange, Phase};

/// Listed ranges of one transaction; the pages of one listing count as one.
const RANGES_MAX: usize = 1_000;

/// The store's page of keys.
#[derive(Debug, Clone, Hash)]
pub(super) struct KeysPage {
    /// The last key that it covers, inclusive; `None`: the end of the prefix.
    through: Option<String>,
}

impl Node {
    pub(super) fn list(&mut self, ticket: Ticket, attempt: AttemptId, list: ListKeys) {
        let Some(transaction) = self.transactions.get(&attempt) else {
            return self.refuse_ended(ticket, attempt);
        };
        if !matches!(transaction.phase, Phase::Open) {
            return self.refuse(ticket, Refusal::Ended);
        }
        if transaction.operations >= self.settings.operations_in_transaction_max {
            return self.refuse(ticket, Refusal::Overloaded(Bound::OperationsInTransaction));
        }
        if self.transactions_bytes >= self.settings.transactions_bytes_max {
            return self.refuse(ticket, Refusal::Overloaded(Bound::Transactions));
        }
        if list.limit == 0 {
            return self.refuse(ticket, Refusal::Invalid("a listing's limit is at least 1".into()));
        }
        let longest = list.prefix.len().max(list.after.as_deref().map_or(0, str::len));
        if longest > Key::BYTES_MAX {
            return self.refuse(
                ticket,
                Refusal::Invalid(format!(
                    "a listing's prefix and cursor have at most {} bytes, as keys do; this one has {longest}",
                    Key::BYTES_MAX
                )),
            );
        }
        if transaction.ranges.len() >= RANGES_MAX {
            return self.refuse(ticket, Refusal::Invalid(format!(
                "the transaction has listed {RANGES_MAX} ranges, and each read looks at all of them: split the request"
            )));
        }
        self.start_operation(ticket, attempt, OperationPurpose::List(list, None), BTreeSet::new());
    }

    pub(super) fn ask_keys_page(&mut self, id: OperationId, list: &ListKeys) {
        let until = self.operations[&id].until_mono;
        let after = if self.planted(Bug::ListFromTheStart) { None } else { list.after.clone() };
        let groups = Groups::Keys { prefix: list.prefix.clone(), after };
        self.call(Owner::KeysPage(id), Call::Groups { groups, limit: list.limit }, Some(until));
    }

    pub(super) fn keys_page_answered(&mut self, id: OperationId, answer: Answer) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        match answer {
            Answer::Keys { keys, more } => {
                let OperationPurpose::List(_, page) = &mut operation.purpose else {
                    unreachable!("only a listing asks for keys")
                };
                let through = if more { keys.last().map(|key| key.as_str().to_owned()) } else { None };
                *page = Some(KeysPage { through });
                self.want(&mut operation, keys);
                self.more_keys(&mut operation);
                self.advance(id, operation);
            }
            answer => self.operation_failed(operation, refusal_of(&answer)),
        }
    }

    fn want(&mut self, operation: &mut Operation, keys: impl IntoIterator<Item = Key>) -> bool {
        let mut news = false;
        for key in keys {
            if let std::collections::btree_map::Entry::Vacant(vacant) = operation.wanted.entry(key) {
                self.index.pin(vacant.key());
                vacant.insert(Want::Choosing);
                news = true;
            }
        }
        news
    }

    /// Merges in what is known of the range beside the store's page. Whether anything was new; never for a batch.
    pub(super) fn more_keys(&mut self, operation: &mut Operation) -> bool {
        let OperationPurpose::List(list, Some(page)) = &operation.purpose else { return false };
        let range = range_of(list, page.through.clone());
        let transaction = &self.transactions[&operation.attempt];
        let known = self
            .index
            .keys_in(&list.prefix, list.after.as_deref())
            .take_while(|key| range.contains(key.as_str()))
            .filter(|key| !self.index.keys[*key].versions.is_empty());
        let bound = transaction
            .bounds_in_order()
            .chain(transaction.reads.keys())
            .filter(|key| range.contains(key.as_str()));
        let keys: BTreeSet<Key> =
            known.chain(bound).filter(|key| !operation.wanted.contains_key(*key)).cloned().collect();
        self.want(operation, keys)
    }

    /// Every key of the page has its version: the range enters the read set, and the page is answered.
    pub(super) fn listed_keys(
        &mut self,
        ticket: Ticket,
        attempt: AttemptId,
        list: &ListKeys,
        page: Option<KeysPage>,
        wanted: BTreeMap<Key, Want>,
    ) {
        let mut through = page.expect("a listing ends after its page has come").through;
        let transaction = self.transactions.get_mut(&attempt).expect("operations end with their transaction");
        let range = range_of(list, through.clone());
        let own = transaction.buffer.keys().filter(|key| range.contains(key.as_str()));
        let all: BTreeSet<&Key> = wanted.keys().chain(own).collect();
        let mut keys = Vec::new();
        for key in all {
            let listed = match (
                transaction.buffer.get(key),
                transaction.reads.get(key).and_then(|read| read.header.as_ref()),
            ) {
                (Some(Write::Tombstone), _) | (None, None) => continue,
                (Some(write @ Write::Put(_)), _) => {
                    ListedKey { key: key.clone(), txn: None, meta: write.meta() }
                }
                (None, Some(header)) => match meta_of(header, key) {
                    meta if meta.kind == Kind::Tombstone => continue,
                    meta => ListedKey { key: key.clone(), txn: Some(header.txn), meta: meta.clone() },
                },
            };
            if keys.len() == list.limit as usize {
                through = keys.last().map(|last: &ListedKey| last.key.as_str().to_owned());
                break;
            }
            keys.push(listed);
        }
        let range = range_of(list, through.clone());
        if list.after.is_none() || !self.planted(Bug::ForgetLaterRanges) {
            self.transactions.get_mut(&attempt).expect("looked up above").add_range(range);
        }
        self.reply(ticket, Reply::Listed { keys, next: through });
        self.operation_done(attempt);
    }
}

fn range_of(list: &ListKeys, through: Option<String>) -> ListedRange {
    ListedRange { prefix: list.prefix.clone(), after: list.after.clone(), through }
}
