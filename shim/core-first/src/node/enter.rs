//! The maintainer's first look at intents: it enters their transactions' versions itself (protocol, section 8).

use std::sync::Arc;

use crate::bug::Bug;
use crate::message::{Header, Note};
use crate::record::{Intent, Record};
use crate::store::{Answer, Body, Call, CallError, Name};

use super::index::Source;
use super::script::{Flow, Pending, Run, Stop, failed};
use super::{Node, publish};

impl Node {
    pub(super) fn enter_script(&mut self, run: &mut Run<'_>, intents: &[Intent]) -> Result<(), Pending> {
        let flow = self.enter(run, intents);
        self.end_batch(flow)
    }

    fn enter(&mut self, run: &mut Run<'_>, intents: &[Intent]) -> Flow<bool> {
        if run.note_if(|| self.planted(Bug::DeleteIntentBeforePublished)) {
            run.ask_all([Call::Delete(intents.iter().copied().map(Name::Intent).collect())])?;
        }
        let since = run.note(|| self.now.mono_ms);
        let answers = run.ask_all(intents.iter().map(|intent| Call::Get(Name::Commit(intent.hash))))?;
        let mut headers = Vec::new();
        for (intent, answer) in intents.iter().zip(answers) {
            match answer {
                // An intent without a record of its own has nothing to enter. Whether it is an orphan is Retire's matter.
                Answer::Got(object) => {
                    let record = own_record(intent, object.map(|(body, _)| body));
                    headers.extend(record.and_then(|record| Header::of(&record)).map(Arc::new));
                }
                // What is damaged may not keep the node from serving the rest. Its intent stays, and leads here again once it is mended.
                Answer::Failed(CallError::Damaged(what)) => {
                    self.intent_stands(intent);
                    run.note_if(|| {
                        self.note(Note::MaintenanceDamaged(what));
                        true
                    });
                }
                answer => return Err(failed(answer)),
            }
        }
        self.enter_versions(run, &headers, since)?;
        Ok(true)
    }

    /// Learns these transactions, puts all their version entries, and tells of them. Their records were asked for at `since`, by the monotonic clock:
    /// too long after, they may be collected, and the entries would stay behind.
    pub(super) fn enter_versions(
        &mut self,
        run: &mut Run<'_>,
        headers: &[Arc<Header>],
        since: u64,
    ) -> Flow<()> {
        if headers.is_empty() {
            return Ok(());
        }
        if !run.note_if(|| self.now.mono_ms <= since + self.publish_bound_ms()) {
            return Err(Stop::Failed(CallError::NoAnswer));
        }
        let mut unheard = Vec::new();
        for header in headers {
            let heard = self.planted(Bug::SkipPublishingBecauseHeard)
                && run.note_if(|| self.index.header(header.txn).is_some());
            if !heard {
                unheard.push(header.clone());
            }
        }
        // Now, not when all is done: some entries may land and others fail, and on an exclusive store nobody lists again a key that was listed before.
        run.note_if(|| {
            headers.iter().for_each(|header| self.learn(header, Source::Heard, None));
            true
        });
        run.ask_done(unheard.iter().flat_map(|header| publish::entries(header)))?;
        for header in headers {
            self.settled.insert(header.txn.attempt, ());
            self.versions_entered(header.txn.attempt);
        }
        if headers.iter().any(|header| !header.writes.is_empty()) {
            self.tell(headers.iter().filter(|header| !header.writes.is_empty()).cloned().collect());
        }
        Ok(())
    }
}

/// The record that an intent led to, if it is its attempt's.
pub(super) fn own_record(intent: &Intent, body: Option<Body>) -> Option<Arc<Record>> {
    match body {
        Some(Body::Record(record)) if record.txn.attempt == intent.attempt => Some(record),
        Some(_) | None => None,
    }
}
