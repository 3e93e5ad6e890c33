//! Goal: reads rest on listings of a bounded age, and a listing is made only if it is needed.
//!
//! Method: one node lists a key, another one writes it, and the first one reads it again; calls
//! are counted.

use aft_core::message::{Batch, Begin, CommitArgs, Op, Refusal, Reply, Verb};
use aft_core::settings::Settings;
use aft_core::store::{Call, CallError, Group};

use crate::shop::{Shop, key, value};

fn lists(shop: &Shop) -> usize {
    shop.count(|call| matches!(call, Call::List { .. }))
}

/// Reads a key on node 1 in a transaction of its own. Returns its text and the number of listings.
fn read(shop: &mut Shop, fresh: bool, name: &str) -> (Option<String>, usize) {
    shop.calls.clear();
    let begin = Begin { fresh, ..shop.begin(None) };
    let attempt = shop.open(1, begin);
    let text = shop.get(1, attempt, name).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    (text, lists(shop))
}

#[test]
fn a_listing_that_takes_longer_than_its_own_expiry_is_made_once() {
    let mut settings = Shop::settings();
    settings.recheck_after_ms = 5;
    let mut shop = Shop::new(2, &settings);
    shop.write(0, None, &["k", "l"], "v");
    let begin = shop.begin(None);
    let attempt = shop.open(1, begin);
    for took_ms in [1, 4, 5, 6, 50, 500] {
        shop.calls.clear();
        shop.hold = |call| matches!(call, Call::List { .. });
        let begin = Begin { fresh: true, ..shop.begin(None) };
        let reader = shop.open(1, begin);
        let batch = Batch { ops: vec![Op::Get(key("k")), Op::Get(key("l"))], commit: None };
        let ticket = shop.send(1, Verb::Run(reader, batch));
        shop.pass(took_ms);
        assert_eq!(shop.reply(1, ticket), None, "its listings are held back");
        shop.release(None);
        let reply = shop.reply(1, ticket);
        assert!(matches!(reply, Some(Ok(Reply::Ran { .. }))), "{took_ms} ms: {reply:?}");
        assert_eq!(lists(&shop), 2, "{took_ms} ms: one listing for each key, {:?}", shop.calls);
    }
    assert_eq!(shop.get(1, attempt, "k"), Ok(Some("v".into())), "and a get by itself comes to an end");
}

#[test]
fn only_a_fresh_transaction_repeats_a_recent_listing() {
    let mut shop = Shop::new(2, &Shop::settings());
    shop.write(0, None, &["k"], "old");
    assert_eq!(read(&mut shop, false, "k"), (Some("old".into()), 1));
    shop.write(0, None, &["k"], "new");
    assert_eq!(read(&mut shop, false, "k"), (Some("old".into()), 0), "the listing is young");
    assert_eq!(read(&mut shop, true, "k"), (Some("new".into()), 1), "it began after the commit");
    assert_eq!(read(&mut shop, false, "k"), (Some("new".into()), 0), "the listing serves all");
    shop.write(0, None, &["k"], "newest");
    shop.pass(Shop::settings().recheck_after_ms);
    assert_eq!(read(&mut shop, false, "k"), (Some("newest".into()), 1), "the listing is old");
}

#[test]
fn transactions_of_a_guest_are_fresh_without_being_asked_to() {
    let mut settings = Shop::settings();
    settings.guest = true;
    let mut shop = Shop::new(2, &settings);
    for text in ["one", "two", "three"] {
        shop.write(0, None, &["k"], text);
        assert_eq!(read(&mut shop, false, "k"), (Some(text.into()), 1));
    }
}

#[test]
fn a_listing_before_a_commit_hides_no_other_commit() {
    shows_what_was_committed_beside_a_look(&Shop::settings());
}

/// A story of a store that one process holds: a commit lists the keys that it writes, one answer is
/// late, and meanwhile another commit of the other key is acknowledged and forgotten by a full
/// index.
pub(crate) fn shows_what_was_committed_beside_a_look(settings: &Settings) {
    // Keep the planted bug of the given settings.
    let mut settings = settings.clone();
    (settings.exclusive, settings.grace_ms, settings.index_bytes_max) = (true, 0, 6_000);
    let mut shop = Shop::new(1, &settings);
    let others: Vec<String> = (0..40).map(|number| format!("other/{number}")).collect();
    let fill = |shop: &mut Shop| {
        others.iter().for_each(|name| drop(shop.write(0, None, &[name.as_str()], "v")));
    };
    shop.write(0, None, &["k", "l"], "old");
    fill(&mut shop);
    shop.hold = |call| matches!(call, Call::List { group: Group::Versions(of), .. } if of.as_str() == "l");
    let ops = ["k", "l"].map(|name| Op::Put(key(name), value("never"))).to_vec();
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..shop.begin(None) };
    let late = shop.send(0, Verb::Begin(Box::new(begin)));
    shop.write(0, None, &["k"], "new");
    fill(&mut shop);
    shop.fail = |call| match call {
        Call::Commit(_) => Some(CallError::Refused("the disk is full".into())),
        _ => None,
    };
    shop.release(None);
    assert!(matches!(shop.reply(0, late), Some(Err(Refusal::StoreUnavailable(_)))));
    let reader = shop.begin(None);
    let reader = shop.open(0, reader);
    assert_eq!(shop.get(0, reader, "k"), Ok(Some("new".into())));
}
