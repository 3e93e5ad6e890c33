//! Goal: a client sees what it has committed and read, on any node and with any clocks.
//!
//! Method: a session token goes from a commit on one node to a begin on another node, which has
//! just listed the key and would otherwise answer from that listing.

use aft_core::ids::{AttemptId, Hlc, Session, SessionEntry, TxnId};
use aft_core::message::{Batch, Begin, CommitArgs, Committed, Op, Refusal, Reply, Verb};
use aft_core::settings::Settings;
use aft_core::store::{Body, Call, CallError, Name};

use crate::shop::{Shop, hash, key, value};

/// Writes a key in a transaction and commits it.
fn commit(shop: &mut Shop, node: usize, begin: Begin, name: &str, text: &str) -> Committed {
    let attempt = shop.open_and_put(node, begin, &[name], text);
    match shop.ask(node, Verb::Commit(attempt, CommitArgs::default())) {
        Ok(Reply::Committed(committed)) => committed,
        other => panic!("{other:?}"),
    }
}

/// Reads a key on a node in a transaction that begins with a session.
fn read_with(shop: &mut Shop, node: usize, session: &Session, name: &str) -> Option<String> {
    let begin = Begin { session: session.clone(), ..shop.begin(None) };
    let attempt = shop.open(node, begin);
    shop.get(node, attempt, name).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[test]
fn a_version_from_the_future_blocks_no_transaction_and_moves_no_clock() {
    let mut shop = Shop::new(2, &Shop::settings());
    let ahead_ms = 20 * 60_000;
    shop.plant(7, shop.true_ms() + ahead_ms, &["k", "l"], "future", true);
    let begin = Begin { fresh: true, ..shop.begin(None) };
    let attempt = shop.open(1, begin);
    assert_eq!(shop.get(1, attempt, "k"), Ok(Some("future".into())));
    let committed = match shop.ask(1, Verb::Commit(attempt, CommitArgs::default())) {
        Ok(Reply::Committed(committed)) => committed,
        other => panic!("{other:?}"),
    };
    for node in [0, 1] {
        assert_eq!(read_with(&mut shop, node, &committed.session, "k"), Some("future".into()));
    }
    // The commit of its reader comes after it, and is readable with the token that it returned.
    let begin = Begin { session: committed.session, ..shop.begin(None) };
    let after = commit(&mut shop, 1, begin, "k", "after");
    let time_ms = after.txn.expect("a key was written").time.ms();
    assert!(time_ms >= shop.true_ms() + ahead_ms - 10_000, "a reader's commit comes after it");
    for node in [0, 1] {
        assert_eq!(read_with(&mut shop, node, &after.session, "k"), Some("after".into()));
    }
    // Other commits do not follow it.
    let other = shop.write(1, None, &["other"], "v");
    let time_ms = other.txn.expect("a key was written").time.ms();
    assert!(time_ms <= shop.true_ms() + 10, "a commit that read nothing of it has the store's time");
}

#[test]
fn a_client_with_more_commits_than_its_token_names_begins_fresh() {
    let mut shop = Shop::new(2, &Shop::settings());
    let names: Vec<String> = (0..=Session::LEN_MAX).map(|number| format!("key{number}")).collect();
    let begin = shop.begin(None);
    let before = shop.open(1, begin);
    for name in &names {
        assert_eq!(shop.get(1, before, name), Ok(None), "the other node lists the keys");
    }
    let mut session = Session::default();
    for name in &names {
        let begin = Begin { session: session.clone(), ..shop.begin(None) };
        session = commit(&mut shop, 0, begin, name, "mine").session;
    }
    assert_eq!(session.entries.len(), Session::LEN_MAX);
    assert!(session.fresh_until_ms > shop.true_ms(), "what does not fit is covered");
    // The node through which the client saw everything lists each key once, not in every
    // transaction.
    for round in 0..2 {
        shop.calls.clear();
        for name in &names {
            assert_eq!(read_with(&mut shop, 0, &session, name), Some("mine".into()), "{name}");
        }
        let listed = shop.count(|call| matches!(call, Call::List { .. }));
        assert!(round == 0 || listed == 0, "{:?}", shop.calls);
    }
    // Without the token the recent listings are used.
    for name in &names {
        assert_eq!(read_with(&mut shop, 1, &Session::default(), name), None, "{name}");
    }
    for name in &names {
        assert_eq!(read_with(&mut shop, 1, &session, name), Some("mine".into()), "{name}");
    }
}

#[test]
fn a_commit_that_a_token_does_not_name_is_seen_on_another_node() {
    sees_on_another_node_what_its_token_does_not_name(&Shop::settings());
}

pub(crate) fn sees_on_another_node_what_its_token_does_not_name(settings: &Settings) {
    let mut shop = Shop::new(2, settings);
    let begin = shop.begin(None);
    let before = shop.open(1, begin);
    assert_eq!(shop.get(1, before, "first"), Ok(None), "the other node lists the key");
    let mut session = Session::default();
    // Use request IDs: such commits can be looked up, so they do not make the transaction fresh.
    for request in 0..=Session::LEN_MAX as u8 {
        let begin = Begin { session, ..shop.begin(Some(request)) };
        let name = if request == 0 { "first".to_owned() } else { request.to_string() };
        session = commit(&mut shop, 0, begin, &name, "mine").session;
    }
    assert_eq!(read_with(&mut shop, 1, &session, "first"), Some("mine".into()));
}

#[test]
fn a_forged_token_moves_no_commit_time() {
    for exclusive in [false, true] {
        let mut settings = Settings { run_scripts_twice: true, ..Settings::new(exclusive, 0, true) };
        settings.timeout_default_ms = 10_000;
        let mut shop = Shop::new(1, &settings);
        shop.write(0, None, &["k"], "v");
        for (time_ms, whole) in
            [(shop.true_ms() + 60_000, true), (u64::MAX >> 16, true), (u64::MAX >> 16, false)]
        {
            let txn = TxnId { time: Hlc::from_ms(time_ms), attempt: AttemptId([9; 16]) };
            let entry = SessionEntry { txn, hash: hash(99), whole, seen_ms: shop.true_ms() };
            let session = Session { entries: vec![entry], ..Session::default() };
            let ops = vec![Op::Put(key("k"), value("forged"))];
            let batch = Batch { ops, commit: Some(CommitArgs::default()) };
            let begin = Begin { session, batch, ..shop.begin(None) };
            match shop.ask(0, Verb::Begin(Box::new(begin))) {
                Ok(Reply::Begun { committed: Some(committed), .. }) if whole => {
                    let time_ms = committed.txn.expect("it wrote something").time.ms();
                    assert!(time_ms <= shop.true_ms() + 10, "it has the store's time");
                }
                Err(Refusal::SessionLost(lost)) if !whole => assert_eq!(lost, txn),
                outcome => panic!("{outcome:?}"),
            }
        }
        assert!(shop.write(0, None, &["k"], "w").txn.is_some(), "others go on");
    }
}

#[test]
fn a_commit_that_the_store_has_lost_is_not_passed_over_in_silence() {
    let mut shop = Shop::new(2, &Shop::settings());
    commit_named(&mut shop, 1, "old");
    let backup = shop.store.clone();
    let lost = commit_named(&mut shop, 2, "new");
    shop.store = backup;
    let session = lost.session.clone();
    let begin = Begin { session, ..shop.begin(None) };
    // The other node does not know the commit, so it looks for the record.
    match shop.ask(1, Verb::Begin(Box::new(begin))) {
        Err(Refusal::SessionLost(txn)) => assert_eq!(Some(txn), lost.txn),
        outcome => panic!("{outcome:?}"),
    }
    // Without the token the client reads what the store has.
    assert_eq!(read_with(&mut shop, 1, &Session::default(), "k"), Some("old".into()));
}

#[test]
fn a_commit_whose_record_was_removed_is_no_loss() {
    begins_fresh_where_a_record_was_removed(&Shop::settings());
}

pub(crate) fn begins_fresh_where_a_record_was_removed(settings: &Settings) {
    let mut shop = Shop::new(2, settings);
    let committed = commit_named(&mut shop, 1, "v");
    let txn = committed.txn.expect("a key was written");
    shop.pass(settings.retention_min_ms() + settings.skew_max_ms);
    shop.store.commits.remove(&hash(1));
    shop.set_mark(txn.time.ms() + 1);
    assert_eq!(read_with(&mut shop, 1, &committed.session, "other"), None);
}

/// Writes a key in a request, which can be looked up.
fn commit_named(shop: &mut Shop, request: u8, text: &str) -> Committed {
    let begin = shop.begin(Some(request));
    commit(shop, 0, begin, "k", text)
}

#[test]
fn a_version_with_the_greatest_commit_time_blocks_only_writes_that_follow_it() {
    let mut shop = Shop::new(1, &Shop::settings());
    shop.plant(7, u64::MAX >> 16, &["k"], "planted", true);
    let record = shop.store.commits[&hash(7)].clone();
    let Body::Record(record) = record else { panic!("it was planted") };
    let mut last = (*record).clone();
    last.txn.time = Hlc(u64::MAX);
    shop.store.put(Name::Commit(last.hash), Body::Record(last.clone().into()));
    for (key, entry) in last.entries() {
        shop.store.put(Name::Version(key, entry), Body::Empty);
    }
    let begin = shop.begin(None);
    let reader = shop.open(0, begin);
    assert_eq!(shop.get(0, reader, "k"), Ok(Some("planted".into())));
    let batch = Batch { ops: vec![Op::Put(key("k"), value("v"))], commit: Some(CommitArgs::default()) };
    let outcome = shop.ask(0, Verb::Run(reader, batch));
    assert!(matches!(outcome, Err(Refusal::Damaged(_))), "{outcome:?}");
    assert!(shop.write(0, None, &["l"], "w").txn.is_some(), "others go on");
}

#[test]
fn transactions_are_fresh_for_a_while_after_commits_through_another_node() {
    let mut shop = Shop::new(2, &Shop::settings());
    assert_eq!(shop.read_fresh(0, "k"), None);
    let of = |shop: &mut Shop, node, session: &Session, name: &str| {
        let begin = Begin { session: session.clone(), ..shop.begin(None) };
        commit(shop, node, begin, name, "mine").session
    };
    // Commit through the second node, whose commits the first does not know.
    let mut session = of(&mut shop, 1, &Session::default(), "k");
    for number in 0..=Session::LEN_MAX {
        session = of(&mut shop, 1, &session, &number.to_string());
    }
    // The token of the first node names only some of the commits.
    let session = of(&mut shop, 0, &session, "of the first");
    assert_eq!(read_with(&mut shop, 0, &session, "k"), Some("mine".into()), "it begins fresh");
    // After that every listing in use is younger.
    shop.pass(2 * Shop::settings().recheck_after_ms);
    shop.read_fresh(0, "k");
    let session = (0..=Session::LEN_MAX)
        .fold(session, |session, number| of(&mut shop, 0, &session, &number.to_string()));
    shop.calls.clear();
    assert_eq!(read_with(&mut shop, 0, &session, "k"), Some("mine".into()));
    assert_eq!(shop.count(|call| matches!(call, Call::List { .. })), 0, "{:?}", shop.calls);
}

#[test]
fn a_token_of_a_whole_entry_costs_no_look_up_and_is_seen_on_another_node() {
    let mut shop = Shop::new(2, &Shop::settings());
    assert_eq!(shop.read_fresh(1, "k"), None);
    let committed = shop.write(0, None, &["k"], "v");
    assert!(committed.session.entries[0].whole, "one key without a request is a whole entry");
    shop.calls.clear();
    assert_eq!(read_with(&mut shop, 1, &committed.session, "k"), Some("v".into()));
    assert_eq!(shop.count(|call| matches!(call, Call::Get(Name::Commit(_)))), 0, "{:?}", shop.calls);
    assert_eq!(shop.count(|call| matches!(call, Call::List { .. })), 1, "{:?}", shop.calls);
}

#[test]
fn a_token_of_a_record_is_looked_up_and_is_seen_on_another_node() {
    let mut shop = Shop::new(2, &Shop::settings());
    assert_eq!(shop.read_fresh(1, "k"), None);
    let committed = shop.write(0, Some(7), &["k"], "v");
    shop.calls.clear();
    assert_eq!(read_with(&mut shop, 1, &committed.session, "k"), Some("v".into()));
    let gets = shop.count(|call| matches!(call, Call::Get(Name::Commit(of)) if *of == hash(7)));
    assert_eq!(gets, 1, "{:?}", shop.calls);
    assert_eq!(shop.count(|call| matches!(call, Call::List { .. })), 0, "{:?}", shop.calls);
}

#[test]
fn a_process_that_has_not_read_the_mark_takes_no_old_version_for_young() {
    let settings = Settings { run_scripts_twice: true, ..Settings::new(true, 0, true) };
    let mut shop = Shop::new(1, &settings);
    let long_ago_ms = shop.true_ms() - 10_000_000;
    shop.plant(7, long_ago_ms, &["k", "l"], "deleted since", false);
    shop.set_mark(long_ago_ms + 5_000_000);
    // Its first read of the mark fails, and the record that the session names is found.
    shop.fail = |call| matches!(call, Call::Get(Name::Format)).then(|| CallError::Refused("not now".into()));
    let Some(Body::Record(record)) = shop.store.commits.get(&hash(7)) else { panic!("it was planted") };
    let entry = SessionEntry { txn: record.txn, hash: hash(7), whole: false, seen_ms: long_ago_ms };
    let session = Session { entries: vec![entry], ..Session::default() };
    let begin = Begin { session, ..shop.begin(None) };
    let reader = shop.open(0, begin);
    shop.fail = |_| None;
    assert_eq!(shop.get(0, reader, "k"), Ok(None), "a tombstone has superseded it, and has gone as well");
}
