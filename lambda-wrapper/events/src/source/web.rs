//! API Gateway, function URLs and load balancers.

use serde_json::Value;

use super::Source;
use crate::json::{has_texts, text};

/// The part of a host name that only function URLs have.
const FUNCTION_URL_HOST: &str = ".lambda-url.";

pub(super) fn of(event: &Value) -> Option<Source> {
    // Authorizers get the same request, with the ARN of what it wants to call. They are asked for a
    // policy, and have no effects to repeat.
    if event.get("methodArn").is_some() || event.get("routeArn").is_some() {
        return None;
    }
    let context = event.get("requestContext").filter(|context| context.is_object())?;
    if context.get("elb").is_some() {
        let is =
            has_texts(event, &[&["httpMethod"], &["path"], &["requestContext", "elb", "targetGroupArn"]]);
        return is.then_some(Source::LoadBalancer);
    }
    if event.get("httpMethod").is_some() {
        let is = has_texts(event, &[&["httpMethod"], &["path"], &["resource"], &["requestContext", "stage"]]);
        return is.then_some(Source::RestApi);
    }
    if text(event, &["version"]) == Some("2.0") {
        let is = has_texts(event, &[&["routeKey"], &["rawPath"], &["requestContext", "http", "method"]]);
        let host = text(context, &["domainName"]).unwrap_or_default();
        let source = if host.contains(FUNCTION_URL_HOST) { Source::FunctionUrl } else { Source::HttpApi };
        return is.then_some(source);
    }
    let kind = text(context, &["eventType"]);
    let is = matches!(kind, Some("CONNECT" | "MESSAGE" | "DISCONNECT"))
        && has_texts(context, &[&["connectionId"], &["routeKey"], &["apiId"]]);
    is.then_some(Source::WebSocket)
}
