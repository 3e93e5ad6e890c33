//! The fingerprint of an event: what its deliveries have in common, and what another request that
//! carries the same ID does not.
//!
//! Only the content of a service's event goes in, named member by member: counters, times,
//! receipts, signatures and URLs differ between deliveries, and members that a service adds later
//! must not make another request of an old one. The position of a record (its sequence number or
//! message ID) stays out, too: it is the request ID, and where an expression selects another ID, a
//! producer that sends a message again must meet its first one.

use serde_json::value::{RawValue, to_raw_value};

use crate::Source;
use crate::hash::Parts;
use crate::http::Request;
use crate::json::{Document, Fields, canonical, elements, fields};
use crate::path::Path;
use crate::source::{CONTEXT_NAMES, TOKEN_NAMES, Task, task};

/// Members of a schedule's payload that differ between its attempts, without hyphens and
/// underscores, in lower case.
const OF_ATTEMPTS: &[&str] = &["id", "executionid", "attemptnumber", "attempt"];
/// Members of a request of CloudFormation that differ between requests with one purpose.
const OF_REQUESTS: &[&str] = &["RequestId", "ResponseURL", "ServiceToken"];

/// Returns the fingerprint of what an expression selects; `None` if it selects nothing.
pub(crate) fn selected(path: &Path, document: Option<&Document<'_>>) -> Option<[u8; 32]> {
    let found = path.select(document.map(|document| &document.tree)).ok()?;
    if found.is_null() || found.is_expref() {
        return None;
    }
    let raw = to_raw_value(&*found).ok()?;
    let mut parts = Parts::of("fingerprint/selected");
    parts.add(canonical(&raw).as_bytes());
    Some(parts.finish())
}

/// Returns the fingerprint of bytes that are not JSON.
pub(crate) fn opaque(event: &[u8]) -> [u8; 32] {
    let mut parts = Parts::of("fingerprint/opaque");
    parts.add(event);
    parts.finish()
}

/// Returns the fingerprint of an event's content.
pub(crate) fn content(source: Source, document: &Document<'_>) -> [u8; 32] {
    if let Some(request) = Request::of(source, &document.tree) {
        let mut parts = Parts::of("fingerprint/http");
        parts.add(request.method.to_ascii_uppercase().as_bytes());
        parts.add(request.path.as_bytes());
        parts.add(request.query().as_bytes());
        parts.add(&request.body());
        return parts.finish();
    }
    let mut parts = Parts::of("fingerprint/content");
    // A document that is not an object is direct, and goes in as it is.
    let members = fields(document.raw).unwrap_or_default();
    match source {
        Source::Sqs | Source::SqsFifo => each(&mut parts, &members, "Records", |parts, record| {
            pick(parts, record, &["body", "messageAttributes"]);
        }),
        Source::Sns => each(&mut parts, &members, "Records", |parts, record| {
            pick(parts, &inner(record, "Sns"), &["Subject", "Message", "MessageAttributes"]);
        }),
        Source::Kinesis => each(&mut parts, &members, "Records", |parts, record| {
            pick(parts, &inner(record, "kinesis"), &["partitionKey", "data"]);
        }),
        Source::DynamoDbStreams => each(&mut parts, &members, "Records", |parts, record| {
            pick(parts, record, &["eventName"]);
            pick(parts, &inner(record, "dynamodb"), &["Keys", "NewImage", "OldImage"]);
        }),
        Source::S3 => each(&mut parts, &members, "Records", |parts, record| {
            pick(parts, record, &["eventName"]);
            let s3 = inner(record, "s3");
            pick(parts, &inner(&s3, "bucket"), &["name"]);
            pick(parts, &inner(&s3, "object"), &["key", "versionId", "eTag", "size"]);
        }),
        Source::Kafka | Source::SelfManagedKafka => {
            // In the order of the partitions' names.
            for list in inner(&members, "records").values() {
                for record in elements(list).unwrap_or_default() {
                    pick(&mut parts, &fields(record).unwrap_or_default(), &["key", "value", "headers"]);
                }
            }
        }
        Source::ActiveMq => each(&mut parts, &members, "messages", |parts, message| {
            pick(parts, message, &["data", "type", "properties", "correlationID", "correlationId"]);
        }),
        Source::RabbitMq => {
            for (queue, list) in inner(&members, "rmqMessagesByQueue") {
                parts.add(queue.as_bytes());
                for message in elements(list).unwrap_or_default() {
                    let message = fields(message).unwrap_or_default();
                    pick(&mut parts, &message, &["data"]);
                    pick(
                        &mut parts,
                        &inner(&message, "basicProperties"),
                        &["headers", "type", "correlationId"],
                    );
                }
            }
        }
        Source::EventBridge => {
            pick(
                &mut parts,
                &members,
                &["source", "detail-type", "account", "region", "resources", "detail"],
            );
        }
        Source::S3Batch => {
            pick(&mut parts, &inner(&members, "job"), &["userArguments"]);
            each(&mut parts, &members, "tasks", |parts, task| {
                pick(parts, task, &["s3Key", "s3VersionId", "s3BucketArn", "s3Bucket"]);
            });
        }
        Source::WebSocket => {
            pick(&mut parts, &inner(&members, "requestContext"), &["eventType", "routeKey"]);
            pick(&mut parts, &members, &["body", "isBase64Encoded"]);
        }
        Source::Scheduler => {
            let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
            all_but(&mut parts, &members, |name| OF_ATTEMPTS.contains(&plain(name).as_str()));
        }
        Source::CustomResource => all_but(&mut parts, &members, |name| OF_REQUESTS.contains(&name)),
        Source::StepFunctions => {
            let nested = match task(&document.tree) {
                Some(Task::Context { member: Some(member), .. }) => Some(member),
                _ => None,
            };
            let is_spread = nested.is_none();
            all_but(&mut parts, &members, |name| {
                Some(name) == nested
                    || TOKEN_NAMES.contains(&name)
                    || (is_spread && CONTEXT_NAMES.contains(&name))
            });
        }
        Source::Direct
        | Source::DurableFunction
        | Source::Logs
        | Source::RestApi
        | Source::HttpApi
        | Source::FunctionUrl
        | Source::LoadBalancer => parts.add(canonical(document.raw).as_bytes()),
    }
    parts.finish()
}

/// Adds each element of a list, by `add`.
fn each(parts: &mut Parts, members: &Fields<'_>, name: &str, add: impl Fn(&mut Parts, &Fields<'_>)) {
    let list = members.get(name).and_then(|list| elements(list)).unwrap_or_default();
    for element in list {
        add(parts, &fields(element).unwrap_or_default());
    }
}

/// Returns the members of a member; none if it is not an object.
fn inner<'a>(members: &Fields<'a>, name: &str) -> Fields<'a> {
    let inner: Option<&'a RawValue> = members.get(name).copied();
    inner.and_then(fields).unwrap_or_default()
}

/// Adds the members with these names, in this order. A member that is null counts as absent.
fn pick(parts: &mut Parts, members: &Fields<'_>, names: &[&str]) {
    for name in names {
        match members.get(*name).filter(|raw| raw.get() != "null") {
            Some(raw) => parts.add(canonical(raw).as_bytes()),
            None => parts.add_nothing(),
        }
    }
}

/// Adds all members but some, with their names.
fn all_but(parts: &mut Parts, members: &Fields<'_>, is_left_out: impl Fn(&str) -> bool) {
    for (name, raw) in members.iter().filter(|(name, _)| !is_left_out(name)) {
        parts.add(name.as_bytes());
        parts.add(canonical(raw).as_bytes());
    }
}
