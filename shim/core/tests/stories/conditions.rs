//! Goal: an operation with a condition takes effect only if the condition holds when its
//! transaction commits, on any node, and an operation that is sent twice takes effect once.
//!
//! Method: each story runs on one node that holds its store, and on two nodes that share one.

use aft_core::ids::{AttemptId, TxnId};
use aft_core::message::{
    Batch, Begin, CommitArgs, Committed, Condition, Failed, Found, Isolation, Op, Refusal, Reply, Verb,
};
use aft_core::record::{Location, Write};
use aft_core::settings::{Levels, Settings};
use aft_core::store::Call;

use crate::shop::{Shop, key, value};

/// Returns two nodes that share a store whose keys are checked, except those that start with
/// `plain`.
fn shared() -> Shop {
    let mut levels = Levels::everywhere(Isolation::Serializable);
    levels.set("plain".into(), Isolation::ReadAtomic);
    Shop::new(2, &Settings { levels, ..Shop::settings() })
}

fn alone() -> Shop {
    let mut settings = Settings::new(true, 0, true);
    settings.run_scripts_twice = true;
    Shop::new(1, &Settings { timeout_max_ms: 60_000, timeout_default_ms: 10_000, ..settings })
}

fn both(story: impl Fn(&mut Shop, usize)) {
    story(&mut alone(), 0);
    story(&mut shared(), 1);
}

/// Runs operations as a whole transaction. Returns the sums and the version.
fn whole(
    shop: &mut Shop,
    node: usize,
    request: Option<u8>,
    ops: Vec<Op>,
) -> Result<(Vec<String>, TxnId), Refusal> {
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..shop.begin(request) };
    match shop.ask(node, Verb::Begin(Box::new(begin)))? {
        Reply::Begun { reads, committed: Some(Committed { txn: Some(txn), .. }), .. } => {
            let text = |found: &Found| {
                let Found::Own(Write::Put(value)) = found else { panic!("{found:?} is no sum") };
                let Location::Inline(bytes) = &value.location else { panic!("a sum is inline") };
                String::from_utf8(bytes.to_vec()).expect("a sum is text")
            };
            Ok((reads.iter().map(|read| text(&read.found)).collect(), txn))
        }
        Reply::Replayed(replayed) => Ok((Vec::new(), replayed.txn)),
        other => panic!("a whole transaction was answered {other:?}"),
    }
}

fn put_if(name: &str, text: &str, condition: Condition) -> Vec<Op> {
    vec![Op::Check(key(name), condition), Op::Put(key(name), value(text))]
}

fn failed<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> Failed {
    match outcome {
        Err(Refusal::ConditionFailed(failed)) => failed,
        other => panic!("the condition did not fail: {other:?}"),
    }
}

fn invalid<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Err(Refusal::Invalid(why)) => why,
        other => panic!("the request was not rejected as invalid: {other:?}"),
    }
}

fn open(shop: &mut Shop, node: usize) -> AttemptId {
    let begin = Begin { isolation: Some(Isolation::Serializable), ..shop.begin(None) };
    shop.open(node, begin)
}

#[test]
fn a_key_is_created_once() {
    both(|shop, other| {
        let (_, first) = whole(shop, 0, None, put_if("k", "a", Condition::Absent)).expect("it is absent");
        let outcome = whole(shop, other, None, put_if("k", "b", Condition::Absent));
        assert_eq!(failed(outcome), Failed { key: key("k"), found: Some(first) });
        assert_eq!(shop.read_fresh(other, "k").as_deref(), Some("a"));
        // After a deletion it is absent again.
        whole(shop, 0, None, vec![Op::Delete(key("k"))]).expect("it can be deleted");
        whole(shop, other, None, put_if("k", "c", Condition::Absent)).expect("it is absent again");
    });
}

#[test]
fn a_version_is_followed_once() {
    both(|shop, other| {
        let (_, first) = whole(shop, 0, None, vec![Op::Put(key("k"), value("a"))]).expect("a blind write");
        let next = put_if("k", "b", Condition::Version(first));
        let (_, second) = whole(shop, other, None, next.clone()).expect("it is the newest version");
        assert_eq!(failed(whole(shop, 0, None, next)), Failed { key: key("k"), found: Some(second) });
        let gone = vec![Op::Check(key("k"), Condition::Version(second)), Op::Delete(key("k"))];
        whole(shop, 0, None, gone.clone()).expect("it is the newest version");
        assert_eq!(failed(whole(shop, other, None, gone)), Failed { key: key("k"), found: None });
    });
}

#[test]
fn a_value_is_compared_by_its_bytes() {
    both(|shop, other| {
        let is = |text: &str| Condition::Value(text.to_owned().into());
        assert_eq!(failed(whole(shop, 0, None, put_if("k", "b", is("a")))).found, None);
        whole(shop, 0, None, vec![Op::Put(key("k"), value("a"))]).expect("a blind write");
        whole(shop, other, None, put_if("k", "b", is("a"))).expect("it has these bytes");
        failed(whole(shop, 0, None, put_if("k", "c", is("a"))));
        failed(whole(shop, 0, None, put_if("k", "c", is("bb"))));
    });
}

#[test]
fn numbers_are_added_up() {
    both(|shop, other| {
        let add = |by| vec![Op::Add(key("n"), by)];
        assert_eq!(whole(shop, 0, None, add(5)).expect("nothing counts as 0").0, ["5"]);
        assert_eq!(whole(shop, other, None, add(-7)).expect("it holds a number").0, ["-2"]);
        let twice = vec![Op::Add(key("n"), 10), Op::Add(key("m"), 1), Op::Add(key("n"), 100)];
        assert_eq!(whole(shop, 0, None, twice).expect("they hold numbers").0, ["8", "1", "108"]);
        assert_eq!(shop.read_fresh(other, "n").as_deref(), Some("108"));
        // An add sees the batch's own write before it.
        let over = vec![Op::Put(key("n"), value("1")), Op::Add(key("n"), 1)];
        assert_eq!(whole(shop, 0, None, over).expect("it holds a number").0, ["2"]);
        let why = invalid(whole(shop, other, None, add(i64::MAX)));
        assert!(why.contains("holds 2"), "{why}");
        whole(shop, 0, None, vec![Op::Put(key("n"), value("two"))]).expect("a blind write");
        let why = invalid(whole(shop, other, None, add(1)));
        assert!(why.contains("whole number"), "{why}");
        assert_eq!(shop.read_fresh(0, "n").as_deref(), Some("two"), "nothing of it took effect");
    });
}

#[test]
fn a_repeated_batch_takes_effect_once() {
    both(|shop, other| {
        let create = put_if("k", "a", Condition::Absent);
        let (_, first) = whole(shop, 0, Some(1), create.clone()).expect("it is absent");
        let (_, again) = whole(shop, other, Some(1), create).expect("the same request");
        assert_eq!(first, again);
        let add = vec![Op::Add(key("n"), 1)];
        let (sums, first) = whole(shop, 0, Some(2), add.clone()).expect("nothing counts as 0");
        assert_eq!(sums, ["1"]);
        let (sums, again) = whole(shop, other, Some(2), add).expect("the same request");
        assert_eq!((sums, first), (Vec::new(), again));
        assert_eq!(shop.read_fresh(other, "n").as_deref(), Some("1"));
        // In an open transaction, a batch is judged by the committed versions before it.
        let open = open(shop, 0);
        for _ in 0..2 {
            let batch = Batch { ops: put_if("new", "a", Condition::Absent), commit: None };
            shop.ask(0, Verb::Run(open, batch)).expect("it was absent when the transaction began");
        }
        let last = Batch { ops: vec![Op::Add(key("n"), 1)], commit: Some(CommitArgs::default()) };
        for _ in 0..2 {
            let Reply::Ran { committed: Some(_), .. } =
                shop.ask(0, Verb::Run(open, last.clone())).expect("it commits once")
            else {
                panic!("the batch commits")
            };
        }
        assert_eq!(shop.read_fresh(other, "n").as_deref(), Some("2"));
    });
}

#[test]
fn of_two_transactions_that_found_the_same_version_one_commits() {
    both(|shop, other| {
        let attempts = [(0, open(shop, 0)), (other, open(shop, other))];
        for (node, attempt) in attempts {
            let batch = Batch { ops: put_if("k", "mine", Condition::Absent), commit: None };
            shop.ask(node, Verb::Run(attempt, batch)).expect("it is absent for both");
        }
        let mut commit = |(node, attempt)| shop.ask(node, Verb::Commit(attempt, CommitArgs::default()));
        assert!(matches!(commit(attempts[0]), Ok(Reply::Committed(_))));
        match commit(attempts[1]) {
            Err(Refusal::Conflict(conflict)) => assert_eq!(conflict.key, Some(key("k"))),
            other => panic!("no conflict: {other:?}"),
        }
    });
}

#[test]
fn a_condition_on_one_key_guards_the_write_of_another() {
    both(|shop, other| {
        let (_, lock) = whole(shop, 0, None, vec![Op::Put(key("lock"), value("me"))]).expect("a blind write");
        let guarded =
            || vec![Op::Check(key("lock"), Condition::Version(lock)), Op::Put(key("k"), value("a"))];
        whole(shop, other, None, guarded()).expect("the lock is held");
        whole(shop, 0, None, vec![Op::Put(key("lock"), value("you"))]).expect("a blind write");
        failed(whole(shop, other, None, guarded()));
    });
}

#[test]
fn a_failed_condition_leaves_the_transaction_unchanged() {
    both(|shop, _| {
        let attempt = open(shop, 0);
        let batch = Batch { ops: vec![Op::Put(key("a"), value("1"))], commit: None };
        shop.ask(0, Verb::Run(attempt, batch)).expect("an open transaction takes writes");
        let mut ops = vec![Op::Put(key("b"), value("1"))];
        ops.push(Op::Check(key("c"), Condition::Value("x".into())));
        failed(shop.ask(0, Verb::Run(attempt, Batch { ops, commit: Some(CommitArgs::default()) })));
        shop.ask(0, Verb::Commit(attempt, CommitArgs::default())).expect("it is open still");
        assert_eq!(shop.read_fresh(0, "a").as_deref(), Some("1"));
        assert_eq!(shop.read_fresh(0, "b"), None, "nothing of the batch took effect");
    });
}

#[test]
fn a_condition_is_judged_by_the_newest_version() {
    // This node's listing does not show the other node's commit: the answer must not rest on it.
    let mut shop = shared();
    let (_, first) = whole(&mut shop, 0, None, vec![Op::Put(key("k"), value("a"))]).expect("a blind write");
    assert_eq!(shop.read_fresh(1, "k").as_deref(), Some("a"));
    whole(&mut shop, 0, None, vec![Op::Delete(key("k"))]).expect("a blind write");
    whole(&mut shop, 1, None, put_if("k", "b", Condition::Absent)).expect("it was deleted before");
    failed(whole(&mut shop, 0, None, put_if("k", "c", Condition::Version(first))));
}

#[test]
fn a_failed_condition_on_an_overwritten_version_is_a_conflict() {
    // The version was overwritten since, so a failure would describe a state that is out of date.
    let mut shop = alone();
    let attempt = open(&mut shop, 0);
    assert_eq!(shop.get(0, attempt, "k").expect("it can be read"), None);
    whole(&mut shop, 0, None, vec![Op::Put(key("k"), value("a"))]).expect("a blind write");
    let ops = put_if("k", "b", Condition::Value("a".into()));
    match shop.ask(0, Verb::Run(attempt, Batch { ops, commit: None })) {
        Err(Refusal::Conflict(conflict)) => assert_eq!(conflict.key, Some(key("k"))),
        other => panic!("no conflict: {other:?}"),
    }
}

/// Found by simulation: seeds 50000892 and 50000161.
#[test]
fn a_condition_does_not_fail_because_of_an_old_listing() {
    let mut shop = shared();
    assert_eq!(shop.read_fresh(1, "k"), None);
    whole(&mut shop, 0, None, vec![Op::Put(key("k"), value("a"))]).expect("a blind write");
    // A key is read once in a transaction, and this listing is young enough for a read.
    let attempt = open(&mut shop, 1);
    assert_eq!(shop.get(1, attempt, "k").expect("it can be read"), None);
    let ops = put_if("k", "b", Condition::Value("a".into()));
    match shop.ask(1, Verb::Run(attempt, Batch { ops: ops.clone(), commit: None })) {
        Err(Refusal::Conflict(conflict)) => assert_eq!(conflict.key, Some(key("k"))),
        other => panic!("it held before the transaction began: {other:?}"),
    }
    // The same for a key that was read only because it is written, and not returned to the client.
    whole(&mut shop, 0, None, vec![Op::Put(key("l"), value("a"))]).expect("a blind write");
    assert_eq!(shop.read_fresh(1, "l").as_deref(), Some("a"));
    whole(&mut shop, 0, None, vec![Op::Delete(key("l"))]).expect("a blind write");
    let attempt = open(&mut shop, 1);
    let batch = Batch { ops: vec![Op::Put(key("l"), value("b"))], commit: None };
    shop.ask(1, Verb::Run(attempt, batch)).expect("an open transaction takes writes");
    let batch = Batch { ops: put_if("l", "b", Condition::Absent), commit: None };
    let outcome = shop.ask(1, Verb::Run(attempt, batch));
    assert!(matches!(outcome, Err(Refusal::Conflict(_))), "it was absent all the while: {outcome:?}");

    // The next attempt uses no old listing, even if another transaction lists the key before it
    // reads.
    let begin = Begin { isolation: Some(Isolation::Serializable), conflicts: 1, ..shop.begin(None) };
    let attempt = shop.open(1, begin);
    whole(&mut shop, 0, None, vec![Op::Put(key("k"), value("c"))]).expect("a blind write");
    assert_eq!(shop.get(1, attempt, "k").expect("it can be read").as_deref(), Some("c"));
    failed(shop.ask(1, Verb::Run(attempt, Batch { ops, commit: None })));
}

/// Found by simulation: seeds 50009744 and 50009805.
#[test]
fn a_condition_does_not_fail_because_of_an_old_version_that_an_earlier_read_forces() {
    let mut shop = shared();
    let pair = |text: &str| vec![Op::Put(key("k"), value(text)), Op::Put(key("l"), value(text))];
    whole(&mut shop, 0, None, pair("a")).expect("a blind write");
    assert_eq!(shop.read_fresh(1, "l").as_deref(), Some("a"));
    whole(&mut shop, 0, None, vec![Op::Delete(key("k")), Op::Put(key("l"), value("b"))])
        .expect("a blind write");
    // The newest version of `k` is not compatible with the version that was read of `l`; an older
    // one is.
    let attempt = open(&mut shop, 1);
    assert_eq!(shop.get(1, attempt, "l").expect("it can be read").as_deref(), Some("a"));
    let batch = Batch { ops: put_if("k", "c", Condition::Absent), commit: None };
    match shop.ask(1, Verb::Run(attempt, batch)) {
        Err(Refusal::Conflict(conflict)) => assert_eq!(conflict.key, Some(key("k"))),
        other => panic!("it was absent before the transaction began: {other:?}"),
    }
}

/// Found by simulation: seed 50000044.
#[test]
fn a_condition_that_its_own_request_made_false_is_a_replay() {
    both(|shop, other| {
        let again = |shop: &mut Shop, node| {
            let begin = shop.begin(Some(1));
            let isolation = Some(Isolation::Serializable);
            shop.open(node, Begin { isolation, overlap: true, ..begin })
        };
        let last = || Batch { ops: put_if("k", "a", Condition::Absent), commit: Some(CommitArgs::default()) };
        // Three more attempts, which began before one committed.
        let winner = again(shop, 0);
        let late = [(other, again(shop, other)), (0, again(shop, 0)), (other, again(shop, other))];
        let first = match shop.ask(0, Verb::Run(winner, last())) {
            Ok(Reply::Ran { committed: Some(Committed { txn: Some(txn), .. }), .. }) => txn,
            other => panic!("it is absent: {other:?}"),
        };
        let replayed = |outcome: Result<Reply, Refusal>| match outcome {
            Ok(Reply::Replayed(replayed)) => assert_eq!(replayed.txn, first),
            other => panic!("the request has committed: {other:?}"),
        };
        replayed(shop.ask(late[0].0, Verb::Run(late[0].1, last())));
        // A batch without a commit cannot be answered with a replay: the next attempt gets it.
        let batch = Batch { commit: None, ..last() };
        assert_eq!(shop.ask(late[1].0, Verb::Run(late[1].1, batch)), Err(Refusal::Lost));
        // The same if another request has written the key since.
        whole(shop, 0, None, vec![Op::Put(key("k"), value("b"))]).expect("a blind write");
        replayed(shop.ask(late[2].0, Verb::Run(late[2].1, last())));
        // For another request the condition fails.
        failed(whole(shop, other, Some(2), put_if("k", "c", Condition::Absent)));
    });
}

#[test]
fn conditions_need_a_level_that_checks() {
    both(|shop, _| {
        let batch = Batch { ops: put_if("k", "a", Condition::Absent), commit: None };
        let begin = Begin { isolation: Some(Isolation::ReadAtomic), batch, ..shop.begin(None) };
        let why = invalid(shop.ask(0, Verb::Begin(Box::new(begin))));
        assert!(why.contains("isolation \"serializable\""), "{why}");
    });
    // Where one process holds the store, a transaction that names no level is not checked.
    let mut shop = alone();
    let begin = shop.begin(None);
    let attempt = shop.open(0, begin);
    let batch = Batch { ops: put_if("k", "a", Condition::Absent), commit: None };
    let why = invalid(shop.ask(0, Verb::Run(attempt, batch)));
    assert!(why.contains("isolation \"serializable\""), "{why}");
    let why = invalid(whole(&mut shared(), 0, None, put_if("plain", "a", Condition::Absent)));
    assert!(why.contains("--isolation"), "{why}");
}

#[test]
fn a_condition_holds_in_a_transaction_that_writes_checked_keys_and_names_no_level() {
    let mut shop = shared();
    let begun: Vec<AttemptId> = (0..2)
        .map(|node| {
            let begin = shop.begin(None);
            let attempt = shop.open(node, begin);
            let batch = Batch { ops: put_if("k", "a", Condition::Absent), commit: None };
            shop.ask(node, Verb::Run(attempt, batch)).expect("it is absent, and will be checked");
            attempt
        })
        .collect();
    let mut commit = |node: usize| shop.ask(node, Verb::Commit(begun[node], CommitArgs::default()));
    commit(0).expect("it is still absent");
    let outcome = commit(1);
    assert!(matches!(outcome, Err(Refusal::Conflict(_) | Refusal::ConditionFailed(_))), "{outcome:?}");
    // A condition on a key that is not checked, or in a batch that writes nothing, is rejected.
    let begin = shop.begin(None);
    let attempt = shop.open(0, begin);
    for ops in [put_if("plain", "a", Condition::Absent), vec![Op::Check(key("m"), Condition::Absent)]] {
        let why = invalid(shop.ask(0, Verb::Run(attempt, Batch { ops, commit: None })));
        assert!(why.contains("isolation"), "{why}");
    }
}

#[test]
fn an_add_commits_and_reads_nothing_else() {
    both(|shop, _| {
        let attempt = open(shop, 0);
        let batch = Batch { ops: vec![Op::Add(key("n"), 1)], commit: None };
        let why = invalid(shop.ask(0, Verb::Run(attempt, batch)));
        assert!(why.contains("commit"), "{why}");
        let ops = vec![Op::Add(key("n"), 1), Op::Get(key("m"))];
        let why = invalid(whole(shop, 0, None, ops));
        assert!(why.contains("read"), "{why}");
    });
}

#[test]
fn a_condition_costs_no_store_call_where_one_process_holds_the_store() {
    let mut shop = alone();
    whole(&mut shop, 0, None, vec![Op::Add(key("n"), 1)]).expect("nothing counts as 0");
    shop.calls.clear();
    whole(&mut shop, 0, None, vec![Op::Add(key("n"), 1)]).expect("it holds a number");
    let writes = shop.count(|call| matches!(call, Call::Put(..) | Call::Commit(_)));
    assert_eq!(writes, 1, "{:?}", shop.calls);
    assert_eq!(shop.calls.len(), 2, "the value, and the commit: {:?}", shop.calls);
}
