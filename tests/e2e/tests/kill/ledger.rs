//! The checks at the end: the history is clean; the ledger has one entry per request, written by
//! the attempt that was acknowledged; every shared key has its newest version.

use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Op, Reply};
use aft_e2e::client::{CallError, Client};
use aft_history::{Options, Readers, check as check_history};
use futures::StreamExt;

use crate::book::{Acknowledged, Book, parse_value, value_of};

/// Keys per page: small enough for many pages.
const PAGE_LEN: u32 = 500;
/// The timeout of a transaction that reads many keys: with a cold cache it takes some seconds, and
/// the server's own default may be divided.
const TIME_MS: u64 = 60_000;
/// The time until all that was acknowledged must be visible: a listing is repeated after 10 s.
const VISIBLE_TIME_MAX: Duration = Duration::from_secs(60);
/// The number of keys that one transaction of a check reads: with a cold cache each is two calls to
/// the store, and a busy machine needs seconds for some hundred.
const READ_LEN: usize = 250;
/// The number of concurrent calls.
const CALLS: usize = 16;

// First the history as a whole, then the newest values, the ledger's length, and each request's
// record.
pub(crate) async fn check(book: &Book, client: &Client) {
    let options = Options { readers: Readers::All, ..Options::default() };
    let report = check_history(&book.history(), &options).expect("the book keeps a well-formed history");
    assert!(report.is_clean(), "{}\n{report}", book.summary());

    let requests = book.all_acknowledged();
    let expected = requests.iter().map(|request| (request.ledger.clone(), value_of(request.winner)));
    let newest = book.newest();
    let expected: Vec<_> = expected.chain(newest.into_iter().map(|(key, id)| (key, value_of(id)))).collect();
    for chunk in expected.chunks(READ_LEN) {
        check_values(client, chunk).await;
    }
    check_count(client, &book.ledger_prefix(), book.requests()).await;
    let mut calls = futures::stream::iter(&requests)
        .map(|request| check_request(client, request))
        .buffer_unordered(CALLS);
    while calls.next().await.is_some() {}
}

/// Waits until a process that shares its store has found what an earlier one left unpublished: P7
/// promises that it does, not when.
pub(crate) async fn visible(book: &Book, client: &Client) {
    let since = Instant::now();
    let ledgers: Vec<String> = book.all_acknowledged().into_iter().map(|request| request.ledger).collect();
    for keys in ledgers.chunks(READ_LEN) {
        loop {
            let ops = keys.iter().map(Op::get).collect();
            let reply = read(client, ops).await;
            let missing: Vec<&str> =
                reply.results.iter().filter(|read| read.value.is_none()).map(|read| &*read.key).collect();
            if missing.is_empty() {
                break;
            }
            assert!(since.elapsed() < VISIBLE_TIME_MAX, "acknowledged, and still not visible: {missing:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    println!("all is visible {} ms after the start", since.elapsed().as_millis());
}

/// Reads in one transaction. Retries while the store is unavailable, as it may be on a busy
/// machine.
async fn read(client: &Client, ops: Vec<Op>) -> Reply {
    let begin = Begin { ops, timeout_ms: Some(TIME_MS), ..Begin::default() };
    let since = Instant::now();
    loop {
        match client.execute(&begin).await {
            Ok(reply) => return reply,
            Err(CallError::Refused(problem))
                if problem.code == Code::StoreUnavailable && since.elapsed() < VISIBLE_TIME_MAX => {}
            Err(why) => panic!("an undisturbed server answers: {why:?}"),
        }
    }
}

/// Checks that one transaction reads each of the keys with its expected value.
async fn check_values(client: &Client, expected: &[(String, u64)]) {
    let ops = expected.iter().map(|(key, _)| Op::get(key)).collect();
    let reply = read(client, ops).await;
    assert_eq!(reply.results.len(), expected.len());
    for (read, (key, value)) in reply.results.iter().zip(expected) {
        let found = read.value.as_ref().map(|bytes| parse_value(key, bytes));
        assert_eq!((&read.key, found), (key, Some(*value)), "what was acknowledged for {key}");
    }
}

/// Checks the ledger's number of entries: none is lost, and none is from an attempt that was never
/// acknowledged.
pub(crate) async fn check_count(client: &Client, prefix: &str, expected: u64) {
    let opened = client.begin(&Begin::default()).await.expect("an undisturbed server answers");
    let transaction = opened.transaction.expect("an open transaction has a token");
    let keys = client.list(&transaction, prefix, PAGE_LEN).await.expect("an undisturbed server answers");
    client.abort(&transaction).await.expect("an undisturbed server answers");
    assert!(keys.is_sorted(), "a listing is in order");
    assert_eq!(
        keys.len() as u64,
        expected,
        "the number of entries of {prefix} against that of acknowledged requests"
    );
}

/// Checks that the server's record of a request agrees with what the client saw.
async fn check_request(client: &Client, expected: &Acknowledged) {
    let found = client.request(&expected.id).await.expect("an acknowledged request is found");
    assert_eq!(found.keys, expected.keys, "{}", expected.id);
    let result = found.result.expect("every attempt leaves a result");
    assert_eq!(parse_value(&expected.id, &result), value_of(expected.winner), "{}", expected.id);
}
