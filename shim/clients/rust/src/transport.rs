//! The transport: sends one HTTP call and receives its whole answer, over a pool of HTTP/1.1
//! connections with `TCP_NODELAY`, within timeouts. It does not retry.
//!
//! The pool itself opens another connection if a kept one turns out to be closed before a byte of
//! the call was written; this is not a second try.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aft_api::header;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::outgoing::Outgoing;
use crate::settings::{ANSWER_BYTES_MAX, IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX, Settings};

/// The connections to one server, and what every call to it carries.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: legacy::Client<HttpConnector, Outgoing>,
    authority: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// An HTTP call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) path: String,
    pub(crate) accept: Option<&'static str>,
    pub(crate) content_type: Option<String>,
    pub(crate) session: Option<String>,
    /// The request ID that the call repeats in a header, if it may commit.
    pub(crate) request_id: Option<String>,
    pub(crate) body: Bytes,
}

/// A whole answer, of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The reason why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// No connection was opened: the call had no effect, and will have none.
    NotSent(String),
    /// The call may have had its effect, or may still have it.
    Broken(String),
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Call {
        Call {
            method,
            path,
            accept: None,
            content_type: None,
            session: None,
            request_id: None,
            body: Bytes::new(),
        }
    }
}

impl Transport {
    pub(crate) fn new(
        authority: String,
        authorization: Option<HeaderValue>,
        settings: &Settings,
    ) -> Transport {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.connect_timeout));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Transport { http, authority, authorization, timeout: settings.call_timeout }
    }

    /// Sends a call and waits for the whole answer. Dropping the future closes the connection.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, NoAnswer> {
        let request = self.request(call)?;
        let sent = request.body().sent.clone();
        let answer = async {
            let response = self.http.request(request).await.map_err(|why| match why.is_connect() {
                true => NoAnswer::NotSent(describe(&why)),
                false => NoAnswer::Broken(describe(&why)),
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|why| NoAnswer::Broken(describe(why.as_ref())))?.to_bytes();
            // A success to a part of the body says nothing about the call.
            if head.status.is_success() && !sent.load(Ordering::Relaxed) {
                return Err(NoAnswer::Broken(format!(
                    "the server answered status {} before the whole body was sent",
                    head.status
                )));
            }
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Broken(format!("no answer: timed out after {:?}", self.timeout))),
        }
    }

    fn request(&self, call: Call) -> Result<Request<Outgoing>, NoAnswer> {
        let (body, asked_for) = Outgoing::new(call.body);
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("http://{}{}", self.authority, call.path))
            .body(body)
            .map_err(|why| NoAnswer::NotSent(format!("{}: {why}", call.path)))?;
        if let Some(asked_for) = asked_for {
            request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
            // Servers send no other informational answer than `100 Continue` to these calls.
            hyper::ext::on_informational(&mut request, move |_| asked_for.notify_one());
        }
        let headers = request.headers_mut();
        if let Some(accept) = call.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let texts = [(CONTENT_TYPE.as_str(), &call.content_type), (header::SESSION, &call.session)];
        for (name, text) in texts {
            if let Some(text) = text {
                let value = HeaderValue::from_str(text).map_err(|_| {
                    NoAnswer::NotSent(format!(
                        "{text:?} cannot be sent in the header {name}: it must be printable ASCII"
                    ))
                })?;
                headers.insert(name, value);
            }
        }
        // A request ID with control characters cannot be sent in a header. Then the server only
        // gets the transaction.
        if let Some(value) =
            call.request_id.and_then(|id| HeaderValue::from_bytes(quoted(&id).as_bytes()).ok())
        {
            headers.insert(header::IDEMPOTENCY_KEY, value);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

/// Returns `text` as a structured-field string (RFC 8941, section 3.3.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn describe(why: &(dyn std::error::Error + 'static)) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(why) = cause {
        text.push_str(&format!(": {why}"));
        cause = why.source();
    }
    text
}
