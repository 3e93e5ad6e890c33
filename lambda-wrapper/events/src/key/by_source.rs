//! The request IDs that sources give to their events and records.

use serde_json::Value;

use super::Basis;
use super::written::id;
use crate::Source;
use crate::facts::facts;
use crate::hash::hex;
use crate::json::{filled, text};
use crate::rules::Rules;
use crate::source::{Task, schedule, task};

/// The hexadecimal digits of the content in an ID: 128 bits.
const CONTENT_DIGITS: usize = 32;

/// A request ID that one record gave.
type OfRecord = (Basis, String);

/// Returns the IDs that the source gave, one for each record; `None` if one has none.
pub(super) fn by_source(
    rules: &Rules,
    source: Source,
    event: &Value,
    content: &[u8; 32],
    why: &mut Vec<String>,
) -> Option<(Basis, Vec<String>)> {
    let prefix = facts(source).prefix;
    // IDs that come in a payload may be passed on by the function, with another task. The
    // content keeps the two apart.
    let content = &hex(content)[..CONTENT_DIGITS];
    let with_content = |parts: &[&str], last: &str| id(prefix, &[parts, &[content, last]].concat());
    let one = |id: String| Some((Basis::Source, vec![id]));
    match source {
        Source::Sqs
        | Source::SqsFifo
        | Source::Sns
        | Source::Kinesis
        | Source::DynamoDbStreams
        | Source::S3 => {
            let found: Vec<OfRecord> = event
                .get("Records")?
                .as_array()?
                .iter()
                .map(|record| of_record(rules, source, record))
                .collect::<Option<_>>()?;
            // If the records differ in their basis, the strongest one that they share is said.
            let basis = found.iter().map(|(basis, _)| *basis).max()?;
            Some((basis, found.into_iter().map(|(_, id)| id).collect()))
        }
        Source::Kafka | Source::SelfManagedKafka => {
            let mut partitions: Vec<_> = event.get("records")?.as_object()?.iter().collect();
            partitions.sort_by_key(|(name, _)| *name);
            let records = partitions.into_iter().filter_map(|(_, list)| list.as_array()).flatten();
            let ids = records.map(|record| {
                let number = |name: &str| Some(record.get(name)?.as_u64()?.to_string());
                Some(id(prefix, &[&number("partition")?, &number("offset")?, text(record, &["topic"])?]))
            });
            Some((Basis::Source, ids.collect::<Option<_>>()?))
        }
        Source::ActiveMq => {
            let messages = event.get("messages")?.as_array()?.iter();
            let ids = messages.map(|message| Some(id(prefix, &[filled(message, &["messageID"])?])));
            Some((Basis::Source, ids.collect::<Option<_>>()?))
        }
        Source::RabbitMq => {
            let mut queues: Vec<_> = event.get("rmqMessagesByQueue")?.as_object()?.iter().collect();
            queues.sort_by_key(|(name, _)| *name);
            let messages = queues.into_iter().flat_map(|(queue, list)| {
                list.as_array().into_iter().flatten().map(move |message| (queue, message))
            });
            let ids = messages.map(|(queue, message)| {
                Some(id(prefix, &[queue, filled(message, &["basicProperties", "messageId"])?]))
            });
            let ids = ids.collect::<Option<Vec<_>>>();
            if ids.is_none() {
                why.push(
                    "A message has no property messageId, and RabbitMQ gives messages no other ID."
                        .to_owned(),
                );
            }
            Some((Basis::Source, ids?))
        }
        Source::EventBridge => match filled(event, &["replay-name"]) {
            // People replay an archive because they want the events to be handled again.
            Some(replay) => one(id("eventbridge-replay", &[filled(event, &["id"])?, replay])),
            None => one(id(prefix, &[filled(event, &["id"])?])),
        },
        Source::Scheduler => {
            let (arn, time) = schedule(event)?;
            one(with_content(&[time], arn))
        }
        Source::S3Batch => {
            let job = filled(event, &["job", "id"])?;
            let tasks = event.get("tasks")?.as_array()?.iter();
            let ids = tasks.map(|task| Some(id(prefix, &[job, filled(task, &["taskId"])?])));
            Some((Basis::Source, ids.collect::<Option<_>>()?))
        }
        Source::StepFunctions => match task(event)? {
            Task::Context { execution, state, entered: Some(entered), index, .. } => {
                let index = index.map(|index| index.to_string()).unwrap_or_default();
                one(with_content(&[state, entered, &index], execution))
            }
            Task::Context { entered: None, .. } => {
                why.push("State.EnteredTime is not passed, so two rounds of a loop look alike: pass the whole context object ($$).".to_owned());
                None
            }
            Task::Token { token, .. } => {
                why.push("Only a task token is passed. Each retry of the state has another one: pass the whole context object ($$) as well.".to_owned());
                one(with_content(&[], token))
            }
        },
        Source::DurableFunction => {
            let arn = filled(event, &["DurableExecutionArn"])?;
            one(with_content(&[], arn))
        }
        Source::CustomResource => {
            one(id(prefix, &[filled(event, &["RequestId"])?, text(event, &["StackId"])?]))
        }
        Source::Logs => one(id(prefix, &[content])),
        Source::WebSocket => {
            let context = event.get("requestContext")?;
            let part = |name: &str| filled(context, &[name]);
            let kind = part("eventType")?;
            // A connection has one beginning and one end, and messages with IDs.
            let message = if kind == "MESSAGE" { part("messageId")? } else { "" };
            one(id(prefix, &[kind, message, part("connectionId")?]))
        }
        Source::Direct | Source::RestApi | Source::HttpApi | Source::FunctionUrl | Source::LoadBalancer => {
            None
        }
    }
}

fn of_record(rules: &Rules, source: Source, record: &Value) -> Option<OfRecord> {
    let prefix = facts(source).prefix;
    let own = |parts: &[&str]| Some((Basis::Source, id(prefix, parts)));
    match source {
        Source::Sqs | Source::SqsFifo => {
            if let Some(key) = attribute(rules, record) {
                return Some((Basis::Attribute, id("sqs-key", &[key])));
            }
            let attributes = |name: &str| filled(record, &["attributes", name]);
            if rules.fifo_deduplication_id
                && let Some(deduplication) = attributes("MessageDeduplicationId")
            {
                // A queue may deduplicate within message groups only.
                let group = attributes("MessageGroupId").unwrap_or_default();
                return Some((Basis::DeduplicationId, id("sqs-deduplication", &[group, deduplication])));
            }
            own(&[filled(record, &["messageId"])?])
        }
        Source::Sns => own(&[filled(record, &["Sns", "MessageId"])?]),
        Source::Kinesis | Source::DynamoDbStreams => own(&[filled(record, &["eventID"])?]),
        Source::S3 => {
            let object = record.get("s3")?.get("object")?;
            let version =
                filled(object, &["versionId"]).or_else(|| filled(object, &["eTag"])).unwrap_or_default();
            // Some servers have no sequencer. Without it and without a time, two changes of an
            // object cannot be told apart.
            let order = filled(object, &["sequencer"]).or_else(|| filled(record, &["eventTime"]))?;
            own(&[order, version, filled(record, &["eventName"])?, text(object, &["key"])?])
        }
        _ => None,
    }
}

/// Returns the request ID in a message's attributes, if there is exactly one.
fn attribute<'a>(rules: &Rules, record: &'a Value) -> Option<&'a str> {
    let attributes = record.get("messageAttributes").and_then(Value::as_object);
    let mut keys: Vec<&str> = attributes
        .into_iter()
        .flatten()
        .filter(|(name, _)| rules.is_key_name(name))
        .filter_map(|(_, value)| filled(value, &["stringValue"]))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    // Two different ones are no choice of ours; the message's own ID is certain.
    if let [key] = keys.as_slice() { Some(key) } else { None }
}
