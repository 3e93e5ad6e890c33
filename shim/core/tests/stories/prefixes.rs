//! Goal: a listing with a delimiter looks at few keys below each common prefix, and says nothing of
//! the others: what is read afterwards fits to it.
//!
//! Method: one node writes, another lists common prefixes and reads keys below them; results and
//! calls are compared.

use aft_core::ids::AttemptId;
use aft_core::message::{Batch, Begin, CommitArgs, Conflict, Isolation, ListKeys, Op, Refusal, Reply, Verb};
use aft_core::settings::Settings;
use aft_core::store::{Call, Name};

use crate::shop::{Shop, key};

/// Returns the lines of a listing, in order.
fn list(shop: &mut Shop, node: usize, attempt: AttemptId) -> Vec<String> {
    let list = ListKeys { prefix: String::new(), after: None, limit: 1_000, delimiter: Some("/".into()) };
    let Ok(Reply::Listed { keys, prefixes, next }) = shop.ask(node, Verb::List(attempt, list)) else {
        panic!("a listing")
    };
    assert_eq!(next, None, "all lines fit");
    let keys = keys.iter().map(|listed| listed.key.as_str().to_owned());
    let mut lines: Vec<String> = keys.chain(prefixes).collect();
    lines.sort();
    lines
}

fn delete(shop: &mut Shop, node: usize, names: &[&str]) {
    let ops = names.iter().map(|name| Op::Delete(key(name))).collect();
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..shop.begin(None) };
    shop.ask(node, Verb::Begin(Box::new(begin))).expect("it commits");
}

fn reader(shop: &mut Shop, node: usize) -> AttemptId {
    let begin = Begin { fresh: true, ..shop.begin(None) };
    shop.open(node, begin)
}

fn records(shop: &Shop) -> usize {
    shop.count(|call| matches!(call, Call::Get(Name::Commit(_))))
}

/// Tells a story with a store that leaves names out, and with one that does not.
fn tell(settings: &Settings, story: impl Fn(Shop)) {
    for scans_all in [false, true] {
        let mut shop = Shop::new(2, settings);
        shop.store.scans_all = scans_all;
        story(shop);
    }
}

#[test]
fn one_visible_key_settles_a_common_prefix() {
    tell(&Shop::settings(), settles_by_one_key);
}

fn settles_by_one_key(mut shop: Shop) {
    // Each transaction writes two keys below one prefix, so that a version of each needs a record.
    for prefix in ["a", "b", "c"] {
        for number in 0..10 {
            let names = [format!("{prefix}/{number}0"), format!("{prefix}/{number}1")];
            shop.write(0, None, &[&names[0], &names[1]], "v");
        }
    }
    shop.write(0, None, &["b", "bz"], "v");
    let attempt = reader(&mut shop, 1);
    shop.calls.clear();
    assert_eq!(list(&mut shop, 1, attempt), ["a/", "b", "b/", "bz", "c/"]);
    assert_eq!(records(&shop), 4, "one of each prefix, and that of the keys: {:?}", shop.calls);
    assert_eq!(shop.get(1, attempt, "a/91"), Ok(Some("v".into())), "nothing was said of it");
    assert_eq!(shop.get(1, attempt, "c/91"), Ok(Some("v".into())), "nothing was said of it");
}

#[test]
fn keys_below_a_settled_prefix_are_read_at_versions_that_fit_to_it() {
    tell(&Shop::settings(), fits_to_what_was_listed);
}

fn fits_to_what_was_listed(mut shop: Shop) {
    shop.write(0, None, &["a/1", "a/2", "a/3"], "old");
    let attempt = reader(&mut shop, 1);
    assert_eq!(list(&mut shop, 1, attempt), ["a/"]);
    shop.write(0, None, &["a/1", "a/2"], "new");
    delete(&mut shop, 0, &["a/1", "a/3"]);
    for name in ["a/2", "a/3", "a/1"] {
        assert_eq!(shop.get(1, attempt, name), Ok(Some("old".into())), "{name}");
    }
}

#[test]
fn ranges_beside_settled_prefixes_were_listed() {
    tell(&Shop::settings(), lists_what_is_beside);
}

fn lists_what_is_beside(mut shop: Shop) {
    shop.write(0, None, &["a/1", "a/5"], "v");
    shop.write(0, None, &["c/1", "c/5"], "v");
    let attempt = reader(&mut shop, 1);
    assert_eq!(list(&mut shop, 1, attempt), ["a/", "c/"]);
    shop.write(0, None, &["A", "a/0", "a/7", "b/1", "d"], "new");
    // a/7 lies behind the key that settles its prefix: it may be read, but not with the others.
    for name in ["A", "a/0", "b/1", "d", "a/7"] {
        assert_eq!(shop.get(1, attempt, name), Ok(None), "{name} was listed as absent, or fits to it");
    }
    assert_eq!(list(&mut shop, 1, attempt), ["a/", "c/"]);
}

#[test]
fn deleted_keys_settle_nothing_and_take_few_round_trips() {
    tell(&Shop::settings(), looks_behind_deleted_keys);
}

fn looks_behind_deleted_keys(mut shop: Shop) {
    let names: Vec<String> = (0..100).map(|number| format!("a/{number:02}")).collect();
    for name in &names {
        // A named request has a record, so that each version has to be read.
        shop.write(0, Some(1 + name[2..].parse::<u8>().expect("a number")), &[name], "v");
    }
    let deleted: Vec<&str> = names[..60].iter().map(String::as_str).collect();
    delete(&mut shop, 0, &deleted);
    shop.write(0, None, &["b/1", "b/2"], "v");
    delete(&mut shop, 0, &["b/1", "b/2"]);
    let attempt = reader(&mut shop, 1);
    shop.calls.clear();
    let listing = ListKeys { prefix: String::new(), after: None, limit: 10, delimiter: Some("/".into()) };
    shop.hold = |_| true;
    let ticket = shop.send(1, Verb::List(attempt, listing));
    let mut rounds = 0;
    let reply = loop {
        if let Some(reply) = shop.reply(1, ticket) {
            break reply;
        }
        rounds += 1;
        shop.answer_held();
    };
    let Ok(Reply::Listed { keys, prefixes, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!((keys.len(), prefixes), (0, vec!["a/".to_owned()]));
    assert!(rounds <= 15, "waves and pages of more and more keys take {rounds} rounds");
    shop.hold = |_| false;
    // Below the other prefix every key was looked at, so it stays empty.
    shop.write(0, None, &["b/0", "b/2"], "new");
    for name in ["b/0", "b/1", "b/2"] {
        assert_eq!(shop.get(1, attempt, name), Ok(None), "{name}");
    }
}

#[test]
fn a_page_that_ends_below_a_settled_prefix_goes_on_behind_it() {
    tell(&Settings { scan_page_len: 3, ..Shop::settings() }, goes_on_behind);
}

fn goes_on_behind(mut shop: Shop) {
    let pages = if shop.store.scans_all { 4 } else { 2 };
    for prefix in ["a", "b", "c"] {
        for number in 0..6 {
            shop.write(0, None, &[&format!("{prefix}/{number}")], "v");
        }
    }
    shop.write(0, None, &["z"], "v");
    let attempt = reader(&mut shop, 1);
    shop.calls.clear();
    assert_eq!(list(&mut shop, 1, attempt), ["a/", "b/", "c/", "z"]);
    assert_eq!(shop.count(|call| matches!(call, Call::Scan { .. })), pages, "{:?}", shop.calls);
    assert_eq!(shop.get(1, attempt, "b/2"), Ok(Some("v".into())), "nothing was said of it");
}

#[test]
fn an_unsettled_page_goes_on_below_its_prefix() {
    tell(&Settings { scan_page_len: 3, ..Shop::settings() }, goes_on_below);
}

fn goes_on_below(mut shop: Shop) {
    let names: Vec<String> = (0..8).map(|number| format!("a/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    shop.write(0, None, &names, "v");
    delete(&mut shop, 0, &names[..7]);
    let attempt = reader(&mut shop, 1);
    assert_eq!(list(&mut shop, 1, attempt), ["a/"]);
    delete(&mut shop, 0, &["a/7"]);
    let attempt = reader(&mut shop, 1);
    assert_eq!(list(&mut shop, 1, attempt), Vec::<String>::new());
}

/// Each listing of these prefixes has a thousand ranges, and a transaction may have ten thousand.
#[test]
fn common_prefixes_that_are_listed_again_count_once() {
    let mut shop = Shop::new(1, &Settings { run_scripts_twice: false, ..Shop::settings() });
    shop.checks_invariants = false;
    let names = (0..900).flat_map(|number| ["0", "1"].map(|key| format!("{number:03}/{key}")));
    let names: Vec<String> = names.collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    shop.write(0, None, &names, "v");
    let attempt = reader(&mut shop, 0);
    for _ in 0..15 {
        assert_eq!(list(&mut shop, 0, attempt).len(), 900);
    }
}

#[test]
fn a_check_looks_at_what_a_listing_of_common_prefixes_says() {
    let settings = Settings { timeout_max_ms: 60_000, ..Settings::new(true, 0, true) };
    let mut shop = Shop::new(1, &Settings { timeout_default_ms: 10_000, ..settings });
    let mut run = |written: &str| {
        shop.write(0, None, &["a/1", "a/2", "a/3", "c/1"], "v");
        let begin = Begin { isolation: Some(Isolation::Serializable), ..shop.begin(None) };
        let attempt = shop.open_and_put(0, begin, &["own"], "v");
        list(&mut shop, 0, attempt);
        shop.write(0, None, &[written], "beside");
        shop.ask(0, Verb::Commit(attempt, CommitArgs::default())).err()
    };
    let conflict = |name: &str, ended: Option<Refusal>| match ended {
        Some(Refusal::Conflict(Conflict { key: Some(of), .. })) => assert_eq!(of.as_str(), name),
        other => panic!("{name}: {other:?}"),
    };
    conflict("a/1", run("a/1"));
    conflict("b/1", run("b/1"));
    conflict("b", run("b"));
    assert_eq!(run("a/3"), None, "the listing did not rest on it");
}
