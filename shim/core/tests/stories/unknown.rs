//! Goal: a commit without an answer is reported as unknown, and a later look at the store gives the
//! outcome.
//!
//! Method: the store loses the answers to a commit's writes, with their effect or without it, until
//! the deadline; then the commit is repeated, on the same node or on another one.

use aft_core::ids::AttemptId;
use aft_core::message::{CommitArgs, Refusal, Reply, Verb};
use aft_core::record::VersionEntry;
use aft_core::store::{Call, CallError, Name};

use crate::shop::{Shop, hash};

fn is_write(call: &Call) -> bool {
    call.is_write()
}

fn no_answer(call: &Call) -> Option<CallError> {
    call.is_write().then_some(CallError::NoAnswer)
}

fn is_create(call: &Call) -> bool {
    matches!(call, Call::Commit(writes) if writes.record.is_some())
}

/// Sends a commit whose writes get no answer until the deadline. If `lands` is true, they take
/// effect nevertheless.
fn doubt(shop: &mut Shop, request: Option<u8>, keys: &[&str], lands: bool) -> AttemptId {
    shop.write(0, None, &["warm"], "v");
    let begin = shop.begin(request);
    let request = begin.hash;
    let attempt = shop.open_and_put(0, begin, keys, "v");
    match lands {
        true => shop.lose = is_write,
        false => shop.fail = no_answer,
    }
    shop.calls.clear();
    let ticket = shop.send(0, Verb::Commit(attempt, CommitArgs::default()));
    shop.pass(9_000);
    assert_eq!(shop.reply(0, ticket), None, "it is tried until the deadline");
    assert!(shop.count(is_write) > 3, "{:?}", shop.calls);
    shop.pass(1_500);
    assert_eq!(shop.reply(0, ticket), Some(Err(Refusal::Unknown(request))));
    let tries = shop.count(is_write);
    shop.pass(1_000);
    assert_eq!(shop.count(is_write), tries, "nothing is sent after the deadline");
    shop.lose = |_| false;
    shop.fail = |_| None;
    shop.calls.clear();
    attempt
}

fn ask_again(
    shop: &mut Shop,
    node: usize,
    attempt: AttemptId,
    request: Option<u8>,
) -> Result<Reply, Refusal> {
    let args = CommitArgs { result: None, request: request.map(hash) };
    shop.ask(node, Verb::Commit(attempt, args))
}

#[test]
fn a_commit_that_landed_is_found_when_it_is_repeated() {
    let mut shop = Shop::new(2, &Shop::settings());
    let attempt = doubt(&mut shop, Some(7), &["k", "l"], true);
    for node in [0, 1, 0] {
        // Node 1 does not know the attempt: it finds the record by the request's hash.
        let reply = ask_again(&mut shop, node, attempt, Some(7));
        let Ok(Reply::Committed(committed)) = reply else { panic!("node {node}: {reply:?}") };
        assert_eq!(committed.txn.map(|txn| txn.attempt), Some(attempt));
        assert_eq!(shop.count(is_create), 0, "a repeated commit creates nothing: {:?}", shop.calls);
    }
    assert_eq!(shop.read_fresh(1, "k"), Some("v".into()));
    assert_eq!(shop.read_fresh(1, "l"), Some("v".into()));
}

#[test]
fn a_commit_that_did_not_land_is_lost_once_its_attempt_is_over() {
    let settings = Shop::settings();
    let mut shop = Shop::new(2, &settings);
    let attempt = doubt(&mut shop, Some(7), &["k", "l"], false);
    assert_eq!(ask_again(&mut shop, 0, attempt, Some(7)), Err(Refusal::Unknown(hash(7))));
    // Another node does not know when the attempt began, so it cannot know that it is over.
    assert_eq!(ask_again(&mut shop, 1, attempt, Some(7)), Err(Refusal::Unknown(hash(7))));
    shop.pass(settings.grace_ms);
    assert_eq!(ask_again(&mut shop, 0, attempt, Some(7)), Err(Refusal::Lost));
    assert_eq!(ask_again(&mut shop, 1, attempt, Some(7)), Err(Refusal::Unknown(hash(7))));
    assert_eq!(shop.count(is_write), 0, "a repeated commit writes nothing: {:?}", shop.calls);
    assert_eq!(shop.read_fresh(1, "k"), None);
    // The request is free: another attempt runs.
    shop.write(1, Some(7), &["k"], "second");
    assert_eq!(shop.read_fresh(0, "k"), Some("second".into()));
}

#[test]
fn a_node_that_does_not_know_the_attempt_needs_the_request() {
    let mut shop = Shop::new(2, &Shop::settings());
    let attempt = doubt(&mut shop, Some(7), &["k", "l"], true);
    assert_eq!(ask_again(&mut shop, 1, attempt, None), Err(Refusal::NotFound));
    let reply = ask_again(&mut shop, 0, attempt, None);
    assert!(matches!(reply, Ok(Reply::Committed(_))), "the node that knows it needs none: {reply:?}");
    let found = shop.ask(1, Verb::LookUp(hash(7)));
    assert!(matches!(&found, Ok(Reply::Found(record)) if record.txn.attempt == attempt), "{found:?}");
}

#[test]
fn a_whole_entry_of_unknown_outcome_is_found_by_its_own_name() {
    for lands in [true, false] {
        let settings = Shop::settings();
        let mut shop = Shop::new(2, &settings);
        let attempt = doubt(&mut shop, None, &["k"], lands);
        let reply = ask_again(&mut shop, 0, attempt, None);
        let looks =
            |call: &Call| matches!(call, Call::Get(Name::Version(_, VersionEntry { whole: true, .. })));
        assert_eq!(shop.count(looks), 1, "{:?}", shop.calls);
        match lands {
            true => assert!(matches!(reply, Ok(Reply::Committed(_))), "{reply:?}"),
            false => {
                assert!(matches!(reply, Err(Refusal::Unknown(_))), "{reply:?}");
                shop.pass(settings.grace_ms);
                assert_eq!(ask_again(&mut shop, 0, attempt, None), Err(Refusal::Lost));
            }
        }
        assert_eq!(shop.read_fresh(1, "k"), lands.then(|| "v".into()));
    }
}
