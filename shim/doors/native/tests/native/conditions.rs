//! Goal: conditional writes and additions work over HTTP, in a batch and in headers. Method: a real
//! node over a store in memory, over a real socket.

use crate::support::{Answer, Server};
use aft_api::{Action, Code};

const LARGE_BYTES: usize = 3 << 20;

fn etag(answer: &Answer) -> String {
    answer.header("etag").expect("a committed value has an entity tag").to_owned()
}

fn failed(answer: &Answer) {
    let problem = answer.problem();
    assert_eq!((answer.status.as_u16(), problem.code), (412, Code::ConditionFailed), "{answer:?}");
    assert_eq!(problem.action, Action::Invalid);
    assert!(problem.detail.contains("read the key"), "{problem:?}");
}

fn invalid(answer: &Answer, why: &str) {
    let problem = answer.problem();
    assert_eq!(problem.code, Code::Invalid, "{answer:?}");
    assert!(problem.detail.contains(why), "{problem:?} should say {why:?}");
}

#[tokio::test]
async fn conditional_headers_of_a_single_write_are_checked() {
    let server = Server::start().await;
    let path = "/v1/keys/k";
    for body in [vec![b'a'; 2], vec![b'a'; LARGE_BYTES]] {
        let create = [("if-none-match", "*")];
        let created = server.call("PUT", path, &create, body.clone()).await;
        assert_eq!(created.status, 200, "{created:?}");
        failed(&server.call("PUT", path, &create, body.clone()).await);
        let first = etag(&server.call("GET", path, &[], "").await);
        assert_eq!(created.header("aft-version"), Some(first.trim_matches('"')));
        assert_eq!(etag(&server.call("HEAD", path, &[], "").await), first);
        let replaced = server.call("PUT", path, &[("if-match", &first)], body.clone()).await;
        assert_eq!(replaced.status, 200, "{replaced:?}");
        failed(&server.call("PUT", path, &[("if-match", &first)], body.clone()).await);
        failed(&server.call("DELETE", path, &[("if-match", &first)], "").await);
        let second = etag(&server.call("GET", path, &[], "").await);
        let deleted = server.call("DELETE", path, &[("if-match", &second)], "").await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
    }
}

#[tokio::test]
async fn a_repeated_conditional_write_is_replayed() {
    let server = Server::start().await;
    for (id, body) in [("small", vec![b'a'; 2]), ("large", vec![b'a'; LARGE_BYTES])] {
        let path = format!("/v1/keys/{id}");
        let create = [("if-none-match", "*"), ("idempotency-key", id)];
        let first = server.call("PUT", &path, &create, body.clone()).await;
        let again = server.call("PUT", &path, &create, body.clone()).await;
        assert_eq!(
            (first.status, again.status),
            (200.try_into().unwrap(), 200.try_into().unwrap()),
            "{again:?}"
        );
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.header("aft-version"), again.header("aft-version"));
        // The same ID without the condition is another request.
        let other = server.call("PUT", &path, &[("idempotency-key", id)], body).await;
        assert_eq!(other.problem().code, Code::KeyReused, "{other:?}");
    }
}

#[tokio::test]
async fn conditions_and_additions_of_a_batch_are_carried_out() {
    let server = Server::start().await;
    let execute = |ops: &str| {
        let body = format!(r#"{{"ops": [{ops}]}}"#);
        let server = &server;
        async move { server.post("/v1/execute", &body).await }
    };
    assert!(execute(r#"{"put": "k", "text": "a", "if_absent": true}"#).await.reply().committed);
    failed(&execute(r#"{"put": "k", "text": "b", "if_absent": true}, {"put": "other", "text": "x"}"#).await);
    assert_eq!(server.call("GET", "/v1/keys/other", &[], "").await.problem().code, Code::Absent);
    // A false if_absent is no condition.
    assert!(execute(r#"{"put": "k", "text": "a", "if_absent": false}"#).await.reply().committed);
    let version = server.call("GET", "/v1/keys/k", &[], "").await.header("aft-version").unwrap().to_owned();
    let guarded = format!(r#"{{"check": "k", "if_version": "{version}"}}, {{"put": "other", "text": "x"}}"#);
    assert!(execute(&guarded).await.reply().committed);
    assert!(execute(r#"{"put": "k", "text": "b", "if_value": "YQ=="}"#).await.reply().committed);
    failed(&execute(r#"{"delete": "k", "if_value": "YQ=="}"#).await);
    failed(&execute(&guarded).await);

    // A value that is stored in parts: they are stored before the condition is checked.
    let large = "x".repeat(LARGE_BYTES);
    let create = format!(r#"{{"put": "large", "text": "{large}", "if_absent": true}}"#);
    assert!(execute(&create).await.reply().committed);
    failed(&execute(&create).await);
    failed(&execute(r#"{"delete": "large", "if_value": "YQ=="}"#).await);

    let sums = execute(r#"{"add": "n", "by": 5}, {"add": "n", "by": -7}"#).await.reply();
    let texts: Vec<_> = sums.results.iter().map(|read| read.value.as_deref().unwrap()).collect();
    assert_eq!(texts, [&b"5"[..], &b"-2"[..]]);
    assert_eq!(sums.results[0].version, sums.version);
    invalid(&execute(r#"{"add": "k", "by": 1}"#).await, "whole number");
    invalid(&execute(r#"{"add": "n", "by": 1}, {"get": "k"}"#).await, "cannot read other keys");
}

#[tokio::test]
async fn a_transaction_goes_on_after_a_failed_condition() {
    let server = Server::start().await;
    assert!(server.post("/v1/execute", r#"{"ops": [{"put": "k", "text": "a"}]}"#).await.reply().committed);
    let begun = server.post("/v1/transactions", r#"{"isolation": "serializable"}"#).await.reply();
    let t = begun.transaction.unwrap();
    let key = format!("/v1/transactions/{t}/keys/k");
    failed(&server.call("PUT", &key, &[("if-none-match", "*")], "b").await);
    failed(&server.call("PUT", &key, &[("if-none-match", "*")], vec![b'b'; LARGE_BYTES]).await);
    let tag = etag(&server.call("GET", &key, &[], "").await);
    let put = server.call("PUT", &key, &[("if-match", &tag)], vec![b'b'; LARGE_BYTES]).await;
    assert_eq!(put.status, 204, "{put:?}");
    assert_eq!(server.call("GET", &key, &[], "").await.header("etag"), None, "it has no version yet");
    let deleted = server.call("DELETE", &key, &[("if-match", &tag)], "").await;
    assert_eq!(deleted.status, 204, "a condition is about the committed value: {deleted:?}");
    let commit = server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply();
    assert!(commit.committed, "{commit:?}");
}

#[tokio::test]
async fn malformed_conditions_are_rejected() {
    let server = Server::start().await;
    let version = "1700000000000.0-00000000000000000000000000000000";
    let quoted = format!("\"{version}\"");
    for (headers, why) in [
        (vec![("if-none-match", "\"x\"")], "must be *"),
        (vec![("if-match", "*")], "in quotes"),
        (vec![("if-match", version)], "in quotes"),
        (vec![("if-match", "\"x\"")], "not a version"),
        (vec![("if-match", "\"1.0-00\"")], "not a version"),
        (vec![("if-match", &quoted), ("if-none-match", "*")], "one of them"),
        (vec![("if-match", &quoted), ("if-match", &quoted)], "twice"),
    ] {
        for method in ["PUT", "DELETE"] {
            invalid(&server.call(method, "/v1/keys/k", &headers, "").await, why);
        }
    }
    for (ops, why) in [
        (r#"{"put": "k", "text": "a", "if_version": "x"}"#, "operation 0: \"x\" is not a version"),
        (r#"{"get": "k", "if_absent": true}"#, "only a put, a delete or a check"),
        (r#"{"check": "k"}"#, "needs a condition"),
        (r#"{"check": "k", "if_absent": false}"#, "needs a condition"),
    ] {
        invalid(&server.post("/v1/execute", &format!(r#"{{"ops": [{ops}]}}"#)).await, why);
    }
    let t = server.open().await;
    let key = format!("/v1/transactions/{t}/keys/k");
    invalid(&server.call("PUT", &key, &[("if-none-match", "*")], "b").await, "isolation \"serializable\"");
    let result = format!("/v1/transactions/{t}/result");
    invalid(&server.call("PUT", &result, &[("if-none-match", "*")], "b").await, "cannot have a condition");
}
