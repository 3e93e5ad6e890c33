//! Goal: the key of an HTTP request is found in every way to send it, two keys are rejected, and
//! callers never share a key. Method: sample requests with other headers and other authorizers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod common;

use aft_lambda_events::response::{Answer, rejected};
use aft_lambda_events::{Basis, Path, Reason, Rules, Source};
use common::{event, of, set, try_of, with};
use serde_json::{Value, json};

const SAMPLES: &[&str] = &["rest-api", "http-api", "function-url", "load-balancer"];

/// Returns a sample whose only headers are these, as single values and as lists.
fn with_headers(sample: &str, single: Option<Value>, several: Option<Value>) -> Value {
    with(&event(sample), |event| {
        for (member, headers) in [("headers", single), ("multiValueHeaders", several)] {
            match headers {
                Some(headers) => event[member] = headers,
                None => drop(event.as_object_mut().unwrap().remove(member)),
            }
        }
    })
}

#[test]
fn the_header_is_found_in_every_form() {
    for sample in SAMPLES {
        for (single, several) in [
            (Some(json!({"Idempotency-Key": "k-1"})), None),
            (Some(json!({"idempotency-key": "\"k-1\""})), None),
            (Some(json!({"IDEMPOTENCY-KEY": "  k-1 "})), None),
            (Some(json!({"X-Idempotency-Key": "k-1"})), None),
            (None, Some(json!({"Idempotency-Key": ["k-1"]}))),
            (None, Some(json!({"x-idempotency-key": ["\"k-1\"; v=1"]}))),
            (Some(json!({"Idempotency-Key": "k-1"})), Some(json!({"Idempotency-Key": ["k-1"]}))),
            // The same key twice is one key.
            (None, Some(json!({"Idempotency-Key": ["k-1", "\"k-1\""]}))),
            (Some(json!({"Idempotency-Key": "k-1,k-1"})), None),
            (Some(json!({"Idempotency-Key": "k-1", "X-Idempotency-Key": "\"k-1\""})), None),
            (Some(json!({"Idempotency-Key": "", "X-Idempotency-Key": "k-1"})), None),
        ] {
            let request = with_headers(sample, single, several);
            let identity = of(&request);
            assert_eq!(identity.basis, Basis::Header, "{request}");
            assert_eq!(identity.request_id.as_deref(), Some("http:k-1"), "{request}");
        }
    }
}

#[test]
fn without_a_key_a_request_is_atomic_only() {
    for sample in SAMPLES {
        for headers in [
            json!({}),
            json!(null),
            json!("none"),
            json!({"Idempotency-Key": ""}),
            json!({"Idempotency-Key": "\"\""}),
            json!({"Idempotency-Key": null}),
            json!({"Idempotency-Key": 7}),
            json!({"X-Request-Id": "k-1"}),
            json!({"Idempotency-Key-2": "k-1"}),
        ] {
            let request = with_headers(sample, Some(headers), None);
            let identity = of(&request);
            assert_eq!((identity.basis, identity.request_id), (Basis::None, None), "{request}");
            let require = Rules { require: true, ..Rules::default() };
            let rejected_ = try_of(&require, &request).unwrap_err();
            assert_eq!(rejected_.reason, Reason::KeyMissing);
            let Answer::Response(response) = rejected(&rejected_) else { panic!("HTTP gets a response") };
            let response: Value = serde_json::from_slice(&response).unwrap();
            assert_eq!(response["statusCode"], 400);
        }
    }
}

#[test]
fn two_keys_and_broken_quotes_are_rejected() {
    for sample in SAMPLES {
        for (single, several, reason) in [
            (json!({"Idempotency-Key": "a,b"}), json!({}), Reason::SeveralKeys),
            (json!({"Idempotency-Key": "\"a\", \"b\""}), json!({}), Reason::SeveralKeys),
            (json!({"Idempotency-Key": "a", "X-Idempotency-Key": "b"}), json!({}), Reason::SeveralKeys),
            (json!({"Idempotency-Key": "a", "idempotency-key": "b"}), json!({}), Reason::SeveralKeys),
            (json!({}), json!({"Idempotency-Key": ["a", "b"]}), Reason::SeveralKeys),
            (json!({"Idempotency-Key": "a"}), json!({"Idempotency-Key": ["b"]}), Reason::SeveralKeys),
            (json!({"Idempotency-Key": "\"a"}), json!({}), Reason::KeyMalformed),
            (json!({"Idempotency-Key": "\"a\"b"}), json!({}), Reason::KeyMalformed),
        ] {
            let request = with_headers(sample, Some(single), Some(several));
            assert_eq!(try_of(&Rules::default(), &request).unwrap_err().reason, reason, "{request}");
        }
    }
}

#[test]
fn other_headers_are_opted_in() {
    let request =
        with_headers("http-api", Some(json!({"PayPal-Request-Id": "p-1", "Idempotency-Key": "k-1"})), None);
    let rules = Rules { headers: vec!["paypal-request-id".to_owned()], ..Rules::default() };
    assert_eq!(try_of(&rules, &request).unwrap().request_id.as_deref(), Some("http:p-1"));
    assert_eq!(of(&request).request_id.as_deref(), Some("http:k-1"));
}

/// Returns the caller in the scope of a request.
fn caller(rules: &Rules, request: &Value) -> String {
    let identity = try_of(rules, request).unwrap();
    identity.scope.split_once("caller=").expect("HTTP has a caller").1.to_owned()
}

fn usual(request: &Value) -> String {
    caller(&Rules::default(), request)
}

fn rest(authorizer: Value, identity: Value) -> Value {
    with(&event("rest-api"), |event| {
        event["requestContext"]["authorizer"] = authorizer;
        event["requestContext"]["identity"] = identity;
    })
}

fn http(authorizer: Value) -> Value {
    set(&event("http-api"), "/requestContext/authorizer", authorizer)
}

#[test]
fn callers_are_named_by_what_is_verified() {
    for (request, expect) in [
        (rest(json!({"claims": {"sub": "u", "iss": "i"}}), json!({"apiKeyId": "k"})), "sub:i|u"),
        (
            rest(json!({"principalId": "p", "integrationLatency": 7}), json!({"userArn": "arn"})),
            "principal:p",
        ),
        (rest(json!(null), json!({"cognitoIdentityId": "c", "userArn": "arn"})), "cognito:c"),
        (rest(json!({}), json!({"userArn": "arn:aws:iam::1:user/u"})), "iam:arn:aws:iam::1:user/u"),
        (
            rest(json!(null), json!({"clientCert": {"issuerDN": "CN=ca", "subjectDN": "CN=u"}})),
            "certificate:CN=ca|CN=u",
        ),
        (rest(json!(null), json!({"apiKeyId": "k", "apiKey": "secret"})), "api-key:k"),
        (rest(json!(null), json!({"sourceIp": "198.51.100.23"})), "anonymous"),
        (http(json!({"jwt": {"claims": {"sub": "u"}}})), "sub:|u"),
        (http(json!({"lambda": {"principalId": "p"}})), "principal:p"),
        (http(json!({"lambda": {"sub": "u"}})), "sub:|u"),
        (http(json!({"iam": {"userArn": "arn", "cognitoIdentity": {"identityId": "c"}}})), "cognito:c"),
        (http(json!({"iam": {"userArn": "arn", "cognitoIdentity": null}})), "iam:arn"),
        (http(json!(null)), "anonymous"),
    ] {
        assert_eq!(usual(&request), expect, "{}", request["requestContext"]);
    }
}

#[test]
fn unknown_authorizers_count_as_a_whole() {
    let by = |context: Value| usual(&http(json!({ "lambda": context })));
    let one = by(json!({"user": 1, "exp": 100}));
    assert!(one.starts_with("authorizer:"), "{one}");
    assert_eq!(one, by(json!({"exp": 200, "user": 1})), "the time of the token does not count");
    assert_ne!(one, by(json!({"user": 2, "exp": 100})));
    assert_ne!(
        usual(&http(json!({"jwt": {"claims": {"scope": "a"}}}))),
        usual(&http(json!({"jwt": {"claims": {"scope": "b"}}})))
    );
    // Claims that are empty name nobody.
    assert!(usual(&http(json!({"jwt": {"claims": {"sub": " "}}}))).starts_with("authorizer:"));
}

#[test]
fn tokens_that_nobody_verified_keep_callers_apart() {
    let by = |sample: &str, token: Option<&str>| {
        let mut headers = json!({"Idempotency-Key": "1"});
        if let Some(token) = token {
            headers["Authorization"] = json!(token);
        }
        let request = with_headers(sample, Some(headers), None);
        let request = with(&request, |event| {
            event["requestContext"]["authorizer"] = Value::Null;
            event["requestContext"]["identity"] = json!({});
        });
        usual(&request)
    };
    for sample in SAMPLES {
        let alice = by(sample, Some("Bearer alice"));
        assert!(
            alice.starts_with("authorization:") && !alice.contains("alice"),
            "{sample}: no secret: {alice}"
        );
        assert_eq!(alice, by(sample, Some("Bearer alice")));
        assert_ne!(alice, by(sample, Some("Bearer bob")));
        assert_eq!(by(sample, None), "anonymous");
    }
}

#[test]
fn an_expression_names_the_caller() {
    let rules = Rules { caller: Some(Path::new("headers.\"x-account\"").unwrap()), ..Rules::default() };
    let by = |account: Value| {
        let headers = json!({"idempotency-key": "1", "x-account": account});
        caller(&rules, &with_headers("function-url", Some(headers), None))
    };
    assert_eq!(by(json!("a-1")), "set:a-1");
    assert_ne!(by(json!("a-1")), by(json!("a-2")));
    // Nobody can pass for a caller whom the expression does not find.
    assert_eq!(by(json!(null)), "unset");
    assert_ne!(by(json!("unset")), by(json!(null)));
}

/// Two callers of any kinds with one name are two.
#[test]
fn kinds_of_callers_are_apart() {
    let all = [
        rest(json!({"claims": {"sub": "x"}}), json!({})),
        rest(json!({"principalId": "x"}), json!({})),
        rest(json!(null), json!({"cognitoIdentityId": "x"})),
        rest(json!(null), json!({"userArn": "x"})),
        rest(json!(null), json!({"apiKeyId": "x"})),
        rest(json!({"claims": {"iss": "x", "sub": "x"}}), json!({})),
        rest(json!({"principalId": "|x"}), json!({})),
        rest(json!(null), json!({})),
    ];
    let callers: std::collections::BTreeSet<_> = all.iter().map(usual).collect();
    assert_eq!(callers.len(), all.len());
}

#[test]
fn the_header_of_a_load_balancer_counts_there_only() {
    let headers = json!({"idempotency-key": "1", "x-amzn-oidc-identity": "someone"});
    assert_eq!(usual(&with_headers("load-balancer", Some(headers.clone()), None)), "oidc:someone");
    let anonymous = with(&with_headers("http-api", Some(headers), None), |event| {
        event["requestContext"]["authorizer"] = Value::Null;
    });
    assert_eq!(of(&anonymous).source, Source::HttpApi);
    assert_eq!(usual(&anonymous), "anonymous");
}
