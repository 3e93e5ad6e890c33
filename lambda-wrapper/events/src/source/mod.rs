//! The services that send events, and how their events are recognised.
//!
//! Recognition is by the whole form of an event, not by one field: an event of somebody's own that
//! has a list `Records`, or a field `source`, is [`Source::Direct`]. So is every event of a service
//! that is not listed here; it loses nothing, since Lambda's own retries keep the ID of the
//! invocation.

mod brokers;
mod jobs;
mod records;
mod web;
mod workflows;

use serde_json::Value;

pub(crate) use jobs::schedule;
pub(crate) use workflows::{CONTEXT_NAMES, TOKEN_NAMES, Task, task};

/// The sender of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An invocation by somebody's own code, asynchronous or not, or by a service that is not
    /// listed here.
    Direct,
    /// A REST API of API Gateway, or an HTTP API with the payload format 1.0.
    RestApi,
    /// An HTTP API of API Gateway, with the payload format 2.0.
    HttpApi,
    /// A function URL.
    FunctionUrl,
    /// An Application Load Balancer.
    LoadBalancer,
    /// A WebSocket API of API Gateway.
    WebSocket,
    /// A standard queue of SQS.
    Sqs,
    /// A FIFO queue of SQS.
    SqsFifo,
    /// A topic of SNS.
    Sns,
    /// A rule of EventBridge.
    EventBridge,
    /// A schedule of EventBridge Scheduler.
    Scheduler,
    /// A stream of Kinesis Data Streams.
    Kinesis,
    /// A stream of DynamoDB.
    DynamoDbStreams,
    /// A cluster of Amazon MSK.
    Kafka,
    /// A Kafka cluster that AWS does not manage.
    SelfManagedKafka,
    /// A broker of Amazon MQ for ActiveMQ.
    ActiveMq,
    /// A broker of Amazon MQ for RabbitMQ.
    RabbitMq,
    /// A notification of S3.
    S3,
    /// A job of S3 Batch Operations.
    S3Batch,
    /// A task of Step Functions that passes its context object or its token.
    StepFunctions,
    /// A durable function of Lambda.
    DurableFunction,
    /// A custom resource of CloudFormation.
    CustomResource,
    /// A subscription to CloudWatch Logs.
    Logs,
}

impl Source {
    /// All sources.
    pub const ALL: &[Source] = &[
        Source::Direct,
        Source::RestApi,
        Source::HttpApi,
        Source::FunctionUrl,
        Source::LoadBalancer,
        Source::WebSocket,
        Source::Sqs,
        Source::SqsFifo,
        Source::Sns,
        Source::EventBridge,
        Source::Scheduler,
        Source::Kinesis,
        Source::DynamoDbStreams,
        Source::Kafka,
        Source::SelfManagedKafka,
        Source::ActiveMq,
        Source::RabbitMq,
        Source::S3,
        Source::S3Batch,
        Source::StepFunctions,
        Source::DurableFunction,
        Source::CustomResource,
        Source::Logs,
    ];

    /// Recognises the sender of an event.
    pub(crate) fn of(event: &Value) -> Source {
        if !event.is_object() {
            return Source::Direct;
        }
        // The forms exclude each other but for workflows: a task may pass another event on as it
        // is, with its context object beside it.
        workflows::of(event)
            .or_else(|| web::of(event))
            .or_else(|| records::of(event))
            .or_else(|| brokers::of(event))
            .or_else(|| jobs::of(event))
            .unwrap_or(Source::Direct)
    }

    /// Returns true if the caller waits for an HTTP response.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Source::RestApi | Source::HttpApi | Source::FunctionUrl | Source::LoadBalancer)
    }

    /// Returns true if the records of an event can be handed to the function one by one, since the
    /// service accepts the failures of single records.
    #[must_use]
    pub fn has_record_mode(self) -> bool {
        matches!(self, Source::Sqs | Source::SqsFifo | Source::Kinesis | Source::DynamoDbStreams)
    }
}
