//! Goal: overlapping attempts of one request have one effect and one result, as a client sees it
//! over HTTP. Method: attempts with `if_open: "run"` on one server, interleaved by hand; and the
//! same with the default, which waits.

use aft_api::{Begin, Code, Commit, Format, IfOpen, Op};
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::Server;

fn begin(id: &str, if_open: IfOpen) -> Begin {
    Begin { request_id: Some(id.to_owned()), if_open: if_open as i32, ..Begin::default() }
}

async fn open(client: &Client, begin: &Begin) -> String {
    let reply = client.begin(begin).await.expect("an undisturbed server answers");
    reply.transaction.expect("an open transaction has a token")
}

async fn effects_of_overlapping_attempts(format: Format) {
    let server = Server::start("memory:");
    let client = Client::new(server.address()).speaking(format);
    let first = open(&client, &begin("r", IfOpen::Run)).await;
    let second = open(&client, &begin("r", IfOpen::Run)).await;
    client.put(&first, "by/first", "1").await.expect("an undisturbed server answers");
    client.put(&second, "by/second", "2").await.expect("an undisturbed server answers");

    // The later attempt commits first. The earlier one gets the later one's result, and has no
    // effect.
    let result = |text: &str| Commit { result: Some(text.to_owned().into()) };
    let won = client.commit(&second, &result("second")).await.expect("the first to commit commits");
    assert!(won.committed && !won.replayed, "{won:?}");
    let lost = client.commit(&first, &result("first")).await.expect("the second is answered as well");
    assert!(lost.replayed && !lost.committed, "{lost:?}");
    assert_eq!((lost.result.as_deref(), &lost.version), (Some(&b"second"[..]), &won.version));

    // Every later attempt gets the same result.
    let later = client.begin(&begin("r", IfOpen::Wait)).await.expect("an undisturbed server answers");
    assert!(later.replayed && later.transaction.is_none(), "{later:?}");
    assert_eq!(later.result.as_deref(), Some(&b"second"[..]));

    let look = Begin { ops: vec![Op::get("by/first"), Op::get("by/second")], ..Begin::default() };
    let look = client.execute(&look).await.expect("an undisturbed server answers");
    let values: Vec<_> = look.results.iter().map(|read| read.value.as_deref()).collect();
    assert_eq!(values, [None, Some(&b"2"[..])]);

    let found = client.request("r").await.expect("a committed request is found");
    assert_eq!((Some(found.version), found.keys), (won.version, vec!["by/second".to_owned()]));
}

#[tokio::test]
async fn overlapping_attempts_have_one_effect() {
    effects_of_overlapping_attempts(Format::Json).await;
    effects_of_overlapping_attempts(Format::Protobuf).await;
}

/// A function that died leaves its attempt open. The next attempt does not wait for its deadline.
#[tokio::test]
async fn a_retry_takes_over_at_once() {
    let server = Server::start("memory:");
    let client = Client::new(server.address());
    let dead = open(&client, &Begin { request_id: Some("r".to_owned()), ..Begin::default() }).await;
    client.put(&dead, "k", "half").await.expect("an undisturbed server answers");
    let start = std::time::Instant::now();
    let retry = Begin {
        request_id: Some("r".to_owned()),
        ops: vec![Op::put("k", "whole")],
        result: Some("done".into()),
        ..Begin::default()
    };
    let retried = client.execute(&retry).await.expect("an undisturbed server answers");
    assert!(retried.committed && !retried.replayed, "{retried:?}");
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    let late = client.commit(&dead, &Commit::default()).await.expect("it gets the winner's result");
    assert!(late.replayed && late.result.as_deref() == Some(&b"done"[..]), "{late:?}");
}

#[tokio::test]
async fn an_open_attempt_is_waited_for_if_its_caller_asks() {
    let server = Server::start("memory:");
    let client = Client::new(server.address());
    let first = open(&client, &begin("r", IfOpen::Wait)).await;
    // With a short wait, the caller is answered that the request is in progress.
    let impatient = Begin { wait_ms: Some(10), ..begin("r", IfOpen::Wait) };
    match client.begin(&impatient).await {
        Err(CallError::Refused(problem)) => assert_eq!(problem.code, Code::InProgress, "{problem:?}"),
        other => panic!("another attempt is open: {other:?}"),
    }
    // With a long wait, the caller gets the result of the attempt that committed.
    let patient = Begin { wait_ms: Some(20_000), ..begin("r", IfOpen::Wait) };
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.begin(&patient).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    client.put(&first, "k", "v").await.expect("an undisturbed server answers");
    client
        .commit(&first, &Commit { result: Some("done".into()) })
        .await
        .expect("an undisturbed server answers");
    let waited = waiting.await.expect("no panic").expect("an undisturbed server answers");
    assert!(waited.replayed, "{waited:?}");
    assert_eq!(waited.result.as_deref(), Some(&b"done"[..]));
}

#[tokio::test]
async fn a_request_id_with_another_payload_is_rejected() {
    let server = Server::start("memory:");
    let client = Client::new(server.address());
    let with = |value: &str| Begin { ops: vec![Op::put("k", value.to_owned())], ..begin("r", IfOpen::Wait) };
    client.execute(&with("one")).await.expect("an undisturbed server answers");
    let again = client.execute(&with("one")).await.expect("the same call is replayed");
    assert!(again.replayed, "{again:?}");
    match client.execute(&with("two")).await {
        Err(CallError::Refused(problem)) => assert_eq!(problem.code, Code::KeyReused, "{problem:?}"),
        other => panic!("the request ID belongs to another payload: {other:?}"),
    }
}
