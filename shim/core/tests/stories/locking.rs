//! Goal: where several nodes share the store, writers of a checked key are checked by its entries,
//! which are named after the version that they follow. Of two writers that follow the same version
//! one commits, and a writer that dies does not block others for long (protocol, section 13).
//!
//! Method: commits of two nodes overlap; calls are held back, lost or rejected.

use aft_core::ids::{AttemptId, TxnId};
use aft_core::message::{
    Batch, Begin, CommitArgs, Conflict, Isolation, ListKeys, Op, Refusal, Reply, Ticket, Verb,
};
use aft_core::record::Aborted;
use aft_core::settings::{Levels, Settings};
use aft_core::store::{Body, Call, CallError, Name};

use crate::shop::{Shop, hash, key, value};

/// Returns two nodes whose store checks every key except those that start with `plain`.
fn shop() -> Shop {
    let mut levels = Levels::everywhere(Isolation::Serializable);
    levels.set("plain".into(), Isolation::ReadAtomic);
    Shop::new(2, &Settings { levels, ..Shop::settings() })
}

fn stocked() -> Shop {
    let mut shop = shop();
    shop.write(0, None, &["stock"], "100");
    shop.write(0, None, &["price"], "5");
    // Let some time pass since these commits.
    shop.pass(100);
    shop
}

fn open(shop: &mut Shop, node: usize) -> AttemptId {
    let begin = Begin { isolation: Some(Isolation::Serializable), fresh: true, ..shop.begin(None) };
    shop.open(node, begin)
}

fn put(shop: &mut Shop, node: usize, attempt: AttemptId, name: &str, text: &str) {
    let batch = Batch { ops: vec![Op::Put(key(name), value(text))], commit: None };
    shop.ask(node, Verb::Run(attempt, batch)).expect("an open transaction takes writes");
}

fn commit(shop: &mut Shop, node: usize, attempt: AttemptId) -> Result<Reply, Refusal> {
    shop.ask(node, Verb::Commit(attempt, CommitArgs::default()))
}

fn txn(outcome: Result<Reply, Refusal>) -> TxnId {
    match outcome {
        Ok(Reply::Committed(committed)) => committed.txn.expect("it wrote something"),
        other => panic!("no commit: {other:?}"),
    }
}

fn conflict(outcome: Result<Reply, Refusal>) -> Conflict {
    match outcome {
        Err(Refusal::Conflict(conflict)) => conflict,
        other => panic!("no conflict: {other:?}"),
    }
}

fn invalid(outcome: Result<Reply, Refusal>) -> String {
    match outcome {
        Err(Refusal::Invalid(why)) => why,
        other => panic!("the request was not rejected as invalid: {other:?}"),
    }
}

/// Opens a transaction that takes one from the stock, without committing it.
fn count_down(shop: &mut Shop, node: usize) -> AttemptId {
    let attempt = open(shop, node);
    let stock = shop.get(node, attempt, "stock").expect("it can be read").expect("it is there");
    let stock: u32 = stock.parse().expect("stories write numbers");
    put(shop, node, attempt, "stock", &(stock - 1).to_string());
    attempt
}

/// Writes two keys for a request, which takes two entries and a record.
fn two_keys(shop: &mut Shop, node: usize, request: u8) -> Ticket {
    let ops = ["stock", "price"].map(|name| Op::Put(key(name), value("7")));
    let batch = Batch { ops: ops.into(), commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..shop.begin(Some(request)) };
    shop.send(node, Verb::Begin(Box::new(begin)))
}

fn creates_a_record(call: &Call) -> bool {
    matches!(call, Call::Create(Name::Commit(_), _))
}

/// Stops node 0 within a commit of request 9, between its locks and its record.
fn hold_locks(shop: &mut Shop) -> Ticket {
    shop.hold = creates_a_record;
    let stopped = two_keys(shop, 0, 9);
    shop.hold = |_| false;
    stopped
}

#[test]
fn of_two_nodes_that_count_down_one_commits() {
    let mut shop = stocked();
    let (first, second) = (count_down(&mut shop, 0), count_down(&mut shop, 1));
    let by = txn(commit(&mut shop, 0, first));
    let found = conflict(commit(&mut shop, 1, second));
    assert_eq!(found, Conflict { key: Some(key("stock")), by: Some(by) });
    // A repeated commit gets the same conflict again.
    assert_eq!(conflict(commit(&mut shop, 1, second)), found);
    let again = count_down(&mut shop, 1);
    txn(commit(&mut shop, 1, again));
    assert_eq!(shop.read_fresh(0, "stock"), Some("98".into()));
}

#[test]
fn a_transaction_of_one_key_is_one_write() {
    let mut shop = stocked();
    let attempt = count_down(&mut shop, 0);
    shop.calls.clear();
    txn(commit(&mut shop, 0, attempt));
    assert_eq!(shop.count(Call::is_write), 1, "{:?}", shop.calls);
    assert!(matches!(&shop.calls[0], Call::Create(Name::Successor(..), Body::Record(_))), "{:?}", shop.calls);
}

#[test]
fn a_transaction_writes_its_entries_and_its_record_and_no_more() {
    let mut shop = stocked();
    let attempt = open(&mut shop, 0);
    shop.get(0, attempt, "price").unwrap();
    ["a", "b"].into_iter().for_each(|name| put(&mut shop, 0, attempt, name, "1"));
    shop.calls.clear();
    txn(commit(&mut shop, 0, attempt));
    // All entries at once, then a check of the key that was only read, then the record.
    let kinds = shop.calls.iter().map(|call| match call {
        Call::Create(Name::Successor(..), Body::Entry(_)) => "entry",
        Call::Get(Name::Successor(..)) => "look",
        Call::Create(Name::Commit(_), Body::Record(_)) => "record",
        other => panic!("{other:?}"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["entry", "entry", "look", "record"]);
}

#[test]
fn a_write_skew_does_not_happen() {
    let mut shop = stocked();
    let attempts = [0, 1].map(|node| {
        let attempt = open(&mut shop, node);
        ["stock", "price"].into_iter().for_each(|name| drop(shop.get(node, attempt, name).unwrap()));
        put(&mut shop, node, attempt, ["stock", "price"][node], "0");
        attempt
    });
    txn(commit(&mut shop, 0, attempts[0]));
    assert_eq!(conflict(commit(&mut shop, 1, attempts[1])).key, Some(key("stock")));
}

#[test]
fn a_transaction_that_only_reads_is_checked_and_stores_nothing() {
    let mut shop = stocked();
    let reader = open(&mut shop, 1);
    shop.get(1, reader, "stock").unwrap();
    let writer = count_down(&mut shop, 0);
    txn(commit(&mut shop, 0, writer));
    shop.calls.clear();
    conflict(commit(&mut shop, 1, reader));
    let reader = open(&mut shop, 1);
    assert_eq!(shop.get(1, reader, "stock"), Ok(Some("99".into())));
    assert!(
        matches!(commit(&mut shop, 1, reader), Ok(Reply::Committed(committed)) if committed.txn.is_none())
    );
    assert_eq!(shop.count(Call::is_write), 0, "{:?}", shop.calls);
    // At the read-atomic level it is not checked.
    let begin = shop.begin(None);
    let reader = shop.open(1, begin);
    shop.get(1, reader, "stock").unwrap();
    let writer = count_down(&mut shop, 0);
    txn(commit(&mut shop, 0, writer));
    assert!(matches!(commit(&mut shop, 1, reader), Ok(Reply::Committed(_))));
}

#[test]
fn the_entries_of_a_dead_attempt_block_others_only_for_seconds() {
    let mut shop = stocked();
    // A commit holds its locks, and its record never comes.
    hold_locks(&mut shop);
    let attempt = count_down(&mut shop, 1);
    let before_ms = shop.now_ms;
    txn(commit(&mut shop, 1, attempt));
    let waited_ms = shop.now_ms - before_ms;
    assert!((900..4_000).contains(&waited_ms), "{waited_ms} ms");
    assert_eq!(shop.read_fresh(0, "stock"), Some("99".into()));
}

#[test]
fn a_zombie_does_not_commit_after_it_was_broken() {
    let mut shop = stocked();
    let zombie = hold_locks(&mut shop);
    let attempt = count_down(&mut shop, 1);
    txn(commit(&mut shop, 1, attempt));
    assert!(matches!(&shop.store.commits[&hash(9)], Body::Aborted(aborted) if aborted.attempts.len() == 1));
    shop.release(None);
    shop.pass(1_000);
    let outcome = shop.reply(0, zombie).expect("it is answered");
    assert!(matches!(outcome, Err(Refusal::Conflict(_))), "{outcome:?}");
    assert_eq!(shop.read_fresh(0, "price"), Some("5".into()));
    // Its request runs again, and its record replaces the object that excluded the zombie.
    let again = two_keys(&mut shop, 1, 9);
    shop.pass(1_000);
    assert!(matches!(shop.reply(1, again), Some(Ok(Reply::Begun { committed: Some(_), .. }))));
    assert!(matches!(&shop.store.commits[&hash(9)], Body::Record(_)));
    assert_eq!(shop.read_fresh(0, "price"), Some("7".into()));
}

#[test]
fn two_attempts_of_one_request_commit_once() {
    let mut shop = stocked();
    let first = hold_locks(&mut shop);
    let second = two_keys(&mut shop, 1, 9);
    // The second finds the locks of the first, which then commits.
    shop.pass(100);
    shop.release(None);
    shop.pass(5_000);
    let first = shop.reply(0, first).expect("it has ended");
    assert!(matches!(first, Ok(Reply::Begun { committed: Some(_), .. })), "{first:?}");
    let second = shop.reply(1, second).expect("it has ended");
    assert!(matches!(second, Ok(Reply::Replayed(_))), "{second:?}");
}

#[test]
fn a_transaction_that_conflicts_releases_its_locks() {
    let mut shop = stocked();
    let attempt = open(&mut shop, 0);
    shop.get(0, attempt, "stock").unwrap();
    put(&mut shop, 0, attempt, "price", "6");
    let writer = count_down(&mut shop, 1);
    txn(commit(&mut shop, 1, writer));
    conflict(commit(&mut shop, 0, attempt));
    shop.run();
    let price = shop.store.locks[&key("price")].len();
    assert_eq!(price, 1, "{:?}", shop.store.locks[&key("price")]);
}

/// A lock that another transaction took over is not released by the previous holder.
#[test]
fn a_lock_is_released_only_by_its_holder() {
    let mut shop = stocked();
    let attempt = open(&mut shop, 0);
    shop.get(0, attempt, "stock").unwrap();
    put(&mut shop, 0, attempt, "price", "6");
    let writer = count_down(&mut shop, 1);
    txn(commit(&mut shop, 1, writer));
    // It is about to release its lock when another transaction takes it over.
    shop.hold = |call| matches!(call, Call::DeleteIf(..));
    conflict(commit(&mut shop, 0, attempt));
    shop.hold = |call| matches!(call, Call::DeleteIf(..));
    let other = open(&mut shop, 1);
    put(&mut shop, 1, other, "price", "8");
    txn(commit(&mut shop, 1, other));
    shop.release(None);
    assert_eq!(shop.read_fresh(0, "price"), Some("8".into()));
}

#[test]
fn a_whole_entry_without_an_answer_is_found_by_its_own_attempt() {
    let mut shop = stocked();
    let attempt = count_down(&mut shop, 0);
    shop.lose = |call| matches!(call, Call::Create(Name::Successor(..), _));
    let ticket = shop.send(0, Verb::Commit(attempt, CommitArgs::default()));
    shop.lose = |_| false;
    shop.pass(1_000);
    let reply = shop.reply(0, ticket);
    assert!(matches!(&reply, Some(Ok(Reply::Committed(_)))), "{reply:?}");
    assert_eq!(shop.read_fresh(1, "stock"), Some("99".into()));
}

#[test]
fn a_commit_that_the_store_rejects_leaves_the_transaction_open() {
    let mut shop = stocked();
    let attempt = count_down(&mut shop, 0);
    shop.fail = |call| call.is_write().then(|| CallError::Refused("no room".into()));
    let refused = commit(&mut shop, 0, attempt);
    assert!(matches!(&refused, Err(Refusal::StoreUnavailable(why)) if why == "no room"), "{refused:?}");
    shop.fail = |_| None;
    txn(commit(&mut shop, 0, attempt));
    assert_eq!(shop.read_fresh(1, "stock"), Some("99".into()));
}

/// The first commit of the attempt has left an entry with an earlier time.
#[test]
fn an_attempt_takes_its_own_lock_again() {
    let mut shop = stocked();
    let ticket = {
        shop.fail = |call| creates_a_record(call).then(|| CallError::Refused("no room".into()));
        two_keys(&mut shop, 0, 9)
    };
    let attempt = AttemptId([3; 16]);
    assert!(matches!(shop.reply(0, ticket), Some(Err(Refusal::StoreUnavailable(_)))));
    shop.fail = |_| None;
    shop.pass(50);
    txn(commit(&mut shop, 0, attempt));
    assert_eq!(shop.read_fresh(1, "price"), Some("7".into()));
}

#[test]
fn a_write_follows_the_previous_version_of_its_key() {
    let mut shop = stocked();
    let first = shop.write(1, None, &["stock"], "1").txn.unwrap();
    let second = shop.write(0, None, &["stock"], "2").txn.unwrap();
    shop.write(1, None, &["stock"], "3");
    let names: Vec<TxnId> = shop.store.locks[&key("stock")].keys().map(|before| before.0).collect();
    assert_eq!(names[..2], [second, first]);
    assert_eq!(*names.last().unwrap(), TxnId::ZERO);
}

#[test]
fn a_level_that_the_keys_do_not_have_is_rejected_with_the_command_to_set_it() {
    let mut shop = stocked();
    let with = |shop: &mut Shop, isolation: Isolation, op: Op| {
        let batch = Batch { ops: vec![op], commit: None };
        let begin = Begin { isolation: Some(isolation), batch, ..shop.begin(None) };
        shop.ask(0, Verb::Begin(Box::new(begin)))
    };
    let get = |name: &str| Op::Get(key(name));
    let why = invalid(with(&mut shop, Isolation::Serializable, get("plain/1")));
    assert!(why.contains("--isolation PREFIX=serializable") && why.contains("\"plain\""), "{why}");
    let why = invalid(with(&mut shop, Isolation::ReadAtomic, Op::Delete(key("stock"))));
    assert!(why.contains("--isolation PREFIX=read_atomic") && why.contains("serializable"), "{why}");
    // Read-atomic reads are allowed anywhere.
    assert!(with(&mut shop, Isolation::ReadAtomic, get("stock")).is_ok());
    let two = vec![Op::Put(key("plain/1"), value("1")), Op::Put(key("stock"), value("1"))];
    let begin = Begin { batch: Batch { ops: two, commit: None }, ..shop.begin(None) };
    let why = invalid(shop.ask(0, Verb::Begin(Box::new(begin))));
    assert!(why.contains("two levels"), "{why}");
}

#[test]
fn a_serializable_transaction_cannot_list() {
    let mut shop = stocked();
    let attempt = open(&mut shop, 0);
    let why = invalid(shop.ask(0, Verb::List(attempt, all_keys())));
    assert!(why.contains("list"), "{why}");
}

fn all_keys() -> ListKeys {
    ListKeys { prefix: String::new(), after: None, limit: 10, delimiter: None }
}

#[test]
fn a_transaction_that_names_no_level_lists_and_is_checked_for_what_it_found() {
    let mut shop = stocked();
    let report = |shop: &mut Shop| {
        let begin = shop.begin(None);
        let attempt = shop.open(0, begin);
        shop.ask(0, Verb::List(attempt, all_keys())).expect("a listing that is read atomic");
        put(shop, 0, attempt, "report", "all of them");
        shop.ask(0, Verb::List(attempt, all_keys())).expect("also after a write");
        attempt
    };
    // A key that is added beside it goes unseen.
    let attempt = report(&mut shop);
    let other = open(&mut shop, 1);
    put(&mut shop, 1, other, "added", "1");
    txn(commit(&mut shop, 1, other));
    txn(commit(&mut shop, 0, attempt));
    // A key that it found, and that another transaction has changed since, does not.
    let attempt = report(&mut shop);
    let other = open(&mut shop, 1);
    put(&mut shop, 1, other, "stock", "1");
    txn(commit(&mut shop, 1, other));
    assert_eq!(conflict(commit(&mut shop, 0, attempt)).key, Some(key("stock")));
    // A key that the listing did not show is written only if it is still absent.
    let attempts: Vec<AttemptId> = [0, 1]
        .map(|node| {
            let begin = shop.begin(None);
            let attempt = shop.open(node, begin);
            shop.ask(node, Verb::List(attempt, all_keys())).expect("a listing that is read atomic");
            put(&mut shop, node, attempt, "next", "mine");
            attempt
        })
        .into();
    txn(commit(&mut shop, 1, attempts[1]));
    assert_eq!(conflict(commit(&mut shop, 0, attempts[0])).key, Some(key("next")));
    // Keys of two levels are still not written together.
    let attempt = report(&mut shop);
    let batch = Batch { ops: vec![Op::Put(key("plain/1"), value("1"))], commit: None };
    invalid(shop.ask(0, Verb::Run(attempt, batch)));
}

#[test]
fn an_exclusion_names_attempts_and_is_removed_when_they_are_over() {
    let mut shop = stocked();
    let (one, two) = (AttemptId([1; 16]), AttemptId([2; 16]));
    let aborted = Aborted::new(hash(9), two, 5).with(one, 3);
    assert!(aborted.excludes(one) && aborted.excludes(two) && !aborted.excludes(AttemptId([3; 16])));
    assert_eq!((aborted.attempts.clone(), aborted.at_ms), (vec![one, two], 5));
    let at_ms = shop.true_ms();
    shop.store.put(Name::Commit(hash(9)), Body::Aborted(Aborted { at_ms, ..aborted }.into()));
    shop.switch_sweeps(0, true);
    let least_ms = Shop::settings().retention_min_ms();
    shop.pass(least_ms - 1_000);
    assert!(shop.store.commits.contains_key(&hash(9)), "an attempt may still be on its way");
    shop.pass(2 * 3_600_000);
    assert!(!shop.store.commits.contains_key(&hash(9)));
}

#[test]
fn a_transaction_without_time_to_wait_gets_a_certain_conflict() {
    let mut shop = stocked();
    hold_locks(&mut shop);
    // It is younger than the holder, which it could break only after three seconds.
    let ops = vec![Op::Put(key("stock"), value("7"))];
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, timeout_ms: Some(2_000), ..shop.begin(Some(10)) };
    conflict(shop.ask(1, Verb::Begin(Box::new(begin))));
    assert!(!shop.store.commits.contains_key(&hash(10)), "nothing of it is there");
}

#[test]
fn after_a_conflict_all_keys_that_were_read_are_listed_again() {
    let names = ["a", "b", "c", "d"];
    let mut shop = stocked();
    shop.write(0, None, &names, "1");
    let read_all = |shop: &mut Shop| {
        let begin = Begin { isolation: Some(Isolation::Serializable), ..shop.begin(None) };
        let attempt = shop.open(0, begin);
        for name in names {
            shop.get(0, attempt, name).expect("it can be read");
        }
        commit(shop, 0, attempt)
    };
    assert!(matches!(read_all(&mut shop), Ok(Reply::Committed(_))));
    // The other node writes each key in a commit of its own, and no tell reaches this node.
    names.iter().for_each(|name| drop(shop.write(1, None, &[name], "2")));
    conflict(read_all(&mut shop));
    assert!(matches!(read_all(&mut shop), Ok(Reply::Committed(_))), "one conflict, not one for each key");
}
