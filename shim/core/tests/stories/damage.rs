//! Goal: a damaged object affects only operations that need it.
//!
//! Method: gets of one object answer *damaged*; reads and commits around it go on.

use aft_core::ids::{AttemptId, Hlc, TxnId};
use aft_core::message::{Begin, CommitArgs, Refusal, Reply, Verb};
use aft_core::record::{VersionEntry, Write};
use aft_core::store::{Body, Call, CallError, Name};

use crate::shop::{Shop, hash, key, value};

fn damaged_record(call: &Call) -> Option<CallError> {
    let is_it = matches!(call, Call::Get(Name::Commit(of)) if *of == hash(7));
    is_it.then(|| CallError::Damaged("the record of request 7".into()))
}

fn damaged_mark(call: &Call) -> Option<CallError> {
    matches!(call, Call::Get(Name::Format)).then(|| CallError::Damaged("store/format".into()))
}

#[test]
fn a_damaged_record_fails_only_reads_of_its_keys() {
    let mut shop = Shop::new(2, &Shop::settings());
    shop.write(0, None, &["k", "other"], "before");
    shop.write(0, Some(7), &["k", "l"], "damaged");
    shop.fail = damaged_record;
    let begin = Begin { fresh: true, ..shop.begin(None) };
    let reader = shop.open(1, begin);
    for name in ["k", "l"] {
        let refused = shop.get(1, reader, name);
        assert!(matches!(&refused, Err(Refusal::Damaged(what)) if what.contains("request 7")), "{refused:?}");
    }
    // The same transaction reads on, and commits.
    assert_eq!(shop.get(1, reader, "other"), Ok(Some("before".into())));
    let committed = shop.ask(1, Verb::Commit(reader, CommitArgs::default()));
    assert!(matches!(committed, Ok(Reply::Committed(_))), "{committed:?}");
    // A newer version makes the key readable again; the other key stays unreadable.
    shop.write(1, Some(8), &["k", "m"], "after");
    assert_eq!(shop.read_fresh(1, "k"), Some("after".into()));
    assert_eq!(shop.read_fresh(1, "m"), Some("after".into()));
    let begin = Begin { fresh: true, ..shop.begin(None) };
    let reader = shop.open(1, begin);
    assert!(matches!(shop.get(1, reader, "l"), Err(Refusal::Damaged(_))));
    // The request itself does not run again while its record cannot be read.
    let begin = shop.begin(Some(7));
    let refused = shop.ask(1, Verb::Begin(Box::new(begin)));
    assert!(matches!(refused, Err(Refusal::Damaged(_))), "{refused:?}");
    // After a repair everything is readable again.
    shop.fail = |_| None;
    assert_eq!(shop.read_fresh(1, "l"), Some("damaged".into()));
    assert_eq!(shop.read_fresh(1, "k"), Some("after".into()));
}

#[test]
fn with_a_damaged_mark_reads_and_commits_go_on() {
    let mut shop = Shop::new(2, &Shop::settings());
    shop.fail = damaged_mark;
    for round in 0..10 {
        let text = format!("value {round}");
        let (writer, reader) = (round % 2, 1 - round % 2);
        shop.write(writer, Some(round as u8), &["k", "l"], &text);
        assert_eq!(shop.read_fresh(reader, "k"), Some(text.clone()));
        assert_eq!(shop.read_fresh(reader, "l"), Some(text));
        assert_eq!(shop.read_fresh(reader, "none"), None);
        shop.pass(5_000);
    }
}

#[test]
fn a_commit_behind_a_damaged_record_is_in_doubt_and_names_the_damage() {
    let mut shop = Shop::new(2, &Shop::settings());
    let first = shop.begin(Some(7));
    let first = shop.open_and_put(0, first, &["k"], "first");
    let second = shop.begin(Some(7));
    let second = shop.open_and_put(1, second, &["k"], "second");
    let committed = shop.ask(0, Verb::Commit(first, CommitArgs::default()));
    assert!(matches!(committed, Ok(Reply::Committed(_))), "{committed:?}");
    shop.fail = damaged_record;
    let refused = shop.ask(1, Verb::Commit(second, CommitArgs::default()));
    assert!(matches!(&refused, Err(Refusal::UnknownDamaged(of, _)) if *of == hash(7)), "{refused:?}");
    shop.fail = |_| None;
    let replayed = shop.ask(1, Verb::Commit(second, CommitArgs::default()));
    assert!(matches!(replayed, Ok(Reply::Replayed(_))), "the repaired record answers: {replayed:?}");
}

#[test]
fn an_entry_below_the_mark_without_a_record_is_dead_or_its_record_was_lost() {
    let mut shop = Shop::new(1, &Shop::settings());
    let long_ago_ms = shop.true_ms() - 300_000;
    shop.plant(1, long_ago_ms, &["k"], "a version", true);
    shop.plant(7, long_ago_ms + 2, &["l", "m"], "the winner", true);
    // Another attempt of request 7 lost, and left an entry. The mark passed the entry while the
    // record could not be read; the record is repaired since.
    let loser = TxnId { time: Hlc::from_ms(long_ago_ms + 1), attempt: AttemptId([9; 16]) };
    let meta = Write::Put(value("a loser's")).meta();
    let entry = VersionEntry { txn: loser, hash: hash(7), meta, cowritten: 2, whole: false, follows: None };
    shop.store.put(Name::Version(key("k"), entry), Body::Empty);
    shop.set_mark(long_ago_ms + 100_000);
    assert_eq!(shop.read_fresh(0, "k"), Some("a version".into()));
    let asked = shop.calls.len();
    assert!(asked <= 12, "{asked} calls: {:?}", shop.calls);
    // Without any object under the record's name, the entry may have been a version.
    shop.store.commits.remove(&hash(7));
    shop.calls.clear();
    for name in ["k", "l"] {
        let begin = Begin { fresh: true, ..shop.begin(None) };
        let reader = shop.open(0, begin);
        let refused = shop.get(0, reader, name);
        assert!(matches!(&refused, Err(Refusal::Damaged(what)) if what.contains(name)), "{refused:?}");
    }
    let asked = shop.calls.len();
    assert!(asked <= 20, "{asked} calls: {:?}", shop.calls);
}

#[test]
fn a_dead_entry_below_the_mark_that_is_alone_in_its_transaction_counts_until_it_is_deleted() {
    let check = |write: Write, expected: Result<Option<&str>, Refusal>| {
        let mut shop = Shop::new(2, &Shop::settings());
        let long_ago_ms = shop.true_ms() - 300_000;
        shop.plant(7, long_ago_ms, &["k"], "the winner", true);
        // As above, but the loser wrote one key.
        let loser = TxnId { time: Hlc::from_ms(long_ago_ms + 1), attempt: AttemptId([9; 16]) };
        let meta = write.meta();
        let entry =
            VersionEntry { txn: loser, hash: hash(7), meta, cowritten: 1, whole: false, follows: None };
        let name = Name::Version(key("k"), entry);
        shop.store.put(name.clone(), Body::Empty);
        let read = |shop: &mut Shop, node: usize| {
            let begin = Begin { fresh: true, ..shop.begin(None) };
            let reader = shop.open(node, begin);
            shop.get(node, reader, "k")
        };
        let winner = Ok(Some("the winner".to_owned()));
        assert_eq!(read(&mut shop, 0), winner, "above the mark its record is looked at");
        shop.set_mark(long_ago_ms + 100_000);
        assert_eq!(read(&mut shop, 1), expected.map(|text| text.map(str::to_owned)));
        shop.store.apply(&Call::Delete(vec![name]));
        assert_eq!(read(&mut shop, 1), winner, "it was deleted by hand");
    };
    check(Write::Put(value("a loser's")), Err(Refusal::SnapshotGone(key("k"))));
    check(Write::Tombstone, Ok(None));
}
