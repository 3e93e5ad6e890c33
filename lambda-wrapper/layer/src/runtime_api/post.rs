//! Responses and errors: from the runtime to Lambda, with the commit before.

use std::time::{Duration, Instant};

use aft_lambda_events::response::{Answer, status_of};
use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use tracing::{error, warn};

use crate::http::{Body, BoxError, arriving, full, strip_hop_by_hop};
use crate::layer::Layer;
use crate::report::Summary;
use crate::runtime_api::handed::Handed;
use crate::runtime_api::invocation::INVOCATION_ID;
use crate::runtime_api::next::{answer_of, error_document, kept_reply_or_gone};
use crate::runtime_api::records::message_of;
use crate::runtime_api::reply::{RESPONSE_MODE, Reply};
use crate::runtime_api::{VERSION, accepted};
use crate::transactions::{Attempt, Begun, Ended, Failure, FailureKind};

/// The header, and the field behind a stream, that says that a function failed.
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
/// The largest buffered response that Lambda takes, in bytes.
const BUFFERED_BYTES_MAX: usize = (6 << 20) + 100;
/// The size of the pieces in which a stream is posted, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// The number of times that a response is posted.
const POSTS_MAX: u32 = 3;
/// The pause before a response is posted again.
const POST_AGAIN: Duration = Duration::from_millis(20);

impl Layer {
    /// Takes a response: commits, and posts it.
    pub(crate) async fn respond(&self, id: &str, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        // The calls of the handler belong to its invocation until all of the response is here: a
        // handler that streams may still write.
        let collected = match arriving(body).collect().await {
            Ok(collected) => collected,
            Err(why) => {
                warn!(aws_request_id = id, why = %why, "aft: the response broke off; the transaction is aborted");
                if let Some(handed) = self.take(id, head.headers.get(&INVOCATION_ID)) {
                    self.give_up(handed, "its response broke off").await;
                }
                return accepted();
            }
        };
        let trailers = collected.trailers().cloned();
        let body = collected.to_bytes();
        if self.is_ambiguous(id, &head.headers).await {
            return accepted();
        }
        let Some(handed) = self.take(id, head.headers.get(&INVOCATION_ID)) else {
            if self.is_stray(id) {
                return accepted();
            }
            // For instance of an invocation that has timed out: Lambda says what it thinks of it.
            self.post("response", id, None, head.headers, full(body)).await;
            return accepted();
        };
        let reply = Reply::of(&head.headers, body);
        if self.names_the_endpoint(&reply.body) {
            warn!(
                aws_request_id = id,
                "aft: the response contains a presigned URL of the local S3 endpoint: it works only within this function; \
                 make presigned URLs with a client for Amazon's own endpoint"
            );
        }
        let failed_within = trailers.as_ref().is_some_and(|trailers| trailers.contains_key(&ERROR_TYPE));
        if self.batches.has(handed.nonce) {
            self.end_record(handed, &reply.body, failed_within).await;
            return accepted();
        }
        let too_large = !reply.streaming && reply.body.len() > BUFFERED_BYTES_MAX;
        let is_5xx = handed.source.is_http()
            && !self.settings.commits_5xx
            && status_of(handed.source, prelude(&reply)).is_some_and(|status| status >= 500);
        if failed_within || too_large || is_5xx {
            // Nothing of a failed invocation takes effect. Lambda gets what the runtime sent.
            let outcome = if too_large { "response too large" } else { "failed" };
            summary(self, &handed, outcome, Duration::ZERO).await;
            let (id, nonce) = (handed.aws_request_id.clone(), handed.invocation_id.clone());
            handed.open.abort().await;
            self.post("response", &id, nonce.as_ref(), head.headers, stream(&reply.body, trailers)).await;
            return accepted();
        }
        self.commit_and_post(handed, reply, head.headers).await;
        accepted()
    }

    /// Aborts the invocations that a response may be for, and fails them, if there are several:
    /// none may commit by the response of another.
    async fn is_ambiguous(&self, id: &str, headers: &HeaderMap) -> bool {
        if headers.contains_key(&INVOCATION_ID) {
            return false;
        }
        let ambiguous = self.handed.take_ambiguous(id);
        let is_ambiguous = !ambiguous.is_empty();
        for handed in ambiguous {
            self.attribution.leave(handed.nonce);
            summary(self, &handed, "aborted: a response of this invocation or of its retry", Duration::ZERO)
                .await;
            let nonce = handed.invocation_id.clone();
            handed.open.abort().await;
            let why = "two invocations with this ID run, and the runtime client does not say whose response came: use \
                       a newer version of it";
            self.post_error(id, nonce.as_ref(), error_document("Aft.Ambiguous", why).into()).await;
        }
        is_ambiguous
    }

    /// Returns true if a response has the address of the local S3 endpoint in it, as presigned URLs
    /// have.
    fn names_the_endpoint(&self, body: &[u8]) -> bool {
        let (Some(s3), Ok(text)) = (self.s3_address(), std::str::from_utf8(body)) else { return false };
        text.contains(&format!("//{s3}/"))
    }

    /// Commits the transaction of an invocation, and posts the answer that follows from the
    /// outcome.
    async fn commit_and_post(&self, handed: Handed, reply: Reply, headers: HeaderMap) {
        // Without a request ID nobody can ask for the result.
        let result = handed.attempt.request_id.is_some().then(|| reply.encode());
        let (ended, took) = self.commit(&handed, result, handed.deadline).await;
        let (id, nonce) = (handed.aws_request_id.as_str(), handed.invocation_id.as_ref());
        match ended {
            Ended::Committed => {
                summary(self, &handed, "committed", took).await;
                self.post("response", id, nonce, headers, full(reply.body)).await;
            }
            Ended::Replayed(kept) => {
                summary(self, &handed, "replayed: another attempt came first", took).await;
                match kept_reply_or_gone(handed.source, kept.as_ref()) {
                    Ok(reply) => self.post_reply(id, nonce, reply).await,
                    Err(answer) => self.post_answer(id, nonce, answer).await,
                }
            }
            Ended::Lost(failure) => {
                summary(self, &handed, failure.kind.error_type(), took).await;
                warn!(
                    aws_request_id = id,
                    why = failure.text,
                    "aft: nothing was committed; the invocation fails"
                );
                self.post_answer(id, nonce, answer_of(handed.source, &failure)).await;
            }
            Ended::Unknown(why) => {
                summary(self, &handed, "unknown", took).await;
                error!(
                    aws_request_id = id,
                    why,
                    "aft: the outcome of the commit is not known: the invocation gets no response, and a retry finds out"
                );
                // An error would tell a caller that nothing happened. So there is no answer, and
                // Lambda ends the invocation at its deadline.
                tokio::time::sleep_until(handed.deadline + Duration::from_secs(1)).await;
            }
        }
    }

    /// Commits the transaction of an invocation, and returns the outcome that is known at `by`,
    /// with the time that it took.
    pub(super) async fn commit(
        &self,
        handed: &Handed,
        result: Option<Bytes>,
        by: tokio::time::Instant,
    ) -> (Ended, Duration) {
        let since = Instant::now();
        let ended = tokio::time::timeout_at(by, handed.open.commit(result)).await;
        let ended = match ended {
            Ok(Ended::Lost(failure)) if failure.kind == FailureKind::Conflict => {
                Box::pin(self.twin(handed, failure, by)).await
            }
            Ok(ended) => ended,
            Err(_) => Ended::Unknown("the store did not answer within the invocation's time".into()),
        };
        (ended, since.elapsed())
    }

    /// Returns the outcome of an attempt that another transaction was faster than: it may have been
    /// another attempt of the same request, whose keys are the same, and then its result counts.
    async fn twin(&self, handed: &Handed, conflict: Failure, by: tokio::time::Instant) -> Ended {
        let timeout = by.saturating_duration_since(tokio::time::Instant::now());
        if handed.attempt.request_id.is_none() || timeout.is_zero() {
            return Ended::Lost(conflict);
        }
        let attempt = Attempt { timeout, waits: false, ..handed.attempt.clone() };
        match tokio::time::timeout_at(by, self.transactions.begin(&attempt)).await {
            Ok(Ok(Begun::Replayed(kept))) => Ended::Replayed(kept),
            Ok(Ok(Begun::Open(open))) => {
                open.abort().await;
                Ended::Lost(conflict)
            }
            Ok(Err(_)) | Err(_) => Ended::Lost(conflict),
        }
    }

    /// Takes an error: aborts, and posts it untouched.
    pub(crate) async fn fail(&self, id: &str, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = match arriving(body).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(_) => Bytes::new(),
        };
        let handed = self.take(id, head.headers.get(&INVOCATION_ID));
        let nonce = handed.as_ref().and_then(|handed| handed.invocation_id.clone());
        if let Some(handed) = handed {
            summary(self, &handed, "aborted: the handler failed", Duration::ZERO).await;
            if self.give_up(handed, &message_of(&body)).await {
                return accepted();
            }
        } else if self.is_stray(id) {
            return accepted();
        }
        self.post("error", id, nonce.as_ref(), head.headers, full(body)).await;
        accepted()
    }

    /// Takes an invocation: from here on, calls do not belong to it.
    fn take(&self, id: &str, invocation_id: Option<&HeaderValue>) -> Option<Handed> {
        let handed = self.handed.take(id, invocation_id)?;
        self.attribution.leave(handed.nonce);
        Some(handed)
    }

    /// Posts an answer that the handler did not give.
    async fn post_answer(&self, id: &str, nonce: Option<&HeaderValue>, answer: Answer) {
        match answer {
            Answer::Response(body) => self.post_reply(id, nonce, Reply::json(body)).await,
            Answer::Error(document) => self.post_error(id, nonce, document.into()).await,
        }
    }

    /// Posts a response.
    pub(crate) async fn post_reply(&self, id: &str, nonce: Option<&HeaderValue>, reply: Reply) {
        let headers = reply.headers();
        self.post("response", id, nonce, headers, full(reply.body)).await;
    }

    /// Posts an error document.
    pub(crate) async fn post_error(&self, id: &str, nonce: Option<&HeaderValue>, document: Bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, error_type_of(&document));
        self.post("error", id, nonce, headers, full(document)).await;
    }

    /// Posts to Lambda. What it answers is logged: the runtime cannot do anything about it.
    async fn post(
        &self,
        what: &str,
        id: &str,
        nonce: Option<&HeaderValue>,
        mut headers: HeaderMap,
        body: Body,
    ) {
        let path = format!("{VERSION}/runtime/invocation/{id}/{what}");
        // Older runtime clients do not send the nonce back.
        if let Some(nonce) = nonce {
            headers.insert(INVOCATION_ID, nonce.clone());
        }
        let is_streaming = headers.get(RESPONSE_MODE).is_some();
        headers.remove(CONTENT_LENGTH);
        strip_hop_by_hop(&mut headers);
        // A body with trailers is sent once; any other one is kept for another try.
        let body = match body.collect().await {
            Ok(body) => body,
            Err(why) => unreachable!("bytes in memory do not fail: {why}"),
        };
        let (trailers, bytes) = (body.trailers().cloned(), body.to_bytes());
        let mut refused = None;
        for _ in 0..POSTS_MAX {
            let body = match is_streaming {
                true => stream(&bytes, trailers.clone()),
                false => full(bytes.clone()),
            };
            match self.upstream.send(Method::POST, &path, headers.clone(), body).await {
                Ok(answer) => {
                    let status = answer.status();
                    let text =
                        answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    if !status.is_success() {
                        let text = String::from_utf8_lossy(&text[..text.len().min(512)]).into_owned();
                        warn!(aws_request_id = id, %status, text, is_streaming, "aft: Lambda did not take the {what}");
                    }
                    self.touch();
                    return;
                }
                Err(why) => refused = Some(why),
            }
            self.upstream.renew();
            tokio::time::sleep(POST_AGAIN).await;
        }
        let why = refused.map(|why| why.to_string()).unwrap_or_default();
        warn!(aws_request_id = id, why, "aft: the {what} could not be posted; a retry finds the outcome");
    }
}

impl Layer {
    /// Aborts what no response can come for any more: the environment ends.
    pub(crate) async fn abort_all(&self) {
        for handed in self.handed.take_all() {
            self.attribution.leave(handed.nonce);
            summary(self, &handed, "aborted: the environment ends", Duration::ZERO).await;
            handed.open.abort().await;
        }
    }
}

pub(super) async fn summary(layer: &Layer, handed: &Handed, outcome: &str, commit: Duration) {
    Summary {
        aws_request_id: &handed.aws_request_id,
        request_id: handed.attempt.request_id.as_deref(),
        outcome,
        running: Some(&handed.running),
        begin: handed.begin,
        commit,
        spent: layer.transactions.costs().await.since(handed.spent),
    }
    .write();
}

/// Returns the part of a response with the status: what is before the body, in a stream.
fn prelude(reply: &Reply) -> &[u8] {
    let end = reply.body.iter().position(|byte| *byte == 0).filter(|_| reply.streaming);
    &reply.body[..end.unwrap_or(reply.body.len())]
}

/// Returns the type of an error document in the form that Lambda accepts: letters alone.
fn error_type_of(document: &[u8]) -> HeaderValue {
    let document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let letters = document["errorType"].as_str().unwrap_or("Aft").chars().filter(char::is_ascii_alphabetic);
    let text = format!("Function.{}", letters.collect::<String>());
    HeaderValue::from_str(&text).expect("letters are a header's value")
}

/// Returns a body without a length, with fields behind it if there are any: Lambda takes a stream
/// in chunks.
fn stream(bytes: &Bytes, trailers: Option<HeaderMap>) -> Body {
    let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
    let pieces = starts.map(|at| bytes.slice(at..bytes.len().min(at + CHUNK_BYTES))).map(Frame::data);
    let frames: Vec<_> = pieces.chain(trailers.map(Frame::trailers)).map(Ok::<_, BoxError>).collect();
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fields_follow_the_body() {
        let mut trailers = HeaderMap::new();
        trailers.insert(ERROR_TYPE, HeaderValue::from_static("Function.Oops"));
        let bytes = Bytes::from(vec![7; CHUNK_BYTES * 2 + 1]);
        let body = stream(&bytes, Some(trailers.clone())).collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&trailers));
        assert_eq!(body.to_bytes(), bytes);
        assert!(stream(&Bytes::new(), None).collect().await.unwrap().to_bytes().is_empty());
    }
}
