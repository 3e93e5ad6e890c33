//! The next event: from Lambda to the runtime, unless its request was done before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use aft_lambda_events::response::{Answer, Code, answer, rejected, replayed};
use aft_lambda_events::{Identity, Source};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json as object;
use tracing::{debug, warn};

use crate::attribution::Running;
use crate::http::{Body, full, strip_hop_by_hop};
use crate::layer::Layer;
use crate::processes::{Holders, Peer, Process};
use crate::report::Summary;
use crate::runtime_api::handed::Handed;
use crate::runtime_api::invocation::{Invocation, TRACE_ID};
use crate::runtime_api::reply::Reply;
use crate::runtime_api::{NEXT, passed_on};
use crate::transactions::{Attempt, Begun, Failure, FailureKind, Spent};

/// The pause before Lambda is asked again for an event, after it did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The end of an invocation's time that is kept for reporting a begin that failed.
const REPORT_TIME: Duration = Duration::from_millis(200);

/// The most invocations without a response that are remembered beyond those that Lambda lets run
/// at once: as many as its emulator keeps.
const LATE_MAX: usize = 1_000;

/// The outcome of a begin.
pub(super) enum Began {
    /// The transaction is open.
    Run(Box<Handed>),
    /// The request has committed before. This is its kept result, if it is kept.
    Replayed(Option<Bytes>),
}

/// The decision about an event.
enum Decision {
    /// The handler gets it.
    Run(Box<Handed>),
    /// The handler does not see it: this is the answer.
    Reply(Reply),
    /// The invocation fails: this is the error document.
    Fail(Bytes),
}

impl Layer {
    /// Waits for the next event that a handler has to see.
    pub(crate) async fn next(self: &Arc<Self>, headers: &HeaderMap, peer: &Peer) -> Response<Body> {
        let worker = self.worker(peer).await;
        loop {
            if let Some(answer) = self.next_record(worker).await {
                return answer;
            }
            self.abort_left().await;
            let invocation = match self.event(headers).await {
                Ok(invocation) => invocation,
                // It is Lambda's word, for instance that the runtime must not ask now.
                Err(refusal) => return refusal,
            };
            // Nothing of before a freeze may be used from here on.
            self.wake().await;
            if self.opens_batch(&invocation) {
                continue;
            }
            let since = Instant::now();
            match self.decide(&invocation, since).await {
                Decision::Run(handed) => return self.hand_out(invocation, *handed, worker).await,
                Decision::Reply(reply) => {
                    self.post_reply(invocation.request_id(), invocation.invocation_id(), reply).await
                }
                Decision::Fail(document) => {
                    self.post_error(invocation.request_id(), invocation.invocation_id(), document).await;
                }
            }
        }
    }

    /// Returns the process that asks for an event, where several invocations run at once. It is
    /// looked up once for each connection, while nobody waits for it.
    async fn worker(&self, peer: &Peer) -> Option<Process> {
        if !self.is_concurrent() {
            return None;
        }
        let worker = peer.holders().await.and_then(Holders::owner);
        match worker {
            Some(worker) => self.attribution.polls(worker),
            None if !self.warned_of_workers.swap(true, Ordering::Relaxed) => warn!(
                "aft: the layer cannot see which process asks for an event: while several invocations run, calls of S3 \
                 need the header X-Amzn-Trace-Id"
            ),
            None => {}
        }
        worker
    }

    /// Aborts invocations that never got a response, where one runs at a time: a runtime that asks
    /// for an event has ended its handler, or was started again.
    async fn abort_left(&self) {
        if self.is_concurrent() {
            return;
        }
        for left in self.handed.take_all() {
            self.attribution.leave(left.nonce);
            warn!(
                aws_request_id = left.aws_request_id,
                "aft: the runtime asked for the next event without a response: the transaction is aborted"
            );
            left.open.abort().await;
        }
    }

    /// Returns the next event, whole.
    async fn event(&self, headers: &HeaderMap) -> Result<Invocation, Response<Body>> {
        loop {
            let failed = match self.upstream.get(NEXT, headers.clone()).await {
                Ok(answer) if answer.status() == StatusCode::OK => match collect(answer).await {
                    Ok(invocation) => return Ok(invocation),
                    Err(why) => why,
                },
                Ok(answer) => return Err(passed_on(answer)),
                Err(why) => why,
            };
            // The runtime would end with an error. It waits, and Lambda decides what becomes of
            // this environment.
            debug!(why = %failed, "aft: no event from Lambda; asking again");
            self.upstream.renew();
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Decides what happens to an event.
    async fn decide(&self, invocation: &Invocation, since: Instant) -> Decision {
        let identity = match invocation.identify(&self.settings.rules) {
            Ok(identity) => identity,
            Err(why) => return decision_of(rejected(&why)),
        };
        let source = identity.source;
        match self.begin(invocation, identity, since).await {
            Ok(Began::Run(handed)) => Decision::Run(handed),
            Ok(Began::Replayed(kept)) => kept_reply(source, kept.as_ref()),
            Err(failure) => failed(source, &failure),
        }
    }

    /// Begins the transaction of an event with this identity.
    pub(super) async fn begin(
        &self,
        invocation: &Invocation,
        identity: Identity,
        since: Instant,
    ) -> Result<Began, Failure> {
        let left = invocation.time_left(SystemTime::now()).max(Duration::from_millis(1));
        let spent = self.transactions.costs().await;
        let attempt = Attempt {
            request_id: identity.request_id.clone(),
            scope: Some(identity.scope.clone()),
            fingerprint: Some(hex(&identity.fingerprint)),
            retention: Some(identity.retention),
            timeout: left,
            waits: self.settings.waits,
            isolation: self.settings.isolation,
        };
        let begun =
            tokio::time::timeout(left.saturating_sub(REPORT_TIME), self.transactions.begin(&attempt)).await;
        let begun = begun.unwrap_or_else(|_| {
            let why = "the transaction was not opened within the invocation's time";
            Err(Failure::new(FailureKind::Unavailable, why))
        });
        let begin = since.elapsed();
        match begun {
            Ok(Begun::Open(open)) => {
                let running = Arc::new(Running::new(&open.token));
                Ok(Began::Run(Box::new(Handed {
                    nonce: rand::random(),
                    aws_request_id: invocation.request_id().to_owned(),
                    invocation_id: invocation.invocation_id().cloned(),
                    source: identity.source,
                    attempt,
                    open,
                    running,
                    deadline: tokio::time::Instant::now() + left,
                    begin,
                    spent,
                })))
            }
            Ok(Begun::Replayed(kept)) => {
                let spent = self.transactions.costs().await.since(spent);
                summary(invocation, &identity, "replayed", begin, spent);
                Ok(Began::Replayed(kept))
            }
            Err(failure) => {
                warn!(
                    aws_request_id = invocation.request_id(),
                    request_id = identity.request_id.as_deref().unwrap_or("none"),
                    why = failure.text,
                    "aft: the handler was not run, and nothing was committed"
                );
                let spent = self.transactions.costs().await.since(spent);
                summary(invocation, &identity, failure.kind.error_type(), begin, spent);
                Err(failure)
            }
        }
    }

    /// Hands an event out to a worker: from here on, calls belong to its invocation.
    pub(super) async fn hand_out(
        &self,
        invocation: Invocation,
        handed: Handed,
        worker: Option<Process>,
    ) -> Response<Body> {
        let mut headers = invocation.headers;
        strip_hop_by_hop(&mut headers);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(invocation.event.len()));
        let given = headers.get(&TRACE_ID).and_then(|value| value.to_str().ok());
        if let Some(trace_id) = self.attribution.trace_id(given, &handed.running.token)
            && let Ok(value) = HeaderValue::from_str(&trace_id)
        {
            headers.insert(TRACE_ID, value);
        }
        self.attribution.enter(handed.nonce, handed.running.clone(), worker);
        self.handed.add(handed);
        self.forget_excess().await;
        let mut response = Response::new(full(invocation.event));
        *response.headers_mut() = headers;
        response
    }
}

impl Layer {
    /// Forgets the oldest invocation without a response if there are too many, where several run at
    /// once: nobody knows whether its code still runs.
    async fn forget_excess(&self) {
        let max = self.settings.lambda.concurrency.saturating_add(LATE_MAX);
        if let Some(oldest) = self.handed.take_excess(max) {
            self.attribution.forget(oldest.nonce);
            self.give_up(oldest, "it got no response in its time").await;
        }
    }
}

/// Writes the summary of an invocation whose handler did not run.
fn summary(invocation: &Invocation, identity: &Identity, outcome: &str, begin: Duration, spent: Spent) {
    Summary {
        aws_request_id: invocation.request_id(),
        request_id: identity.request_id.as_deref(),
        outcome,
        running: None,
        begin,
        commit: Duration::ZERO,
        spent,
    }
    .write();
}

/// Reads an event to its end.
async fn collect(answer: Response<Incoming>) -> Result<Invocation, crate::http::BoxError> {
    let (head, body) = answer.into_parts();
    let event = body.collect().await?.to_bytes();
    Ok(Invocation::new(head.headers, event))
}

/// Returns what becomes of a delivery whose request committed before.
pub(super) fn kept_reply_or_gone(source: Source, kept: Option<&Bytes>) -> Result<Reply, Answer> {
    match kept.and_then(Reply::decode) {
        Some(reply) if source.is_http() && !reply.streaming => {
            let body = replayed(source, &reply.body).into();
            Ok(Reply { body, ..reply })
        }
        Some(reply) => Ok(reply),
        None => {
            let why =
                "the request has committed before, and its answer is no longer kept; it does not run again";
            Err(answer(source, Code::ResultGone, why, None))
        }
    }
}

fn kept_reply(source: Source, kept: Option<&Bytes>) -> Decision {
    match kept_reply_or_gone(source, kept) {
        Ok(reply) => Decision::Reply(reply),
        Err(answer) => decision_of(answer),
    }
}

fn failed(source: Source, failure: &Failure) -> Decision {
    decision_of(answer_of(source, failure))
}

/// Returns the answer to a request whose transaction failed.
pub(super) fn answer_of(source: Source, failure: &Failure) -> Answer {
    let code = match failure.kind {
        FailureKind::InProgress => Code::InProgress,
        FailureKind::KeyReused => Code::KeyReused,
        FailureKind::ResultGone => Code::ResultGone,
        kind => return Answer::Error(error_document(kind.error_type(), &failure.text)),
    };
    answer(source, code, &failure.text, None)
}

/// Returns an error document of Lambda.
pub(super) fn error_document(error_type: &str, message: &str) -> Vec<u8> {
    let document = object!({ "errorType": error_type, "errorMessage": message, "stackTrace": [] });
    document.to_string().into_bytes()
}

fn decision_of(answer: Answer) -> Decision {
    match answer {
        Answer::Response(body) => Decision::Reply(Reply::json(body)),
        Answer::Error(document) => Decision::Fail(document.into()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
