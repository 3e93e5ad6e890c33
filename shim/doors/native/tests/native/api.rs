//! Goal: every call of the API does what is documented. Method: a real node over a store in memory,
//! over a real socket.

use crate::support::Server;
use aft_api::{Batch, Begin, Code, Format, Listing, Op, Reply, Request};
use bytes::Bytes;

#[tokio::test]
async fn a_transaction_runs_from_begin_to_commit() {
    let server = Server::start().await;
    let t = server.open().await;
    let key = |key: &str| format!("/v1/transactions/{t}/keys/{key}");
    let put = server.call("PUT", &key("a/b%20c"), &[("content-type", "text/plain")], "hi").await;
    assert_eq!(put.status, 204, "{put:?}");
    assert_eq!(server.call("PUT", &key("gone"), &[], "x").await.status, 204);
    assert_eq!(server.call("DELETE", &key("gone"), &[], "").await.status, 204);

    let get = server.call("GET", &key("a/b%20c"), &[], "").await;
    assert_eq!((get.status.as_u16(), &get.body[..]), (200, &b"hi"[..]));
    assert_eq!(get.header("aft-version"), Some("uncommitted"));
    assert_eq!(get.header("content-type"), Some("text/plain"));
    let head = server.call("HEAD", &key("a/b%20c"), &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, Some("2"), 0));
    assert_eq!(server.call("GET", &key("gone"), &[], "").await.problem().code, Code::Absent);
    let head = server.call("HEAD", &key("gone"), &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("aft-error")), (404, Some("absent")));
    // Other transactions do not see it yet.
    assert_eq!(server.call("GET", "/v1/keys/a/b%20c", &[], "").await.problem().code, Code::Absent);

    let commit = server.post(&format!("/v1/transactions/{t}/commit"), "").await;
    let reply = commit.reply();
    assert!(reply.committed && reply.version.is_some() && reply.session.is_some(), "{reply:?}");
    assert_eq!(commit.header("aft-version"), reply.version.as_deref());
    assert_eq!(commit.header("aft-session"), reply.session.as_deref());
    // A repeated commit is the same commit.
    assert_eq!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().version, reply.version);
    let get = server.call("GET", "/v1/keys/a%2Fb%20c", &[], "").await;
    assert_eq!((get.header("aft-version"), &get.body[..]), (reply.version.as_deref(), &b"hi"[..]));
    assert_eq!(server.call("GET", &key("a"), &[], "").await.problem().code, Code::Ended);
}

#[tokio::test]
async fn begin_returns_201_with_the_expiry() {
    let server = Server::start().await;
    let answer = server
        .post("/v1/transactions", r#"{"timeout_ms": 5000, "ops": [{"put": "k", "text": "v"}, {"get": "k"}]}"#)
        .await;
    assert_eq!(answer.status, 201);
    let reply = answer.reply();
    assert!(reply.expires_at.is_some_and(|at| at.ends_with('Z')));
    assert_eq!(answer.header("aft-transaction"), reply.transaction.as_deref());
    assert_eq!(reply.results.len(), 1);
    assert_eq!(reply.results[0].value.as_deref(), Some(&b"v"[..]));
}

#[tokio::test]
async fn batches_read_write_and_commit_in_both_encodings() {
    let server = Server::start().await;
    for format in [Format::Json, Format::Protobuf] {
        let headers = [("content-type", format.content_type())];
        let begin = Begin { ops: vec![Op::put("k1", "one"), Op::get("k2")], ..Begin::default() };
        let answer = server.call("POST", "/v1/transactions", &headers, format.encode(&begin)).await;
        assert_eq!(answer.header("content-type"), Some(format.content_type()));
        let begun: Reply = format.decode(&answer.body).unwrap();
        let batch = Batch {
            ops: vec![Op::get("k1"), Op::put("k3", "three"), Op::delete("k2")],
            commit: Some(true),
            result: None,
        };
        let path = format!("/v1/transactions/{}/batch", begun.transaction.unwrap());
        let answer = server.call("POST", &path, &headers, format.encode(&batch)).await;
        let reply: Reply = format.decode(&answer.body).unwrap();
        assert!(reply.committed && reply.version.is_some(), "{reply:?}");
        assert_eq!(reply.results[0].value.as_deref(), Some(&b"one"[..]));
        assert_eq!(reply.results[0].version.as_deref(), Some("uncommitted"));
    }
    // The request is in one encoding, and the reply in the other.
    let headers = [("content-type", "application/json"), ("accept", "application/x-protobuf")];
    let answer = server.call("POST", "/v1/execute", &headers, r#"{"ops": [{"get": "k3"}]}"#).await;
    let reply: Reply = Format::Protobuf.decode(&answer.body).unwrap();
    assert_eq!(reply.results[0].value.as_deref(), Some(&b"three"[..]));
}

/// Opens a transaction with `begin`, overtakes it with another write, and returns the status of its
/// commit.
async fn commit_after_another(server: &Server, begin: &Begin) -> u16 {
    let headers = [("content-type", Format::Protobuf.content_type())];
    let answer = server.call("POST", "/v1/transactions", &headers, Format::Protobuf.encode(begin)).await;
    let begun: Reply = Format::Protobuf.decode(&answer.body).expect("the reply is in the request's encoding");
    let transaction = begun.transaction.expect("an open transaction has a token");
    server.call("GET", &format!("/v1/transactions/{transaction}/keys/k"), &[], "").await;
    assert!(server.call("PUT", "/v1/keys/k", &[], "other").await.reply().version.is_some());
    server.call("PUT", &format!("/v1/transactions/{transaction}/keys/k"), &[], "own").await;
    server.post(&format!("/v1/transactions/{transaction}/commit"), "").await.status.as_u16()
}

/// Goal: on a store that one process holds, a transaction that names no level is read atomic.
#[tokio::test]
async fn a_transaction_without_a_level_is_read_atomic() {
    let server = Server::start().await;
    for (isolation, status) in [(0, 200), (1, 200), (2, 409)] {
        let begin = Begin { isolation, ..Begin::default() };
        assert_eq!(commit_after_another(&server, &begin).await, status, "{isolation}");
    }
    let headers = [("content-type", Format::Protobuf.content_type())];
    let begin = Format::Protobuf.encode(&Begin { isolation: 3, ..Begin::default() });
    let answer = server.call("POST", "/v1/transactions", &headers, begin).await;
    assert!(
        answer.problem().detail.contains("READ_ATOMIC (1), SERIALIZABLE (2), or left out (0)"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn listing_is_paged_and_sees_own_writes() {
    let server = Server::start().await;
    let body =
        r#"{"ops": [{"put": "p/a", "text": "1"}, {"put": "p/b", "text": "22"}, {"put": "q", "text": "3"}]}"#;
    assert!(server.post("/v1/execute", body).await.reply().committed);
    let t = server.open().await;
    server.call("PUT", &format!("/v1/transactions/{t}/keys/p/c"), &[], "own").await;
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/transactions/{t}/keys?prefix=p%2F&limit=1&after={after}");
        let answer = server.call("GET", &path, &[], "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page: Listing = Format::Json.decode(&answer.body).unwrap();
        assert!(page.keys.len() <= 1);
        keys.extend(
            page.keys.into_iter().map(|listed| (listed.key, listed.size, listed.version == "uncommitted")),
        );
        match page.next {
            Some(next) => after = next.replace('/', "%2F"),
            None => break,
        }
    }
    assert_eq!(keys, [("p/a".into(), 1, false), ("p/b".into(), 2, false), ("p/c".into(), 3, true)]);
}

#[tokio::test]
async fn an_aborted_transaction_has_no_effect() {
    let server = Server::start().await;
    let t = server.open().await;
    server.call("PUT", &format!("/v1/transactions/{t}/keys/k"), &[], "v").await;
    assert_eq!(server.post(&format!("/v1/transactions/{t}/abort"), "").await.status, 204);
    assert_eq!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.problem().code, Code::Ended);
    assert_eq!(server.call("GET", "/v1/keys/k", &[], "").await.problem().code, Code::Absent);
}

#[tokio::test]
async fn a_request_commits_once_and_can_be_looked_up() {
    let server = Server::start().await;
    let body =
        r#"{"request_id": "order/7", "scope": "shop", "ops": [{"put": "k", "text": "v"}], "result": "b2s="}"#;
    let first = server.post("/v1/execute", body).await;
    assert_eq!((first.header("idempotent-replayed"), first.reply().committed), (None, true));
    let second = server.post("/v1/execute", body).await;
    let reply = second.reply();
    assert_eq!((second.status.as_u16(), second.header("idempotent-replayed")), (200, Some("true")));
    assert!(reply.replayed && !reply.committed, "{reply:?}");
    assert_eq!(reply.result.as_deref(), Some(&b"ok"[..]));
    assert_eq!(reply.version, first.reply().version);
    // The same ID in the header, quoted as the draft requires.
    let without = body.replace(r#""request_id": "order/7", "#, "");
    let quoted = server.call("POST", "/v1/execute", &[("idempotency-key", "\"order/7\"")], without).await;
    assert!(quoted.reply().replayed, "{quoted:?}");

    let found = server.call("GET", "/v1/requests/order%2F7?scope=shop", &[], "").await;
    let request: Request = Format::Json.decode(&found.body).unwrap();
    assert_eq!(Some(&request.version), reply.version.as_ref());
    assert_eq!((&*request.keys, request.result.as_deref()), (&["k".to_owned()][..], Some(&b"ok"[..])));
    let by_hash = server.call("GET", &format!("/v1/requests/{}?by=hash", request.hash), &[], "").await;
    // The session contains the time of the look-up, so it differs.
    let by_hash: Request = Format::Json.decode(&by_hash.body).unwrap();
    assert_eq!(Request { session: request.session.clone(), ..by_hash }, request);
    // Another scope is another request.
    assert_eq!(server.call("GET", "/v1/requests/order/7", &[], "").await.problem().code, Code::NotFound);
}

#[tokio::test]
async fn one_operation_calls_replay_and_carry_sessions() {
    let server = Server::start().await;
    let headers = [("idempotency-key", "k1"), ("content-type", "text/plain")];
    let put = server.call("PUT", "/v1/keys/x", &headers, "hello").await;
    let session = put.header("aft-session").unwrap().to_owned();
    assert!(put.reply().committed && put.header("aft-version").is_some());
    let again = server.call("PUT", "/v1/keys/x", &headers, "hello").await;
    assert_eq!(
        (again.header("idempotent-replayed"), again.header("aft-version")),
        (Some("true"), put.header("aft-version"))
    );
    assert_eq!(server.call("PUT", "/v1/keys/x", &headers, "other").await.problem().code, Code::KeyReused);

    let get = server.call("GET", "/v1/keys/x", &[("aft-session", &session)], "").await;
    assert_eq!(&get.body[..], b"hello");
    // The session of a read keeps the commits that the client has seen.
    assert_eq!(get.header("aft-session"), Some(session.as_str()));
    let head = server.call("HEAD", "/v1/keys/x", &[], "").await;
    assert_eq!((head.header("content-length"), head.header("content-type")), (Some("5"), Some("text/plain")));
    assert!(server.call("DELETE", "/v1/keys/x", &[], "").await.reply().committed);
    assert_eq!(server.call("GET", "/v1/keys/x", &[], "").await.problem().code, Code::Absent);
}

/// Goal: values that do not fit into a commit record are stored as blobs, for every call that
/// writes.
#[tokio::test]
async fn large_values_are_read_back_unchanged() {
    let server = Server::start().await;
    let value = |seed: u8, len: usize| -> Bytes {
        (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
    };
    let alone = value(1, 20 << 20);
    assert!(server.call("PUT", "/v1/keys/alone", &[], alone.clone()).await.reply().committed);
    assert!(server.call("GET", "/v1/keys/alone", &[], "").await.body == alone);

    let t = server.open().await;
    for n in 0..8 {
        let put = server
            .call("PUT", &format!("/v1/transactions/{t}/keys/many/{n}"), &[], value(n, 200 << 10))
            .await;
        assert_eq!(put.status, 204, "{put:?}");
    }
    assert!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().committed);

    let ops: Vec<Op> = (0..8)
        .map(|n| Op::put(format!("batch/{n}"), value(n, 300 << 10)))
        .chain((0..8).map(|n| Op::get(format!("many/{n}"))))
        .collect();
    let begin = Format::Protobuf.encode(&Begin { ops, ..Begin::default() });
    let headers = [("content-type", Format::Protobuf.content_type())];
    let answer = server.call("POST", "/v1/execute", &headers, begin).await;
    let reply: Reply = Format::Protobuf.decode(&answer.body).unwrap();
    assert!(reply.committed, "{reply:?}");
    for n in 0..8 {
        assert!(reply.results[usize::from(n)].value == Some(value(n, 200 << 10)));
        let get = server.call("GET", &format!("/v1/keys/batch/{n}"), &[], "").await;
        assert!(get.body == value(n, 300 << 10));
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_are_reported() {
    let server = Server::start().await;
    assert_eq!(server.call("GET", "/healthz", &[], "").await.status, 200);
    assert_eq!(server.call("GET", "/readyz", &[], "").await.status, 200);
    let metrics = server.call("GET", "/metrics", &[], "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for name in [
        "aft_http_requests_total",
        "aft_http_request_seconds_bucket",
        "aft_verbs_total",
        "aft_build_info{version=",
        "aft_store_up{",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    let t = server.open().await;
    let node = server.node.clone();
    let drained = tokio::spawn(async move { node.drain(std::time::Duration::from_secs(20)).await });
    let draining = loop {
        let answer = server.call("GET", "/readyz", &[], "").await;
        if answer.status != 200 {
            break answer.problem();
        }
    };
    assert!(draining.code == Code::NotServing && draining.detail.contains("draining"), "{draining:?}");
    let refused = server.post("/v1/transactions", "{}").await.problem();
    assert_eq!((refused.code, refused.transaction), (Code::NotServing, None), "{}", refused.detail);
    let committed = server.post(&format!("/v1/transactions/{t}/commit"), "").await;
    assert!(committed.reply().committed && committed.body.ends_with(b"}\n"), "{committed:?}");
    assert_eq!(drained.await.unwrap().cut_off, 0);
}

/// Goal: one transaction can write 5 MB of small values; those that do not fit into the commit
/// record are stored beside it.
#[tokio::test]
async fn a_transaction_may_write_many_small_values() {
    let server = Server::start().await;
    let value = |n: usize| Bytes::from(vec![n as u8; 10 << 10]);
    let ops = |puts: std::ops::Range<usize>| puts.map(|n| Op::put(format!("k{n}"), value(n))).collect();
    let json = Format::Json.content_type();
    let protobuf = [("content-type", Format::Protobuf.content_type()), ("accept", json)];
    // In one call; in batches that race each other; one by one.
    let begin = Begin { ops: ops(0..500), ..Begin::default() };
    let whole = server.call("POST", "/v1/execute", &protobuf, Format::Protobuf.encode(&begin)).await;
    assert!(whole.reply().committed);
    let t = server.open().await;
    let (server, t) = (&server, &t);
    let batch = |at: usize| {
        let batch = Batch { ops: ops(at..at + 25), ..Batch::default() };
        async move {
            let path = format!("/v1/transactions/{t}/batch");
            server.call("POST", &path, &protobuf, Format::Protobuf.encode(&batch)).await
        }
    };
    for answer in futures::future::join_all((500..800).step_by(25).map(batch)).await {
        answer.reply();
    }
    for n in 800..1_000 {
        let put = server.call("PUT", &format!("/v1/transactions/{t}/keys/k{n}"), &[], value(n)).await;
        assert_eq!(put.status, 204, "{put:?}");
    }
    assert!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().committed);
    // Only some of each kind: a debug build is slow to check a record of 1 MiB for every read.
    let keys: Vec<usize> = (0..1_000).step_by(23).collect();
    let gets = keys.iter().map(|n| Op::get(format!("k{n}"))).collect();
    let begin = Begin { ops: gets, ..Begin::default() };
    let read = server.call("POST", "/v1/execute", &protobuf, Format::Protobuf.encode(&begin)).await.reply();
    assert_eq!(read.results.len(), keys.len());
    for (n, read) in keys.into_iter().zip(read.results) {
        assert_eq!((read.key, read.value), (format!("k{n}"), Some(value(n))));
    }
}
