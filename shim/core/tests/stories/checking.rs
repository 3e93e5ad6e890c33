//! Goal: the versions that a serializable transaction read are still the newest when it commits, or
//! it ends in a conflict without effect (protocol, section 13).
//!
//! Method: transactions of one node overlap, commits are held back, and outcomes and store calls
//! are compared.

use aft_core::ids::AttemptId;
use aft_core::message::{
    Batch, Begin, CommitArgs, Conflict, Isolation, ListKeys, Op, Refusal, Reply, Ticket, Verb,
};
use aft_core::settings::Settings;
use aft_core::store::{Call, CallError};

use crate::shop::{Shop, key, value};

/// Returns a node that holds its store alone, with `stock` at 100 and `price` at 5.
fn shop_with(settings: Settings) -> Shop {
    let settings = Settings { timeout_max_ms: 60_000, timeout_default_ms: 10_000, ..settings };
    let mut shop = Shop::new(1, &settings);
    shop.write(0, None, &["stock"], "100");
    shop.write(0, None, &["price"], "5");
    shop
}

fn shop() -> Shop {
    let mut settings = Settings::new(true, 0, true);
    settings.run_scripts_twice = true;
    shop_with(settings)
}

fn open(shop: &mut Shop, conflicts: u32) -> AttemptId {
    let begin = Begin { isolation: Some(Isolation::Serializable), conflicts, ..shop.begin(None) };
    shop.open(0, begin)
}

fn put(shop: &mut Shop, attempt: AttemptId, name: &str, text: &str) {
    let batch = Batch { ops: vec![Op::Put(key(name), value(text))], commit: None };
    shop.ask(0, Verb::Run(attempt, batch)).expect("an open transaction takes writes");
}

fn commit(shop: &mut Shop, attempt: AttemptId) -> Result<Reply, Refusal> {
    shop.ask(0, Verb::Commit(attempt, CommitArgs::default()))
}

/// Asserts that a commit ended in a conflict, and returns it.
fn conflict(outcome: Result<Reply, Refusal>) -> Conflict {
    match outcome {
        Err(Refusal::Conflict(conflict)) => conflict,
        other => panic!("no conflict: {other:?}"),
    }
}

/// Holds a commit of `stock` back, and reads the key meanwhile. Returns the ticket of the commit,
/// the reader, and the ticket of the read.
fn read_beside_a_commit(shop: &mut Shop) -> (Ticket, AttemptId, Ticket) {
    shop.hold = |call| matches!(call, Call::Put(..) | Call::Commit(_));
    let batch = Batch { ops: vec![Op::Put(key("stock"), value("7"))], commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..shop.begin(None) };
    let writer = shop.send(0, Verb::Begin(Box::new(begin)));
    let reader = open(shop, 0);
    let get = Batch { ops: vec![Op::Get(key("stock"))], commit: None };
    let read = shop.send(0, Verb::Run(reader, get));
    (writer, reader, read)
}

#[test]
fn of_two_that_count_down_the_second_conflicts_and_sends_nothing() {
    let mut shop = shop();
    let (first, second) = (open(&mut shop, 0), open(&mut shop, 0));
    for attempt in [first, second] {
        assert_eq!(shop.get(0, attempt, "stock"), Ok(Some("100".into())));
        put(&mut shop, attempt, "stock", "99");
    }
    let committed = commit(&mut shop, first);
    let Ok(Reply::Committed(committed)) = committed else { panic!("{committed:?}") };
    shop.calls.clear();
    let found = conflict(commit(&mut shop, second));
    assert_eq!(found, Conflict { key: Some(key("stock")), by: committed.txn });
    assert_eq!(shop.count(Call::is_write), 0, "{:?}", shop.calls);
    // A repeated commit gets the same conflict again, not a replay.
    assert_eq!(conflict(commit(&mut shop, second)), found);
    let again = open(&mut shop, 1);
    assert_eq!(shop.get(0, again, "stock"), Ok(Some("99".into())));
    put(&mut shop, again, "stock", "98");
    assert!(matches!(commit(&mut shop, again), Ok(Reply::Committed(_))));
    assert_eq!(shop.read_fresh(0, "stock"), Some("98".into()));
}

#[test]
fn a_reader_of_a_key_that_a_commit_in_flight_writes_conflicts() {
    let mut shop = shop();
    let (first, second) = (open(&mut shop, 0), open(&mut shop, 0));
    for attempt in [first, second] {
        shop.get(0, attempt, "stock").expect("it is there");
        put(&mut shop, attempt, "stock", "99");
    }
    shop.hold = |call| matches!(call, Call::Put(..) | Call::Commit(_));
    let ticket = shop.send(0, Verb::Commit(first, CommitArgs::default()));
    assert_eq!(shop.reply(0, ticket), None, "it is in flight");
    // The first commit may be durable by now.
    conflict(commit(&mut shop, second));
    shop.release(None);
    shop.pass(100);
    assert!(matches!(shop.reply(0, ticket), Some(Ok(Reply::Committed(_)))));
}

#[test]
fn a_read_waits_for_a_commit_under_way_and_sees_it() {
    let mut shop = shop();
    let (writer, reader, read) = read_beside_a_commit(&mut shop);
    shop.pass(500);
    assert_eq!((shop.reply(0, writer), shop.reply(0, read)), (None, None));
    // A read-atomic read does not wait.
    assert_eq!(shop.read_fresh(0, "stock"), Some("100".into()));
    shop.release(None);
    shop.pass(100);
    assert!(matches!(shop.reply(0, writer), Some(Ok(_))));
    assert_eq!(shop.get(0, reader, "stock"), Ok(Some("7".into())));
    put(&mut shop, reader, "stock", "6");
    assert!(matches!(commit(&mut shop, reader), Ok(Reply::Committed(_))));
}

#[test]
fn a_read_stops_waiting_when_the_commit_fails() {
    let mut shop = shop();
    let (writer, reader, read) = read_beside_a_commit(&mut shop);
    shop.release(Some(CallError::Refused("the disk is full".into())));
    shop.pass(100);
    assert!(matches!(shop.reply(0, writer), Some(Err(_))));
    assert!(matches!(shop.reply(0, read), Some(Ok(Reply::Ran { .. }))));
    put(&mut shop, reader, "stock", "99");
    assert!(matches!(commit(&mut shop, reader), Ok(Reply::Committed(_))));
}

#[test]
fn of_two_that_read_what_the_other_writes_one_commits() {
    let mut shop = shop();
    let (first, second) = (open(&mut shop, 0), open(&mut shop, 0));
    for (attempt, writes) in [(first, "stock"), (second, "price")] {
        shop.get(0, attempt, "stock").expect("it is there");
        shop.get(0, attempt, "price").expect("it is there");
        put(&mut shop, attempt, writes, "0");
    }
    assert!(matches!(commit(&mut shop, first), Ok(Reply::Committed(_))));
    assert_eq!(conflict(commit(&mut shop, second)).key, Some(key("stock")));
}

#[test]
fn a_key_that_was_absent_and_a_listed_range_are_checked() {
    let mut shop = shop();
    let absent = open(&mut shop, 0);
    assert_eq!(shop.get(0, absent, "order/1"), Ok(None));
    put(&mut shop, absent, "total", "0");
    let lists = open(&mut shop, 0);
    let list = ListKeys { prefix: "order/".into(), after: None, limit: 10, delimiter: None };
    shop.ask(0, Verb::List(lists, list.clone())).expect("it lists");
    put(&mut shop, lists, "total", "0");
    let beside = open(&mut shop, 0);
    shop.ask(0, Verb::List(beside, ListKeys { prefix: "p".into(), ..list })).expect("it lists");
    put(&mut shop, beside, "count", "1");
    shop.write(0, None, &["order/1"], "tea");
    assert_eq!(conflict(commit(&mut shop, absent)).key, Some(key("order/1")));
    assert_eq!(conflict(commit(&mut shop, lists)).key, Some(key("order/1")));
    // A change outside of its range does not matter.
    assert!(matches!(commit(&mut shop, beside), Ok(Reply::Committed(_))));
}

#[test]
fn a_transaction_that_only_reads_is_checked_and_one_that_only_writes_needs_no_check() {
    let mut shop = shop();
    let reads = open(&mut shop, 0);
    shop.get(0, reads, "stock").expect("it is there");
    let holds = open(&mut shop, 0);
    shop.get(0, holds, "price").expect("it is there");
    let blind = open(&mut shop, 0);
    put(&mut shop, blind, "stock", "1");
    shop.write(0, None, &["stock"], "50");
    conflict(commit(&mut shop, reads));
    assert!(matches!(commit(&mut shop, holds), Ok(Reply::Committed(_))));
    assert!(matches!(commit(&mut shop, blind), Ok(Reply::Committed(_))));
    assert_eq!(shop.read_fresh(0, "stock"), Some("1".into()));
}

#[test]
fn after_five_conflicts_the_keys_that_a_request_reads_are_reserved_for_it() {
    let mut shop = shop();
    let patient = open(&mut shop, 5);
    shop.get(0, patient, "stock").expect("it is there");
    let other = open(&mut shop, 0);
    shop.get(0, other, "stock").expect("it is there");
    put(&mut shop, other, "stock", "1");
    assert_eq!(conflict(commit(&mut shop, other)), Conflict { key: Some(key("stock")), by: None });
    put(&mut shop, patient, "stock", "2");
    assert!(matches!(commit(&mut shop, patient), Ok(Reply::Committed(_))));
    // An attempt that does not continue reserves a key only for a second.
    let gone = open(&mut shop, 9);
    shop.get(0, gone, "stock").expect("it is there");
    shop.pass(1_000);
    let next = open(&mut shop, 1);
    shop.get(0, next, "stock").expect("it is there");
    put(&mut shop, next, "stock", "3");
    assert!(matches!(commit(&mut shop, next), Ok(Reply::Committed(_))));
}

#[test]
fn a_transaction_older_than_the_remembered_commits_conflicts() {
    let mut settings = Settings::new(true, 0, true);
    settings.checked_keys_max = 2;
    let mut shop = shop_with(settings);
    let long = open(&mut shop, 0);
    shop.get(0, long, "stock").expect("it is there");
    put(&mut shop, long, "total", "0");
    for name in ["a", "b", "c"] {
        shop.write(0, None, &[name], "v");
    }
    assert_eq!(conflict(commit(&mut shop, long)), Conflict { key: None, by: None });
    let short = open(&mut shop, 1);
    shop.get(0, short, "stock").expect("it is there");
    put(&mut shop, short, "total", "0");
    assert!(matches!(commit(&mut shop, short), Ok(Reply::Committed(_))));
}
