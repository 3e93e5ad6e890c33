//! Goal: an expression of the settings selects keys that identify, and a missing one never makes
//! two requests one. Method: events in which it finds every kind of value, with and without
//! `require`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod common;

use aft_lambda_events::{Basis, Override, Path, PathError, Reason, Rules, Source};
use common::{AWS_REQUEST_ID, event, of, set, try_of, with};
use serde_json::{Value, json};

fn by(expression: &str) -> Rules {
    Rules { request_id: Some(Path::new(expression).unwrap()), ..Rules::default() }
}

fn id_of(rules: &Rules, event: &Value) -> Option<String> {
    try_of(rules, event).unwrap().request_id
}

#[test]
fn keys_are_texts_numbers_and_lists_of_them() {
    let rules = by("key");
    for (key, expect) in [
        (json!("o-7"), "key:o-7"),
        (json!(7), "key:7"),
        (json!(-7), "key:-7"),
        (json!(18_446_744_073_709_551_615_u64), "key:18446744073709551615"),
        (json!(["acme", 7]), "keys:acme:7"),
        (json!(["acme", true]), "keys:acme:true"),
        (json!(["o-7"]), "key:o-7"),
        (json!("null"), "key:null"),
        (json!("Bestellung ü"), "key:Bestellung%20%C3%BC"),
    ] {
        let identity = try_of(&rules, &json!({ "key": key })).unwrap();
        assert_eq!(
            (identity.basis, identity.request_id.as_deref()),
            (Basis::Expression, Some(expect)),
            "{key}"
        );
    }
}

/// Every value that many requests would have in common.
fn missing() -> Vec<Value> {
    let mut found = vec![
        json!(null),
        json!(""),
        json!(" \t\n"),
        json!([]),
        json!([null]),
        json!(["acme", null]),
        json!(["acme", ""]),
        json!([["acme"]]),
        json!(["acme", {}]),
        json!({}),
        json!({"of": "ours"}),
        json!(true),
        json!(false),
        json!(1.5),
        json!(vec!["x"; 33]),
    ];
    // Beyond 64 bits, two numbers may be one float.
    found.push(serde_json::from_str("123456789012345678901234567890").unwrap());
    found
}

#[test]
fn a_missing_key_never_collapses_requests() {
    let rules = by("key");
    let mut events: Vec<Value> = missing().into_iter().map(|key| json!({ "key": key })).collect();
    events.extend([json!({}), json!([]), json!("text"), json!(null), json!(7)]);
    for event in &events {
        let identity = try_of(&rules, event).unwrap();
        // The ID of the invocation, which no other invocation has.
        assert_eq!(identity.request_id, Some(format!("invoke:{AWS_REQUEST_ID}")), "{event}");
        assert!(
            identity.why.iter().any(|sentence| sentence.contains("AFT_REQUEST_ID (key)")),
            "{:?}",
            identity.why
        );

        let required = Rules { require: true, ..rules.clone() };
        let rejected = try_of(&required, event).unwrap_err();
        assert_eq!(rejected.reason, Reason::KeyMissing, "{event}");
        assert!(rejected.message.contains("AFT_REQUEST_ID"), "{}", rejected.message);
    }
    // HTTP has no ID of the invocation to fall back to, since each retry has another one.
    let http = with(&event("http-api"), |event| event["headers"] = json!({}));
    assert_eq!(id_of(&rules, &http), None);
    assert!(try_of(&Rules { require: true, ..rules.clone() }, &http).is_err());
    // A source's own ID is certain.
    assert_eq!(id_of(&rules, &event("sqs")), of(&event("sqs")).request_id);
}

#[test]
fn a_key_beats_the_source_and_the_header() {
    let rules = by("powertools_json(body).amount");
    let identity = try_of(&rules, &event("http-api")).unwrap();
    assert_eq!((identity.basis, identity.request_id.as_deref()), (Basis::Expression, Some("key:1999")));
    assert_eq!(identity.scope, of(&event("http-api")).scope, "the scope of HTTP stays");
    // A text is not a number's place.
    assert_eq!(id_of(&by("rawPath"), &event("http-api")).as_deref(), Some("key:/orders/1043/pay"));
}

#[test]
fn texts_inside_are_read() {
    for (expression, sample, expect) in [
        ("Records[0].json(body).order_id", "sqs", "key:o-1043"),
        ("powertools_json(Records[0].body).order_id", "sqs", "key:o-1043"),
        ("Records[0].powertools_base64(kinesis.data)", "kinesis-window", "key:placed"),
        ("[detail.order_id, source]", "eventbridge", "keys:o-1043:shop.orders"),
        ("join('/', [detail.order_id, source])", "eventbridge", "key:o-1043/shop.orders"),
        ("headers.\"idempotency-key\"", "http-api", "key:6514dec5-c959-5b52-a0c6-585ceb83aec0"),
    ] {
        let id = id_of(&by(expression), &event(sample)).unwrap();
        assert!(id.starts_with(expect), "{expression}: {id}");
    }
    // Unreadable texts have no key.
    let rules = by("json(body).order_id");
    for body in [json!("not JSON"), json!(""), json!(null), json!(7), json!("[".repeat(100_000))] {
        let asked = json!({ "body": body });
        assert_eq!(try_of(&rules, &asked).unwrap().basis, Basis::Invocation);
    }
    let rules = by("base64(data)");
    for data in ["%", "//79", "a"] {
        assert_eq!(try_of(&rules, &json!({ "data": data })).unwrap().basis, Basis::Invocation);
    }
}

#[test]
fn failing_expressions_select_nothing() {
    for expression in [
        "length(@)",
        "abs('a')",
        "no_such_function(@)",
        "list[::0]",
        "to_number(@)",
        "&a",
        "sort_by(list, &a)",
    ] {
        let rules = by(expression);
        let asked = json!({"list": [{"a": 1}, {"a": "b"}]});
        let identity = try_of(&rules, &asked).unwrap();
        if expression != "length(@)" {
            assert_eq!(identity.basis, Basis::Invocation, "{expression}: {:?}", identity.request_id);
        }
        for sentence in &identity.why {
            assert!(!sentence.contains('\n'), "{sentence}");
        }
    }
}

#[test]
fn expressions_are_bounded() {
    assert!(matches!(Path::new(&"a".repeat(513)), Err(PathError::TooLong(513))));
    for expression in ["", "a.", "[", "a b", "'", "`{`", "a[?", "\u{0}"] {
        let why = Path::new(expression).unwrap_err();
        assert!(matches!(why, PathError::Syntax(_)), "{expression}: {why}");
        assert!(!why.to_string().contains('\n'), "{why}");
    }
    assert!(matches!(Path::new(&format!("{}a", "!".repeat(65))), Err(PathError::TooDeep(65))));
    assert!(matches!(Path::new(&format!("{}a", "(".repeat(400))), Err(PathError::TooDeep(400))));
}

/// The deepest that are accepted, in every way to nest, on half of the stack of a thread.
#[test]
fn nesting_fits_on_a_small_stack() {
    let deepest = || {
        let mut accepted = 0;
        for (open, close) in [
            ("(", ")"),
            ("[", "]"),
            ("!", ""),
            ("a.", ""),
            ("a[0].", ""),
            ("a|", ""),
            ("{a:", "}"),
            ("abs(", ")"),
            ("a[?", "]"),
            ("a||", ""),
            ("a&&", ""),
            ("a==", ""),
            ("a[*].", ""),
            ("a.*.", ""),
            ("a[].", ""),
            ("@.[", "]"),
        ] {
            let operators = open.matches(['(', '[', '{', '!', '&', '|', '.', '=']).count();
            let levels = 64 / operators;
            let expression = format!("{}a{}", open.repeat(levels), close.repeat(levels));
            if let Ok(path) = Path::new(&expression) {
                accepted += 1;
                let rules = Rules { request_id: Some(path), ..Rules::default() };
                let asked = json!({"a": {"a": {"a": [["x"]]}}});
                assert!(try_of(&rules, &asked).is_ok(), "{open}");
            }
        }
        accepted
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(deepest).unwrap();
    assert!(thread.join().unwrap() >= 12, "most of them are expressions");
}

#[test]
fn records_of_a_batch_are_asked_one_by_one() {
    let rules = by("Records[0].json(body).order_id");
    let batch = set(&event("sqs-batch"), "/Records/2/body", json!(r#"{"order_id":"o-1099"}"#));
    let identity = try_of(&rules, &batch).unwrap();
    assert_eq!(identity.records, ["key:o-1043", "key:o-1044", "key:o-1099"]);
    assert!(identity.request_id.unwrap().starts_with("key-batch:"));
    // One record without a key leaves the batch to its source.
    let identity = try_of(&rules, &event("sqs-batch")).unwrap();
    assert_eq!(identity.basis, Basis::Source);
}

#[test]
fn a_key_of_the_business_is_one_over_both_ways() {
    let rules = by("Records[0].json(body).order_id || order_id");
    let queued = try_of(&rules, &event("sqs")).unwrap();
    let direct = try_of(&rules, &event("direct")).unwrap();
    assert_eq!((&queued.request_id, &queued.scope), (&direct.request_id, &direct.scope));
}

#[test]
fn rules_differ_by_source() {
    let of_sqs = Override {
        request_id: Some(Path::new("Records[0].json(body).order_id").unwrap()),
        require: Some(true),
        fingerprint: None,
        retention: Some(std::time::Duration::from_secs(3_600)),
    };
    let rules = Rules { overrides: [(Source::Sqs, of_sqs)].into(), ..Rules::default() };
    let identity = try_of(&rules, &event("sqs")).unwrap();
    assert_eq!(identity.request_id.as_deref(), Some("key:o-1043"));
    assert_eq!(identity.retention.as_secs(), 3_600);
    assert!(try_of(&rules, &set(&event("sqs"), "/Records/0/body", json!("none"))).is_err());
    assert_eq!(try_of(&rules, &event("sns")).unwrap(), of(&event("sns")));
}

#[test]
fn the_fingerprint_is_of_what_is_selected() {
    let rules = Rules { fingerprint: Some(Path::new("[order_id, amount]").unwrap()), ..Rules::default() };
    let one = event("direct");
    let print = |event: &Value| try_of(&rules, event).unwrap().fingerprint;
    assert_eq!(print(&one), print(&set(&one, "/note", json!("another"))));
    assert_ne!(print(&one), print(&set(&one, "/amount", json!(1))));
    assert_ne!(print(&one), of(&one).fingerprint);
    // Nothing selected would fit every request.
    let none = Rules { fingerprint: Some(Path::new("absent").unwrap()), ..Rules::default() };
    let identity = try_of(&none, &one).unwrap();
    assert_eq!(identity.fingerprint, of(&one).fingerprint);
    assert!(identity.why.iter().any(|sentence| sentence.contains("AFT_FINGERPRINT")));
}
