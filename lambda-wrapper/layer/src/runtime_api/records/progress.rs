//! A batch whose records run one after the other, between two calls for the next event.
//!
//! ```text
//!   new ─► between two records ──next──► a record runs ──note──► between two records ─► … ─► over
//! ```

use std::time::{Duration, Instant, SystemTime};

use aft_lambda_events::{Batch, Folded, Identity, Outcome, Rejected};
use bytes::Bytes;

use crate::runtime_api::invocation::Invocation;

/// The end of an invocation's time that is kept for the answer to a batch: without one it fails
/// whole, however many of its records have committed.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// A record that is to run.
#[derive(Debug)]
pub(super) struct Next {
    /// The invocation that the runtime gets for it.
    pub(super) invocation: Invocation,
    /// The identity of its event.
    pub(super) identity: Result<Identity, Rejected>,
}

/// A batch in progress.
#[derive(Debug)]
pub(super) struct Progress {
    /// Lambda's invocation, without its event: the records have it.
    lambda: Invocation,
    batch: Batch,
    /// The outcomes of the first records.
    outcomes: Vec<Outcome>,
    /// The instant when the record that runs now began; `None` between two records.
    since: Option<Instant>,
    /// The longest time of a record that was tried; `None` before the first one.
    longest: Option<Duration>,
}

/// The numbers of records by their outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Those that were run and have committed.
    pub committed: usize,
    /// Those that had committed before.
    pub already_committed: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that were not run.
    pub not_run: usize,
}

impl Counts {
    /// Returns the number of all records.
    pub fn all(&self) -> usize {
        self.committed + self.already_committed + self.failed + self.not_run
    }
}

impl Progress {
    /// Makes the progress of a batch that Lambda has just handed over.
    pub(super) fn new(lambda: &Invocation, batch: Batch) -> Progress {
        assert!(!batch.records().is_empty(), "a batch has records");
        let lambda = Invocation { headers: lambda.headers.clone(), event: Bytes::new() };
        Progress { lambda, batch, outcomes: Vec::new(), since: None, longest: None }
    }

    /// Returns Lambda's own invocation, to which the batch's answer is posted. Its event is empty.
    pub(super) fn lambda(&self) -> &Invocation {
        &self.lambda
    }

    /// Returns the rest of the invocation's time.
    pub(super) fn time_left(&self) -> Duration {
        self.lambda.time_left(SystemTime::now())
    }

    /// Returns true if a record runs.
    pub(super) fn is_running(&self) -> bool {
        self.since.is_some()
    }

    /// Returns true if every record has its outcome.
    pub(super) fn is_over(&self) -> bool {
        assert!(self.outcomes.len() <= self.batch.records().len(), "a record has one outcome");
        self.outcomes.len() == self.batch.records().len()
    }

    /// Passes over the records that may not run, since an earlier one failed or no time is left.
    pub(super) fn pass_over(&mut self, left: Duration) {
        assert!(!self.is_running(), "it is not known yet what a running record allows");
        // The next record may take as long as the longest one so far. The first one is always
        // tried, so that deliveries lead on however short the time is.
        let is_late = self.longest.is_some_and(|longest| left < longest + MARGIN);
        while !self.is_over() && (is_late || !self.batch.may_run_next(&self.outcomes)) {
            self.outcomes.push(Outcome::NotRun);
        }
    }

    /// Returns the next record that may run, which runs from now on; `None` if the batch is over.
    pub(super) fn next(&mut self, left: Duration, now: Instant) -> Option<Next> {
        self.pass_over(left);
        if self.is_over() {
            return None;
        }
        let record = &self.batch.records()[self.outcomes.len()];
        self.since = Some(now);
        Some(Next {
            invocation: self.lambda.of_record(record.event.clone().into()),
            identity: record.identity.clone(),
        })
    }

    /// Notes the outcome of the record that runs.
    pub(super) fn note(&mut self, outcome: Outcome, now: Instant) {
        let since = self.since.take().expect("only a record that runs has an outcome");
        assert!(outcome != Outcome::NotRun, "a record that runs is run");
        // A record that is skipped says nothing about the time of those that are not.
        if outcome != Outcome::AlreadyCommitted {
            let took = now.saturating_duration_since(since);
            self.longest = Some(self.longest.map_or(took, |longest| longest.max(took)));
        }
        self.outcomes.push(outcome);
        assert!(self.outcomes.len() <= self.batch.records().len(), "a record has one outcome");
    }

    /// Returns the answer to the batch.
    pub(super) fn fold(&self) -> Folded {
        assert!(self.is_over() && !self.is_running(), "a batch is answered when it is over");
        self.batch.fold(&self.outcomes)
    }

    /// Counts the records by their outcome.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            *match outcome {
                Outcome::Committed => &mut counts.committed,
                Outcome::AlreadyCommitted => &mut counts.already_committed,
                Outcome::Failed(_) => &mut counts.failed,
                Outcome::NotRun => &mut counts.not_run,
            } += 1;
        }
        assert_eq!(counts.all(), self.outcomes.len(), "each record is counted once");
        counts
    }
}

#[cfg(test)]
pub(super) mod tests {
    use aft_lambda_events::Rules;
    use hyper::header::{HeaderMap, HeaderValue};
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime_api::invocation::{INVOCATION_ID, REQUEST_ID};

    const LONG: Duration = Duration::from_secs(60);

    /// Makes a batch of a queue with a message of each of these groups, in a queue with order if
    /// they have names.
    pub(crate) fn batch(aws_request_id: &'static str, groups: &[&str]) -> Progress {
        let queue = if groups.iter().all(|group| group.is_empty()) { "work" } else { "work.fifo" };
        let record = |(at, group): (usize, &&str)| {
            json!({
                "messageId": format!("m{at}"),
                "receiptHandle": "r",
                "body": "{}",
                "attributes": {"MessageGroupId": group},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:eu-west-1:210987654321:{queue}"),
                "awsRegion": "eu-west-1",
            })
        };
        let records: Vec<Value> = groups.iter().enumerate().map(record).collect();
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static(aws_request_id));
        headers.insert(INVOCATION_ID, HeaderValue::from_static("of-lambda"));
        let invocation = Invocation::new(headers, json!({"Records": records}).to_string().into());
        let rules = Rules { batch_item_failures: true, ..Rules::default() };
        let batch = invocation.split(&rules).expect("it is a batch");
        Progress::new(&invocation, batch)
    }

    /// Runs the next record to an outcome, and returns its position.
    fn run(progress: &mut Progress, outcome: Outcome, took: Duration, left: Duration) -> Option<usize> {
        let now = Instant::now();
        progress.next(left, now)?;
        let at = progress.outcomes.len();
        progress.note(outcome, now + took);
        Some(at)
    }

    fn failed() -> Outcome {
        Outcome::Failed("oops".into())
    }

    fn items(progress: &Progress) -> Vec<String> {
        let Folded::Response(body) = progress.fold() else { panic!("failures are reported") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let items = body["batchItemFailures"].as_array().unwrap();
        items.iter().map(|item| item["itemIdentifier"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_record_has_an_invocation_of_its_own() {
        let mut progress = batch("r", &["", ""]);
        let mut seen = Vec::new();
        while let Some(next) = progress.next(LONG, Instant::now()) {
            assert_eq!(next.invocation.request_id(), "r");
            let event: Value = serde_json::from_slice(&next.invocation.event).unwrap();
            assert_eq!(event["Records"].as_array().unwrap().len(), 1);
            assert!(next.identity.unwrap().request_id.unwrap().contains(&format!("m{}", seen.len())));
            seen.push(next.invocation.invocation_id().unwrap().clone());
            progress.note(Outcome::Committed, Instant::now());
        }
        assert!(seen.len() == 2 && seen[0] != seen[1] && seen.iter().all(|id| id != "of-lambda"), "{seen:?}");
        assert_eq!(progress.lambda().invocation_id().unwrap(), "of-lambda");
        assert!(items(&progress).is_empty());
    }

    #[test]
    fn a_failure_stops_its_group_only() {
        let mut progress = batch("r", &["a", "b", "a", "b"]);
        assert_eq!(run(&mut progress, failed(), Duration::ZERO, LONG), Some(0));
        assert_eq!(run(&mut progress, Outcome::AlreadyCommitted, Duration::ZERO, LONG), Some(1));
        assert_eq!(run(&mut progress, Outcome::Committed, Duration::ZERO, LONG), Some(3));
        assert_eq!(run(&mut progress, Outcome::Committed, Duration::ZERO, LONG), None);
        assert_eq!(items(&progress), ["m0", "m2"]);
        let counts = Counts { committed: 1, already_committed: 1, failed: 1, not_run: 1 };
        assert_eq!(progress.counts(), counts);
    }

    #[test]
    fn records_that_would_not_end_in_time_are_left() {
        let second = Duration::from_secs(1);
        let mut progress = batch("r", &[""; 4]);
        // The first one is tried however little time is left.
        assert_eq!(run(&mut progress, Outcome::Committed, 2 * second, Duration::ZERO), Some(0));
        assert_eq!(run(&mut progress, failed(), second, 3 * second), Some(1));
        // Another one of two seconds would end too late.
        progress.pass_over(2 * second);
        assert!(progress.is_over());
        assert_eq!(items(&progress), ["m1", "m2", "m3"]);
    }

    #[test]
    fn skipped_records_take_no_time() {
        let mut progress = batch("r", &["", ""]);
        let none = Duration::ZERO;
        assert_eq!(run(&mut progress, Outcome::AlreadyCommitted, LONG, none), Some(0));
        assert_eq!(run(&mut progress, Outcome::Committed, LONG, none), Some(1));
        assert!(items(&progress).is_empty());
    }

    #[test]
    #[should_panic(expected = "not known yet")]
    fn one_record_runs_at_a_time() {
        let mut progress = batch("r", &["", ""]);
        progress.next(LONG, Instant::now());
        progress.next(LONG, Instant::now());
    }
}
