//! Goal: a commit is not reported before all its entries are in place.
//!
//! Method: a record is put into the store without its entries, as an interrupted attempt leaves it;
//! its request begins again. The puts of entries are held back, fail, or take longer than the mark
//! on which they rest may be used.

use std::sync::Arc;

use aft_core::ids::{Hlc, TxnId};
use aft_core::message::{Reply, Ticket, Verb};
use aft_core::record::Format;
use aft_core::store::{Body, Call, CallError, Name};
use bytes::Bytes;

use crate::shop::{Shop, hash, key};

fn is_repair(call: &Call) -> bool {
    matches!(call, Call::Commit(writes) if writes.record.is_none())
}

fn is_mark(call: &Call) -> bool {
    matches!(call, Call::Get(Name::Format))
}

/// Returns a shop whose store has a record of request 7 but neither of its two entries, and whose
/// node has already committed.
fn half_entered(put_limit_ms: u64) -> Shop {
    let mut settings = Shop::settings();
    settings.put_limit_ms = put_limit_ms;
    let mut shop = Shop::new(1, &settings);
    shop.write(0, None, &["warm"], "v");
    shop.plant(7, shop.true_ms(), &["k", "l"], "half", false);
    shop.calls.clear();
    shop
}

fn replay(shop: &mut Shop) -> Ticket {
    let begin = shop.begin(Some(7));
    shop.send(0, Verb::Begin(Box::new(begin)))
}

fn assert_replayed(shop: &mut Shop, ticket: Ticket) {
    match shop.reply(0, ticket) {
        Some(Ok(Reply::Replayed(replayed))) => assert_eq!(replayed.result.as_deref(), Some(&b"planted"[..])),
        other => panic!("{other:?}"),
    }
    for name in ["k", "l"] {
        assert!(shop.store.versions.contains_key(&key(name)), "{name} has its entry");
        assert_eq!(shop.read_fresh(0, name), Some("half".into()));
    }
}

#[test]
fn a_replay_waits_for_the_entries_of_an_interrupted_commit() {
    let mut shop = half_entered(30_000);
    shop.hold = is_repair;
    let ticket = replay(&mut shop);
    shop.pass(1_000);
    assert_eq!(shop.reply(0, ticket), None, "its entries are not in place");
    shop.release(None);
    assert_replayed(&mut shop, ticket);
    assert_eq!(shop.count(is_repair), 1, "{:?}", shop.calls);
    // The node remembers it: a second replay puts nothing.
    let ticket = replay(&mut shop);
    assert_replayed(&mut shop, ticket);
    assert_eq!(shop.count(is_repair), 1, "{:?}", shop.calls);
}

#[test]
fn a_look_up_also_puts_the_entries_first() {
    let mut shop = half_entered(30_000);
    shop.hold = is_repair;
    let ticket = shop.send(0, Verb::LookUp(hash(7)));
    shop.pass(1_000);
    assert_eq!(shop.reply(0, ticket), None, "its entries are not in place");
    shop.release(None);
    let found = shop.reply(0, ticket);
    assert!(matches!(found, Some(Ok(Reply::Found(_)))), "{found:?}");
    assert_eq!(shop.store.versions.len(), 3, "two keys and the one of the first commit");
}

#[test]
fn puts_whose_mark_has_become_too_old_are_repeated_with_a_new_one() {
    let mut shop = half_entered(1_000);
    shop.hold = is_repair;
    let ticket = replay(&mut shop);
    assert_eq!(shop.count(is_repair), 1, "{:?}", shop.calls);
    let marks = shop.count(is_mark);
    shop.pass(1_500);
    // The put may land or not; with the old mark it is not sent again.
    shop.release(Some(CallError::NoAnswer));
    shop.pass(100);
    assert_eq!(shop.count(is_mark), marks + 1, "the mark is read again: {:?}", shop.calls);
    assert_eq!(shop.count(is_repair), 2, "and the entries are put again: {:?}", shop.calls);
    let second = shop.calls.iter().rposition(is_repair);
    assert!(second > shop.calls.iter().rposition(is_mark), "in this order: {:?}", shop.calls);
    assert_replayed(&mut shop, ticket);
}

#[test]
fn a_put_that_fails_is_repeated_with_the_same_mark_while_it_is_young() {
    let mut shop = half_entered(10_000);
    shop.hold = is_repair;
    let ticket = replay(&mut shop);
    let marks = shop.count(is_mark);
    shop.release(Some(CallError::NoAnswer));
    shop.pass(100);
    assert_eq!((shop.count(is_mark), shop.count(is_repair)), (marks, 2), "{:?}", shop.calls);
    assert_replayed(&mut shop, ticket);
}

#[test]
fn no_entries_are_put_for_a_commit_below_the_mark() {
    let mut shop = Shop::new(1, &Shop::settings());
    let mark = TxnId::at(Hlc::from_ms(shop.true_ms() - 1_000));
    let format = Format { mark, ..Format::new(Bytes::new()) };
    shop.store.put(Name::Format, Body::Format(Arc::new(format)));
    shop.plant(7, shop.true_ms() - 2_000, &["k", "l"], "collected", false);
    let ticket = replay(&mut shop);
    let reply = shop.reply(0, ticket);
    assert!(matches!(reply, Some(Ok(Reply::Replayed(_)))), "{reply:?}");
    assert_eq!(shop.count(Call::is_write), 0, "{:?}", shop.calls);
    assert!(shop.store.versions.is_empty(), "what was collected does not come back");
}
