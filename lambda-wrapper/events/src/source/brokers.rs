//! Brokers: Kafka, ActiveMQ, RabbitMQ.

use serde_json::Value;

use super::Source;
use crate::json::{has_texts, is_arn, text};

pub(super) fn of(event: &Value) -> Option<Source> {
    let (is, source) = match text(event, &["eventSource"])? {
        "aws:kafka" => (is_arn(event, &["eventSourceArn"], "kafka") && is_kafka(event), Source::Kafka),
        "aws:SelfManagedKafka" => {
            (text(event, &["bootstrapServers"]).is_some() && is_kafka(event), Source::SelfManagedKafka)
        }
        "aws:mq" => {
            let messages = event.get("messages").and_then(Value::as_array);
            let is = |message: &Value| has_texts(message, &[&["messageID"], &["data"]]);
            (
                is_broker(event) && messages.is_some_and(|all| !all.is_empty() && all.iter().all(is)),
                Source::ActiveMq,
            )
        }
        "aws:rmq" => {
            let queues = event.get("rmqMessagesByQueue").and_then(Value::as_object);
            let is = |message: &Value| has_texts(message, &[&["data"]]);
            let of_queue =
                |queue: &Value| queue.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is));
            let is = queues.is_some_and(|queues| !queues.is_empty() && queues.values().all(of_queue));
            (is_broker(event) && is, Source::RabbitMq)
        }
        _ => return None,
    };
    is.then_some(source)
}

fn is_broker(event: &Value) -> bool {
    is_arn(event, &["eventSourceArn"], "mq")
}

/// Returns true if the event has records of Kafka: lists by topic and partition.
fn is_kafka(event: &Value) -> bool {
    let is_number = |record: &Value, name: &str| record.get(name).is_some_and(Value::is_u64);
    let is = |record: &Value| {
        text(record, &["topic"]).is_some() && is_number(record, "partition") && is_number(record, "offset")
    };
    let of_partition =
        |list: &Value| list.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is));
    event
        .get("records")
        .and_then(Value::as_object)
        .is_some_and(|partitions| !partitions.is_empty() && partitions.values().all(of_partition))
}
