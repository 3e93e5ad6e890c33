//! Goal: the answer to a bad call says precisely what is wrong, nothing is lost or half done, and
//! no answer is a 500. Method: one bad call after another against a real node, over a real socket;
//! then the good state is checked.

use crate::support::Server;
use aft_api::{Action, Begin, Code, Format, Op, Problem};
use aft_store::{Capabilities, Store as _};
use aft_store_memory::MemoryStore;

async fn refused(server: &Server, method: &str, path: &str, body: &str) -> Problem {
    server.call(method, path, &[("content-type", "application/json")], body.to_owned()).await.problem()
}

#[tokio::test]
async fn malformed_bodies_name_the_position() {
    let server = Server::start().await;
    let check = async |body: &str, position: Option<usize>, part: &str| {
        let problem = refused(&server, "POST", "/v1/execute", body).await;
        assert_eq!((problem.code, problem.position), (Code::Invalid, position), "{body}: {problem:?}");
        assert!(problem.detail.contains(part), "{body}: {problem:?}");
    };
    check("{", Some(0), "EOF").await;
    check(r#"{"ops": [{"get": "k"}"#, Some(20), "EOF").await;
    check(r#"{"opps": []}"#, Some(6), "unknown field `opps`").await;
    check(r#"{"ops": [{"get": ""}]}"#, None, "operation 0: a key has at least one byte").await;
    check(r#"{"ops": [{"put": "k", "value": "!!"}]}"#, Some(34), "call: `ops[0].value`: not base64").await;
    check(r#"{"commit": false}"#, None, "always commits").await;
    check(r#"{"request_id": ""}"#, None, "at least one byte").await;
    check(r#"{"scope": "s", "ops": [{"get": "k"}]}"#, None, "needs a request ID").await;
    check(r#"{"session": "nonsense", "ops": [{"get": "k"}]}"#, None, "session token").await;
    // A list is not a call, not even an empty one.
    let t = server.open().await;
    let in_transaction = ["batch", "commit"].map(|call| format!("/v1/transactions/{t}/{call}"));
    for path in
        ["/v1/transactions", "/v1/execute"].into_iter().chain(in_transaction.iter().map(String::as_str))
    {
        let problem = refused(&server, "POST", path, "[]").await;
        assert_eq!((problem.code, problem.position), (Code::Invalid, Some(0)), "{path}: {problem:?}");
        assert!(problem.detail.contains("expected an object"), "{path}: {problem:?}");
    }
    assert!(server.post(&in_transaction[1], "").await.reply().committed);
    let headers = [("content-type", "application/x-protobuf")];
    let problem = server.call("POST", "/v1/execute", &headers, &b"\x0a\x7fxx"[..]).await.problem();
    assert!(problem.code == Code::Invalid && problem.position == Some(2), "{problem:?}");
    let problem = server.call("POST", "/v1/execute", &[("content-type", "text/xml")], "<a/>").await.problem();
    assert_eq!(problem.code, Code::UnsupportedMediaType);
    let problem = refused(&server, "POST", "/v1/transactions", r#"{"result": "b2s="}"#).await;
    assert!(problem.code == Code::Invalid && problem.detail.contains("needs a commit"), "{problem:?}");
}

#[tokio::test]
async fn bad_keys_are_rejected_with_the_reason() {
    let server = Server::start().await;
    let t = server.open().await;
    for base in ["/v1/keys/".to_owned(), format!("/v1/transactions/{t}/keys/")] {
        for method in ["GET", "PUT", "DELETE"] {
            let empty = refused(&server, method, &base, "").await;
            assert!(empty.code == Code::Invalid && empty.detail.contains("at least one byte"), "{empty:?}");
            let long = refused(&server, method, &format!("{base}{}", "x".repeat(1089)), "").await;
            assert_eq!(
                (long.code, long.limit, long.actual),
                (Code::Invalid, Some(1088), Some(1089)),
                "{long:?}"
            );
            let bytes = refused(&server, method, &format!("{base}ab%FFc"), "").await;
            assert!(bytes.code == Code::Invalid && bytes.position == Some(2), "{bytes:?}");
            let percent = refused(&server, method, &format!("{base}a%4"), "").await;
            assert!(percent.code == Code::Invalid && percent.position == Some(1), "{percent:?}");
        }
    }
    // None of that ended the transaction.
    assert!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().committed);
}

#[tokio::test]
async fn exceeded_limits_are_reported_with_limit_and_size() {
    let server = Server::with(|_, doors| {
        doors.desk.value_bytes_max = 1_000;
        doors.desk.body_bytes_max = 2_000;
    })
    .await;
    let t = server.open().await;
    for path in ["/v1/keys/k".to_owned(), format!("/v1/transactions/{t}/keys/k")] {
        let problem = server.call("PUT", &path, &[], vec![0; 1_001]).await.problem();
        assert_eq!((problem.code, problem.limit, problem.actual), (Code::TooLarge, Some(1_000), Some(1_001)));
        assert!(server.call("PUT", &path, &[], vec![0; 1_000]).await.status.is_success());
    }
    let problem = refused(&server, "POST", "/v1/execute", &" ".repeat(2_001)).await;
    assert_eq!((problem.code, problem.limit, problem.actual), (Code::TooLarge, Some(2_000), Some(2_001)));
    // The answer still arrives if the body is far beyond the limit.
    let problem = server.call("PUT", "/v1/keys/k", &[], vec![0; 30 << 20]).await.problem();
    assert_eq!((problem.code, problem.actual), (Code::TooLarge, Some(30 << 20)));
    let long = "x".repeat(17_000);
    let problem = server.call("GET", "/v1/keys/k", &[("x-long", &long)], "").await.problem();
    assert_eq!((problem.code, problem.limit), (Code::HeadersTooLarge, Some(16 << 10)));

    let server = Server::start().await;
    let ops = vec![r#"{"get": "k"}"#; 1_001].join(",");
    let problem = refused(&server, "POST", "/v1/execute", &format!(r#"{{"ops": [{ops}]}}"#)).await;
    assert!(
        problem.code == Code::Invalid
            && problem.detail.contains("at most 1000 operations; this one has 1001"),
        "{problem:?}"
    );
    let problem =
        refused(&server, "POST", "/v1/execute", &format!(r#"{{"request_id": "{}"}}"#, "x".repeat(1_025)))
            .await;
    assert_eq!((problem.code, problem.limit, problem.actual), (Code::Invalid, Some(1_024), Some(1_025)));
}

/// Goal: a call that would make the commit record larger than one object of the store is rejected,
/// and the transaction goes on.
#[tokio::test]
async fn a_call_that_would_overfill_the_commit_record_is_rejected() {
    const OBJECT_BYTES_MAX: usize = 40_000;
    let base = MemoryStore::new().capabilities();
    let store = MemoryStore::new().with_capabilities(Capabilities {
        body_bytes_max: OBJECT_BYTES_MAX,
        blob_part_bytes: 30_000,
        ..base
    });
    let server = Server::over(store, |_, _| {}).await;
    let t = server.open().await;
    let key = |n: usize| format!("{n:0>500}");
    let keys = format!("/v1/transactions/{t}/keys");
    for n in 0..30 {
        let put = server.call("PUT", &format!("{keys}/{}", key(n)), &[], vec![n as u8; 500]).await;
        assert_eq!(put.status, 204, "{put:?}");
    }
    let mut problems = Vec::new();
    for n in 30..130 {
        let answer = server.call("PUT", &format!("{keys}/{}", key(n)), &[], vec![n as u8; 500]).await;
        if !answer.status.is_success() {
            problems.push(answer.problem());
        }
    }
    let check = |problem: &Problem| {
        assert_eq!((problem.code, problem.action), (Code::TooLarge, Action::Invalid), "{problem:?}");
        assert_eq!(problem.limit, Some(OBJECT_BYTES_MAX as u64), "{problem:?}");
        assert!(problem.actual > problem.limit && problem.detail.contains("shorter keys"), "{problem:?}");
    };
    problems.iter().for_each(check);
    let written = 130 - problems.len();
    assert!((30..60).contains(&written), "{written} keys were written");
    // Tombstones and results need room as well. The rejected calls left the transaction as it was.
    check(&refused(&server, "DELETE", &format!("{keys}/{}", key(1_000)), "").await);
    let commit = format!("/v1/transactions/{t}/commit");
    let result = |len: usize| format!(r#"{{"result": "{}"}}"#, "QUFB".repeat(len / 3));
    check(&refused(&server, "POST", &commit, &result(3_000)).await);
    check(
        &refused(
            &server,
            "POST",
            &format!("/v1/transactions/{t}/batch"),
            &result(3_000).replace('{', r#"{"commit": true, "#),
        )
        .await,
    );
    assert!(server.post(&commit, "").await.reply().committed);
    for n in [0, written - 1] {
        let get = server.call("GET", &format!("/v1/keys/{}", key(n)), &[], "").await;
        assert_eq!(get.body, vec![n as u8; 500]);
    }
    // All in one call: values that are small enough to be inline are stored elsewhere, to make room
    // for keys.
    let ops = |n: usize| (0..n).map(|n| Op::put(key(n), vec![7; 200])).collect();
    let headers = [("content-type", Format::Protobuf.content_type())];
    let execute = async |n| {
        let begin = Begin { ops: ops(n), ..Begin::default() };
        server.call("POST", "/v1/execute", &headers, Format::Protobuf.encode(&begin)).await
    };
    assert!(execute(65).await.status.is_success());
    check(&execute(80).await.problem());
    assert_eq!(server.call("GET", &format!("/v1/keys/{}", key(64)), &[], "").await.body, vec![7; 200]);
    assert_eq!(server.node.stats().open_transactions, 0);
}

#[tokio::test]
async fn unknown_ended_and_expired_transactions_are_told_apart() {
    let server = Server::start().await;
    let calls = |t: &str| {
        [
            ("GET", format!("/v1/transactions/{t}/keys/k")),
            ("PUT", format!("/v1/transactions/{t}/keys/k")),
            ("DELETE", format!("/v1/transactions/{t}/keys/k")),
            ("GET", format!("/v1/transactions/{t}/keys")),
            ("POST", format!("/v1/transactions/{t}/batch")),
        ]
    };
    for (method, path) in calls("nonsense") {
        assert_eq!(refused(&server, method, &path, "").await.code, Code::NotFound, "{path}");
    }
    let ended = server.open().await;
    server.post(&format!("/v1/transactions/{ended}/commit"), "").await.reply();
    for (method, path) in calls(&ended) {
        let problem = refused(&server, method, &path, "").await;
        assert_eq!(
            (problem.code, problem.transaction.as_ref()),
            (Code::Ended, Some(&ended)),
            "{method} {path}"
        );
        assert!(problem.detail.contains("POST /v1/transactions/{transaction}/commit"), "{problem:?}");
    }
    // The repeated commit distinguishes a transaction that was aborted from one that committed.
    let aborted = server.open().await;
    server.post(&format!("/v1/transactions/{aborted}/abort"), "").await;
    for (method, path) in calls(&aborted) {
        assert_eq!(refused(&server, method, &path, "").await.code, Code::Ended, "{method} {path}");
    }
    let problem = refused(&server, "POST", &format!("/v1/transactions/{aborted}/commit"), "").await;
    assert_eq!((problem.code, problem.transaction.as_ref()), (Code::Ended, Some(&aborted)));
    assert!(problem.detail.contains("was aborted: nothing of it took effect"), "{problem:?}");
    let answer =
        server.post("/v1/transactions", r#"{"timeout_ms": 1, "ops": [{"put": "k", "text": "v"}]}"#).await;
    let expired = answer.reply().transaction.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for (method, path) in calls(&expired) {
        let problem = refused(&server, method, &path, "").await;
        assert_eq!((problem.code, problem.action), (Code::Lost, Action::Retry), "{method} {path}");
    }
    assert_eq!(
        refused(&server, "POST", &format!("/v1/transactions/{expired}/commit"), "").await.code,
        Code::Lost
    );
    assert_eq!(server.call("GET", "/v1/keys/k", &[], "").await.problem().code, Code::Absent);
}

/// Goal: a node that replaces a dead one answers for its transactions from their commit records.
#[tokio::test]
async fn tokens_of_a_dead_node_are_answered_from_commit_records() {
    let store = MemoryStore::new();
    let before = Server::over(store.clone(), |_, _| {}).await;
    let committed = before.open().await;
    for key in ["k", "l"] {
        before.call("PUT", &format!("/v1/transactions/{committed}/keys/{key}"), &[], "v").await;
    }
    let version = before.post(&format!("/v1/transactions/{committed}/commit"), "").await.reply().version;
    let open = before.open().await;
    before.call("PUT", &format!("/v1/transactions/{open}/keys/k"), &[], "late").await;
    // A request with an ID, which its caller repeats with the commit.
    let named = r#"{"request_id": "r 1", "scope": "s"}"#;
    let named = before.post("/v1/transactions", named).await.reply().transaction.unwrap();
    before.call("PUT", &format!("/v1/transactions/{named}/keys/n"), &[], "v").await;
    let named_version = before.post(&format!("/v1/transactions/{named}/commit"), "").await.reply().version;

    let after = Server::over(store, |_, _| {}).await;
    let commit = |t: &str| format!("/v1/transactions/{t}/commit");
    assert_eq!(after.post(&commit(&committed), "").await.reply().version, version);
    let problem = refused(&after, "POST", &commit(&open), "").await;
    assert_eq!((problem.code, problem.action), (Code::Unknown, Action::Unknown));
    assert_eq!(refused(&after, "POST", &commit(&named), "").await.code, Code::Unknown);
    let repeated = format!("{}?scope=s", commit(&named));
    let answer = after.call("POST", &repeated, &[("idempotency-key", "\"r 1\"")], "").await.reply();
    assert!(answer.committed && answer.version == named_version, "{answer:?}");
    // Another attempt of the request is lost: its payload is unknown here. The begin that repeats
    // the request compares payloads and gets the result.
    let path = format!("{}?scope=s", commit(&open));
    let answer = after.call("POST", &path, &[("idempotency-key", "r 1")], "").await;
    let problem = answer.problem();
    assert_eq!((problem.code, problem.action), (Code::Lost, Action::Retry));
    let problem = refused(&after, "POST", &format!("{}?scope=s", commit(&named)), "").await;
    assert_eq!(problem.code, Code::Invalid, "a scope alone names nothing");
    assert_eq!(refused(&after, "GET", &format!("/v1/transactions/{open}/keys/k"), "").await.code, Code::Lost);
    assert_eq!(&after.call("GET", "/v1/keys/k", &[], "").await.body[..], b"v");
}

#[tokio::test]
async fn a_request_id_in_use_is_a_conflict() {
    let server = Server::start().await;
    let one = r#"{"request_id": "r", "ops": [{"put": "k", "text": "one"}]}"#;
    assert!(server.post("/v1/execute", one).await.reply().committed);
    let problem = refused(&server, "POST", "/v1/execute", &one.replace("one", "two")).await;
    assert_eq!((problem.code, problem.status, problem.action), (Code::KeyReused, 422, Action::Conflict));
    assert_eq!(&server.call("GET", "/v1/keys/k", &[], "").await.body[..], b"one");

    let open =
        server.post("/v1/transactions", r#"{"request_id": "open"}"#).await.reply().transaction.unwrap();
    let answer =
        server.post("/v1/transactions", r#"{"request_id": "open", "if_open": "wait", "wait_ms": 10}"#).await;
    let problem = answer.problem();
    assert_eq!((problem.code, problem.status), (Code::InProgress, 409));
    assert_eq!(problem.transaction, None, "nothing was opened");
    assert!(answer.body.ends_with(b"}\n"), "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    // The commit record decides between two attempts that run at once.
    let beside = server.post("/v1/transactions", r#"{"request_id": "open"}"#).await.reply();
    let beside = beside.transaction.unwrap();
    let path = |t: &str| format!("/v1/transactions/{t}/commit");
    assert!(server.post(&path(&beside), r#"{"result": "Yg=="}"#).await.reply().committed);
    let lost = server.post(&path(&open), r#"{"result": "YQ=="}"#).await.reply();
    assert!(lost.replayed && lost.result.as_deref() == Some(&b"b"[..]), "{lost:?}");

    let problem = server
        .call("POST", "/v1/execute", &[("idempotency-key", "a")], r#"{"request_id": "b"}"#)
        .await
        .problem();
    assert_eq!(problem.code, Code::Invalid);
    let problem = server.call("PUT", "/v1/keys/k", &[("idempotency-key", "\"a")], "v").await.problem();
    assert!(problem.code == Code::Invalid && problem.position.is_some(), "{problem:?}");
}

#[tokio::test]
async fn a_node_at_a_limit_answers_overloaded() {
    let server = Server::with(|node, _| node.core.transactions_max = 1).await;
    let t = server.open().await;
    let problem = refused(&server, "POST", "/v1/transactions", "{}").await;
    assert_eq!((problem.code, problem.status, problem.action), (Code::Overloaded, 429, Action::Retry));
    assert!(problem.retry_after_ms.is_some());
    server.post(&format!("/v1/transactions/{t}/abort"), "").await;
    server.open().await;
    assert!(
        problem.detail.starts_with(
            "the open transactions on this node, or the memory that they hold, are at their limit"
        ),
        "{problem:?}"
    );
    let server = Server::with(|_, doors| doors.desk.bodies_bytes_max = 100_000).await;
    let problem = server.call("PUT", "/v1/keys/k", &[], vec![0; 1 << 20]).await.problem();
    assert_eq!(problem.code, Code::Overloaded);
    // Many calls at once to a node whose queue has one place: some succeed, the others are rejected
    // with the reason.
    let server = Server::with(|node, _| node.queue_len_max = 1).await;
    let calls = (0..200).map(|_| server.call("PUT", "/v1/keys/k", &[], "v"));
    let answers = futures::future::join_all(calls).await;
    let refused: Vec<Problem> =
        answers.iter().filter(|answer| !answer.status.is_success()).map(|answer| answer.problem()).collect();
    assert!(!refused.is_empty() && refused.len() < 200, "{} were refused", refused.len());
    for problem in refused {
        assert_eq!((problem.code, problem.action), (Code::Overloaded, Action::Retry));
        assert!(
            problem.detail.starts_with("the calls that wait for this node are at their limit"),
            "{problem:?}"
        );
    }
}

#[tokio::test]
async fn unknown_paths_methods_and_parameters_are_rejected() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/transactions/", "/v2/keys/k", "/v1/keys"] {
        assert_eq!(refused(&server, "GET", path, "").await.code, Code::NoSuchPath, "{path}");
    }
    let answer = server.call("PATCH", "/v1/keys/k", &[], "").await;
    assert_eq!(answer.problem().code, Code::MethodNotAllowed);
    let allow = answer.header("allow").unwrap();
    assert!(["GET", "HEAD", "PUT", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
    assert_eq!(refused(&server, "DELETE", "/v1/execute", "").await.code, Code::MethodNotAllowed);
    let t = server.open().await;
    for query in ["limit=0", "limit=1001", "limit=x", "prefix=%ff", "prefix=a&prefix=b", "oops=1"] {
        let path = format!("/v1/transactions/{t}/keys?{query}");
        assert_eq!(refused(&server, "GET", &path, "").await.code, Code::Invalid, "{query}");
    }
    assert_eq!(refused(&server, "GET", "/v1/requests/x?by=name", "").await.code, Code::Invalid);
    assert_eq!(refused(&server, "GET", "/v1/requests/x?by=hash", "").await.code, Code::Invalid);
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_a_whole_transaction_or_none() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start().await;
    let body = r#"{"request_id": "gone", "ops": [{"put": "a", "text": "1"}, {"put": "b", "text": "1"}]}"#;
    for cut in [body.len() - 10, body.len()] {
        let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let head =
            format!("POST /v1/execute HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&body.as_bytes()[..cut]).await.unwrap();
        drop(socket);
    }
    // Either it committed, or this call commits it.
    assert!(
        matches!(server.post("/v1/execute", body).await.reply(), reply if reply.committed || reply.replayed)
    );
    for key in ["a", "b"] {
        assert_eq!(&server.call("GET", &format!("/v1/keys/{key}"), &[], "").await.body[..], b"1");
    }
}

#[tokio::test]
async fn only_the_batch_that_carried_the_commit_is_answered_again() {
    let server = Server::start().await;
    let t = server.open().await;
    let path = format!("/v1/transactions/{t}/batch");
    let carrier = r#"{"ops": [{"put": "a", "text": "1"}], "commit": true}"#;
    assert!(server.post(&path, carrier).await.reply().committed);
    assert!(server.post(&path, carrier).await.reply().committed);
    let other = r#"{"ops": [{"put": "b", "text": "1"}, {"delete": "a"}], "commit": true}"#;
    assert_eq!(server.post(&path, other).await.problem().code, Code::Ended);
    assert_eq!(server.call("GET", "/v1/keys/b", &[], "").await.problem().code, Code::Absent);
    assert!(server.call("GET", "/v1/keys/a", &[], "").await.status.is_success());
    // A batch that reads is not answered again. The problem names the call that returns the
    // outcome.
    let t = server.open().await;
    let reads = r#"{"ops": [{"get": "a"}, {"put": "a", "text": "2"}], "commit": true}"#;
    let path = format!("/v1/transactions/{t}/batch");
    let committed = server.post(&path, reads).await.reply();
    let problem = server.post(&path, reads).await.problem();
    assert_eq!((problem.code, problem.transaction.as_ref()), (Code::Ended, Some(&t)));
    let ask =
        problem.detail.split_once("POST ").expect("the detail names a call").1.replace("{transaction}", &t);
    assert_eq!(server.post(&ask, "").await.reply().version, committed.version);
}

#[tokio::test]
async fn the_values_that_one_call_reads_are_bounded_together() {
    let server = Server::with(|_, doors| doors.desk.body_bytes_max = 100_000).await;
    server.call("PUT", "/v1/keys/v", &[], vec![7; 60_000]).await;
    let one = server.post("/v1/execute", r#"{"ops": [{"get": "v"}]}"#).await;
    assert!(one.status.is_success());
    let problem = server.post("/v1/execute", r#"{"ops": [{"get": "v"}, {"get": "v"}]}"#).await.problem();
    assert_eq!((problem.code, problem.limit, problem.actual), (Code::TooLarge, Some(100_000), Some(120_000)));
}

#[tokio::test]
async fn listings_of_a_transaction_are_bounded() {
    let server = Server::start().await;
    // Ten thousand calls may take longer than a minute on a busy machine.
    let opened = server.post("/v1/transactions", r#"{"timeout_ms": 900000}"#).await;
    let t = opened.reply().transaction.expect("an open transaction has a token");
    let long = "p".repeat(2_000);
    let problem =
        server.call("GET", &format!("/v1/transactions/{t}/keys?prefix={long}"), &[], "").await.problem();
    assert_eq!(problem.code, Code::Invalid);
    for number in 0..10_000 {
        let path = format!("/v1/transactions/{t}/keys?prefix=p{number}");
        assert!(server.call("GET", &path, &[], "").await.status.is_success());
    }
    let problem = server.call("GET", &format!("/v1/transactions/{t}/keys?prefix=q"), &[], "").await.problem();
    assert!(problem.code == Code::Invalid && problem.detail.contains("split the request"), "{problem:?}");
}

/// Goal: the problem names the damaged object and what to do about it, and other calls succeed.
#[tokio::test]
async fn a_damaged_object_is_reported_with_its_name_and_a_remedy() {
    let store = MemoryStore::new();
    let server = Server::over(store.clone(), |_, _| {}).await;
    assert!(server.call("PUT", "/v1/keys/large", &[], vec![7; 1 << 20]).await.status.is_success());
    let is_part = |name: &aft_store::Name| name.space == aft_store::Space::Blob;
    let (part, _) =
        store.objects().into_iter().find(|(name, _)| is_part(name)).expect("a large value has a part");
    store.put(&part, bytes::Bytes::from_static(b"!something else")).await.unwrap();
    let problem = server.call("GET", "/v1/keys/large", &[], "").await.problem();
    assert_eq!((problem.code, problem.status, problem.action), (Code::Damaged, 503, Action::Internal));
    let named = "blob/";
    for text in [named, "/0/0", "restore this object", "AFT's alone", "report it"] {
        assert!(problem.detail.contains(text), "{text:?} is missing in {problem:?}");
    }
    assert!(server.call("PUT", "/v1/keys/large", &[], "v").await.status.is_success());
}

/// Goal: a connection that sends nothing, or only a part of the HTTP/2 preface, loses its place.
#[tokio::test]
async fn silent_connections_give_their_places_back() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::with(|_, doors| {
        doors.net.connections_max = 2;
        doors.net.header_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let _silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut begun = tokio::net::TcpStream::connect(server.address).await.unwrap();
    begun.write_all(b"PRI * HT").await.unwrap();
    let call = server.call("GET", "/healthz", &[], "");
    let answer =
        tokio::time::timeout(std::time::Duration::from_secs(20), call).await.expect("a place is free");
    assert!(answer.status.is_success());
}

/// Goal: connections that are open and send nothing more keep nobody out. Method: more of them than
/// there are places, half with a whole call and half with the begin of one, all kept open.
#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const PLACES: usize = 20;
    let server = Server::with(|_, doors| {
        doors.net.connections_max = PLACES;
        doors.net.connections_per_peer_max = PLACES;
    })
    .await;
    let mut idle = Vec::new();
    for nth in 0..2 * PLACES {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("the kernel accepts");
        if nth % 2 == 0 {
            let mut answer = [0; 512];
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it is open");
            let answered = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read(&mut answer));
            assert!(answered.await.expect("an idle one makes room").expect("it is open") > 0);
        } else {
            stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("it is open");
        }
        idle.push(stream);
    }
    for path in ["/healthz", "/readyz", "/v1/keys/a"] {
        let call = server.call("GET", path, &[], "");
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), call).await;
        assert!(answer.expect("an idle one makes room").status != 503, "{path}");
    }
}
