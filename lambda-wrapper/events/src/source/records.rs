//! Services that send a list `Records`: SQS, SNS, Kinesis, DynamoDB Streams, S3.

use serde_json::Value;

use super::Source;
use crate::json::{has_texts, is_arn, text};

pub(super) fn of(event: &Value) -> Option<Source> {
    let records = event.get("Records")?.as_array()?;
    // One stranger among the records makes the list somebody's own.
    let source = of_record(records.first()?)?;
    records.iter().all(|record| of_record(record) == Some(source)).then_some(source)
}

fn of_record(record: &Value) -> Option<Source> {
    let name = text(record, &["eventSource"]).or_else(|| text(record, &["EventSource"]))?;
    let (is, source) = match name {
        "aws:sqs" => {
            let is_fifo = text(record, &["eventSourceARN"])?.ends_with(".fifo");
            let source = if is_fifo { Source::SqsFifo } else { Source::Sqs };
            let is = has_texts(record, &[&["messageId"], &["receiptHandle"], &["body"]])
                && is_arn(record, &["eventSourceARN"], "sqs");
            (is, source)
        }
        "aws:sns" => {
            let is =
                has_texts(record, &[&["EventSubscriptionArn"], &["Sns", "MessageId"], &["Sns", "Message"]])
                    && is_arn(record, &["Sns", "TopicArn"], "sns");
            (is, Source::Sns)
        }
        "aws:kinesis" => {
            let is = has_texts(record, &[&["eventID"], &["kinesis", "sequenceNumber"], &["kinesis", "data"]])
                && is_arn(record, &["eventSourceARN"], "kinesis");
            (is, Source::Kinesis)
        }
        "aws:dynamodb" => {
            let is = has_texts(record, &[&["eventID"], &["eventName"], &["dynamodb", "SequenceNumber"]])
                && is_arn(record, &["eventSourceARN"], "dynamodb");
            (is, Source::DynamoDbStreams)
        }
        // Servers that speak the protocol of S3 put their own name before the colon.
        name if name.ends_with(":s3") => {
            let is =
                has_texts(record, &[&["eventName"], &["s3", "bucket", "name"], &["s3", "object", "key"]]);
            (is, Source::S3)
        }
        _ => return None,
    };
    is.then_some(source)
}
