//! The facts about each source: its name, how it is recognised, how long it redelivers, and over
//! what its request ID is stable.
//!
//! Each figure of a retention has its origin beside it. *AWS* means the service's documentation.
//! The longest way counts: an event may wait in the service, and then in Lambda's own queue for
//! asynchronous invocations, which keeps it for up to six hours (AWS: `MaximumEventAgeInSeconds`).

use std::time::Duration;

use crate::Source;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The longest retention that AFT grants. Redelivery that lasts longer runs the request again.
pub const RETENTION_MAX: Duration = Duration::from_secs(15 * 24 * 3_600);

/// The facts about a source.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its name for people.
    pub(crate) name: &'static str,
    /// The first piece of its request IDs.
    pub(crate) prefix: &'static str,
    /// The fields by which its events are recognised.
    pub(crate) recognised_by: &'static str,
    /// The retention of its requests.
    pub(crate) retention: Duration,
    /// The origin of that figure.
    pub(crate) retention_from: &'static str,
    /// The redeliveries over which the request ID stays the same.
    pub(crate) stable: &'static str,
    /// The repetitions that get another request ID.
    pub(crate) unstable: &'static str,
}

/// A service's retries, and then Lambda's queue.
const ASYNC_RETENTION: Duration = Duration::from_secs((24 + 6) * 3_600);
/// A stream of DynamoDB, and an hour of a poller that holds a record.
const STREAM_RETENTION: Duration = Duration::from_secs((24 + 1) * 3_600);

const ASYNC: &str = "Events of Lambda's asynchronous queue live for at most 6 h, and the service \
                     before it retries for at most 24 h.";
const HTTP_RETENTION: &str = "Public APIs with such keys grant a day: clients choose when to retry.";
const HTTP_STABLE: &str =
    "Retries that send the same header, by the same caller, to the same method and path.";
const HTTP_UNSTABLE: &str = "Requests without the header, which run each time. The request ID of \
                             the platform is new for every request, and is never used.";
const SEQUENCES: &str = "Retries of the shard, bisected batches, and moves between pollers.";
const UNKNOWN_SOURCE: &str = "Invocations that another client or service repeats: each has a new ID.";

/// Returns the facts about a source.
pub(crate) fn facts(source: Source) -> &'static Facts {
    match source {
        Source::Direct => &Facts {
            name: "a direct invocation",
            prefix: "invoke",
            recognised_by: "no form of another source",
            retention: DAY,
            retention_from: "Lambda retries an asynchronous invocation for at most 6 h; a day leaves room.",
            stable: "Lambda's own retries of an asynchronous invocation, which keep the ID of the invocation.",
            unstable: UNKNOWN_SOURCE,
        },
        Source::RestApi => &Facts {
            name: "a REST API of API Gateway",
            prefix: "http",
            recognised_by: "httpMethod, path, resource, requestContext.stage",
            retention: DAY,
            retention_from: HTTP_RETENTION,
            stable: HTTP_STABLE,
            unstable: HTTP_UNSTABLE,
        },
        Source::HttpApi => &Facts {
            name: "an HTTP API of API Gateway",
            prefix: "http",
            recognised_by: "version 2.0, routeKey, rawPath, requestContext.http.method",
            retention: DAY,
            retention_from: HTTP_RETENTION,
            stable: HTTP_STABLE,
            unstable: HTTP_UNSTABLE,
        },
        Source::FunctionUrl => &Facts {
            name: "a function URL",
            prefix: "http",
            recognised_by: "version 2.0, routeKey, rawPath, requestContext.http.method, and a domain name of function URLs",
            retention: DAY,
            retention_from: HTTP_RETENTION,
            stable: HTTP_STABLE,
            unstable: HTTP_UNSTABLE,
        },
        Source::LoadBalancer => &Facts {
            name: "an Application Load Balancer",
            prefix: "http",
            recognised_by: "httpMethod, path, requestContext.elb.targetGroupArn",
            retention: DAY,
            retention_from: HTTP_RETENTION,
            stable: HTTP_STABLE,
            unstable: HTTP_UNSTABLE,
        },
        Source::WebSocket => &Facts {
            name: "a WebSocket API of API Gateway",
            prefix: "websocket",
            recognised_by: "requestContext.eventType, .connectionId, .routeKey, .apiId",
            retention: DAY,
            retention_from: "API Gateway does not retry, and a connection lasts for at most 2 h (AWS); a day leaves room.",
            stable: "Duplicates of one message of one connection.",
            unstable: "A message that the client sends again.",
        },
        Source::Sqs => &Facts {
            name: "a standard queue of SQS",
            prefix: "sqs",
            recognised_by: "in every record: eventSource aws:sqs, eventSourceARN, messageId, receiptHandle, body",
            retention: RETENTION_MAX,
            retention_from: "A queue keeps a message for at most 14 days, and hides it for at most 12 h (AWS).",
            stable: "Every delivery of a message from its queue, however often it becomes visible again.",
            unstable: "A message that its producer sends again, and one that comes back from a \
                       dead-letter queue: each has a new message ID.",
        },
        Source::SqsFifo => &Facts {
            name: "a FIFO queue of SQS",
            prefix: "sqs",
            recognised_by: "in every record: eventSource aws:sqs, an eventSourceARN that ends with .fifo, messageId, receiptHandle, body",
            retention: RETENTION_MAX,
            retention_from: "A queue keeps a message for at most 14 days, and hides it for at most 12 h (AWS).",
            stable: "Every delivery of a message from its queue, however often it becomes visible again.",
            unstable: "A message that its producer sends again after the 5 minutes of the queue's own \
                       deduplication, and one that comes back from a dead-letter queue.",
        },
        Source::Sns => &Facts {
            name: "a topic of SNS",
            prefix: "sns",
            recognised_by: "in every record: EventSource aws:sns, Sns.TopicArn, Sns.MessageId, Sns.Message",
            retention: RETENTION_MAX,
            retention_from: "SNS retries deliveries to Lambda for up to 23 days (AWS); AFT keeps 15.",
            stable: "Retries of the delivery by SNS and by Lambda.",
            unstable: "A message that its publisher publishes again.",
        },
        Source::EventBridge => &Facts {
            name: "a rule of EventBridge",
            prefix: "eventbridge",
            recognised_by: "version, id, detail-type, source, account, time, region, resources, detail",
            retention: ASYNC_RETENTION,
            retention_from: ASYNC,
            stable: "Retries of the target. Two rules that send one event to this function count as \
                     one request.",
            unstable: "An event that its sender puts again, and each replay of an archive.",
        },
        Source::Scheduler => &Facts {
            name: "a schedule of EventBridge Scheduler",
            prefix: "scheduler",
            recognised_by: "source aws.scheduler with a schedule's ARN in resources, or the members \
                            schedule-arn and scheduled-time of a template",
            retention: ASYNC_RETENTION,
            retention_from: ASYNC,
            stable: "Retries of one run of the schedule, if the payload is the same.",
            unstable: "A payload that contains the attempt's number under a name that is not \
                       attempt-number, or another time.",
        },
        Source::Kinesis => &Facts {
            name: "a stream of Kinesis",
            prefix: "kinesis",
            recognised_by: "in every record: eventSource aws:kinesis, eventSourceARN, eventID, kinesis.sequenceNumber, kinesis.data",
            retention: RETENTION_MAX,
            retention_from: "A stream keeps records for one day to 365 (AWS); AFT keeps 15.",
            stable: SEQUENCES,
            unstable: "A record that its producer puts again, and records that are read again after \
                       more than 15 days.",
        },
        Source::DynamoDbStreams => &Facts {
            name: "a stream of DynamoDB",
            prefix: "dynamodb",
            recognised_by: "in every record: eventSource aws:dynamodb, eventSourceARN, eventID, eventName, dynamodb.SequenceNumber",
            retention: STREAM_RETENTION,
            retention_from: "A stream keeps records for 24 h (AWS), and a poller may hold one a little longer.",
            stable: SEQUENCES,
            unstable: "The same change made again, and a table or stream that is created again.",
        },
        Source::Kafka => &Facts {
            name: "a topic of Amazon MSK",
            prefix: "kafka",
            recognised_by: "eventSource aws:kafka, eventSourceArn, and records with topic, partition, offset",
            retention: RETENTION_MAX,
            retention_from: "A topic keeps records for 7 days by default, or for ever (Kafka: log.retention.hours); AFT keeps 15.",
            stable: "Retries of the batch, and rebalances.",
            unstable: "A record that its producer sends again. A topic that is created again starts \
                       with the same offsets: use another consumer function, or wait for the retention.",
        },
        Source::SelfManagedKafka => &Facts {
            name: "a topic of a self-managed Kafka",
            prefix: "kafka",
            recognised_by: "eventSource aws:SelfManagedKafka, bootstrapServers, and records with topic, partition, offset",
            retention: RETENTION_MAX,
            retention_from: "A topic keeps records for 7 days by default, or for ever (Kafka: log.retention.hours); AFT keeps 15.",
            stable: "Retries of the batch, and rebalances.",
            unstable: "A record that its producer sends again, and other bootstrap servers in the \
                       event source mapping. A topic that is created again starts with the same \
                       offsets: use another consumer function, or wait for the retention.",
        },
        Source::ActiveMq => &Facts {
            name: "a broker of ActiveMQ",
            prefix: "activemq",
            recognised_by: "eventSource aws:mq, eventSourceArn, and messages with messageID, data",
            retention: RETENTION_MAX,
            retention_from: "A broker keeps a message until it is acknowledged; AFT keeps 15 days.",
            stable: "Redelivery of a message by its broker.",
            unstable: "A message that its producer sends again.",
        },
        Source::RabbitMq => &Facts {
            name: "a broker of RabbitMQ",
            prefix: "rabbitmq",
            recognised_by: "eventSource aws:rmq, eventSourceArn, and rmqMessagesByQueue with data",
            retention: RETENTION_MAX,
            retention_from: "A broker keeps a message until it is acknowledged; AFT keeps 15 days.",
            stable: "Redelivery of messages that have the property messageId, which producers set.",
            unstable: "Messages without that property: nothing tells them apart, so each delivery is \
                       a request of its own.",
        },
        Source::S3 => &Facts {
            name: "a notification of S3",
            prefix: "s3",
            recognised_by: "in every record: an eventSource that ends with :s3, eventName, s3.bucket.name, s3.object.key",
            retention: ASYNC_RETENTION,
            retention_from: ASYNC,
            stable: "Notifications of one change of one object that arrive twice, and Lambda's retries.",
            unstable: "An object that is written again with the same bytes: that is another change. \
                       Servers other than S3 may number changes by their clock.",
        },
        Source::S3Batch => &Facts {
            name: "a job of S3 Batch Operations",
            prefix: "s3batch",
            recognised_by: "invocationSchemaVersion, invocationId, job.id, and tasks with taskId, s3Key",
            retention: RETENTION_MAX,
            retention_from: "A job may run for weeks; AFT keeps 15 days.",
            stable: "Retries of a task within its job.",
            unstable: "Another job over the same objects.",
        },
        Source::StepFunctions => &Facts {
            name: "a task of Step Functions",
            prefix: "states",
            recognised_by: "Execution.Id and State.Name of the context object, at the top of the event \
                            or in one member, or a member TaskToken",
            retention: RETENTION_MAX,
            retention_from: "An execution and its redrive may take up to a year; AFT keeps 15 days.",
            stable: "Retry of the state, and Lambda's own retries, if the whole context object is \
                     passed ($$) and the input is the same.",
            unstable: "A redriven or a new execution, and the next round of a loop.",
        },
        Source::DurableFunction => &Facts {
            name: "a durable function",
            prefix: "durable",
            recognised_by: "DurableExecutionArn, CheckpointToken, InitialExecutionState",
            retention: RETENTION_MAX,
            retention_from: "An execution is kept for up to 90 days after its end; AFT keeps 15.",
            stable: "An invocation of the execution that is repeated before it wrote a checkpoint.",
            unstable: "A replay after a checkpoint, which is a request of its own: name the steps' own \
                       requests by the ARN of the execution and the step.",
        },
        Source::CustomResource => &Facts {
            name: "a custom resource of CloudFormation",
            prefix: "cloudformation",
            recognised_by: "RequestType, RequestId, StackId, ResponseURL, LogicalResourceId, ResourceType",
            retention: DAY,
            retention_from: "CloudFormation waits for an answer for at most an hour, and Lambda retries \
                             for at most 6 h (AWS); a day leaves room.",
            stable: "Retries of one request of the stack.",
            unstable: "The next operation of the stack.",
        },
        Source::Logs => &Facts {
            name: "a subscription to CloudWatch Logs",
            prefix: "logs",
            recognised_by: "one member, awslogs.data",
            retention: ASYNC_RETENTION,
            retention_from: ASYNC,
            stable: "Retries of a delivery. The ID is a hash of the data as it was sent, which is not unpacked.",
            unstable: "The same log events in another delivery, or compressed in another way.",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// README promises at most 15 days, and at least 2 h 30 min on every durable store.
    #[test]
    fn every_retention_can_be_granted() {
        for source in Source::ALL {
            let facts = facts(*source);
            assert!(facts.retention >= DAY / 8 && facts.retention <= RETENTION_MAX, "{}", facts.name);
        }
    }

    #[test]
    fn sources_are_listed_once() {
        let mut all = Source::ALL.to_vec();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), Source::ALL.len());
    }
}
