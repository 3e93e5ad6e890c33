//! From the outcomes of records to the answer to their batch.

use serde_json::json;

use crate::Source;
use crate::record::Record;
use crate::response::{Code, error_document};
use crate::rules::names;

/// The end of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was run, and its transaction committed.
    Committed,
    /// Another delivery had committed it before, so it was not run.
    AlreadyCommitted,
    /// It failed, with a message for people. Nothing that it wrote is visible.
    Failed(String),
    /// It was not run: a record before it failed, or no time was left.
    NotRun,
}

impl Outcome {
    /// Returns true if the record must come again.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Outcome::Failed(_) | Outcome::NotRun)
    }
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folded {
    /// The response of the invocation.
    Response(Vec<u8>),
    /// An error document: the invocation must fail, so that the whole batch comes again. Records
    /// that have committed are skipped then.
    Error(Vec<u8>),
}

/// Folds outcomes into an answer.
pub(crate) fn fold(source: Source, records: &[Record], outcomes: &[Outcome], reports: bool) -> Folded {
    let failed = failures(source, records, outcomes);
    assert_eq!(failed.is_empty(), !outcomes.iter().any(Outcome::is_failure), "no failure is lost or made up");
    if !failed.is_empty() && !reports {
        return Folded::Error(error(outcomes));
    }
    let items: Vec<_> = failed.iter().map(|at| json!({ "itemIdentifier": records[*at].item })).collect();
    Folded::Response(json!({ "batchItemFailures": items }).to_string().into_bytes())
}

/// Returns the positions of the records that are reported as failures.
fn failures(source: Source, records: &[Record], outcomes: &[Outcome]) -> Vec<usize> {
    let failed = |at: &usize| outcomes[*at].is_failure();
    match source {
        Source::Sqs => (0..records.len()).filter(failed).collect(),
        // A message may not overtake an earlier one of its group, so it comes again after that one.
        Source::SqsFifo => (0..records.len())
            .filter(|at| {
                (0..=*at).any(|before| failed(&before) && records[before].group == records[*at].group)
            })
            .collect(),
        // A shard goes on at the lowest sequence number that is reported; the later ones come again
        // by themselves.
        _ => (0..records.len()).find(failed).into_iter().collect(),
    }
}

fn error(outcomes: &[Outcome]) -> Vec<u8> {
    let failed = outcomes.iter().filter(|outcome| outcome.is_failure()).count();
    let first = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Failed(message) => Some(format!(" The first failure: {message}")),
        _ => None,
    });
    let message = format!(
        "{failed} of {} records failed or were not run, so the whole batch comes again; those that have committed are \
         skipped then. If the event source mapping has ReportBatchItemFailures, set {}=true.{}",
        outcomes.len(),
        names::BATCH_ITEM_FAILURES,
        first.unwrap_or_default()
    );
    error_document(Code::RecordsFailed, &message)
}
