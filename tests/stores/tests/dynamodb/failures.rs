//! Goal: failures between the store and its server are classified by what may have happened, and
//! the message names the remedy; throttling loses nothing. Method: a front before DynamoDB Local
//! (which checks no signatures) that breaks one answer at a time, or leaves a part of every batch
//! unprocessed; a SIGKILL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aft_services::Service;
use aft_store::{Committed, Created, Error, Name, Replaced, Space, Store, Tag, Writes};
use aft_store_dynamodb::{DynamoDbStore, Options};
use aft_store_tests::{
    Act, Behind, Front, Rewrite, RewriteAnswer, Table, both_ways, busy, name, no_answer, redis_speaker,
    refused,
};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use bytes::Bytes;
use serde_json::{Value, json};

const HTML: &str = "<html><body>Welcome to the hotel's network</body></html>";
const THROUGHPUT: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput was exceeded."}"#;
const THROTTLING: &str =
    r#"{"__type":"com.amazon.coral.availability#ThrottlingException","message":"Rate exceeded"}"#;
const INTERNAL: &str =
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"Internal server error"}"#;
const DENIED: &str =
    r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized"}"#;
const FORGED: &str = r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Credential should be scoped to a valid region."}"#;
const STRANGER: &str = r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"The security token included in the request is invalid."}"#;

async fn behind() -> Option<(Table, Behind<DynamoDbStore>)> {
    let table = Table::start(Service::DynamoDb).await?;
    let (url, deleted) = ("dynamodb://aft/p?endpoint=", vec![name("there")]);
    let behind = Behind::start(&table.server, url, deleted, async |endpoint: String| {
        table.open(&table.url_by(&endpoint, "p")).await.expect("all passes")
    })
    .await;
    Some((table, behind))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_classified_by_what_may_have_happened() {
    let Some((_table, behind)) = behind().await else { return };
    behind.every_call(Act::PassButCut, no_answer, &[]).await;
    behind.every_call(Act::Answer(500, INTERNAL), no_answer, &["InternalServerError"]).await;
    behind.every_call(Act::Answer(503, HTML), no_answer, &[]).await;
    behind.every_call(Act::Answer(400, THROUGHPUT), busy, &["ProvisionedThroughputExceeded"]).await;
    behind.every_call(Act::Answer(400, THROTTLING), busy, &["ThrottlingException"]).await;
    behind.every_call(Act::Answer(400, DENIED), refused, &["AccessDenied", "BatchWriteItem"]).await;
    behind.every_call(Act::Answer(400, FORGED), refused, &["region=", "AWS_ACCESS_KEY_ID"]).await;
    // Servers that do not speak DynamoDB: a captive portal's page, and a server that answers 200 to
    // everything.
    behind.every_call(Act::Answer(200, HTML), no_answer, &["does not speak DynamoDB"]).await;
    behind.every_call(Act::Answer(403, HTML), no_answer, &["does not speak DynamoDB"]).await;
    behind.every_call(Act::Answer(200, "{}"), no_answer, &["does not speak DynamoDB"]).await;
    // No request was repeated by the SDK: 8 calls with one request each, two with a query in each
    // of 8 partitions, and a put and a get before.
    behind.front.take();
    behind.every_call(Act::Answer(500, INTERNAL), no_answer, &[]).await;
    let seen = behind.front.take().len();
    assert!((12..=26).contains(&seen), "{seen}");
}

/// Lets some of a page's queries fail, one of which goes to each partition, and checks that those
/// alone are repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_repeats_only_the_queries_that_failed() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let queries = Arc::<AtomicUsize>::default();
    let fails = {
        let queries = queries.clone();
        move |request: &hyper::Request<hyper::body::Incoming>| {
            let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
            let is_query = target.is_some_and(|target| target.ends_with(".Query"));
            match is_query && queries.fetch_add(1, Ordering::Relaxed) % 12 == 2 {
                true => Act::Answer(500, INTERNAL),
                false => Act::Pass,
            }
        }
    };
    let front = Front::start(&table.server.endpoint(), fails).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("one query is answered");
    let groups: Vec<String> = (0..40).map(|number| format!("g{number:02}")).collect();
    for group in &groups {
        store.put(&Name::new(Space::Version, group.clone(), "i"), Bytes::new()).await.expect("all passes");
    }
    // The third query fails: the scan sends it again, and none of the other seven.
    queries.store(0, Ordering::Relaxed);
    let page = store.scan(Space::Version, b"", None, 1_000).await.expect("seven are answered");
    assert_eq!(
        page.names.iter().map(|name| &name.group).collect::<Vec<_>>(),
        groups.iter().collect::<Vec<_>>()
    );
    assert_eq!(queries.swap(0, Ordering::Relaxed), 8 + 1);
    // Groups may need a second query in some partitions, but never a whole second round.
    let page = store.groups(Space::Version, b"", None, 20).await.expect("seven are answered");
    assert_eq!(page.groups, groups[..20]);
    let asked = queries.load(Ordering::Relaxed);
    assert!(asked > 8 && asked < 16, "{asked}");
}

/// Returns a rewrite that removes 30 % of a batch's requests, and reports them in the answer as not
/// processed.
fn leave_undone(undone: Arc<AtomicUsize>, turn: Arc<AtomicUsize>) -> Rewrite {
    Rewrite(Arc::new(move |body: Bytes| {
        let untouched: RewriteAnswer = Box::new(|answer| answer);
        let Ok(mut request) = serde_json::from_slice::<Value>(&body) else { return (body, untouched) };
        let Some(requests) = request.pointer_mut("/RequestItems/aft").and_then(Value::as_array_mut) else {
            return (body, untouched);
        };
        let all = std::mem::take(requests);
        let total = all.len();
        let (left, kept): (Vec<Value>, Vec<Value>) =
            all.into_iter().partition(|_| turn.fetch_add(1, Ordering::Relaxed) * 7 % 10 < 3);
        if left.len() == total {
            // The server rejects an empty batch, so such a batch is passed on unchanged.
            *requests = left;
            return (Bytes::from(request.to_string()), untouched);
        }
        undone.fetch_add(left.len(), Ordering::Relaxed);
        *requests = kept;
        let answer: RewriteAnswer = Box::new(move |answer| {
            let mut answer: Value = serde_json::from_slice(&answer).expect("the server answers JSON");
            if !left.is_empty() {
                answer["UnprocessedItems"] = json!({ "aft": left });
            }
            Bytes::from(answer.to_string())
        });
        (Bytes::from(request.to_string()), answer)
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_of_items_and_calls_loses_nothing() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let (undone, turn, calls, throttled) =
        (Arc::<AtomicUsize>::default(), Arc::default(), AtomicUsize::new(0), Arc::<AtomicUsize>::default());
    let rewrite = leave_undone(undone.clone(), turn);
    let throttles = Arc::<AtomicBool>::default();
    let (count, on) = (throttled.clone(), throttles.clone());
    let front = Front::start(&table.server.endpoint(), move |request| {
        if !on.load(Ordering::Relaxed) {
            return Act::Pass;
        }
        if calls.fetch_add(1, Ordering::Relaxed) * 7 % 10 < 3 {
            count.fetch_add(1, Ordering::Relaxed);
            return Act::Answer(400, THROUGHPUT);
        }
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        match target {
            Some("DynamoDB_20120810.BatchWriteItem") => Act::Rewrite(rewrite.clone()),
            _ => Act::Pass,
        }
    })
    .await;
    let quiet = table.open(&table.url("p")).await.expect("the server runs");
    let url = table.url_by(&front.endpoint(), "p");
    let store = table.open(&url).await.expect("nothing is throttled yet");
    throttles.store(true, Ordering::Relaxed);

    // A call that is busy took no effect: repeated, each creates exactly once.
    let numbered = |i: u32| Name::new(Space::Version, "k", i.to_be_bytes().to_vec());
    let names: Vec<Name> = (0..120).map(numbered).collect();
    for (i, name) in names.iter().enumerate() {
        loop {
            match store.create(name, Bytes::from(i.to_string())).await {
                Ok(created) => {
                    assert_eq!(created, Created::Created, "{name}: an attempt before had an effect");
                    break;
                }
                Err(error) => assert!(busy(&error), "{error:?}"),
            }
        }
    }
    for (i, name) in names.iter().enumerate() {
        assert_eq!(quiet.get(name).await.unwrap().expect("it was created").0, i.to_string());
    }
    // Of concurrent puts, some are left unprocessed: those are reported as busy, and the others are
    // done.
    let put = async |i: usize| {
        let body = Bytes::from(format!("again {i}"));
        while let Err(error) = store.put(&names[i], body.clone()).await {
            assert!(busy(&error), "{error:?}");
        }
    };
    futures::future::join_all((0..names.len()).map(put)).await;
    for (i, name) in names.iter().enumerate() {
        assert_eq!(quiet.get(name).await.unwrap().expect("it was put").0, format!("again {i}"));
    }
    let undone_puts = undone.swap(0, Ordering::Relaxed);
    // Of a deletion, parts are left unprocessed again and again: in the end all names are deleted,
    // and no others.
    store.delete(&names[..100]).await.expect("repeats get through");
    let left = quiet.list(Space::Version, b"k", None, 1_000).await.unwrap().items;
    let expected: Vec<Bytes> = names[100..].iter().map(|name| name.item.clone()).collect();
    assert_eq!(left, expected);
    let (undone, throttled) = (undone.load(Ordering::Relaxed), throttled.load(Ordering::Relaxed));
    println!("{undone_puts} puts and {undone} deletions left undone, {throttled} calls throttled");
    assert!(undone_puts >= 20 && undone >= 20 && throttled >= 30, "{undone_puts} {undone} {throttled}");
}

/// Leaves entries of a commit unprocessed: exactly those are reported as busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_piece_of_a_commit_has_its_own_outcome() {
    let Some((_table, behind)) = behind().await else { return };
    let store = &behind.store;
    let undone = Arc::<AtomicUsize>::default();
    let leave_undone = Act::Rewrite(leave_undone(undone.clone(), Arc::default()));
    let commit = async |request: &'static str, n: usize| {
        let writes = aft_store_tests::writes(request, request, n);
        let committed = store.commit(writes.clone()).await;
        (writes, committed)
    };
    let check = async |writes: Writes, committed: Committed, failed: fn(&Error) -> bool| {
        behind.set(Act::Pass);
        let mut failures = 0;
        for ((name, _), outcome) in writes.puts.iter().zip(&committed.puts) {
            let there = store.get(name).await.expect("all passes").is_some();
            assert_eq!(there, outcome.is_ok(), "{name}: {outcome:?}");
            if let Err(error) = outcome {
                assert!(failed(error), "{error:?}");
                failures += 1;
            }
        }
        failures
    };
    behind.set(leave_undone);
    let (writes, committed) = commit("undone", 60).await;
    // The record is not part of a batch. (The rewrite leaves other calls unchanged.)
    assert_eq!(committed.created, Some(Ok(Created::Created)));
    let failures = check(writes, committed, busy).await;
    assert_eq!(failures, undone.load(Ordering::Relaxed));
    assert!((10..=30).contains(&failures), "{failures}");

    // When all of it is throttled or rejected, each piece is reported so.
    for (request, act, failed) in [
        ("throttled", Act::Answer(400, THROUGHPUT), busy as fn(&Error) -> bool),
        ("denied", Act::Answer(400, DENIED), refused),
    ] {
        behind.set(act);
        let (writes, committed) = commit(request, 3).await;
        let created = committed.created.clone().expect("there is a record").expect_err("nothing passes");
        assert!(failed(&created), "{created:?}");
        assert_eq!(check(writes, committed, failed).await, 3);
    }
    // A commit that is carried out without an answer.
    behind.set(Act::PassButCut);
    let (writes, committed) = commit("cut", 3).await;
    assert!(committed.created.is_some_and(|created| created.is_err_and(|error| no_answer(&error))));
    assert!(committed.puts.iter().all(|put| put.as_ref().is_err_and(no_answer)), "{:?}", committed.puts);
    behind.set(Act::Pass);
    assert!(store.get(&writes.puts[2].0).await.expect("all passes").is_some());
    // An entry that does not fit into an item is rejected before it is sent, and does not affect
    // the others.
    let mut writes = aft_store_tests::writes("large", "large", 2);
    writes.puts[0].1 = Bytes::from(vec![7; store.capabilities().body_bytes_max + 1]);
    let committed = store.commit(writes).await;
    assert!(committed.puts[0].as_ref().is_err_and(refused) && committed.puts[1].is_ok(), "{committed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_processes_a_batch_is_reported_as_busy() {
    let Some((_table, behind)) = behind().await else { return };
    let names = [name("a"), name("b")];
    for name in &names {
        behind.store.put(name, Bytes::new()).await.expect("all passes");
    }
    behind.set(Act::Rewrite(Rewrite(Arc::new(|body: Bytes| {
        let request: Value = serde_json::from_slice(&body).expect("a request");
        let items = request["RequestItems"].clone();
        // The server gets a harmless batch instead.
        let harmless = json!({"RequestItems": {"aft": [{"DeleteRequest": {"Key": {"p": {"S": "nobody"}, "s": {"B": "AA=="}}}}]}, "ReturnConsumedCapacity": "TOTAL"});
        let answer: RewriteAnswer = Box::new(move |answer| {
            let mut answer: Value = serde_json::from_slice(&answer).expect("the server answers JSON");
            answer["UnprocessedItems"] = items;
            Bytes::from(answer.to_string())
        });
        (Bytes::from(harmless.to_string()), answer)
    }))));
    let start = std::time::Instant::now();
    let error = behind.store.delete(&names).await.expect_err("nothing is ever done");
    let took = start.elapsed();
    assert!(busy(&error) && error.to_string().contains("2 of them were not deleted"), "{error:?}");
    // Within a node's own timeout of 10 s, but not at once.
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
    behind.set(Act::Pass);
    assert!(behind.store.get(&names[0]).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_fit_an_item_is_rejected() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let store = table.open(&table.url(&"p".repeat(128))).await.expect("the server runs");
    let most = store.capabilities().body_bytes_max;
    // The longest name: a group that is cut in the key is stored whole beside it.
    let name = Name::new(Space::Version, vec![0; Name::GROUP_BYTES_MAX], vec![0xff; Name::ITEM_BYTES_MAX]);
    store.put(&name, Bytes::from(vec![1; most])).await.expect("it fits");
    assert_eq!(store.get(&name).await.unwrap().unwrap().0.len(), most);
    let error = store.put(&name, Bytes::from(vec![1; most + 1])).await.expect_err("it does not fit");
    assert!(refused(&error) && error.to_string().contains("400 KB"), "{error:?}");
    // A tag that the store has never returned matches nothing.
    for tag in [&b""[..], b"7", &[0; 16]] {
        let tag = Tag(Bytes::copy_from_slice(tag));
        match store.replace(&name, &tag, Bytes::new()).await {
            Ok(answer) => assert_eq!(answer, Replaced::Changed, "{tag:?}"),
            Err(error) => panic!("{tag:?}: {error}"),
        }
        assert_eq!(store.delete_if(&name, &tag).await, Ok(Replaced::Changed), "{tag:?}");
    }
}

async fn cannot_open(url: &str, options: &Options, words: &[&str]) {
    let why = DynamoDbStore::open(url, options).await.expect_err("it cannot be opened").to_string();
    for word in words {
        assert!(why.contains(word), "{word:?} is missing in {why}");
    }
    let secret = options.keys.as_ref().map_or("", |keys| keys.secret.as_str());
    assert!(!why.contains(secret), "{why}");
}

/// Returns a client that works on the table directly.
async fn by_hand(table: &Table) -> aws_sdk_dynamodb::Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(table.server.region())
        .endpoint_url(table.server.endpoint())
        .credentials_provider(aws_sdk_dynamodb::config::Credentials::new(
            table.server.access_key(),
            table.server.secret_key(),
            None,
            None,
            "test",
        ))
        .load()
        .await;
    aws_sdk_dynamodb::Client::new(&config)
}

/// Puts an item without a body into the table directly.
async fn put_by_hand(client: &aws_sdk_dynamodb::Client, partition: &str, sort: &[u8]) {
    let put = client
        .put_item()
        .table_name("aft")
        .item("p", AttributeValue::S(partition.to_owned()))
        .item("s", AttributeValue::B(Blob::new(sort)))
        .send();
    Box::pin(put).await.expect("the server runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_items_are_reported_and_skipped() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let store = table.open(&table.url("p")).await.expect("the server runs");
    // Short groups in every partition, and groups that are cut and have a common start.
    let mut groups: Vec<String> = (0..40).map(|number| format!("g{number:02}")).collect();
    groups.extend((0..30).map(|number| "h".repeat(900) + &format!("{number:02}")));
    groups.sort();
    for group in &groups {
        let name = Name::new(Space::Version, group.clone(), "item");
        store.put(&name, Bytes::from("body")).await.expect("the server runs");
    }
    let client = by_hand(&table).await;
    let mut put: Vec<Vec<u8>> = vec![b"a".to_vec(), b"g07\0\x05".to_vec(), b"z\0".to_vec()];
    // Between those that are cut: an item whose group is missing, and one that names no group.
    put.push([&[b'h'; 734][..], b"\0\x03", &[7; 32], b"item"].concat());
    put.push([&[b'h'; 734][..], b"\0\x03", &[0xff; 7]].concat());
    // More foreign items than a page has names.
    put.extend((0..9).map(|number| vec![b'm', number]));
    for partition in [0, 3, 7] {
        for sort in &put {
            put_by_hand(&client, &format!("p/version/{partition}"), sort).await;
        }
    }
    for limit in [1, 3, 1_000] {
        let [scan, by_group] = both_ways(&*store, Space::Version, limit).await;
        let said = ["p/version/3:a was not written", "g07\\x00\\x05", "p/version/7:z\\x00 ", "hhh\\x00\\x03"];
        scan.check(&groups, &said);
        by_group.check(&groups, &["was not written by AFT"]);
    }
}

/// Makes a table whose key has another schema.
async fn make_other(table: &Table, name: &str) {
    let made = by_hand(table)
        .await
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(
            KeySchemaElement::builder()
                .attribute_name("id")
                .key_type(KeyType::Hash)
                .build()
                .expect("it has its name and type"),
        )
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("id")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .expect("it has its name and type"),
        )
        .send();
    Box::pin(made).await.expect("the server runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_reported_at_the_start() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let (endpoint, options) = (table.server.endpoint(), table.options());
    let fine = table.url("p");
    let missing = format!("dynamodb://missing/p?endpoint={endpoint}");
    cannot_open(&missing, &options, &["dynamodb://missing/p", "no such table", "aft store init"]).await;
    make_other(&table, "orders").await;
    let other = format!("dynamodb://orders/p?endpoint={endpoint}");
    let words = ["partition key id (S) and the sort key none", "p (S)", "s (B)", "another table"];
    cannot_open(&other, &options, &words).await;
    let why = DynamoDbStore::init(&other, &options)
        .await
        .expect_err("the table belongs to something else")
        .to_string();
    assert!(why.contains("partition key id (S)"), "{why}");
    // This server accepts any keys and regions, so the front gives the answers of one that does
    // not.
    for (answer, words) in [
        (STRANGER, &["UnrecognizedClient", "AWS_ACCESS_KEY_ID"][..]),
        (FORGED, &["valid region", "region=…"]),
        (DENIED, &["AccessDenied", "dynamodb:DescribeTable"]),
    ] {
        let front = Front::start(&endpoint, move |_| Act::Answer(400, answer)).await;
        cannot_open(&table.url_by(&front.endpoint(), "p"), &options, words).await;
    }
    let nowhere = "dynamodb://aft/p?endpoint=http://127.0.0.1:1";
    cannot_open(nowhere, &options, &["127.0.0.1:1", "onnection refused"]).await;
    for garbage in [HTML, "{}", "", "null"] {
        let front = Front::start(&endpoint, move |_| Act::Answer(200, garbage)).await;
        let url = table.url_by(&front.endpoint(), "p");
        cannot_open(&url, &options, &["does not speak DynamoDB", "endpoint"]).await;
    }
    let redis = redis_speaker().await;
    let url = format!("dynamodb://aft/p?endpoint={redis}");
    cannot_open(&url, &options, &["dynamodb://aft/p"]).await;
    DynamoDbStore::open(&fine, &options).await.expect("nothing is wrong with this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_made_once() {
    let Some(table) = Table::start(Service::Moto).await else { return };
    let url = format!("dynamodb://made/p?endpoint={}", table.server.endpoint());
    let options = table.options();
    // Concurrent calls make it once, too.
    let (one, other) = tokio::join!(DynamoDbStore::init(&url, &options), DynamoDbStore::init(&url, &options));
    let ((one, first), (_, second)) = (one.expect("the server runs"), other.expect("the server runs"));
    assert_eq!(first.table, "made");
    assert!(first.table_is_new || second.table_is_new, "one of them made it");
    one.put(&name("a"), Bytes::from("body")).await.unwrap();
    let (again, prepared) = DynamoDbStore::init(&url, &options).await.expect("the server runs");
    assert!(!prepared.table_is_new);
    assert_eq!(again.get(&name("a")).await.unwrap().unwrap().0, "body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_continues_after_its_server_was_killed_and_restarted() {
    let Some(mut table) = Table::start(Service::DynamoDb).await else { return };
    let store = table.open(&table.url("p")).await.expect("the server runs");
    let numbered = |i: usize| Name::new(Space::Commit, i.to_be_bytes().to_vec(), "");
    for i in 0..30 {
        store.create(&numbered(i), Bytes::from(i.to_string())).await.expect("the server runs");
    }
    table.server.kill();
    let error = store.create(&numbered(30), Bytes::new()).await.expect_err("nobody listens");
    assert!(no_answer(&error), "{error:?}");
    table.server.restart().expect("it comes back");
    // The same store continues, over new connections.
    for i in 0..30 {
        assert_eq!(store.create(&numbered(i), Bytes::new()).await, Ok(Created::Exists));
        assert_eq!(store.get(&numbered(i)).await.unwrap().expect("it was created").0, i.to_string());
    }
    assert_eq!(store.create(&numbered(30), Bytes::new()).await, Ok(Created::Created));

    // A server that hangs: the call ends at its caller's timeout, and may take effect later.
    table.server.pause();
    let late =
        tokio::time::timeout(Duration::from_secs(2), store.put(&numbered(31), Bytes::from("late"))).await;
    assert!(late.is_err(), "{late:?}");
    table.server.resume();
    store.put(&numbered(32), Bytes::new()).await.expect("the server runs");
}
