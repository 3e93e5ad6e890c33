//! Goal: each proxy understands the answers, and a replay is marked in what was stored. Method: the
//! documented forms of responses, and what the proxies make of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod common;

use std::time::Duration;

use aft_lambda_events::Source;
use aft_lambda_events::response::{Answer, Code, answer, error_document, problem, replayed, status_of};
use serde_json::{Value, json};

const HTTP: &[Source] = &[Source::RestApi, Source::HttpApi, Source::FunctionUrl, Source::LoadBalancer];
const CODES: &[Code] = &[
    Code::InProgress,
    Code::KeyReused,
    Code::ResultGone,
    Code::KeyMissing,
    Code::KeyRejected,
    Code::OutcomeUnknown,
    Code::RecordsFailed,
];

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn statuses_are_read_as_the_proxies_read_them() {
    for (response, rest, http) in [
        (r#"{"statusCode":201}"#, Some(201), Some(201)),
        (r#"{"statusCode":"404"}"#, Some(404), Some(404)),
        (r#"{"statusCode":99}"#, None, None),
        (r#"{"statusCode":600}"#, None, None),
        (r#"{"statusCode":70000}"#, None, None),
        (r#"{"statusCode":-200}"#, None, None),
        (r#"{"statusCode":200.5}"#, None, None),
        (r#"{"statusCode":null}"#, None, None),
        (r#"{"message":"ok"}"#, None, Some(200)),
        (r#""ok""#, None, Some(200)),
        ("null", None, Some(200)),
        ("not JSON", None, None),
        ("", None, None),
    ] {
        for source in [Source::RestApi, Source::LoadBalancer] {
            assert_eq!(status_of(source, response.as_bytes()), rest, "{response}");
        }
        for source in [Source::HttpApi, Source::FunctionUrl] {
            assert_eq!(status_of(source, response.as_bytes()), http, "{response}");
        }
        assert_eq!(status_of(Source::Sqs, response.as_bytes()), None);
    }
}

#[test]
fn a_replay_is_marked_where_the_proxy_looks() {
    let with_single = json!({"statusCode": 201, "headers": {"Location": "/o/7"}, "body": "x"});
    let with_several =
        json!({"statusCode": 201, "multiValueHeaders": {"Set-Cookie": ["a", "b"]}, "body": "x"});
    let bare = json!({"statusCode": 204});
    for source in HTTP {
        let marked = |response: &Value| parse(&replayed(*source, response.to_string().as_bytes()));
        let single = marked(&with_single);
        assert_eq!(
            single["headers"],
            json!({"Location": "/o/7", "Idempotent-Replayed": "true"}),
            "{source:?}"
        );
        assert_eq!(single["multiValueHeaders"], Value::Null, "{source:?}");
        assert_eq!((&single["statusCode"], &single["body"]), (&json!(201), &json!("x")));
        let several = marked(&with_several);
        assert_eq!(
            several["multiValueHeaders"],
            json!({"Set-Cookie": ["a", "b"], "Idempotent-Replayed": ["true"]})
        );
        assert_eq!(several["headers"], Value::Null, "{source:?}");
        // A load balancer reads one member or the other, and this response does not say which.
        let bare = marked(&bare);
        assert_eq!(bare["headers"], json!({"Idempotent-Replayed": "true"}));
        assert_eq!(bare["multiValueHeaders"].is_object(), *source == Source::LoadBalancer, "{source:?}");
    }
}

#[test]
fn a_mark_is_there_once() {
    for source in HTTP {
        let response = json!({"statusCode": 200, "headers": {"idempotent-replayed": "false", "A": "b"}});
        let once = replayed(*source, response.to_string().as_bytes());
        assert_eq!(parse(&once)["headers"], json!({"A": "b", "Idempotent-Replayed": "true"}));
        assert_eq!(replayed(*source, &once), once);
    }
}

#[test]
fn the_rest_of_a_response_stays_as_it_was_written() {
    let body = r#""{\"id\":1.10}""#;
    let response =
        format!(r#"{{"statusCode":200, "body": {body}, "cookies":["a=1"], "n": 12345678901234567890123}}"#);
    let marked = String::from_utf8(replayed(Source::HttpApi, response.as_bytes())).unwrap();
    for part in [body, r#"["a=1"]"#, "12345678901234567890123"] {
        assert!(marked.contains(part), "{marked}");
    }
}

#[test]
fn a_response_without_a_status_is_spelled_out() {
    for (response, body) in [(r#"{"id": 1.10}"#, r#"{"id": 1.10}"#), (r#""hello""#, "hello"), ("[1]", "[1]")]
    {
        let marked = parse(&replayed(Source::FunctionUrl, response.as_bytes()));
        assert_eq!(marked["statusCode"], 200);
        assert_eq!(marked["body"], body);
        assert_eq!(
            marked["headers"],
            json!({"content-type": "application/json", "Idempotent-Replayed": "true"})
        );
        assert_eq!(marked["isBase64Encoded"], false);
    }
}

#[test]
fn what_is_not_understood_stays() {
    for response in ["", "{", "not JSON", "null", "[]", r#"{"statusCode":7}"#, r#"{"message":"x"}"#] {
        for source in [Source::RestApi, Source::LoadBalancer, Source::Direct, Source::Sqs] {
            assert_eq!(replayed(source, response.as_bytes()), response.as_bytes(), "{source:?} {response}");
        }
    }
}

#[test]
fn problems_have_the_form_of_a_response() {
    for source in HTTP {
        for code in CODES {
            let bytes =
                problem(*source, *code, "what happened, and what to do", Some(Duration::from_millis(1_200)));
            assert_eq!(status_of(*source, &bytes), Some(code.status()));
            let response = parse(&bytes);
            assert_eq!(response["headers"]["Content-Type"], "application/problem+json");
            assert_eq!(response["headers"]["Retry-After"], "2", "rounded up");
            assert_eq!(response["isBase64Encoded"], false);
            let several = &response["multiValueHeaders"];
            let expect = if *source == Source::LoadBalancer { json!(["2"]) } else { Value::Null };
            assert_eq!(several["Retry-After"], expect, "{source:?}");
            let document = parse(response["body"].as_str().unwrap().as_bytes());
            assert_eq!(document["status"], code.status());
            assert_eq!(document["title"], code.title());
            assert_eq!(document["detail"], "what happened, and what to do");
            assert_eq!(document["code"], code.error_type());
        }
        let response = parse(&problem(*source, Code::KeyReused, "", None));
        assert_eq!(response["headers"].get("Retry-After"), None);
        let response = parse(&problem(*source, Code::InProgress, "", Some(Duration::ZERO)));
        assert_eq!(response["headers"]["Retry-After"], "1", "never at once");
    }
}

#[test]
fn statuses_follow_the_convention() {
    let statuses: Vec<_> = CODES.iter().map(|code| code.status()).collect();
    assert_eq!(statuses, [409, 422, 410, 400, 400, 503, 500]);
    let retryable: Vec<_> = CODES.iter().filter(|code| code.is_retryable()).collect();
    assert_eq!(retryable, [&Code::InProgress, &Code::OutcomeUnknown, &Code::RecordsFailed]);
}

#[test]
fn every_source_gets_its_kind_of_answer() {
    for source in Source::ALL {
        match answer(*source, Code::InProgress, "busy", None) {
            Answer::Response(bytes) => {
                assert!(source.is_http());
                assert_eq!(status_of(*source, &bytes), Some(409));
            }
            Answer::Error(bytes) => {
                assert!(!source.is_http());
                assert_eq!(parse(&bytes), json!({"errorType": "Aft.InProgress", "errorMessage": "busy"}));
            }
        }
    }
}

#[test]
fn long_messages_are_cut() {
    let document = parse(&error_document(Code::KeyReused, &"ü".repeat(1_000_000)));
    assert_eq!(document["errorMessage"].as_str().unwrap().chars().count(), 4_001);
}

#[test]
#[should_panic(expected = "only HTTP")]
fn a_queue_gets_no_problem() {
    let _ = problem(Source::Sqs, Code::InProgress, "", None);
}
