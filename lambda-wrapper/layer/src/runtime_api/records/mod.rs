//! The records of a batch, each with a transaction of its own: the runtime gets one event after the
//! other, and Lambda gets one answer.
//!
//! ```text
//!   Lambda's event ─► split ─┐
//!                            ▼
//!   GET next ────► next record: begin ─┬─► open: hand its event out
//!                            ▲         └─► committed before: skip it
//!                            │
//!   POST response ─► commit ─┤
//!   POST error ────► abort ──┘
//!                            └─► over: fold the outcomes, post one answer
//! ```

mod batches;
mod progress;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_lambda_events::{Folded, Outcome, Record};
use bytes::Bytes;
use hyper::Response;
use serde_json::Value;
use tracing::warn;

pub use self::batches::Batches;
pub use self::progress::Counts;
use self::progress::{MARGIN, Next, Progress};
use crate::http::Body;
use crate::layer::Layer;
use crate::processes::Process;
use crate::report::BatchSummary;
use crate::runtime_api::handed::Handed;
use crate::runtime_api::invocation::Invocation;
use crate::runtime_api::next::Began;
use crate::runtime_api::post::summary;
use crate::runtime_api::reply::Reply;
use crate::transactions::{Ended, Failure, FailureKind};

/// The result that is kept with a record's commit, in place of the handler's response: nobody asks
/// for it, but if `AFT_RECORDS` is set to `batch` later, a delivery of the record alone gets it.
const SUCCESS: &[u8] = br#"{"batchItemFailures":[]}"#;

impl Layer {
    /// Returns true if an event is a batch whose records run one by one: the next calls for an
    /// event get them.
    pub(super) fn opens_batch(&self, invocation: &Invocation) -> bool {
        if !self.settings.by_record {
            return false;
        }
        let Some(batch) = invocation.split(&self.settings.rules) else { return false };
        self.batches.open(Progress::new(invocation, batch));
        true
    }

    /// Returns the event of the next record, if a batch in progress has one. Batches that have none
    /// are answered.
    pub(super) async fn next_record(self: &Arc<Self>, worker: Option<Process>) -> Option<Response<Body>> {
        self.fail_abandoned().await;
        while let Some(mut progress) = self.batches.go_on() {
            while let Some(Next { invocation, identity }) =
                progress.next(progress.time_left(), Instant::now())
            {
                let begun = match identity {
                    Ok(identity) => self.begin(&invocation, identity, Instant::now()).await,
                    Err(rejected) => {
                        let why = rejected.message;
                        warn!(aws_request_id = invocation.request_id(), why, "aft: a record was rejected");
                        Err(Failure::new(FailureKind::Invalid, why))
                    }
                };
                match begun {
                    Ok(Began::Run(handed)) => {
                        self.batches.run(handed.nonce, progress);
                        return Some(self.hand_out(invocation, *handed, worker).await);
                    }
                    Ok(Began::Replayed(_)) => progress.note(Outcome::AlreadyCommitted, Instant::now()),
                    Err(failure) => progress.note(outcome_of(failure), Instant::now()),
                }
            }
            self.answer_batch(progress).await;
        }
        None
    }

    /// Fails the record that runs if the runtime asks for the next event without an answer to it,
    /// in an environment that handles one invocation at a time.
    async fn fail_abandoned(&self) {
        if self.is_concurrent() {
            return;
        }
        for nonce in self.batches.nonces() {
            if let Some(handed) = self.handed.take_nonce(nonce) {
                self.attribution.leave(nonce);
                summary(self, &handed, "aborted: the runtime gave no answer", Duration::ZERO).await;
                self.give_up(handed, "the runtime asked for the next event without an answer to this one")
                    .await;
            }
        }
    }

    /// Commits the record of an invocation whose handler has responded, or aborts it if the handler
    /// failed within its response or says there that the record failed.
    pub(super) async fn end_record(&self, handed: Handed, response: &[u8], failed_within: bool) {
        if failed_within || Record::is_failed_by(response) {
            summary(self, &handed, "failed", Duration::ZERO).await;
            let why = match failed_within {
                true => "the handler failed within its response",
                false => "the handler named the record in batchItemFailures",
            };
            self.give_up(handed, why).await;
            return;
        }
        // Without a request ID nobody can ask for the result.
        let result = handed.attempt.request_id.is_some().then(|| Reply::json(SUCCESS).encode());
        // The batch's answer has to be posted after a commit that takes too long.
        let by = handed.deadline.checked_sub(MARGIN).unwrap_or(handed.deadline);
        let (ended, took) = self.commit(&handed, result, by).await;
        let outcome = match ended {
            Ended::Committed => {
                summary(self, &handed, "committed", took).await;
                Outcome::Committed
            }
            Ended::Replayed(_) => {
                summary(self, &handed, "replayed: another attempt came first", took).await;
                Outcome::AlreadyCommitted
            }
            Ended::Lost(failure) => {
                summary(self, &handed, failure.kind.error_type(), took).await;
                outcome_of(failure)
            }
            Ended::Unknown(why) => {
                summary(self, &handed, "unknown", took).await;
                Outcome::Failed(format!(
                    "the outcome of the commit is not known, and the next delivery finds it out: {why}"
                ))
            }
        };
        let Some(progress) = self.batches.take(handed.nonce) else {
            unreachable!("the invocation was that of a record, and was taken once");
        };
        self.note(progress, handed.attempt.request_id.as_deref(), outcome).await;
    }

    /// Aborts an invocation whose handler failed. Returns true if it was that of a record: its
    /// batch answers for it.
    pub(super) async fn give_up(&self, handed: Handed, why: &str) -> bool {
        handed.open.abort().await;
        let Some(progress) = self.batches.take(handed.nonce) else { return false };
        self.note(progress, handed.attempt.request_id.as_deref(), Outcome::Failed(why.to_owned())).await;
        true
    }

    /// Notes the outcome of the record that ran, and answers the batch if it was the last one that
    /// may run: a runtime that ends now takes nothing with it.
    async fn note(&self, mut progress: Progress, request_id: Option<&str>, outcome: Outcome) {
        if let Outcome::Failed(why) = &outcome {
            warn!(
                aws_request_id = progress.lambda().request_id(),
                request_id = request_id.unwrap_or("none"),
                why,
                "aft: a record failed: it comes again with the next delivery"
            );
        }
        progress.note(outcome, Instant::now());
        progress.pass_over(progress.time_left());
        match progress.is_over() {
            true => self.answer_batch(progress).await,
            false => self.batches.wait(progress),
        }
    }

    /// Posts the answer to a batch.
    async fn answer_batch(&self, progress: Progress) {
        let lambda = progress.lambda();
        BatchSummary { aws_request_id: lambda.request_id(), counts: progress.counts() }.write();
        match progress.fold() {
            Folded::Response(body) => {
                self.post_reply(lambda.request_id(), lambda.invocation_id(), Reply::json(body)).await;
            }
            Folded::Error(document) => {
                self.post_error(lambda.request_id(), lambda.invocation_id(), document.into()).await;
            }
        }
        self.batches.close(&progress);
    }

    /// Returns true if an answer that belongs to no invocation names that of a batch in progress:
    /// Lambda would take it for the batch's.
    pub(super) fn is_stray(&self, aws_request_id: &str) -> bool {
        let is_stray = self.batches.is_open(aws_request_id);
        if is_stray {
            warn!(
                aws_request_id,
                "aft: the runtime answered a record twice, or too late: the answer has no effect"
            );
        }
        is_stray
    }
}

/// Returns the outcome of a record whose transaction failed.
fn outcome_of(failure: Failure) -> Outcome {
    match failure.kind {
        // It has committed, whatever became of its result.
        FailureKind::ResultGone => Outcome::AlreadyCommitted,
        _ => Outcome::Failed(failure.text),
    }
}

/// Returns the message in an error document of a runtime.
pub(super) fn message_of(document: &Bytes) -> String {
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    let text = |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("errorType"), text("errorMessage")) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "the handler failed without a message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_errors_are_read() {
        for (document, message) in [
            (r#"{"errorType": "ValueError", "errorMessage": "no"}"#, "ValueError: no"),
            (r#"{"errorType": "ValueError", "errorMessage": ""}"#, "ValueError"),
            (r#"{"errorMessage": "no"}"#, "no"),
            ("[]", "the handler failed without a message"),
            ("", "the handler failed without a message"),
        ] {
            assert_eq!(message_of(&Bytes::from_static(document.as_bytes())), message);
        }
    }

    #[test]
    fn a_record_whose_result_is_gone_has_committed() {
        let outcome = |kind| outcome_of(Failure::new(kind, "why"));
        assert_eq!(outcome(FailureKind::ResultGone), Outcome::AlreadyCommitted);
        assert_eq!(outcome(FailureKind::Conflict), Outcome::Failed("why".into()));
    }
}
