//! The transport: sends one HTTP/1.1 call and receives its answer, over kept connections with
//! `TCP_NODELAY`, within timeouts. It does not retry.
//!
//! A kept connection may have been closed meanwhile. Then another one is opened at once if no byte
//! of the call was written, or if the call only reads and no byte of its answer has come; this does
//! not count as a second try.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aft_api::header;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderValue,
    InvalidHeaderValue, RANGE, TRANSFER_ENCODING,
};
use hyper::{Method, Request, StatusCode};

use crate::origin::Origin;
use crate::outgoing::{Content, Outgoing};
use crate::pool::{Connection, Pool};
use crate::settings::{ANSWER_BYTES_MAX, CALL_TIME_MIN, Settings, TIME_MAX};
use crate::tls::Tls;

/// The connections to one server, and what every call to it carries.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    pool: Arc<Pool>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    connect_timeout: Duration,
    silence_max: Duration,
    /// The process that made the client.
    process: u32,
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
    /// The value of the header `Range`.
    pub(crate) range: Option<String>,
    pub(crate) body: Content,
    /// The end of the time that the call's run has.
    pub(crate) until: Option<Instant>,
}

/// A whole answer, of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The status line's words, if they are not the usual ones.
    pub(crate) reason: Option<String>,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) head: hyper::http::response::Parts,
    body: Incoming,
    /// The connection, and the pool that it returns to when the body has been read.
    connection: Option<(Connection, Arc<Pool>)>,
    sent: Arc<AtomicBool>,
    only_reads: bool,
    silence_max: Duration,
}

/// The reason why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The server took no call: the call had no effect, and will have none.
    NotSent(String),
    /// The same, and another try would end like this one.
    Refused(String),
    /// The call cannot be sent, or its answer cannot be taken, whichever server there is.
    Invalid(String),
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
            range: None,
            body: Content::Whole(Bytes::new()),
            until: None,
        }
    }

    /// Returns true if the call has no effect.
    fn only_reads(&self) -> bool {
        self.method == Method::GET
    }
}

impl Transport {
    /// Makes the transport of a server.
    ///
    /// # Panics
    /// Panics if the authority cannot be sent in a header; its parser accepts no such one.
    pub(crate) fn new(
        origin: Origin,
        tls: Option<Tls>,
        authorization: Option<HeaderValue>,
        settings: &Settings,
    ) -> Transport {
        let host = HeaderValue::from_str(&origin.authority).expect("an authority is visible ASCII");
        Transport {
            pool: Arc::new(Pool::new(origin, tls)),
            host,
            authorization,
            connect_timeout: settings.connect_timeout,
            silence_max: settings.call_timeout.min(TIME_MAX),
            process: std::process::id(),
        }
    }

    /// Sends a call and waits for the whole answer. Dropping the future closes the connection.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, NoAnswer> {
        let started = self.start(call).await?;
        started.whole().await
    }

    /// Sends a call and waits for the head of its answer. Dropping the answer closes the connection
    /// unless the body has been read to its end.
    pub(crate) async fn start(&self, call: Call) -> Result<Started, NoAnswer> {
        if std::process::id() != self.process {
            return Err(NoAnswer::Invalid(
                "the client was made before this process forked: make a client in each process".into(),
            ));
        }
        let left = call.until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let silence_max = self.silence_max.min(left.max(CALL_TIME_MIN));
        let connect_timeout = self.connect_timeout.min(left.max(CALL_TIME_MIN));
        let mut may_reuse = true;
        loop {
            let (request, sent) = self.request(&call)?;
            let kept = if may_reuse { self.pool.idle().await } else { None };
            let mut connection = match kept {
                Some(kept) => kept,
                None => self.pool.open(connect_timeout).await?,
            };
            let before = connection.watch.received();
            let watch = connection.watch.clone();
            let exchange = watch.unless_silent(silence_max, connection.sender.try_send_request(request));
            let Some(response) = exchange.await else {
                return Err(silent(silence_max));
            };
            let mut why = match response {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    if head.status.is_success() && !has_length(&head.headers) && !body.is_end_stream() {
                        // It would end where the connection breaks, and nobody could see that.
                        let why = "the answer has no length: a proxy left it out".to_owned();
                        return Err(match call.only_reads() {
                            true => NoAnswer::Refused(why),
                            false => NoAnswer::Broken(why),
                        });
                    }
                    let connection = Some((connection, self.pool.clone()));
                    let only_reads = call.only_reads();
                    return Ok(Started { head, body, connection, sent, only_reads, silence_max });
                }
                Err(why) => why,
            };
            if let Some(failure) = call.body.failure() {
                // The body has no end, so the server rejects it.
                return Err(NoAnswer::Invalid(failure));
            }
            if let Some(refused) = watch.refused() {
                return Err(NoAnswer::Refused(format!(
                    "cannot talk to {}: {refused}",
                    self.pool.authority()
                )));
            }
            let unsent = why.take_message().is_some();
            let unread = watch.received() == before;
            if connection.reused && (unsent || (unread && call.only_reads())) {
                may_reuse = false;
                continue;
            }
            let text = describe(&why.into_error());
            return Err(if unsent { NoAnswer::NotSent(text) } else { NoAnswer::Broken(text) });
        }
    }

    fn request(&self, call: &Call) -> Result<(Request<Outgoing>, Arc<AtomicBool>), NoAnswer> {
        let (body, asked_for) = Outgoing::new(call.body.clone());
        let sent = body.sent.clone();
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() =
            call.path.parse().map_err(|why| NoAnswer::Invalid(format!("{}: {why}", call.path)))?;
        if let Some(asked_for) = asked_for {
            request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
            // Servers send no other informational answer than `100 Continue` to these calls.
            hyper::ext::on_informational(&mut request, move |_| asked_for.notify_one());
        }
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(accept) = call.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let texts = [
            (CONTENT_TYPE.as_str(), &call.content_type),
            (header::SESSION, &call.session),
            (RANGE.as_str(), &call.range),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                let wrong = |_: InvalidHeaderValue| {
                    NoAnswer::Invalid(format!(
                        "{text:?} cannot be sent in the header {name}: it must be printable ASCII"
                    ))
                };
                headers.insert(name, HeaderValue::from_str(text).map_err(wrong)?);
            }
        }
        // A request ID with control characters cannot be sent in a header. Then the server only
        // gets the transaction.
        if let Some(id) = &call.request_id
            && let Ok(value) = HeaderValue::from_bytes(quoted(id).as_bytes())
        {
            headers.insert(header::IDEMPOTENCY_KEY, value);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok((request, sent))
    }
}

impl Started {
    /// Returns the number of bytes that the body has, if the server says so.
    pub(crate) fn size(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Returns the next piece of the body; `None` after the last one. A body that ends early is an
    /// error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        loop {
            let Some((connection, pool)) = &self.connection else { return Ok(None) };
            let watch = connection.watch.clone();
            let frame = watch.unless_silent(self.silence_max, self.body.frame()).await;
            match frame {
                None => {
                    self.connection = None;
                    return Err(silent(self.silence_max));
                }
                Some(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        return Ok(Some(piece));
                    }
                }
                Some(Some(Err(why))) => {
                    self.connection = None;
                    return Err(NoAnswer::Broken(format!("the answer broke off: {}", describe(&why))));
                }
                Some(None) => {
                    let (pool, sent) = (pool.clone(), self.sent.load(Ordering::Relaxed));
                    let connection = self.connection.take().map(|(connection, _)| connection);
                    // A connection whose call was not sent to its end takes no other call.
                    if let Some(connection) = connection.filter(|_| sent) {
                        pool.keep(connection);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Reads the body to its end.
    pub(crate) async fn whole(mut self) -> Result<Answer, NoAnswer> {
        if let Some(size) = self.size().filter(|size| *size > ANSWER_BYTES_MAX as u64) {
            return Err(self.too_large(&size.to_string()));
        }
        let mut body = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(piece) = self.next().await? {
            // Most answers are one piece, which needs no copy.
            if body.is_empty() && more.is_empty() {
                body = piece;
                continue;
            }
            if more.is_empty() {
                more.reserve(self.size().map_or(0, |left| left as usize) + body.len() + piece.len());
                more.extend_from_slice(&std::mem::take(&mut body));
            }
            more.extend_from_slice(&piece);
            if more.len() > ANSWER_BYTES_MAX {
                return Err(self.too_large(&format!("more than {ANSWER_BYTES_MAX}")));
            }
        }
        if !more.is_empty() {
            body = more.freeze();
        }
        let status = self.head.status;
        // A success to a part of the body says nothing about the call.
        if status.is_success() && !self.sent.load(Ordering::Relaxed) {
            return Err(NoAnswer::Broken(format!(
                "the server answered status {status} before the whole body was sent"
            )));
        }
        let reason = self.head.extensions.get::<hyper::ext::ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        Ok(Answer { status, headers: self.head.headers, body, reason })
    }

    fn too_large(&self, size: &str) -> NoAnswer {
        let text = format!(
            "the answer has {size} bytes, and at most {ANSWER_BYTES_MAX} are held in memory: read it with `stream` (a value) or `result_stream` (a result)"
        );
        if self.only_reads { NoAnswer::Invalid(text) } else { NoAnswer::Broken(text) }
    }
}

/// Returns true if the end of the body is known before it comes, or is marked.
fn has_length(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

fn silent(silence_max: Duration) -> NoAnswer {
    NoAnswer::Broken(format!("no answer: no byte passed for {silence_max:?}"))
}

/// Returns `text` as a structured-field string (RFC 8941, section 3.3.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns an error's text and those of its causes.
pub(crate) fn describe(why: &(dyn std::error::Error + 'static)) -> String {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(why) = cause {
        text.push_str(&format!(": {why}"));
        cause = why.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_of_another_process_sends_nothing() {
        let origin = Origin::parse("http://127.0.0.1:1").unwrap();
        let transport = Transport::new(origin, None, None, &Settings::default());
        let call = || Call::new(Method::GET, "/".to_owned());
        assert!(matches!(transport.send(call()).await, Err(NoAnswer::NotSent(_))), "nobody listens there");
        let forked = Transport { process: transport.process + 1, ..transport };
        let Err(NoAnswer::Invalid(why)) = forked.send(call()).await else { panic!("it was sent") };
        assert!(why.contains("forked"), "{why}");
    }
}
