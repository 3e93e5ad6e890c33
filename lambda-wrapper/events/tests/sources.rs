//! Goal: each source is recognised, with its request ID, scope and retention; and nothing else is
//! taken for it. Method: a table over the sample events, which are written from the services'
//! documentation; then each of the fields by which a source is recognised is taken away.

mod common;

use std::time::Duration;

use aft_lambda_events::{Basis, Source};
use common::{event, names, of, set, with};
use serde_json::{Value, json};

struct Row {
    event: &'static str,
    source: Source,
    basis: Basis,
    id: &'static str,
    /// The scope after the function.
    scope: &'static str,
    hours: u64,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { event: "direct", source: Source::Direct, basis: Basis::Invocation, id: "invoke:5b441b59-a550-11e8-8f4a-f00d5b8c2a11", scope: "", hours: 24 },
    Row { event: "cognito-post-confirmation", source: Source::Direct, basis: Basis::Invocation, id: "invoke:5b441b59-a550-11e8-8f4a-f00d5b8c2a11", scope: "", hours: 24 },
    Row { event: "own-records", source: Source::Direct, basis: Basis::Invocation, id: "invoke:5b441b59-a550-11e8-8f4a-f00d5b8c2a11", scope: "", hours: 24 },
    Row { event: "rest-api", source: Source::RestApi, basis: Basis::Header, id: "http:KEY", scope: " api=k3y9example stage=prod method=POST path=/orders/1043/pay caller=sub:https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_kQ7tR2xYz|SUB", hours: 24 },
    Row { event: "http-api", source: Source::HttpApi, basis: Basis::Header, id: "http:KEY", scope: " api=h7api0example stage=$default method=POST path=/orders/1043/pay caller=sub:https://login.example.com/|user%257C5521", hours: 24 },
    Row { event: "function-url", source: Source::FunctionUrl, basis: Basis::Header, id: "http:pay-77", scope: " api=u5rl7example stage=$default method=PUT path=/pay caller=iam:arn:aws:sts::210987654321:assumed-role/checkout/checkout", hours: 24 },
    Row { event: "load-balancer", source: Source::LoadBalancer, basis: Basis::Header, id: "http:pay-78", scope: " method=POST path=/pay caller=oidc:user-5521", hours: 24 },
    Row { event: "websocket", source: Source::WebSocket, basis: Basis::Source, id: "websocket:MESSAGE:Qm4tzcXyjoECExample=:Qm4tpcD3joECExample=", scope: " from=w5api0example.execute-api.eu-west-1.amazonaws.com:w5api0example:prod", hours: 24 },
    Row { event: "sqs", source: Source::Sqs, basis: Basis::Source, id: "sqs:7d3d9c4c-3ce8-579c-9f6b-7afa4f19ad13", scope: " from=arn:aws:sqs:eu-west-1:210987654321:orders", hours: 360 },
    Row { event: "sqs-batch", source: Source::Sqs, basis: Basis::Source, id: "sqs-batch:HASH", scope: " from=arn:aws:sqs:eu-west-1:210987654321:orders", hours: 360 },
    Row { event: "sqs-attribute", source: Source::Sqs, basis: Basis::Attribute, id: "sqs-key:o-1045/pay", scope: " from=arn:aws:sqs:eu-west-1:210987654321:orders", hours: 360 },
    Row { event: "sqs-fifo", source: Source::SqsFifo, basis: Basis::Source, id: "sqs-batch:HASH", scope: " from=arn:aws:sqs:eu-west-1:210987654321:orders.fifo", hours: 360 },
    Row { event: "sns", source: Source::Sns, basis: Basis::Source, id: "sns:UUID", scope: " from=arn:aws:sns:eu-west-1:210987654321:orders", hours: 360 },
    Row { event: "eventbridge", source: Source::EventBridge, basis: Basis::Source, id: "eventbridge:UUID", scope: " from=210987654321:eu-west-1:shop.orders", hours: 30 },
    Row { event: "scheduler", source: Source::Scheduler, basis: Basis::Source, id: "scheduler:2026-11-30T10%3A15%3A00Z:HALF:arn:aws:scheduler:eu-west-1:210987654321:schedule/default/nightly", scope: "", hours: 30 },
    Row { event: "scheduler-template", source: Source::Scheduler, basis: Basis::Source, id: "scheduler:2026-11-30T10%3A15%3A00Z:HALF:arn:aws:scheduler:eu-west-1:210987654321:schedule/default/nightly", scope: "", hours: 30 },
    Row { event: "kinesis", source: Source::Kinesis, basis: Basis::Source, id: "kinesis-batch:HASH", scope: " from=arn:aws:kinesis:eu-west-1:210987654321:stream/orders", hours: 360 },
    Row { event: "kinesis-window", source: Source::Kinesis, basis: Basis::Source, id: "kinesis:shardId-000000000006:49671203385914460927710438538361571095921575989136588898", scope: " from=arn:aws:kinesis:eu-west-1:210987654321:stream/orders", hours: 360 },
    Row { event: "dynamodb-streams", source: Source::DynamoDbStreams, basis: Basis::Source, id: "dynamodb-batch:HASH", scope: " from=arn:aws:dynamodb:eu-west-1:210987654321:table/orders/stream/2026-11-01T00:00:00.000", hours: 25 },
    Row { event: "kafka", source: Source::Kafka, basis: Basis::Source, id: "kafka-batch:HASH", scope: " from=arn:aws:kafka:eu-west-1:210987654321:cluster/orders/UUID-2", hours: 360 },
    Row { event: "kafka-self-managed", source: Source::SelfManagedKafka, basis: Basis::Source, id: "kafka:0:15:orders", scope: " from=kafka-1.example.com:9092,kafka-2.example.com:9092", hours: 360 },
    Row { event: "activemq", source: Source::ActiveMq, basis: Basis::Source, id: "activemq:ID:b-UUID-1.mq.eu-west-1.amazonaws.com-37557-1796033000000-4:1:1:1:1", scope: " from=arn:aws:mq:eu-west-1:210987654321:broker:orders:b-UUID", hours: 360 },
    Row { event: "rabbitmq", source: Source::RabbitMq, basis: Basis::Source, id: "rabbitmq:orders%3A%3A/:m-1043", scope: " from=arn:aws:mq:eu-west-1:210987654321:broker:orders:b-UUID", hours: 360 },
    Row { event: "s3", source: Source::S3, basis: Basis::Source, id: "s3:0067EXAMPLE04A1B2C:5f2b8a0c7d1e4936a8b7c6d5e4f30211:ObjectCreated%3APut:2026/11/order%253A1043+final.csv", scope: " from=aws:s3:orders-in", hours: 30 },
    Row { event: "s3-batch", source: Source::S3Batch, basis: Basis::Source, id: "s3batch:UUID:dGFzay0xMDQz", scope: "", hours: 360 },
    Row { event: "step-functions", source: Source::StepFunctions, basis: Basis::Source, id: "states:Pay:2026-11-30T10%3A12%3A41.204Z::HALF:arn:aws:states:eu-west-1:210987654321:execution:orders:run-1043", scope: "", hours: 360 },
    Row { event: "step-functions-spread", source: Source::StepFunctions, basis: Basis::Source, id: "states:Pay:2026-11-30T10%3A12%3A41.204Z::HALF:arn:aws:states:eu-west-1:210987654321:execution:orders:run-1043", scope: "", hours: 360 },
    Row { event: "step-functions-token", source: Source::StepFunctions, basis: Basis::Source, id: "states:HALF:AQCoAAAAKgAAAAMAAAAAAAAAAfExampleTokenExampleTokenExampleTokenExampleTokenExampleToken", scope: "", hours: 360 },
    Row { event: "durable-function", source: Source::DurableFunction, basis: Basis::Source, id: "durable:HALF:arn:aws:lambda:eu-west-1:210987654321:function:orders:7/durable-execution/run-1043/UUID", scope: "", hours: 360 },
    Row { event: "custom-resource", source: Source::CustomResource, basis: Basis::Source, id: "cloudformation:UUID:arn:aws:cloudformation:eu-west-1:210987654321:stack/shop/UUID", scope: "", hours: 24 },
    Row { event: "logs", source: Source::Logs, basis: Basis::Source, id: "logs:HALF", scope: "", hours: 30 },
];

/// Returns true if a text fits a pattern, in which capitals stand for what the samples invented.
fn fits(text: &str, pattern: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    for (word, bytes) in [("HASH", 64), ("HALF", 32), ("UUID", 36), ("KEY", 36), ("SUB", 36)] {
        if let Some((start, end)) = pattern.split_once(word) {
            let Some(rest) = text.strip_prefix(start) else { return false };
            return rest.len() >= bytes && hex(&rest[..bytes]) && fits(&rest[bytes..], end);
        }
    }
    text == pattern
}

#[test]
fn every_sample_is_identified() {
    let rows: Vec<_> = TABLE.iter().map(|row| row.event).collect();
    for name in names() {
        assert!(rows.contains(&name.as_str()), "{name} has no row");
    }
    for row in TABLE {
        let identity = of(&event(row.event));
        assert_eq!((identity.source, identity.basis), (row.source, row.basis), "{}", row.event);
        let id = identity.request_id.unwrap();
        assert!(fits(&id, row.id), "{}: {id}", row.event);
        let scope = identity.scope.strip_prefix("function=210987654321:eu-west-1:orders");
        assert!(scope.is_some_and(|scope| fits(scope, row.scope)), "{}: {}", row.event, identity.scope);
        assert_eq!(identity.retention, Duration::from_secs(row.hours * 3_600), "{}", row.event);
        assert!(!identity.why.is_empty(), "{}: says why", row.event);
    }
}

#[test]
fn every_source_has_a_sample() {
    for source in Source::ALL {
        assert!(TABLE.iter().any(|row| row.source == *source), "{source:?}");
    }
}

/// The fields of each source without which an event is somebody's own.
const FIELDS: &[(&str, &[&str])] = &[
    ("rest-api", &["/httpMethod", "/path", "/resource", "/requestContext", "/requestContext/stage"]),
    ("http-api", &["/version", "/routeKey", "/rawPath", "/requestContext", "/requestContext/http"]),
    ("function-url", &["/version", "/routeKey", "/rawPath", "/requestContext/http/method"]),
    ("load-balancer", &["/httpMethod", "/path", "/requestContext/elb/targetGroupArn"]),
    ("websocket", &["/requestContext/eventType", "/requestContext/connectionId", "/requestContext/apiId"]),
    (
        "sqs",
        &["/Records/0/eventSource", "/Records/0/eventSourceARN", "/Records/0/messageId", "/Records/0/body"],
    ),
    ("sqs-batch", &["/Records/2/receiptHandle", "/Records/1/messageId"]),
    ("sns", &["/Records/0/EventSource", "/Records/0/Sns/MessageId", "/Records/0/Sns/TopicArn"]),
    (
        "eventbridge",
        &["/id", "/detail-type", "/source", "/account", "/time", "/region", "/resources", "/detail"],
    ),
    ("scheduler-template", &["/schedule-arn", "/scheduled-time"]),
    ("kinesis", &["/Records/0/eventID", "/Records/1/kinesis", "/Records/2/eventSourceARN"]),
    (
        "dynamodb-streams",
        &["/Records/0/dynamodb/SequenceNumber", "/Records/1/eventID", "/Records/0/eventName"],
    ),
    ("kafka", &["/eventSource", "/eventSourceArn", "/records", "/records/orders-0/1/offset"]),
    ("kafka-self-managed", &["/bootstrapServers", "/records/orders-0/0/topic"]),
    ("activemq", &["/eventSource", "/eventSourceArn", "/messages/0/messageID"]),
    ("rabbitmq", &["/eventSource", "/eventSourceArn", "/rmqMessagesByQueue"]),
    ("s3", &["/Records/0/s3/bucket/name", "/Records/0/s3/object/key", "/Records/0/eventName"]),
    ("s3-batch", &["/invocationSchemaVersion", "/invocationId", "/job/id", "/tasks/0/taskId"]),
    ("step-functions", &["/context/Execution/Id", "/context/State/Name"]),
    ("step-functions-token", &["/TaskToken"]),
    ("durable-function", &["/DurableExecutionArn", "/CheckpointToken", "/InitialExecutionState"]),
    ("custom-resource", &["/RequestType", "/RequestId", "/StackId", "/ResponseURL", "/LogicalResourceId"]),
    ("logs", &["/awslogs/data"]),
];

#[test]
fn half_a_form_is_somebodys_own_event() {
    for (name, pointers) in FIELDS {
        for pointer in *pointers {
            // Absent, and of another type.
            for value in [Value::Null, json!(7), json!({"of": "ours"})] {
                // Any object is a detail, and any number an offset.
                let is_valid = (["/detail", "/InitialExecutionState"].contains(pointer) && value.is_object())
                    || (pointer.ends_with("/offset") && value.is_number());
                if is_valid {
                    continue;
                }
                let changed = set(&event(name), pointer, value);
                let identity = of(&changed);
                assert_eq!(identity.source, Source::Direct, "{name} without {pointer}");
                assert_eq!(identity.basis, Basis::Invocation, "{name} without {pointer}");
            }
        }
    }
}

#[test]
fn lookalikes_are_direct() {
    let sqs = event("sqs")["Records"][0].clone();
    let kinesis = event("kinesis")["Records"][0].clone();
    for lookalike in [
        json!({"Records": []}),
        json!({"Records": "none"}),
        json!({"Records": {"0": sqs}}),
        json!({"Records": [sqs, {"mine": 1}]}),
        json!({"Records": [sqs, kinesis]}),
        json!({"Records": [null]}),
        json!({"eventSource": "aws:kafka", "records": {}}),
        json!({"source": "mine", "detail-type": "mine", "detail": {}}),
        json!({"version": "2.0", "rawPath": "/mine"}),
        json!({"httpMethod": "POST", "path": "/mine"}),
        json!({"token": "A".repeat(200)}),
        json!({"TaskToken": "short"}),
        json!({"TaskToken": "words and spaces ".repeat(10)}),
        json!({"awslogs": {"data": "x"}, "mine": 1}),
        json!({"tasks": [], "job": {"id": "1"}, "invocationId": "1", "invocationSchemaVersion": "1.0"}),
        json!([1, 2]),
        json!("text"),
        json!(null),
    ] {
        assert_eq!(of(&lookalike).source, Source::Direct, "{lookalike}");
    }
}

#[test]
fn authorizers_are_not_the_request() {
    let rest = with(&event("rest-api"), |event| event["methodArn"] = json!("arn:aws:execute-api:…"));
    let http = with(&event("http-api"), |event| event["routeArn"] = json!("arn:aws:execute-api:…"));
    for event in [rest, http] {
        assert_eq!(of(&event).source, Source::Direct);
    }
}

#[test]
fn doubtful_identities_fall_back_to_the_invocation() {
    let without_time = set(&event("step-functions"), "/context/State/EnteredTime", Value::Null);
    let without_id =
        set(&event("rabbitmq"), "/rmqMessagesByQueue/orders::~1/0/basicProperties/messageId", Value::Null);
    let object = event("s3");
    let without_order = with(&object, |event| {
        event["Records"][0]["s3"]["object"]["sequencer"] = Value::Null;
        event["Records"][0]["eventTime"] = Value::Null;
    });
    for event in [without_time, without_id, without_order] {
        let identity = of(&event);
        assert_ne!(identity.source, Source::Direct);
        assert_eq!(identity.basis, Basis::Invocation, "{event}");
    }
}
