//! The events in which queues and streams deliver tasks. A task's `id` names its record.

use serde_json::{Value, json};

fn id(task: &Value) -> &str {
    task["id"].as_str().expect("a task has an ID")
}

fn message(task: &Value, queue: &str, mut attributes: Value) -> Value {
    attributes["ApproximateReceiveCount"] = json!("1");
    attributes["SentTimestamp"] = json!("1796033561204");
    json!({
        "messageId": id(task),
        "receiptHandle": "AQEBexampleReceiptHandle1",
        "body": task.to_string(),
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": "0d4c6f1e2a3b495868778695a4b3c2d1",
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:us-east-1:123456789012:{queue}"),
        "awsRegion": "us-east-1",
    })
}

/// Makes a batch of a queue.
pub(crate) fn sqs(tasks: &[Value]) -> Value {
    let records: Vec<Value> = tasks.iter().map(|task| message(task, "work", json!({}))).collect();
    json!({ "Records": records })
}

/// Makes a batch of a queue with order, of tasks with their message groups.
pub(crate) fn fifo(tasks: &[(&str, Value)]) -> Value {
    let record = |(group, task): &(&str, Value)| {
        let attributes = json!({
            "MessageGroupId": group,
            "MessageDeduplicationId": id(task),
            "SequenceNumber": "18907731140467111128",
        });
        message(task, "work.fifo", attributes)
    };
    json!({ "Records": tasks.iter().map(record).collect::<Vec<Value>>() })
}

/// Makes a batch of a shard. The IDs of tasks are sequence numbers.
pub(crate) fn kinesis(tasks: &[Value]) -> Value {
    let record = |task: &Value| {
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "p",
                "sequenceNumber": id(task),
                "data": base64(task.to_string().as_bytes()),
                "approximateArrivalTimestamp": 1_796_033_561.2,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("shardId-000000000006:{}", id(task)),
            "eventName": "aws:kinesis:record",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/work",
        })
    };
    json!({ "Records": tasks.iter().map(record).collect::<Vec<Value>>() })
}

/// Makes a batch of a table's stream. The IDs of tasks are sequence numbers.
pub(crate) fn dynamodb_streams(tasks: &[Value]) -> Value {
    let record = |task: &Value| {
        json!({
            "eventID": format!("c4ca4238a0b923820dcc509a6f75849{}", id(task)),
            "eventName": "INSERT",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "Keys": { "id": { "S": id(task) } },
                "NewImage": { "id": { "S": id(task) }, "task": { "S": task.to_string() } },
                "SequenceNumber": id(task),
                "SizeBytes": 26,
                "StreamViewType": "NEW_IMAGE",
            },
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/work/stream/2026-01-01T00:00:00.000",
        })
    };
    json!({ "Records": tasks.iter().map(record).collect::<Vec<Value>>() })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let padded = [piece[0], *piece.get(1).unwrap_or(&0), *piece.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for at in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
            text.push(if at <= piece.len() { digit } else { '=' });
        }
    }
    text
}
