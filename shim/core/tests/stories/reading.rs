//! Goal: the versions that a transaction reads, and the calls that it makes for them.

use aft_core::message::{ListKeys, Reply, Verb};
use aft_core::store::Call;

use crate::shop::Shop;

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

#[test]
fn a_listing_asks_for_pages_and_not_for_keys() {
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

#[test]
fn a_delimiter_rolls_keys_up_and_pages_go_on_behind_a_prefix() {
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
