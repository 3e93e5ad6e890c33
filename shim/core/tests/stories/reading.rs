//! Goal: transactions read the right versions, with as few store calls as possible.
//!
//! Method: one or two nodes write and read; versions and calls are compared.

use aft_core::message::{Batch, Begin, CommitArgs, Found, ListKeys, Op, Reply, Verb};
use aft_core::record::Write;
use aft_core::settings::Settings;
use aft_core::store::{Call, Name, Scan};

use crate::shop::{Shop, key, value};

#[test]
fn an_acknowledged_commit_is_read_by_a_fresh_begin_on_another_node_at_once() {
    let mut shop = Shop::new(2, &Shop::settings());
    assert_eq!(shop.read_fresh(1, "k"), None);
    for round in 0..20 {
        let text = format!("value {round}");
        shop.write(0, None, &["k", "l"], &text);
        assert_eq!(shop.read_fresh(1, "k"), Some(text.clone()));
        assert_eq!(shop.read_fresh(1, "l"), Some(text));
    }
}

#[test]
fn a_cold_read_is_one_listing_and_one_record_and_the_sibling_is_free() {
    let mut shop = Shop::new(2, &Shop::settings());
    shop.write(0, None, &["k", "l"], "v");
    let begin = shop.begin(None);
    let attempt = shop.open(1, begin);
    shop.calls.clear();
    assert_eq!(shop.get(1, attempt, "k"), Ok(Some("v".into())));
    let calls = |shop: &Shop| {
        let lists = shop.calls.iter().filter(|call| matches!(call, Call::List { .. })).count();
        let gets = shop.calls.iter().filter(|call| matches!(call, Call::Get(_))).count();
        (lists, gets)
    };
    assert_eq!(calls(&shop), (1, 1));
    assert_eq!(shop.get(1, attempt, "l"), Ok(Some("v".into())));
    assert_eq!(calls(&shop), (2, 1));
}

#[test]
fn a_transaction_reads_both_keys_of_a_commit_or_neither() {
    let mut shop = Shop::new(2, &Shop::settings());
    shop.write(0, None, &["k", "l"], "old");
    let begin = shop.begin(None);
    let attempt = shop.open(1, begin);
    assert_eq!(shop.get(1, attempt, "k"), Ok(Some("old".into())));
    shop.write(0, None, &["k", "l"], "new");
    assert_eq!(shop.get(1, attempt, "l"), Ok(Some("old".into())));
    assert_eq!(shop.get(1, attempt, "k"), Ok(Some("old".into())));
}

/// A reader has read `k`, and both keys were overwritten many times since. It pages down to the old
/// version of `l`, while its own node commits that key again before each answer.
#[test]
fn a_read_of_an_old_version_ends_although_its_node_keeps_committing_the_key() {
    let mut settings = Shop::settings();
    // Commits list their keys, as they do where the bounds of the store's time are wide.
    settings.commit_wait_max_ms = 0;
    settings.versions_kept_max = 8;
    let mut shop = Shop::new(2, &settings);
    shop.span_ms = 20;
    shop.write(0, None, &["k", "l"], "old");
    let begin = Begin { fresh: true, ..shop.begin(None) };
    let attempt = shop.open(1, begin);
    assert_eq!(shop.get(1, attempt, "k"), Ok(Some("old".into())));
    for _ in 0..60 {
        shop.write(0, None, &["k", "l"], "new");
    }
    shop.hold = |call| matches!(call, Call::List { after: Some(_), .. } | Call::Get(Name::Commit(_)));
    let batch = Batch { ops: vec![Op::Get(key("l"))], commit: None };
    let ticket = shop.send(1, Verb::Run(attempt, batch));
    let mut rounds = 0;
    let reply = loop {
        if let Some(reply) = shop.reply(1, ticket) {
            break reply;
        }
        rounds += 1;
        assert!(rounds < 40, "the reader starts again with each commit");
        shop.write(1, None, &["k", "l"], "newer");
        shop.answer_held();
    };
    let Ok(Reply::Ran { reads, .. }) = reply else { panic!("{reply:?}") };
    assert!(
        matches!(&reads[0].found, Found::Version(_, write) if *write == Write::Put(value("old"))),
        "{reads:?}"
    );
}

/// The test uses no clock: with a walk over the whole commit for each of its keys it would not end.
#[test]
fn a_listing_of_what_one_large_commit_wrote_ends() {
    let settings = Settings { run_scripts_twice: false, ..Shop::settings() };
    let mut shop = Shop::new(1, &settings);
    shop.checks_invariants = false;
    let names: Vec<String> = (0..10_000).map(|number| format!("key{number:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    shop.write(0, None, &names, "v");
    let begin = shop.begin(None);
    let attempt = shop.open(0, begin);
    let mut after = None;
    let mut seen = 0;
    loop {
        let list = ListKeys { prefix: "key".into(), after, limit: 1_000, delimiter: None };
        let Ok(Reply::Listed { keys, next, .. }) = shop.ask(0, Verb::List(attempt, list)) else {
            panic!("a listing")
        };
        seen += keys.len();
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, names.len());
}

#[test]
fn a_listing_makes_one_call_per_page_not_per_key() {
    let mut settings = Shop::settings();
    settings.scan_page_len = 100;
    let mut shop = Shop::new(2, &settings);
    let names: Vec<String> = (0..150).map(|number| format!("key{number:03}")).collect();
    for name in &names {
        shop.write(0, None, &[name], "v");
    }
    let begin = shop.begin(None);
    let attempt = shop.open(1, begin);
    shop.calls.clear();
    let list = ListKeys { prefix: "key".into(), after: None, limit: 1_000, delimiter: None };
    let Ok(Reply::Listed { keys, prefixes, next }) = shop.ask(1, Verb::List(attempt, list)) else {
        panic!("a listing")
    };
    assert_eq!(keys.iter().map(|listed| listed.key.as_str().to_owned()).collect::<Vec<_>>(), names);
    assert_eq!((prefixes, next), (Vec::<String>::new(), None));
    assert_eq!(shop.calls.len(), 2, "{:?}", shop.calls);
}

/// Lists the keys after a cursor that has far more keys before it than fit on a page.
pub(crate) fn asks_for_nothing_before_its_cursor(settings: &Settings) {
    let mut shop = Shop::new(1, &Settings { scan_page_len: 10, ..settings.clone() });
    let names: Vec<String> = (0..50).map(|number| format!("key{number:03}")).collect();
    for name in &names {
        shop.write(0, None, &[name], "v");
    }
    let begin = shop.begin(None);
    let attempt = shop.open(0, begin);
    shop.calls.clear();
    let after = Some(names[44].clone());
    let list = ListKeys { prefix: "key".into(), after, limit: 10, delimiter: None };
    let Ok(Reply::Listed { keys, .. }) = shop.ask(0, Verb::List(attempt, list)) else { panic!("a listing") };
    assert_eq!(keys.iter().map(|listed| listed.key.as_str().to_owned()).collect::<Vec<_>>(), names[45..]);
    assert_eq!(shop.count(|call| matches!(call, Call::Scan { .. })), 1, "{:?}", shop.calls);
}

#[test]
fn a_listing_scans_nothing_before_its_cursor() {
    asks_for_nothing_before_its_cursor(&Shop::settings());
}

#[test]
fn a_delimiter_rolls_keys_up_and_pages_continue_after_a_prefix() {
    let mut shop = Shop::new(1, &Shop::settings());
    for name in ["a", "d/1", "d/2", "d/3", "e/1", "z"] {
        shop.write(0, None, &[name], "v");
    }
    let begin = shop.begin(None);
    let attempt = shop.open(0, begin);
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let list = ListKeys { prefix: String::new(), after, limit: 2, delimiter: Some("/".into()) };
        let Ok(Reply::Listed { keys, prefixes, next }) = shop.ask(0, Verb::List(attempt, list)) else {
            panic!("a listing")
        };
        let keys = keys.iter().map(|listed| listed.key.as_str().to_owned());
        let mut page: Vec<String> = keys.chain(prefixes).collect();
        assert!(page.len() <= 2, "a page keeps to its limit: {page:?}");
        page.sort();
        seen.extend(page);
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "d/", "e/", "z"]);
}

#[test]
fn a_prefix_that_was_found_stays_although_a_batch_deletes_its_key_meanwhile() {
    let mut settings = Shop::settings();
    settings.scan_page_len = 1;
    let mut shop = Shop::new(1, &settings);
    for name in ["d/1", "d/2", "z"] {
        shop.write(0, None, &[name], "v");
    }
    let begin = shop.begin(None);
    let attempt = shop.open(0, begin);
    // The first page shows one key with the prefix; the next one begins after all of them.
    shop.hold = |call| matches!(call, Call::Scan { scan: Scan::Versions { after: Some(_), .. }, .. });
    let list = ListKeys { prefix: String::new(), after: None, limit: 10, delimiter: Some("/".into()) };
    let listing = shop.send(0, Verb::List(attempt, list));
    let batch = Batch { ops: vec![Op::Delete(key("d/1"))], commit: None };
    shop.ask(0, Verb::Run(attempt, batch)).expect("an open transaction takes writes");
    shop.release(None);
    shop.run();
    let Some(Ok(Reply::Listed { keys, prefixes, .. })) = shop.reply(0, listing) else { panic!("a listing") };
    assert_eq!(prefixes, ["d/"], "d/2 exists, although d/1 was deleted");
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[test]
fn a_key_whose_tombstone_was_collected_reads_as_absent_below_a_later_commit() {
    let mut shop = Shop::new(2, &Shop::settings());
    // Both keys were written in one commit, then one was deleted, and its tombstone was collected.
    shop.write(0, None, &["k", "l"], "1");
    let ops = vec![Op::Put(key("k"), value("2")), Op::Delete(key("l"))];
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..shop.begin(None) };
    shop.ask(0, Verb::Begin(Box::new(begin))).expect("it commits");
    shop.store.versions.remove(&key("l"));
    shop.set_mark(shop.true_ms() + 1);
    // Young versions cannot have been collected, so let time pass.
    shop.pass(120_000);
    let begin = Begin { fresh: true, ..shop.begin(None) };
    let reader = shop.open(1, begin);
    assert_eq!(shop.get(1, reader, "k"), Ok(Some("2".into())));
    // Another transaction writes both keys before the reader reads the other key.
    shop.write(0, None, &["k", "l"], "3");
    assert_eq!(shop.get(1, reader, "l"), Ok(None), "nothing was removed behind it, so the key was absent");
    assert_eq!(shop.read_fresh(1, "l"), Some("3".into()));
}
