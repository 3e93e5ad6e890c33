//! The scope of a request ID: IDs of different scopes never meet.
//!
//! A scope is a list of labelled facts. The function comes first, without its version or alias: a
//! deployment between two deliveries must not make another request of the second.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Source;
use crate::caller::{Caller, caller};
use crate::hash::Parts;
use crate::http::Request;
use crate::invocation::Invocation;
use crate::json::text;
use crate::key::Basis;
use crate::rules::Rules;

/// The longest scope, in bytes: AFT's limit of a scope.
pub const SCOPE_BYTES_MAX: usize = 1024;

/// A scope while it is made.
#[derive(Debug)]
struct Facts(String);

impl Facts {
    /// Adds a fact. Its value is written so that it ends before the next label.
    fn add(&mut self, label: &str, value: &str) {
        assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "labels are fixed words");
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(label);
        self.0.push('=');
        self.0.push_str(&escape(value));
    }
}

/// Writes the bytes of a text that are not visible ASCII, and the percent sign, as `%` and two
/// hexadecimal digits.
pub(crate) fn escape(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
    written
}

/// Returns the scope of an event, with sentences on what is in it.
pub(crate) fn scope(
    rules: &Rules,
    invocation: &Invocation<'_>,
    source: Source,
    basis: Basis,
    event: Option<&Value>,
) -> (String, Vec<String>) {
    let mut facts = Facts(String::new());
    let mut why = Vec::new();
    facts.add("function", &function(invocation.function_arn));
    if let Some(tenant) = invocation.tenant_id.filter(|tenant| !tenant.is_empty()) {
        facts.add("tenant", tenant);
    }
    let event = event.unwrap_or(&Value::Null);
    if let Some(request) = Request::of(source, event) {
        if let Some(api) = text(event, &["requestContext", "apiId"]) {
            facts.add("api", api);
        }
        if let Some(stage) = text(event, &["requestContext", "stage"]) {
            facts.add("stage", stage);
        }
        facts.add("method", &request.method.to_ascii_uppercase());
        facts.add("path", request.path);
        let Caller { name, why: of_caller } = caller(rules, source, event, &request);
        facts.add("caller", &name);
        why.push(of_caller);
    } else if !matches!(basis, Basis::Expression | Basis::Invocation | Basis::ClientContext)
        && let Some(origin) = origin(source, event)
    {
        // An expression selects a key of the business, which may come by two ways.
        facts.add("from", &origin);
    }
    let scope = bounded(facts.0);
    assert!(scope.len() <= SCOPE_BYTES_MAX && scope.is_ascii(), "a scope fits into AFT's limit");
    (scope, why)
}

/// Returns a scope within its limit: the start, and a hash of the whole. `#` follows a space only
/// here.
fn bounded(scope: String) -> String {
    if scope.len() <= SCOPE_BYTES_MAX {
        return scope;
    }
    let mut parts = Parts::of("scope");
    parts.add(scope.as_bytes());
    let hash = parts.hex();
    let start = SCOPE_BYTES_MAX - hash.len() - 2;
    format!("{} #{hash}", &scope[..start])
}

/// Returns account, region and name of a function. Any text but its ARN counts as it is.
fn function(arn: &str) -> String {
    match arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "lambda", region, account, "function", name, ..] => format!("{account}:{region}:{name}"),
        _ => arn.to_owned(),
    }
}

/// Returns the queue, stream, topic, bucket or bus of an event.
fn origin(source: Source, event: &Value) -> Option<String> {
    let joined = |parts: [&[&str]; 3]| parts.map(|path| text(event, path).unwrap_or_default()).join(":");
    match source {
        Source::Sqs | Source::SqsFifo | Source::Kinesis | Source::DynamoDbStreams => {
            of_records(event, |record| text(record, &["eventSourceARN"]).map(str::to_owned))
        }
        Source::Sns => of_records(event, |record| text(record, &["Sns", "TopicArn"]).map(str::to_owned)),
        // Servers of different names may have buckets of one name.
        Source::S3 => of_records(event, |record| {
            let (server, bucket) =
                (text(record, &["eventSource"])?, text(record, &["s3", "bucket", "name"])?);
            Some(format!("{server}:{bucket}"))
        }),
        Source::Kafka | Source::ActiveMq | Source::RabbitMq => {
            text(event, &["eventSourceArn"]).map(str::to_owned)
        }
        Source::SelfManagedKafka => text(event, &["bootstrapServers"]).map(sorted),
        Source::EventBridge => Some(joined([&["account"], &["region"], &["source"]])),
        Source::WebSocket => Some(joined([
            &["requestContext", "domainName"],
            &["requestContext", "apiId"],
            &["requestContext", "stage"],
        ])),
        Source::Direct
        | Source::RestApi
        | Source::HttpApi
        | Source::FunctionUrl
        | Source::LoadBalancer
        | Source::Scheduler
        | Source::S3Batch
        | Source::StepFunctions
        | Source::DurableFunction
        | Source::CustomResource
        | Source::Logs => None,
    }
}

/// Returns the origins of an event's records, each once; a service sends records of one.
fn of_records(event: &Value, of: impl Fn(&Value) -> Option<String>) -> Option<String> {
    let records = event.get("Records")?.as_array()?;
    let origins: BTreeSet<String> = records.iter().filter_map(of).collect();
    Some(origins.into_iter().collect::<Vec<_>>().join("+"))
}

/// Returns the names of servers in order: Lambda may list them in any.
fn sorted(servers: &str) -> String {
    let mut servers: Vec<&str> = servers.split(',').map(str::trim).collect();
    servers.sort_unstable();
    servers.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_aliases_are_left_out() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:orders";
        assert_eq!(function(arn), "123456789012:eu-west-1:orders");
        for qualifier in ["$LATEST", "7", "live"] {
            assert_eq!(function(&format!("{arn}:{qualifier}")), function(arn));
        }
        assert_eq!(function("orders"), "orders");
        assert_eq!(function(""), "");
    }

    #[test]
    fn long_scopes_keep_apart() {
        let long = |last: char| bounded(format!("{}{last}", "x".repeat(5_000)));
        assert_eq!(long('a').len(), SCOPE_BYTES_MAX);
        assert_ne!(long('a'), long('b'));
    }

    #[test]
    fn facts_do_not_run_into_each_other() {
        let of = |facts: &[(&str, &str)]| {
            let mut scope = Facts(String::new());
            facts.iter().for_each(|(label, value)| scope.add(label, value));
            scope.0
        };
        assert_ne!(of(&[("path", "/a caller=x")]), of(&[("path", "/a"), ("caller", "x")]));
        assert_ne!(of(&[("path", "/a%20b")]), of(&[("path", "/a b")]));
        assert_eq!(of(&[("path", "/ü")]), "path=/%C3%BC");
    }
}
