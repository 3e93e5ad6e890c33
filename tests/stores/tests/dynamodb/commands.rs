//! Goal: `aft serve` and `aft store` work on DynamoDB, report its cost, and keep acknowledged data
//! over a SIGKILL; bad settings are rejected with a remedy. Method: the binary and DynamoDB Local.

use aft_services::{Server, Service};
use aft_store_tests::{aft, curl, serve};
use serde_json::Value;

fn keys(server: &Server) -> Option<(&str, &str)> {
    Some((server.access_key(), server.secret_key()))
}

#[test]
fn a_server_on_dynamodb_keeps_what_it_acknowledged() {
    let Some(server) = Service::DynamoDb.start_or_skip() else { return };
    let store = format!("dynamodb://aft/shop?endpoint={}", server.endpoint());
    aft(&["store", "probe", &store], keys(&server)).assert_refused(&["no such table", "aft store init"]);
    for made in ["made the table aft", "the table aft was there already"] {
        let ran = aft(&["store", "init", &store], keys(&server));
        let ready = ran.stdout.contains(made)
            && ran.stdout.contains("is ready")
            && ran.stdout.contains("stored by DynamoDB");
        assert!(ran.code == Some(0) && ready, "{ran:#?}");
    }
    let order = r#"{"request_id": "order-17", "ops": [{"put": "stock/tea", "text": "4"}], "result": "b2s="}"#;
    let first = serve(&store, &server);
    let told = curl(&["--json", order, &format!("{}/v1/execute", first.url)]);
    assert!(told.contains("\"committed\":true"), "{told}");
    let metrics = curl(&[&format!("{}/metrics", first.url)]);
    let cost = metrics.lines().find_map(|line| {
        line.starts_with("aft_store_cost_dollars{").then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    assert!(cost.is_some_and(|cost| cost > 1e-6), "{metrics}");
    assert!(metrics.contains("class=\"put_item\"") && metrics.contains("class=\"query\""));
    // SIGKILL, and a new process without any memory of the first.
    drop(first);
    let second = serve(&store, &server);
    let key = format!("{}/v1/keys/stock/tea", second.url);
    // Visible at once: the commit was acknowledged after every entry was durable.
    assert_eq!(curl(&[&key]), "4");
    let again = curl(&["--json", order, &format!("{}/v1/execute", second.url)]);
    assert!(again.contains("\"replayed\":true") && again.contains("b2s="), "{again}");

    // Many small values that do not fit into one item together: some of them are stored in parts of
    // their own.
    let value = "v".repeat(9_000);
    let ops: Vec<Value> =
        (0..60).map(|i| serde_json::json!({"put": format!("many/{i}"), "text": value})).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let body = directory.path().join("body.json");
    std::fs::write(&body, serde_json::json!({ "ops": ops }).to_string()).expect("a file");
    let told = curl(&["--json", &format!("@{}", body.display()), &format!("{}/v1/execute", second.url)]);
    println!("60 values of 9,000 bytes: {}", &told[..told.len().min(400)]);
    let stored = curl(&[&format!("{}/v1/keys/many/59", second.url)]);
    assert!(told.contains("\"committed\":true"), "{told}");
    assert_eq!(stored, value);
    // More keys than a record of 400,000 bytes can name: the commit is rejected, and nothing is
    // written.
    let ops: Vec<Value> =
        (0..1_000).map(|i| serde_json::json!({"put": format!("{i:0>900}"), "text": "v"})).collect();
    std::fs::write(&body, serde_json::json!({ "ops": ops }).to_string()).expect("a file");
    let told = curl(&["--json", &format!("@{}", body.display()), &format!("{}/v1/execute", second.url)]);
    println!("1,000 long keys: {}", &told[..told.len().min(400)]);
    assert!(told.contains("\"code\":\"too_large\"") && told.contains("at most 400000"), "{told}");
    // A value that is larger than an item is stored in parts.
    let large = vec![b'x'; 1_000_000];
    let file = directory.path().join("large");
    std::fs::write(&file, &large).expect("a file");
    let at = format!("{}/v1/keys/large", second.url);
    curl(&["--fail", "--upload-file", &file.display().to_string(), &at]);
    assert_eq!(curl(&["--fail", &at]).into_bytes(), large);
}

#[test]
fn bench_reports_the_cost_of_a_load() {
    let Some(server) = Service::DynamoDb.start_or_skip() else { return };
    let store = format!("dynamodb://aft/bench?endpoint={}", server.endpoint());
    // The costs below are those of commits at the level read atomic.
    let made = aft(&["store", "init", &store, "--isolation", "=read_atomic"], keys(&server));
    assert_eq!(made.code, Some(0), "{made:#?}");
    let arguments =
        ["bench", "standard", "--store", &store, "--transactions", "100", "--keys", "20", "--json"];
    let ran = aft(&arguments, keys(&server));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let figures: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    println!("{figures:#}");
    let cost = figures["cost_per_million_transactions"].as_f64().expect("it charges");
    // A record of two values of 4 KiB is 9 units, two versions 2: 6.9 dollars. A commit of one key
    // is a whole entry of 5 units. Reads are added to that.
    assert!((6.0..15.0).contains(&cost), "{figures:#}");
    let units = figures["consumed_per_transaction"]["write_units"].as_f64().expect("it consumes");
    assert!((9.0..13.0).contains(&units), "{figures:#}");
}

#[test]
fn bad_settings_are_rejected_with_a_remedy() {
    let Some(server) = Service::DynamoDb.start_or_skip() else { return };
    let url = format!("dynamodb://aft/p?endpoint={}", server.endpoint());
    let check = |url: &str, keys: Option<(&str, &str)>, words: &[&str]| {
        let ran = aft(&["serve", "--store", url, "--listen", "127.0.0.1:0"], keys);
        ran.assert_refused(words);
        assert!(!ran.stderr.contains(server.secret_key()) && !ran.stderr.contains("hunter2"), "{ran:#?}");
    };
    let known = keys(&server);
    check(&url, None, &["no credentials", "AWS_ACCESS_KEY_ID"]);
    check(&url, known, &["no such table", "aft store init"]);
    check("dynamodb://aft/p", known, &["no region", "AWS_REGION"]);
    check("dynamodb://aft?endpont=http://x", known, &["\"endpont\"", "dynamodb://TABLE/PREFIX"]);
    check("dynamodb://aft?endpoint=http://me:hunter2@x", known, &["names a user"]);
}
