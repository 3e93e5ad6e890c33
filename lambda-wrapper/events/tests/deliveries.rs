//! Goal: two deliveries of one request have one ID, one scope and one fingerprint; two requests
//! never share an ID within a scope. Method: sample events, changed as a service changes them from
//! delivery to delivery, and then as another request differs; properties over what callers choose.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod common;

use std::collections::BTreeMap;

use aft_lambda_events::{Basis, Identity, Invocation, Path, Rules, identify};
use common::{FUNCTION, event, invocation, of, set, try_of, with};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Returns what makes two requests one.
fn name(identity: &Identity) -> (Option<String>, String) {
    (identity.request_id.clone(), identity.scope.clone())
}

/// Members that a service changes between two deliveries of one event.
const VOLATILE: &[(&str, &[&str])] = &[
    (
        "sqs",
        &[
            "/Records/0/receiptHandle",
            "/Records/0/attributes/ApproximateReceiveCount",
            "/Records/0/attributes/ApproximateFirstReceiveTimestamp",
            "/Records/0/attributes/SentTimestamp",
            "/Records/0/attributes/AWSTraceHeader",
        ],
    ),
    ("sqs-fifo", &["/Records/0/receiptHandle", "/Records/1/attributes/ApproximateReceiveCount"]),
    ("sqs-attribute", &["/Records/0/receiptHandle", "/Records/0/messageId"]),
    (
        "sns",
        &[
            "/Records/0/Sns/Signature",
            "/Records/0/Sns/SigningCertUrl",
            "/Records/0/Sns/UnsubscribeUrl",
            "/Records/0/Sns/Timestamp",
        ],
    ),
    ("kinesis", &["/Records/0/invokeIdentityArn", "/Records/0/kinesis/approximateArrivalTimestamp"]),
    ("dynamodb-streams", &["/Records/0/dynamodb/SizeBytes"]),
    ("kafka", &["/bootstrapServers"]),
    ("activemq", &["/messages/0/redelivered", "/messages/0/brokerOutTime"]),
    ("rabbitmq", &["/rmqMessagesByQueue/orders::~1/0/redelivered"]),
    ("scheduler", &["/id"]),
    ("scheduler-template", &["/attempt-number", "/execution-id"]),
    (
        "s3",
        &[
            "/Records/0/eventTime",
            "/Records/0/responseElements/x-amz-request-id",
            "/Records/0/requestParameters",
        ],
    ),
    ("s3-batch", &["/invocationId"]),
    ("step-functions", &["/context/State/RetryCount", "/context/Task/Token"]),
    ("step-functions-spread", &["/State/RetryCount", "/Task/Token"]),
    ("custom-resource", &["/ResponseURL"]),
    (
        "rest-api",
        &[
            "/requestContext/requestId",
            "/requestContext/requestTimeEpoch",
            "/requestContext/authorizer/claims/exp",
            "/requestContext/identity/sourceIp",
            "/headers/X-Amzn-Trace-Id",
            "/headers/User-Agent",
            "/multiValueHeaders/X-Forwarded-For",
        ],
    ),
    (
        "http-api",
        &["/requestContext/requestId", "/requestContext/timeEpoch", "/headers/x-forwarded-for", "/cookies"],
    ),
    (
        "function-url",
        &["/requestContext/requestId", "/headers/x-amz-date", "/requestContext/authorizer/iam/accessKey"],
    ),
    ("load-balancer", &["/multiValueHeaders/x-amzn-trace-id", "/requestContext/elb/targetGroupArn"]),
];

#[test]
fn deliveries_of_one_request_are_one() {
    for (sample, pointers) in VOLATILE {
        let first = event(sample);
        for pointer in *pointers {
            let value = match first.pointer(pointer).unwrap() {
                Value::Number(_) => json!(9_876_543),
                Value::Bool(old) => json!(!old),
                Value::Array(_) => json!(["another"]),
                Value::Object(_) => json!({"another": "value"}),
                _ => json!("another"),
            };
            let again = set(&first, pointer, value);
            assert_ne!(first, again, "{sample} {pointer}: the delivery differs");
            let (first, again) = (of(&first), of(&again));
            assert_eq!(name(&first), name(&again), "{sample} {pointer}");
            assert_eq!(first.fingerprint, again.fingerprint, "{sample} {pointer}");
        }
    }
}

/// Members that make another request of an event.
const IDENTIFYING: &[(&str, &[&str])] = &[
    ("sqs", &["/Records/0/messageId"]),
    ("sqs-batch", &["/Records/0/messageId", "/Records/2/messageId"]),
    ("sqs-attribute", &["/Records/0/messageAttributes/Idempotency-Key/stringValue"]),
    ("sns", &["/Records/0/Sns/MessageId"]),
    ("eventbridge", &["/id", "/source"]),
    ("scheduler", &["/time", "/detail"]),
    ("scheduler-template", &["/scheduled-time", "/report"]),
    ("kinesis", &["/Records/0/eventID", "/Records/2/eventID"]),
    ("dynamodb-streams", &["/Records/1/eventID"]),
    ("kafka", &["/records/orders-0/1/offset", "/records/orders-1/0/partition", "/records/orders-1/0/topic"]),
    ("activemq", &["/messages/0/messageID"]),
    ("rabbitmq", &["/rmqMessagesByQueue/orders::~1/0/basicProperties/messageId"]),
    (
        "s3",
        &[
            "/Records/0/s3/bucket/name",
            "/Records/0/s3/object/key",
            "/Records/0/s3/object/sequencer",
            "/Records/0/s3/object/eTag",
            "/Records/0/eventName",
        ],
    ),
    ("s3-batch", &["/job/id", "/tasks/0/taskId"]),
    ("step-functions", &["/context/State/Name", "/context/State/EnteredTime", "/order_id"]),
    ("step-functions-spread", &["/State/EnteredTime", "/order_id"]),
    ("step-functions-token", &["/order_id"]),
    ("durable-function", &["/CheckpointToken", "/InitialExecutionState/Operations/0/Status"]),
    ("custom-resource", &["/RequestId"]),
    ("logs", &["/awslogs/data"]),
    ("websocket", &["/requestContext/messageId", "/requestContext/connectionId", "/requestContext/stage"]),
    (
        "rest-api",
        &[
            "/httpMethod",
            "/path",
            "/requestContext/authorizer/claims/sub",
            "/requestContext/authorizer/claims/iss",
            "/requestContext/apiId",
            "/requestContext/stage",
        ],
    ),
    (
        "http-api",
        &[
            "/requestContext/http/method",
            "/rawPath",
            "/requestContext/authorizer/jwt/claims/sub",
            "/headers/idempotency-key",
        ],
    ),
    ("function-url", &["/requestContext/http/method", "/rawPath", "/requestContext/authorizer/iam/userArn"]),
    (
        "load-balancer",
        &[
            "/httpMethod",
            "/path",
            "/multiValueHeaders/idempotency-key/0",
            "/multiValueHeaders/x-amzn-oidc-identity/0",
        ],
    ),
];

#[test]
fn different_requests_are_two() {
    for (sample, pointers) in IDENTIFYING {
        let one = event(sample);
        for pointer in *pointers {
            let value = match one.pointer(pointer).unwrap() {
                Value::Number(_) => json!(9_876_543),
                _ => json!("another"),
            };
            let other = set(&one, pointer, value);
            assert_ne!(name(&of(&one)), name(&of(&other)), "{sample} {pointer}");
            assert_eq!(of(&one).source, of(&other).source, "{sample} {pointer}: still the same source");
        }
    }
}

#[test]
fn functions_and_tenants_are_apart_but_versions_are_not() {
    for sample in common::names() {
        let bytes = event(&sample).to_string();
        let by = |function_arn: &str, tenant_id: Option<&str>| {
            let asked = Invocation { function_arn, tenant_id, ..invocation(bytes.as_bytes()) };
            name(&identify(&Rules::default(), &asked).unwrap())
        };
        let arn = "arn:aws:lambda:eu-west-1:210987654321:function:orders";
        let usual = by(arn, None);
        assert_eq!(usual, by(&format!("{arn}:7"), None), "{sample}: another version");
        assert_eq!(usual, by(&format!("{arn}:$LATEST"), None), "{sample}");
        assert_eq!(usual, by(arn, Some("")), "{sample}: no tenant");
        let others = [
            by("arn:aws:lambda:eu-west-1:210987654321:function:refunds", None),
            by("arn:aws:lambda:eu-west-2:210987654321:function:orders", None),
            by("arn:aws:lambda:eu-west-1:210987654322:function:orders", None),
            by(arn, Some("acme")),
            by(arn, Some("acme2")),
        ];
        for (at, one) in others.iter().enumerate() {
            assert_ne!(*one, usual, "{sample}");
            assert!(others[at + 1..].iter().all(|other| other != one), "{sample}");
        }
    }
}

#[test]
fn other_content_has_another_fingerprint() {
    for (sample, pointer) in [
        ("direct", "/amount"),
        ("sqs", "/Records/0/body"),
        ("sns", "/Records/0/Sns/Message"),
        ("eventbridge", "/detail/total"),
        ("kinesis", "/Records/1/kinesis/data"),
        ("dynamodb-streams", "/Records/1/dynamodb/NewImage/Total/N"),
        ("kafka", "/records/orders-0/1/value"),
        ("activemq", "/messages/0/data"),
        ("rabbitmq", "/rmqMessagesByQueue/orders::~1/0/data"),
        ("s3-batch", "/tasks/0/s3Key"),
        ("step-functions", "/order_id"),
        ("custom-resource", "/ResourceProperties/Table"),
        ("websocket", "/body"),
        ("rest-api", "/path"),
        ("rest-api", "/httpMethod"),
        ("http-api", "/rawPath"),
        ("rest-api", "/body"),
        ("rest-api", "/multiValueQueryStringParameters/expand/0"),
        ("http-api", "/body"),
        ("http-api", "/rawQueryString"),
        ("function-url", "/body"),
        ("load-balancer", "/body"),
    ] {
        let one = event(sample);
        let other = set(&one, pointer, json!("b3RoZXI="));
        assert_ne!(of(&one).fingerprint, of(&other).fingerprint, "{sample} {pointer}");
    }
}

#[test]
fn a_body_counts_by_its_meaning() {
    let post = event("http-api");
    let body = |text: &str| of(&set(&post, "/body", json!(text))).fingerprint;
    assert_eq!(body(r#"{"a":1,"b":[2,3]}"#), body(" {\"b\": [2, 3],\n \"a\": 1.0}"));
    assert_ne!(body(r#"{"a":1}"#), body(r#"{"a":"1"}"#));
    assert_ne!(body("plain"), body("plain "));
    // Beyond the precision of floats.
    assert_ne!(body(r#"{"id":12345678901234567890123}"#), body(r#"{"id":12345678901234567890124}"#));
    let encoded = with(&post, |event| {
        event["body"] = json!("eyJhIjoxfQ==");
        event["isBase64Encoded"] = json!(true);
    });
    assert_eq!(of(&encoded).fingerprint, body(r#"{"a":1}"#));
    assert_ne!(body("eyJhIjoxfQ=="), body(r#"{"a":1}"#), "only if the event says so");
    let absent = of(&set(&post, "/body", Value::Null)).fingerprint;
    assert_eq!(absent, body(""));
}

#[test]
fn a_redelivered_batch_is_cut_differently() {
    let batch = event("sqs-batch");
    let whole = of(&batch);
    assert_eq!(whole.records.len(), 3);
    let rest = with(&batch, |event| {
        event["Records"].as_array_mut().unwrap().remove(0);
    });
    assert_ne!(whole.request_id, of(&rest).request_id);
    assert_eq!(whole.records[1..], of(&rest).records);
    let swapped = with(&batch, |event| event["Records"].as_array_mut().unwrap().swap(0, 1));
    assert_ne!(whole.request_id, of(&swapped).request_id, "order counts");
    assert!(whole.why.iter().any(|sentence| sentence.contains("cut differently")), "{:?}", whole.why);
    let one = with(&batch, |event| event["Records"].as_array_mut().unwrap().truncate(1));
    assert_eq!(of(&one).request_id.as_deref(), Some(whole.records[0].as_str()));
    assert!(of(&one).records.is_empty());
}

#[test]
fn items_of_a_map_are_apart() {
    let of_item = |index: u64| {
        let task = with(&event("step-functions"), |event| {
            event["context"]["Map"] = json!({ "Item": { "Index": index, "Value": "the same" } });
        });
        of(&task).request_id
    };
    assert_ne!(of_item(0), of_item(1), "though their payloads are equal");
    assert_eq!(of_item(1), of_item(1));
    assert_ne!(of_item(0), of(&event("step-functions")).request_id);
}

#[test]
fn replays_of_an_archive_run_again() {
    let first = event("eventbridge");
    let replay = |name: &str| of(&with(&first, |event| event["replay-name"] = json!(name))).request_id;
    assert_ne!(of(&first).request_id, replay("monday"));
    assert_ne!(replay("monday"), replay("tuesday"));
    assert_eq!(replay("monday"), replay("monday"));
}

#[test]
fn fifo_deduplication_ids_are_taken_if_asked() {
    let mut rules = Rules { fifo_deduplication_id: true, ..Rules::default() };
    let one = with(&event("sqs-fifo"), |event| event["Records"].as_array_mut().unwrap().truncate(1));
    let again = set(&one, "/Records/0/messageId", json!("sent-again"));
    let identity = try_of(&rules, &one).unwrap();
    assert_eq!(
        (identity.basis, identity.request_id.as_deref()),
        (Basis::DeduplicationId, Some("sqs-deduplication:customer-1:d-1"))
    );
    assert_eq!(name(&identity), name(&try_of(&rules, &again).unwrap()));
    assert_eq!(identity.fingerprint, try_of(&rules, &again).unwrap().fingerprint);
    let other_group = set(&one, "/Records/0/attributes/MessageGroupId", json!("customer-2"));
    assert_ne!(name(&identity), name(&try_of(&rules, &other_group).unwrap()));
    rules.fifo_deduplication_id = false;
    assert_ne!(name(&try_of(&rules, &one).unwrap()), name(&try_of(&rules, &again).unwrap()));
}

#[test]
fn two_keys_in_attributes_leave_the_message_its_own() {
    let message = event("sqs-attribute");
    let also = |key: &str| {
        with(&message, |event| {
            event["Records"][0]["messageAttributes"]["x_idempotency_key"] =
                json!({ "stringValue": key, "dataType": "String" });
        })
    };
    assert_eq!(of(&also("o-1045/pay")).request_id, of(&message).request_id);
    assert_eq!(of(&also("o-1046/pay")).basis, Basis::Source);
    assert_eq!(of(&also(" ")).request_id, of(&message).request_id, "an empty one is none");
}

#[test]
fn the_client_context_carries_a_key() {
    let bytes = event("direct").to_string();
    let by = |context: &str| {
        identify(
            &Rules::default(),
            &Invocation { client_context: Some(context), ..invocation(bytes.as_bytes()) },
        )
    };
    for context in [
        r#"{"custom":{"idempotency-key":"o-7"}}"#,
        r#"{"client":{},"custom":{"Idempotency_Key":" o-7 "},"env":{}}"#,
        r#"{"Custom":{"x-idempotency-key":"o-7"}}"#,
    ] {
        let identity = by(context).unwrap();
        assert_eq!(
            (identity.basis, identity.request_id.as_deref()),
            (Basis::ClientContext, Some("client:o-7")),
            "{context}"
        );
    }
    for context in [
        "",
        "{",
        "7",
        r#"{"custom":{"idempotency-key":""}}"#,
        r#"{"custom":{"idempotency-key":null}}"#,
        r#"{"idempotency-key":"o-7"}"#,
    ] {
        assert_eq!(by(context).unwrap().basis, Basis::Invocation, "{context}");
    }
    assert!(by(r#"{"custom":{"idempotency-key":"o-7","x-idempotency-key":"o-8"}}"#).is_err());
}

#[test]
fn a_retention_is_set_within_what_aft_grants() {
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3_600);
    let mut rules = Rules { retention: Some(hours(5)), ..Rules::default() };
    assert_eq!(try_of(&rules, &event("sqs")).unwrap().retention, hours(5));
    rules.retention = Some(hours(24 * 30));
    let long = try_of(&rules, &event("sqs")).unwrap();
    assert_eq!(long.retention, aft_lambda_events::RETENTION_MAX);
    assert!(long.why.iter().any(|sentence| sentence.contains("15 days")));
}

/// Any text that a caller may choose, with the characters that separate parts of IDs.
fn chosen() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c:|%#=, ]{1,6}",
        proptest::string::string_regex("\\PC{1,300}").unwrap(),
        Just("null".to_owned()),
    ]
    .prop_filter("keys are trimmed", |text| !text.trim().is_empty() && text.trim() == text)
}

/// A request of an HTTP API: method, path, caller, key, tenant.
type Call = (usize, String, String, String, Option<String>);

fn call() -> impl Strategy<Value = Call> {
    (0..3_usize, chosen(), chosen(), chosen(), proptest::option::of(chosen()))
}

fn identity_of(call: &Call) -> Identity {
    let (method, path, caller, key, tenant) = call;
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    let changed = with(&event("http-api"), |event| {
        event["requestContext"]["http"]["method"] = json!(["POST", "PUT", "PATCH"][*method]);
        event["rawPath"] = json!(path);
        event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = json!(caller);
        event["headers"]["idempotency-key"] = json!(quoted);
    });
    let bytes = changed.to_string();
    let asked = Invocation { tenant_id: tenant.as_deref(), ..invocation(bytes.as_bytes()) };
    identify(&Rules::default(), &asked).unwrap()
}

proptest! {
    #[test]
    fn calls_share_a_name_only_if_they_are_one(calls in proptest::collection::vec(call(), 1..20)) {
        let mut by_name: BTreeMap<_, &Call> = BTreeMap::new();
        for call in &calls {
            let identity = identity_of(call);
            prop_assert!(identity.request_id.is_some());
            prop_assert!(identity.scope.len() <= aft_lambda_events::SCOPE_BYTES_MAX);
            if let Some(other) = by_name.insert(name(&identity), call) {
                prop_assert_eq!(call, other);
            }
        }
    }

    /// Keys of several parts do not run into each other.
    #[test]
    fn selected_parts_share_a_name_only_if_they_are_one(keys in proptest::collection::vec(proptest::collection::vec(chosen(), 1..4), 1..20)) {
        let rules = Rules { request_id: Some(Path::new("key").unwrap()), ..Rules::default() };
        let mut by_name: BTreeMap<_, &Vec<String>> = BTreeMap::new();
        for key in &keys {
            let identity = try_of(&rules, &json!({ "key": key })).unwrap();
            prop_assert_eq!(identity.basis, Basis::Expression);
            if let Some(other) = by_name.insert(name(&identity), key) {
                prop_assert_eq!(key, other);
            }
        }
    }

    /// Records keep their IDs in any company and order.
    #[test]
    fn records_keep_their_ids(ids in proptest::collection::btree_set(chosen(), 2..8)) {
        let record = event("sqs")["Records"][0].clone();
        let of_ids = |ids: &[&String]| {
            let records: Vec<_> = ids.iter().map(|id| with(&record, |record| record["messageId"] = json!(id))).collect();
            of(&json!({ "Records": records }))
        };
        let ids: Vec<&String> = ids.iter().collect();
        let all = of_ids(&ids);
        prop_assert_eq!(all.records.len(), ids.len());
        for (id, known) in ids.iter().zip(&all.records) {
            let alone = of_ids(&[id]);
            prop_assert_eq!(alone.request_id.as_ref(), Some(known));
            prop_assert_eq!(&alone.scope, &all.scope);
        }
        let distinct: std::collections::BTreeSet<_> = all.records.iter().collect();
        prop_assert_eq!(distinct.len(), ids.len());
    }
}

#[test]
fn the_sample_function_has_an_alias() {
    assert!(FUNCTION.ends_with(":live"), "so that every test here sees one");
}
