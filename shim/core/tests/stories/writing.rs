//! Goal: a commit sends as few calls as possible, is acknowledged when it is durable, and gives the
//! same result when its request is repeated.
//!
//! Method: commits run against a store whose calls are counted, held back or lost.

use aft_core::message::{Batch, Begin, CommitArgs, Op, Refusal, Reply, Verb};
use aft_core::store::{Call, CallError, Name};

use crate::shop::{Shop, key, value};

#[test]
fn one_key_without_a_request_is_one_write_and_two_keys_are_one_call() {
    let mut shop = Shop::new(1, &Shop::settings());
    shop.write(0, None, &["warm"], "v");
    shop.calls.clear();
    shop.write(0, None, &["k"], "v");
    let writes: Vec<&Call> = shop.calls.iter().filter(|call| call.is_write()).collect();
    assert!(matches!(writes[..], [Call::Put(Name::Version(..), _)]), "{writes:?}");
    shop.calls.clear();
    shop.write(0, None, &["k", "l"], "v");
    let writes: Vec<&Call> = shop.calls.iter().filter(|call| call.is_write()).collect();
    match writes[..] {
        [Call::Commit(writes)] => assert_eq!((writes.record.is_some(), writes.entries.len()), (true, 2)),
        _ => panic!("{writes:?}"),
    }
}

#[test]
fn a_request_commits_once_and_later_attempts_get_its_result() {
    let mut shop = Shop::new(2, &Shop::settings());
    let commit = CommitArgs { result: Some("done".into()), request: None };
    let batch = Batch { ops: vec![Op::Put(key("k"), value("first"))], commit: Some(commit) };
    let first = Begin { batch, ..shop.begin(Some(7)) };
    assert!(matches!(shop.ask(0, Verb::Begin(Box::new(first))), Ok(Reply::Begun { .. })));
    let second = shop.begin(Some(7));
    match shop.ask(1, Verb::Begin(Box::new(second))) {
        Ok(Reply::Replayed(replayed)) => assert_eq!(replayed.result.as_deref(), Some(&b"done"[..])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_open_attempts_one_commits_and_the_other_gets_its_result() {
    let mut shop = Shop::new(2, &Shop::settings());
    let first = shop.begin(Some(7));
    let first = shop.open(0, first);
    let second = shop.begin(Some(7));
    let second = shop.open(1, second);
    let put = |text: &str| Batch { ops: vec![Op::Put(key("k"), value(text))], commit: None };
    shop.ask(0, Verb::Run(first, put("first"))).expect("an open transaction takes writes");
    shop.ask(1, Verb::Run(second, put("second"))).expect("an open transaction takes writes");
    let committed = shop.ask(0, Verb::Commit(first, CommitArgs::default()));
    assert!(matches!(committed, Ok(Reply::Committed(_))), "{committed:?}");
    let lost = shop.ask(1, Verb::Commit(second, CommitArgs::default()));
    assert!(matches!(lost, Ok(Reply::Replayed(_))), "{lost:?}");
    assert_eq!(shop.read_fresh(1, "k"), Some("first".into()));
    let entries = shop.store.versions[&key("k")].len();
    assert_eq!(entries, 1, "a loser's entries are removed");
}

#[test]
fn nothing_is_acknowledged_before_every_entry_is_durable() {
    let mut shop = Shop::new(1, &Shop::settings());
    shop.write(0, None, &["warm"], "v");
    shop.hold = |call| matches!(call, Call::Commit(_));
    let batch = Batch {
        ops: vec![Op::Put(key("k"), value("v")), Op::Put(key("l"), value("v"))],
        commit: Some(CommitArgs::default()),
    };
    let begin = Begin { batch, ..shop.begin(Some(3)) };
    let ticket = shop.send(0, Verb::Begin(Box::new(begin)));
    shop.pass(3);
    assert_eq!(shop.reply(0, ticket), None);
    shop.release(Some(CallError::NoAnswer));
    shop.pass(100);
    assert!(matches!(shop.reply(0, ticket), Some(Ok(Reply::Begun { committed: Some(_), .. }))));
}

#[test]
fn a_process_that_was_frozen_sends_nothing_after_its_deadline() {
    let mut shop = Shop::new(1, &Shop::settings());
    shop.write(0, None, &["warm"], "v");
    let begin = shop.begin(Some(3));
    let attempt = shop.open(0, begin);
    let put = Batch { ops: vec![Op::Put(key("k"), value("v"))], commit: None };
    shop.ask(0, Verb::Run(attempt, put)).expect("an open transaction takes writes");
    shop.calls.clear();
    shop.freeze(11_000);
    let refused = shop.ask(0, Verb::Commit(attempt, CommitArgs::default()));
    assert_eq!(refused, Err(Refusal::Lost));
    assert!(!shop.calls.iter().any(Call::is_write), "{:?}", shop.calls);
}

#[test]
fn sessions_survive_a_wall_clock_that_is_set_back() {
    let mut shop = Shop::new(1, &Shop::settings());
    let committed = shop.write(0, Some(1), &["k"], "v");
    for back_ms in [5_000, 11_000, 600_000, 86_400_000] {
        shop.set_wall(0, -back_ms);
        let begin = Begin { session: committed.session.clone(), ..shop.begin(None) };
        let attempt = shop.open(0, begin);
        assert_eq!(shop.get(0, attempt, "k"), Ok(Some("v".into())));
        shop.write(0, None, &["k"], "v");
    }
}
