//! The record mode: a batch is handed to the function record by record, each a request of its own.
//!
//! The batch itself is no request: it is cut differently at each delivery. A record that has
//! committed is skipped when it comes again, in whatever company.

use crate::Source;
use crate::fold::{Folded, Outcome, fold};
use crate::identity::identify;
use crate::invocation::Invocation;
use crate::json::{Document, elements, fields, text};
use crate::record::Record;
use crate::rules::Rules;

/// The records of an event.
#[derive(Debug, Clone)]
pub struct Batch {
    source: Source,
    /// Never empty.
    records: Vec<Record>,
    /// The mapping reports the failures of single records.
    reports: bool,
}

impl Batch {
    /// Splits an invocation's event into records; `None` if its source has no record mode, or if
    /// the records belong to a window whose state the function carries from batch to batch.
    #[must_use]
    pub fn split(rules: &Rules, invocation: &Invocation<'_>) -> Option<Batch> {
        let document = Document::parse(invocation.event)?;
        let source = Source::of(&document.tree);
        if !source.has_record_mode() || document.tree.get("window").is_some() {
            return None;
        }
        let members = fields(document.raw)?;
        let trees = document.tree.get("Records")?.as_array()?;
        let raws = elements(members.get("Records")?)?;
        assert_eq!(trees.len(), raws.len(), "the tree and the text are of one event");
        let records = trees.iter().zip(raws).map(|(tree, raw)| {
            // Members beside the records are handed on, whatever a service adds.
            let written = members.iter().map(|(name, value)| {
                let name = serde_json::to_string(name).expect("a string is always JSON");
                if name == "\"Records\"" {
                    format!("{name}:[{}]", raw.get())
                } else {
                    format!("{name}:{}", value.get())
                }
            });
            let event = format!("{{{}}}", written.collect::<Vec<_>>().join(",")).into_bytes();
            let identity = identify(rules, &Invocation { event: &event, ..*invocation });
            let at: &[&str] = match source {
                Source::Kinesis => &["kinesis", "sequenceNumber"],
                Source::DynamoDbStreams => &["dynamodb", "SequenceNumber"],
                _ => &["messageId"],
            };
            let item = text(tree, at).expect("recognition has seen the name of every record").to_owned();
            let group = text(tree, &["attributes", "MessageGroupId"]).unwrap_or_default().to_owned();
            Record { event, identity, item, group }
        });
        let records: Vec<Record> = records.collect();
        assert!(!records.is_empty(), "an event without records is direct");
        Some(Batch { source, records, reports: rules.batch_item_failures })
    }

    /// Returns the sender of the event.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the records, in the order in which they must run.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Returns true if the next record may run, after the records before it ended with `outcomes`.
    /// After a failure it may not, if order counts: its outcome is [`Outcome::NotRun`].
    ///
    /// # Panics
    /// Panics if all records have an outcome.
    #[must_use]
    pub fn may_run_next(&self, outcomes: &[Outcome]) -> bool {
        let next = &self.records[outcomes.len()];
        let mut failed = self.records.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_failure());
        match self.source {
            Source::Sqs => true,
            Source::SqsFifo => !failed.any(|(record, _)| record.group == next.group),
            _ => failed.next().is_none(),
        }
    }

    /// Folds the records' outcomes into the answer to the invocation.
    ///
    /// # Panics
    /// Panics if the outcomes are not as many as the records.
    #[must_use]
    pub fn fold(&self, outcomes: &[Outcome]) -> Folded {
        assert_eq!(outcomes.len(), self.records.len(), "every record has an outcome");
        fold(self.source, &self.records, outcomes, self.reports)
    }
}
