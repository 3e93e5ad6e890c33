//! Goal: commit times come from the store's time, and the later of two writes wins.
//!
//! Method: the store's clock has a coarse resolution, or answers carry no time; one or two nodes
//! commit, and the calls and the times of acknowledgement are compared with true time.

use aft_core::message::{Batch, Begin, CommitArgs, Op, Refusal, Reply, Verb};
use aft_core::settings::Settings;
use aft_core::store::{Call, Group, Name};

use crate::shop::{Shop, hash, key, value};

fn writes(shop: &Shop) -> usize {
    shop.count(Call::is_write)
}

fn lists_of(shop: &Shop, name: &str) -> usize {
    shop.count(|call| matches!(call, Call::List { group: Group::Versions(of), .. } if *of == key(name)))
}

#[test]
fn nothing_is_committed_before_the_stores_time_was_heard() {
    let mut shop = Shop::new(1, &Shop::settings());
    shop.carries_time = false;
    let begin = shop.begin(Some(1));
    let attempt = shop.open_and_put(0, begin, &["k"], "v");
    let refused = shop.ask(0, Verb::Commit(attempt, CommitArgs::default()));
    assert!(matches!(refused, Err(Refusal::StoreUnavailable(_))), "{refused:?}");
    assert_eq!(writes(&shop), 0, "{:?}", shop.calls);
    shop.carries_time = true;
    let committed = shop.ask(0, Verb::Commit(attempt, CommitArgs::default()));
    assert!(matches!(committed, Ok(Reply::Committed(_))), "it is open still: {committed:?}");
    assert_eq!(writes(&shop), 1, "{:?}", shop.calls);
}

#[test]
fn a_node_whose_error_is_beyond_the_limit_does_not_commit() {
    let settings = Shop::settings();
    let check = |span_ms: u64, commits: bool| {
        let mut shop = Shop::new(1, &settings);
        shop.span_ms = span_ms;
        let begin = shop.begin(Some(1));
        let attempt = shop.open_and_put(0, begin, &["k"], "v");
        let reply = shop.ask(0, Verb::Commit(attempt, CommitArgs::default()));
        assert_eq!(matches!(reply, Ok(Reply::Committed(_))), commits, "{span_ms} ms: {reply:?}");
        assert_eq!(writes(&shop) > 0, commits, "{span_ms} ms: {:?}", shop.calls);
    };
    check(1, true);
    check(1_000, true);
    check(settings.skew_max_ms + 1_000, false);
    check(60_000, false);
}

#[test]
fn an_acknowledgement_waits_until_the_stores_time_has_passed_the_commit_time() {
    let check = |span_ms: u64| {
        let mut shop = Shop::new(1, &Shop::settings());
        shop.span_ms = span_ms;
        let begin = shop.begin(Some(1));
        let attempt = shop.open_and_put(0, begin, &["k", "l"], "v");
        let sent_ms = shop.true_ms();
        let ticket = shop.send(0, Verb::Commit(attempt, CommitArgs::default()));
        assert_eq!(writes(&shop), 1, "the wait runs beside the round trip: {:?}", shop.calls);
        assert_eq!(shop.reply(0, ticket), None, "{span_ms} ms");
        let time_ms = loop {
            shop.pass(1);
            match shop.reply(0, ticket) {
                None => assert!(shop.true_ms() <= sent_ms + 2 * span_ms + 5, "it comes in time"),
                Some(Ok(Reply::Committed(committed))) => break committed.txn.expect("a commit").time.ms(),
                Some(other) => panic!("{other:?}"),
            }
        };
        assert!(time_ms >= sent_ms, "{span_ms} ms: a commit time is not before the commit was asked");
        assert!(shop.true_ms() > time_ms, "{span_ms} ms: acknowledged before its time has passed");
    };
    check(1);
    check(10);
    check(40);
}

#[test]
fn written_keys_are_listed_where_the_commit_time_is_the_lower_bound() {
    let check = |span_ms: u64, lists: usize| {
        let mut shop = Shop::new(1, &Shop::settings());
        shop.span_ms = span_ms;
        shop.write(0, None, &["k", "warm"], "v");
        shop.calls.clear();
        shop.write(0, None, &["k", "l"], "v");
        assert_eq!((lists_of(&shop, "k"), lists_of(&shop, "l")), (lists, lists), "{span_ms} ms");
        let listed = shop.calls.iter().rposition(|call| matches!(call, Call::List { .. }));
        let written = shop.calls.iter().position(Call::is_write);
        assert!(listed < written, "the listing comes before the write: {:?}", shop.calls);
    };
    check(1, 0);
    check(40, 0);
    check(1_000, 1);
}

#[test]
fn of_two_blind_writes_the_later_one_wins_over_a_store_of_whole_seconds() {
    for span_ms in [1, 40, 1_000] {
        let mut shop = Shop::new(2, &Shop::settings());
        shop.span_ms = span_ms;
        let mut last = None;
        for round in 0..24_u64 {
            let text = format!("value {round}");
            // Node 1 writes in every third round, node 0 in the others.
            let node = usize::from(round % 3 == 1);
            let committed = shop.write(node, None, &["k"], &text);
            assert!(committed.txn > last, "{span_ms} ms, round {round}: a later write is newer");
            last = committed.txn;
            assert_eq!(shop.read_fresh(1 - node, "k"), Some(text), "{span_ms} ms, round {round}");
            shop.pass(37 * (round % 4));
        }
    }
}

#[test]
fn a_node_whose_commits_wait_reads_the_time_at_the_end_of_a_second() {
    let check = |guest: bool,
                 every_ms: u64,
                 questions: std::ops::RangeInclusive<usize>,
                 error_max_ms: u64| {
        let mut shop = Shop::new(1, &Settings { guest, ..Shop::settings() });
        shop.span_ms = 1_000;
        let rounds = 12_000 / every_ms;
        for round in 0..rounds {
            let began_ms = shop.now_ms;
            shop.write(0, None, &["k"], "v");
            let wait_ms = shop.now_ms - began_ms;
            if round >= rounds * 3 / 4 && !guest {
                assert!(wait_ms <= error_max_ms + 1, "every {every_ms} ms: {wait_ms} ms in round {round}");
            }
            shop.pass(every_ms);
        }
        let asked = shop.count(|call| matches!(call, Call::Get(Name::Format)));
        assert!(questions.contains(&asked), "guest: {guest}, every {every_ms} ms: {asked} questions");
        let error_ms = shop.time_error_ms(0).expect("it commits");
        assert!(error_ms <= error_max_ms, "guest: {guest}, every {every_ms} ms: {error_ms} ms");
    };
    // A single client, whose answers come close to the end of a second only by chance.
    check(false, 100, 2..=20, 8);
    check(false, 250, 2..=20, 8);
    check(false, 2_000, 2..=14, 120);
    // A guest reads the time only for its commits.
    check(true, 250, 48..=49, 1_000);
}

#[test]
fn a_commit_whose_transaction_listed_its_keys_does_not_wait() {
    let check = |fresh: bool, wait_max_ms: u64, waits: bool| {
        let mut shop = Shop::new(1, &Shop::settings());
        shop.span_ms = 40;
        shop.plant(1, shop.true_ms() - 1_000, &["k"], "v", true);
        assert_eq!(shop.read_fresh(0, "k"), Some("v".into()), "the node has listed the key");
        let begin = Begin { fresh, ..shop.begin(None) };
        let attempt = shop.open(0, begin);
        assert_eq!(shop.get(0, attempt, "k"), Ok(Some("v".into())));
        let ops = vec![Op::Put(key("k"), value("w"))];
        let batch = Batch { ops, commit: Some(CommitArgs::default()) };
        let asked_ms = shop.now_ms;
        let ran = shop.ask(0, Verb::Run(attempt, batch));
        assert!(matches!(ran, Ok(Reply::Ran { committed: Some(_), .. })), "{ran:?}");
        let wait_ms = shop.now_ms - asked_ms;
        assert!(wait_ms <= wait_max_ms, "fresh: {fresh}: {wait_ms} ms");
        assert_eq!(wait_ms > 2, waits, "fresh: {fresh}: {wait_ms} ms");
    };
    // The key was read by a listing that was made since the transaction began.
    check(true, 2, false);
    // The key was read by an earlier listing: another node may have written it since.
    check(false, 43, true);
}

#[test]
fn the_time_of_an_answer_to_a_call_from_before_a_pause_is_ignored() {
    for set_ms in [-5_000, 5_000] {
        let mut shop = Shop::new(1, &Shop::settings());
        shop.write(0, None, &["k"], "v");
        assert!(shop.time_error_ms(0).is_some(), "answers have brought the time");
        let begin = Begin { fresh: true, ..shop.begin(None) };
        let attempt = shop.open(0, begin);
        shop.hold = |call| matches!(call, Call::List { .. });
        let batch = Batch { ops: vec![Op::Get(key("k"))], commit: None };
        let ticket = shop.send(0, Verb::Run(attempt, batch));
        // The clocks of the machine move apart, as after a pause.
        shop.set_wall(0, set_ms);
        shop.hold_all();
        assert_eq!(shop.time_error_ms(0), None, "{set_ms} ms: its answer was in flight during the pause");
        shop.release(None);
        assert!(shop.time_error_ms(0).is_some(), "{set_ms} ms: later calls bring the time");
        shop.pass(1);
        assert!(matches!(shop.reply(0, ticket), Some(Ok(Reply::Ran { .. }))));
    }
}

#[test]
fn a_commit_is_reported_to_others_when_the_stores_time_has_passed_it() {
    let mut shop = Shop::new(1, &Shop::settings());
    // A node with wide bounds committed at its upper bound, and died before the store's time had
    // passed it.
    let commit_ms = shop.true_ms() + 300;
    shop.plant(7, commit_ms, &["k", "l"], "v", true);
    let check = |shop: &mut Shop, verb: Verb| {
        let ticket = shop.send(0, verb);
        shop.pass(commit_ms - shop.true_ms());
        assert_eq!(shop.reply(0, ticket), None, "a blind write elsewhere may be ordered before it still");
        ticket
    };
    let begin = shop.begin(Some(7));
    let replay = check(&mut shop, Verb::Begin(Box::new(begin)));
    let look_up = check(&mut shop, Verb::LookUp(hash(7)));
    shop.pass(5);
    assert!(matches!(shop.reply(0, replay), Some(Ok(Reply::Replayed(_)))), "its time has passed");
    assert!(matches!(shop.reply(0, look_up), Some(Ok(Reply::Found(_)))), "its time has passed");
}
