//! Goal: no call, however odd, hangs or gets a 500, and the server goes on. Method: random methods,
//! paths, headers and bodies, some of them almost right, over a real socket. A call that takes
//! longer than `support` allows fails.

use crate::support::Server;
use aft_api::{Format, Problem};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Odd {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "v1",
            "transactions",
            "keys",
            "batch",
            "commit",
            "abort",
            "execute",
            "requests",
            "%",
            "%2F",
            "%FF",
            "%00",
            "..",
            "",
            "0123456789abcdef-0123456789abcdef0123456789abcdef",
            "TOKEN",
            "metrics",
            "readyz",
            "openapi.json",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9._~!$&'()*+,;=:@-]{0,12}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let query = prop::option::of("[a-z%&=+0-9]{0,20}");
    let known = prop::sample::select(vec![
        "/v1/execute",
        "/v1/transactions",
        "/v1/transactions/TOKEN/batch",
        "/v1/transactions/TOKEN/commit",
        "/v1/transactions/TOKEN/keys/",
        "/v1/transactions/TOKEN/keys",
        "/v1/keys/",
        "/v1/requests/",
    ]);
    let start = prop_oneof![
        known.prop_map(str::to_owned),
        vec(piece(), 0..5).prop_map(|pieces| format!("/{}", pieces.join("/")))
    ];
    (start, piece(), query).prop_map(|(start, end, query)| {
        let end = if start.ends_with('/') { end } else { String::new() };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{start}{end}{query}")
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = prop::sample::select(vec![
        r#"{"ops":[{"put":"k","text":"v"},{"get":"k"},{"delete":"k"}],"commit":true,"result":"b2s="}"#,
        r#"{"request_id":"r","scope":"s","fingerprint":"f","timeout_ms":50,"wait_ms":5,"if_open":"run","visibility":"published"}"#,
        r#"{"ops":[{"put":"k","value":"AAECAw=="}],"retention_s":18446744073709551615,"timeout_ms":18446744073709551615}"#,
        r#"{"wait_ms":0,"session":"AQ","request_id":"r2","ops":[]}"#,
    ]);
    let broken =
        (json, any::<prop::sample::Index>(), prop::option::of(any::<u8>())).prop_map(|(json, at, byte)| {
            let mut body = json.as_bytes().to_vec();
            if let Some(byte) = byte {
                let at = at.index(body.len());
                body[at] = byte;
            }
            body
        });
    prop_oneof![vec(any::<u8>(), 0..100), broken]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(vec![
        "content-type",
        "accept",
        "idempotency-key",
        "aft-session",
        "aft-transaction",
        "x-other",
    ]);
    let value = prop_oneof![
        Just("application/json".to_owned()),
        Just("application/x-protobuf".to_owned()),
        "[ -~]{0,20}",
    ];
    vec((name, value), 0..4)
}

fn odd() -> impl Strategy<Value = Odd> {
    let method =
        prop::sample::select(vec!["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW"]);
    (method, path(), headers(), body()).prop_map(|(method, path, headers, body)| Odd {
        method,
        path,
        headers,
        body,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn odd_calls_are_answered(calls in vec(odd(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::with(|_, doors| doors.desk.wait_default_ms = 5).await;
            let mut token = server.open().await;
            for call in calls {
                let path = call.path.replace("TOKEN", &token);
                let headers: Vec<_> = call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let answer = server.call(call.method, &path, &headers, call.body).await;
                if answer.status.is_client_error() || answer.status.is_server_error() {
                    assert!(answer.header("aft-error").is_some(), "{answer:?}");
                    if call.method != "HEAD" {
                        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
                        assert!(!problem.detail.is_empty());
                    }
                }
                if server.call("GET", &format!("/v1/transactions/{token}/keys/k"), &[], "").await.header("aft-error") == Some("ended") {
                    token = server.open().await;
                }
            }
            let last = server.post("/v1/execute", r#"{"ops": [{"put": "last", "text": "v"}, {"get": "last"}]}"#).await.reply();
            assert!(last.committed);
        });
    }

    #[test]
    fn any_body_is_decoded_or_rejected(body in body()) {
        let body = bytes::Bytes::from(body);
        for format in [Format::Json, Format::Protobuf] {
            if let Err(why) = format.decode_request::<aft_api::Begin>(&body) {
                prop_assert!(why.position <= body.len() && !why.detail.is_empty());
            }
        }
    }
}
