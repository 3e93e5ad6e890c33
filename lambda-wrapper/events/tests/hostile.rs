//! Goal: no event makes the library panic, and each gets an answer. Method: bytes that are not
//! JSON, events at the limits of JSON, samples cut off or with any value in any place, and random
//! bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod common;

use aft_lambda_events::response::{REPLAYED_HEADER, replayed, status_of};
use aft_lambda_events::{Batch, Invocation, Path, Record, Rules, Source, explain, identify};
use common::{event, invocation, names};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Rules that look everywhere.
fn curious() -> Rules {
    Rules {
        request_id: Some(Path::new("Records[0].json(body).a || json(body).a || a").unwrap()),
        fingerprint: Some(Path::new("body || Records[*].body").unwrap()),
        caller: Some(Path::new("headers.a").unwrap()),
        fifo_deduplication_id: true,
        ..Rules::default()
    }
}

fn survive(event: &[u8]) {
    for rules in [Rules::default(), curious(), Rules { require: true, ..curious() }] {
        let asked = invocation(event);
        if let Ok(identity) = identify(&rules, &asked) {
            assert_eq!(identify(&rules, &asked).unwrap(), identity, "the same answer again");
            let id = identity.request_id.as_deref().unwrap_or("-");
            assert!(id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
            assert!(identity.scope.len() <= 1024 && identity.scope.is_ascii(), "{}", identity.scope);
            assert!(explain(&identity).lines().all(|line| line.chars().count() <= 80));
        }
        if let Some(batch) = Batch::split(&rules, &asked) {
            assert!(!batch.records().is_empty());
        }
    }
    let _ = Record::is_failed_by(event);
    for source in Source::ALL {
        let status = status_of(*source, event);
        let again = replayed(*source, event);
        assert_eq!(status_of(*source, &again), status, "{source:?}");
        assert_eq!(
            status.is_some(),
            String::from_utf8_lossy(&again).contains(REPLAYED_HEADER) || again != event,
            "{source:?}"
        );
    }
}

#[test]
fn what_is_not_json_is_direct() {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000)).into_bytes();
    for bytes in [
        &b""[..],
        b" ",
        b"{",
        b"nul",
        b"\xff\xfe\x00",
        b"{\"a\": \"\xff\"}",
        b"{\"a\": 1e999}",
        b"{\"a\": \"\\ud800\"}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        &deep("[", "]"),
        &deep("{\"a\":", "}"),
        &deep("[", ""),
    ] {
        survive(bytes);
        let identity = identify(&Rules::default(), &invocation(bytes)).unwrap();
        assert_eq!(identity.source, Source::Direct);
        assert_eq!(identity.request_id, Some(format!("invoke:{}", common::AWS_REQUEST_ID)));
        assert!(identity.why.iter().any(|sentence| sentence.contains("not JSON")));
        let other = [bytes, b"!"].concat();
        assert_ne!(
            identity.fingerprint,
            identify(&Rules::default(), &invocation(&other)).unwrap().fingerprint
        );
    }
}

#[test]
fn an_invocation_without_any_id_is_atomic() {
    for (aws_request_id, function_arn) in [("", ""), ("  ", "orders"), ("", "arn:aws:lambda")] {
        let asked = Invocation { event: b"{}", aws_request_id, function_arn, ..Invocation::default() };
        let identity = identify(&Rules::default(), &asked).unwrap();
        assert_eq!(identity.request_id, None);
        assert!(explain(&identity).contains("none: atomic"));
    }
}

#[test]
fn large_numbers_and_long_texts_are_answered() {
    let nested = format!("{}7{}", "[".repeat(120), "]".repeat(120));
    for text in [
        format!("{{\"a\": {}}}", "9".repeat(10_000)),
        format!("{{\"a\": 1.{}}}", "9".repeat(10_000)),
        "{\"a\": 1e-99999999999999999999}".to_owned(),
        format!("{{\"a\": \"{}\"}}", "x".repeat(1_000_000)),
        format!("{{\"a\": {nested}}}"),
        format!("{{\"a\": {{}}, {}}}", vec!["\"a\": 1"; 1_000].join(",")),
    ] {
        survive(text.as_bytes());
    }
    let huge = |digits: &str| {
        let text = format!("{{\"a\": {digits}}}");
        identify(&Rules::default(), &invocation(text.as_bytes())).unwrap().fingerprint
    };
    assert_ne!(huge(&"9".repeat(300)), huge(&format!("{}8", "9".repeat(299))));
}

#[test]
fn samples_survive_being_cut_off() {
    for name in names() {
        let bytes = event(&name).to_string().into_bytes();
        for end in (0..bytes.len()).step_by(bytes.len() / 20 + 1) {
            survive(&bytes[..end]);
        }
    }
}

/// Returns the pointers to all places of a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let name = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| places(value, &format!("{at}/{}", name(key)), found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("arn:aws:sqs:eu-west-1:210987654321:orders")),
        Just(json!("aws:sqs")),
        Just(json!("2.0")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z]{0,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_value_in_any_place_is_answered(
        sample in proptest::sample::select(names()),
        place in any::<proptest::sample::Index>(),
        value in any_json(),
    ) {
        let mut event = event(&sample);
        let mut found = Vec::new();
        places(&event, "", &mut found);
        *event.pointer_mut(&found[place.index(found.len())]).unwrap() = value;
        survive(event.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn any_json_is_answered(value in any_json(), context in "\\PC{0,40}") {
        let bytes = value.to_string();
        survive(bytes.as_bytes());
        let asked = Invocation { client_context: Some(&context), ..invocation(bytes.as_bytes()) };
        prop_assert!(identify(&Rules::default(), &asked).is_ok());
    }
}
