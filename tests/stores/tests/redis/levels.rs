//! The isolation levels of a store's keys: set when the store is made, changed for prefixes that
//! hold no keys, and shown.

use aft_store_tests::{Ran, aft_in, curl, serve};
use serde_json::{Value, json};

use crate::{at, server};

fn init(url: &str, isolation: &[&str]) -> Ran {
    let flags = isolation.iter().flat_map(|level| ["--isolation", *level]);
    aft_in(&["store", "init", url].into_iter().chain(flags).collect::<Vec<_>>(), &[])
}

fn show(url: &str) -> Value {
    let ran = aft_in(&["store", "show", url, "--json"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    serde_json::from_str(&ran.stdout).expect("it is JSON")
}

/// Asserts that a command succeeded and that its output contains all of `words`.
fn said(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    words.iter().for_each(|word| assert!(ran.stdout.contains(word), "{word:?} is missing in {ran:#?}"));
}

#[test]
fn a_new_store_is_serializable_by_default() {
    let Some(server) = server() else { return };
    let [usual, told, served] = ["usual", "told", "served"].map(|prefix| at(&server, prefix));
    aft_in(&["store", "show", &usual], &[]).assert_refused(&["there is no store here", "aft store init"]);

    said(&init(&usual, &[]), &["made now", "all keys serializable"]);
    assert_eq!(show(&usual)["levels"], json!({ "default": "serializable", "prefixes": {} }));
    let shown = aft_in(&["store", "show", &usual], &[]);
    let rows = [
        "format               2",
        "one process only     no",
        "races                2 of 8 writers: one create won each",
        "all nodes have       deadlines to 60000 ms",
        "mark                 at the beginning",
        "levels               serializable all keys",
    ];
    said(&shown, &rows);

    // The level without a prefix is that of all other keys; a prefix may contain an equals sign.
    said(
        &init(&told, &["=read_atomic", "cart/=serializable", "a=b/=serializable"]),
        &["all other keys read_atomic"],
    );
    let levels =
        json!({ "default": "read_atomic", "prefixes": { "a=b/": "serializable", "cart/": "serializable" } });
    assert_eq!(show(&told)["levels"], levels);

    // The first server on an empty store makes it as well.
    let serving = serve(&served, &server);
    assert_eq!(show(&served)["levels"]["default"], "serializable");
    let listed = r#"{"isolation": "serializable", "ops": [{"put": "stock/tea", "text": "4"}]}"#;
    let told = curl(&["--json", listed, &format!("{}/v1/execute", serving.url)]);
    assert!(told.contains("\"committed\":true"), "{told}");
}

#[test]
fn a_prefix_that_holds_keys_keeps_its_level() {
    let Some(server) = server() else { return };
    let url = at(&server, "shop");
    said(&init(&url, &["=read_atomic"]), &["made now"]);
    let serving = serve(&url, &server);
    curl(&["--fail", "-X", "PUT", "--data", "4", &format!("{}/v1/keys/stock/tea", serving.url)]);
    drop(serving);
    let before = show(&url);

    for prefix in ["", "stock/", "stock/tea"] {
        let refused = init(&url, &["cart/=serializable", &format!("{prefix}=serializable")]);
        refused.assert_refused(&["\"stock/tea\"", "read_atomic", "holds no keys"]);
    }
    assert_eq!(show(&url), before, "either all levels are changed, or none");
    let changed = init(&url, &["cart/=serializable", "stock/t=read_atomic"]);
    said(&changed, &["made before", "\"cart/\" serializable", "all other keys read_atomic"]);
    assert!(changed.stderr.contains("restart every node"), "{changed:#?}");
    // Repeating it, or leaving out the option, changes nothing.
    for levels in [&["cart/=serializable"][..], &[]] {
        let again = init(&url, levels);
        said(&again, &["\"cart/\" serializable"]);
        assert!(!again.stderr.contains("restart"), "{again:#?}");
    }
    let after = show(&url);
    assert_eq!(after["levels"]["prefixes"], json!({ "cart/": "serializable", "stock/t": "read_atomic" }));
    assert_eq!(after["identity"], before["identity"]);
    // A prefix whose keys all have a level of their own can be changed.
    said(&init(&url, &["stock/=serializable"]), &["\"stock/\" serializable"]);

    // A node that starts now uses the new levels.
    let serving = serve(&url, &server);
    let write = |key: &str| {
        let body = json!({ "isolation": "read_atomic", "ops": [{ "put": key, "text": "1" }] }).to_string();
        curl(&["--json", &body, &format!("{}/v1/execute", serving.url)])
    };
    assert!(write("stock/tea").contains("\"committed\":true"));
    let refused = write("cart/1");
    assert!(refused.contains("cart/") && refused.contains("--isolation"), "{refused}");
}

#[test]
fn invalid_levels_are_rejected() {
    let Some(server) = server() else { return };
    let url = at(&server, "shop");
    init(&url, &["a=serializable", "a=read_atomic"]).assert_refused(&["\"a\"", "two levels"]);
    init(&url, &["a"]).assert_refused(&["PREFIX=LEVEL"]);
    init(&url, &["a=snapshot"]).assert_refused(&["serializable or read_atomic"]);

    // A store that one process holds has no levels.
    let directory = tempfile::tempdir().expect("a directory");
    let local = format!("local:{}", directory.path().join("store").display());
    aft_in(&["store", "show", &local], &[]).assert_refused(&["there is no store", "aft store init"]);
    assert!(!directory.path().join("store").exists(), "showing makes nothing");
    for url in [&local[..], "memory:"] {
        init(url, &["=serializable"]).assert_refused(&["every transaction chooses", "--isolation"]);
    }
    said(&init(&local, &[]), &["chosen by each transaction"]);
    assert_eq!(show(&local)["levels"], Value::Null);
    let shown = aft_in(&["store", "show", &local], &[]);
    said(&shown, &["one process only     yes", "levels               chosen by each transaction"]);
}
